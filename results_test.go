package main

import (
	"io"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"volley/node"
	"volley/stats"
)

func reportOf(t *testing.T, name string, requests int64, change func(*node.Report)) node.Report {
	t.Helper()
	s := &stats.Summary{RunID: "r", ConfigVersion: "sha256:1", NodeID: name, Planned: time.Second, Ended: true, Started: requests, Completed: requests, Requests: requests}
	body, err := s.Encode()
	if err != nil {
		t.Fatal(err)
	}
	rep := node.Report{RunID: "r", Of: node.Member{NodeID: name, ServerID: name + "-1"}, Final: true, Summary: body}
	if change != nil {
		change(&rep)
	}
	return rep
}

// A node's line says why its part is not whole, and the report shows it.
func TestANodesLineSaysWhatIsMissing(t *testing.T) {
	o := node.Outcome{Run: node.Run{ID: "r", Version: "sha256:1"}, Reports: []node.Report{
		reportOf(t, "whole", 1, nil),
		reportOf(t, "failed", 2, func(r *node.Report) { r.Failure = "the engine was killed" }),
		reportOf(t, "silent", 0, func(r *node.Report) { r.Failure, r.Summary = "the engine cannot start", nil }),
		reportOf(t, "left", 4, func(r *node.Report) { r.Left = true }),
		reportOf(t, "alone", 16, func(r *node.Report) {
			s, err := stats.Decode(r.Summary)
			if err == nil {
				s.StoppedBy, s.StoppedAfter = node.CauseIsolated, time.Second/2
				r.Summary, err = s.Encode()
			}
			if err != nil {
				t.Fatal(err)
			}
		}),
		reportOf(t, "odd", 8, func(r *node.Report) { r.Summary = r.Summary[:5] }),
	}, Lost: []node.Member{{NodeID: "gone", ServerID: "gone-1"}, {NodeID: "left", ServerID: "left-1"}}}
	merged, nodes, _, err := merge(o, readAll)
	if err != nil {
		t.Fatal(err)
	}
	result, err := stats.NewResult(merged, stats.ScopeCluster, nodes)
	if err != nil {
		t.Fatal(err)
	}
	for _, rep := range o.Reports { // each node's own result says the same
		own, err := (&results{}).ownResult(o.Run, rep, 0, 0)
		if rep.Of.NodeID == "odd" || rep.Of.NodeID == "silent" {
			continue // nobody can read those
		}
		at := slices.IndexFunc(nodes, func(n stats.NodeResult) bool { return n.NodeID == rep.Of.NodeID })
		if err != nil || own.Nodes[0].Complete != nodes[at].Complete || own.Nodes[0].Reason != nodes[at].Reason {
			t.Errorf("%s says of itself %+v, %v; merged it is %+v", rep.Of.NodeID, own.Nodes, err, nodes[at])
		}
	}
	var out strings.Builder
	if err := result.WriteText(&out, false); err != nil {
		t.Fatal(err)
	}
	lines := map[string]string{}
	for line := range strings.Lines(out.String()) {
		words := strings.Fields(line)
		if len(words) > 4 && lines[words[0]] == "" { // further down are the nodes' generators
			lines[words[0]] = strings.Join(words[1:2], " ") + " " + strings.Join(words[4:], " ")
		}
	}
	for name, want := range map[string]string{
		"whole": "1 ms complete", "failed": "2 ms incomplete: the engine was killed", "silent": "0 ms incomplete: the engine cannot start",
		"left": "4 ms incomplete: it left before the end", "alone": "16 ms incomplete: it had no leader for CLUSTER_ISOLATION_GRACE and ended its part",
		"odd": "0 ms incomplete: its summary cannot be read: ", "gone": "0 ms incomplete: it was lost and has reported nothing",
	} {
		if !strings.HasPrefix(lines[name], want) {
			t.Errorf("%s: %q, want %q", name, lines[name], want)
		}
	}
	if result.Requests != 23 || len(nodes) != 7 {
		t.Errorf("%d requests of %d nodes, want 23 of 7", result.Requests, len(nodes))
	}
	if t.Failed() {
		t.Log(out.String())
	}
}

// A threshold that ends the run is told when it does, and not again at the end;
// any other that has failed is told then.
func TestEachFailedThresholdIsToldOnce(t *testing.T) {
	target := record(t, func(string) int { return http.StatusInternalServerError })
	result := environment(t)
	log := &lines{}
	plan := withThresholds(t, writePlan(t, target.URL, "30s"), `{expr: "error_rate < 1%", abortOnFail: true, after: 1s}, {expr: "errors < 1", abortOnFail: true, after: 1s}, "rps < 1", "errors < 1000000"`)
	if code := run(t.Context(), []string{plan}, io.Discard, log); code != node.ExitFailed {
		t.Errorf("exit code %d", code)
	}
	for _, expr := range []string{"error_rate < 1%", "errors < 1", "rps < 1"} {
		if n := strings.Count(log.String(), `"event":"threshold_failed"`); n != 3 {
			t.Errorf("%d events threshold_failed, want 3", n)
		}
		if n := strings.Count(log.String(), ": "+expr+`","event":"threshold_failed","run_id":"`); n != 1 {
			t.Errorf("%s: told %d times", expr, n)
		}
	}
	if n := strings.Count(log.String(), `"message":"threshold failed, the run ends: error_rate < 1%"`); n != 1 {
		t.Errorf("what ends the run is told %d times", n)
	}
	for _, value := range []string{`: error_rate < 1%","event":"threshold_failed"`, `"value":1}`} {
		if !strings.Contains(log.String(), value) {
			t.Errorf("no %s", value)
		}
	}
	if !strings.Contains(log.String(), `"event":"run_stopped","cause":"threshold"`) {
		t.Error("the run is not stopped")
	}
	r := readResult(t, result)
	if r.Stopped == nil || r.Stopped.Cause != "threshold" || r.Stopped.AfterS > 20 {
		t.Errorf("stopped: %+v", r.Stopped)
	}
	if t.Failed() {
		t.Log(log.String())
	}
}
