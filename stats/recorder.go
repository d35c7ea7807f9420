package stats

import (
	"sync"
	"time"
)

// lateAfter is how long after due a start is late.
const lateAfter = time.Millisecond

// Recorder counts one run in one engine. It is sharded so that workers on
// different CPUs do not meet.
type Recorder struct {
	layout Layout
	slots  []int // step of the layout -> step of the summary
	scene  []int // step of the layout -> scenario of the summary
	shards []*Shard

	mu    sync.Mutex // one Summary at a time; guards what follows
	total *Summary   // what has left the shards
	spare []*block   // an empty block for each shard
}

// NewRecorder returns a recorder of at least one shard, usually one a CPU.
func NewRecorder(layout Layout, shards int) *Recorder {
	shards = max(shards, 1)
	r := &Recorder{layout: layout, total: &Summary{}}
	r.index()
	for range shards {
		r.shards = append(r.shards, &Shard{rec: r, active: r.newBlock()})
		r.spare = append(r.spare, r.newBlock())
	}
	return r
}

// index finds the distinct steps and scenarios of the layout.
func (r *Recorder) index() {
	steps, scenarios := map[StepKey]int{}, map[string]int{}
	for _, key := range r.layout.Steps {
		if _, known := steps[key]; !known {
			steps[key] = len(r.total.Steps)
			r.total.Steps = append(r.total.Steps, StepStats{StepKey: key})
		}
		if _, known := scenarios[key.Scenario]; !known {
			scenarios[key.Scenario] = len(r.total.Scenarios)
			r.total.Scenarios = append(r.total.Scenarios, ScenarioStats{Name: key.Scenario})
		}
		r.slots = append(r.slots, steps[key])
		r.scene = append(r.scene, scenarios[key.Scenario])
	}
}

func (r *Recorder) newBlock() *block {
	return &block{
		steps:     make([]stepBlock, len(r.total.Steps)),
		scenarios: make([]scenarioBlock, len(r.total.Scenarios)),
	}
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
	for _, s := range r.shards {
		s.mu.Lock()
	}
	for i, s := range r.shards {
		s.active, r.spare[i] = r.spare[i], s.active
	}
	for _, s := range r.shards {
		s.mu.Unlock()
	}
	for _, b := range r.spare {
		b.drainInto(r.total)
	}
	out := r.total.Clone()
	out.Generator.ScheduleLagP99, _ = out.ScheduleLag.Percentile(99)
	return out
}

// Shard takes the samples of the workers of one CPU. It is safe for
// concurrent use; workers of other CPUs should use other shards.
type Shard struct {
	rec    *Recorder
	mu     sync.Mutex
	active *block
}

// Arrived counts a started arrival, and whether it was late and why.
func (s *Shard) Arrived(a Arrival) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.active.arrived(a)
}

// Dropped counts n arrivals that were due and never started.
func (s *Shard) Dropped(n int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.active.dropped += n
}

// Request counts one request; sm.Step must lie in the layout.
func (s *Shard) Request(sm Sample) {
	slot := s.rec.slots[sm.Step]
	s.mu.Lock()
	defer s.mu.Unlock()
	s.active.request(slot, &sm)
}

// Iteration counts an iteration that has ended; it.Step must lie in the layout.
func (s *Shard) Iteration(it Iteration) {
	scenario := s.rec.scene[it.Step]
	s.mu.Lock()
	defer s.mu.Unlock()
	s.active.scenarios[scenario].ended(it)
}

// Retried counts n attempts of a step of the layout that failed and that a
// retry repaired. Each is also a Request, marked Partial.
func (s *Shard) Retried(step int, n int64) {
	slot := s.rec.slots[step]
	s.mu.Lock()
	defer s.mu.Unlock()
	s.active.steps[slot].retried += n
}

// Reconnected counts n connections opened because an established one broke.
func (s *Shard) Reconnected(n int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.active.reconnects += n
}
