package main

import (
	"bytes"
	"context"
	"errors"
	"sync"
	"time"

	"volley/control"
	"volley/loadgen"
	"volley/node"
	"volley/page"
	"volley/plan"
	"volley/stats"
)

const (
	// longestCurve bounds what is drawn of a run that may have no end.
	longestCurve = 7 * 24 * time.Hour
	maxCorners   = 400
)

// View is what the live page shows. The leader's result is asked for anew each
// time; while it does not answer, the cluster is shown as this node sees it.
func (a *app) View(ctx context.Context) page.View {
	v := page.View{Cluster: a.node.Status(), AtMs: time.Now().Add(a.set.ClockShift).UnixMilli()}
	s := a.node.State()
	a.drawn.describe(&v, s)
	var err error
	if v.Result, err = parsed(a.Report(ctx, "")); err != nil && !errors.Is(err, control.ErrNoResult) {
		v.Missing = "no newer result: " + err.Error()
	}
	if r := s.Shown(); r != nil && v.Result != nil && v.Result.RunID != r.ID {
		v.Result = nil // of an earlier run
	}
	return v
}

func parsed(body []byte, err error) (*stats.Result, error) {
	if err != nil {
		return nil, err
	}
	return stats.ReadResult(bytes.NewReader(body))
}

// drawing keeps the outline of the run that is shown, so that a plan is not
// parsed once a second.
type drawing struct {
	mu      sync.Mutex
	run     string
	nodes   int
	name    string
	of      string
	corners [][2]float64
}

// describe adds the plan's name and curve of the run to show.
func (d *drawing) describe(v *page.View, s *node.State) {
	r := s.Shown()
	if r == nil {
		return
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if nodes := takingPart(r); d.run != r.ID || d.nodes != nodes {
		d.run, d.nodes, d.name, d.of, d.corners = r.ID, nodes, "", "", nil
		if p, _, err := plan.Parse(s.Configs[r.Version].Document); err == nil {
			d.name = p.Metadata.Name
			d.of, d.corners = outline(p, r.Duration, nodes)
		}
	}
	v.Plan, v.CurveOf, v.Curve = d.name, d.of, d.corners
}

// takingPart is how many nodes share a run, or have the whole of it each, at the moment.
func takingPart(r *node.Run) int {
	if n := len(r.Divisions); n > 0 {
		return len(r.Divisions[n-1].Members)
	}
	return len(r.Participants)
}

// outline is what all nodes of a run together are asked for.
func outline(p *plan.Plan, length time.Duration, nodes int) (of string, corners [][2]float64) {
	o, err := loadgen.NewOutline(p, loadgen.Share{}, min(length, longestCurve))
	if err != nil {
		return "", nil
	}
	times := 1.0
	if !together(p) {
		times = float64(max(nodes, 1))
	}
	for _, c := range o.Corners() {
		corners = append(corners, [2]float64{c.At.Seconds(), c.Value * times})
		if len(corners) == maxCorners {
			break // further than anybody looks ahead
		}
	}
	if p.Load.Closed() {
		return page.CurveWorkers, corners
	}
	return page.CurveRate, corners
}
