package node

import (
	"maps"
	"time"
)

// Settlement says by how many of a run's divisions each process sends at least: it
// knows them, or it sends nothing more.
//
// One that has not heard of a division yet, for its machine is busy or a link is
// slow, goes on by those before: what it sends, nobody else must. So a node sends
// what was another's before only once the leader has told that this one knows.
type Settlement struct {
	Divisions int            `json:"divisions"`     // all but those in But
	But       map[string]int `json:"but,omitempty"` // fewer, by Member.Life
}

func (s Settlement) equal(o Settlement) bool {
	return s.Divisions == o.Divisions && maps.Equal(s.But, o.But)
}

// settleEvery is how often a leader looks who knows of a new division.
const settleEvery = 100 * time.Millisecond

// settle looks by how many of a run's divisions each participant sends. What it
// finds holds for good, as long as this node led when it looked: leases are given by leaders.
func (l *leader) settle(r *Run) {
	if !l.unsettled(r) {
		return
	}
	found := Settlement{Divisions: len(r.Divisions)}
	told := l.hear(r)
	for _, p := range r.Participants {
		if n := l.goesBy(r, p, told); n < found.Divisions {
			if found.But == nil {
				found.But = map[string]int{}
			}
			found.But[p.Life()] = n
		}
	}
	l.mu.Lock()
	same := found.equal(l.settled[r.ID])
	l.mu.Unlock()
	if same || l.n.raft.raft.VerifyLeader().Error() != nil {
		return
	}
	l.mu.Lock()
	l.settled[r.ID] = found
	l.mu.Unlock()
	ring(l.n.view.news)
}

// unsettle forgets a run.
func (l *leader) unsettle(runID string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	delete(l.settled, runID)
}

// unsettled says whether somebody may still send by a division before the newest.
func (l *leader) unsettled(r *Run) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	s := l.settled[r.ID]
	return r.Divided && r.Phase == PhaseScheduled && (s.Divisions < len(r.Divisions) || len(s.But) > 0)
}

func (l *leader) allSettled() map[string]Settlement {
	l.mu.Lock()
	defer l.mu.Unlock()
	return maps.Clone(l.settled)
}

// heard is what a leader knows of a run's participants at a time.
type heard struct {
	reports   held
	standings map[string]Standing
	newest    map[string]Member // by server id: the life of a member that has come into the run last
}

func (l *leader) hear(r *Run) heard {
	out := heard{standings: l.crew.standings(), newest: map[string]Member{}}
	out.reports, _ = l.n.reports.of(r.ID)
	for _, m := range l.n.members() {
		out.newest[m.ServerID] = m
	}
	for _, p := range r.Participants {
		if _, member := out.newest[p.ServerID]; member {
			out.newest[p.ServerID] = p
		}
	}
	return out
}

// goesBy is by how many of a run's divisions a participant sends at least: all, if
// it sends nothing more. Of one that has not told this leader, only the first is known.
func (l *leader) goesBy(r *Run, p Member, by heard) int {
	all := len(r.Divisions)
	if p.sameLife(l.n.self) {
		return l.n.player.goesBy(r.ID)
	}
	m, member := by.newest[p.ServerID]
	if !member || !m.sameLife(p) || l.crew.isReplaced(p.ServerID) || l.hasDeparted(p) || over(by.reports.of(p)) || by.reports.final(p) {
		return all
	}
	st := by.standings[p.ServerID]
	bound := st.Health.ClockBound
	if bound == 0 {
		bound = unknownBound
	}
	told := 1
	if st.Health.Incarnation == p.Incarnation {
		told = max(told, st.Health.Divisions[r.ID])
		if st.Health.Suspended {
			told = max(told, st.shown[r.ID])
		}
	}
	switch {
	case st.Health.Incarnation != "" && st.Health.Incarnation != p.Incarnation:
		return all // another process is there
	case l.crew.lost(p.ServerID) && time.Now().After(l.crew.silentFrom(p.ServerID).Add(bound)):
		return all // it has no lease
	}
	return told
}

// goesBy is by how many of a run's divisions this node sends, or will: what it
// does not play yet, it will by what the log has then.
func (p *player) goesBy(runID string) int {
	p.mu.Lock()
	defer p.mu.Unlock()
	if pl := p.plays[runID]; pl != nil && !pl.ending() {
		return pl.knows()
	}
	if r := p.n.machine.State().Run(runID); r != nil {
		return len(r.Divisions)
	}
	return 0
}

// goesBy is what the roll call is told.
func (n *Node) goesBy() map[string]int {
	by := map[string]int{}
	for _, r := range n.machine.State().Active() {
		if r.Divided {
			by[r.ID] = n.player.goesBy(r.ID)
		}
	}
	return by
}

// settled is the leader's last word on who goes by which of a run's divisions;
// zero if it has said nothing.
func (n *Node) settled(leader string, said leaderView, runID string) Settlement {
	if l := n.leading.Load(); l != nil && leader == n.self.ServerID {
		l.mu.Lock()
		defer l.mu.Unlock()
		return l.settled[runID]
	}
	return said.Settled[runID]
}
