package node

import (
	"context"
	"errors"
	"math/rand/v2"
	"slices"
	"sync"
	"time"

	"github.com/hashicorp/raft"
)

const (
	handTimeout     = 1500 * time.Millisecond
	transferTimeout = 1500 * time.Millisecond
	// leaveTime is what a Leave takes at most where nothing is wrong, tries included.
	leaveTime = 300 * time.Millisecond
	// handOverTime is what is left of the drain for handing over and passing on.
	handOverTime = 2500 * time.Millisecond
	// drainMargin is what an engine may take beyond the grace of its iterations.
	drainMargin = 500 * time.Millisecond
)

// depart leaves in order after a signal: the run is drained and its summary
// handed over, the leadership passed on, the membership given up. Alone, the
// run is ended, judged and reported here. ctx has a deadline, to which the drain is cut.
func (n *Node) depart(ctx context.Context) Ending {
	n.draining.Store(true)
	ending := n.departing()
	if n.raft == nil {
		return n.stopAlone(ctx, ending)
	}
	if find(n.raft.Members(), n.self.ServerID) != nil {
		n.identity.settle() // a member since a moment ago: it leaves as one
	}
	var withdrawal sync.WaitGroup
	withdrawal.Go(n.withdraw) // beside the drain: discovery shall not name this node any more
	defer withdrawal.Wait()
	if n.alone() {
		defer n.releaseClaim(ctx)
		return n.stopAlone(ctx, ending)
	}
	n.drain(ctx)
	if l := n.leading.Load(); l != nil {
		n.handedOver.Store(true)
		l.handOverHeld(ctx)
	} else {
		n.handOwn(ctx)
	}
	n.quit(ctx)
	return ending
}

// quit gives the membership up: a leader passes the leadership on first, and
// the last one gives the right to bootstrap back. A leadership that comes back
// came from one that is leaving, too: it is kept until that one's Leave may have
// arrived, or the two would pass it to and fro for ever.
func (n *Node) quit(ctx context.Context) {
	passed, waited := 0, 0
	for ctx.Err() == nil && !n.identity.Blank() {
		id, addr := n.leader()
		switch {
		case id == n.self.ServerID && n.alone():
			n.releaseClaim(ctx)
			return
		case id == n.self.ServerID && passed > waited:
			waited++
			sleep(ctx, leaveTime+rand.N(leaveTime))
			continue
		case id == n.self.ServerID:
			if n.passOn(ctx) {
				passed++
				continue
			}
		case id != "":
			call, cancel := context.WithTimeout(ctx, handTimeout)
			err := n.opt.Wire.Upstream.Leave(call, addr, Leave{ClusterID: n.identity.ClusterID(), From: n.self})
			cancel()
			if err == nil {
				return
			}
		}
		sleep(ctx, 100*time.Millisecond)
	}
}

// drainGrace leaves the rest of the time that there is for the hand-over.
func drainGrace(left time.Duration) time.Duration {
	return max(0, min(replaceGrace, left-handOverTime))
}

// drain ends this node's load, and leaves time for the hand-over even if the
// engine does not stop.
func (n *Node) drain(ctx context.Context) {
	by, _ := ctx.Deadline()
	grace := drainGrace(time.Until(by))
	ctx, cancel := context.WithTimeout(ctx, grace+drainMargin)
	defer cancel()
	n.player.close(ctx, &StopReason{Cause: "signal", Grace: grace})
}

// departing is the ending of a process that a signal ends.
func (n *Node) departing() Ending {
	s := n.machine.State()
	stays := n.opt.KeepAlive || n.opt.SourceName == SourceNone || s.Current != nil && s.Current.KeepAlive
	if r := s.Rested; r != nil && r.Ephemeral && len(s.Active()) == 0 {
		return Ending{ExitCode: r.Ending.ExitCode, Reason: "ended by a signal, after its run"}
	}
	if len(s.Active()) == 0 && stays {
		return Ending{ExitCode: ExitOK, Reason: "ended by a signal, no run was going"}
	}
	return Ending{ExitCode: ExitStopped, Reason: "ended by a signal"}
}

// alone says whether nobody could carry the run on.
func (n *Node) alone() bool {
	l := n.leading.Load()
	if n.raft == nil {
		return true
	}
	if l == nil {
		return false
	}
	for _, m := range n.members() {
		if m.ServerID != n.self.ServerID && !l.crew.lost(m.ServerID) {
			return false
		}
	}
	return true
}

func (n *Node) stopAlone(ctx context.Context, ending Ending) Ending {
	l := n.leading.Load()
	if l == nil {
		return ending
	}
	if _, err := l.stop(ctx, StopRequest{Cause: "signal"}); err != nil {
		n.log.Warn("cannot end the run: " + err.Error())
		return ending
	}
	if err := n.machine.Until(ctx, func(s *State) bool { return len(s.Active()) == 0 }); err != nil {
		n.log.Warn("the run did not end in time")
	}
	return ending
}

// handOwn gives this node's final summaries to the leader.
func (n *Node) handOwn(ctx context.Context) {
	s := n.machine.State()
	for _, r := range n.reports.all() {
		run := s.Run(r.RunID)
		if !r.Of.sameLife(n.self) || run == nil || run.Ended {
			continue
		}
		for ctx.Err() == nil {
			if id, addr := n.leader(); id != "" && settled(n.sendReport(ctx, addr, r)) {
				break
			}
			sleep(ctx, reportRetry)
		}
	}
}

// handOverHeld gives the summaries that a leader holds, its own included, to
// whoever may lead next. Of those who are there it has time for some: they
// bring theirs to the next leader themselves.
func (l *leader) handOverHeld(ctx context.Context) {
	s := l.n.machine.State()
	held := l.n.reports.all()
	members := l.n.members()
	slices.SortStableFunc(held, func(a, b Report) int { return l.inPlace(a, members) - l.inPlace(b, members) })
	l.toOthers(l.heirs(), func(m Member) {
		ctx, cancel := context.WithTimeout(ctx, handTimeout)
		defer cancel()
		for _, r := range held {
			if run := s.Run(r.RunID); run == nil || run.Ended {
				continue
			}
			if err := l.n.sendReport(ctx, m.Addr, r); !settled(err) {
				l.n.log.Warn("cannot hand a summary over: "+err.Error(), "member", m.ServerID, "run_id", r.RunID)
				return
			}
		}
	})
}

// inPlace orders what is handed over: this node's own, what nobody else can
// bring, the rest.
func (l *leader) inPlace(r Report, members []Member) int {
	switch id := r.Of.ServerID; {
	case r.Of.sameLife(l.n.self):
		return 0
	case find(members, id) == nil || !l.crew.seen(id) || l.crew.dead(r.Of):
		return 1
	default:
		return 2
	}
}

// heirs are the other voters; without any, everybody: one of them will be made one.
func (l *leader) heirs() []Member {
	var voters []Member
	for _, s := range l.n.raft.Servers() {
		if s.Suffrage == raft.Voter && string(s.ID) != l.n.self.ServerID {
			voters = append(voters, memberOf(s))
		}
	}
	if len(voters) == 0 {
		return l.n.members()
	}
	return voters
}

// passOn transfers the leadership to a member that answers, and says whether it
// came to that. A sole voter first makes another member one.
func (n *Node) passOn(ctx context.Context) bool {
	heir, err := n.heir()
	if err != nil {
		n.log.Warn("no other voter to lead: " + err.Error())
		return false
	}
	if err := n.raft.raft.LeadershipTransferToServer(heir.ID, heir.Address).Error(); err != nil {
		n.log.Warn("cannot pass the leadership on: " + err.Error())
		return false
	}
	ctx, cancel := context.WithTimeout(ctx, transferTimeout)
	defer cancel()
	for ctx.Err() == nil {
		if id, _ := n.leader(); id != "" && id != n.self.ServerID {
			return true
		}
		sleep(ctx, 20*time.Millisecond)
	}
	return false
}

// heir is a voter that has answered lately, made one if need be.
func (n *Node) heir() (raft.Server, error) {
	l := n.leading.Load()
	if l == nil {
		return raft.Server{}, errors.New("not leading yet")
	}
	var other *raft.Server
	for _, s := range n.raft.Servers() {
		if id := string(s.ID); id == n.self.ServerID || !l.crew.seen(id) {
			continue
		}
		if s.Suffrage == raft.Voter {
			return s, nil
		}
		other = &s
	}
	if other == nil {
		return raft.Server{}, errors.New("nobody answers")
	}
	return *other, n.raft.raft.AddVoter(other.ID, other.Address, 0, transferTimeout).Error()
}
