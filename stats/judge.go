package stats

import (
	"math"
	"time"

	"volley/plan"
)

// Judge holds a run against the thresholds of its plan. It knows no clock: time
// comes with the summaries. It is not safe for concurrent use.
//
// Whoever sees the cumulative summaries of a run makes one Judge for it, gives
// each live summary to Observe, once a second, and ends the run (phase stopped,
// event threshold_failed, exit code 99) when Aborting says so. After the drain
// the same Judge is given the final summary: Result returns the rows for
// Result.Thresholds, and the run's exit code is 99 if Held says no. In a
// cluster the summaries are the merged ones. A Judge that has observed nothing,
// because only final reports are there, replays the run from their series and
// parts: see replayable for what reports without parts cannot tell.
//
// A threshold on the whole run is judged by the final summary; before that it
// only tells since when it has been failing, and aborts. One over last DURATION
// has failed if it failed over any such window, once the first has passed.
type Judge struct {
	rules   []*rule
	started int64         // arrivals, when observed last
	at      time.Duration // of that
	rate    float64       // arrivals per second between the last two; NaN before there is one
	seen    bool
	watched time.Duration // up to when of the run it has observed
}

// rule is one threshold with what has become of it.
type rule struct {
	plan.Threshold
	cond    plan.Condition
	history history // with over last: readings of its window
	// resumed is since when of the run there are readings, 0 for its start; what has
	// been before is read of a series.
	resumed time.Duration
	failing bool    // at the last observation; for good over last
	value   float64 // when it failed
	known   bool    // value is known
	judged  bool    // over last: there was a value at some time
	since   time.Duration
	rate    float64
}

// NewJudge makes a judge of a valid plan's thresholds.
func NewJudge(thresholds []plan.Threshold) *Judge {
	j := &Judge{rate: math.NaN()}
	for _, t := range thresholds {
		if c, ok := t.Condition(); ok {
			j.rules = append(j.rules, &rule{Threshold: t, cond: c})
		}
	}
	return j
}

// Observe judges the run so far; s must be a later one each time.
func (j *Judge) Observe(s *Summary) {
	if len(j.rules) == 0 {
		return
	}
	j.watched = s.Elapsed
	j.step(max(s.sending()-s.Warmup, 0), s.Started) // nothing starts in the drain
	for _, r := range j.rules {
		now, full := readingOf(&r.cond, s), true
		if r.cond.Last > 0 {
			now, full = r.window(now, s, s.Elapsed)
		}
		if full {
			r.observe(now, s.Elapsed, j.rate)
		}
	}
}

// leastStep is what a rate is taken over at least.
const leastStep = time.Second / 4

// step moves on to a time since the end of warm-up, whose arrivals do not count.
func (j *Judge) step(at time.Duration, started int64) {
	if span := at - j.at; span >= leastStep {
		j.rate = perSecond(max(started-j.started, 0), span)
		j.at, j.started = at, started
	}
	j.seen = true
}

// window is what happened in the last so much of the run, as history.window has
// it; full is false if nobody can tell, too.
func (r *rule) window(now reading, s *Summary, at time.Duration) (window reading, full bool) {
	window, full = r.history.window(now, at, r.cond.Last)
	if r.looksBack(at) {
		return r.sinceBefore(s, at)
	}
	return window, full
}

// observe judges a rule at a time of the run by what it looks at: with over last,
// a full window.
func (r *rule) observe(now reading, at time.Duration, rate float64) {
	if r.AbortOnFail && at < r.After {
		return
	}
	value, known, judged := now.value(&r.cond)
	failed := judged && !(known && holds(r.cond.Op, value, r.cond.Value))
	if r.cond.Last > 0 {
		r.judged = r.judged || judged
		if failed && !r.failing {
			r.fail(value, known, at, rate)
		}
		return
	}
	if !failed || r.grows(value, known) {
		r.failing = false
		return
	}
	if !r.failing {
		r.fail(value, known, at, rate)
	}
}

func (r *rule) fail(value float64, known bool, at time.Duration, rate float64) {
	r.failing, r.value, r.known, r.since, r.rate = true, value, known, at, rate
}

// grows is true of a count that can still reach its bound: it has not failed
// before the end.
func (r *rule) grows(value float64, known bool) bool {
	switch r.cond.Metric.Name {
	case "errors", "dropped", "late_starts", "iterations":
		switch r.cond.Op {
		case ">", ">=":
			return !r.cond.OfDue
		case "==":
			return known && !r.cond.OfDue && value < r.cond.Value
		}
	}
	return false
}

// Aborting is the first threshold with abortOnFail that has failed at the last
// observation; ok is false if there is none.
func (j *Judge) Aborting() (failed ThresholdResult, ok bool) {
	for _, r := range j.rules {
		if r.AbortOnFail && r.failing {
			return r.row(r.value, r.known, false), true
		}
	}
	return ThresholdResult{}, false
}

// Result judges the final summary, in the order of the plan.
func (j *Judge) Result(s *Summary) []ThresholdResult {
	end := s.Elapsed
	if !j.seen {
		end = s.sending() // as far as the series goes
		j.resume(s, end)
	}
	out := make([]ThresholdResult, 0, len(j.rules))
	for _, r := range j.rules {
		out = append(out, r.final(s, end, j.seen || r.told(s)))
	}
	return out
}

// final judges a rule for good, at the end of the run. observed is whether the time of a failure that
// only shows now is known: it is the end.
func (r *rule) final(s *Summary, end time.Duration, observed bool) ThresholdResult {
	if r.failing && (r.AbortOnFail || r.cond.Last > 0) {
		return r.row(r.value, r.known, false) // whatever came in after that
	}
	now := readingOf(&r.cond, s)
	if r.cond.Last > 0 {
		var full bool
		if now, full = r.window(now, s, end); !full && end >= r.cond.Last {
			return r.row(0, false, false)
		}
	}
	value, known, judged := now.value(&r.cond)
	if !judged && r.judged {
		return r.row(0, false, true) // nothing in the last window, and all before it held
	}
	ok := judged && known && holds(r.cond.Op, value, r.cond.Value)
	if ok {
		r.failing = false
		return r.row(value, known, true)
	}
	if !r.failing && judged && observed {
		r.fail(value, known, s.sending(), perSecond(s.Started, s.sending()-s.Warmup))
	}
	return r.row(value, known, false)
}

func (r *rule) row(value float64, known, ok bool) ThresholdResult {
	out := ThresholdResult{Expr: r.Expr, OK: ok}
	if known {
		if r.cond.Metric.IsDuration() {
			value /= float64(time.Millisecond)
		}
		value = round(value, 6)
		out.Value = &value
	}
	if r.failing {
		at, rate := round(r.since.Seconds(), 3), r.rate
		out.FailedAtS = &at
		if !math.IsNaN(rate) {
			out.RateAtFailure = &rate
		}
	}
	return out
}

// Held is true if every threshold held.
func Held(rows []ThresholdResult) bool {
	for i := range rows {
		if !rows[i].OK {
			return false
		}
	}
	return true
}

func holds(op string, value, bound float64) bool {
	switch op {
	case "<":
		return value < bound
	case "<=":
		return value <= bound
	case ">":
		return value > bound
	case ">=":
		return value >= bound
	}
	return value == bound
}
