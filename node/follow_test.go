package node

import (
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"
)

func TestChangeOfTheSourceTakesOverAtOneInstant(t *testing.T) {
	virtual(t, 3, func(t *testing.T, c *cluster) {
		old := c.following("run 60s")
		c.source.set("run 5s", "2", nil)
		run := c.plays(20*time.Second, "run 5s")
		var first []time.Time
		for _, h := range c.hosts {
			first = append(first, h.runner.started(run)...)
			h.runner.mu.Lock()
			cause := h.runner.ends[old]
			h.runner.mu.Unlock()
			if cause != "" && cause != "replaced" {
				t.Errorf("%s ended the old run for %q", h.addr, cause)
			}
			if config := h.node.Status().Config; config.Revision != "2" || config.Source != "fake" {
				t.Errorf("%s shows %+v", h.addr, config)
			}
		}
		slices.SortFunc(first, time.Time.Compare)
		if len(first) != 3 || first[2].Sub(first[0]) > 5*time.Millisecond {
			t.Errorf("starts %v, want three within 5 ms", first)
		}
		c.waitEnd(time.Minute, ExitOK)
		if c.events("config_reloaded") != 1 || c.runs() != 2 || c.source.count() != 1 {
			t.Errorf("%d events, %d runs, %d fetches; want 1, 2, 1", c.events("config_reloaded"), c.runs(), c.source.count())
		}
	})
}

func TestInvalidChangeIsToldAndChangesNothing(t *testing.T) {
	virtual(t, 3, func(t *testing.T, c *cluster) {
		run := c.following("run 60s")
		c.source.set("bad change", "2", nil)
		c.complains("rejected revision 2 of the plan from fake://plan", "3:5: load.target: bad change")
		c.quiet(10 * time.Second)
		for _, h := range c.hosts {
			if st := h.node.Status(); st.Phase != "running" || st.Run.RunID != run || !st.ClusterReady {
				t.Errorf("%s shows phase %s, run %s", h.addr, st.Phase, st.Run.RunID)
			}
		}
		if n := c.events("config_reload_rejected"); n != 1 {
			t.Errorf("%d events config_reload_rejected, want 1", n)
		}
		c.source.set("run 5s", "3", nil)
		c.plays(20*time.Second, "run 5s")
		c.content()
		c.waitEnd(time.Minute, ExitOK)
	})
}

// TestChangeThatANodeRefusesEndsNothing: neither the run that goes on, nor the
// process, and it is not tried again.
func TestChangeThatANodeRefusesEndsNothing(t *testing.T) {
	virtual(t, 3, func(t *testing.T, c *cluster) {
		run := c.following("run 60s")
		i := slices.IndexFunc(c.hosts, func(h *host) bool { return h != c.leader() })
		c.hosts[i].runner.mu.Lock()
		c.hosts[i].runner.refuse = errors.New("cannot hold it")
		c.hosts[i].runner.mu.Unlock()
		c.source.set("run 5s", "2", nil)
		c.complains("refuses the plan", "cannot hold it")
		c.quiet(10 * time.Second)
		c.waitEnd(2*time.Minute, ExitOK)
		if c.startsOf(run) != 3 || c.runs() != 1 {
			t.Errorf("%d runs were played, want the first only", c.runs())
		}
	})
}

func TestRapidChangesEndAtTheLastValidOne(t *testing.T) {
	for name, pause := range map[string]time.Duration{"at once": 0, "every 200ms": 200 * time.Millisecond, "every 1.7s": 1700 * time.Millisecond} {
		t.Run(name, func(t *testing.T) {
			virtual(t, 3, func(t *testing.T, c *cluster) {
				c.tweak = func(o *Options) { o.Runner.(*fakeRunner).drain = 4 * time.Second }
				c.following("run 600s")
				for i := 2; i <= 21; i++ {
					document := fmt.Sprintf("run %ds", 600+i)
					if i%5 == 0 {
						document = "bad " + document
					}
					c.source.set(document, fmt.Sprint(i), nil)
					<-time.After(pause)
				}
				c.plays(30*time.Second, "run 621s")
				c.quiet(20 * time.Second)
				c.plays(time.Second, "run 621s")
				c.content()
			})
		})
	}
}

// TestValidChangeThatWaitsOutlivesAnInvalidOne: while there is no room for it.
func TestValidChangeThatWaitsOutlivesAnInvalidOne(t *testing.T) {
	virtual(t, 3, func(t *testing.T, c *cluster) {
		c.tweak = func(o *Options) { o.Runner.(*fakeRunner).drain = 10 * time.Second }
		c.following("run 600s")
		c.source.set("run 500s", "2", nil)
		c.within(20*time.Second, "two runs side by side", func() bool {
			next := c.leader().node.State().Next
			return next != nil && next.StartAt != 0 && time.Now().After(next.Start())
		})
		c.source.set("run 400s", "3", nil)
		<-time.After(time.Second)
		c.source.set("run 300s", "4", nil)
		<-time.After(time.Second)
		c.source.set("bad", "5", nil)
		<-time.After(time.Second)
		c.plays(30*time.Second, "run 300s")
		c.complains("rejected revision 5")
		if used := c.leader().node.State().Used; len(used) != 3 {
			t.Errorf("runs %v, want three: what waited was replaced without one", used)
		}
	})
}

// TestLeaderLostInTheMiddleOfChanges: at every moment of a change, and nothing is run twice.
func TestLeaderLostInTheMiddleOfChanges(t *testing.T) {
	next := func(phase Phase) func(*host) bool {
		return func(h *host) bool { r := h.node.State().Next; return r != nil && r.Phase == phase }
	}
	for _, tt := range []struct {
		name string
		hold string
		when func(l *host) bool
	}{
		{"before it is seen", "", func(*host) bool { return true }},
		{"while distributing", "Distribute", next(PhaseDistributing)},
		{"while scheduled", "", next(PhaseScheduled)},
		{"after the takeover", "", func(h *host) bool { r := h.node.State().Current; return r != nil && r.Version == "v:run 500s" }},
	} {
		t.Run(tt.name, func(t *testing.T) {
			virtual(t, 3, func(t *testing.T, c *cluster) {
				c.tweak = func(o *Options) { o.Expect = 2 }
				c.following("run 600s")
				c.within(20*time.Second, "three voters", func() bool { return len(c.leader().node.members()) == 3 })
				l := c.leader()
				if tt.hold != "" {
					c.holdBack(tt.hold)
				}
				if tt.name == "before it is seen" {
					c.kill(l)
				}
				c.source.set("run 500s", "2", nil)
				c.within(20*time.Second, "the moment to kill the leader", func() bool { return tt.when(l) })
				if !l.dead {
					c.kill(l)
				}
				c.release()
				run := c.plays(time.Minute, "run 500s")
				c.content()
				c.quiet(30 * time.Second)
				if got := c.startsOf(run); got != 2 {
					t.Errorf("%d survivors started, want 2", got)
				}
				c.source.set("bad", "3", nil)
				c.complains("rejected revision 3")
			})
		})
	}
}

// TestChangeWaitsForNodesEnough: the leader is lost, and without it there are
// too few (CLUSTER_EXPECT) until another node comes.
func TestChangeWaitsForNodesEnough(t *testing.T) {
	for _, when := range []string{"before", "while distributing"} {
		t.Run(when, func(t *testing.T) {
			virtual(t, 4, func(t *testing.T, c *cluster) {
				c.tweak = func(o *Options) { o.Expect, o.Follow = 3, true }
				c.source.set("run 600s", "1", nil)
				for i := range 3 {
					c.start(i)
				}
				c.waitPhase(30*time.Second, "running")
				l := c.leader()
				if when == "before" {
					c.kill(l)
					c.source.set("run 500s", "2", nil)
				} else {
					c.holdBack("Distribute")
					c.source.set("run 500s", "2", nil)
					c.within(20*time.Second, "the hand-over", func() bool { return l.node.State().unready() != "" })
					c.kill(l)
					c.release()
				}
				c.waitLeader()
				<-time.After(20 * time.Second)
				c.plays(time.Second, "run 600s")
				c.quiet(10 * time.Second)
				c.start(3)
				run := c.plays(time.Minute, "run 500s")
				c.content()
				if got := c.startsOf(run); got != 3 {
					t.Errorf("%d nodes started, want all three", got)
				}
				c.quiet(20 * time.Second)
			})
		})
	}
}

// TestRejectedRevisionIsNotToldAgainByTheNextLeader, with CLUSTER_CONFIG_WATCH and with hold.
func TestRejectedRevisionIsNotToldAgainByTheNextLeader(t *testing.T) {
	for _, hold := range []bool{false, true} {
		t.Run(fmt.Sprintf("hold %v", hold), func(t *testing.T) {
			virtual(t, 3, func(t *testing.T, c *cluster) {
				c.tweak = func(o *Options) { o.Expect, o.Hold = 2, hold }
				if hold {
					c.source.set("bad at first", "1", nil)
					c.startAll()
					c.waitPhase(20*time.Second, "aborted")
					c.within(20*time.Second, "three members", func() bool { return len(c.waitLeader().node.members()) == 3 })
				} else {
					c.following("run 600s")
					c.within(20*time.Second, "three members", func() bool { return len(c.leader().node.members()) == 3 })
				}
				c.source.set("bad change", "2", nil)
				c.complains("bad change")
				c.kill(c.leader())
				c.waitLeader()
				c.quiet(20 * time.Second)
				c.complains("bad change")
				if n, m := c.events("config_reload_rejected"), c.events("config_invalid"); n != 1 || hold && m != 1 {
					t.Errorf("%d events config_reload_rejected, %d config_invalid; want each revision told once", n, m)
				}
				if fetches := c.source.count(); fetches != 1 {
					t.Errorf("%d fetches, want 1", fetches)
				}
				c.source.set("run 500s", "3", nil)
				c.plays(time.Minute, "run 500s")
				c.content()
			})
		})
	}
}

// TestPostedPlanStandsUntilTheSourceChanges, whoever leads meanwhile.
func TestPostedPlanStandsUntilTheSourceChanges(t *testing.T) {
	virtual(t, 3, func(t *testing.T, c *cluster) {
		c.tweak = func(o *Options) { o.Expect = 2 }
		c.following("run 600s")
		c.within(20*time.Second, "three members", func() bool { return len(c.leader().node.members()) == 3 })
		c.source.set("run 500s", "2", nil)
		c.plays(20*time.Second, "run 500s")
		c.submit(c.hosts[0], "run 400s")
		c.plays(20*time.Second, "run 400s")
		c.kill(c.leader())
		c.waitLeader()
		c.quiet(30 * time.Second)
		c.plays(time.Second, "run 400s")
		c.source.set("", "", errors.New("not found"))
		c.complains("not found")
		c.source.set("run 500s", "2", nil) // it was away for a moment
		c.content()
		c.quiet(10 * time.Second)
		c.plays(time.Second, "run 400s")
		c.source.set("run 500s", "3", nil) // what it had before the post, stored again
		c.plays(time.Minute, "run 500s")
		c.source.set("run 500s", "4", nil) // and once more: that runs already
		c.quiet(10 * time.Second)
	})
}

// TestPostBeforeTheFetchIsNotReplacedByWhatWasThere.
func TestPostBeforeTheFetchIsNotReplacedByWhatWasThere(t *testing.T) {
	virtual(t, 3, func(t *testing.T, c *cluster) {
		c.tweak = func(o *Options) { o.Follow = true }
		c.source.delay = 20 * time.Second
		c.startAll()
		c.waitPhase(10*time.Second, "fetching")
		c.submit(c.hosts[1], "run 600s")
		c.plays(20*time.Second, "run 600s")
		c.quiet(30 * time.Second)
		c.source.set("run 500s", "2", nil)
		c.plays(20*time.Second, "run 500s")
	})
}

func TestKeyThatIsDeletedEndsNothing(t *testing.T) {
	virtual(t, 3, func(t *testing.T, c *cluster) {
		run := c.following("run 60s")
		c.source.set("", "", errors.New("fetch fake://plan: not found"))
		c.complains("fetch fake://plan: not found")
		c.quiet(10 * time.Second)
		if n := c.events("config_reload_rejected"); n != 1 {
			t.Errorf("%d events config_reload_rejected, want 1", n)
		}
		c.source.set("run 60s", "1", nil) // as it was
		c.content()
		c.quiet(5 * time.Second)
		c.source.set("", "", errors.New("fetch fake://plan: not found"))
		c.complains("not found")
		c.waitEnd(2*time.Minute, ExitOK)
		if c.runs() != 1 || c.startsOf(run) != 3 {
			t.Errorf("%d runs, want 1", c.runs())
		}
	})
}

// TestNodesThatStayUpFollowOn: after a run has finished, and after it was stopped.
func TestNodesThatStayUpFollowOn(t *testing.T) {
	virtual(t, 3, func(t *testing.T, c *cluster) {
		c.tweak = func(o *Options) { o.KeepAlive = true }
		run := c.following("run 5s")
		c.ended(run)
		c.quiet(10 * time.Second)
		c.source.set("run 5s", "2", nil) // a new revision, even of the same plan, runs again
		c.within(20*time.Second, "a second run", func() bool { return c.runs() == 2 })
		c.source.set("run 600s", "3", nil)
		run = c.plays(30*time.Second, "run 600s")
		if _, err := c.hosts[0].node.Stop(t.Context(), nil); err != nil {
			t.Fatal(err)
		}
		c.ended(run)
		c.quiet(10 * time.Second)
		refuse := func(why error) {
			for _, h := range c.hosts {
				if h != c.leader() {
					h.runner.mu.Lock()
					h.runner.refuse = why
					h.runner.mu.Unlock()
				}
			}
		}
		refuse(errors.New("cannot hold it"))
		c.source.set("run 8s", "4", nil)
		c.waitPhase(20*time.Second, "aborted")
		c.complains("cannot hold it")
		c.quiet(10 * time.Second)
		refuse(nil)
		c.source.set("run 7s", "5", nil)
		c.plays(30*time.Second, "run 7s")
	})
}

// TestChangeReplacesWhatIsPrepared: the start-up plan has not started yet.
func TestChangeReplacesWhatIsPrepared(t *testing.T) {
	virtual(t, 3, func(t *testing.T, c *cluster) {
		c.tweak = func(o *Options) { o.Follow = true }
		c.source.set("run 60s", "1", nil)
		c.holdBack("Distribute")
		c.startAll()
		c.waitPhase(20*time.Second, "distributing")
		c.source.set("run 5s", "2", nil)
		<-time.After(100 * time.Millisecond)
		c.release()
		c.plays(30*time.Second, "run 5s")
		c.waitEnd(time.Minute, ExitOK)
		if c.runs() != 1 {
			t.Errorf("%d runs were played, want the newest only", c.runs())
		}
	})
}

func TestWithoutWatchNobodyLooks(t *testing.T) {
	virtual(t, 3, func(t *testing.T, c *cluster) {
		c.source.set("run 20s", "1", nil)
		c.startAll()
		c.waitPhase(20*time.Second, "running")
		c.source.set("run 5s", "2", nil)
		c.waitEnd(time.Minute, ExitOK)
		if c.runs() != 1 {
			t.Errorf("%d runs, want 1", c.runs())
		}
	})
}

// TestSourceDoesNotEndAnotherTenantsPostedRun, but may change its own tenant.
func TestSourceDoesNotEndAnotherTenantsPostedRun(t *testing.T) {
	virtual(t, 3, func(t *testing.T, c *cluster) {
		c.following("run 600s tenant blue")
		c.source.set("run 500s tenant red", "2", nil)
		c.plays(20*time.Second, "run 500s tenant red")
		c.submit(c.hosts[0], "run 400s tenant red")
		c.plays(20*time.Second, "run 400s tenant red")
		c.source.set("run 300s tenant blue", "3", nil)
		c.complains("rejected revision 3", `posted by tenant "red"`)
		c.quiet(10 * time.Second)
	})
}

// TestOwnFileOfANewLeaderIsNoChange until it changes.
func TestOwnFileOfANewLeaderIsNoChange(t *testing.T) {
	virtual(t, 3, func(t *testing.T, c *cluster) {
		files := map[string]*fakeSource{}
		for i, addr := range c.addrs {
			files[addr] = &fakeSource{document: fmt.Sprintf("run %ds", 600+i), revision: fmt.Sprint("hash ", i), file: true}
		}
		c.tweak = func(o *Options) {
			own := files[o.Self.Addr]
			o.Expect, o.Follow, o.Source, o.SourceName, o.SourceHash = 2, true, own, SourceFile, "v:"+own.document
			o.Watch = func(trouble string) Watch { return &fakeWatch{own, trouble} }
		}
		c.startAll()
		c.waitPhase(30*time.Second, "running")
		c.within(20*time.Second, "three members", func() bool { return len(c.leader().node.members()) == 3 })
		c.kill(c.leader())
		l := c.waitLeader()
		c.quiet(20 * time.Second)
		files[l.addr].set("run 300s", "hash 9", nil)
		c.plays(time.Minute, "run 300s")
	})
}
