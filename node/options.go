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
}

// Runner generates this node's load.
type Runner interface {
	// Prepare makes the config ready to run; its error is why this node refuses it,
	// unless it wraps ErrEngine or ctx has ended.
	// copies are the places of the config's files on this machine, by their names;
	// they stay until the run has ended. It is nil if the config has none.
	Prepare(ctx context.Context, runID string, c Config, copies map[string]string, seed int64) error
	// Run sends the first request at start and returns when the run has ended and
	// drained. Cancelling ctx ends it early, with a StopReason as the cause. started is
	// called once, after the first request was sent. The summary may
	// accompany an error, which means that the engine failed.
	// The run's Participants, in their order and with their weights, are who
	// shares a load that is to be divided.
	Run(ctx context.Context, r Run, start time.Time, started func(sent time.Time, skew time.Duration)) (summary []byte, err error)
	// Discard forgets a prepared run that shall not start.
	Discard(runID string)
}

// StopReason is the cause with which a Runner's context is cancelled.
type StopReason struct {
	Cause string        // stop, signal, replaced, aborted, isolated
	Grace time.Duration // running iterations may go on for so long
}

func (r *StopReason) Error() string { return "run ended early: " + r.Cause }

// Outcome is all that is known when a run is judged.
type Outcome struct {
	Run     Run
	Config  Config
	Reports []Report            // by server id
	Lost    []Member            // participants without a final report
	Members map[string]Standing // by server id
	Alone   bool                // there is no leader to judge: this is what one node knows
}

// Hooks let the program act on what the node decides. All are required.
type Hooks struct {
	// Check validates a document completely.
	Check func(document []byte) (Checked, error)
	// Judge merges the summaries, writes the cluster's report and returns the exit
	// code. It runs on the leader only.
	Judge func(ctx context.Context, o Outcome) int
	// Own is given this node's final summary, on every node.
	Own func(r Run, summary Report)
	// Result is the cluster's result of a run if this node has judged it, else nil.
	Result func(runID string) []byte
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
	Arbiter   Arbiter   // nil where the list of nodes is closed
	Announcer Announcer // nil where nobody looks
}

// Options is everything a Node is made of.
type Options struct {
	Self   Member
	Name   string // the cluster's
	Expect int    // nodes, self included, that form the cluster and take the plan
	Wire   *Wire  // nil: standalone

	Source     Source // nil: wait for a posted plan
	SourceName string
	SourceHash string // of the local CONFIG_FILE with source file
	Data       Data   // nil: what a document names is the runner's affair
	DataFolder string // where data files are spooled, "" for the system's temporary folder
	DataLimit  int64  // bytes of data files of one config that this node holds, 0 for MaxData
	// RecheckEvery is how often a failed source is asked for a new revision with Hold.
	RecheckEvery time.Duration
	Runner       Runner
	Hooks        Hooks

	ConfigTimeout time.Duration // a fetch, and each try to hand over the plan
	StartDelay    time.Duration
	FormTimeout   time.Duration
	ReapAfter     time.Duration
	MaxClockError time.Duration // 0: off
	KeepAlive     bool
	Ephemeral     bool          // leave ScrapeDelay after the first run that finishes, unless another begins
	ScrapeDelay   time.Duration // how long an ephemeral node can still be asked for its metrics
	Hold          bool          // CLUSTER_ON_ABORT=hold
	DrainTimeout  time.Duration
	Log           *slog.Logger
	About         []any     // what the line node_started says besides, keys and values
	Identity      *Identity // nil: standalone
}

// NewServerID draws the identity of one process start.
func NewServerID(nodeID string) string { return nodeID + "-" + randomHex(4) }

func randomHex(n int) string {
	b := make([]byte, n)
	rand.Read(b) // never fails
	return hex.EncodeToString(b)
}
