package e2e

import (
	"fmt"
	"testing"
	"time"
)

// cutDuringDelivery brings three nodes to the instant where the leader holds the
// plan in its hands, black-holes the cluster port of one follower, and lets the
// leader go on: it believes the follower alive and finds that it does not answer.
func cutDuringDelivery(t *testing.T, b *bench, plan string, settings env) (nodes []*node, leader, cut *node) {
	t.Helper()
	store := b.gcsStore()
	store.put(plan)
	proxy := b.gcsProxy(store.gcsServer, "")
	proxy.play("hold", 0, 0)
	nodes = b.nodes(three(), proxy.env(bucket, object), settings)
	startAll(t, nodes)
	leader, followers := waitLeader(t, nodes, formTime)
	leader.waitCluster(formTime, "three members", func(h clusterHealth) error {
		if len(h.Members) != 3 || h.Phase != "fetching" {
			return fmt.Errorf("%d members, phase %q", len(h.Members), h.Phase)
		}
		return nil
	})
	cut = followers[0]
	cut.dropPort(clusterPort)
	proxy.play("ok", 0, 0)
	return nodes, leader, cut
}

// A follower's cluster port swallows everything during delivery: warnings on
// both sides, three retries, the run aborts with 102 naming the node, and the
// node itself ends within its own time limit.
func TestDeliveryBlackHoleAborts(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	target := b.target()
	plan := load{rps: 50, seconds: 2}.plan(target.base())
	nodes, leader, cut := cutDuringDelivery(t, b, plan, env{"CLUSTER_CONFIG_TIMEOUT_SECS": "2", "CLUSTER_FORM_TIMEOUT": "20s"})

	wantExits(t, nodes, formTime+20*time.Second, 102)
	retries := leader.events("config_delivery_retry")
	if len(retries) != 3 {
		t.Errorf("%d events config_delivery_retry, want 3", len(retries))
	}
	for _, retry := range retries {
		if !holds(retry.text(), []string{cut.name}) {
			t.Errorf("retry does not name %s: %s", cut.name, retry.raw)
		}
	}
	if got := len(cut.events("config_late")); got != 1 {
		t.Errorf("%s: %d events config_late, want 1", cut.name, got)
	}
	aborted := leader.events("run_aborted")
	if len(aborted) != 1 || !holds(aborted[0].text(), []string{cut.name, cut.clusterAddr()}) {
		t.Errorf("run_aborted must name %s (%s): %+v", cut.name, cut.clusterAddr(), aborted)
	}
	target.wantQuiet()
}

// Healed after the second retry the run starts, on all three.
func TestDeliveryBlackHoleHealed(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	target := b.target()
	l := load{rps: 50, seconds: 2}
	plan := l.plan(target.base())
	nodes, leader, cut := cutDuringDelivery(t, b, plan, env{"CLUSTER_CONFIG_TIMEOUT_SECS": "4"})
	leader.waitEvent(formTime, "config_delivery_retry", 2)
	for _, n := range nodes {
		if health := n.clusterHealth(); health.ClusterReady || health.Run.StartAtUnixMS != 0 {
			t.Errorf("%s: cluster_ready %v, start_at %v before %s has the plan", n.name, health.ClusterReady, health.startAt(), cut.name)
		}
	}
	cut.heal()
	startAt := waitReady(t, nodes, plan, formTime)
	wantExits(t, nodes, time.Until(startAt)+l.duration()+endTime, 0)
	stats := target.stats()
	wantStartTogether(t, stats, nodes, startAt, looseSkew)
	for _, n := range nodes {
		l.wantSent(t, stats.from(n).Total, 1, n.name)
	}
}

// A node that refuses the plan, here because its own client certificate is none,
// ends the run at once: another try would not help.
func TestDeliveryRefused(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	target, store := b.target(), b.gcsStore()
	store.put(load{rps: 50, seconds: 2}.plan(target.base()))
	proxy := b.gcsProxy(store.gcsServer, "")
	proxy.play("hold", 0, 0)
	nodes := b.nodes(three(), proxy.env(bucket, object))
	list := nodes[0].clusterAddr() + "," + nodes[1].clusterAddr()
	spoilt := b.node("d", proxy.env(bucket, object).with(env{
		"CLUSTER_NODES": list, "CLUSTER_EXPECT": "3",
		"CLIENT_CERT_PATH": "/tls/cert.pem", "CLIENT_KEY_PATH": "/tls/key.pem",
	}), map[string]string{"/tls/cert.pem": "no certificate", "/tls/key.pem": "no key"})
	startAll(t, nodes)
	leader, _ := waitLeader(t, nodes, formTime)
	spoilt.start()
	leader.waitCluster(formTime, "four members", func(h clusterHealth) error {
		if len(h.Members) != 4 {
			return fmt.Errorf("%d members", len(h.Members))
		}
		return nil
	})
	proxy.play("ok", 0, 0)

	all := append(nodes, spoilt)
	wantAborted(t, target, all, formTime, 102)
	wantSaid(t, []*node{leader}, spoilt.name, "certificate")
	if got := len(leader.events("config_delivery_retry")); got != 0 {
		t.Errorf("%d events config_delivery_retry after a refusal, want none", got)
	}
}
