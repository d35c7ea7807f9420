package node

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"time"
)

const (
	// isolatedAfter is how long a node that hears of no leader goes on with its
	// part of a divided load.
	isolatedAfter = 3 * time.Second
	// grantedFor is how long after a leader has sent a roll call it counts with that
	// node sending, whatever else reached it: long enough for an election and the next leader's.
	// It is no word for a node whose last answer is missing, so that the leader knows when the last one was.
	grantedFor = 4 * time.Second
	leaseEvery = 250 * time.Millisecond
	// freshView is how old what a leader says may be to end an isolation: a process
	// that was stopped finds old calls waiting for it.
	freshView = 1500 * time.Millisecond
	// rejoinAfter is how long a node without a leader waits before it asks the
	// others whether it is still a member, and rejoinEvery how often it asks.
	rejoinAfter = 5 * time.Second
	rejoinEvery = 3 * time.Second
)

// tenure is what this node knows of its contact with a leader.
type tenure struct {
	mu     sync.Mutex
	until  time.Time // a divided load may be sent until then; zero if none is going
	lapsed bool      // that was over before it was renewed: the share is suspended
	alone  time.Time // since when no leader is known; zero while one is
}

// isolated says whether this node sends nothing of a divided load for want of a leader.
func (t *tenure) isolated() bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.lapsed
}

// watchContact lets the load go on while there is a leader: a divided one by a
// lease, any other until CLUSTER_ISOLATION_GRACE is over. A node that is alone
// for longer tries to become a member again.
func (n *Node) watchContact(ctx context.Context) error {
	var asked time.Time
	for wait(ctx, leaseEvery, n.view.news) {
		id, _ := n.leader()
		alone := n.tenure.aloneFor(id != "")
		divided, whole := n.player.going()
		n.renew(id, divided)
		if alone > n.opt.IsolationGrace {
			for _, pl := range whole {
				n.isolate(pl, alone)
			}
		}
		if alone > rejoinAfter && time.Since(asked) > rejoinEvery && !n.identity.Blank() && !n.draining.Load() {
			asked = time.Now()
			n.rejoin(ctx)
		}
	}
	return nil
}

func (t *tenure) aloneFor(led bool) time.Duration {
	t.mu.Lock()
	defer t.mu.Unlock()
	if led {
		t.alone = time.Time{}
		return 0
	}
	if t.alone.IsZero() {
		t.alone = time.Now()
	}
	return time.Since(t.alone)
}

// going returns the plays that have not ended: those of a divided load, and the others.
func (p *player) going() (divided, whole []*play) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, pl := range p.plays {
		switch {
		case pl.ending():
		case pl.run.Divided:
			divided = append(divided, pl)
		default:
			whole = append(whole, pl)
		}
	}
	return divided, whole
}

// renew moves the lease of the divided loads on, as far as contact with the leader allows.
func (n *Node) renew(leader string, plays []*play) {
	now := time.Now()
	t := &n.tenure
	if len(plays) == 0 {
		t.mu.Lock()
		defer t.mu.Unlock()
		t.until, t.lapsed = time.Time{}, false
		return
	}
	until := n.contact(leader)
	t.mu.Lock()
	was := t.lapsed
	said := n.view.from(leader) // under the lock: who was told that the share is suspended counts with what the call told
	t.lapsed = (was || !t.until.IsZero() && now.After(t.until)) && !(until.After(now) && n.mayGoOn(leader, said, plays))
	is := t.lapsed
	extends := !is && until.After(t.until) && !(t.until.IsZero() && n.behind(said, plays)) // its first, perhaps after a long absence
	if extends {
		t.until = until
	}
	t.mu.Unlock()
	for _, pl := range plays {
		if extends {
			n.runner.Lease(pl.run.ID, until)
		}
		if settled := n.settled(leader, said, pl.run.ID); settled.Divisions > 0 {
			n.runner.Settle(pl.run.ID, settled) // again and again: the engine may not have been ready for it
		}
	}
	switch {
	case is && !was:
		n.log.Warn(fmt.Sprintf("this node's share of the load is suspended: no contact with a leader for %s", isolatedAfter), "event", "isolated", "leader_id", leader)
	case was && !is:
		n.log.Info("this node's share of the load is no longer suspended", "event", "isolation_over", "leader_id", leader)
	}
}

// contact is until when the contact with the leader lets this node send; zero
// without a leader. A leader asks its voters each time: one that was stopped
// and goes on takes itself for the leader still.
func (n *Node) contact(leader string) time.Time {
	switch leader {
	case "":
		return time.Time{}
	case n.self.ServerID:
		asked := time.Now()
		if n.raft.raft.VerifyLeader().Error() != nil {
			return time.Time{}
		}
		return asked.Add(isolatedAfter - leaseTimeout) // non-voters answer, too; without a majority of voters it steps down within leaseTimeout
	}
	until := n.raft.raft.LastContact().Add(isolatedAfter)
	if granted := n.granted(); granted.Before(until) {
		return granted
	}
	return until
}

// granted is until when the roll calls that grant it let this node send.
func (n *Node) granted() (until time.Time) {
	for _, g := range n.view.granted() {
		off, known := n.clocks.to(g.leader)
		if !known {
			continue
		}
		sent := time.Since(n.wall.instant(g.sentNs - int64(off.offset)))
		if got := time.Since(g.got); sent < got {
			sent = got // a clock was set, or is wrong by the bound
		}
		if end := time.Now().Add(grantedFor - sent); end.After(until) {
			until = end
		}
	}
	return until
}

// behind says whether the leader knows of divisions that this node does not go by.
func (n *Node) behind(said leaderView, plays []*play) bool {
	return slices.ContainsFunc(plays, func(pl *play) bool { return pl.knows() < said.Divisions[pl.run.ID] })
}

// mayGoOn says whether a share that was suspended may be sent again: the leader
// counts this node as present, now, and this node knows who sends what by now.
func (n *Node) mayGoOn(leader string, said leaderView, plays []*play) bool {
	if leader != n.self.ServerID {
		if !said.grants(n.self.ServerID) {
			return false
		}
		off, known := n.clocks.to(leader)
		if age := time.Since(n.wall.instant(said.SentNs - int64(off.offset))); !known || age.Abs() > freshView+off.bound {
			return false
		}
	}
	s := n.machine.State()
	for _, pl := range plays {
		want := said.Divisions[pl.run.ID]
		if r := s.Run(pl.run.ID); r != nil {
			want = max(want, len(r.Divisions))
		}
		if pl.knows() < want {
			return false
		}
	}
	return true
}

// isolate ends a run that has gone on for CLUSTER_ISOLATION_GRACE without a leader.
func (n *Node) isolate(pl *play, alone time.Duration) {
	pl.mu.Lock()
	was := pl.isolated
	pl.isolated = true
	pl.mu.Unlock()
	if was {
		return
	}
	n.log.Error(fmt.Sprintf("no leader for %s (CLUSTER_ISOLATION_GRACE): this node ends its load and keeps trying to rejoin", alone.Round(time.Second)),
		"event", "isolated", "run_id", pl.run.ID)
	n.player.end(pl.run.ID, &StopReason{Cause: CauseIsolated, Grace: replaceGrace})
}

// rejoin asks the nodes that discovery knows for this node's cluster, and its
// leader to be a member: it may have been removed while nobody heard it.
func (n *Node) rejoin(ctx context.Context) {
	for _, p := range n.former.look(ctx).peers {
		if p.ClusterID != n.identity.ClusterID() || p.LeaderAddr == "" || p.LeaderID == n.self.ServerID {
			continue
		}
		call, cancel := context.WithTimeout(ctx, joinTimeout)
		err := n.opt.Wire.Greeter.Join(call, p.LeaderAddr, Join{Cluster: n.opt.Name, ClusterID: p.ClusterID, From: n.self})
		cancel()
		if err == nil {
			n.log.Info("the leader has this node as a member", "event", "rejoined", "leader_id", p.LeaderID)
			return
		}
		n.log.Debug("cannot rejoin", "leader", p.LeaderID, "error", err.Error())
	}
}
