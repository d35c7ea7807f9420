package stats

import (
	"bytes"
	"encoding/json"
	"flag"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/HdrHistogram/hdrhistogram-go"
)

var update = flag.Bool("update", false, "write the golden files instead of comparing with them")

// golden compares with testdata/name.
func golden(t *testing.T, name string, got []byte) {
	t.Helper()
	file := filepath.Join("testdata", name)
	if *update {
		if err := os.WriteFile(file, got, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, want) {
		t.Errorf("%s differs (go test ./stats -update writes it):\n--- got\n%s\n--- want\n%s", name, got, want)
	}
}

// nodeSummary is a node of the golden run: n arrivals, one in ten fails, the
// last ones are dropped.
func nodeSummary(id string, n, dropped int) *Summary {
	r := NewRecorder(Layout{Steps: []StepKey{{"checkout", "Log in"}, {"checkout", "Pay"}}}, 2)
	sh := r.Shard(0)
	for i := range n {
		due := time.Duration(i) * 10 * millisecond
		sh.Arrived(Arrival{Due: due, Sent: due + 300*time.Microsecond + time.Duration(i%20/19)*time.Second, WorkerFree: i%20 != 19})
		for step := range 2 {
			sm := Sample{Step: step, At: due, Latency: time.Duration(i+step+1) * millisecond, Service: time.Duration(i+1) * 100 * time.Microsecond,
				Status: 200, Complete: true, NewConn: i == 0 && step == 0, BytesIn: 1500, BytesOut: 120}
			if i%10 == 9 && step == 1 {
				sm.Status, sm.Kind = 503, ErrServer
			}
			sh.Request(sm)
		}
		sh.Iteration(Iteration{Step: 0, Duration: time.Duration(i+2) * millisecond, Outcome: Outcome(i % 10 / 9)})
	}
	sh.Dropped(int64(dropped))
	s := r.Summary()
	s.RunID, s.ConfigVersion, s.NodeID = "r-1", "sha256:0123abcd", id
	s.StartedAt = time.Date(2026, 1, 2, 3, 4, 5, 6_000_000, time.UTC)
	s.Elapsed, s.Planned, s.Ended = 11*time.Second, 10*time.Second, true
	s.Target, s.Workers = float64(n+dropped), 5
	s.Generator.CPUPct, s.Generator.GCPauseP99 = 34.5, 80*time.Microsecond
	return s
}

func clusterResult(t *testing.T) *Result {
	t.Helper()
	a, b, c := nodeSummary("a", 100, 0), nodeSummary("b", 100, 0), nodeSummary("c", 60, 40)
	c.Ended, c.Generator.CPUPct = false, 88
	merged, err := Merge(a, b, c)
	if err != nil {
		t.Fatal(err)
	}
	lost := c.Node(-2500 * time.Microsecond)
	lost.Reason = "lost 6 s after the start"
	r, err := NewResult(merged, ScopeCluster, []NodeResult{a.Node(0), b.Node(120 * time.Microsecond), lost})
	if err != nil {
		t.Fatal(err)
	}
	r.Plan = "shop"
	return r
}

func TestClusterResultGolden(t *testing.T) {
	r := clusterResult(t)
	// The bytes of a compressed histogram are the Go version's choice; what
	// they hold is TestResultFigures' business.
	compressed := regexp.MustCompile(`"histogram": "[A-Za-z0-9+/=]+"`)
	for name, write := range map[string]func(*bytes.Buffer) error{
		"cluster.json":   func(b *bytes.Buffer) error { return r.WriteJSON(b) },
		"cluster.txt":    func(b *bytes.Buffer) error { return r.WriteText(b, false) },
		"cluster.colour": func(b *bytes.Buffer) error { return r.WriteText(b, true) },
	} {
		var out bytes.Buffer
		if err := write(&out); err != nil {
			t.Fatal(err)
		}
		golden(t, name, compressed.ReplaceAll(out.Bytes(), []byte(`"histogram": "..."`)))
	}
}

func TestEmptyResultGolden(t *testing.T) {
	r, err := NewResult(&Summary{RunID: "r-2", NodeID: "a", Closed: true, Failure: "no plan"}, ScopeNode, nil)
	if err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	if err := r.WriteText(&out, false); err != nil {
		t.Fatal(err)
	}
	golden(t, "empty.txt", out.Bytes())
	if r.Latency.P50 != nil || r.Latency.Min != nil || r.Target.Iterations != nil || r.Nodes[0].StartSkewMs != nil {
		t.Errorf("latency %+v, target %+v, node %+v, want null for what does not exist", r.Latency, r.Target, r.Nodes[0])
	}
}

// A lost or live node has iterations whose end is not known.
func TestUnfinishedIterationsCountAsInterrupted(t *testing.T) {
	r, err := NewResult(&Summary{Started: 10, Dropped: 3, Completed: 6, Interrupted: 1}, ScopeNode, nil)
	if err != nil {
		t.Fatal(err)
	}
	if r.Due != 13 || r.Started != 10 || r.Completed != 6 || r.Interrupted != 4 {
		t.Errorf("due %d, started %d, completed %d, interrupted %d, want 13, 10, 6, 4", r.Due, r.Started, r.Completed, r.Interrupted)
	}
}

// The names of contract section 5, each of which must be there in every result.
func TestResultHasEveryName(t *testing.T) {
	var out bytes.Buffer
	if err := clusterResult(t).WriteJSON(&out); err != nil {
		t.Fatal(err)
	}
	var got map[string]any
	if err := json.Unmarshal(out.Bytes(), &got); err != nil {
		t.Fatal(err)
	}
	for object, names := range map[string]string{
		"": `schema run_id plan config_version scope nodes started_at duration_s due started completed interrupted dropped requests
			retried iterations rps target late_starts errors status_codes bytes_in bytes_out connections latency_ms
			service_time_ms latency_ok_ms iteration_ms steps scenarios series slowest thresholds generator start_spread_ms`,
		"target":          "iterations rate_error_pct",
		"late_starts":     "no_worker catch_up generator",
		"errors":          "timeout network tls client_error server_error assertion other generator",
		"connections":     "new reused reconnects",
		"latency_ms":      "min mean p50 p90 p95 p99 p99_9 max histogram",
		"service_time_ms": "min mean p50 p90 p95 p99 p99_9 max histogram",
		"generator":       "cpu_pct throttled_pct gc_pause_p99_ms schedule_lag_p50_ms schedule_lag_p99_ms verdict reasons", // the last where it is not ok
	} {
		fields := got
		if object != "" {
			fields = got[object].(map[string]any)
		}
		for _, name := range strings.Fields(names) {
			if _, ok := fields[name]; !ok {
				t.Errorf("%s %q is missing", object, name)
			}
		}
		if n := len(strings.Fields(names)); n != len(fields) {
			t.Errorf("%q has %d names, the contract %d", object, len(fields), n)
		}
	}
	node := got["nodes"].([]any)[0].(map[string]any)
	if node["node_id"] != "a" || node["start_skew_ms"] != 0.3 || node["requests"] != 200.0 || node["complete"] != true {
		t.Errorf("node %v, want a with 0.3 ms, 200 requests, complete", node)
	}
	if items, ok := got["thresholds"].([]any); !ok || len(items) != 0 {
		t.Errorf("thresholds is %v, want []", got["thresholds"])
	}
	point := got["series"].([]any)[0].(map[string]any)
	for _, name := range strings.Fields("t target started late dropped errors p50 p95 p99 max workers schedule_lag_p99 cpu_pct") {
		if _, ok := point[name]; !ok {
			t.Errorf("series %q is missing", name)
		}
	}
	slow := got["slowest"].([]any)[0].(map[string]any)
	for _, name := range strings.Fields("t ms step status node_id connection") {
		if _, ok := slow[name]; !ok {
			t.Errorf("slowest %q is missing", name)
		}
	}
}

func TestResultFigures(t *testing.T) {
	r := clusterResult(t)
	if r.Due != 300 || r.Started != 260 || r.Dropped != 40 || r.Completed != 260 || r.Requests != 520 || r.Iterations != 260 {
		t.Errorf("due %d, started %d, dropped %d, completed %d, requests %d, iterations %d, want 300 260 40 260 520 260",
			r.Due, r.Started, r.Dropped, r.Completed, r.Requests, r.Iterations)
	}
	if r.RPS != 52 || *r.Target.Iterations != 300 || *r.Target.RateErrorPct != -13.333 {
		t.Errorf("rps %v, target %d with %v %% error, want 52 over the planned 10 s, 300, -13.333", r.RPS, *r.Target.Iterations, *r.Target.RateErrorPct)
	}
	// 520 samples and 40 dropped: p95 is rank 532, p90 rank 504.
	if r.Latency.P95 != nil || r.Latency.P90 == nil || r.ServiceTime.P99 == nil {
		t.Errorf("latency p95 %v, p90 %v, service p99 %v, want only the first null", r.Latency.P95, r.Latency.P90, r.ServiceTime.P99)
	}
	if r.Errors.ServerError != 26 || r.Errors.Total() != 26 || r.StatusCodes["503"] != 26 || r.StatusCodes["200"] != 494 {
		t.Errorf("errors %+v, status codes %v, want 26 of 503 and 494 of 200", r.Errors, r.StatusCodes)
	}
	read, err := hdrhistogram.Decode([]byte(r.Latency.Histogram))
	if err != nil || read.TotalCount() != 520 {
		t.Errorf("latency histogram of %v samples, %v, want 520", read, err)
	}
	if r.Generator.Verdict != VerdictStrained || r.Generator.CPUPct != 88 {
		t.Errorf("generator %+v, want strained by the worst node's 88 %%", r.Generator)
	}
}

func TestVerdict(t *testing.T) {
	for _, c := range []struct {
		g      Generator
		errors int64
		want   Verdict
	}{
		{Generator{}, 0, VerdictOK},
		{Generator{CPUPct: 80, ThrottledPct: 1, ScheduleLagP99: millisecond, WakeupP99: millisecond}, 0, VerdictOK},
		{Generator{CPUPct: 80.1}, 0, VerdictStrained},
		{Generator{ThrottledPct: 1.1}, 0, VerdictStrained},
		{Generator{ScheduleLagP99: millisecond + 1}, 0, VerdictStrained},
		{Generator{WakeupP99: millisecond + 1}, 0, VerdictStrained},
		{Generator{CPUPct: 95, ThrottledPct: 10, ScheduleLagP99: 10 * millisecond, WakeupP99: 10 * millisecond}, 0, VerdictStrained},
		{Generator{CPUPct: 95.1}, 0, VerdictSaturated},
		{Generator{ThrottledPct: 10.1}, 0, VerdictSaturated},
		{Generator{ScheduleLagP99: 11 * millisecond}, 0, VerdictSaturated},
		{Generator{WakeupP99: 11 * millisecond}, 0, VerdictSaturated},
		{Generator{ClockJump: 1500 * millisecond}, 0, VerdictSaturated},
		{Generator{GCPauseP99: time.Second}, 0, VerdictOK},
		{Generator{}, 1, VerdictSaturated},
	} {
		s := Summary{Generator: c.g}
		s.Errors[ErrGenerator] = c.errors
		got, reasons := s.verdict()
		if got != c.want || got != s.Verdict() {
			t.Errorf("verdict of %+v with %d generator errors = %s, want %s", c.g, c.errors, got, c.want)
		}
		if (got == VerdictOK) != (len(reasons) == 0) {
			t.Errorf("verdict %s of %+v for reasons %q", got, c.g, reasons)
		}
	}
}

// What a plan or another node names must not steer the terminal or break the
// table.
func TestTextIsSafe(t *testing.T) {
	r := clusterResult(t)
	r.Plan = "x\x1b[2Jy"
	r.Nodes[0].NodeID = "n\nfake line"
	r.Steps[0].Step = strings.Repeat("é", 60)
	var out bytes.Buffer
	if err := r.WriteText(&out, false); err != nil {
		t.Fatal(err)
	}
	text := out.String()
	if strings.Contains(text, "\x1b") || strings.Contains(text, "\nfake") {
		t.Errorf("control characters reach the terminal:\n%q", text)
	}
	if !strings.Contains(text, "checkout / "+strings.Repeat("é", 28)+"…") || strings.Contains(text, strings.Repeat("é", 40)) {
		t.Errorf("a long step name is not cut at 40:\n%s", text)
	}
}

// A report with everything long in it fits a terminal.
func TestTextFitsATerminal(t *testing.T) {
	a, b := nodeSummary("a", 90, 30), nodeSummary("b", 90, 30)
	for _, s := range []*Summary{a, b} {
		for i := range s.Steps {
			s.Steps[i].Scenario, s.Steps[i].Step = strings.Repeat("scenario", 20), strings.Repeat("step", i+20)
		}
		for i := range s.Slowest {
			s.Slowest[i].Scenario, s.Slowest[i].Step = strings.Repeat("scenario", 20), strings.Repeat("step", 20)
		}
		s.NodeID = strings.Repeat(s.NodeID, 60)
		s.Scenarios[0].Name = strings.Repeat("scenario", 20)
		s.Scenarios = append(s.Scenarios, s.Scenarios[0])
		s.Scenarios[1].Name = "other"
		s.ErrorExamples[ErrServer] = strings.Repeat("GET http://example.com/", 30)
		s.UnresolvedVariables, s.ExtractionsFailed = 4, 5
		s.Stages = []StageStats{{
			Stage:  Stage{To: 83*time.Minute + 20*time.Second, FromRate: 10000, ToRate: 20000},
			Target: 7_500_000, Started: 4_500_000, Late: 4_000_000, Dropped: 1000, Requests: 4_500_000, Errors: 1234567, Latency: s.Latency,
		}}
	}
	merged, err := Merge(a, b)
	if err != nil {
		t.Fatal(err)
	}
	r, err := NewResult(merged, ScopeCluster, []NodeResult{a.Node(0), b.Node(0)})
	if err != nil {
		t.Fatal(err)
	}
	r.Thresholds = []ThresholdResult{{Expr: "step(" + strings.Repeat("x", 80) + ").p95 < 1s over last 10s"}}
	var out bytes.Buffer
	if err := r.WriteText(&out, false); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{
		"variables    8 uses of what nothing had set, 10 not found in responses\n", "server_error, such as GET http",
		"other                                180      18            0        18.0  46.5",
	} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("no %q in\n%s", want, &out)
		}
	}
	for line := range strings.Lines(out.String()) {
		if n := utf8.RuneCountInString(strings.TrimSuffix(line, "\n")); n > 120 {
			t.Errorf("%d columns: %s", n, line)
		}
	}
}

// A run whose think times were not the plan's says so, node by node if they differ.
func TestTextMarksScaledThinkTimes(t *testing.T) {
	text := func(scales ...float64) string {
		var summaries []*Summary
		var nodes []NodeResult
		for i, scale := range scales {
			s := nodeSummary(string(rune('a'+i)), 3, 0)
			s.ThinkTimeScale, s.Scaled = scale, scale != 1
			summaries, nodes = append(summaries, s), append(nodes, s.Node(0))
		}
		merged, err := Merge(summaries...)
		if err != nil {
			t.Fatal(err)
		}
		r, err := NewResult(merged, ScopeCluster, nodes)
		if err != nil {
			t.Fatal(err)
		}
		var out bytes.Buffer
		if err := r.WriteText(&out, false); err != nil {
			t.Fatal(err)
		}
		return out.String()
	}
	for want, scales := range map[string][]float64{
		"multiplied by 0 (THINK_TIME_SCALE)":                 {0, 0},
		"multiplied by 0.01 (THINK_TIME_SCALE)":              {0.01},
		"multiplied by 0.01 on a, 1 on b (THINK_TIME_SCALE)": {0.01, 1},
		"multiplied by 1 on a, 0.5 on b (THINK_TIME_SCALE)":  {1, 0.5},
	} {
		if got := text(scales...); !strings.Contains(got, want) {
			t.Errorf("scales %v: no %q in\n%s", scales, want, got)
		}
	}
	if got := text(1, 1); strings.Contains(got, "THINK_TIME_SCALE") {
		t.Errorf("think times as planned are marked:\n%s", got)
	}
}
