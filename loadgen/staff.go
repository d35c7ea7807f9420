package loadgen

import (
	"context"
	"math"
	"time"

	"volley/plan"
)

// staff is how many workers a closed model has when: a curve of workers that is
// rounded to the nearest, so that the number is never further than half a
// worker from the curve.
type staff struct {
	curve  curve // a total
	claims *claims
	// Of model concurrent each node has a curve of its own.
	concurrent int64
	rampUp     time.Duration
}

// newStaff is that of model concurrent, whose workers begin evenly spread over
// rampUp, the first at once, and of stages of workers.
func newStaff(p *plan.Plan, c *claims) staff {
	if p.Load.Model == "stages" {
		return staff{curve: stagesCurve(p.Load), claims: c}
	}
	return staff{concurrent: int64(p.Config.Workers), rampUp: p.Load.RampUp, claims: c}
}

// within is the curve that holds in a span, and the node's share of it.
func (s staff) within(sp *span) (curve, share) {
	if s.concurrent == 0 {
		return s.curve, sp.share
	}
	n := float64(sp.share.of(s.concurrent))
	if n == 0 {
		return curve{}.forever(0), everything()
	}
	// Worker i begins where the curve reaches i + 1/2.
	return curve{}.to(s.rampUp.Seconds(), 0.5, n+0.5).forever(n), everything()
}

// at is the number of workers at t.
func (s staff) at(t time.Duration) int {
	c, sh := s.within(s.claims.Load().at(t))
	return int(sh.of(c.workers(t)))
}

// workers changes at the very instant at which the curve is halfway.
func (c curve) workers(t time.Duration) int64 {
	p, into, _ := c.find(t)
	if p.r1 < p.r0 {
		return max(int64(math.Ceil(p.rate(into)-0.5-rounding(0))), 0)
	}
	return int64(math.Floor(p.rate(into) + 0.5 + rounding(0)))
}

// soonest bounds how often the number of workers changes.
const soonest = time.Microsecond

// change is the next instant after t at which the number may be another; ok is
// false if there is none.
func (s staff) change(t time.Duration) (at time.Duration, ok bool) {
	now := s.claims.Load()
	c, _ := s.within(now.at(t))
	at, ok = c.change(t)
	if next, more := now.after(t); more && (!ok || next < at) {
		return max(next, t+soonest), true
	}
	return at, ok
}

func (c curve) change(t time.Duration) (at time.Duration, ok bool) {
	p, into, _ := c.find(t)
	if math.IsInf(p.length, 1) || p.length == 0 {
		return 0, false
	}
	next := p.length
	if p.r0 != p.r1 {
		half := float64(c.workers(t)) + 0.5
		if p.r1 < p.r0 {
			half--
		}
		if x := (half - p.r0) * p.length / (p.r1 - p.r0); x > into {
			next = min(next, x)
		}
	}
	at = time.Duration(math.Ceil((p.start + next) * 1e9))
	return max(at, t+soonest), true
}

// most is the highest number before end.
func (s staff) most(end time.Duration) (most int) {
	now := s.claims.Load()
	for i := range now.spans {
		c, sh := s.within(&now.spans[i])
		most = max(most, int(sh.of(int64(math.Floor(c.peak(end)+0.5)))))
	}
	return most
}

// manage brings the workers of a closed model to the number that staff wants
// until the run ends. A worker too many goes when its iteration is done.
func (c *crew) manage(ctx context.Context) ending {
	var from, at time.Duration
	for {
		heard := c.changed.heard()
		c.fill(c.staff.at(at), from)
		next, ok := c.staff.change(at)
		if !ok {
			next = c.length
		}
		if why := c.wait(ctx, heard, min(next, c.length)); why != unfinished {
			return why
		}
		at = max(at, c.now())
		from = min(next, at) // sooner if the load has been divided anew
	}
}

// fill lets every seat up to n be taken, from t on.
func (c *crew) fill(n int, t time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.wanted.Store(int64(n))
	for len(c.seats) < n {
		c.seats = append(c.seats, false)
	}
	for id := range n {
		if c.seats[id] {
			continue
		}
		c.seats[id] = true
		c.workers.Add(1)
		c.all.Go(func() {
			c.hand(id, func(h *hand) { h.closedLoop(t) })
		})
	}
}

// stays is true if the worker is still wanted; otherwise its seat is free. Before
// each iteration it is one look: a lock would have all processors meet there.
func (c *crew) stays(id int) bool {
	if int64(id) < c.wanted.Load() {
		return true
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if int64(id) < c.wanted.Load() { // fill has changed it meanwhile, and has seen the seat taken
		return true
	}
	c.leave(id)
	return false
}

func (c *crew) leave(id int) {
	c.seats[id] = false
	c.workers.Add(-1)
}
