package stats

import "time"

// Interval is a view of a run that begins anew every so often, beside the
// result, which it never touches. It is not safe for concurrent use.
type Interval struct {
	length   time.Duration
	since    time.Duration // of the run, when the view began
	requests int64         // before that
	errors   int64
	latency  Histogram
	now      *Summary // the newest observed
}

// IntervalResult is the part of a Result that shows an Interval.
type IntervalResult struct {
	FromS    float64     `json:"from_s"` // since the start
	ToS      float64     `json:"to_s"`
	Requests int64       `json:"requests"`
	Errors   int64       `json:"errors"`
	Latency  Percentiles `json:"latency_ms"`
}

// NewInterval makes a view of a run that rotates every length.
func NewInterval(length time.Duration) *Interval { return &Interval{length: length} }

// Observe takes a summary of the run, a later one each time. If a full interval
// has passed, closed is what it held, and the view begins anew: not at the end
// of the run, whose last interval shall be seen.
func (v *Interval) Observe(s *Summary) (closed *IntervalResult, err error) {
	v.now = s
	over := s.Ended || s.Planned > 0 && s.Elapsed >= s.Planned
	if over || s.Elapsed-v.since < v.length {
		return nil, nil
	}
	closed, err = v.Result()
	// On the grid of the run, so that a late look does not shift all that follow.
	v.since = s.Elapsed - s.Elapsed%v.length
	v.requests, v.errors, v.latency = s.Requests, s.ErrorCount(), s.Latency.Clone()
	return closed, err
}

// Result is the view as it is now, nil before anything was observed.
func (v *Interval) Result() (*IntervalResult, error) {
	s := v.now
	if s == nil {
		return nil, nil
	}
	var b blockBuilder
	latency := s.Latency.Minus(&v.latency)
	return &IntervalResult{
		FromS: v.since.Seconds(), ToS: s.sending().Seconds(), Requests: s.Requests - v.requests,
		Errors: s.ErrorCount() - v.errors, Latency: b.block(&latency, 0),
	}, b.err
}
