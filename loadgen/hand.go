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

	fresh  bool // no request of the iteration has asked for its place yet
	counts bool // what it does now belongs into the result
}

// openLoop takes arrival after arrival and sends each when it is due.
func (h *hand) openLoop() {
	c := h.crew
	for c.starts.Err() == nil {
		if c.requests { // an iteration has many places: the crew counts it
			if _, ok := c.begins(); !ok {
				return
			}
		}
		t, ok := h.take()
		if !ok {
			return
		}
		if !h.it.ready(t.index) {
			c.ranDry(t.index)
			return
		}
		h.begin(t)
		h.fresh = true
		h.it.iterate(c.running, t.index, c.base.Add(t.due))
		c.idle.Add(1)
	}
}

// take waits for the next arrival and leaves the idle for it; ok is false if
// there is none for this worker any more.
func (h *hand) take() (t ticket, ok bool) {
	c := h.crew
	t, d, ok := c.pacer.take(c.now())
	c.dropped(d)
	if !ok {
		if c.pacer.spent() {
			c.exhausted()
		}
		return t, false
	}
	// When the data is used up, one that is a moment late still has the row that
	// a later one has not.
	goes := h.await(t.release, t.first) && h.pass(t.due) || t.index < c.dryAt.Load()
	if !goes || c.over(t.due) {
		if t.due <= c.now() && t.due >= c.warmup {
			c.lost(stats.DropEnd, 1) // it fell due, but the run was over
		}
		return t, false
	}
	if c.idle.Add(-1) == 0 {
		c.hire() // somebody has to be there for the next one
	}
	return t, true
}

// over is true if an arrival comes too late to be sent: at the end of the run only
// those go that are not late yet.
func (c *crew) over(due time.Duration) bool {
	now := c.now()
	return now >= c.length && now-due >= lateAfter
}

// closedLoop starts an iteration as soon as the one before has ended: it is due
// when the worker is free, the first at from.
func (h *hand) closedLoop(from time.Duration) {
	c := h.crew
	if !h.await(from, h.id == 0) {
		return
	}
	for due := from; c.starts.Err() == nil && due < c.length && c.stays(h.id); due = c.now() {
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

// await waits for an instant of the run. Only one worker waits precisely, and
// only for the start: later, spinning would take the CPU from the load.
func (h *hand) await(at time.Duration, precisely bool) bool {
	if precisely {
		return h.alarm.precisely(h.crew.starts, h.crew.base.Add(at))
	}
	return h.alarm.until(h.crew.starts, h.crew.base.Add(at))
}

// pass waits until an arrival due at due may be sent; false at the end of the run.
func (h *hand) pass(due time.Duration) bool {
	now, gate := h.crew.now(), h.crew.pacer.sluice
	held := gate.pass(due, now)
	for more := held.until > now; more; held, more = gate.again(held, h.crew.now()) {
		if !h.await(held.until, false) {
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
