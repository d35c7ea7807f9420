package e2e

import (
	"fmt"
	"strings"
	"testing"
	"time"
)

// With CLUSTER_DATA_DIR a node that is killed and starts again is the member that
// it was if its disk is, and a new one if that is blank; then all run together.
func TestDisksKeptAndBlank(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	target := b.target()
	var list []string
	for i := range three() {
		list = append(list, fmt.Sprintf("%s:%d", b.cluster.address(b.lastHost+1+i), clusterPort))
	}
	var nodes []*node
	for i, name := range three() {
		spec := containerSpec{name: name}
		if i == 2 {
			spec.tmpfs = "/data"
		}
		nodes = append(nodes, b.nodeWith(spec, env{"CLUSTER_NODES": strings.Join(list, ","), "CLUSTER_CONFIG_SOURCE": "none", "CLUSTER_DATA_DIR": "/data/volley"}))
	}
	startAll(t, nodes)
	witness, kept, blank := nodes[0], nodes[1], nodes[2]
	voters := func(what string, fits func(ids []string) bool) {
		t.Helper()
		witness.waitCluster(formTime, what, func(h clusterHealth) error {
			var ids []string
			for _, m := range h.Members {
				if m.Alive && m.Suffrage == "voter" {
					ids = append(ids, m.ServerID)
				}
			}
			if len(ids) != 3 || len(h.Members) != 3 || !fits(ids) {
				return fmt.Errorf("voters are %v of %d members", ids, len(h.Members))
			}
			return nil
		})
	}
	voters("three voters", func([]string) bool { return true })
	before := map[*node]string{}
	for _, n := range nodes {
		before[n] = n.clusterHealth().ServerID
	}
	again := func(n *node) (now string) {
		t.Helper()
		n.kill()
		n.start()
		return n.waitCluster(formTime, "it is a member", func(h clusterHealth) error {
			if h.State != "follower" && h.State != "leader" {
				return fmt.Errorf("state %q", h.State)
			}
			return nil
		}).ServerID
	}

	if now := again(kept); now != before[kept] {
		t.Errorf("with its disk %s is %s after its start, want the same", before[kept], now)
	}
	voters("the same three vote", func(ids []string) bool { return holds(strings.Join(ids, " "), []string{before[kept], before[blank]}) })

	now := again(blank)
	if now == before[blank] || !strings.HasPrefix(now, blank.name+"-") {
		t.Errorf("without its disk %s is %s after its start, want a new one of the same name", before[blank], now)
	}
	voters("the new one votes instead of the old one", func(ids []string) bool {
		all := strings.Join(ids, " ")
		return holds(all, []string{before[kept], now}) && !strings.Contains(all, before[blank])
	})

	l := load{rps: 50, seconds: 2}
	plan := l.plan(target.base())
	kept.postPlan(plan)
	startAt := waitReady(t, nodes, plan, formTime)
	for _, n := range nodes {
		n.waitPhase(time.Until(startAt)+l.duration()+endTime, "finished")
	}
	wantStartTogether(t, target.stats(), nodes, startAt, looseSkew)
}
