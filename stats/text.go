package stats

import (
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"time"
)

// WriteText writes the report for a terminal, with ANSI colours if colour.
func (r *Result) WriteText(w io.Writer, colour bool) error {
	p := &page{colour: colour}
	r.textHead(p)
	r.textAnswers(p)
	r.textTotals(p)
	r.textPercentiles(p)
	r.textStages(p)
	r.textScenarios(p)
	r.textSteps(p)
	r.textCounts(p)
	r.textSlowest(p)
	r.textThresholds(p)
	r.textNodes(p)
	r.textFared(p)
	r.textGenerator(p)
	if _, err := io.WriteString(w, p.out.String()); err != nil {
		return fmt.Errorf("write result as text: %w", err)
	}
	return nil
}

func (r *Result) textHead(p *page) {
	title := "volley run " + clean(r.RunID)
	if len(r.Runs) > 0 {
		title = fmt.Sprintf("volley runs, %d merged: %s", len(r.Runs), cut(r.Name(), 90))
	}
	if r.Plan != "" {
		title += " of plan " + clean(r.Plan)
	}
	p.line(cell{title, bold})
	duration := seconds(r.DurationS)
	if r.WarmupS > 0 {
		duration += fmt.Sprintf(" of which %s warm-up (%d requests, %d errors, in no figure below)", seconds(r.WarmupS), r.WarmupReqs, r.WarmupErrors)
	}
	line := []cell{plain(duration + ", " + startText(r.StartedAt))}
	if st := r.Stopped; st != nil {
		line = append(line, cell{fmt.Sprintf(", ended after %s: %s", seconds(st.AfterS), clean(st.Cause)), red})
	}
	p.line(line...)
	p.line(plain("config " + clean(r.ConfigVersion)))
	p.line(r.whose().cell())
	p.gap()
}

func startText(at time.Time) string {
	if at.IsZero() {
		return "not started"
	}
	return "started " + at.UTC().Format(time.RFC3339Nano)
}

func (r *Result) textTotals(p *page) {
	p.line(label("load"), plain(fmt.Sprintf("%d due = %d started + ", r.Due, r.Started)), bad(r.Dropped, "%d dropped"),
		plain(fmt.Sprintf("; %d completed, %d interrupted", r.Completed, r.Interrupted)))
	p.line(label("rate"), plain(r.rateText()))
	p.line(label("requests"), plain(fmt.Sprintf("%d (%.1f/s), ", r.Requests, r.RPS)),
		bad(r.Errors.Total(), "%d errors"), plain(fmt.Sprintf(" (%.2f %%), %d retried, %s in, %s out",
			100*r.errorRate(), r.Retried, size(r.BytesIn), size(r.BytesOut))))
	p.line(label("connections"), plain(fmt.Sprintf("%d new, %d reused, %d reconnects%s",
		r.Connections.New, r.Connections.Reused, r.Connections.Reconnects, r.Connections.clientText())))
	late := r.LateStarts
	p.line(label("late starts"), plain(fmt.Sprintf("%d: %d no worker, %d catch-up, ", late.total(),
		late.NoWorker, late.CatchUp)), bad(late.Generator, "%d generator"))
	r.textNotes(p)
	p.gap()
}

func (r *Result) errorRate() float64 {
	if n := r.Requests - r.Retried; n > 0 {
		return float64(r.Errors.Total()) / float64(n)
	}
	return 0
}

func (r *Result) rateText() string {
	span := r.DurationS - r.WarmupS
	per := func(n int64) float64 {
		if span <= 0 {
			return 0
		}
		return float64(n) / span
	}
	if r.Target.Iterations == nil {
		return fmt.Sprintf("%.1f iterations/s, closed model without a target rate", per(r.Iterations))
	}
	unit := "iterations"
	if r.Unit == "requests" {
		unit = r.Unit
	}
	text := fmt.Sprintf("%.1f %s/s started of %.1f asked for", per(r.Started), unit, per(*r.Target.Iterations))
	if r.Target.RateErrorPct != nil {
		text += fmt.Sprintf(" (%+.2f %%)", *r.Target.RateErrorPct)
	}
	return text
}

// textPercentiles has a column for each histogram: a row is as wide as a
// terminal even where values carry the number of the dropped.
func (r *Result) textPercentiles(p *page) {
	rows := [][]cell{heads(""), {plain("min")}, {plain("mean")}, {plain("p50")}, {plain("p90")}, {plain("p95")}, {plain("p99")}, {plain("p99.9")}, {plain("max")}}
	add := func(name string, b Percentiles, dropped int64) {
		column := []cell{{name, bold}, plain(ms(b.Min)), plain(ms(b.Mean))}
		for _, f := range b.byRank() {
			column = append(column, rankCell(*f.value, b.Max, dropped))
		}
		for i, c := range append(column, plain(ms(b.Max))) {
			rows[i] = append(rows[i], c)
		}
	}
	add("latency", r.Latency, r.Dropped)
	add("latency, ok", r.LatencyOK, 0)
	add("service time", r.ServiceTime, 0)
	add("iteration", r.Iteration, 0)
	if ph := r.Phases; ph != nil {
		add("dns", ph.DNS, 0)
		add("connect", ph.Connect, 0)
		add("tls", ph.TLS, 0)
		add("first byte", ph.FirstByte, 0)
	}
	p.table(rows, false)
	p.gap()
}

// rankCell shows a percentile, or that it lies among the dropped arrivals,
// which are slower than the slowest sample.
func rankCell(v, slowest *float64, dropped int64) cell {
	if v != nil || slowest == nil || dropped == 0 {
		return plain(ms(v))
	}
	return cell{fmt.Sprintf("> %s (%d dropped)", ms(slowest), dropped), red}
}

func (r *Result) textSteps(p *page) {
	if len(r.Steps) == 0 {
		return
	}
	rows := [][]cell{heads("step", "requests", "errors", "p50", "p95", "p99", "max", "service p50", "service p99")}
	for i := range r.Steps {
		st := &r.Steps[i]
		rows = append(rows, []cell{
			plain(cut(stepName(st.Scenario, st.Step), 40)), plain(fmt.Sprint(st.Requests)), bad(st.Errors, "%d"),
			plain(ms(st.Latency.P50)), plain(ms(st.Latency.P95)), plain(ms(st.Latency.P99)), plain(ms(st.Latency.Max)),
			plain(ms(st.ServiceTime.P50)), plain(ms(st.ServiceTime.P99)),
		})
	}
	p.table(rows, false)
	p.gap()
}

func (r *Result) textCounts(p *page) {
	var codes []string
	for _, code := range slices.Sorted(maps.Keys(r.StatusCodes)) {
		codes = append(codes, fmt.Sprintf("%s: %d", clean(code), r.StatusCodes[code]))
	}
	p.line(label("status"), plain(listed(codes)))
	var kinds []string
	for _, kind := range r.Errors.kinds() {
		if kind.n > 0 {
			kinds = append(kinds, fmt.Sprintf("%s: %d", kind.name, kind.n))
		}
	}
	p.line(label("errors"), cell{listed(kinds), styleIf(len(kinds) > 0, red)})
	r.textErrors(p)
	p.gap()
}

// offsetText is a clock's offset, with what it may be off by.
func offsetText(n NodeResult) string {
	text := signedMs(&n.ClockOffsetMs)
	if n.ClockBoundMs > 0 {
		text += " ±" + ms(&n.ClockBoundMs)
	}
	return text
}

func (r *Result) textNodes(p *page) {
	rows := [][]cell{heads("node", "requests", "start skew", "clock offset", "result")}
	for _, n := range r.Nodes {
		state := cell{text: "complete"}
		if !n.Complete {
			state = cell{"incomplete: " + clean(n.Reason), red}
		}
		rows = append(rows, []cell{
			plain(n.label()), plain(fmt.Sprint(n.Requests)), plain(signedMs(n.StartSkewMs)),
			plain(offsetText(n)), state,
		})
	}
	p.table(rows, true)
	if r.StartSpreadMs != nil {
		text := "within " + ms(r.StartSpreadMs) + " of each other"
		if r.StartSpreadBoundMs > 0 {
			text += ", ±" + ms(&r.StartSpreadBoundMs) + " by what is known of their clocks"
		}
		p.line(label("starts"), plain(text))
	}
	p.gap()
}

// label is the node's name, with its run where there are several.
func (n *NodeResult) label() string {
	if n.RunID != "" {
		return short(n.NodeID) + " in " + short(n.RunID)
	}
	return short(n.NodeID)
}

func (r *Result) textGenerator(p *page) {
	g := r.Generator
	verdict := cell{string(g.Verdict), g.Verdict.style()}
	p.line(label("generator"), verdict, plain(fmt.Sprintf(": CPU %.1f %%, throttled %.1f %%, p99 of schedule lag %s, wake-up %s, GC pause %s",
		g.CPUPct, g.ThrottledPct, ms(&g.ScheduleLagP99Ms), ms(&g.WakeupP99Ms), ms(&g.GCPauseP99Ms))))
	for _, reason := range g.Reasons {
		p.line(plain("  "), cell{string(g.Verdict), verdict.style}, plain(" by "+clean(reason)))
	}
}

func listed(items []string) string {
	if len(items) == 0 {
		return "none"
	}
	return strings.Join(items, ", ")
}
