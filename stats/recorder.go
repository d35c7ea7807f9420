package stats

import (
	"strings"
	"sync"
	"time"
)

// lateAfter is how long after due a start is late.
const lateAfter = time.Millisecond

// maxExample is how many bytes of an error's example are kept.
const maxExample = 500

// Recorder counts one run in one engine. It is sharded so that workers on
// different CPUs do not meet.
type Recorder struct {
	layout Layout
	parts  *partwise
	shards []*Shard
	// slots and scene change only while all shards are held.
	slots []int // step of the layout -> step of the summary
	scene []int // step of the layout -> scenario of the summary

	mu    sync.Mutex // one Summary at a time; guards what follows
	total *Summary   // what has left the shards
	spare []*block   // an empty block for each shard
	saved bool       // see Save
	// Steps and scenarios of total that Save has folded.
	foldedSteps, foldedScenarios map[int]bool
}

// NewRecorder returns a recorder of at least one shard, usually one a CPU.
func NewRecorder(layout Layout, shards int) *Recorder {
	shards = max(shards, 1)
	r := &Recorder{layout: layout, total: &Summary{}}
	r.index()
	r.parts = newPartwise(r.total)
	for range shards {
		r.shards = append(r.shards, &Shard{rec: r, active: r.newBlock()})
		r.spare = append(r.spare, r.newBlock())
	}
	return r
}

// index finds the distinct steps and scenarios of the layout.
func (r *Recorder) index() {
	keptSteps, keptScenarios := r.layout.kept()
	steps := labels[StepKey]{limit: r.layout.MaxLabels, rest: StepKey{other, other}, kept: keptSteps}
	scenarios := labels[string]{limit: r.layout.MaxLabels, rest: other, kept: keptScenarios}
	for _, key := range r.layout.Steps {
		r.slots = append(r.slots, steps.number(key))
		r.scene = append(r.scene, scenarios.number(key.Scenario))
	}
	for _, key := range steps.names {
		r.total.Steps = append(r.total.Steps, StepStats{StepKey: key})
	}
	for _, name := range scenarios.names {
		r.total.Scenarios = append(r.total.Scenarios, ScenarioStats{Name: name})
	}
	r.total.FoldedLabels = int64(len(steps.folded) + len(scenarios.folded))
	r.total.Stages = newStages(r.layout.Stages)
	parts := partsOf(r.layout.Judged)
	r.total.Parts = parts[:min(len(parts), MaxParts)]
	r.total.SamplePct, r.total.NoHistograms = int64(r.layout.SamplePct), r.layout.NoHistograms
}

func (r *Recorder) newBlock() *block {
	b := &block{
		steps:     make([]stepBlock, len(r.total.Steps)),
		scenarios: make([]scenarioBlock, len(r.total.Scenarios)),
		times:     newTimeline(&r.layout, r.parts),
		samplePct: 100,
	}
	switch pct := r.layout.SamplePct; {
	case r.layout.NoHistograms:
		b.samplePct = 0
	case pct > 0 && pct < 100:
		b.samplePct = pct
	}
	return b
}

// Shard returns shard i modulo their number, i >= 0.
func (r *Recorder) Shard(i int) *Shard { return r.shards[i%len(r.shards)] }

// Summary returns the cumulative state so far, of one instant over all shards:
// nothing is seen completed that is not also seen started. It may be called
// while shards record; they are held only for an exchange of pointers. What
// identifies the run (RunID, StartedAt, Planned and so on) is left for the
// caller to fill in.
func (r *Recorder) Summary() *Summary {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.held(func() {
		for i, s := range r.shards {
			s.active, r.spare[i] = r.spare[i], s.active
			s.active.times.moment, s.active.times.due = r.spare[i].times.moment, r.spare[i].times.due
		}
	})
	for _, b := range r.spare {
		b.drainInto(r.total)
	}
	r.total.Series.setTargets(r.layout.Asked, r.layout.Duration)
	r.total.setStages(&r.layout)
	out := r.withoutFolded(r.total).Clone()
	out.Histograms, out.HistogramBytes = r.memory()
	out.Generator.ScheduleLagP50, _ = out.ScheduleLag.Percentile(50)
	out.Generator.ScheduleLagP99, _ = out.ScheduleLag.Percentile(99)
	return out
}

// held does something while no shard records.
func (r *Recorder) held(do func()) {
	for _, s := range r.shards {
		s.mu.Lock()
	}
	defer func() {
		for _, s := range r.shards {
			s.mu.Unlock()
		}
	}()
	do()
}

// memory is how many histograms hold samples, and about how many bytes those
// of the recorder take.
func (r *Recorder) memory() (histograms, bytes int64) {
	for _, h := range r.total.allHistograms() {
		histograms += one(h.count > 0)
		bytes += h.bytes()
	}
	for _, b := range r.spare {
		bytes += 2 * b.bytes() // the one in use is as large
	}
	return histograms, bytes
}

// Observe keeps what the engine says of itself; it should do so once a second.
func (r *Recorder) Observe(g Gauges) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.total.InFlight = max(g.InFlight, 0)
	p := r.total.Series.at(r.shards[0].active.times.second(g.At))
	p.Workers = max(p.Workers, g.Workers)
	p.CPUPct = max(p.CPUPct, g.CPUPct)
	p.ThrottledPct = max(p.ThrottledPct, g.ThrottledPct)
	p.GCPause = max(p.GCPause, g.GCPause)
}

// Shard takes the samples of the workers of one CPU. It is safe for
// concurrent use; workers of other CPUs should use other shards.
type Shard struct {
	rec    *Recorder
	mu     sync.Mutex
	active *block
	_      [cacheLines]byte // what lies behind it is another CPU's
}

// cacheLines is two of them: processors fetch them in pairs.
const cacheLines = 128

// Arrived counts a started arrival, and whether it was late and why.
func (s *Shard) Arrived(a Arrival) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.active.arrived(a)
}

// Placed counts a request that took an arrival's place and is done, and that
// was not the last of its iteration; with load.unit requests.
func (s *Shard) Placed() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.active.placed++
}

// Drop counts arrivals that were due and never started.
func (s *Shard) Drop(d Drop) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if d.N > 0 {
		s.active.drop(d)
	}
}

// Downgraded counts a redirect from https to http that was followed.
func (s *Shard) Downgraded() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.active.downgrades++
}

// LookupFailed counts a failed look-up of a host name.
func (s *Shard) LookupFailed() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.active.lookupFailures++
}

// Request counts one request; sm.Step must lie in the layout.
func (s *Shard) Request(sm Sample) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.active.request(s.rec.slots[sm.Step], &sm)
	s.active.slow.offer(&s.rec.layout.Steps[sm.Step], &sm)
}

// Iteration counts an iteration that has ended; it.Step must lie in the layout.
func (s *Shard) Iteration(it Iteration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.active.ended(s.rec.scene[it.Step], it)
}

// Retried counts n attempts of a step of the layout that failed and that a
// retry repaired. Each is also a Request, marked Partial.
func (s *Shard) Retried(step int, n int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.active.retried(s.rec.slots[step], n)
}

// Example keeps text, at most 500 bytes of it, as the example of an error kind
// that has none yet.
func (s *Shard) Example(kind ErrorKind, text string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.active.examples[kind] == "" {
		s.active.examples[kind] = strings.ToValidUTF8(text[:min(len(text), maxExample)], "")
	}
}

// Unresolved counts a variable that nothing had set where it was used.
func (s *Shard) Unresolved() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.active.unresolved++
}

// ExtractionFailed counts a variable that a response did not have.
func (s *Shard) ExtractionFailed() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.active.extractions++
}

// Reconnected counts n connections opened because an established one broke.
func (s *Shard) Reconnected(n int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.active.reconnects += n
}
