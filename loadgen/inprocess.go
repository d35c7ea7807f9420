package loadgen

import (
	"context"
	"fmt"
	"log/slog"
	"runtime/debug"
	"sync"
	"time"

	"volley/stats"
)

// mostRuns is how many runs an engine holds, prepared or running. One that
// drains, one that runs and one that is prepared are the usual most.
const mostRuns = 16

// InProcess is the engine that generates load in its own process.
type InProcess struct {
	log *slog.Logger

	mu   sync.Mutex
	runs map[string]*held
}

// held is a run that is prepared or under way.
type held struct {
	run     *run
	version string
	running bool
}

var _ Engine = (*InProcess)(nil)

// NewInProcess returns an engine without runs. It starts no goroutine; those of
// a run end before its Run returns.
func NewInProcess(log *slog.Logger) *InProcess {
	return &InProcess{log: log, runs: map[string]*held{}}
}

// Prepare refuses a plan that does not parse (plan.Errors), that asks for what
// Unsupported lists, or whose requests cannot be made. Another version, or
// another division, under the id of a prepared run replaces it; under that of a
// running one it is an error.
func (e *InProcess) Prepare(ctx context.Context, job Job) error {
	if known, err := e.known(job); known || err != nil {
		return err
	}
	job.tables = e.tables(job)
	r, err := newRun(job, e.log)
	if err != nil {
		return err
	}
	return e.hold(ctx, r)
}

// tables are the data files of the job if it has been prepared already, with
// another division: who takes part is known only shortly before the start, which
// shall not wait for 256 MiB to be read once more.
func (e *InProcess) tables(job Job) tables {
	e.mu.Lock()
	defer e.mu.Unlock()
	if h := e.runs[job.RunID]; h != nil && h.version == job.ConfigVersion {
		return h.run.script.tables
	}
	return nil
}

// known is true if the job is held already.
func (e *InProcess) known(job Job) (bool, error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.lookUp(job)
}

func (e *InProcess) lookUp(job Job) (bool, error) {
	h := e.runs[job.RunID]
	switch {
	case h == nil:
		return false, nil
	case h.version == job.ConfigVersion && h.run.is(job):
		return true, nil
	case h.running:
		return false, fmt.Errorf("prepare run %s: it is running with config %s, not %s", job.RunID, h.version, job.ConfigVersion)
	}
	return false, nil
}

// hold keeps a run, unless nobody waits for it any more: a Discard that follows
// the end of ctx finds the run, or it is not kept.
func (e *InProcess) hold(ctx context.Context, r *run) error {
	e.mu.Lock()
	defer e.mu.Unlock()
	if err := ctx.Err(); err != nil {
		return fmt.Errorf("prepare run %s: %w", r.job.RunID, err)
	}
	if known, err := e.lookUp(r.job); known || err != nil {
		return err // another call was faster
	}
	if _, there := e.runs[r.job.RunID]; !there && len(e.runs) >= mostRuns {
		return fmt.Errorf("%w: prepare run %s: it holds %d runs already, at most %d", ErrEngine, r.job.RunID, len(e.runs), mostRuns)
	}
	if before := e.runs[r.job.RunID]; before != nil {
		r.inherit(before.run)
	}
	e.runs[r.job.RunID] = &held{run: r, version: r.job.ConfigVersion}
	return nil
}

// Run is as Engine says. It returns ErrUnknownRun for a run that is not
// prepared, runs already, or has run; a run starts once. A context that is
// cancelled without a StopCause interrupts running iterations at once.
func (e *InProcess) Run(ctx context.Context, runID string, start time.Time, live func(*stats.Summary)) (*stats.Summary, error) {
	r, err := e.begin(runID)
	if err != nil {
		return nil, err
	}
	defer e.forget(runID)
	return r.execute(ctx, start, live), nil
}

func (e *InProcess) begin(runID string) (*run, error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	h := e.runs[runID]
	if h == nil || h.running {
		return nil, fmt.Errorf("run %s: %w", runID, ErrUnknownRun)
	}
	h.running = true
	return h.run, nil
}

func (e *InProcess) forget(runID string) {
	e.mu.Lock()
	defer e.mu.Unlock()
	delete(e.runs, runID)
}

// Redivide is as Engine says.
func (e *InProcess) Redivide(_ context.Context, runID string, d Division) error {
	r := e.find(runID)
	if r == nil {
		return fmt.Errorf("divide run %s anew: %w", runID, ErrUnknownRun)
	}
	if err := r.redivide(d); err != nil {
		return fmt.Errorf("divide run %s anew: %w", runID, err)
	}
	return nil
}

// Lease is as Engine says; a run that is not known needs none.
func (e *InProcess) Lease(runID string, until time.Time) {
	if r := e.find(runID); r != nil {
		r.extend(until)
	}
}

// Settle is as Engine says; a run that is not known needs none.
func (e *InProcess) Settle(runID string, s Settlement) {
	if r := e.find(runID); r != nil {
		r.agree(s)
	}
}

// find is a run that is held, nil if there is none.
func (e *InProcess) find(runID string) *run {
	e.mu.Lock()
	defer e.mu.Unlock()
	if h := e.runs[runID]; h != nil {
		return h.run
	}
	return nil
}

// Discard forgets a prepared run; one that is running is not touched.
func (e *InProcess) Discard(runID string) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if h := e.runs[runID]; h != nil && !h.running {
		delete(e.runs, runID)
	}
}

// Collect is as Saver says.
func (e *InProcess) Collect() { debug.FreeOSMemory() }

// Save is as Saver says.
func (e *InProcess) Save() {
	e.mu.Lock()
	defer e.mu.Unlock()
	for _, h := range e.runs {
		h.run.save()
	}
}
