package stats

import (
	"math"
	"time"
)

// newTarget is what was asked for, and by how much what was started is off. While a
// run goes on both are of not quite the same moment: a difference of no more than
// what one second asks for says nothing.
func newTarget(s *Summary) Target {
	if s.Closed {
		return Target{}
	}
	asked := int64(math.Round(s.Target))
	off := float64(s.Started) - s.Target
	if !s.Ended && math.Abs(off) <= s.Series.mostAsked() {
		return Target{Iterations: &asked}
	}
	pct := 0.0
	if s.Target > 0 {
		pct = round(off/s.Target*100, 3)
	}
	return Target{Iterations: &asked, RateErrorPct: &pct}
}

// mostAsked is the most that the curve asks for in a second.
func (s *Series) mostAsked() (most float64) {
	span := (time.Duration(s.Span) * time.Second).Seconds()
	for i := range s.Points {
		most = max(most, s.Points[i].Target/span)
	}
	return most
}
