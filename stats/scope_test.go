package stats

import (
	"strings"
	"testing"
)

func TestHeadlineNamesWhoHasReportedNothing(t *testing.T) {
	r := &Result{Scope: ScopeCluster, Nodes: []NodeResult{{NodeID: "a", Requests: 5, Complete: true}, {NodeID: "b", Requests: 3}, {NodeID: "c"}}}
	if got := r.whose().Text; !strings.Contains(got, "2 of 3 nodes") || !strings.Contains(got, "from c") {
		t.Errorf("%q", got)
	}
	r.Nodes[2].Reason = StillGoing // it may still tell
	if got := r.whose(); got.Text != "all figures are totals of 3 nodes" || got.Tone != ToneNone {
		t.Errorf("%+v", got)
	}
	r.Nodes[2] = NodeResult{NodeID: "b", Requests: 2, Complete: true} // it was restarted
	if got := r.whose().Text; got != "all figures are totals of 2 nodes" {
		t.Errorf("%q", got)
	}
	r.Nodes[1] = NodeResult{NodeID: "b", Reason: "it was lost and has reported nothing"} // its first process
	if got := r.whose(); got.Text != "all figures are totals of 2 nodes" || got.Tone != ToneNone {
		t.Errorf("%+v", got)
	}
}

func TestRunsThatEndedEarlyTogetherSaySo(t *testing.T) {
	a, b := &Summary{RunID: "r", StoppedBy: "stop", StoppedAfter: 5}, &Summary{RunID: "r", StoppedBy: "stop", StoppedAfter: 7}
	if m, err := Merge(a, b); err != nil || m.StoppedBy != "stop" || m.StoppedAfter != 7 {
		t.Errorf("%v, %q after %v", err, m.StoppedBy, m.StoppedAfter)
	}
	if m, err := Merge(a, &Summary{RunID: "r"}, b); err != nil || m.StoppedBy != "" || m.StoppedAfter != 0 {
		t.Errorf("%v, %q after %v, want nothing: one of them went on", err, m.StoppedBy, m.StoppedAfter)
	}
}
