package node

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"
)

// replaceGrace is how long the iterations of a run may go on that another has
// replaced, or that a signal or /stop has ended.
const replaceGrace = 5 * time.Second

// player runs this node's part of the runs that the log has scheduled. Log and
// StartTest both lead to arm, and either does it once.
type player struct {
	n     *Node
	mu    sync.Mutex
	plays map[string]*play
	rest  *rest // what is done while no run is in hand, nil for nothing
	over  bool  // nothing is armed any more
	wg    sync.WaitGroup
}

// play is one run on this node.
type play struct {
	run    Run       // as it was when it was armed
	start  time.Time // in this node's clock, monotonic
	cancel context.CancelCauseFunc
	done   chan struct{}
	told   bool // to end; guarded by the player's lock

	mu       sync.Mutex
	first    time.Time
	skew     time.Duration
	ended    time.Time // zero while it plays
	handed   int       // how many of the run's divisions the runner knows
	isolated bool      // it was ended for want of a leader
}

// aYear and more is the planned duration of a run that ends by its iterations.
const aYear = 365 * 24 * time.Hour

// overAt is when nobody waits for this play any more: when it has ended, or, if
// that was for want of a leader, when it was to end.
func (p *play) overAt() time.Time {
	p.mu.Lock()
	defer p.mu.Unlock()
	if end := p.start.Add(p.run.Duration); p.isolated && p.run.Duration < aYear && end.After(p.ended) {
		return end
	}
	return p.ended
}

func newPlayer(n *Node) *player { return &player{n: n, plays: map[string]*play{}} }

// run follows the log until ctx ends.
func (p *player) run(ctx context.Context) error {
	for {
		s, changed := p.n.machine.Watch()
		again := p.follow(ctx, s)
		takeover := p.takeover(s)
		var at, retry <-chan time.Time
		if takeover != nil {
			at = time.After(time.Until(takeover.at))
		}
		if again {
			retry = time.After(redivideRetry)
		}
		select {
		case <-changed:
		case <-retry:
		case <-at:
			p.end(takeover.old, &StopReason{Cause: "replaced", Grace: replaceGrace})
		case <-ctx.Done():
		}
		if ctx.Err() != nil {
			return nil
		}
	}
}

// follow arms what is scheduled, hands on how it is divided, and ends what the
// log has ended. It is true if some of that has to be tried again.
func (p *player) follow(ctx context.Context, s *State) (again bool) {
	for _, r := range s.Active() {
		if r.Phase == PhaseScheduled && r.Participates(p.n.self) {
			if err := p.arm(r); err != nil {
				p.n.log.Error("cannot start the run: "+err.Error(), "event", "run_start_failed", "run_id", r.ID)
			}
			again = !p.redivide(ctx, r) || again
		}
		if r.Phase == PhaseStopped {
			p.stop(r)
		}
	}
	p.endOthers(s)
	p.standBy(s)
	p.n.prepared.discard(s)
	p.n.tidyData(s)
	p.n.reports.retain(func(id string) bool { r := s.Run(id); return r != nil && !r.Ended })
	return again
}

// stop ends the play of a stopped run. A participant that learns of the start
// and of the stop at once has nothing to play, but the leader waits for its word.
func (p *player) stop(r *Run) {
	if p.find(r.ID) == nil && r.Participates(p.n.self) {
		p.n.reports.put(Report{RunID: r.ID, Of: p.n.self, Final: true, Failure: "stopped before it started"})
		return
	}
	grace := replaceGrace
	if r.StopCause == "signal" {
		grace = drainGrace(p.n.opt.DrainTimeout) // what comes after takes time, too
	}
	p.end(r.ID, &StopReason{Cause: r.StopCause, Grace: grace})
}

// endOthers ends what the log has ended, and forgets plays that it no longer
// knows. A play is only ever made of a run that the log knows.
func (p *player) endOthers(s *State) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for id, pl := range p.plays {
		r := s.Run(id)
		if r == nil || r.Ended {
			pl.cancel(&StopReason{Cause: "aborted"})
		}
		if r == nil && pl.ending() {
			delete(p.plays, id)
		}
	}
}

type takeover struct {
	old string
	at  time.Time
}

// takeover says when a run of this node has to make way for the next.
func (p *player) takeover(s *State) *takeover {
	if s.Next == nil || s.Next.Phase != PhaseScheduled || s.Current == nil || s.Current.Ended {
		return nil
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	next, current := p.plays[s.Next.ID], p.plays[s.Current.ID]
	if current == nil || current.told || current.ending() {
		return nil // it makes way already
	}
	if next != nil {
		return &takeover{old: s.Current.ID, at: next.start}
	}
	// Left out of the next run, the node makes way for it all the same.
	return &takeover{old: s.Current.ID, at: p.n.startOf(s.Next)}
}

func (p *play) ending() bool {
	select {
	case <-p.done:
		return true
	default:
		return false
	}
}

// arm starts the run's play, once. The start is that of the division with which
// this node has come in. It goes by all divisions that the log has by now: goesBy
// may have told of them.
func (p *player) arm(r *Run) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if _, ok := p.plays[r.ID]; ok || p.over {
		return nil
	}
	if newest := p.n.machine.State().Run(r.ID); newest != nil {
		r = newest
	}
	entry := r.entry(p.n.self)
	start, err := p.n.localTime(entry.StartAt, entry.Clock)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithCancelCause(context.Background())
	pl := &play{run: *r, start: start, cancel: cancel, done: make(chan struct{}), handed: len(r.Divisions)}
	p.plays[r.ID] = pl
	p.wg.Go(func() {
		defer close(pl.done)
		p.perform(ctx, pl)
		pl.mu.Lock()
		defer pl.mu.Unlock()
		pl.ended = time.Now()
	})
	return nil
}

// perform is the life of one play: prepare if need be, run, keep the summary.
func (p *player) perform(ctx context.Context, pl *play) {
	n := p.n
	report := Report{RunID: pl.run.ID, Of: n.self, Final: true}
	summary, err := n.perform(ctx, &pl.run, pl)
	report.Summary = summary
	if err != nil {
		report.Failure = err.Error()
		n.log.Error("the load engine failed: "+err.Error(), "event", "engine_failed", "run_id", pl.run.ID)
	}
	var reason *StopReason
	if errors.As(context.Cause(ctx), &reason) {
		report.Left = reason.Cause == "signal"
		if reason.Cause == CauseRefused && report.Failure == "" {
			report.Failure = "it could not take the part that it was given: " + reason.Detail
		}
	}
	run := pl.run
	if r := n.machine.State().Run(run.ID); r != nil {
		run = *r // others may have come
	}
	n.hooks.Own(run, report) // before anybody can judge the run and end this node's leadership
	n.reports.put(report)
}

func (n *Node) perform(ctx context.Context, r *Run, pl *play) ([]byte, error) {
	if n.prepared.version(r.ID) == "" {
		c, ok := n.machine.State().Configs[r.Version]
		if !ok {
			return nil, fmt.Errorf("config %s is not in the log", r.Version)
		}
		if err := n.prepare(ctx, r.ID, c, r.Seed); err != nil {
			return nil, err
		}
	}
	return n.runner.Run(ctx, *r, pl.start, Told{
		Started: func(sent time.Time, skew time.Duration) {
			pl.mu.Lock()
			pl.first, pl.skew = sent, skew
			pl.mu.Unlock()
			n.log.Info("first request sent", "event", "run_started", "run_id", r.ID, "start_skew_ms", float64(skew)/1e6)
		},
		Summary: func(summary []byte) { n.reports.put(Report{RunID: r.ID, Of: n.self, Summary: summary}) },
	})
}

// end cancels a play; the first reason stays.
func (p *player) end(runID string, reason *StopReason) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if pl := p.plays[runID]; pl != nil {
		pl.told = true
		pl.cancel(reason)
	}
}

// close ends all plays, waits for them, at most until ctx ends, and arms nothing
// any more.
func (p *player) close(ctx context.Context, reason *StopReason) {
	p.mu.Lock()
	p.over = true
	for _, pl := range p.plays {
		pl.cancel(reason)
	}
	p.rest.end(reason)
	p.mu.Unlock()
	over := make(chan struct{})
	go func() {
		p.wg.Wait()
		close(over)
	}()
	select {
	case <-over:
	case <-ctx.Done():
		p.n.log.Error("the load engine has not stopped in time", "event", "engine_failed")
	}
}

// find returns the run's play, or nil.
func (p *player) find(runID string) *play {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.plays[runID]
}

// started returns when the first request left and how late; zero before.
func (p *player) started(runID string) (time.Time, time.Duration) {
	pl := p.find(runID)
	if pl == nil {
		return time.Time{}, 0
	}
	pl.mu.Lock()
	defer pl.mu.Unlock()
	return pl.first, pl.skew
}

// localTime turns an instant in a server's clock into one of this node's,
// with a monotonic reading, so that no step of a clock moves it from then on.
func (n *Node) localTime(startAt int64, clock string) (time.Time, error) {
	if startAt <= 0 {
		return time.Time{}, errors.New("a start without an instant")
	}
	var off time.Duration
	if clock != n.self.ServerID {
		o, ok := n.clocks.to(clock)
		if !ok && n.clocks.warn(clock) {
			n.log.Warn("the clock of "+clock+" was never measured: starting by this node's own", "event", "clock_unknown")
		}
		off = o.offset
	}
	return n.wall.instant(startAt - int64(off)), nil
}

// prepared remembers which runs the runner has prepared.
type preparedRuns struct {
	n   *Node
	mu  sync.Mutex
	ids map[string]*preparation // by run id
}

// preparation is what is known of a prepared run.
type preparation struct {
	version string
	files   []File
	logged  bool // the log has known the run: once it no longer does, it is over
}

// version is the config that the run was prepared with, "" if it was not.
func (p *preparedRuns) version(runID string) string {
	p.mu.Lock()
	defer p.mu.Unlock()
	if known := p.ids[runID]; known != nil {
		return known.version
	}
	return ""
}

// files are those of all prepared runs.
func (p *preparedRuns) files() (all []File) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, known := range p.ids {
		all = append(all, known.files...)
	}
	return all
}

func (p *preparedRuns) any() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return len(p.ids) > 0
}

// maxPrepared is how many runs may be prepared before the log knows of them:
// their config came faster than the log.
const maxPrepared = 8

// discard forgets runs that ended without having been played.
func (p *preparedRuns) discard(s *State) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for id := range p.ids {
		r := s.Run(id)
		known := p.ids[id]
		known.logged = known.logged || r != nil
		over := r != nil && r.Ended || r == nil && (known.logged || len(p.ids) > maxPrepared)
		if !over {
			continue
		}
		if p.n.player.find(id) == nil {
			p.n.runner.Discard(id)
		}
		delete(p.ids, id)
	}
}

// forget discards a run that was prepared and does not come to be.
func (p *preparedRuns) forget(runID string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.n.runner.Discard(runID)
	delete(p.ids, runID)
}

// refusal is ErrRefused in the runner's own words.
type refusal struct{ error }

func (r *refusal) Is(target error) bool { return target == ErrRefused }
func (r *refusal) Unwrap() error        { return r.error }

// prepare hands a config to the runner, once per run. ErrRefused is a config
// that this node cannot run.
func (n *Node) prepare(ctx context.Context, runID string, c Config, seed int64) error {
	if n.prepared.version(runID) == c.Version {
		return nil
	}
	copies, err := n.obtain(ctx, c.Files)
	if err != nil {
		return fmt.Errorf("prepare run %s: %w", runID, err)
	}
	if err := n.runner.Prepare(ctx, runID, c, copies, seed); err != nil {
		if ctx.Err() != nil || errors.Is(err, ErrEngine) {
			return fmt.Errorf("prepare run %s: %w", runID, err) // it had no time, or no engine: another try may help
		}
		return &refusal{err}
	}
	n.prepared.mu.Lock()
	defer n.prepared.mu.Unlock()
	n.prepared.ids[runID] = &preparation{version: c.Version, files: c.Files}
	return nil
}
