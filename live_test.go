package main

import (
	"reflect"
	"strings"
	"testing"
	"time"

	"volley/node"
	"volley/page"
	"volley/plan"
)

const steepening = `version: "1.0"
config: {baseUrl: "http://127.0.0.1:1", workers: 10}
load: {model: stages, scope: SCOPE, stages: [{duration: 10s, target: 60}, {duration: 5s, target: 60}]}
scenarios: [{name: s, steps: [{name: a, request: {method: GET, path: /}}]}]
`

// The curve is that of all nodes that take part now, and is made anew when others do.
func TestViewHasTheCurveOfAllNodes(t *testing.T) {
	members := func(n int) []node.Member { return make([]node.Member, n) }
	var drawn drawing
	state := func(scope string, run *node.Run) *node.State {
		document := []byte(strings.Replace(steepening, "SCOPE", scope, 1))
		run.Version, run.Duration = plan.Version(document), 15*time.Second
		return &node.State{Current: run, Configs: map[string]node.Config{run.Version: {Version: run.Version, Document: document}}}
	}
	for _, test := range []struct {
		name string
		s    *node.State
		most float64
	}{
		{"each of three the whole load", state("node", &node.Run{ID: "r1", Participants: members(3)}), 180},
		{"one of them is lost", state("node", &node.Run{ID: "r1", Participants: members(3), Divisions: []node.Division{{Members: members(3)}, {Members: members(2)}}}), 120},
		{"three together", state("cluster", &node.Run{ID: "r2", Participants: members(3)}), 60},
	} {
		var v page.View
		drawn.describe(&v, test.s)
		want := [][2]float64{{0, 0}, {10, test.most}, {10, test.most}, {15, test.most}}
		if v.CurveOf != page.CurveRate || !reflect.DeepEqual(v.Curve, want) {
			t.Errorf("%s: %v of %q, want %v", test.name, v.Curve, v.CurveOf, want)
		}
	}
	var v page.View
	drawn.describe(&v, &node.State{})
	if v.Curve != nil {
		t.Errorf("without a run: %v", v.Curve)
	}
}
