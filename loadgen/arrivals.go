package loadgen

import (
	"math"
	"math/rand/v2"
	"time"
)

// arrivals are those of a curve that are this node's, one after the other.
// Evenly spaced, arrival k is where Λ exceeds k; with poisson it is where Λ
// exceeds the sum of k+1 gaps, drawn from the exponential distribution of mean
// 1: a process whose rate is the curve. What arrival k is depends on the seed
// and on nothing that happens in the run.
type arrivals struct {
	curve curve
	share share
	gaps  *rand.Rand    // nil: evenly spaced
	end   time.Duration // none is due from here on
	limit int64         // nor is any from this one on
	from  time.Duration // those due before it do not count

	k     int64 // the head: the next arrival
	level float64
	due   time.Duration
	none  bool // there is none left
}

// schedule says which arrivals there are.
type schedule struct {
	curve   curve
	share   share
	poisson bool
	seed    uint64 // of poisson: the same on all nodes that share a curve
	end     time.Duration
	limit   int64         // how many at most, all participants together; 0 for no limit
	warmup  time.Duration // those due in it do not count
}

// streamGaps keeps the draws of arrivals apart from all other draws of a seed.
const streamGaps = 0x61727269766c7321

func newArrivals(s schedule) *arrivals {
	a := &arrivals{curve: s.curve, share: s.share, end: s.end, limit: s.limit, from: s.warmup, k: -1}
	if a.limit == 0 {
		a.limit = math.MaxInt64
	}
	if s.poisson {
		a.gaps = rand.New(rand.NewPCG(s.seed, streamGaps))
	}
	a.advance()
	return a
}

// advance moves the head to this node's next arrival.
func (a *arrivals) advance() { a.moveTo(a.share.next(a.k + 1)) }

// moveTo makes arrival k, which is this node's and not before the head, the head.
func (a *arrivals) moveTo(k int64) {
	if a.gaps == nil {
		a.level = float64(k)
	} else {
		for ; a.k < min(k, a.limit); a.k++ {
			a.level += a.gaps.ExpFloat64()
		}
	}
	a.k = k
	due, ok := a.curve.reach(a.level)
	a.due, a.none = due, !ok || due >= a.end || k >= a.limit
}

// spent is true if the limit, not the end of the run or of the curve, has left
// none.
func (a *arrivals) spent() bool { return a.k >= a.limit }

// skip moves the head to the first arrival that is due at t or later and
// returns how many that count it left behind.
func (a *arrivals) skip(t time.Duration) int64 {
	if a.none || a.due >= t {
		return 0
	}
	if a.gaps != nil {
		n := int64(0)
		for ; !a.none && a.due < t; a.advance() {
			n += a.one()
		}
		return n
	}
	k := min(a.curve.index(min(t, a.end)), a.limit)
	first := max(a.k, a.curve.index(a.from))
	n := max(a.share.before(k)-a.share.before(first), 0)
	a.moveTo(a.share.next(k))
	return n
}

// one is the head as a number: 0 if it does not count.
func (a *arrivals) one() int64 {
	if a.due < a.from {
		return 0
	}
	return 1
}
