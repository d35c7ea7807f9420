package main

import (
	"strings"
	"testing"
	"time"

	"volley/node"
	"volley/stats"
)

// A node that was lost is in the result with what it had counted by its last
// word, and is marked; what the run has ended by is what the others say.
func TestResultCountsANodeThatWasLost(t *testing.T) {
	members := []node.Member{{ServerID: "a-1", NodeID: "a"}, {ServerID: "b-1", NodeID: "b"}, {ServerID: "c-1", NodeID: "c"}}
	report := func(m node.Member, final bool, s stats.Summary) node.Report {
		s.RunID, s.NodeID, s.Planned, s.Ended = "r", m.NodeID, 20*time.Second, final
		body, err := s.Encode()
		if err != nil {
			t.Fatal(err)
		}
		return node.Report{RunID: "r", Of: m, Final: final, Summary: body}
	}
	o := node.Outcome{
		Run: node.Run{ID: "r", Participants: members}, Members: map[string]node.Standing{"c-1": {Alive: true}},
		Reports: []node.Report{
			report(members[1], false, stats.Summary{Elapsed: 12 * time.Second, Requests: 120, Started: 123, Completed: 120}),
			report(members[0], true, stats.Summary{Elapsed: 15 * time.Second, Requests: 150, Started: 150, Completed: 150, StoppedBy: "stop", StoppedAfter: 15 * time.Second}),
			report(members[2], false, stats.Summary{Elapsed: 14500 * time.Millisecond, Requests: 145, Started: 145, Completed: 145}),
		},
		Lost: members[1:],
	}
	merged, nodes, _, err := merge(o, readAll)
	if err != nil {
		t.Fatal(err)
	}
	want := map[string]string{
		"a": "", "b": "it was lost 12.0 s after the start: its figures end there",
		"c": "its final report has not come: its figures end 14.5 s after the start",
	}
	for _, n := range nodes {
		if n.Complete != (n.NodeID == "a") || n.Reason != want[n.NodeID] {
			t.Errorf("%s: complete %v, reason %q; want %q", n.NodeID, n.Complete, n.Reason, want[n.NodeID])
		}
	}
	result, err := stats.NewResult(merged, stats.ScopeCluster, nodes)
	if err != nil {
		t.Fatal(err)
	}
	if result.Requests != 415 || result.Interrupted != 3 || result.DurationS != 20 || len(nodes) != 3 {
		t.Errorf("requests %d, interrupted %d, duration %g, %d nodes; want 415, 3, 20 and 3", result.Requests, result.Interrupted, result.DurationS, len(nodes))
	}
	if result.Stopped == nil || result.Stopped.Cause != "stop" || result.Stopped.AfterS != 15 {
		t.Errorf("stopped %+v, want by stop after 15 s", result.Stopped)
	}
	var text strings.Builder
	if err := result.WriteText(&text, false); err != nil || !strings.Contains(text.String(), want["b"]) {
		t.Errorf("the text does not say %q (%v):\n%s", want["b"], err, text.String())
	}
}

// Figures of nodes that were lost are no run that was done.
func TestLostNodesAloneAreNoSuccess(t *testing.T) {
	reports := []node.Report{{Summary: []byte("x")}, {Final: true, Failure: "it died", Summary: []byte("x")}}
	if anyWorked(reports) {
		t.Error("nobody has finished its part")
	}
	if !anyWorked(append(reports, node.Report{Final: true, Summary: []byte("x")})) {
		t.Error("one node has finished its part")
	}
}
