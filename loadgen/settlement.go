package loadgen

import (
	"maps"
	"slices"
	"time"
)

// Settlement says by how many of a run's divisions each process sends at least: it
// knows them, or it sends nothing more. The first is everybody's from the start.
type Settlement struct {
	Divisions int            // all but those in But
	But       map[string]int // fewer, by the id of the server
}

// of is that of one process.
func (s Settlement) of(id string) int {
	if n, there := s.But[id]; there {
		return max(n, 1)
	}
	return max(s.Divisions, 1)
}

// least is that of the one that is furthest behind.
func (s Settlement) least() int {
	least := max(s.Divisions, 1)
	for id := range s.But {
		least = min(least, s.of(id))
	}
	return least
}

// whole is true if all send by the last of so many divisions.
func (s Settlement) whole(divisions int) bool { return s.Divisions >= divisions && len(s.But) == 0 }

// with is what is known after another word: what somebody knew, it knows still.
func (s Settlement) with(o Settlement) Settlement {
	if o.Divisions < s.Divisions {
		return s // a word that comes late
	}
	out := Settlement{Divisions: o.Divisions, But: map[string]int{}}
	for _, but := range []map[string]int{s.But, o.But} {
		for id := range but {
			if n := max(s.of(id), o.of(id)); n < out.Divisions {
				out.But[id] = n
			}
		}
	}
	return out
}

func (s Settlement) equal(o Settlement) bool {
	return s.Divisions == o.Divisions && maps.Equal(s.But, o.But)
}

const (
	// settleMargin is how much later than it was told a settlement counts: by more
	// than the clocks of two nodes are wrong, for those have both called one arrival due.
	settleMargin = 100 * time.Millisecond
	// mostSettlements is how many are remembered for what fell due before the newest.
	// What is older than all of them is treated as if nobody knew anything.
	mostSettlements = 256
)

// settlements is what was known since when; it does not change.
type settlements []struct {
	Settlement
	from time.Time
}

// and is the list with one more; the same if that says nothing new.
func (l settlements) and(s Settlement, now time.Time) settlements {
	last := Settlement{Divisions: 1}
	if len(l) > 0 {
		last = l[len(l)-1].Settlement
	}
	next := last.with(s)
	if next.equal(last) {
		return l
	}
	if len(l) >= mostSettlements {
		l = l[1:]
	}
	return append(slices.Clip(l), struct {
		Settlement
		from time.Time
	}{next, now.Add(settleMargin)})
}

// at is what was known at an instant.
func (l settlements) at(t time.Time) Settlement {
	for _, s := range slices.Backward(l) {
		if !t.Before(s.from) {
			return s.Settlement
		}
	}
	return Settlement{Divisions: 1}
}
