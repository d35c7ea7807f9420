package main

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"time"

	"volley/loadgen"
	"volley/node"
	"volley/plan"
	"volley/stats"
)

// standBy generates the load that a plan has for the time after its run, until
// ctx ends. A failure is not worth ending a process for.
func (r *runner) standBy(ctx context.Context, run node.Run, c node.Config) {
	err := r.standByOnce(ctx, run, c)
	if err != nil && ctx.Err() == nil {
		r.log.Error("no load in standby: "+err.Error(), "event", "engine_failed", "run_id", run.ID)
	}
}

func (r *runner) standByOnce(ctx context.Context, run node.Run, c node.Config) error {
	document, err := plan.StandbyDocument(c.Document, r.standbyRequest)
	if err != nil {
		return err
	}
	// The engine knows runs by their names, and the one before may still drain.
	id := fmt.Sprintf("standby-%d", r.standbys.Add(1))
	job := loadgen.Job{
		RunID: id, ConfigVersion: plan.Version(document), Document: document, Seed: rand.Int64(),
		NodeID: r.self.NodeID, Region: r.self.Region, Tenant: r.tenant, Client: r.client, Recording: r.recording,
	}
	if err := r.engine.Prepare(ctx, job); err != nil {
		return err
	}
	r.log.Info("standing by with load until the next plan or a stop", "run_id", run.ID)
	ctx, cancel := withStop(ctx)
	defer cancel(nil)
	r.begin(id, cancel)
	final, err := r.engine.Run(ctx, id, time.Now(), r.showStandby)
	if final != nil {
		r.showStandby(final)
	}
	return errors.Join(err, r.over(id))
}

// showStandby shows what is sent in standby: it belongs to no run.
func (r *runner) showStandby(s *stats.Summary) {
	own := *s
	own.RunID = ""
	r.metrics.SetSummary(&own)
	workers := own.Workers
	if own.Ended {
		workers = 0
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.standing = workers
	if own.Ended {
		r.standingPulse = pulse{}
		return
	}
	r.standingPulse.observe(s)
}
