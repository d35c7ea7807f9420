package stats

import (
	"encoding/json"
	"fmt"
	"io"
	"math"
	"time"
)

// ComparisonSchema names the form of Comparison's JSON.
const ComparisonSchema = "volley.comparison/1"

// MaxCompared is how many runs stand side by side on a page.
const MaxCompared = 5

// Comparison is runs side by side; changes are against the first.
type Comparison struct {
	Schema string `json:"schema"`
	// Differ says first what makes figures hard to compare.
	Differ  []string       `json:"differ,omitempty"`
	Weighed *Weighed       `json:"weighed,omitempty"` // of two sides
	Runs    []ComparedRun  `json:"runs"`
	Figures []ComparedLine `json:"figures"`
}

// ComparedRun is what tells a run of a comparison from the others.
type ComparedRun struct {
	RunID         string    `json:"run_id"`
	ConfigVersion string    `json:"config_version"`
	StartedAt     time.Time `json:"started_at"`
	Nodes         int       `json:"nodes"`
	Verdict       Verdict   `json:"verdict"`
	Thresholds    string    `json:"thresholds"` // none, held, failed
}

// ComparedLine is one figure of all runs, null where a run does not have it, and
// its change against the first run's in percent, null without either or from 0.
type ComparedLine struct {
	Name    string     `json:"name"`
	Values  []*float64 `json:"values"`
	Changes []*float64 `json:"change_pct"`

	show func(*float64) string
}

// Compare puts results side by side; it is an error if there are fewer than two
// or more than MaxCompared.
func Compare(results ...*Result) (*Comparison, error) {
	if len(results) == 1 {
		return nil, fmt.Errorf("compare results: they are all of one run (accepted: 2 to %d runs)", MaxCompared)
	}
	if len(results) < 2 || len(results) > MaxCompared {
		return nil, fmt.Errorf("compare results: they are of %d runs (accepted: 2 to %d)", len(results), MaxCompared)
	}
	c := &Comparison{Schema: ComparisonSchema, Differ: differ(results)}
	for _, r := range results {
		c.Runs = append(c.Runs, ComparedRun{
			RunID: r.Name(), ConfigVersion: r.ConfigVersion, StartedAt: r.StartedAt, Nodes: len(r.Nodes),
			Verdict: r.Generator.Verdict, Thresholds: thresholdsText(r.Thresholds),
		})
	}
	count := func(v *float64) string { return number(v, "%.0f") }
	for _, line := range []struct {
		name string
		of   func(*Result) *float64
		show func(*float64) string
	}{
		{"requests", func(r *Result) *float64 { return whole(r.Requests) }, count},
		{"requests/s", func(r *Result) *float64 { return &r.RPS }, func(v *float64) string { return number(v, "%.1f") }},
		{"error rate", func(r *Result) *float64 { return percent(100 * r.errorRate()) }, func(v *float64) string { return number(v, "%.2f %%") }},
		{"dropped", func(r *Result) *float64 { return whole(r.Dropped) }, count},
		{"late starts", func(r *Result) *float64 { return whole(r.LateStarts.total()) }, count},
		{"p50", func(r *Result) *float64 { return r.Latency.P50 }, ms},
		{"p90", func(r *Result) *float64 { return r.Latency.P90 }, ms},
		{"p95", func(r *Result) *float64 { return r.Latency.P95 }, ms},
		{"p99", func(r *Result) *float64 { return r.Latency.P99 }, ms},
		{"p99.9", func(r *Result) *float64 { return r.Latency.P999 }, ms},
		{"max", func(r *Result) *float64 { return r.Latency.Max }, ms},
		{"service p50", func(r *Result) *float64 { return r.ServiceTime.P50 }, ms},
		{"service p99", func(r *Result) *float64 { return r.ServiceTime.P99 }, ms},
		{"iteration p95", func(r *Result) *float64 { return r.Iteration.P95 }, ms},
	} {
		out := ComparedLine{Name: line.name, show: line.show}
		for _, r := range results {
			out.Values = append(out.Values, line.of(r))
			out.Changes = append(out.Changes, change(line.of(results[0]), line.of(r)))
		}
		c.Figures = append(c.Figures, out)
	}
	return c, nil
}

// CompareSides puts two sides of at least one run each side by side, the runs of
// each merged, and weighs the change between them. Several runs of a side have to
// be of one config.
func CompareSides(before, after []*Result) (*Comparison, error) {
	var columns []*Result
	for _, runs := range [][]*Result{before, after} {
		merged, err := MergeResults(runs...)
		if err != nil {
			return nil, err
		}
		columns = append(columns, merged)
	}
	c, err := Compare(columns...)
	if err != nil {
		return nil, err
	}
	c.Weighed, err = weigh(before, after)
	return c, err
}

// differ says in what runs differ from the first beside their figures.
func differ(results []*Result) (out []string) {
	first := results[0]
	for i, r := range results[1:] {
		one, other := "1", fmt.Sprint(i+2)
		if r.ConfigVersion != first.ConfigVersion {
			out = append(out, fmt.Sprintf("the configs differ, and so may what the figures mean: %s has %s, %s has %s",
				one, cut(first.ConfigVersion, 19), other, cut(r.ConfigVersion, 19)))
		}
		if a, b := first.asked(), r.asked(); math.Abs(b-a) > 0.01*a {
			out = append(out, fmt.Sprintf("the rates differ: %s was asked for %.1f/s, %s for %.1f/s", one, a, other, b))
		}
		if a, b := first.Generator.Verdict, r.Generator.Verdict; a != b || a != VerdictOK {
			out = append(out, fmt.Sprintf("the generator did not keep up in every run: it was %s in %s, %s in %s", a, one, b, other))
		}
	}
	return out
}

// asked is the mean rate that the curve asked for, 0 in a closed model.
func (r *Result) asked() float64 {
	if span := r.DurationS - r.WarmupS; r.Target.Iterations != nil && span > 0 {
		return float64(*r.Target.Iterations) / span
	}
	return 0
}

func (l LateStarts) total() int64 { return l.NoWorker + l.CatchUp + l.Generator }

func whole(n int64) *float64 {
	v := float64(n)
	return &v
}

func percent(v float64) *float64 {
	v = round(v, 3)
	return &v
}

func change(from, to *float64) *float64 {
	if from == nil || to == nil || *from == 0 {
		return nil
	}
	return percent((*to - *from) / math.Abs(*from) * 100)
}

func number(v *float64, format string) string {
	if v == nil {
		return "-"
	}
	return fmt.Sprintf(format, *v)
}

func thresholdsText(rows []ThresholdResult) string {
	switch {
	case len(rows) == 0:
		return "none"
	case Held(rows):
		return "held"
	}
	return "failed"
}

// WriteJSON writes the comparison as one indented JSON object.
func (c *Comparison) WriteJSON(w io.Writer) error {
	data, err := json.MarshalIndent(c, "", "  ")
	if err != nil {
		return fmt.Errorf("write comparison as JSON: %w", err)
	}
	if _, err := w.Write(append(data, '\n')); err != nil {
		return fmt.Errorf("write comparison as JSON: %w", err)
	}
	return nil
}

// WriteText writes the comparison for a terminal, a column for each run.
func (c *Comparison) WriteText(w io.Writer, colour bool) error {
	p := &page{colour: colour}
	for _, text := range c.Differ {
		p.line(cell{text, yellow})
	}
	c.Weighed.text(p)
	for i, r := range c.Runs {
		p.line(cell{fmt.Sprintf("%d  ", i+1), bold}, plain(fmt.Sprintf("run %s, %s, config %s, nodes: %d", cut(r.RunID, 40), startText(r.StartedAt), cut(r.ConfigVersion, 19), r.Nodes)))
	}
	p.gap()
	rows := [][]cell{heads("")}
	for i := range c.Runs {
		rows[0] = append(rows[0], cell{fmt.Sprint(i + 1), bold})
	}
	for i := range c.Figures {
		rows = append(rows, c.Figures[i].cells())
	}
	verdicts, thresholds := []cell{plain("generator")}, []cell{plain("thresholds")}
	for _, r := range c.Runs {
		verdicts = append(verdicts, cell{string(r.Verdict), styleIf(r.Verdict != VerdictOK, yellow)})
		thresholds = append(thresholds, cell{r.Thresholds, styleIf(r.Thresholds == "failed", red)})
	}
	p.table(append(rows, verdicts, thresholds), false)
	if _, err := io.WriteString(w, p.out.String()); err != nil {
		return fmt.Errorf("write comparison as text: %w", err)
	}
	return nil
}

func (l *ComparedLine) cells() []cell {
	out := []cell{plain(l.Name)}
	for i, v := range l.Values {
		text := l.show(v)
		if i > 0 && l.Changes[i] != nil {
			text += fmt.Sprintf(" %+.1f %%", *l.Changes[i])
		}
		out = append(out, plain(text))
	}
	return out
}
