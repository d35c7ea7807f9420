package stats

import (
	"fmt"
	"strconv"
	"strings"

	"volley/plan"
)

// lineWidth is how wide a line may become in a usual terminal.
const lineWidth = 120

func (r *Result) textStages(p *page) {
	if len(r.Stages) == 0 {
		return
	}
	rows := [][]cell{heads("stage", "target", "asked", "started", "late", "dropped", "requests", "errors", "p50", "p95", "p99")}
	for i := range r.Stages {
		st := &r.Stages[i]
		asked := "-" // a closed model asks for no arrivals
		if r.Target.Iterations != nil {
			asked = fmt.Sprintf("%.0f", st.Target)
		}
		rows = append(rows, []cell{
			plain(seconds(st.FromS) + " to " + seconds(st.ToS)), plain(rates(st.FromRate, st.ToRate)),
			plain(asked), plain(fmt.Sprint(st.Started)), plain(fmt.Sprint(st.Late)),
			bad(st.Dropped, "%d"), plain(fmt.Sprint(st.Requests)), bad(st.Errors, "%d"),
			rankBeside(st.Latency.P50, st.Latency.Max, st.Dropped), rankBeside(st.Latency.P95, st.Latency.Max, st.Dropped),
			rankBeside(st.Latency.P99, st.Latency.Max, st.Dropped),
		})
	}
	p.table(rows, false)
	p.gap()
}

// rankBeside is rankCell for a row that has the number of the dropped already.
func rankBeside(v, slowest *float64, dropped int64) cell {
	c := rankCell(v, slowest, dropped)
	if c.style == red {
		c.text = "> " + ms(slowest)
	}
	return c
}

func rates(from, to float64) string {
	number := func(v float64) string { return strconv.FormatFloat(round(v, 3), 'f', -1, 64) }
	if from == to {
		return number(from)
	}
	return number(from) + " → " + number(to)
}

// textErrors shows one error of each kind.
func (r *Result) textErrors(p *page) {
	for _, kind := range r.Errors.kinds() {
		if example := r.ErrorExamples[kind.name]; kind.n > 0 && example != "" {
			lead := "  " + kind.name + ", such as "
			p.line(plain(lead), plain(cut(example, lineWidth-len(lead))))
		}
	}
}

// textScenarios compares scenarios; one alone is what the totals say.
func (r *Result) textScenarios(p *page) {
	if len(r.Scenarios) < 2 {
		return
	}
	span := r.DurationS - r.WarmupS
	rows := [][]cell{heads("scenario", "iterations", "failed", "interrupted", "per second", "mean", "p50", "p95", "p99", "max")}
	for i := range r.Scenarios {
		sc := &r.Scenarios[i]
		n := sc.Succeeded + sc.Failed
		perSecond := 0.0
		if span > 0 {
			perSecond = float64(n) / span
		}
		rows = append(rows, []cell{
			plain(cut(sc.Scenario, 28)), plain(fmt.Sprint(n)), bad(sc.Failed, "%d"), plain(fmt.Sprint(sc.Interrupted)), plain(fmt.Sprintf("%.1f", perSecond)),
			plain(ms(sc.Iteration.Mean)), plain(ms(sc.Iteration.P50)), plain(ms(sc.Iteration.P95)), plain(ms(sc.Iteration.P99)), plain(ms(sc.Iteration.Max)),
		})
	}
	p.table(rows, false)
	p.gap()
}

type kindCount struct {
	name string
	n    int64
}

// kinds lists the errors by kind, in the order of the JSON.
func (e ErrorCounts) kinds() []kindCount {
	return []kindCount{
		{"timeout", e.Timeout}, {"network", e.Network}, {"tls", e.TLS}, {"client_error", e.ClientError},
		{"server_error", e.ServerError}, {"assertion", e.Assertion}, {"other", e.Other}, {"generator", e.Generator},
	}
}

func (r *Result) textSlowest(p *page) {
	if len(r.Slowest) == 0 {
		return
	}
	rows := [][]cell{heads("slowest", "at", "status", "connection", "node", "step")}
	for _, x := range r.Slowest {
		status := strconv.Itoa(x.Status)
		if x.Status == 0 {
			status = "timeout"
		}
		rows = append(rows, []cell{
			plain(ms(&x.Ms)), plain(fmt.Sprintf("%.3f s", x.T)), plain(status), plain(clean(x.Connection)),
			plain(cut(x.NodeID, 24)), plain(cut(stepName(x.Scenario, x.Step), 48)),
		})
	}
	p.table(rows, true)
	p.gap()
}

func stepName(scenario, step string) string {
	if scenario == "" {
		return short(step)
	}
	return short(scenario) + " / " + short(step)
}

func (r *Result) textThresholds(p *page) {
	if len(r.Thresholds) == 0 {
		return
	}
	rows := [][]cell{heads("threshold", "value", "failed at", "at a rate of", "verdict")}
	for _, t := range r.Thresholds {
		verdict, at, rate := cell{"held", green}, "-", "-"
		if !t.OK {
			verdict = cell{"failed", red}
		}
		if r.OfOneTask() {
			verdict = plain("not judged: it is about all tasks")
		}
		if t.FailedAtS != nil {
			at = seconds(*t.FailedAtS)
		}
		if t.RateAtFailure != nil {
			rate = fmt.Sprintf("%.1f/s", *t.RateAtFailure)
		}
		rows = append(rows, []cell{plain(cut(t.Expr, 60)), plain(t.valueText()), plain(at), plain(rate), verdict})
	}
	p.table(rows, true)
	p.gap()
}

// valueText shows the value in the unit of its metric.
func (t *ThresholdResult) valueText() string {
	if t.Value == nil {
		return "none"
	}
	c, _ := plan.ParseCondition(t.Expr)
	number := strconv.FormatFloat(round(*t.Value, 3), 'f', -1, 64)
	switch {
	case c.Metric.IsDuration():
		return ms(t.Value)
	case strings.HasSuffix(c.Metric.Name, "_rate"):
		return strconv.FormatFloat(round(100**t.Value, 3), 'f', -1, 64) + " %"
	case c.OfDue:
		return number + " %"
	case c.Metric.Name == "rps":
		return number + "/s"
	}
	return number
}
