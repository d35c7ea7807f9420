package node

import (
	"errors"
	"fmt"
	"testing"
	"time"
)

// TestRefusedRevisionEndsARestartedCluster, as at a first start: the plan is valid, and
// the leader's engine cannot run it.
func TestRefusedRevisionEndsARestartedCluster(t *testing.T) {
	for _, tt := range []struct {
		why  error
		code int
	}{{fmt.Errorf("%w: a row is broken", ErrRefused), ExitInvalid}, {fmt.Errorf("%w: out of memory", ErrEngine), ExitFailure}} {
		t.Run(tt.why.Error(), func(t *testing.T) {
			onDisks(t, 3, func(t *testing.T, c *cluster) {
				c.lived(ExitOK)
				c.source.set("run 20s", "2", nil)
				c.tweak = func(o *Options) { o.Runner.(*fakeRunner).refuse = tt.why }
				c.again()
				c.waitEnd(time.Minute, tt.code)
			})
		})
	}
}

// TestLeaderOfARestartedClusterIsLostWhileItPrepares: nothing has been decided until
// its engine is prepared, so the next leader does.
func TestLeaderOfARestartedClusterIsLostWhileItPrepares(t *testing.T) {
	for name, refuse := range map[string]error{"what can be run": nil, "what cannot": errors.New("a row is broken")} {
		t.Run(name, func(t *testing.T) {
			onDisks(t, 3, func(t *testing.T, c *cluster) {
				c.lived(ExitFailed)
				c.source.set("run 20s", "2", nil)
				c.tweak = func(o *Options) {
					o.Runner.(*fakeRunner).prepares = 10 * time.Second
					o.Runner.(*fakeRunner).refuse = refuse
				}
				c.again()
				c.within(20*time.Second, "a plan that is prepared", func() bool { return c.leader() != nil && c.leader().node.fetching() })
				<-time.After(2 * time.Second)
				i := c.place(c.leader())
				c.crash(i)
				c.within(20*time.Second, "another leader", func() bool { return c.leader() != nil })
				c.start(i)
				if refuse != nil {
					c.waitEnd(time.Minute, ExitInvalid)
					return
				}
				c.waitPhase(time.Minute, "running")
				c.waitEnd(2*time.Minute, ExitOK)
				if n := c.sends(); n != 3 {
					t.Errorf("%d loads were sent, want one a node", n)
				}
			})
		})
	}
}

// TestLeaderOfARestartedClusterThatStaysIsLostWhileItFetches: nobody was about to leave,
// and still the next leader has to know that nothing is decided.
func TestLeaderOfARestartedClusterThatStaysIsLostWhileItFetches(t *testing.T) {
	onDisks(t, 3, func(t *testing.T, c *cluster) {
		c.tweak = func(o *Options) { o.KeepAlive = true }
		c.startAll()
		c.waitPhase(time.Minute, "finished")
		c.source.set("run 20s", "2", nil)
		c.source.delay = 10 * time.Second
		c.again()
		c.within(10*time.Second, "the fetch", func() bool { return c.leader() != nil && c.leader().node.fetching() })
		<-time.After(5 * time.Second)
		i := c.place(c.leader())
		c.crash(i)
		c.within(20*time.Second, "another leader", func() bool { return c.leader() != nil })
		c.start(i)
		c.waitPhase(time.Minute, "running")
		c.waitPhase(time.Minute, "finished")
		if n := c.sends(); n != 3 {
			t.Errorf("%d loads were sent, want one a node", n)
		}
	})
}
