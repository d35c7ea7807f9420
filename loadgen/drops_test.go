package loadgen

import (
	"fmt"
	"slices"
	"testing"
	"time"
)

func (d drops) sum() (n int64) {
	for _, l := range d {
		n += l.n
	}
	return n
}

// TestDropsAreOfOneStageEach: whichever of the arrivals are a node's, and wherever
// they are, among them those that were handed out and given back.
func TestDropsAreOfOneStageEach(t *testing.T) {
	c := curve{}.to(10, 20, 20).to(5, 200, 200).forever(20)
	edges := []time.Duration{10 * time.Second, 15 * time.Second}
	stage := func(due time.Duration) int {
		n, _ := slices.BinarySearch(edges, due+1)
		return n
	}
	second, err := newShare(Share{Index: 1, Weights: []float64{1, 2, 3}})
	if err != nil {
		t.Fatal(err)
	}
	for _, poisson := range []bool{false, true} {
		for name, sh := range map[string]share{"all": everything(), "a third": second} {
			t.Run(fmt.Sprint("poisson ", poisson, ", ", name), func(t *testing.T) {
				s := schedule{curve: c, claims: newClaims(span{share: sh}), poisson: poisson, seed: 3, end: 25 * time.Second, warmup: 8 * time.Second, edges: edges}
				var want, got [3]int64
				for _, due := range allOf(newArrivals(s)) {
					if due >= s.warmup {
						want[stage(due)]++
					}
				}
				count := func(d drops) {
					for _, l := range d {
						got[stage(l.due)] += l.n
					}
				}
				p := newPacer(s, time.Second)
				for _, at := range []time.Duration{9 * time.Second, 12 * time.Second, 25 * time.Second} {
					back, d, _ := p.take(at, nil)
					count(d)
					p.give(back, at)
				}
				count(p.stop(s.end))
				if got != want {
					t.Errorf("dropped %v, due %v", got, want)
				}
			})
		}
	}
}

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
