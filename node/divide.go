package node

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/hashicorp/raft"
)

const (
	divideEvery = 250 * time.Millisecond
	// lossLead and joinLead are how far ahead a division is set: by then everybody
	// has applied it. Who has not, for its leader was lost with the word, must have no lease any more
	// where another begins to send; what a lost one was to send is missing in any case.
	lossLead = time.Second
	joinLead = isolatedAfter + 500*time.Millisecond
	// lastDivision is how long before the end a run is not divided any more.
	lastDivision = 2 * time.Second
	// unknownBound is taken for the bound of a clock that was never compared.
	unknownBound = 100 * time.Millisecond
)

// attendance is what a leader knows of a member, or of one that was, when it
// decides who sends what.
type attendance struct {
	Member
	ready   bool          // it answers, has config and log, and its clock and weight are known
	lost    bool          // it has not answered for lostAfter
	gone    bool          // it sends nothing more: it was replaced, has left, or its engine has failed
	silent  time.Duration // after the run's start: a lost one sends nothing from then on
	applied uint64        // how far it had the log when it answered last
}

// redivide says who is to send the run's load from when on, if that is not what
// the newest division says; now is counted from the run's start. A load that is
// not divided only gets more nodes: what a lost one was to send is its own.
func redivide(r *Run, now time.Duration, all []attendance) (Division, bool) {
	last := r.newest()
	if now < 0 || len(last.Members) == 0 {
		return Division{}, false
	}
	d := Division{At: max(now+lossLead, last.At)}
	var causes []string
	for _, m := range last.Members {
		i := slices.IndexFunc(all, func(a attendance) bool { return a.sameLife(m) })
		if i < 0 || !all[i].lost && !all[i].gone {
			d.Members = append(d.Members, m)
			continue
		}
		if !r.Divided {
			continue // told with the next that joins
		}
		if all[i].gone {
			what := " is gone"
			if slices.ContainsFunc(all, func(a attendance) bool { return a.ServerID == m.ServerID && !a.sameLife(m) }) {
				what = " was restarted"
			}
			causes = append(causes, "node "+m.NodeID+what)
			continue
		}
		causes = append(causes, "node "+m.NodeID+" is lost")
		d.At = max(d.At, all[i].silent)
	}
	for _, a := range all {
		if !a.ready || a.lost || a.gone || findLife(last.Members, a.Member) {
			continue
		}
		what, was := " joins", r.Participates(a.Member)
		if was && !r.Divided {
			continue // it has never ceased to send
		}
		if was {
			what = " is back"
		}
		causes = append(causes, "node "+a.NodeID+what)
		d.Members = append(d.Members, a.Member)
		d.At = max(d.At, now+joinLead)
	}
	if len(causes) > mostInWords {
		causes = append(causes[:mostInWords], "and more")
	}
	d.Cause = strings.Join(causes, ", ")
	return d, len(causes) > 0 && len(d.Members) > 0 && d.At <= r.Duration-lastDivision && !r.full(len(d.Members))
}

// divide keeps the run's divisions true while it goes.
func (l *leader) divide(ctx context.Context, runID string) error {
	if l.n.raft == nil {
		return nil // nobody comes, and nobody is lost
	}
	var arrivals func(seed int64, at time.Duration) int64
	full := false // there is no room for another division, and that has been told
	divisions, back := 0, &returned{raft: l.n.raft.raft, marks: map[string]uint64{}}
	defer l.unsettle(runID)
	for pace := divideEvery; sleep(ctx, pace); {
		s := l.n.machine.State()
		r := s.Run(runID)
		if r == nil || r.Phase != PhaseScheduled {
			return nil
		}
		pace = divideEvery
		if l.settle(r); l.unsettled(r) {
			pace = settleEvery
		}
		if divisions != len(r.Divisions) {
			divisions, back.known = len(r.Divisions), l.n.raft.raft.AppliedIndex()
		}
		if !full && r.full(len(l.n.members())) {
			full = true
			l.n.log.Warn(fmt.Sprintf("the load is not divided anew any more, whoever comes or is lost: it was %d times (at most %d)", len(r.Divisions), MaxDivisions), "run_id", runID)
		}
		start := l.start(r)
		all := l.attendances(r, start)
		for i, a := range all {
			if !a.ready {
				delete(back.marks, a.ServerID) // should it have been back already
			}
			all[i].ready = a.ready && (a.ServerID == l.n.self.ServerID || back.caughtUp(a, r))
		}
		d, ok := redivide(r, time.Since(start), all)
		if !ok {
			continue
		}
		if arrivals == nil {
			checked, err := l.n.hooks.Check(s.Configs[r.Version].Document)
			if err != nil {
				return err
			}
			arrivals = checked.Arrivals
		}
		d.From = max(arrivals(r.Seed, d.At), r.newest().From)
		// In this leader's clock: that of the one that decided the start may be gone.
		d.StartAt, d.Clock = l.n.wall.read(start), l.n.self.ServerID
		err := l.propose(ctx, Command{SetShares: &SetShares{RunID: runID, Division: d, After: len(r.Divisions)}})
		if err != nil && !errors.Is(err, errPhase) {
			return err
		}
	}
	return nil
}

// returned tells whether the log reaches members that are to be given a part.
// One that has been away hears of the leader some seconds before it is sent the
// log again: Raft tries less and less often. Until then it would not know of its part.
type returned struct {
	raft  *raft.Raft
	known uint64            // an entry by which all divisions are known
	marks map[string]uint64 // server id -> an entry made after it had come back
}

// caughtUp says whether the member has the log as far as it matters.
func (b *returned) caughtUp(a attendance, r *Run) bool {
	if findLife(r.newest().Members, a.Member) || !r.Participates(a.Member) {
		delete(b.marks, a.ServerID)
		return a.applied >= b.known
	}
	if b.marks[a.ServerID] == 0 {
		if b.raft.Barrier(barrierTimeout).Error() != nil {
			return false
		}
		b.marks[a.ServerID] = b.raft.AppliedIndex()
	}
	return a.applied >= max(b.known, b.marks[a.ServerID])
}

// attendances are those of the members, and of whoever has a part in the run
// without being a member any more, former lives of members among them.
func (l *leader) attendances(r *Run, start time.Time) (all []attendance) {
	standings := l.crew.standings()
	reports, _ := l.n.reports.of(r.ID)
	members := l.n.members()
	if find(members, l.n.self.ServerID) == nil {
		return nil // Raft has not told who they are
	}
	for _, m := range members {
		st := standings[m.ServerID]
		m = r.latest(m)
		m.Weight = st.Weight
		if st.Health.Incarnation != "" {
			m.Incarnation = st.Health.Incarnation
		}
		_, acked := l.ack(r.ID, m)
		a := attendance{Member: m, lost: l.crew.lost(m.ServerID), applied: st.Health.AppliedIndex}
		a.gone = l.crew.isReplaced(m.ServerID) || l.hasDeparted(m) || over(reports.of(m))
		a.ready = l.crew.seen(m.ServerID) && (acked || r.Participates(m)) && !reports.final(m) &&
			(m.ServerID == l.n.self.ServerID || st.Health.ClockBound > 0) && st.Weight > 0 && !l.tooFar(st)
		if a.lost {
			bound := st.Health.ClockBound
			if bound == 0 {
				bound = unknownBound
			}
			a.silent = l.crew.silentFrom(m.ServerID).Add(bound).Sub(start)
		}
		all = append(all, a)
	}
	for _, p := range r.Participants {
		if !slices.ContainsFunc(all, func(a attendance) bool { return a.sameLife(p) }) {
			all = append(all, attendance{Member: p, gone: true})
		}
	}
	return all
}

// latest is the process of a member that has come into the run last: the one that
// is there, as long as nothing is known of another.
func (r *Run) latest(m Member) Member {
	for _, p := range r.Participants {
		if p.ServerID == m.ServerID {
			m.Incarnation = p.Incarnation
		}
	}
	return m
}

// over says whether the node has told that it sends nothing more before the end of the run.
func over(lives []Report) bool {
	return slices.ContainsFunc(lives, func(r Report) bool { return r.Final && (r.Left || r.Failure != "") })
}

func (c *crew) isReplaced(serverID string) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.replaced[serverID]
}
