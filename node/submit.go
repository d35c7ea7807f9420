package node

import (
	"context"
	"errors"
	"fmt"
	"time"
)

const (
	// leaderWait is how long a request of a user waits for a leader.
	leaderWait = 5 * time.Second
	// filesWait is how long it may take with the plan's files, which the leader reads before it answers:
	// less than the control API grants.
	filesWait = 25 * time.Second
	// answerIn is left of that for the answer, where a run that is in the way has not drained in time.
	answerIn = 500 * time.Millisecond
)

// Submit begins a run of a plan that a user posted to this node: it is
// forwarded to the leader, and has been checked and committed when Submit
// returns. Errors: ErrInvalid, ErrNoLeader, ErrConflict, ErrBusy, ErrEngine.
func (n *Node) Submit(ctx context.Context, document []byte) (Submitted, error) {
	in := Submit{ClusterID: n.clusterID(), From: n.self, Document: document}
	limit := leaderWait
	if checked, err := n.hooks.Check(document); err == nil && len(checked.Files) > 0 {
		limit = filesWait
	}
	return viaLeader(ctx, n, limit, func(ctx context.Context, addr string) (Submitted, error) {
		if addr == "" {
			return n.HandleSubmit(ctx, in)
		}
		return n.opt.Wire.Upstream.Submit(ctx, addr, in)
	})
}

// Stop ends the run, cluster-wide. Errors: ErrNoLeader, ErrConflict (another
// tenant's run).
func (n *Node) Stop(ctx context.Context, tenant *string) (Stopped, error) {
	in := StopRequest{ClusterID: n.clusterID(), Tenant: tenant, Cause: "stop"}
	return viaLeader(ctx, n, leaderWait, func(ctx context.Context, addr string) (Stopped, error) {
		if addr == "" {
			return n.HandleStop(ctx, in)
		}
		return n.opt.Wire.Upstream.Stop(ctx, addr, in)
	})
}

// StopRun ends a run for a reason of this node's own, such as a threshold that
// failed, with the exit code that tells so. Only where this node leads.
func (n *Node) StopRun(ctx context.Context, runID string, why Stop) error {
	l, err := n.mustLead()
	if err != nil {
		return err
	}
	why.RunID = runID
	return l.propose(ctx, Command{Stop: &why})
}

// viaLeader calls whoever leads, asking again for leaderWait while there is
// none; addr is "" for this node itself. limit bounds all of it. A leader that
// leads on and does not answer is no ErrNoLeader: it may have done what it was asked.
func viaLeader[T any](ctx context.Context, n *Node, limit time.Duration, call func(ctx context.Context, addr string) (T, error)) (T, error) {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	last := errors.New("none is known")
	for began := time.Now(); ; {
		id, addr := n.leader()
		if id == n.self.ServerID {
			addr = ""
		}
		if id != "" {
			out, err := call(ctx, addr)
			if err == nil || final(err) {
				return out, err
			}
			if now, _ := n.leader(); now == id && ctx.Err() != nil {
				var none T
				return none, fmt.Errorf("the leader %s has not answered in time: %w", id, err)
			}
			last = err
		}
		if time.Since(began) > leaderWait || !sleep(ctx, jitter(100*time.Millisecond)) {
			var none T
			return none, fmt.Errorf("%w within %s: %w", ErrNoLeader, leaderWait, last)
		}
	}
}

// final says whether asking again would not help.
func final(err error) bool {
	for _, e := range []error{ErrInvalid, ErrConflict, ErrRefused, ErrBusy, ErrEngine, errPhase, ErrUnauthenticated} {
		if errors.Is(err, e) {
			return true
		}
	}
	return false
}
