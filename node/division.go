package node

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"
)

// Division says who sends a run's load from an arrival on. Where the load is not
// divided (Run.Divided), it only says who takes part, and since when.
type Division struct {
	From    int64         `json:"from"` // its first arrival
	At      time.Duration `json:"at"`   // when that is due, after the run's start
	Members []Member      `json:"members"`
	// StartAt is the run's start, Unix ns in the clock of server Clock: that of the
	// leader that made the division, for a joiner cannot measure one that is gone.
	StartAt int64  `json:"start_at"`
	Clock   string `json:"clock"`
	Cause   string `json:"cause"` // in words, "" for the start
}

const (
	// MaxDivisions bounds how often a run is divided, and maxPlaces the members in
	// all of its divisions: every node holds them, and a snapshot has them. Half an
	// hour in which a node dies every seven seconds takes some 500.
	MaxDivisions = 1024
	maxPlaces    = 1 << 16
)

// setShares adds a division to a run that is going.
func (r *Run) setShares(c SetShares) error {
	d := c.Division
	if d.StartAt <= 0 || len(d.Members) == 0 {
		return errors.New("a division without an instant or without members")
	}
	if r.Ended || r.Phase != PhaseScheduled || c.After != len(r.Divisions) || r.full(len(d.Members)) {
		return errPhase
	}
	if last := r.newest(); d.At < last.At || d.From < last.From {
		return fmt.Errorf("a division at %s from arrival %d, but there is one at %s from arrival %d: %w", d.At, d.From, last.At, last.From, errPhase)
	}
	r.Divisions = append(slices.Clone(r.Divisions), d)
	r.Participants = slices.Clone(r.Participants)
	for _, m := range d.Members {
		if !r.Participates(m) {
			r.Participants = append(r.Participants, m)
		}
	}
	return nil
}

// full says whether there is no room for another division among so many.
func (r *Run) full(members int) bool {
	places := members
	for _, d := range r.Divisions {
		places += len(d.Members)
	}
	return len(r.Divisions) >= MaxDivisions || places > maxPlaces
}

// newest is the division that was made last; the zero one before the start is decided.
func (r *Run) newest() Division {
	if len(r.Divisions) == 0 {
		return Division{}
	}
	return r.Divisions[len(r.Divisions)-1]
}

// entry is the first division that this process is in.
func (r *Run) entry(m Member) Division {
	for _, d := range r.Divisions {
		if findLife(d.Members, m) {
			return d
		}
	}
	return Division{StartAt: r.StartAt, Clock: r.Clock}
}

// startOf is the start of a run that this node does not play, in its own clock,
// by a clock that it has compared, if the log names one: zero before it is decided.
func (n *Node) startOf(r *Run) time.Time {
	best := Division{StartAt: r.StartAt, Clock: r.Clock}
	for _, d := range r.Divisions {
		if _, known := n.offsetTo(d.Clock); known {
			best = d
		}
	}
	if best.StartAt <= 0 {
		return time.Time{}
	}
	off, _ := n.offsetTo(best.Clock)
	return n.wall.instant(best.StartAt - int64(off))
}

// offsetTo is the server's clock minus this node's, as far as it is known.
func (n *Node) offsetTo(clock string) (time.Duration, bool) {
	if clock == n.self.ServerID {
		return 0, true
	}
	if n.clocks == nil {
		return 0, false
	}
	o, known := n.clocks.to(clock)
	return o.offset, known
}

// share is the process's part of the whole in this division.
func (d Division) share(of Member) float64 {
	own, sum := 0.0, 0.0
	for _, m := range d.Members {
		sum += m.Weight
		if m.sameLife(of) {
			own = m.Weight
		}
	}
	if sum == 0 {
		return 0
	}
	return own / sum
}

// share is the process's part of what all send.
func (r *Run) share(of Member) float64 {
	if r.Divided {
		return r.newest().share(of)
	}
	return Division{Members: r.Participants}.share(of)
}

// most of a list that a line of the log has.
const mostInWords = 12

// inWords names the members and, if the load is divided, what part each has.
func (d Division) inWords(divided bool) string {
	var list []string
	for i, m := range d.Members {
		if i == mostInWords {
			list = append(list, fmt.Sprintf("and %d more", len(d.Members)-i))
			break
		}
		text := m.NodeID
		if divided {
			text += fmt.Sprintf(" %.4g %%", 100*d.share(m))
		}
		list = append(list, text)
	}
	return strings.Join(list, ", ")
}

const (
	redivideTimeout = time.Second
	redivideRetry   = 250 * time.Millisecond
)

// redivide hands the run's divisions on to the runner if there are new ones. It
// is false if that has to be tried again.
func (p *player) redivide(ctx context.Context, r *Run) bool {
	pl := p.find(r.ID)
	if pl == nil || pl.ending() || pl.knows() >= len(r.Divisions) {
		return true
	}
	ctx, cancel := context.WithTimeout(ctx, redivideTimeout)
	defer cancel()
	err := p.n.runner.Redivide(ctx, *r)
	if errors.Is(err, ErrRefused) {
		// Its part goes to the others as soon as the leader has its last word.
		p.n.log.Error("this node cannot take the part that it was given, and ends its load: "+err.Error(), "event", "part_refused", "run_id", r.ID)
		p.end(r.ID, &StopReason{Cause: CauseRefused, Grace: replaceGrace, Detail: err.Error()})
	} else if err != nil {
		if ctx.Err() == nil || !pl.ending() {
			p.n.log.Warn("the load engine has not taken who sends what, trying again: "+err.Error(), "event", "engine_failed", "run_id", r.ID)
		}
		return false
	}
	pl.mu.Lock()
	defer pl.mu.Unlock()
	pl.handed = len(r.Divisions)
	return true
}

// knows is how many of the run's divisions the runner knows.
func (p *play) knows() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.handed
}
