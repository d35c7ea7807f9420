package grpcsvc

import (
	"bytes"
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"runtime"
	"strings"
	"testing"
	"time"

	"volley/node"
)

const patience = 30 * time.Second // for a condition that must become true

// eventually polls condition until it holds.
func eventually(t *testing.T, what string, condition func() bool) {
	t.Helper()
	deadline := time.NewTimer(patience)
	defer deadline.Stop()
	poll := time.NewTicker(5 * time.Millisecond)
	defer poll.Stop()
	for !condition() {
		select {
		case <-poll.C:
		case <-deadline.C:
			t.Fatalf("not within %s: %s", patience, what)
		}
	}
}

// noLeaks fails the test if goroutines of ours, gRPC's or Raft's outlive it.
// It is called first, so that it looks after every other cleanup.
func noLeaks(t *testing.T) {
	t.Helper()
	t.Cleanup(func() {
		deadline := time.NewTimer(patience)
		defer deadline.Stop()
		poll := time.NewTicker(5 * time.Millisecond)
		defer poll.Stop()
		for {
			left := leaked()
			if len(left) == 0 {
				return
			}
			select {
			case <-poll.C:
			case <-deadline.C:
				t.Fatalf("%d goroutines outlive the test:\n\n%s", len(left), strings.Join(left, "\n\n"))
			}
		}
	})
}

func leaked() []string {
	buf := make([]byte, 1<<20)
	var found []string
	for _, stack := range strings.Split(string(buf[:runtime.Stack(buf, true)]), "\n\n") {
		ours := strings.Contains(stack, "volley/grpcsvc.") || strings.Contains(stack, "google.golang.org/grpc") || strings.Contains(stack, "hashicorp/raft")
		if ours && !strings.Contains(stack, "testing.tRunner") && !strings.Contains(stack, "testing.runTests") {
			found = append(found, stack)
		}
	}
	return found
}

func within(t *testing.T, d time.Duration) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), d)
	t.Cleanup(cancel)
	return ctx
}

func listen(t *testing.T, addr string) net.Listener {
	t.Helper()
	listener, err := net.Listen("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	return listener
}

// serve runs a server on listener; stop ends it and waits.
func serve(t *testing.T, listener net.Listener, o Options) (stop func()) {
	t.Helper()
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	server := NewServer(o)
	go func() { ended <- server.Serve(ctx, listener) }()
	stopped := false
	stop = func() {
		if stopped {
			return
		}
		stopped = true
		cancel()
		if err := <-ended; err != nil {
			t.Errorf("Serve: %v", err)
		}
	}
	t.Cleanup(stop)
	return stop
}

func newClient(t *testing.T, o ClientOptions) *Client {
	t.Helper()
	client := NewClient(o)
	t.Cleanup(client.Close)
	return client
}

// blackHole accepts connections and never answers.
func blackHole(t *testing.T) string {
	t.Helper()
	listener := listen(t, "127.0.0.1:0")
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		var held []net.Conn
		for {
			conn, err := listener.Accept()
			if err != nil {
				break
			}
			held = append(held, conn)
		}
		for _, conn := range held {
			_ = conn.Close()
		}
	}()
	t.Cleanup(func() { _ = listener.Close(); <-ended })
	return listener.Addr().String()
}

// fakeNode answers every call by handle, which gets the message (nil for Ping)
// and returns the reply (ignored where there is none).
type fakeNode struct {
	handle func(ctx context.Context, in any) (any, error)
}

func reply[T any](out any, err error) (T, error) {
	typed, _ := out.(T)
	return typed, err
}

func (f *fakeNode) HandleHello(ctx context.Context, in node.Hello) (node.HelloReply, error) {
	return reply[node.HelloReply](f.handle(ctx, in))
}

func (f *fakeNode) HandleGrant(ctx context.Context, in node.Grant) (node.GrantReply, error) {
	return reply[node.GrantReply](f.handle(ctx, in))
}

func (f *fakeNode) HandleJoin(ctx context.Context, in node.Join) error {
	_, err := f.handle(ctx, in)
	return err
}

func (f *fakeNode) HandleLeave(ctx context.Context, in node.Leave) error {
	_, err := f.handle(ctx, in)
	return err
}

func (f *fakeNode) HandleDistribute(ctx context.Context, in node.Distribute) (node.Ack, error) {
	return reply[node.Ack](f.handle(ctx, in))
}

func (f *fakeNode) HandleStartTest(ctx context.Context, in node.StartTest) error {
	_, err := f.handle(ctx, in)
	return err
}

func (f *fakeNode) HandleStopTest(ctx context.Context, in node.StopTest) error {
	_, err := f.handle(ctx, in)
	return err
}

func (f *fakeNode) HandleSubmit(ctx context.Context, in node.Submit) (node.Submitted, error) {
	return reply[node.Submitted](f.handle(ctx, in))
}

func (f *fakeNode) HandleStop(ctx context.Context, in node.StopRequest) (node.Stopped, error) {
	return reply[node.Stopped](f.handle(ctx, in))
}

func (f *fakeNode) HandleReport(ctx context.Context, in node.Report) error {
	_, err := f.handle(ctx, in)
	return err
}

func (f *fakeNode) HandleStream(ctx context.Context, head node.StreamHead, _ node.SummarySource) error {
	_, err := f.handle(ctx, head)
	return err
}

func (f *fakeNode) HandleHealthCheck(ctx context.Context, in node.HealthCheck) (node.Health, error) {
	return reply[node.Health](f.handle(ctx, in))
}

func (f *fakeNode) HandlePing(ctx context.Context) (node.Pong, error) {
	return reply[node.Pong](f.handle(ctx, nil))
}

func (f *fakeNode) HandleFetchData(ctx context.Context, in node.FetchData) (io.ReadCloser, error) {
	out, err := f.handle(ctx, in)
	text, _ := out.([]byte)
	return io.NopCloser(bytes.NewReader(text)), err
}

func (f *fakeNode) HandleFetchResult(ctx context.Context, in node.FetchResult) ([]byte, error) {
	return reply[[]byte](f.handle(ctx, in))
}

// answering is a node that gives everybody the same answer.
func answering(out any, err error) *fakeNode {
	return &fakeNode{func(context.Context, any) (any, error) { return out, err }}
}

// calls is every call of the client by name, with a zero message.
func calls(c *Client) map[string]func(ctx context.Context, addr string) error {
	return map[string]func(ctx context.Context, addr string) error{
		"Hello": func(ctx context.Context, a string) error { _, err := c.Hello(ctx, a, node.Hello{}); return err },
		"Grant": func(ctx context.Context, a string) error { _, err := c.Grant(ctx, a, node.Grant{}); return err },
		"Join":  func(ctx context.Context, a string) error { return c.Join(ctx, a, node.Join{}) },
		"Leave": func(ctx context.Context, a string) error { return c.Leave(ctx, a, node.Leave{}) },
		"Distribute": func(ctx context.Context, a string) error {
			_, err := c.Distribute(ctx, a, node.Distribute{})
			return err
		},
		"StartTest": func(ctx context.Context, a string) error { return c.StartTest(ctx, a, node.StartTest{}) },
		"StopTest":  func(ctx context.Context, a string) error { return c.StopTest(ctx, a, node.StopTest{}) },
		"Submit":    func(ctx context.Context, a string) error { _, err := c.Submit(ctx, a, node.Submit{}); return err },
		"Stop":      func(ctx context.Context, a string) error { _, err := c.Stop(ctx, a, node.StopRequest{}); return err },
		"Report":    func(ctx context.Context, a string) error { return c.Report(ctx, a, node.Report{}) },
		"Stream": func(ctx context.Context, a string) error {
			s, err := c.Stream(ctx, a, node.StreamHead{})
			if err != nil {
				return err
			}
			defer s.Close()
			if _, err = s.Recv(); errors.Is(err, io.EOF) { // it has ended well
				err = nil
			}
			return err
		},
		"HealthCheck": func(ctx context.Context, a string) error {
			_, err := c.HealthCheck(ctx, a, node.HealthCheck{})
			return err
		},
		"Ping": func(ctx context.Context, a string) error { _, err := c.Ping(ctx, a); return err },
		"FetchResult": func(ctx context.Context, a string) error {
			return c.FetchResult(ctx, a, node.FetchResult{}, io.Discard)
		},
		"FetchData": func(ctx context.Context, a string) error { return c.FetchData(ctx, a, node.FetchData{}, io.Discard) },
	}
}

// logBuffer is a log that can be read after the server stopped.
func logBuffer() (*slog.Logger, *bytes.Buffer) {
	var b bytes.Buffer
	return slog.New(slog.NewTextHandler(&b, nil)), &b
}
