package main

import (
	"testing"

	"volley/plan"
)

func TestInWords(t *testing.T) {
	const head = `version: "1.0"
config: {baseUrl: "http://h", workers: 4, duration: 10s}
scenarios: [{name: s, steps: [{name: get, request: {method: GET, path: /}}]}]
load: `
	for _, tt := range []struct {
		load  string
		nodes int
		want  string
	}{
		{"{model: concurrent}", 3, "each node runs 4 workers for 10s, concurrent; 3 nodes: 12 workers in all"},
		{"{model: rps, target: 50, maxWorkers: 9}", 3, "each node runs 4 to 9 workers for 10s, rps at 50 iterations/s; 3 nodes: 150 iterations/s in all; the curve needs at least 3 workers (50/s × (0s think time + 50ms))"},
		{"{model: rps, target: 50, scope: cluster}", 3, "all nodes together run 4 workers for 10s, rps at 50 iterations/s; 3 nodes: 50 iterations/s in all; the curve needs at least 3 workers (50/s × (0s think time + 50ms))"},
		{"{model: ramp, min: 10, max: 60, rampDuration: 10s, unit: requests, iterations: 7}", 2, "each node runs 4 workers for 10s, ramp from 10 to 60 requests/s, at most 7 iterations; 2 nodes: up to 120 requests/s in all; the curve needs at least 3 workers (60/s × (0s think time + 50ms))"},
		{"{model: stages, stages: [{duration: 10s, target: 40}]}", 1, "each node runs 4 workers for 10s, stages up to 40 iterations/s; 1 node: up to 40 iterations/s in all; the curve needs at least 2 workers (40/s × (0s think time + 50ms))"},
		{"{model: stages, unit: workers, stages: [{duration: 5s, target: 40}, {duration: 5s, target: 3}]}", 2, "each node runs up to 40 workers for 10s, stages; 2 nodes: 80 workers in all"},
	} {
		p, _, err := plan.Parse([]byte(head + tt.load + "\n"))
		if err != nil {
			t.Errorf("%s: %v", tt.load, err)
			continue
		}
		if got := inWords(p, 1, tt.nodes); got != tt.want {
			t.Errorf("%s on %d:\n%s, want\n%s", tt.load, tt.nodes, got, tt.want)
		}
	}
}
