// Package check holds the files of deploy/ and cloudbuild.yaml against what
// they are read by: Kubernetes' and Cloud Build's own types, HCL's parser, a
// shell. It is a module of its own, as those types are large and nothing of
// volley needs them:
//
//	cd deploy/check && go test -count=1 ./...
package check
