# volley as an image of one static binary: no shell, nothing that is written to,
# no user but a number. Both bases are arguments, so that it is built without a
# registry as well (e2e/shipped_test.go does):
#
#   docker build -t volley --build-arg VERSION=1.2.3 --build-arg REVISION=$(git rev-parse HEAD) .
#
# An engine without BuildKit builds for itself; with BuildKit --platform linux/arm64 is compiled across.
ARG BUILDER=golang:1.26
ARG BASE=scratch

FROM --platform=${BUILDPLATFORM:-linux/amd64} ${BUILDER} AS build
ARG TARGETOS
ARG TARGETARCH
ARG VERSION=dev
ARG REVISION=unknown
WORKDIR /src
COPY . .
ENV CGO_ENABLED=0 GOTOOLCHAIN=local
# What makes the binary small, and the same wherever it is built: .ci/run and
# the tests take the flags from here. The tags leave out what gRPC's part of the
# storage library and gRPC's own tracing page bring along.
ENV GOFLAGS="-trimpath -buildvcs=false -tags=disable_grpc_modules,grpcnotrace '-ldflags=-s -w -X main.version=${VERSION} -X main.revision=${REVISION}'"
# For this machine, whatever the binary is for; with its flags, as both share packages.
RUN ["go", "run", "./deploy/rootfs", "/rootfs"]
ENV GOOS=${TARGETOS:-linux} GOARCH=${TARGETARCH}
# No shell is asked for. Only the modules that the binary is made of are fetched.
RUN ["go", "build", "-o", "/volley", "."]

FROM ${BASE}
ARG VERSION=dev
ARG REVISION=unknown
LABEL org.opencontainers.image.title="volley" \
      org.opencontainers.image.description="HTTP load generator, standalone or as a cluster" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}"
# An empty /tmp that everybody may write to, for data files; so is what is mounted there (--tmpfs /tmp).
COPY --from=build /rootfs/ /
COPY --from=build /volley /volley
USER 65532:65532
# Between nodes, control API, metrics.
EXPOSE 7000 8080 9090
HEALTHCHECK --interval=10s --timeout=5s --start-period=5s CMD ["/volley", "health"]
ENTRYPOINT ["/volley"]
