package page

import (
	"bytes"
	"crypto/sha256"
	"embed"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"html"
	"regexp"
	"strings"

	"volley/stats"
)

//go:embed assets
var assets embed.FS

// Access says what of the API asks for a token.
type Access string

// What the live page asks its user's token for.
const (
	Open    Access = "none"   // nothing
	Changes Access = "change" // what changes something
	Closed  Access = "all"    // whatever shows or changes something
)

// Document is a page and the policy that a browser is to keep to on it, for the
// header Content-Security-Policy.
type Document struct {
	HTML   []byte
	Policy string
}

// Live is the page that shows a node's events, without any data of its own.
func Live(access Access) (Document, error) {
	return render(content{Title: "volley", Token: access}, "chart.js", "page.js", "live.js")
}

// Report is a result as a page of its own, to be kept, sent and printed.
func Report(r *stats.Result) (Document, error) {
	shot, err := Take(View{Plan: r.Plan, Result: r})
	if err != nil {
		return Document{}, err
	}
	var text bytes.Buffer
	if err := r.WriteText(&text, false); err != nil {
		return Document{}, fmt.Errorf("report as HTML: %w", err)
	}
	title := "volley run " + r.Name()
	if r.Plan != "" {
		title = "volley run " + r.Name() + " of " + r.Plan
	}
	// JSON as encoding/json writes it has no "<" that could end the element.
	return render(content{Title: title, Token: Open, Data: string(shot.Since(Snapshot{})), Text: text.String()}, "chart.js", "page.js", "report.js")
}

// content is what assets/page.html is filled with: what is text is escaped there,
// Data is JSON as it is; without it the page is a live one.
type content struct {
	Title, Text string
	Token       Access
	Data        string
}

// kept is a piece of assets/page.html that only a live page has, or a report.
var kept = regexp.MustCompile(`(?s)\{\{(live|report)\}\}(.*?)\{\{end\}\}`)

// fill puts the content into the form. (html/template would do so, too, but keeps
// all methods of all types in the binary, which makes it a fifth larger.)
func (c *content) fill(form, policy, style, script string) string {
	kind := "live"
	if c.Data != "" {
		kind = "report"
	}
	form = kept.ReplaceAllStringFunc(form, func(found string) string {
		if m := kept.FindStringSubmatch(found); m[1] == kind {
			return m[2]
		}
		return ""
	})
	return strings.NewReplacer(
		"{{title}}", html.EscapeString(c.Title), "{{text}}", html.EscapeString(c.Text), "{{token}}", html.EscapeString(string(c.Token)),
		"{{policy}}", html.EscapeString(policy), "{{style}}", style, "{{script}}", script, "{{data}}", c.Data,
	).Replace(form)
}

func render(c content, scripts ...string) (Document, error) {
	style, err := assets.ReadFile("assets/page.css")
	if err != nil {
		return Document{}, err
	}
	var script strings.Builder
	script.WriteString("\"use strict\";\n")
	for _, name := range scripts {
		part, err := assets.ReadFile("assets/" + name)
		if err != nil {
			return Document{}, err
		}
		script.Write(part)
	}
	policy := strings.Join([]string{
		"default-src 'none'", "script-src " + digest(script.String()), "style-src " + digest(string(style)),
		"connect-src 'self'", "img-src data:", "base-uri 'none'", "form-action 'none'",
	}, "; ")
	form, err := assets.ReadFile("assets/page.html")
	if err != nil {
		return Document{}, err
	}
	return Document{HTML: []byte(c.fill(string(form), policy, string(style), script.String())), Policy: policy}, nil
}

// digest is a script or style as a policy names it.
func digest(text string) string {
	sum := sha256.Sum256([]byte(text))
	return "'sha256-" + base64.StdEncoding.EncodeToString(sum[:]) + "'"
}

// View is what a page shows: a node, its cluster and a run at one moment.
type View struct {
	AtMs    int64  `json:"at_unix_ms,omitempty"`
	Plan    string `json:"plan,omitempty"` // its name
	Cluster any    `json:"cluster"`        // as GET /health/cluster has it; nil in a report
	// Result is that of the run which goes, or of the last; nil before the first.
	Result  *stats.Result  `json:"result"`
	Answers []stats.Answer `json:"answers,omitempty"` // Take adds them
	Notes   []stats.Note   `json:"notes,omitempty"`   // so does it these
	Going   bool           `json:"going,omitempty"`   // says whether the result's run is not over yet; Take adds it
	// Missing says why there is no result, or no newer one, of a run that has one.
	Missing string `json:"missing,omitempty"`
	// Curve is what the run asks for over time: corners of seconds since the start and
	// the value there, of the unit CurveOf.
	Curve   [][2]float64 `json:"curve,omitempty"`
	CurveOf string       `json:"curve_of,omitempty"` // CurveRate or CurveWorkers
}

// The units of a View's curve.
const (
	CurveRate    = "rate" // arrivals per second
	CurveWorkers = "workers"
)

// Snapshot is a View as it is sent.
type Snapshot struct {
	head []byte // the view without the series, and without its closing brace
	run  string
	rows [][]byte // one for each point of the series
	// nodes have rows of their own, in the order of the result.
	nodes []nodeRows
}

// nodeRows are how a node's generator fared over time, ready to be sent.
type nodeRows struct {
	name, run string
	rows      [][]byte
}

// Take makes a View ready to be sent, without the histograms that merging needs.
func Take(v View) (Snapshot, error) {
	s := Snapshot{}
	if v.Result != nil {
		s.run = v.Result.Name()
		var err error
		if s.rows, err = rowsOf(v.Result.Series, rowOf); err != nil {
			return Snapshot{}, err
		}
		for _, n := range v.Result.Nodes {
			of := nodeRows{name: n.NodeID, run: n.RunID}
			if of.rows, err = rowsOf(n.OverTime, nodeRowOf); err != nil {
				return Snapshot{}, err
			}
			s.nodes = append(s.nodes, of)
		}
		v.Answers, v.Notes, v.Going, v.Result = v.Result.Answers(), v.Result.Notes(), v.Result.Going(), slim(v.Result)
	}
	head, err := json.Marshal(v)
	if err != nil {
		return Snapshot{}, fmt.Errorf("view as JSON: %w", err)
	}
	s.head = bytes.TrimSuffix(head, []byte("}"))
	return s, nil
}

// Since is the snapshot as one line of JSON for who has seen before: of the
// series it has what comes after the points that both have alike.
func (s Snapshot) Since(before Snapshot) []byte {
	var out bytes.Buffer
	out.Write(s.head)
	fmt.Fprintf(&out, `,"series":{"columns":%s,`, columns)
	seen := Snapshot{}
	if s.run == before.run {
		seen = before
	}
	writeNew(&out, s.rows, seen.rows)
	fmt.Fprintf(&out, `},"over_time":{"columns":%s,"nodes":[`, nodeColumns)
	for i, n := range s.nodes {
		var known [][]byte
		if i < len(seen.nodes) && seen.nodes[i].name == n.name && seen.nodes[i].run == n.run {
			known = seen.nodes[i].rows
		}
		if i > 0 {
			out.WriteByte(',')
		}
		out.WriteByte('{')
		writeNew(&out, n.rows, known)
		out.WriteByte('}')
	}
	out.WriteString("]}}")
	return out.Bytes()
}

// writeNew writes those of rows that come after the ones which are known alike.
func writeNew(out *bytes.Buffer, rows, known [][]byte) {
	from := 0
	for from < min(len(rows), len(known)) && bytes.Equal(rows[from], known[from]) {
		from++
	}
	fmt.Fprintf(out, `"from":%d,"rows":[`, from)
	out.Write(bytes.Join(rows[from:], []byte(",")))
	out.WriteByte(']')
}

func rowsOf[P any](points []P, row func(*P) []any) (rows [][]byte, err error) {
	for i := range points {
		data, err := json.Marshal(row(&points[i]))
		if err != nil {
			return nil, fmt.Errorf("a point over time as JSON: %w", err)
		}
		rows = append(rows, data)
	}
	return rows, nil
}

// columns are those of a row, by the names of SeriesPoint.
const columns = `["t","target","started","late","dropped","errors","p50","p95","p99","max","workers","schedule_lag_p99","cpu_pct","throttled_pct","gc_pause"]`

func rowOf(p *stats.SeriesPoint) []any {
	return []any{p.T, p.Target, p.Started, p.Late, p.Dropped, p.Errors, p.P50, p.P95, p.P99, p.Max, p.Workers, p.ScheduleLagP99, p.CPUPct, p.ThrottledPct, p.GCPause}
}

// nodeColumns are those of a node's row, by the names of NodePoint.
const nodeColumns = `["t","schedule_lag_p99","cpu_pct","throttled_pct","gc_pause","dropped","verdict"]`

func nodeRowOf(p *stats.NodePoint) []any {
	return []any{p.T, p.ScheduleLagP99, p.CPUPct, p.ThrottledPct, p.GCPause, p.Dropped, p.Verdict}
}

// slim is a copy of a result with what is read of it alone.
func slim(r *stats.Result) *stats.Result {
	out := *r
	out.Series, out.Courses = nil, nil // rows of its own, and what is only judged by
	out.Nodes = append([]stats.NodeResult{}, r.Nodes...)
	for i := range out.Nodes {
		out.Nodes[i].OverTime = nil // they are rows of their own
	}
	blocks := []*stats.Percentiles{&out.Latency, &out.ServiceTime, &out.LatencyOK, &out.Iteration}
	if r.Phases != nil {
		phases := *r.Phases
		out.Phases = &phases
		blocks = append(blocks, &phases.DNS, &phases.Connect, &phases.TLS, &phases.FirstByte)
	}
	if r.LastInterval != nil {
		last := *r.LastInterval
		out.LastInterval = &last
		blocks = append(blocks, &last.Latency)
	}
	out.Scenarios = append([]stats.ScenarioResult{}, r.Scenarios...)
	for i := range out.Scenarios {
		blocks = append(blocks, &out.Scenarios[i].Iteration)
	}
	for _, block := range blocks {
		block.Histogram = ""
	}
	out.Steps = append([]stats.StepResult{}, r.Steps...)
	for i := range out.Steps {
		step := &out.Steps[i]
		step.Latency.Histogram, step.ServiceTime.Histogram, step.StepDetail = "", "", stats.StepDetail{}
	}
	out.Stages = append([]stats.StageResult{}, r.Stages...)
	for i := range out.Stages {
		out.Stages[i].Latency.Histogram = ""
	}
	return &out
}
