package main

import (
	"bytes"
	"context"
	"fmt"
	"maps"
	"os"
	"path/filepath"
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
	self      node.Member
	file      string // RESULT_FILE
	leads     func() bool
	abortedBy func(runID string) string
	// offset is the leader's clock minus this node's.
	offset func() time.Duration
	// thresholds judges those of a run's plan by the merged summary.
	thresholds func(runID string, alone bool, document []byte, merged *stats.Summary) ([]stats.ThresholdResult, error)

	// newest is the summary of this node's newest run, nil before the first.
	newest func() *stats.Summary
	// soFar are the thresholds of a run that is going on; nil in a cluster, where
	// they are judged on what all nodes have reported.
	soFar func(*stats.Summary) []stats.ThresholdResult
	// interval is this node's view of the end of a run, nil if it has none.
	interval func(runID string) *stats.IntervalResult

	mu      sync.Mutex
	cluster kept // the last run that this node has judged
	own     kept // this node's part of its last run
}

// kept is the result of a run as JSON.
type kept struct {
	runID string
	body  []byte
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
	if !stats.Held(result.Thresholds) {
		code = node.ExitFailed
	}
	if !anyWorked(o.Reports) {
		r.log.Error("no node's load engine has finished its part", "event", "run_failed", "run_id", o.Run.ID)
		code = node.ExitFailure
	}
	body, err := encode(result)
	if err == nil {
		r.mu.Lock()
		r.cluster = kept{o.Run.ID, body}
		r.mu.Unlock()
		// Without a leader each node has a result of its own: not all in one file.
		if !o.Alone || strings.Contains(r.file, "{node_id}") {
			err = r.write(o.Run.ID, r.self.NodeID, body)
		}
	}
	if err != nil {
		r.log.Error("cannot write the result: "+err.Error(), "event", "report_failed", "run_id", o.Run.ID)
		return node.ExitFailure
	}
	return code
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
	return slices.ContainsFunc(reports, func(rep node.Report) bool { return rep.Failure == "" && len(rep.Summary) > 0 })
}

// result is the merged result of a run with its thresholds judged.
func (r *results) result(o node.Outcome) (*stats.Result, error) {
	merged, nodes, err := merge(o)
	if err != nil {
		return nil, err
	}
	scope := stats.ScopeCluster
	if len(nodes) == 1 {
		scope = stats.ScopeNode
	}
	result, err := stats.NewResult(merged, scope, nodes)
	if err != nil {
		return nil, err
	}
	result.Plan = planName(o.Config.Document)
	if scope == stats.ScopeNode {
		result.LastInterval = r.interval(o.Run.ID)
	}
	result.Thresholds, err = r.thresholds(o.Run.ID, len(o.Run.Participants) == 1, o.Config.Document, merged)
	for _, t := range result.Thresholds {
		if !t.OK && t.Expr != r.abortedBy(o.Run.ID) { // that one has been told
			var value any // none if no sample has one
			if t.Value != nil {
				value = *t.Value
			}
			r.log.Error("threshold failed: "+t.Expr, "event", "threshold_failed", "run_id", o.Run.ID, "value", value)
		}
	}
	return result, err
}

// merge makes one summary of the reports of a run, and a line for each node. A
// node whose report is not final, or missing, is marked incomplete.
func merge(o node.Outcome) (*stats.Summary, []stats.NodeResult, error) {
	var summaries []*stats.Summary
	var nodes []stats.NodeResult
	lost := map[string]bool{}
	for _, m := range o.Lost {
		lost[m.ServerID] = true
	}
	for _, rep := range o.Reports {
		line := stats.NodeResult{NodeID: rep.Of.NodeID, Reason: rep.Failure}
		if len(rep.Summary) > 0 {
			s, err := stats.Decode(rep.Summary)
			if err == nil {
				summaries = append(summaries, s)
				line = s.Node(o.Members[rep.Of.ServerID].Health.ClockOffset)
			} else { // the others' figures are no worse for it
				line.Complete, line.Reason = false, "its summary cannot be read: "+err.Error()
			}
		}
		if rep.Failure != "" {
			line.Complete, line.Reason = false, rep.Failure
		}
		if rep.Left {
			line.Complete, line.Reason = false, "it left before the end"
		}
		nodes = append(nodes, line)
		delete(lost, rep.Of.ServerID)
	}
	for _, m := range o.Lost {
		if lost[m.ServerID] {
			nodes = append(nodes, stats.NodeResult{NodeID: m.NodeID, Reason: "it was lost and has reported nothing"})
		}
	}
	slices.SortFunc(nodes, func(a, b stats.NodeResult) int { return strings.Compare(a.NodeID, b.NodeID) })
	if len(summaries) == 0 {
		summaries = append(summaries, &stats.Summary{RunID: o.Run.ID, ConfigVersion: o.Config.Version, StartedAt: o.Run.Start(), Planned: o.Run.Duration})
	}
	merged, err := stats.Merge(summaries...)
	return merged, nodes, err
}

// keepOwn is given this node's part of a run when it has ended.
func (r *results) keepOwn(run node.Run, rep node.Report) {
	if len(rep.Summary) == 0 {
		return
	}
	s, err := stats.Decode(rep.Summary)
	if err != nil {
		r.log.Error("cannot read this node's own summary: "+err.Error(), "event", "report_failed", "run_id", run.ID)
		return
	}
	line := s.Node(r.offset())
	switch {
	case rep.Left:
		line.Complete, line.Reason = false, "it left before the end"
	case rep.Failure != "":
		line.Complete, line.Reason = false, rep.Failure
	}
	result, err := stats.NewResult(s, stats.ScopeNode, []stats.NodeResult{line})
	if err != nil {
		r.log.Error("cannot report this node's part: "+err.Error(), "event", "report_failed", "run_id", run.ID)
		return
	}
	result.LastInterval = r.interval(run.ID)
	body, err := encode(result)
	if err != nil {
		r.log.Error(err.Error(), "event", "report_failed", "run_id", run.ID)
		return
	}
	r.mu.Lock()
	r.own = kept{run.ID, body}
	r.mu.Unlock()
	if rep.Left && len(run.Participants) > 1 {
		r.publish(result)
	}
	// The leader's file is for the cluster's result, unless it goes and does not judge.
	own := len(run.Participants) > 1 && (rep.Left || !r.leads())
	if own && strings.Contains(r.file, "{node_id}") {
		if err := r.write(run.ID, r.self.NodeID, body); err != nil {
			r.log.Error("cannot write the result: "+err.Error(), "event", "report_failed", "run_id", run.ID)
		}
	}
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

// writable says, before a load is sent, whether RESULT_FILE can be written
// afterwards; the folder may depend on the run, then only the run can tell.
func writable(file string) error {
	dir := filepath.Dir(file)
	if file == "" || strings.Contains(dir, "{") {
		return nil
	}
	tmp, err := os.CreateTemp(dir, ".result-*")
	if err != nil {
		return fmt.Errorf("RESULT_FILE %q cannot be written: %w (a file in a folder that exists and may be written to)", file, err)
	}
	tmp.Close()
	return os.Remove(tmp.Name())
}

// write puts the result where RESULT_FILE says, whole or not at all.
func (r *results) write(runID, nodeID string, body []byte) error {
	if r.file == "" {
		return nil
	}
	path := strings.NewReplacer("{run_id}", runID, "{node_id}", nodeID).Replace(r.file)
	tmp, err := os.CreateTemp(filepath.Dir(path), ".result-*")
	if err != nil {
		return fmt.Errorf("RESULT_FILE %s: %w", path, err)
	}
	defer os.Remove(tmp.Name()) // fails once it is renamed
	if _, err := tmp.Write(body); err != nil {
		tmp.Close()
		return fmt.Errorf("RESULT_FILE %s: %w", path, err)
	}
	if err := tmp.Close(); err != nil {
		return fmt.Errorf("RESULT_FILE %s: %w", path, err)
	}
	return os.Rename(tmp.Name(), path)
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
	if newest == nil || newest.RunID == own.runID {
		return own.body, nil
	}
	line := newest.Node(0)
	if !newest.Ended {
		line.Reason = "the run is going on"
	}
	result, err := stats.NewResult(newest, stats.ScopeNode, []stats.NodeResult{line})
	if err != nil {
		return nil, err
	}
	if r.soFar != nil {
		result.Thresholds = append(result.Thresholds, r.soFar(newest)...)
	}
	return encode(result)
}
