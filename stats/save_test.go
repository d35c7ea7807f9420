package stats

import (
	"strings"
	"testing"
	"time"

	"volley/plan"
)

func request(r *Recorder, shard, step int) {
	r.Shard(shard).Request(Sample{
		Step: step, Latency: millisecond, Service: millisecond, Status: 200, Complete: true, Phases: &Phases{Connect: millisecond},
	})
	r.Shard(shard).Iteration(Iteration{Step: step, Duration: millisecond})
}

// What a threshold names keeps its label, however many come before it.
func TestJudgedLabelsAreKept(t *testing.T) {
	r := NewRecorder(Layout{
		Steps:     []StepKey{{"a", "1"}, {"a", "2"}, {"b", "3"}, {"c", "4"}, {"d", "5"}},
		MaxLabels: 2,
		Judged:    []plan.Threshold{{Expr: "step(4).p95 < 1s"}, {Expr: "scenario(d).error_rate < 1%"}},
	}, 1)
	for step := range 5 {
		request(r, 0, step)
	}
	s := r.Summary()
	if got := stepNames(s); got != "other/other c/4 d/5" {
		t.Errorf("steps %s, want both that thresholds name and the rest in other", got)
	}
	if got := scenarioNames(s); got != "a other d" || s.FoldedLabels != 5 {
		t.Errorf("scenarios %s and %d folded, want a, other, d and 5", got, s.FoldedLabels)
	}
	if s.Steps[0].Requests != 3 || s.Steps[1].Latency.Count() != 1 || s.Requests != 5 {
		t.Errorf("other counts %d of %d requests, want 3 of 5", s.Steps[0].Requests, s.Requests)
	}
}

func stepNames(s *Summary) string {
	var names []string
	for _, st := range s.Steps {
		names = append(names, st.Scenario+"/"+st.Step)
	}
	return strings.Join(names, " ")
}

func scenarioNames(s *Summary) string {
	var names []string
	for _, sc := range s.Scenarios {
		names = append(names, sc.Name)
	}
	return strings.Join(names, " ")
}

// Saving folds what has not run yet and ends the phases; what was recorded stays.
func TestSaveKeepsWhatWasRecorded(t *testing.T) {
	r := NewRecorder(Layout{
		Steps:  []StepKey{{"a", "1"}, {"a", "2"}, {"b", "3"}, {"c", "4"}, {"d", "5"}},
		Judged: []plan.Threshold{{Expr: "step(4).p95 < 1s"}},
	}, 2)
	request(r, 0, 0)
	r.Summary()
	request(r, 1, 1) // not in a summary yet
	r.Save()
	r.Save() // again changes nothing
	for step := range 5 {
		request(r, step, step)
	}
	s := r.Summary()
	if got := stepNames(s); got != "a/1 a/2 c/4 other/other" {
		t.Errorf("steps %s, want those that have run, that of the threshold, and other", got)
	}
	if got := scenarioNames(s); got != "a other" {
		t.Errorf("scenarios %s, want a and other", got)
	}
	if s.Steps[0].Requests != 2 || s.Steps[1].Requests != 2 || s.Steps[2].Requests != 1 || s.Steps[3].Requests != 2 || s.Requests != 7 {
		t.Errorf("requests %+v of %d, want 2, 2, 1, 2 of 7", s.Steps, s.Requests)
	}
	if s.Scenarios[0].Succeeded != 4 || s.Scenarios[1].Succeeded != 3 || s.Completed != 7 {
		t.Errorf("iterations %d and %d of %d, want 4 and 3 of 7", s.Scenarios[0].Succeeded, s.Scenarios[1].Succeeded, s.Completed)
	}
	if s.Latency.Count() != 7 || s.Phases[1].Count() != 2 {
		t.Errorf("%d latencies and %d phases, want all 7 and the 2 from before", s.Latency.Count(), s.Phases[1].Count())
	}
	if s.FoldedLabels != 5 {
		t.Errorf("%d labels folded, want 2 steps and 3 scenarios", s.FoldedLabels)
	}
}

// A label that was other from the start takes what is folded later, too.
func TestSaveAfterLimit(t *testing.T) {
	r := NewRecorder(Layout{Steps: []StepKey{{"a", "1"}, {"a", "2"}, {"b", "3"}}, MaxLabels: 2}, 1)
	request(r, 0, 0)
	r.Save()
	for step := range 3 {
		request(r, 0, step)
	}
	s := r.Summary()
	if got := stepNames(s); got != "a/1 other/other" || s.Steps[0].Requests != 2 || s.Steps[1].Requests != 2 {
		t.Errorf("steps %s: %+v, want a/1 and other with 2 requests each", got, s.Steps)
	}
}

func TestSavingIsReported(t *testing.T) {
	a, b, none := fullSummary(), fullSummary(), fullSummary()
	a.SavingSince, b.SavingSince, none.SavingSince = 9*time.Second, 5*time.Second, 0
	for _, summaries := range [][]*Summary{{a, b, none}, {none, a, b}} {
		merged, err := Merge(summaries...)
		if err != nil || merged.SavingSince != 5*time.Second {
			t.Errorf("merged saves since %v, %v; want the earliest, 5s", merged.SavingSince, err)
		}
	}
	a.FoldedLabels = 3
	res, err := NewResult(a, ScopeNode, nil)
	if err != nil {
		t.Fatal(err)
	}
	var text strings.Builder
	if err := res.WriteText(&text, false); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"short since 9s: from then on no new labels and no phases", "3 steps and scenarios are counted together as other"} {
		if !strings.Contains(text.String(), want) {
			t.Errorf("the report does not say %q:\n%s", want, text.String())
		}
	}
	back, err := res.summary()
	if err != nil || back.SavingSince != 9*time.Second || back.FoldedLabels != 3 {
		t.Errorf("read back: saving since %v, %d folded, %v", back.SavingSince, back.FoldedLabels, err)
	}
}

// The view begins anew, the result does not.
func TestIntervalRotatesBesideTheResult(t *testing.T) {
	r := NewRecorder(oneStep(), 1)
	v := NewInterval(2 * time.Second)
	if res, err := v.Result(); res != nil || err != nil {
		t.Errorf("before anything: %+v, %v", res, err)
	}
	look := func(elapsed, latency time.Duration) (*IntervalResult, *Summary) {
		t.Helper()
		r.Shard(0).Request(Sample{Latency: latency, Service: latency, Status: 200, Complete: true})
		s := r.Summary()
		s.Elapsed, s.Planned, s.Ended = elapsed, 6*time.Second, elapsed > 6*time.Second
		closed, err := v.Observe(s)
		if err != nil {
			t.Fatal(err)
		}
		return closed, s
	}
	if closed, _ := look(1100*millisecond, 10*millisecond); closed != nil {
		t.Errorf("rotated after 1.1s: %+v", closed)
	}
	closed, _ := look(2100*millisecond, 20*millisecond)
	if closed == nil || closed.Requests != 2 || closed.FromS != 0 || *closed.Latency.Max != 20 {
		t.Errorf("the first interval: %+v, want 2 requests up to 20 ms", closed)
	}
	if closed, _ := look(3900*millisecond, millisecond); closed != nil {
		t.Errorf("rotated 1.9s after the grid: %+v", closed)
	}
	if closed, _ := look(4010*millisecond, 3*millisecond); closed == nil || closed.FromS != 2 || closed.Requests != 2 || *closed.Latency.Max > 3.01 {
		t.Errorf("the second interval: %+v, want 2 requests up to 3 ms from 2 s", closed)
	}
	closed, s := look(6001*millisecond, 5*millisecond)
	if closed != nil {
		t.Errorf("rotated at the end: %+v", closed)
	}
	res, err := v.Result()
	if err != nil || res.FromS != 4 || res.ToS != 6 || res.Requests != 1 || s.Requests != 5 || s.Latency.Count() != 5 {
		t.Errorf("the view at the end: %+v, %v; the run has %d", res, err, s.Latency.Count())
	}
}
