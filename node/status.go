package node

import (
	"encoding/json"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"
)

// Status is GET /health/cluster.
type Status struct {
	State          string         `json:"state"` // standalone, forming, follower, leader
	NodeID         string         `json:"node_id"`
	ServerID       string         `json:"server_id"` // of this process; its own with every start
	Region         string         `json:"region"`
	ClusterEnabled bool           `json:"cluster_enabled"`
	ClusterReady   bool           `json:"cluster_ready"` // every expected node has the plan
	Peers          int            `json:"peers"`         // other members that answer
	Term           uint64         `json:"term"`          // Raft's
	LeaderID       string         `json:"leader_id"`     // its node_id; "" unknown
	LeaderAddr     string         `json:"leader_addr"`
	Phase          string         `json:"phase"`   // how far the newest run has come
	Error          *string        `json:"error"`   // the last one that concerns the cluster
	Config         *StatusConfig  `json:"config"`  // the plan of that run
	Run            *StatusRun     `json:"run"`     // null before the first
	Members        []MemberStatus `json:"members"` // as the leader sees them
}

// StatusConfig says which plan a run is of.
type StatusConfig struct {
	Version  string `json:"version"`  // hash of the plan and its data files
	Source   string `json:"source"`   // gcs, consul-kv, file; post: by POST /config; env: described by variables
	Origin   string `json:"origin"`   // where exactly it is from
	Revision string `json:"revision"` // the source's own number of it
}

// StatusRun is the run that generates load, else the one being prepared.
type StatusRun struct {
	RunID            string  `json:"run_id"`
	StartAtMs        int64   `json:"start_at_unix_ms"`      // 0 until it is decided
	FirstRequestMs   float64 `json:"first_request_unix_ms"` // of this node; 0 before it
	Participants     int     `json:"participants"`
	PlannedDurationS float64 `json:"planned_duration_s"`
}

// MemberStatus is one member as the leader sees it.
type MemberStatus struct {
	NodeID        string  `json:"node_id"`
	ServerID      string  `json:"server_id"`
	Addr          string  `json:"addr"`               // of the cluster port
	Suffrage      string  `json:"suffrage"`           // voter or nonvoter
	Alive         bool    `json:"alive"`              // it has answered within 3 s
	ConfigVersion string  `json:"config_version"`     // of the plan that it has acknowledged
	ClockOffsetMs float64 `json:"clock_offset_ms"`    // the leader's clock less its own
	ClockBoundMs  float64 `json:"clock_bound_ms"`     // what that may be wrong by
	StartSkewMs   float64 `json:"start_skew_ms"`      // how late its first request was
	Share         float64 `json:"share"`              // of the load, 0 to 1
	Isolated      bool    `json:"isolated,omitempty"` // its share is suspended: it hears of no leader
}

// leaderView is what the leader lets every node show.
type leaderView struct {
	Fetching  bool                  `json:"fetching"`
	Looking   bool                  `json:"looking,omitempty"` // it is not decided yet what becomes of what was found: should it be lost, the next leader decides
	Members   []MemberStatus        `json:"members"`           // nil: as shown before
	SentNs    int64                 `json:"sent_ns"`           // by the leader's clock
	Lost      []string              `json:"lost"`              // server ids of those who have not answered for lostAfter
	Doubtful  []string              `json:"doubtful"`          // of those whose last answer is missing
	Divisions map[string]int        `json:"divisions"`         // how many each run in hand has
	Settled   map[string]Settlement `json:"settled"`           // who goes by which of those
}

// view holds the newest leaderView that reached a follower.
type view struct {
	mu     sync.Mutex
	v      leaderView
	leader string        // whose it is
	news   chan struct{} // holds one when more is settled
	given  grant
	before grant // the newest of the leader before: the clock of a new one has to be compared first
}

// grant is the newest roll call that lets a node go on with a divided load.
type grant struct {
	leader string
	sentNs int64 // by the leader's clock
	got    time.Time
}

// grants says whether the view lets the server go on with its part of a divided load.
func (v leaderView) grants(serverID string) bool {
	return v.SentNs != 0 && !slices.Contains(v.Lost, serverID) && !slices.Contains(v.Doubtful, serverID)
}

func (v leaderView) withoutRows() leaderView {
	v.Members = nil
	return v
}

func (v *view) granted() [2]grant {
	v.mu.Lock()
	defer v.mu.Unlock()
	return [2]grant{v.given, v.before}
}

func (v *view) set(self, leader string, b []byte) {
	var in leaderView
	if json.Unmarshal(b, &in) != nil {
		return // a newer leader's form: better an old view than none
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	if in.Members == nil {
		in.Members = v.v.Members // another leader's perhaps, and better than none until its own come
	}
	if !maps.EqualFunc(in.Settled, v.v.Settled, Settlement.equal) {
		ring(v.news)
	}
	v.v, v.leader = in, leader
	if !in.grants(self) {
		return
	}
	if v.given.leader != leader {
		v.before = v.given
	}
	v.given = grant{leader, in.SentNs, time.Now()}
}

// from is the view if it is that leader's, else an empty one.
func (v *view) from(leader string) leaderView {
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.leader != leader {
		return leaderView{}
	}
	return v.v
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
	v.Looking = l.looking.Load()
	standings := l.crew.standings()
	s := l.n.machine.State()
	v.SentNs, v.Divisions = l.n.wall.read(time.Now()), map[string]int{}
	for _, r := range s.Active() {
		v.Divisions[r.ID] = len(r.Divisions)
	}
	v.Settled = l.allSettled()
	run := s.Shown()
	suffrages := l.n.suffrages()
	for _, m := range l.n.members() {
		st := standings[m.ServerID]
		row := MemberStatus{
			NodeID: m.NodeID, ServerID: m.ServerID, Addr: m.Addr, Suffrage: suffrages[m.ServerID], Alive: l.crew.seen(m.ServerID),
			ClockOffsetMs: ms(st.Health.ClockOffset), ClockBoundMs: ms(st.Health.ClockBound), StartSkewMs: ms(st.Health.StartSkew),
		}
		if run != nil {
			m.Incarnation = st.Health.Incarnation
			if a, ok := l.ack(run.ID, m); ok {
				row.ConfigVersion = a.Version
			} else if st.Health.ReadyRun == run.ID {
				row.ConfigVersion = run.Version
			}
			if run.Participates(m) {
				row.Share = run.share(m)
			}
		}
		v.Members = append(v.Members, row)
		if l.crew.lost(m.ServerID) {
			v.Lost = append(v.Lost, m.ServerID)
		}
		if !st.failed.IsZero() {
			v.Doubtful = append(v.Doubtful, m.ServerID)
		}
	}
	return v
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

// Shown is the run to show: the one that generates load, else the one being
// prepared, else the one that ended last; nil before the first.
func (s *State) Shown() *Run {
	if s.Current != nil && s.Current.Ended && s.Next != nil {
		return s.Next
	}
	return s.Current
}

func (n *Node) currentRun() string {
	if r := n.machine.State().Shown(); r != nil {
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
		st.Members = slices.Clone(view.Members)
	}
	for i, m := range st.Members {
		if m.ServerID == n.self.ServerID && n.tenure.isolated() {
			st.Members[i].Isolated, st.Members[i].Share = true, 0
		}
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
	defer st.complain(s.Followed)
	if s.Failure != nil {
		st.Error = &s.Failure.Reason
	}
	r := s.Shown()
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

// complain adds what is wrong with the source that is followed.
func (st *Status) complain(f *Followed) {
	if f == nil {
		return
	}
	for _, text := range []string{f.Error, f.Trouble} {
		switch {
		case text == "" || st.Error != nil && strings.Contains(*st.Error, text):
		case st.Error != nil:
			text = *st.Error + "; " + text
			st.Error = &text
		default:
			st.Error = &text
		}
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
	r := s.Shown()
	if r == nil || (r.Ended && r.Phase == PhaseAborted && s.Failure == nil && n.fetching()) {
		switch {
		case s.Failure != nil:
			return string(s.Failure.phase())
		case n.fetching():
			return "fetching"
		}
		return "waiting"
	}
	if s.Failure != nil && r.Ended {
		return string(s.Failure.phase())
	}
	if r.Phase == PhaseScheduled {
		if start := n.StartOf(r.ID); !start.IsZero() && !time.Now().Before(start) {
			return "running"
		}
	}
	return string(r.Phase)
}

// phase is that of a start that has come to nothing.
func (e *Ending) phase() Phase {
	if e.ExitCode == ExitStopped {
		return PhaseStopped
	}
	return PhaseAborted
}

// Fetching says whether the leader is getting the plan from the source, as far as is known here.
func (n *Node) Fetching() bool { return n.fetching() }

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
		return n.startOf(r)
	}
	return time.Time{}
}

// LeaderChanges counts how often this node saw another leader than before.
func (n *Node) LeaderChanges() int64 { return n.leaderChanges.Load() }
