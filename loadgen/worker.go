package loadgen

import (
	"context"
	"math/rand/v2"
	"net/http"
	"sync/atomic"
	"time"

	"volley/plan"
	"volley/stats"
)

// drawsApart keeps the draws within an iteration from repeating the one that
// chose its scenario.
const drawsApart = 0x9e3779b97f4a7c15

// user runs the iterations of one worker, one after the other.
type user struct {
	script   *script
	config   *plan.Config
	seed     uint64
	scale    float64        // of think times
	bodies   *atomic.Uint64 // numbers the random bodies of the run
	thinking *atomic.Int64  // how many workers of the run are
	notices  *notices
	client   *client
	shard    *stats.Shard // counted, or warmup's
	counted  *stats.Shard
	warmup   *stats.Shard
	place    place     // nil if no request waits for one
	base     time.Time // the run's start
	scenario *scenario // of the iteration that is ready
	row      int       // of its data file

	jar      http.CookieJar
	trip     trip
	desk     desk
	response response
	scope    scope
	source   rand.PCG
	cache    map[*step]memory
	sink     sink
	pending  []stats.Sample // failed attempts of the step under way
	alarm    alarm
	held     time.Duration      // how long the step waited for places in the schedule
	watch    *watcher           // nil but for Try
	wrote    func(at time.Time) // the first byte of all was sent; nil once told, and but for one
}

// newUser makes worker of a run; it has no client yet.
func newUser(r *run, worker int, p place) *user {
	u := &user{
		script: r.script, config: &r.plan.Config, seed: r.seed, scale: r.job.Client.ThinkTimeScale,
		bodies: &r.bodies, thinking: &r.thinking, notices: &r.notices,
		counted: r.rec.Shard(worker), warmup: r.warm.Shard(worker), place: p, base: r.base,
	}
	u.counting(true)
	u.scope = scope{worker: worker, draws: rand.New(&u.source), missing: u.missing}
	return u
}

// counting says whether what follows belongs into the result.
func (u *user) counting(counts bool) {
	u.shard = u.warmup
	if counts {
		u.shard = u.counted
	}
}

// onWrite is as iterator says.
func (u *user) onWrite(wrote func(at time.Time)) { u.wrote = wrote }

// waitTurn waits for the request's place in the schedule. It is not the
// target's fault that a place comes later.
func (u *user) waitTurn() {
	if u.place == nil {
		return
	}
	ready := now()
	u.held += u.place(ready).Sub(ready)
}

// missing counts a variable that nothing has set.
func (u *user) missing(text string) {
	u.shard.Unresolved()
	u.notices.unresolved(text)
}

// memory is what a cached step has extracted.
type memory struct {
	until  time.Time
	values []string
}

// iterate runs iteration n, which is ready and was due at due, and records it.
// Once ctx is done what is under way is interrupted.
func (u *user) iterate(ctx context.Context, n int64, due time.Time) {
	sc := u.scenario
	u.fresh(sc, n)
	began, outcome := now(), stats.Succeeded
	for i := range sc.steps {
		st := &sc.steps[i]
		done, kind, whole := u.step(ctx, st, due)
		if !whole {
			outcome = stats.Interrupted
			break
		}
		if u.watch != nil {
			u.watch.ended(st, kind != stats.ErrNone)
		}
		if kind != stats.ErrNone {
			outcome = stats.Failed
			if !st.continues {
				break
			}
		}
		if due, whole = u.think(ctx, st, done); !whole && i < len(sc.steps)-1 {
			outcome = stats.Interrupted
			break
		}
	}
	u.shard.Iteration(stats.Iteration{
		Step: sc.steps[0].index, Duration: time.Since(began), Outcome: outcome,
	})
}

// fresh makes of the worker a new visitor, as far as the plan says so.
func (u *user) fresh(sc *scenario, n int64) {
	if u.config.Cookies == "iteration" {
		u.jar = nil
	}
	if u.config.Connections.Mode == "iteration" {
		u.client.renew()
	}
	u.scope.reset(n, len(sc.names))
	if sc.feed != nil {
		sc.feed.fill(&u.scope, u.row)
	}
	u.source.Seed(u.seed^drawsApart, uint64(n))
}

func (u *user) close() { u.client.close() }

// think waits after a step that the iteration outlives; the next one is due at
// its end. It is false once ctx is done.
func (u *user) think(ctx context.Context, st *step, done time.Time) (due time.Time, whole bool) {
	span := st.think.Min
	if ms := int64(st.think.Max-st.think.Min) / int64(time.Millisecond); ms > 0 {
		span += time.Duration(u.scope.random(0, ms)) * time.Millisecond
	}
	span = time.Duration(float64(span) * u.scale)
	if span <= 0 {
		return done, true
	}
	u.thinking.Add(1)
	defer u.thinking.Add(-1)
	due = done.Add(span)
	return due, u.alarm.until(ctx, due)
}

// step gets a step's response, by a request and as many retries as it takes and
// the plan allows, or from memory. done is when the step ended; whole is false
// if ctx interrupted it.
func (u *user) step(ctx context.Context, st *step, due time.Time) (done time.Time, kind stats.ErrorKind, whole bool) {
	if u.recalls(st) {
		return due, stats.ErrNone, true
	}
	u.held = 0
	for {
		u.waitTurn()
		sm, ended, done, whole := u.attempt(ctx, st)
		if whole && len(u.pending) < st.retries && mayRecover(sm.Kind) {
			u.pending = append(u.pending, sm)
			if u.alarm.until(ctx, done.Add(st.retryDelay)) {
				continue
			}
			whole = false
		} else if whole {
			sm.Latency = ended.Sub(due) - u.held
			u.shard.Request(sm)
		}
		u.settle(st, whole && sm.Kind == stats.ErrNone)
		return done, sm.Kind, whole
	}
}

// mayRecover is true for what another attempt may put right: a transport error,
// a timeout, a 5xx.
func mayRecover(kind stats.ErrorKind) bool {
	switch kind {
	case stats.ErrTimeout, stats.ErrNetwork, stats.ErrTLS, stats.ErrServer, stats.ErrGenerator:
		return true
	}
	return false
}

// settle records the attempts before the last one: errors, unless that one put
// them right.
func (u *user) settle(st *step, repaired bool) {
	if len(u.pending) == 0 {
		return
	}
	for _, sm := range u.pending {
		sm.Partial, sm.Superseded = repaired, !repaired
		u.shard.Request(sm)
	}
	if repaired {
		u.shard.Retried(st.index, int64(len(u.pending)))
	}
	u.pending = u.pending[:0]
}

// attempt sends a step's request, follows its redirects and judges the
// response. The sample lacks the latency. ended is when the last byte was read,
// done when all has been seen to.
func (u *user) attempt(ctx context.Context, st *step) (sm stats.Sample, ended, done time.Time, whole bool) {
	c, err := u.newTrip(ctx, st)
	if err != nil {
		return u.unsent(st, err), time.Now(), time.Now(), true
	}
	if u.client.reserve(ctx, c.errand.route) != nil {
		return sm, time.Now(), time.Now(), false
	}
	c.errand.came = now()
	c.errand.deadline = c.errand.came.Add(st.timeout)
	var first time.Time
	held := u.held
	for {
		x := u.exchange(c)
		if u.wrote != nil && x.wrote {
			u.wrote(x.sent)
			u.wrote = nil
		}
		if x.err != nil && ctx.Err() != nil {
			u.interrupted(st, x)
			return sm, x.ended, x.ended, false
		}
		if held -= x.queued; c.hops == 0 {
			first = x.sent
		} else {
			held -= x.waited
		}
		u.keepCookies(c, x.header)
		scheme := c.errand.route.scheme
		if c.hops < u.config.MaxRedirects && c.follow(x) {
			u.hop(st, x)
			if scheme == "https" && c.req.URL.Scheme == "http" {
				u.shard.Downgraded()
			}
			before := time.Now()
			u.waitTurn()
			c.errand.deadline = c.errand.deadline.Add(time.Since(before)) // nor is that of the time the request may take
			u.head(c)
			c.errand.came = time.Now()
			continue
		}
		took := x.ended.Sub(first) - (u.held - held)
		sm, done = u.record(st, c, x, took)
		return sm, x.ended, done, true
	}
}

// exchange sends the request that the trip has come to.
func (u *user) exchange(c *trip) *exchange {
	if c.req != nil {
		u.dress(c)
	}
	var to *sink
	if c.step.readsBody || u.watch != nil {
		u.sink.reset(wireLimit(int64(u.config.MaxBody)))
		to = &u.sink
	}
	x := u.client.do(&c.errand, to)
	if u.watch != nil {
		u.watch.exchanged(u, c, x)
	}
	if x.reconnected > 0 {
		u.shard.Reconnected(x.reconnected)
	}
	return x
}

// record makes the sample of the last or only exchange of an attempt, which took
// so long with its redirects. done is when the response has been looked at: that
// is no time of the target's.
func (u *user) record(st *step, c *trip, x *exchange, took time.Duration) (sm stats.Sample, done time.Time) {
	sm = u.sample(st, x)
	if x.err != nil {
		sm.Status, sm.Kind = 0, failure(x.err, c.errand.late(x.ended))
		sm.Complete = sm.Kind == stats.ErrTimeout
		u.example(sm.Kind, c.request, x.err)
		return sm, x.ended
	}
	v := u.judge(st, u.newResponse(st, x, took))
	u.forget()
	sm.Complete = true
	sm.Kind, sm.AssertionsPassed, sm.AssertionsFailed = v.kind, v.passed, v.failed
	switch {
	case v.kind != stats.ErrNone:
		u.example(v.kind, c.request, v.problem)
	case st.cache > 0 && v.complete:
		u.remember(st)
	}
	if st.readsBody {
		return sm, time.Now()
	}
	return sm, x.ended
}

// unsent is the sample of a request that its variables made impossible.
func (u *user) unsent(st *step, err error) stats.Sample {
	u.example(stats.ErrOther, func() *http.Request { return &http.Request{Method: st.method} }, err)
	return stats.Sample{Step: st.index, At: time.Since(u.base), Kind: stats.ErrOther}
}

// hop counts a redirect that is followed: a request with a service time.
func (u *user) hop(st *step, x *exchange) {
	sm := u.sample(st, x)
	sm.Complete, sm.Partial = true, true
	u.shard.Request(sm)
}

// interrupted counts a request that was cut off: it reached the target, but is
// no error and in no histogram. What was not sent at all is not counted.
func (u *user) interrupted(st *step, x *exchange) {
	if !x.wrote {
		return
	}
	sm := u.sample(st, x)
	sm.Status, sm.Partial = 0, true
	u.shard.Request(sm)
}

func (u *user) sample(st *step, x *exchange) stats.Sample {
	return stats.Sample{
		Step:     st.index,
		At:       x.sent.Add(x.queued).Sub(u.base), // so that it is over at the end
		Service:  x.ended.Sub(x.sent) - x.queued,
		Status:   x.status,
		NewConn:  x.newConn,
		BytesIn:  x.in,
		BytesOut: x.out,
		Phases:   x.phases,
	}
}

// recalls sets the variables of a cached step as an earlier response had them.
func (u *user) recalls(st *step) bool {
	if st.cache <= 0 {
		return false
	}
	known, ok := u.cache[st]
	if !ok || !time.Now().Before(known.until) {
		return false
	}
	for i, value := range known.values {
		u.scope.set(st.extract[i].slot, value)
	}
	return true
}

func (u *user) remember(st *step) {
	known := memory{until: time.Now().Add(st.cache)}
	for i := range st.extract {
		known.values = append(known.values, u.scope.values[st.extract[i].slot].value())
	}
	if u.cache == nil {
		u.cache = map[*step]memory{}
	}
	u.cache[st] = known
}

// example gives the first error of a kind a text, without query and body.
func (u *user) example(kind stats.ErrorKind, request func() *http.Request, problem error) {
	if u.watch != nil {
		u.watch.failed(problem)
	}
	if u.shard == u.warmup || !u.notices.first(kind) { // what fails in warm-up is in no report
		return
	}
	req := request()
	text := req.Method
	if req.URL != nil {
		shown := *req.URL
		shown.User, shown.RawQuery, shown.ForceQuery = nil, "", false
		text += " " + shown.String()
	}
	u.shard.Example(kind, text+": "+problem.Error())
}
