package stats

import (
	"time"

	"volley/plan"
)

// ErrorKind says why a request is an error; the first that applies, in the
// order transport, timeout, status, assertion.
type ErrorKind uint8

// The error kinds of a result's "errors" object.
const (
	ErrNone ErrorKind = iota
	ErrTimeout
	ErrNetwork
	ErrTLS
	ErrClient    // 4xx that no assertion expects
	ErrServer    // 5xx that no assertion expects
	ErrAssertion // an assertion failed
	ErrOther     // another status outside 2xx/3xx
	ErrGenerator // the generator ran out of descriptors, ports or memory
)

// errorKinds is how many kinds there are, ErrNone included.
const errorKinds = int(ErrGenerator) + 1

// maxStatus is the highest status code that is counted by its number.
const maxStatus = 999

// Sample is one request as the engine saw it. Durations are nanoseconds.
type Sample struct {
	Step     int           // index into Layout.Steps
	At       time.Duration // since the run's start, when the request was sent
	Latency  time.Duration // from due to the last byte read
	Service  time.Duration // from the first byte sent to the last byte read
	Status   int           // 0 without a complete response
	Kind     ErrorKind
	Complete bool // a complete response or a timeout: it counts in the histograms
	NewConn  bool // the request opened a connection
	// Partial marks an attempt or redirect hop that was not the step's last: it
	// is a request with a service time, but has no latency and is no error.
	Partial bool
	// Superseded marks an attempt that a further one followed in vain: an error
	// with a service time, while the latency is that of the step's last attempt.
	Superseded       bool
	AssertionsPassed int
	AssertionsFailed int
	BytesIn          int64
	BytesOut         int64
	Phases           *Phases // nil if the plan does not ask for them
}

// Phases is how long the parts of a request took; 0 for one that it did not
// have, such as a lookup on a connection already open.
type Phases struct {
	DNS, Connect, TLS time.Duration
	FirstByte         time.Duration // from the first byte sent to the first read
}

// DropCause says why an arrival was dropped.
type DropCause uint8

// The causes of a drop.
const (
	DropOther    DropCause = iota
	DropThinking           // the workers it needed were thinking
	DropWaiting            // the workers it needed were waiting for the target
	DropEnd                // it was still waiting at the end of the duration
	DropIsolated           // the node had no lease when it was due, or another may have sent it
)

// Drop is arrivals that were due and never started, all of them in one stage.
type Drop struct {
	Due   time.Duration // since the run's start, when the first of them fell due
	At    time.Duration // since the run's start, when they were dropped
	N     int64
	Cause DropCause
}

// Gauges is what an engine says of itself once a second.
type Gauges struct {
	At       time.Duration // since the run's start
	Workers  int64         // that there are, busy or not
	InFlight int64         // requests sent and not answered yet
	// In the last second:
	CPUPct       float64       // of what the process may use
	ThrottledPct float64       // of the time, by the cgroup
	GCPause      time.Duration // the longest
}

// Arrival is how one arrival of the load curve was started.
type Arrival struct {
	Due  time.Duration // since the run's start
	Sent time.Duration // since the run's start
	// WorkerFree is true if a worker was waiting when the arrival fell due:
	// then Sent-Due is the generator's own lag, otherwise the target's.
	WorkerFree bool
	// CatchUp is true if the arrival was held back by the rule that a backlog
	// is worked off at no more than 110 % of the curve.
	CatchUp bool
}

// Outcome is how an iteration ended.
type Outcome uint8

// The outcomes of an iteration. Succeeded and Failed are both completed.
const (
	Succeeded   Outcome = iota
	Failed              // a step was an error
	Interrupted         // cancelled: in no percentile, no error
)

// Iteration is one run through a scenario.
type Iteration struct {
	Step     int           // index into Layout.Steps of any step of the scenario
	Duration time.Duration // from the start of the iteration to its end
	Outcome  Outcome
}

// StepKey names a step of a scenario.
type StepKey struct {
	Scenario string `json:"scenario"`
	Step     string `json:"step"`
}

// Layout is what a Recorder counts separately; fixed for a run. Steps of one
// name in one scenario are counted together. The zero value of every field but
// Steps leaves that out.
type Layout struct {
	Steps []StepKey
	// Duration is the planned one, warmup included.
	Duration time.Duration
	// Stages are counted apart (see StagesOf), at most 200 of them.
	Stages []Stage
	// Asked is how many arrivals the curve asks for until t, as an integral: it
	// gives series and stages their targets.
	Asked func(t time.Duration) float64
	// Part is the node's part of the load at t, nil for all of it: stages are as the
	// plan has them.
	Part func(t time.Duration) float64
	// MaxLabels is how many steps, and how many scenarios, are counted apart;
	// those beyond are counted together as "other". 0 is no limit.
	MaxLabels int
	// Judged are the thresholds of the plan: what they name is counted apart
	// whatever the limit, and before all others.
	Judged []plan.Threshold
	// SamplePct is the share of requests and iterations that go into histograms,
	// 1..100 percent; 0 is all of them. Counters count everything.
	SamplePct int
	// NoHistograms leaves them all empty but that of the schedule lag.
	NoHistograms bool
}

// other is where steps and scenarios beyond Layout.MaxLabels are counted.
const other = "other"
