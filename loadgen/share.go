package loadgen

import (
	"errors"
	"fmt"
	"math"
	"sort"
)

// Share is the part of a load that is one participant's within a division. All
// participants are given the same Weights, in the
// order of the members, and each its own Index. The zero Share is all of it.
type Share struct {
	Index   int
	Weights []float64
}

// mostUnits is what the heaviest participant's weight is scaled to at most:
// whole numbers divide alike on every machine.
const mostUnits = 1_000_000

// unitsOf is the least that the heaviest weight can be scaled to so that all
// others are whole numbers too, if a thousand is enough for that.
func unitsOf(weights []float64, heaviest float64) float64 {
	for units := 1.0; units <= 1000; units++ {
		whole := true
		for _, w := range weights {
			n := w / heaviest * units
			whole = whole && math.Abs(n-math.Round(n)) < 1e-9 && n > 0.5
		}
		if whole {
			return units
		}
	}
	return mostUnits
}

// share divides what comes in whole pieces. Whatever is divided, every piece
// goes to exactly one participant: a pure function of Share.
type share struct {
	index   int // nobody for one that does not take part
	weights []int64
	sum     int64
}

// newShare refuses weights that are not above 0 and an index outside them.
func newShare(s Share) (share, error) {
	if len(s.Weights) == 0 {
		return everything(), nil
	}
	if s.Index < 0 || s.Index >= len(s.Weights) {
		return share{}, fmt.Errorf("share of the load: participant %d of %d", s.Index, len(s.Weights))
	}
	heaviest := 0.0
	for _, w := range s.Weights {
		if !(w > 0) || math.IsInf(w, 1) {
			return share{}, fmt.Errorf("share of the load: weight %v (a number above 0 is accepted)", w)
		}
		heaviest = max(heaviest, w)
	}
	out, scale := share{index: s.Index}, unitsOf(s.Weights, heaviest)
	for _, w := range s.Weights {
		units := int64(math.Round(w / heaviest * scale))
		if units == 0 {
			return share{}, errors.New("share of the load: a weight is less than a millionth of another")
		}
		out.weights, out.sum = append(out.weights, units), out.sum+units
	}
	return out, nil
}

// nobody is the index of who does not take part.
const nobody = -1

// noShare is the share of a node that does not take part.
func noShare() share { return share{index: nobody, weights: []int64{1}, sum: 1} }

func (s share) in() bool { return s.index != nobody }

// all is true if there is nobody to share with.
func (s share) all() bool { return len(s.weights) == 1 && s.in() }

// fraction is the participant's part of 1.
func (s share) fraction() float64 {
	if !s.in() {
		return 0
	}
	return float64(s.weights[s.index]) / float64(s.sum)
}

// before is how many of the arrivals 0 to k-1 are the participant's. The first
// takes its part of all, evenly spread, the next its part of what is left, and
// so on: each keeps within one of its part, at every k.
func (s share) before(k int64) int64 {
	left, sum := k, s.sum
	for i, w := range s.weights {
		mine := part(left, w, sum)
		if i == s.index {
			return mine
		}
		left, sum = left-mine, sum-w
	}
	return 0
}

// part is n*w/sum rounded up, without n*w, which may not fit.
func part(n, w, sum int64) int64 {
	return n/sum*w + (n%sum*w+sum-1)/sum
}

// round is the first arrival from k on at which the order in which participants
// take their turns begins again.
func (s share) round(k int64) int64 { return (k + s.sum - 1) / s.sum * s.sum }

func (s share) owns(k int64) bool { return s.all() || s.before(k+1) > s.before(k) }

// owner is the index of the participant whose arrival k is.
func (s share) owner(k int64) int {
	left, next, sum := k, k+1, s.sum
	for i, w := range s.weights {
		mine, then := part(left, w, sum), part(next, w, sum)
		if then > mine {
			return i
		}
		left, next, sum = left-mine, next-then, sum-w
	}
	return 0
}

// next is the participant's first arrival from k on; it has to be in.
func (s share) next(k int64) int64 {
	if s.all() {
		return k
	}
	had, reach := s.before(k), int64(1)
	for s.before(k+reach) == had {
		reach *= 2
	}
	return k + int64(sort.Search(int(reach), func(i int) bool { return s.before(k+int64(i)+1) > had }))
}

// of is the participant's part of n: what does not divide goes to the first
// members, one each.
func (s share) of(n int64) int64 {
	if !s.in() {
		return 0
	}
	rest := n
	for _, w := range s.weights {
		rest -= n/s.sum*w + n%s.sum*w/s.sum
	}
	mine := n/s.sum*s.weights[s.index] + n%s.sum*s.weights[s.index]/s.sum
	if int64(s.index) < rest {
		mine++
	}
	return mine
}

// everything is the share of a node that shares with nobody.
func everything() share { return share{weights: []int64{1}, sum: 1} }
