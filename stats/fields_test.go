package stats

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
)

// A log line has every figure of the report, no blobs, and an end.
func TestFieldsOfALogLine(t *testing.T) {
	r := clusterResult(t)
	for i := range 400 {
		r.Steps = append(r.Steps, r.Steps[0])
		r.Steps[len(r.Steps)-1].Step = fmt.Sprint("step ", i)
		r.Nodes = append(r.Nodes, r.Nodes[0])
	}
	fields, err := r.Fields()
	if err != nil {
		t.Fatal(err)
	}
	line, err := json.Marshal(fields)
	if err != nil {
		t.Fatal(err)
	}
	if len(line) > 128<<10 || strings.Contains(string(line), "histogram") || strings.Contains(string(line), "series") || strings.Contains(string(line), "over_time") {
		t.Errorf("%d bytes:\n%.2000s", len(line), line)
	}
	var got struct {
		Started int64
		Steps   []StepResult
		Left    int         `json:"steps_left_out"`
		Nodes   int         `json:"nodes_left_out"`
		Latency Percentiles `json:"latency_ms"`
		Slowest []SlowRequest
	}
	if err := json.Unmarshal(line, &got); err != nil {
		t.Fatal(err)
	}
	if got.Started != 260 || len(got.Steps) != 100 || got.Left != 302 || got.Nodes != 303 || got.Latency.P90 == nil || len(got.Slowest) != 20 {
		t.Errorf("started %d, %d steps and %d left out, %d nodes left out, p90 %v, %d slowest, want 260, 100, 302, 303, a figure, 20",
			got.Started, len(got.Steps), got.Left, got.Nodes, got.Latency.P90, len(got.Slowest))
	}
	if len(r.Steps) != 402 || r.Latency.Histogram == "" {
		t.Error("the result itself has lost something")
	}
}
