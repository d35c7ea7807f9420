package node

import (
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hashicorp/raft"
)

// mount gives a process the directory of its place, if it has one.
func (c *cluster) mount(i int, h *host, opt *Options) {
	if c.disks == nil {
		return
	}
	d, err := OpenDisk(c.disks[i], opt.Self.NodeID, opt.Name, slog.New(h.events))
	if err != nil {
		c.t.Fatal(err)
	}
	c.t.Cleanup(func() { d.Close() })
	h.identity = d.Identity()
	opt.Self.ServerID, opt.Disk, opt.Identity = d.ServerID(), d, h.identity
}

// withDisks gives every place a directory of its own.
func (c *cluster) withDisks() {
	c.disks = map[int]string{}
	for i := range c.addrs {
		c.disks[i] = filepath.Join(c.t.TempDir(), "data")
	}
}

// crash makes the process at a place disappear, and leaves what is on its disk at
// that moment: what the process writes from then on, it writes elsewhere.
func (c *cluster) crash(i int) {
	c.t.Helper()
	h := c.at(i)
	c.kill(h)
	synctest.Wait() // nobody is writing
	copied := filepath.Join(c.t.TempDir(), "data")
	if err := os.CopyFS(copied, os.DirFS(c.disks[i])); err != nil {
		c.t.Fatal(err)
	}
	c.disks[i] = copied
}

// at is the newest process at a place.
func (c *cluster) at(i int) *host {
	for k := len(c.hosts) - 1; ; k-- {
		if strings.HasPrefix(c.hosts[k].node.self.NodeID, string(rune('a'+i))) {
			return c.hosts[k]
		}
	}
}

func (c *cluster) place(h *host) int { return int(h.node.self.NodeID[0] - 'a') }

// onDisks runs a test in a bubble, with a directory for each node.
func onDisks(t *testing.T, size int, f func(t *testing.T, c *cluster)) {
	t.Helper()
	virtual(t, size, func(t *testing.T, c *cluster) {
		c.withDisks()
		f(t, c)
	})
}

// lives are the processes of a place that the run knows, and since when.
func (c *cluster) lives(run string, i int) (at []time.Duration) {
	r := c.leader().node.machine.State().Run(run)
	for _, p := range r.Participants {
		if p.NodeID == string(rune('a'+i)) {
			at = append(at, r.entry(p).At)
		}
	}
	return at
}

// TestRestartWithTheDirectoryIsTheSameMember, and sends nothing of what its
// former life was to send: it enters the run again by a division of its own.
func TestRestartWithTheDirectoryIsTheSameMember(t *testing.T) {
	for name, document := range map[string]string{"node": "run 60s", "cluster": "run 60s scope cluster"} {
		t.Run("scope "+name, func(t *testing.T) {
			for _, who := range []string{"a follower", "the leader"} {
				t.Run(who, func(t *testing.T) {
					onDisks(t, 3, func(t *testing.T, c *cluster) {
						c.tell()
						c.source.set(document, "1", nil)
						c.startAll()
						c.waitPhase(20*time.Second, "running")
						run := c.onlyRun()
						<-time.After(5 * time.Second)
						i := c.place(c.leader())
						if who == "a follower" {
							i = c.place(c.follower())
						}
						before := c.at(i)
						load := &load{}
						if name == "cluster" {
							load = c.watchLoad(run)
						}
						crashed := time.Since(before.node.StartOf(run))
						c.crash(i)
						after := c.start(i)
						if after.node.self.ServerID != before.node.self.ServerID || after.node.self.Incarnation == before.node.self.Incarnation {
							t.Fatalf("the process before was %s, this one is %s", before.node.self.Life(), after.node.self.Life())
						}
						c.within(15*time.Second, "a part of the run", func() bool {
							return c.leader() != nil && after.node.player.find(run) != nil
						})
						entered := time.Since(after.node.StartOf(run))
						if at := c.lives(run, i); len(at) != 2 || at[0] != 0 || at[1] < entered {
							t.Errorf("its lives enter at %v; the second has armed at %s", at, entered)
						}
						c.within(10*time.Second, "a vote", func() bool {
							return c.leader() != nil && c.leader().node.suffrages()[after.node.self.ServerID] == "voter"
						})
						if n := len(c.leader().node.members()); n != 3 {
							t.Errorf("%d members, want the three of before", n)
						}
						if name == "cluster" {
							load.end([2]time.Duration{crashed, crashed + 12*time.Second})
						}
						c.waitEnd(2*time.Minute, ExitOK)
						lives := map[string]int{}
						o := c.onlyVerdict()
						for _, r := range o.Reports {
							lives[r.Of.Life()]++
						}
						if len(lives) != len(o.Reports) || lives[before.node.self.Life()] != 1 || lives[after.node.self.Life()] != 1 {
							t.Errorf("reports of %v", lives)
						}
						if len(o.Lost) != 1 || o.Lost[0].Life() != before.node.self.Life() {
							t.Errorf("lost: %+v", o.Lost)
						}
					})
				})
			}
		})
	}
}

// TestMovedMemberTellsTheLeader: its address is another one after the restart, and
// nobody who is a member knows it.
func TestMovedMemberTellsTheLeader(t *testing.T) {
	onDisks(t, 3, func(t *testing.T, c *cluster) {
		c.source.set("run 60s", "1", nil)
		c.startAll()
		c.waitPhase(20*time.Second, "running")
		i := c.place(c.follower())
		before := c.at(i)
		c.crash(i)
		c.addrs[i] = "10.0.0.99:7000"
		after := c.start(i)
		c.within(10*time.Second, "the leader's word from the new address", func() bool {
			s := c.leader().node.raft.Servers()
			return slices.ContainsFunc(s, func(s raft.Server) bool {
				return string(s.ID) == before.node.self.ServerID && s.Address == "10.0.0.99:7000" && s.Suffrage == raft.Voter
			})
		})
		c.within(10*time.Second, "a part of the run", func() bool { return after.node.player.find(c.onlyRun()) != nil })
		c.waitEnd(2*time.Minute, ExitOK)
		if n := len(c.onlyVerdict().Members); n != 3 {
			t.Errorf("%d members at the end", n)
		}
	})
}

// TestTwoProcessesOfOneServer: a directory was copied, and both are started.
func TestTwoProcessesOfOneServer(t *testing.T) {
	onDisks(t, 3, func(t *testing.T, c *cluster) {
		c.source.set("run 60s", "1", nil)
		c.startAll()
		c.waitPhase(20*time.Second, "running")
		i := c.place(c.follower())
		synctest.Wait()
		copied := filepath.Join(t.TempDir(), "data")
		if err := os.CopyFS(copied, os.DirFS(c.disks[i])); err != nil {
			t.Fatal(err)
		}
		c.disks[i], c.addrs[i] = copied, "10.0.0.99:7000"
		second := c.start(i)
		<-second.done
		if second.ending.ExitCode != ExitInvalid || !strings.Contains(second.ending.Reason, "is used by two processes") {
			t.Errorf("ended with %d: %s", second.ending.ExitCode, second.ending.Reason)
		}
		c.kill(second)
		c.waitEnd(2*time.Minute, ExitOK)
		if o := c.onlyVerdict(); len(o.Reports) != 3 || len(o.Lost) != 0 {
			t.Errorf("%d reports, lost %v", len(o.Reports), o.Lost)
		}
	})
}

// TestRestartAfterLeavingInOrder: who has left is no member any more, and is one
// again, with a part of its own, under the same server id.
func TestRestartAfterLeavingInOrder(t *testing.T) {
	onDisks(t, 3, func(t *testing.T, c *cluster) {
		run := c.going("run 60s scope cluster")
		left := c.follower()
		i := c.place(left)
		left.cancel()
		<-left.done
		c.kill(left)
		c.within(5*time.Second, "two members", func() bool { return len(c.leader().node.members()) == 2 })
		left.node.opt.Disk.Close()
		after := c.start(i)
		if after.node.self.ServerID != left.node.self.ServerID {
			t.Fatalf("%s, and before %s", after.node.self.ServerID, left.node.self.ServerID)
		}
		c.within(15*time.Second, "a part of the run", func() bool {
			return find(c.leader().divisions(run)[len(c.leader().divisions(run))-1].Members, after.node.self.ServerID) != nil
		})
		c.waitEnd(2*time.Minute, ExitOK)
		if o := c.onlyVerdict(); len(o.Reports) != 4 || len(o.Lost) != 0 {
			t.Errorf("%d reports, lost %v", len(o.Reports), o.Lost)
		}
	})
}

// TestRestartLongAfterItWasRemoved from the members, while the cluster has gone on.
func TestRestartLongAfterItWasRemoved(t *testing.T) {
	onDisks(t, 3, func(t *testing.T, c *cluster) {
		c.source.set("run 10m", "1", nil)
		c.startAll()
		c.waitPhase(20*time.Second, "running")
		i := c.place(c.follower())
		c.crash(i)
		c.within(2*time.Minute, "two members", func() bool { return len(c.leader().node.members()) == 2 })
		after := c.start(i)
		c.within(15*time.Second, "a part of the run", func() bool { return after.node.player.find(c.onlyRun()) != nil })
		c.within(30*time.Second, "a vote", func() bool {
			return c.leader().node.suffrages()[after.node.self.ServerID] == "voter"
		})
	})
}

// TestWholeClusterRestartsInARun: it goes on with divisions of the new processes.
func TestWholeClusterRestartsInARun(t *testing.T) {
	onDisks(t, 3, func(t *testing.T, c *cluster) {
		run := c.going("run 60s scope cluster")
		w := c.watchLoad(run)
		<-time.After(10 * time.Second)
		for i := range c.addrs {
			c.crash(i)
		}
		<-time.After(5 * time.Second)
		for i := range c.addrs {
			c.start(i)
		}
		c.within(15*time.Second, "a part for everybody", func() bool {
			return c.leader() != nil && len(c.leader().node.machine.State().Run(run).newest().Members) == 3 && len(c.leader().divisions(run)) > 1
		})
		if c.source.count() != 1 {
			t.Errorf("%d fetches, want the one before", c.source.count())
		}
		c.waitEnd(2*time.Minute, ExitOK)
		w.end([2]time.Duration{9 * time.Second, 30 * time.Second})
		o := c.onlyVerdict()
		if len(o.Reports) != 3 || len(o.Lost) != 3 || o.Run.ID != run {
			t.Errorf("%d reports, %d lost, run %s", len(o.Reports), len(o.Lost), o.Run.ID)
		}
	})
}

// TestWholeClusterRestartsAfterTheEndOfItsRun: nobody sends any more, and the
// run is judged by what is there: nothing.
func TestWholeClusterRestartsAfterTheEndOfItsRun(t *testing.T) {
	onDisks(t, 3, func(t *testing.T, c *cluster) {
		run := c.going("run 60s scope cluster")
		for i := range c.addrs {
			c.crash(i)
		}
		<-time.After(2 * time.Minute)
		for i := range c.addrs {
			c.start(i).judge.code = ExitFailure
		}
		c.waitEnd(time.Minute, ExitFailure)
		if o := c.onlyVerdict(); len(o.Reports) != 0 || len(o.Lost) != 3 || o.Run.ID != run {
			t.Errorf("%d reports, %d lost, run %s", len(o.Reports), len(o.Lost), o.Run.ID)
		}
	})
}

// TestFinalReportIsBroughtToTheLeaderThatRestarted: it leads under the same server id
// as before, and what it had been told was in its memory.
func TestFinalReportIsBroughtToTheLeaderThatRestarted(t *testing.T) {
	for name, document := range map[string]string{"time": "run 60s", "its iterations": "run 8760h ends 60s"} {
		t.Run("a run that ends by "+name, func(t *testing.T) {
			onDisks(t, 2, func(t *testing.T, c *cluster) {
				c.source.set(document, "1", nil)
				for i := range c.addrs {
					c.start(i).runner.early = time.Duration(i) * 5 * time.Second // the second's part
				}
				c.waitPhase(20*time.Second, "running")
				run, before := c.onlyRun(), c.leader()
				early := c.follower()
				if c.place(early) != 1 {
					t.Fatalf("%s leads, want the only voter", before.node.self.NodeID)
				}
				c.within(20*time.Second, "the final report of "+early.addr, func() bool {
					reports, _ := before.node.reports.of(run)
					return reports.final(early.node.self)
				})
				<-time.After(3 * time.Second) // it knows that
				c.crash(0)
				c.start(0)
				c.waitEnd(2*time.Minute, ExitOK)
				o := c.onlyVerdict()
				if len(o.Lost) != 1 || o.Lost[0].Life() != before.node.self.Life() {
					t.Errorf("lost: %+v; want the first life of the leader only", o.Lost)
				}
			})
		})
	}
}

// TestFullDiskEndsTheNode, and nobody else.
func TestFullDiskEndsTheNode(t *testing.T) {
	onDisks(t, 3, func(t *testing.T, c *cluster) {
		c.going("run 60s scope cluster")
		full := c.follower()
		full.node.opt.Disk.bolt.Close() // from now on no write succeeds
		if _, err := c.leader().node.Stop(t.Context(), nil); err != nil {
			t.Fatal(err)
		}
		<-full.done
		if want := `CLUSTER_DATA_DIR="` + c.disks[c.place(full)] + `": cannot write raft.db: `; full.ending.ExitCode != ExitFailure || !strings.HasPrefix(full.ending.Reason, want) {
			t.Errorf("ended with %d: %s; want %s", full.ending.ExitCode, full.ending.Reason, want)
		}
		c.kill(full)
		c.waitEnd(2*time.Minute, ExitStopped)
	})
}
