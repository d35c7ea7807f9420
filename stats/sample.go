package stats

import "time"

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
	BytesIn  int64
	BytesOut int64
}

// Arrival is how one arrival of the load curve was started.
type Arrival struct {
	Due  time.Duration // since the run's start
	Sent time.Duration // since the run's start
	// WorkerFree is true if a worker was waiting when the arrival fell due:
	// then Sent-Due is the generator's own lag, otherwise the target's.
	WorkerFree bool
}

// StepKey names a step of a scenario.
type StepKey struct {
	Scenario string `json:"scenario"`
	Step     string `json:"step"`
}

// Layout is what a Recorder counts separately; fixed for a run.
type Layout struct {
	Steps []StepKey
}
