package main

import (
	"fmt"
	"slices"
	"strings"
)

// Row is a tool in a mode: medians of all rounds.
type Row struct {
	Mode         string      `json:"mode"`
	Title        string      `json:"title"`
	Tool         string      `json:"tool"`
	Reference    string      `json:"reference,omitempty"` // whose ratio is 1
	CPU          float64     `json:"cpu_us"`              // of the whole process per request
	PerSecond    float64     `json:"rps"`
	Ratio        float64     `json:"ratio,omitempty"` // to the reference in the same round; 0 without one
	RatioLeast   float64     `json:"ratio_least,omitempty"`
	RatioMost    float64     `json:"ratio_most,omitempty"`
	RateErrorPct float64     `json:"rate_error_pct,omitempty"` // sent against asked for
	CPUPct       float64     `json:"cpu_pct"`                  // of one core
	RSSMB        float64     `json:"rss_mb"`
	LagP50Ms     float64     `json:"lag_p50_ms,omitempty"`
	LagP99Ms     float64     `json:"lag_p99_ms,omitempty"`
	Judged       []Judgement `json:"judged,omitempty"`
}

// Judgement is a row's figure beside its bound.
type Judgement struct {
	Figure string  `json:"figure"`
	Value  float64 `json:"value"`
	Bound  string  `json:"bound"`
	Holds  bool    `json:"holds"`
}

func median(of []float64) float64 {
	if len(of) == 0 {
		return 0
	}
	sorted := slices.Sorted(slices.Values(of))
	mid := len(sorted) / 2
	if len(sorted)%2 == 1 {
		return sorted[mid]
	}
	return (sorted[mid-1] + sorted[mid]) / 2
}

// rows are a mode's: got has a sample for each round of each tool.
func (m mode) rows(tools []tool, got map[string][]sample) (rows []Row) {
	for _, t := range tools {
		all := got[t.name]
		of := func(figure func(sample) float64) float64 {
			var values []float64
			for _, s := range all {
				values = append(values, figure(s))
			}
			return median(values)
		}
		r := Row{
			Mode: m.name, Title: m.title, Tool: t.name, CPU: of(cost), PerSecond: of(throughput),
			CPUPct: of(func(s sample) float64 { return s.cpu / s.seconds / 1e4 }), RSSMB: of(func(s sample) float64 { return s.rss }),
			LagP50Ms: of(func(s sample) float64 { return s.lagP50 }), LagP99Ms: of(func(s sample) float64 { return s.lagP99 }),
		}
		if asked := float64(m.rate + t.rate); asked > 0 {
			r.RateErrorPct = of(func(s sample) float64 { return 100 * (throughput(s)/asked - 1) })
		}
		m.compare(&r, all, got[m.reference])
		m.judge(&r)
		rows = append(rows, r)
	}
	return rows
}

// compare pairs what was measured in the same round.
func (m mode) compare(r *Row, all, reference []sample) {
	if len(reference) == 0 {
		return
	}
	var ratios []float64
	for i, s := range all {
		ratios = append(ratios, m.by(s)/m.by(reference[i]))
	}
	r.Reference, r.Ratio = m.reference, median(ratios)
	r.RatioLeast, r.RatioMost = slices.Min(ratios), slices.Max(ratios)
}

func (m mode) judge(r *Row) {
	for _, l := range m.limits {
		if l.tool != r.Tool || l.figure == "ratio" && r.Reference == "" {
			continue
		}
		j := Judgement{Figure: l.figure, Value: l.of(*r), Bound: fmt.Sprintf("at most %g", l.bound)}
		if j.Holds = j.Value <= l.bound; l.least {
			j.Bound, j.Holds = fmt.Sprintf("at least %g", l.bound), j.Value >= l.bound
		}
		r.Judged = append(r.Judged, j)
	}
}

// table is a mode's part of what is printed.
func table(m mode, rows []Row) string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s: %s\n  %-15s %10s %10s %7s %15s %9s %8s %8s %9s %9s\n", m.name, m.title,
		"", "cpu µs/req", "requests/s", "ratio", "least to most", "rate err", "cpu %", "rss MB", "lag p50", "lag p99")
	for _, r := range rows {
		ratio, span := "", ""
		if r.Reference != "" {
			ratio, span = fmt.Sprintf("%.2f", r.Ratio), fmt.Sprintf("%.2f to %.2f", r.RatioLeast, r.RatioMost)
		}
		fmt.Fprintf(&b, "  %-15s %10.2f %10.0f %7s %15s %8.3f%% %8.1f %8.1f %9.3f %9.3f\n",
			r.Tool, r.CPU, r.PerSecond, ratio, span, r.RateErrorPct, r.CPUPct, r.RSSMB, r.LagP50Ms, r.LagP99Ms)
		for _, j := range r.Judged {
			word := "holds"
			if !j.Holds {
				word = "MISSED"
			}
			fmt.Fprintf(&b, "    %s %.3f, %s: %s\n", j.Figure, j.Value, j.Bound, word)
		}
	}
	return b.String()
}
