package main

import (
	"context"
	"errors"
	"io"
	"strings"
	"testing"
	"time"

	"volley/control"
	"volley/node"
	"volley/settings"
	"volley/stats"
)

const wantsP95 = `version: "1.0"
config: {baseUrl: "http://127.0.0.1:1", duration: 1s}
load: {model: rps, target: 1}
scenarios: [{name: s, steps: [{name: a, request: {method: GET, path: /}}]}]
thresholds: [p95 < 300ms]
`

// A threshold on a percentile that a node does not record is neither held nor
// failed: nothing is sent, and every node says which node it is.
func TestClusterWithANodeWithoutPercentiles(t *testing.T) {
	for _, off := range []string{"a", "b"} {
		t.Run(off, func(t *testing.T) {
			environment(t)
			ports, err := freePorts(2)
			if err != nil {
				t.Fatal(err)
			}
			plan := planFileIn(t, wantsP95)
			var nodes []*app
			logs := map[string]*lines{"a": {}, "b": {}}
			codes := make(chan int, 2)
			for i, name := range []string{"a", "b"} {
				nodes = append(nodes, openAppLogging(t, logs[name], func(set *settings.Settings) {
					*set = demoSettings(*set, name, ports, i, plan)
					set.Memory.Percentiles = name != off
				}))
			}
			ctx, cancel := context.WithTimeout(t.Context(), 40*time.Second)
			defer cancel()
			for _, a := range nodes {
				go func() { codes <- a.run(ctx) }()
			}
			first, second := <-codes, <-codes
			// Which of the two leads is not for a test to say.
			if first != second || first != node.ExitInvalid && first != node.ExitCluster {
				t.Errorf("exit codes %d and %d, want 104 (the leader's own fault) or 102 (another's) of both", first, second)
			}
			for _, a := range nodes {
				told := a.node.Status().Error
				if told == nil || !strings.Contains(*told, "which node "+off+" does not record: PERCENTILE_TRACKING_ENABLED=false there") {
					t.Errorf("%s says %s, want that it is node %s", a.self.NodeID, worded(told), off)
				}
				if said := levels(t, logs[a.self.NodeID].String())["ERROR"]; len(said) != 1 || !strings.Contains(said[0], "which node "+off+" does not record") {
					t.Errorf("%s has %d errors in its log, want one, of node %s:\n%s", a.self.NodeID, len(said), off, logs[a.self.NodeID])
				}
			}
		})
	}
}

func worded(text *string) string {
	if text == nil {
		return "nothing"
	}
	return *text
}

// Who leads only after a run has begun may record nothing itself: what it judges is
// what the others have recorded.
func TestALeaderWithoutPercentilesJudgesThoseOfOthers(t *testing.T) {
	r := &runner{recording: recordingOf(settings.Memory{Percentiles: false})}
	for _, c := range []struct {
		latency time.Duration
		ok      bool
	}{{100 * time.Millisecond, true}, {500 * time.Millisecond, false}} {
		merged := &stats.Summary{RunID: "r", Planned: time.Second, Ended: true, Started: 1, Completed: 1, Requests: 1}
		merged.Latency.Record(c.latency)
		rows, err := r.judged("r", false, []byte(wantsP95), merged)
		if err != nil || len(rows) != 1 || rows[0].OK != c.ok || rows[0].Value == nil {
			t.Errorf("p95 of %s: %+v, %v; want held: %v, with its value", c.latency, rows, err, c.ok)
		}
	}
}

// Beside variables, too, the place is that in the plan as it was given.
func TestThresholdWithoutPercentilesBesideVariables(t *testing.T) {
	environment(t, "PERCENTILE_TRACKING_ENABLED=false", "TENANT=shop", "LOG_FORMAT=json")
	log := &lines{}
	if code := run(t.Context(), []string{planFileIn(t, wantsP95)}, io.Discard, log); code != node.ExitInvalid || !strings.Contains(log.String(), ": 5:14: thresholds[0]: ") {
		t.Errorf("exit code %d, want 104 and the place 5:14:\n%s", code, log)
	}
	a := openApp(t, func(*settings.Settings) {})
	defer a.close()
	_, err := a.Submit(t.Context(), []byte(wantsP95))
	var invalid *control.InvalidPlanError
	if !errors.As(err, &invalid) || len(invalid.Problems) != 1 || invalid.Problems[0].Line != 5 || invalid.Problems[0].Column != 14 {
		t.Errorf("posted: %v, want it at 5:14", err)
	}
}
