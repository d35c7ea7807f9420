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
	Apart         bool // others run the same plan: this node's draws are its own, by its name
	Client        Client
	Files         Files
	Recording     Recording

	Self string // the id of this server, as in Divisions
	// Divisions say what of the load (load.scope: cluster), and of the rows of
	// split data files, is this node's. Without any all is, from the start, and the
	// run cannot be divided anew.
	Divisions []Division
	// Enters is when this server comes in, since the run's start, with what of a load
	// that is divided once was its part from the start on; 0 for the start itself.
	// What is due before is left out. Its rows are its own all the same: nobody has
	// used them. Such a run cannot be divided anew.
	Enters time.Duration
	// Leased is true for a run that sends only under leases.
	Leased bool

	tables tables  // what an earlier Prepare has read of the data files
	claims *claims // what is this node's, where that changes
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
	TCPDelay       bool    // a small packet waits for company: TCP_NODELAY=false
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

// ErrUnknownRun is returned by Run, and by Redivide, for a run that was not
// prepared.
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
	// Redivide adds a division to a run, prepared or running. It takes effect at
	// arrival d.From, in a closed model at d.At; what has been sent by then is not
	// undone, and the log says so. Divisions come in the order in which they take
	// effect; the same one again does nothing. It returns ErrUnknownRun for a run
	// that is neither.
	Redivide(ctx context.Context, runID string, d Division) error
	// Lease lets a Leased run start arrivals until then, and no longer unless there
	// is a later one. What is due meanwhile and not sent stays for the next lease: the
	// newest division then says whose it is, so that one comes first.
	Lease(runID string, until time.Time)
	// Settle tells a Leased run by which divisions the others send at least. What falls
	// due and is its own by the newest, but another's by one that this one may go by still, it drops
	// as isolated.
	Settle(runID string, s Settlement)
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
