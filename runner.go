package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"volley/loadgen"
	"volley/node"
	"volley/plan"
	"volley/settings"
	"volley/stats"
)

// runner is the engine as a node sees it, and the place where the newest
// summary of this node's load is kept.
type runner struct {
	engine  loadgen.Engine
	self    node.Member
	client  loadgen.Client
	dataDir string // DATA_DIR
	tenant  string // TENANT: where a plan names none

	clustered bool
	task      *jobTask // nil outside a job

	recording loadgen.Recording
	rotation  time.Duration // of the view of the last interval, 0 for none

	metrics *stats.Metrics
	log     *slog.Logger
	// standbyRequest is the request of a node that stands by, but for its address.
	standbyRequest plan.Environment
	// abort ends a run whose threshold has failed; nil in a cluster, where the
	// leader judges what all nodes have told.
	abort func(runID string, failed stats.ThresholdResult)

	// ahead is how far this process's wall clock is ahead of the machine's, by
	// which the engine goes: 0 but in tests.
	ahead time.Duration
	// begins is told that a run begins; nil for nobody.
	begins func()

	mu       sync.Mutex
	jobs     map[string]prepared // by run id
	prepares int
	playing  map[string]*playing // by run id: those under way
	starved  bool                // memory ended the run that was over last
	live     *stats.Summary      // the newest of the run that started last
	pulse    pulse               // of that run

	standbys      atomic.Int64 // begun so far
	standing      int64        // workers of the one that is going
	standingPulse pulse        // of that one
}

// prepared is a run as it was prepared.
type prepared struct {
	job     loadgen.Job
	divided bool            // among the participants: the load, or the rows of a data file
	parts   *divided        // what the engine knows of that
	judge   *stats.Judge    // of this node's own summaries
	view    *stats.Interval // nil for none
	aborted string          // the threshold that has ended it
	order   int
}

// maxJobs bounds the runs remembered; the state of a node knows three.
const maxJobs = 5

var _ node.Runner = (*runner)(nil)

// clientOf is what the environment says of the load's client.
func clientOf(set settings.Settings) loadgen.Client {
	env := map[string]string{}
	for name, value := range set.Run.PlanEnv {
		env[name] = value.Reveal()
	}
	return loadgen.Client{
		ClientCertPath: set.Run.ClientCertPath, ClientKeyPath: set.Run.ClientKeyPath,
		ProxyFromEnv: set.Run.ProxyFromEnv, TCPDelay: !set.LoadPlan.TCPNoDelay && !set.Cluster.Enabled, ThinkTimeScale: set.Run.ThinkTimeScale, Env: env,
	}
}

// filesOf says where the files that a plan names are: beside a plan from a
// local file, in DATA_DIR for a posted one.
func (r *runner) filesOf(c node.Config) loadgen.Files {
	switch c.Source {
	case node.SourceFile:
		return loadgen.Files{Folder: filepath.Dir(c.Origin), Local: true}
	case node.SourcePost:
		return loadgen.Files{Folder: r.dataDir}
	}
	return loadgen.Files{}
}

// parse refuses what this node cannot measure: what the leader records says
// nothing of it.
func (r *runner) parse(document []byte) (p *plan.Plan, err error) {
	if r.recording.Off {
		p, _, err = plan.ParseWithoutPercentiles(document, r.self.NodeID)
		return p, err
	}
	p, _, err = plan.Parse(document)
	return p, err
}

// jobOf is this node's job by a plan. A task's part is known from the start, and for good.
func (r *runner) jobOf(p *plan.Plan, runID string, c node.Config, seed int64) loadgen.Job {
	job := loadgen.Job{
		RunID: runID, ConfigVersion: c.Version, Document: c.Document, Seed: seed,
		NodeID: r.self.NodeID, Region: r.self.Region, Tenant: r.tenant, Apart: r.clustered || r.task != nil, Client: r.client, Files: r.filesOf(c), Recording: r.recording,
	}
	if r.task != nil && shares(p) {
		job.Self, job.Divisions = r.task.self, r.task.divisions
	}
	return job
}

// shares says whether each node has to know which part of the load is its own.
func shares(p *plan.Plan) bool { return p.Load.Scope == "cluster" || splits(p) }

func (r *runner) Prepare(ctx context.Context, runID string, c node.Config, copies map[string]string, seed int64) error {
	p, err := r.parse(c.Document)
	if err != nil {
		return err
	}
	job := r.jobOf(p, runID, c, seed)
	job.Files.Copies = copies
	shared := len(job.Divisions) == 0 && shares(p)
	if err := r.engine.Prepare(ctx, job); err != nil {
		if ctx.Err() != nil {
			return err
		}
		if errors.Is(err, loadgen.ErrEngine) {
			return fmt.Errorf("%w: %w", node.ErrEngine, err)
		}
		return plan.Locate(c.Document, err.Error())
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.makeRoom(runID)
	r.prepares++
	made := prepared{job: job, parts: &divided{}, order: r.prepares, divided: shared, judge: stats.NewJudge(p.Thresholds)}
	if r.rotation > 0 {
		made.view = stats.NewInterval(r.rotation)
	}
	r.jobs[runID] = made
	return nil
}

// makeRoom forgets the oldest job for another one: those that run, or are about
// to, are the newest.
func (r *runner) makeRoom(runID string) {
	if _, known := r.jobs[runID]; known || len(r.jobs) < maxJobs {
		return
	}
	oldest := ""
	for id, p := range r.jobs {
		if oldest == "" || p.order < r.jobs[oldest].order {
			oldest = id
		}
	}
	delete(r.jobs, oldest)
}

func (r *runner) Discard(runID string) {
	r.mu.Lock()
	delete(r.jobs, runID)
	r.mu.Unlock()
	r.engine.Discard(runID)
}

func (r *runner) Run(ctx context.Context, run node.Run, start time.Time, told node.Told) (body []byte, err error) {
	if err := r.share(ctx, run); err != nil {
		return nil, err
	}
	ctx, cancel := withStop(ctx)
	defer cancel(nil)
	r.begin(run.ID, cancel)
	if r.begins != nil {
		r.begins()
	}
	var once sync.Once
	defer func() { r.leave(run.ID, err) }()
	var summary *stats.Summary
	summary, err = r.engine.Run(ctx, run.ID, start, func(s *stats.Summary) {
		s = r.byOwnClock(s)
		r.show(s)
		if skew, ok := s.StartSkew(); ok {
			once.Do(func() { told.Started(s.FirstRequest(), skew) })
		}
		if r.clustered { // elsewhere nobody asks for it
			if body, err := s.Encode(); err == nil { // the next one may fit; the final one's error is told
				told.Summary(body)
			}
		}
	})
	err = errors.Join(err, r.finish(run.ID, summary))
	if summary == nil {
		return nil, err
	}
	summary = r.byOwnClock(summary)
	r.show(summary)
	body, encodeErr := summary.Encode()
	return body, errors.Join(err, encodeErr)
}

// byOwnClock is the engine's summary with its start by this process's clock.
func (r *runner) byOwnClock(s *stats.Summary) *stats.Summary {
	if r.ahead == 0 {
		return s
	}
	out := *s
	out.StartedAt = s.StartedAt.Add(r.ahead)
	return &out
}

// splits says whether a data file's rows are divided among the nodes.
func splits(p *plan.Plan) bool {
	return slices.ContainsFunc(p.Scenarios, func(s plan.Scenario) bool {
		return s.DataFile != nil && s.DataFile.Split != nil && *s.DataFile.Split
	})
}

// withStop returns a context that ends with ctx, and says why in the engine's words.
func withStop(ctx context.Context) (context.Context, context.CancelCauseFunc) {
	out, cancel := context.WithCancelCause(context.WithoutCancel(ctx))
	stop := context.AfterFunc(ctx, func() {
		cause := &loadgen.StopCause{Reason: "cancelled"}
		var reason *node.StopReason
		if errors.As(context.Cause(ctx), &reason) {
			cause = &loadgen.StopCause{Reason: reason.Cause, Grace: reason.Grace}
		}
		cancel(cause)
	})
	return out, func(err error) { stop(); cancel(err) }
}

// show keeps a summary for metrics and health, and judges it.
func (r *runner) show(s *stats.Summary) {
	r.metrics.SetSummary(s)
	failed, abort := r.keep(s)
	if abort {
		r.abort(s.RunID, failed)
	}
}

// keep returns the threshold that ends the run, once.
func (r *runner) keep(s *stats.Summary) (failed stats.ThresholdResult, abort bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if p, ok := r.jobs[s.RunID]; ok {
		r.rotate(p.view, s)
		p.judge.Observe(s)
		if failed, abort = p.judge.Aborting(); abort && p.aborted == "" && r.abort != nil {
			p.aborted = failed.Expr
			r.jobs[s.RunID] = p
		} else {
			abort = false
		}
	}
	if r.live != nil && r.live.RunID != s.RunID && r.live.StartedAt.After(s.StartedAt) {
		return failed, abort // a run that drains beside its successor
	}
	if r.live != nil && r.live.RunID != s.RunID {
		r.pulse = pulse{} // the other run's
	}
	r.pulse.observe(s)
	r.live = s
	return failed, abort
}

// pulse is what a load sends per second, between the last two of its summaries.
type pulse struct {
	at               time.Time
	requests, failed int64
	rate, errors     float64 // requests per second; share of them that were errors, in percent
}

func (p *pulse) observe(s *stats.Summary) {
	next := pulse{at: time.Now(), requests: s.Requests, failed: s.ErrorCount()}
	if n := next.requests - p.requests; !p.at.IsZero() && next.at.After(p.at) && n > 0 {
		next.rate = float64(n) / next.at.Sub(p.at).Seconds()
		next.errors = 100 * float64(next.failed-p.failed) / float64(n)
	}
	*p = next
}

// judged are the thresholds of a run: by the judge that has watched it if this
// node is all there is, else by the merged summary alone.
func (r *runner) judged(runID string, alone bool, document []byte, merged *stats.Summary) ([]stats.ThresholdResult, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if p, ok := r.jobs[runID]; ok && alone {
		return p.judge.Result(merged), nil
	}
	p, _, err := plan.Parse(document)
	if err != nil {
		return nil, err
	}
	return stats.NewJudge(p.Thresholds).Result(merged), nil
}

// soFar are the thresholds of a run that is going on.
func (r *runner) soFar(s *stats.Summary) []stats.ThresholdResult {
	r.mu.Lock()
	document := r.jobs[s.RunID].job.Document
	r.mu.Unlock()
	rows, err := r.judged(s.RunID, false, document, s)
	if err != nil {
		return nil // the run is forgotten already
	}
	return rows
}

// leave is called when a run is over: one whose engine has not said how it ended
// must not look as if it went on.
func (r *runner) leave(runID string, failure error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.live == nil || r.live.RunID != runID || r.live.Ended {
		return
	}
	last := *r.live
	last.Ended, last.Failure = true, "the engine has not finished"
	if failure != nil {
		last.Failure = failure.Error()
	}
	r.live = &last
	r.metrics.SetSummary(&last)
}

// newest is the newest summary of the run that started last, nil before the first.
func (r *runner) newest() *stats.Summary { return r.figures().summary }

// figures are what GET /health shows of the load.
type figures struct {
	summary        *stats.Summary
	pulse, standby pulse
	standing       int // workers in standby
}

func (r *runner) figures() figures {
	r.mu.Lock()
	defer r.mu.Unlock()
	return figures{r.live, r.pulse, r.standingPulse, int(r.standing)}
}
