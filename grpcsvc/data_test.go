package grpcsvc

import (
	"bytes"
	"context"
	"errors"
	"io"
	"strings"
	"testing"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"volley/grpcsvc/pb"
	"volley/node"
)

// fileNode has one data file, and says when it has been closed.
type fileNode struct {
	*fakeNode
	file   io.Reader
	closed chan struct{}
}

func (f *fileNode) HandleFetchData(context.Context, node.FetchData) (io.ReadCloser, error) {
	return f, nil
}
func (f *fileNode) Read(p []byte) (int, error) { return f.file.Read(p) }
func (f *fileNode) Close() error               { close(f.closed); return nil }

func serveFile(t *testing.T, file io.Reader) (*fileNode, string) {
	t.Helper()
	n := &fileNode{fakeNode: answering(nil, nil), file: file, closed: make(chan struct{})}
	listener := listen(t, "127.0.0.1:0")
	serve(t, listener, Options{Handler: n})
	return n, listener.Addr().String()
}

// endless is a file without an end.
type endless struct{}

func (endless) Read(p []byte) (int, error) { return len(p), nil }

// fullDisk takes some bytes.
type fullDisk struct{ left int }

var errFullDisk = errors.New("no space left on device")

func (d *fullDisk) Write(p []byte) (int, error) {
	if d.left -= len(p); d.left < 0 {
		return 0, errFullDisk
	}
	return len(p), nil
}

func TestADataFileThatCannotBeKeptEndsItsStream(t *testing.T) {
	noLeaks(t)
	n, addr := serveFile(t, endless{})
	err := newClient(t, ClientOptions{}).FetchData(within(t, patience), addr, node.FetchData{}, &fullDisk{left: 5 * dataChunk})
	if err != errFullDisk { //nolint:errorlint // it is the very same
		t.Errorf("got %v, want the writer's own error", err)
	}
	<-n.closed
}

// TestADataFileIsSentOnlyAsFastAsItIsTaken: a receiver that does not read holds
// the sender back, and its end ends it.
func TestADataFileIsSentOnlyAsFastAsItIsTaken(t *testing.T) {
	noLeaks(t)
	n, addr := serveFile(t, endless{})
	ctx, cancel := context.WithCancel(within(t, patience))
	err := newClient(t, ClientOptions{}).FetchData(ctx, addr, node.FetchData{}, writerFunc(func(p []byte) (int, error) {
		cancel()
		return len(p), nil
	}))
	if !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
	<-n.closed
}

type writerFunc func([]byte) (int, error)

func (f writerFunc) Write(p []byte) (int, error) { return f(p) }

func TestWhatCameOfADataFileBeforeItsErrorIsRight(t *testing.T) {
	noLeaks(t)
	text := bytes.Repeat([]byte("volley "), dataChunk/2)
	_, addr := serveFile(t, io.MultiReader(bytes.NewReader(text), broken{}))
	var to bytes.Buffer
	err := newClient(t, ClientOptions{}).FetchData(within(t, patience), addr, node.FetchData{}, &to)
	if err == nil || err.Error() != "FetchData "+addr+": input/output error" {
		t.Errorf("got %v", err)
	}
	if to.Len() < dataChunk || !bytes.HasPrefix(text, to.Bytes()) {
		t.Errorf("%d bytes came, or others", to.Len())
	}
}

type broken struct{}

func (broken) Read([]byte) (int, error) { return 0, errors.New("input/output error") }

func TestFetchResultNeedsADeadline(t *testing.T) {
	noLeaks(t)
	listener := listen(t, "127.0.0.1:0")
	serve(t, listener, Options{Handler: answering([]byte("{}"), nil)})
	addr := listener.Addr().String()
	if err := newClient(t, ClientOptions{}).FetchResult(t.Context(), addr, node.FetchResult{}, io.Discard); err == nil || !strings.Contains(err.Error(), "no deadline") {
		t.Errorf("client: %v, want that there is no deadline", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	stream, err := pb.NewLoadTestCoordinatorClient(rawConn(t, addr)).FetchResult(ctx, &pb.FetchResultRequest{})
	if err == nil {
		_, err = stream.Recv()
	}
	if status.Code(err) != codes.InvalidArgument {
		t.Errorf("server: %v, want InvalidArgument", err)
	}
}

func TestFetchDataNeedsADeadline(t *testing.T) {
	noLeaks(t)
	_, addr := serveFile(t, strings.NewReader("x"))
	if err := newClient(t, ClientOptions{}).FetchData(t.Context(), addr, node.FetchData{}, io.Discard); err == nil || !strings.Contains(err.Error(), "no deadline") {
		t.Errorf("the client sends it: %v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	stream, err := pb.NewLoadTestCoordinatorClient(rawConn(t, addr)).FetchData(ctx, &pb.FetchDataRequest{})
	if err == nil {
		_, err = stream.Recv()
	}
	if status.Code(err) != codes.InvalidArgument || !strings.Contains(err.Error(), "no deadline") {
		t.Errorf("the server answers it: %v", err)
	}
}
