package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"volley/loadgen"
	"volley/node"
	"volley/plan"
	"volley/stats"
)

// divided is what the engine knows of who sends what of a run.
type divided struct {
	// whole is true where all of the load is this node's from the start, whoever comes.
	whole bool

	mu     sync.Mutex
	told   int // how many divisions it knows; 0 before it was prepared with the first
	newest node.Run
}

func divisionOf(d node.Division) loadgen.Division {
	out := loadgen.Division{From: d.From, At: d.At}
	for _, m := range d.Members {
		out.Among = append(out.Among, loadgen.Portion{ID: m.Life(), Weight: m.Weight})
	}
	return out
}

func divisionsOf(run node.Run) (out []loadgen.Division) {
	for _, d := range run.Divisions {
		out = append(out, divisionOf(d))
	}
	return out
}

// share prepares a run once more of which this node has only a part, or into
// which it comes later, as a task of a job may, too: who takes part, and with what weight, is known only now.
func (r *runner) share(ctx context.Context, run node.Run) error {
	r.mu.Lock()
	p, ok := r.jobs[run.ID]
	r.mu.Unlock()
	if !ok {
		return nil
	}
	if in, _ := r.task.cameTo(run.ID); in.enters > 0 {
		p.job.Enters = in.enters
		return r.engine.Prepare(ctx, p.job)
	}
	first := len(run.Divisions) > 0 && slices.ContainsFunc(run.Divisions[0].Members, func(m node.Member) bool { return m.Life() == r.self.Life() })
	p.parts.mu.Lock()
	p.parts.whole = !p.divided && first || len(run.Divisions) == 0
	whole := p.parts.whole
	p.parts.mu.Unlock()
	if whole {
		return nil
	}
	job := p.job
	job.Self, job.Divisions, job.Leased = r.self.Life(), divisionsOf(run), r.clustered && run.Divided
	if err := r.engine.Prepare(ctx, job); err != nil {
		r.engine.Discard(run.ID) // as it was: it will not run
		return err
	}
	p.parts.mu.Lock()
	defer p.parts.mu.Unlock()
	p.parts.told = len(run.Divisions)
	return r.handOn(ctx, p.parts) // what has come meanwhile
}

// Redivide tells the engine of divisions that it does not know; of a run that it
// was not prepared for yet, once it was.
func (r *runner) Redivide(ctx context.Context, run node.Run) error {
	r.mu.Lock()
	p, ok := r.jobs[run.ID]
	r.mu.Unlock()
	if !ok {
		return nil // it is over
	}
	p.parts.mu.Lock()
	defer p.parts.mu.Unlock()
	p.parts.newest = run
	if p.parts.whole || p.parts.told == 0 {
		return nil
	}
	return r.handOn(ctx, p.parts)
}

// handOn needs the lock of d.
func (r *runner) handOn(ctx context.Context, d *divided) error {
	for d.told < len(d.newest.Divisions) {
		err := r.engine.Redivide(ctx, d.newest.ID, divisionOf(d.newest.Divisions[d.told]))
		switch {
		case err == nil:
		case ctx.Err() != nil, errors.Is(err, loadgen.ErrEngine), errors.Is(err, loadgen.ErrUnknownRun):
			return err
		default: // of a data file no row is left for this node
			return fmt.Errorf("%w: %w", node.ErrRefused, err)
		}
		d.told++
	}
	return nil
}

// Lease lets the engine send its part of a divided load until then.
func (r *runner) Lease(runID string, until time.Time) { r.engine.Lease(runID, until) }

// Settle tells the engine who knows of which of the run's divisions.
func (r *runner) Settle(runID string, s node.Settlement) {
	r.engine.Settle(runID, loadgen.Settlement(s))
}

// More divisions than an engine takes must not be made: a difference does not compile.
const (
	_ = uint(loadgen.MostDivisions - node.MaxDivisions)
	_ = uint(node.MaxDivisions - loadgen.MostDivisions)
)

// sharesOf says who sent the load since when, for a cluster's result, and how
// much of it nobody is known to have sent. due is how many arrivals each process's
// last word tells of, by its Life.
func sharesOf(o node.Outcome, due map[string]int64) []stats.ShareResult {
	if len(o.Run.Participants) < 2 {
		return nil
	}
	p, _, err := plan.Parse(o.Config.Document)
	if err != nil {
		p = nil // then what was not sent is not known
	}
	divisions := divisionsOf(o.Run)
	var out []stats.ShareResult
	for i, d := range o.Run.Divisions {
		row := stats.ShareResult{AtS: d.At.Seconds(), FromArrival: d.From, Cause: d.Cause}
		for i, part := range portions(o.Run, d) {
			row.Nodes = append(row.Nodes, stats.NodeShare{NodeID: d.Members[i].NodeID, Share: part})
		}
		for _, id := range lostIn(o.Run.Divisions, i) {
			if p != nil && o.Run.Divided && !toldAll(o.Reports, id) {
				row.Unsent += max(0, loadgen.Owned(p, o.Run.Seed, divisions, id, d.From)-due[id])
			}
		}
		out = append(out, row)
	}
	return out
}

// portions are the shares of the members of a division, in their order: each 1 if
// each sends the whole load.
func portions(run node.Run, d node.Division) []float64 {
	sum := 0.0
	for _, m := range d.Members {
		sum += m.Weight
	}
	out := make([]float64, len(d.Members))
	for i, m := range d.Members {
		out[i] = 1
		if run.Divided {
			out[i] = m.Weight / sum
		}
	}
	return out
}

// shareOf is a process's part of the load when it sent last, nil if that is not
// known, or if there is nobody to share with.
func shareOf(run node.Run, life string) *float64 {
	if len(run.Participants) < 2 {
		return nil
	}
	for _, d := range slices.Backward(run.Divisions) {
		if i := slices.IndexFunc(d.Members, func(m node.Member) bool { return m.Life() == life }); i >= 0 {
			return &portions(run, d)[i]
		}
	}
	return nil
}

// lostIn are the processes that have a part in the division before the i-th, none
// in that, and none later.
func lostIn(divisions []node.Division, i int) (ids []string) {
	if i == 0 {
		return nil
	}
	in := func(id string) func(node.Division) bool {
		return func(d node.Division) bool {
			return slices.ContainsFunc(d.Members, func(m node.Member) bool { return m.Life() == id })
		}
	}
	for _, m := range divisions[i-1].Members {
		if !slices.ContainsFunc(divisions[i:], in(m.Life())) {
			ids = append(ids, m.Life())
		}
	}
	return ids
}

// toldAll says whether the process has reported the whole run: then what it has
// not sent is among what it has dropped.
func toldAll(reports []node.Report, id string) bool {
	return slices.ContainsFunc(reports, func(r node.Report) bool {
		return r.Of.Life() == id && r.Final && !r.Left && r.Failure == ""
	})
}
