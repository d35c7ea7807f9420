package loadgen

import (
	"math"
	"sort"
	"time"

	"volley/plan"
)

// curve is a target R(t), a rate or a number of workers, as linear pieces
// without gaps, t = 0 at the run's start. With a rate its integral
//
//	Λ(t) = ∫ R      arrival k (from 0) is due at inf{t : Λ(t) > k}
//
//	R ^    ____            thirds: up, hold, down in a third of rampDuration
//	  |   /    \           each, then min for the rest
//	  |  /      \____
//	  +-----------------> t
//
// is a parabola on each piece, so that reach has a closed form: nothing
// accumulates, and arrival 10^9 is as exact as the first. The last piece is
// endless, or the whole repeats after period.
type curve struct {
	pieces []piece
	period float64 // seconds; 0 if it does not repeat
	cycle  float64 // Λ(period)
}

// piece is one piece: R goes linearly from r0 to r1.
type piece struct {
	start, length float64 // seconds; the last one's length may be +Inf
	r0, r1        float64
	before        float64 // Λ(start)
}

// longest bounds what is converted to nanoseconds, some 146 years.
const longest = float64(1 << 62)

// newCurve is the rate of an open model. A closed one has none.
func newCurve(l plan.Load) curve {
	if l.Closed() {
		return curve{}
	}
	var c curve
	switch l.Model {
	case "rps":
		return c.forever(rate(l.Target))
	case "ramp":
		return rampCurve(rate(l.Min), rate(l.Max), l.RampDuration.Seconds(), l.Shape)
	case "dailytraffic":
		return dailyCurve(l)
	case "stages":
		return stagesCurve(l)
	}
	return c
}

func rampCurve(low, high, length float64, shape string) curve {
	var c curve
	switch {
	case length <= 0:
		return c.forever(high)
	case shape == "hold":
		return c.to(length, low, high).forever(high)
	}
	third := length / 3
	return c.to(third, low, high).to(third, high, high).to(third, high, low).forever(low)
}

// dailyCurve is the day that repeats every cycle: morning ramp, peak, decline,
// middle, evening decline, and what remains of it night.
//
//	max  .    ____
//	mid  .   /    \____
//	min  .  /          \_____
func dailyCurve(l plan.Load) curve {
	low, mid, high := rate(l.Min), rate(l.Mid), rate(l.Max)
	day := l.CycleDuration.Seconds()
	if day <= 0 {
		return curve{}.forever(high)
	}
	phases := []struct {
		share    *float64
		from, to float64
	}{
		{l.MorningRampRatio, low, high}, {l.PeakSustainRatio, high, high}, {l.MidDeclineRatio, high, mid},
		{l.MidSustainRatio, mid, mid}, {l.EveningDeclineRatio, mid, low},
	}
	var c curve
	night := 1.0
	for _, p := range phases {
		share := min(rate(p.share), night)
		c, night = c.to(day*share, p.from, p.to), night-share
	}
	// Shares that make up the whole leave a rounding of a night, which is none.
	if night > 1e-9 {
		c = c.to(day*night, low, low)
	}
	last := c.pieces[len(c.pieces)-1]
	c.period, c.cycle = day, last.before+last.area()
	return c
}

func stagesCurve(l plan.Load) curve {
	var c curve
	at := l.From
	for _, s := range l.Stages {
		c, at = c.to(s.Duration.Seconds(), at, s.Target), s.Target
	}
	return c.forever(at)
}

func rate(r *float64) float64 {
	if r == nil {
		return 0
	}
	return *r
}

// to appends a piece that goes from r0 to r1 in length seconds; one without
// length is a jump.
func (c curve) to(length, r0, r1 float64) curve {
	if length <= 0 {
		return c
	}
	s := piece{length: length, r0: r0, r1: r1}
	if n := len(c.pieces); n > 0 {
		last := c.pieces[n-1]
		s.start, s.before = last.start+last.length, last.before+last.area()
	}
	c.pieces = append(c.pieces, s)
	return c
}

func (c curve) forever(r float64) curve { return c.to(math.Inf(1), r, r) }

// area is Λ over the whole piece.
func (s piece) area() float64 {
	if s.r0 == 0 && s.r1 == 0 {
		return 0 // also for an endless piece, where 0 * Inf is not a number
	}
	return (s.r0 + s.r1) / 2 * s.length
}

// count is Λ over the first t seconds of the piece.
func (s piece) count(t float64) float64 { return (s.r0 + s.rate(t)) / 2 * t }

// rate is R after t seconds of the piece.
func (s piece) rate(t float64) float64 {
	if s.r0 == s.r1 {
		return s.r0
	}
	return s.r0 + (s.r1-s.r0)*t/s.length
}

// reach is when, in seconds of the piece, Λ has grown by n: the root of
// r0 t + slope t²/2 = n in the form that does not cancel.
func (s piece) reach(n float64) float64 {
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

// rounding is by how much sums around level may be wrong: an arrival that
// falls due where a piece begins must not fall due where the one before ends,
// with a night between them.
func rounding(level float64) float64 { return 1e-9 + level*1e-15 }

// reach is inf{t : Λ(t) > level}, to the nanosecond; ok is false if Λ never
// exceeds it.
func (c curve) reach(level float64) (at time.Duration, ok bool) {
	days := 0.0
	slack := rounding(level)
	if c.period > 0 {
		if c.cycle <= 0 {
			return 0, false
		}
		days = math.Floor(level / c.cycle)
		if level -= days * c.cycle; c.cycle-level <= slack {
			days, level = days+1, 0
		}
	}
	i := sort.Search(len(c.pieces), func(i int) bool {
		return c.pieces[i].before+c.pieces[i].area()-level > slack
	})
	if i == len(c.pieces) {
		return 0, false
	}
	s := c.pieces[i]
	ns := math.Round((days*c.period + s.start + s.reach(level-s.before)) * 1e9)
	return time.Duration(ns), ns < longest
}

// due is when arrival k of evenly spaced ones is due; ok is false if it never is.
func (c curve) due(k int64) (at time.Duration, ok bool) { return c.reach(float64(k)) }

// find is the piece at t, with how far t is into it, in seconds, and with Λ at
// the beginning of the period that t lies in.
func (c curve) find(t time.Duration) (s piece, into, before float64) {
	sec := max(t, 0).Seconds()
	if c.period > 0 {
		days := math.Floor(sec / c.period)
		sec, before = sec-days*c.period, days*c.cycle
	}
	i := sort.Search(len(c.pieces), func(i int) bool { return c.pieces[i].start > sec })
	if i == 0 {
		return piece{}, 0, 0
	}
	s = c.pieces[i-1]
	return s, sec - s.start, before
}

// asked is Λ(t).
func (c curve) asked(t time.Duration) float64 {
	s, into, before := c.find(t)
	return before + s.before + s.count(into)
}

// at is R(t); where it jumps, the later value.
func (c curve) at(t time.Duration) float64 {
	s, into, _ := c.find(t)
	return s.rate(into)
}

// index is the first of evenly spaced arrivals that is due at t or later, which
// is also how many are due before t.
func (c curve) index(t time.Duration) int64 {
	if t <= 0 || len(c.pieces) == 0 {
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

// turns calls f with R at the beginning, at the end and wherever a piece begins
// or ends between a and b. R lies between the extremes of these.
func (c curve) turns(a, b time.Duration, f func(r float64)) {
	from, to := max(a, 0).Seconds(), max(b, 0).Seconds()
	f(c.at(a))
	if c.period > 0 {
		days := math.Floor(from / c.period)
		if to-days*c.period >= c.period {
			from, to = 0, c.period // part of another day: near enough to all of it
		} else {
			from, to = from-days*c.period, to-days*c.period
		}
	}
	for _, s := range c.pieces {
		if s.start+s.length < from || s.start >= to {
			continue
		}
		if s.start >= from {
			f(s.r0)
		}
		if s.start+s.length < to {
			f(s.r1)
			continue
		}
		f(s.rate(to - s.start))
	}
}

// peak is the highest rate before end.
func (c curve) peak(end time.Duration) float64 {
	high := 0.0
	c.turns(0, end, func(r float64) { high = max(high, r) })
	return high
}

// low is the lowest rate from a to b.
func (c curve) low(a, b time.Duration) float64 {
	low := math.Inf(1)
	c.turns(a, b, func(r float64) { low = min(low, r) })
	return low
}
