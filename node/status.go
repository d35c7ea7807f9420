package node

import (
	"encoding/json"
	"sync"
	"time"
)

// Status is GET /health/cluster.
type Status struct {
	State          string         `json:"state"` // standalone, forming, follower, leader
	NodeID         string         `json:"node_id"`
	ServerID       string         `json:"server_id"`
	Region         string         `json:"region"`
	ClusterEnabled bool           `json:"cluster_enabled"`
	ClusterReady   bool           `json:"cluster_ready"`
	Peers          int            `json:"peers"`
	Term           uint64         `json:"term"`
	LeaderID       string         `json:"leader_id"`
	LeaderAddr     string         `json:"leader_addr"`
	Phase          string         `json:"phase"`
	Error          *string        `json:"error"`
	Config         *StatusConfig  `json:"config"`
	Run            *StatusRun     `json:"run"`
	Members        []MemberStatus `json:"members"`
}

// StatusConfig says which plan a run is of.
type StatusConfig struct {
	Version  string `json:"version"`
	Source   string `json:"source"`
	Origin   string `json:"origin"`
	Revision string `json:"revision"`
}

// StatusRun is the run that generates load, else the one being prepared.
type StatusRun struct {
	RunID            string  `json:"run_id"`
	StartAtMs        int64   `json:"start_at_unix_ms"`
	FirstRequestMs   float64 `json:"first_request_unix_ms"`
	Participants     int     `json:"participants"`
	PlannedDurationS float64 `json:"planned_duration_s"`
}

// MemberStatus is one member as the leader sees it.
type MemberStatus struct {
	NodeID        string  `json:"node_id"`
	ServerID      string  `json:"server_id"`
	Addr          string  `json:"addr"`
	Suffrage      string  `json:"suffrage"`
	Alive         bool    `json:"alive"`
	ConfigVersion string  `json:"config_version"`
	ClockOffsetMs float64 `json:"clock_offset_ms"`
	ClockBoundMs  float64 `json:"clock_bound_ms"`
	StartSkewMs   float64 `json:"start_skew_ms"`
	Share         float64 `json:"share"`
}

// leaderView is what the leader lets every node show.
type leaderView struct {
	Fetching bool           `json:"fetching"`
	Members  []MemberStatus `json:"members"`
}

// view holds the newest leaderView that reached a follower.
type view struct {
	mu sync.Mutex
	v  leaderView
}

func (v *view) set(b []byte) {
	var in leaderView
	if json.Unmarshal(b, &in) != nil {
		return // a newer leader's form: better an old view than none
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	v.v = in
}

func (v *view) get() leaderView {
	v.mu.Lock()
	defer v.mu.Unlock()
	return v.v
}

// view is the crew as the leader sees it.
func (l *leader) view() leaderView {
	l.mu.Lock()
	v := leaderView{Fetching: l.fetching}
	l.mu.Unlock()
	standings := l.crew.standings()
	s := l.n.machine.State()
	run := shown(s)
	suffrages := l.n.suffrages()
	for _, m := range l.n.members() {
		st := standings[m.ServerID]
		row := MemberStatus{
			NodeID: m.NodeID, ServerID: m.ServerID, Addr: m.Addr, Suffrage: suffrages[m.ServerID], Alive: l.crew.seen(m.ServerID),
			ClockOffsetMs: ms(st.Health.ClockOffset), ClockBoundMs: ms(st.Health.ClockBound), StartSkewMs: ms(st.Health.StartSkew),
		}
		if run != nil {
			if a, ok := l.ack(run.ID, m.ServerID); ok {
				row.ConfigVersion = a.Version
			} else if st.Health.ReadyRun == run.ID {
				row.ConfigVersion = run.Version
			}
			if run.Participates(m.ServerID) {
				row.Share = share(run, m.ServerID)
			}
		}
		v.Members = append(v.Members, row)
	}
	return v
}

// share is the participant's part of the weights of all.
func share(r *Run, serverID string) float64 {
	own, sum := 0.0, 0.0
	for _, p := range r.Participants {
		sum += p.Weight
		if p.ServerID == serverID {
			own = p.Weight
		}
	}
	return own / sum
}

// suffrages returns voter or nonvoter by server id.
func (n *Node) suffrages() map[string]string {
	if n.raft == nil {
		return map[string]string{n.self.ServerID: "voter"}
	}
	m := map[string]string{}
	for _, s := range n.raft.Servers() {
		m[string(s.ID)] = suffrageName(s.Suffrage.String())
	}
	return m
}

func suffrageName(raftName string) string {
	if raftName == "Voter" {
		return "voter"
	}
	return "nonvoter"
}

func ms(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }

// shown is the run to show: the one that generates load, else the one being
// prepared, else the one that ended last.
func shown(s *State) *Run {
	if s.Current != nil && s.Current.Ended && s.Next != nil {
		return s.Next
	}
	return s.Current
}

func (n *Node) currentRun() string {
	if r := shown(n.machine.State()); r != nil {
		return r.ID
	}
	return ""
}

// readyRun is the newest run that this node knows to be ready everywhere.
func (n *Node) readyRun() string {
	s := n.machine.State()
	for _, r := range []*Run{s.Next, s.Current} {
		if r != nil && (r.Phase == PhaseReady || r.StartAt != 0) {
			return r.ID
		}
	}
	return ""
}

// Status describes this node and, as far as it knows, the cluster.
func (n *Node) Status() Status {
	s := n.machine.State()
	st := Status{
		State: "standalone", NodeID: n.self.NodeID, ServerID: n.self.ServerID, Region: n.self.Region,
		ClusterEnabled: n.raft != nil, Phase: n.phase(s), Members: []MemberStatus{},
	}
	view := n.view.get()
	if l := n.leading.Load(); l != nil {
		view = l.view()
	}
	if n.raft != nil {
		st.State, st.Term = n.role(), n.raft.raft.CurrentTerm()
		st.LeaderID, st.LeaderAddr = n.raft.Leader()
		st.LeaderID = NodeIDOf(st.LeaderID)
	}
	if view.Members != nil {
		st.Members = view.Members
	}
	for _, m := range st.Members {
		if m.Alive && m.ServerID != n.self.ServerID {
			st.Peers++
		}
	}
	n.describeRun(&st, s)
	return st
}

func (n *Node) describeRun(st *Status, s *State) {
	if s.Failure != nil {
		st.Error = &s.Failure.Reason
	}
	r := shown(s)
	if r == nil {
		return
	}
	st.ClusterReady = !(r.Phase == PhaseDistributing || r.Phase == PhaseAborted || r.Phase == PhaseStopped && r.StartAt == 0)
	if r.Phase == PhaseAborted {
		st.Error = &r.Ending.Reason
	} else if s.Last != nil && s.Last.Phase == PhaseAborted && !r.Ended && s.Last.Ending.ExitCode != 0 {
		st.Error = &s.Last.Ending.Reason // a plan that failed beside this run
	}
	if c, ok := s.Configs[r.Version]; ok {
		st.Config = &StatusConfig{Version: c.Version, Source: c.Source, Origin: c.Origin, Revision: c.Revision}
	}
	st.Run = &StatusRun{RunID: r.ID, StartAtMs: r.StartAt / 1e6, Participants: len(r.Participants), PlannedDurationS: r.Duration.Seconds()}
	if first, _ := n.player.started(r.ID); !first.IsZero() {
		st.Run.FirstRequestMs = float64(first.UnixNano()) / 1e6
	}
}

func (n *Node) role() string {
	switch {
	case n.identity.Blank():
		return "forming"
	case n.leading.Load() != nil:
		return "leader"
	}
	return "follower"
}

// phase is the phase of the shown run, or of the way to one.
func (n *Node) phase(s *State) string {
	r := shown(s)
	if r == nil || (r.Ended && r.Phase == PhaseAborted && s.Failure == nil && n.fetching()) {
		switch {
		case s.Failure != nil && s.Failure.ExitCode == ExitStopped:
			return string(PhaseStopped)
		case s.Failure != nil:
			return string(PhaseAborted)
		case n.fetching():
			return "fetching"
		}
		return "waiting"
	}
	if s.Failure != nil && r.Ended {
		return string(PhaseAborted)
	}
	if r.Phase == PhaseScheduled {
		if pl := n.player.find(r.ID); pl != nil && !time.Now().Before(pl.start) || pl == nil && time.Now().After(r.Start()) {
			return "running"
		}
	}
	return string(r.Phase)
}

func (n *Node) fetching() bool {
	if l := n.leading.Load(); l != nil {
		l.mu.Lock()
		defer l.mu.Unlock()
		return l.fetching
	}
	return n.view.get().Fetching
}

// Leads says whether this node leads at the moment.
func (n *Node) Leads() bool { return n.leading.Load() != nil }

// Draining says whether the node is on its way out.
func (n *Node) Draining() bool { return n.draining.Load() }

// State returns the replicated state; it must not be changed.
func (n *Node) State() *State { return n.machine.State() }

// attempts counts tries to hand over the plan.
type attempts struct {
	mu sync.Mutex
	m  map[Attempt]int
}

// Attempt is what tries to hand over the plan are counted by.
type Attempt struct{ Node, Result string }

func newAttempts() *attempts { return &attempts{m: map[Attempt]int{}} }

const maxAttemptKeys = 256

func (a *attempts) count(node, result string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	k := Attempt{node, result}
	if _, ok := a.m[k]; !ok && len(a.m) >= maxAttemptKeys {
		k = Attempt{"other", result}
	}
	a.m[k]++
}

// Attempts returns how often the plan was handed to which node, by result.
func (n *Node) Attempts() map[Attempt]int {
	n.attempts.mu.Lock()
	defer n.attempts.mu.Unlock()
	out := make(map[Attempt]int, len(n.attempts.m))
	for k, v := range n.attempts.m {
		out[k] = v
	}
	return out
}

// StartOf is the run's start in this node's clock; zero before it is scheduled.
func (n *Node) StartOf(runID string) time.Time {
	if pl := n.player.find(runID); pl != nil {
		return pl.start
	}
	if r := n.machine.State().Run(runID); r != nil {
		return r.Start()
	}
	return time.Time{}
}

// LeaderChanges counts how often this node saw another leader than before.
func (n *Node) LeaderChanges() int64 { return n.leaderChanges.Load() }
