package stats

import (
	"maps"
	"time"
)

// Summary is the cumulative state of one node's run, or of several merged. It
// is plain data: read and write its fields freely, but copy it with Clone.
type Summary struct {
	RunID         string
	ConfigVersion string
	NodeID        string
	Region        string
	Tenant        string
	StartedAt     time.Time     // when t = 0 was, by the node's wall clock
	Elapsed       time.Duration // since StartedAt, the drain included
	Planned       time.Duration // config.duration, warmup included
	Warmup        time.Duration // its first part, in no count but these two:

	WarmupRequests, WarmupErrors int64

	// StoppedBy is what has ended the run before its time, such as stop, signal or
	// replaced, and StoppedAfter when; "" and 0 if nothing has.
	StoppedBy    string
	StoppedAfter time.Duration

	Ended   bool   // the run is over and drained: nothing will change
	Closed  bool   // closed model: there is no target rate
	Failure string // why the engine failed, "" if it did not

	// Target is how many arrivals the curve asks for: over Planned less Warmup
	// once the run has Ended, before that up to Elapsed. 0 in a closed model.
	Target  float64
	Workers int64 // configured

	Sent      bool          // at least one arrival was started
	FirstDue  time.Duration // of the first arrival, since StartedAt
	FirstSent time.Duration // of the same arrival, since StartedAt

	Started, Dropped       int64 // arrivals; due is their sum
	Completed, Interrupted int64 // arrivals: iterations, with load.unit requests requests
	Placed                 int64 // of Completed, requests that were not the last of their iteration
	LateNoWorker           int64 // all workers were busy with the target
	LateCatchUp            int64 // held back by the 110 % rule
	LateGenerator          int64 // volley's own fault
	Requests, Retried      int64 // attempts and redirect hops; repaired attempts
	Errors                 [errorKinds]int64
	BytesIn, BytesOut      int64
	ConnsNew, ConnsReused  int64 // requests by the kind of their connection
	Reconnects             int64
	UnresolvedVariables    int64 // uses of ${…} that stayed as they are
	ExtractionsFailed      int64 // variables not found in a response

	// ErrorExamples has for each kind of error what one of them was, without
	// queries and bodies; "" if there was none.
	ErrorExamples [errorKinds]string

	Latency       Histogram // from due, one sample a step
	LatencyOK     Histogram // of the successful ones
	Service       Histogram // from the first byte sent, one sample an attempt
	IterationTime Histogram // completed iterations
	ScheduleLag   Histogram // only where a worker was free
	// Phases of requests: DNS, connect, TLS, first byte; if the plan asks for them.
	Phases [phaseCount]Histogram

	Steps     []StepStats     // in the order of the plan
	Scenarios []ScenarioStats // in the order of the plan
	Stages    []StageStats    // in the order of the plan; of a stages curve
	Series    Series
	Parts     []Part // at most MaxParts; of plans with thresholds that ask for them
	Slowest   []Slow // the slowest first, at most 20
	Generator Generator

	// ThinkTimeScale is what think times are multiplied by, if they are Scaled.
	ThinkTimeScale float64
	Scaled         bool

	// Unit is load.unit, "" for iterations.
	Unit string
	// SamplePct is the share of requests in histograms, 0 or 100 for all.
	SamplePct int64
	// SampleMost is the largest share of the nodes merged if they differ, else 0;
	// SamplePct is then the smallest.
	SampleMost   int64
	NoHistograms bool // percentile tracking is off

	DroppedThinking int64 // of Dropped, as far as the cause is known
	DroppedWaiting  int64
	DroppedEnd      int64
	DroppedIsolated int64
	Downgrades      int64 // redirects from https to http
	LookupFailures  int64 // of host names
	InFlight        int64 // requests sent and not answered yet
	FoldedLabels    int64 // steps and scenarios counted as "other"
	RowsSkipped     int64 // of split data files: lost nodes may have used them
	Histograms      int64 // that hold samples
	HistogramBytes  int64 // about, in the engine

	// SavingSince is since when of the run memory was saved (see Recorder.Save);
	// 0 is never. Of a merged summary it is the earliest.
	SavingSince time.Duration

	Pool Pool // what the run's config says of idle connections

	// Which HTTP clients opened connections: the engine's own, and net/http's.
	OwnClient, StdClient bool
}

// Pool is the limit on idle connections that a plan sets.
type Pool struct {
	Limited        bool  // MaxIdlePerHost is set
	MaxIdlePerHost int64 // 0 is a connection per request
	IdleTimeout    time.Duration
}

// StepStats is one step's part of a Summary.
type StepStats struct {
	StepKey
	Requests, Retried                  int64 // attempts and redirect hops; repaired attempts
	Succeeded, Errors                  int64 // requests, of which runs of the step by outcome:
	Superseded                         int64 // of Errors, attempts that a further one followed in vain
	Extra                              int64 // of Requests, those beyond one for each run: attempts before the last, hops
	AssertionsPassed, AssertionsFailed int64
	NoStatus                           int64         // requests without a response
	StatusCodes                        map[int]int64 // 1..999
	Latency, Service                   Histogram
	LatencyFailed                      Histogram // the part of Latency that errors have
}

// ScenarioStats is one scenario's part of a Summary: iterations.
type ScenarioStats struct {
	Name                           string
	Succeeded, Failed, Interrupted int64
	Duration                       Histogram // of the completed ones
}

// Generator is how the load generator itself fared; in a merged summary every
// figure is that of the worst node.
type Generator struct {
	CPUPct       float64 // of what the process may use
	ThrottledPct float64 // of the time, by the cgroup
	// ThrottledPeriods is in how many of the cgroup's periods that happened.
	ThrottledPeriods int64
	GCPauseP99       time.Duration
	WakeupP99        time.Duration // how late the scheduler wakes a timer
	// ClockJump is the farthest that the wall clock has jumped at once, forwards or
	// back, if that was more than a second.
	ClockJump time.Duration
	// Filled in by Recorder.Summary.
	ScheduleLagP50, ScheduleLagP99 time.Duration
}

// Due is the number of arrivals that fell due: started or dropped.
func (s *Summary) Due() int64 { return s.Started + s.Dropped }

// ErrorCount is the number of requests that are errors.
func (s *Summary) ErrorCount() int64 {
	var n int64
	for _, k := range s.Errors {
		n += k
	}
	return n
}

// ErrorRate is errors / (requests - retried), 0 without requests.
func (s *Summary) ErrorRate() float64 {
	if n := s.Requests - s.Retried; n > 0 {
		return float64(s.ErrorCount()) / float64(n)
	}
	return 0
}

// StatusCodes is how many responses had each status code.
func (s *Summary) StatusCodes() map[int]int64 {
	out := map[int]int64{}
	for i := range s.Steps {
		for code, n := range s.Steps[i].StatusCodes {
			out[code] += n
		}
	}
	return out
}

// Span is what rates divide by: the planned duration less warmup, or what has
// passed of it while the run goes on.
func (s *Summary) Span() time.Duration { return max(s.duration()-s.Warmup, 0) }

func (s *Summary) duration() time.Duration {
	if s.Planned > 0 && (s.Ended || s.Elapsed > s.Planned) {
		return s.Planned
	}
	return s.Elapsed
}

// sending is for how long load was sent: the duration, unless the run has ended
// before its time.
func (s *Summary) sending() time.Duration {
	if s.StoppedBy != "" {
		return min(s.StoppedAfter, s.duration())
	}
	return s.duration()
}

// StartSkew is actual send less due time of the first arrival; ok is false
// before it.
func (s *Summary) StartSkew() (skew time.Duration, ok bool) {
	return s.FirstSent - s.FirstDue, s.Sent
}

// FirstRequest is when the first arrival was started, by the node's wall clock;
// zero before.
func (s *Summary) FirstRequest() time.Time {
	if !s.Sent {
		return time.Time{}
	}
	return s.StartedAt.Add(s.FirstSent)
}

func (s *Summary) firstArrival(due, sent time.Duration) {
	if !s.Sent || due < s.FirstDue || due == s.FirstDue && sent < s.FirstSent {
		s.Sent, s.FirstDue, s.FirstSent = true, due, sent
	}
}

// keepExamples takes the examples of kinds that have none yet.
func (s *Summary) keepExamples(from *[errorKinds]string) {
	for kind, text := range from {
		if s.ErrorExamples[kind] == "" {
			s.ErrorExamples[kind] = text
		}
	}
}

func (st *StepStats) countStatus(code int, n int64) {
	if n == 0 {
		return
	}
	if st.StatusCodes == nil {
		st.StatusCodes = map[int]int64{}
	}
	st.StatusCodes[code] += n
}

// counters lists all that adds up over nodes, in the order of the byte form.
func (s *Summary) counters() []*int64 {
	out := []*int64{
		&s.Workers, &s.Started, &s.Dropped, &s.Completed, &s.Interrupted,
		&s.LateNoWorker, &s.LateCatchUp, &s.LateGenerator, &s.Requests, &s.Retried,
		&s.BytesIn, &s.BytesOut, &s.ConnsNew, &s.ConnsReused, &s.Reconnects,
		&s.UnresolvedVariables, &s.ExtractionsFailed,
		&s.DroppedThinking, &s.DroppedWaiting, &s.DroppedEnd, &s.DroppedIsolated, &s.Downgrades, &s.LookupFailures,
		&s.Placed, &s.InFlight, &s.Histograms, &s.HistogramBytes,
		&s.WarmupRequests, &s.WarmupErrors,
	}
	for i := range s.Errors {
		out = append(out, &s.Errors[i])
	}
	return out
}

func (s *Summary) histograms() []*Histogram {
	return []*Histogram{
		&s.Latency, &s.LatencyOK, &s.Service, &s.IterationTime, &s.ScheduleLag,
		&s.Phases[0], &s.Phases[1], &s.Phases[2], &s.Phases[3],
	}
}

// allHistograms adds those of the parts.
func (s *Summary) allHistograms() []*Histogram {
	out := s.histograms()
	for i := range s.Steps {
		out = append(out, s.Steps[i].histograms()...)
	}
	for i := range s.Scenarios {
		out = append(out, s.Scenarios[i].histograms()...)
	}
	for i := range s.Stages {
		out = append(out, &s.Stages[i].Latency)
	}
	return out
}

// slower is how many samples of a histogram n dropped arrivals stand for. Of
// nodes that sample differently it is as many as if all were sampled like the
// most: the dropped have at least the share of the samples that they have of the
// arrivals, and no percentile exists whose rank may fall among them.
func (s *Summary) slower(n int64) int64 {
	return n * s.most() / 100
}

// most is the largest percentage of requests that a node has in histograms.
func (s *Summary) most() int64 {
	if s.SampleMost > 0 {
		return s.SampleMost
	}
	return s.share()
}

// share is the percentage of requests that is in histograms, the smallest of all
// nodes.
func (s *Summary) share() int64 {
	if s.SamplePct > 0 && s.SamplePct < 100 {
		return s.SamplePct
	}
	return 100
}

func (st *StepStats) counters() []*int64 {
	return []*int64{
		&st.Requests, &st.Retried, &st.Succeeded, &st.Errors,
		&st.AssertionsPassed, &st.AssertionsFailed, &st.NoStatus, &st.Superseded, &st.Extra,
	}
}

func (st *StepStats) histograms() []*Histogram {
	return []*Histogram{&st.Latency, &st.Service, &st.LatencyFailed}
}

func (sc *ScenarioStats) counters() []*int64 {
	return []*int64{&sc.Succeeded, &sc.Failed, &sc.Interrupted}
}

func (sc *ScenarioStats) histograms() []*Histogram { return []*Histogram{&sc.Duration} }

// Clone returns an independent copy.
func (s *Summary) Clone() *Summary {
	c := *s
	cloneHistograms(c.histograms())
	c.Steps = append([]StepStats(nil), s.Steps...)
	for i := range c.Steps {
		c.Steps[i].StatusCodes = maps.Clone(c.Steps[i].StatusCodes)
		cloneHistograms(c.Steps[i].histograms())
	}
	c.Scenarios = append([]ScenarioStats(nil), s.Scenarios...)
	for i := range c.Scenarios {
		cloneHistograms(c.Scenarios[i].histograms())
	}
	c.Stages = append([]StageStats(nil), s.Stages...)
	for i := range c.Stages {
		cloneHistograms([]*Histogram{&c.Stages[i].Latency})
	}
	c.Series, c.Parts = s.Series.Clone(), cloneParts(s.Parts)
	c.Slowest = append([]Slow(nil), s.Slowest...)
	return &c
}

// cloneHistograms gives shallow copies buckets of their own.
func cloneHistograms(hs []*Histogram) {
	for _, h := range hs {
		*h = h.Clone()
	}
}
