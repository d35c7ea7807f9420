package stats

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"volley/plan"
)

// MergeResults adds up results of one config: counts and every percentile are
// those of one run that saw all their samples. Results of one run are its nodes':
// their rates add up. Those of several runs are taken for one after the other:
// their durations add up, so that rates are the mean of theirs, and there is no
// series, as they have no time in common. The thresholds are judged on what comes
// out. One over last DURATION that is of several runs has failed if it failed in
// any of them; one that needs more than the series has not held if a result of the
// run tells nothing of its course (see Courses). A single result keeps its verdicts. It is an error if there is none, if two differ in
// config version, if a node of a run is in two of them, or if one contradicts
// itself.
func MergeResults(results ...*Result) (*Result, error) {
	if err := mergeable(results); err != nil {
		return nil, err
	}
	var runs []*mergedRun
	for _, parts := range ByRun(results) {
		run, err := mergeRun(parts)
		if err != nil {
			return nil, err
		}
		runs = append(runs, run)
	}
	switch len(runs) {
	case 0:
		return nil, fmt.Errorf("merge results: there is none")
	case 1:
		return runs[0].result()
	}
	all, err := mergeRepeated(runs)
	if err != nil {
		return nil, err
	}
	return all.result()
}

// ByRun groups results by the run that they are of, in their order.
func ByRun(results []*Result) (groups [][]*Result) {
	at := map[string]int{}
	for _, r := range results {
		i, known := at[r.Name()]
		if !known {
			i = len(groups)
			at[r.Name()], groups = i, append(groups, nil)
		}
		groups[i] = append(groups[i], r)
	}
	return groups
}

// Name is the id of the run that the result is of, or of all of them.
func (r *Result) Name() string {
	if len(r.Runs) > 0 {
		return strings.Join(r.Runs, ", ")
	}
	return r.RunID
}

func mergeable(results []*Result) error {
	seen := map[[2]string]bool{}
	for _, r := range results {
		if first := results[0]; r.ConfigVersion != first.ConfigVersion {
			return fmt.Errorf("merge results: run %q is of config version %q, run %q of %q",
				first.Name(), first.ConfigVersion, r.Name(), r.ConfigVersion)
		}
		for _, n := range r.Nodes {
			run := cmp.Or(n.RunID, r.RunID)
			if key := [2]string{run, n.NodeID}; seen[key] {
				return fmt.Errorf("merge results: node %q of run %q is in two of them", n.NodeID, run)
			} else {
				seen[key] = true
			}
		}
	}
	return nil
}

// mergedRun is what the results of a run's nodes have come to, or of several runs.
type mergedRun struct {
	ids        []string
	plan       string // its name
	summary    *Summary
	nodes      []NodeResult
	thresholds []ThresholdResult
	shares     []ShareResult // of a single run
	apart      int           // nodes that have started each by itself
	tasks      int           // of the job that a single run is
	part       bool          // the thresholds of the run were judged elsewhere
	last       *IntervalResult
}

func mergeRun(parts []*Result) (*mergedRun, error) {
	m := &mergedRun{ids: parts[0].Runs, plan: parts[0].Plan}
	if len(m.ids) == 0 {
		m.ids = []string{parts[0].RunID}
	}
	var summaries []*Summary
	for _, r := range parts {
		s, err := r.summary()
		if err != nil {
			return nil, fmt.Errorf("merge results: run %q: %w", r.Name(), err)
		}
		summaries, m.nodes = append(summaries, s), append(m.nodes, r.Nodes...)
	}
	var err error
	if m.summary, err = Merge(summaries...); err != nil {
		return nil, err
	}
	m.summary.Parts = slices.DeleteFunc(m.summary.Parts, func(p Part) bool { return !toldByAll(p.partKey, parts) })
	for _, r := range parts {
		m.tasks, m.part = max(m.tasks, r.Tasks), m.part || r.Part
	}
	m.thresholds, m.shares, m.apart = parts[0].Thresholds, mergeShares(parts), startedAlone(parts)
	if len(parts) == 1 {
		m.last = parts[0].LastInterval // of several it would be that of one node
	} else {
		var before []ThresholdResult
		for _, r := range parts {
			before = append(before, r.Thresholds...)
		}
		m.thresholds = judgeAgain(m.summary, before, func(c *plan.Condition) bool { return replayable(c) || m.summary.seriesFor(c) != nil }, unjudged)
	}
	return m, nil
}

// mergeShares are the rows of a run's results: that of the start is the same in
// all of them, those that follow tell each of its own node.
func mergeShares(parts []*Result) (rows []ShareResult) {
	for _, r := range parts {
		switch {
		case len(r.Shares) == 0:
		case rows == nil:
			rows = slices.Clone(r.Shares)
		default:
			rows = append(rows, r.Shares[1:]...)
		}
	}
	slices.SortStableFunc(rows, func(a, b ShareResult) int { return cmp.Compare(a.AtS, b.AtS) })
	return rows
}

// mergeRepeated adds up runs, one after the other.
func mergeRepeated(runs []*mergedRun) (*mergedRun, error) {
	all := &mergedRun{plan: runs[0].plan}
	var summaries []*Summary
	var before []ThresholdResult
	for _, run := range runs {
		all.ids, summaries, before = append(all.ids, run.ids...), append(summaries, run.summary), append(before, run.thresholds...)
		for _, n := range run.nodes {
			n.RunID = cmp.Or(n.RunID, run.summary.RunID)
			all.nodes = append(all.nodes, n)
		}
	}
	s, err := Merge(summaries...)
	if err != nil {
		return nil, err
	}
	s.Planned, s.Warmup, s.Elapsed, s.Series, s.Parts = 0, 0, 0, Series{}, nil
	for _, run := range summaries {
		s.Planned, s.Warmup, s.Elapsed = s.Planned+run.Planned, s.Warmup+run.Warmup, s.Elapsed+run.Elapsed
	}
	for i := range min(len(s.Stages), len(summaries[0].Stages)) {
		s.Stages[i].Stage = summaries[0].Stages[i].Stage // each run had the same curve
	}
	all.summary = s
	all.thresholds = judgeAgain(s, before, func(c *plan.Condition) bool { return c.Last == 0 }, orBefore)
	return all, nil
}

func (m *mergedRun) result() (*Result, error) {
	scope := ScopeCluster
	if len(m.nodes) == 1 {
		scope = ScopeNode
	}
	out, err := NewResult(m.summary, scope, m.nodes)
	if err != nil {
		return nil, err
	}
	out.Tasks, out.Part, out.LastInterval = m.tasks, m.part, m.last
	if out.apart = m.apart; m.apart > 0 {
		out.StartSpreadMs, out.StartSpreadBoundMs = nil, 0 // each one's skew is from a start of its own
	}
	out.Plan, out.Thresholds, out.Shares = m.plan, m.thresholds, m.shares
	if len(m.ids) > 1 {
		out.Runs = m.ids
	}
	return out, nil
}

// judgeAgain judges the thresholds of the rows before on what these have been
// merged to, where that can be done.
func judgeAgain(merged *Summary, before []ThresholdResult, can func(*plan.Condition) bool, otherwise func(expr string, before []ThresholdResult) ThresholdResult) []ThresholdResult {
	var thresholds []plan.Threshold
	known := map[string]bool{}
	for _, t := range before {
		if !known[t.Expr] {
			known[t.Expr] = true
			thresholds = append(thresholds, plan.Threshold{Expr: t.Expr})
		}
	}
	rows := NewJudge(thresholds).Result(merged)
	for i := range rows {
		if c, _ := plan.ParseCondition(rows[i].Expr); !can(&c) {
			rows[i] = otherwise(rows[i].Expr, before)
		}
	}
	return rows
}

// unjudged is a threshold that nobody can judge: that has not held. What one node
// says of its part tells nothing about all of them.
func unjudged(expr string, _ []ThresholdResult) ThresholdResult { return ThresholdResult{Expr: expr} }

// orBefore is the first of the rows before for this threshold that failed, else
// the first.
func orBefore(expr string, before []ThresholdResult) ThresholdResult {
	of := func(b ThresholdResult) bool { return b.Expr == expr }
	if at := slices.IndexFunc(before, func(b ThresholdResult) bool { return of(b) && !b.OK }); at >= 0 {
		return before[at]
	}
	return before[slices.IndexFunc(before, of)]
}
