package stats

import (
	"slices"
	"time"

	"volley/plan"
)

// MaxParts is how many parts a summary has at most: each is a series of its own
// that travels with it.
const MaxParts = 20

// partKey says what of a run a condition looks at, beside the metric itself.
type partKey struct {
	Step, Scenario string // at most one of the two; both empty is the whole run
	Of             string // which durations: latency, service, ok or iteration; "" is counts alone
}

func keyOf(c *plan.Condition) partKey { return partKey{c.Step, c.Scenario, c.Metric.Of} }

// Part is the series of what a threshold over last DURATION looks at and the
// series of the run does not hold: a step or scenario, or other durations than
// the latency. A node keeps one for each, so that whoever has its summary, such
// as a leader that takes over in mid-run, knows what has been before.
type Part struct {
	partKey
	Series Series // its points have counters, the latest latencies in place of Of, and Max
}

// partsOf are those that thresholds ask for, in the order of these, each once.
func partsOf(thresholds []plan.Threshold) (out []Part) {
	for _, t := range thresholds {
		c, ok := t.Condition()
		if !ok || c.Last == 0 || inSeries(&c) || slices.ContainsFunc(out, func(p Part) bool { return p.partKey == keyOf(&c) }) {
			continue
		}
		out = append(out, Part{partKey: keyOf(&c)})
	}
	return out
}

// Parts is how many series beside the run's own the thresholds ask for; more
// than MaxParts cannot be judged by a leader that takes over in mid-run.
func Parts(thresholds []plan.Threshold) int { return len(partsOf(thresholds)) }

// partwise turns the cumulative state of a recorder into the parts' series.
type partwise struct {
	parts  []Part
	before []partReading // of each, when the last point was made
}

// partReading is a part's cumulative state.
type partReading struct {
	totals totals
	hist   Histogram
}

func newPartwise(thresholds []plan.Threshold) partwise {
	parts := partsOf(thresholds)
	parts = parts[:min(len(parts), MaxParts)]
	return partwise{parts: parts, before: make([]partReading, len(parts))}
}

// observe adds what has happened since the last time to the points of second.
func (w *partwise) observe(s *Summary, second int64) {
	for i := range w.parts {
		part, before := &w.parts[i], &w.before[i]
		now := partReading{totals: s.totals(part.partKey)}
		now.totals.started = s.Started
		if part.Of != "" {
			now.hist = s.histogramFor(part.partKey)
		}
		since := now.totals.point(&before.totals)
		if since.Requests == 0 && since.Completed == 0 && since.Started == 0 {
			continue
		}
		latest := now.hist.Minus(&before.hist)
		since.Max = time.Duration(latest.max)
		since.latency = newSketch(0, latest.buckets(), latencySketch)
		part.Series.at(second).add(&since)
		if !part.selected() {
			now.hist = now.hist.Clone() // it is the summary's own
		}
		*before = now
	}
}

// point is what has been counted since before.
func (t *totals) point(before *totals) Point {
	return Point{
		Requests: t.requests - before.requests, Retried: t.retried - before.retried, Errors: t.errors - before.errors,
		AssertionsPassed: t.passed - before.passed, AssertionsLost: t.failed - before.failed,
		Completed: t.iterations - before.iterations, Started: t.started - before.started,
	}
}

// seriesFor is the series that can tell of a condition over time; nil if there is none.
func (s *Summary) seriesFor(c *plan.Condition) *Series {
	if inSeries(c) {
		return &s.Series
	}
	if i := slices.IndexFunc(s.Parts, func(p Part) bool { return p.partKey == keyOf(c) }); i >= 0 {
		return &s.Parts[i].Series
	}
	return nil
}

func (s *Summary) addParts(from []Part) {
	for i := range from {
		at := slices.IndexFunc(s.Parts, func(p Part) bool { return p.partKey == from[i].partKey })
		if at < 0 {
			at = len(s.Parts)
			s.Parts = append(s.Parts, Part{partKey: from[i].partKey})
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

// partPoint has only what observe fills in: there may be many.
func (e *encoder) partPoint(p *Point) {
	for _, c := range p.partCounters() {
		e.counter(*c)
	}
	e.signed(int64(p.Max))
	e.text(string(p.latency))
}

func (p *Point) partCounters() [7]*int64 {
	return [...]*int64{&p.Started, &p.Requests, &p.Retried, &p.Errors, &p.Completed, &p.AssertionsPassed, &p.AssertionsLost}
}

func (d *decoder) parts() (out []Part) {
	for range d.length(MaxParts, "parts") {
		if d.err != nil {
			return nil
		}
		p := Part{partKey: partKey{Step: d.text(), Scenario: d.text(), Of: d.text()}}
		d.points(&p.Series, (*decoder).partPoint)
		out = append(out, p)
	}
	return out
}

func (d *decoder) partPoint() (p Point) {
	for _, c := range p.partCounters() {
		*c = d.counter()
	}
	p.Max, p.latency = time.Duration(d.signed()), d.sketch(latencySketch)
	return p
}
