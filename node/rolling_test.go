package node

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"
)

// index is which of the cluster's addresses the host has.
func (c *cluster) index(h *host) int { return slices.Index(c.addrs, h.addr) }

// standsAs says what a host is in its leader's eyes: "voter", "nonvoter", or "" for no member.
func (c *cluster) standsAs(h *host) string {
	l := c.leader()
	if l == nil {
		return ""
	}
	return l.node.suffrages()[h.node.self.ServerID]
}

// voters are how many of the cluster's members vote.
func (c *cluster) voters() (n int) {
	for _, s := range c.leader().node.suffrages() {
		if s == "voter" {
			n++
		}
	}
	return n
}

func TestJoinerEntersAtOneArrival(t *testing.T) {
	for _, tt := range []struct {
		plan      string
		afterLoss bool
		divisions int
	}{
		{"run 60s scope cluster", false, 2},
		{"run 60s", false, 2},
		{"run 60s scope cluster", true, 3},
		{"run 60s", true, 2},
	} {
		t.Run(fmt.Sprintf("%s, after a failover %v", tt.plan, tt.afterLoss), func(t *testing.T) {
			virtual(t, 4, func(t *testing.T, c *cluster) {
				c.tweak = func(o *Options) { o.Expect = 3 }
				c.source.set(tt.plan, "1", nil)
				for i := range 3 {
					c.start(i)
				}
				c.waitPhase(20*time.Second, "running")
				run := c.onlyRun()
				w := c.watchLoad(run)
				<-time.After(5 * time.Second)
				begun := c.hosts[0].node.player.find(run).start
				var lost *host
				if tt.afterLoss {
					lost = c.leader()
					c.kill(lost)
					c.within(10*time.Second, "another leader", func() bool { return c.leader() != nil })
				}
				came := time.Now()
				joiner := c.start(3)
				d := c.divided(15*time.Second, run, tt.divisions)
				if find(d.Members, joiner.node.self.ServerID) == nil || d.Clock != c.leader().node.self.ServerID {
					t.Errorf("division %+v, want the joiner in it, and the start in the clock of %s", d, c.leader().node.self.ServerID)
				}
				if d.From != d.At.Milliseconds() {
					t.Errorf("from arrival %d, but %d are due by then", d.From, d.At.Milliseconds())
				}
				if ahead := d.At - came.Sub(begun); ahead < joinLead || ahead > 10*time.Second {
					t.Errorf("it enters %s after it has come", ahead)
				}
				c.within(5*time.Second, "the joiner plays", func() bool { return joiner.node.player.find(run) != nil })
				if off := joiner.node.player.find(run).start.Sub(begun).Abs(); off > 5*time.Millisecond {
					t.Errorf("the joiner has the start %s beside the others'", off)
				}
				if joiner.events.count("clock_unknown") != 0 {
					t.Error("the joiner starts by a clock that it has never measured")
				}
				<-time.After(5 * time.Second)
				if tt.plan == "run 60s" {
					close(w.stop)
				} else if tt.afterLoss {
					w.end([2]time.Duration{5 * time.Second, 13 * time.Second})
				} else {
					w.end()
				}
				c.waitEnd(2*time.Minute, ExitOK)
				o := c.verdict(run)
				if len(o.Run.Participants) != 4 || len(o.Reports)+len(o.Lost) != 4 {
					t.Errorf("participants %v, %d reports, lost %v", o.Run.Participants, len(o.Reports), o.Lost)
				}
				if c.source.count() != 1 {
					t.Errorf("%d fetches, want 1", c.source.count())
				}
			})
		})
	}
}

// A node that refuses the plan, or does not take it, does not enter, and the run does not mind.
func TestJoinerThatCannotRunThePlanStaysOutside(t *testing.T) {
	virtual(t, 4, func(t *testing.T, c *cluster) {
		c.tweak = func(o *Options) { o.Expect = 3 }
		c.source.set("run 30s scope cluster", "1", nil)
		for i := range 3 {
			c.start(i)
		}
		c.waitPhase(20*time.Second, "running")
		run := c.onlyRun()
		joiner := c.start(3)
		joiner.runner.mu.Lock()
		joiner.runner.refuse = errors.New("cannot hold the data file")
		joiner.runner.mu.Unlock()
		c.within(10*time.Second, "it refuses", func() bool { return joiner.events.count("config_refused") == 1 })
		c.waitEnd(time.Minute, ExitOK)
		if o := c.verdict(run); len(o.Run.Divisions) != 1 || len(o.Reports) != 3 {
			t.Errorf("%d divisions, %d reports; want 1 and 3", len(o.Run.Divisions), len(o.Reports))
		}
	})
}

// TestRollingRestart: every node is restarted in the middle of a run, each after
// the one before is what it was; the run goes on, and nobody sends too much.
func TestRollingRestart(t *testing.T) {
	for _, tt := range []struct {
		size   int
		kill   bool // kill -9 instead of a signal
		voters int
	}{{2, false, 1}, {3, false, 3}, {3, true, 3}, {5, false, 5}, {5, true, 5}} {
		how := "by signal"
		if tt.kill {
			how = "killed"
		}
		t.Run(fmt.Sprintf("%d nodes %s", tt.size, how), func(t *testing.T) {
			virtual(t, tt.size, func(t *testing.T, c *cluster) {
				run := c.going("run 10m scope cluster")
				w := c.watchLoad(run)
				for _, old := range slices.Clone(c.hosts) {
					if tt.kill {
						c.kill(old)
					} else {
						old.cancel()
						<-old.done
						c.f.mu.Lock()
						old.dead = true
						c.f.mu.Unlock()
					}
					<-time.After(2 * time.Second)
					again := c.start(c.index(old))
					c.within(60*time.Second, "it is a voter again, or with two nodes a member, and has a part", func() bool {
						l := c.leader()
						if l == nil || c.standsAs(again) == "" || c.voters() != tt.voters || tt.size > 2 && c.standsAs(again) != "voter" {
							return false
						}
						d := l.divisions(run)
						return find(d[len(d)-1].Members, again.node.self.ServerID) != nil
					})
				}
				<-time.After(3 * time.Second) // its part is due by then
				for _, h := range c.alive() {
					if n := len(h.runner.started(run)); n != 1 {
						t.Errorf("%s started %d times, want once", h.addr, n)
					}
				}
				close(w.stop)
				<-w.done
				if w.most > 1+1e-9 {
					t.Errorf("up to %.3f of the target were sent", w.most)
				}
				c.waitEnd(15*time.Minute, ExitOK)
				o := c.verdict(run)
				if len(o.Run.Participants) != 2*tt.size {
					t.Errorf("%d participants, want all %d that ever were", len(o.Run.Participants), 2*tt.size)
				}
				if want := 2 * tt.size; !tt.kill && len(o.Reports) != want || tt.kill && len(o.Reports) < tt.size {
					t.Errorf("%d reports, want %d", len(o.Reports), want)
				}
				if c.source.count() != 1 {
					t.Errorf("%d fetches, want 1", c.source.count())
				}
			})
		})
	}
}

// TestTwoOfFiveDie: their parts are given to the other three, and the verdict names them.
func TestTwoOfFiveDie(t *testing.T) {
	virtual(t, 5, func(t *testing.T, c *cluster) {
		run := c.going("run 60s scope cluster")
		w := c.watchLoad(run)
		<-time.After(5 * time.Second)
		c.kill(c.leader())
		c.kill(c.hosts[slices.IndexFunc(c.hosts, func(h *host) bool { return !h.dead })])
		c.within(15*time.Second, "three have it all", func() bool {
			return !slices.ContainsFunc(c.alive(), func(h *host) bool {
				d := h.divisions(run)
				return len(d[len(d)-1].Members) != 3
			})
		})
		<-time.After(5 * time.Second)
		w.end([2]time.Duration{5 * time.Second, 13 * time.Second})
		c.waitEnd(2*time.Minute, ExitOK)
		if o := c.verdict(run); len(o.Reports) != 3 || len(o.Lost) != 2 {
			t.Errorf("%d reports, lost %v", len(o.Reports), o.Lost)
		}
	})
}

// TestLeaderDiesBeforeADivisionIsDue: what it has decided stands, and the next
// leader's own comes after it.
func TestLeaderDiesBeforeADivisionIsDue(t *testing.T) {
	virtual(t, 5, func(t *testing.T, c *cluster) {
		run := c.going("run 60s scope cluster")
		w := c.watchLoad(run)
		<-time.After(5 * time.Second)
		first := c.follower()
		c.kill(first)
		l := c.leader()
		c.within(10*time.Second, "the leader has decided", func() bool { return len(l.divisions(run)) == 2 })
		c.kill(l)
		d := c.divided(15*time.Second, run, 3)
		all := c.alive()[0].divisions(run)
		if len(all[1].Members) != 4 || len(d.Members) != 3 || d.At < all[1].At {
			t.Errorf("divisions %+v", all)
		}
		<-time.After(5 * time.Second)
		w.end([2]time.Duration{5 * time.Second, 18 * time.Second})
		c.waitEnd(2*time.Minute, ExitOK)
	})
}

// A loss between Schedule and the start is divided after the start.
func TestLossBeforeTheStartIsDividedAfterIt(t *testing.T) {
	virtual(t, 3, func(t *testing.T, c *cluster) {
		c.source.set("run 30s scope cluster", "1", nil)
		c.startAll()
		c.waitPhase(20*time.Second, "scheduled")
		run := c.onlyRun()
		c.kill(c.follower())
		d := c.divided(15*time.Second, run, 2)
		if len(d.Members) != 2 || d.At <= 0 || d.At > 6*time.Second {
			t.Errorf("division %+v", d)
		}
		c.waitEnd(time.Minute, ExitOK)
	})
}

// A node whose engine has failed sends nothing any more: the others take its part.
func TestPartOfAFailedEngineIsGivenAway(t *testing.T) {
	virtual(t, 3, func(t *testing.T, c *cluster) {
		run := c.going("run 30s scope cluster")
		failed := c.follower()
		failed.node.player.end(run, &StopReason{Cause: "signal"}) // its own engine ends it, and it reports that
		d := c.divided(10*time.Second, run, 2)
		if len(d.Members) != 2 || find(d.Members, failed.node.self.ServerID) != nil {
			t.Errorf("division %+v", d)
		}
		<-time.After(5 * time.Second)
		if n := len(c.leader().divisions(run)); n != 2 {
			t.Errorf("%d divisions, want 2: it does not come back", n)
		}
		c.waitEnd(time.Minute, ExitOK)
	})
}

// An engine that does not take a division is given it again.
func TestDivisionIsHandedOnAgain(t *testing.T) {
	virtual(t, 3, func(t *testing.T, c *cluster) {
		run := c.going("run 30s scope cluster")
		slow := c.follower()
		slow.runner.mu.Lock()
		slow.runner.fail = errors.New("busy")
		slow.runner.mu.Unlock()
		other := c.hosts[slices.IndexFunc(c.hosts, func(h *host) bool { return h != slow && h != c.leader() })]
		c.kill(other)
		c.divided(15*time.Second, run, 2)
		<-time.After(500 * time.Millisecond)
		slow.runner.mu.Lock()
		slow.runner.fail = nil
		slow.runner.mu.Unlock()
		c.within(time.Second, "the division has come through", func() bool {
			slow.runner.mu.Lock()
			defer slow.runner.mu.Unlock()
			return len(slow.runner.parts[run]) == 2
		})
		c.waitEnd(time.Minute, ExitOK)
	})
}

// An engine that cannot take its part, and never will, is not asked for ever: the
// node ends its load, says so, and the others get the part.
func TestPartThatIsRefusedIsGivenAway(t *testing.T) {
	virtual(t, 5, func(t *testing.T, c *cluster) {
		run := c.going("run 30s scope cluster")
		refuses := c.follower()
		refuses.runner.mu.Lock()
		refuses.runner.fail = fmt.Errorf("no row is left: %w", ErrRefused)
		refuses.runner.mu.Unlock()
		other := c.hosts[slices.IndexFunc(c.hosts, func(h *host) bool { return h != refuses && h != c.leader() })]
		c.kill(other)
		d := c.divided(15*time.Second, run, 3)
		if len(d.Members) != 3 || find(d.Members, refuses.node.self.ServerID) != nil {
			t.Errorf("division %+v", d)
		}
		c.waitEnd(time.Minute, ExitOK)
		if refuses.runner.ends[run] != CauseRefused || refuses.events.count("part_refused") != 1 {
			t.Errorf("ended by %q, %d events part_refused", refuses.runner.ends[run], refuses.events.count("part_refused"))
		}
		for _, rep := range c.verdict(run).Reports {
			if rep.Of.ServerID == refuses.node.self.ServerID && !strings.Contains(rep.Failure, "no row is left") {
				t.Errorf("its report says %q", rep.Failure)
			}
		}
	})
}
