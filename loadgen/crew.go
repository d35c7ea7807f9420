package loadgen

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"time"

	"volley/stats"
)

// iterator runs iterations for one worker: a user, or a test's stand-in.
type iterator interface {
	// iterate runs iteration n, due at due, and records it. It returns soon
	// after ctx is done.
	iterate(ctx context.Context, n int64, due time.Time)
	close()
}

// crew is the workers of one run: who starts which iteration when. Durations
// are since base, the run's start.
type crew struct {
	base    time.Time
	joined  time.Duration // where on the curve this node began, 0 unless late
	length  time.Duration // no iteration starts from here on
	grace   time.Duration // how long running iterations may go on after that
	pacer   *pacer        // nil in a closed model
	first   int           // workers from the start
	most    int           // workers at most; an open model grows on demand
	shard   func(worker int) *stats.Shard
	recruit func(worker int) iterator

	all     sync.WaitGroup
	workers atomic.Int64 // how many there are
	idle    atomic.Int64 // how many of them are not in an iteration
	turn    atomic.Int64 // closed model: the next iteration's number
	begun   chan struct{}
	once    sync.Once
}

func (c *crew) now() time.Duration { return time.Since(c.base) }

// started is closed when the first arrival has been sent.
func (c *crew) started() <-chan struct{} { return c.begun }

// run works until the end of the run, or until ctx is cancelled (see
// StopCause), and then until the running iterations have ended or their grace
// is over. No goroutine of it is left when it returns.
func (c *crew) run(ctx context.Context) {
	starts, noMore := context.WithCancel(context.Background())
	defer noMore()
	running, cut := context.WithCancel(context.Background())
	defer cut()
	for range c.first {
		c.hire(starts, running)
	}
	done := make(chan struct{})
	go func() { // ends with the workers, which the two contexts end
		c.all.Wait()
		close(done)
	}()
	stopped := c.untilEnd(ctx)
	noMore()
	if c.pacer != nil {
		c.shard(0).Dropped(c.pacer.stop(min(c.now(), c.length-1)))
	}
	c.drain(ctx, stopped, done)
	cut()
	<-done
}

// untilEnd waits for the end of the run; true if ctx came first.
func (c *crew) untilEnd(ctx context.Context) (stopped bool) {
	var end alarm
	return !end.until(ctx, c.base.Add(c.length))
}

// drain gives the running iterations their grace; a stop may shorten it.
func (c *crew) drain(ctx context.Context, stopped bool, done <-chan struct{}) {
	until, stop := time.Now().Add(c.grace), ctx.Done()
	for {
		if stopped {
			until, stop = earlier(until, time.Now().Add(graceOf(ctx))), nil
		}
		limit := time.NewTimer(time.Until(until))
		select {
		case <-done:
			limit.Stop()
			return
		case <-limit.C:
			return
		case <-stop:
			limit.Stop()
			stopped = true
		}
	}
}

func earlier(a, b time.Time) time.Time {
	if b.Before(a) {
		return b
	}
	return a
}

// graceOf is what the cause of a cancelled context grants: nothing, unless it
// is a StopCause.
func graceOf(ctx context.Context) time.Duration {
	var cause *StopCause
	if errors.As(context.Cause(ctx), &cause) {
		return max(cause.Grace, 0)
	}
	return 0
}

// hire adds a worker unless there are enough.
func (c *crew) hire(starts, running context.Context) {
	id := c.workers.Add(1) - 1
	if id >= int64(c.most) {
		c.workers.Add(-1)
		return
	}
	c.idle.Add(1)
	c.all.Go(func() {
		w := &hand{crew: c, id: int(id), it: c.recruit(int(id)), shard: c.shard(int(id)), starts: starts, running: running}
		defer w.it.close()
		if c.pacer == nil {
			w.closedLoop()
			return
		}
		w.openLoop()
	})
}

// hand is one worker.
type hand struct {
	crew            *crew
	id              int
	it              iterator
	shard           *stats.Shard
	alarm           alarm
	starts, running context.Context
}

// openLoop takes arrival after arrival and sends each when it is due.
func (h *hand) openLoop() {
	c := h.crew
	for h.starts.Err() == nil {
		t, dropped, ok := c.pacer.take(c.now())
		h.shard.Dropped(dropped)
		if !ok {
			return
		}
		if !h.await(t.release, t.index == 0) || c.now() >= c.length {
			if t.due <= c.now() {
				h.shard.Dropped(1) // it fell due, but the run was over
			}
			return
		}
		if c.idle.Add(-1) == 0 {
			c.hire(h.starts, h.running) // somebody has to be there for the next one
		}
		h.begin(stats.Arrival{Due: t.due, Sent: c.now(), WorkerFree: t.free, CatchUp: t.catchUp})
		h.it.iterate(h.running, t.index, c.base.Add(t.due))
		c.idle.Add(1)
	}
}

// closedLoop starts an iteration as soon as the one before has ended: it is due
// when the worker is free.
func (h *hand) closedLoop() {
	c := h.crew
	if !h.await(c.joined, h.id == 0) {
		return
	}
	for due := c.joined; h.starts.Err() == nil && due < c.length; due = c.now() {
		n := c.turn.Add(1) - 1
		sent := due
		if due == c.joined {
			sent = c.now()
		}
		h.begin(stats.Arrival{Due: due, Sent: sent, WorkerFree: true})
		h.it.iterate(h.running, n, c.base.Add(due))
	}
}

// await waits for an instant of the run. Only one worker waits precisely, and
// only for the start: later, spinning would take the CPU from the load.
func (h *hand) await(at time.Duration, precisely bool) bool {
	if precisely {
		return h.alarm.precisely(h.starts, h.crew.base.Add(at))
	}
	return h.alarm.until(h.starts, h.crew.base.Add(at))
}

func (h *hand) begin(a stats.Arrival) {
	h.shard.Arrived(a)
	h.crew.once.Do(func() { close(h.crew.begun) })
}
