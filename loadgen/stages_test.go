package loadgen_test

import (
	"fmt"
	"math"
	"net/http"
	"testing"
	"time"

	"volley/stats"
)

// TestDropsBelongToTheStageInWhichTheyFellDue: a spike that the workers cannot send
// leaves a backlog behind, which is dropped in the calm that follows. That calm has
// lost nothing that fell due in it.
func TestDropsBelongToTheStageInWhichTheyFellDue(t *testing.T) {
	for _, config := range []string{"", ", warmup: 12s"} {
		w := &world{serve: func(http.ResponseWriter, *http.Request) { <-time.After(300 * time.Millisecond) }}
		o := w.play(t, job("r", fmt.Sprintf(`version: "1.0"
config: {baseUrl: 'http://target', duration: 30s, workers: 10%s}
load: {model: stages, from: 20, maxWorkers: 10, stages: [{duration: 10s, target: 20}, {duration: 0s, target: 200}, {duration: 5s, target: 200}, {duration: 0s, target: 20}, {duration: 15s, target: 20}]}
scenarios: [{name: s, steps: [{name: get, request: {method: GET, path: /}}]}]
`, config), ""))
		if o.err != nil {
			t.Fatal(o.err)
		}
		for i, st := range o.Stages { // the first of the calm comes out behind the last of the spike, too late by a hair
			if due := st.Started + st.Dropped; due != int64(math.Round(st.Target)) || (st.Dropped > 1) != (i == 1) {
				t.Errorf("stage %d%s: started %d + dropped %d, want %v, dropped in the spike alone", i, config, st.Started, st.Dropped, st.Target)
			}
		}
		r, err := stats.NewResult(o.Summary, stats.ScopeNode, nil)
		if err != nil {
			t.Fatal(err)
		}
		if calm := r.Stages[2].Latency; calm.P50 == nil || calm.P99 == nil {
			t.Errorf("%s: the calm has p50 %v and p99 %v", config, calm.P50, calm.P99)
		}
		if spike := r.Stages[1].Latency; spike.P99 != nil {
			t.Errorf("%s: the spike has a p99 of %v, above which more were dropped", config, *spike.P99)
		}
		late := int64(0)
		for _, p := range r.Series {
			if p.T >= 15 {
				late += p.Dropped
			}
		}
		if late == 0 {
			t.Errorf("%s: the series has no drop after the spike, when they were dropped", config)
		}
	}
}
