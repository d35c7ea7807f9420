package loadgen

import (
	"context"
	"errors"
	"hash/fnv"
	"log/slog"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"volley/plan"
	"volley/stats"
)

// How connections are opened before the start: neither the target nor a name
// server shall take it for an attack.
const (
	connectEvery   = time.Second / 500
	connectAtOnce  = 128
	connectMargin  = 5 * time.Millisecond // before the start nobody dials any more
	connectReserve = 2 * time.Second      // on top of what the rate needs
)

// rederiveAt is how long before the start it is read off the wall clock once
// more, in case that was set right meanwhile.
const rederiveAt = time.Second

const liveEvery = time.Second

// run is a prepared run.
type run struct {
	job    Job
	plan   *plan.Plan
	script *script
	dialer *dialer
	seed   uint64
	bodies atomic.Uint64
	log    *slog.Logger

	rec    *stats.Recorder
	curve  curve
	joined time.Duration
	base   time.Time
	cpu    cpuMeter
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
	s, err := compile(p)
	if err != nil {
		return nil, err
	}
	d, err := newDialer(&p.Config, job.Client)
	if err != nil {
		return nil, err
	}
	return &run{
		job: job, plan: p, script: s, dialer: d, seed: seedOf(job, p), log: log,
		rec:   stats.NewRecorder(s.layout, runtime.GOMAXPROCS(0)),
		curve: newCurve(p.Load),
	}, nil
}

// seedOf mixes the node in: nodes that draw alike would send alike at the same
// instant.
func seedOf(job Job, p *plan.Plan) uint64 {
	seed := job.Seed
	if p.Config.Seed != nil {
		seed = *p.Config.Seed
	}
	h := fnv.New64a()
	_, _ = h.Write([]byte(job.NodeID))
	return uint64(seed) ^ h.Sum64()
}

// execute runs until the run has ended and drained.
func (r *run) execute(ctx context.Context, start time.Time, live func(*stats.Summary)) *stats.Summary {
	clients := r.connect(ctx, monotonic(start))
	r.settle(ctx, start)
	c := r.crew(clients)
	done := make(chan struct{})
	var reporter sync.WaitGroup
	reporter.Go(func() { r.report(c, done, live) })
	c.run(ctx)
	close(done)
	reporter.Wait()
	for _, cl := range clients {
		cl.close() // also of those no worker has come to use
	}
	return r.snapshot(true)
}

// settle fixes the start by the monotonic clock.
func (r *run) settle(ctx context.Context, start time.Time) {
	var a alarm
	a.until(ctx, monotonic(start).Add(-rederiveAt))
	r.base = monotonic(start)
	r.joined = max(time.Since(r.base), 0)
	r.cpu = newCPUMeter()
}

// connect gives the first workers their clients and, during the lead, their
// connections. What fails here is tried again with the first request.
func (r *run) connect(ctx context.Context, base time.Time) []*client {
	clients := make([]*client, firstWorkers(r.plan))
	for i := range clients {
		clients[i] = newClient(r.dialer, &r.plan.Config, r.job.Client)
	}
	if r.job.Client.ProxyFromEnv {
		return clients // whom to connect to is the transport's affair
	}
	ctx, cancel := context.WithDeadline(ctx, base.Add(-connectMargin))
	defer cancel()
	var a alarm
	needed := time.Duration(len(clients)*len(r.script.origins)) * connectEvery
	if a.until(ctx, base.Add(-needed-connectReserve)) {
		r.connectAll(ctx, clients)
	}
	return clients
}

func (r *run) connectAll(ctx context.Context, clients []*client) {
	var (
		group  sync.WaitGroup
		failed firstError
		slots  = make(chan struct{}, connectAtOnce)
		pace   = time.NewTicker(connectEvery)
	)
	defer pace.Stop()
	for _, cl := range clients {
		for _, o := range r.script.origins {
			if !admit(ctx, slots, pace.C) {
				break
			}
			group.Go(func() {
				defer func() { <-slots }()
				failed.note(cl.prepare(ctx, o))
			})
		}
	}
	group.Wait()
	if failed.err != nil {
		r.log.Warn("connections could not be opened before the start", "event", "connect_ahead_failed",
			"run_id", r.job.RunID, "failed", failed.n, "first_error", failed.err.Error())
	}
}

// admit waits for a slot and for the next tick; false once ctx is done.
func admit(ctx context.Context, slots chan<- struct{}, tick <-chan time.Time) bool {
	select {
	case <-tick:
	case <-ctx.Done():
		return false
	}
	select {
	case slots <- struct{}{}:
		return true
	case <-ctx.Done():
		return false
	}
}

// firstError counts errors and keeps the first.
type firstError struct {
	mu  sync.Mutex
	n   int
	err error
}

func (f *firstError) note(err error) {
	if err == nil {
		return
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.n++
	if f.err == nil {
		f.err = err
	}
}

func (r *run) crew(clients []*client) *crew {
	p := r.plan
	c := &crew{
		base: r.base, joined: r.joined, length: p.Config.Duration, grace: p.Config.GracefulStop,
		first: len(clients), most: mostWorkers(p),
		shard: r.rec.Shard, begun: make(chan struct{}),
	}
	c.recruit = func(worker int) iterator {
		u := &user{
			script: r.script, config: &p.Config, seed: r.seed, bodies: &r.bodies,
			shard: r.rec.Shard(worker), base: r.base,
		}
		if worker < len(clients) {
			u.client = clients[worker]
		} else {
			u.client = newClient(r.dialer, &p.Config, r.job.Client)
		}
		return u
	}
	if !p.Load.Closed() {
		c.pacer = newPacer(r.curve, r.joined, p.Config.Duration, p.Load.MaxBacklog)
	}
	return c
}

// report gives live what has been counted, at the first request and once a
// second, until done.
func (r *run) report(c *crew, done <-chan struct{}, live func(*stats.Summary)) {
	select {
	case <-c.started():
	case <-done:
		return
	}
	tick := time.NewTicker(liveEvery)
	defer tick.Stop()
	for {
		if c.pacer != nil {
			// Workers that all hang would never notice that arrivals grow old.
			c.shard(0).Dropped(c.pacer.drop(c.now()))
		}
		if live != nil {
			live(r.snapshot(false))
		}
		select {
		case <-tick.C:
		case <-done:
			return
		}
	}
}

// snapshot is the cumulative summary with everything that names the run.
func (r *run) snapshot(ended bool) *stats.Summary {
	s, c := r.rec.Summary(), &r.plan.Config
	s.RunID, s.ConfigVersion = r.job.RunID, r.job.ConfigVersion
	s.NodeID, s.Region, s.Tenant = r.job.NodeID, r.job.Region, r.plan.Metadata.Tenant
	s.StartedAt, s.Elapsed = r.base.Round(0), max(time.Since(r.base), 0)
	s.Planned, s.Warmup = c.Duration, c.Warmup
	s.Ended, s.Closed = ended, r.plan.Load.Closed()
	s.Workers = int64(c.Workers)
	upTo := min(s.Elapsed, s.Planned)
	if ended {
		upTo = s.Planned
	}
	s.Target = max(r.curve.asked(upTo)-r.curve.asked(r.joined), 0)
	s.Generator.CPUPct = r.cpu.percent()
	return s
}
