package node

import (
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"
)

// refuse makes Reports of one process fail for good, the first so many to each
// address, and counts those that were tried.
func (c *cluster) refuse(from string, each int) (tries func() int) {
	var mu sync.Mutex
	count, all := map[string]int{}, 0
	before := c.f.fail
	c.f.mu.Lock()
	defer c.f.mu.Unlock()
	c.f.fail = func(f, to, call string) error {
		if call != "Report" || f != from {
			return before(f, to, call)
		}
		mu.Lock()
		defer mu.Unlock()
		all++
		if count[to]++; count[to] > each {
			return nil
		}
		return fmt.Errorf("%w: larger than max", ErrRefused)
	}
	return func() int {
		mu.Lock()
		defer mu.Unlock()
		return all
	}
}

// TestFinalReportThatIsRefusedIsTold, once, and is not sent for ever.
func TestFinalReportThatIsRefusedIsTold(t *testing.T) {
	virtual(t, 3, func(t *testing.T, c *cluster) {
		c.startAll()
		c.waitPhase(20*time.Second, "running")
		refused := c.follower()
		tries := c.refuse(refused.addr, 1<<20)
		c.waitEnd(2*time.Minute, ExitOK)
		if n, told := tries(), refused.events.count("summary_refused"); n != 1 || told != 1 {
			t.Errorf("it was tried %d times and told %d times, want once each", n, told)
		}
		if o := c.onlyVerdict(); len(o.Lost) != 1 || o.Lost[0].ServerID != refused.node.self.ServerID {
			t.Errorf("lost: %+v", o.Lost)
		}
	})
}

// TestWhoLeavesDoesNotWaitForARefusedReport, and so has time to give its membership up.
func TestWhoLeavesDoesNotWaitForARefusedReport(t *testing.T) {
	virtual(t, 3, func(t *testing.T, c *cluster) {
		c.going("run 60s")
		left := c.follower()
		c.refuse(left.addr, 1<<20)
		began := time.Now()
		left.cancel()
		<-left.done
		if took := time.Since(began); took > 3*time.Second {
			t.Errorf("leaving took %s", took)
		}
		if n := len(c.leader().node.members()); n != 2 {
			t.Errorf("%d members, want those who stay", n)
		}
		if told := left.events.count("summary_refused"); told != 1 {
			t.Errorf("told %d times, want once", told)
		}
	})
}

// TestLeaderThatLeavesHandsOverWhatIsNotRefused: its own summary, which goes first,
// does not hold up that of a node that is lost.
func TestLeaderThatLeavesHandsOverWhatIsNotRefused(t *testing.T) {
	virtual(t, 5, func(t *testing.T, c *cluster) {
		c.tell()
		c.source.set("run 30s", "1", nil)
		c.startAll()
		l := c.waitLeader()
		c.veto(l.addr, "", "Stream") // or the voters had it all
		lost := c.hosts[slices.IndexFunc(c.hosts, (*host).follows)]
		c.secondsOf(4*time.Second + 200*time.Millisecond)
		c.kill(lost)
		<-time.After(lostAfter + time.Second)
		c.refuse(l.addr, 1)
		l.cancel()
		<-l.done
		c.kill(l)
		c.waitEnd(2*time.Minute, ExitOK)
		o := c.onlyVerdict()
		if !slices.ContainsFunc(o.Reports, func(r Report) bool {
			return r.Of.ServerID == lost.node.self.ServerID && string(r.Summary) == "4 s"
		}) {
			t.Errorf("reports: %+v; want that of %s", o.Reports, lost.node.self.NodeID)
		}
	})
}
