package e2e

import (
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"testing"
	"time"
)

// Nodes start at one instant, whatever their clocks show, and the report says
// how exactly: as exactly as the target saw it.
func TestSkew(t *testing.T) {
	ms := func(n int) time.Duration { return time.Duration(n) * time.Millisecond }
	t.Run("clocks apart", func(t *testing.T) {
		measureSkew(t, map[string]time.Duration{"a": ms(-400), "b": 0, "c": ms(700)}, ms(10), ms(20))
	})
	t.Run("same clocks", func(t *testing.T) { measureSkew(t, map[string]time.Duration{}, ms(5), ms(15)) })
}

// reportError is by how much a node's own figure of its skew may differ from
// what the target saw: but for one start in ten of a node, between whose look at the
// clock and whose write the machine did something else.
const reportError = 2 * time.Millisecond

func starts() int {
	if long() {
		return 10
	}
	return 3
}

// measureSkew starts run after run in one cluster of three nodes.
func measureSkew(t *testing.T, shifts map[string]time.Duration, median, worst time.Duration) {
	b := newBench(t)
	b.volley = shiftableImage
	target := b.targetWith("-kernel-time") // the target itself has to wait for a processor, as they do
	var list []string
	for i := range three() {
		list = append(list, fmt.Sprintf("%s:%d", b.cluster.address(b.lastHost+1+i), clusterPort))
	}
	var nodes []*node
	for _, name := range three() {
		nodes = append(nodes, b.node(name, env{
			"DISCOVERY_MODE": "static", "CLUSTER_NODES": fmt.Sprintf("%s,%s,%s", list[0], list[1], list[2]),
			"CLUSTER_CONFIG_SOURCE": "none", "VOLLEY_TEST_CLOCK_SHIFT": shifts[name].String(),
		}, nil))
	}
	startAll(t, nodes)
	waitLeader(t, nodes, formTime)
	var spreads, off []time.Duration
	for i := range starts() {
		spread, errors := startOnce(t, target, nodes, shifts, i)
		spreads, off = append(spreads, spread), append(off, errors...)
	}
	if most := (len(nodes)*starts() + 9) / 10; len(off) > most {
		t.Errorf("%d starts' figures are more than %v from what the target saw, want at most %d: %v", len(off), reportError, most, off)
	}
	wantOneElection(t, nodes)
	slices.Sort(spreads)
	fmt.Printf("%s: first requests apart: median %v, worst %v of %v\n", t.Name(), spreads[len(spreads)/2], spreads[len(spreads)-1], spreads)
	if got := spreads[len(spreads)/2]; got > median {
		t.Errorf("median %v between the first requests, want at most %v", got, median)
	}
	if got := spreads[len(spreads)-1]; got > worst {
		t.Errorf("at worst %v between the first requests, want at most %v", got, worst)
	}
}

// startOnce posts a plan, waits for the end of its run, compares each node's own
// figure with what the target saw, and returns how far apart the first requests
// were, and what is wrong with figures by more than reportError.
func startOnce(t *testing.T, target *target, nodes []*node, shifts map[string]time.Duration, round int) (spread time.Duration, off []time.Duration) {
	t.Helper()
	target.reset()
	l := load{rps: 50, seconds: 1, path: fmt.Sprintf("/round/%d", round)}
	answer := nodes[round%len(nodes)].post("/config", l.plan(target.base()))
	var accepted struct {
		RunID string `json:"run_id"`
	}
	if answer.status != http.StatusAccepted || json.Unmarshal(answer.body, &accepted) != nil {
		t.Fatalf("POST /config: %d %s", answer.status, answer.body)
	}
	var health clusterHealth
	for _, n := range nodes {
		health = n.waitCluster(endTime, "the run has ended", func(h clusterHealth) error {
			if h.Run.RunID != accepted.RunID || h.Phase != "finished" {
				return fmt.Errorf("run %s is in phase %s (%s)", h.Run.RunID, h.Phase, h.errorText())
			}
			return nil
		})
	}
	var report runResult
	nodes[0].must("report", askJSON(http.MethodGet, nodes[0].url(controlPort)+"/report.json", "", &report))
	if report.RunID != accepted.RunID || len(report.Nodes) != len(nodes) {
		t.Fatalf("the report is of run %s and %d nodes, want %s and %d", report.RunID, len(report.Nodes), accepted.RunID, len(nodes))
	}
	stats := target.stats()
	start := health.startAt().Add(-shifts[health.LeaderID]) // in the machine's clock, which is the target's
	for i, n := range nodes {
		line := report.Nodes[i]
		seen := time.Unix(0, stats.from(n).FirstNS).Sub(start)
		told := time.Duration(line.StartSkewMS * float64(time.Millisecond))
		offset := time.Duration(line.ClockOffsetMS * float64(time.Millisecond))
		bound := time.Duration(line.ClockBoundMS * float64(time.Millisecond))
		t.Logf("start %d: %s: skew %v by its own account, %v as the target saw it; clock offset %v ± %v", round, n.name, told, seen, offset, bound)
		if line.NodeID != n.name || (told-seen).Abs() > maxSkew {
			t.Errorf("start %d: line %d is of %s, with a skew of %v; want %s, of whom the target saw %v", round, i, line.NodeID, told, n.name, seen)
		} else if (told - seen).Abs() > reportError {
			off = append(off, told-seen)
		}
		want := shifts[health.LeaderID] - shifts[n.name]
		if n.name == health.LeaderID && (offset != 0 || bound != 0) || n.name != health.LeaderID && (bound <= 0 || (offset-want).Abs() > bound) {
			t.Errorf("start %d: %s reports a clock offset of %v ± %v, want %v", round, n.name, offset, bound, want)
		}
	}
	return wantStartTogether(t, stats, nodes, start, time.Second), off
}
