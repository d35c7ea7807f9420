package loadgen

import (
	"testing"
	"time"
)

// While a worker is there for the next arrival, and no backlog, nothing can grow
// old.
func TestThePatrolIsRareWhileNothingCanGrowOld(t *testing.T) {
	for name, tc := range map[string]struct {
		maxBacklog      time.Duration
		seldom, backlog bool
		want            time.Duration
	}{
		"all hang":                {time.Second, false, false, patrolEvery},
		"one is there":            {time.Second, true, false, patrolSeldom},
		"and there is a backlog":  {time.Second, true, true, patrolEvery},
		"things grow old quickly": {400 * time.Millisecond, true, false, 100 * time.Millisecond},
		"very quickly":            {50 * time.Millisecond, true, false, patrolEvery},
	} {
		p := newPacer(schedule{curve: rpsCurve(100), claims: newClaims(), end: endless}, tc.maxBacklog)
		p.behind = tc.backlog
		if got := p.nextPatrol(tc.seldom); got != tc.want {
			t.Errorf("%s: again in %v, want %v", name, got, tc.want)
		}
	}
}
