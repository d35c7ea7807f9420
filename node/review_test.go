package node

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"
)

// TestRunThatEndsByIterationsDoesNotWaitForALostNode: it has no planned end in
// time that the lost one could be waited for.
func TestRunThatEndsByIterationsDoesNotWaitForALostNode(t *testing.T) {
	virtual(t, 3, func(t *testing.T, c *cluster) {
		c.source.set("run 8760h ends 20s", "1", nil)
		c.startAll()
		c.waitPhase(20*time.Second, "running")
		lost := c.hosts[slices.IndexFunc(c.hosts, func(h *host) bool { return h != c.leader() })]
		c.kill(lost)
		c.waitEnd(20*time.Second+collectTimeout+10*time.Second, ExitOK)
		for _, h := range c.alive() {
			for _, o := range h.judge.all() {
				if len(o.Reports) != 2 || len(o.Lost) != 1 {
					t.Errorf("%d reports, %d lost; want 2 and 1", len(o.Reports), len(o.Lost))
				}
			}
		}
	})
}

// TestForbiddenNodeIsNotWaitedForByEnoughOthers: who may not make the cluster
// ends; those who are enough without it make theirs.
func TestForbiddenNodeIsNotWaitedForByEnoughOthers(t *testing.T) {
	virtual(t, 4, func(t *testing.T, c *cluster) {
		c.tweak = func(o *Options) {
			o.Expect = 3
			if o.Self.Addr == c.addrs[0] { // the first to try
				o.Wire.Arbiter = &memoryArbiter{err: ErrForbidden}
			}
		}
		c.startAll()
		<-c.hosts[0].done
		if code := c.hosts[0].ending.ExitCode; code != ExitInvalid {
			t.Errorf("the forbidden node ended with %d", code)
		}
		c.kill(c.hosts[0])
		c.waitEnd(time.Minute, ExitOK)
	})
}

// TestPlanPostedWhileARunDrains is told to come again, not of a conflict.
func TestPlanPostedWhileARunDrains(t *testing.T) {
	virtual(t, 3, func(t *testing.T, c *cluster) {
		c.waiting()
		for _, h := range c.hosts {
			h.runner.drain = 20 * time.Second
		}
		first := c.submit(c.hosts[0], "run 60s")
		c.waitPhase(20*time.Second, "running")
		second := c.submit(c.hosts[1], "run 10s")
		c.within(20*time.Second, "the second run", func() bool { return len(c.hosts[0].runner.started(second)) == 1 })
		if _, err := c.hosts[2].node.Submit(t.Context(), []byte("run 5s")); !errors.Is(err, ErrBusy) || errors.Is(err, ErrConflict) || errors.Is(err, ErrNoLeader) {
			t.Errorf("a third plan while the first run drains: %v", err)
		}
		c.ended(first)
		if r := c.hosts[0].node.State().Run(first); !strings.Contains(r.Ending.Reason, "replaced by "+second) {
			t.Errorf("the first run is over for the reason %q", r.Ending.Reason)
		}
		c.ended(second)
	})
}

// A leader whose engine fails says so at once: asking it again does not help.
func TestPlanPostedToAnEngineThatFails(t *testing.T) {
	virtual(t, 3, func(t *testing.T, c *cluster) {
		c.waiting()
		l := c.waitLeader()
		l.runner.refuse = fmt.Errorf("%w: it was killed", ErrEngine)
		began := time.Now()
		for _, h := range c.hosts {
			if _, err := h.node.Submit(t.Context(), []byte("run 5s")); !errors.Is(err, ErrEngine) || errors.Is(err, ErrNoLeader) {
				t.Errorf("posted to %s: %v, want that the engine has failed", h.addr, err)
			}
		}
		if took := time.Since(began); took > time.Second {
			t.Errorf("it took %s", took)
		}
	})
}

// TestStopWhileFetchingIsForGood: the source is not asked again, even where a
// plan that fails is waited for.
func TestStopWhileFetchingIsForGood(t *testing.T) {
	virtual(t, 3, func(t *testing.T, c *cluster) {
		c.source.delay = 5 * time.Second
		c.tweak = func(o *Options) { o.Hold, o.KeepAlive = true, true }
		c.startAll()
		c.waitPhase(20*time.Second, "fetching")
		if _, err := c.hosts[0].node.Stop(t.Context(), nil); err != nil {
			t.Fatal(err)
		}
		c.waitPhase(5*time.Second, "stopped")
		<-time.After(time.Minute)
		if n := c.source.count(); n != 1 {
			t.Errorf("the source was asked %d times", n)
		}
		c.waitPhase(time.Second, "stopped")
	})
}

// TestAnotherProcessAtAnAddressDoesNotAcknowledge for the one that was expected there.
func TestAnotherProcessAtAnAddressDoesNotAcknowledge(t *testing.T) {
	virtual(t, 3, func(t *testing.T, c *cluster) {
		gate := make(chan struct{})
		at := c.addrs[2]
		c.f.fail = func(_, to, call string) error {
			if call == "Distribute" && to == at {
				select {
				case <-gate:
				default:
					<-gate
					return errors.New("connection reset")
				}
			}
			return nil
		}
		c.startAll()
		c.waitPhase(20*time.Second, "distributing")
		c.kill(c.hosts[2])
		c.f.mu.Lock()
		clear(c.f.cut)
		c.f.mu.Unlock()
		again := c.start(2)
		c.within(time.Minute, "the new process in the cluster", func() bool { return !again.identity.Blank() })
		close(gate)
		c.waitEnd(time.Minute, ExitCluster)
		if reason := c.hosts[0].ending.Reason; !strings.Contains(reason, "node c at "+at) {
			t.Errorf("reason %q", reason)
		}
		if got := c.startsOf(c.onlyRun()); got != 0 {
			t.Errorf("%d nodes started", got)
		}
	})
}

// TestNodeLeftOutOfTheNextRunMakesWay at the instant of its start.
func TestNodeLeftOutOfTheNextRunMakesWay(t *testing.T) {
	virtual(t, 3, func(t *testing.T, c *cluster) {
		c.tweak = func(o *Options) { o.StartDelay = 6 * time.Second }
		c.source.set("run 120s", "1", nil)
		c.startAll()
		c.waitPhase(20*time.Second, "running")
		old := c.onlyRun()
		l := c.leader()
		out := c.hosts[slices.IndexFunc(c.hosts, func(h *host) bool { return h != l })]
		c.f.mu.Lock()
		c.f.fail = func(_, to, call string) error { // it takes the plan, but does not answer the roll call
			if to == out.addr && call == "HealthCheck" {
				return errors.New("no answer")
			}
			return nil
		}
		c.f.mu.Unlock()
		next := c.submit(l, "run 30s")
		c.within(20*time.Second, "the schedule without it", func() bool {
			r := out.node.State().Run(next)
			return r != nil && r.StartAt != 0 && !r.Participates(out.node.self)
		})
		c.release()
		c.within(8*time.Second, "the end of its old load", func() bool {
			out.runner.mu.Lock()
			defer out.runner.mu.Unlock()
			return out.runner.ends[old] == "replaced"
		})
		c.ended(next)
	})
}

// TestLeavingLeaderBeginsNoRun: a plan that comes while it drains is the next leader's.
func TestLeavingLeaderBeginsNoRun(t *testing.T) {
	virtual(t, 3, func(t *testing.T, c *cluster) {
		c.tweak = func(o *Options) { o.Expect = 2 }
		c.waiting()
		l := c.leader()
		l.runner.drain = 3 * time.Second
		c.submit(l, "run 60s")
		c.waitPhase(20*time.Second, "running")
		l.cancel()
		c.within(time.Second, "the leader draining", l.node.Draining)
		other := c.hosts[slices.IndexFunc(c.hosts, func(h *host) bool { return h != l })]
		ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
		defer cancel()
		var s Submitted
		c.within(20*time.Second, "a leader for the plan", func() bool {
			var err error
			s, err = other.node.Submit(ctx, []byte("run 5s"))
			return err == nil
		})
		if s.NodeID == l.node.self.NodeID {
			t.Error("the leaving leader began a run")
		}
		<-l.done
		c.kill(l)
		c.ended(s.RunID)
		if r := other.node.State().Run(s.RunID); r.Phase != PhaseFinished {
			t.Errorf("the run is %s: %s", r.Phase, r.Ending.Reason)
		}
	})
}

// TestNodesThatAreEndedAtTheElectionLeaveNothing: they are members since a
// moment, and have not noticed all of it.
func TestNodesThatAreEndedAtTheElectionLeaveNothing(t *testing.T) {
	virtual(t, 3, func(t *testing.T, c *cluster) {
		arbiter := &memoryArbiter{}
		c.tweak = func(o *Options) { o.Wire.Arbiter, o.Source, o.SourceName = arbiter, nil, SourceNone }
		c.startAll()
		c.waitLeader()
		began := time.Now()
		for _, h := range c.hosts {
			h.cancel()
		}
		for _, h := range c.hosts {
			<-h.done
			if h.ending.ExitCode != ExitOK {
				t.Errorf("%s ended with %d (%s)", h.addr, h.ending.ExitCode, h.ending.Reason)
			}
		}
		if took := time.Since(began); took > 5*time.Second {
			t.Errorf("they took %s", took)
		}
		if arbiter.standing != nil {
			t.Errorf("the claim is left behind: %+v", arbiter.standing)
		}
	})
}
