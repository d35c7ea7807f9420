package node

import (
	"errors"
	"testing"
	"time"
)

// looked is a restarted cluster whose leader knows so much later what its source has.
func (c *cluster) looked(later time.Duration, document, revision string, err error) {
	c.t.Helper()
	c.lived(ExitFailed)
	c.source.set(document, revision, err)
	c.source.delay = later
	c.again()
	c.within(10*time.Second, "the fetch", func() bool { return c.leader() != nil && c.leader().node.fetching() })
	for i := range c.addrs {
		c.within(5*time.Second, "the ending that was found", func() bool { return c.at(i).node.State().Leaving() != nil })
	}
}

// signal ends a process by a signal, and returns how long that took.
func (c *cluster) signal(h *host) time.Duration {
	began := time.Now()
	h.cancel()
	<-h.done
	return time.Since(began)
}

func (c *cluster) one(who string) *host {
	if who == "the leader" {
		return c.leader()
	}
	return c.at(c.place(c.follower()))
}

// TestSignalWhileARestartedClusterLooks: the node leaves with what is decided meanwhile,
// as the others do.
func TestSignalWhileARestartedClusterLooks(t *testing.T) {
	for _, who := range []string{"the leader", "a follower"} {
		t.Run(who, func(t *testing.T) {
			onDisks(t, 3, func(t *testing.T, c *cluster) {
				c.looked(3*time.Second, "", "", errors.New("not found"))
				if took := c.signal(c.one(who)); took > 8*time.Second {
					t.Errorf("it took %s", took)
				}
				c.waitEnd(10*time.Second, ExitInvalid)
			})
		})
	}
}

// TestSignalWhileARestartedClusterGoesOn: another run has begun, and the node leaves that
// as any other: it can be started again, and be a member again.
func TestSignalWhileARestartedClusterGoesOn(t *testing.T) {
	for _, who := range []string{"the leader", "a follower"} {
		t.Run(who, func(t *testing.T) {
			onDisks(t, 3, func(t *testing.T, c *cluster) {
				c.looked(3*time.Second, "run 20s", "2", nil)
				h := c.one(who)
				took := c.signal(h)
				if took > 8*time.Second || h.ending.ExitCode != ExitStopped {
					t.Errorf("it took %s and ended with %d: %s, want %d", took, h.ending.ExitCode, h.ending.Reason, ExitStopped)
				}
				c.within(5*time.Second, "another leader", func() bool { return c.leader() != nil && c.leader() != h })
				if m := c.leader().node.members(); find(m, h.node.self.ServerID) != nil {
					t.Errorf("it is still a member of %v", m)
				}
				c.kill(h)
				if err := h.node.opt.Disk.Close(); err != nil {
					t.Fatal(err)
				}
				c.start(c.place(h))
				c.waitEnd(time.Minute, ExitOK)
				if n := c.sends(); n != 3 {
					t.Errorf("%d loads were sent, want one a node", n)
				}
			})
		})
	}
}

// TestSignalWhileARestartedClusterDoesNotDecide: then it is what was found.
func TestSignalWhileARestartedClusterDoesNotDecide(t *testing.T) {
	onDisks(t, 3, func(t *testing.T, c *cluster) {
		c.looked(20*time.Second, "run 20s", "2", nil)
		h := c.one("a follower")
		if took := c.signal(h); took > 8*time.Second || h.ending.ExitCode != ExitFailed {
			t.Errorf("it took %s and ended with %d: %s, want %d", took, h.ending.ExitCode, h.ending.Reason, ExitFailed)
		}
	})
}
