package node

import (
	"context"
	"errors"
	"math"
	"testing"
	"time"
)

// TestFencing: a leader's call is refused unless cluster, leader and term are
// those that the receiver's own Raft names, and what it says is not kept.
func TestFencing(t *testing.T) {
	virtual(t, 3, func(t *testing.T, c *cluster) {
		c.waiting()
		leader := c.leader()
		term := leader.node.raft.raft.CurrentTerm()
		right := Fence{ClusterID: leader.identity.ClusterID(), LeaderID: leader.node.self.ServerID, Term: term}
		follower := c.hosts[0]
		if follower == leader {
			follower = c.hosts[1]
		}
		wrong := map[string]struct {
			fence Fence
			want  error
		}{
			"term 2^63":        {Fence{right.ClusterID, right.LeaderID, 1 << 63}, ErrStaleLeader},
			"the last term":    {Fence{right.ClusterID, right.LeaderID, math.MaxUint64}, ErrStaleLeader},
			"the next term":    {Fence{right.ClusterID, right.LeaderID, term + 1}, ErrStaleLeader},
			"the term before":  {Fence{right.ClusterID, right.LeaderID, term - 1}, ErrStaleLeader},
			"no term":          {Fence{right.ClusterID, right.LeaderID, 0}, ErrStaleLeader},
			"another member":   {Fence{right.ClusterID, follower.node.self.ServerID, term}, ErrStaleLeader},
			"nobody":           {Fence{right.ClusterID, "", term}, ErrStaleLeader},
			"another cluster":  {Fence{"other", right.LeaderID, term}, ErrOtherCluster},
			"without anything": {Fence{}, ErrOtherCluster},
		}
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		defer cancel()
		for name, w := range wrong {
			for _, h := range c.hosts {
				for call, err := range map[string]error{
					"Distribute":  errOf(h.node.HandleDistribute(ctx, Distribute{Fence: w.fence, RunID: "r", Config: Config{Document: []byte("run 1s")}})),
					"StartTest":   h.node.HandleStartTest(ctx, StartTest{Fence: w.fence, RunID: "r"}),
					"StopTest":    h.node.HandleStopTest(ctx, StopTest{Fence: w.fence, RunID: "r"}),
					"HealthCheck": errOf(h.node.HandleHealthCheck(ctx, HealthCheck{Fence: w.fence})),
				} {
					if !errors.Is(err, w.want) {
						t.Errorf("%s, %s on %s: got %v, want %v", name, call, h.addr, err, w.want)
					}
				}
			}
		}
		<-time.After(10 * time.Second)
		for _, h := range c.hosts {
			if got := h.node.raft.raft.CurrentTerm(); got != term || h.runner.holds() != 0 {
				t.Errorf("%s is in term %d and holds %d plans, want %d and none", h.addr, got, h.runner.holds(), term)
			}
		}
		if c.leader() != leader {
			t.Error("the leader has changed")
		}
		if _, err := follower.node.HandleHealthCheck(ctx, HealthCheck{Fence: right}); err != nil {
			t.Errorf("the leader's own: %v", err)
		}
	})
}

func errOf[T any](_ T, err error) error { return err }
