package node

import (
	"context"
	"fmt"
	"log/slog"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hashicorp/raft"
)

// A run that begins counts on every member: none is removed meanwhile.
func TestNobodyIsRemovedWhileARunBegins(t *testing.T) {
	virtual(t, 3, func(t *testing.T, c *cluster) {
		c.waiting()
		leader := c.leader().node.leading.Load()
		silent := c.hosts[slices.IndexFunc(c.hosts, func(h *host) bool { return h != c.leader() })]
		leader.beginning <- struct{}{}
		c.kill(silent)
		<-time.After(2 * time.Minute)
		if find(leader.n.members(), silent.node.self.ServerID) == nil {
			t.Error("removed while a run began")
		}
		<-leader.beginning
		c.within(5*time.Second, "the silent member is removed", func() bool {
			return find(leader.n.members(), silent.node.self.ServerID) == nil
		})
	})
}

// Another process at a member's address proves the member dead: nobody waits
// for CLUSTER_REAP_AFTER.
func TestReplacedMemberIsRemovedSoon(t *testing.T) {
	virtual(t, 3, func(t *testing.T, c *cluster) {
		c.waiting()
		leader := c.leader().node
		gone := c.hosts[slices.IndexFunc(c.hosts, func(h *host) bool { return h != c.leader() })]
		c.kill(gone)
		leader.Misdirected(gone.node.self.ServerID)
		c.within(10*time.Second, "the replaced member is removed", func() bool {
			return find(leader.members(), gone.node.self.ServerID) == nil
		})
	})
}

// A busy Raft may refuse the barrier and lead on.
func TestLeaderTriesTheBarrierAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		tries := 0
		barrier := func() error {
			if tries++; tries < 4 {
				return raft.ErrEnqueueTimeout
			}
			return nil
		}
		if log := slog.New(slog.DiscardHandler); !catchUp(t.Context(), log, barrier) || tries != 4 {
			t.Errorf("not caught up after %d tries", tries)
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		failing := func() error { return raft.ErrNotLeader }
		began := time.Now()
		if catchUp(ctx, slog.New(slog.DiscardHandler), failing) || time.Since(began) != time.Minute {
			t.Errorf("ended after %s", time.Since(began))
		}
	})
}

// TestEndingOutlivesItsLeader: a node that has applied it leads if the leader is
// gone, so that one that has not learns of it. (Decision 14 would have it never
// campaign again; then the other would not know the verdict.)
func TestEndingOutlivesItsLeader(t *testing.T) {
	virtual(t, 3, func(t *testing.T, c *cluster) {
		c.source.set("run 3s", "1", nil)
		c.startAll()
		c.waitPhase(20*time.Second, "running")
		c.holdBack("Leave")
		l := c.leader()
		var others []*host
		for _, h := range c.hosts {
			if h != l {
				others = append(others, h)
			}
		}
		knows, not := others[0], others[1]
		<-time.After(2500 * time.Millisecond)
		l.transport.Disconnect(raft.ServerAddress(not.addr))
		not.transport.Disconnect(raft.ServerAddress(l.addr))
		c.within(5*time.Second, "the ending on one of them", func() bool { return knows.node.State().Leaving() != nil })
		if not.node.State().Leaving() != nil {
			t.Fatal("the other knows it, too")
		}
		c.kill(l)
		c.release()
		c.waitEnd(20*time.Second, ExitOK)
	})
}

func TestChange(t *testing.T) {
	const voter, other = raft.Voter, raft.Nonvoter
	server := func(i int, s raft.ServerSuffrage) raft.Server {
		return raft.Server{ID: raft.ServerID(fmt.Sprintf("n%d", i)), Suffrage: s}
	}
	for _, tt := range []struct {
		name     string
		servers  []raft.ServerSuffrage // n0 leads
		silent   map[int]bool          // for an hour
		behind   map[int]bool
		settling bool
		want     string
	}{
		{"three voters", []raft.ServerSuffrage{voter, voter, voter}, nil, nil, false, ""},
		{"two nodes, one votes", []raft.ServerSuffrage{voter, other}, nil, nil, false, ""},
		{"two voters left of three", []raft.ServerSuffrage{voter, voter}, nil, nil, false, "n1 " + demoteMember},
		{"a third has come", []raft.ServerSuffrage{voter, other, other}, nil, nil, false, "n1 " + promoteMember},
		{"a third has come but lags", []raft.ServerSuffrage{voter, voter, other}, nil, map[int]bool{2: true}, false, ""},
		{"a sixth does not vote", []raft.ServerSuffrage{voter, voter, voter, voter, voter, other}, nil, nil, false, ""},
		{"a silent voter goes", []raft.ServerSuffrage{voter, voter, voter}, map[int]bool{1: true}, nil, false, "n1 " + removeMember},
		{"not while acknowledgements are awaited", []raft.ServerSuffrage{voter, voter, voter}, map[int]bool{1: true}, nil, true, ""},
		{"not when the rest is no majority", []raft.ServerSuffrage{voter, voter, voter, voter, voter}, map[int]bool{1: true, 2: true, 3: true}, nil, false, ""},
		{"another votes instead of a silent voter", []raft.ServerSuffrage{voter, voter, voter, other}, map[int]bool{1: true}, nil, true, "n1 " + demoteMember},
		{"not one that lags", []raft.ServerSuffrage{voter, voter, voter, other}, map[int]bool{1: true}, map[int]bool{3: true}, true, ""},
		{"not when the rest is no majority of voters", []raft.ServerSuffrage{voter, voter, voter, voter, voter, other}, map[int]bool{1: true, 2: true, 3: true}, nil, true, ""},
		{"and is made a voter then", []raft.ServerSuffrage{voter, other, voter, other}, map[int]bool{1: true}, nil, true, "n3 " + promoteMember},
		{"a silent non-voter goes", []raft.ServerSuffrage{voter, other}, map[int]bool{1: true}, nil, false, "n1 " + removeMember},
	} {
		var servers []raft.Server
		standings := map[string]Standing{}
		for i, s := range tt.servers {
			servers = append(servers, server(i, s))
			st := Standing{Alive: !tt.silent[i], Health: Health{AppliedIndex: 100}}
			if tt.behind[i] {
				st.Health.AppliedIndex = 100 - promoteLag - 1
			}
			standings[fmt.Sprintf("n%d", i)] = st
		}
		silence := func(id string) time.Duration {
			if !standings[id].Alive {
				return time.Hour
			}
			return 0
		}
		got := ""
		if ch := change(servers, "n0", standings, 100, silence, time.Minute, tt.settling); ch != nil {
			got = string(ch.server.ID) + " " + ch.kind
		}
		if got != tt.want {
			t.Errorf("%s: %q, want %q", tt.name, got, tt.want)
		}
	}
}

// However short CLUSTER_REAP_AFTER is, one that may still have a lease is a member:
// it may be sending, and who is none is not waited for.
func TestNobodyIsRemovedWhoMaySend(t *testing.T) {
	virtual(t, 4, func(t *testing.T, c *cluster) {
		c.tweak = func(o *Options) { o.ReapAfter = time.Second }
		run := c.going("run 60s scope cluster")
		w := c.watchLoad(run)
		<-time.After(5 * time.Second)
		silent := c.follower()
		began := time.Now()
		c.f.setMute(silent.addr, true) // what it says is lost
		c.within(20*time.Second, "it is removed", func() bool { return find(c.leader().node.members(), silent.node.self.ServerID) == nil })
		if took := time.Since(began); took < grantedFor {
			t.Errorf("removed after %s, within a lease of %s", took, grantedFor)
		}
		<-time.After(3 * time.Second)
		w.end([2]time.Duration{5 * time.Second, 20 * time.Second})
		c.f.setMute(silent.addr, false)
		c.waitEnd(3*time.Minute, ExitOK)
	})
}
