package plan

import (
	"math"
	"testing"
	"time"
)

func TestConditions(t *testing.T) {
	latency := func(p float64) Metric { return Metric{Name: "percentile", Of: "latency", Percentile: p} }
	for expr, want := range map[string]Condition{
		"p95 < 300ms":                         {Metric: latency(95), Op: "<", Value: 300e6},
		" p99.9<=1.5s ":                       {Metric: latency(99.9), Op: "<=", Value: 1.5e9},
		"max >= 2s":                           {Metric: Metric{Name: "max", Of: "latency"}, Op: ">=", Value: 2e9},
		"service.mean < 5ms":                  {Metric: Metric{Name: "mean", Of: "service"}, Op: "<", Value: 5e6},
		"ok.p50 < 5ms":                        {Metric: Metric{Name: "percentile", Of: "ok", Percentile: 50}, Op: "<", Value: 5e6},
		"iteration.p100 < 5s":                 {Metric: Metric{Name: "percentile", Of: "iteration", Percentile: 100}, Op: "<", Value: 5e9},
		"error_rate < 1%":                     {Metric: Metric{Name: "error_rate"}, Op: "<", Value: 0.01},
		"assertion_rate <= 0.5":               {Metric: Metric{Name: "assertion_rate"}, Op: "<=", Value: 0.5},
		"errors == 0":                         {Metric: Metric{Name: "errors"}, Op: "==", Value: 0},
		"dropped < 10":                        {Metric: Metric{Name: "dropped"}, Op: "<", Value: 10},
		"late_starts < 10":                    {Metric: Metric{Name: "late_starts"}, Op: "<", Value: 10},
		"rps > 99.5/s":                        {Metric: Metric{Name: "rps"}, Op: ">", Value: 99.5},
		"rps > 99 %":                          {Metric: Metric{Name: "rps"}, Op: ">", Value: 99, OfDue: true},
		"iterations >= 98%":                   {Metric: Metric{Name: "iterations"}, Op: ">=", Value: 98, OfDue: true},
		"error_rate < 5% over last 30s":       {Metric: Metric{Name: "error_rate"}, Op: "<", Value: 0.05, Last: 30 * time.Second},
		"step(Log in (again)).p95 < 1s":       {Step: "Log in (again)", Metric: latency(95), Op: "<", Value: 1e9},
		"scenario(A < B).service.p90.5 < 1ms": {Scenario: "A < B", Metric: Metric{Name: "percentile", Of: "service", Percentile: 90.5}, Op: "<", Value: 1e6},
		"step(v1.p50).max < 1s":               {Step: "v1.p50", Metric: Metric{Name: "max", Of: "latency"}, Op: "<", Value: 1e9},
		"scenario(A).iterations > 5":          {Scenario: "A", Metric: Metric{Name: "iterations"}, Op: ">", Value: 5},
	} {
		got, problem := ParseCondition(expr)
		if problem != "" {
			t.Errorf("%q: %s", expr, problem)
		}
		if math.Abs(got.Value-want.Value) < 1e-9 {
			got.Value = want.Value
		}
		equal(t, expr, got, want)
	}
}

func TestConditionsRefused(t *testing.T) {
	for _, expr := range []string{
		"", "p95", "p95 <", "< 5ms", "p95 < -5ms", "p95 < 5.5.5ms", "p95 != 5ms", "p95 < 5ms over last", "p95 < 5ms over last 0s",
		"p0 < 5ms", "p100.1 < 5ms", "p < 5ms", "ok.errors < 5", "iteration.rps > 1", "step().p95 < 1s", "step(A) < 1s",
		"step(A).iterations > 5", "step(A).iteration.p95 < 5s", "scenario(A).late_starts < 1", "scenario(A).rps > 5%", "error_rate < 101%",
	} {
		if c, problem := ParseCondition(expr); problem == "" {
			t.Errorf("%q is accepted as %+v", expr, c)
		}
	}
}

func TestThresholdCondition(t *testing.T) {
	p := mustParse(t, minimal+"thresholds:\n  - step(Step 1).p95 < 1s\n")
	c, ok := p.Thresholds[0].Condition()
	equal(t, "condition", []any{ok, c.Step, c.Value, c.Metric.IsDuration()}, []any{true, "Step 1", 1e9, true})
}
