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
	// ready prepares iteration n; false if there is nothing to do in it, nor in
	// any after it.
	ready(n int64) bool
	// iterate runs iteration n, due at due, and records it. It returns soon
	// after ctx is done.
	iterate(ctx context.Context, n int64, due time.Time)
	// counting says whether what follows belongs into the result: warm-up does
	// not. It is called before an iteration, and within one by place.
	counting(counts bool)
	// onWrite is called before the first iteration of all: wrote is told once when
	// its first byte was sent, if it ever was.
	onWrite(wrote func(at time.Time))
	close()
}

// place waits for the place in the schedule of a request that is ready to be
// sent, and returns when it is due: ready, or later if its place comes later.
// Only with load.unit requests has a request a place of its own; the first of an
// iteration has that of the iteration.
type place func(ready time.Time) (due time.Time)

// crew is the workers of one run: who starts which iteration when. Durations
// are since base, the run's start.
type crew struct {
	base     time.Time
	length   time.Duration // no iteration starts from here on
	warmup   time.Duration // what is due before it is not counted
	grace    time.Duration // how long running iterations may go on after length
	pacer    *pacer        // nil in a closed model
	staff    staff         // how many workers a closed model has
	requests bool          // arrivals are requests, not iterations
	shared   bool          // other nodes have arrivals of the same schedule
	limit    int64         // how many iterations the crew may start, 0 for any number; the pacer has its own limit
	none     bool          // it may start none at all
	first    int           // workers from the start
	most     func() int    // workers at most, now; an open model grows on demand
	lease    *lease        // nil if none is needed
	changed  *bell         // rung when the load has been divided anew; nil if it never is
	thinking *atomic.Int64 // how many workers are in a think time
	shard    func(worker int) *stats.Shard
	recruit  func(worker int, p place) iterator

	starts, running context.Context
	clock           *clock // of all that wait for an arrival, until starts is done
	all             sync.WaitGroup
	workers         atomic.Int64 // how many there are
	idle            atomic.Int64 // how many of them are there for the next arrival
	busyness        atomic.Pointer[busyness]
	turn            atomic.Int64 // iterations begun, where the crew counts them
	numbers         atomic.Int64 // iterations begun that have another number than their arrival
	begun           chan struct{}
	once            sync.Once
	opening         stats.Arrival // the first that was sent, counted or not, and when the first of all was due; after begun
	wrote           atomic.Int64  // when its first byte was sent, since base; 0 while that is not known
	spent           chan struct{} // closed when there are no iterations left to start
	spend           sync.Once

	dryAt    atomic.Int64 // there are none because the data is used up; which iteration found it so, or arrival of an open model, 0 for none
	numbered atomic.Bool  // the run has ended by the number of its iterations

	mu     sync.Mutex
	seats  []bool // which workers there are
	vacant int    // open model: none before it is

	wanted atomic.Int64 // closed model: how many there shall be; changes under the lock
}

func (c *crew) now() time.Duration { return time.Since(c.base) }

// started is closed when the first arrival has been sent.
func (c *crew) started() <-chan struct{} { return c.begun }

// ending is why a run ends.
type ending int

const (
	atLength   ending = iota // its duration is over
	byStop                   // its context was cancelled
	byNumber                 // it has done as many iterations as it was to
	unfinished ending = -1
)

// run works until the end of the run, or until ctx is cancelled (see
// StopCause), and then until the running iterations have ended or their grace
// is over. It returns how long the run was, without the drain. No goroutine of
// it is left then.
func (c *crew) run(ctx context.Context) (lasted time.Duration) {
	var noMore, cut context.CancelFunc
	if c.spent == nil {
		c.spent = make(chan struct{})
	}
	c.starts, noMore = context.WithCancel(context.Background())
	c.clock = newClock(c.base)
	enough := func() {
		noMore()
		c.clock.stop()
	}
	defer enough()
	c.running, cut = context.WithCancel(context.Background())
	defer cut()
	for range c.first {
		c.hire()
	}
	why := c.untilEnd(ctx)
	done := make(chan struct{})
	go func() { // ends with the workers, which the two contexts end
		c.all.Wait()
		close(done)
	}()
	if why == byNumber {
		if c.dry() && !c.requests {
			enough() // nobody waits for an arrival that would find nothing
		}
		why = c.untilDone(ctx, done)
	}
	lasted = min(c.now(), c.length)
	until := time.Now().Add(c.grace)
	if why == atLength && c.pacer != nil {
		c.linger(ctx)
	}
	enough()
	if c.pacer != nil {
		c.lost(stats.DropEnd, c.pacer.stop(min(c.now(), c.length-1))...)
	}
	if c.numbered.Store(why == byNumber); why != byNumber {
		c.drain(ctx, until, why == byStop, done)
	}
	cut()
	<-done
	return lasted
}

// untilEnd waits for the end of the run. Meanwhile it sees to the number of
// workers of a closed model, and to the arrivals of an open one that grow old
// while all workers hang.
func (c *crew) untilEnd(ctx context.Context) ending {
	if c.pacer == nil {
		return c.manage(ctx)
	}
	var patrol sync.WaitGroup
	over := make(chan struct{})
	patrol.Go(func() { c.patrol(over) })
	defer patrol.Wait()
	defer close(over)
	return c.wait(ctx, nil, c.length)
}

// wait waits until t, or until something is heard, or for something that ends the
// run before.
func (c *crew) wait(ctx context.Context, heard <-chan struct{}, t time.Duration) ending {
	timer := time.NewTimer(time.Until(c.base.Add(t)))
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return byStop
	case <-c.spent:
		return byNumber
	case <-heard:
		return unfinished
	case <-timer.C:
	}
	if t < c.length {
		return unfinished
	}
	return atLength
}

// untilDone waits for the last iterations of a run that ends by their number.
func (c *crew) untilDone(ctx context.Context, done <-chan struct{}) ending {
	timer := time.NewTimer(time.Until(c.base.Add(c.length)))
	defer timer.Stop()
	select {
	case <-done:
		return byNumber
	case <-ctx.Done():
		return byStop
	case <-timer.C:
		return atLength
	}
}

// linger lets the last arrivals go that fell due before the end and are not late
// yet: a timer that wakes its worker a little late loses none.
func (c *crew) linger(ctx context.Context) {
	var a alarm
	a.until(ctx, c.base.Add(c.length+lateAfter))
}

// drain gives the running iterations their grace, until then; a stop may
// shorten it.
func (c *crew) drain(ctx context.Context, until time.Time, stopped bool, done <-chan struct{}) {
	stop := ctx.Done()
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

// reasonOf is why a context was cancelled, in a word if it is a StopCause.
func reasonOf(ctx context.Context) string {
	var cause *StopCause
	if errors.As(context.Cause(ctx), &cause) {
		return cause.Reason
	}
	return "cancelled"
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

// hire adds a worker to an open model unless there are enough.
func (c *crew) hire() {
	if c.pacer == nil {
		return
	}
	if id, ok := c.seat(); ok {
		c.idle.Add(1)
		c.all.Go(func() { c.hand(id, (*hand).openLoop) })
	}
}

// seat takes the first that is free.
func (c *crew) seat() (id int, ok bool) {
	most := c.most()
	if c.workers.Load() >= int64(most) {
		return 0, false
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	for ; c.vacant < most; c.vacant++ {
		if c.vacant == len(c.seats) {
			c.seats = append(c.seats, false)
		}
		if !c.seats[c.vacant] {
			c.seats[c.vacant] = true
			c.workers.Add(1)
			return c.vacant, true
		}
	}
	return 0, false
}

// leaves is true of a worker of an open model that is one too many, since the
// load has been divided anew: its seat is free then.
func (c *crew) leaves(h *hand) bool {
	if h.id < c.most() {
		return false
	}
	c.mu.Lock()
	c.leave(h.id)
	c.vacant = min(c.vacant, h.id)
	c.mu.Unlock()
	if c.idle.Add(-1) == 0 {
		c.hire()
	}
	return true
}

// hand is the life of a worker.
func (c *crew) hand(id int, work func(*hand)) {
	h := &hand{crew: c, id: id, shard: c.shard(id)}
	h.it = c.recruit(id, h.place)
	defer h.it.close()
	if c.pacer != nil && c.changed != nil {
		h.slot = &slot{}
		c.pacer.join(h.slot)
		defer c.pacer.leave(h.slot)
	}
	work(h)
}

// begins counts an iteration of those that the crew may start; false if there
// are none left. It returns its number.
func (c *crew) begins() (n int64, ok bool) {
	n = c.turn.Add(1) - 1
	if c.none || c.limit > 0 && n >= c.limit {
		c.exhausted()
		return n, false
	}
	return n, true
}

// number is that of the iteration that begins with an arrival. Where an iteration
// has many arrivals it depends on how long requests take which one is its first, and
// the number is how many have begun before: with a seed, draws repeat. Nodes that
// share a schedule keep the arrival's, which no other node has.
func (c *crew) number(t ticket) int64 {
	if c.requests && !c.shared {
		return c.numbers.Add(1) - 1
	}
	return t.index
}

// byNumber is true of a run that has ended because all its iterations were done.
func (c *crew) byNumber() bool { return c.numbered.Load() }

// firstDue is when this node's first arrival is due, whether it is sent or, on a
// node that starts too late for it, dropped.
func (c *crew) firstDue() time.Duration {
	if c.pacer != nil {
		return c.pacer.opening
	}
	at, ok := time.Duration(0), true
	for c.staff.at(at) == 0 && ok && at < c.length {
		at, ok = c.staff.change(at)
	}
	return at
}

// firstArrival sets the first arrival of a run with warmup, which the recorder
// has not seen.
func (c *crew) firstArrival(s *stats.Summary) {
	select {
	case <-c.begun:
		s.Sent, s.FirstDue, s.FirstSent = true, c.opening.Due, max(c.opening.Sent, time.Duration(c.wrote.Load()))
	default:
	}
}

// observe notes how the crew is doing.
func (c *crew) observe(rec *stats.Recorder, g stats.Gauges, at time.Duration) {
	g.At, g.Workers, g.InFlight = at, c.workers.Load(), c.look().waiting
	rec.Observe(g)
}

// isSpent is true once there is no iteration left to start.
func (c *crew) isSpent() bool {
	select {
	case <-c.spent:
		return true
	default:
		return false
	}
}

// ranDry ends the run because there is no data left for iteration n, or for the one
// that begins with arrival n, which is not the first.
func (c *crew) ranDry(n int64) {
	c.dryAt.Store(n)
	c.exhausted()
}

func (c *crew) dry() bool { return c.dryAt.Load() > 0 }

func (c *crew) exhausted() { c.spend.Do(func() { close(c.spent) }) }
