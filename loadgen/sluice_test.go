package loadgen

import (
	"context"
	"math"
	"testing"
	"testing/synctest"
	"time"
)

// TestAHiccupIsNoClump lets the worker hang for 80 ms, as a busy machine or
// target makes them: what is late by then is sent soon, but not at once.
func TestAHiccupIsNoClump(t *testing.T) {
	const from, until, length = 500 * time.Millisecond, 580 * time.Millisecond, time.Second
	for _, rate := range []float64{50, 300, 3000} {
		synctest.Test(t, func(t *testing.T) {
			c := rpsCurve(rate)
			tr := newTrial(c, length, 1, 1, nil)
			var sent []time.Duration
			tr.crew.recruit = func(int, place) iterator { return hanging{tr, from, until, &sent} }
			tr.crew.run(t.Context())
			if len(sent) != int(rate) {
				t.Fatalf("sent %d of %v", len(sent), rate)
			}
			most, end := 0, 0
			for i, at := range sent {
				for end < len(sent) && sent[end] < at+10*time.Millisecond {
					end++
				}
				most = max(most, end-i)
			}
			limit := 3*rate/100 + 1
			if rate > 100 {
				limit = 2*rate/100 + 1
			}
			if float64(most) > limit || float64(most) < math.Floor(limit)-1 && rate > 100 {
				t.Errorf("%v/s: up to %d in 10 ms, want about %v", rate, most, limit)
			}
			// 80 ms behind, caught up at twice the curve.
			k := c.index(until + 100*time.Millisecond)
			if due, _ := c.due(k); sent[k] != due {
				t.Errorf("%v/s: arrival %d is still late at %v, due %v", rate, k, sent[k], due)
			}
		})
	}
}

// hanging answers at once, but not between from and until.
type hanging struct {
	trial       *trial
	from, until time.Duration
	sent        *[]time.Duration
}

func (h hanging) iterate(_ context.Context, _ int64, _ time.Time) {
	now := h.trial.crew.now()
	h.trial.mu.Lock()
	*h.sent = append(*h.sent, now)
	h.trial.mu.Unlock()
	if now >= h.from && now < h.until {
		<-time.After(h.until - now)
	}
}

func (hanging) ready(int64) bool { return true }

func (hanging) counting(bool)           {}
func (hanging) onWrite(func(time.Time)) {}
func (hanging) close()                  {}

func TestOnlyWhatIsLateIsHeld(t *testing.T) {
	s := newSluice(schedule{curve: rpsCurve(100), claims: newClaims()})
	for range 20 {
		if at := s.pass(time.Second, time.Second+time.Millisecond).until; at != time.Second+time.Millisecond {
			t.Fatalf("a clump that is on time passes at %v", at)
		}
	}
	if at := s.pass(time.Second, time.Second+2*time.Millisecond).until; at != time.Second+11*time.Millisecond {
		t.Errorf("a late one after a clump passes at %v, want 10 ms after it", at)
	}
}
