package node

import (
	"context"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"
)

// leader is one leadership: it exists from the barrier to the loss. All it
// knows beyond the log can be asked for again by the next leader.
type leader struct {
	n     *Node
	since time.Time
	crew  *crew

	beginning chan struct{} // held, as a lock that a context can give up on, by the one BeginRun at a time: each looks at what it replaces

	looking atomic.Bool   // it is not decided yet what becomes of a run that was found
	looked  chan struct{} // closed when that has ended

	inherited string // run of a change that the leader before had not got ready, "" for none; follow's alone

	shown live

	mu       sync.Mutex
	acks     map[string]map[string]Ack // run id -> server id -> its acknowledgement
	left     map[string]bool           // servers that have applied the ending
	departed map[string]bool           // servers that have left in order
	leftNews chan struct{}             // closed when left grows
	fetching bool
	endLook  context.CancelCauseFunc // of what looking may fetch and begin, nil while it is not known whether it may
	settled  map[string]Settlement   // by run id
}

// lead is the leader's work, from the barrier on, until ctx ends.
func (n *Node) lead(ctx context.Context) error {
	l := &leader{n: n, since: time.Now(), acks: map[string]map[string]Ack{}, left: map[string]bool{}, departed: map[string]bool{}, settled: map[string]Settlement{}, leftNews: make(chan struct{}), looked: make(chan struct{}), beginning: make(chan struct{}, 1)}
	l.crew = newCrew(l)
	if n.raft != nil {
		barrier := func() error { return n.raft.raft.Barrier(barrierTimeout).Error() }
		if !catchUp(ctx, n.log, barrier) {
			return nil
		}
		n.log.Info("this node leads", "event", "leader_elected", "term", n.raft.raft.CurrentTerm(), "leader_id", n.self.ServerID)
	}
	l.inherited = n.machine.State().unready()
	l.looking.Store(n.raft != nil && n.returning.Swap(false) && n.machine.State().over())
	n.leading.Store(l)
	defer n.leading.CompareAndSwap(l, nil)
	if n.raft != nil {
		n.announce("leader")
	}
	g, gctx := errgroup.WithContext(ctx)
	g.Go(func() error {
		if l.looking.Load() {
			l.look(gctx)
		}
		return l.manage(gctx)
	})
	if n.raft != nil {
		g.Go(func() error { return l.crew.rollCall(gctx) })
		g.Go(func() error { return l.crew.steward(gctx) })
	}
	return g.Wait()
}

// catchUp brings the log up to date with what leaders before have committed. A
// busy Raft may not take the barrier in time and lead all the same, so it is
// tried until ctx ends: watchLeadership ends it when Raft has stepped down.
func catchUp(ctx context.Context, log *slog.Logger, barrier func() error) bool {
	for ctx.Err() == nil {
		err := barrier()
		if err == nil {
			return ctx.Err() == nil
		}
		log.Warn("elected, but the log cannot be brought up to date: "+err.Error(), "event", "leader_task_failed")
		sleep(ctx, jitter(barrierRetry))
	}
	return false
}

// task is a piece of the leader's work that the state asks for.
type task struct{ kind, run string }

// Kinds of task.
const (
	taskFetch     = "fetch"     // the start-up source, for the first time
	taskFollow    = "follow"    // the source, for revisions that come later
	taskDeliver   = "deliver"   // hand the config to every expected node
	taskBrief     = "brief"     // hand it to members that came later, too
	taskSchedule  = "schedule"  // decide the start
	taskDivide    = "divide"    // who sends what, while it goes
	taskSupervise = "supervise" // see the run through to its verdict
	taskDissolve  = "dissolve"  // an ephemeral node leaves, after a last scrape
)

// tasks says what a leader has to do in a state: the deciding, apart from the doing.
func tasks(s *State, opt *Options) []task {
	if s.Leaving() != nil {
		return nil
	}
	var list []task
	switch {
	case opt.Source == nil:
	case s.Current == nil && s.Failure == nil:
		list = append(list, task{kind: taskFetch})
	case s.Failure != nil && s.Failure.ExitCode == ExitStopped: // nobody wants what the source has, until a plan is posted
	case opt.Watch != nil && (s.held(opt.Hold) || opt.Follow && s.Current != nil):
		list = append(list, task{kind: taskFollow})
	}
	if r := s.Rested; r != nil && r.Ephemeral && len(s.Active()) == 0 {
		list = append(list, task{taskDissolve, r.ID})
	}
	for _, r := range s.Active() {
		switch r.Phase {
		case PhaseDistributing:
			list = append(list, task{taskDeliver, r.ID}, task{taskBrief, r.ID})
		case PhaseReady:
			list = append(list, task{taskSchedule, r.ID}, task{taskBrief, r.ID})
		case PhaseScheduled:
			list = append(list, task{taskSupervise, r.ID}, task{taskBrief, r.ID}, task{taskDivide, r.ID})
		case PhaseStopped:
			list = append(list, task{taskSupervise, r.ID})
		}
	}
	return list
}

// held says whether the nodes have outlived the failure of the start-up source,
// and are there for what it has next.
func (s *State) held(hold bool) bool {
	if s.Failure != nil || s.Current == nil {
		return hold && s.Failure != nil && s.Failure.ExitCode != ExitStopped
	}
	return s.Current.Phase == PhaseAborted && s.Current.Hold && !s.Current.Posted
}

// job is a task being done.
type job struct {
	cancel context.CancelFunc
	done   chan struct{}
}

func (j *job) stop() {
	j.cancel()
	<-j.done
}

// manage keeps exactly the tasks going that the state asks for.
func (l *leader) manage(ctx context.Context) error {
	jobs := map[task]*job{}
	defer func() {
		for _, j := range jobs {
			j.stop()
		}
	}()
	for {
		s, changed := l.n.machine.Watch()
		want := tasks(s, &l.n.opt)
		for t, j := range jobs {
			if !slices.Contains(want, t) {
				j.stop()
				delete(jobs, t)
			}
		}
		for _, t := range want {
			if jobs[t] == nil {
				jobs[t] = l.begin(ctx, t)
			}
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return nil
		}
	}
}

const maxTaskBackoff = 5 * time.Second

// begin starts a task; one that fails (a commit that did not get through) is tried again.
func (l *leader) begin(ctx context.Context, t task) *job {
	ctx, cancel := context.WithCancel(ctx)
	j := &job{cancel: cancel, done: make(chan struct{})}
	go func() {
		defer close(j.done)
		for wait := 100 * time.Millisecond; ; wait = min(2*wait, maxTaskBackoff) {
			err := l.do(ctx, t)
			if err == nil || ctx.Err() != nil {
				return
			}
			l.n.log.Warn(fmt.Sprintf("%s: %v", t.kind, err), "event", "leader_task_failed", "run_id", t.run)
			if !sleep(ctx, jitter(wait)) {
				return
			}
		}
	}()
	return j
}

func (l *leader) do(ctx context.Context, t task) error {
	switch t.kind {
	case taskFetch:
		return l.fetch(ctx)
	case taskFollow:
		return l.follow(ctx)
	case taskDeliver:
		return l.deliver(ctx, t.run)
	case taskBrief:
		return l.brief(ctx, t.run)
	case taskSchedule:
		return l.schedule(ctx, t.run)
	case taskDivide:
		return l.divide(ctx, t.run)
	case taskDissolve:
		return l.dissolve(ctx, t.run)
	default:
		return l.supervise(ctx, t.run)
	}
}

// leaveTimeout bounds how long a leader waits for the others to leave first.
const leaveTimeout = 5 * time.Second

// leave waits until every live member has applied the ending, and gives the
// right to bootstrap back: the next start of the same cluster finds nothing.
func (l *leader) leave(ctx context.Context) {
	if err := l.allGone(ctx); err != nil {
		l.n.log.Warn("not every member has said that it has applied the ending: " + err.Error())
	}
	l.n.releaseClaim(ctx)
}

// releaseClaim gives the right to bootstrap back, where there is an arbiter.
func (n *Node) releaseClaim(ctx context.Context) {
	if n.opt.Wire == nil || n.opt.Wire.Arbiter == nil {
		return
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), withdrawTimeout)
	defer cancel()
	if err := n.opt.Wire.Arbiter.Release(ctx, n.identity.ClusterID()); err != nil {
		n.log.Warn("cannot give the right to bootstrap back: " + err.Error())
	}
}

// gone notes that a member has applied the ending, and returns when every live
// one has: then they may go, and none is left without a majority before it knows.
func (l *leader) gone(ctx context.Context, serverID string) error {
	l.mu.Lock()
	l.left[serverID] = true
	close(l.leftNews)
	l.leftNews = make(chan struct{})
	l.mu.Unlock()
	return l.allGone(ctx)
}

// allGone waits until every live member has applied the ending.
func (l *leader) allGone(ctx context.Context) error {
	for {
		l.mu.Lock()
		news := l.leftNews
		waiting := slices.ContainsFunc(l.n.members(), func(m Member) bool {
			return m.ServerID != l.n.self.ServerID && !l.left[m.ServerID] && !l.crew.lost(m.ServerID)
		})
		l.mu.Unlock()
		if !waiting {
			return nil
		}
		t := time.NewTimer(rollCallFast) // somebody may be lost
		select {
		case <-news:
		case <-t.C:
		case <-ctx.Done():
		}
		t.Stop()
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
	}
}

// hasDeparted says whether the member has left in order: then nobody waits for it.
func (l *leader) hasDeparted(m Member) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.departed[m.ServerID]
}

// isBack takes note that a server is there that may have left before.
func (l *leader) isBack(serverID string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	delete(l.departed, serverID)
	delete(l.left, serverID)
}

func (l *leader) acknowledged(runID string, a Ack) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.acks[runID] == nil {
		if len(l.acks) > 8 { // runs of a long life
			clear(l.acks)
		}
		l.acks[runID] = map[string]Ack{}
	}
	l.acks[runID][a.ServerID] = a
}

// ack is the acknowledgement of this process of the member.
func (l *leader) ack(runID string, m Member) (Ack, bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	a, ok := l.acks[runID][m.ServerID]
	return a, ok && a.Incarnation == m.Incarnation
}
