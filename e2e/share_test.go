package e2e

import (
	"strings"
	"testing"
	"time"
)

// With load.scope: cluster the plan's rate is that of all nodes together: every
// arrival of the curve is one node's, and theirs by weight.
func TestShareOfTheCluster(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	target, store := b.target(), b.gcsStore()
	l := load{rps: 100, seconds: 4}
	plan := strings.Replace(l.plan(target.base()), "  target: 100", "  target: 100\n  scope: cluster", 1)
	store.put(plan)
	b.first = env{"CLUSTER_WEIGHT": "2"}
	nodes := b.nodes(three(), store.settings())
	startAll(t, nodes)
	startAt := waitReady(t, nodes, plan, formTime)
	wantExits(t, nodes, time.Until(startAt)+l.duration()+endTime, 0)
	stats := target.stats()
	if stats.Total != l.due() {
		t.Errorf("the target counted %d requests, want %d of all nodes together", stats.Total, l.due())
	}
	for i, want := range []int64{l.due() / 2, l.due() / 4, l.due() / 4} {
		if got := stats.from(nodes[i]).Total; got != want {
			t.Errorf("%s sent %d requests, want %d", nodes[i].name, got, want)
		}
	}
	if result := clusterResult(t, nodes); result.Requests != l.due() {
		t.Errorf("the result counts %d requests, want %d", result.Requests, l.due())
	}
}

// Thresholds are judged on what all nodes have reported, and every node exits
// with the verdict.
func TestThresholdsOfTheCluster(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	target, store := b.target(), b.gcsStore()
	l := load{rps: 50, seconds: 2}
	plan := l.plan(target.base()) + "thresholds: ['error_rate < 1%', 'p95 < 1us']\n"
	plan = strings.Replace(plan, "1us", "0.001ms", 1)
	store.put(plan)
	nodes := b.nodes(three(), store.settings())
	startAll(t, nodes)
	startAt := waitReady(t, nodes, plan, formTime)
	wantExits(t, nodes, time.Until(startAt)+l.duration()+endTime, 99)
	failed := 0
	for _, n := range nodes {
		for _, line := range n.events("threshold_failed") {
			failed++
			if !strings.Contains(line.text(), "p95") {
				t.Errorf("%s: %s", n.name, line.raw)
			}
		}
	}
	if failed != 1 {
		t.Errorf("%d events threshold_failed, want one, on the leader", failed)
	}
}
