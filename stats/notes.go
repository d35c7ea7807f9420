package stats

import (
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
)

// Note is what a reader of the figures must know of them: what they leave out, what
// went wrong beside them, or what has made them other than the plan has it.
type Note struct {
	About string `json:"about,omitempty"` // a word or two; "" goes on with what the one before is about
	Text  string `json:"text"`
	Tone  Tone   `json:"tone"`
}

// Notes begin with whose figures they are. The text has the same, in its head and
// below its totals.
func (r *Result) Notes() []Note {
	return slices.Concat([]Note{r.whose()}, r.notes())
}

func (r *Result) notes() []Note {
	return slices.Concat(r.notesOfCounts(), r.notesOfCover(), r.notesOfShares(), r.notesOfThinkTimes(), r.notesOfInterval())
}

func (r *Result) textNotes(p *page) {
	for _, n := range r.notes() {
		p.line(label(n.About), n.cell())
	}
}

func (n Note) cell() cell { return cell{n.Text, n.Tone.style()} }

func (t Tone) style() style {
	switch t {
	case ToneGood:
		return green
	case ToneWarn:
		return yellow
	case ToneBad:
		return red
	}
	return ""
}

// whose says whose figures these are, and whose are missing.
func (r *Result) whose() Note {
	names := map[string]bool{} // and whether it has told something: one that was restarted has two lines
	for _, n := range r.Nodes {
		names[n.NodeID] = names[n.NodeID] || n.Complete || n.Requests > 0 || n.Reason == StillGoing
	}
	var silent []string
	for _, name := range slices.Sorted(maps.Keys(names)) {
		if !names[name] {
			silent = append(silent, short(name))
		}
	}
	n := Note{About: "figures", Tone: ToneNone}
	switch {
	case r.Scope == ScopeNode && len(r.Nodes) == 1:
		n.Text = "all figures are those of node " + short(r.Nodes[0].NodeID) + " alone"
	case len(silent) > 0:
		n.Tone = ToneBad
		n.Text = fmt.Sprintf("all figures are totals of %d of %d nodes, without anything from %s", len(names)-len(silent), len(names), cut(strings.Join(silent, ", "), 80))
	case len(r.Runs) > 0:
		n.Text = "counts and percentiles are those of all runs together, rates the mean of them"
	case len(names) == 1:
		n.Text = "all figures are totals of one node"
	default:
		n.Text = fmt.Sprintf("all figures are totals of %d nodes", len(names))
	}
	return n
}

// notesOfCounts are of what happened beside the figures.
func (r *Result) notesOfCounts() (notes []Note) {
	if r.Drops != (Drops{}) {
		notes = append(notes, Note{"dropped", r.dropsText(), ToneBad})
	}
	if r.Amplification > 0 {
		notes = append(notes, Note{"amplified", fmt.Sprintf("%.2f requests per step: retries and redirects", r.Amplification), ToneNone})
	}
	if n := r.Connections.Downgrades; n > 0 {
		notes = append(notes, Note{"downgrades", fmt.Sprintf("%d redirects from https to http", n), ToneWarn})
	}
	if n := r.Connections.LookupFailures; n > 0 {
		notes = append(notes, Note{"look-ups", fmt.Sprintf("%d failed", n), ToneBad})
	}
	if v := r.Variables; v != (Variables{}) {
		notes = append(notes, Note{"variables", fmt.Sprintf("%d uses of what nothing had set, %d not found in responses", v.Unresolved, v.ExtractionsFailed), ToneWarn})
	}
	return notes
}

// dropsText splits the drops where the cause is known.
func (r *Result) dropsText() string {
	d := r.Drops
	rest := r.Dropped - d.Thinking - d.Target - d.End - d.Isolated
	text := fmt.Sprintf("%d: workers thinking %d, waiting for the target %d, left at the end %d, catch-up or start too late %d",
		r.Dropped, d.Thinking, d.Target, d.End, rest)
	if d.Isolated > 0 {
		text += fmt.Sprintf(", node isolated %d", d.Isolated)
	}
	return text
}

// notesOfCover are of what is not in the figures, or not in all of them.
func (r *Result) notesOfCover() (notes []Note) {
	caution := func(about, text string) { notes = append(notes, Note{about, text, ToneWarn}) }
	switch {
	case r.PercentileSource == "":
	case r.PercentileSource == "sampled":
		caution("percentiles", fmt.Sprintf("sampled: of %d %% of requests and iterations, counts are of all", r.SamplePct))
	case r.Latency.Min != nil:
		caution("percentiles", "off on some nodes: what is here is of those that record them")
	default:
		caution("percentiles", clean(r.PercentileSource))
	}
	if n := r.Latency.Over1h + r.ServiceTime.Over1h + r.Iteration.Over1h; n > 0 {
		caution("over an hour", fmt.Sprintf("%d samples are longer than 1 h: percentiles among them read 1 h, max is exact", n))
	}
	if n := r.RowsSkipped; n > 0 {
		caution("data rows", fmt.Sprintf("%d skipped: nodes that are lost may have used them", n))
	}
	if n := r.FoldedLabels; n > 0 {
		caution("labels", fmt.Sprintf("%d steps and scenarios are counted together as other", n))
	}
	if at := r.MemorySavingSinceS; at > 0 {
		caution("memory", "short since "+seconds(at)+": from then on no new labels and no phases")
	}
	return notes
}

// notesOfThinkTimes mark a run whose think times were not those of the plan.
func (r *Result) notesOfThinkTimes() []Note {
	var scales []string
	same := true
	for _, n := range r.Nodes {
		scale := 1.0
		if n.ThinkTimeScale != nil {
			scale = *n.ThinkTimeScale
		}
		scales = append(scales, strconv.FormatFloat(scale, 'g', 4, 64))
		same = same && scales[0] == scales[len(scales)-1]
	}
	switch {
	case len(scales) == 0 || same && scales[0] == "1":
		return nil
	case same:
		scales = scales[:1]
	default:
		for i, n := range r.Nodes {
			scales[i] += " on " + short(n.NodeID)
		}
	}
	return []Note{{"think times", "not the plan's: multiplied by " + cut(strings.Join(scales, ", "), 80) + " (THINK_TIME_SCALE)", ToneWarn}}
}

func (r *Result) notesOfInterval() []Note {
	v := r.LastInterval
	if v == nil {
		return nil
	}
	return []Note{{"interval", fmt.Sprintf("the last, %s to %s: %d requests, %d errors, latency p50 %s, p95 %s, p99 %s, max %s",
		seconds(v.FromS), seconds(v.ToS), v.Requests, v.Errors, ms(v.Latency.P50), ms(v.Latency.P95), ms(v.Latency.P99), ms(v.Latency.Max)), ToneNone}}
}
