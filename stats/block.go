package stats

import "time"

// block is what a shard has collected since the last Summary. A shard has two
// of them, one recorded into and one drained, so that a snapshot does not hold
// up the workers.
type block struct {
	started, dropped             int64
	placed                       int64 // requests done that are not the last of their iteration
	noWorker, catchUp, generator int64
	sent                         bool
	firstDue, firstSent          time.Duration
	bytesIn, bytesOut            int64
	connsNew, connsReused        int64
	reconnects                   int64
	errors                       [errorKinds]int64
	examples                     [errorKinds]string
	unresolved, extractions      int64
	drops                        [DropIsolated + 1]int64
	downgrades, lookupFailures   int64
	latencyOK, scheduleLag       dense
	phases                       [phaseCount]dense
	steps                        []stepBlock
	scenarios                    []scenarioBlock
	slow                         slowest
	times                        timeline

	samplePct int  // percent that go into histograms
	draws     int  // how often that was asked
	saving    bool // phases are not recorded any more
}

// stepBlock is a step's part of a block.
type stepBlock struct {
	requests, succeeded, errors, retried int64
	superseded, extra                    int64
	assertionsPassed, assertionsFailed   int64
	noStatus                             int64
	// status is allocated with the first response: a plan may have many steps
	// and a machine many CPUs.
	status           *[maxStatus + 1]int64
	latency, service dense
	// failed is the latency of errors: what is successful is the rest.
	failed dense
}

// scenarioBlock is a scenario's part of a block.
type scenarioBlock struct {
	succeeded, failed, interrupted int64
	duration                       dense
}

func (b *block) arrived(a Arrival) {
	b.started++
	if !b.sent || a.Due < b.firstDue || a.Due == b.firstDue && a.Sent < b.firstSent {
		b.sent, b.firstDue, b.firstSent = true, a.Due, a.Sent
	}
	late := a.Sent-a.Due > lateAfter
	at := b.times.at(a.Sent, a.Due)
	at.Started++
	at.Late += one(late)
	switch {
	case a.CatchUp:
		b.catchUp += one(late)
	case !a.WorkerFree:
		b.noWorker += one(late)
	default:
		b.generator += one(late)
		b.scheduleLag.record(a.Sent - a.Due)
		at.lag.record(a.Sent - a.Due)
	}
}

func (b *block) request(slot int, sm *Sample) {
	st := &b.steps[slot]
	st.requests++
	st.superseded += one(sm.Superseded)
	st.extra += one(sm.Superseded || sm.Partial && (sm.Complete || sm.Kind != ErrNone)) // else it was interrupted
	st.assertionsPassed += int64(sm.AssertionsPassed)
	st.assertionsFailed += int64(sm.AssertionsFailed)
	st.countStatus(sm.Status)
	b.bytesIn += sm.BytesIn
	b.bytesOut += sm.BytesOut
	b.connsNew += one(sm.NewConn)
	// A request that never got a connection has not reused one either.
	b.connsReused += one(!sm.NewConn && (sm.Complete || sm.Status != 0 || sm.BytesOut > 0))
	at := b.times.at(sm.At+sm.Service, sm.At+sm.Service-sm.Latency)
	at.request(sm)
	parts := b.times.parts.ofStep(slot)
	for _, i := range parts {
		at.parts[i].request(sm)
	}
	switch {
	case sm.Partial:
	case sm.Kind == ErrNone:
		st.succeeded++
	default:
		st.errors++
		b.errors[sm.Kind]++
	}
	if !sm.Complete && sm.Kind != ErrTimeout {
		return
	}
	if !b.sampled() {
		return
	}
	st.service.record(sm.Service)
	at.took(b.times.parts, parts, "service", sm.Service)
	if !b.saving {
		b.phased(sm.Phases)
	}
	if sm.Partial || sm.Superseded {
		return
	}
	st.latency.record(sm.Latency)
	at.latency.record(sm.Latency)
	at.took(b.times.parts, parts, "latency", sm.Latency)
	if sm.Kind == ErrNone {
		b.latencyOK.record(sm.Latency)
		at.took(b.times.parts, parts, "ok", sm.Latency)
	} else {
		st.failed.record(sm.Latency)
	}
}

// sampled is true for samplePct of every 100 calls. Which ones differs from
// hundred to hundred: an iteration calls it in a pattern of its own, and with a
// fixed stride the same step of it would always be the one that is left out.
func (b *block) sampled() bool {
	n := b.draws
	b.draws++
	return (n%100*61+n/100*17)%100 < b.samplePct
}

// phaseCount is how many phases a request has.
const phaseCount = 4

func (b *block) phased(p *Phases) {
	if p == nil {
		return
	}
	for i, d := range [phaseCount]time.Duration{p.DNS, p.Connect, p.TLS, p.FirstByte} {
		if d > 0 {
			b.phases[i].record(d)
		}
	}
}

func (b *block) drop(d Drop) {
	b.dropped += d.N
	b.drops[d.Cause] += d.N
	b.times.at(d.At, d.Due).Dropped += d.N
}

func (b *block) ended(scenario int, it Iteration) {
	sampled := it.Outcome != Interrupted && b.sampled()
	b.scenarios[scenario].ended(it, sampled)
	at, parts := b.times.latest(), b.times.parts.ofScenario(scenario)
	at.Completed += one(it.Outcome != Interrupted)
	for _, i := range parts {
		at.parts[i].Completed += one(it.Outcome != Interrupted)
	}
	if sampled {
		at.took(b.times.parts, parts, "iteration", it.Duration)
	}
}

// retried counts attempts of a step that a retry repaired.
func (b *block) retried(slot int, n int64) {
	b.steps[slot].retried += n
	at := b.times.latest()
	at.Retried += n
	for _, i := range b.times.parts.ofStep(slot) {
		at.parts[i].Retried += n
	}
}

func (st *stepBlock) countStatus(code int) {
	if code <= 0 || code > maxStatus {
		st.noStatus++
		return
	}
	if st.status == nil {
		st.status = new([maxStatus + 1]int64)
	}
	st.status[code]++
}

func (sb *scenarioBlock) used() bool { return sb.succeeded+sb.failed+sb.interrupted > 0 }

func (sb *scenarioBlock) ended(it Iteration, sampled bool) {
	switch it.Outcome {
	case Interrupted:
		sb.interrupted++
		return
	case Failed:
		sb.failed++
	default:
		sb.succeeded++
	}
	if sampled {
		sb.duration.record(it.Duration)
	}
}

func one(yes bool) int64 {
	if yes {
		return 1
	}
	return 0
}

// drainInto adds the block to a summary of the same layout and empties it; its
// arrays are kept for the next use.
func (b *block) drainInto(s *Summary) {
	s.Started += b.started
	s.Dropped += b.dropped
	s.Completed += b.placed
	s.Placed += b.placed
	s.LateNoWorker += b.noWorker
	s.LateCatchUp += b.catchUp
	s.LateGenerator += b.generator
	s.BytesIn += b.bytesIn
	s.BytesOut += b.bytesOut
	s.ConnsNew += b.connsNew
	s.ConnsReused += b.connsReused
	s.Reconnects += b.reconnects
	for kind, n := range b.errors {
		s.Errors[kind] += n
	}
	s.DroppedThinking += b.drops[DropThinking]
	s.DroppedWaiting += b.drops[DropWaiting]
	s.DroppedEnd += b.drops[DropEnd]
	s.DroppedIsolated += b.drops[DropIsolated]
	s.Downgrades += b.downgrades
	s.LookupFailures += b.lookupFailures
	s.keepExamples(&b.examples)
	s.UnresolvedVariables += b.unresolved
	s.ExtractionsFailed += b.extractions
	if b.sent {
		s.firstArrival(b.firstDue, b.firstSent)
	}
	b.latencyOK.drainInto(&s.LatencyOK)
	b.scheduleLag.drainInto(&s.ScheduleLag)
	for i := range b.phases {
		b.phases[i].drainInto(&s.Phases[i])
	}
	s.Slowest = mergeSlowest(s.Slowest, b.slow.items[:b.slow.n])
	b.times.drainInto(s)
	for i := range b.steps {
		b.steps[i].drainInto(s, &s.Steps[i])
	}
	for i := range b.scenarios {
		b.scenarios[i].drainInto(s, &s.Scenarios[i])
	}
	b.reset()
}

func (st *stepBlock) drainInto(s *Summary, to *StepStats) {
	s.Requests += st.requests
	s.Retried += st.retried
	to.Requests += st.requests
	to.Succeeded += st.succeeded
	to.Errors += st.errors
	to.Retried += st.retried
	to.Superseded += st.superseded
	to.Extra += st.extra
	to.AssertionsPassed += st.assertionsPassed
	to.AssertionsFailed += st.assertionsFailed
	to.NoStatus += st.noStatus
	if st.status != nil {
		for code, n := range st.status {
			to.countStatus(code, n)
		}
	}
	st.latency.drainInto(&to.Latency, &s.Latency)
	st.service.drainInto(&to.Service, &s.Service)
	st.failed.drainInto(&to.LatencyFailed)
}

func (sb *scenarioBlock) drainInto(s *Summary, to *ScenarioStats) {
	s.Completed += sb.succeeded + sb.failed
	s.Interrupted += sb.interrupted
	to.Succeeded += sb.succeeded
	to.Failed += sb.failed
	to.Interrupted += sb.interrupted
	sb.duration.drainInto(&to.Duration, &s.IterationTime)
}

func (b *block) reset() {
	steps, scenarios := b.steps, b.scenarios
	for i := range steps {
		st := &steps[i]
		if st.status != nil {
			*st.status = [maxStatus + 1]int64{}
		}
		st.latency.reset()
		st.service.reset()
		st.failed.reset()
		steps[i] = stepBlock{status: st.status, latency: st.latency, service: st.service, failed: st.failed}
	}
	for i := range scenarios {
		scenarios[i].duration.reset()
		scenarios[i] = scenarioBlock{duration: scenarios[i].duration}
	}
	b.latencyOK.reset()
	b.scheduleLag.reset()
	for i := range b.phases {
		b.phases[i].reset()
	}
	*b = block{
		steps: steps, scenarios: scenarios, latencyOK: b.latencyOK, scheduleLag: b.scheduleLag, phases: b.phases,
		times: b.times, samplePct: b.samplePct, draws: b.draws, saving: b.saving,
	}
}

// bytes is the memory that its histograms take.
func (b *block) bytes() int64 {
	n := b.latencyOK.bytes() + b.scheduleLag.bytes() + b.times.bytes()
	for i := range b.phases {
		n += b.phases[i].bytes()
	}
	for i := range b.steps {
		n += b.steps[i].latency.bytes() + b.steps[i].service.bytes() + b.steps[i].failed.bytes()
	}
	for i := range b.scenarios {
		n += b.scenarios[i].duration.bytes()
	}
	return n
}
