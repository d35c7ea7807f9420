package stats

import (
	"time"

	"volley/plan"
)

// Replayable is false for a threshold that a Judge can judge only if it has
// observed the run: one over last DURATION of something that the series does
// not hold, which is a step or scenario, service, ok or iteration. Where only
// final reports are merged it has to be refused.
func Replayable(c *plan.Condition) bool { return c.Last == 0 || inSeries(c) }

func inSeries(c *plan.Condition) bool {
	return c.Step == "" && c.Scenario == "" && (c.Metric.Of == "" || c.Metric.Of == "latency")
}

// replay observes the series of a run in place of its summaries. The rules that
// it cannot serve learn nothing.
func (j *Judge) replay(s *Summary) {
	var rules []*rule
	for _, r := range j.rules {
		if inSeries(&r.cond) {
			rules = append(rules, r)
		}
	}
	if len(rules) == 0 {
		return
	}
	var t totals
	var latency Histogram
	var slowest time.Duration
	watch := NewJudge(nil)
	for i := range s.Series.Points {
		p := &s.Series.Points[i]
		t.add(p)
		p.latency.addTo(&latency)
		slowest = max(slowest, p.Max)
		latency.max = int64(slowest)               // which is exact
		at := min(s.Series.Time(i+1), s.sending()) // what the drain brings belongs to the end
		watch.step(max(at-s.Warmup, 0), t.started)
		for _, r := range rules {
			now := reading{span: max(at-s.Warmup, 0), hist: latency, slower: s.slower(t.dropped)}
			if !r.cond.Metric.IsDuration() {
				now.count(&r.cond, &t, s.Unit)
			}
			r.observe(now, at, watch.rate)
		}
	}
}

func (t *totals) add(p *Point) {
	t.requests, t.retried, t.errors = t.requests+p.Requests, t.retried+p.Retried, t.errors+p.Errors
	t.passed, t.failed = t.passed+p.AssertionsPassed, t.failed+p.AssertionsLost
	t.iterations += p.Completed
	t.started, t.late, t.dropped = t.started+p.Started, t.late+p.Late, t.dropped+p.Dropped
	t.begun = t.started
}
