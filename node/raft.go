package node

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/hashicorp/raft"
)

// Raft's production timeouts: a lost leader is replaced within some 2 s, and a
// node beside a saturated engine does not lose the leadership.
const (
	heartbeatTimeout = time.Second
	electionTimeout  = time.Second
	leaseTimeout     = 750 * time.Millisecond
	commitTimeout    = 50 * time.Millisecond
	// commitTimeoutLarge is for clusters of more than smallCluster nodes: a leader
	// sends every member a message in that time, or up to twice that, with nothing to say.
	commitTimeoutLarge = 250 * time.Millisecond
	smallCluster       = 20
	applyTimeout       = 5 * time.Second
	barrierTimeout     = 10 * time.Second
	barrierRetry       = 500 * time.Millisecond
	maxVoters          = 5
)

// consensus is this process's seat in Raft: in memory, under an identity that
// is drawn per process and never used again, or on a disk that keeps both.
type consensus struct {
	raft       *raft.Raft
	machine    *machine
	leadership <-chan bool
}

// commitTimeoutOf is by the nodes expected, as Raft takes it when it is opened
// and never again; one that grows later keeps what it has.
func commitTimeoutOf(expect int) time.Duration {
	if expect > smallCluster {
		return commitTimeoutLarge
	}
	return commitTimeout
}

func openConsensus(self Member, expect int, m *machine, transport raft.Transport, disk *Disk, log *slog.Logger) (*consensus, error) {
	leadership := make(chan bool, 16)
	cfg := raft.DefaultConfig()
	cfg.LocalID = raft.ServerID(self.ServerID)
	cfg.HeartbeatTimeout, cfg.ElectionTimeout = heartbeatTimeout, electionTimeout
	cfg.LeaderLeaseTimeout, cfg.CommitTimeout = leaseTimeout, commitTimeoutOf(expect)
	cfg.MaxAppendEntries = 8
	cfg.SnapshotThreshold, cfg.TrailingLogs = 256, 64
	cfg.NotifyCh = leadership
	cfg.Logger = raftLogger(log)
	c := &consensus{machine: m, leadership: leadership}
	var err error
	if disk != nil {
		c.raft, err = raft.NewRaft(cfg, m, disk.store, disk.store, disk.snaps, transport)
	} else {
		store := raft.NewInmemStore()
		c.raft, err = raft.NewRaft(cfg, m, store, store, raft.NewInmemSnapshotStore(), transport)
	}
	if err != nil {
		return nil, fmt.Errorf("open raft: %w", err)
	}
	return c, nil
}

// raftLogger hands Raft's own lines on at debug level: what matters of them
// is logged by this package as events.
func raftLogger(log *slog.Logger) hclog.Logger {
	l := hclog.NewInterceptLogger(&hclog.LoggerOptions{Name: "raft", Level: hclog.Off})
	l.RegisterSink(slogSink{log})
	return l
}

type slogSink struct{ log *slog.Logger }

// Accept is hclog.SinkAdapter.
func (s slogSink) Accept(_ string, _ hclog.Level, msg string, args ...any) {
	s.log.Debug("raft: "+msg, args...)
}

// Propose commits c and returns once this node has applied it. ErrNotLeader
// means that nothing was proposed; other errors of Raft leave the outcome open.
func (c *consensus) Propose(ctx context.Context, cmd Command) error {
	b, err := json.Marshal(cmd)
	if err != nil {
		return fmt.Errorf("encode command: %w", err)
	}
	if err := ctx.Err(); err != nil {
		return context.Cause(ctx)
	}
	f := c.raft.Apply(b, applyTimeout)
	if err := f.Error(); err != nil {
		if errors.Is(err, raft.ErrNotLeader) || errors.Is(err, raft.ErrLeadershipTransferInProgress) {
			return c.notLeader()
		}
		return fmt.Errorf("commit: %w", err)
	}
	if err, ok := f.Response().(error); ok {
		return err
	}
	return nil
}

func (c *consensus) notLeader() error {
	id, addr := c.Leader()
	return &NotLeaderError{LeaderID: id, LeaderAddr: addr}
}

// Leader returns id and address of the leader that Raft knows, "" if none.
func (c *consensus) Leader() (id, addr string) {
	a, i := c.raft.LeaderWithID()
	return string(i), string(a)
}

// Bootstrap makes a cluster of servers, this one among the voters, and
// campaigns at once instead of after a heartbeat timeout.
func (c *consensus) Bootstrap(servers []Member, self string) error {
	var cfg raft.Configuration
	voters := votersOf(len(servers))
	// The bootstrapper must have a vote.
	ordered := make([]Member, 0, len(servers))
	for _, m := range servers {
		if m.ServerID == self {
			ordered = append([]Member{m}, ordered...)
		} else {
			ordered = append(ordered, m)
		}
	}
	for i, m := range ordered {
		suffrage := raft.Voter
		if i >= voters {
			suffrage = raft.Nonvoter
		}
		cfg.Servers = append(cfg.Servers, raft.Server{Suffrage: suffrage, ID: raft.ServerID(m.ServerID), Address: raft.ServerAddress(m.Addr)})
	}
	if err := c.raft.BootstrapCluster(cfg).Error(); err != nil {
		return fmt.Errorf("bootstrap: %w", err)
	}
	// A lowered heartbeat timeout makes a follower look at its timer at once.
	rc := c.raft.ReloadableConfig()
	rc.HeartbeatTimeout = heartbeatTimeout - time.Millisecond
	if err := c.raft.ReloadConfig(rc); err != nil {
		return fmt.Errorf("hasten the first election: %w", err)
	}
	return nil
}

// votersOf says how many of n members vote: an odd number, at most maxVoters.
// Of two nodes one votes, so that the other's loss does not stop it.
func votersOf(n int) int {
	if n > maxVoters {
		n = maxVoters
	}
	if n%2 == 0 && n > 0 {
		n--
	}
	return n
}

// Servers returns Raft's configuration: the only truth about members.
func (c *consensus) Servers() []raft.Server {
	f := c.raft.GetConfiguration()
	if f.Error() != nil {
		return nil
	}
	return f.Configuration().Servers
}

// Members returns the configuration as members.
func (c *consensus) Members() []Member {
	var ms []Member
	for _, s := range c.Servers() {
		ms = append(ms, memberOf(s))
	}
	return ms
}

func memberOf(s raft.Server) Member {
	return Member{ServerID: string(s.ID), NodeID: NodeIDOf(string(s.ID)), Addr: string(s.Address), Weight: 1}
}

// serverIDSuffix is the length of "-" and 8 hex digits.
const serverIDSuffix = 9

// NodeIDOf returns the node id that a server id is made of.
func NodeIDOf(serverID string) string {
	if len(serverID) <= serverIDSuffix {
		return serverID
	}
	return serverID[:len(serverID)-serverIDSuffix]
}

// Fence returns what a leader stamps on its calls.
func (c *consensus) Fence(clusterID, serverID string) Fence {
	return Fence{ClusterID: clusterID, LeaderID: serverID, Term: c.raft.CurrentTerm()}
}

// Check is the receiving side of a Fence.
func (c *consensus) Check(f Fence, clusterID string) error {
	if f.ClusterID != clusterID {
		return fmt.Errorf("call of cluster %q reached a member of %q: %w", f.ClusterID, clusterID, ErrOtherCluster)
	}
	id, _ := c.Leader()
	if term := c.raft.CurrentTerm(); f.LeaderID != id || f.Term != term {
		return fmt.Errorf("call of leader %s in term %d, but the leader here is %q in term %d: %w", f.LeaderID, f.Term, id, term, ErrStaleLeader)
	}
	return nil
}

// Close stops Raft.
func (c *consensus) Close() error {
	if err := c.raft.Shutdown().Error(); err != nil {
		return fmt.Errorf("shut raft down: %w", err)
	}
	return nil
}
