package e2e

import (
	"fmt"
	"testing"
	"time"
)

// A fourth node comes in the middle of a ramp that the cluster shares: it gets
// plan and run, takes its part from one arrival on, and the total follows the
// curve all the time.
func TestJoinInTheMiddleOfARamp(t *testing.T) {
	t.Parallel()
	const (
		length   = 24 * time.Second
		from, to = 100.0, 900.0
	)
	b := newBench(t)
	target, store := b.target(), b.gcsStore()
	plan := tracedPlan(target.base(), fmt.Sprintf("  model: stages\n  from: %g\n  stages: [{duration: %v, target: %g}]\n  scope: cluster\n  maxWorkers: 200\n", from, length, to), length)
	store.put(plan)
	all := b.nodes([]string{"a", "b", "c", "d"}, store.settings(), env{"CLUSTER_EXPECT": "3"})
	nodes, joiner := all[:3], all[3]
	startAll(t, nodes)
	startAt := waitReady(t, nodes, plan, formTime)
	nodes[0].waitPhase(time.Until(startAt)+10*time.Second, "running")
	<-time.After(time.Until(startAt.Add(length / 3)))
	joiner.start()
	wantExits(t, all, time.Until(startAt)+length+endTime, 0)

	stats := target.stats()
	wantRun(t, stats.Arrivals, startAt)
	seen := indices(t, stats.Arrivals)
	wantOnce(t, seen)
	asked := func(t float64) float64 { return from*t + (to-from)/length.Seconds()*t*t/2 }
	whole := int64(asked(length.Seconds()))
	for second := range int(length.Seconds()) {
		unsent, due := 0, 0
		for n := int64(asked(float64(second))); n < min(int64(asked(float64(second+1))), whole); n++ {
			due++
			if seen[n] == 0 {
				unsent++
			}
		}
		if float64(unsent) > 0.02*float64(due) {
			t.Errorf("%d of the %d arrivals due in second %d were not sent", unsent, due, second)
		}
	}
	own := of(stats.Arrivals, joiner)
	if len(own) == 0 {
		t.Fatalf("the joiner sent nothing; last words: %s", joiner.lastWords())
	}
	entered := own[0].sent()
	if after := entered.Sub(joiner.startedAt()); after > 10*time.Second {
		t.Errorf("the joiner sent its first request %v after its start", after)
	}
	since := 0
	for _, a := range stats.Arrivals {
		if !a.sent().Before(entered) {
			since++
		}
	}
	if share := float64(len(own)) / float64(since); share < 0.24 || share > 0.26 {
		t.Errorf("the joiner sent %.1f %% of the load since it came, want a quarter", 100*share)
	}
	result := clusterResult(t, all)
	if result.Requests != stats.Total || len(result.Nodes) != len(all) {
		t.Errorf("result counts %d requests of %d nodes, the target %d of %d", result.Requests, len(result.Nodes), stats.Total, len(all))
	}
	for _, n := range all {
		t.Logf("%s sent each second: %s", n.name, perSecond(of(stats.Arrivals, n), startAt))
	}
}
