package node

import (
	"context"
	"errors"
	"fmt"
)

// rest is what this node does after a run that has finished.
type rest struct {
	run    string
	cancel context.CancelCauseFunc
}

func (r *rest) end(reason *StopReason) {
	if r != nil {
		r.cancel(reason)
	}
}

// standBy keeps the standby load going that the state asks of this node, and
// no other.
func (p *player) standBy(s *State) {
	want := s.StandsBy()
	if want != nil && (!want.Standby || find(want.Participants, p.n.self.ServerID) == nil) {
		want = nil
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.rest != nil && (want == nil || p.rest.run != want.ID) {
		p.rest.end(&StopReason{Cause: "replaced", Grace: replaceGrace})
		p.rest = nil
	}
	if want == nil || p.rest != nil || p.over {
		return
	}
	ctx, cancel := context.WithCancelCause(context.Background())
	p.rest = &rest{run: want.ID, cancel: cancel}
	run, config := *want, s.Configs[want.Version]
	p.wg.Go(func() { p.n.hooks.Standby(ctx, run, config) })
}

// standDown ends what the nodes do after a run, for everybody.
func (l *leader) standDown(ctx context.Context, r *Run, in StopRequest) (Stopped, error) {
	if in.Tenant != nil && *in.Tenant != r.Tenant {
		return Stopped{}, fmt.Errorf("run %s belongs to tenant %q, not %q: %w", r.ID, r.Tenant, *in.Tenant, ErrConflict)
	}
	err := l.propose(ctx, Command{StandDown: &StandDown{RunID: r.ID}})
	if err != nil && !errors.Is(err, errPhase) {
		return Stopped{}, err
	}
	l.n.log.Info("standby ends: "+in.Cause, "run_id", r.ID)
	return Stopped{RunID: r.ID, Tenant: r.Tenant}, nil
}

// silence ends what the nodes do after a run that was over when the cluster was started.
func (l *leader) silence(ctx context.Context, s *State, in StopRequest) error {
	r := s.StandsBy()
	if r == nil || s.Leaving() != nil {
		return nil
	}
	_, err := l.standDown(ctx, r, in)
	return err
}

// dissolve ends an ephemeral node once there was time for a last scrape. A new
// run cancels ctx, or makes the command come too late.
func (l *leader) dissolve(ctx context.Context, runID string) error {
	l.n.log.Info(fmt.Sprintf("ephemeral: leaving in %s unless another plan is posted", l.n.opt.ScrapeDelay), "run_id", runID)
	if !sleep(ctx, l.n.opt.ScrapeDelay) {
		return nil
	}
	err := l.propose(ctx, Command{Dissolve: &Dissolve{RunID: runID}})
	if errors.Is(err, errPhase) {
		return nil
	}
	return err
}
