package node

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"
)

// Node is one process: a member of a cluster, or, with Options.Wire nil, on
// its own. Both run the same state machine; standalone the log is this process's alone.
type Node struct {
	opt      Options
	self     Member
	log      *slog.Logger
	runner   Runner
	hooks    Hooks
	machine  *machine
	raft     *consensus // nil standalone
	identity *Identity  // nil standalone
	former   *former    // nil standalone
	nonce    string

	wall     wall
	clocks   *clocks
	player   *player
	prepared *preparedRuns
	data     *spool
	reports  *reports

	inlets   *inlets
	view     *view
	tenure   tenure
	attempts *attempts

	leading    atomic.Pointer[leader] // this node's leadership, nil without
	draining   atomic.Bool
	handedOver atomic.Bool // what this leaving leader holds is with the others
	announcing sync.Mutex
	withdrawn  sync.Once
	returning  atomic.Bool  // it was started again, and knows of no leader that has decided what becomes of what was found
	ledSince   atomic.Int64 // Unix ns since when a leader is known, 0 before

	leaderChanges atomic.Int64
	toldInvalid   atomic.Pointer[string] // why this node has last called a plan invalid
}

// New makes a node; Run lives it.
func New(opt Options) (*Node, error) {
	n := &Node{
		opt: opt, self: opt.Self, log: opt.Log, runner: opt.Runner, hooks: opt.Hooks,
		machine: newMachine(), inlets: newInlets(), attempts: newAttempts(),
		data: newSpool(opt.DataFolder, opt.DataLimit), wall: newWall(opt.Now),
	}
	if n.self.Incarnation == "" {
		n.self.Incarnation = NewIncarnation()
	}
	n.nonce = n.self.Incarnation
	n.reports = newReports(n.nonce)
	n.player, n.prepared, n.view = newPlayer(n), &preparedRuns{n: n, ids: map[string]*preparation{}}, &view{news: make(chan struct{}, 1)}
	if opt.Wire == nil {
		return n, nil
	}
	n.clocks = &clocks{upstream: opt.Wire.Upstream, wall: n.wall, offsets: map[string]offset{}, warned: map[string]time.Time{}}
	n.identity = opt.Identity
	n.returning.Store(n.returned())
	var err error
	if n.raft, err = openConsensus(n.self, opt.Expect, n.machine, opt.Wire.Transport, opt.Disk, n.log); err != nil {
		return nil, err
	}
	n.former = &former{
		self: n.self, name: opt.Name, expect: opt.Expect, nonce: n.nonce, identity: n.identity,
		wire: opt.Wire, raft: n.raft, log: n.log, warned: map[string]string{}, returns: n.returned(),
	}
	return n, nil
}

// exit ends Run with an ending; it travels as an error through the group of loops.
type exit struct{ Ending }

func (e *exit) Error() string { return e.Reason }

// Run lives the node until its run has ended and it may go, something fails
// for good, or ctx is cancelled (a signal): then it leaves in order within
// Options.DrainTimeout. The ending carries the process's exit code.
func (n *Node) Run(ctx context.Context) Ending {
	n.log.Info("node started", append([]any{"event", "node_started", "server_id", n.self.ServerID, "addr", n.self.Addr, "cluster", n.raft != nil}, n.opt.About...)...)
	if removed := n.data.sweep(); removed > 0 {
		n.log.Info("removed data files that killed processes had left", "folders", removed)
	}
	work, stop := context.WithCancel(context.WithoutCancel(ctx))
	defer stop()
	g, gctx := errgroup.WithContext(work)
	g.Go(func() error { return n.player.run(gctx) })
	g.Go(func() error { return n.chronicle(gctx) })
	g.Go(func() error { return n.followOut(gctx) })
	if n.raft == nil {
		g.Go(func() error { return n.lead(gctx) })
	} else {
		g.Go(func() error { return n.live(gctx) })
		g.Go(func() error { return n.watchLeadership(gctx) })
		g.Go(func() error { return n.keepClock(gctx) })
		g.Go(func() error { return n.watchContact(gctx) })
		g.Go(func() error { return n.deliverReports(gctx) })
		g.Go(func() error { return n.streamReports(gctx) })
		g.Go(func() error { return n.watchdog(gctx) })
		g.Go(func() error { return n.watchDisk(gctx) })
	}
	var ending Ending
	select {
	case <-ctx.Done():
		ending = n.interrupted(gctx, g)
		stop()
		g.Wait()
	case <-gctx.Done():
		err := g.Wait()
		ending = n.endingOf(err)
	}
	n.draining.Store(true)
	last, cancel := context.WithTimeout(context.Background(), leaveTimeout)
	defer cancel()
	n.player.close(last, &StopReason{Cause: "exit"})
	n.close()
	return ending
}

// interrupted is what a signal leads to: while the log says that everybody leaves,
// this node leaves as it was about to, and with what the group of loops ends with. If
// the cluster turns out to go on, it leaves that, in what is left of the time.
func (n *Node) interrupted(gctx context.Context, g *errgroup.Group) Ending {
	ctx, cancel := context.WithTimeout(context.Background(), n.opt.DrainTimeout)
	defer cancel()
	if leaving := n.machine.State().Leaving(); leaving != nil {
		wait, end := context.WithTimeout(gctx, leaveTimeout+time.Second)
		defer end()
		stays := n.machine.Until(wait, func(s *State) bool {
			if s.Leaving() != nil {
				leaving = s.Leaving()
			}
			return s.Leaving() == nil
		}) == nil
		switch {
		case gctx.Err() != nil: // by followOut, within leaveTimeout
			return n.endingOf(g.Wait())
		case !stays: // it is not decided yet whether it stands
			return *leaving
		}
	}
	return n.depart(ctx)
}

func (n *Node) endingOf(err error) Ending {
	var e *exit
	if errors.As(err, &e) {
		return e.Ending
	}
	if err == nil {
		err = errors.New("the node ended without a reason")
	}
	return Ending{ExitCode: ExitFailure, Reason: err.Error()}
}

// close takes the node off the outside world.
func (n *Node) close() {
	if err := n.data.close(); err != nil {
		n.log.Warn("data files are left behind: " + err.Error())
	}
	if n.raft == nil {
		return
	}
	n.withdraw()
	if err := n.raft.Close(); err != nil {
		n.log.Warn(err.Error())
	}
}

const withdrawTimeout = 2 * time.Second

// withdraw takes the node out of discovery, once.
func (n *Node) withdraw() {
	if n.opt.Wire.Announcer == nil {
		return
	}
	n.withdrawn.Do(func() {
		ctx, cancel := context.WithTimeout(context.Background(), withdrawTimeout)
		defer cancel()
		if err := n.opt.Wire.Announcer.Withdraw(ctx); err != nil {
			n.log.Warn("cannot deregister: " + err.Error())
		}
	})
}

// live brings the node into a cluster.
func (n *Node) live(ctx context.Context) error {
	err := n.former.run(ctx)
	if err == nil {
		n.announce("follower")
		n.log.Info("peers discovered", "event", "peers_discovered", "members", len(n.raft.Members()), "cluster_id", n.identity.ClusterID())
		return nil
	}
	if ctx.Err() != nil {
		return nil
	}
	code := ExitCluster
	if errors.Is(err, ErrRefused) || errors.Is(err, ErrForbidden) {
		code = ExitInvalid
	}
	return &exit{Ending{ExitCode: code, Reason: err.Error()}}
}

// announce shows the role, unless a leader is called a follower by a late hand.
func (n *Node) announce(role string) {
	n.announcing.Lock()
	defer n.announcing.Unlock()
	if role == "follower" && n.leading.Load() != nil {
		return
	}
	n.former.announce(role)
}

// propose commits a command.
func (n *Node) propose(ctx context.Context, c Command) error {
	if n.raft == nil {
		return n.machine.apply(c)
	}
	return n.raft.Propose(ctx, c)
}

// leader returns id and address of the leader known here.
func (n *Node) leader() (id, addr string) {
	if n.raft == nil {
		return n.self.ServerID, n.self.Addr
	}
	return n.raft.Leader()
}

// members returns the cluster as Raft knows it.
func (n *Node) members() []Member {
	if n.raft == nil {
		return []Member{n.self}
	}
	return n.raft.Members()
}

// reign is one leadership being carried out.
type reign struct {
	cancel context.CancelFunc
	done   chan struct{}
	err    error // set when done is closed
}

func (n *Node) enthrone(ctx context.Context) *reign {
	ctx, cancel := context.WithCancel(ctx)
	r := &reign{cancel: cancel, done: make(chan struct{})}
	go func() {
		defer close(r.done)
		r.err = n.lead(ctx)
	}()
	return r
}

// end cancels and joins a leadership; nil is none.
func (r *reign) end() error {
	if r == nil {
		return nil
	}
	r.cancel()
	<-r.done
	return r.err
}

func (r *reign) over() <-chan struct{} {
	if r == nil {
		return nil
	}
	return r.done
}

// watchLeadership leads while Raft says so: at most one leadership at a time,
// each joined before anything else happens.
func (n *Node) watchLeadership(ctx context.Context) error {
	var current *reign
	for {
		select {
		case leads := <-n.raft.leadership:
			had := current != nil
			if err := current.end(); err != nil {
				return err
			}
			current = nil
			if leads {
				current = n.enthrone(ctx)
			} else if had {
				n.log.Warn("no longer the leader", "event", "leadership_lost")
				n.announce("follower")
			}
		case <-current.over():
			if err := current.end(); err != nil {
				return err
			}
			current = nil
		case <-ctx.Done():
			return current.end()
		}
	}
}

// keepClock measures the offset to the leader, at once when it changes and every
// clockEvery, and says when somebody has set this machine's clock.
func (n *Node) keepClock(ctx context.Context) error {
	last, told := "", time.Duration(0)
	for {
		if by := n.wall.set(); (by - told).Abs() > clockSetWarn {
			n.log.Warn(fmt.Sprintf("this machine's clock was set by %s: the cluster goes on by the clock that it showed before", (by-told).Round(time.Millisecond)),
				"event", "clock_set", "by_ms", float64(by-told)/1e6)
			told = by
		}
		id, addr := n.leader()
		if id != "" && id != last {
			last = id
			n.leaderChanges.Add(1)
			n.ledSince.CompareAndSwap(0, time.Now().UnixNano())
		}
		if id != "" && id != n.self.ServerID {
			if o, ok := n.clocks.to(id); !ok || time.Since(o.measured) > clockEvery {
				n.measure(ctx, id, addr)
			}
		}
		if !sleep(ctx, 200*time.Millisecond) {
			return nil
		}
	}
}

// measure gives up when another leads: the one before may be silent for long.
func (n *Node) measure(ctx context.Context, id, addr string) {
	ctx, cancel := context.WithCancel(ctx)
	var watching sync.WaitGroup
	watching.Go(func() {
		for sleep(ctx, 100*time.Millisecond) {
			if now, _ := n.leader(); now != id {
				cancel()
			}
		}
	})
	defer watching.Wait()
	defer cancel()
	o, err := n.clocks.measure(ctx, id, addr)
	if err != nil {
		n.log.Debug(err.Error())
		return
	}
	if n.clocks.doubtful(id, o) {
		n.log.Warn(fmt.Sprintf("the leader's clock is %s from this node's, known to %s (more than %s, or %s, is warned about): the start allows for it, but check NTP or chrony",
			o.offset.Round(time.Microsecond), o.bound.Round(time.Microsecond), clockOffWarn, clockWarn),
			"event", "clock_offset", "leader", id, "offset_ms", float64(o.offset)/1e6, "bound_ms", float64(o.bound)/1e6)
	}
}

// watchdog ends a node that is alone for too long, and warns of a plan that does not come.
func (n *Node) watchdog(ctx context.Context) error {
	alone, late := time.Now(), &lateness{}
	for sleep(ctx, 500*time.Millisecond) {
		id, _ := n.leader()
		if id != "" {
			alone = time.Now()
		}
		if ending := n.abandoned(time.Since(alone)); ending != nil {
			return &exit{*ending}
		}
		if run, waits := n.waitsForPlan(); late.overdue(run, waits, n.opt.ConfigTimeout) {
			n.log.Warn(fmt.Sprintf("no plan has reached this node within %s since it knew a leader (CLUSTER_CONFIG_TIMEOUT_SECS)", n.opt.ConfigTimeout),
				"event", "config_late", "run_id", run)
		}
	}
	return nil
}

// waitsForPlan says whether this follower lacks the plan of a run, and of which:
// "" of one that it does not know yet.
func (n *Node) waitsForPlan() (run string, waits bool) {
	if n.opt.SourceName == SourceNone || n.leading.Load() != nil || n.ledSince.Load() == 0 {
		return "", false
	}
	s := n.machine.State()
	for _, r := range s.Active() {
		if n.prepared.version(r.ID) == "" && (r.StartAt == 0 || r.Participates(n.self)) {
			return r.ID, r.Phase != PhaseStopped
		}
	}
	return "", s.Current == nil && s.Failure == nil && !n.prepared.any()
}

// lateness is how long a node has been waiting for the plan of a run, told once per run.
type lateness struct {
	run   string
	since time.Time // zero: it does not wait
	told  bool
}

// overdue says, once, that the wait for a run's plan has lasted longer than limit.
func (l *lateness) overdue(run string, waits bool, limit time.Duration) bool {
	switch {
	case !waits:
		l.since = time.Time{}
		return false
	case l.since.IsZero(), l.run != run && l.run != "":
		// The wait for a run that was not known yet is the wait for the first that is.
		l.since, l.told = time.Now(), l.told && l.run == run
	}
	l.run = run
	if l.told || time.Since(l.since) <= limit {
		return false
	}
	l.told = true
	return true
}

// verdictTimeout is how long a node that is past its planned end waits for a leader.
const verdictTimeout = 30 * time.Second

// abandoned says whether a node without a leader for so long gives up.
func (n *Node) abandoned(alone time.Duration) *Ending {
	s := n.machine.State()
	if alone == 0 || n.leading.Load() != nil || s.Leaving() != nil {
		return nil
	}
	var over []*Run
	for _, r := range s.Active() {
		if !r.Going() || !r.Participates(n.self) {
			continue
		}
		switch pl := n.player.find(r.ID); {
		case pl != nil && pl.ending():
			alone = min(alone, time.Since(pl.overAt()))
		case pl == nil && r.Phase == PhaseStopped: // there is nothing to play
		default:
			return nil // armed: the run goes on without a leader
		}
		over = append(over, r)
	}
	switch {
	case len(over) > 0 && alone > verdictTimeout:
		return n.unknownVerdict(over)
	case len(over) > 0:
		return nil
	}
	if alone > n.opt.FormTimeout {
		return &Ending{ExitCode: ExitCluster, Reason: fmt.Sprintf("no leader for %s (CLUSTER_FORM_TIMEOUT): %s", n.opt.FormTimeout, n.former.missing())}
	}
	return nil
}

// unknownVerdict reports this node's part of runs that nobody judges any more.
func (n *Node) unknownVerdict(runs []*Run) *Ending {
	last := ""
	for _, r := range runs {
		reports, _ := n.reports.of(r.ID)
		o := Outcome{Run: *r, Config: n.machine.State().Configs[r.Version], Members: map[string]Standing{}, Alone: true}
		o.Reports = reports[n.self.ServerID] // and nobody else's: so that results of several nodes can be merged
		n.hooks.Judge(context.Background(), o)
		last = r.ID
	}
	return &Ending{ExitCode: ExitFailure, Reason: "cluster verdict unknown: no leader for " + verdictTimeout.String() + " after this node's part of run " + last + " had ended"}
}
