package main

import (
	"context"
	"errors"
	"time"

	"volley/loadgen"
	"volley/settings"
	"volley/stats"
)

// playing is a run, or the load of a standby, under way and, if memory has ended it, in what words.
type playing struct {
	cancel context.CancelCauseFunc
	reason string
}

// recordingOf is what the environment says is recorded.
func recordingOf(set settings.Memory) loadgen.Recording {
	return loadgen.Recording{Off: !set.Percentiles, SamplePct: set.SamplePct, MaxLabels: set.MaxLabels}
}

func (r *runner) begin(runID string, cancel context.CancelCauseFunc) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.playing[runID] = &playing{cancel: cancel}
}

// finish is called when a run has ended. It returns an error, which the summary
// has too, if that was for want of memory.
func (r *runner) finish(runID string, summary *stats.Summary) error {
	err := r.over(runID)
	r.mu.Lock()
	r.starved = err != nil
	r.mu.Unlock()
	if err == nil {
		return nil
	}
	if summary != nil {
		summary.Failure = err.Error()
	}
	r.engine.Collect() // the report needs some of what the run had
	return err
}

// over takes a run off those under way. It returns an error if want of memory
// has ended it.
func (r *runner) over(runID string) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	reason := r.playing[runID].reason
	delete(r.playing, runID)
	if reason == "" {
		return nil
	}
	return errors.New(reason)
}

// busy says whether load is under way, in standby too.
func (r *runner) busy() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return len(r.playing) > 0
}

// starvedGrace is short, but not nothing: to cut thousands of requests off at one
// instant takes more memory than to let most of them end.
const starvedGrace = 500 * time.Millisecond

// starve ends what runs, because memory has run out: nothing new begins, and what
// was measured is reported.
func (r *runner) starve(reason string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, p := range r.playing {
		if p.reason == "" {
			p.reason = reason
			p.cancel(&loadgen.StopCause{Reason: "memory", Grace: starvedGrace})
		}
	}
}

func (r *runner) hasStarved() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.starved
}

// rotate shows a summary to the view of the last interval, and logs an interval
// that is over.
func (r *runner) rotate(view *stats.Interval, s *stats.Summary) {
	if view == nil {
		return
	}
	closed, err := view.Observe(s)
	switch {
	case err != nil:
		r.log.Warn("the view of the last interval is lost: "+err.Error(), "run_id", s.RunID)
	case closed != nil:
		r.log.Info("an interval is over, its view begins anew (the result keeps it)", "run_id", s.RunID,
			"from_s", closed.FromS, "to_s", closed.ToS, "requests", closed.Requests, "errors", closed.Errors,
			"p50_ms", figure(closed.Latency.P50), "p95_ms", figure(closed.Latency.P95), "p99_ms", figure(closed.Latency.P99),
			"max_ms", figure(closed.Latency.Max))
	}
}

// figure is what a log line shows of a figure that may not be there.
func figure(v *float64) any {
	if v == nil {
		return nil
	}
	return *v
}

// interval makes the view of a run's last interval, nil if there is none, also when
// the run is no longer the newest.
func (r *runner) interval(runID string) func() *stats.IntervalResult {
	r.mu.Lock()
	defer r.mu.Unlock()
	p, ok := r.jobs[runID]
	if !ok || p.view == nil {
		return func() *stats.IntervalResult { return nil }
	}
	view := p.view
	return func() *stats.IntervalResult {
		r.mu.Lock()
		defer r.mu.Unlock()
		v, err := view.Result()
		if err != nil {
			r.log.Warn("no view of the last interval: "+err.Error(), "run_id", runID)
		}
		return v
	}
}
