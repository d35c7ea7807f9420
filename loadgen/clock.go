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
// rings where the network does, in the runtime's poller: no thread waits for it.
// Who waits alone is woken a little early and spins for the rest (see lead). Where there is none, and in virtual time (testing/synctest),
// which such an alarm does not know, it is a timer, which is exact there.
type clock struct {
	base  time.Time
	bell  striker
	slack slack

	mu     sync.Mutex
	queue  []*alarm      // a heap: the next one to wake is the first
	set    time.Duration // when the bell will strike; endless if it will not
	first  time.Duration // who was the next one when it was set
	ahead  time.Duration // by how much it strikes early, for one who then spins
	doubts int           // for how many strikes the process is taken to be busy
	lead   *lead         // nil where nobody spins
	over   bool
}

// slack is how much later than the first of several who wait the bell may strike
// for all of them: to wake costs several times what sending does. Who is alone
// goes on time, and nobody goes early.
type slack struct {
	few  time.Duration
	many time.Duration // where few has at least a crowd: the CPU is worth more there
}

const crowd = 4

// A process is busy where strikes follow each other fast, and for a while when one
// came late: a few hundred, so that those are no hundredth of all.
const (
	busyWithin = 500 * time.Microsecond
	strikeLate = 2 * time.Millisecond
	mostDoubts = 256
)

func ordinarySlack() slack { return slack{few: 200 * time.Microsecond, many: 500 * time.Microsecond} }

// striker calls what it was made with after the time that it was last set to,
// never sooner.
type striker interface {
	// set says whether the process has more to do than to wait.
	set(in time.Duration, busy bool)
	// stop returns when no call is under way any more.
	stop()
}

func newClock(base time.Time) *clock {
	c := &clock{base: base, set: endless}
	if !virtual() {
		if s := newKernelBell(c.strike); s != nil {
			c.bell, c.slack, c.lead = s, ordinarySlack(), newLead()
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
	var in bool
	if heard == nil {
		in = <-a.rings
	} else {
		select {
		case in = <-a.rings:
		case <-heard:
			c.forget(a)
			return false
		}
	}
	if in && a.early {
		c.spin(a)
	}
	return in
}

// spin is the rest of the wait of one who was woken early.
func (c *clock) spin(a *alarm) {
	woken := time.Since(c.base)
	for time.Since(c.base) < a.at {
		continue
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.lead.learn(woken - a.struck)
	c.lead.spend(a.at - woken)
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
// soon after, to the last of them. A bell that is set for that one stays, as does
// one that is set to something sooner.
func (c *clock) wind(now time.Duration) {
	if len(c.queue) == 0 {
		return
	}
	next := c.queue[0].at
	if c.set != endless && (c.first <= next || c.set <= next+c.slack.few) {
		return
	}
	last, n := c.until(0, next+c.slack.few)
	if n >= crowd {
		last, _ = c.until(0, next+c.slack.many)
	}
	c.first, c.ahead = next, 0
	if n == 1 && c.lead != nil {
		c.ahead = c.lead.before(next, now)
	}
	c.set = last - c.ahead
	c.bell.set(c.set-now, last-now < busyWithin || c.doubts > 0)
}

// until is the latest instant, up to a limit, of those who wait at a seat or behind
// it, and how many they are; that at the seat is within the limit.
func (c *clock) until(seat int, limit time.Duration) (latest time.Duration, n int) {
	latest, n = c.queue[seat].at, 1
	for behind := 2*seat + 1; behind <= 2*seat+2 && behind < len(c.queue); behind++ {
		if c.queue[behind].at <= limit {
			at, more := c.until(behind, limit)
			latest, n = max(latest, at), n+more
		}
	}
	return latest, n
}

// strike wakes all whose instant has come, and one for whom alone the bell was
// early.
func (c *clock) strike() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.strikeAt(time.Since(c.base))
}

func (c *clock) strikeAt(now time.Duration) {
	if c.doubts > 0 {
		c.doubts--
	}
	if now-c.set > strikeLate {
		c.doubts = mostDoubts
	}
	if c.ahead > 0 && len(c.queue) > 0 && c.queue[0].at <= now+c.ahead {
		// Others may have come since the bell was set: then all of them wait.
		if _, n := c.until(0, c.queue[0].at+c.slack.few); n == 1 {
			c.queue[0].struck = c.set
			c.wake(true)
		}
	}
	for len(c.queue) > 0 && c.queue[0].at <= now {
		c.wake(false)
	}
	c.set = endless
	c.wind(now)
}

// wake wakes the first.
func (c *clock) wake(early bool) {
	a := c.remove(0)
	a.early = early
	a.rings <- true // has room: it waits once at a time
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

func (b *timerBell) set(in time.Duration, _ bool) {
	if !b.timer.Reset(max(in, 0)) {
		b.calls.Add(1)
	}
}

func (b *timerBell) cancel() {
	if b.timer.Stop() {
		b.calls.Done()
	}
}

func (b *timerBell) stop() {
	b.cancel()
	b.calls.Wait()
}
