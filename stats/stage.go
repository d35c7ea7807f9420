package stats

import (
	"slices"
	"time"

	"volley/plan"
)

// maxStages is how many stages are counted apart; the last takes the rest.
const maxStages = 200

// Stage is a segment of the load curve that is counted apart.
type Stage struct {
	From, To time.Duration // since the run's start
	// FromRate and ToRate are the targets at its ends: arrivals a second, or
	// workers with load.unit workers. Of several nodes they add up.
	FromRate, ToRate float64
}

// StageStats is one stage's part of a Summary: arrivals and requests that fell
// due in it.
type StageStats struct {
	Stage
	Target                 float64 // arrivals asked for
	Started, Late, Dropped int64
	Requests, Errors       int64
	Latency                Histogram
}

// StagesOf lists the segments of a plan with model stages, none for others. A
// stage of no duration only changes where the next one begins; the time after
// the last stage is one more.
func StagesOf(p *plan.Plan) []Stage {
	if p.Load.Model != "stages" {
		return nil
	}
	var out []Stage
	at, rate := time.Duration(0), p.Load.From
	add := func(length time.Duration, to float64) {
		if length > 0 {
			out = append(out, Stage{From: at, To: at + length, FromRate: rate, ToRate: to})
		}
		at, rate = at+length, to
	}
	for _, st := range p.Load.Stages {
		add(st.Duration, st.Target)
	}
	add(p.Config.Duration-at, rate)
	if len(out) > maxStages {
		last := out[len(out)-1]
		out = out[:maxStages]
		out[maxStages-1].To, out[maxStages-1].ToRate = last.To, last.ToRate
	}
	return out
}

func newStages(stages []Stage) []StageStats {
	var out []StageStats
	for _, st := range stages[:min(len(stages), maxStages)] {
		out = append(out, StageStats{Stage: st})
	}
	return out
}

// stageAt is the index of the stage in which t lies; before the first it is
// that, and after the last that. There must be one.
func stageAt(stages []Stage, t time.Duration) int {
	at, _ := slices.BinarySearchFunc(stages, t, func(st Stage, t time.Duration) int {
		if st.To <= t {
			return -1
		}
		return 1
	})
	return min(at, len(stages)-1)
}

func (st *StageStats) counters() []*int64 {
	return []*int64{&st.Started, &st.Late, &st.Dropped, &st.Requests, &st.Errors}
}

func (st *StageStats) add(o *StageStats) {
	st.Target += o.Target
	addCounters(st.counters(), o.counters())
	st.Latency.Merge(&o.Latency)
}

// addStages merges another node's stages; both ran the same plan.
func (out *Summary) addStages(from []StageStats) {
	for i := range from {
		if i == len(out.Stages) {
			out.Stages = append(out.Stages, StageStats{Stage: Stage{From: from[i].From, To: from[i].To}})
		}
		out.Stages[i].FromRate += from[i].FromRate
		out.Stages[i].ToRate += from[i].ToRate
		out.Stages[i].add(&from[i])
	}
}

// setStages fills in what the curve asks for in all of each stage, of what part
// of the load is the node's by now.
func (s *Summary) setStages(l *Layout) {
	for i := range s.Stages {
		st := &s.Stages[i]
		if l.Part != nil {
			st.FromRate, st.ToRate = l.Stages[i].FromRate*l.Part(st.From), l.Stages[i].ToRate*l.Part(st.To-1)
		}
		if l.Asked != nil {
			st.Target = max(l.Asked(st.To)-l.Asked(st.From), 0)
		}
	}
}

// AskStages says of stages that have not ended at t only what has been asked for
// in them so far: what a node does not live to send is another's to answer for.
func (s *Summary) AskStages(asked func(time.Duration) float64, t time.Duration) {
	if s.Closed {
		return
	}
	for i := range s.Stages {
		st := &s.Stages[i]
		st.Target = max(asked(min(st.To, t))-asked(min(st.From, t)), 0)
	}
}
