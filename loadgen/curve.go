package loadgen

import (
	"math"
	"time"

	"volley/plan"
)

// curve is the target rate R(t) as linear pieces without gaps, t = 0 at the
// run's start. Its integral
//
//	Λ(t) = ∫ R      arrival k (from 0) is due at inf{t : Λ(t) > k}
//
//	R ^    ____            thirds: up, hold, down in a third of rampDuration
//	  |   /    \           each, then min for the rest
//	  |  /      \____
//	  +-----------------> t
//
// is a parabola on each piece, so that due has a closed form: nothing
// accumulates, and arrival 10^9 is as exact as the first.
type curve []segment

// segment is one piece: the rate goes linearly from r0 to r1, per second.
type segment struct {
	start, length float64 // seconds; the last one's length is +Inf
	r0, r1        float64
	before        float64 // Λ(start)
}

// longest bounds what is converted to nanoseconds, some 146 years.
const longest = float64(1 << 62)

// newCurve is the curve of an open model (rps, ramp). A closed one has none.
func newCurve(l plan.Load) curve {
	var c curve
	switch l.Model {
	case "rps":
		return c.forever(rate(l.Target))
	case "ramp":
		low, high, d := rate(l.Min), rate(l.Max), l.RampDuration.Seconds()
		switch {
		case d <= 0:
			return c.forever(high)
		case l.Shape == "hold":
			return c.to(d, low, high).forever(high)
		}
		return c.to(d/3, low, high).to(d/3, high, high).to(d/3, high, low).forever(low)
	}
	return nil
}

func rate(r *float64) float64 {
	if r == nil {
		return 0
	}
	return *r
}

// to appends a piece that goes from r0 to r1 in length seconds.
func (c curve) to(length, r0, r1 float64) curve {
	s := segment{length: length, r0: r0, r1: r1}
	if n := len(c); n > 0 {
		last := c[n-1]
		s.start, s.before = last.start+last.length, last.before+last.area()
	}
	return append(c, s)
}

func (c curve) forever(r float64) curve { return c.to(math.Inf(1), r, r) }

// area is Λ over the whole piece.
func (s segment) area() float64 {
	if s.r0 == 0 && s.r1 == 0 {
		return 0 // also for an endless piece, where 0 * Inf is not a number
	}
	return (s.r0 + s.r1) / 2 * s.length
}

// count is Λ over the first t seconds of the piece.
func (s segment) count(t float64) float64 {
	if s.r0 == s.r1 {
		return s.r0 * t
	}
	return (s.r0 + (s.r1-s.r0)*t/s.length/2) * t
}

// reach is when, in seconds of the piece, Λ has grown by n: the root of
// r0 t + slope t²/2 = n in the form that does not cancel.
func (s segment) reach(n float64) float64 {
	if n <= 0 {
		return 0
	}
	if s.r0 == s.r1 {
		return n / s.r0
	}
	slope := (s.r1 - s.r0) / s.length
	root := math.Sqrt(max(s.r0*s.r0+2*slope*n, 0))
	return min(2*n/(s.r0+root), s.length)
}

// due is when arrival k is due, to the nanosecond; ok is false if it never is.
func (c curve) due(k int64) (at time.Duration, ok bool) {
	for _, s := range c {
		n := float64(k) - s.before
		if n >= s.area() {
			continue
		}
		ns := math.Round((s.start + s.reach(n)) * 1e9)
		return time.Duration(ns), ns < longest
	}
	return 0, false
}

// asked is Λ(t).
func (c curve) asked(t time.Duration) float64 {
	sec := max(t, 0).Seconds()
	for _, s := range c {
		if sec < s.start+s.length {
			return s.before + s.count(sec-s.start)
		}
	}
	return 0
}

// index is the first arrival that is due at t or later, which is also how many
// are due before t.
func (c curve) index(t time.Duration) int64 {
	if t <= 0 {
		return 0
	}
	k := int64(math.Ceil(c.asked(t)))
	// asked and due round differently: settle on what due says.
	for k > 0 && !c.isDueBefore(k-1, t) {
		k--
	}
	for c.isDueBefore(k, t) {
		k++
	}
	return k
}

func (c curve) isDueBefore(k int64, t time.Duration) bool {
	at, ok := c.due(k)
	return ok && at < t
}
