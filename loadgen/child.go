package loadgen

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"runtime/debug"
	"sync"
	"sync/atomic"
	"time"

	"volley/stats"
)

const (
	prepareWait = 30 * time.Second // for a child's answer to a plan
	stopMargin  = 10 * time.Second // on top of a stop's grace, then the child is killed
)

// ErrChildDied is wrapped by every error that the death of the child process
// causes; the error says how it died and quotes its last output.
var ErrChildDied = errors.New("the engine's child process died")

// ErrEngine is wrapped by an error of Prepare that says nothing of the plan: the
// child has died, does not answer or cannot be started.
var ErrEngine = errors.New("the load engine has failed")

// ChildConfig says how the child process is started. Only Log is required.
type ChildConfig struct {
	Log        *slog.Logger // takes the child's log records too
	Executable string       // "" is the running program
	Args       []string     // nil is {ChildCommand}
	Env        []string     // nil is this process's environment
	// MemoryLimit is what the child's Go runtime keeps to, in bytes; 0 leaves it
	// to the environment.
	MemoryLimit int64
}

// Child is the engine in a child process of the same program, so that load
// never delays what the parent does (heartbeats) and takes its descriptors and
// memory from nobody. It is nicer (+10) and the first to be killed when memory
// runs out.
//
// If the child dies, every Run under way returns ErrChildDied with the last
// summary it got, and what was prepared is lost. The next Prepare starts a new
// child, unless a Run has not returned yet: nothing restarts silently, and
// never in the middle of a run.
type Child struct {
	cfg ChildConfig

	// proc is read without mu, which is held while a new child starts: the memory
	// guard and the metrics must not wait for that.
	proc atomic.Pointer[process]

	mu     sync.Mutex // for a change of proc, too
	active int        // Runs under way
	closed bool
}

var _ Engine = (*Child)(nil)

var errChildClosed = errors.New("the engine is closed")

// OpenChild starts the child and waits until it answers. Close it.
func OpenChild(ctx context.Context, cfg ChildConfig) (*Child, error) {
	if err := ctx.Err(); err != nil {
		return nil, fmt.Errorf("open engine child: %w", err)
	}
	if cfg.Executable == "" {
		own, err := os.Executable()
		if err != nil {
			return nil, fmt.Errorf("find this program for the engine child: %w", err)
		}
		cfg.Executable = own
	}
	if cfg.Args == nil {
		cfg.Args = []string{ChildCommand}
	}
	p, err := startProcess(cfg)
	if err != nil {
		return nil, err
	}
	c := &Child{cfg: cfg}
	c.proc.Store(p)
	return c, nil
}

// Close ends the child, cutting off what runs, and waits until it and all its
// goroutines are gone. It may be called more than once.
func (c *Child) Close() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.closed = true
	c.proc.Load().close()
	return nil
}

// Prepare is as Engine says, and starts a new child if the last one is dead
// and no Run is under way.
func (c *Child) Prepare(ctx context.Context, job Job) error {
	p, err := c.living()
	if err != nil {
		return fmt.Errorf("%w: prepare run %s: %w", ErrEngine, job.RunID, err)
	}
	ctx, cancel := context.WithTimeout(ctx, prepareWait)
	defer cancel()
	call := p.open()
	defer p.drop(call)
	head := job
	head.Document = nil
	if err := p.link.send(message{Kind: kindPrepare, ID: call.id, Job: &head, body: job.Document}); err != nil {
		return fmt.Errorf("%w: %w", ErrEngine, p.broken(ctx, err))
	}
	select {
	case m := <-call.reply:
		return m.err()
	case <-p.dead:
		return fmt.Errorf("%w: %w", ErrEngine, p.death)
	case <-ctx.Done():
		// What nobody waits for any more must not stay in the child for ever.
		_ = p.link.send(message{Kind: kindStop, ID: call.id})
		_ = p.link.send(message{Kind: kindDiscard, RunID: job.RunID})
		return fmt.Errorf("%w: prepare run %s: no answer of the engine child: %w", ErrEngine, job.RunID, ctx.Err())
	}
}

func (c *Child) living() (*process, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	last := c.proc.Load()
	switch {
	case c.closed:
		return nil, errChildClosed
	case !last.isDead():
		return last, nil
	case c.active > 0:
		return nil, fmt.Errorf("a run that it cuts off has not returned yet: %w", last.death)
	}
	c.cfg.Log.Warn("a new engine child takes the place of one that died", "event", "engine_child_restarted", "death", last.death.Error())
	p, err := startProcess(c.cfg)
	if err == nil {
		c.proc.Store(p)
	}
	return p, err
}

// Run is as Engine says.
func (c *Child) Run(ctx context.Context, runID string, start time.Time, live func(*stats.Summary)) (*stats.Summary, error) {
	p, err := c.enter()
	if err != nil {
		return nil, fmt.Errorf("run %s: %w", runID, err)
	}
	defer c.leave()
	r := &remoteRun{proc: p, call: p.open(), live: live}
	defer p.drop(r.call)
	// What the clock reads at start is what the child has to wait for: its
	// monotonic clock cannot be told over a wire.
	m := message{Kind: kindRun, ID: r.call.id, RunID: runID, Start: monotonic(start).Round(0)}
	if err := p.link.send(m); err != nil {
		return nil, p.broken(ctx, err)
	}
	return r.follow(ctx)
}

func (c *Child) enter() (*process, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		return nil, errChildClosed
	}
	c.active++
	return c.proc.Load(), nil
}

func (c *Child) leave() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.active--
}

// Redivide is as Engine says. Divisions may be told one after the other: the child
// is asked in the order of the calls.
func (c *Child) Redivide(ctx context.Context, runID string, d Division) error {
	p := c.proc.Load()
	ctx, cancel := context.WithTimeout(ctx, prepareWait)
	defer cancel()
	call := p.open()
	defer p.drop(call)
	if err := p.link.send(message{Kind: kindRedivide, ID: call.id, RunID: runID, Division: &d}); err != nil {
		return fmt.Errorf("%w: %w", ErrEngine, p.broken(ctx, err))
	}
	select {
	case m := <-call.reply:
		return m.err()
	case <-p.dead:
		return fmt.Errorf("%w: %w", ErrEngine, p.death)
	case <-ctx.Done():
		return fmt.Errorf("%w: divide run %s anew: no answer of the engine child: %w", ErrEngine, runID, ctx.Err())
	}
}

// Lease tells the child what the clock reads at its end: both are on one machine.
func (c *Child) Lease(runID string, until time.Time) {
	c.tell(message{Kind: kindLease, RunID: runID, Until: monotonic(until).Round(0)})
}

// Settle tells the child.
func (c *Child) Settle(runID string, s Settlement) {
	c.tell(message{Kind: kindSettle, RunID: runID, Settled: s})
}

// Discard tells the child; one that is dead has forgotten all by itself.
func (c *Child) Discard(runID string) { c.tell(message{Kind: kindDiscard, RunID: runID}) }

// Collect is as Saver says, for this process and the child.
func (c *Child) Collect() {
	c.tell(message{Kind: kindCollect})
	debug.FreeOSMemory()
}

// Save is as Saver says.
func (c *Child) Save() { c.tell(message{Kind: kindSave}) }

// tell sends what needs no answer. If it cannot be sent the child is dead.
func (c *Child) tell(m message) { _ = c.proc.Load().link.send(m) }

// PID is that of the child process.
func (c *Child) PID() int { return c.proc.Load().cmd.Process.Pid }

// broken is the reason why sending failed: the child's death if it is that.
func (p *process) broken(ctx context.Context, err error) error {
	limit := time.NewTimer(exitWait)
	defer limit.Stop()
	select {
	case <-p.dead:
		return p.death
	case <-ctx.Done():
	case <-limit.C:
	}
	return err
}

// err is a reply's error.
func (m message) err() error {
	switch {
	case m.Unknown:
		return remoteError{m.Error, ErrUnknownRun}
	case m.Error != "":
		return remoteError{m.Error, nil}
	}
	return nil
}

// remoteError has the text that the child gave and wraps the sentinel it named.
type remoteError struct {
	text string
	is   error
}

func (e remoteError) Error() string { return e.text }
func (e remoteError) Unwrap() error { return e.is }

// remoteRun is a Run that takes place in the child.
type remoteRun struct {
	proc *process
	call *call
	live func(*stats.Summary)
	last *stats.Summary
}

func (r *remoteRun) follow(ctx context.Context) (*stats.Summary, error) {
	stop := ctx.Done()
	var overdue <-chan time.Time
	for {
		select {
		case m := <-r.call.live:
			r.progress(m)
		case m := <-r.call.reply:
			return r.final(m)
		case <-stop:
			stop = nil
			grace := graceOf(ctx)
			limit := time.NewTimer(grace + stopMargin)
			defer limit.Stop()
			overdue = limit.C
			// If it cannot be sent the child is dead or will be overdue.
			_ = r.proc.link.send(message{Kind: kindStop, ID: r.call.id, Reason: reasonOf(ctx), Grace: grace})
		case <-overdue:
			r.proc.log.Error("the engine child does not stop and is killed", "event", "engine_child_failed")
			r.proc.kill()
			overdue = nil
		case <-r.proc.dead:
			return r.lost()
		}
	}
}

func (r *remoteRun) progress(m message) {
	s, err := stats.Decode(m.body)
	if err != nil {
		r.proc.log.Error("summary of the engine child is unreadable", "event", "engine_child_failed", "error", err)
		return
	}
	r.last = s
	if r.live != nil {
		r.live(s)
	}
}

func (r *remoteRun) final(m message) (*stats.Summary, error) {
	if len(m.body) == 0 {
		return r.last, m.err()
	}
	s, err := stats.Decode(m.body)
	if err != nil {
		return r.last, errors.Join(m.err(), fmt.Errorf("read the engine child's final summary: %w", err))
	}
	return s, m.err()
}

// lost is for a child that has died, perhaps right after its last word.
func (r *remoteRun) lost() (*stats.Summary, error) {
	select {
	case m := <-r.call.reply:
		return r.final(m)
	default:
	}
	select {
	case m := <-r.call.live:
		r.progress(m)
	default:
	}
	if r.last != nil {
		r.last = r.last.Clone() // live has the other
		r.last.Failure = r.proc.death.Error()
	}
	return r.last, r.proc.death
}
