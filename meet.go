package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"
	"time"

	"volley/loadgen"
	"volley/meeting"
	"volley/node"
	"volley/plan"
	"volley/sources"
	"volley/stats"
)

const (
	// missedBy: an instant that is no further ahead cannot be kept.
	missedBy = 250 * time.Millisecond
	// entersIn is the time that a task takes to come in late: all is prepared, but
	// for its place on the curve.
	entersIn = time.Second
)

// came is how a task has come to its run.
type came struct {
	runID  string
	start  meeting.Start
	enters time.Duration // since the start; 0 with the others
	shares []stats.ShareResult
}

func (t *jobTask) come(in came) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.came = in
}

// cameTo is how it has come to that run; false if it has not met others for it.
func (t *jobTask) cameTo(runID string) (came, bool) {
	if t == nil {
		return came{}, false
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.came, t.came.runID == runID
}

// tell makes of this task's figures those of one of many: all begin at one
// instant of the bucket's clock. It returns who sends what, if that has changed.
func (in came) tell(merged *stats.Summary, nodes []stats.NodeResult) []stats.ShareResult {
	merged.StartedAt = in.start.At
	for i := range nodes {
		nodes[i].ClockOffsetMs = float64(in.start.Offset.Microseconds()) / 1000
		nodes[i].ClockBoundMs = float64(in.start.Bound.Microseconds()) / 1000
	}
	return in.shares
}

// checkRendezvous opens the way to where the tasks of a job meet.
func (a *app) checkRendezvous() error {
	if a.set.Job.Rendezvous == "" {
		return nil
	}
	return a.openUploads("RENDEZVOUS", a.set.Job.Rendezvous)
}

// newMeeting is nil where each task starts when it is ready.
func (a *app) newMeeting() (*meeting.Meeting, error) {
	j := a.set.Job
	if j.Rendezvous == "" {
		return nil, nil
	}
	place, err := sources.ParsePlace(j.Rendezvous)
	if err != nil {
		return nil, fmt.Errorf("RENDEZVOUS %w", err)
	}
	return meeting.New(meeting.Options{
		Board: a.store, Place: place, Execution: j.Execution, Index: *j.Index, Count: *j.Count, Attempt: j.Attempt,
		Timeout: j.RendezvousTimeout, Most: stats.MaxResult, Log: a.log,
		Now: func() time.Time { return time.Now().Add(a.set.ClockShift) },
	}), nil
}

// meet waits for the other tasks, and says when this one starts, or why it does not.
func (a *app) meet(ctx context.Context, run node.Run, c node.Config) (start time.Time, instead *node.Ending) {
	t := a.runner.task
	met, err := t.meeting.Meet(ctx, c.Version)
	if ctx.Err() != nil {
		return time.Time{}, nil
	}
	p, _, parsed := plan.Parse(c.Document)
	switch err = errors.Join(err, parsed); {
	case errors.Is(err, meeting.ErrLost):
		return time.Time{}, a.lose(run, c, p, met, err.Error())
	case err != nil:
		return time.Time{}, a.insteadOf(err)
	}
	in := came{runID: run.ID, start: met}
	if time.Until(met.Local) < missedBy {
		in.enters = time.Since(met.Local) + entersIn
		if in.enters >= run.Duration {
			return time.Time{}, a.lose(run, c, p, met, fmt.Sprintf("it has come %s after the start, when the load was over: its share is lost", time.Since(met.Local).Round(time.Second)))
		}
		missed := a.missed(run, c, p, in.enters)
		in.shares = a.sharesOfTasks(run, p, in.enters, a.self.NodeID+" has come late", true, missed)
		a.log.Warn(fmt.Sprintf("this task has come late: it sends its share of the load from %s after the start on; %d arrivals before are sent by nobody", in.enters.Round(time.Millisecond), missed),
			"event", "job_late", "run_id", run.ID, "at_s", in.enters.Seconds(), "unsent", missed)
	}
	t.come(in)
	a.log.Info("all tasks of the job start at one instant", "event", "job_met", "run_id", run.ID, "start_at", met.At.UTC().Format(time.RFC3339Nano),
		"clock_offset_ms", float64(met.Offset.Microseconds())/1000, "clock_bound_ms", float64(met.Bound.Microseconds())/1000)
	return met.Local, nil
}

// insteadOf is how a task ends that does not start.
func (a *app) insteadOf(err error) *node.Ending {
	out := &node.Ending{ExitCode: node.ExitFailure, Reason: err.Error(), Exit: true}
	var done *meeting.Done
	switch {
	case errors.As(err, &done):
		result, unread := stats.ReadResult(bytes.NewReader(done.Result))
		if unread != nil {
			out.Reason += ", which cannot be read: " + unread.Error()
			return out
		}
		out.ExitCode = a.verdictOf(result)
	case errors.Is(err, meeting.ErrNoStart):
		out.ExitCode = node.ExitCluster
	case sources.Permanent(err):
		out.ExitCode, out.Reason = node.ExitInvalid, "RENDEZVOUS: "+out.Reason
	}
	return out
}

// verdictOf is the exit code with which the process has ended that the result is of.
func (a *app) verdictOf(r *stats.Result) int {
	switch {
	case r.Stopped != nil && (r.Stopped.Cause == "stop" || r.Stopped.Cause == "signal"):
		return node.ExitStopped
	case r.Stopped != nil && r.Stopped.Cause == "memory", slices.ContainsFunc(r.Nodes, func(n stats.NodeResult) bool { return !n.Complete }):
		return node.ExitFailure
	case *a.set.Job.Count == 1 && !stats.Held(r.Thresholds):
		return node.ExitFailed
	}
	return node.ExitOK
}

// lose leaves a result that says that the task's share is lost, unless there is
// one, so that the report of all tasks does.
func (a *app) lose(run node.Run, c node.Config, p *plan.Plan, met meeting.Start, reason string) *node.Ending {
	ending := &node.Ending{ExitCode: node.ExitFailure, Reason: reason, Exit: true}
	unsent := a.missed(run, c, p, math.MaxInt64)
	s := &stats.Summary{
		RunID: run.ID, NodeID: a.self.NodeID, Region: a.self.Region, ConfigVersion: c.Version, StartedAt: met.At, Planned: p.Config.Duration, Warmup: p.Config.Warmup,
		Target: float64(unsent), Closed: p.Load.Closed(), Ended: true,
		NoHistograms: a.runner.recording.Off, SamplePct: int64(a.runner.recording.SamplePct),
	}
	if !s.Closed && p.Load.Unit == "requests" {
		s.Unit = p.Load.Unit
	}
	result, err := stats.NewResult(s, stats.ScopeNode, []stats.NodeResult{{NodeID: a.self.NodeID, Reason: reason}})
	if err == nil {
		result.Tasks = a.runner.task.count()
		result.Plan, result.Shares = p.Metadata.Name, a.sharesOfTasks(run, p, p.Config.Duration, a.self.NodeID+" is lost", false, unsent)
		result.Thresholds = stats.NewJudge(p.Thresholds).Result(s)
		var body []byte
		if body, err = encode(result); err == nil {
			a.uploads.begin(run.ID, []*part{{to: a.runner.task.meeting.Result(), owed: true, content: sources.Content{Type: "application/json", Body: body, New: true}}})
		}
	}
	if err != nil {
		a.log.Error("cannot report that the share is lost: "+err.Error(), "event", "report_failed", "run_id", run.ID)
	}
	return ending
}

// missed is how many arrivals of this task's share are due before an instant.
func (a *app) missed(run node.Run, c node.Config, p *plan.Plan, at time.Duration) int64 {
	return loadgen.Missed(a.runner.jobOf(p, run.ID, c, run.Seed), p, at)
}

// sharesOfTasks are two rows: who sends the load, and who from an instant on.
func (a *app) sharesOfTasks(run node.Run, p *plan.Plan, at time.Duration, cause string, stays bool, unsent int64) []stats.ShareResult {
	count, whole := *a.set.Job.Count, 1.0
	if run.Divided {
		whole = 1 / float64(count)
	}
	all := stats.ShareResult{}
	after := stats.ShareResult{AtS: at.Seconds(), FromArrival: loadgen.Arrivals(p, run.Seed, at), Cause: cause, Unsent: unsent}
	own := fmt.Sprint("-", *a.set.Job.Index)
	for i := range count {
		share := stats.NodeShare{NodeID: fmt.Sprint(strings.TrimSuffix(a.self.NodeID, own), "-", i), Share: whole}
		all.Nodes = append(all.Nodes, share)
		if stays || i != *a.set.Job.Index {
			after.Nodes = append(after.Nodes, share)
		}
	}
	return []stats.ShareResult{all, after}
}

// land leaves a task's result where the tasks have met. Without it the report of
// all would lack its share, so that it fails makes the task fail.
func (r *results) land(runID string, body []byte) {
	if r.task == nil || r.task.meeting == nil {
		return
	}
	r.uploads.begin(runID, []*part{{to: r.task.meeting.Result(), owed: true, content: sources.Content{Type: "application/json", Body: body}}})
}
