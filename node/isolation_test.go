package node

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"slices"
	"strconv"
	"testing"
	"time"
)

// Where each node has the load for itself, one without a leader goes on for
// CLUSTER_ISOLATION_GRACE, then ends its part, and hands it over when it is back.
func TestIsolationGraceEndsAWholeLoad(t *testing.T) {
	virtual(t, 3, func(t *testing.T, c *cluster) {
		c.tweak = func(o *Options) { o.IsolationGrace = 20 * time.Second }
		run := c.going("run 3m")
		cut := c.follower()
		c.f.isolate(cut.addr, true)
		began := time.Now()
		c.within(30*time.Second, "it ends its part", func() bool { return cut.node.player.find(run).ending() })
		if took := time.Since(began); took < 20*time.Second || took > 24*time.Second {
			t.Errorf("it has ended its part after %s, want 20 s after it knew no leader", took)
		}
		if cut.runner.ends[run] != CauseIsolated || cut.events.count("isolated") != 1 {
			t.Errorf("ended by %q, %d events isolated", cut.runner.ends[run], cut.events.count("isolated"))
		}
		if n := len(c.leader().divisions(run)); n != 1 {
			t.Errorf("%d divisions, want 1: its load is its own", n)
		}
		<-time.After(70 * time.Second) // it is no member any more by now
		if find(c.leader().node.members(), cut.node.self.ServerID) != nil {
			t.Fatal("it is a member still")
		}
		c.f.isolate(cut.addr, false)
		c.within(20*time.Second, "it is a member again, and has handed over its part", func() bool {
			reports, _ := c.leader().node.reports.of(run)
			return find(c.leader().node.members(), cut.node.self.ServerID) != nil && reports.final(cut.node.self)
		})
		c.waitEnd(3*time.Minute, ExitOK)
		if o := c.verdict(run); len(o.Reports) != 3 || len(o.Lost) != 0 {
			t.Errorf("%d reports, lost %v", len(o.Reports), o.Lost)
		}
	})
}

// A leader that is back in time costs a node nothing.
func TestFailoverIsNoIsolation(t *testing.T) {
	virtual(t, 3, func(t *testing.T, c *cluster) {
		c.tweak = func(o *Options) { o.IsolationGrace = 5 * time.Second }
		run := c.going("run 30s")
		c.kill(c.leader())
		c.waitEnd(time.Minute, ExitOK)
		for _, h := range c.alive() {
			if h.runner.ends[run] != "done" || h.events.count("isolated") != 0 {
				t.Errorf("%s: ended by %q, %d events isolated", h.addr, h.runner.ends[run], h.events.count("isolated"))
			}
		}
	})
}

// TestNobodyComesBack: a node whose run has ended by isolation waits for a leader
// until its planned end and 30 s more, then says what it knows and exits with 1.
func TestNobodyComesBack(t *testing.T) {
	for _, plan := range []string{"run 2m", "run 2m scope cluster"} {
		t.Run(plan, func(t *testing.T) {
			virtual(t, 3, func(t *testing.T, c *cluster) {
				c.tweak = func(o *Options) { o.IsolationGrace = 20 * time.Second }
				run := c.going(plan)
				begun := c.hosts[0].node.player.find(run).start
				last := c.follower()
				for _, h := range slices.Clone(c.hosts) {
					if h != last {
						c.kill(h)
					}
				}
				c.waitEnd(4*time.Minute, ExitFailure)
				if after := time.Since(begun) - 2*time.Minute; after < verdictTimeout || after > verdictTimeout+5*time.Second {
					t.Errorf("it has gone %s after its planned end, want %s", after, verdictTimeout)
				}
				if last.events.count("isolated") != 1 {
					t.Errorf("%d events isolated, want 1", last.events.count("isolated"))
				}
				if all := last.judge.all(); len(all) != 1 || !all[0].Alone || len(all[0].Reports) != 1 {
					t.Errorf("outcomes %+v, want its own part", all)
				}
			})
		})
	}
}

// TestChaosInVirtualTime cuts off, kills and restarts nodes at random, a majority
// of the voters always there: never is more than the target sent, nor a run
// started twice, nor is there a second run, and at the end one verdict.
func TestChaosInVirtualTime(t *testing.T) {
	seeds := []uint64{1, 2}
	if s := os.Getenv("CHAOS_SEED"); s != "" {
		seed, err := strconv.ParseUint(s, 10, 64)
		if err != nil {
			t.Fatal(err)
		}
		seeds = []uint64{seed}
	}
	for _, seed := range seeds {
		t.Run(fmt.Sprintf("seed %d", seed), func(t *testing.T) {
			virtual(t, 5, func(t *testing.T, c *cluster) { c.chaos(rand.New(rand.NewPCG(seed, 12))) })
		})
	}
}

func (c *cluster) chaos(rng *rand.Rand) {
	run := c.going("run 6m scope cluster")
	w := c.watchLoad(run)
	for until := time.Now().Add(5 * time.Minute); time.Now().Before(until); {
		<-time.After(time.Duration(rng.Int64N(int64(8 * time.Second))))
		h := c.hosts[rng.IntN(len(c.hosts))]
		if h.dead || c.leader() == nil || c.voters() != 5 || !c.whole() {
			continue // only when the last one is a voter again
		}
		switch rng.IntN(4) {
		case 0:
			c.f.isolate(h.addr, true)
			<-time.After(time.Duration(rng.Int64N(int64(20 * time.Second))))
			c.f.isolate(h.addr, false)
		case 1:
			c.kill(h)
			<-time.After(time.Duration(rng.Int64N(int64(20 * time.Second))))
			c.start(c.index(h))
		case 2: // one way: what it says is lost
			c.f.setMute(h.addr, true)
			<-time.After(time.Duration(rng.Int64N(int64(20 * time.Second))))
			c.f.setMute(h.addr, false)
		case 3:
			h.cancel()
			<-h.done
			c.f.mu.Lock()
			h.dead = true
			c.f.mu.Unlock()
			c.start(c.index(h))
		}
	}
	close(w.stop)
	<-w.done
	c.waitEnd(5*time.Minute, ExitOK)
	o := c.verdict(run)
	if c.source.count() != 1 || c.onlyRun() != run {
		c.t.Errorf("%d fetches, want 1", c.source.count())
	}
	for _, h := range c.hosts {
		if n := len(h.runner.started(run)); n > 1 {
			c.t.Errorf("%s started %d times", h.addr, n)
		}
	}
	c.t.Logf("%d divisions, %d participants, %d reports, %d elections, most %.3f", len(o.Run.Divisions), len(o.Run.Participants), len(o.Reports), c.elections(), w.most)
}

// whole says whether every living node has a part of the newest division.
func (c *cluster) whole() bool {
	r := c.leader().node.State().Current
	return r != nil && !slices.ContainsFunc(c.alive(), func(h *host) bool { return find(r.newest().Members, h.node.self.ServerID) == nil })
}

// A member that is admitted when its leader has led for long has all of
// CLUSTER_REAP_AFTER to answer for the first time.
func TestLateMemberIsNotTakenForASilentOne(t *testing.T) {
	virtual(t, 4, func(t *testing.T, c *cluster) {
		c.tweak = func(o *Options) { o.Expect = 3 }
		c.source.set("run 5m scope cluster", "1", nil)
		for i := range 3 {
			c.start(i)
		}
		c.waitPhase(20*time.Second, "running")
		<-time.After(2 * time.Minute)
		c.f.mu.Lock()
		c.f.fail = func(_, to, call string) error {
			if to == c.addrs[3] && call == "HealthCheck" {
				return errors.New("busy")
			}
			return nil
		}
		c.f.mu.Unlock()
		late := c.start(3)
		c.within(10*time.Second, "it is a member", func() bool { return c.standsAs(late) != "" })
		for range 400 {
			<-time.After(50 * time.Millisecond)
			if c.standsAs(late) == "" {
				t.Fatal("it was removed before it could answer")
			}
		}
		c.release()
		c.divided(20*time.Second, c.onlyRun(), 2)
	})
}

// A process that a new one has replaced at its address cannot come back in its place.
func TestReplacedProcessDoesNotEvictTheNewOne(t *testing.T) {
	virtual(t, 3, func(t *testing.T, c *cluster) {
		c.waiting()
		l := c.leader()
		old := c.follower()
		c.kill(old)
		again := c.start(c.index(old))
		c.within(20*time.Second, "the new one is a member", func() bool { return c.standsAs(again) != "" })
		ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
		defer cancel()
		err := l.node.HandleJoin(ctx, Join{Cluster: "test", ClusterID: l.identity.ClusterID(), From: old.node.self})
		if !errors.Is(err, ErrConflict) || c.standsAs(again) == "" {
			t.Errorf("%v, and the new one is %q", err, c.standsAs(again))
		}
	})
}
