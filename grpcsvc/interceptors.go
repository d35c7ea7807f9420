package grpcsvc

import (
	"context"
	"crypto/sha256"
	"crypto/subtle"
	"errors"
	"fmt"
	"log/slog"
	"runtime/debug"
	"strings"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/grpc/tap"

	"volley/grpcsvc/pb"
	"volley/node"
)

const (
	authHeader = "authorization"
	bearer     = "Bearer "
)

// guard is what every call passes before it reaches a service.
type guard struct {
	token string // "" = none is asked for
	log   *slog.Logger
	life  context.Context // ends when the server is to end
}

// options installs the guard: the token first, when a call's header is there and
// before a byte of its message is kept, whatever the call is; then recovery,
// errors, deadline.
func (g *guard) options() []grpc.ServerOption {
	return []grpc.ServerOption{
		grpc.InTapHandle(g.tap),
		grpc.ChainUnaryInterceptor(g.unary),
		grpc.ChainStreamInterceptor(g.stream),
	}
}

// tap sees every call, of methods that do not exist too. Whose call is admitted
// has proven to belong here.
func (g *guard) tap(ctx context.Context, info *tap.Info) (context.Context, error) {
	from := visitorOf(ctx)
	if err := g.admit(ctx); err != nil {
		from.warn("token", "call refused: "+err.Error(), "method", info.FullMethodName)
		return ctx, toStatus(err)
	}
	from.admit()
	return ctx, nil
}

func (g *guard) unary(ctx context.Context, in any, info *grpc.UnaryServerInfo, handle grpc.UnaryHandler) (out any, err error) {
	defer g.recover(info.FullMethod, &err)
	if err := checkDeadline(ctx, info.FullMethod); err != nil {
		return nil, err
	}
	out, err = handle(ctx, in)
	g.tell(ctx, info.FullMethod, err)
	return out, toStatus(err)
}

// tell puts into the log what was refused because of who sent it.
func (g *guard) tell(ctx context.Context, method string, err error) {
	switch {
	case errors.Is(err, errTermLeap):
		visitorOf(ctx).warn("term", "Raft message refused: "+err.Error(), "method", method)
	case errors.Is(err, node.ErrStaleLeader):
		visitorOf(ctx).info("stale leader", "call refused: "+err.Error(), "method", method)
	case errors.Is(err, node.ErrOtherCluster):
		visitorOf(ctx).info("another", "message refused, it is for another node or cluster: "+err.Error(), "method", method)
	}
}

// stream does not ask for a deadline: the streams that volley serves do that
// themselves; health's Watch is meant to stay open. That, and streams of
// summaries, end with the server at the latest.
func (g *guard) stream(srv any, stream grpc.ServerStream, info *grpc.StreamServerInfo, handle grpc.StreamHandler) (err error) {
	defer g.recover(info.FullMethod, &err)
	if isHealth(info.FullMethod) || info.FullMethod == pb.LoadTestCoordinator_StreamMetrics_FullMethodName {
		watch := &watchStream{ServerStream: stream}
		var end context.CancelFunc
		watch.ctx, end = context.WithCancel(stream.Context())
		defer end()
		defer context.AfterFunc(g.life, end)()
		stream = watch
	}
	err = handle(srv, stream)
	g.tell(stream.Context(), info.FullMethod, err)
	return toStatus(err)
}

// watchStream is a stream that ends with the server, not only with its caller.
type watchStream struct {
	grpc.ServerStream
	ctx context.Context
}

func (w *watchStream) Context() context.Context { return w.ctx }

// recover keeps one bad message from ending the process, and with it a run.
func (g *guard) recover(method string, err *error) {
	if cause := recover(); cause != nil {
		g.log.Error("panic in a call", "method", method, "panic", fmt.Sprint(cause), "stack", string(debug.Stack()))
		*err = status.Errorf(codes.Internal, "internal error in %s", method)
	}
}

// admit compares the caller's token in constant time, length included.
func (g *guard) admit(ctx context.Context) error {
	if g.token == "" {
		return nil
	}
	shown := metadata.ValueFromIncomingContext(ctx, authHeader)
	if len(shown) != 1 || !strings.HasPrefix(shown[0], bearer) {
		return fmt.Errorf("%w: the call shows no bearer token (accepted: the token of CLUSTER_TOKEN)", node.ErrUnauthenticated)
	}
	got, want := sha256.Sum256([]byte(shown[0][len(bearer):])), sha256.Sum256([]byte(g.token))
	if subtle.ConstantTimeCompare(got[:], want[:]) != 1 {
		return fmt.Errorf("%w: the call shows another token than this node's CLUSTER_TOKEN", node.ErrUnauthenticated)
	}
	return nil
}

// checkDeadline refuses a call that could keep a handler for ever.
func checkDeadline(ctx context.Context, method string) error {
	if _, ok := ctx.Deadline(); ok || isHealth(method) {
		return nil
	}
	return status.Errorf(codes.InvalidArgument, "%s has no deadline (every call must carry one)", method)
}

// isHealth: health probes may come without a deadline.
func isHealth(method string) bool { return strings.HasPrefix(method, "/grpc.health.v1.Health/") }

// tokenCredentials shows the token on every call. Whether it may travel
// without TLS is the settings' decision (CLUSTER_INSECURE).
type tokenCredentials string

var _ credentials.PerRPCCredentials = tokenCredentials("")

func (t tokenCredentials) GetRequestMetadata(context.Context, ...string) (map[string]string, error) {
	return map[string]string{authHeader: bearer + string(t)}, nil
}

func (t tokenCredentials) RequireTransportSecurity() bool { return false }
