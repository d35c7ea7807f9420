package grpcsvc

import (
	"context"
	"errors"
	"io"
	"net"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/grpc/test/bufconn"

	"volley/grpcsvc/pb"
	"volley/node"
)

func rawConn(t *testing.T, addr string) *grpc.ClientConn {
	t.Helper()
	conn, err := grpc.NewClient("passthrough:///"+addr, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	return conn
}

// everyMethod calls each method of both services with an empty message and
// hands over the code it got.
func everyMethod(ctx context.Context, conn *grpc.ClientConn, see func(method string, err error)) {
	for _, service := range []grpc.ServiceDesc{pb.LoadTestCoordinator_ServiceDesc, pb.Raft_ServiceDesc} {
		for _, m := range service.Methods {
			method := "/" + service.ServiceName + "/" + m.MethodName
			see(method, conn.Invoke(ctx, method, &pb.Done{}, &pb.Done{}))
		}
		for _, s := range service.Streams {
			method := "/" + service.ServiceName + "/" + s.StreamName
			stream, err := conn.NewStream(ctx, &s, method)
			if err == nil {
				_ = stream.SendMsg(&pb.Done{}) // a failure is what RecvMsg tells
				_ = stream.CloseSend()
				err = stream.RecvMsg(&pb.Done{})
			}
			see(method, err)
		}
	}
}

func TestTokenIsAskedOnEveryMethod(t *testing.T) {
	noLeaks(t)
	listener := listen(t, "127.0.0.1:0")
	transport := NewTransport(TransportOptions{ServerID: "a", ClusterID: func() string { return "c" }})
	t.Cleanup(func() { _ = transport.Close() })
	serve(t, listener, Options{Handler: answering(nil, nil), Transport: transport, Token: "secret"})
	addr, ctx := listener.Addr().String(), within(t, patience)
	conn := rawConn(t, addr)

	refused := map[string]context.Context{
		"no token":      ctx,
		"another":       metadata.AppendToOutgoingContext(ctx, "authorization", "Bearer secreT"),
		"longer":        metadata.AppendToOutgoingContext(ctx, "authorization", "Bearer secret2"),
		"empty":         metadata.AppendToOutgoingContext(ctx, "authorization", "Bearer "),
		"not a bearer":  metadata.AppendToOutgoingContext(ctx, "authorization", "secret"),
		"shown thrice":  metadata.AppendToOutgoingContext(ctx, "authorization", "Bearer x", "authorization", "Bearer secret", "authorization", "Bearer secret"),
		"shown twice":   metadata.AppendToOutgoingContext(ctx, "authorization", "Bearer secret", "authorization", "Bearer secret"),
		"other header":  metadata.AppendToOutgoingContext(ctx, "token", "Bearer secret"),
		"basic instead": metadata.AppendToOutgoingContext(ctx, "authorization", "Basic secret"),
	}
	for name, ctx := range refused {
		count := 0
		everyMethod(ctx, conn, func(method string, err error) {
			count++
			if status.Code(err) != codes.Unauthenticated || strings.Contains(err.Error(), "secret") {
				t.Errorf("%s, %s: got %v, want unauthenticated without the token", name, method, err)
			}
		})
		if count != 20 {
			t.Fatalf("%d methods called, want 15 of LoadTestCoordinator and 5 of Raft", count)
		}
	}
	everyMethod(metadata.AppendToOutgoingContext(ctx, "authorization", "Bearer secret"), conn, func(method string, err error) {
		want := codes.OK
		switch {
		case strings.Contains(method, ".Raft/"):
			want = codes.FailedPrecondition // no target named
		case strings.Contains(method, "StreamMetrics"):
			want = codes.InvalidArgument // no head
		case (strings.Contains(method, "FetchData") || strings.Contains(method, "FetchResult")) && errors.Is(err, io.EOF):
			err = nil // a file of no bytes is a stream of no messages
		}
		if status.Code(err) != want {
			t.Errorf("right token, %s: got %v, want %s", method, err, want)
		}
	})
}

func TestTokenOfTheClient(t *testing.T) {
	noLeaks(t)
	listener := listen(t, "127.0.0.1:0")
	serve(t, listener, Options{Handler: answering(nil, nil), Token: "secret"})
	addr, ctx := listener.Addr().String(), within(t, patience)

	for name, call := range calls(newClient(t, ClientOptions{Token: "secret"})) {
		if err := call(ctx, addr); err != nil {
			t.Errorf("right token, %s: %v", name, err)
		}
	}
	for token, want := range map[string]string{
		"":      "unauthenticated: the call shows no bearer token (accepted: the token of CLUSTER_TOKEN)",
		"other": "unauthenticated: the call shows another token than this node's CLUSTER_TOKEN",
	} {
		for name, call := range calls(newClient(t, ClientOptions{Token: token})) {
			if err := call(ctx, addr); !errors.Is(err, node.ErrUnauthenticated) || err.Error() != want {
				t.Errorf("token %q, %s: got %v", token, name, err)
			}
		}
	}
}

// The shared secret is one that every call must show.
func TestHealthNeedsTheToken(t *testing.T) {
	noLeaks(t)
	listener := listen(t, "127.0.0.1:0")
	serve(t, listener, Options{Handler: answering(nil, nil), Token: "secret"})
	health := healthpb.NewHealthClient(rawConn(t, listener.Addr().String()))
	show := grpc.PerRPCCredentials(tokenCredentials("secret"))
	for _, service := range []string{"", "volley.v1.LoadTestCoordinator"} {
		request := &healthpb.HealthCheckRequest{Service: service}
		if got, err := health.Check(context.Background(), request, show); err != nil || got.GetStatus() != healthpb.HealthCheckResponse_SERVING {
			t.Errorf("%q: got %v, %v", service, got, err)
		}
		if _, err := health.Check(within(t, patience), request); status.Code(err) != codes.Unauthenticated {
			t.Errorf("%q without the token: got %v", service, err)
		}
		watch, err := health.Watch(within(t, patience), request)
		if err == nil {
			_, err = watch.Recv()
		}
		if status.Code(err) != codes.Unauthenticated {
			t.Errorf("%q watched without the token: got %v", service, err)
		}
	}
}

// A watch of health ends with the server instead of holding it up.
func TestWatchOfHealthDoesNotHoldUpTheEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		listener := bufconn.Listen(1 << 20)
		serving, stop := context.WithCancel(context.Background())
		ended := make(chan error, 1)
		go func() { ended <- NewServer(Options{Handler: answering(nil, nil)}).Serve(serving, listener) }()
		conn, err := grpc.NewClient("passthrough:///a", grpc.WithTransportCredentials(insecure.NewCredentials()),
			grpc.WithContextDialer(func(ctx context.Context, _ string) (net.Conn, error) { return listener.DialContext(ctx) }))
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		for _, service := range []string{"", "nobody knows this one"} {
			watch, err := healthpb.NewHealthClient(conn).Watch(context.Background(), &healthpb.HealthCheckRequest{Service: service})
			if err != nil {
				t.Fatal(err)
			}
			if _, err := watch.Recv(); err != nil {
				t.Fatal(err)
			}
		}
		began := time.Now()
		stop()
		if err := <-ended; err != nil {
			t.Error(err)
		}
		if took := time.Since(began); took > 100*time.Millisecond {
			t.Errorf("the end took %s", took)
		}
	})
}

func TestCallsWithoutDeadlineAreRefused(t *testing.T) {
	noLeaks(t)
	reached := false
	listener := listen(t, "127.0.0.1:0")
	serve(t, listener, Options{Handler: &fakeNode{func(context.Context, any) (any, error) { reached = true; return nil, nil }}})
	addr := listener.Addr().String()

	for name, call := range calls(newClient(t, ClientOptions{})) {
		if err := call(context.Background(), addr); err == nil || !strings.Contains(err.Error(), "context has no deadline") {
			t.Errorf("client, %s: got %v", name, err)
		}
	}
	_, err := pb.NewLoadTestCoordinatorClient(rawConn(t, addr)).Ping(context.Background(), &pb.PingRequest{})
	if status.Code(err) != codes.InvalidArgument || !strings.Contains(err.Error(), "has no deadline") {
		t.Errorf("server: got %v", err)
	}
	if reached {
		t.Error("a call without deadline reached the node")
	}
}

func TestPanicIsAnErrorOfThatCallOnly(t *testing.T) {
	noLeaks(t)
	log, text := logBuffer()
	listener := listen(t, "127.0.0.1:0")
	stop := serve(t, listener, Options{Log: log, Handler: &fakeNode{func(_ context.Context, in any) (any, error) {
		if in != nil {
			panic("secret of the node")
		}
		return node.Pong{ServerID: "a"}, nil
	}}})
	client, addr, ctx := newClient(t, ClientOptions{}), listener.Addr().String(), within(t, patience)
	err := client.Join(ctx, addr, node.Join{})
	if status.Code(err) != codes.Internal || strings.Contains(err.Error(), "secret") {
		t.Errorf("got %v", err)
	}
	if pong, err := client.Ping(ctx, addr); err != nil || pong.ServerID != "a" {
		t.Errorf("afterwards: %v, %v", pong, err)
	}
	stop()
	if !strings.Contains(text.String(), "secret of the node") || !strings.Contains(text.String(), "/volley.v1.LoadTestCoordinator/Join") {
		t.Errorf("log: %s", text)
	}
}

// inMemory runs test in virtual time with a server and a client joined by memory.
func inMemory(t *testing.T, handler node.Handler, test func(ctx context.Context, client *Client, stop context.CancelFunc, ended <-chan error)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		listener := bufconn.Listen(1 << 20)
		serving, stop := context.WithCancel(context.Background())
		ended := make(chan error, 1)
		server := NewServer(Options{Handler: handler})
		go func() { ended <- server.Serve(serving, listener) }()
		client := NewClient(ClientOptions{Dialer: func(ctx context.Context, _ string) (net.Conn, error) { return listener.DialContext(ctx) }})
		ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
		test(ctx, client, stop, ended)
		cancel()
		client.Close()
		stop()
		synctest.Wait()
	})
}

func TestStopLetsCallsFinish(t *testing.T) {
	entered, finish := make(chan struct{}), make(chan struct{})
	handler := &fakeNode{func(context.Context, any) (any, error) {
		close(entered)
		<-time.After(2 * time.Second) // virtual
		close(finish)
		return node.Pong{ServerID: "a"}, nil
	}}
	inMemory(t, handler, func(ctx context.Context, client *Client, stop context.CancelFunc, ended <-chan error) {
		go func() { <-entered; stop() }()
		pong, err := client.Ping(ctx, "a:1")
		if err != nil || pong.ServerID != "a" {
			t.Errorf("the call under way got %v, %v", pong, err)
		}
		if err := <-ended; err != nil {
			t.Errorf("Serve: %v", err)
		}
	})
	<-finish
}

func TestStopCancelsAfterThreeSeconds(t *testing.T) {
	entered, gone := make(chan time.Time, 1), make(chan time.Time, 1)
	handler := &fakeNode{func(ctx context.Context, _ any) (any, error) {
		entered <- time.Now()
		<-ctx.Done()
		gone <- time.Now()
		return nil, ctx.Err()
	}}
	inMemory(t, handler, func(ctx context.Context, client *Client, stop context.CancelFunc, ended <-chan error) {
		called := make(chan error, 1)
		go func() { _, err := client.Ping(ctx, "a:1"); called <- err }()
		begin := <-entered
		stop()
		if err := <-ended; err != nil {
			t.Errorf("Serve: %v", err)
		}
		select {
		case end := <-gone:
			if took := end.Sub(begin); took != stopTimeout {
				t.Errorf("the handler was cancelled after %s, want %s", took, stopTimeout)
			}
		default:
			t.Error("Serve returned before the handler")
		}
		if err := <-called; status.Code(err) != codes.Unavailable {
			t.Errorf("the caller got %v", err)
		}
	})
}

func TestServeReportsAListenerThatFails(t *testing.T) {
	noLeaks(t)
	listener := listen(t, "127.0.0.1:0")
	_ = listener.Close()
	err := NewServer(Options{Handler: answering(nil, nil)}).Serve(within(t, patience), listener)
	if err == nil || !strings.Contains(err.Error(), "serve gRPC on 127.0.0.1:") {
		t.Errorf("got %v", err)
	}
}
