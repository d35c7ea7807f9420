package grpcsvc

import (
	"bytes"
	"context"
	"fmt"
	"net"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"volley/grpcsvc/pb"
	"volley/node"
)

// countingListener counts what arrives.
type countingListener struct {
	net.Listener
	in atomic.Int64
}

func (l *countingListener) Accept() (net.Conn, error) {
	c, err := l.Listener.Accept()
	return &countingConn{c, &l.in}, err
}

type countingConn struct {
	net.Conn
	in *atomic.Int64
}

func (c *countingConn) Read(p []byte) (int, error) {
	n, err := c.Conn.Read(p)
	c.in.Add(int64(n))
	return n, err
}

// What has not changed since the last acknowledgement is not sent again. Whole are
// the first summary of a stream, and so the first to a new leader, and what the
// receiver asks for; the node gets whole summaries always.
func TestStreamLeavesOutWhatHasNotChanged(t *testing.T) {
	noLeaks(t)
	list := told(t, 20, 0, 100, 30, 6)
	var got []node.Report
	listener := &countingListener{Listener: listen(t, "127.0.0.1:0")}
	serve(t, listener, Options{Handler: acknowledging(func(_ node.StreamHead, r node.Report) { got = append(got, r) })})
	client, ctx := newClient(t, ClientOptions{}), within(t, patience)
	seq := 0
	send := func(s node.SummaryStream, run string, refused bool) (bytesSent int64) {
		t.Helper()
		before := listener.in.Load()
		body := list[seq%len(list)]
		seq++
		// The receiver of these tests asks for more with Left.
		a := exchange(t, s, node.Report{RunID: run, Of: node.Member{ServerID: "a-1"}, Incarnation: "x", Seq: uint64(seq), Summary: body, Left: refused})
		if last := got[len(got)-1]; a.Again != refused || last.Seq != uint64(seq) || !bytes.Equal(last.Summary, body) {
			t.Fatalf("summary %d arrived as %d with %d bytes, want %d; again %v, want %v", seq, last.Seq, len(last.Summary), len(body), a.Again, refused)
		}
		return listener.in.Load() - before
	}
	size := int64(len(list[0]))
	whole := func(what string, sent int64) {
		t.Helper()
		if sent < size {
			t.Errorf("%s: %d bytes were sent, want all %d", what, sent, size)
		}
	}
	little := func(what string, sent int64) {
		t.Helper()
		if sent > size/3 {
			t.Errorf("%s: %d bytes were sent, want less than a third of %d", what, sent, size)
		}
	}
	s := open(ctx, t, client, listener.Addr().String())
	whole("the first", send(s, "r", false))
	little("the second", send(s, "r", false))
	little("one that is not kept", send(s, "r", true))
	whole("after that", send(s, "r", false))
	whole("of the next run", send(s, "s", false))
	little("of this run, beside it", send(s, "r", false))
	whole("the first to another stream", send(open(ctx, t, client, listener.Addr().String()), "r", false))
}

// A receiver that cannot make a summary whole asks for all of it, and its node sees
// nothing of that.
func TestReceiverAsksForTheWhole(t *testing.T) {
	noLeaks(t)
	taken := make(chan uint64, 9)
	listener := listen(t, "127.0.0.1:0")
	serve(t, listener, Options{Handler: acknowledging(func(_ node.StreamHead, r node.Report) { taken <- r.Seq })})
	ctx := within(t, patience)
	stream, err := pb.NewLoadTestCoordinatorClient(rawConn(t, listener.Addr().String())).StreamMetrics(ctx)
	if err != nil {
		t.Fatal(err)
	}
	if err := stream.Send(&pb.MetricsUp{Head: &pb.MetricsHead{}}); err != nil {
		t.Fatal(err)
	}
	first := bytes.Repeat([]byte("one two three four "), 20)
	good := difference(first, append(bytes.Clone(first), "five"...))
	for _, test := range []struct {
		name string
		up   *pb.MetricsUp
		full bool
	}{
		{"a difference of nothing", &pb.MetricsUp{Seq: 1, BaseSeq: 9, Difference: good}, true},
		{"the whole", &pb.MetricsUp{Seq: 2, Summary: first}, false},
		{"of another base", &pb.MetricsUp{Seq: 3, BaseSeq: 1, Difference: good}, true},
		{"the whole", &pb.MetricsUp{Seq: 4, Summary: first}, false},
		{"damaged", &pb.MetricsUp{Seq: 5, BaseSeq: 4, Difference: good[:len(good)-1]}, true},
		{"the whole", &pb.MetricsUp{Seq: 6, Summary: first}, false},
		{"of this base", &pb.MetricsUp{Seq: 7, BaseSeq: 6, Difference: good}, false},
	} {
		if err := stream.Send(test.up); err != nil {
			t.Fatal(err)
		}
		down, err := stream.Recv()
		if err != nil {
			t.Fatal(err)
		}
		if down.GetSendFull() != test.full || down.GetAcknowledgedSeq() != test.up.GetSeq() {
			t.Errorf("%s: answered %d, in full %v; want %d, %v", test.name, down.GetAcknowledgedSeq(), down.GetSendFull(), test.up.GetSeq(), test.full)
		}
	}
	if err := stream.CloseSend(); err != nil {
		t.Fatal(err)
	}
	var seen []uint64
	for len(taken) > 0 {
		seen = append(seen, <-taken)
	}
	if fmt.Sprint(seen) != "[2 4 6 7]" {
		t.Errorf("the node has seen %v, want [2 4 6 7]", seen)
	}
}

// What an end keeps is bounded, whatever passes.
func TestBasesAreBounded(t *testing.T) {
	b := newBases()
	for i := range 100 {
		r := node.Report{RunID: fmt.Sprint(i), Seq: 1, Summary: []byte("x")}
		b.sending(r)
		if i%2 == 0 {
			b.acknowledged(node.StreamAck{RunID: r.RunID, Seq: 1})
		}
	}
	if len(b.list) > maxBases || len(b.onWay) > maxBases {
		t.Errorf("%d bases, %d on their way; want at most %d", len(b.list), len(b.onWay), maxBases)
	}
}

func cpu() time.Duration {
	var u syscall.Rusage
	_ = syscall.Getrusage(syscall.RUSAGE_SELF, &u) // the arguments are good
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// BenchmarkStream is what the summary of one second costs, at ten minutes of a run of
// 100 requests a second: from Send to its acknowledgement, both ends in this process,
// the kernel's part included. Whole is as if nothing had been sent before.
func BenchmarkStream(b *testing.B) {
	ctx, cancel := context.WithTimeout(b.Context(), 10*time.Minute)
	defer cancel()
	tcp, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		b.Fatal(err)
	}
	listener := &countingListener{Listener: tcp}
	serving, stop := context.WithCancel(ctx)
	ended := make(chan error, 1)
	server := NewServer(Options{Handler: acknowledging(func(node.StreamHead, node.Report) {})})
	go func() { ended <- server.Serve(serving, listener) }()
	client := NewClient(ClientOptions{})
	s, err := client.Stream(ctx, listener.Addr().String(), node.StreamHead{})
	if err != nil {
		b.Fatal(err)
	}
	for _, size := range []struct{ steps, parts int }{{1, 0}, {20, 0}, {20, 8}} {
		steps := size.steps
		list := told(b, steps, size.parts, 100, 600, 20)
		for _, form := range []string{"whole", "difference"} {
			b.Run(fmt.Sprintf("steps=%d,parts=%d/%s", steps, size.parts, form), func(b *testing.B) {
				b.ReportAllocs()
				r := node.Report{Of: node.Member{ServerID: "a-12345678"}, Incarnation: "x"}
				used, in, n := cpu(), listener.in.Load(), 0
				for b.Loop() {
					r.Seq, r.Summary = r.Seq+1, list[n%len(list)]
					r.RunID = fmt.Sprint(form, steps)
					if form == "whole" {
						r.RunID = fmt.Sprint(n % (2 * maxBases))
					}
					if err := s.Send(r); err != nil {
						b.Fatal(err)
					}
					if _, err := s.Recv(); err != nil {
						b.Fatal(err)
					}
					n++
				}
				b.ReportMetric(float64(listener.in.Load()-in)/float64(n), "wire-bytes/op")
				b.ReportMetric(float64((cpu()-used).Microseconds())/float64(n), "cpu-µs/op")
				b.ReportMetric(float64(len(list[0])), "summary-bytes")
			})
		}
	}
	s.Close()
	client.Close()
	stop()
	<-ended
}
