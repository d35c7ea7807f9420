package loadgen

import (
	"sync"
	"time"
)

// clock wakes the workers of a crew at instants of its run, to some ten
// microseconds. Go's own timers cannot: a process with nothing to do waits for
// network and timers together, in whole milliseconds, and wakes half a
// millisecond late as a rule.
//
// All workers share one alarm of the kernel's, that of the next one to wake. It
// rings where the network does, in the runtime's poller: no thread waits for it,
// and nobody spins. Where there is none, and in virtual time (testing/synctest),
// which such an alarm does not know, it is a timer, which is exact there.
type clock struct {
	base  time.Time
	bell  striker
	slack time.Duration // how much later than the first of several the bell may strike for all of them

	mu    sync.Mutex
	queue []*alarm      // a heap: the next one to wake is the first
	set   time.Duration // when the bell will strike; endless if it will not
	over  bool
}

// together is within how much time several arrivals wake by one strike, the first
// of them so much later than it could: to wake costs several times what sending
// does. Nobody wakes early, and one that is alone wakes on time.
const together = 200 * time.Microsecond

// striker calls what it was made with after the time that it was last set to,
// never sooner.
type striker interface {
	set(in time.Duration)
	// stop returns when no call is under way any more.
	stop()
}

func newClock(base time.Time) *clock {
	c := &clock{base: base, set: endless}
	if !virtual() {
		if s := newKernelBell(c.strike); s != nil {
			c.bell, c.slack = s, together
			return c
		}
	}
	c.bell = newTimerBell(c.strike)
	return c
}

// virtual is true if time stands still while a goroutine is in the kernel.
func virtual() bool {
	before := time.Now()
	nap(time.Microsecond)
	return time.Now().Equal(before)
}

// wait blocks until at, and reports true; false once the clock has stopped, or
// when something is heard before.
func (c *clock) wait(a *alarm, heard <-chan struct{}, at time.Duration) bool {
	if time.Since(c.base) >= at {
		return true
	}
	if !c.add(a, at) {
		return false
	}
	if heard == nil {
		return <-a.rings
	}
	select {
	case in := <-a.rings:
		return in
	case <-heard:
		c.forget(a)
		return false
	}
}

func (c *clock) add(a *alarm, at time.Duration) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.over {
		return false
	}
	if a.rings == nil {
		a.rings = make(chan bool, 1)
	}
	a.at, a.seat = at, len(c.queue)
	c.queue = append(c.queue, a)
	c.up(a.seat)
	c.wind(time.Since(c.base))
	return true
}

// forget takes one out that does not wait any more.
func (c *clock) forget(a *alarm) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if a.seat < len(c.queue) && c.queue[a.seat] == a {
		c.remove(a.seat)
		return
	}
	<-a.rings // it has just been woken
}

// wind sets the bell to the next one that waits, and for those who want to wake
// soon after, to the last of them. A bell that is set to something sooner stays.
func (c *clock) wind(now time.Duration) {
	if len(c.queue) == 0 || c.set <= c.queue[0].at+c.slack {
		return
	}
	c.set = c.last(0, c.queue[0].at+c.slack)
	c.bell.set(c.set - now)
}

// last is the latest instant, up to a limit, of one who waits at a seat or behind
// it; that at the seat is within the limit.
func (c *clock) last(seat int, limit time.Duration) time.Duration {
	latest := c.queue[seat].at
	for behind := 2*seat + 1; behind <= 2*seat+2 && behind < len(c.queue); behind++ {
		if c.queue[behind].at <= limit {
			latest = max(latest, c.last(behind, limit))
		}
	}
	return latest
}

// strike wakes all whose instant has come.
func (c *clock) strike() {
	c.mu.Lock()
	defer c.mu.Unlock()
	now := time.Since(c.base)
	for len(c.queue) > 0 && c.queue[0].at <= now {
		c.remove(0).rings <- true // has room: it waits once at a time
	}
	c.set = endless
	c.wind(now)
}

// stop wakes all, and nobody waits from now on.
func (c *clock) stop() {
	c.mu.Lock()
	if c.over {
		c.mu.Unlock()
		return
	}
	c.over = true
	for _, a := range c.queue {
		a.rings <- false
	}
	c.queue = nil
	c.mu.Unlock()
	c.bell.stop()
}

func (c *clock) remove(at int) *alarm {
	a, last := c.queue[at], len(c.queue)-1
	c.put(at, c.queue[last])
	c.queue[last] = nil
	c.queue = c.queue[:last]
	if at < last {
		c.down(at)
		c.up(at)
	}
	return a
}

func (c *clock) put(at int, a *alarm) { c.queue[at], a.seat = a, at }

// up moves one forward as long as the one it stands behind is later.
func (c *clock) up(at int) {
	for at > 0 {
		front := (at - 1) / 2
		if c.queue[front].at <= c.queue[at].at {
			return
		}
		c.swap(at, front)
		at = front
	}
}

// down moves one back as long as one behind it is sooner.
func (c *clock) down(at int) {
	for {
		behind := 2*at + 1
		if behind >= len(c.queue) {
			return
		}
		if right := behind + 1; right < len(c.queue) && c.queue[right].at < c.queue[behind].at {
			behind = right
		}
		if c.queue[at].at <= c.queue[behind].at {
			return
		}
		c.swap(at, behind)
		at = behind
	}
}

func (c *clock) swap(i, j int) {
	a := c.queue[i]
	c.put(i, c.queue[j])
	c.put(j, a)
}

// timerBell is a striker by Go's timers.
type timerBell struct {
	timer *time.Timer
	calls sync.WaitGroup
}

func newTimerBell(strike func()) *timerBell {
	b := &timerBell{}
	b.timer = time.AfterFunc(time.Hour, func() {
		strike()
		b.calls.Done()
	})
	b.calls.Add(1)
	b.stop()
	return b
}

func (b *timerBell) set(in time.Duration) {
	if !b.timer.Reset(max(in, 0)) {
		b.calls.Add(1)
	}
}

func (b *timerBell) stop() {
	if b.timer.Stop() {
		b.calls.Done()
	}
	b.calls.Wait()
}
