package main

import (
	"context"
	"errors"
	"sync"
	"time"

	"volley/loadgen"
	"volley/node"
	"volley/stats"
)

// runner is the engine as a node sees it, and the place where the newest
// summary of this node's load is kept.
type runner struct {
	engine  loadgen.Engine
	self    node.Member
	client  loadgen.Client
	metrics *stats.Metrics

	mu     sync.Mutex
	live   *stats.Summary // the newest of the run that started last
	rate   float64        // requests per second between the last two
	errors float64        // share of them that were errors, in percent
	at     time.Time
}

var _ node.Runner = (*runner)(nil)

func (r *runner) Prepare(ctx context.Context, runID string, c node.Config, seed int64) error {
	return r.engine.Prepare(ctx, loadgen.Job{
		RunID: runID, ConfigVersion: c.Version, Document: c.Document, Seed: seed,
		NodeID: r.self.NodeID, Region: r.self.Region, Client: r.client,
	})
}

func (r *runner) Discard(runID string) { r.engine.Discard(runID) }

func (r *runner) Run(ctx context.Context, runID string, start time.Time, started func(time.Time, time.Duration)) ([]byte, error) {
	ctx, cancel := withStop(ctx)
	defer cancel(nil)
	var once sync.Once
	summary, err := r.engine.Run(ctx, runID, start, func(s *stats.Summary) {
		r.show(s)
		if skew, ok := s.StartSkew(); ok {
			once.Do(func() { started(s.FirstRequest(), skew) })
		}
	})
	if summary == nil {
		return nil, err
	}
	r.show(summary)
	b, encodeErr := summary.Encode()
	return b, errors.Join(err, encodeErr)
}

// withStop returns a context that ends with ctx, and says why in the engine's words.
func withStop(ctx context.Context) (context.Context, context.CancelCauseFunc) {
	out, cancel := context.WithCancelCause(context.WithoutCancel(ctx))
	stop := context.AfterFunc(ctx, func() {
		cause := &loadgen.StopCause{Reason: "cancelled"}
		var reason *node.StopReason
		if errors.As(context.Cause(ctx), &reason) {
			cause = &loadgen.StopCause{Reason: reason.Cause, Grace: reason.Grace}
		}
		cancel(cause)
	})
	return out, func(err error) { stop(); cancel(err) }
}

// show keeps a summary for metrics and health.
func (r *runner) show(s *stats.Summary) {
	r.metrics.SetSummary(s)
	r.mu.Lock()
	defer r.mu.Unlock()
	now := time.Now()
	if old := r.live; old != nil && old.RunID == s.RunID && now.After(r.at) {
		if n := s.Requests - old.Requests; n > 0 {
			r.rate = float64(n) / now.Sub(r.at).Seconds()
			r.errors = 100 * float64(s.ErrorCount()-old.ErrorCount()) / float64(n)
		} else {
			r.rate, r.errors = 0, 0
		}
	}
	if r.live != nil && r.live.RunID != s.RunID && r.live.StartedAt.After(s.StartedAt) {
		return // a run that drains beside its successor
	}
	r.live, r.at = s, now
}

// figures are what GET /health shows of the load.
type figures struct {
	summary      *stats.Summary
	rate, errors float64
}

func (r *runner) figures() figures {
	r.mu.Lock()
	defer r.mu.Unlock()
	return figures{r.live, r.rate, r.errors}
}
