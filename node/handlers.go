package node

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"time"

	"github.com/hashicorp/raft"
)

// *Node is what the wire's server calls.
var _ Handler = (*Node)(nil)

// HandleHello says who this is.
func (n *Node) HandleHello(_ context.Context, _ Hello) (HelloReply, error) {
	r := HelloReply{
		Cluster: n.opt.Name, Nonce: n.nonce, From: n.self, Expect: n.opt.Expect, Proto: ProtocolVersion,
		Blank: n.identity.Blank(), Draining: n.draining.Load(), Term: n.raft.raft.CurrentTerm(), Refusal: n.former.refusal(),
	}
	if !r.Blank {
		r.ClusterID = n.identity.ClusterID()
		r.LeaderID, r.LeaderAddr = n.leader()
	}
	return r, nil
}

// HandleGrant promises this node to a bootstrapper, unless it is somebody's already.
func (n *Node) HandleGrant(_ context.Context, in Grant) (GrantReply, error) {
	if in.Cluster != n.opt.Name {
		return GrantReply{Reason: fmt.Sprintf("is in a cluster named %q", n.opt.Name)}, nil
	}
	if n.draining.Load() || n.former.refusal() != "" {
		return GrantReply{Reason: "is leaving"}, nil
	}
	if name := repeatedName(in.Servers); name != "" {
		return GrantReply{Reason: fmt.Sprintf("CLUSTER_NODE_ID %q is used by two nodes (names must be unique)", name)}, nil
	}
	if find(in.Servers, n.self.ServerID) == nil {
		return GrantReply{Reason: "is another process by now: " + n.self.ServerID}, nil
	}
	if err := n.identity.promise(in.ClusterID, in.From.ServerID, GrantLease); err != nil {
		return GrantReply{Reason: err.Error()}, nil
	}
	return GrantReply{Granted: true}, nil
}

func repeatedName(members []Member) string {
	seen := map[string]bool{}
	for _, m := range members {
		if seen[m.NodeID] {
			return m.NodeID
		}
		seen[m.NodeID] = true
	}
	return ""
}

// HandleJoin admits a node: first without a vote; the steward gives it one when it has caught up.
func (n *Node) HandleJoin(ctx context.Context, in Join) error {
	l, err := n.mustLead()
	if err != nil {
		return err
	}
	if id := n.identity.ClusterID(); in.ClusterID != id {
		return fmt.Errorf("join of cluster %q reached a member of %q: %w", in.ClusterID, id, ErrOtherCluster)
	}
	for _, s := range n.raft.Servers() {
		m := memberOf(s)
		switch {
		case m.ServerID == in.From.ServerID && m.Addr == in.From.Addr:
			l.isBack(m.ServerID)
			return nil
		case m.ServerID == in.From.ServerID:
			// It has moved; what it is (a voter, perhaps) it stays.
			if n.answers(ctx, l, m) {
				return fmt.Errorf("%s is used by two processes, at %s and %s (is a CLUSTER_DATA_DIR a copy of another?): %w", m.ServerID, m.Addr, in.From.Addr, ErrRefused)
			}
		case m.Addr == in.From.Addr:
			// Somebody else answers at this address now: the old member is gone for good,
			// unless it is the one that answers, and a process before it wants to come back.
			if n.answers(ctx, l, m) {
				return fmt.Errorf("%s answers at %s, not %s: %w", m.ServerID, m.Addr, in.From.ServerID, ErrConflict)
			}
			if err := n.remove(m, "replaced by "+in.From.ServerID+" at the same address"); err != nil {
				return err
			}
		case m.NodeID == in.From.NodeID && n.answers(ctx, l, m):
			return fmt.Errorf("CLUSTER_NODE_ID %q is used by two nodes, at %s and %s (names must be unique): %w", m.NodeID, m.Addr, in.From.Addr, ErrRefused)
		}
	}
	l.crew.welcome(in.From.ServerID)
	l.isBack(in.From.ServerID)
	if err := n.raft.raft.AddNonvoter(raft.ServerID(in.From.ServerID), raft.ServerAddress(in.From.Addr), 0, applyTimeout).Error(); err != nil {
		return fmt.Errorf("admit %s: %w", in.From.ServerID, err)
	}
	n.log.Info("member admitted", "event", "membership", "member", in.From.ServerID, "addr", in.From.Addr)
	return nil
}

// answers asks a member whether it is there, now: one that has just died may
// come back at another address under its name.
func (n *Node) answers(ctx context.Context, l *leader, m Member) bool {
	if m.ServerID == n.self.ServerID {
		return true
	}
	ctx, cancel := context.WithTimeout(ctx, healthTimeout)
	defer cancel()
	h, err := n.opt.Wire.Courier.HealthCheck(ctx, m.Addr, HealthCheck{Fence: l.fence()})
	return err == nil && h.ServerID == m.ServerID
}

func (n *Node) remove(m Member, why string) error {
	if err := n.raft.raft.RemoveServer(raft.ServerID(m.ServerID), 0, applyTimeout).Error(); err != nil {
		return fmt.Errorf("remove %s: %w", m.ServerID, err)
	}
	n.log.Info("member removed: "+why, "event", "membership", "member", m.ServerID, "addr", m.Addr)
	return nil
}

// HandleLeave notes that a member goes: after the ending that all have
// applied nothing is removed, otherwise it leaves the configuration.
func (n *Node) HandleLeave(ctx context.Context, in Leave) error {
	l, err := n.mustLead()
	if err != nil {
		return err
	}
	if in.ClusterID != n.identity.ClusterID() {
		return ErrOtherCluster
	}
	if in.RunID != "" && !l.letsGo(in.RunID) {
		return errStays
	}
	if in.RunID != "" {
		return l.gone(ctx, in.From.ServerID)
	}
	l.mu.Lock()
	l.departed[in.From.ServerID] = true
	l.mu.Unlock()
	if find(n.raft.Members(), in.From.ServerID) == nil {
		return nil
	}
	return n.remove(in.From, "it left")
}

// letsGo says whether a member may leave with what it says that it leaves with. One
// that has not applied yet what was decided since would end with another exit code.
func (l *leader) letsGo(with string) bool {
	if l.looking.Load() {
		return false
	}
	s := l.n.machine.State()
	return s.Leaving() != nil && s.endedBy() == with
}

// HandleDistribute prepares a config and acknowledges it.
func (n *Node) HandleDistribute(ctx context.Context, in Distribute) (Ack, error) {
	if err := n.raft.Check(in.Fence, n.identity.ClusterID()); err != nil {
		return Ack{}, err
	}
	return n.take(ctx, in)
}

// take prepares the config of a run on this node. The same run and version
// again is acknowledged again.
func (n *Node) take(ctx context.Context, in Distribute) (Ack, error) {
	if n.draining.Load() {
		return Ack{}, errors.New("this node is leaving")
	}
	if len(in.Config.Document) > MaxDocument {
		return Ack{}, fmt.Errorf("%w: the plan has %d bytes (at most %d)", ErrRefused, len(in.Config.Document), MaxDocument)
	}
	if err := n.prepare(ctx, in.RunID, in.Config, in.Seed); err != nil {
		if ctx.Err() != nil {
			return Ack{}, err // nobody waits for it: the run was replaced or stopped, or the leader tries again
		}
		level := slog.LevelWarn // the error is that the run is aborted for it
		if r := n.machine.State().Run(in.RunID); r != nil && r.StartAt != 0 {
			level = slog.LevelError // the others go on without this node
		}
		n.log.Log(ctx, level, "this node refuses the plan: "+err.Error(), "event", "config_refused", "run_id", in.RunID, "config_version", in.Config.Version)
		return Ack{}, err
	}
	if leader := in.Fence.LeaderID; leader != "" && leader != n.self.ServerID {
		if _, addr := n.leader(); addr != "" {
			n.measure(ctx, leader, addr) // the roll call takes it to the leader, which waits for it
		}
	}
	return Ack{ServerID: n.self.ServerID, Incarnation: n.self.Incarnation, Version: in.Config.Version}, nil
}

// HandleStartTest arms a run that the log has scheduled. The log is the
// truth: a start that differs from it is refused.
func (n *Node) HandleStartTest(ctx context.Context, in StartTest) error {
	if err := n.raft.Check(in.Fence, n.identity.ClusterID()); err != nil {
		return err
	}
	err := n.machine.Until(ctx, func(s *State) bool { r := s.Run(in.RunID); return r != nil && r.StartAt != 0 })
	if err != nil {
		return fmt.Errorf("run %s is not scheduled in this node's log: %w", in.RunID, ErrConflict)
	}
	r := n.machine.State().Run(in.RunID)
	if r.StartAt != in.StartAt.UnixNano() || r.Clock != in.Clock {
		return fmt.Errorf("run %s starts at %s by the log, not at %s: %w", in.RunID, r.Start(), in.StartAt, ErrConflict)
	}
	if r.Phase != PhaseScheduled || !r.Participates(n.self) {
		return nil
	}
	return n.player.arm(r)
}

// HandleStopTest ends a run early.
func (n *Node) HandleStopTest(_ context.Context, in StopTest) error {
	if err := n.raft.Check(in.Fence, n.identity.ClusterID()); err != nil {
		return err
	}
	n.player.end(in.RunID, &StopReason{Cause: in.Cause, Grace: replaceGrace})
	return nil
}

// HandleSubmit begins a run of a posted plan, on the leader.
func (n *Node) HandleSubmit(ctx context.Context, in Submit) (Submitted, error) {
	l, err := n.mustLead()
	if err != nil {
		return Submitted{}, err
	}
	if in.ClusterID != n.clusterID() {
		return Submitted{}, ErrOtherCluster
	}
	if n.draining.Load() {
		return Submitted{}, fmt.Errorf("node %s is leaving: %w", n.self.NodeID, ErrNoLeader)
	}
	return l.submit(ctx, in.Document, in.From)
}

// HandleStop ends what is going on, on the leader.
func (n *Node) HandleStop(ctx context.Context, in StopRequest) (Stopped, error) {
	l, err := n.mustLead()
	if err != nil {
		return Stopped{}, err
	}
	if in.ClusterID != n.clusterID() {
		return Stopped{}, ErrOtherCluster
	}
	return l.stop(ctx, in)
}

// HandleReport keeps a node's summary.
func (n *Node) HandleReport(_ context.Context, in Report) error {
	if in.ClusterID != n.identity.ClusterID() {
		return ErrOtherCluster
	}
	if n.handedOver.Load() {
		return n.raft.notLeader() // what this node holds is with the others already: send it to whoever leads next
	}
	run := n.machine.State().Run(in.RunID)
	if run == nil {
		return fmt.Errorf("run %s is not known here: %w", in.RunID, ErrConflict)
	}
	if run.Ended {
		return nil // it has been judged
	}
	if !n.reports.put(in) {
		return fmt.Errorf("there is no room for the summary of %s (at most %d are held)", in.Of.NodeID, maxReports)
	}
	return nil
}

// HandleHealthCheck answers the leader's roll call.
func (n *Node) HandleHealthCheck(_ context.Context, in HealthCheck) (Health, error) {
	if err := n.raft.Check(in.Fence, n.identity.ClusterID()); err != nil {
		return Health{}, err
	}
	n.view.set(n.self.ServerID, in.Fence.LeaderID, in.View)
	n.returning.Store(n.view.from(in.Fence.LeaderID).Looking)
	first, skew := n.player.started(n.currentRun())
	h := Health{
		ServerID: n.self.ServerID, Incarnation: n.self.Incarnation, AppliedIndex: n.raft.raft.AppliedIndex(), ReadyRun: n.readyRun(),
		SourceHash: n.opt.SourceHash, StartSkew: skew, FirstRequest: first,
		Divisions: n.goesBy(), Suspended: n.tenure.isolated(),
	}
	if o, ok := n.clocks.to(in.Fence.LeaderID); ok {
		h.ClockOffset, h.ClockBound = o.offset, o.bound
	}
	return h, nil
}

// HandlePing shows this node's clock.
func (n *Node) HandlePing(context.Context) (Pong, error) {
	now := n.wall.read(time.Now())
	return Pong{ServerID: n.self.ServerID, ReceivedNs: now, SentNs: n.wall.read(time.Now())}, nil
}

func (n *Node) clusterID() string {
	if n.identity == nil {
		return ""
	}
	return n.identity.ClusterID()
}

// mustLead returns this node's leadership, or who leads instead.
func (n *Node) mustLead() (*leader, error) {
	if l := n.leading.Load(); l != nil {
		return l, nil
	}
	if n.raft == nil {
		return nil, ErrNoLeader
	}
	return nil, n.raft.notLeader()
}

// submit checks a posted plan completely and begins a run of it.
func (l *leader) submit(ctx context.Context, document []byte, from Member) (Submitted, error) {
	checked, err := l.n.hooks.Check(document)
	if err != nil {
		return Submitted{}, fmt.Errorf("%w: %w", ErrInvalid, err)
	}
	s := l.n.machine.State()
	if s.Leaving() != nil {
		return Submitted{}, fmt.Errorf("the cluster is leaving: %w", ErrNoLeader)
	}
	for _, r := range s.Active() {
		if r.Tenant != "" && r.Tenant != checked.Tenant {
			return Submitted{}, fmt.Errorf("run %s belongs to tenant %q, the plan to %q: %w", r.ID, r.Tenant, checked.Tenant, ErrConflict)
		}
	}
	c := Config{Version: checked.Version, Source: SourcePost, Origin: "POST /config on " + from.NodeID, Document: document,
		Revision: strings.TrimPrefix(checked.Version, "sha256:")}
	l.warn(c, checked)
	if c, err = l.bundle(ctx, c, checked.Files); err != nil {
		return Submitted{}, fmt.Errorf("%w: %w", ErrInvalid, err)
	}
	room, cancel := ctx, context.CancelFunc(func() {})
	if by, bounded := ctx.Deadline(); bounded {
		room, cancel = context.WithDeadline(ctx, by.Add(-answerIn))
	}
	defer cancel()
	id, err := l.beginRun(room, c, checked, fromPost)
	if errors.Is(err, ErrRefused) {
		return Submitted{}, fmt.Errorf("%w: %w", ErrInvalid, err)
	}
	if errors.Is(err, errPhase) && l.n.machine.State().Leaving() != nil {
		return Submitted{}, fmt.Errorf("the cluster is leaving: %w", ErrNoLeader)
	}
	if errors.Is(err, errPhase) {
		return Submitted{}, fmt.Errorf("%w: %v", ErrBusy, err) // not %w: whoever posts shall come back, and has no conflict
	}
	if err != nil {
		return Submitted{}, err
	}
	return Submitted{RunID: id, Version: c.Version, NodeID: l.n.self.NodeID}, nil
}

// stop commits that the run in hand, and whatever is prepared beside it, ends;
// before there is one, that there will be none.
func (l *leader) stop(ctx context.Context, in StopRequest) (Stopped, error) {
	s := l.n.machine.State()
	active := s.Active()
	for _, r := range active {
		if in.Tenant != nil && *in.Tenant != r.Tenant {
			return Stopped{}, fmt.Errorf("run %s belongs to tenant %q, not %q: %w", r.ID, r.Tenant, *in.Tenant, ErrConflict)
		}
	}
	// A signal ends this process in any case: what was found is there for the next.
	if l.looking.Load() && len(active) == 0 && in.Tenant == nil && in.Cause != "signal" {
		if err := l.stopLooking(ctx, in.Cause); err != nil {
			return Stopped{}, err
		}
		s = l.n.machine.State()
		if active = s.Active(); len(active) == 0 { // none has begun meanwhile
			return Stopped{}, l.silence(ctx, s, in)
		}
	}
	switch r := s.StandsBy(); {
	case r != nil:
		return l.standDown(ctx, r, in)
	case len(active) == 0:
		return Stopped{}, l.stopFetching(ctx, s, in)
	}
	for i := len(active) - 1; i >= 0; i-- { // the prepared one first, so that it does not move up
		err := l.propose(ctx, Command{Stop: &Stop{RunID: active[i].ID, Cause: in.Cause, ExitCode: ExitStopped}})
		if err != nil && !errors.Is(err, errPhase) {
			return Stopped{}, err
		}
	}
	return Stopped{RunID: active[0].ID, Tenant: active[0].Tenant}, nil
}

// stopFetching gives the start-up source up, if the plan is being fetched.
func (l *leader) stopFetching(ctx context.Context, s *State, in StopRequest) error {
	if in.Tenant != nil || !slices.Contains(tasks(s, &l.n.opt), task{kind: taskFetch}) {
		return nil
	}
	return l.propose(ctx, Command{Abort: &Abort{Ending: noRun(in.Cause, l.n.opt.KeepAlive)}})
}
