package grpcsvc

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/grpc/test/bufconn"

	"volley/node"
)

func TestCallOnABlackHoleEndsWithItsDeadline(t *testing.T) {
	noLeaks(t)
	addr := blackHole(t)
	for name, call := range calls(newClient(t, ClientOptions{})) {
		begin := time.Now()
		err := call(within(t, 50*time.Millisecond), addr)
		if took := time.Since(begin); !errors.Is(err, context.DeadlineExceeded) || took < 50*time.Millisecond || took > 2*time.Second {
			t.Errorf("%s: got %v after %s", name, err, took)
		}
	}
}

func TestRefusedConnectionFailsFast(t *testing.T) {
	noLeaks(t)
	listener := listen(t, "127.0.0.1:0")
	addr := listener.Addr().String()
	_ = listener.Close()
	client := newClient(t, ClientOptions{})
	for name, call := range calls(client) {
		if name == "Distribute" {
			continue // waits, see below
		}
		err := call(within(t, patience), addr)
		if status.Code(err) != codes.Unavailable || !strings.Contains(err.Error(), addr) || errors.Is(err, node.ErrUnauthenticated) {
			t.Errorf("%s: got %v", name, err)
		}
	}
	_, err := client.Distribute(within(t, 200*time.Millisecond), addr, node.Distribute{})
	if !errors.Is(err, context.DeadlineExceeded) || !strings.Contains(err.Error(), "refused") {
		t.Errorf("Distribute: got %v, want the deadline and why there was no connection", err)
	}
}

func TestDistributeWaitsForTheNode(t *testing.T) {
	noLeaks(t)
	reserved := listen(t, "127.0.0.1:0")
	addr := reserved.Addr().String()
	_ = reserved.Close()
	client, ctx := newClient(t, ClientOptions{}), within(t, patience)
	if _, err := client.Ping(ctx, addr); status.Code(err) != codes.Unavailable { // the address is known as refusing
		t.Fatalf("Ping: %v", err)
	}
	type outcome struct {
		ack node.Ack
		err error
	}
	got := make(chan outcome, 1)
	go func() {
		ack, err := client.Distribute(ctx, addr, node.Distribute{})
		got <- outcome{ack, err}
	}()
	serve(t, listen(t, addr), Options{Handler: answering(node.Ack{Version: "sha256:1"}, nil)})
	if o := <-got; o.err != nil || o.ack.Version != "sha256:1" {
		t.Errorf("got %v, %v", o.ack, o.err)
	}
}

func TestBadAddressIsNamed(t *testing.T) {
	noLeaks(t)
	client := newClient(t, ClientOptions{})
	for _, addr := range []string{"", "host", "::1:7000"} {
		if _, err := client.Ping(within(t, patience), addr); err == nil || !strings.HasSuffix(err.Error(), `: not host:port`) {
			t.Errorf("%q: got %v", addr, err)
		}
	}
}

// countedDials is a dialer into memory that knows how many connections it opened and closed.
type countedDials struct {
	listener       *bufconn.Listener
	opened, closed atomic.Int64
}

type countedConn struct {
	net.Conn
	dials *countedDials
	once  atomic.Bool
}

func (c *countedConn) Close() error {
	if c.once.CompareAndSwap(false, true) {
		c.dials.closed.Add(1)
	}
	return c.Conn.Close()
}

func (d *countedDials) dial(ctx context.Context, _ string) (net.Conn, error) {
	conn, err := d.listener.DialContext(ctx)
	if err != nil {
		return nil, err
	}
	d.opened.Add(1)
	return &countedConn{Conn: conn, dials: d}, nil
}

// pooled runs test in virtual time with a client of the given options.
func pooled(t *testing.T, o ClientOptions, handler node.Handler, test func(ctx context.Context, client *Client, dials *countedDials)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		dials := &countedDials{listener: bufconn.Listen(1 << 20)}
		o.Dialer = dials.dial
		ctx, cancel := context.WithTimeout(context.Background(), time.Hour)
		ended := make(chan error, 1)
		server := NewServer(Options{Handler: handler})
		go func() { ended <- server.Serve(ctx, dials.listener) }()
		client := NewClient(o)
		test(ctx, client, dials)
		client.Close()
		cancel()
		<-ended
		synctest.Wait()
		if opened, closed := dials.opened.Load(), dials.closed.Load(); opened != closed {
			t.Errorf("%d connections opened, %d closed", opened, closed)
		}
	})
}

func mustPing(ctx context.Context, t *testing.T, client *Client, addr string) {
	t.Helper()
	if _, err := client.Ping(ctx, addr); err != nil {
		t.Fatal(err)
	}
	synctest.Wait()
}

func TestConnectionsAreKept(t *testing.T) {
	pooled(t, ClientOptions{}, answering(node.Pong{}, nil), func(ctx context.Context, client *Client, dials *countedDials) {
		for range 3 {
			mustPing(ctx, t, client, "a:1")
		}
		mustPing(ctx, t, client, "b:1")
		if got := dials.opened.Load(); got != 2 {
			t.Errorf("%d connections for two addresses, want 2", got)
		}
	})
}

// Raft's transport has two connections to each peer: heartbeats to all must not
// close one another's.
func TestThePoolHoldsAThousandPeers(t *testing.T) {
	p := newPool("", nil, nil, nil)
	defer p.close()
	first, err := p.borrow("10.0.0.1:7000", useHeartbeat)
	if err != nil {
		t.Fatal(err)
	}
	p.giveBack(first)
	for i := range 1000 {
		for _, u := range []use{useHeartbeat, useBulk} {
			if i == 0 && u == useHeartbeat {
				continue
			}
			conn, err := p.borrow(fmt.Sprintf("10.0.%d.%d:7000", i/250, i%250+1), u)
			if err != nil {
				t.Fatal(err)
			}
			p.giveBack(conn)
		}
	}
	if again, err := p.borrow("10.0.0.1:7000", useHeartbeat); err != nil || again != first {
		t.Errorf("the first connection is another one now (%v)", err)
	}
}

func TestUnusedConnectionsAreClosed(t *testing.T) {
	pooled(t, ClientOptions{Unused: time.Minute}, answering(node.Pong{}, nil), func(ctx context.Context, client *Client, dials *countedDials) {
		mustPing(ctx, t, client, "a:1")
		<-time.After(59 * time.Second) // virtual
		mustPing(ctx, t, client, "b:1")
		if got := dials.closed.Load(); got != 0 {
			t.Errorf("after 59 s: %d closed, want 0", got)
		}
		<-time.After(2 * time.Second) // virtual
		mustPing(ctx, t, client, "b:1")
		if got := dials.closed.Load(); got != 1 {
			t.Errorf("after 61 s: %d closed, want 1", got)
		}
	})
}

func TestNumberOfConnectionsIsBounded(t *testing.T) {
	var release chan struct{}
	handler := &fakeNode{func(_ context.Context, in any) (any, error) {
		if in != nil {
			<-release
		}
		return nil, nil
	}}
	pooled(t, ClientOptions{MaxConns: 2}, handler, func(ctx context.Context, client *Client, dials *countedDials) {
		release = make(chan struct{})
		mustPing(ctx, t, client, "a:1")
		<-time.After(time.Second) // virtual
		mustPing(ctx, t, client, "b:1")
		mustPing(ctx, t, client, "c:1")
		if opened, closed := dials.opened.Load(), dials.closed.Load(); opened != 3 || closed != 1 {
			t.Errorf("%d opened, %d closed, want 3 and 1", opened, closed)
		}
		busy := make(chan error, 2)
		for _, addr := range []string{"b:1", "c:1"} {
			go func() { busy <- client.Join(ctx, addr, node.Join{}) }()
		}
		synctest.Wait()
		if _, err := client.Ping(ctx, "d:1"); err == nil || !strings.Contains(err.Error(), "all 2 connections are in use") {
			t.Errorf("a third address: got %v", err)
		}
		close(release)
		for range 2 {
			if err := <-busy; err != nil {
				t.Errorf("call under way: %v", err)
			}
		}
		mustPing(ctx, t, client, "d:1") // there is room again
		synctest.Wait()
		if got := dials.closed.Load(); got != 2 {
			t.Errorf("%d closed, want 2", got)
		}
	})
}

func TestCloseCancelsCalls(t *testing.T) {
	handler := &fakeNode{func(ctx context.Context, _ any) (any, error) { <-ctx.Done(); return nil, ctx.Err() }}
	pooled(t, ClientOptions{}, handler, func(ctx context.Context, client *Client, _ *countedDials) {
		pending := make(chan error, 1)
		go func() { _, err := client.Ping(ctx, "a:1"); pending <- err }()
		synctest.Wait()
		client.Close()
		if err := <-pending; status.Code(err) != codes.Canceled {
			t.Errorf("the pending call got %v", err)
		}
		if _, err := client.Ping(ctx, "a:1"); !errors.Is(err, ErrClosed) {
			t.Errorf("a call on a closed client got %v", err)
		}
	})
}
