package node

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/hashicorp/raft"
)

// again starts all places once more, where every process has ended or crashed.
func (c *cluster) again() []*host {
	c.t.Helper()
	for i := range c.addrs {
		if h := c.at(i); !h.dead {
			c.kill(h)
			if err := h.node.opt.Disk.Close(); err != nil {
				c.t.Fatal(err)
			}
		}
	}
	<-time.After(time.Second)
	for i := range c.addrs {
		c.start(i)
	}
	return c.alive()
}

// sends counts the runs of which a living process has sent something.
func (c *cluster) sends() (n int) {
	for _, h := range c.alive() {
		h.runner.mu.Lock()
		n += len(h.runner.starts)
		h.runner.mu.Unlock()
	}
	return n
}

// lived is a cluster whose run has ended, and that has ended with it.
func (c *cluster) lived(code int) {
	c.t.Helper()
	for i := range c.addrs {
		c.start(i).judge.code = code
	}
	c.waitEnd(time.Minute, code)
}

func TestFinishedRunIsNotRunAgain(t *testing.T) {
	onDisks(t, 3, func(t *testing.T, c *cluster) {
		c.lived(ExitFailed)
		for range 2 { // what was found is found again
			began := time.Now()
			c.again()
			c.waitEnd(20*time.Second, ExitFailed)
			if took := time.Since(began); took > 8*time.Second {
				t.Errorf("it took %s", took)
			}
			for _, h := range c.alive() {
				if !strings.Contains(h.ending.Reason, "in which this process had no part: it was found in CLUSTER_DATA_DIR ("+howAgain+")") {
					t.Errorf("%s: %s", h.addr, h.ending.Reason)
				}
				if len(h.judge.all()) > 0 {
					t.Errorf("%s has judged it again", h.addr)
				}
			}
			if n := c.sends(); n > 0 {
				t.Errorf("%d loads were sent", n)
			}
		}
	})
}

func TestAnotherRevisionIsRun(t *testing.T) {
	onDisks(t, 3, func(t *testing.T, c *cluster) {
		c.lived(ExitFailed)
		c.source.set("run 20s", "2", nil)
		c.again()
		c.waitPhase(20*time.Second, "running")
		c.waitEnd(time.Minute, ExitOK)
		if n := c.sends(); n != 3 {
			t.Errorf("%d loads were sent, want one a node", n)
		}
		if o := c.onlyVerdict(); len(o.Reports) != 3 || o.Run.Revision != "2" {
			t.Errorf("%d reports of revision %s", len(o.Reports), o.Run.Revision)
		}
	})
}

// TestWhoLacksTheEndingWaitsForTheDecision: it learns of the ending from a log that
// goes on, and must not leave with it.
func TestWhoLacksTheEndingWaitsForTheDecision(t *testing.T) {
	onDisks(t, 3, func(t *testing.T, c *cluster) {
		c.going("run 20s")
		i := c.place(c.follower())
		c.crash(i)
		c.waitEnd(time.Minute, ExitOK)
		c.source.set("run 30s", "2", nil)
		c.source.delay = 10 * time.Second // longer than a node waits that leaves
		c.again()
		c.waitPhase(40*time.Second, "running")
		c.waitEnd(time.Minute, ExitOK)
		if o := c.onlyVerdict(); len(o.Reports) != 3 || o.Run.Revision != "2" {
			t.Errorf("%d reports of revision %s", len(o.Reports), o.Run.Revision)
		}
	})
}

func TestFinishedRunWithKeepAliveWaits(t *testing.T) {
	for _, before := range []bool{false, true} {
		t.Run(fmt.Sprintf("KEEP_ALIVE=%v before", before), func(t *testing.T) {
			onDisks(t, 3, func(t *testing.T, c *cluster) {
				keep := before
				c.tweak = func(o *Options) { o.KeepAlive = keep }
				if before {
					c.startAll()
					c.waitPhase(time.Minute, "finished")
					for i := range c.addrs {
						c.crash(i)
					}
				} else {
					c.lived(ExitOK)
				}
				keep = true
				c.again()
				c.waitPhase(20*time.Second, "finished")
				<-time.After(20 * time.Second)
				if c.waitPhase(time.Second, "finished"); c.sends() > 0 {
					t.Error("a load was sent")
				}
				run := c.submit(c.at(0), "run 15s")
				c.waitPhase(20*time.Second, "running")
				c.waitPhase(time.Minute, "finished")
				if o := c.onlyVerdict(); o.Run.ID != run || len(o.Reports) != 3 {
					t.Errorf("run %s with %d reports", o.Run.ID, len(o.Reports))
				}
				for i := range c.addrs {
					c.crash(i)
				}
				c.source.set("run 12s", "2", nil)
				c.again()
				c.waitPhase(20*time.Second, "running")
				c.waitPhase(time.Minute, "finished")
			})
		})
	}
}

// TestRestartInALivingClusterStartsNothing: nodes that stay up are restarted one
// after the other, the leader too, and the source has another plan by now, which
// nobody was told to follow.
func TestRestartInALivingClusterStartsNothing(t *testing.T) {
	onDisks(t, 3, func(t *testing.T, c *cluster) {
		c.tweak = func(o *Options) { o.KeepAlive = true }
		c.startAll()
		c.waitPhase(time.Minute, "finished")
		c.source.set("run 30s", "2", nil)
		for k := range 4 {
			i := k // and then whoever leads: the next one was restarted
			if k == 3 {
				i = c.place(c.waitLeader())
			}
			c.crash(i)
			<-time.After(5 * time.Second)
			c.start(i)
			c.within(20*time.Second, "three members that answer", func() bool {
				l := c.leader()
				return l != nil && !slices.ContainsFunc(l.node.members(), func(m Member) bool { return !l.node.leading.Load().crew.seen(m.ServerID) })
			})
		}
		<-time.After(20 * time.Second)
		if c.waitPhase(time.Second, "finished"); c.source.count() != 1 {
			t.Errorf("%d fetches, want the first", c.source.count())
		}
	})
}

func TestWhatIsTriedAgain(t *testing.T) {
	for _, tt := range []struct {
		name   string
		before func(c *cluster) // until every process has ended
		after  func(c *cluster)
		code   int
		sends  int
	}{
		{"a start that was aborted", func(c *cluster) {
			tweak := c.tweak
			c.tweak = func(o *Options) { o.Runner.(*fakeRunner).refuse = errors.New("no such thing") }
			c.start(0)
			c.start(1)
			c.start(2)
			c.waitEnd(time.Minute, ExitInvalid)
			c.tweak = tweak
		}, func(*cluster) {}, ExitOK, 3},
		{"a node that refused", func(c *cluster) {
			for i := range c.addrs {
				if h := c.start(i); i == 2 {
					h.runner.refuse = errors.New("no such thing")
				}
			}
			c.waitEnd(time.Minute, ExitCluster)
		}, func(*cluster) {}, ExitOK, 3},
		{"a plan that was invalid", func(c *cluster) {
			c.source.set("bad plan", "1", nil)
			c.startAll()
			c.waitEnd(time.Minute, ExitInvalid)
		}, func(c *cluster) { c.source.set("run 10s", "2", nil) }, ExitOK, 3},
		{"a source that is away by now", func(c *cluster) { c.lived(ExitOK) },
			func(c *cluster) { c.source.set("", "", errors.New("not found")) }, ExitInvalid, 0},
		{"a plan that is invalid by now", func(c *cluster) { c.lived(ExitOK) },
			func(c *cluster) { c.source.set("bad plan", "2", nil) }, ExitInvalid, 0},
		{"a run that was stopped", func(c *cluster) {
			c.startAll()
			c.waitPhase(20*time.Second, "running")
			if _, err := c.at(0).node.Stop(c.t.Context(), nil); err != nil {
				c.t.Fatal(err)
			}
			c.waitEnd(time.Minute, ExitStopped)
		}, func(*cluster) {}, ExitStopped, 0},
	} {
		t.Run(tt.name, func(t *testing.T) {
			onDisks(t, 3, func(t *testing.T, c *cluster) {
				tt.before(c)
				tt.after(c)
				c.again()
				c.waitEnd(time.Minute, tt.code)
				if n := c.sends(); n != tt.sends {
					t.Errorf("%d loads were sent, want %d", n, tt.sends)
				}
			})
		})
	}
}

// TestWhoLacksTheDecisionDoesNotLeave: the leader has decided by then, and the log
// has not told this node yet, which would leave with the ending that it has found.
func TestWhoLacksTheDecisionDoesNotLeave(t *testing.T) {
	onDisks(t, 3, func(t *testing.T, c *cluster) {
		c.lived(ExitOK)
		c.source.set("run 20s", "2", nil)
		c.source.delay = 20 * time.Second
		c.again()
		c.within(10*time.Second, "the fetch", func() bool { return c.leader() != nil && c.leader().node.fetching() })
		late := c.at(c.place(c.follower()))
		c.within(5*time.Second, "the ending that was found", func() bool { return late.node.State().Leaving() != nil })
		l := c.leader()
		l.transport.Disconnect(raft.ServerAddress(late.addr))
		if _, err := l.node.Stop(t.Context(), nil); err != nil {
			t.Fatal(err)
		}
		<-time.After(500 * time.Millisecond) // it asks to leave every 200
		l.transport.Connect(raft.ServerAddress(late.addr), late.transport)
		c.waitEnd(10*time.Second, ExitStopped)
		if reason := late.ending.Reason; reason != "ended before there was a run: stop" {
			t.Errorf("reason %q", reason)
		}
	})
}

// TestVerdictStandsAfterAStartThatCameToNothing: once the source has the plan of the
// run again, that is the answer, not why there was none in between.
func TestVerdictStandsAfterAStartThatCameToNothing(t *testing.T) {
	onDisks(t, 3, func(t *testing.T, c *cluster) {
		c.lived(ExitFailed)
		c.source.set("", "", errors.New("not found"))
		c.again()
		c.waitEnd(20*time.Second, ExitInvalid)
		c.source.set("run 10s", "1", nil)
		c.again()
		c.waitEnd(20*time.Second, ExitFailed)
		if n := c.sends(); n != 0 {
			t.Errorf("%d loads were sent", n)
		}
	})
}

// TestSoleVoterRestartsInALivingCluster: nobody has led meanwhile, and still the
// cluster has never ended.
func TestSoleVoterRestartsInALivingCluster(t *testing.T) {
	onDisks(t, 2, func(t *testing.T, c *cluster) {
		c.tweak = func(o *Options) { o.KeepAlive = true }
		c.startAll()
		c.waitPhase(time.Minute, "finished")
		c.source.set("run 30s", "2", nil)
		i := c.place(c.waitLeader())
		c.crash(i)
		<-time.After(time.Second)
		c.start(i)
		<-time.After(30 * time.Second)
		if c.waitPhase(time.Second, "finished"); c.source.count() != 1 || c.leader() == nil {
			t.Errorf("%d fetches, want the first; leader %v", c.source.count(), c.leader())
		}
	})
}

// TestStopWhileARestartedClusterFetches is as at a first start: nothing starts, and
// the source is not asked again, even where it is followed.
func TestStopWhileARestartedClusterFetches(t *testing.T) {
	for name, keep := range map[string]bool{"and leaves": false, "and stays": true} {
		t.Run(name, func(t *testing.T) {
			onDisks(t, 3, func(t *testing.T, c *cluster) {
				c.lived(ExitOK)
				c.tweak = func(o *Options) { o.KeepAlive, o.Follow = keep, keep }
				c.source.set("run 20s", "2", nil)
				c.source.delay = 20 * time.Second
				c.again()
				c.within(10*time.Second, "the fetch", func() bool { return c.leader() != nil && c.leader().node.fetching() })
				began := time.Now()
				if _, err := c.at(c.place(c.follower())).node.Stop(t.Context(), nil); err != nil || time.Since(began) > time.Second {
					t.Fatalf("after %s: %v", time.Since(began), err)
				}
				if !keep {
					c.waitEnd(10*time.Second, ExitStopped)
				}
				<-time.After(time.Minute)
				if n, asked := c.sends(), c.source.count(); n != 0 || asked != 2 {
					t.Errorf("%d loads were sent, the source was asked %d times, want none and once by each of the two starts", n, asked)
				}
				if keep {
					run := c.submit(c.at(0), "run 2s")
					c.ended(run)
					if got := c.startsOf(run); got != 3 {
						t.Errorf("%d nodes started the plan that was posted after that", got)
					}
				}
			})
		})
	}
}
