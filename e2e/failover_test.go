package e2e

import (
	"fmt"
	"math/rand/v2"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"
)

// Limits that the acceptance of the failover sets.
const (
	failoverTime = 3 * time.Second         // until there is a new leader
	restoreTime  = 8 * time.Second         // until the whole target rate is sent again
	lostTime     = 1500 * time.Millisecond // of the killed node's requests that are in no report
)

// seed is VOLLEY_E2E_SEED, else drawn; it is printed, so that what fails can be
// done again.
func seed(t testing.TB) uint64 {
	t.Helper()
	s := rand.Uint64N(1_000_000)
	if given := os.Getenv("VOLLEY_E2E_SEED"); given != "" {
		var err error
		if s, err = strconv.ParseUint(given, 10, 64); err != nil {
			t.Fatalf("VOLLEY_E2E_SEED %q: %v", given, err)
		}
	}
	t.Logf("VOLLEY_E2E_SEED=%d", s)
	return s
}

// moment is when a leader is killed: so long after there is one.
type moment struct {
	scope string
	after time.Duration
}

// The leader, and its engine with it, is killed at a moment of the way to the run,
// or of the run: there are never two runs, nothing is begun again, nothing hangs.
func TestFailover(t *testing.T) {
	s := seed(t)
	draw := rand.New(rand.NewPCG(s, 1))
	each := 1 // of four kinds
	if long() {
		each = 5
	}
	var moments []moment
	for range each {
		for _, scope := range []string{"node", "cluster"} {
			// The start is 3 s after the plan is with everybody, which takes some 100 ms.
			moments = append(moments,
				moment{scope, time.Duration(draw.Int64N(int64(3500 * time.Millisecond)))},
				moment{scope, 4500*time.Millisecond + time.Duration(draw.Int64N(int64(failoverRun-2*time.Second)))})
		}
	}
	for _, m := range moments {
		t.Run(fmt.Sprintf("%s/%s", m.scope, m.after.Round(time.Millisecond)), func(t *testing.T) { killLeader(t, m) })
	}
}

// failoverRun is how long the run is whose leader is killed.
var failoverRun = func() time.Duration {
	if long() {
		return 20 * time.Second
	}
	return 12 * time.Second
}()

const (
	// abortTime is what it takes to give up a node that died before the cluster
	// was ready: four tries of CLUSTER_CONFIG_TIMEOUT_SECS (30 s), 0.5, 1 and 2 s
	// between them, and an election before.
	abortTime = 150 * time.Second
)

func killLeader(t *testing.T, m moment) {
	const rps = 500 // of every node, or its part of the whole
	total := rps
	if m.scope == "cluster" {
		total = 3 * rps
	}
	b := newBench(t)
	target, store := b.target(), b.gcsStore()
	plan := tracedPlan(target.base(), constant(total, m.scope), failoverRun)
	store.put(plan)
	nodes := b.nodes(three(), store.settings())
	startAll(t, nodes)
	leader := firstLeader(t, nodes)
	<-time.After(m.after)
	killed := time.Now()
	leader.kill()
	survivors := slices.DeleteFunc(slices.Clone(nodes), func(n *node) bool { return n == leader })

	code := exitTogether(t, survivors, failoverRun+abortTime)
	wantNextLeader(t, survivors, killed)
	ready := earliest(survivors, "cluster_ready")
	switch {
	case code == 102:
		if !ready.IsZero() && ready.Before(killed) {
			t.Errorf("exit code 102, but the cluster was ready %v before the kill", killed.Sub(ready))
		}
		wantSaid(t, survivors, leader.name, leader.clusterAddr())
		target.wantQuiet()
		t.Log("killed before the cluster was ready")
		return
	case code != 0:
		t.Errorf("exit code %d, want 0, or 102 before the cluster is ready; last words: %s", code, survivors[0].lastWords())
		return
	case ready.Sub(killed) > 500*time.Millisecond:
		t.Errorf("the run started though the leader was killed %v before the cluster was ready", ready.Sub(killed))
	}
	checkRun(t, target, nodes, leader, survivors, killed, m, rps)
}

// checkRun checks what the target saw of a run whose leader was killed, and what
// the report says of it.
func checkRun(t *testing.T, target *target, nodes []*node, leader *node, survivors []*node, killed time.Time, m moment, rps int) {
	stats := target.stats()
	startAt := startOf(t, survivors)
	wantRun(t, stats.Arrivals, startAt)
	for _, n := range survivors {
		if got := len(n.events("run_started")); got != 1 {
			t.Errorf("%s: %d events run_started, want 1", n.name, got)
		}
	}
	for _, n := range nodes {
		t.Logf("%s sent each second: %s", n.name, perSecond(of(stats.Arrivals, n), startAt))
	}
	if m.scope == "node" {
		for _, n := range survivors {
			seen := indices(t, of(stats.Arrivals, n))
			wantOnce(t, seen)
			// Without the last second: what a hiccup makes late at the very end is dropped.
			for second, gap := range missing(seen, rps, 0, failoverRun-time.Second) {
				if gap > 5 {
					t.Errorf("%s: %d of the %d arrivals due in second %d were not sent", n.name, gap, rps, second)
				}
			}
		}
	} else {
		seen := indices(t, stats.Arrivals)
		wantOnce(t, seen)
		whole := killed.Sub(startAt) + restoreTime
		for second, gap := range missing(seen, 3*rps, max(whole, 0), failoverRun-time.Second) {
			if gap > 15 {
				t.Errorf("%d of the %d arrivals due in second %d were not sent; the leader was killed at %v", gap, 3*rps, second, killed.Sub(startAt))
			}
		}
	}
	result := newestResult(t, survivors)
	lost := int64(lostTime.Seconds()*float64(rps)) + 1
	if gap := stats.Total - result.Requests; gap < 0 || gap > lost {
		t.Errorf("the report has %d requests, the target %d: the difference is %d, want 0 to %d", result.Requests, stats.Total, gap, lost)
	}
	for _, n := range result.Nodes {
		if n.NodeID != leader.name && !n.Complete {
			t.Errorf("the report calls %s incomplete", n.NodeID)
		}
	}
	t.Logf("killed %v after the start; target %d requests, report %d", killed.Sub(startAt), stats.Total, result.Requests)
}

// firstLeader waits for a node that says that it leads.
func firstLeader(t testing.TB, nodes []*node) (leader *node) {
	t.Helper()
	eventually(t, formTime, "a leader", func() error {
		for _, n := range nodes {
			if health, err := n.tryCluster(); err == nil && health.State == "leader" {
				leader = n
				return nil
			}
		}
		return errNoLeader
	})
	return leader
}

// exitTogether waits until all have ended and returns their exit code, which
// must be one.
func exitTogether(t testing.TB, nodes []*node, within time.Duration) (code int) {
	t.Helper()
	deadline := time.Now().Add(within)
	for i, n := range nodes {
		own, err := n.exitCode(max(time.Until(deadline), time.Second))
		if err != nil {
			n.fatalf("no exit: %v; last words: %s", err, n.lastWords())
		}
		if i > 0 && own != code {
			t.Errorf("%s: exit code %d, but %s: %d", n.name, own, nodes[0].name, code)
		}
		code = own
	}
	return code
}

// wantNextLeader checks that one of the nodes has led soon after the leader's
// death, unless they were about to leave.
func wantNextLeader(t testing.TB, survivors []*node, killed time.Time) {
	t.Helper()
	var elected []time.Time
	for _, n := range survivors {
		for _, line := range n.events("leader_elected") {
			if line.time.After(killed) {
				elected = append(elected, line.time)
			}
		}
	}
	if len(elected) == 0 {
		for _, n := range survivors {
			if len(n.events("run_finished")) == 0 {
				t.Errorf("nobody led after the leader was killed")
				return
			}
		}
		return
	}
	if took := slices.MinFunc(elected, time.Time.Compare).Sub(killed); took > failoverTime {
		t.Errorf("a new leader after %v, want within %v", took, failoverTime)
	} else {
		t.Logf("a new leader after %v", took)
	}
}

// earliest is when the first of the nodes logged an event, zero if none has.
func earliest(nodes []*node, event string) (at time.Time) {
	for _, n := range nodes {
		for _, line := range n.events(event) {
			if at.IsZero() || line.time.Before(at) {
				at = line.time
			}
		}
	}
	return at
}

// startOf reads the instant of the start from the log.
func startOf(t testing.TB, nodes []*node) time.Time {
	t.Helper()
	for _, n := range nodes {
		for _, line := range n.events("run_scheduled") {
			if text, ok := line.fields["start_at"].(string); ok {
				at, err := time.Parse(time.RFC3339Nano, text)
				if err != nil {
					t.Fatalf("start_at %q: %v", text, err)
				}
				return at
			}
		}
	}
	t.Fatal("no node has logged run_scheduled with start_at")
	return time.Time{}
}

// newestResult is the cluster's result; where two leaders have judged, the later's.
func newestResult(t testing.TB, nodes []*node) (newest runResult) {
	t.Helper()
	found := false
	for _, n := range nodes {
		if _, err := n.readFile(strings.ReplaceAll(resultPath, "{node_id}", n.name)); err != nil {
			continue
		}
		if one := n.result(); one.Scope == "cluster" {
			newest, found = one, true
		}
	}
	if !found {
		t.Fatal("no survivor has written the cluster's result")
	}
	return newest
}
