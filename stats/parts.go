package stats

import (
	"slices"
	"time"

	"volley/plan"
)

const (
	// MaxParts is how many parts a summary has at most: each is a series of its own
	// that travels with it.
	MaxParts = 8
	// partSketch is how many buckets a sketch of a part has at most: fewer than those
	// of the run's series, so that all of them fit into one message.
	partSketch = 192
)

// partKey says what of a run a condition looks at, beside the metric itself.
type partKey struct {
	Step, Scenario string // at most one of the two; both empty is the whole run
	Of             string // which durations: latency, service, ok or iteration; "" is counts alone
}

func keyOf(c *plan.Condition) partKey { return partKey{c.Step, c.Scenario, c.Metric.Of} }

func (k partKey) selected() bool { return k.Step != "" || k.Scenario != "" }

// serves is whether a part tells of a condition: of counts any part of the same
// step or scenario does.
func (k partKey) serves(c *plan.Condition) bool {
	of := keyOf(c)
	return k == of || of.Of == "" && k.Step == of.Step && k.Scenario == of.Scenario
}

// Part is the series of what a threshold over last DURATION looks at and the
// series of the run does not hold: a step or scenario, or other durations than
// the latency. A node keeps one for each, so that whoever has its summary, such
// as a leader that takes over in mid-run, knows what has been before. Its points
// have counters, the durations asked for in place of the latency, and Max.
type Part struct {
	partKey
	Series Series
}

func newPart(k partKey) Part { return Part{partKey: k, Series: Series{ofPart: true}} }

// partsOf are those that thresholds ask for, in the order of these, each once.
func partsOf(thresholds []plan.Threshold) (out []Part) {
	for _, durations := range []bool{true, false} { // these serve counts, too
		for _, t := range thresholds {
			c, ok := t.Condition()
			if !ok || c.Last == 0 || inSeries(&c) || c.Metric.IsDuration() != durations {
				continue
			}
			if !slices.ContainsFunc(out, func(p Part) bool { return p.serves(&c) }) {
				out = append(out, newPart(keyOf(&c)))
			}
		}
	}
	return out
}

// Parts is how many series beside the run's own the thresholds ask for; more
// than MaxParts cannot be judged by a leader that takes over in mid-run.
func Parts(thresholds []plan.Threshold) int { return len(partsOf(thresholds)) }

// partwise says which parts a request or an iteration belongs to.
type partwise struct {
	keys      []partKey
	steps     [][]int // by step of the summary: its requests' parts
	scenarios [][]int // by scenario of the summary: its iterations' parts
	rest      []int   // parts of the whole run: those of what was folded later
}

func newPartwise(s *Summary) *partwise {
	w := &partwise{steps: make([][]int, len(s.Steps)), scenarios: make([][]int, len(s.Scenarios))}
	for part := range s.Parts {
		k := s.Parts[part].partKey
		w.keys = append(w.keys, k)
		if !k.selected() {
			w.rest = append(w.rest, part)
		}
		for i := range s.Steps {
			if !k.selected() || s.Steps[i].isOf(k) {
				w.steps[i] = append(w.steps[i], part)
			}
		}
		for i := range s.Scenarios {
			if !k.selected() || s.Scenarios[i].Name == k.Scenario {
				w.scenarios[i] = append(w.scenarios[i], part)
			}
		}
	}
	return w
}

func (st *StepStats) isOf(k partKey) bool {
	return k.Step != "" && st.Step == k.Step || k.Scenario != "" && st.Scenario == k.Scenario
}

func (w *partwise) ofStep(i int) []int     { return w.at(w.steps, i) }
func (w *partwise) ofScenario(i int) []int { return w.at(w.scenarios, i) }

func (w *partwise) at(parts [][]int, i int) []int {
	if i < len(parts) {
		return parts[i]
	}
	return w.rest
}

// partBin is a part's share of a bin.
type partBin struct {
	Point // its counters
	times dense
}

// took notes a duration for those of the parts that look at its kind.
func (n *bin) took(w *partwise, parts []int, of string, d time.Duration) {
	for _, i := range parts {
		if w.keys[i].Of == of {
			n.parts[i].times.record(d)
		}
	}
}

func (n *bin) drainParts(to []Part) {
	for i := range n.parts {
		from := &n.parts[i]
		if from.Point == (Point{}) {
			continue
		}
		from.Max, from.latency = time.Duration(from.times.max), sketchOf(&from.times, partSketch)
		series := &to[i].Series
		series.at(n.second).add(&from.Point, series.limit())
		from.times.reset()
		from.Point = Point{}
	}
}

// seriesFor is the series that can tell of a condition over time; nil if there is none.
func (s *Summary) seriesFor(c *plan.Condition) *Series {
	if inSeries(c) {
		return &s.Series
	}
	if i := slices.IndexFunc(s.Parts, func(p Part) bool { return p.serves(c) }); i >= 0 {
		return &s.Parts[i].Series
	}
	return nil
}

func (s *Summary) addParts(from []Part) {
	for i := range from {
		at := slices.IndexFunc(s.Parts, func(p Part) bool { return p.partKey == from[i].partKey })
		if at < 0 {
			at = len(s.Parts)
			s.Parts = append(s.Parts, newPart(from[i].partKey))
		}
		s.Parts[at].Series.add(&from[i].Series)
	}
}

func cloneParts(parts []Part) []Part {
	out := slices.Clone(parts)
	for i := range out {
		out[i].Series = out[i].Series.Clone()
	}
	return out
}

func (e *encoder) parts(parts []Part) {
	e.length(len(parts), MaxParts, "parts")
	for i := range parts {
		e.text(parts[i].Step)
		e.text(parts[i].Scenario)
		e.text(parts[i].Of)
		e.points(&parts[i].Series, (*encoder).partPoint)
	}
}

// partPoint has only what a part has: there may be many.
func (e *encoder) partPoint(p *Point) {
	for _, c := range p.partCounters() {
		e.counter(*c)
	}
	e.signed(int64(p.Max))
	e.text(string(p.latency))
}

func (p *Point) partCounters() [6]*int64 {
	return [...]*int64{&p.Requests, &p.Retried, &p.Errors, &p.Completed, &p.AssertionsPassed, &p.AssertionsLost}
}

func (d *decoder) parts() (out []Part) {
	for range d.length(MaxParts, "parts") {
		if d.err != nil {
			return nil
		}
		p := newPart(partKey{Step: d.text(), Scenario: d.text(), Of: d.text()})
		d.points(&p.Series, (*decoder).partPoint)
		out = append(out, p)
	}
	return out
}

func (d *decoder) partPoint() (p Point) {
	for _, c := range p.partCounters() {
		*c = d.counter()
	}
	p.Max, p.latency = time.Duration(d.signed()), d.sketch(partSketch)
	return p
}
