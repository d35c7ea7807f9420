package stats

import (
	"testing"
	"time"
)

// While a run goes on, what was started is not told to be off by what its last second
// asks for; at its end it is.
func TestRateOfARunThatGoesOn(t *testing.T) {
	for _, c := range []struct {
		started int64
		ended   bool
		off     float64 // 0: not told
	}{{190, false, 0}, {230, false, 0}, {120, false, -42.857}, {190, true, -9.524}} {
		s := &Summary{Elapsed: 2 * time.Second, Planned: time.Minute, Started: c.started, Target: 210, Ended: c.ended}
		if c.ended {
			s.Planned = 2 * time.Second
		}
		s.Series.at(0).Target, s.Series.at(1).Target = 85, 80
		r, err := NewResult(s, ScopeNode, []NodeResult{{NodeID: "a", Complete: c.ended, Reason: StillGoing}})
		if err != nil {
			t.Fatal(err)
		}
		answer := r.answerLoad()
		switch got := r.Target.RateErrorPct; {
		case c.off == 0 && (got != nil || answer.Tone != ToneGood):
			t.Errorf("%+v: off by %v, %+v", c, *got, answer)
		case c.off != 0 && (got == nil || *got != c.off || answer.Tone != ToneBad):
			t.Errorf("%+v: off by %v, %+v", c, got, answer)
		}
	}
}
