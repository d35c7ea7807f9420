package loadgen

import (
	"math"
	"sort"
	"sync/atomic"
	"time"
)

// claim is what of a load is one node's, from its first arrival to its last, as
// spans without gaps that begin at 0. It does not change: another division makes
// another claim, which agrees with it on all arrivals before that division.
type claim struct {
	spans []span
	// divisions are those of the last spans, one each; none for a load that is not divided.
	divisions []Division
	self      string // whose claim it is
}

// span is what holds from one division to the next.
type span struct {
	from   int64         // the first arrival
	at     time.Duration // when it is due
	share  share         // nobody's if the node does not take part
	had    int64         // how many arrivals before from are the node's
	mine   float64       // its part of Λ(at)
	asked  float64       // Λ(at)
	target float64       // as mine, of what counts
	most   int           // workers
}

// claims is where the newest claim is kept.
type claims struct{ atomic.Pointer[claim] }

// newClaims is for a claim on everything, unless there are spans.
func newClaims(spans ...span) *claims {
	if len(spans) == 0 {
		spans = []span{{share: everything()}}
	}
	c := &claims{}
	c.Store(&claim{spans: spans})
	return c
}

// never is the number of an arrival that there is not.
const never = int64(math.MaxInt64)

// of is the span of arrival k.
func (c *claim) of(k int64) int {
	last := len(c.spans) - 1
	if c.spans[last].from <= k {
		return last
	}
	return max(sort.Search(last, func(i int) bool { return c.spans[i].from > k })-1, 0)
}

// at is the span at t.
func (c *claim) at(t time.Duration) *span {
	last := len(c.spans) - 1
	if c.spans[last].at <= t {
		return &c.spans[last]
	}
	return &c.spans[max(sort.Search(last, func(i int) bool { return c.spans[i].at > t })-1, 0)]
}

// after is where the next span after t begins; false if there is none.
func (c *claim) after(t time.Duration) (at time.Duration, ok bool) {
	i := sort.Search(len(c.spans), func(i int) bool { return c.spans[i].at > t })
	if i == len(c.spans) {
		return 0, false
	}
	return c.spans[i].at, true
}

// before is how many of the arrivals 0 to k-1 are the node's.
func (c *claim) before(k int64) int64 {
	s := &c.spans[c.of(k)]
	return s.had + s.share.before(k-s.from)
}

func (c *claim) owns(k int64) bool {
	s := &c.spans[c.of(k)]
	return s.share.owns(k - s.from)
}

// sure says of arrival k, which is the node's, whether nobody else sends it: it is
// not that of another, by a division before, who may go by that still.
func (c *claim) sure(k int64, by Settlement) bool {
	if by.whole(len(c.divisions)) {
		return true
	}
	first := len(c.spans) - len(c.divisions)
	for i := c.of(k) - first - 1; i >= by.least()-1; i-- {
		d, s := &c.divisions[i], &c.spans[first+i]
		if owner := d.Among[s.share.owner(k-s.from)].ID; owner != c.self && by.of(owner) <= i+1 {
			return false
		}
	}
	return true
}

// next is the node's first arrival from k on, never if there is none.
func (c *claim) next(k int64) int64 {
	for i := c.of(k); i < len(c.spans); i++ {
		s, end := &c.spans[i], never
		if i+1 < len(c.spans) {
			end = c.spans[i+1].from
		}
		if k = max(k, s.from); !s.share.in() || k >= end {
			continue
		}
		if n := s.from + s.share.next(k-s.from); n < end {
			return n
		}
	}
	return never
}

// asked is the node's part of Λ(t).
func (c *claim) asked(of curve, t time.Duration) float64 {
	s := c.at(t)
	return s.mine + (of.asked(t)-s.asked)*s.share.fraction()
}

// pace is the node's part of the load at t; while it has none that of before, in
// which what it still sends was due.
func (c *claim) pace(t time.Duration) float64 {
	s := c.at(t)
	if s.share.in() {
		return s.share.fraction()
	}
	pace := 1.0
	for i := range c.spans {
		if c.spans[i].at > t {
			break
		}
		if c.spans[i].share.in() {
			pace = c.spans[i].share.fraction()
		}
	}
	return pace
}

// enters is when the node first takes part; false if it does not yet.
func (c *claim) enters() (at time.Duration, ok bool) {
	for i := range c.spans {
		if c.spans[i].share.in() {
			return c.spans[i].at, true
		}
	}
	return 0, false
}
