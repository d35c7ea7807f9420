package node

import (
	"errors"
	"testing"
	"time"
)

// stopsFetching sends POST /stop while a restarted cluster fetches.
func (c *cluster) stopsFetching() Stopped {
	c.t.Helper()
	c.source.delay = 20 * time.Second
	c.again()
	c.within(10*time.Second, "the fetch", func() bool { return c.leader() != nil && c.leader().node.fetching() })
	out, err := c.at(c.place(c.follower())).node.Stop(c.t.Context(), nil)
	if err != nil {
		c.t.Fatal(err)
	}
	c.source.delay = 0
	return out
}

// TestStopWhileARestartedClusterOnHoldFetches: what was held was a start that came to
// nothing, so the nodes are not there for anything else, as at a first start.
func TestStopWhileARestartedClusterOnHoldFetches(t *testing.T) {
	for name, before := range map[string]func(c *cluster){
		"after a start that was aborted": func(c *cluster) {
			for i := range c.addrs {
				if h := c.start(i); i == 2 {
					h.runner.refuse = errors.New("no such thing")
				}
			}
			c.waitPhase(time.Minute, "aborted")
		},
		"after a source that was away": func(c *cluster) {
			c.lived(ExitOK)
			c.source.set("", "", errors.New("not found"))
			c.again()
			c.waitPhase(time.Minute, "aborted")
			c.source.set("run 10s", "1", nil)
		},
	} {
		t.Run(name, func(t *testing.T) {
			onDisks(t, 3, func(t *testing.T, c *cluster) {
				c.tweak = func(o *Options) { o.Hold = true }
				before(c)
				c.stopsFetching()
				c.waitEnd(10*time.Second, ExitStopped)
			})
		})
	}
}

// TestRestartedClusterOnHoldFollowsTheSource, as it does at a first start: another
// revision is run, and that of the run which is over is not run again.
func TestRestartedClusterOnHoldFollowsTheSource(t *testing.T) {
	for _, tt := range []struct {
		revision    string
		code, sends int
	}{{"1", ExitFailed, 0}, {"2", ExitOK, 3}} {
		t.Run("revision "+tt.revision, func(t *testing.T) {
			onDisks(t, 3, func(t *testing.T, c *cluster) {
				c.tweak = func(o *Options) { o.Hold = true }
				c.lived(ExitFailed)
				c.source.set("", "", errors.New("not found"))
				c.again()
				c.waitPhase(time.Minute, "aborted")
				<-time.After(20 * time.Second)
				c.source.set("run 10s", tt.revision, nil)
				c.waitEnd(time.Minute, tt.code)
				if n := c.sends(); n != tt.sends {
					t.Errorf("%d loads were sent, want %d", n, tt.sends)
				}
			})
		})
	}
}

// TestStopWhileARestartedClusterFetchesNamesNoRun: what it ends is a start, not the run
// that was over before, after which the nodes stand by no more.
func TestStopWhileARestartedClusterFetchesNamesNoRun(t *testing.T) {
	onDisks(t, 3, func(t *testing.T, c *cluster) {
		c.tweak = func(o *Options) { o.KeepAlive = true }
		c.source.set("run 10s standby on", "1", nil)
		c.startAll()
		c.waitPhase(time.Minute, "finished")
		c.source.set("run 20s", "2", nil)
		if out := c.stopsFetching(); out != (Stopped{}) {
			t.Errorf("the answer is %+v, want no run", out)
		}
		c.waitPhase(5*time.Second, "stopped")
		for _, h := range c.alive() {
			c.within(5*time.Second, "silence on "+h.addr, func() bool { return h.runner.rests() == "" })
		}
	})
}
