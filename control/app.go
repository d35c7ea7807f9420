package control

import (
	"context"
	"errors"
	"fmt"

	"volley/page"
)

// MaxPlan is the largest plan that POST /config takes, in bytes.
const MaxPlan = 512 << 10

// App is the program behind the API. Every method may be called concurrently.
type App interface {
	Runs
	Status
}

// Runs changes and reports runs. The contexts have deadlines.
type Runs interface {
	// Submit checks the plan completely and makes it the next run, on the
	// leader in a cluster. Errors: *InvalidPlanError, ErrConflict, ErrNoLeader, ErrTooLarge,
	// ErrDraining, possibly wrapped; anything else is an internal failure.
	Submit(ctx context.Context, yaml []byte) (Accepted, error)
	// Stop ends the current run, if its tenant is the given one or none is
	// given. Errors: as Submit.
	Stop(ctx context.Context, tenant *string) (Stopped, error)
	// Report returns the running or last result as JSON: this node's with
	// scope ScopeNode, else the whole run's, the leader's in a cluster.
	// Errors: ErrNoResult, ErrNoLeader.
	Report(ctx context.Context, scope string) ([]byte, error)
}

// Status says how the node is.
type Status interface {
	// Health returns the facts of GET /health as of now.
	Health(ctx context.Context) Health
	// Cluster returns the answer of GET /health/cluster, to be encoded as
	// JSON, this process's server id, and whether it is on its way out.
	Cluster() (status any, serverID string, draining bool)
	// View returns what the live page shows of now, without waiting for others
	// longer than ctx allows.
	View(ctx context.Context) page.View
}

// ScopeNode asks Report for this node's own result.
const ScopeNode = "node"

// Accepted answers POST /config.
type Accepted struct {
	Status        string `json:"status"` // accepted: set by the API
	RunID         string `json:"run_id"`
	ConfigVersion string `json:"config_version"`
	NodeID        string `json:"node_id"` // who accepted it: the leader in a cluster
	NodeName      string `json:"node_name,omitempty"`
	Region        string `json:"region,omitempty"`
}

// Stopped answers POST /stop: the last figures before the stop.
type Stopped struct {
	RunID   string  // "" if nothing was running
	RPS     float64 // requests per second
	Workers int
	Message string
}

// Health is what GET /health says. Only the state running fills the pointers
// and TimeRemainingSecs; the API drops them in any other.
type Health struct {
	Status              string   `json:"status"` // ok: set by the API
	NodeID              string   `json:"node_id"`
	NodeName            string   `json:"node_name"` // NODE_NAME, else the node_id
	Region              string   `json:"region"`
	Ephemeral           bool     `json:"ephemeral"`       // it leaves after its run
	Tenant              *string  `json:"tenant"`          // of the running or last test
	RunID               string   `json:"run_id"`          // of the running or last test
	NodeState           string   `json:"node_state"`      // as below
	RPS                 float64  `json:"rps"`             // requests in the last second
	ErrorRatePct        float64  `json:"error_rate_pct"`  // of the last second's requests
	Workers             int      `json:"workers"`         // working now
	MemoryMB            float64  `json:"memory_mb"`       // resident, the engine's included
	TotalMemoryMB       float64  `json:"total_memory_mb"` // of the container or machine; 0 unknown
	CPUPct              float64  `json:"cpu_pct"`         // of one core
	TimeRemainingSecs   int64    `json:"time_remaining_secs"`
	TestStartedAtUnix   *int64   `json:"test_started_at_unix"`
	TestDurationSecs    *int64   `json:"test_duration_secs"`
	TestPercentComplete *float64 `json:"test_percent_complete"`
	CurrentYAML         *string  `json:"current_yaml"` // shown only to who has the token
}

// The states of Health.NodeState.
const (
	StateReady   = "ready"   // waits for its first plan, and ends after it
	StateRunning = "running" // a test is active
	StateStandby = "standby" // a test is over, the node stays, with the plan's standby load if it has one
	StateIdle    = "idle"    // nothing runs
)

// Problem is one mistake in a posted plan.
type Problem struct {
	Line    int    `json:"line"`
	Column  int    `json:"column"`
	Path    string `json:"path"`
	Message string `json:"message"`
}

// InvalidPlanError holds every mistake of a posted plan.
type InvalidPlanError struct{ Problems []Problem }

func (e *InvalidPlanError) Error() string {
	if len(e.Problems) == 0 {
		return "invalid plan"
	}
	first := e.Problems[0]
	return fmt.Sprintf("invalid plan (%d mistakes): %d:%d: %s: %s", len(e.Problems), first.Line, first.Column, first.Path, first.Message)
}

// Errors that an App answers with; wrapped ones show their whole text.
var (
	// ErrConflict: the request contradicts the state, such as another tenant's run (409).
	ErrConflict = errors.New("conflict")
	// ErrNoLeader: no leader within the time allowed (503, Retry-After).
	ErrNoLeader = errors.New("no leader")
	// ErrUnavailable: what the request needs is not there for the moment (503, Retry-After).
	ErrUnavailable = errors.New("not now")
	// ErrDraining: this process is on its way out (503).
	ErrDraining = errors.New("shutting down")
	// ErrTooLarge: the plan is larger than the receiver takes (413).
	ErrTooLarge = errors.New("plan too large")
	// ErrNoResult: there is no result yet (404).
	ErrNoResult = errors.New("no result yet")
)
