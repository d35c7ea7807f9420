package node

import (
	"context"
	"fmt"
	"sync"
	"time"
)

// liveEvery is how often a leader merges what the nodes stream, at most, however
// many ask: they get what was merged last.
const liveEvery = time.Second

// live is the merged result of a run that is going on, as the leader showed it last.
type live struct {
	mu    sync.Mutex // one merges, the others wait for that
	runID string
	at    time.Time
	body  []byte
}

// going is the run that generates load now, "" if none does: while a run takes
// over from another, the newer one.
func (n *Node) going() string {
	s := n.machine.State()
	for _, r := range []*Run{s.Next, s.Current} {
		if r != nil && r.StartAt != 0 && !r.Ended && !time.Now().Before(n.StartOf(r.ID)) {
			return r.ID
		}
	}
	return ""
}

// liveResult is the merged result of a run that is going on: the leader's, which
// any other node asks it for. ErrNoLeader means that it does not answer.
func (n *Node) liveResult(ctx context.Context, runID string) ([]byte, error) {
	if l := n.leading.Load(); l != nil {
		return l.show(runID)
	}
	id, addr := n.leader()
	if id == "" || id == n.self.ServerID {
		return nil, fmt.Errorf("run %s as it stands: %w", runID, ErrNoLeader)
	}
	body, err := n.fetchResult(ctx, addr, runID)
	if err != nil {
		return nil, fmt.Errorf("run %s as it stands: %w: %w", runID, ErrNoLeader, err)
	}
	return body, nil
}

// observe holds a run against its thresholds while it goes on, until one of them
// has ended it. A new leader begins anew with what it has been told.
func (l *leader) observe(ctx context.Context, runID string) {
	for sleep(ctx, liveEvery) {
		r := l.n.machine.State().Run(runID)
		if r == nil || r.Ended || r.Phase == PhaseStopped {
			return
		}
		if r.StartAt == 0 || time.Now().Before(l.start(r)) {
			continue
		}
		failed := l.n.hooks.Observe(l.soFar(r))
		if failed == "" {
			continue
		}
		why := &Stop{RunID: runID, Cause: CauseThreshold, Detail: failed, ExitCode: ExitFailed}
		if err := l.propose(ctx, Command{Stop: why}); err != nil && ctx.Err() == nil {
			l.n.log.Warn("cannot end the run, trying again: "+err.Error(), "run_id", runID)
		}
	}
}

// soFar is what is known of a run that goes on.
func (l *leader) soFar(r *Run) Outcome {
	reports, _ := l.n.reports.of(r.ID)
	o := l.outcome(r, reports)
	o.Going = true
	return o
}

// Lead is what this node knows as the leader of the run that goes on, else of
// the one that was judged last, by its id alone; leads is false where another leads.
func (n *Node) Lead() (o Outcome, leads bool) {
	l := n.leading.Load()
	if l == nil {
		return Outcome{}, false
	}
	s := n.machine.State()
	if r := s.Run(n.going()); r != nil {
		return l.soFar(r), true
	}
	return Outcome{Run: Run{ID: lastJudged(s)}}, true
}

// show merges what the participants of a run have told so far.
func (l *leader) show(runID string) ([]byte, error) {
	v := &l.shown
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.runID == runID && time.Since(v.at) < liveEvery {
		return v.body, nil
	}
	r := l.n.machine.State().Run(runID)
	if r == nil || r.StartAt == 0 || r.Ended {
		return nil, fmt.Errorf("run %.64q is not going on: %w", runID, ErrConflict)
	}
	body, err := l.n.hooks.Live(l.soFar(r))
	if err != nil {
		return nil, fmt.Errorf("run %s as it stands: %w", runID, err)
	}
	v.runID, v.at, v.body = runID, time.Now(), body
	return body, nil
}
