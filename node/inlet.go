package node

import (
	"context"
	"errors"
	"fmt"
	"io"
	"sync"
	"time"
)

// inletIdle is how long a stream may carry nothing until its receiver ends it;
// the sender does so earlier.
const inletIdle = 30 * time.Second

var (
	errInletIdle = fmt.Errorf("no summary for %s", inletIdle)
	errReplaced  = fmt.Errorf("the same member has opened another stream: %w", ErrConflict)
)

// inlets are the streams of summaries that come in: at most one of each member
// and purpose. The newer wins, as the older may be one that nobody has heard break.
type inlets struct {
	mu   sync.Mutex
	open map[inletKey]*inlet
}

type inletKey struct {
	server string
	relay  bool
}

type inlet struct{ cancel context.CancelCauseFunc }

func newInlets() *inlets { return &inlets{open: map[inletKey]*inlet{}} }

// enter ends the stream before, and returns the new one's context and what to
// call when it ends.
func (i *inlets) enter(ctx context.Context, k inletKey) (context.Context, func()) {
	ctx, cancel := context.WithCancelCause(ctx)
	own := &inlet{cancel}
	i.mu.Lock()
	defer i.mu.Unlock()
	if before := i.open[k]; before != nil {
		before.cancel(errReplaced)
	}
	i.open[k] = own
	return ctx, func() {
		cancel(nil)
		i.mu.Lock()
		defer i.mu.Unlock()
		if i.open[k] == own {
			delete(i.open, k)
		}
	}
}

// HandleStream takes another member's stream of summaries, until it ends.
func (n *Node) HandleStream(ctx context.Context, head StreamHead, from SummarySource) error {
	if err := n.admitStream(head); err != nil {
		return err
	}
	ctx, end := n.inlets.enter(ctx, inletKey{head.From.ServerID, head.Fence != nil})
	defer end()
	for {
		wait, cancel := context.WithTimeoutCause(ctx, inletIdle, errInletIdle)
		r, err := from.Next(wait)
		cancel()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		if err := n.mayStream(head); err != nil {
			return err // it led when it opened the stream
		}
		kept, err := n.keep(r)
		if err != nil {
			return err
		}
		if err := from.Ack(StreamAck{RunID: r.RunID, ServerID: r.Of.ServerID, Incarnation: r.Incarnation, Seq: r.Seq, Again: !kept}); err != nil {
			return err
		}
	}
}

func (n *Node) admitStream(head StreamHead) error {
	if id := n.clusterID(); id == "" || head.ClusterID != id || head.TargetID != n.self.ServerID {
		return fmt.Errorf("a stream of summaries for server %.64q of cluster %.64q reached %s of %q: %w", head.TargetID, head.ClusterID, n.self.ServerID, id, ErrOtherCluster)
	}
	if find(n.members(), head.From.ServerID) == nil || head.From.ServerID == n.self.ServerID {
		return fmt.Errorf("a stream of summaries from %.64q, which is no other member: %w", head.From.ServerID, ErrRefused)
	}
	return n.mayStream(head)
}

// mayStream is asked before every summary.
func (n *Node) mayStream(head StreamHead) error {
	if n.handedOver.Load() {
		return n.raft.notLeader() // as in HandleReport
	}
	if head.Fence == nil {
		return nil
	}
	if head.Fence.LeaderID != head.From.ServerID {
		return fmt.Errorf("a stream of summaries from %.64q with the fence of %.64q: %w", head.From.ServerID, head.Fence.LeaderID, ErrStaleLeader)
	}
	return n.raft.Check(*head.Fence, n.clusterID())
}

// keep takes a summary from a stream. It is false if there is no place for it,
// or none yet: the log that names the run may still be on its way.
func (n *Node) keep(r Report) (kept bool, err error) {
	if r.RunID == "" || r.Of.ServerID == "" || r.Seq == 0 || len(r.Summary) > MaxSummary {
		return false, fmt.Errorf("a summary of run %.64q, server %.64q, with seq %d and %d bytes: %w (names, a seq and at most %d bytes are accepted)",
			r.RunID, r.Of.ServerID, r.Seq, len(r.Summary), ErrRefused, MaxSummary)
	}
	if r.Of.ServerID == n.self.ServerID && r.Incarnation == n.nonce {
		return true, nil // nobody else knows it better
	}
	run := n.machine.State().Run(r.RunID)
	switch {
	case run == nil || find(run.Participants, r.Of.ServerID) == nil:
		return false, nil
	case run.Ended:
		return true, nil
	}
	return n.reports.put(r), nil
}
