package e2e

import (
	"strings"
	"testing"
	"time"
)

// A threshold with abortOnFail is held against what all nodes have told, and ends the
// run of all: with 99, long before its planned end. A new leader does so in the place
// of the one that was killed, by what that one had told, too. It knows windows that
// began before: these hold, all of the run in the place of one would not.
func TestAbortOnFail(t *testing.T) {
	const rate, most = 300, 2400 // all nodes' together: reached after 8 s, by none of them alone
	const thresholds = `thresholds:
  - {expr: 'iterations < 2400', abortOnFail: true}
  - {expr: 'scenario(check).iterations < 1200 over last 2s', abortOnFail: true}
  - iteration.max < 5s over last 2s
`
	for _, test := range []struct {
		name string
		kill bool
	}{{"a quiet run", false}, {"its leader is killed before", true}} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			b := newBench(t)
			target, store := b.target(), b.gcsStore()
			const length = time.Minute
			plan := tracedPlan(target.base(), constant(rate, "cluster"), length) + thresholds
			store.put(plan)
			nodes := b.nodes(three(), store.settings())
			startAll(t, nodes)
			startAt := waitReady(t, nodes, plan, formTime)
			stayed := nodes
			if test.kill {
				leader, others := waitLeader(t, nodes, formTime)
				<-time.After(time.Until(startAt.Add(2500 * time.Millisecond)))
				leader.kill()
				stayed = others
			}
			wantExits(t, stayed, time.Until(startAt)+length/2, 99)
			counted, result := target.stats(), newestResult(t, stayed)
			wantRun(t, counted.Arrivals, startAt)
			for i, row := range result.Thresholds {
				if row.OK != (i > 0) || row.Value == nil {
					t.Errorf("threshold %d, %s, is %v with %v", i, row.Expr, row.OK, row.Value)
				}
			}
			if took := time.Unix(0, counted.LastNS).Sub(startAt); took > length/3 {
				t.Errorf("the last request came %v after the start, the bound was reached after 8 s", took)
			}
			if result.Requests < most || result.Requests > counted.Total {
				t.Errorf("the report has %d requests; want at least %d, and no more than the %d of the target", result.Requests, most, counted.Total)
			}
			told := 0
			for _, n := range stayed {
				for _, line := range n.events("threshold_failed") {
					told++
					if !strings.Contains(line.raw, "iterations < 2400") && !strings.Contains(line.raw, `iterations \u003c 2400`) {
						t.Errorf("%s: %s", n.name, line.raw)
					}
				}
			}
			if told != 1 {
				t.Errorf("%d events threshold_failed, want one, on the leader", told)
			}
			t.Logf("the last request %v after the start; %d of %d requests in the report", time.Unix(0, counted.LastNS).Sub(startAt).Round(time.Millisecond), result.Requests, counted.Total)
		})
	}
}
