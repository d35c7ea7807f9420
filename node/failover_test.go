package node

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"
)

// survivors are the living hosts; each must have started the run at most once.
func (c *cluster) startsOf(run string) (total int) {
	c.t.Helper()
	for _, h := range c.alive() {
		n := len(h.runner.started(run))
		if n > 1 {
			c.t.Errorf("%s started run %s %d times", h.addr, run, n)
		}
		total += n
	}
	return total
}

// onlyRun is the one run that the living nodes know of.
func (c *cluster) onlyRun() string {
	c.t.Helper()
	runs := map[string]bool{}
	for _, h := range c.alive() {
		if r := h.node.State().Current; r != nil {
			runs[r.ID] = true
		}
	}
	if len(runs) != 1 {
		c.t.Fatalf("the nodes know runs %v, want one", runs)
	}
	for id := range runs {
		return id
	}
	return ""
}

func (c *cluster) elections() (n int) {
	for _, h := range c.hosts {
		n += h.events.count("leader_elected")
	}
	return n
}

// TestLeaderLostBetweenSteps kills the leader between every two steps of the
// flow: before Ready its loss aborts the run and names it, from Ready on the run goes ahead without it.
func TestLeaderLostBetweenSteps(t *testing.T) {
	reached := func(phase Phase) func(*host) bool {
		return func(h *host) bool { r := h.node.State().Current; return r != nil && r.Phase == phase }
	}
	for _, tt := range []struct {
		name    string
		prepare func(c *cluster)
		when    func(h *host) bool
		code    int
		fetches int
		starts  int
	}{
		{"while fetching", func(c *cluster) { c.source.delay = time.Second }, func(h *host) bool { return h.node.fetching() }, ExitCluster, 2, 0},
		{"while distributing", func(c *cluster) { c.holdBack("Distribute") }, reached(PhaseDistributing), ExitCluster, 1, 0},
		{"between Ready and Schedule", func(c *cluster) { c.holdBack("HealthCheck") }, reached(PhaseReady), ExitOK, 1, 2},
		{"between Schedule and start", func(*cluster) {}, reached(PhaseScheduled), ExitOK, 1, 2},
		{"just before the start", func(*cluster) {}, func(h *host) bool {
			r := h.node.State().Current
			return r != nil && r.StartAt != 0 && time.Until(r.Start()) < 100*time.Millisecond
		}, ExitOK, 1, 2},
		{"mid-run", func(*cluster) {}, func(h *host) bool { return h.node.Status().Phase == "running" }, ExitOK, 1, 2},
		{"while collecting", func(c *cluster) { c.holdBack("Report") }, func(h *host) bool {
			r := h.node.State().Current
			return r != nil && r.StartAt != 0 && time.Since(r.Start()) > 10*time.Second+500*time.Millisecond
		}, ExitOK, 1, 2},
	} {
		t.Run(tt.name, func(t *testing.T) {
			virtual(t, 3, func(t *testing.T, c *cluster) {
				tt.prepare(c)
				c.startAll()
				l := c.waitLeader()
				c.within(30*time.Second, "the moment to kill the leader", func() bool { return tt.when(l) })
				c.kill(l)
				c.release()
				c.waitEnd(5*time.Minute, tt.code)
				if got := c.source.count(); got != tt.fetches {
					t.Errorf("%d fetches, want %d", got, tt.fetches)
				}
				run := c.onlyRun()
				if got := c.startsOf(run); got != tt.starts {
					t.Errorf("%d survivors started, want %d", got, tt.starts)
				}
				for _, h := range c.alive() {
					if tt.code == ExitCluster && !strings.Contains(h.ending.Reason, l.node.self.NodeID+" at "+l.addr) {
						t.Errorf("%s: the reason does not name the dead node: %s", h.addr, h.ending.Reason)
					}
					if tt.code == ExitOK {
						continue
					}
					if len(h.judge.all()) != 0 {
						t.Errorf("%s judged a run that never started", h.addr)
					}
				}
			})
		})
	}
}

// holdBack makes calls of a kind fail until release.
func (c *cluster) holdBack(call string) {
	c.f.mu.Lock()
	defer c.f.mu.Unlock()
	c.f.fail = func(_, _, name string) error {
		if name == call {
			return errors.New("held back")
		}
		return nil
	}
}

func (c *cluster) release() {
	c.f.mu.Lock()
	defer c.f.mu.Unlock()
	c.f.fail = func(_, _, _ string) error { return nil }
}

// TestLostLeaderIsMarkedInTheVerdict: survivors go on, the verdict names who is missing.
func TestLostLeaderIsMarkedInTheVerdict(t *testing.T) {
	virtual(t, 3, func(t *testing.T, c *cluster) {
		c.startAll()
		l := c.waitLeader()
		c.waitPhase(20*time.Second, "running")
		c.kill(l)
		c.waitEnd(2*time.Minute, ExitOK)
		var outcomes []Outcome
		for _, h := range c.alive() {
			outcomes = append(outcomes, h.judge.all()...)
		}
		if len(outcomes) != 1 {
			t.Fatalf("%d verdicts, want 1", len(outcomes))
		}
		o := outcomes[0]
		if len(o.Reports) != 2 || len(o.Lost) != 1 || o.Lost[0].ServerID != l.node.self.ServerID {
			t.Errorf("reports %d, lost %v; want 2 and %s", len(o.Reports), o.Lost, l.node.self.ServerID)
		}
		if c.elections() != 2 {
			t.Errorf("%d elections, want 2", c.elections())
		}
	})
}

func TestSilentNodeIsTriedFourTimesThenNamed(t *testing.T) {
	virtual(t, 3, func(t *testing.T, c *cluster) {
		c.tweak = func(o *Options) { o.ConfigTimeout = 10 * time.Second }
		c.f.fail = func(_, to, call string) error {
			if call == "Distribute" && to == c.addrs[2] {
				return errors.New("no route")
			}
			return nil
		}
		c.startAll()
		l := c.waitLeader()
		c.waitEnd(2*time.Minute, ExitCluster)
		if n := l.events.count("config_delivery_retry"); n != 3 {
			t.Errorf("%d retries were logged, want 3", n)
		}
		if !strings.Contains(l.ending.Reason, "node c at "+c.addrs[2]) || !strings.Contains(l.ending.Reason, "no route") {
			t.Errorf("the reason does not name node and cause: %s", l.ending.Reason)
		}
		if got := l.node.Attempts()[Attempt{"c", "failed"}]; got != 4 {
			t.Errorf("%d tries counted, want 4", got)
		}
	})
}

func TestDeliveryHealedAfterTheSecondTryStartsTheRun(t *testing.T) {
	virtual(t, 3, func(t *testing.T, c *cluster) {
		tries := 0
		c.f.fail = func(_, to, call string) error {
			if call == "Distribute" && to == c.addrs[1] {
				if tries++; tries <= 2 {
					return errors.New("no route")
				}
			}
			return nil
		}
		c.startAll()
		c.waitEnd(2*time.Minute, ExitOK)
		if got := c.startsOf(c.onlyRun()); got != 3 {
			t.Errorf("%d nodes started, want 3", got)
		}
	})
}

func TestRefusalAbortsAtOnce(t *testing.T) {
	virtual(t, 3, func(t *testing.T, c *cluster) {
		c.startAll()
		c.hosts[1].runner.refuse = errors.New("cannot hold the data file")
		began := time.Now()
		c.waitEnd(20*time.Second, ExitCluster)
		if took := time.Since(began); took > 10*time.Second {
			t.Errorf("the abort took %s", took)
		}
		for _, h := range c.hosts {
			if !strings.Contains(h.ending.Reason, "node b at "+c.addrs[1]) || !strings.Contains(h.ending.Reason, "cannot hold the data file") {
				t.Errorf("%s: reason does not name node and cause: %s", h.addr, h.ending.Reason)
			}
			if n := h.events.count("config_delivery_retry"); n != 0 {
				t.Errorf("a refusal was tried again %d times", n)
			}
		}
	})
}

// TestEngineThatFailsIsNoInvalidPlan: the leader's cannot prepare anything.
func TestEngineThatFailsIsNoInvalidPlan(t *testing.T) {
	virtual(t, 3, func(t *testing.T, c *cluster) {
		c.source.delay = 5 * time.Second
		c.startAll()
		l := c.waitLeader()
		l.runner.mu.Lock()
		l.runner.refuse = fmt.Errorf("%w: it was killed", ErrEngine)
		l.runner.mu.Unlock()
		c.waitEnd(30*time.Second, ExitFailure)
		if got := l.events.count("config_invalid"); got != 0 {
			t.Errorf("%d events config_invalid, want none", got)
		}
	})
}

// TestPlanThatTheLeaderCannotRunIsInvalid: found out before anything is
// committed, it is a fault of the plan, and no node's refusal.
func TestPlanThatTheLeaderCannotRunIsInvalid(t *testing.T) {
	virtual(t, 3, func(t *testing.T, c *cluster) {
		c.source.delay = 5 * time.Second
		c.startAll()
		l := c.waitLeader()
		l.runner.mu.Lock()
		l.runner.refuse = errors.New("11:17: scenarios[0].steps[0].request.path: ${env.NOPE} is not known")
		l.runner.mu.Unlock()
		c.waitEnd(30*time.Second, ExitInvalid)
		for _, h := range c.hosts {
			if !strings.Contains(h.ending.Reason, "invalid plan from fake://plan: 11:17: scenarios[0]") {
				t.Errorf("%s: reason %q", h.addr, h.ending.Reason)
			}
		}
		if got := l.events.count("config_invalid"); got != 1 {
			t.Errorf("%d events config_invalid, want 1", got)
		}
		if c.elections() != 1 || l.runner.holds() != 0 {
			t.Errorf("%d elections, %d runs held; want 1 and none", c.elections(), l.runner.holds())
		}
	})
}

func TestSourceFailureAbortsEverywhereWithoutReelection(t *testing.T) {
	for name, set := range map[string]func(*fakeSource){
		"missing": func(s *fakeSource) { s.set("", "", errors.New("key loadtest/config not found")) },
		"invalid": func(s *fakeSource) { s.set("bad key loadtest/config not found", "1", nil) },
	} {
		t.Run(name, func(t *testing.T) {
			virtual(t, 3, func(t *testing.T, c *cluster) {
				set(c.source)
				c.startAll()
				c.waitEnd(20*time.Second, ExitInvalid)
				for _, h := range c.hosts {
					if !strings.Contains(h.ending.Reason, "loadtest/config not found") {
						t.Errorf("%s: reason %q", h.addr, h.ending.Reason)
					}
				}
				if c.elections() != 1 || c.source.count() != 1 {
					t.Errorf("%d elections, %d fetches; want 1 each", c.elections(), c.source.count())
				}
			})
		})
	}
}

func TestHoldWaitsForANewRevision(t *testing.T) {
	virtual(t, 3, func(t *testing.T, c *cluster) {
		c.tweak = func(o *Options) { o.Hold = true }
		c.source.set("bad plan", "1", nil)
		c.startAll()
		c.waitPhase(20*time.Second, "aborted")
		for _, h := range c.hosts {
			if e := h.node.Status().Error; e == nil || !strings.Contains(*e, "bad plan") {
				t.Errorf("%s shows error %v", h.addr, e)
			}
		}
		c.source.set("run 5s", "2", nil)
		c.waitPhase(30*time.Second, "running")
		c.waitEnd(30*time.Second, ExitOK)
	})
}

func TestNodesThatDoNotComeAreNamed(t *testing.T) {
	virtual(t, 5, func(t *testing.T, c *cluster) {
		for i := range 3 {
			c.start(i)
		}
		c.waitEnd(150*time.Second, ExitCluster)
		for _, h := range c.hosts {
			for _, missing := range c.addrs[3:] {
				if !strings.Contains(h.ending.Reason, missing) {
					t.Errorf("%s does not name %s: %s", h.addr, missing, h.ending.Reason)
				}
			}
		}
		if c.source.count() != 0 {
			t.Error("the plan was fetched before the cluster was complete")
		}
	})
}

func TestLateNodesDelayTheStart(t *testing.T) {
	virtual(t, 5, func(t *testing.T, c *cluster) {
		for i := range 3 {
			c.start(i)
		}
		<-time.After(20 * time.Second)
		if c.leader() != nil {
			t.Fatal("a cluster without two of the five expected")
		}
		c.start(3)
		c.start(4)
		c.waitEnd(time.Minute, ExitOK)
		if got := c.startsOf(c.onlyRun()); got != 5 {
			t.Errorf("%d nodes started, want 5", got)
		}
	})
}

func TestPlanThatDoesNotComeIsWarnedOf(t *testing.T) {
	virtual(t, 3, func(t *testing.T, c *cluster) {
		c.tweak = func(o *Options) { o.ConfigTimeout, o.KeepAlive = time.Second, true }
		hold := func(_, to, call string) error {
			if call == "Distribute" && to == c.addrs[2] {
				return errors.New("no route")
			}
			return nil
		}
		c.f.fail = hold
		c.startAll()
		late := c.hosts[2]
		c.within(20*time.Second, "config_late on the node itself", func() bool { return late.events.count("config_late") == 1 })
		c.release()
		c.waitPhase(30*time.Second, "finished")
		c.f.mu.Lock()
		c.f.fail = hold
		c.f.mu.Unlock()
		run := c.submit(c.hosts[0], "run 2s")
		c.within(20*time.Second, "config_late of the second run", func() bool { return late.events.count("config_late") == 2 })
		c.ended(run)
		if got := late.events.count("config_late"); got != 2 {
			t.Errorf("%d events config_late in two runs, want 2", got)
		}
		for _, h := range c.hosts[:2] {
			if got := h.events.count("config_late"); got != 0 {
				t.Errorf("%s has the plan and says config_late %d times", h.addr, got)
			}
		}
	})
}

func TestPostedPlanTakesOverWithoutAGap(t *testing.T) {
	virtual(t, 3, func(t *testing.T, c *cluster) {
		c.source.set("run 60s", "1", nil)
		c.startAll()
		c.waitPhase(20*time.Second, "running")
		old := c.onlyRun()
		follower := c.hosts[0]
		if follower == c.leader() {
			follower = c.hosts[1]
		}
		if _, err := follower.node.Submit(t.Context(), []byte("bad")); !errors.Is(err, ErrInvalid) {
			t.Fatalf("a bad plan gave %v, want ErrInvalid", err)
		}
		s, err := follower.node.Submit(t.Context(), []byte("run 5s"))
		if err != nil {
			t.Fatal(err)
		}
		c.within(20*time.Second, "the new run everywhere", func() bool {
			return !slices.ContainsFunc(c.hosts, func(h *host) bool { return len(h.runner.started(s.RunID)) == 0 })
		})
		for _, h := range c.hosts {
			h.runner.mu.Lock()
			cause := h.runner.ends[old]
			h.runner.mu.Unlock()
			if cause != "" && cause != "replaced" {
				t.Errorf("%s ended the old run for %q", h.addr, cause)
			}
		}
		c.waitEnd(time.Minute, ExitOK)
		if got := c.startsOf(s.RunID); got != 3 {
			t.Errorf("%d nodes started the new run, want 3", got)
		}
	})
}

func TestStopEndsTheRunEverywhere(t *testing.T) {
	virtual(t, 3, func(t *testing.T, c *cluster) {
		c.source.set("run 60s tenant blue", "1", nil)
		c.startAll()
		c.waitPhase(20*time.Second, "running")
		other := "red"
		if _, err := c.hosts[1].node.Stop(t.Context(), &other); !errors.Is(err, ErrConflict) {
			t.Fatalf("stop by another tenant gave %v, want ErrConflict", err)
		}
		if s, err := c.hosts[1].node.Stop(t.Context(), nil); err != nil || s.RunID != c.onlyRun() || s.Tenant != "blue" {
			t.Fatalf("stop: %+v, %v", s, err)
		}
		c.waitEnd(20*time.Second, ExitStopped)
	})
}

func TestSignalOnFollowerAndLeader(t *testing.T) {
	for _, who := range []string{"follower", "leader"} {
		t.Run(who, func(t *testing.T) {
			virtual(t, 3, func(t *testing.T, c *cluster) {
				c.source.set("run 30s", "1", nil)
				c.startAll()
				c.waitPhase(20*time.Second, "running")
				leaver := c.leader()
				if who == "follower" {
					leaver = c.hosts[slices.IndexFunc(c.hosts, func(h *host) bool { return h != c.leader() })]
				}
				began := time.Now()
				leaver.cancel()
				<-leaver.done
				if took := time.Since(began); took > 8*time.Second {
					t.Errorf("leaving took %s", took)
				}
				if leaver.ending.ExitCode != ExitStopped {
					t.Errorf("the leaver ended with %d, want %d", leaver.ending.ExitCode, ExitStopped)
				}
				c.f.mu.Lock()
				leaver.dead = true
				c.f.mu.Unlock()
				c.waitEnd(time.Minute, ExitOK)
				var outcomes []Outcome
				for _, h := range c.alive() {
					outcomes = append(outcomes, h.judge.all()...)
				}
				if len(outcomes) != 1 || len(outcomes[0].Reports) != 3 || len(outcomes[0].Lost) != 0 {
					t.Fatalf("verdicts %+v, want one with three reports", outcomes)
				}
				for _, r := range outcomes[0].Reports {
					if r.Left != (r.Of.ServerID == leaver.node.self.ServerID) {
						t.Errorf("report of %s: left is %v", r.Of.NodeID, r.Left)
					}
				}
			})
		})
	}
}

// TestLateMemberTakesPartIfItAcknowledgesInTime: it is not waited for, but it
// is not left out either.
func TestLateMemberTakesPartIfItAcknowledgesInTime(t *testing.T) {
	virtual(t, 4, func(t *testing.T, c *cluster) {
		c.tweak = func(o *Options) { o.Expect = 3 }
		held := c.addrs[2]
		c.f.fail = func(_, to, call string) error {
			if call == "Distribute" && to == held {
				return errors.New("held back")
			}
			return nil
		}
		for i := range 3 {
			c.start(i)
		}
		l := c.waitLeader()
		c.within(10*time.Second, "distributing", func() bool { return l.node.Status().Phase == "distributing" })
		late := c.start(3)
		c.within(10*time.Second, "the late node has the plan", func() bool { return late.node.prepared.any() })
		c.release()
		c.waitEnd(time.Minute, ExitOK)
		if got := c.startsOf(c.onlyRun()); got != 4 {
			t.Errorf("%d nodes started, want 4", got)
		}
	})
}
