package e2e

import (
	"fmt"
	"testing"
)

// Nodes that know no more than a name, whose addresses the engine's DNS server
// has as they start, find each other and their own address.
func TestDiscoveryByDNS(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	target, store := b.target(), b.gcsStore()
	l := load{rps: 50, seconds: 2}
	plan := l.plan(target.base())
	store.put(plan)
	nodes := b.nodes(three(), store.settings(), env{
		"DISCOVERY_MODE": "dns", "CLUSTER_NODES": fmt.Sprintf("%s:%d", nodesName, clusterPort), "CLUSTER_EXPECT": "3", "CLUSTER_ADVERTISE_ADDR": "",
	})
	startAll(t, nodes)
	startAt := waitReady(t, nodes, plan, formTime)
	for _, n := range nodes {
		for _, m := range n.clusterHealth().Members {
			if m.NodeID == n.name && m.Addr != n.clusterAddr() {
				t.Errorf("%s gives its address as %s, want %s, which the name stands for", n.name, m.Addr, n.clusterAddr())
			}
		}
	}
	runToEnd(t, target, nodes, l, startAt)
}
