package node

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"slices"
	"time"
)

// howAgain says what to do when a cluster that is started again finds its run done.
const howAgain = "to run again, store another revision of the plan, empty CLUSTER_DATA_DIR on all nodes, or start with KEEP_ALIVE=true and POST /config"

// Reopen is what the first leader of a cluster that was started again commits
// when what it has found is over, and the nodes do not leave with that; or leave
// with the ending of a run that was found, not with why a start since came to nothing.
// A run that begins instead, or why there is none, does so itself: should the leader
// be lost in between, the next one would find neither what was there nor what came of it.
type Reopen struct {
	Leave string `json:"leave,omitempty"` // the run; "" for none
}

func (s *State) reopen(o Reopen) error {
	if !s.over() {
		return fmt.Errorf("reopen: a run is in hand, or there was none: %w", errPhase)
	}
	s.Failure = nil
	if s.Forgotten != nil {
		s.Followed, s.Forgotten = s.Forgotten.Followed, nil
	}
	for _, slot := range []**Run{&s.Current, &s.Last, &s.Rested} {
		if *slot == nil || (*slot).Ending.Exit == ((*slot).ID == o.Leave) {
			continue
		}
		r := **slot
		r.Ending.Exit = !r.Ending.Exit
		*slot = &r
	}
	if r := s.Current; s.Rested == nil && r != nil && r.Phase == PhaseFinished {
		s.Rested = r
	}
	return nil
}

// over says whether whatever the cluster was there for has ended.
func (s *State) over() bool {
	return len(s.Active()) == 0 && (s.Current != nil || s.Failure != nil)
}

// verdict is the run whose ending is the answer to what the source has, if it
// still has that; nil if the attempt failed before its load, and is worth another.
func (s *State) verdict() *Run {
	for _, r := range []*Run{s.Rested, s.Current, s.Last} {
		if r == nil || !r.Ended {
			continue
		}
		if r.Phase != PhaseAborted {
			return r
		}
		if !r.Posted {
			return nil
		}
	}
	return nil
}

// answers says whether the run that has ended is of this revision of the source; a
// posted one came after the revision that was dealt with last while there were runs.
func (s *State) answers(r *Run, revision string) bool {
	if r == nil || revision == "" {
		return false
	}
	dealt := s.Followed
	if s.Forgotten != nil {
		dealt = s.Forgotten.Followed
	}
	return r.Revision == revision || r.Revision == "" && dealt != nil && dealt.Revision == revision
}

// again is what the first leader of a cluster does that was started again: what
// is over stays so unless the source has another plan. It returns nil when that is decided.
func (l *leader) again(ctx context.Context) error {
	s := l.n.machine.State()
	switch {
	case !s.over():
		return nil
	case s.Current == nil, l.n.opt.Source == nil:
		return l.reopen(ctx, Reopen{}) // there was no run, or there is no plan to compare: as at the first start
	}
	l.setFetching(true)
	defer l.setFetching(false)
	l.awaitAnnounced(ctx)
	l.n.log.Info("fetching the plan: it may be another than that of run "+s.Current.ID, "event", "config_fetch", "source", l.n.opt.SourceName)
	c, checked, err := l.fetchOnce(ctx)
	run := s.verdict()
	switch {
	case ctx.Err() != nil:
		return context.Cause(ctx)
	case s.answers(run, c.Revision):
		return l.stand(ctx, run, c)
	case err != nil:
		return l.noneAgain(ctx, finding{config: c, err: err})
	}
	if c, err = l.bundle(ctx, c, checked.Files); err == nil {
		if err = l.beginFetched(ctx, c, checked, fromRestart); err == nil {
			return nil
		}
	}
	if ctx.Err() != nil || !errors.Is(err, ErrRefused) && !errors.Is(err, ErrEngine) && !errors.Is(err, ErrInvalid) {
		return err
	}
	return l.noneAgain(ctx, finding{config: c, err: err})
}

// stays says whether the nodes stay up whatever comes of this start: they were to
// before, too, and not only for a start that was held.
func (l *leader) stays(s *State) bool {
	return l.n.opt.KeepAlive || s.Current != nil && s.Leaving() == nil && !s.held(true)
}

// stand leaves what was found as it is: the nodes go with its verdict, or wait.
func (l *leader) stand(ctx context.Context, run *Run, c Config) error {
	s := l.n.machine.State()
	waits := l.stays(s) || run.KeepAlive && s.Leaving() == nil
	then := "leaving with its verdict"
	if waits {
		then = "waiting"
	}
	l.n.log.Warn(fmt.Sprintf("run %s of this revision of the plan is over already, %s: %s", run.ID, then, howAgain),
		"event", "run_found", "run_id", run.ID, "exit_code", run.Ending.ExitCode, "origin", c.Origin, "revision", c.Revision)
	switch {
	case waits:
		return l.reopen(ctx, Reopen{})
	case s.Failure != nil, s.Leaving() == nil:
		return l.reopen(ctx, Reopen{Leave: run.ID})
	}
	return nil
}

// noneAgain deals with a source that has no plan to run: as at a first start, but
// nodes that were to stay up stay up.
func (l *leader) noneAgain(ctx context.Context, f finding) error {
	if l.stays(l.n.machine.State()) {
		if err := l.reopen(ctx, Reopen{}); err != nil {
			return err
		}
		return l.adopt(ctx, f)
	}
	code := ExitInvalid
	if errors.Is(f.err, ErrEngine) {
		code = ExitFailure
	}
	return l.propose(ctx, Command{Abort: &Abort{Reopen: true, Revision: f.config.Revision, Ending: Ending{ExitCode: code, Reason: f.err.Error(), Exit: !l.n.opt.Hold}}})
}

func (l *leader) reopen(ctx context.Context, o Reopen) error {
	err := l.propose(ctx, Command{Reopen: &o})
	if errors.Is(err, errPhase) {
		return nil // somebody has posted a plan
	}
	return err
}

// look decides what becomes of what was found, before anything else is done. It
// is tried until it succeeds, or ctx ends: then the next leader has to.
func (l *leader) look(ctx context.Context) {
	defer close(l.looked)
	if !l.finds(ctx) && ctx.Err() == nil {
		l.looking.Store(false)
		return
	}
	search, end := context.WithCancelCause(ctx)
	defer end(nil)
	l.mu.Lock()
	l.endLook = end
	l.mu.Unlock()
	stays := l.stays(l.n.machine.State())
	for wait := 100 * time.Millisecond; ; wait = min(2*wait, maxTaskBackoff) {
		pause, err := search, error(nil) // which a stop cuts short
		if search.Err() == nil {
			err = l.again(search)
		}
		if stopped := (*unwanted)(nil); errors.As(context.Cause(search), &stopped) {
			pause, err = ctx, l.noneWanted(ctx, noRun(stopped.cause, stays))
		}
		if ctx.Err() != nil {
			l.n.returning.Store(true)
			return
		}
		if err == nil {
			l.looking.Store(false)
			return
		}
		l.n.log.Warn("cannot go on from what was found: "+err.Error(), "event", "leader_task_failed")
		sleep(pause, jitter(wait))
	}
}

// unwanted is why a look was ended: whatever it would have found, nobody wants it.
type unwanted struct{ cause string }

func (u *unwanted) Error() string { return u.cause }

// noRun is how an attempt to get a run is ended by a stop.
func noRun(cause string, stays bool) Ending {
	return Ending{ExitCode: ExitStopped, Reason: "ended before there was a run: " + cause, Exit: !stays}
}

// noneWanted ends what was found as a stop at a first start does, unless a run has begun.
func (l *leader) noneWanted(ctx context.Context, ending Ending) error {
	err := l.propose(ctx, Command{Abort: &Abort{Reopen: true, Ending: ending}})
	if errors.Is(err, errPhase) {
		return nil
	}
	return err
}

// stopLooking ends a look, and returns when it is decided what becomes of what was found.
func (l *leader) stopLooking(ctx context.Context, cause string) error {
	l.mu.Lock()
	end := l.endLook
	l.mu.Unlock()
	if end == nil {
		return fmt.Errorf("it is not known yet who is there: %w", ErrNoLeader)
	}
	end(&unwanted{cause})
	select {
	case <-l.looked:
	case <-ctx.Done():
		return context.Cause(ctx)
	}
	if l.looking.Load() {
		return l.n.raft.notLeader()
	}
	return nil
}

// finds says whether this leader has to look: it is the first of a cluster that
// was started again. Where a process lives that took part, the cluster has never ended.
func (l *leader) finds(ctx context.Context) bool {
	s := l.n.machine.State()
	if !s.over() {
		return false
	}
	for !l.mustered() {
		if !sleep(ctx, rollCallFast) {
			return false
		}
	}
	return s.Current == nil || !slices.ContainsFunc(s.Current.Participants, func(m Member) bool { return !l.crew.dead(m) })
}

// errStays is what a node gets that would leave with an ending that does not
// stand, or does no longer, or of which the leader does not know yet whether it does.
var errStays = fmt.Errorf("the cluster does not leave, or not yet: %w", ErrConflict)

// followOut ends this node when the log says that everybody leaves; a leader
// leaves last, by its own doing (see leader.leave).
func (n *Node) followOut(ctx context.Context) error {
	for {
		if err := n.machine.Until(ctx, func(s *State) bool { return s.Leaving() != nil }); err != nil {
			return nil
		}
		if ending := n.goWith(ctx, *n.machine.State().Leaving()); ending != nil {
			return &exit{*ending}
		}
		sleep(ctx, rollCallFast)
	}
}

// goWith leaves with an ending; nil if it is not decided yet that it stands. It is
// the one that this node knows of when its leader lets it go.
func (n *Node) goWith(ctx context.Context, ending Ending) *Ending {
	if !n.returned() {
		n.draining.Store(true)
	}
	deadline, cancel := context.WithTimeout(ctx, leaveTimeout)
	defer cancel()
	for n.leading.Load() == nil && deadline.Err() == nil {
		s := n.machine.State()
		leaving := s.Leaving()
		if leaving == nil {
			n.draining.Store(false)
			return nil
		}
		ending = *leaving
		if id, addr := n.leader(); id != "" && id != n.self.ServerID {
			call, done := context.WithTimeout(deadline, time.Second)
			err := n.opt.Wire.Upstream.Leave(call, addr, Leave{ClusterID: n.identity.ClusterID(), From: n.self, RunID: s.endedBy()})
			done()
			if errors.Is(err, ErrConflict) {
				n.draining.Store(false)
				return nil
			}
			if err == nil {
				break
			}
		}
		sleep(deadline, 50*time.Millisecond)
	}
	if l := n.leading.Load(); l != nil {
		undecided := l.looking.Load() // asked before what has been decided
		leaving := n.machine.State().Leaving()
		if undecided || leaving == nil {
			n.draining.Store(false)
			return nil
		}
		ending = *leaving
		n.draining.Store(true)
		l.leave(deadline)
	}
	n.draining.Store(true)
	s := n.machine.State()
	if r := s.verdict(); n.returned() && s.Failure == nil && r != nil && r.StartAt != 0 && !r.Participates(n.self) {
		ending.Reason = fmt.Sprintf("%s; that was run %s, in which this process had no part: it was found in CLUSTER_DATA_DIR (%s)", ending.Reason, r.ID, howAgain)
	}
	return &ending
}

// endedBy names what the nodes leave with, for Leave: a run, or a start that came
// to nothing, by what tells it from another such start.
func (s *State) endedBy() string {
	switch f := s.Failure; {
	case f != nil && f.Exit:
		why := sha256.Sum256([]byte(f.Reason))
		return fmt.Sprintf("startup-%d-%x", f.ExitCode, why[:4])
	case s.Current == nil:
		return "startup"
	}
	return s.Current.ID
}

// returned says whether a process before this one was a member.
func (n *Node) returned() bool { return n.opt.Disk != nil && n.opt.Disk.returns }
