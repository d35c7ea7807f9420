package loadgen

import (
	"time"

	"volley/plan"
)

// Outline is what a plan's load asks of one node over time, for who shows it
// rather than runs it.
type Outline struct{ work workload }

// Corner is a point of an outline: arrivals per second, or workers in a closed
// model. Straight lines join the corners; a jump is two at one instant.
type Corner struct {
	At    time.Duration
	Value float64
}

// NewOutline is that of a valid plan until then at most: a run may have no end
// that is known beforehand.
func NewOutline(p *plan.Plan, s Share, until time.Duration) (Outline, error) {
	shared := *p
	if len(s.Weights) > 0 {
		shared.Load.Scope = "cluster"
	}
	self, divisions := s.divisions()
	w, err := newWorkload(&shared, self, divisions, 0)
	w.length = min(w.length, until)
	return Outline{work: w}, err
}

// End is when the last arrival is due at the latest: at the end of the
// duration, or sooner by load.iterations of an open model.
func (o Outline) End() time.Duration {
	w := &o.work
	if w.load.Closed() || w.byRequest() || w.iterations() == 0 {
		return w.length
	}
	if last, ok := w.curve.due(w.iterations() - 1); ok {
		return min(last, w.length)
	}
	return w.length
}

// Corners are those from the start to the end, at least two.
func (o Outline) Corners() []Corner {
	if o.work.load.Closed() {
		return o.steps()
	}
	var out []Corner
	c, end, days := o.work.curve, o.End().Seconds(), 0.0
	for fraction := o.work.part(0); ; days++ {
		for _, s := range c.pieces {
			from := days*c.period + s.start
			if from >= end {
				return out
			}
			length := min(s.length, end-from)
			out = append(out, corner(from, s.r0*fraction), corner(from+length, s.rate(length)*fraction))
		}
		if c.period == 0 {
			return out
		}
	}
}

func corner(seconds, value float64) Corner {
	return Corner{At: time.Duration(seconds * float64(time.Second)), Value: value}
}

// steps are the corners of a number of workers.
func (o Outline) steps() []Corner {
	end, n := o.End(), float64(o.work.staff.at(0))
	out := []Corner{{0, n}}
	for at, ok := o.work.staff.change(0); ok && at < end; at, ok = o.work.staff.change(at) {
		if next := float64(o.work.staff.at(at)); next != n {
			out = append(out, Corner{at, n}, Corner{at, next})
			n = next
		}
	}
	return append(out, Corner{end, n})
}

// Arrivals is when each arrival of an open model is due; seed is for Poisson
// ones.
func (o Outline) Arrivals(seed uint64) []time.Duration {
	var out []time.Duration
	o.work.seed = seed
	for a := newArrivals(o.work.schedule()); !a.none; a.advance() {
		out = append(out, a.due)
	}
	return out
}
