package node

import (
	"testing"
	"time"

	"github.com/hashicorp/raft"
)

// TestStopOfALookIsCommittedAfterAPause: the leader cannot commit it at first, for it
// tries to pass the leadership on to one that does not hear it.
func TestStopOfALookIsCommittedAfterAPause(t *testing.T) {
	onDisks(t, 3, func(t *testing.T, c *cluster) {
		c.looked(20*time.Second, "run 20s", "2", nil)
		l, deaf := c.leader(), c.at(c.place(c.follower()))
		l.transport.Disconnect(raft.ServerAddress(deaf.addr))
		if err := l.node.propose(t.Context(), setConfig); err != nil { // deaf lacks it, and has to before it may lead
			t.Fatal(err)
		}
		passed := l.node.raft.raft.LeadershipTransferToServer(raft.ServerID(deaf.node.self.ServerID), raft.ServerAddress(deaf.addr))
		<-time.After(50 * time.Millisecond)
		if _, err := l.node.Stop(t.Context(), nil); err != nil {
			t.Fatal(err)
		}
		if passed.Error() == nil {
			t.Error("the leadership was passed on")
		}
		if n := l.events.count("leader_task_failed"); n == 0 || n > 6 {
			t.Errorf("%d tries failed, want a few", n)
		}
		l.transport.Connect(raft.ServerAddress(deaf.addr), deaf.transport)
		c.waitEnd(10*time.Second, ExitStopped)
		if n := c.source.count(); n != 2 {
			t.Errorf("the source was asked %d times, want once by each of the two starts", n)
		}
	})
}
