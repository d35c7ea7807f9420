package stats

import (
	"fmt"
	"strings"
)

// Merge adds up the summaries of one run's nodes, exactly; they are left as
// they are. Steps and scenarios are matched by name. It is an error if there
// is none or if two differ in config version. What identifies a node stays
// only if all agree on it.
func Merge(summaries ...*Summary) (*Summary, error) {
	if len(summaries) == 0 {
		return nil, fmt.Errorf("merge summaries: there is none")
	}
	out := summaries[0].Clone()
	out.Failure = summaries[0].namedFailure()
	for _, s := range summaries[1:] {
		if s.ConfigVersion != out.ConfigVersion {
			return nil, fmt.Errorf("merge summaries: node %q ran config version %q, node %q ran %q",
				summaries[0].NodeID, out.ConfigVersion, s.NodeID, s.ConfigVersion)
		}
		out.add(s)
	}
	return out, nil
}

// add merges s into out, config versions being equal.
func (out *Summary) add(s *Summary) {
	out.Slowest = mergeSlowest(ofNode(out.Slowest, out.NodeID), ofNode(s.Slowest, s.NodeID))
	out.agree(s)
	out.addTimes(s)
	addCounters(out.counters(), s.counters())
	mergeHistograms(out.histograms(), s.histograms())
	out.keepExamples(&s.ErrorExamples)
	out.addSteps(s.Steps)
	out.addScenarios(s.Scenarios)
	out.addStages(s.Stages)
	out.Series.add(&s.Series)
	out.addParts(s.Parts)
	out.Generator.worsen(s.Generator)
}

// agree keeps of the identification what both have in common.
func (out *Summary) agree(s *Summary) {
	keep := func(mine *string, other string) {
		if *mine != other {
			*mine = ""
		}
	}
	keep(&out.RunID, s.RunID)
	keep(&out.NodeID, s.NodeID)
	keep(&out.Region, s.Region)
	keep(&out.Tenant, s.Tenant)
	keep(&out.Unit, s.Unit)
	if out.SavingSince == 0 || s.SavingSince > 0 && s.SavingSince < out.SavingSince {
		out.SavingSince = s.SavingSince
	}
	out.NoHistograms = out.NoHistograms || s.NoHistograms
	least, most := min(out.share(), s.share()), max(out.most(), s.most())
	out.SamplePct, out.SampleMost = least%100, 0 // 0 is all
	if most > least {
		out.SampleMost = most
	}
	out.FoldedLabels = max(out.FoldedLabels, s.FoldedLabels) // of the same plan: the same ones
	out.RowsSkipped = max(out.RowsSkipped, s.RowsSkipped)    // of the same files: who came late knows as many
	if out.Pool != s.Pool {
		out.Pool = Pool{}
	}
	if out.StoppedBy != s.StoppedBy {
		out.StoppedBy, out.StoppedAfter = "", 0 // then only some have ended early, and their lines say so
	}
	out.StoppedAfter = max(out.StoppedAfter, s.StoppedAfter)
	if out.StoppedBy == "" {
		out.StoppedAfter = 0
	}
	out.OwnClient, out.StdClient = out.OwnClient || s.OwnClient, out.StdClient || s.StdClient
	out.Ended = out.Ended && s.Ended
	out.Closed = out.Closed && s.Closed
	out.Target += s.Target
	if f := s.namedFailure(); f != "" {
		out.Failure = strings.TrimPrefix(out.Failure+"; "+f, "; ")
	}
}

func (s *Summary) namedFailure() string {
	if s.Failure == "" || s.NodeID == "" {
		return s.Failure
	}
	return s.NodeID + ": " + s.Failure
}

// addTimes keeps the earliest start, the arrival first due and the longest
// durations.
func (out *Summary) addTimes(s *Summary) {
	start := out.StartedAt
	if start.IsZero() || !s.StartedAt.IsZero() && s.StartedAt.Before(start) {
		start = s.StartedAt
	}
	// First arrivals are counted from StartedAt, which may just have moved.
	mine, others := out.StartedAt.Sub(start), s.StartedAt.Sub(start)
	out.FirstDue += mine
	out.FirstSent += mine
	if s.Sent {
		out.firstArrival(s.FirstDue+others, s.FirstSent+others)
	}
	if !out.Sent {
		out.FirstDue, out.FirstSent = 0, 0
	}
	out.StartedAt = start
	out.Elapsed = max(out.Elapsed, s.Elapsed)
	out.Planned = max(out.Planned, s.Planned)
	out.Warmup = max(out.Warmup, s.Warmup)
}

func (out *Summary) addSteps(from []StepStats) {
	known := make(map[StepKey]int, len(out.Steps))
	for i := range out.Steps {
		known[out.Steps[i].StepKey] = i
	}
	for i := range from {
		at, ok := known[from[i].StepKey]
		if !ok {
			at = len(out.Steps)
			known[from[i].StepKey] = at
			out.Steps = append(out.Steps, StepStats{StepKey: from[i].StepKey})
		}
		out.Steps[at].add(&from[i])
	}
}

func (out *Summary) addScenarios(from []ScenarioStats) {
	known := make(map[string]int, len(out.Scenarios))
	for i := range out.Scenarios {
		known[out.Scenarios[i].Name] = i
	}
	for i := range from {
		at, ok := known[from[i].Name]
		if !ok {
			at = len(out.Scenarios)
			known[from[i].Name] = at
			out.Scenarios = append(out.Scenarios, ScenarioStats{Name: from[i].Name})
		}
		to := &out.Scenarios[at]
		addCounters(to.counters(), from[i].counters())
		mergeHistograms(to.histograms(), from[i].histograms())
	}
}

func (st *StepStats) add(o *StepStats) {
	addCounters(st.counters(), o.counters())
	mergeHistograms(st.histograms(), o.histograms())
	for code, n := range o.StatusCodes {
		st.countStatus(code, n)
	}
}

func (g *Generator) worsen(o Generator) {
	g.CPUPct = max(g.CPUPct, o.CPUPct)
	g.ThrottledPct = max(g.ThrottledPct, o.ThrottledPct)
	g.ThrottledPeriods = max(g.ThrottledPeriods, o.ThrottledPeriods)
	g.GCPauseP99 = max(g.GCPauseP99, o.GCPauseP99)
	g.WakeupP99 = max(g.WakeupP99, o.WakeupP99)
	g.ClockJump = max(g.ClockJump, o.ClockJump)
	g.ScheduleLagP50 = max(g.ScheduleLagP50, o.ScheduleLagP50)
	g.ScheduleLagP99 = max(g.ScheduleLagP99, o.ScheduleLagP99)
}

func addCounters(to, from []*int64) {
	for i := range to {
		*to[i] += *from[i]
	}
}

func mergeHistograms(to, from []*Histogram) {
	for i := range to {
		to[i].Merge(from[i])
	}
}
