package node

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
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
		if err = l.beginFetched(ctx, c, checked, fromStart); err == nil || !errors.Is(err, ErrRefused) && !errors.Is(err, ErrEngine) {
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
	return l.propose(ctx, Command{Abort: &Abort{Revision: c.Revision, Ending: Ending{ExitCode: code, Reason: err.Error(), Exit: !l.n.opt.Hold}}})
}

// beginFetched begins a run of what the source had, unless a posted plan came
// first. ErrRefused is a plan that cannot be run.
func (l *leader) beginFetched(ctx context.Context, c Config, checked Checked, from origin) error {
	_, err := l.beginRun(ctx, c, checked, from)
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
	err = fmt.Errorf("invalid plan from %s: %w", c.Origin, err)
	reason := err.Error()
	l.n.toldInvalid.Store(&reason)
	return err
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

// goingFrom is how long before its start a run counts as going: it can no
// longer be taken back everywhere in time.
const goingFrom = time.Second

// origin is what a run is begun for.
type origin int

const (
	fromStart   origin = iota // the source, for the first time
	fromRetry                 // what it has after that has failed
	fromChange                // what it has while the nodes are up
	fromRestart               // what it has when the cluster was started again
	fromPost
)

// errNotWanted is what a fetch gets that was overtaken by a posted plan.
var errNotWanted = errors.New("another plan has come first")

// beginRun commits the config and a run of it. A run that is going stays, one
// that has not started is replaced. While one run drains beside its successor
// there is no room for a third: then it waits, at most until ctx ends. Before
// anything is committed this node has prepared the run: what it cannot run
// (ErrRefused) is nobody's run.
func (l *leader) beginRun(ctx context.Context, c Config, checked Checked, from origin) (string, error) {
	select {
	case l.beginning <- struct{}{}:
		defer func() { <-l.beginning }()
	case <-ctx.Done():
		return "", fmt.Errorf("another run is being begun: %w", errPhase)
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
		if from == fromStart && (s.Current != nil || s.Failure != nil) || from == fromRetry && !s.held(l.n.opt.Hold) || from == fromRestart && len(s.Active()) > 0 {
			l.n.prepared.forget(id)
			return "", errNotWanted
		}
		run := Run{
			ID: id, Version: c.Version, Members: l.expected(), Seed: seed, Tenant: checked.Tenant,
			KeepAlive: l.n.opt.KeepAlive || l.n.opt.Ephemeral || checked.StayUp || l.n.opt.SourceName == SourceNone,
			Standby:   checked.Standby, Ephemeral: l.n.opt.Ephemeral,
			Hold: l.n.opt.Hold, Posted: from == fromChange || from == fromPost, Duration: checked.Duration, Grace: checked.Grace, Divided: checked.Divided,
		}
		if from != fromPost {
			run.Revision = c.Revision
		}
		err := l.commitRun(ctx, c, BeginRun{Run: run, Replaces: l.replaceable(s), Reopen: from == fromRestart})
		if err == nil {
			l.n.log.Info("run begun: "+checked.Load(len(run.Members)), "event", "run_begun", "run_id", run.ID, "config_version", c.Version, "nodes", len(run.Members), "seed", seed)
			return run.ID, nil
		}
		if !errors.Is(err, errPhase) {
			return "", err // perhaps committed all the same: what is prepared is forgotten once the log has moved on
		}
		if s.Leaving() != nil && from != fromRestart || !sleep(ctx, jitter(rollCallFast)) {
			l.n.prepared.forget(id)
			return "", err
		}
	}
}

// expected are the members that a new run waits for: those who are not known to
// be lost, unless they are too few without them.
func (l *leader) expected() []Member {
	if there := l.there(); len(there) >= l.n.opt.Expect {
		return there
	}
	return l.n.members()
}

// there are the members that are not known to be lost.
func (l *leader) there() []Member {
	return slices.DeleteFunc(slices.Clone(l.n.members()), func(m Member) bool { return l.crew.lost(m.ServerID) })
}

// newRunID is the plan's run_id, made unique if it was used already, or a new one.
func newRunID(s *State, wanted string) string {
	if wanted != "" && !slices.Contains(s.Used, wanted) {
		return wanted
	}
	return strings.TrimPrefix(wanted+"-", "-") + fmt.Sprintf("run-%d-%s", time.Now().Unix(), randomHex(2))
}

func (l *leader) commitRun(ctx context.Context, c Config, begin BeginRun) error {
	if err := l.propose(ctx, Command{SetConfig: &c}); err != nil {
		return err
	}
	return l.propose(ctx, Command{BeginRun: &begin})
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
	return l.n.startOf(r)
}

func (l *leader) propose(ctx context.Context, c Command) error {
	return l.n.propose(ctx, c)
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
			start, instead := l.startOf(ctx, r)
			switch {
			case ctx.Err() != nil:
				return nil
			case instead != nil:
				return l.propose(ctx, Command{Abort: &Abort{RunID: runID, Ending: *instead}})
			}
			return l.propose(ctx, Command{Schedule: &Schedule{RunID: runID, StartAt: l.n.wall.read(start), Clock: l.n.self.ServerID, Participants: participants}})
		}
		if time.Now().After(deadline) {
			return l.abort(ctx, r, fmt.Sprintf("not ready after %s, or clock or weight is not known: %s", readyTimeout, names(waiting)))
		}
		if !sleep(ctx, 25*time.Millisecond) {
			return nil
		}
	}
}

// startOf is when the run starts now that all are ready: soon, unless there are
// others who have a say.
func (l *leader) startOf(ctx context.Context, r *Run) (start time.Time, instead *Ending) {
	if l.n.opt.Meet != nil {
		return l.n.opt.Meet(ctx, *r, l.n.machine.State().Configs[r.Version])
	}
	return time.Now().Add(l.n.opt.StartDelay), nil
}

// participants returns who takes part, and who is to but does not show ready
// yet. A member that came late takes part if it has acknowledged, and is not waited for.
func (l *leader) participants(r *Run) (ready, waiting []Member) {
	standings := l.crew.standings()
	for _, m := range l.n.members() {
		st := standings[m.ServerID]
		known := (st.Health.ClockBound > 0 || m.ServerID == l.n.self.ServerID) && st.Weight > 0
		m.Weight, m.Incarnation = st.Weight, st.Health.Incarnation
		expected := r.Expects(m.ServerID)
		_, acked := l.ack(r.ID, m)
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
