package node

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// resultOf is what a node answers a user who asks for the cluster's result.
func resultOf(t *testing.T, h *host) (string, error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	body, err := h.node.Result(ctx)
	return string(body), err
}

// Every node answers with the cluster's result once the run is judged, and
// still does when another node leads.
func TestEveryNodeHasTheClustersResult(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(t, 3)
		c.tweak = func(o *Options) { o.KeepAlive = true }
		c.tell()
		defer c.bury()
		hosts := c.startAll()
		c.within(time.Minute, "the load runs", func() bool { return hosts[1].node.Status().Phase == "running" })
		c.askWhileItRuns()
		c.within(time.Minute, "the run is judged everywhere", func() bool {
			for _, h := range hosts {
				if lastJudged(h.node.machine.State()) == "" {
					return false
				}
			}
			return true
		})
		want := "result of " + hosts[0].node.machine.State().Current.ID + " with 3 reports"
		ask := func(when string) {
			t.Helper()
			for _, h := range c.alive() {
				if got, err := resultOf(t, h); got != want || err != nil {
					t.Errorf("%s on %s: %q, %v, want %q", when, h.addr, got, err, want)
				}
			}
		}
		ask("after the run")

		judged := c.leader()
		ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
		defer cancel()
		if err := judged.node.raft.raft.LeadershipTransfer().Error(); err != nil {
			t.Fatal(err)
		}
		c.within(30*time.Second, "another node leads", func() bool { l := c.leader(); return l != nil && l != judged })
		ask("under another leader")

		c.kill(judged)
		for _, h := range c.alive() {
			if got, err := resultOf(t, h); !errors.Is(err, ErrNoLeader) || got != "" {
				t.Errorf("%s without the node that judged: %q, %v, want ErrNoLeader", h.addr, got, err)
			}
		}
		h := c.alive()[0]
		if _, err := h.node.HandleFetchResult(ctx, FetchResult{ClusterID: "other"}); !errors.Is(err, ErrOtherCluster) {
			t.Errorf("a call for another cluster: %v, want ErrOtherCluster", err)
		}
		if _, err := h.node.HandleFetchResult(ctx, FetchResult{ClusterID: h.node.clusterID(), RunID: "x"}); !errors.Is(err, ErrConflict) {
			t.Errorf("a run that nobody knows: %v, want ErrConflict", err)
		}
	})
}

// askWhileItRuns asks every node twice for the result of the run that is going
// on: the leader's, made once a second.
func (c *cluster) askWhileItRuns() {
	c.t.Helper()
	<-time.After(2 * time.Second) // they have streamed something
	l := c.leader()
	want := fmt.Sprintf("%s so far, going true, with %d reports", c.onlyRun(), len(c.alive()))
	before := l.judge.shown
	for range 2 {
		for _, h := range c.alive() {
			if got, err := resultOf(c.t, h); got != want || err != nil {
				c.t.Errorf("%s while the run goes: %q, %v, want %q", h.addr, got, err, want)
			}
		}
	}
	if made := l.judge.shown - before; made != 1 {
		c.t.Errorf("merged %d times within a second, want once", made)
	}
}

// A new leader shows the run that it finds; meanwhile nobody does.
func TestRunIsShownUnderAnotherLeader(t *testing.T) {
	virtual(t, 3, func(t *testing.T, c *cluster) {
		c.tell()
		c.startAll()
		c.waitPhase(20*time.Second, "running")
		c.askWhileItRuns()
		c.kill(c.leader())
		if got, err := resultOf(t, c.alive()[0]); !errors.Is(err, ErrNoLeader) || got != "" {
			t.Errorf("without a leader: %q, %v, want ErrNoLeader", got, err)
		}
		c.waitLeader()
		c.within(5*time.Second, "the new leader's view", func() bool {
			got, err := resultOf(t, c.alive()[0])
			return err == nil && strings.HasPrefix(got, c.onlyRun()+" so far, going true, with ")
		})
	})
}

func TestResultsAreBounded(t *testing.T) {
	b := &limitedBuffer{left: 5}
	if n, err := b.Write([]byte("1234")); n != 4 || err != nil {
		t.Errorf("%d, %v", n, err)
	}
	if _, err := b.Write([]byte("56")); err == nil || !strings.Contains(err.Error(), "room") {
		t.Errorf("a sixth of five bytes: %v, want an error", err)
	}
}
