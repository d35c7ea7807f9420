package stats

import (
	"slices"
	"time"

	"volley/plan"
)

// Replayable is false for a threshold that a Judge can judge only if it has
// observed the run or has a summary with the parts that it asks for (see Part):
// one over last DURATION of a step or scenario, service, ok or iteration. Where
// only final reports are merged it has to be refused.
func Replayable(c *plan.Condition) bool { return c.Last == 0 || inSeries(c) }

func inSeries(c *plan.Condition) bool {
	return c.Step == "" && c.Scenario == "" && (c.Metric.Of == "" || c.Metric.Of == "latency")
}

// replay observes the series of a run in place of its summaries. The rules that
// none can serve learn nothing.
func (j *Judge) replay(s *Summary) {
	served := map[*Series][]*rule{}
	for _, r := range j.rules {
		if series := s.seriesFor(&r.cond); series != nil {
			served[series] = append(served[series], r)
		}
	}
	for series, rules := range served {
		j.replaySeries(s, series, rules)
	}
}

func (j *Judge) replaySeries(s *Summary, series *Series, rules []*rule) {
	var sum gathered
	watch := NewJudge(nil)
	for i := range series.Points {
		sum.add(&series.Points[i])
		at := min(series.Time(i+1), s.sending()) // what the drain brings belongs to the end
		watch.step(max(at-s.Warmup, 0), sum.started)
		for _, r := range rules {
			now, full := sum.reading(&r.cond, s, max(at-s.Warmup, 0)), true
			if r.cond.Last > 0 {
				now, full = r.history.window(now, at, r.cond.Last)
			}
			if full {
				r.observe(now, at, watch.rate)
			}
		}
	}
}

// gathered is points of a series, added up.
type gathered struct {
	totals
	hist Histogram
}

func (g *gathered) add(p *Point) {
	g.totals.add(p)
	slowest := max(g.hist.max, int64(p.Max))
	p.latency.addTo(&g.hist)
	g.hist.max = slowest // which is exact
}

// reading is what a condition looks at in the points, which cover span.
func (g *gathered) reading(c *plan.Condition, s *Summary, span time.Duration) reading {
	now := reading{span: span, hist: g.hist}
	t := g.totals
	if !inSeries(c) {
		t.begun = t.iterations // arrivals are those of the run
		t.started = 0
	}
	if c.Metric.IsDuration() {
		now.slower = s.slower(t.dropped)
	} else {
		now.count(c, &t, s.Unit)
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

// Resume is for who watches a run from its middle on, given what there is of it by
// then: what the series can tell of the time before is judged as if it had been
// observed. Until a window has passed from here on, it is read of the series, whose
// figures are rounded: exact ones less rounded ones would be neither.
func (j *Judge) Resume(s *Summary) {
	if s.Elapsed > 2*windowSlack { // else nothing has been missed
		j.resume(s, s.Elapsed)
	}
}

func (j *Judge) resume(s *Summary, at time.Duration) {
	j.replay(s)
	for _, r := range j.rules {
		r.resumed, r.history = at, history{}
	}
}

// told says whether a series tells of the rule's condition over time.
func (r *rule) told(s *Summary) bool {
	series := s.seriesFor(&r.cond)
	return series != nil && len(series.Points) > 0
}

// sinceBefore is a window that begins before the judge has watched, of the points
// that lie in it to at least a half; ok is false if no series tells of it.
func (r *rule) sinceBefore(s *Summary, at time.Duration) (window reading, ok bool) {
	series := s.seriesFor(&r.cond)
	if series == nil {
		return reading{}, false
	}
	var sum gathered
	begin, span := at-r.cond.Last, time.Duration(series.Span)*time.Second
	from := len(series.Points)
	for i := range slices.Backward(series.Points) {
		if series.Time(i) < begin-span/2 {
			break
		}
		sum.add(&series.Points[i])
		from = i
	}
	end := max(s.sending(), s.Warmup) // a window ends when the load does
	since := begin
	if from < len(series.Points) {
		since = series.Time(from)
	}
	return sum.reading(&r.cond, s, max(end-max(since, s.Warmup), 0)), true
}
