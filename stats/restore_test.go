package stats

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	"volley/plan"
)

// What a file says of a run comes back whole, whatever it holds.
func TestASingleFileLosesNothing(t *testing.T) {
	s := fullSummary()
	s.NoHistograms = false
	one := written(t, s, ScopeNode, "p50 < 1s", "step(one).p50 < 1s over last 2s")
	one.Plan, one.Tasks, one.Part = "nightly", 2, true
	one.Shares = []ShareResult{{Cause: "start"}}
	one.LastInterval = &IntervalResult{FromS: 1, ToS: 2, Requests: 3}
	got, err := MergeResults(one)
	if err != nil {
		t.Fatal(err)
	}
	want, err := json.MarshalIndent(one, "", " ")
	if err != nil {
		t.Fatal(err)
	}
	if text, err := json.MarshalIndent(got, "", " "); err != nil || string(text) != string(want) {
		a, b := strings.Split(string(text), "\n"), strings.Split(string(want), "\n")
		for i := range min(len(a), len(b)) {
			if a[i] != b[i] {
				t.Fatalf("line %d is\n%.200s\nwant\n%.200s", i, a[i], b[i])
			}
		}
		t.Errorf("%d lines, want %d, %v", len(a), len(b), err)
	}
}

// windows of the run of these tests, which each of three nodes alone would judge the
// other way round.
const (
	tooMany = "step(buy).errors < 20 over last 5s"
	enough  = "scenario(shop).rps > 80 over last 5s"
)

// partOf is a node's part of the run of these tests, which records what belongs
// to it: sample i belongs to node i modulo the number of nodes.
func partOf(t *testing.T, node, nodes int) *Summary {
	t.Helper()
	r := NewRecorder(Layout{
		Steps: []StepKey{{"shop", "browse"}, {"shop", "buy"}}, Duration: 20 * time.Second,
		Stages: []Stage{{To: 5 * time.Second, ToRate: 10}, {From: 5 * time.Second, To: 20 * time.Second, FromRate: 10, ToRate: 10}},
		Judged: []plan.Threshold{{Expr: "step(buy).p95 < 1s over last 3s"}, {Expr: tooMany}, {Expr: enough}},
	}, 2)
	for i := range 2000 {
		if i%nodes != node && nodes > 1 {
			continue
		}
		sh, at := r.Shard(i), time.Duration(i)*10*millisecond
		sh.Arrived(Arrival{Due: at, Sent: at + time.Duration(i%7)*300*time.Microsecond, WorkerFree: i%3 > 0})
		sm := Sample{Step: i % 2, At: at, Service: time.Duration(1+i%97) * millisecond, Status: 200, Complete: true,
			NewConn: i < 6, BytesIn: 10, BytesOut: 5, AssertionsPassed: 2, Phases: &Phases{FirstByte: millisecond}}
		sm.Latency = sm.Service + time.Duration(i%5)*millisecond
		if i%20 == 19 {
			sm.Status, sm.Kind, sm.AssertionsFailed = 503, ErrServer, 1
			sh.Example(ErrServer, "GET http://h/: 503")
		}
		sh.Request(sm)
		sh.Iteration(Iteration{Step: i % 2, Duration: sm.Latency})
		if i%50 == 0 {
			sh.Drop(Drop{Due: at, At: at, N: 1, Cause: DropThinking})
		}
	}
	s := r.Summary()
	s.RunID, s.ConfigVersion, s.NodeID = "r-7", "sha256:7", fmt.Sprint("n", node)
	s.StartedAt = time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	s.Elapsed, s.Planned, s.Ended = 21*time.Second, 20*time.Second, true
	s.Target = float64(s.Due())
	return s
}

// written is the result of a summary, through its JSON.
func written(t *testing.T, s *Summary, scope Scope, exprs ...string) *Result {
	t.Helper()
	res, err := NewResult(s, scope, nil)
	if err != nil {
		t.Fatal(err)
	}
	var thresholds []plan.Threshold
	for _, e := range exprs {
		thresholds = append(thresholds, plan.Threshold{Expr: e})
	}
	res.Thresholds = NewJudge(thresholds).Result(s)
	return reread(t, res)
}

func reread(t *testing.T, res *Result) *Result {
	t.Helper()
	var out bytes.Buffer
	if err := res.WriteJSON(&out); err != nil {
		t.Fatal(err)
	}
	back, err := ReadResult(&out)
	if err != nil {
		t.Fatal(err)
	}
	return back
}

// Three nodes' files merged are, but for who the nodes are, the file of one
// node that saw everything.
func TestMergedFilesEqualOneRun(t *testing.T) {
	exprs := []string{"p95 < 90ms", "p99 < 1s", "error_rate < 5%", "step(buy).p50 < 1s", "step(buy).ok.p99 < 1s",
		"scenario(shop).iteration.p90 < 1s", "assertion_rate > 97%", "rps > 99", "iterations > 98%", "errors < 30 over last 5s",
		"step(buy).p95 < 90ms over last 3s", tooMany, enough}
	var parts []*Result
	for n := range 3 {
		parts = append(parts, written(t, partOf(t, n, 3), ScopeNode, exprs...))
	}
	got, err := MergeResults(parts...)
	if err != nil {
		t.Fatal(err)
	}
	want := written(t, partOf(t, 0, 1), ScopeCluster, exprs...)
	if len(got.Nodes) != 3 || got.Nodes[1].NodeID != "n1" || got.Nodes[1].Requests != 667 {
		t.Errorf("nodes %+v, want n0, n1, n2 with their requests", got.Nodes)
	}
	got = reread(t, got)
	got.Nodes, want.Nodes = nil, nil
	for i := range want.Slowest {
		got.Slowest[i].NodeID, want.Slowest[i].NodeID = "", ""
	}
	for i := range want.Stages { // each node had the same curve
		want.Stages[i].FromRate, want.Stages[i].ToRate = 3*want.Stages[i].FromRate, 3*want.Stages[i].ToRate
	}
	// A mean of means is exact to the nanosecond that a file rounds it to.
	for _, r := range []*Result{got, want} {
		for _, p := range []*Percentiles{&r.Latency, &r.ServiceTime, &r.LatencyOK, &r.Iteration} {
			p.Mean = msOf(fromMillis(*p.Mean).Round(10 * time.Nanosecond))
		}
	}
	a, b := byField(t, got), byField(t, want)
	for name := range b {
		if string(a[name]) != string(b[name]) {
			t.Errorf("%s is\n%.4000s\nwant\n%.4000s", name, a[name], b[name])
		}
	}
}

// byField is the JSON by field, without the means inside lists.
func byField(t *testing.T, r *Result) map[string]json.RawMessage {
	t.Helper()
	for i := range r.Steps {
		r.Steps[i].Latency.Mean, r.Steps[i].ServiceTime.Mean = nil, nil
		if f := r.Steps[i].LatencyFailed; f != nil {
			f.Mean = nil
		}
	}
	for i := range r.Scenarios {
		r.Scenarios[i].Iteration.Mean = nil
	}
	for i := range r.Stages {
		r.Stages[i].Latency.Mean = nil
	}
	r.Generator.ScheduleLagP50Ms, r.Generator.ScheduleLagP99Ms = 0, 0 // the worst node's, not that of all starts
	data, err := json.Marshal(r)
	if err != nil {
		t.Fatal(err)
	}
	out := map[string]json.RawMessage{}
	if err := json.Unmarshal(data, &out); err != nil {
		t.Fatal(err)
	}
	return out
}

func TestMergedThresholds(t *testing.T) {
	a, b := written(t, partOf(t, 0, 2), ScopeNode), written(t, partOf(t, 1, 2), ScopeNode)
	value, at := 7.0, 4.0
	const window, untold, errors = "step(buy).p95 < 5ms over last 3s", "ok.p50 < 1s over last 3s", "errors < 60"
	a.Thresholds = []ThresholdResult{{Expr: errors, OK: true}, {Expr: window, OK: true}, {Expr: untold, OK: true, Value: &value}}
	b.Thresholds = []ThresholdResult{{Expr: errors, OK: true}, {Expr: window, Value: &value, FailedAtS: &at}, {Expr: untold, OK: true}}
	m, err := MergeResults(a, b)
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, row := range m.Thresholds {
		got = append(got, row.Expr+": "+show(row))
	}
	// Each node had fewer than 60 errors, both together 100, the 60th at 11.99 s, answered in second 12. Nobody
	// has told of the ok ones over time: what one node says of its own is no verdict on all.
	want := errors + ": 100 false 13 100, " + window + ": 94.044159 false 3 100, " + untold + ": - false - -"
	if strings.Join(got, ", ") != want {
		t.Errorf("%s, want %s", strings.Join(got, ", "), want)
	}
	single, err := MergeResults(b)
	if err != nil || show(single.Thresholds[1]) != "7 false 4 -" || single.Scope != ScopeNode {
		t.Errorf("a single result has %v, scope %s (%v), want its own verdicts", single.Thresholds, single.Scope, err)
	}
}

// Merging some results first changes nothing, nor does it hide that one of them tells
// nothing of a window.
func TestMergingInSteps(t *testing.T) {
	part := func(n int) *Result { return written(t, partOf(t, n, 3), ScopeNode, tooMany, enough) }
	merge := func(results ...*Result) *Result {
		t.Helper()
		m, err := MergeResults(results...)
		if err != nil {
			t.Fatal(err)
		}
		return reread(t, m)
	}
	stepwise, once := merge(merge(part(0), part(1)), part(2)), merge(part(0), part(1), part(2))
	for i := range once.Thresholds {
		if show(stepwise.Thresholds[i]) != show(once.Thresholds[i]) || once.Thresholds[i].OK != (i == 1) {
			t.Errorf("%s: in steps %s, at once %s", once.Thresholds[i].Expr, show(stepwise.Thresholds[i]), show(once.Thresholds[i]))
		}
	}
	mute := part(1)
	mute.Courses = nil
	for _, row := range merge(merge(part(0), mute), part(2)).Thresholds {
		if row.OK || row.Value != nil {
			t.Errorf("without a part's course %s is %s", row.Expr, show(row))
		}
	}
}

// Repeated runs are no nodes of one run: what is per second is that of each.
func TestRepeatedRunsAreAveraged(t *testing.T) {
	const rps, count, short, window = "rps < 150", "errors < 150", "errors > 50 over last 5s", "step(buy).p95 < 5s over last 3s"
	part := func(run string, node int) *Result {
		s := partOf(t, node, 2)
		s.RunID, s.Warmup = run, time.Second
		r := written(t, s, ScopeNode, rps, count, short)
		r.Thresholds = append(r.Thresholds, ThresholdResult{Expr: window, OK: true})
		if run == "two" {
			r.Courses = nil // nobody can judge the window on all of its nodes
		}
		return r
	}
	one, err := MergeResults(part("one", 0), part("one", 1))
	if err != nil {
		t.Fatal(err)
	}
	got, err := MergeResults(part("one", 0), part("two", 0), part("two", 1), part("one", 1))
	if err != nil {
		t.Fatal(err)
	}
	got = reread(t, got)
	if got.RPS != one.RPS || got.DurationS != 40 || got.WarmupS != 2 || got.Requests != 2*one.Requests || *got.Target.Iterations != 2**one.Target.Iterations ||
		*got.Latency.P95 != *one.Latency.P95 || got.Stages[1].FromRate != one.Stages[1].FromRate || got.Stages[1].Requests != 2*one.Stages[1].Requests || len(got.Series) != 0 {
		t.Errorf("of two runs: %v/s in %v s and %v of warm-up, %d requests, of %d asked for, p95 %v, stage %+v, %d points; of one: %v/s, %d requests, p95 %v, stage %+v",
			got.RPS, got.DurationS, got.WarmupS, got.Requests, *got.Target.Iterations, *got.Latency.P95, got.Stages[1], len(got.Series), one.RPS, one.Requests, *one.Latency.P95, one.Stages[1])
	}
	var rows []string
	for _, row := range got.Thresholds {
		rows = append(rows, fmt.Sprint(row.Expr, ": ", row.OK))
	}
	// Each run sends 105/s and has 100 errors, 25 in each window; the other window held in one run, and not in the other.
	if text := strings.Join(rows, ", "); text != rps+": true, "+count+": false, "+short+": false, "+window+": false" {
		t.Errorf("thresholds %s", text)
	}
	if got.RunID != "" || strings.Join(got.Runs, " ") != "one two" || got.Nodes[0].RunID != "one" || got.Nodes[3].RunID != "two" {
		t.Errorf("run %q, runs %q, nodes %+v", got.RunID, got.Runs, got.Nodes)
	}
	var out bytes.Buffer
	if err := got.WriteText(&out, false); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"volley runs, 2 merged: one, two\n", "rates the mean of them\n", "\nn0 in one"} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("the report does not say %q:\n%s", want, &out)
		}
	}
	// What was merged can be merged on, and compared.
	more, err := MergeResults(got, part("three", 0), part("three", 1))
	if err != nil || more.RPS != one.RPS || more.DurationS != 60 || strings.Join(more.Runs, " ") != "one two three" || more.Nodes[0].RunID != "one" {
		t.Errorf("merged once more: %v, %+v", err, more)
	}
	if _, err := MergeResults(got, part("two", 1)); err == nil || !strings.Contains(err.Error(), `node "n1" of run "two" is in two`) {
		t.Errorf("a part that is in it: %v", err)
	}
	if c, err := Compare(got, one); err != nil || c.Runs[0].RunID != "one, two" || *c.Figures[1].Changes[1] != 0 {
		t.Errorf("compared: %v, %+v", err, c)
	}
}

func TestMergeResultsRefuses(t *testing.T) {
	other := written(t, partOf(t, 1, 2), ScopeNode)
	damaged := func(change func(*Result)) []*Result {
		r := written(t, partOf(t, 0, 2), ScopeNode)
		change(r)
		return []*Result{r, other}
	}
	for want, results := range map[string][]*Result{
		"there is none":                 nil,
		`node "n1" of run "r-7" is in`:  {other, other},
		`config version "v2", run "r-7`: damaged(func(r *Result) { r.ConfigVersion = "v2" }),
		"a counter is -5":               damaged(func(r *Result) { r.Requests = -5 }),
		"a histogram: ":                 damaged(func(r *Result) { r.Latency.Histogram = "AAAA" }),
		"range of":                      damaged(func(r *Result) { *r.Latency.Max = 5000 }),
		"a mean":                        damaged(func(r *Result) { r.Latency.Histogram = written(t, &Summary{}, ScopeNode).Latency.Histogram }),
		"a status code is":              damaged(func(r *Result) { r.Steps[0].StatusCodes["x"] = 1 }),
		"point 3 of its series":         damaged(func(r *Result) { r.Series[3].T = 9 }),
		"a point every 3 s":             damaged(func(r *Result) { r.Series = []SeriesPoint{{T: 0}, {T: 3}} }),
		"a sketch's fold":               damaged(func(r *Result) { r.Series[0].PointDetail.Latency = []byte("\xff") }),
	} {
		if _, err := MergeResults(results...); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v, want %q", err, want)
		}
	}
}

func TestReadResultRefuses(t *testing.T) {
	for text, want := range map[string]string{
		"":                               "unexpected end",
		"version: 1":                     "invalid character",
		`{"schema":"volley.result/2"}`:   `its schema is "volley.result/2" (accepted: "volley.result/1")`,
		strings.Repeat(" ", MaxResult+1): "it has more than 67108864 bytes",
	} {
		if _, err := ReadResult(strings.NewReader(text)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%.30q: %v, want %q", text, err, want)
		}
	}
}

// The parts of the report that a plain run does not have.
func TestFullReportGolden(t *testing.T) {
	s := partOf(t, 0, 1)
	s.Downgrades, s.LookupFailures, s.SamplePct = 2, 3, 50
	s.Steps[0].Requests, s.Steps[0].Extra, s.Requests = s.Steps[0].Requests+500, 500, s.Requests+500
	s.DroppedThinking, s.DroppedWaiting, s.DroppedEnd = 30, 9, 1
	s.Slowest = s.Slowest[:3]
	s.Slowest[2].Status = 0
	res := written(t, s, ScopeNode, "p95 < 90ms", "p99.9 < 1s", "error_rate < 4%", "rps > 99", "iterations > 99%", "errors < 1000",
		"step(buy).p50 < 1s", "scenario(gone).p50 < 1s")
	var out bytes.Buffer
	if err := res.WriteText(&out, false); err != nil {
		t.Fatal(err)
	}
	golden(t, "full.txt", out.Bytes())
}
