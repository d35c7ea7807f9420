package stats_test

import (
	"testing"

	"volley/stats"
)

// Starts are as far apart as the latest and the earliest, give or take what is
// not known of two clocks; who has started nothing is left out, and so are runs
// one after the other.
func TestHowFarApartStartsAre(t *testing.T) {
	ms := func(v float64) *float64 { return &v }
	nodes := []stats.NodeResult{
		{NodeID: "a", StartSkewMs: ms(0.5), ClockBoundMs: 1}, {NodeID: "b", StartSkewMs: ms(-0.25), ClockBoundMs: 1.5}, {NodeID: "c", ClockBoundMs: 9},
	}
	for name, c := range map[string]struct {
		nodes  []stats.NodeResult
		spread *float64
		bound  float64
	}{
		"two of three": {nodes, ms(0.75), 3},
		"one":          {nodes[:1], nil, 0},
		"two runs":     {[]stats.NodeResult{{NodeID: "a", RunID: "1", StartSkewMs: ms(1)}, {NodeID: "a", RunID: "2", StartSkewMs: ms(2)}}, nil, 0},
	} {
		r, err := stats.NewResult(&stats.Summary{}, stats.ScopeCluster, c.nodes)
		if err != nil {
			t.Fatal(err)
		}
		if (r.StartSpreadMs == nil) != (c.spread == nil) || c.spread != nil && *r.StartSpreadMs != *c.spread || r.StartSpreadBoundMs != c.bound {
			t.Errorf("%s: %v ±%v, want %v ±%v", name, r.StartSpreadMs, r.StartSpreadBoundMs, c.spread, c.bound)
		}
	}
}

// Whether the load was right nobody knows where each node has started when it was ready.
func TestNodesWithoutACommonStartAreNoWholeLoad(t *testing.T) {
	skew := 0.1
	for bound, want := range map[float64]string{0: "Not known", 2: "Yes"} {
		var parts []*stats.Result
		for _, id := range []string{"a", "b"} {
			line := stats.NodeResult{NodeID: id, Complete: true, StartSkewMs: &skew, ClockBoundMs: bound}
			r, err := stats.NewResult(&stats.Summary{RunID: "r", NodeID: id, Started: 1}, stats.ScopeNode, []stats.NodeResult{line})
			if err != nil {
				t.Fatal(err)
			}
			parts = append(parts, r)
		}
		r, err := stats.MergeResults(parts...)
		if err != nil {
			t.Fatal(err)
		}
		r.Due, r.Started = 1, 1
		if a := r.Answers()[1]; a.Answer != want || (r.StartSpreadMs == nil) != (bound == 0) {
			t.Errorf("clocks compared to %v ms: %q, want %q: %s; starts %v apart", bound, a.Answer, want, a.Because, r.StartSpreadMs)
		}
	}
}

// A job's report says how many of its tasks it has.
func TestAJobsReportMissesItsTasks(t *testing.T) {
	part := func(id string) *stats.Result {
		r, err := stats.NewResult(&stats.Summary{RunID: "r", NodeID: id}, stats.ScopeNode, []stats.NodeResult{{NodeID: id, Complete: true, ClockBoundMs: 1}})
		if err != nil {
			t.Fatal(err)
		}
		r.Tasks = 2
		return r
	}
	for want, parts := range map[string][]*stats.Result{"Not all of it is known": {part("a")}, "Yes": {part("a"), part("b")}} {
		r, err := stats.MergeResults(parts...)
		if err != nil {
			t.Fatal(err)
		}
		r.Due, r.Started = 1, 1
		if a := r.Answers()[1]; a.Answer != want || r.Tasks != 2 {
			t.Errorf("%d of %d tasks: %q, want %q: %s", len(parts), r.Tasks, a.Answer, want, a.Because)
		}
	}
}

// Each part of a run tells of its own node who came late; together they are one
// history, which begins with the start.
func TestMergedResultsHaveTheSharesOfAll(t *testing.T) {
	part := func(id string, shares ...stats.ShareResult) *stats.Result {
		r, err := stats.NewResult(&stats.Summary{RunID: "r", NodeID: id, ConfigVersion: "v"}, stats.ScopeNode, nil)
		if err != nil {
			t.Fatal(err)
		}
		r.Shares = shares
		return r
	}
	start := stats.ShareResult{Nodes: []stats.NodeShare{{NodeID: "a", Share: 0.5}, {NodeID: "b", Share: 0.5}}}
	merged, err := stats.MergeResults(part("a"), part("b", start, stats.ShareResult{AtS: 9, Cause: "b is lost", Unsent: 7}), part("c", start, stats.ShareResult{AtS: 2, Cause: "c has come late", Unsent: 3}))
	if err != nil {
		t.Fatal(err)
	}
	if s := merged.Shares; len(s) != 3 || len(s[0].Nodes) != 2 || s[1].Unsent != 3 || s[2].Unsent != 7 {
		t.Errorf("%+v", s)
	}
}
