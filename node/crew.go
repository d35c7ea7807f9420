package node

import (
	"context"
	"encoding/json"
	"maps"
	"math"
	"slices"
	"sync"
	"time"

	"github.com/hashicorp/raft"
)

const (
	healthTimeout = time.Second
	// lostAfter is how long a silent member counts as present.
	lostAfter    = 3 * time.Second
	rollCallSlow = time.Second
	rollCallFast = 200 * time.Millisecond // while the nodes get ready
	stewardEvery = 500 * time.Millisecond
	// replaceVoterAfter is how long a voter may be silent until another member votes instead.
	replaceVoterAfter = 10 * time.Second
	// promoteLag is how many log entries a member may lack to be made a voter.
	promoteLag = 16
)

// Standing is what the leader knows of a member.
type Standing struct {
	Health  Health
	Weight  float64   // of the member's share, 0 while it is not known
	Contact time.Time // last answer; zero if none yet
	Alive   bool
	failed  time.Time      // when the first call since then ended without one; zero if none did
	noticed time.Time      // since when this leader knows the member
	granted time.Time      // when the newest call was sent that let it go on with a divided load
	shown   map[string]int // the divisions that the last call told of that was answered
}

// crew is the leader's view of the members: who answers the roll call.
type crew struct {
	l        *leader
	mu       sync.Mutex
	known    map[string]*Standing
	inFlight map[string]bool
	replaced map[string]bool // members at whose address another process answers
}

func newCrew(l *leader) *crew {
	return &crew{l: l, known: map[string]*Standing{}, inFlight: map[string]bool{}, replaced: map[string]bool{}}
}

// seen says whether the member has answered lately; self always has.
func (c *crew) seen(serverID string) bool {
	if serverID == c.l.n.self.ServerID {
		return true
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	s := c.known[serverID]
	return s != nil && time.Since(s.Contact) < lostAfter
}

// lost says whether the member has been silent for lostAfter under this leader.
func (c *crew) lost(serverID string) bool {
	if serverID == c.l.n.self.ServerID {
		return false
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	return time.Since(c.lastHeard(serverID)) >= lostAfter
}

// dead says whether this process of a member is lost, is no member any more, or
// another has taken its place: the server is there, but what that process had counted or was to send is not.
func (c *crew) dead(m Member) bool {
	return c.lost(m.ServerID) || m.Incarnation != c.life(m).Incarnation || find(c.l.n.members(), m.ServerID) == nil
}

// life is the member's process that has answered last; where none has, the one that is asked for.
func (c *crew) life(m Member) Member {
	if m.ServerID == c.l.n.self.ServerID {
		m.Incarnation = c.l.n.nonce
		return m
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if s := c.known[m.ServerID]; s != nil && s.Health.Incarnation != "" {
		m.Incarnation = s.Health.Incarnation
	}
	return m
}

// entry is what is known of a member, from the first time that it is looked for.
func (c *crew) entry(serverID string) *Standing {
	s := c.known[serverID]
	if s == nil {
		s = &Standing{noticed: time.Now()}
		c.known[serverID] = s
	}
	return s
}

// lastHeard is when the member answered last, or when this leader began to listen to it.
func (c *crew) lastHeard(serverID string) time.Time {
	s := c.entry(serverID)
	if s.Contact.Before(s.noticed) {
		return s.noticed
	}
	return s.Contact
}

// grant takes note that a call is about to be sent that lets the member go on
// with a divided load.
func (c *crew) grant(serverID string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.entry(serverID).granted = time.Now()
}

// silentFrom is when a member that is lost sends nothing of a divided load any
// more: what this leader has granted is over then, and what one before it had.
func (c *crew) silentFrom(serverID string) time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	last := c.entry(serverID).granted
	if last.Before(c.l.since) {
		last = c.l.since
	}
	return last.Add(grantedFor)
}

// welcome begins to listen to a member that is about to be admitted, perhaps again.
func (c *crew) welcome(serverID string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.known, serverID)
	delete(c.replaced, serverID)
}

// standings returns what is known of every member.
func (c *crew) standings() map[string]Standing {
	c.mu.Lock()
	defer c.mu.Unlock()
	m := map[string]Standing{}
	for id, s := range c.known {
		m[id] = *s
	}
	self := c.l.n
	first, skew := self.player.started(self.currentRun())
	m[self.self.ServerID] = Standing{
		Health: Health{ServerID: self.self.ServerID, Incarnation: self.nonce, ReadyRun: self.readyRun(), StartSkew: skew, FirstRequest: first},
		Weight: self.self.Weight, Alive: true, Contact: time.Now(),
	}
	return m
}

// rollCall asks every member how it is, and shows each of them what all need to
// know, and the members' rows when it is its turn.
func (c *crew) rollCall(ctx context.Context) error {
	var wg sync.WaitGroup
	var rows rota
	defer wg.Wait()
	for {
		_, changed := c.l.n.machine.Watch()
		members := c.l.n.members()
		c.forget(members)
		sees := c.l.view()
		whole, err := json.Marshal(sees)
		if err != nil {
			return err
		}
		without, err := json.Marshal(sees.withoutRows())
		if err != nil {
			return err
		}
		turn := rows.turn(len(members), len(whole))
		for i, m := range members {
			if m.ServerID == c.l.n.self.ServerID || !c.begin(m.ServerID) {
				continue
			}
			if sees.grants(m.ServerID) {
				c.grant(m.ServerID)
			}
			view := without
			if turn(i) {
				view = whole
			}
			wg.Go(func() { c.ask(ctx, m, view, sees.Divisions) })
		}
		t := time.NewTimer(c.pace())
		select {
		case <-changed: // what the members are to show has changed
		case <-t.C:
		case <-ctx.Done():
		}
		t.Stop()
		if ctx.Err() != nil {
			return nil
		}
	}
}

func (c *crew) pace() time.Duration {
	for _, r := range c.l.n.machine.State().Active() {
		if r.Phase == PhaseDistributing || r.Phase == PhaseReady || c.l.unsettled(r) {
			return rollCallFast
		}
	}
	return rollCallSlow
}

// begin claims the one call that may be under way to a member.
func (c *crew) begin(serverID string) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.inFlight[serverID] {
		return false
	}
	c.inFlight[serverID] = true
	return true
}

func (c *crew) ask(ctx context.Context, m Member, view []byte, divisions map[string]int) {
	call, cancel := context.WithTimeout(ctx, healthTimeout)
	h, err := c.l.n.opt.Wire.Courier.HealthCheck(call, m.Addr, HealthCheck{Fence: c.l.fence(), View: view})
	cancel()
	failed, weight := time.Now(), 0.0
	if err == nil { // else nothing is learnt, and that shall be known at once
		weight = c.weigh(ctx, m)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.inFlight, m.ServerID)
	s := c.entry(m.ServerID)
	was, before := s.Alive, s.Health.Incarnation
	if err == nil && h.ServerID == m.ServerID {
		s.Health, s.Contact, s.Alive, s.Weight, s.failed, s.shown = h, time.Now(), true, weight, time.Time{}, divisions
	} else {
		if s.failed.IsZero() {
			s.failed = failed
		}
		if time.Since(c.lastHeard(m.ServerID)) >= lostAfter {
			s.Alive = false
		}
	}
	if ctx.Err() != nil {
		return
	}
	if restarted := err == nil && before != "" && h.ServerID == m.ServerID && h.Incarnation != before; restarted {
		s.Weight = 0 // of the process before; asked for anew
		c.l.n.log.Info("member was restarted", "event", "member_restarted", "member", m.ServerID, "addr", m.Addr)
	}
	switch {
	case s.Alive && !was:
		c.l.n.log.Info("member answers", "event", "member_joined", "member", m.ServerID, "addr", m.Addr)
		c.warnSource(m, h)
	case was && !s.Alive:
		c.l.n.log.Warn("member does not answer", "event", "member_lost", "member", m.ServerID, "addr", m.Addr, "error", errText(err))
	}
}

// weigh asks a member for its weight, until it is known: Raft's configuration
// does not hold it.
func (c *crew) weigh(ctx context.Context, m Member) float64 {
	c.mu.Lock()
	known := 0.0
	if s := c.known[m.ServerID]; s != nil {
		known = s.Weight
	}
	c.mu.Unlock()
	if known > 0 {
		return known
	}
	n := c.l.n
	ctx, cancel := context.WithTimeout(ctx, healthTimeout)
	defer cancel()
	r, err := n.opt.Wire.Greeter.Hello(ctx, m.Addr, Hello{Cluster: n.opt.Name, Nonce: n.nonce, From: n.self, Expect: n.opt.Expect, Proto: ProtocolVersion})
	if err != nil || r.From.ServerID != m.ServerID {
		return 0
	}
	return r.From.Weight
}

// warnSource warns of a member whose local plan file differs: it is not used, but somebody may think it is.
func (c *crew) warnSource(m Member, h Health) {
	if own := c.l.n.opt.SourceHash; own != "" && h.SourceHash != own {
		c.l.n.log.Warn("CONFIG_FILE of "+m.NodeID+" differs from the leader's: only the leader's is used",
			"event", "config_differs", "member", m.ServerID, "leader_hash", own, "member_hash", h.SourceHash)
	}
}

func errText(err error) string {
	if err == nil {
		return ""
	}
	return err.Error()
}

func (c *crew) forget(members []Member) {
	c.mu.Lock()
	defer c.mu.Unlock()
	maps.DeleteFunc(c.known, func(id string, _ *Standing) bool { return find(members, id) == nil })
	maps.DeleteFunc(c.replaced, func(id string, _ bool) bool { return find(members, id) == nil })
}

// steward keeps Raft's configuration as it should be, one change at a time.
func (c *crew) steward(ctx context.Context) error {
	n := c.l.n
	for sleep(ctx, stewardEvery) {
		ch, err := c.tend()
		switch {
		case err != nil:
			n.log.Warn("cannot change the membership: "+err.Error(), "event", "membership", "member", string(ch.server.ID))
		case ch != nil:
			n.log.Info("member "+ch.kind+": "+ch.why, "event", "membership", "member", string(ch.server.ID), "addr", string(ch.server.Address))
		}
	}
	return nil
}

// tend makes the next change, nil if there is none to make. A run that begins
// meanwhile would wait for a member that is being removed, so nobody is removed
// while one begins, and none begins while one is removed.
func (c *crew) tend() (*membershipChange, error) {
	n := c.l.n
	between := false
	select {
	case c.l.beginning <- struct{}{}:
		defer func() { <-c.l.beginning }()
		between = true
	default:
	}
	ch := change(n.raft.Servers(), n.self.ServerID, c.standings(), n.raft.raft.AppliedIndex(), c.silence(), n.opt.ReapAfter, !between || n.settling())
	if ch == nil {
		return nil, nil
	}
	return ch, n.raft.reconfigure(*ch)
}

// silence is for how long a member has not answered; for ever, if another
// process has answered at its address: a server id is of one process.
func (c *crew) silence() func(serverID string) time.Duration {
	return func(id string) time.Duration {
		c.mu.Lock()
		defer c.mu.Unlock()
		if c.replaced[id] {
			return math.MaxInt64
		}
		return time.Since(c.lastHeard(id))
	}
}

// Misdirected takes note that a message to a member reached another process at
// its address: the member is dead, a leader need not wait for it.
func (n *Node) Misdirected(serverID string) {
	if l := n.leading.Load(); l != nil {
		l.crew.mu.Lock()
		defer l.crew.mu.Unlock()
		l.crew.replaced[serverID] = true
	}
}

// settling says whether a run waits for acknowledgements: then no silent member is removed.
func (n *Node) settling() bool {
	for _, r := range n.machine.State().Active() {
		if r.Phase == PhaseDistributing {
			return true
		}
	}
	return false
}

// What a membershipChange does.
const (
	removeMember  = "removed"
	promoteMember = "made a voter"
	demoteMember  = "made a non-voter"
)

type membershipChange struct {
	server raft.Server
	kind   string
	why    string
}

func (c *consensus) reconfigure(ch membershipChange) error {
	switch ch.kind {
	case removeMember:
		return c.raft.RemoveServer(ch.server.ID, 0, applyTimeout).Error()
	case promoteMember:
		return c.raft.AddVoter(ch.server.ID, ch.server.Address, 0, applyTimeout).Error()
	default:
		return c.raft.DemoteVoter(ch.server.ID, 0, applyTimeout).Error()
	}
}

func whyGone(silent, reapAfter time.Duration) string {
	if silent == math.MaxInt64 {
		return "another process answers at its address"
	}
	return "silent for over " + reapAfter.String() + " (CLUSTER_REAP_AFTER)"
}

// change is the next step towards the right configuration, or nil. A member
// that has been silent for reapAfter goes, provided that the voters left are a
// majority that answers; a healthy member becomes a voter while there are too
// few, and one voter too many stops being one. So does a silent one whose place
// another can take at once.
func change(servers []raft.Server, self string, standings map[string]Standing, applied uint64, silence func(string) time.Duration, reapAfter time.Duration, settling bool) *membershipChange {
	voters, answering := 0, 0
	for _, s := range servers {
		if s.Suffrage == raft.Voter {
			voters++
			if string(s.ID) == self || standings[string(s.ID)].Alive {
				answering++
			}
		}
	}
	for _, s := range servers {
		id := string(s.ID)
		// As long as it may have a lease it counts: it may be sending.
		if settling || id == self || standings[id].Alive || silence(id) < max(reapAfter, lostAfter+grantedFor) {
			continue
		}
		after := voters
		if s.Suffrage == raft.Voter {
			after--
		}
		if answering > after/2 {
			return &membershipChange{s, removeMember, whyGone(silence(id), reapAfter)}
		}
	}
	want := votersOf(len(servers))
	able := func(s raft.Server) bool {
		st := standings[string(s.ID)]
		return s.Suffrage != raft.Voter && st.Alive && st.Health.AppliedIndex+promoteLag >= applied
	}
	for _, s := range servers {
		id := string(s.ID)
		silent := s.Suffrage == raft.Voter && id != self && !standings[id].Alive && silence(id) >= replaceVoterAfter
		if silent && answering > (voters-1)/2 && slices.ContainsFunc(servers, able) {
			return &membershipChange{s, demoteMember, "it is silent, and another member can vote instead"}
		}
	}
	for _, s := range servers {
		id := string(s.ID)
		st := standings[id]
		switch {
		case id == self || !st.Alive:
		case voters < want && able(s):
			return &membershipChange{s, promoteMember, "it has caught up"}
		case voters > want && s.Suffrage == raft.Voter:
			return &membershipChange{s, demoteMember, "an even number of voters stands no more losses than one less"}
		}
	}
	return nil
}
