package node

import (
	"context"
	"sync/atomic"
	"testing"
	"time"
)

// heldAnnouncer confirms nothing before shown is closed.
type heldAnnouncer struct {
	shown chan struct{}
	asked atomic.Bool
}

func (a *heldAnnouncer) Announce(string, string)        {}
func (a *heldAnnouncer) Withdraw(context.Context) error { return nil }
func (a *heldAnnouncer) Announced(ctx context.Context, role string) error {
	a.asked.Store(role == "leader")
	select {
	case <-a.shown:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// TestLeaderIsShownBeforeTheFetch: the fetch waits for the announcement that
// this node leads, for a while.
func TestLeaderIsShownBeforeTheFetch(t *testing.T) {
	for name, confirmed := range map[string]bool{"confirmed": true, "never confirmed": false} {
		t.Run(name, func(t *testing.T) {
			virtual(t, 3, func(t *testing.T, c *cluster) {
				announcer := &heldAnnouncer{shown: make(chan struct{})}
				c.tweak = func(o *Options) { o.Wire.Announcer = announcer }
				c.startAll()
				c.within(10*time.Second, "the leader waits for its announcement", announcer.asked.Load)
				<-time.After(announceTimeout - time.Second)
				if state := c.leader().node.Status().State; state != "leader" || c.source.count() != 0 {
					t.Errorf("state %s, %d fetches while the announcement is not confirmed; want leader and none", state, c.source.count())
				}
				if confirmed {
					close(announcer.shown)
				}
				c.waitEnd(time.Minute, ExitOK)
			})
		})
	}
}
