package main

import (
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"volley/node"
	"volley/stats"
)

// mergedChecks adds one for each metric that a leader shows of all nodes: after
// the run it equals the sum over the nodes' own, and no follower shows it.
func mergedChecks(checks map[string]func() error, names []string, leader, follower series) {
	for _, name := range names {
		own, ok := strings.CutPrefix(name, "cluster_")
		if !ok || checks[own] == nil {
			continue
		}
		checks[name] = func() error {
			got, want := leader.sum(name), leader.sum(own)+follower.sum(own)
			// The plan of the cluster asks for no phases, nothing fails, and nothing goes on after the run.
			if idle := own == "request_phase_seconds" || own == "concurrent_requests" || own == "request_errors_by_category"; got != want || (want == 0) != idle {
				return fmt.Errorf("%v, the nodes' sum %v", got, want)
			}
			if follower.has(name) {
				return fmt.Errorf("on a follower: %v", follower.sum(name))
			}
			return nil
		}
	}
}

// What all have told is merged once a second at most; of a run that is over it is
// shown only by the node that has judged it.
func TestWholeIsMergedOnceASecond(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := &results{}
		told := func(requests int64, going bool) node.Outcome {
			body, err := (&stats.Summary{RunID: "r", NodeID: "a", Planned: time.Minute, Requests: requests}).Encode()
			if err != nil {
				t.Fatal(err)
			}
			a := node.Member{ServerID: "a-1", NodeID: "a"}
			return node.Outcome{Run: node.Run{ID: "r", Participants: []node.Member{a}}, Going: going, Reports: []node.Report{{RunID: "r", Of: a, Summary: body}}}
		}
		want := func(when string, o node.Outcome, leads bool, requests int64) {
			t.Helper()
			switch got := r.ofAll(o, leads); {
			case got == nil && requests == 0:
			case got == nil || got.Requests != requests:
				t.Errorf("%s: %+v, want %d requests (0: nothing)", when, got, requests)
			}
		}
		over := func(run string) node.Outcome { return node.Outcome{Run: node.Run{ID: run}} }
		want("as a follower", told(5, true), false, 0)
		want("before anything was told", node.Outcome{Run: node.Run{ID: "r"}, Going: true}, true, 0)
		want("at first", told(5, true), true, 5)
		want("at once again", told(9, true), true, 5)
		<-time.After(mergeEvery)
		want("a second later", told(9, true), true, 9)
		want("when another leader has judged the run", over("r"), true, 0)
		merged, _, _, err := merge(told(20, false), readAll)
		if err != nil {
			t.Fatal(err)
		}
		r.whole.keep(told(20, false), merged)
		<-time.After(time.Hour)
		want("after the verdict", over("r"), true, 20)
		r.whole.keep(told(9, true), merged) // by who had begun to merge before it
		want("after a late look at the run", over("r"), true, 20)
		r.whole.keep(node.Outcome{Run: node.Run{ID: "r-2"}, Going: true}, merged)
		want("when another run goes", over("r"), true, 0)
		r.whole.keep(told(20, false), merged)
		want("when another run was judged since", over("r-2"), true, 0)
		want("before any run", over(""), true, 0)
	})
}
