package node

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"time"
)

const (
	announceTimeout = 5 * time.Second
	deliveryTries   = 4 // the first and three more
	readyTimeout    = 30 * time.Second
	// collectTimeout bounds the wait for summaries after the run and its drain.
	collectTimeout = 30 * time.Second
	superviseEvery = 250 * time.Millisecond
)

// fetch gets the plan from the start-up source. What is wrong with the source
// or the plan is no reason for another leader: it ends the attempt for all.
func (l *leader) fetch(ctx context.Context) error {
	l.setFetching(true)
	defer l.setFetching(false)
	l.awaitAnnounced(ctx)
	l.n.log.Info("fetching the plan", "event", "config_fetch", "source", l.n.opt.SourceName)
	c, checked, err := l.fetchOnce(ctx)
	if err == nil {
		c, err = l.bundle(ctx, c, checked.Files)
	}
	if err == nil {
		if err = l.beginFetched(ctx, c, checked); err == nil || !errors.Is(err, ErrRefused) && !errors.Is(err, ErrEngine) {
			return err
		}
	}
	if ctx.Err() != nil {
		return nil
	}
	code := ExitInvalid
	if errors.Is(err, ErrEngine) {
		code = ExitFailure
	}
	return l.propose(ctx, Command{Abort: &Abort{Ending: Ending{ExitCode: code, Reason: err.Error(), Exit: !l.n.opt.Hold}}})
}

// beginFetched begins a run of what the source had, unless a posted plan came
// first. ErrRefused is a plan that cannot be run.
func (l *leader) beginFetched(ctx context.Context, c Config, checked Checked) error {
	_, err := l.beginRun(ctx, c, checked, false)
	switch {
	case errors.Is(err, errNotWanted):
		return nil
	case errors.Is(err, ErrRefused):
		return l.invalid(c, err)
	}
	return err
}

// invalid logs what is wrong with a plan and says where it is from.
func (l *leader) invalid(c Config, err error) error {
	l.n.log.Error("the plan is invalid: "+err.Error(), "event", "config_invalid", "origin", c.Origin, "revision", c.Revision)
	return fmt.Errorf("invalid plan from %s: %w", c.Origin, err)
}

// awaitAnnounced lets the outside see who leads before the fetch begins.
func (l *leader) awaitAnnounced(ctx context.Context) {
	if l.n.opt.Wire == nil || l.n.opt.Wire.Announcer == nil {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, announceTimeout)
	defer cancel()
	if err := l.n.opt.Wire.Announcer.Announced(ctx, "leader"); err != nil {
		l.n.log.Warn("the leader tag is not confirmed after "+announceTimeout.String()+", going on: "+err.Error(), "event", "announce_late")
	}
}

func (l *leader) fetchOnce(ctx context.Context) (Config, Checked, error) {
	ctx, cancel := context.WithTimeout(ctx, l.n.opt.ConfigTimeout)
	defer cancel()
	c, err := l.n.opt.Source.Fetch(ctx)
	l.mu.Lock()
	l.tried = c.Revision
	l.mu.Unlock()
	if err != nil && !errors.Is(err, ErrInvalid) {
		return c, Checked{}, err
	}
	l.n.log.Info("plan fetched", "event", "config_fetched", "origin", c.Origin, "revision", c.Revision, "config_version", c.Version, "bytes", len(c.Document))
	var checked Checked
	if err == nil {
		checked, err = l.n.hooks.Check(c.Document)
	}
	if err != nil {
		return c, checked, l.invalid(c, err)
	}
	l.warn(c, checked)
	return c, checked, nil
}

func (l *leader) warn(c Config, checked Checked) {
	for _, w := range checked.Warnings {
		l.n.log.Warn(w, "event", "config_warning", "origin", c.Origin)
	}
}

// recheck waits for another revision of a source that failed, and tries each once.
func (l *leader) recheck(ctx context.Context) error {
	l.mu.Lock()
	tried := l.tried
	l.mu.Unlock()
	if cur := l.n.machine.State().Current; tried == "" && cur != nil {
		tried = l.n.machine.State().Configs[cur.Version].Revision
	}
	for sleep(ctx, jitter(l.n.opt.RecheckEvery)) {
		call, cancel := context.WithTimeout(ctx, l.n.opt.ConfigTimeout)
		c, err := l.n.opt.Source.Fetch(call)
		cancel()
		if err != nil || c.Revision == tried {
			continue
		}
		tried = c.Revision
		checked, err := l.n.hooks.Check(c.Document)
		if err != nil {
			_ = l.invalid(c, err) // logged: a later revision may be better
			continue
		}
		if c, err = l.bundle(ctx, c, checked.Files); err != nil {
			l.n.log.Error("the plan's files are still not to be had: "+err.Error(), "event", "config_invalid", "origin", c.Origin, "revision", c.Revision)
			continue
		}
		if err := l.beginFetched(ctx, c, checked); !errors.Is(err, ErrRefused) {
			return err
		}
	}
	return nil
}

// goingFrom is how long before its start a run counts as going: it can no
// longer be taken back everywhere in time.
const goingFrom = time.Second

// errNotWanted is what a fetch gets that was overtaken by a posted plan.
var errNotWanted = errors.New("another plan has come first")

// beginRun commits the config and a run of it. A run that is going stays, one
// that has not started is replaced. While one run drains beside its successor
// there is no room for a third: then it waits, at most until ctx ends. Before
// anything is committed this node has prepared the run: what it cannot run
// (ErrRefused) is nobody's run.
func (l *leader) beginRun(ctx context.Context, c Config, checked Checked, posted bool) (string, error) {
	select {
	case l.beginning <- struct{}{}:
		defer func() { <-l.beginning }()
	case <-ctx.Done():
		return "", context.Cause(ctx)
	}
	seed := rand.Int64()
	if checked.Seed != nil {
		seed = *checked.Seed
	}
	id := newRunID(l.n.machine.State(), checked.RunID) // only a leader gives ids away, one at a time
	if err := l.n.prepare(ctx, id, c, seed); err != nil {
		return "", err
	}
	for {
		s := l.n.machine.State()
		if !posted && !fetches(tasks(s, true, l.n.opt.Hold)) {
			l.n.prepared.forget(id)
			return "", errNotWanted
		}
		run := Run{
			ID: id, Version: c.Version, Members: l.n.members(), Seed: seed, Tenant: checked.Tenant,
			KeepAlive: l.n.opt.KeepAlive || l.n.opt.Ephemeral || checked.StayUp || l.n.opt.SourceName == SourceNone,
			Standby:   checked.Standby, Ephemeral: l.n.opt.Ephemeral,
			Hold: l.n.opt.Hold, Posted: posted, Duration: checked.Duration, Grace: checked.Grace,
		}
		err := l.commitRun(ctx, c, run, l.replaceable(s))
		if err == nil {
			l.n.log.Info("run begun: "+checked.Load(len(run.Members)), "event", "run_begun", "run_id", run.ID, "config_version", c.Version, "nodes", len(run.Members), "seed", seed)
			return run.ID, nil
		}
		if !errors.Is(err, errPhase) {
			return "", err // perhaps committed all the same: what is prepared is forgotten once the log has moved on
		}
		if s.Leaving() != nil || !sleep(ctx, jitter(rollCallFast)) {
			l.n.prepared.forget(id)
			return "", err
		}
	}
}

func fetches(list []task) bool {
	return slices.ContainsFunc(list, func(t task) bool { return t.kind == taskFetch || t.kind == taskRecheck })
}

// newRunID is the plan's run_id, made unique if it was used already, or a new one.
func newRunID(s *State, wanted string) string {
	if wanted != "" && !slices.Contains(s.Used, wanted) {
		return wanted
	}
	return strings.TrimPrefix(wanted+"-", "-") + fmt.Sprintf("run-%d-%s", time.Now().Unix(), randomHex(2))
}

func (l *leader) commitRun(ctx context.Context, c Config, run Run, replaces string) error {
	if err := l.propose(ctx, Command{SetConfig: &c}); err != nil {
		return err
	}
	return l.propose(ctx, Command{BeginRun: &BeginRun{Run: run, Replaces: replaces}})
}

// replaceable names the run that a new one may push out: one that does not
// start soon.
func (l *leader) replaceable(s *State) string {
	for _, r := range []*Run{s.Next, s.Current} {
		if r == nil || r.Ended {
			continue
		}
		if r.Phase != PhaseStopped && (r.StartAt == 0 || time.Until(l.start(r)) > goingFrom) {
			return r.ID
		}
		return ""
	}
	return ""
}

// start is the run's start in this node's clock.
func (l *leader) start(r *Run) time.Time {
	if pl := l.n.player.find(r.ID); pl != nil {
		return pl.start
	}
	t, _ := l.n.localTime(r.StartAt, r.Clock)
	return t
}

func (l *leader) propose(ctx context.Context, c Command) error {
	return l.n.propose(ctx, c)
}

// deliver hands the run's config to every expected node and commits Ready
// once the last of them has it, or Abort when one refuses or stays silent. One that
// leaves in order meanwhile is not expected any more.
func (l *leader) deliver(ctx context.Context, runID string) error {
	s := l.n.machine.State()
	r := s.Run(runID)
	if r == nil {
		return nil
	}
	expected, err := l.gather(ctx, r)
	if err != nil {
		return l.abort(ctx, r, err.Error())
	}
	work, cancel := context.WithCancel(ctx)
	defer cancel()
	results := make(chan error, len(expected))
	for _, m := range expected {
		go func() { results <- l.handOver(work, r, s.Configs[r.Version], m) }()
	}
	var failed error
	again := false // somebody has left: perhaps there are too few now
	for range expected {
		err := <-results
		again = again || errors.Is(err, errDeparted)
		if err != nil && !errors.Is(err, errDeparted) && failed == nil {
			failed = err
			if errors.Is(err, ErrRefused) {
				cancel() // another try would not help, nor would the others' acknowledgements
			}
		}
	}
	if ctx.Err() != nil {
		return nil
	}
	if failed != nil {
		return l.abort(ctx, r, failed.Error())
	}
	if again {
		return l.deliver(ctx, runID)
	}
	return l.propose(ctx, Command{Ready: &Ready{RunID: runID}})
}

// brief hands the config to members that came after BeginRun. They can neither
// delay the start nor prevent it; who has acknowledged when it is decided takes part.
func (l *leader) brief(ctx context.Context, runID string) error {
	s := l.n.machine.State()
	r := s.Run(runID)
	asked := map[string]bool{}
	var briefing sync.WaitGroup
	defer briefing.Wait()
	for r != nil {
		for _, m := range l.n.members() {
			if asked[m.ServerID] || r.Expects(m.ServerID) || !l.crew.seen(m.ServerID) {
				continue
			}
			asked[m.ServerID] = true
			briefing.Go(func() { l.briefOne(ctx, r, s.Configs[r.Version], m) })
		}
		if !sleep(ctx, stewardEvery) {
			break
		}
	}
	return nil
}

// briefOne hands the config to a late member, with as many tries as any other has.
func (l *leader) briefOne(ctx context.Context, r *Run, c Config, m Member) {
	for try := 1; try <= deliveryTries; try++ {
		ack, err := l.distribute(ctx, r, c, m)
		if err == nil {
			l.acknowledged(r.ID, ack)
			return
		}
		l.n.log.Debug("a late member does not take the plan", "member", m.ServerID, "error", err.Error())
		if errors.Is(err, ErrRefused) || !sleep(ctx, jitter(stewardEvery)) {
			return
		}
	}
}

// gather waits until enough members answer; members that came after BeginRun count.
func (l *leader) gather(ctx context.Context, r *Run) ([]Member, error) {
	deadline := time.Now().Add(l.n.opt.FormTimeout)
	for {
		expected := slices.DeleteFunc(slices.Clone(r.Members), l.hasDeparted)
		for _, m := range l.n.members() {
			if len(expected) < l.n.opt.Expect && !r.Expects(m.ServerID) && l.crew.seen(m.ServerID) {
				expected = append(expected[:len(expected):len(expected)], m)
			}
		}
		if len(expected) >= l.n.opt.Expect {
			return expected, nil
		}
		if time.Now().After(deadline) {
			return nil, fmt.Errorf("only %d of %d nodes (CLUSTER_EXPECT) are members after %s: %s; missing: %s",
				len(expected), l.n.opt.Expect, l.n.opt.FormTimeout, names(expected), l.strangers(ctx))
		}
		if !sleep(ctx, rollCallFast) {
			return nil, ctx.Err()
		}
	}
}

// strangers are the addresses that discovery knows and no member has.
func (l *leader) strangers(ctx context.Context) string {
	ctx, cancel := context.WithTimeout(ctx, helloTimeout)
	defer cancel()
	addrs, err := l.n.opt.Wire.Discovery.Addresses(ctx)
	if err != nil {
		return "unknown, " + err.Error()
	}
	members := l.n.members()
	return orNone(slices.DeleteFunc(slices.Sorted(slices.Values(addrs)), func(addr string) bool {
		return slices.ContainsFunc(members, func(m Member) bool { return m.Addr == addr })
	}))
}

func names(members []Member) string {
	var list []string
	for _, m := range members {
		list = append(list, m.NodeID+" at "+m.Addr)
	}
	return orNone(list)
}

func (l *leader) abort(ctx context.Context, r *Run, reason string) error {
	if ctx.Err() != nil {
		return nil
	}
	exit := !r.Posted && !r.Hold
	return l.propose(ctx, Command{Abort: &Abort{RunID: r.ID, Ending: Ending{ExitCode: ExitCluster, Reason: reason, Exit: exit}}})
}

// errDeparted is what a hand-over to a node ends with that has left in order.
var errDeparted = errors.New("it has left")

// handOver gives the config to one node: a first try and three more.
func (l *leader) handOver(ctx context.Context, r *Run, c Config, m Member) error {
	backoff := 500 * time.Millisecond
	var last error
	for try := 1; try <= deliveryTries; try++ {
		began := time.Now()
		ack, err := l.distribute(ctx, r, c, m)
		if err == nil {
			l.n.attempts.count(m.NodeID, "ok")
			l.acknowledged(r.ID, ack)
			l.n.log.Info("plan delivered", "event", "config_delivered", "run_id", r.ID, "member", m.ServerID, "config_version", ack.Version, "took_ms", time.Since(began).Milliseconds())
			return nil
		}
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if l.hasDeparted(m) {
			return errDeparted
		}
		last = err
		if errors.Is(err, ErrRefused) {
			l.n.attempts.count(m.NodeID, "refused")
			return fmt.Errorf("node %s at %s refuses the plan: %w", m.NodeID, m.Addr, err)
		}
		l.n.attempts.count(m.NodeID, "failed")
		if try == deliveryTries {
			break
		}
		l.n.log.Warn("the plan was not acknowledged, trying again: "+err.Error(), "event", "config_delivery_retry",
			"run_id", r.ID, "member", m.ServerID, "node", m.NodeID, "attempt", try, "took_ms", time.Since(began).Milliseconds())
		if !sleep(ctx, jitter(backoff)) {
			return ctx.Err()
		}
		backoff *= 2
	}
	return fmt.Errorf("node %s at %s did not acknowledge the plan after %d tries of at most %s (CLUSTER_CONFIG_TIMEOUT_SECS): %w",
		m.NodeID, m.Addr, deliveryTries, l.n.opt.ConfigTimeout, last)
}

// distribute is one try. A node that does not know this leader yet is asked again within it.
func (l *leader) distribute(ctx context.Context, r *Run, c Config, m Member) (Ack, error) {
	ctx, cancel := context.WithTimeout(ctx, l.n.opt.ConfigTimeout+transfer(c.Files))
	defer cancel()
	in := Distribute{RunID: r.ID, Seed: r.Seed, Config: c}
	if m.ServerID == l.n.self.ServerID {
		return l.n.take(ctx, in)
	}
	ack, err := l.send(ctx, in, m)
	if err == nil && (ack.ServerID != m.ServerID || ack.Version != c.Version) {
		err = fmt.Errorf("%s answers at %s, with config %s, not %s with %s", ack.ServerID, m.Addr, ack.Version, m.ServerID, c.Version)
	}
	return ack, err
}

// send is one try over the wire.
func (l *leader) send(ctx context.Context, in Distribute, m Member) (Ack, error) {
	c := in.Config
	if len(c.Files) > 0 { // a transfer that makes progress is not cut
		moving, tick, release := stalling(ctx, l.n.opt.ConfigTimeout)
		defer release()
		defer l.n.data.watch(m.ServerID, tick)()
		ctx = moving
	}
	for {
		in.Fence = l.fence()
		ack, err := l.n.opt.Wire.Courier.Distribute(ctx, m.Addr, in)
		if !errors.Is(err, ErrStaleLeader) || !sleep(ctx, rollCallFast) {
			return ack, because(ctx, err)
		}
	}
}

func (l *leader) fence() Fence {
	return l.n.raft.Fence(l.n.identity.ClusterID(), l.n.self.ServerID)
}

func (l *leader) setFetching(on bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.fetching = on
}

// schedule decides the start, once every live expected node shows that it
// knows that all are ready, and its clock is known. Who is lost is left out.
func (l *leader) schedule(ctx context.Context, runID string) error {
	deadline := time.Now().Add(readyTimeout)
	for {
		r := l.n.machine.State().Run(runID)
		if r == nil {
			return nil
		}
		participants, waiting := l.participants(r)
		if reason := l.clockTooFar(r, participants); reason != "" {
			return l.abort(ctx, r, reason)
		}
		if len(waiting) == 0 && len(participants) > 0 {
			start := time.Now().Add(l.n.opt.StartDelay)
			return l.propose(ctx, Command{Schedule: &Schedule{RunID: runID, StartAt: start.UnixNano(), Clock: l.n.self.ServerID, Participants: participants}})
		}
		if time.Now().After(deadline) {
			return l.abort(ctx, r, fmt.Sprintf("not ready after %s, or clock or weight is not known: %s", readyTimeout, names(waiting)))
		}
		if !sleep(ctx, 25*time.Millisecond) {
			return nil
		}
	}
}

// participants returns who takes part, and who is to but does not show ready
// yet. A member that came late takes part if it has acknowledged, and is not waited for.
func (l *leader) participants(r *Run) (ready, waiting []Member) {
	standings := l.crew.standings()
	for _, m := range l.n.members() {
		st := standings[m.ServerID]
		known := (st.Health.ClockBound > 0 || m.ServerID == l.n.self.ServerID) && st.Weight > 0
		m.Weight = st.Weight
		expected := r.Expects(m.ServerID)
		_, acked := l.ack(r.ID, m.ServerID)
		switch {
		case l.crew.seen(m.ServerID) && known && (expected && st.Health.ReadyRun == r.ID || !expected && acked && !l.tooFar(st)):
			ready = append(ready, m)
		case expected && !l.crew.lost(m.ServerID):
			waiting = append(waiting, m)
		}
	}
	return ready, waiting
}

func (l *leader) tooFar(st Standing) bool {
	return l.n.opt.MaxClockError > 0 && st.Health.ClockBound > l.n.opt.MaxClockError
}

// clockTooFar says which expected node's clock is known too badly.
func (l *leader) clockTooFar(r *Run, participants []Member) string {
	standings := l.crew.standings()
	for _, m := range participants {
		if st := standings[m.ServerID]; r.Expects(m.ServerID) && l.tooFar(st) {
			return fmt.Sprintf("the clock of node %s at %s is known only to %s, the limit is %s (CLUSTER_MAX_CLOCK_ERROR)", m.NodeID, m.Addr, st.Health.ClockBound, l.n.opt.MaxClockError)
		}
	}
	return ""
}
