package stats

import (
	"math"
	"time"

	"volley/plan"
)

// replayable is false for a threshold that a Judge can judge only if it has
// observed the run or has a summary with the part that it asks for (see Part):
// one over last DURATION of a step or scenario, service, ok or iteration.
func replayable(c *plan.Condition) bool { return c.Last == 0 || inSeries(c) }

func inSeries(c *plan.Condition) bool {
	return c.Step == "" && c.Scenario == "" && (c.Metric.Of == "" || c.Metric.Of == "latency")
}

// replay observes the series of a run in place of its summaries. The rules that
// none can serve learn nothing.
func (j *Judge) replay(s *Summary) {
	served := map[*Series][]*rule{}
	for _, r := range j.rules {
		if series := s.seriesFor(&r.cond); series != nil && len(series.Points) > 0 {
			served[series] = append(served[series], r)
		}
	}
	for series, rules := range served {
		j.replaySeries(s, series, rules)
	}
}

func (j *Judge) replaySeries(s *Summary, series *Series, rules []*rule) {
	var sum gathered
	left := make([]gathered, len(rules)) // what has left each rule's window
	rates, known := s.ratesOver(), series.pointsBefore(s.known())
	longest := 0 // window, in points: when all is quiet for so long, there is nothing more to see
	for _, r := range rules {
		w := series.windowTo(0, r.cond.Last)
		longest = max(longest, w.points())
	}
	for i := range max(min(known, len(series.Points)+longest), len(series.Points)) {
		if i < len(series.Points) {
			sum.add(&series.Points[i], true)
		}
		at := min(series.Time(i+1), s.sending()) // what the drain brings belongs to the end
		if at <= j.watched {
			continue // it has been judged, and more exactly
		}
		rate := rates(at)
		for k, r := range rules {
			if r.cond.Last == 0 {
				r.observe(sum.reading(&r.cond, s, max(at-s.Warmup, 0)), at, rate)
				continue
			}
			if at < r.cond.Last || i >= known {
				continue
			}
			w, times := series.windowTo(i+1, r.cond.Last), r.cond.Metric.IsDuration()
			for gone := &left[k]; gone.points < min(w.from, len(series.Points)); {
				gone.add(&series.Points[gone.points], times)
			}
			inside := sum.minus(&left[k], times)
			r.observe(inside.within(&w, r, s, at), at, rate)
		}
	}
}

// Unheard is how much the words of nodes may be apart: what is younger may not be
// all there is.
const Unheard = 2 * time.Second

// known is until when a summary knows all that happened.
func (s *Summary) known() time.Duration {
	if s.Ended {
		return s.sending()
	}
	return min(s.Elapsed-Unheard, s.sending())
}

// pointsBefore is how many points lie wholly before an instant, were the series to
// go on for so long.
func (s *Series) pointsBefore(at time.Duration) int {
	span := time.Duration(s.Span) * time.Second
	return max(int((at-s.Time(0))/span), 0)
}

// ratesOver tells the rate of arrivals at instants that ascend.
func (s *Summary) ratesOver() func(at time.Duration) float64 {
	watch := NewJudge(nil)
	var started int64
	next := 0
	return func(at time.Duration) float64 {
		for next < len(s.Series.Points) && min(s.Series.Time(next+1), s.sending()) <= at {
			started += s.Series.Points[next].Started
			next++
			watch.step(max(min(s.Series.Time(next), s.sending())-s.Warmup, 0), started)
		}
		return watch.rate
	}
}

// gathered is points of a series, added up.
type gathered struct {
	totals
	hist   Histogram
	points int
}

func (g *gathered) add(p *Point, times bool) {
	g.totals.add(p)
	g.points++
	if times {
		slowest := max(g.hist.max, int64(p.Max))
		p.latency.addTo(&g.hist)
		g.hist.max = slowest // closer than the bucket that stands for it
	}
}

// minus is g without earlier points of the same series.
func (g *gathered) minus(o *gathered, times bool) gathered {
	out := gathered{totals: g.totals.minus(&o.totals), points: g.points - o.points}
	if times {
		out.hist = g.hist.Minus(&o.hist)
	}
	return out
}

// reading is what a condition looks at in the points, which cover span.
func (g *gathered) reading(c *plan.Condition, s *Summary, span time.Duration) reading {
	now := reading{span: span, hist: g.hist}
	if c.Metric.IsDuration() {
		now.slower = s.slower(g.totals.dropped)
		return now
	}
	t := g.totals
	if !inSeries(c) {
		t.begun = t.iterations // arrivals are those of the run
	}
	now.count(c, &t, s.Unit)
	return now
}

// window is the points of a series that stand for so much of a run.
type window struct {
	series   *Series
	from, to int // from may lie before the first point, to behind the last
}

func (w *window) points() int { return w.to - w.from }

// windowTo is the window of about so long that ends before a point.
func (s *Series) windowTo(to int, last time.Duration) window {
	span := time.Duration(s.Span) * time.Second
	return window{s, to - max(int((last+span/2)/span), 1), to}
}

// within is what a rule looks at in a window that ends at an instant of the run.
// Counts are those of the rule's time, in proportion: points are whole seconds,
// or more of them.
func (g *gathered) within(w *window, r *rule, s *Summary, at time.Duration) reading {
	begin := max(w.series.Time(w.from), s.Warmup)
	covered := max(at-begin, 0)
	now := g.reading(&r.cond, s, covered)
	if now.of > 0 || covered == 0 || begin == s.Warmup && covered <= r.cond.Last {
		return now
	}
	switch r.cond.Metric.Name {
	case "errors", "dropped", "late_starts", "iterations":
		now.n = int64(math.Round(float64(now.n) * float64(r.cond.Last) / float64(covered)))
	}
	return now
}

func (t *totals) add(p *Point) {
	t.requests, t.retried, t.errors = t.requests+p.Requests, t.retried+p.Retried, t.errors+p.Errors
	t.passed, t.failed = t.passed+p.AssertionsPassed, t.failed+p.AssertionsLost
	t.iterations += p.Completed
	t.started, t.late, t.dropped = t.started+p.Started, t.late+p.Late, t.dropped+p.Dropped
	t.begun = t.started
}

func (t *totals) minus(o *totals) totals {
	return totals{
		requests: t.requests - o.requests, retried: t.retried - o.retried, errors: t.errors - o.errors,
		passed: t.passed - o.passed, failed: t.failed - o.failed, iterations: t.iterations - o.iterations, begun: t.begun - o.begun,
		started: t.started - o.started, late: t.late - o.late, dropped: t.dropped - o.dropped,
	}
}

// Resume is for who watches a run from its middle on, given what there is of it by
// then, or again when what has been observed has a gap: what the series can tell of
// the time before is judged as if it had been observed. Until a window has passed
// from here on, it is read of the series, whose figures are rounded: exact ones less
// rounded ones would be neither.
func (j *Judge) Resume(s *Summary) {
	if s.Elapsed > 5*windowSlack/2 { // else nothing has been missed
		j.resume(s, s.Elapsed)
	}
}

func (j *Judge) resume(s *Summary, at time.Duration) {
	j.replay(s)
	for _, r := range j.rules {
		r.resumed, r.history = at, history{}
	}
}

// LooksBack is whether a window that ends at an instant of the run begins before
// this judge has watched: it needs a summary with Series and Parts then.
func (j *Judge) LooksBack(at time.Duration) bool {
	for _, r := range j.rules {
		if r.looksBack(at) {
			return true
		}
	}
	return false
}

func (r *rule) looksBack(at time.Duration) bool {
	begin := at - r.cond.Last
	return r.cond.Last > 0 && begin >= 0 && begin+min(windowSlack, r.cond.Last/2) < r.resumed
}

// told says whether a series tells of the rule's condition over time.
func (r *rule) told(s *Summary) bool {
	series := s.seriesFor(&r.cond)
	return series != nil && len(series.Points) > 0
}

// sinceBefore is a window that begins before the judge has watched; ok is false if
// no series tells of it.
func (r *rule) sinceBefore(s *Summary, at time.Duration) (now reading, ok bool) {
	if !r.told(s) {
		return reading{}, false
	}
	series := s.seriesFor(&r.cond)
	known := min(s.known(), at)
	if known < r.cond.Last && !s.Ended {
		return reading{}, false // none has passed yet, as far as is known
	}
	w, upTo, end := series.windowTo(series.pointsBefore(known), r.cond.Last), len(series.Points), known
	if !s.Ended { // at the end what the drain has brought belongs to it
		upTo = min(w.to, upTo)
		end = series.Time(w.to)
	}
	var sum gathered
	for i := max(w.from, 0); i < upTo; i++ {
		sum.add(&series.Points[i], true)
	}
	return sum.within(&w, r, s, end), true
}
