package node

import (
	"context"
	"errors"
	"fmt"
	"io"
	"sync"
	"time"
)

// Stream is the fabric's: every message takes its delay and may be lost on
// the way, in both directions.
func (w wireOf) Stream(ctx context.Context, addr string, head StreamHead) (SummaryStream, error) {
	h, err := w.f.way(ctx, w.from, addr, "Stream")
	if err != nil {
		return nil, err
	}
	deadline, _ := ctx.Deadline()
	ctx, cancel := context.WithDeadline(ctx, deadline)
	s := &memoryStream{w: w, to: h, addr: addr, ctx: ctx, cancel: cancel, up: make(chan Report), down: make(chan StreamAck, 16), ended: make(chan struct{})}
	s.handlers.Go(func() {
		s.err = h.node.HandleStream(ctx, head, s)
		if s.err == nil {
			s.err = io.EOF
		}
		close(s.ended)
	})
	return s, nil
}

// memoryStream is both ends of a stream.
type memoryStream struct {
	w        wireOf
	to       *host // the process at the other end: another at its address knows nothing of the stream
	addr     string
	ctx      context.Context
	cancel   context.CancelFunc
	up       chan Report
	down     chan StreamAck
	handlers sync.WaitGroup
	ended    chan struct{} // the handler has returned err
	err      error
}

func (s *memoryStream) Send(r Report) error {
	if _, err := s.w.f.way(s.ctx, s.w.from, s.addr, "Summary"); err != nil {
		if errors.Is(err, errNobodyReads) {
			<-s.ctx.Done()
		}
		s.cancel()
		return err
	}
	s.w.f.mu.Lock()
	dead := s.to.dead
	s.w.f.mu.Unlock()
	if dead {
		s.cancel()
		return errors.New("connection reset")
	}
	select {
	case s.up <- r:
		return nil
	case <-s.ended:
		return io.EOF
	case <-s.ctx.Done():
		return s.ctx.Err()
	}
}

func (s *memoryStream) Recv() (StreamAck, error) {
	select {
	case a := <-s.down:
		return a, nil
	case <-s.ended:
		return StreamAck{}, s.err
	case <-s.ctx.Done():
		return StreamAck{}, s.ctx.Err()
	}
}

func (s *memoryStream) Close() {
	s.cancel()
	s.handlers.Wait()
}

func (s *memoryStream) Next(ctx context.Context) (Report, error) {
	select {
	case r := <-s.up:
		return r, nil
	case <-ctx.Done():
		return Report{}, context.Cause(ctx)
	}
}

func (s *memoryStream) Ack(a StreamAck) error {
	if _, err := s.w.f.way(s.ctx, s.addr, s.w.from, "Ack"); err != nil {
		return err
	}
	select {
	case s.down <- a:
		return nil
	case <-s.ctx.Done():
		return s.ctx.Err()
	}
}

// telling is a runner that tells, once a second, for how long it has run, and so
// many bytes more.
type telling struct {
	*fakeRunner
	more int
}

func (r telling) Run(ctx context.Context, run Run, start time.Time, told Told) ([]byte, error) {
	work, stop := context.WithCancel(ctx)
	var teller sync.WaitGroup
	defer teller.Wait()
	defer stop()
	teller.Go(func() {
		for k := 0; sleep(work, time.Until(start.Add(time.Duration(k)*time.Second))); k++ {
			told.Summary(append(fmt.Appendf(nil, "%d s", k), make([]byte, r.more)...))
		}
	})
	return r.fakeRunner.Run(ctx, run, start, told)
}

// tell makes every node of the cluster tell its summaries.
func (c *cluster) tell() { c.tellMore(0) }

func (c *cluster) tellMore(more int) {
	tweak := c.tweak
	c.tweak = func(o *Options) {
		tweak(o)
		o.Runner = telling{o.Runner.(*fakeRunner), more}
	}
}

// errNobodyReads is a veto that makes a sender wait.
var errNobodyReads = errors.New("nobody reads")

// veto makes calls from one to another fail, or all of them with "".
func (c *cluster) veto(from, to, call string) {
	c.f.mu.Lock()
	defer c.f.mu.Unlock()
	c.f.fail = func(f, t, name string) error {
		if name == call && (from == "" || from == f) && (to == "" || to == t) {
			return errors.New("vetoed")
		}
		return nil
	}
}
