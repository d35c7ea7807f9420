package main

import (
	"context"
	"errors"
	"fmt"
	"regexp"
	"strconv"
	"strings"
	"time"

	"volley/control"
	"volley/loadgen"
	"volley/node"
	"volley/plan"
)

// app is what is behind the control API.
var _ control.App = (*app)(nil)

// Submit checks a posted plan completely, with every mistake, and begins a run of it.
func (a *app) Submit(ctx context.Context, yaml []byte) (control.Accepted, error) {
	if a.node.Draining() {
		return control.Accepted{}, control.ErrDraining
	}
	if err := problemsOf(yaml); err != nil {
		return control.Accepted{}, err
	}
	s, err := a.node.Submit(ctx, yaml)
	if err != nil {
		return control.Accepted{}, apiError(err)
	}
	return control.Accepted{RunID: s.RunID, ConfigVersion: s.Version, NodeID: s.NodeID}, nil
}

// problemsOf lists every mistake of a document, and what this version cannot run.
func problemsOf(yaml []byte) error {
	p, _, err := plan.Parse(yaml)
	if err == nil {
		if notes := loadgen.Unsupported(p); len(notes) > 0 {
			err = plan.Locate(yaml, strings.Join(notes, "\n"))
		}
	}
	var mistakes plan.Errors
	if !errors.As(err, &mistakes) {
		return err
	}
	invalid := &control.InvalidPlanError{}
	for _, m := range mistakes {
		invalid.Problems = append(invalid.Problems, control.Problem{Line: m.Line, Column: m.Column, Path: m.Path, Message: m.Message})
	}
	return invalid
}

// problemLine is a mistake as plan.Error prints it.
var problemLine = regexp.MustCompile(`^(\d+):(\d+): (?:([^\s:]+): )?(.*)$`)

// problemsIn reads mistakes out of the text of an error, which may have come
// from the leader.
func problemsIn(text string) (problems []control.Problem) {
	for _, line := range strings.Split(strings.TrimPrefix(text, node.ErrInvalid.Error()+": "), "\n") {
		p := control.Problem{Message: line}
		if m := problemLine.FindStringSubmatch(line); m != nil {
			p.Line, _ = strconv.Atoi(m[1])
			p.Column, _ = strconv.Atoi(m[2])
			p.Path, p.Message = m[3], m[4]
		}
		problems = append(problems, p)
	}
	return problems
}

// apiError gives an error of a node the form that the API answers by.
func apiError(err error) error {
	switch {
	case errors.Is(err, node.ErrInvalid):
		return &control.InvalidPlanError{Problems: problemsIn(err.Error())}
	case errors.Is(err, node.ErrConflict):
		return fmt.Errorf("%w: %w", control.ErrConflict, err)
	case errors.Is(err, node.ErrNoLeader):
		return fmt.Errorf("%w: %w", control.ErrNoLeader, err)
	}
	return err
}

// Stop ends the run, cluster-wide.
func (a *app) Stop(ctx context.Context, tenant *string) (control.Stopped, error) {
	f := a.runner.figures()
	workers := 0
	if a.node.Status().Phase == "running" && f.summary != nil {
		workers = int(f.summary.Workers)
	}
	s, err := a.node.Stop(ctx, tenant)
	if err != nil {
		return control.Stopped{}, apiError(err)
	}
	out := control.Stopped{RunID: s.RunID, Message: "nothing was running"}
	if s.RunID != "" {
		out.RPS, out.Workers, out.Message = f.rate, workers, "run "+s.RunID+" ends"
	}
	return out, nil
}

// Report returns the running or last result as JSON. In a cluster there is none
// of a run before it is judged: until then only each node's own.
func (a *app) Report(ctx context.Context, scope string) ([]byte, error) {
	if scope == control.ScopeNode || !a.set.Cluster.Enabled && a.going() {
		return orNone(a.results.lastOwn())
	}
	body, err := a.node.Result(ctx)
	if errors.Is(err, node.ErrNoLeader) {
		return nil, fmt.Errorf("%w: %w", control.ErrNoLeader, err)
	}
	if err == nil && body == nil && a.set.Cluster.Enabled {
		return nil, fmt.Errorf("%w: the nodes' parts are merged when the run has ended, by the leader, which keeps the result (?scope=node shows this node's part as it stands)", control.ErrNoResult)
	}
	return orNone(body, err)
}

// going says whether this process generates load, or has not judged it yet.
func (a *app) going() bool {
	newest := a.runner.newest()
	return newest != nil && a.results.judged(newest.RunID) == nil
}

func orNone(body []byte, err error) ([]byte, error) {
	if err == nil && body == nil {
		err = control.ErrNoResult
	}
	return body, err
}

// Cluster is GET /health/cluster.
func (a *app) Cluster() (status any, serverID string, draining bool) {
	return a.node.Status(), a.self.ServerID, a.node.Draining()
}

// Health is GET /health.
func (a *app) Health(context.Context) control.Health {
	st, s, f := a.node.Status(), a.node.State(), a.runner.figures()
	h := control.Health{
		NodeID: a.self.NodeID, NodeName: a.set.Node.Name, Region: a.self.Region, NodeState: control.StateIdle,
		RPS: f.rate, ErrorRatePct: f.errors, CPUPct: a.usage.cpuPercent(), MemoryMB: residentMB(), TotalMemoryMB: memoryLimitMB(),
	}
	if st.Run == nil {
		return h
	}
	h.RunID = st.Run.RunID
	r := s.Run(st.Run.RunID)
	if r == nil {
		return h
	}
	if r.Tenant != "" {
		h.Tenant = &r.Tenant
	}
	if st.Phase != "running" {
		h.RPS, h.ErrorRatePct = 0, 0
		if r.Ended && r.KeepAlive && a.hasStandby(s, r) {
			h.NodeState = control.StateStandby
		}
		return h
	}
	a.describeRunning(&h, r, f)
	if c, ok := s.Configs[r.Version]; ok {
		yaml := string(c.Document)
		h.CurrentYAML = &yaml
	}
	return h
}

func (a *app) hasStandby(s *node.State, r *node.Run) bool {
	p, _, err := plan.Parse(s.Configs[r.Version].Document)
	return err == nil && p.Standby != nil
}

func (a *app) describeRunning(h *control.Health, r *node.Run, f figures) {
	h.NodeState = control.StateRunning
	if f.summary != nil && f.summary.RunID == r.ID {
		h.Workers = int(f.summary.Workers)
	}
	start := a.node.StartOf(r.ID)
	elapsed := max(0, time.Since(start))
	started, duration := start.Unix(), int64(r.Duration.Seconds())
	percent := min(100, 100*elapsed.Seconds()/max(r.Duration.Seconds(), 1e-9))
	h.TimeRemainingSecs = int64(max(0, r.Duration-elapsed).Seconds())
	h.TestStartedAtUnix, h.TestDurationSecs, h.TestPercentComplete = &started, &duration, &percent
}
