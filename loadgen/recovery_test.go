package loadgen

import (
	"cmp"
	"container/heap"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"testing"
	"time"
)

// turn is what a worker does next, and when.
type turn struct {
	at  time.Duration
	act act
	has ticket
	in  pause
}

type act int

const (
	takes  act = iota // an arrival from the pacer
	enters            // the sluice with it
	leaves            // the sluice
	sends
)

// turns is in the order of time.
type turns []turn

func (q turns) Len() int           { return len(q) }
func (q turns) Less(i, j int) bool { return q[i].at < q[j].at }
func (q turns) Swap(i, j int)      { q[i], q[j] = q[j], q[i] }
func (q *turns) Push(x any)        { *q = append(*q, x.(turn)) }
func (q *turns) Pop() any {
	last := len(*q) - 1
	x := (*q)[last]
	*q = (*q)[:last]
	return x
}

// start is an arrival that was sent.
type start struct{ due, released, sent time.Duration }

// playThrough is play with the sluice behind the pacer, as the crew has it. awake
// is when a worker that would do something at t gets to it.
func playThrough(p *pacer, workers int, answered, awake func(t time.Duration) time.Duration) (out []start) {
	q := make(turns, workers)
	for len(q) > 0 {
		w := &q[0]
		if at := awake(w.at); at > w.at {
			w.at = at
			heap.Fix(&q, 0)
			continue
		}
		switch w.act {
		case takes:
			t, _, ok := p.take(w.at, nil)
			if !ok {
				heap.Pop(&q)
				continue
			}
			*w = turn{at: t.release, act: enters, has: t}
		case enters:
			w.in, w.act = p.sluice.pass(w.has.due, w.at), sends
			if w.in.until > w.at {
				w.at, w.act = w.in.until, leaves
			}
		case leaves:
			more := false
			if w.in, more = p.sluice.again(w.in, w.at); more {
				w.at = w.in.until
			} else {
				w.act = sends
			}
		case sends:
			out = append(out, start{w.has.due, w.has.release, w.at})
			*w = turn{at: answered(w.at)}
		}
		heap.Fix(&q, 0)
	}
	slices.SortFunc(out, func(a, b start) int { return cmp.Compare(a.due, b.due) })
	return out
}

func atOnce(t time.Duration) time.Duration { return t }

// TestAMachineThatStandsStillMakesNoClump: nobody runs for a while, as where
// many programs share a CPU. All that fell due meanwhile does not go out at once.
func TestAMachineThatStandsStillMakesNoClump(t *testing.T) {
	const length = 4 * time.Second
	for _, rate := range []float64{50, 1000, 7000, 20_000} {
		for _, workers := range []int{10, 100, 400} {
			again := workers == 100 // and for 7 ms of each 20
			for _, still := range []time.Duration{3 * time.Millisecond, 36 * time.Millisecond, 90 * time.Millisecond, 300 * time.Millisecond} {
				t.Run(fmt.Sprintf("%v per s, %d workers, %v", rate, workers, still), func(t *testing.T) {
					p := newPacer(schedule{curve: rpsCurve(rate), claims: newClaims(), end: length}, time.Second)
					out := playThrough(p, workers, func(t time.Duration) time.Duration { return t + 300*time.Microsecond }, func(t time.Duration) time.Duration {
						if into := t % (20 * time.Millisecond); again && t < 3*time.Second && into > 0 && into < 7*time.Millisecond {
							return t - into + 7*time.Millisecond
						}
						if into := t % time.Second; t < 3*time.Second && into > 500*time.Millisecond && into < 500*time.Millisecond+still {
							return t - into + 500*time.Millisecond + still
						}
						return t
					})
					if want := int(rate * length.Seconds()); len(out) != want {
						t.Errorf("%d are sent, want %d", len(out), want)
					}
					var sent []time.Duration
					for _, s := range out {
						sent = append(sent, s.sent)
					}
					slices.Sort(sent)
					most, end := 0, 0
					for i, at := range sent {
						for end < len(sent) && sent[end] < at+10*time.Millisecond {
							end++
						}
						most = max(most, end-i)
					}
					if limit := math.Ceil(3*rate/100 + 1); float64(most) > limit {
						t.Errorf("up to %d are sent in 10 ms, want at most %v", most, limit)
					}
				})
			}
		}
	}
}

// TestBusyWorkersRecoverToo: a target whose answers take very different times
// keeps the workers busy most of the time and then stands still for 5 s. They
// can do more than the curve asks, so the backlog has an end, and nothing is
// dropped once it is worked off.
func TestBusyWorkersRecoverToo(t *testing.T) {
	const from, until, recovered, length = 10 * time.Second, 15 * time.Second, 40 * time.Second, 90 * time.Second
	for _, tc := range []struct {
		rate    float64
		workers int
		busy    float64
	}{{100, 1, 0.7}, {100, 10, 0.85}, {1000, 1, 0.8}, {1000, 1, 0.9}, {1000, 2, 0.9}, {1000, 10, 0.9}, {7000, 1, 0.9}, {7000, 100, 0.95}} {
		t.Run(fmt.Sprintf("%v per s, %d workers busy %v", tc.rate, tc.workers, tc.busy), func(t *testing.T) {
			rng := rand.New(rand.NewPCG(1, 2))
			c := rpsCurve(tc.rate)
			p := newPacer(schedule{curve: c, claims: newClaims(), end: length}, time.Second)
			out := playThrough(p, tc.workers, func(t time.Duration) time.Duration {
				took := time.Duration(tc.busy * float64(tc.workers) / tc.rate * rng.ExpFloat64() * 1e9)
				if t >= from && t < until {
					return until + took
				}
				return t + took
			}, atOnce)
			var released []time.Duration
			late, n := 0, 0
			for _, s := range out {
				released = append(released, s.released)
				if s.due >= recovered {
					n++
				}
				if s.due >= recovered && s.sent-s.due > 200*time.Millisecond {
					late++
				}
			}
			if want := int(c.index(length) - c.index(recovered)); n != want || late > want/20 {
				t.Errorf("of %d arrivals that are due long after the stall %d are sent and %d of them late", want, n, late)
			}
			slices.Sort(released)
			keeps110(t, c, released, 0, length)
		})
	}
}
