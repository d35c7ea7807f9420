package stats

import "time"

// block is what a shard has collected since the last Summary. A shard has two
// of them, one recorded into and one drained, so that a snapshot does not hold
// up the workers.
type block struct {
	started, dropped             int64
	noWorker, catchUp, generator int64
	sent                         bool
	firstDue, firstSent          time.Duration
	bytesIn, bytesOut            int64
	connsNew, connsReused        int64
	reconnects                   int64
	errors                       [errorKinds]int64
	latencyOK, scheduleLag       dense
	steps                        []stepBlock
	scenarios                    []scenarioBlock
}

// stepBlock is a step's part of a block.
type stepBlock struct {
	requests, succeeded, errors, retried int64
	assertionsPassed, assertionsFailed   int64
	noStatus                             int64
	// status is allocated with the first response: a plan may have many steps
	// and a machine many CPUs.
	status           *[maxStatus + 1]int64
	latency, service dense
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
	switch {
	case a.CatchUp:
		b.catchUp += one(late)
	case !a.WorkerFree:
		b.noWorker += one(late)
	default:
		b.generator += one(late)
		b.scheduleLag.record(a.Sent - a.Due)
	}
}

func (b *block) request(slot int, sm *Sample) {
	st := &b.steps[slot]
	st.requests++
	st.assertionsPassed += int64(sm.AssertionsPassed)
	st.assertionsFailed += int64(sm.AssertionsFailed)
	st.countStatus(sm.Status)
	b.bytesIn += sm.BytesIn
	b.bytesOut += sm.BytesOut
	b.connsNew += one(sm.NewConn)
	// A request that never got a connection has not reused one either.
	b.connsReused += one(!sm.NewConn && (sm.Complete || sm.Status != 0 || sm.BytesOut > 0))
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
	st.service.record(sm.Service)
	if sm.Partial {
		return
	}
	st.latency.record(sm.Latency)
	if sm.Kind == ErrNone {
		b.latencyOK.record(sm.Latency)
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

func (sb *scenarioBlock) ended(it Iteration) {
	switch it.Outcome {
	case Interrupted:
		sb.interrupted++
		return
	case Failed:
		sb.failed++
	default:
		sb.succeeded++
	}
	sb.duration.record(it.Duration)
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
	if b.sent {
		s.firstArrival(b.firstDue, b.firstSent)
	}
	s.LatencyOK.mergeDense(&b.latencyOK)
	s.ScheduleLag.mergeDense(&b.scheduleLag)
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
	to.AssertionsPassed += st.assertionsPassed
	to.AssertionsFailed += st.assertionsFailed
	to.NoStatus += st.noStatus
	if st.status != nil {
		for code, n := range st.status {
			to.countStatus(code, n)
		}
	}
	to.Latency.mergeDense(&st.latency)
	to.Service.mergeDense(&st.service)
	s.Latency.mergeDense(&st.latency)
	s.Service.mergeDense(&st.service)
}

func (sb *scenarioBlock) drainInto(s *Summary, to *ScenarioStats) {
	s.Completed += sb.succeeded + sb.failed
	s.Interrupted += sb.interrupted
	to.Succeeded += sb.succeeded
	to.Failed += sb.failed
	to.Interrupted += sb.interrupted
	to.Duration.mergeDense(&sb.duration)
	s.IterationTime.mergeDense(&sb.duration)
}

func (b *block) reset() {
	steps, scenarios, ok, lag := b.steps, b.scenarios, b.latencyOK, b.scheduleLag
	for i := range steps {
		st := &steps[i]
		if st.status != nil {
			*st.status = [maxStatus + 1]int64{}
		}
		st.latency.reset()
		st.service.reset()
		steps[i] = stepBlock{status: st.status, latency: st.latency, service: st.service}
	}
	for i := range scenarios {
		scenarios[i].duration.reset()
		scenarios[i] = scenarioBlock{duration: scenarios[i].duration}
	}
	ok.reset()
	lag.reset()
	*b = block{steps: steps, scenarios: scenarios, latencyOK: ok, scheduleLag: lag}
}
