package loadgen

import (
	"context"
	"errors"
	"time"

	"volley/stats"
)

// Job is everything an engine needs to know of one run.
type Job struct {
	RunID         string
	ConfigVersion string
	Document      []byte // the YAML plan, already validated by the caller's build
	NodeID        string
	Region        string
	Tenant        string // where the plan names none
	Seed          int64
	Client        Client
	Files         Files
	Share         Share
	Recording     Recording
	// Rows is the part of a data file's rows that is this node's where the plan
	// splits them (dataFile.split). The zero value stands for Share.
	Rows Share

	tables tables // what an earlier Prepare has read of the data files
}

// Files says where the files that a plan names are found. The zero value is a
// plan without any.
type Files struct {
	Folder string // relative names begin here
	// Local is true for a plan from a local file: it may name files anywhere,
	// and what is not in Folder is looked for in the working directory.
	Local bool
	// Copies are the plan's files where they lie on this machine, by the names
	// that the plan has for them. Unless it is nil, files are nowhere else.
	Copies map[string]string
}

// Client holds the node-local settings of the load's HTTP client, those that
// do not come from the plan.
type Client struct {
	ClientCertPath string
	ClientKeyPath  string
	ProxyFromEnv   bool
	ThinkTimeScale float64 // multiplies think times; 1 leaves them, 0 skips them
	// Env is what ${env.NAME} stands for in a plan; no other name is known.
	Env map[string]string
}

// Recording says how much of a run goes into histograms. Counters count
// everything whatever it says. The zero value records all.
type Recording struct {
	Off       bool // none at all but the schedule lag's
	SamplePct int  // of requests and of iterations; 0 is all
	MaxLabels int  // steps, and scenarios, counted apart; 0 is no limit
}

// ErrUnknownRun is returned by Run for a run that was not prepared.
var ErrUnknownRun = errors.New("run is not prepared")

// StopCause is given as the cause when a Run's context is cancelled and says
// how long running iterations may go on.
type StopCause struct {
	Reason string        // "stop", "signal", "replaced"
	Grace  time.Duration // at most; the plan's gracefulStop if that is shorter
}

func (c *StopCause) Error() string { return "run stopped: " + c.Reason }

// Engine generates the load of one node. There are two: InProcess, and Child,
// which speaks to an InProcess in a child process; one conformance suite runs
// on both. All methods may be called concurrently; several runs may be
// prepared and one may start while another drains.
type Engine interface {
	// Prepare parses the plan and builds all that the run needs. It is
	// idempotent for one RunID and version. Its error is the reason why this
	// node refuses the plan.
	Prepare(ctx context.Context, job Job) error
	// Run opens the run's connections, sends its first request at start (a
	// start in the past joins the curve at its place), and blocks until the run has
	// ended and drained. live, unless nil, is given the cumulative summary at
	// the first request and once a second. Cancelling ctx (see StopCause) ends the run early.
	// The summary is the final one; it may accompany an error, which means
	// that the engine itself failed.
	Run(ctx context.Context, runID string, start time.Time, live func(*stats.Summary)) (*stats.Summary, error)
	// Discard forgets a prepared run that shall not start.
	Discard(runID string)
	Saver
}

// Saver is what an engine can do where memory is short. Both do no harm if they
// are called again.
type Saver interface {
	// Collect gives back to the kernel what the engine does not use.
	Collect()
	// Save makes runs that have sent for a second record no more than they must:
	// see stats.Recorder.Save.
	Save()
}
