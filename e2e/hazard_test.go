package e2e

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"
)

var errNotEnough = errors.New("not enough requests yet")

// A node that restarts blank under its old address is a new member: the old one
// is gone and never votes again, the leader stays, and the cluster still runs.
func TestHazardBlankRestart(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	target := b.target()
	nodes, leader, followers := waitingCluster(t, b)
	restarted := followers[0]
	before, term := restarted.clusterHealth(), leader.clusterHealth().Term
	restarted.kill()
	restarted.start()

	leader.waitCluster(formTime, "the old member is replaced by a new one", func(h clusterHealth) error {
		var ids []string
		for _, m := range h.Members {
			ids = append(ids, m.ServerID)
			if m.ServerID == before.ServerID {
				return fmt.Errorf("the old %s is still a member of %v", m.ServerID, ids)
			}
		}
		if len(ids) != 3 {
			return fmt.Errorf("members are %v", ids)
		}
		return nil
	})
	after := restarted.clusterHealth()
	if after.ServerID == before.ServerID || !strings.HasPrefix(after.ServerID, restarted.name+"-") {
		t.Errorf("server id %s after %s, want a new one of the same name", after.ServerID, before.ServerID)
	}
	if now := leader.clusterHealth(); now.Term != term || now.State != "leader" {
		t.Errorf("term %d and state %q after the restart, want %d and leader", now.Term, now.State, term)
	}
	l := load{rps: 50, seconds: 2}
	plan := l.plan(target.base())
	restarted.postPlan(plan)
	startAt := waitReady(t, nodes, plan, formTime)
	for _, n := range nodes {
		n.waitPhase(time.Until(startAt)+l.duration()+endTime, "finished")
	}
	wantStartTogether(t, target.stats(), nodes, startAt, looseSkew)
}

// Nodes with overlapping views, each of which would do for a cluster of three
// and has a node of its own to make it, never make two.
func TestHazardOverlappingViews(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	target := b.target()
	first := b.lastHost + 1
	view := func(members ...int) env {
		var list []string
		for _, m := range members {
			list = append(list, fmt.Sprintf("%s:%d", b.cluster.address(first+m), clusterPort))
		}
		return env{
			"CLUSTER_NODES": strings.Join(list, ","), "CLUSTER_EXPECT": "3", "CLUSTER_CONFIG_SOURCE": "none",
			"CLUSTER_FORM_TIMEOUT": "60s",
		}
	}
	left, right := view(0, 1, 4), view(2, 3, 4)
	var nodes []*node
	for i, settings := range []env{left, left, right, right, left} {
		nodes = append(nodes, b.node(string(rune('a'+i)), settings, nil))
	}
	startAll(t, nodes)
	wantOneLeaderAtMost(t, nodes, 20*time.Second) // twice the lease of a promise
	target.wantQuiet()
	waitLeader(t, nodes, formTime)
	for _, n := range nodes {
		n.waitCluster(formTime, "one cluster of five", func(h clusterHealth) error {
			if len(h.Members) != len(nodes) {
				return fmt.Errorf("%d members", len(h.Members))
			}
			return nil
		})
	}
}

// Of two live nodes with one name the second is refused, naming both addresses.
func TestHazardSameName(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	nodes, leader, _ := waitingCluster(t, b)
	impostor := b.node("impostor", env{
		"CLUSTER_NODE_ID": nodes[0].name, "CLUSTER_CONFIG_SOURCE": "none", "CLUSTER_FORM_TIMEOUT": "10s",
		"CLUSTER_NODES": nodes[0].clusterAddr() + "," + nodes[1].clusterAddr() + "," + nodes[2].clusterAddr(),
	}, nil)
	impostor.start()
	eventually(t, formTime, "the second is refused", func() error {
		for _, line := range impostor.logs() {
			if holds(line.text(), []string{nodes[0].clusterAddr(), impostor.clusterAddr(), nodes[0].name}) {
				return nil
			}
		}
		return errors.New(impostor.lastWords())
	})
	if members := leader.clusterHealth().Members; len(members) != 3 {
		t.Errorf("%d members, want 3 without the second %s", len(members), nodes[0].name)
	}
}

// A node that does not know the cluster's token is no member of it.
func TestHazardWrongToken(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	nodes, leader, _ := waitingCluster(t, b)
	stranger := b.node("stranger", env{
		"CLUSTER_TOKEN": "guessed", "CLUSTER_CONFIG_SOURCE": "none", "CLUSTER_FORM_TIMEOUT": "6s",
		"CLUSTER_NODES": nodes[0].clusterAddr() + "," + nodes[1].clusterAddr() + "," + nodes[2].clusterAddr(),
	}, nil)
	stranger.start()
	stranger.wantExit(formTime, 102)
	if health := leader.clusterHealth(); len(health.Members) != 3 || health.State != "leader" {
		t.Errorf("%d members, state %q; want 3 and leader", len(health.Members), health.State)
	}
	wantOneElection(t, nodes)
}
