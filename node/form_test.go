package node

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

func blank(name, addr string) HelloReply {
	return HelloReply{Blank: true, From: Member{ServerID: name + "-1", NodeID: name, Addr: addr}}
}

func TestDecide(t *testing.T) {
	self := Member{ServerID: "b-1", NodeID: "b", Addr: "b:1"}
	member := HelloReply{From: Member{ServerID: "m-1", NodeID: "m", Addr: "m:1"}, ClusterID: "x", LeaderID: "l-1", LeaderAddr: "l:1"}
	leaderless := HelloReply{From: member.From, ClusterID: "x"}
	for _, tt := range []struct {
		name   string
		expect int
		peers  []HelloReply
		want   string
	}{
		{"alone, expecting one", 1, nil, "bootstrap"},
		{"alone, expecting two", 2, nil, "wait"},
		{"smallest address of enough", 3, []HelloReply{blank("c", "c:1"), blank("d", "d:1")}, "bootstrap"},
		{"not the smallest address", 2, []HelloReply{blank("a", "a:1")}, "wait"},
		{"too few", 4, []HelloReply{blank("c", "c:1"), blank("d", "d:1")}, "wait"},
		{"somebody is in a cluster", 2, []HelloReply{blank("c", "c:1"), member}, "join"},
		{"in a cluster that elects", 2, []HelloReply{blank("c", "c:1"), leaderless}, "wait"},
		{"same name, the other is first", 2, []HelloReply{blank("b", "a:9")}, "give-up"},
		{"same name, this one is first", 2, []HelloReply{blank("b", "c:9")}, "wait"},
	} {
		if got := decide(self, tt.expect, tt.peers); got.kind != tt.want {
			t.Errorf("%s: %s (%s), want %s", tt.name, got.kind, got.why, tt.want)
		}
	}
}

// TestOverlappingViewsMakeOneCluster: five nodes, three expected; a sees
// {a,b,e}, c sees {c,d,e}. Left to themselves both would bootstrap, and two
// clusters would live side by side. Each round moves the moments at which a and
// c find that they are enough.
func TestOverlappingViewsMakeOneCluster(t *testing.T) {
	for round := range 20 {
		virtual(t, 5, func(t *testing.T, c *cluster) { overlap(t, c, time.Duration(round)*20*time.Millisecond) })
	}
}

func overlap(t *testing.T, c *cluster, apart time.Duration) {
	views := map[string]Static{
		"a": {c.addrs[0], c.addrs[1], c.addrs[4]}, "b": {c.addrs[0], c.addrs[1], c.addrs[4]},
		"c": {c.addrs[2], c.addrs[3], c.addrs[4]}, "d": {c.addrs[2], c.addrs[3], c.addrs[4]}, "e": c.addrs,
	}
	c.source.set("run 20s", "1", nil)
	c.tweak = func(o *Options) { o.Expect, o.Wire.Discovery = 3, views[o.Self.NodeID] }
	for i := range 5 {
		c.start(i)
		if i == 1 {
			<-time.After(apart)
		}
	}
	c.within(30*time.Second, "all five in a cluster", func() bool {
		return !slices.ContainsFunc(c.hosts, func(h *host) bool { return h.identity.Blank() })
	})
	id := c.hosts[0].identity.ClusterID()
	leaders := 0
	for _, h := range c.hosts {
		if got := h.identity.ClusterID(); got != id {
			t.Errorf("%s is in cluster %s, %s in %s", h.addr, got, c.hosts[0].addr, id)
		}
		if h.node.leading.Load() != nil {
			leaders++
		}
	}
	if leaders != 1 {
		t.Errorf("%d leaders, want 1", leaders)
	}
	c.waitEnd(2*time.Minute, ExitOK)
	if c.source.count() != 1 {
		t.Errorf("%d fetches, want 1", c.source.count())
	}
}

func TestGrantGoesToOneBootstrapperAtATime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		i := &Identity{}
		if err := i.promise("x", "a-1", GrantLease); err != nil {
			t.Fatal(err)
		}
		if err := i.promise("y", "d-1", GrantLease); err == nil {
			t.Error("promised to two")
		}
		if err := i.promise("x2", "a-1", GrantLease); err != nil {
			t.Errorf("the holder may renew: %v", err)
		}
		i.release("d-1")
		if got := i.ClusterID(); got != "x2" {
			t.Errorf("cluster %q after a stranger's release, want x2", got)
		}
		<-time.After(GrantLease)
		if got := i.ClusterID(); got != "" {
			t.Errorf("cluster %q after the lease, want none: Raft's messages must be refused", got)
		}
		if err := i.promise("y", "d-1", GrantLease); err != nil {
			t.Errorf("after the lease: %v", err)
		}
		i.settle()
		<-time.After(2 * GrantLease)
		if got := i.ClusterID(); got != "y" || i.Blank() {
			t.Errorf("a member is in %q, blank %v", got, i.Blank())
		}
		if err := i.promise("z", "a-1", GrantLease); err == nil {
			t.Error("a member promised itself")
		}
	})
}

// TestNodesThatStartApartKnowTheirCluster: a node may meet the new cluster's
// leader before Raft has reached it, and its Join may fail then; it must not
// forget the cluster that it has promised itself to.
func TestNodesThatStartApartKnowTheirCluster(t *testing.T) {
	for round := range 60 {
		virtual(t, 3, func(t *testing.T, c *cluster) {
			c.holdBack("Join")
			for i := range 3 {
				c.start(i)
				<-time.After(time.Duration(round*i) * 3 * time.Millisecond)
			}
			c.waitEnd(time.Minute, ExitOK)
			id := c.hosts[0].identity.ClusterID()
			for _, h := range c.hosts {
				if got := h.identity.ClusterID(); got == "" || got != id {
					t.Fatalf("round %d: %s is in cluster %q, %s in %q", round, h.addr, got, c.hosts[0].addr, id)
				}
			}
		})
	}
}

// memoryArbiter grants one claim.
type memoryArbiter struct {
	mu       sync.Mutex
	standing *Claim
	err      error
}

func (a *memoryArbiter) Claim(_ context.Context, c Claim, stale *Claim) (Claim, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.err != nil {
		return Claim{}, a.err
	}
	if a.standing == nil || stale != nil && stale.ClusterID == a.standing.ClusterID {
		a.standing = &c
	}
	return *a.standing, nil
}

func (a *memoryArbiter) Release(_ context.Context, id string) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.standing != nil && a.standing.ClusterID == id {
		a.standing = nil
	}
	return nil
}

func TestStaleClaimIsReplacedOnlyAfterAWhile(t *testing.T) {
	virtual(t, 3, func(t *testing.T, c *cluster) {
		arbiter := &memoryArbiter{standing: &Claim{ClusterID: "old", Bootstrapper: Member{ServerID: "z-1", NodeID: "z", Addr: "z:1"}}}
		c.tweak = func(o *Options) { o.Wire.Arbiter = arbiter }
		began := time.Now()
		c.startAll()
		c.waitLeader()
		if took := time.Since(began); took < claimStaleAfter || took > claimStaleAfter+5*time.Second {
			t.Errorf("the stale claim was replaced after %s, want a little over %s", took, claimStaleAfter)
		}
		c.waitEnd(time.Minute, ExitOK)
		if arbiter.standing != nil {
			t.Errorf("the claim is left behind: %+v", arbiter.standing)
		}
	})
}

// TestForbiddenClaimEndsEveryNode: only one of them tries, and the others would
// wait for it in vain.
func TestForbiddenClaimEndsEveryNode(t *testing.T) {
	virtual(t, 3, func(t *testing.T, c *cluster) {
		c.tweak = func(o *Options) {
			o.Wire.Arbiter = &memoryArbiter{err: errors.Join(ErrForbidden, errors.New(`needs key_prefix "loadtest/"`))}
		}
		c.startAll()
		c.waitEnd(20*time.Second, ExitInvalid)
		for _, h := range c.hosts {
			if !strings.Contains(h.ending.Reason, `key_prefix "loadtest/"`) {
				t.Errorf("%s: reason %q", h.addr, h.ending.Reason)
			}
		}
	})
}

// TestTooFewOfAnOpenListMakeNoCluster: three of five addresses are not enough
// where nobody arbitrates, however many of the others are there.
func TestTooFewOfAnOpenListMakeNoCluster(t *testing.T) {
	virtual(t, 5, func(t *testing.T, c *cluster) {
		c.tweak = func(o *Options) {
			o.Expect, o.FormTimeout = 3, 10*time.Second
			o.Wire.Enough = func(nodes, expect int) error {
				if nodes > 4 {
					return fmt.Errorf("%d of %d nodes are too few", expect, nodes)
				}
				return nil
			}
		}
		c.startAll()
		c.waitEnd(20*time.Second, ExitCluster)
		if reason := c.hosts[0].ending.Reason; !strings.Contains(reason, "CLUSTER_EXPECT: 3 of 5 nodes are too few (or wait") {
			t.Errorf("ended with the reason %q", reason)
		}
	})
}

func TestTwoNodesOfOneNameAreRefused(t *testing.T) {
	virtual(t, 2, func(t *testing.T, c *cluster) {
		c.tweak = func(o *Options) { o.Self.NodeID, o.FormTimeout = "same", 20*time.Second }
		c.startAll()
		second := c.hosts[1]
		<-second.done
		if second.ending.ExitCode != ExitInvalid || !strings.Contains(second.ending.Reason, c.addrs[0]) || !strings.Contains(second.ending.Reason, c.addrs[1]) {
			t.Errorf("ended with %d: %s", second.ending.ExitCode, second.ending.Reason)
		}
	})
}

// TestRestartedNodeIsANewMember: killed and back at its address with nothing,
// a node comes in under a new identity, and the old one is gone.
func TestRestartedNodeIsANewMember(t *testing.T) {
	virtual(t, 3, func(t *testing.T, c *cluster) {
		c.source.set("run 60s", "1", nil)
		c.startAll()
		c.waitPhase(20*time.Second, "running")
		old := c.hosts[slices.IndexFunc(c.hosts, func(h *host) bool { return h != c.leader() })]
		at := slices.Index(c.addrs, old.addr)
		c.kill(old)
		c.f.mu.Lock()
		clear(c.f.cut)
		c.f.mu.Unlock()
		back := c.start(at)
		c.within(30*time.Second, "the new member is a voter, the old one is gone", func() bool {
			suffrages := c.leader().node.suffrages()
			_, stays := suffrages[old.node.self.ServerID]
			return suffrages[back.node.self.ServerID] == "voter" && !stays
		})
		if c.elections() != 1 {
			t.Errorf("%d elections, want 1", c.elections())
		}
		c.waitEnd(2*time.Minute, ExitOK)
	})
}
