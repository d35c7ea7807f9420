package node

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"io"
	"log/slog"
	"time"

	"github.com/hashicorp/raft"
)

// Config sources that Options.SourceName and Config.Source name.
const (
	SourceNone = "none"
	SourceFile = "file"
	SourcePost = "post"
)

// Source is where the leader gets the plan. The document may be wrong in any
// way; Check finds out, unless the source has: then its error is an ErrInvalid.
type Source interface {
	Fetch(ctx context.Context) (Config, error)
}

// Watch tells what is new at the source.
type Watch interface {
	// Next waits until the source holds another revision than known, and returns
	// it, or what is wrong with it. An error without a revision says that there is
	// no plan; when that is over, the next is what is there, even the revision
	// known. What may pass by itself is no error.
	Next(ctx context.Context, known string) (Config, error)
}

// Data is where the leader gets the files that a document names.
type Data interface {
	// Open opens one of them; what it returns is read to its end, within ctx,
	// and closed.
	Open(ctx context.Context, c Config, name string) (io.ReadCloser, error)
}

// Checked is what the node needs to know of a document that was found valid.
type Checked struct {
	Version  string // of the document
	RunID    string // "" to mint one
	Tenant   string
	StayUp   bool // the plan wants the nodes to stay up
	Standby  bool // and has load for that time
	Seed     *int64
	Duration time.Duration
	Grace    time.Duration
	Warnings []string
	Load     func(nodes int) string // in plain words, for so many nodes
	Files    []string               // that the document names, in its order
	Divided  bool                   // the load is that of all nodes together
	// Arrivals is how many arrivals of all are due before an instant after the start.
	Arrivals func(seed int64, at time.Duration) int64
}

// Runner generates this node's load.
type Runner interface {
	// Prepare makes the config ready to run; its error is why this node refuses it,
	// unless it wraps ErrEngine or ctx has ended.
	// copies are the places of the config's files on this machine, by their names;
	// they stay until the run has ended. It is nil if the config has none.
	Prepare(ctx context.Context, runID string, c Config, copies map[string]string, seed int64) error
	// Run sends the first request at start and returns when the run has ended and
	// drained. Cancelling ctx ends it early, with a StopReason as the cause. The summary may
	// accompany an error, which means that the engine failed.
	// The run's Divisions, in their order, say who shares a load that is to be
	// divided, and where a node enters that came later.
	Run(ctx context.Context, r Run, start time.Time, told Told) (summary []byte, err error)
	// Redivide is given a run that is under way with all its divisions once there
	// are more than Run was given, or the Redivide before it. It may come before Run has begun.
	// ErrRefused is a part that this node cannot take, and never will.
	Redivide(ctx context.Context, r Run) error
	// Lease lets a run whose load is divided send until then, and no longer unless
	// there is a later one. Such a run sends nothing before the first.
	Lease(runID string, until time.Time)
	// Settle tells a run whose load is divided by which divisions the others send at
	// least. What is its own by the newest, and another's by one that this one may go by still, is
	// dropped when it falls due.
	Settle(runID string, s Settlement)
	// Discard forgets a prepared run that shall not start.
	Discard(runID string)
}

// Told is what a Runner tells of a run while it goes; neither may block.
type Told struct {
	// Started is called once, after the first request was sent.
	Started func(sent time.Time, skew time.Duration)
	// Summary is given all that has been counted so far, once a second.
	Summary func(summary []byte)
}

// CauseThreshold ends a run everywhere: a threshold with abortOnFail has failed.
const CauseThreshold = "threshold"

// Causes that end a run on one node alone.
const (
	CauseIsolated = "isolated" // for want of a leader
	CauseRefused  = "refused"  // it cannot take the part that it was given
)

// StopReason is the cause with which a Runner's context is cancelled.
type StopReason struct {
	Cause  string        // stop, signal, replaced, aborted, isolated, refused
	Grace  time.Duration // running iterations may go on for so long
	Detail string        // in words, of a refusal
}

func (r *StopReason) Error() string { return "run ended early: " + r.Cause }

// Outcome is all that is known of a run when it is judged, or shown.
type Outcome struct {
	Run     Run
	Config  Config
	Reports []Report            // by server id; not final: the last that a lost node has streamed
	Lost    []Member            // participants without a final report
	Members map[string]Standing // by server id
	Alone   bool                // there is no leader to judge: this is what one node knows
	Going   bool                // it is only to be shown: who has no final report may still owe it
}

// Hooks let the program act on what the node decides. All are required.
type Hooks struct {
	// Check validates a document completely.
	Check func(document []byte) (Checked, error)
	// Judge merges the summaries, writes the cluster's report and returns the exit
	// code. It runs on the leader only.
	Judge func(ctx context.Context, o Outcome) int
	// Live is the merged result of a run that is going on, on the leader, at most
	// once a second.
	Live func(o Outcome) ([]byte, error)
	// Observe is given, on the leader of a cluster and once a second, what all have
	// told so far of a run that is going on. The threshold that it returns ends the
	// run with ExitFailed; "" lets it go on.
	Observe func(o Outcome) (failed string)
	// Own is given this node's final summary, on every node.
	Own func(r Run, summary Report)
	// Result is the cluster's result of a run if this node has judged it, else nil.
	Result func(runID string) []byte
	// Stays is called when a run, or an attempt at one, is over and the node stays
	// for the next; nil for nobody.
	Stays func()
	// Standby generates, on every node that took part in r, the load that its
	// plan c has for the time after it, until ctx ends. What it sends is in no result.
	Standby func(ctx context.Context, r Run, c Config)
}

// Wire is how a cluster's nodes talk.
type Wire struct {
	Greeter   Greeter
	Courier   Courier
	Upstream  Upstream
	Transport raft.Transport
	Discovery Discovery
	Arbiter   Arbiter // nil where the list of nodes is closed, or nobody keeps the right to bootstrap
	// Enough says whether expect of so many nodes may make a cluster; nil where
	// the list of nodes is closed, or there is an Arbiter.
	Enough    func(nodes, expect int) error
	Announcer Announcer // nil where nobody looks
}

// Options is everything a Node is made of.
type Options struct {
	Self   Member // an Incarnation is drawn unless it has one
	Name   string // the cluster's
	Expect int    // nodes, self included, that form the cluster and take the plan
	Wire   *Wire  // nil: standalone

	Source     Source // nil: wait for a posted plan
	SourceName string
	SourceHash string // of the local CONFIG_FILE with source file
	Data       Data   // nil: what a document names is the runner's affair
	DataFolder string // where data files are spooled, "" for the system's temporary folder
	DataLimit  int64  // bytes of data files of one config that this node holds, 0 for MaxData
	// Watch begins to watch the source, of which trouble was said last; nil where
	// that is not possible.
	Watch  func(trouble string) Watch
	Follow bool // CLUSTER_CONFIG_WATCH: while there is a run; with Hold a source that failed is followed anyhow
	Runner Runner
	Hooks  Hooks

	// Meet settles when a run starts for which this node is ready, where others that
	// it knows nothing of start it, too; nil where there are none. An instant that is
	// over is a start that this node has come late to. An Ending says that it will
	// not start here. It returns when ctx ends.
	Meet func(ctx context.Context, r Run, c Config) (start time.Time, instead *Ending)

	ConfigTimeout time.Duration // a fetch, and each try to hand over the plan
	StartDelay    time.Duration
	FormTimeout   time.Duration
	ReapAfter     time.Duration
	MaxClockError time.Duration // 0: off
	// Now is the machine's wall clock, nil for time.Now.
	Now func() time.Time
	// IsolationGrace is how long a node without a leader goes on with a load that is not divided.
	IsolationGrace time.Duration
	KeepAlive      bool
	Ephemeral      bool          // leave ScrapeDelay after the first run that finishes, unless another begins
	ScrapeDelay    time.Duration // how long an ephemeral node can still be asked for its metrics
	Hold           bool          // CLUSTER_ON_ABORT=hold
	DrainTimeout   time.Duration
	Log            *slog.Logger
	About          []any     // what the line node_started says besides, keys and values
	Identity       *Identity // nil: standalone
	Disk           *Disk     // nil: Raft lives in memory
}

// NewIncarnation draws what tells one process from those before it.
func NewIncarnation() string { return randomHex(16) }

// NewServerID draws the identity of one process start.
func NewServerID(nodeID string) string { return nodeID + "-" + randomHex(4) }

func randomHex(n int) string {
	b := make([]byte, n)
	rand.Read(b) // never fails
	return hex.EncodeToString(b)
}
