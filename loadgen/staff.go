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
	curve curve
	share share // of a curve that is a total
}

// newStaff is that of model concurrent, whose workers begin evenly spread over
// rampUp, the first at once, and of stages of workers.
func newStaff(p *plan.Plan, s share) staff {
	if p.Load.Model == "stages" {
		return staff{curve: stagesCurve(p.Load), share: s}
	}
	n := float64(s.of(int64(p.Config.Workers)))
	// Worker i begins where the curve reaches i + 1/2.
	return staff{curve: curve{}.to(p.Load.RampUp.Seconds(), 0.5, n+0.5).forever(n), share: everything()}
}

// at is the number of workers at t.
func (s staff) at(t time.Duration) int { return int(s.share.of(s.total(t))) }

// total changes at the very instant at which the curve is halfway.
func (s staff) total(t time.Duration) int64 {
	p, into, _ := s.curve.find(t)
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
	p, into, _ := s.curve.find(t)
	if math.IsInf(p.length, 1) || p.length == 0 {
		return 0, false
	}
	next := p.length
	if p.r0 != p.r1 {
		half := float64(s.total(t)) + 0.5
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
func (s staff) most(end time.Duration) int {
	return int(s.share.of(int64(math.Floor(s.curve.peak(end) + 0.5))))
}

// manage brings the workers of a closed model to the number that staff wants
// until the run ends. A worker too many goes when its iteration is done.
func (c *crew) manage(ctx context.Context) ending {
	var from, at time.Duration
	for {
		c.fill(c.staff.at(at), from)
		next, ok := c.staff.change(at)
		if !ok {
			next = c.length
		}
		if why := c.wait(ctx, min(next, c.length)); why != unfinished {
			return why
		}
		from, at = next, max(next, c.now())
	}
}

// fill lets every seat up to n be taken, from t on.
func (c *crew) fill(n int, t time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.wanted = n
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

// stays is true if the worker is still wanted; otherwise its seat is free.
func (c *crew) stays(id int) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if id < c.wanted {
		return true
	}
	c.leave(id)
	return false
}

func (c *crew) leave(id int) {
	c.seats[id] = false
	c.workers.Add(-1)
}
