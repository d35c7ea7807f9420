package node

import (
	"testing"
	"time"
)

// TestAllLeaveAtOnce: who passes the leadership on to one that is leaving, too,
// does not get it back for ever.
func TestAllLeaveAtOnce(t *testing.T) {
	for _, size := range []int{2, 3, 5} {
		virtual(t, size, func(t *testing.T, c *cluster) {
			c.waiting()
			c.f.mu.Lock()
			c.f.fail = func(_, _, name string) error { // so long that the leadership has gone on when it arrives
				if name == "Leave" {
					<-time.After(110 * time.Millisecond)
				}
				return nil
			}
			c.f.mu.Unlock()
			elections := 0
			for _, h := range c.hosts {
				elections -= h.events.count("leader_elected")
			}
			began := time.Now()
			for _, h := range c.hosts {
				h.cancel()
			}
			for _, h := range c.hosts {
				<-h.done
			}
			for _, h := range c.hosts {
				elections += h.events.count("leader_elected")
			}
			took := time.Since(began)
			t.Logf("%d nodes: %s, %d elections", size, took, elections)
			if took > 5*time.Second || elections > 2*size {
				t.Errorf("%d nodes that leave at once took %s and %d elections, want at most 5 s and %d", size, took, elections, 2*size)
			}
		})
	}
}
