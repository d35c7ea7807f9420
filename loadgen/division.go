package loadgen

import (
	"errors"
	"fmt"
	"slices"
	"time"
)

// Division says how a load, and the rows of split data files, are divided from an
// arrival on, until the next division.
type Division struct {
	From  int64         // the first arrival that is divided so
	At    time.Duration // when it is due, since the run's start: closed models change their workers at this instant
	Among []Portion     // in the order of the members
}

// Portion is a member's part of a division.
type Portion struct {
	ID     string // of the server
	Weight float64
}

// MostDivisions is how many a run may have.
const MostDivisions = 1024

func (d Division) equal(o Division) bool {
	return d.From == o.From && d.At == o.At && slices.Equal(d.Among, o.Among)
}

func equalDivisions(a, b []Division) bool { return slices.EqualFunc(a, b, Division.equal) }

// has says whether a server takes part.
func (d Division) has(id string) bool { return d.place(id) >= 0 }

func (d Division) place(id string) int {
	return slices.IndexFunc(d.Among, func(p Portion) bool { return p.ID == id })
}

// share is that of a server, or of nobody.
func (d Division) share(id string) (share, error) {
	s := Share{Index: d.place(id)}
	for _, p := range d.Among {
		s.Weights = append(s.Weights, p.Weight)
	}
	if s.Index < 0 {
		s.Index = 0
		out, err := newShare(s)
		out.index = nobody
		return out, err
	}
	return newShare(s)
}

// checkDivisions refuses what cannot be divided so: each division begins where
// the one before it did, or later.
func checkDivisions(divisions []Division) error {
	if len(divisions) > MostDivisions {
		return fmt.Errorf("divisions of the load: %d (at most %d are accepted)", len(divisions), MostDivisions)
	}
	for i, d := range divisions {
		if err := d.check(); err != nil {
			return fmt.Errorf("division %d of the load: %w", i+1, err)
		}
		if i == 0 {
			continue
		}
		if last := divisions[i-1]; d.From < last.From || d.At < last.At {
			return fmt.Errorf("division %d of the load: from arrival %d, due at %v (accepted: not before arrival %d and %v, where the last one begins)",
				i+1, d.From, d.At, last.From, last.At)
		}
	}
	return nil
}

func (d Division) check() error {
	switch {
	case len(d.Among) == 0:
		return errors.New("among nobody (at least one member is needed)")
	case d.From < 0 || d.At < 0:
		return fmt.Errorf("from arrival %d, due at %v (0 or later is accepted)", d.From, d.At)
	}
	seen := make(map[string]bool, len(d.Among))
	for _, p := range d.Among {
		if p.ID == "" || seen[p.ID] {
			return fmt.Errorf("among the member %q (each has an id of its own)", p.ID)
		}
		seen[p.ID] = true
	}
	_, err := d.share("")
	return err
}

// divisions are those of a load that is one participant's share from the start.
func (s Share) divisions() (self string, out []Division) {
	if len(s.Weights) == 0 {
		return "", nil
	}
	d := Division{}
	for i, w := range s.Weights {
		d.Among = append(d.Among, Portion{ID: fmt.Sprint("member ", i), Weight: w})
	}
	return fmt.Sprint("member ", s.Index), []Division{d}
}
