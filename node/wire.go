package node

import (
	"context"
	"errors"
	"io"
	"time"
)

// ProtocolVersion is compared in Hello: nodes of different versions do not
// form a cluster.
const ProtocolVersion = 1

// MaxDocument is the largest plan document in bytes: Consul's own limit, and
// what the Raft log should hold in one entry.
const MaxDocument = 512 << 10

// Errors that cross the wire: the gRPC layer gives each a form of its own and
// turns it back into the same value (errors.Is) at the caller.
var (
	// ErrNotLeader: only the leader serves this call. See NotLeaderError.
	ErrNotLeader = errors.New("not the leader")
	// ErrStaleLeader: the caller is not the leader that this node's Raft names for that term.
	ErrStaleLeader = errors.New("stale leader")
	// ErrOtherCluster: the message is for another cluster or another server id.
	ErrOtherCluster = errors.New("wrong cluster or server")
	// ErrRefused: the request was understood and is refused for good; trying again does not help.
	ErrRefused = errors.New("refused")
	// ErrEngine: a Runner has failed, which says nothing of the plan.
	ErrEngine = errors.New("this node cannot prepare a run")
	// ErrInvalid: the submitted plan is invalid.
	ErrInvalid = errors.New("invalid plan")
	// ErrConflict: the request contradicts the state (tenant, unknown run).
	ErrConflict = errors.New("conflict")
	// ErrUnauthenticated: token or certificate was not accepted.
	ErrUnauthenticated = errors.New("unauthenticated")
	// ErrBusy: what is in the way passes by itself, so that asking again later helps.
	ErrBusy = errors.New("another run is in the way")
	// ErrNoLeader: no leader was known within the time allowed.
	ErrNoLeader = errors.New("no leader")
)

// Member identifies one process as others know it.
type Member struct {
	ServerID string  `json:"server_id"` // Raft's and Consul's: <node_id>-<8 hex>
	NodeID   string  `json:"node_id"`   // CLUSTER_NODE_ID
	Region   string  `json:"region"`
	Addr     string  `json:"addr"` // host:port as others dial it
	Weight   float64 `json:"weight"`
	// Incarnation is drawn per process: with CLUSTER_DATA_DIR a process that restarts
	// keeps its server id. It says which of them has a part in a run; Raft does not know it.
	Incarnation string `json:"incarnation,omitempty"`
}

// Life names one process of the member.
func (m Member) Life() string {
	if m.Incarnation == "" {
		return m.ServerID
	}
	return m.ServerID + "/" + m.Incarnation
}

// Hello asks whoever listens at an address who it is. It never changes state.
type Hello struct {
	Cluster string // the cluster's name
	Nonce   string // drawn per process: tells a node that it met itself
	From    Member
	Expect  int
	Proto   int
}

// HelloReply answers Hello.
type HelloReply struct {
	Cluster    string
	Nonce      string
	From       Member
	Expect     int
	Proto      int
	Blank      bool   // not a member of any cluster
	Draining   bool   // on its way out
	ClusterID  string // unless Blank
	Term       uint64
	LeaderID   string // "" if none is known
	LeaderAddr string
	Refusal    string // why this node may not make the cluster and is about to end, "" mostly
}

// Grant asks a blank node to promise itself to a cluster that From wants to
// bootstrap. A node grants one intent at a time, for GrantLease.
type Grant struct {
	Cluster   string
	ClusterID string // minted by From
	From      Member
	Servers   []Member
}

// GrantReply answers Grant.
type GrantReply struct {
	Granted bool
	Reason  string // if not granted
}

// Join asks the leader to admit From to its cluster.
type Join struct {
	Cluster   string
	ClusterID string
	From      Member
}

// Leave tells the leader that From goes. With RunID set it goes because it
// applied that run's ending and nothing shall be removed; without, the leader
// removes it from the configuration.
type Leave struct {
	ClusterID string
	From      Member
	RunID     string
}

// Fence is carried by every call of a leader. A receiver refuses it with
// ErrStaleLeader unless LeaderID is the leader that its own Raft names for Term.
type Fence struct {
	ClusterID string
	LeaderID  string
	Term      uint64
}

// Config is a plan document, opaque to this package.
type Config struct {
	Version  string `json:"version"` // sha256:…
	Source   string `json:"source"`  // gcs, consul-kv, file, post, env
	Origin   string `json:"origin"`
	Revision string `json:"revision"`
	Document []byte `json:"document"`
	Files    []File `json:"files,omitempty"` // that the document names, in its order
}

// File is a data file that travels beside a document.
type File struct {
	Name   string `json:"name"` // as the document has it
	Size   int64  `json:"size"` // bytes
	SHA256 string `json:"sha256"`
}

// FetchData asks for a data file, from Offset to its end.
type FetchData struct {
	ClusterID string
	From      Member
	SHA256    string // hex
	Offset    int64
}

// FetchResult asks for the cluster's result of a run.
type FetchResult struct {
	ClusterID string
	From      Member
	RunID     string
}

// Distribute hands a run's config to a node.
type Distribute struct {
	Fence  Fence
	RunID  string
	Seed   int64
	Config Config
}

// Ack says which version the node has prepared; a refusal is ErrRefused.
type Ack struct {
	ServerID    string
	Incarnation string
	Version     string
}

// StartTest arms a run. StartAt is in the clock of the server Clock.
type StartTest struct {
	Fence   Fence
	RunID   string
	StartAt time.Time
	Clock   string
}

// StopTest ends a run early.
type StopTest struct {
	Fence Fence
	RunID string
	Cause string
}

// Submit forwards a posted plan to the leader.
type Submit struct {
	ClusterID string
	From      Member
	Document  []byte
}

// Submitted is the leader's answer to Submit.
type Submitted struct {
	RunID   string
	Version string
	NodeID  string
}

// StopRequest forwards POST /stop to the leader.
type StopRequest struct {
	ClusterID string
	Tenant    *string
	Cause     string
}

// Stopped answers StopRequest.
type Stopped struct {
	RunID  string // "" if nothing was running
	Tenant string
}

// Report carries a node's summary of a run to the leader, or one that a
// leaving leader holds to another member. Newest Seq replaces.
type Report struct {
	ClusterID   string
	RunID       string
	Of          Member // whose summary it is
	Incarnation string // of the process that counted it: drawn at its start
	Seq         uint64
	Final       bool
	Failure     string // why the node's engine failed, if it did
	Left        bool   // the node left the run before its end
	Summary     []byte
}

// HealthCheck is the leader's roll call, once a second; it carries the
// leader's view so that every node can show it.
type HealthCheck struct {
	Fence Fence
	View  []byte // JSON of the members as the leader sees them
}

// Health answers HealthCheck.
type Health struct {
	ServerID     string
	Incarnation  string
	AppliedIndex uint64
	ReadyRun     string        // newest run whose Ready this node has applied
	SourceHash   string        // hash of the local CONFIG_FILE with source file
	ClockOffset  time.Duration // leader's clock minus the node's
	ClockBound   time.Duration // half the round trip
	StartSkew    time.Duration
	FirstRequest time.Time // zero before

	// Divisions are, by run id, how many of a divided load's divisions the node goes by:
	// it sends nothing more by one before the last of those.
	Divisions map[string]int
	// Suspended says that it has no lease, and takes none before it goes by all the
	// divisions that the call tells of.
	Suspended bool
}

// Ping and Pong measure a clock offset; times are wall-clock nanoseconds.
type Ping struct{}

// Pong answers Ping with the receiver's clock at receipt and at reply.
type Pong struct {
	ServerID   string
	ReceivedNs int64
	SentNs     int64
}

// NotLeaderError is ErrNotLeader with a hint at who leads ("" if unknown).
type NotLeaderError struct{ LeaderID, LeaderAddr string }

func (e *NotLeaderError) Error() string {
	if e.LeaderAddr == "" {
		return "not the leader (no leader known)"
	}
	return "not the leader (leader is " + e.LeaderID + " at " + e.LeaderAddr + ")"
}

// Is makes errors.Is(err, ErrNotLeader) true.
func (e *NotLeaderError) Is(target error) bool { return target == ErrNotLeader }

// Greeter is what forming and joining need of the wire. All calls dial addr
// ("host:port"); every context has a deadline.
type Greeter interface {
	Hello(ctx context.Context, addr string, in Hello) (HelloReply, error)
	Grant(ctx context.Context, addr string, in Grant) (GrantReply, error)
	Join(ctx context.Context, addr string, in Join) error
}

// Courier is what a leader needs of the wire.
type Courier interface {
	Distribute(ctx context.Context, addr string, in Distribute) (Ack, error)
	StartTest(ctx context.Context, addr string, in StartTest) error
	StopTest(ctx context.Context, addr string, in StopTest) error
	HealthCheck(ctx context.Context, addr string, in HealthCheck) (Health, error)
}

// Upstream is what a member needs of the wire towards its leader.
type Upstream interface {
	Submit(ctx context.Context, addr string, in Submit) (Submitted, error)
	Stop(ctx context.Context, addr string, in StopRequest) (Stopped, error)
	Report(ctx context.Context, addr string, in Report) error
	// Stream opens a stream of summaries, which ends with ctx.
	Stream(ctx context.Context, addr string, head StreamHead) (SummaryStream, error)
	Leave(ctx context.Context, addr string, in Leave) error
	Ping(ctx context.Context, addr string) (Pong, error)
	// FetchData writes a data file. What to has taken when it fails was right.
	FetchData(ctx context.Context, addr string, in FetchData, to io.Writer) error
	// FetchResult writes a result, which is whole only if there is no error.
	FetchResult(ctx context.Context, addr string, in FetchResult, to io.Writer) error
}

// Handler is what the wire's server calls: one method a call. *Node is the
// only one outside tests.
type Handler interface {
	HandleHello(ctx context.Context, in Hello) (HelloReply, error)
	HandleGrant(ctx context.Context, in Grant) (GrantReply, error)
	HandleJoin(ctx context.Context, in Join) error
	HandleLeave(ctx context.Context, in Leave) error
	HandleDistribute(ctx context.Context, in Distribute) (Ack, error)
	HandleStartTest(ctx context.Context, in StartTest) error
	HandleStopTest(ctx context.Context, in StopTest) error
	HandleSubmit(ctx context.Context, in Submit) (Submitted, error)
	HandleStop(ctx context.Context, in StopRequest) (Stopped, error)
	HandleReport(ctx context.Context, in Report) error
	// HandleStream returns when the stream ends.
	HandleStream(ctx context.Context, head StreamHead, from SummarySource) error
	HandleHealthCheck(ctx context.Context, in HealthCheck) (Health, error)
	HandlePing(ctx context.Context) (Pong, error)
	// HandleFetchData opens a data file at its offset; the caller closes it.
	HandleFetchData(ctx context.Context, in FetchData) (io.ReadCloser, error)
	HandleFetchResult(ctx context.Context, in FetchResult) ([]byte, error)
}
