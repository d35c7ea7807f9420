package node

import (
	"testing"
	"time"
)

// A threshold that fails ends the run on every node, with the exit code that
// says so; also if the leader that judged until then is gone.
func TestFailedThresholdEndsTheRunOfAll(t *testing.T) {
	for name, killed := range map[string]bool{"under one leader": false, "under the next leader": true} {
		t.Run(name, func(t *testing.T) {
			virtual(t, 3, func(t *testing.T, c *cluster) {
				c.tell()
				c.source.set("run 60s", "1", nil)
				for _, h := range c.startAll() {
					h.judge.mu.Lock()
					h.judge.fails = 8 * time.Second
					h.judge.mu.Unlock()
				}
				c.waitPhase(20*time.Second, "running")
				began := time.Now()
				if killed {
					<-time.After(2 * time.Second)
					c.kill(c.leader())
				}
				c.waitEnd(20*time.Second, ExitFailed)
				if took := time.Since(began); took < 8*time.Second {
					t.Errorf("the run has ended after %s, before the threshold failed", took)
				}
				judged := 0
				for _, h := range c.alive() {
					r := h.node.State().Run(c.onlyRun())
					if r.Phase != PhaseStopped || r.StopCause != CauseThreshold || r.StopDetail != "errors < 1" || r.StopCode != ExitFailed {
						t.Errorf("%s: phase %s, ended by %q (%q) with %d", h.addr, r.Phase, r.StopCause, r.StopDetail, r.StopCode)
					}
					judged += len(h.judge.all())
				}
				if judged != 1 {
					t.Errorf("%d verdicts, want 1", judged)
				}
			})
		})
	}
}

// What the leader knows of the run is asked of it alone, and of the next leader
// when it is gone.
func TestLeadIsTheLeaders(t *testing.T) {
	virtual(t, 3, func(t *testing.T, c *cluster) {
		c.tweak = func(o *Options) { o.KeepAlive = true }
		c.tell()
		c.startAll()
		c.waitPhase(20*time.Second, "running")
		<-time.After(3 * time.Second)
		check := func(reports int, going bool) {
			t.Helper()
			leading := 0
			for _, h := range c.alive() {
				o, leads := h.node.Lead()
				if leads != (h == c.leader()) {
					t.Errorf("%s leads %v", h.addr, leads)
				}
				if !leads {
					continue
				}
				leading++
				if o.Run.ID != c.onlyRun() || o.Going != going || len(o.Reports) != reports {
					t.Errorf("run %s, going %v, %d reports, want %s, %v, %d", o.Run.ID, o.Going, len(o.Reports), c.onlyRun(), going, reports)
				}
			}
			if leading != 1 {
				t.Errorf("%d nodes lead", leading)
			}
		}
		check(3, true)
		c.kill(c.leader())
		c.waitLeader()
		<-time.After(3 * time.Second)
		check(3, true)
		c.waitPhase(20*time.Second, "finished")
		check(0, false)
	})
}

// The leader alone holds a run against its thresholds, once a second while it goes on.
func TestLeaderAloneObserves(t *testing.T) {
	virtual(t, 3, func(t *testing.T, c *cluster) {
		c.startAll()
		c.waitPhase(20*time.Second, "running")
		leader := c.leader()
		c.waitEnd(40*time.Second, ExitOK)
		for _, h := range c.hosts {
			if seen := h.judge.observed; (h == leader) != (seen > 5 && seen < 15) {
				t.Errorf("%s has held a run of 10 s against its thresholds %d times, leader %v", h.addr, seen, h == leader)
			}
		}
	})
}
