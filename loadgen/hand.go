package loadgen

import (
	"time"

	"volley/stats"
)

// hand is one worker.
type hand struct {
	crew  *crew
	id    int
	it    iterator
	shard *stats.Shard
	alarm alarm
	slot  *slot // nil if nobody may want a ticket back

	fresh  bool // no request of the iteration has asked for its place yet
	counts bool // what it does now belongs into the result
}

// openLoop takes arrival after arrival and sends each when it is due.
func (h *hand) openLoop() {
	c := h.crew
	for c.starts.Err() == nil && !c.leaves(h) {
		if c.requests { // an iteration has many places: the crew counts it
			if _, ok := c.begins(); !ok {
				return
			}
		}
		t, ok := h.take()
		if !ok {
			return
		}
		n := c.number(t)
		if !h.it.ready(n) {
			c.ranDry(t.index) // hold asks for the place
			return
		}
		h.begin(t)
		h.fresh = true
		h.it.iterate(c.running, n, c.base.Add(t.due))
		c.idle.Add(1)
	}
}

// take waits for the next arrival and leaves the idle for it; ok is false if
// there is none for this worker any more.
func (h *hand) take() (t ticket, ok bool) {
	c := h.crew
	for {
		if !h.licensed() {
			return ticket{}, false
		}
		heard := c.changed.heard()
		t, d, found := c.pacer.take(c.now(), h.slot)
		c.dropped(d)
		if !found {
			if !h.rest(heard) {
				return ticket{}, false
			}
			continue
		}
		switch h.hold(t, heard) {
		case goes:
			if c.idle.Add(-1) == 0 {
				c.hire() // somebody has to be there for the next one
			}
			return t, true
		case over:
			return ticket{}, false
		}
	}
}

// fate is what becomes of an arrival that a worker was handed.
type fate int

const (
	goes    fate = iota
	over         // the run is
	another      // it is not the worker's any more
)

// oversleep is how much later than it was to a worker may wake up, and send at
// once all the same: what is late by no more than that has room within 110 %.
const oversleep = 100 * time.Millisecond

// hold keeps an arrival until it is due.
func (h *hand) hold(t ticket, heard <-chan struct{}) fate {
	c := h.crew
	in := h.await(heard, t.release, t.first)
	for !in && c.starts.Err() == nil && h.slot.holds() {
		heard = c.changed.heard() // what has changed leaves it here
		in = h.await(heard, t.release, t.first)
	}
	if !in && c.starts.Err() == nil {
		return another
	}
	now := c.now()
	if in && !t.slept && t.free && now-t.release > oversleep {
		if h.slot.empty() {
			c.pacer.overslept(t, now)
		}
		return another
	}
	// When the data is used up, one that is a moment late still has the row that
	// a later one has not.
	in = in && h.pass(t.due, &now) || t.index < c.dryAt.Load()
	if !h.slot.empty() {
		return another
	}
	switch {
	case in && !c.over(t.due, now):
		if !c.lease.valid() {
			c.pacer.give(t, now)
			return another
		}
		if !c.pacer.sure(c.pacer.schedule.claims.Load(), t.arrival()) {
			if t.due >= c.warmup {
				c.lost(stats.DropIsolated, loss{due: t.due, n: 1})
			}
			return another
		}
		if now-t.release > windowStep {
			c.pacer.late(t, now)
		}
		return goes
	case t.due <= c.now() && t.due >= c.warmup && c.lease.valid():
		c.lost(stats.DropEnd, loss{due: t.due, n: 1}) // it fell due, but the run was over
	}
	return over
}

// licensed waits until there is a lease; false at the end of the run.
func (h *hand) licensed() bool {
	c := h.crew
	for !c.lease.valid() {
		heard := c.lease.back.heard()
		if c.lease.valid() {
			break
		}
		select {
		case <-heard:
		case <-c.spent:
			return false
		case <-c.starts.Done():
			return false
		}
	}
	return c.starts.Err() == nil
}

// rest waits where no arrival is left: another division may bring some, as long
// as any are to come. It is false if none does.
func (h *hand) rest(heard <-chan struct{}) bool {
	c := h.crew
	if heard == nil {
		if c.pacer.spent() {
			c.exhausted()
		}
		return false
	}
	timer := time.NewTimer(time.Until(c.base.Add(c.pacer.until)))
	defer timer.Stop()
	select {
	case <-heard:
		return true
	case <-c.spent:
	case <-c.starts.Done():
	case <-timer.C:
		if c.pacer.limited() {
			c.exhausted()
		}
	}
	return false
}

// over is true if an arrival comes too late to be sent: at the end of the run only
// those go that are not late yet.
func (c *crew) over(due, now time.Duration) bool {
	return now >= c.length && now-due >= lateAfter
}

// closedLoop starts an iteration as soon as the one before has ended: it is due
// when the worker is free, the first at from.
func (h *hand) closedLoop(from time.Duration) {
	c := h.crew
	if !h.await(nil, from, h.id == 0) {
		return
	}
	for due := from; c.starts.Err() == nil && due < c.length && c.stays(h.id); due = c.now() {
		if !c.lease.valid() {
			if !h.licensed() {
				return
			}
			continue // it is due now that the worker may go
		}
		n, ok := c.begins()
		if !ok {
			return
		}
		if !h.it.ready(n) {
			c.ranDry(n)
			return
		}
		sent := due
		if due == from {
			sent = c.now()
		}
		h.count(stats.Arrival{Due: due, Sent: sent, WorkerFree: true})
		h.it.iterate(c.running, n, c.base.Add(due))
	}
}

// await waits for an instant of the run; precisely, which is for the start, by
// spinning for the last of it. It is false at the end of the run, or when
// something is heard.
func (h *hand) await(heard <-chan struct{}, at time.Duration, precisely bool) bool {
	if precisely {
		return h.alarm.precisely(h.crew.starts, heard, h.crew.base.Add(at))
	}
	return h.crew.clock.wait(&h.alarm, heard, at) && h.crew.starts.Err() == nil
}

// pass waits until an arrival due at due may be sent, which it is at now; false at
// the end of the run.
func (h *hand) pass(due time.Duration, now *time.Duration) bool {
	gate := h.crew.pacer.sluice
	held := gate.pass(due, *now)
	for more := held.until > *now; more; held, more = gate.again(held, *now) {
		in := h.await(nil, held.until, false)
		if *now = h.crew.now(); !in {
			return false
		}
	}
	return true
}

// begin counts an arrival that is sent now.
func (h *hand) begin(t ticket) {
	h.count(stats.Arrival{Due: t.due, Sent: h.crew.now(), WorkerFree: t.free, CatchUp: t.catchUp})
}

func (h *hand) count(a stats.Arrival) {
	h.counts = a.Due >= h.crew.warmup
	h.it.counting(h.counts)
	if h.counts {
		h.shard.Arrived(a)
	}
	h.crew.once.Do(func() {
		a.Due = min(a.Due, h.crew.firstDue())
		h.crew.opening = a
		h.it.onWrite(func(at time.Time) { h.crew.wrote.Store(int64(at.Sub(h.crew.base))) })
		close(h.crew.begun)
	})
}

// place is as its type says. A worker that waits for its place is there for the
// next arrival, whoever's it is. When the schedule has no more places, which is
// at the end of the run, what is left of an iteration is sent without one.
func (h *hand) place(ready time.Time) (due time.Time) {
	c := h.crew
	if !c.requests || c.pacer == nil {
		return ready
	}
	if h.fresh {
		h.fresh = false
		return ready
	}
	c.idle.Add(1)
	t, ok := h.take()
	if !ok {
		c.idle.Add(-1)
		<-c.starts.Done()
		return ready
	}
	if h.counts {
		h.shard.Placed()
	}
	h.begin(t)
	if due := c.base.Add(t.due); due.After(ready) {
		return due
	}
	return ready
}
