package main

import (
	"fmt"

	"volley/loadgen"
	"volley/plan"
)

// inWords says what so many nodes do, each and all together, and what workers
// that takes at least.
func inWords(p *plan.Plan, thinkTimeScale float64, nodes int) string {
	need := loadgen.NeedOf(p, thinkTimeScale)
	text := "each node runs"
	if together(p) {
		text = "all nodes together run"
	}
	text += fmt.Sprintf(" %s, %s", workersOf(p), loadOf(p, need))
	if p.Load.Iterations != nil {
		text += fmt.Sprintf(", at most %d iterations", *p.Load.Iterations)
	}
	text += "; " + inAll(p, need, nodes)
	if words := need.String(); words != "" {
		text += "; " + words
	}
	return text
}

func together(p *plan.Plan) bool { return p.Load.Scope == "cluster" }

// byStages is true if the stages' targets are workers.
func byStages(p *plan.Plan) bool { return p.Load.Closed() && p.Load.Model == "stages" }

// mostWorkers is how many of a closed model there come to be.
func mostWorkers(p *plan.Plan) int {
	if !byStages(p) {
		return p.Config.Workers
	}
	most := p.Load.From
	for _, st := range p.Load.Stages {
		most = max(most, st.Target)
	}
	return int(most)
}

func workersOf(p *plan.Plan) string {
	text := fmt.Sprintf("%d workers", p.Config.Workers)
	switch {
	case byStages(p):
		text = fmt.Sprintf("up to %d workers", mostWorkers(p))
	case !p.Load.Closed() && p.Load.MaxWorkers > p.Config.Workers:
		text = fmt.Sprintf("%d to %d workers", p.Config.Workers, p.Load.MaxWorkers)
	}
	if p.Config.Duration == 0 {
		return text
	}
	return text + " for " + p.Config.Duration.String()
}

func unitOf(p *plan.Plan) string {
	if p.Load.Unit == "requests" {
		return "requests/s"
	}
	return "iterations/s"
}

func loadOf(p *plan.Plan, need loadgen.WorkerNeed) string {
	switch {
	case p.Load.Closed():
		return p.Load.Model
	case p.Load.Target != nil:
		return fmt.Sprintf("%s at %g %s", p.Load.Model, *p.Load.Target, unitOf(p))
	case p.Load.Min != nil && p.Load.Max != nil:
		return fmt.Sprintf("%s from %g to %g %s", p.Load.Model, *p.Load.Min, *p.Load.Max, unitOf(p))
	}
	return fmt.Sprintf("%s up to %.4g %s", p.Load.Model, need.Peak, unitOf(p))
}

// inAll multiplies, or with load.scope: cluster does not.
func inAll(p *plan.Plan, need loadgen.WorkerNeed, nodes int) string {
	who := fmt.Sprintf("%d nodes", nodes)
	if nodes == 1 {
		who = "1 node"
	}
	times := float64(nodes)
	if together(p) {
		times = 1
	}
	switch {
	case p.Load.Closed():
		return fmt.Sprintf("%s: %d workers in all", who, mostWorkers(p)*int(times))
	case p.Load.Target != nil:
		return fmt.Sprintf("%s: %g %s in all", who, *p.Load.Target*times, unitOf(p))
	case p.Load.Max != nil:
		return fmt.Sprintf("%s: up to %g %s in all", who, *p.Load.Max*times, unitOf(p))
	}
	return fmt.Sprintf("%s: up to %.4g %s in all", who, need.Peak*times, unitOf(p))
}
