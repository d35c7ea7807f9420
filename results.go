package main

import (
	"bytes"
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"volley/node"
	"volley/plan"
	"volley/stats"
)

// results makes results of summaries and keeps the last of them.
type results struct {
	logging
	self    node.Member
	file    string   // RESULT_FILE
	uploads *uploads // where file is in a bucket, else nil
	task    *jobTask // nil outside a job
	part    bool     // it is one of several tasks of a job: nobody here knows all that thresholds are about
	leads   func() bool
	// offset is the leader's clock minus this node's, and what it may be wrong by.
	offset func() (offset, bound time.Duration)
	// thresholds judges those of a run's plan by the merged summary.
	thresholds func(runID string, alone bool, document []byte, merged *stats.Summary) ([]stats.ThresholdResult, error)

	// newest is the summary of this node's newest run, nil before the first.
	newest func() *stats.Summary
	// soFar are the thresholds of a run that is going on; nil in a cluster, where
	// they are judged on what all nodes have told.
	soFar func(*stats.Summary) []stats.ThresholdResult
	// interval makes this node's view of the end of a run, nil if it has none.
	interval func(runID string) func() *stats.IntervalResult

	vigils vigils // runs that a threshold may end, or looks at windows of
	whole  whole  // of the newest run, for the leader's metrics

	mu      sync.Mutex
	cluster kept // the last run that this node has judged
	own     ownPart
}

// kept is the result of a run as JSON.
type kept struct {
	runID string
	body  []byte
}

// ownPart is this node's part of its last run; its body, as JSON, is nil before the
// first.
type ownPart struct {
	runID string
	body  func() ([]byte, error)
}

// judge merges what the nodes have reported, writes the report and returns
// the exit code of the verdict.
func (r *results) judge(_ context.Context, o node.Outcome) int {
	result, err := r.result(o)
	if err != nil {
		r.log.Error("cannot merge the summaries: "+err.Error(), "event", "report_failed", "run_id", o.Run.ID)
		return node.ExitFailure
	}
	r.publish(result)
	code := node.ExitOK
	if !r.part && !stats.Held(result.Thresholds) {
		code = node.ExitFailed
	}
	if !anyWorked(o.Reports) {
		r.log.Warn("no node's load engine has finished its part", "event", "run_failed", "run_id", o.Run.ID) // each has told why
		code = node.ExitFailure
	}
	body, err := encode(result)
	if err == nil {
		r.mu.Lock()
		r.cluster = kept{o.Run.ID, body}
		r.mu.Unlock()
		// Without a leader each node has a result of its own: not all in one file.
		if !o.Alone || strings.Contains(r.file, "{node_id}") {
			err = r.write(result, body)
		}
		r.land(o.Run.ID, body)
	}
	if err != nil {
		r.log.Error("cannot write the result: "+err.Error(), "event", "report_failed", "run_id", o.Run.ID)
		return node.ExitFailure
	}
	return code
}

// live is the merged result of a run that is going on, as JSON.
func (r *results) live(o node.Outcome) ([]byte, error) {
	result, err := r.result(o)
	if err != nil {
		return nil, err
	}
	return encode(result)
}

// planName is what the plan calls itself.
func planName(document []byte) string {
	p, _, err := plan.Parse(document)
	if err != nil {
		return ""
	}
	return p.Metadata.Name
}

// anyWorked says whether at least one node's engine has done its part.
func anyWorked(reports []node.Report) bool {
	return slices.ContainsFunc(reports, func(rep node.Report) bool { return rep.Final && rep.Failure == "" && len(rep.Summary) > 0 })
}

// result is the merged result of a run with its thresholds judged.
func (r *results) result(o node.Outcome) (*stats.Result, error) {
	merged, nodes, due, err := merge(o, readAll)
	if err != nil {
		return nil, err
	}
	shares := sharesOf(o, due)
	if in, met := r.task.cameTo(o.Run.ID); met {
		shares = in.tell(merged, nodes)
	}
	for _, row := range shares {
		merged.Target += float64(row.Unsent) // the plan asked for it
	}
	scope := stats.ScopeCluster
	if len(nodes) == 1 {
		scope = stats.ScopeNode
	}
	result, err := stats.NewResult(merged, scope, nodes)
	if err != nil {
		return nil, err
	}
	result.Plan, result.Shares = planName(o.Config.Document), shares
	if r.task != nil {
		result.Tasks = r.task.count()
	}
	if scope == stats.ScopeNode {
		result.LastInterval = r.interval(o.Run.ID)()
	}
	if !o.Alone {
		r.whole.keep(o, merged)
	}
	result.Thresholds, err = r.verdicts(o, merged)
	if o.Going {
		return result, err
	}
	for _, t := range result.Thresholds {
		if !r.part && !t.OK && t.Expr != o.Run.StopDetail { // that one has been told
			r.log.Error("threshold failed: "+t.Expr, "event", "threshold_failed", "run_id", o.Run.ID, "value", figure(t.Value))
		}
	}
	return result, err
}

// reader reads the summary of a report.
type reader func(node.Report) (*stats.Summary, error)

func readAll(rep node.Report) (*stats.Summary, error) { return stats.Decode(rep.Summary) }

// readTotals leaves out the course of the run, most of what there is to read.
func readTotals(rep node.Report) (*stats.Summary, error) { return stats.DecodeTotals(rep.Summary) }

// merge makes one summary of the reports of a run, and a line for each node. A
// node whose report is not final, or missing, is marked incomplete. due is how many
// arrivals each process tells of, by its Life. read is what reads a report's summary.
func merge(o node.Outcome, read reader) (merged *stats.Summary, nodes []stats.NodeResult, due map[string]int64, err error) {
	var summaries, cutOff []*stats.Summary
	due = map[string]int64{}
	lost := map[string]bool{}
	for _, m := range o.Lost {
		lost[m.Life()] = true
	}
	for _, rep := range o.Reports {
		line, stoppedBy := stats.NodeResult{NodeID: rep.Of.NodeID, Reason: rep.Failure}, ""
		if len(rep.Summary) > 0 {
			s, err := read(rep)
			if err == nil {
				if len(o.Run.Participants) > 1 {
					// The same instant on all nodes: their own clocks, by which each
					// names it, would tell them apart.
					s.StartedAt = o.Run.Start()
				}
				summaries = append(summaries, s)
				member := o.Members[rep.Of.ServerID]
				line = s.Node(member.Health.ClockOffset)
				line.ClockBoundMs = float64(member.Health.ClockBound) / float64(time.Millisecond)
				line.Share = shareOf(o.Run, rep.Of.Life())
				due[rep.Of.Life()] += s.Due()
				switch {
				case !rep.Final && o.Going && stillOne(member, rep):
					line.Complete, line.Reason = false, stats.StillGoing
				case !rep.Final:
					line.Complete, line.Reason = false, lastWord(s, rep, member)
					cutOff = append(cutOff, s)
				}
				stoppedBy = s.StoppedBy
			} else { // the others' figures are no worse for it
				line.Complete, line.Reason = false, "its summary cannot be read: "+err.Error()
			}
		}
		if reason := cutShort(rep, stoppedBy); reason != "" {
			line.Complete, line.Reason = false, reason
		}
		nodes = append(nodes, line)
		delete(lost, rep.Of.Life())
	}
	for _, m := range o.Lost {
		if lost[m.Life()] {
			line := stats.NodeResult{NodeID: m.NodeID, Reason: "it was lost and has reported nothing"}
			if o.Going && o.Members[m.ServerID].Alive {
				line.Reason = stats.StillGoing
			}
			nodes = append(nodes, line)
		}
	}
	slices.SortFunc(nodes, func(a, b stats.NodeResult) int { return strings.Compare(a.NodeID, b.NodeID) })
	if !o.Going {
		endWith(cutOff, summaries)
	}
	if len(summaries) == 0 {
		summaries = append(summaries, &stats.Summary{RunID: o.Run.ID, ConfigVersion: o.Config.Version, StartedAt: o.Run.Start(), Planned: o.Run.Duration})
	}
	merged, err = stats.Merge(summaries...)
	return merged, nodes, due, err
}

// cutShort says why a node has not done its part to the end; "" if it has.
func cutShort(rep node.Report, stoppedBy string) string {
	switch {
	case rep.Left:
		return "it left before the end"
	case rep.Failure != "":
		return rep.Failure
	case rep.Final && stoppedBy == node.CauseIsolated:
		return "it had no leader for CLUSTER_ISOLATION_GRACE and ended its part"
	}
	return ""
}

// stillOne says whether the process that sent rep is there, as far as the leader knows.
func stillOne(member node.Standing, rep node.Report) bool {
	now := member.Health.Incarnation
	return member.Alive && (now == "" || now == rep.Incarnation)
}

// lastWord says why a node's figures end before its part does.
func lastWord(s *stats.Summary, rep node.Report, member node.Standing) string {
	switch now := member.Health.Incarnation; {
	case member.Alive && now != "" && now != rep.Incarnation:
		return fmt.Sprintf("it was restarted, and had told of its first %.1f s: its figures end there, those of the process after it are beside them", s.Elapsed.Seconds())
	case member.Alive:
		return fmt.Sprintf("its final report has not come: its figures end %.1f s after the start", s.Elapsed.Seconds())
	}
	return fmt.Sprintf("it was lost %.1f s after the start: its figures end there", s.Elapsed.Seconds())
}

// endWith makes of summaries that were cut off ones that are over, and that have
// ended as the others have: that a node was lost is said in its line, and is not what the run ended by.
func endWith(cutOff, all []*stats.Summary) {
	for _, s := range cutOff {
		for _, other := range all {
			if other.Ended {
				s.StoppedBy, s.StoppedAfter = other.StoppedBy, other.StoppedAfter
				break
			}
		}
	}
	for _, s := range cutOff {
		s.Ended = true
	}
}

// keepOwn is given this node's part of a run when it has ended. Its result is made
// once somebody asks for it: alone, the verdict's tells the same, and the form of
// its histograms takes a while.
func (r *results) keepOwn(run node.Run, rep node.Report) {
	if len(rep.Summary) == 0 {
		return
	}
	off, bound := r.offset()
	interval := r.interval(run.ID)
	made := sync.OnceValues(func() (*stats.Result, error) {
		result, err := r.ownResult(run, rep, off, bound)
		if err == nil {
			result.LastInterval = interval()
		}
		return result, err
	})
	body := sync.OnceValues(func() ([]byte, error) {
		result, err := made()
		if err != nil {
			return nil, err
		}
		return encode(result)
	})
	r.mu.Lock()
	r.own = ownPart{run.ID, body}
	r.mu.Unlock()
	if len(run.Participants) > 1 {
		if err := r.tellOwn(rep.Left, made, body); err != nil {
			r.log.Error(err.Error(), "event", "report_failed", "run_id", run.ID)
		}
	}
}

// ownResult is that of this node's part of a run, whose leader's clock was off from
// its own.
func (r *results) ownResult(run node.Run, rep node.Report, off, bound time.Duration) (*stats.Result, error) {
	s, err := stats.Decode(rep.Summary)
	if err != nil {
		return nil, fmt.Errorf("cannot read this node's own summary: %w", err)
	}
	line := s.Node(off)
	line.ClockBoundMs = float64(bound) / float64(time.Millisecond)
	line.Share = shareOf(run, r.self.Life())
	if reason := cutShort(rep, s.StoppedBy); reason != "" {
		line.Complete, line.Reason = false, reason
	}
	result, err := stats.NewResult(s, stats.ScopeNode, []stats.NodeResult{line})
	if err != nil {
		return nil, fmt.Errorf("cannot report this node's part: %w", err)
	}
	result.Part = len(run.Participants) > 1
	return result, nil
}

// tellOwn shows the result of one that leaves the others, and writes it where each
// has a file of its own. The leader's is for the cluster's result, unless it goes
// and does not judge.
func (r *results) tellOwn(left bool, made func() (*stats.Result, error), body func() ([]byte, error)) error {
	writes := strings.Contains(r.file, "{node_id}") && (left || !r.leads())
	if !left && !writes {
		return nil
	}
	result, err := made()
	if err != nil {
		return err
	}
	if left {
		r.publish(result)
	}
	if !writes {
		return nil
	}
	encoded, err := body()
	if err != nil {
		return err
	}
	if err := r.write(result, encoded); err != nil {
		return fmt.Errorf("cannot write the result: %w", err)
	}
	return nil
}

// publish shows a result to people: as text, or as a line where lines are JSON.
func (r *results) publish(result *stats.Result) {
	if r.text {
		if err := result.WriteText(r.out, r.colour); err != nil {
			r.log.Error("cannot print the report: " + err.Error())
		}
		return
	}
	fields, err := result.Fields()
	if err != nil {
		r.log.Error("cannot log the report: "+err.Error(), "event", "report_failed", "run_id", result.RunID)
		return
	}
	line := []any{"event", "report"}
	for _, name := range slices.Sorted(maps.Keys(fields)) {
		line = append(line, name, fields[name])
	}
	r.log.Info("report: generator "+string(result.Generator.Verdict), line...)
}

func encode(result *stats.Result) ([]byte, error) {
	var b bytes.Buffer
	if err := result.WriteJSON(&b); err != nil {
		return nil, fmt.Errorf("encode result: %w", err)
	}
	return b.Bytes(), nil
}

func (r *results) hasJudged() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.cluster.body != nil
}

// judged is the result of a run that this node has judged last, else nil.
func (r *results) judged(runID string) []byte {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.cluster.runID != runID {
		return nil
	}
	return r.cluster.body
}

// lastOwn is this node's part of its newest run: of one that is going on, or
// has only just ended, as it stands.
func (r *results) lastOwn() ([]byte, error) {
	newest := r.newest()
	r.mu.Lock()
	own := r.own
	r.mu.Unlock()
	switch {
	case own.body != nil && (newest == nil || newest.RunID == own.runID):
		return own.body()
	case newest == nil:
		return nil, nil
	}
	line := newest.Node(0)
	if !newest.Ended {
		line.Reason = stats.StillGoing
	}
	result, err := stats.NewResult(newest, stats.ScopeNode, []stats.NodeResult{line})
	if err != nil {
		return nil, err
	}
	result.Part = r.soFar == nil
	if r.soFar != nil {
		result.Thresholds = append(result.Thresholds, r.soFar(newest)...)
	}
	return encode(result)
}
