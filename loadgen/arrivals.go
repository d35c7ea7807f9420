package loadgen

import (
	"math/rand/v2"
	"slices"
	"time"
)

// arrivals are those of a curve that are this node's, one after the other.
// Evenly spaced, arrival k is where Λ exceeds k; with poisson it is where Λ
// exceeds the sum of k+1 gaps, drawn from the exponential distribution of mean
// 1: a process whose rate is the curve. What arrival k is depends on the seed
// and on nothing that happens in the run.
type arrivals struct {
	arrival      // the head: the next one
	none    bool // there is none left

	curve curve
	claim *claim
	end   time.Duration // none is due from here on
	limit int64         // nor is any from this one on
	from  time.Duration // those due before it do not count
	// edges are where stages meet that are counted apart.
	edges []time.Duration

	draws  *draws // nil: evenly spaced
	before mark   // what had been drawn before the first of stream
	// stream are those that have not been handed out yet, one after the other; those
	// before done have been, or are another's.
	stream arrival
	done   int64
	dry    bool // stream has none left
	// back are those that come before: they were handed out and given back, or
	// have become this node's.
	back []arrival
	// strays have been sent, or dropped, and are another's by a division that
	// came too late.
	strays map[int64]bool
}

// arrival is one: its number, its place in Λ and when that is reached.
type arrival struct {
	k     int64
	level float64
	due   time.Duration
	slept bool // a worker was there for it in time, and did not wake up
}

// schedule says which arrivals there are.
type schedule struct {
	curve   curve
	claims  *claims
	poisson bool
	seed    uint64 // of poisson: the same on all nodes that share a curve
	end     time.Duration
	limit   int64           // how many at most, all participants together; 0 for no limit
	warmup  time.Duration   // those due in it do not count
	edges   []time.Duration // where stages meet
}

// streamGaps keeps the draws of arrivals apart from all other draws of a seed.
const streamGaps = 0x61727269766c7321

// draws is the sum of the gaps up to an arrival, -1 for none.
type draws struct {
	mark
	gaps *rand.Rand
}

type mark struct {
	k      int64
	level  float64
	source rand.PCG
}

func newDraws(seed uint64) *draws {
	d := &draws{mark: mark{k: -1}}
	d.source.Seed(seed, streamGaps)
	d.gaps = rand.New(&d.source)
	return d
}

// upTo is the level of arrival k, which must not be before the last asked for.
func (d *draws) upTo(k int64) float64 {
	for ; d.k < k; d.k++ {
		d.level += d.gaps.ExpFloat64()
	}
	return d.level
}

func newArrivals(s schedule) *arrivals {
	a := &arrivals{curve: s.curve, claim: s.claims.Load(), end: s.end, limit: s.limit, from: s.warmup, edges: s.edges}
	if a.limit == 0 {
		a.limit = never
	}
	if s.poisson {
		a.draws = newDraws(s.seed)
	}
	a.seek()
	return a
}

// seek finds the first of stream that is not before done.
func (a *arrivals) seek() {
	k := a.claim.next(a.done)
	a.stream = arrival{k: k, level: float64(k)}
	if a.dry = k >= a.limit || k == never; !a.dry {
		if a.draws != nil {
			a.before = a.draws.mark
			a.stream.level = a.draws.upTo(k)
		}
		due, ok := a.curve.reach(a.stream.level)
		a.stream.due, a.dry = due, !ok || due >= a.end
	}
	a.pick()
}

// pick makes the earlier of back and stream the head.
func (a *arrivals) pick() {
	a.arrival, a.none = a.stream, a.dry && len(a.back) == 0
	if len(a.back) > 0 && (a.dry || a.back[0].k < a.stream.k) {
		a.arrival = a.back[0]
	}
}

// advance moves the head to this node's next arrival.
func (a *arrivals) advance() {
	if len(a.back) > 0 && a.k == a.back[0].k {
		a.back = a.back[1:]
		a.pick()
		return
	}
	a.done = a.stream.k + 1
	a.seek()
}

// give takes one back that has been handed out.
func (a *arrivals) give(x arrival) {
	at, _ := slices.BinarySearchFunc(a.back, x, func(b, x arrival) int { return int(min(max(b.k-x.k, -1), 1)) })
	a.back = slices.Insert(a.back, at, x)
	a.pick()
}

// spent is true if the limit, not the end of the run or of the curve, has left
// none. A node that does not take part may still come to.
func (a *arrivals) spent() bool {
	return len(a.back) == 0 && a.stream.k >= a.limit && a.stream.k != never
}

// skip moves the head to the first arrival that is due at t or later and
// returns those that count it left behind, stage by stage.
func (a *arrivals) skip(t time.Duration) (left drops) {
	if a.none || a.due >= t {
		return nil
	}
	for _, edge := range a.edges {
		if edge < t {
			left = a.leave(edge, left)
		}
	}
	return a.leave(t, left)
}

// leave is skip within a stage.
func (a *arrivals) leave(t time.Duration, left drops) drops {
	if a.none || a.due >= t {
		return left
	}
	due, n := a.due, int64(0)
	for len(a.back) > 0 && a.back[0].due < t {
		n += a.one(a.back[0])
		a.back = a.back[1:]
	}
	switch {
	case a.dry || a.stream.due >= t:
	case a.draws != nil:
		for ; !a.dry && a.stream.due < t; a.seek() {
			n += a.one(a.stream)
			a.done = a.stream.k + 1
		}
	default:
		k := min(a.curve.index(min(t, a.end)), a.limit)
		first := max(a.stream.k, a.curve.index(a.from))
		n += max(a.claim.before(k)-a.claim.before(first), 0)
		a.done = k
		a.seek()
	}
	a.pick()
	return left.with(loss{due: due, n: n})
}

// one is an arrival as a number: 0 if it does not count.
func (a *arrivals) one(x arrival) int64 {
	if x.due < a.from {
		return 0
	}
	return 1
}

// divide puts another claim in the place of this one: it says whose the arrivals
// are that have not been sent, those out among them, which the workers had been
// handed. It returns how many of others' have been sent, and which of its own
// that count are lost, for they may still not be sent.
func (a *arrivals) divide(next *claim, from int64, out []arrival, probe *draws, may func(arrival) bool) (strays int, lost drops) {
	for k := range a.strays {
		if k < from {
			delete(a.strays, k)
		}
	}
	unsent := map[int64]bool{}
	pool := append(a.back, out...)
	a.back = nil
	for _, x := range pool {
		unsent[x.k] = true
		switch {
		case !next.owns(x.k):
		case may(x):
			a.give(x)
		default:
			lost = lost.with(loss{due: x.due, n: a.one(x)})
		}
	}
	for k := from; k < min(a.done, a.limit); k++ {
		switch was, is := a.claim.owns(k), next.owns(k); {
		case was && !is && !unsent[k]:
			if a.strays == nil {
				a.strays = map[int64]bool{}
			}
			a.strays[k] = true
			strays++
		case is && !was && !a.strays[k]:
			if x, ok := a.another(k, probe); ok && may(x) {
				a.give(x)
			} else if ok {
				lost = lost.with(loss{due: x.due, n: a.one(x)})
			}
		}
	}
	a.claim = next
	if a.draws != nil && a.draws.k >= a.done {
		a.draws.mark = a.before
	}
	a.seek()
	return strays, lost
}

// another is an arrival that was another's.
func (a *arrivals) another(k int64, probe *draws) (x arrival, ok bool) {
	x = arrival{k: k, level: float64(k)}
	if probe != nil {
		x.level = probe.upTo(k)
	}
	x.due, ok = a.curve.reach(x.level)
	return x, ok && x.due < a.end
}

// last is when the last arrival of all is due, whoever's it is; endless if no
// number of them ends the run.
func (s *schedule) last() time.Duration {
	if s.limit == 0 {
		return endless
	}
	level := float64(s.limit - 1)
	if s.poisson {
		level = newDraws(s.seed).upTo(s.limit - 1)
	}
	if due, ok := s.curve.reach(level); ok {
		return due
	}
	return endless
}

// index is how many arrivals are due before t, whoever's they are, which is also
// the number of the first that is not.
func (s *schedule) index(t time.Duration) int64 {
	limit := s.limit
	if limit == 0 {
		limit = never
	}
	t = min(t, s.end)
	if !s.poisson {
		return min(s.curve.index(t), limit)
	}
	d := newDraws(s.seed)
	for k := int64(0); k < limit; k++ {
		if due, ok := s.curve.reach(d.upTo(k)); !ok || due >= t {
			return k
		}
	}
	return limit
}
