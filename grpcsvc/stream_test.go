package grpcsvc

import (
	"context"
	"errors"
	"io"
	"reflect"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"volley/grpcsvc/pb"
	"volley/node"
)

// streamNode answers streams by take.
type streamNode struct {
	*fakeNode
	take func(ctx context.Context, head node.StreamHead, from node.SummarySource) error
}

func (n *streamNode) HandleStream(ctx context.Context, head node.StreamHead, from node.SummarySource) error {
	return n.take(ctx, head, from)
}

// acknowledging takes every summary, and shows it to see.
func acknowledging(see func(node.StreamHead, node.Report)) *streamNode {
	return &streamNode{answering(node.Pong{}, nil), func(ctx context.Context, head node.StreamHead, from node.SummarySource) error {
		for {
			r, err := from.Next(ctx)
			if err != nil {
				return err
			}
			see(head, r)
			if err := from.Ack(node.StreamAck{RunID: r.RunID, ServerID: r.Of.ServerID, Incarnation: r.Incarnation, Seq: r.Seq, Again: r.Left}); err != nil {
				return err
			}
		}
	}}
}

func open(ctx context.Context, t *testing.T, c *Client, addr string) node.SummaryStream {
	t.Helper()
	s, err := c.Stream(ctx, addr, node.StreamHead{ClusterID: "c"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Close)
	return s
}

func exchange(t *testing.T, s node.SummaryStream, r node.Report) node.StreamAck {
	t.Helper()
	if err := s.Send(r); err != nil {
		t.Fatal(err)
	}
	a, err := s.Recv()
	if err != nil {
		t.Fatal(err)
	}
	return a
}

func TestEveryFieldOfAStreamCrossesTheWire(t *testing.T) {
	noLeaks(t)
	var gotHead node.StreamHead
	var got node.Report
	listener := listen(t, "127.0.0.1:0")
	serve(t, listener, Options{Handler: acknowledging(func(h node.StreamHead, r node.Report) { gotHead, got = h, r })})
	client, ctx := newClient(t, ClientOptions{}), within(t, patience)
	member := filled[node.StreamHead](t)
	member.Fence = nil
	for _, head := range []node.StreamHead{filled[node.StreamHead](t), member} {
		s, err := client.Stream(ctx, listener.Addr().String(), head)
		if err != nil {
			t.Fatal(err)
		}
		r := filled[node.Report](t)
		r.ClusterID = "" // the head has it
		ack := exchange(t, s, r)
		s.Close()
		if !reflect.DeepEqual(gotHead, head) || !reflect.DeepEqual(got, r) {
			t.Errorf("the node got\n%+v\n%+v, want\n%+v\n%+v", gotHead, got, head, r)
		}
		if want := (node.StreamAck{RunID: r.RunID, ServerID: r.Of.ServerID, Incarnation: r.Incarnation, Seq: r.Seq, Again: true}); ack != want {
			t.Errorf("the sender got %+v, want %+v", ack, want)
		}
	}
}

// A receiver that comes back at the same address is streamed to again.
func TestStreamIsMadeAnewAfterTheReceiverHasEnded(t *testing.T) {
	noLeaks(t)
	client, ctx := newClient(t, ClientOptions{}), within(t, patience)
	listener := listen(t, "127.0.0.1:0")
	addr := listener.Addr().String()
	handler := acknowledging(func(node.StreamHead, node.Report) {})
	stop := serve(t, listener, Options{Handler: handler})
	s := open(ctx, t, client, addr)
	exchange(t, s, node.Report{Seq: 1})
	began := time.Now()
	stop()
	if took := time.Since(began); took > stopTimeout/2 {
		t.Errorf("the stream held the server up: its end took %s", took)
	}
	if _, err := s.Recv(); status.Code(err) != codes.Unavailable {
		t.Errorf("the stream ended with %v, want unavailable", err)
	}
	serve(t, listen(t, addr), Options{Handler: handler})
	eventually(t, "a stream to the next server", func() bool {
		s, err := client.Stream(ctx, addr, node.StreamHead{})
		if err != nil {
			return false
		}
		defer s.Close()
		if s.Send(node.Report{Seq: 2}) != nil {
			return false
		}
		a, err := s.Recv()
		return err == nil && a.Seq == 2
	})
}

func TestStreamHasItsLimits(t *testing.T) {
	noLeaks(t)
	var taken atomic.Int64
	listener := listen(t, "127.0.0.1:0")
	serve(t, listener, Options{Handler: acknowledging(func(node.StreamHead, node.Report) { taken.Add(1) })})
	addr, ctx := listener.Addr().String(), within(t, patience)
	client := newClient(t, ClientOptions{})

	largest := node.Report{Seq: 1, Summary: make([]byte, node.MaxSummary)}
	exchange(t, open(ctx, t, client, addr), largest)
	tooLarge := open(ctx, t, client, addr)
	err := tooLarge.Send(node.Report{Summary: make([]byte, maxMessage+1)})
	if status.Code(err) != codes.ResourceExhausted {
		t.Errorf("too large for the sender: %v", err)
	}
	for name, tt := range map[string]struct {
		life  time.Duration
		first *pb.MetricsUp
		next  *pb.MetricsUp
		want  codes.Code
		words string
	}{
		"too large for the receiver": {time.Minute, &pb.MetricsUp{Head: &pb.MetricsHead{}}, &pb.MetricsUp{Summary: make([]byte, maxMessage+1)}, codes.ResourceExhausted, "larger than max"},
		"no head":                    {time.Minute, &pb.MetricsUp{RunId: "r"}, nil, codes.InvalidArgument, "no head"},
		"no deadline":                {0, &pb.MetricsUp{Head: &pb.MetricsHead{}}, nil, codes.InvalidArgument, "no deadline"},
		"a deadline too far":         {time.Hour, &pb.MetricsUp{Head: &pb.MetricsHead{}}, nil, codes.InvalidArgument, "at most 15m"},
	} {
		ctx, cancel := context.WithCancel(context.Background())
		if tt.life > 0 {
			ctx, cancel = context.WithTimeout(context.Background(), tt.life)
		}
		stream, err := pb.NewLoadTestCoordinatorClient(rawConn(t, addr)).StreamMetrics(ctx)
		if err != nil {
			t.Fatal(err)
		}
		_ = stream.Send(tt.first) // a failure is what Recv tells
		if tt.next != nil {
			_ = stream.Send(tt.next)
		}
		if _, err := stream.Recv(); status.Code(err) != tt.want || !strings.Contains(err.Error(), tt.words) {
			t.Errorf("%s: got %v, want %s", name, err, tt.want)
		}
		cancel()
	}
	if n := taken.Load(); n != 1 {
		t.Errorf("the node took %d summaries, want one", n)
	}
}

// Whoever opens a stream and says nothing is not waited for.
func TestStreamWithoutAWordEnds(t *testing.T) {
	handler := acknowledging(func(node.StreamHead, node.Report) {})
	inMemory(t, handler, func(ctx context.Context, client *Client, _ context.CancelFunc, _ <-chan error) {
		conn, err := client.pool.borrow("a:1", useStream)
		if err != nil {
			t.Fatal(err)
		}
		defer client.pool.giveBack(conn)
		stream, err := pb.NewLoadTestCoordinatorClient(conn).StreamMetrics(ctx)
		if err != nil {
			t.Fatal(err)
		}
		began := time.Now()
		_, err = stream.Recv()
		if took := time.Since(began); status.Code(err) != codes.DeadlineExceeded || took > 6*time.Second {
			t.Errorf("ended after %s: %v", took, err)
		}
	})
}

// A receiver that reads nothing holds up its sender, and nobody else; what waits
// for it is bounded, and the sender can give up.
func TestSlowReceiverHoldsUpItsSenderOnly(t *testing.T) {
	noLeaks(t)
	listener := listen(t, "127.0.0.1:0")
	handler := &streamNode{answering(node.Pong{ServerID: "a"}, nil), func(ctx context.Context, _ node.StreamHead, _ node.SummarySource) error {
		<-ctx.Done()
		return ctx.Err()
	}}
	serve(t, listener, Options{Handler: handler})
	client, ctx, addr := newClient(t, ClientOptions{}), within(t, patience), listener.Addr().String()
	life, end := context.WithCancel(ctx)
	s := open(life, t, client, addr)
	var sent atomic.Int64
	over := make(chan error, 1)
	go func() {
		for {
			if err := s.Send(node.Report{Summary: make([]byte, 50<<10)}); err != nil {
				over <- err
				return
			}
			sent.Add(1)
		}
	}()
	before, held := int64(-1), 0
	eventually(t, "the sender is held up", func() bool {
		now := sent.Load()
		if held++; now != before {
			held = 0
		}
		before = now
		if _, err := client.Ping(ctx, addr); err != nil {
			t.Fatalf("another call is held up: %v", err)
		}
		return held > 20 && now > 0
	})
	if n := sent.Load(); n > 20 {
		t.Errorf("%d summaries of 50 KiB are on their way", n)
	}
	end()
	if err := <-over; !errors.Is(err, context.Canceled) && !errors.Is(err, io.EOF) {
		t.Errorf("the sender was released with %v", err)
	}
}

func TestStreamOfWhoHasNoTokenIsRefused(t *testing.T) {
	noLeaks(t)
	listener := listen(t, "127.0.0.1:0")
	serve(t, listener, Options{Token: "secret", Handler: acknowledging(func(node.StreamHead, node.Report) { t.Error("taken") })})
	s, err := newClient(t, ClientOptions{Token: "other"}).Stream(within(t, patience), listener.Addr().String(), node.StreamHead{})
	if err == nil { // the refusal is on its way
		defer s.Close()
		_ = s.Send(node.Report{Seq: 1})
		_, err = s.Recv()
	}
	if !errors.Is(err, node.ErrUnauthenticated) {
		t.Errorf("got %v", err)
	}
}
