package loadgen

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"hash/fnv"
	"log/slog"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"volley/plan"
	"volley/stats"
)

// settleAt is how long before the start the generator begins to watch its clocks.
const settleAt = time.Second

const liveEvery = time.Second

// run is a prepared run.
type run struct {
	job    Job
	plan   *plan.Plan
	script *script
	net    *network
	seed   uint64
	bodies atomic.Uint64
	log    *slog.Logger

	thinking atomic.Int64 // workers that think between two steps
	notices  notices

	rec    *stats.Recorder
	warm   *stats.Recorder // of what is sent during warmup: shown, but in no result
	work   workload
	base   time.Time
	lasted time.Duration // of a run that has ended
	// stoppedBy is why it has ended before its time, "" if it has not.
	stoppedBy string
	health    *condition

	lease *lease // nil if the run needs none

	mu        sync.Mutex
	divisions []Division
	crewing   *crew // since the start is settled

	begun atomic.Pointer[time.Time] // when the first request was sent
	saved atomic.Pointer[time.Time] // when memory began to be saved
}

// newRun parses and compiles a job; its error is why it is refused.
func newRun(job Job, log *slog.Logger) (*run, error) {
	p, _, err := plan.Parse(job.Document)
	if err != nil {
		return nil, err
	}
	if lines := Unsupported(p); len(lines) > 0 {
		return nil, errors.New(strings.Join(lines, "\n"))
	}
	seed := seedOf(job, p)
	work, err := newWorkload(p, job.Self, job.Divisions, seed)
	if err != nil {
		return nil, err
	}
	if job.Enters > 0 {
		work.enter(job.Enters)
	}
	job.claims = work.claims
	s, err := compile(p, &job)
	if err != nil {
		return nil, err
	}
	s.hiddenColumns(log, job.RunID)
	n, err := newNetwork(p, job.Client, work.most())
	if err != nil {
		return nil, err
	}
	r := &run{
		job: job, plan: p, script: s, net: n, seed: seed, log: log, divisions: job.Divisions,
		rec:     stats.NewRecorder(work.layout(job.Recording.layout(s.layout), p), runtime.GOMAXPROCS(0)),
		warm:    stats.NewRecorder(stats.Layout{Steps: s.layout.Steps, NoHistograms: true}, 1),
		work:    work,
		notices: notices{log: log, runID: job.RunID},
	}
	if job.Leased {
		r.lease = newLease()
	}
	n.dialer.names.failed = func() { r.rec.Shard(0).LookupFailed() }
	return r, nil
}

// seedOf mixes the node in where there are others: nodes that draw alike would
// send alike at the same instant. Nodes that share one curve must agree on its
// arrivals, and no two of them have the same one.
func seedOf(job Job, p *plan.Plan) uint64 {
	seed := job.Seed
	if p.Config.Seed != nil {
		seed = *p.Config.Seed
	}
	if p.Load.Scope == "cluster" && len(job.Divisions) > 0 || !job.Apart {
		return uint64(seed)
	}
	h := fnv.New64a()
	_, _ = h.Write([]byte(job.NodeID))
	return uint64(seed) ^ h.Sum64()
}

// execute runs until the run has ended and drained.
func (r *run) execute(ctx context.Context, start time.Time, live func(*stats.Summary)) *stats.Summary {
	start = monotonic(start) // at once: from here on nobody's setting of the clock moves it
	clients := make([]*client, r.work.first())
	for i := range clients {
		clients[i] = r.net.client()
	}
	if at := r.work.enters(); at < endless {
		r.connect(ctx, start.Add(at), clients)
	}
	r.settle(ctx, start)
	c := r.muster(clients)
	done := make(chan struct{})
	var reporter sync.WaitGroup
	reporter.Go(func() { r.report(c, done, live) })
	r.lasted = c.run(ctx)
	if ctx.Err() != nil && r.lasted < r.work.length {
		r.stoppedBy = reasonOf(ctx)
	}
	close(done)
	reporter.Wait()
	for _, cl := range clients {
		cl.close() // also of those no worker has come to use
	}
	r.net.close()
	return r.snapshot(c, true)
}

// settle waits until shortly before the start.
func (r *run) settle(ctx context.Context, start time.Time) {
	var a alarm
	a.until(ctx, start.Add(-settleAt))
	r.base = start
	r.health = newCondition()
}

// readyClients are those of the first workers, each given out once: a worker
// that comes in another's place makes a client of its own.
type readyClients struct {
	mu sync.Mutex
	of []*client
}

// take returns nil if there is none for the worker.
func (r *readyClients) take(worker int) *client {
	r.mu.Lock()
	defer r.mu.Unlock()
	if worker >= len(r.of) {
		return nil
	}
	c := r.of[worker]
	r.of[worker] = nil
	return c
}

// muster makes the crew that runs it; divisions and leases are the crew's from
// here on.
func (r *run) muster(clients []*client) *crew {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.crewing = r.crew(clients)
	return r.crewing
}

func (r *run) crew(clients []*client) *crew {
	p := r.plan
	c := &crew{
		base: r.base, length: r.work.length, warmup: r.work.warmup, grace: p.Config.GracefulStop,
		staff: r.work.staff, requests: r.work.byRequest(), shared: r.work.shared(), first: len(clients), lease: r.lease,
		thinking: &r.thinking, shard: r.rec.Shard, begun: make(chan struct{}), spent: make(chan struct{}),
	}
	c.most = func() int { return r.work.mostAt(c.now()) }
	if len(r.divisions) > 0 {
		c.changed = &bell{}
	}
	c.limit, c.none = r.work.ownLimit()
	ready := &readyClients{of: slices.Clone(clients)}
	c.recruit = func(worker int, turn place) iterator {
		if !c.requests || c.pacer == nil {
			turn = nil
		}
		u := newUser(r, worker, turn)
		u.client = ready.take(worker)
		if u.client == nil {
			u.client = r.net.client()
		}
		return u
	}
	if !p.Load.Closed() {
		c.pacer = newPacer(r.work.schedule(), p.Load.MaxBacklog)
		c.pacer.lease, c.pacer.base = r.lease, r.base
		if c.changed != nil {
			c.pacer.until = min(c.pacer.until, c.pacer.schedule.last())
		}
	}
	return c
}

// report gives live what has been counted, at the first request and once a
// second, until done.
func (r *run) report(c *crew, done <-chan struct{}, live func(*stats.Summary)) {
	select {
	case <-c.started():
		now := time.Now()
		r.begun.Store(&now)
	case <-done:
		return
	}
	tick, spent, ends := time.NewTicker(liveEvery), (<-chan struct{})(c.spent), c.starts.Done()
	defer tick.Stop()
	show := func(g stats.Gauges, at time.Duration) {
		c.observe(r.rec, g, at)
		if live != nil {
			live(r.snapshot(c, false))
		}
	}
	r.health.begin()
	show(stats.Gauges{}, c.now())
	for {
		select {
		case <-tick.C:
			show(r.health.lately(), c.now()-liveEvery/2) // of the second that is over
		case <-spent:
			r.health.spend()
			spent = nil
		case <-ends:
			if r.health.unseen() > liveEvery/2 { // the last second, or most of it: its tick comes too late
				c.observe(r.rec, r.health.lately(), c.now()-liveEvery/2)
			}
			r.health.end()
			ends = nil
		case <-done:
			return
		}
	}
}

// snapshot is the cumulative summary with everything that names the run.
func (r *run) snapshot(c *crew, ended bool) *stats.Summary {
	s, cfg := r.rec.Summary(), &r.plan.Config
	s.RunID, s.ConfigVersion = r.job.RunID, r.job.ConfigVersion
	s.NodeID, s.Region, s.Tenant = r.job.NodeID, r.job.Region, cmp.Or(r.plan.Metadata.Tenant, r.job.Tenant)
	s.StartedAt, s.Elapsed = r.base.Round(0), max(time.Since(r.base), 0)
	s.Planned, s.Warmup = cfg.Duration, cfg.Warmup
	if cfg.Warmup > 0 {
		w := r.warm.Summary()
		s.WarmupRequests, s.WarmupErrors = w.Requests, w.ErrorCount()
	}
	s.Ended, s.Closed, s.Unit = ended, r.plan.Load.Closed(), r.plan.Load.Unit
	s.Workers = r.work.wanted()
	s.RowsSkipped = r.script.rowsSkipped()
	s.ThinkTimeScale, s.Scaled = r.job.Client.ThinkTimeScale, r.job.Client.ThinkTimeScale != 1
	c.firstArrival(s)
	if ended && r.stoppedBy != "" {
		s.StoppedBy, s.StoppedAfter = r.stoppedBy, r.lasted
	}
	if ended {
		r.conclude(s, c.byNumber(), c.dry())
	} else {
		s.Target = r.asked(min(s.Elapsed, r.work.length))
		s.AskStages(r.work.asked, s.Elapsed)
	}
	if by := r.health.jumped(); by != 0 {
		r.log.Warn(fmt.Sprintf("the wall clock jumped by %s during the run: the machine was suspended, or its clock was set", by.Round(time.Millisecond)),
			"event", "clock_jump", "run_id", r.job.RunID, "by_ms", float64(by)/1e6)
	}
	lag := s.Generator
	s.Generator = r.health.generator()
	s.Generator.ScheduleLagP50, s.Generator.ScheduleLagP99 = lag.ScheduleLagP50, lag.ScheduleLagP99
	s.Pool = poolOf(cfg)
	s.OwnClient, s.StdClient = r.net.dialer.ours.Load(), r.net.dialer.theirs.Load()
	if at := r.saved.Load(); at != nil {
		s.SavingSince = at.Sub(r.base)
	}
	return s
}

// settled is for how long a run shows which steps it has before it may be asked
// to know no others.
const settled = time.Second

// save makes the run record no more than it must from now on.
func (r *run) save() {
	if begun := r.begun.Load(); begun == nil || time.Since(*begun) < settled {
		return
	}
	now := time.Now()
	r.saved.CompareAndSwap(nil, &now)
	r.rec.Save()
}

// conclude settles what a run that has ended was asked for. byNumber is true if
// it has done all its iterations, sooner than planned; dry, if its data was used
// up.
func (r *run) conclude(s *stats.Summary, byNumber, dry bool) {
	if byNumber || r.work.length == endless {
		s.Planned = r.lasted
	}
	s.Target = r.asked(s.Planned)
	switch {
	case byNumber && (dry || r.work.byRequest()):
		s.Target = min(s.Target, float64(s.Due())) // what came due after the last iteration is nobody's
	case byNumber:
		s.Target = r.asked(endless) // all of them
	}
}

// asked is what the load asks of this node until t; without a lease, until that
// ran out.
func (r *run) asked(t time.Duration) float64 {
	if !r.lease.valid() {
		t = min(t, max(r.lease.ended().Sub(r.base), 0))
	}
	return r.work.asked(t)
}
