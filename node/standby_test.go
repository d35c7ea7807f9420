package node

import (
	"errors"
	"slices"
	"testing"
	"testing/synctest"
	"time"
)

// resting waits until every living node stands by after that run, or none
// ("") does.
func (c *cluster) resting(run string) {
	c.t.Helper()
	want := ""
	if run != "" {
		want = run + " run 2s standby on"
	}
	c.within(20*time.Second, "standby after "+run+" everywhere", func() bool {
		return !slices.ContainsFunc(c.alive(), func(h *host) bool { return h.runner.rests() != want })
	})
}

func TestEveryNodeStandsByUntilTheNextPlan(t *testing.T) {
	virtual(t, 3, func(t *testing.T, c *cluster) {
		c.waiting()
		first := c.submit(c.hosts[1], "run 2s standby on")
		c.resting(first)
		second := c.submit(c.hosts[2], "run 2s")
		c.resting("")
		c.waitPhase(10*time.Second, "running")
		c.ended(second)
		c.resting("") // its own plan has none
		c.resting(c.submit(c.hosts[0], "run 2s standby on"))
		c.submit(c.hosts[0], "run 60s")
		c.waitPhase(10*time.Second, "running")
		if _, err := c.hosts[1].node.Stop(t.Context(), nil); err != nil {
			t.Fatal(err)
		}
		c.waitPhase(10*time.Second, "stopped")
		<-time.After(20 * time.Second)
		c.resting("") // the stop was for what came before as well
	})
}

func TestStandbyOutlivesAPlanThatFailsAndALeaderThatDies(t *testing.T) {
	virtual(t, 3, func(t *testing.T, c *cluster) {
		c.waiting()
		run := c.submit(c.hosts[0], "run 2s standby on")
		c.resting(run)
		for range 2 { // the second pushes the first failure out of the log's memory
			for _, h := range c.hosts { // what the leader cannot run is no run at all
				h.runner.mu.Lock()
				h.runner.refuse = errors.New("no")
				if h == c.leader() {
					h.runner.refuse = nil
				}
				h.runner.mu.Unlock()
			}
			failed := c.submit(c.hosts[0], "run 5s")
			c.ended(failed)
			c.resting(run)
		}
		c.kill(c.leader())
		c.within(10*time.Second, "another leader", func() bool { return c.leader() != nil })
		c.resting(run)
	})
}

func TestStopEndsStandbyOnEveryNode(t *testing.T) {
	virtual(t, 3, func(t *testing.T, c *cluster) {
		c.waiting()
		run := c.submit(c.hosts[0], "run 2s standby on tenant blue")
		c.within(20*time.Second, "standby", func() bool { return c.hosts[0].runner.rests() != "" })
		red := "red"
		if _, err := c.hosts[1].node.Stop(t.Context(), &red); !errors.Is(err, ErrConflict) {
			t.Errorf("the stop of another tenant gave %v, want ErrConflict", err)
		}
		if s, err := c.hosts[1].node.Stop(t.Context(), nil); err != nil || s.RunID != run {
			t.Errorf("stop: %+v, %v, want run %s", s, err, run)
		}
		c.resting("")
		if s, err := c.hosts[1].node.Stop(t.Context(), nil); err != nil || s.RunID != "" {
			t.Errorf("a second stop: %+v, %v, want nothing to stop", s, err)
		}
		if r := c.hosts[0].node.State().Run(run); r.Phase != PhaseFinished {
			t.Errorf("the run that had finished is %s", r.Phase)
		}
	})
}

func TestASignalEndsStandby(t *testing.T) {
	virtual(t, 3, func(t *testing.T, c *cluster) {
		c.waiting()
		c.resting(c.submit(c.hosts[0], "run 2s standby on"))
		for _, h := range c.hosts {
			h.cancel()
		}
		c.waitEnd(20*time.Second, ExitOK)
		for _, h := range c.hosts {
			if h.runner.rests() != "" {
				t.Errorf("%s still stands by after %q", h.addr, h.runner.rests())
			}
		}
	})
}

// loner is a node without a cluster that waits for posted plans.
type loner struct {
	*cluster
	host *host
}

func alone(t *testing.T, f func(t *testing.T, l *loner)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(t, 1)
		defer c.bury()
		c.tweak = func(o *Options) {
			o.Wire, o.Identity, o.Source, o.SourceName = nil, nil, nil, SourceNone
			o.Ephemeral, o.ScrapeDelay = true, time.Minute
		}
		l := &loner{cluster: c, host: c.start(0)}
		c.within(time.Second, "the node to lead itself", l.host.node.Leads)
		f(t, l)
	})
}

// lives says whether the node is still there after so long.
func (l *loner) lives(d time.Duration) bool {
	select {
	case <-l.host.done:
		return false
	case <-time.After(d):
		return true
	}
}

func TestEphemeralNodeLeavesAfterItsFirstFinishedRun(t *testing.T) {
	for _, code := range []int{ExitOK, ExitFailed} {
		alone(t, func(t *testing.T, l *loner) {
			l.host.judge.code = code
			if !l.lives(time.Hour) {
				t.Fatal("it left without a run")
			}
			l.ended(l.submit(l.host, "run 2s standby on"))
			if !l.lives(59 * time.Second) {
				t.Error("it left before the scrape delay was over")
			}
			if l.host.runner.rests() != "" {
				t.Error("an ephemeral node stands by")
			}
			l.waitEnd(2*time.Second, code)
			if r := l.host.node.State().Rested; r == nil || !r.Ending.Exit {
				t.Errorf("the run it left after: %+v", r)
			}
		})
	}
}

func TestANewPlanPostponesTheEndOfAnEphemeralNode(t *testing.T) {
	alone(t, func(t *testing.T, l *loner) {
		l.ended(l.submit(l.host, "run 2s"))
		l.lives(59 * time.Second)
		run := l.submit(l.host, "run 10m")
		if !l.lives(9*time.Minute) || l.host.node.State().Run(run).Ended {
			t.Fatal("it left in the middle of the new run")
		}
		l.lives(30 * time.Second)
		l.ended(run)
		if !l.lives(59 * time.Second) {
			t.Error("the scrape delay did not begin anew")
		}
		l.waitEnd(2*time.Second, ExitOK)
	})
}

func TestAnEphemeralNodeDoesNotLeaveForAStop(t *testing.T) {
	alone(t, func(t *testing.T, l *loner) {
		if _, err := l.host.node.Stop(t.Context(), nil); err != nil || !l.lives(time.Hour) {
			t.Fatalf("a stop before the first plan: %v", err)
		}
		run := l.submit(l.host, "run 10m")
		l.waitPhase(time.Minute, "running")
		if s, err := l.host.node.Stop(t.Context(), nil); err != nil || s.RunID != run {
			t.Fatalf("stop: %+v, %v", s, err)
		}
		l.ended(run)
		if !l.lives(time.Hour) {
			t.Fatal("it left although no run has finished")
		}
		l.ended(l.submit(l.host, "run 2s"))
		if s, err := l.host.node.Stop(t.Context(), nil); err != nil || s.RunID != "" {
			t.Errorf("a stop in the scrape delay: %+v, %v", s, err)
		}
		l.waitEnd(2*time.Minute, ExitOK)
	})
}

// A plan that is refused leaves the test that has finished as it is.
func TestARefusedPlanDoesNotKeepAnEphemeralNode(t *testing.T) {
	alone(t, func(t *testing.T, l *loner) {
		l.ended(l.submit(l.host, "run 2s"))
		l.host.runner.mu.Lock()
		l.host.runner.refuse = errors.New("no")
		l.host.runner.mu.Unlock()
		l.lives(30 * time.Second)
		if _, err := l.host.node.Submit(t.Context(), []byte("run 5s")); !errors.Is(err, ErrInvalid) {
			t.Errorf("a plan that the runner refuses: %v", err)
		}
		if !l.lives(28 * time.Second) {
			t.Error("it left before the scrape delay was over")
		}
		l.waitEnd(2*time.Second, ExitOK)
	})
}

func TestASignalEndsAnEphemeralNodeAtOnce(t *testing.T) {
	alone(t, func(t *testing.T, l *loner) {
		l.ended(l.submit(l.host, "run 2s"))
		l.host.cancel()
		l.waitEnd(time.Second, ExitOK)
		if r := l.host.node.State().Rested; r.Ending.Exit {
			t.Error("a signal counts as the end of the ephemeral node")
		}
	})
}

func TestLeavingAndANewPlanExcludeEachOther(t *testing.T) {
	plan, run := "run 2s", Run{Version: "v", Ephemeral: true, KeepAlive: true}
	finished := func() *State {
		s := &State{}
		for _, c := range rested(run, plan) {
			var err error
			if s, err = s.apply(c); err != nil {
				t.Fatal(err)
			}
		}
		return s
	}
	begin, leave := Command{BeginRun: &BeginRun{Run: Run{ID: "two", Version: "v"}}}, Command{Dissolve: &Dissolve{RunID: "one"}}
	left, err := finished().apply(leave)
	if err != nil || left.Leaving() == nil {
		t.Fatalf("dissolve: %v", err)
	}
	if _, err := left.apply(begin); !errors.Is(err, ErrConflict) {
		t.Errorf("a run begun on a node that leaves: %v", err)
	}
	begun, err := finished().apply(begin)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := begun.apply(leave); !errors.Is(err, ErrConflict) {
		t.Errorf("leaving beside a run: %v", err)
	}
	if _, err := finished().apply(Command{Dissolve: &Dissolve{RunID: "zero"}}); !errors.Is(err, ErrConflict) {
		t.Errorf("leaving after another run: %v", err)
	}
}

// rested are the commands of run "one", up to its end.
func rested(run Run, document string) []Command {
	run.ID = "one"
	return []Command{
		{SetConfig: &Config{Version: run.Version, Document: []byte(document)}},
		{BeginRun: &BeginRun{Run: run}},
		{Ready: &Ready{RunID: "one"}},
		{Schedule: &Schedule{RunID: "one", StartAt: 1, Clock: "a", Participants: []Member{{ServerID: "a"}}}},
		{Finish: &FinishRun{RunID: "one", Ending: Ending{Reason: "finished", Exit: !run.KeepAlive}}},
	}
}
