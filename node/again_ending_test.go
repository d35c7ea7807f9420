package node

import (
	"errors"
	"testing"
	"time"

	"github.com/hashicorp/raft"
)

// TestWhatNodesLeaveWithHasANameOfItsOwn: who has not applied yet why the last start
// came to nothing names another, and is not let go.
func TestWhatNodesLeaveWithHasANameOfItsOwn(t *testing.T) {
	run := []Command{setConfig, begin("r1", ""), ready("r1"), scheduleAt("r1", 5), finish("r1", true)}
	nothing := func(code int, reason string) Command {
		return Command{Abort: &Abort{Reopen: true, Ending: Ending{ExitCode: code, Reason: reason, Exit: true}}}
	}
	for name, before := range map[string][]Command{"without a run": nil, "after a run": run} {
		seen := map[string]bool{}
		add := func(c ...Command) {
			s := (&State{}).clone()
			for _, c := range append(before[:len(before):len(before)], c...) {
				next, err := s.apply(c)
				if err != nil {
					t.Fatalf("%s: %v", name, err)
				}
				s = next
			}
			seen[s.endedBy()] = true
		}
		all := []Command{nothing(ExitInvalid, "not found"), nothing(ExitInvalid, "forbidden"), nothing(ExitStopped, "stop"), nothing(ExitFailure, "stop")}
		for i := range all {
			add(all[:i+1]...)
		}
		if before != nil {
			add()
		}
		if want := len(all) + min(len(before), 1); len(seen) != want {
			t.Errorf("%s: %d names %v, want %d", name, len(seen), seen, want)
		}
	}
}

// TestWhoLacksTheNewestFailureDoesNotLeaveWithTheOneBefore, where there was never a run.
func TestWhoLacksTheNewestFailureDoesNotLeaveWithTheOneBefore(t *testing.T) {
	onDisks(t, 3, func(t *testing.T, c *cluster) {
		c.source.set("", "", errors.New("not found"))
		c.startAll()
		c.waitEnd(time.Minute, ExitInvalid)
		c.source.delay = 20 * time.Second
		c.again()
		l := c.waitLeader()
		late := c.at(c.place(c.follower()))
		c.within(5*time.Second, "the ending that was found", func() bool { return late.node.State().Leaving() != nil })
		l.transport.Disconnect(raft.ServerAddress(late.addr))
		c.within(10*time.Second, "the fetch", func() bool { return l.node.fetching() })
		if _, err := l.node.Stop(t.Context(), nil); err != nil {
			t.Fatal(err)
		}
		<-time.After(500 * time.Millisecond) // it asks to leave every 200
		l.transport.Connect(raft.ServerAddress(late.addr), late.transport)
		c.waitEnd(10*time.Second, ExitStopped)
	})
}
