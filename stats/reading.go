package stats

import (
	"time"

	"volley/plan"
)

// reading is what a condition looks at, cumulative up to one moment or of a
// window, which is the difference of two.
type reading struct {
	n, of  int64     // the metric's count, and what it is a share of
	base   int64     // samples: without any there is no value
	hist   Histogram // of a duration; not to be changed
	slower int64     // samples slower than any in hist
	span   time.Duration
}

// readingOf is what a condition looks at in a summary, whose histograms it
// shares.
func readingOf(c *plan.Condition, s *Summary) reading {
	r := reading{span: s.Span()}
	if c.Last > 0 {
		r.span = max(s.sending()-s.Warmup, 0) // a window ends when the load does
	}
	if c.Metric.IsDuration() {
		r.hist = s.histogramFor(keyOf(c))
		if inSeries(c) {
			r.slower = s.slower(s.Dropped)
		}
		return r
	}
	t := s.totals(keyOf(c))
	r.count(c, &t, s.Unit)
	return r
}

// histogramFor is a histogram that may be shared with the summary.
func (s *Summary) histogramFor(k partKey) (h Histogram) {
	switch {
	case k.Of == "iteration" && k.selected():
		for i := range s.Scenarios {
			if s.Scenarios[i].Name == k.Scenario {
				h.Merge(&s.Scenarios[i].Duration)
			}
		}
		return h
	case k.Of == "iteration":
		return s.IterationTime
	case k.selected():
		for _, st := range s.selected(k) {
			part := st.histogramOf(k.Of)
			h.Merge(&part)
		}
		return h
	case k.Of == "service":
		return s.Service
	case k.Of == "ok":
		return s.LatencyOK
	}
	return s.Latency
}

// selected lists the steps that a part is limited to.
func (s *Summary) selected(k partKey) []*StepStats {
	var out []*StepStats
	for i := range s.Steps {
		if s.Steps[i].isOf(k) {
			out = append(out, &s.Steps[i])
		}
	}
	return out
}

func (st *StepStats) histogramOf(what string) Histogram {
	switch what {
	case "service":
		return st.Service
	case "ok":
		return st.Latency.Minus(&st.LatencyFailed)
	}
	return st.Latency
}

// totals is what counts are read of: a run or a part of it.
type totals struct {
	requests, retried, errors int64
	passed, failed            int64 // assertions
	iterations, begun         int64 // completed; completed and interrupted
	started, late, dropped    int64
}

func (s *Summary) totals(k partKey) (t totals) {
	if !k.selected() {
		return s.allTotals()
	}
	for _, st := range s.selected(k) {
		t.requests, t.retried, t.errors = t.requests+st.Requests, t.retried+st.Retried, t.errors+st.Errors
		t.passed, t.failed = t.passed+st.AssertionsPassed, t.failed+st.AssertionsFailed
	}
	for i := range s.Scenarios {
		if sc := &s.Scenarios[i]; sc.Name == k.Scenario {
			t.iterations += sc.Succeeded + sc.Failed
			t.begun += sc.Succeeded + sc.Failed + sc.Interrupted
		}
	}
	return t
}

func (s *Summary) allTotals() totals {
	t := totals{
		requests: s.Requests, retried: s.Retried, errors: s.ErrorCount(), iterations: s.iterations(), begun: s.Started,
		started: s.Started, late: s.LateNoWorker + s.LateCatchUp + s.LateGenerator, dropped: s.Dropped,
	}
	for i := range s.Steps {
		t.passed, t.failed = t.passed+s.Steps[i].AssertionsPassed, t.failed+s.Steps[i].AssertionsFailed
	}
	return t
}

func (r *reading) count(c *plan.Condition, t *totals, unit string) {
	switch c.Metric.Name {
	case "error_rate":
		r.n, r.of, r.base = t.errors, t.requests-t.retried, t.requests-t.retried
	case "assertion_rate":
		r.n, r.of, r.base = t.passed, t.passed+t.failed, t.passed+t.failed
	case "errors":
		r.n, r.base = t.errors, t.requests
	case "dropped":
		r.n, r.base = t.dropped, t.started+t.dropped
	case "late_starts":
		r.n, r.base = t.late, t.started+t.dropped
	case "rps":
		r.n, r.base = t.requests, t.requests
	case "iterations":
		r.n, r.base = t.iterations, t.begun
	}
	if !c.OfDue {
		return
	}
	// Done of due, both in the unit of the load.
	r.n, r.of, r.base = t.iterations, t.started+t.dropped, t.started+t.dropped
	if unit == "requests" {
		r.n = t.requests
	}
}

// minus is what happened since an earlier reading.
func (r *reading) minus(o *reading) reading {
	return reading{
		n: r.n - o.n, of: r.of - o.of, base: r.base - o.base, hist: r.hist.Minus(&o.hist),
		slower: r.slower - o.slower, span: r.span - o.span,
	}
}

// keep makes it independent of the summary it was read from.
func (r reading) keep() reading {
	r.hist = r.hist.Clone()
	return r
}

// value is the metric in the unit of Condition.Value. known is false if a
// percentile's rank falls among the dropped: it is then longer than any. judged
// is false without a sample.
func (r *reading) value(c *plan.Condition) (value float64, known, judged bool) {
	if c.Metric.IsDuration() {
		return r.durationValue(c)
	}
	if r.base <= 0 {
		return 0, false, false
	}
	switch {
	case c.OfDue:
		return 100 * float64(r.n) / float64(r.of), true, true
	case c.Metric.Name == "error_rate" || c.Metric.Name == "assertion_rate":
		return float64(r.n) / float64(r.of), true, true
	case c.Metric.Name == "rps":
		if r.span <= 0 {
			return 0, false, false
		}
		return float64(r.n) / r.span.Seconds(), true, true
	}
	return float64(r.n), true, true
}

func (r *reading) durationValue(c *plan.Condition) (value float64, known, judged bool) {
	if r.hist.count == 0 {
		return 0, false, r.slower > 0 && c.Metric.Name == "percentile"
	}
	switch c.Metric.Name {
	case "mean":
		return float64(r.hist.Mean()), true, true
	case "max":
		return float64(r.hist.Max()), true, true
	}
	d, ok := r.hist.PercentileAmong(c.Metric.Percentile, r.slower)
	return float64(d), ok, true
}

// maxHistory bounds the readings that are kept for a window.
const maxHistory = 600

// windowSlack is no matter to a window: a snapshot comes a little after its second.
const windowSlack = time.Second / 2

// history is the readings that a window needs, a second apart or, if it is
// longer than 10 minutes, a 600th of it.
type history struct {
	readings []reading
	times    []time.Duration
}

// window is what happened in the last so much of the run; full is false until
// that much of it has passed. It keeps now for later windows.
func (h *history) window(now reading, at, last time.Duration) (window reading, full bool) {
	defer h.add(now, at, last)
	begin := at - last
	if begin < 0 {
		return now, false
	}
	for len(h.times) > 1 && h.times[1] <= begin+windowSlack {
		h.times, h.readings = h.times[1:], h.readings[1:]
	}
	if len(h.times) == 0 || h.times[0] > begin+windowSlack {
		return now, true // nothing was counted before the window
	}
	return now.minus(&h.readings[0]), true
}

func (h *history) add(now reading, at, last time.Duration) {
	apart := max(last/maxHistory, time.Second/2)
	if n := len(h.times); n > 0 && at-h.times[n-1] < apart || n > 2*maxHistory {
		return
	}
	h.times, h.readings = append(h.times, at), append(h.readings, now.keep())
}
