package node

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"time"
)

const (
	// MaxResult is the largest result that one node takes from another, in bytes.
	MaxResult = 64 << 20
	// resultWait is how long each node that may have a result is waited for.
	resultWait = 3 * time.Second
)

// Result is the cluster's result of the run that is going on, as it stands, else
// of the one that was judged last, nil if no member has one. The leader that judged
// it has it, and keeps it when another leads: so this node is asked first, then the
// leader, then the other members. ErrNoLeader means that one who may have it does
// not answer.
func (n *Node) Result(ctx context.Context) ([]byte, error) {
	if run := n.going(); run != "" {
		return n.liveResult(ctx, run)
	}
	run := lastJudged(n.machine.State())
	if run == "" {
		return nil, nil
	}
	if own := n.hooks.Result(run); own != nil {
		return own, nil
	}
	var silent error // of the last that did not say whether it has it
	for _, addr := range n.holders() {
		body, err := n.fetchResult(ctx, addr, run)
		if err == nil {
			return body, nil
		}
		if !errors.Is(err, ErrConflict) {
			silent = err
		}
		if ctx.Err() != nil {
			break
		}
	}
	if silent != nil {
		return nil, fmt.Errorf("result of run %s: %w: %w", run, ErrNoLeader, silent)
	}
	return nil, nil
}

// lastJudged is the newest run with a verdict, "" if there is none: one that
// never started has none.
func lastJudged(s *State) string {
	for _, r := range []*Run{s.Current, s.Last, s.Rested} {
		if r != nil && r.Ended && r.StartAt != 0 && r.Phase != PhaseAborted {
			return r.ID
		}
	}
	return ""
}

func (n *Node) fetchResult(ctx context.Context, addr, run string) ([]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, resultWait)
	defer cancel()
	to := &limitedBuffer{left: MaxResult}
	err := n.opt.Wire.Upstream.FetchResult(ctx, addr, FetchResult{ClusterID: n.clusterID(), From: n.self, RunID: run}, to)
	return to.Bytes(), err
}

// limitedBuffer takes at most so many bytes.
type limitedBuffer struct {
	bytes.Buffer
	left int
}

func (b *limitedBuffer) Write(p []byte) (int, error) {
	if b.left -= len(p); b.left < 0 {
		return 0, errTooLong
	}
	return b.Buffer.Write(p)
}

// HandleFetchResult answers another node of the cluster.
func (n *Node) HandleFetchResult(_ context.Context, in FetchResult) ([]byte, error) {
	if id := n.clusterID(); in.ClusterID != id || id == "" {
		return nil, fmt.Errorf("fetch result: the call is for cluster %q: %w", in.ClusterID, ErrOtherCluster)
	}
	body := n.hooks.Result(in.RunID)
	if l := n.leading.Load(); body == nil && l != nil {
		return l.show(in.RunID)
	}
	if body == nil {
		return nil, fmt.Errorf("no result of run %.64q is here: %w", in.RunID, ErrConflict)
	}
	return body, nil
}
