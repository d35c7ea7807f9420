package e2e

import (
	"fmt"
	"math/rand/v2"
	"os"
	"slices"
	"strconv"
	"testing"
	"time"
)

// Three nodes, started in any order and up to ten seconds apart, elect one
// leader, get the same plan and start at one instant, once.
func TestStartInAnyOrder(t *testing.T) {
	l := load{rps: 100, seconds: 3}
	t.Run("static", func(t *testing.T) {
		b := newBench(t)
		target, store := b.target(), b.gcsStore()
		startInAnyOrder(t, b, target, store, l, 3*time.Second, store.settings())
	})
	t.Run("consul", func(t *testing.T) {
		b := newBench(t)
		target, store := b.target(), &consulStore{b.consul(false)}
		startInAnyOrder(t, b, target, store, l, 2*time.Second, store.settings(), store.discovery(3, ""), env{"CLUSTER_START_DELAY": "2s"})
		wantNothingLeft(t, store.consulServer)
	})
}

func startInAnyOrder(t *testing.T, b *bench, target *target, store planStore, l load, ahead time.Duration, settings ...env) {
	t.Helper()
	plan := l.plan(target.base())
	store.put(plan)
	nodes := b.nodes(three(), settings...)
	order := rand.Perm(len(nodes))
	delays := []time.Duration{0, rand.N(10 * time.Second), rand.N(10 * time.Second)}
	started := []*node{nodes[order[0]], nodes[order[1]], nodes[order[2]]}
	t.Logf("order %v, delays %v", order, delays)
	startAll(t, started, delays...)
	startAt := waitReady(t, nodes, plan, formTime)
	runToEnd(t, target, nodes, l, startAt)
	wantStartTogether(t, target.stats(), nodes, startAt, maxSkew)
	wantStartAhead(t, nodes, startAt, ahead)
}

// wantStartAhead checks that the start was set so far ahead: CLUSTER_START_DELAY,
// less the time that the decision took to get into the logs.
func wantStartAhead(t *testing.T, nodes []*node, startAt time.Time, ahead time.Duration) {
	t.Helper()
	var decided time.Time
	for _, n := range nodes {
		if at := n.waitEvent(time.Second, "run_scheduled", 1).time; decided.IsZero() || at.Before(decided) {
			decided = at
		}
	}
	if got := startAt.Sub(decided); got > ahead || got < ahead-500*time.Millisecond {
		t.Errorf("start_at is %v ahead of its decision, want %v (CLUSTER_START_DELAY)", got, ahead)
	}
}

// All three started together: process start to cluster_ready within five
// seconds, as the median of several starts of the same nodes, each right after
// the normal end of the one before.
func TestStartIsQuick(t *testing.T) {
	const limit = 5 * time.Second
	l := load{rps: 50, seconds: 1}
	quick := env{"CLUSTER_START_DELAY": "1s"}
	t.Run("static", func(t *testing.T) {
		b := newBench(t)
		target, store := b.target(), b.gcsStore()
		store.put(l.plan(target.base()))
		wantMedian(t, startRepeatedly(t, b.nodes(three(), store.settings(), quick)), limit)
	})
	t.Run("consul", func(t *testing.T) {
		b := newBench(t)
		target, store := b.target(), &consulStore{b.consul(false)}
		store.put(l.plan(target.base()))
		wantMedian(t, startRepeatedly(t, b.nodes(three(), store.settings(), store.discovery(3, ""), quick)), limit)
	})
}

// startRepeatedly measures from the start of the first process to the last
// node's event cluster_ready.
func startRepeatedly(t *testing.T, nodes []*node) []time.Duration {
	t.Helper()
	var took []time.Duration
	for round := 1; round <= rounds(); round++ {
		startAll(t, nodes)
		var first, last time.Time
		for _, n := range nodes {
			ready := n.waitEvent(formTime, "cluster_ready", round).time
			if ready.After(last) {
				last = ready
			}
			if at := n.startedAt(); first.IsZero() || at.Before(first) {
				first = at
			}
		}
		took = append(took, last.Sub(first))
		wantExits(t, nodes, endTime, 0)
	}
	return took
}

func rounds() int {
	if n, err := strconv.Atoi(os.Getenv("VOLLEY_E2E_RUNS")); err == nil && n > 0 {
		return n
	}
	return 5
}

func wantMedian(t *testing.T, took []time.Duration, limit time.Duration) {
	t.Helper()
	slices.Sort(took)
	median := took[len(took)/2]
	fmt.Printf("%s: process start to cluster_ready: median %v of %v\n", t.Name(), median, took)
	if median >= limit {
		t.Errorf("median %v from process start to cluster_ready, want under %v", median, limit)
	}
}

// Two of five listed nodes are absent: no start before they are there.
func TestStartWaitsForAbsentNodes(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	target, store := b.target(), b.gcsStore()
	l := load{rps: 50, seconds: 2}
	plan := l.plan(target.base())
	store.put(plan)
	nodes := b.nodes([]string{"a", "b", "c", "d", "e"}, store.settings())
	startAll(t, nodes[:3])
	for _, n := range nodes[:3] {
		n.waitEvent(formTime, "node_started", 1)
	}
	always(t, 6*time.Second, "no start without the absent nodes", func() error {
		for _, n := range nodes[:3] {
			health, err := n.tryCluster()
			if err != nil {
				return err
			}
			if health.ClusterReady || health.Run.RunID != "" {
				return fmt.Errorf("%s shows cluster_ready %v, run %q", n.name, health.ClusterReady, health.Run.RunID)
			}
		}
		return nil
	})
	target.wantQuiet()
	startAll(t, nodes[3:])
	runToEnd(t, target, nodes, l, waitReady(t, nodes, plan, formTime))
}

// The absent ones never come: the others end with 102 and name them.
func TestStartNamesAbsentNodes(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	target, store := b.target(), b.gcsStore()
	store.put(load{rps: 50, seconds: 2}.plan(target.base()))
	nodes := b.nodes([]string{"a", "b", "c", "d", "e"}, store.settings(), env{"CLUSTER_FORM_TIMEOUT": "6s"})
	startAll(t, nodes[:3])
	wantExits(t, nodes[:3], formTime, 102)
	for _, n := range nodes[:3] {
		n.wantInLogs(nodes[3].clusterAddr(), nodes[4].clusterAddr())
	}
	target.wantQuiet()
}

// The leader says so to health and to Consul before it begins to fetch.
func TestStartShowsLeaderBeforeFetch(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	target, store, consul := b.target(), b.gcsStore(), b.consul(false)
	proxy := b.gcsProxy(store.gcsServer, "")
	l := load{rps: 50, seconds: 2}
	plan := l.plan(target.base())
	store.put(plan)
	proxy.play("hold", 0, 0)
	nodes := b.nodes(three(), proxy.env(bucket, object), consul.discovery(3, ""))
	startAll(t, nodes)
	eventually(t, formTime, "the proxy is asked for the plan", func() error {
		if proxy.stats().Requests == 0 {
			return fmt.Errorf("no request yet")
		}
		return nil
	})
	leader, followers := waitLeader(t, nodes, time.Second)
	wantTags(t, consul, leader, followers)
	if phase := leader.clusterHealth().Phase; phase != "fetching" {
		t.Errorf("phase %q while the leader waits for the plan, want fetching", phase)
	}
	proxy.play("ok", 0, 0)
	runToEnd(t, target, nodes, l, waitReady(t, nodes, plan, formTime))
	if gets := proxy.stats().ObjectGets; gets != 1 {
		t.Errorf("the plan was read %d times, want once: the leader alone fetches", gets)
	}
}
