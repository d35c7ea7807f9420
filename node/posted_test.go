package node

import (
	"errors"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

// waiting starts nodes that wait for posted plans.
func (c *cluster) waiting() {
	c.t.Helper()
	tweak := c.tweak
	c.tweak = func(o *Options) {
		tweak(o)
		o.Source, o.SourceName = nil, SourceNone
	}
	c.startAll()
	c.waitLeader()
	c.within(10*time.Second, "all in the cluster", func() bool {
		return !slices.ContainsFunc(c.hosts, func(h *host) bool { return h.identity.Blank() })
	})
}

func (c *cluster) submit(h *host, document string) string {
	c.t.Helper()
	s, err := h.node.Submit(c.t.Context(), []byte(document))
	if err != nil {
		c.t.Fatalf("submit %q: %v", document, err)
	}
	return s.RunID
}

// ended waits until the run is over on every node.
func (c *cluster) ended(run string) {
	c.t.Helper()
	c.within(time.Minute, "the end of "+run, func() bool {
		return !slices.ContainsFunc(c.alive(), func(h *host) bool {
			r := h.node.State().Run(run)
			return r == nil || !r.Ended
		})
	})
}

func TestPlanWithItsOwnRunIDRunsAgainAndAgain(t *testing.T) {
	virtual(t, 3, func(t *testing.T, c *cluster) {
		c.waiting()
		seen := map[string]bool{}
		for i := range 6 {
			run := c.submit(c.hosts[i%3], "run 2s id soak")
			if seen[run] || !strings.HasPrefix(run, "soak") {
				t.Fatalf("run id %q given to post %d", run, i+1)
			}
			seen[run] = true
			c.ended(run)
			if got := c.startsOf(run); got != 3 {
				t.Fatalf("post %d: %d nodes started, want 3", i+1, got)
			}
		}
		judged := 0
		for _, h := range c.hosts {
			for _, o := range h.judge.all() {
				judged++
				if len(o.Reports) != 3 {
					t.Errorf("run %s: %d reports, want 3", o.Run.ID, len(o.Reports))
				}
			}
		}
		if judged != 6 {
			t.Errorf("%d verdicts, want 6", judged)
		}
	})
}

func TestPlansPostedAtOnceEndAtOne(t *testing.T) {
	virtual(t, 3, func(t *testing.T, c *cluster) {
		c.waiting()
		var wg sync.WaitGroup
		for i, h := range c.hosts {
			wg.Go(func() { c.submit(h, []string{"run 3s", "run 4s", "run 5s"}[i]) })
		}
		wg.Wait()
		last := c.leader().node.State().Current
		c.ended(last.ID)
		if got := c.startsOf(last.ID); got != 3 {
			t.Errorf("%d nodes started the newest plan, want 3", got)
		}
		for _, h := range c.hosts {
			if len(h.runner.starts) != 1 {
				t.Errorf("%s started %d runs, want the newest only", h.addr, len(h.runner.starts))
			}
		}
	})
}

func TestPlanOfAnotherTenantIsAConflict(t *testing.T) {
	virtual(t, 3, func(t *testing.T, c *cluster) {
		c.waiting()
		run := c.submit(c.hosts[1], "run 20s tenant blue")
		c.waitPhase(20*time.Second, "running")
		if _, err := c.hosts[2].node.Submit(t.Context(), []byte("run 5s tenant red")); !errors.Is(err, ErrConflict) {
			t.Errorf("a plan of another tenant gave %v, want ErrConflict", err)
		}
		c.ended(run)
	})
}

// TestFailedPostDoesNotHoldTheNodes: the start-up run ends while a posted plan
// is on its way, and that one fails: the verdict of the first stands.
func TestFailedPostDoesNotHoldTheNodes(t *testing.T) {
	virtual(t, 3, func(t *testing.T, c *cluster) {
		c.source.set("run 3s", "1", nil)
		c.tweak = func(o *Options) { o.ConfigTimeout = 10 * time.Second }
		c.startAll()
		c.waitPhase(20*time.Second, "running")
		c.holdBack("Distribute")
		c.submit(c.hosts[0], "run 60s")
		c.waitEnd(2*time.Minute, ExitOK)
	})
}

// TestSecondFailedPostDoesNotHoldTheNodes: the plan on its way is replaced by
// another after the start-up run has ended, and that one fails.
func TestSecondFailedPostDoesNotHoldTheNodes(t *testing.T) {
	virtual(t, 3, func(t *testing.T, c *cluster) {
		c.source.set("run 2s", "1", nil)
		c.tweak = func(o *Options) { o.ConfigTimeout = 10 * time.Second }
		for _, h := range c.startAll() {
			h.judge.code = ExitFailed
		}
		c.waitPhase(20*time.Second, "running")
		judged := c.onlyRun()
		c.holdBack("Distribute")
		first := c.submit(c.hosts[0], "run 60s")
		c.within(10*time.Second, "the end of the start-up run beside it", func() bool {
			s := c.hosts[1].node.State()
			return s.Last != nil && s.Last.ID == judged && s.Current.ID == first
		})
		c.submit(c.hosts[1], "run 50s")
		if body, err := c.leader().node.Result(t.Context()); err != nil || !strings.Contains(string(body), judged) {
			t.Errorf("the result is %q (%v), want that of %s", body, err, judged)
		}
		c.waitEnd(2*time.Minute, ExitFailed)
		for _, h := range c.hosts {
			if n := h.events.count("run_aborted"); n != 2 {
				t.Errorf("%s has told of %d runs that did not start, want both", h.addr, n)
			}
		}
	})
}

func TestStopWhileFetchingEndsAll(t *testing.T) {
	virtual(t, 3, func(t *testing.T, c *cluster) {
		c.source.delay = 20 * time.Second
		c.startAll()
		c.waitPhase(10*time.Second, "fetching")
		if _, err := c.hosts[2].node.Stop(t.Context(), nil); err != nil {
			t.Fatal(err)
		}
		c.waitEnd(20*time.Second, ExitStopped)
	})
}

func TestStopOfALongRunEndsSoonThoughANodeIsLost(t *testing.T) {
	virtual(t, 3, func(t *testing.T, c *cluster) {
		c.source.set("run 10h", "1", nil)
		c.startAll()
		c.waitPhase(20*time.Second, "running")
		lost := c.hosts[slices.IndexFunc(c.hosts, func(h *host) bool { return h != c.leader() })]
		c.kill(lost)
		if _, err := c.leader().node.Stop(t.Context(), nil); err != nil {
			t.Fatal(err)
		}
		c.waitEnd(time.Minute, ExitStopped)
	})
}

func TestSignalWhileLeavingKeepsTheVerdict(t *testing.T) {
	virtual(t, 3, func(t *testing.T, c *cluster) {
		c.source.set("run 2s", "1", nil)
		c.startAll()
		c.waitPhase(20*time.Second, "running")
		c.holdBack("Leave")
		c.within(20*time.Second, "the ending everywhere", func() bool {
			return !slices.ContainsFunc(c.hosts, func(h *host) bool { return h.node.State().Leaving() == nil })
		})
		for _, h := range c.hosts {
			h.cancel()
		}
		c.waitEnd(20*time.Second, ExitOK)
	})
}

func TestSignalToAllLeavesNoClaimBehind(t *testing.T) {
	virtual(t, 3, func(t *testing.T, c *cluster) {
		arbiter := &memoryArbiter{}
		c.tweak = func(o *Options) { o.Wire.Arbiter = arbiter }
		c.waiting()
		began := time.Now()
		for _, h := range c.hosts {
			h.cancel()
		}
		c.waitEnd(20*time.Second, ExitOK)
		if took := time.Since(began); took > 8*time.Second {
			t.Errorf("leaving took %s", took)
		}
		arbiter.mu.Lock()
		defer arbiter.mu.Unlock()
		if arbiter.standing != nil {
			t.Errorf("the claim is left behind: %+v", arbiter.standing)
		}
	})
}

func TestClockThatIsKnownTooBadlyAborts(t *testing.T) {
	virtual(t, 3, func(t *testing.T, c *cluster) {
		c.tweak = func(o *Options) { o.MaxClockError = fabricDelay / 4 } // a round trip is one delay
		c.startAll()
		c.waitEnd(time.Minute, ExitCluster)
		if reason := c.hosts[0].ending.Reason; !strings.Contains(reason, "CLUSTER_MAX_CLOCK_ERROR") {
			t.Errorf("reason %q", reason)
		}
	})
}

// TestMajorityGoneForGood: the survivor plays its part to the end, reports it
// and says that nobody knows the cluster's verdict.
func TestMajorityGoneForGood(t *testing.T) {
	virtual(t, 3, func(t *testing.T, c *cluster) {
		c.source.set("run 20s", "1", nil)
		c.startAll()
		c.waitPhase(20*time.Second, "running")
		survivor := c.hosts[2]
		c.kill(c.hosts[0])
		c.kill(c.hosts[1])
		began := time.Now()
		c.waitEnd(2*time.Minute, ExitFailure)
		if took := time.Since(began); took < 20*time.Second+verdictTimeout-5*time.Second {
			t.Errorf("it gave up after %s", took)
		}
		if !strings.Contains(survivor.ending.Reason, "cluster verdict unknown") {
			t.Errorf("reason %q", survivor.ending.Reason)
		}
		if judged := survivor.judge.all(); len(judged) != 1 || len(judged[0].Reports) != 1 || judged[0].Reports[0].Of.ServerID != survivor.node.self.ServerID || len(judged[0].Lost) != 0 || !judged[0].Alone {
			t.Errorf("own reports: %+v, want one of this node alone", judged)
		}
	})
}

// TestPostedPlanThatCannotRunChangesNothing: it is found out before the answer.
func TestPostedPlanThatCannotRunChangesNothing(t *testing.T) {
	virtual(t, 3, func(t *testing.T, c *cluster) {
		c.waiting()
		run := c.submit(c.hosts[1], "run 20s")
		c.waitPhase(20*time.Second, "running")
		l := c.leader()
		l.runner.mu.Lock()
		l.runner.refuse = errors.New("no such data file")
		l.runner.mu.Unlock()
		for _, h := range c.hosts {
			if _, err := h.node.Submit(t.Context(), []byte("run 5s")); !errors.Is(err, ErrInvalid) || !strings.Contains(err.Error(), "no such data file") {
				t.Errorf("%s: %v, want ErrInvalid and the cause", h.addr, err)
			}
		}
		for _, h := range c.hosts {
			s := h.node.State()
			if s.Current == nil || s.Current.ID != run || s.Next != nil || len(s.Used) != 1 {
				t.Errorf("%s: current %+v, next %+v, used %v", h.addr, s.Current, s.Next, s.Used)
			}
		}
		c.ended(run)
		if got := len(c.hosts[0].runner.ends); got != 1 {
			t.Errorf("%d runs were played, want 1", got)
		}
	})
}
