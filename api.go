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
	document, err := a.merge(yaml, plan.DocumentWins, "POST /config")
	if err != nil {
		return control.Accepted{}, invalidPlan(err)
	}
	if err := a.problemsOf(document, yaml); err != nil {
		return control.Accepted{}, err
	}
	s, err := a.node.Submit(ctx, document)
	if err != nil {
		return control.Accepted{}, apiError(err)
	}
	out := control.Accepted{RunID: s.RunID, ConfigVersion: s.Version, NodeID: s.NodeID, NodeName: s.NodeID}
	if s.NodeID == a.self.NodeID {
		out.NodeName, out.Region = a.set.Node.Name, a.self.Region
	}
	return out, nil
}

// invalidPlan lists every mistake of a document.
func invalidPlan(err error) error {
	var mistakes plan.Errors
	if !errors.As(err, &mistakes) {
		return &control.InvalidPlanError{Problems: []control.Problem{{Message: err.Error()}}}
	}
	invalid := &control.InvalidPlanError{}
	for _, m := range mistakes {
		invalid.Problems = append(invalid.Problems, control.Problem{Line: m.Line, Column: m.Column, Path: m.Path, Message: m.Message})
	}
	return invalid
}

// problemsOf lists every mistake of a document, and what this version cannot
// run, at the places of the one that was given.
func (a *app) problemsOf(document, given []byte) error {
	p, _, err := a.parse(document)
	if err == nil {
		if notes := loadgen.Unsupported(p); len(notes) > 0 {
			err = plan.Locate(given, strings.Join(notes, "\n"))
		}
	}
	if err == nil {
		return nil
	}
	return invalidPlan(err)
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
		return fmt.Errorf("%w: %s", control.ErrConflict, strings.TrimSuffix(err.Error(), ": "+node.ErrConflict.Error()))
	case errors.Is(err, node.ErrNoLeader):
		return fmt.Errorf("%w: %w", control.ErrNoLeader, err)
	case errors.Is(err, node.ErrBusy), errors.Is(err, node.ErrEngine):
		return fmt.Errorf("%w: %w", control.ErrUnavailable, err)
	}
	return err
}

// Stop ends the run, cluster-wide.
func (a *app) Stop(ctx context.Context, tenant *string) (control.Stopped, error) {
	before, starting := a.Health(ctx), a.node.Fetching() && tenant == nil
	s, err := a.node.Stop(ctx, tenant)
	if err != nil {
		return control.Stopped{}, apiError(err)
	}
	out := control.Stopped{RunID: s.RunID, RPS: before.RPS, Workers: before.Workers, Message: "run " + s.RunID + " ends"}
	switch {
	case s.RunID == "" && starting:
		out.Message = "the start ends, before there was a run"
	case s.RunID == "":
		out.Message = "nothing was running"
	case before.NodeState == control.StateStandby:
		out.Message = "standby after run " + s.RunID + " ends"
	}
	return out, nil
}

// Report returns the running or last result as JSON: in a cluster the leader's,
// from any node.
func (a *app) Report(ctx context.Context, scope string) ([]byte, error) {
	if scope == control.ScopeNode || !a.set.Cluster.Enabled && a.going() {
		return orNone(a.results.lastOwn())
	}
	body, err := a.node.Result(ctx)
	if errors.Is(err, node.ErrNoLeader) {
		return nil, fmt.Errorf("%w: %w", control.ErrNoLeader, err)
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
	s, phase := a.stateAndPhase()
	f := a.runner.figures()
	processes := a.processes()
	resident, _ := a.memory.Of(processes...)
	limit, _ := a.memory.Limit()
	h := control.Health{
		NodeID: a.self.NodeID, NodeName: a.set.Node.Name, Region: a.self.Region, NodeState: a.nodeStateOf(s, phase), Ephemeral: a.set.Ephemeral.On,
		CPUPct: a.usage.cpuPercent(processes...), MemoryMB: float64(resident) / megabyte, TotalMemoryMB: float64(limit) / megabyte,
	}
	tenant := a.set.Node.Tenant
	if r := tested(s); r != nil {
		h.RunID, tenant = r.ID, r.Tenant
	}
	if tenant != "" {
		h.Tenant = &tenant
	}
	switch h.NodeState {
	case control.StateRunning:
		a.describeRunning(&h, s.Current, f)
		if c, ok := s.Configs[s.Current.Version]; ok {
			yaml := string(c.Document)
			h.CurrentYAML = &yaml
		}
	case control.StateIdle:
		if s := f.summary; s != nil && !s.Ended { // stopped, and what was begun is let finish
			h.RPS, h.ErrorRatePct, h.Workers = f.pulse.rate, f.pulse.errors, int(s.Workers)
		}
	case control.StateStandby:
		h.RPS, h.ErrorRatePct, h.Workers = f.standby.rate, f.standby.errors, f.standing
	}
	return h
}

// stateAndPhase are of one and the same run.
func (a *app) stateAndPhase() (*node.State, string) {
	s, st := a.node.State(), a.node.Status()
	for range 3 {
		after := a.node.State()
		if after == s {
			break
		}
		s, st = after, a.node.Status() // a run came or went in between
	}
	return s, st.Phase
}

// tested is the running or last test, or the one being prepared before there was any.
func tested(s *node.State) *node.Run {
	if c := s.Current; c == nil || c.StartAt != 0 || s.Rested == nil {
		return c
	}
	return s.Rested // a plan that has not started is no test yet
}

// nodeStateOf is a state of rust_loadtest's.
func (a *app) nodeStateOf(s *node.State, phase string) string {
	switch {
	case phase == "running":
		return control.StateRunning
	case s.StandsBy() != nil:
		return control.StateStandby
	case a.set.Ephemeral.On && s.Rested == nil && (s.Current == nil || s.Current.StartAt == 0):
		return control.StateReady
	}
	return control.StateIdle
}

func (a *app) describeRunning(h *control.Health, r *node.Run, f figures) {
	if f.summary != nil && f.summary.RunID == r.ID {
		h.RPS, h.ErrorRatePct, h.Workers = f.pulse.rate, f.pulse.errors, int(f.summary.Workers)
	}
	start := a.node.StartOf(r.ID)
	started := start.Unix()
	h.TestStartedAtUnix = &started
	if r.Duration == unbounded {
		return // nobody knows when its iterations will be done
	}
	elapsed := max(0, time.Since(start))
	duration := int64(r.Duration.Seconds())
	percent := min(100, 100*elapsed.Seconds()/max(r.Duration.Seconds(), 1e-9))
	h.TimeRemainingSecs = int64(max(0, r.Duration-elapsed).Seconds())
	h.TestDurationSecs, h.TestPercentComplete = &duration, &percent
}
