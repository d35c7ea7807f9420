package e2e

import (
	"errors"
	"fmt"
	"testing"
	"time"
)

var errNotQuiet = errors.New("the target saw further requests")

// leaveLimit is how long a node may take from SIGTERM to its end.
const leaveLimit = 8 * time.Second

// A follower is told to go in mid-run: it reports, deregisters and ends with
// 105, the others go on, and the final report counts its part.
func TestLeaveFollower(t *testing.T) {
	t.Parallel()
	leaveMidRun(t, func(_ *node, followers []*node) *node { return followers[0] })
}

// The leader is told to go in mid-run: the same, under a new leader.
func TestLeaveLeader(t *testing.T) {
	t.Parallel()
	leaveMidRun(t, func(leader *node, _ []*node) *node { return leader })
}

func leaveMidRun(t *testing.T, choose func(leader *node, followers []*node) *node) {
	b := newBench(t)
	target, store := b.target(), &consulStore{b.consul(false)}
	l := load{rps: 50, seconds: 8}
	plan := l.plan(target.base())
	store.put(plan)
	nodes := b.nodes(three(), store.settings(), store.discovery(3, ""))
	startAll(t, nodes)
	startAt := waitReady(t, nodes, plan, formTime)
	leader, followers := waitLeader(t, nodes, formTime)
	leaver := choose(leader, followers)
	serverID := leaver.clusterHealth().ServerID
	eventually(t, formTime, "the run is under way", func() error {
		if time.Since(startAt) < 2*time.Second {
			return errors.New("not yet two seconds")
		}
		return nil
	})

	told := time.Now()
	leaver.signal("SIGTERM")
	leaver.wantExit(leaveLimit+2*time.Second, 105)
	if took := time.Since(told); took > leaveLimit {
		t.Errorf("%s took %v from SIGTERM to its end, want at most %v", leaver.name, took, leaveLimit)
	}
	for _, entry := range store.services(serviceName) {
		if entry.Service.Meta["server_id"] == serverID || entry.Service.Address == leaver.clusterIP {
			t.Errorf("%s left its entry %s in Consul", leaver.name, entry.Service.ID)
		}
	}
	var stayed []*node
	for _, n := range nodes {
		if n != leaver {
			stayed = append(stayed, n)
			if !n.running() {
				t.Errorf("%s ended with %s", n.name, leaver.name)
			}
		}
	}
	for _, n := range stayed {
		n.waitCluster(5*time.Second, "the leaver is no member any more", func(h clusterHealth) error {
			for _, m := range h.Members {
				if m.ServerID == serverID {
					return fmt.Errorf("%s is still a member of %d", leaver.name, len(h.Members))
				}
			}
			return nil
		})
	}
	wantExits(t, stayed, l.duration()+endTime, 0)
	wantPartCounted(t, target, nodes, stayed, leaver, l)
	wantNothingLeft(t, store.consulServer)
}

// wantPartCounted compares the cluster's result with what the target counted.
func wantPartCounted(t *testing.T, target *target, nodes, stayed []*node, leaver *node, l load) {
	t.Helper()
	stats, result := target.stats(), clusterResult(t, stayed)
	if result.Requests != stats.Total {
		t.Errorf("the report counts %d requests, the target %d", result.Requests, stats.Total)
	}
	for _, n := range stayed {
		l.wantSent(t, stats.from(n).Total, 1, n.name)
	}
	left := stats.from(leaver).Total
	if left == 0 || left >= l.due() {
		t.Errorf("the target counted %d requests of the leaver, want some and less than %d", left, l.due())
	}
	if len(result.Nodes) != len(nodes) {
		t.Fatalf("the report names %d nodes, want %d", len(result.Nodes), len(nodes))
	}
	for _, part := range result.Nodes {
		if part.NodeID == leaver.name && part.Requests != left {
			t.Errorf("the report counts %d requests of the leaver, the target %d", part.Requests, left)
		}
	}
}

// All nodes are told to go before there is a run: nothing was cut short, and
// nothing is left.
func TestLeaveBeforeRun(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	consul := b.consul(false)
	nodes, _, _ := waitingCluster(t, b, consul.discovery(3, ""))
	for _, n := range nodes {
		n.signal("SIGTERM")
	}
	deadline := time.Now().Add(leaveLimit + 2*time.Second)
	for _, n := range nodes {
		n.wantExit(time.Until(deadline), 0)
	}
	wantNothingLeft(t, consul)
}
