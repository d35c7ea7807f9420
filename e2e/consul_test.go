package e2e

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	consulapi "github.com/hashicorp/consul/api"
)

// serviceName is the default of CONSUL_SERVICE_NAME.
const serviceName = "loadtest-cluster"

// entryOf finds a node's own entry by its server id.
func entryOf(consul *consulServer, n *node, serverID string) *consulapi.ServiceEntry {
	for _, entry := range consul.services(serviceName) {
		if strings.Contains(entry.Service.ID, serverID) {
			return entry
		}
	}
	consul.bench.t.Errorf("no entry of %s (%s)", n.name, serverID)
	return nil
}

// wantTags checks that Consul shows who leads and who follows, and how to reach them.
func wantTags(t testing.TB, consul *consulServer, leader *node, followers []*node) {
	t.Helper()
	for _, n := range append([]*node{leader}, followers...) {
		want := "follower"
		if n == leader {
			want = "leader"
		}
		serverID := n.clusterHealth().ServerID
		eventually(t, 5*time.Second, n.name+" has the tag "+want, func() error {
			entry := entryOf(consul, n, serverID)
			if entry == nil || !slices.Contains(entry.Service.Tags, want) || entry.Service.Address != n.clusterIP {
				return fmt.Errorf("entry is %+v", entry)
			}
			return nil
		})
	}
}

// wantNothingLeft checks that a normal end leaves neither entries, but for the
// foreign ones, nor the bootstrap key: only the plan.
func wantNothingLeft(t testing.TB, consul *consulServer, foreign ...string) {
	t.Helper()
	wantNoEntries(t, consul, foreign...)
	for _, left := range consul.keys() {
		if left != key {
			t.Errorf("key %s is left in Consul", left)
		}
	}
}

func wantNoEntries(t testing.TB, consul *consulServer, foreign ...string) {
	t.Helper()
	for _, entry := range consul.services(serviceName) {
		if !slices.Contains(foreign, entry.Service.ID) {
			t.Errorf("entry %s (%s) is left in Consul", entry.Service.ID, entry.Service.Address)
		}
	}
}

// Three machines with a Consul agent each, which its node reaches at the
// default address on loopback, and not a word about addresses: as in the README.
func TestConsulAgentOnEachMachine(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	target := b.target()
	server, agents := b.consulAgents(three())
	l := load{rps: 50, seconds: 4}
	plan := l.plan(target.base())
	server.put(key, plan)
	var nodes []*node
	for i, name := range three() {
		nodes = append(nodes, b.nodeWith(containerSpec{name: name, beside: agents[i]}, env{
			"DISCOVERY_MODE": "consul", "CLUSTER_EXPECT": "3", "CLUSTER_CONFIG_SOURCE": "consul-kv", "CLUSTER_ADVERTISE_ADDR": "",
		}))
	}
	startAll(t, nodes)
	startAt := waitReady(t, nodes, plan, formTime)
	leader, followers := waitLeader(t, nodes, formTime)
	wantTags(t, server, leader, followers)
	wantExits(t, nodes, time.Until(startAt)+l.duration()+endTime, 0)
	wantNothingLeft(t, server)
}

// A stale entry, a second entry of one address and a stranger under the same
// name, all passing, do not change who belongs to the cluster.
func TestConsulForeignEntries(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	target, shop, store := b.target(), b.target(), &consulStore{b.consul(false)}
	l := load{rps: 50, seconds: 2}
	plan := l.plan(target.base())
	store.put(plan)
	nodes := b.nodes(three(), store.settings(), store.discovery(3, ""))
	foreign := []consulapi.AgentServiceRegistration{
		{ID: serviceName + "-gone-0badcafe", Address: b.cluster.address(240), Port: clusterPort},
		{ID: serviceName + "-twice-0badcafe", Address: nodes[0].clusterIP, Port: clusterPort},
		{ID: "shop-1", Address: shop.ctlIP, Port: 8000},
	}
	var ids []string
	for _, entry := range foreign {
		entry.Name = serviceName
		store.register(&entry)
		ids = append(ids, entry.ID)
	}
	startAll(t, nodes)
	startAt := waitReady(t, nodes, plan, formTime)
	for _, n := range nodes {
		if health := n.clusterHealth(); len(health.Members) != 3 || health.Peers != 2 {
			t.Errorf("%s: %d members, %d peers; want 3 and 2", n.name, len(health.Members), health.Peers)
		}
	}
	runToEnd(t, target, nodes, l, startAt)
	wantNothingLeft(t, store.consulServer, ids...)
}

// All nodes are killed in mid-run, which leaves their entries and the bootstrap
// key. A second start right after forms a new cluster and runs.
func TestConsulAfterKilledCluster(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	target, store := b.target(), &consulStore{b.consul(false)}
	l := load{rps: 50, seconds: 2}
	plan := l.plan(target.base())
	store.put(plan)
	killed := b.nodes(three(), store.settings(), store.discovery(3, ""))
	startAll(t, killed)
	waitReady(t, killed, plan, formTime)
	for _, n := range killed {
		n.kill()
	}
	if len(store.services(serviceName)) != 3 || len(store.keys()) < 2 {
		t.Fatalf("the killed cluster left %d entries and keys %q; the test needs both", len(store.services(serviceName)), store.keys())
	}
	target.reset()
	nodes := b.nodes([]string{"d", "e", "f"}, store.settings(), store.discovery(3, ""))
	startAll(t, nodes)
	runToEnd(t, target, nodes, l, waitReady(t, nodes, plan, 2*formTime))
}

// The agent restarts while the cluster forms.
func TestConsulAgentRestart(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	target, store := b.target(), &consulStore{b.consul(false)}
	l := load{rps: 50, seconds: 2}
	plan := l.plan(target.base())
	store.put(plan)
	nodes := b.nodes(three(), store.settings(), store.discovery(3, ""))
	startAll(t, nodes[:2])
	eventually(t, formTime, "two nodes are registered", func() error {
		if got := len(store.services(serviceName)); got != 2 {
			return fmt.Errorf("%d entries", got)
		}
		return nil
	})
	store.restart(time.Second)
	nodes[2].start()
	store.waitReady()
	runToEnd(t, target, nodes, l, waitReady(t, nodes, plan, 2*formTime))
	wantNothingLeft(t, store.consulServer)
}

// leastPolicy is what the README tells a user to give to the nodes.
const leastPolicy = `
service "loadtest-cluster" { policy = "write" }
node_prefix "" { policy = "read" }
key "loadtest/config" { policy = "read" }
key "loadtest/loadtest-cluster/bootstrap" { policy = "write" }
`

// With ACLs on, the least policy is enough, and without the right to write the
// bootstrap key the nodes end with 104 and name what is missing.
func TestConsulACL(t *testing.T) {
	t.Run("least policy", func(t *testing.T) {
		t.Parallel()
		b := newBench(t)
		target, store := b.target(), &consulStore{b.consul(true)}
		l := load{rps: 50, seconds: 2}
		plan := l.plan(target.base())
		store.put(plan)
		token := store.token("least", leastPolicy)
		nodes := b.nodes(three(), store.settings(), store.discovery(3, token))
		startAll(t, nodes)
		runToEnd(t, target, nodes, l, waitReady(t, nodes, plan, formTime))
		wantNothingLeft(t, store.consulServer)
		wantSecret(t, nodes, token)
	})
	t.Run("no right to write the key", func(t *testing.T) {
		t.Parallel()
		b := newBench(t)
		target, store := b.target(), &consulStore{b.consul(true)}
		store.put(load{rps: 50, seconds: 2}.plan(target.base()))
		token := store.token("reader", strings.Replace(leastPolicy, `bootstrap" { policy = "write" }`, `bootstrap" { policy = "read" }`, 1))
		nodes := b.nodes([]string{"a", "b"}, store.settings(), store.discovery(2, token), env{"CLUSTER_FORM_TIMEOUT": "8s"})
		startAll(t, nodes)
		// One of them wants to bootstrap and may not; the other learns it from that one.
		for _, n := range nodes {
			n.wantExit(formTime, 104)
		}
		wantSaid(t, nodes, "loadtest/loadtest-cluster/bootstrap", "write")
		target.wantQuiet()
	})
}
