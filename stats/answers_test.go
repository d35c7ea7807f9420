package stats

import (
	"strings"
	"testing"
)

// answersOf is a line for each answer: its tone, the answer, and why.
func answersOf(r *Result) [3]string {
	var out [3]string
	for i, a := range r.Answers() {
		out[i] = string(a.Tone) + ": " + a.Answer + ": " + a.Because
	}
	return out
}

func just(v float64) *float64 { return &v }

// good is a result of a run with which all is well.
func good() *Result {
	asked, off := int64(1000), 0.0
	return &Result{
		Nodes: []NodeResult{{NodeID: "a", Complete: true}}, DurationS: 10, Due: 1000, Started: 1000, Completed: 1000, Iterations: 1000, Requests: 1000,
		Target: Target{Iterations: &asked, RateErrorPct: &off}, Latency: Percentiles{P95: just(12), P99: just(20), Max: just(30)},
		Thresholds: []ThresholdResult{{Expr: "p95 < 300ms", Value: just(12), OK: true}, {Expr: "error_rate < 1%", Value: just(0), OK: true}},
		Generator:  GeneratorResult{CPUPct: 12.5, ScheduleLagP99Ms: 0.25, Verdict: VerdictOK},
	}
}

func TestAnswers(t *testing.T) {
	const (
		target = "good: Yes: All 2 thresholds held. p95 12.0 ms, p99 20.0 ms, 0.00 % errors."
		load   = "good: Yes: 100.0 iterations/s started of 100.0 asked for (+0.00 %)."
		others = "something else kept it from the CPU, such as other processes, or other machines on the same host. Give it a quieter machine: to send less changes little."
		trust  = "good: Yes: It took 12.5 % of the CPU that it may use; 99 of 100 starts were at most 0.25 ms late by its own fault."
	)
	for _, test := range []struct {
		name   string
		change func(*Result)
		want   [3]string // "" for what it is when all is well
	}{
		{"all is well", func(*Result) {}, [3]string{}},
		{"going on", func(r *Result) { r.Nodes[0].Complete, r.Nodes[0].Reason = false, StillGoing }, [3]string{
			strings.Replace(target, "Yes", "So far, yes", 1), strings.Replace(load, "Yes", "So far, yes", 1)}},
		{"a threshold failed", func(r *Result) {
			r.Thresholds[0] = ThresholdResult{Expr: "p95 < 10ms", Value: just(12)}
			r.Errors.ServerError = 5
		}, [3]string{"bad: No: 1 of 2 thresholds failed: p95 < 10ms was 12.0 ms. p95 12.0 ms, p99 20.0 ms, 0.50 % errors."}},
		{"the only one failed", func(r *Result) { r.Thresholds = []ThresholdResult{{Expr: "error_rate < 1%", Value: just(0.02)}} }, [3]string{
			"bad: No: The only threshold failed: error_rate < 1% was 2 %. p95 12.0 ms, p99 20.0 ms, 0.00 % errors."}},
		{"no thresholds", func(r *Result) { r.Thresholds = nil }, [3]string{
			"none: The plan does not say: It has no thresholds to judge by. p95 12.0 ms, p99 20.0 ms, 0.00 % errors."}},
		{"dropped", func(r *Result) {
			r.Due, r.Dropped, r.Drops, r.Latency.P99, *r.Target.RateErrorPct, r.Started = 1000, 50, Drops{Target: 40, End: 10}, nil, -5, 950
		}, [3]string{
			"good: Yes: All 2 thresholds held. p95 12.0 ms, p99 > 30.0 ms (50 dropped), 0.00 % errors.",
			"bad: No: 95.0 iterations/s started of 100.0 asked for (-5.00 %). 50 arrivals (5.00 % of those due) were dropped, most because workers were waiting for the target."}},
		{"off the rate", func(r *Result) { *r.Target.RateErrorPct, r.Started = -2, 980 }, [3]string{
			1: "bad: No: 98.0 iterations/s started of 100.0 asked for (-2.00 %). That is off by more than 1 %."}},
		{"late", func(r *Result) { r.LateStarts = LateStarts{NoWorker: 5, Generator: 15} }, [3]string{
			1: "warn: Mostly: 100.0 iterations/s started of 100.0 asked for (+0.00 %). 2.0 % started more than 1 ms late, most because volley itself was late."}},
		{"stopped", func(r *Result) { r.Stopped = &Stopped{Cause: "signal", AfterS: 4} }, [3]string{
			1: "warn: Not to its end: 100.0 iterations/s started of 100.0 asked for (+0.00 %). The run was ended after 4s of 10s: signal."}},
		{"a node lost", func(r *Result) { r.Nodes = append(r.Nodes, NodeResult{NodeID: "b", Reason: "it was lost"}) }, [3]string{
			1: "warn: Not all of it is known: 100.0 iterations/s started of 100.0 asked for (+0.00 %). The part of b is not complete.",
			2: "good: Yes: The busiest node took 12.5 % of the CPU that it may use; 99 of 100 starts were at most 0.25 ms late by its own fault."}},
		{"two nodes lost, with arrivals of theirs", func(r *Result) {
			r.Nodes = append(r.Nodes, NodeResult{NodeID: "b", Reason: "it was lost"}, NodeResult{NodeID: "c", Reason: "it was lost"})
			r.Shares = []ShareResult{{}, {Unsent: 20}, {Unsent: 3}}
		}, [3]string{
			1: "warn: Not all of it is known: 100.0 iterations/s started of 100.0 asked for (+0.00 %). The part of b, c is not complete: nobody knows of 23 arrivals whether they were sent.",
			2: "good: Yes: The busiest node took 12.5 % of the CPU that it may use; 99 of 100 starts were at most 0.25 ms late by its own fault."}},
		{"closed", func(r *Result) { r.Target = Target{} }, [3]string{1: "good: Yes: 100.0 iterations/s, closed model without a target rate."}},
		{"strained", func(r *Result) {
			r.Generator.Verdict, r.Generator.Reasons = VerdictStrained, []string{"CPU 85.0 %, more than 80 %"}
		}, [3]string{
			2: "warn: With care: volley was strained: CPU 85.0 %, more than 80 %. What is fast may have been measured a little too slow."}},
		{"saturated", func(r *Result) {
			r.Generator.Verdict, r.Generator.Reasons = VerdictSaturated, []string{"CPU 99.0 %, more than 95 %"}
		}, [3]string{
			0: target + " But volley itself did not keep up: see the generator.",
			2: "bad: No: volley was saturated: CPU 99.0 %, more than 95 %. It was the bottleneck, or part of it: send less, or from more nodes."}},
		{"saturated, and a threshold failed", func(r *Result) {
			r.Generator.Verdict, r.Generator.Reasons = VerdictSaturated, []string{"CPU 99.0 %, more than 95 %"}
			r.Thresholds = []ThresholdResult{{Expr: "p95 < 10ms", Value: just(12)}}
		}, [3]string{
			0: "warn: Not certain: The only threshold failed: p95 < 10ms was 12.0 ms. p95 12.0 ms, p99 20.0 ms, 0.00 % errors. But volley itself did not keep up, and the fault may be its own: see the generator.",
			2: "bad: No: volley was saturated: CPU 99.0 %, more than 95 %. It was the bottleneck, or part of it: send less, or from more nodes."}},
		{"saturated, with little to do", func(r *Result) {
			r.Generator = GeneratorResult{CPUPct: 3, Verdict: VerdictSaturated, Reasons: []string{"schedule lag p99 40.00 ms, more than 10 ms", "scheduler wake-up p99 30.00 ms, more than 10 ms"}}
		}, [3]string{
			0: target + " But volley itself did not keep up: see the generator.",
			2: "bad: No: volley was saturated: schedule lag p99 40.00 ms, more than 10 ms; scheduler wake-up p99 30.00 ms, more than 10 ms. It took only 3.0 % of the CPU that it may use: " + others}},
		{"saturated, busy on the whole", func(r *Result) {
			r.Generator = GeneratorResult{CPUPct: 60, Verdict: VerdictSaturated, Reasons: []string{"schedule lag p99 40.00 ms, more than 10 ms"}}
		}, [3]string{
			0: target + " But volley itself did not keep up: see the generator.",
			2: "bad: No: volley was saturated: schedule lag p99 40.00 ms, more than 10 ms. It was the bottleneck, or part of it: send less, or from more nodes."}},
		{"saturated, busy for a second", func(r *Result) {
			r.Generator = GeneratorResult{CPUPct: 20, Verdict: VerdictSaturated, Reasons: []string{"schedule lag p99 40.00 ms, more than 10 ms"}}
			r.Nodes[0].OverTime = []NodePoint{{CPUPct: 99}}
		}, [3]string{
			0: target + " But volley itself did not keep up: see the generator.",
			2: "bad: No: volley was saturated: schedule lag p99 40.00 ms, more than 10 ms. It was the bottleneck, or part of it: send less, or from more nodes."}},
		{"one node saturated, with little to do beside a busy one", func(r *Result) {
			r.Generator = GeneratorResult{CPUPct: 70, ScheduleLagP99Ms: 40, Verdict: VerdictSaturated, Reasons: []string{"schedule lag p99 40.00 ms, more than 10 ms"}}
			r.Nodes = []NodeResult{{NodeID: "a", Complete: true, CPUPct: 70, Verdict: VerdictOK}, {NodeID: "b", Complete: true, CPUPct: 4, Verdict: VerdictSaturated, Reasons: r.Generator.Reasons}}
		}, [3]string{
			0: target + " But volley itself did not keep up: see the generator.",
			2: "bad: No: volley was saturated on node b: schedule lag p99 40.00 ms, more than 10 ms. It took only 4.0 % of the CPU that it may use: " + others}},
		{"throttled with little to do", func(r *Result) {
			r.Generator = GeneratorResult{CPUPct: 30, Verdict: VerdictSaturated, Reasons: []string{"schedule lag p99 40.00 ms, more than 10 ms", "throttled 12.0 %, more than 10 %"}}
		}, [3]string{
			0: target + " But volley itself did not keep up: see the generator.",
			2: "bad: No: volley was saturated: schedule lag p99 40.00 ms, more than 10 ms; throttled 12.0 %, more than 10 %. It was the bottleneck, or part of it: send less, or from more nodes."}},
		{"one task of several", func(r *Result) {
			r.Tasks, r.Thresholds[0] = 5, ThresholdResult{Expr: "p95 < 10ms", Value: just(12)}
		}, [3]string{
			0: "none: Not told by a part: Thresholds are about all 5 tasks of the job: volley report judges them on the results of all. Of this task alone: p95 12.0 ms, p99 20.0 ms, 0.00 % errors.",
			1: "warn: Not all of it is known: 100.0 iterations/s started of 100.0 asked for (+0.00 %). Of the job's 5 tasks it has 1: what the others have sent is not in it."}},
		{"a node's part", func(r *Result) { r.Part, r.Thresholds = true, nil }, [3]string{
			0: "none: Not told by a part: Thresholds are about all nodes: the leader judges them, and its result tells. Of this part alone: p95 12.0 ms, p99 20.0 ms, 0.00 % errors."}},
		{"nothing sent", func(r *Result) { *r = Result{Generator: GeneratorResult{Verdict: VerdictOK}} }, [3]string{
			"none: Not known: No request was answered.", "bad: No: Nothing was sent.",
			"none: Not known: It had nothing to do."}},
		{"a threshold without a value", func(r *Result) { r.Thresholds[1] = ThresholdResult{Expr: "step(Pay).p95 < 1s"} }, [3]string{
			"bad: No: 1 of 2 thresholds failed: step(Pay).p95 < 1s has no value. p95 12.0 ms, p99 20.0 ms, 0.00 % errors."}},
	} {
		t.Run(test.name, func(t *testing.T) {
			r := good()
			test.change(r)
			for i, usual := range []string{target, load, trust} {
				want := test.want[i]
				if want == "" {
					want = usual
				}
				if got := answersOf(r)[i]; got != want {
					t.Errorf("%s\n got %s\nwant %s", r.Answers()[i].Question, got, want)
				}
			}
		})
	}
}
