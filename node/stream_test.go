package node

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/hashicorp/raft"
)

// onlyVerdict is the one outcome that the living nodes have judged.
func (c *cluster) onlyVerdict() Outcome {
	c.t.Helper()
	var all []Outcome
	for _, h := range c.alive() {
		all = append(all, h.judge.all()...)
	}
	if len(all) != 1 {
		c.t.Fatalf("%d verdicts, want 1", len(all))
	}
	return all[0]
}

// wantLost checks that a verdict has a node's figures up to second s of the run
// and counts it as lost, and that all others are complete.
func (o Outcome) wantLost(t *testing.T, lost *host, s int) {
	t.Helper()
	id, found := lost.node.self.ServerID, 0
	for _, r := range o.Reports {
		switch {
		case r.Of.ServerID != id && !r.Final:
			t.Errorf("the report of %s is not final", r.Of.NodeID)
		case r.Of.ServerID == id:
			found++
			if want := fmt.Sprintf("%d s", s); r.Final || string(r.Summary) != want {
				t.Errorf("the lost node's: final %v, %q; want its last, %q", r.Final, r.Summary, want)
			}
		}
	}
	if found != 1 || !slices.ContainsFunc(o.Lost, func(m Member) bool { return m.ServerID == id }) {
		t.Errorf("%d reports of %s, lost %v; want 1 and it", found, lost.node.self.NodeID, o.Lost)
	}
}

func (h *host) follows() bool { return h.node.leading.Load() == nil }

// secondsOf waits until the run has gone on for so long.
func (c *cluster) secondsOf(d time.Duration) {
	c.t.Helper()
	c.waitPhase(30*time.Second, "running")
	run := c.onlyRun()
	c.within(time.Minute, d.String()+" of the run", func() bool {
		return time.Since(c.alive()[0].node.State().Run(run).Start()) >= d
	})
}

// What is too large to be streamed is told once a run by whom it concerns, and comes
// with the final report all the same.
func TestSummaryTooLargeToBeStreamed(t *testing.T) {
	virtual(t, 3, func(t *testing.T, c *cluster) {
		c.tellMore(MaxSummary)
		c.startAll()
		leader := c.waitLeader()
		c.waitEnd(2*time.Minute, ExitOK)
		if o := c.onlyVerdict(); len(o.Reports) != 3 || len(o.Lost) != 0 {
			t.Errorf("%d reports, %d lost", len(o.Reports), len(o.Lost))
		}
		for _, h := range c.hosts {
			want := 1
			if h == leader {
				want = 2 // it streams to two voters
			}
			if n := h.events.count("summary_too_large"); n != want {
				t.Errorf("%s tells of it %d times, want %d", h.node.self.NodeID, n, want)
			}
		}
	})
}

func TestFiguresOfALostNodeAreInTheVerdict(t *testing.T) {
	for _, who := range []string{"a follower", "the leader"} {
		t.Run(who, func(t *testing.T) {
			virtual(t, 3, func(t *testing.T, c *cluster) {
				c.tell()
				c.startAll()
				lost := c.waitLeader()
				if who == "a follower" {
					lost = c.hosts[slices.IndexFunc(c.hosts, (*host).follows)]
				}
				c.secondsOf(4*time.Second + 200*time.Millisecond)
				c.kill(lost)
				c.waitEnd(2*time.Minute, ExitOK)
				c.onlyVerdict().wantLost(t, lost, 4)
			})
		})
	}
}

// TestLostLeaderKnewOfALostNode: what only the leader was told is with the
// voters by the time that it is lost, too.
func TestLostLeaderKnewOfALostNode(t *testing.T) {
	virtual(t, 5, func(t *testing.T, c *cluster) {
		c.tell()
		c.source.set("run 20s", "1", nil)
		c.startAll()
		l := c.waitLeader()
		follower := c.hosts[slices.IndexFunc(c.hosts, (*host).follows)]
		c.secondsOf(4*time.Second + 200*time.Millisecond)
		c.kill(follower)
		<-time.After(lostAfter + 3*time.Second)
		c.kill(l)
		c.waitEnd(2*time.Minute, ExitOK)
		o := c.onlyVerdict()
		if len(o.Reports) != 5 {
			t.Fatalf("%d reports, want 5", len(o.Reports))
		}
		for _, r := range o.Reports {
			if want := "4 s"; r.Of.ServerID == follower.node.self.ServerID && (r.Final || string(r.Summary) != want) {
				t.Errorf("the follower's: final %v, %q; want %q", r.Final, r.Summary, want)
			}
		}
	})
}

// TestNewLeaderHasTheStreamsAtOnce of those who are left, and what they had been told.
func TestNewLeaderHasTheStreamsAtOnce(t *testing.T) {
	virtual(t, 5, func(t *testing.T, c *cluster) {
		c.tell()
		c.source.set("run 60s", "1", nil)
		c.startAll()
		l := c.waitLeader()
		c.secondsOf(4 * time.Second)
		c.kill(l)
		c.within(10*time.Second, "another leader", func() bool { return c.leader() != nil })
		next, since := c.leader(), time.Now()
		run := c.onlyRun()
		c.within(1500*time.Millisecond, "summaries of all five", func() bool { h, _ := next.node.reports.of(run); return len(h) == 5 })
		t.Logf("complete %s after the election", time.Since(since))
	})
}

// TestOneVoterHasWhatTheNextLeaderLacks: it is asked of those who are left.
func TestOneVoterHasWhatTheNextLeaderLacks(t *testing.T) {
	virtual(t, 3, func(t *testing.T, c *cluster) {
		c.tell()
		c.startAll()
		l := c.waitLeader()
		c.secondsOf(time.Second)
		// Only one of the two followers gets what the leader relays, and the other leads
		// next: it alone can ask for votes.
		heir := c.hosts[slices.IndexFunc(c.hosts, (*host).follows)]
		other := c.hosts[slices.IndexFunc(c.hosts, func(h *host) bool { return h != l && h != heir })]
		other.transport.Disconnect(raft.ServerAddress(heir.addr))
		c.veto(l.addr, heir.addr, "Summary")
		c.secondsOf(4*time.Second + 200*time.Millisecond)
		c.kill(l)
		c.waitEnd(2*time.Minute, ExitOK)
		c.onlyVerdict().wantLost(t, l, 4)
		if heir.events.count("leader_elected") != 1 {
			t.Error("the other led next, which had it all the time")
		}
	})
}

// TestStreamThatIsSilentIsMadeAnew: one acknowledgement was lost for good, and
// nothing else is wrong.
func TestStreamThatIsSilentIsMadeAnew(t *testing.T) {
	virtual(t, 3, func(t *testing.T, c *cluster) {
		c.tell()
		c.source.set("run 60s", "1", nil)
		c.startAll()
		l := c.waitLeader()
		follower := c.hosts[slices.IndexFunc(c.hosts, (*host).follows)]
		c.secondsOf(2 * time.Second)
		c.f.mu.Lock()
		c.f.cut[[2]string{l.addr, follower.addr}] = true // only calls: Raft has a way of its own
		c.f.mu.Unlock()
		<-time.After(1500 * time.Millisecond)
		c.f.mu.Lock()
		delete(c.f.cut, [2]string{l.addr, follower.addr})
		c.f.mu.Unlock()
		<-time.After(ackTimeout + time.Second)
		run, now := c.onlyRun(), time.Now()
		held, _ := l.node.reports.of(run)
		sec := int(now.Sub(l.node.State().Run(run).Start()).Seconds())
		got := ""
		for _, r := range held[follower.node.self.ServerID] {
			got = string(r.Summary)
		}
		if got != fmt.Sprintf("%d s", sec) && got != fmt.Sprintf("%d s", sec-1) {
			t.Errorf("after it has healed the leader has %q, want what is new at %d s", got, sec)
		}
	})
}

// TestStalledReceiverHoldsUpNobody: the leader takes no more; the run ends at its time.
func TestStalledReceiverHoldsUpNobody(t *testing.T) {
	virtual(t, 3, func(t *testing.T, c *cluster) {
		c.tell()
		c.startAll()
		c.waitLeader()
		c.secondsOf(2 * time.Second)
		c.f.mu.Lock()
		c.f.fail = func(_, _, call string) error {
			if call == "Summary" {
				return errNobodyReads
			}
			return nil
		}
		c.f.mu.Unlock()
		c.waitEnd(time.Minute, ExitOK)
		for _, r := range c.onlyVerdict().Reports {
			if !r.Final {
				t.Errorf("the report of %s is not final", r.Of.NodeID)
			}
		}
	})
}

// TestLeavingLeaderHandsOverWhatItHoldsOfALostNode before anybody else is told.
func TestLeavingLeaderHandsOverWhatItHoldsOfALostNode(t *testing.T) {
	virtual(t, 5, func(t *testing.T, c *cluster) {
		c.tell()
		c.source.set("run 20s", "1", nil)
		c.startAll()
		l := c.waitLeader()
		lost := c.hosts[slices.IndexFunc(c.hosts, (*host).follows)]
		c.secondsOf(4*time.Second + 200*time.Millisecond)
		c.kill(lost)
		<-time.After(500 * time.Millisecond)
		l.cancel()
		<-l.done
		c.f.mu.Lock()
		l.dead = true
		c.f.mu.Unlock()
		c.waitEnd(2*time.Minute, ExitOK)
		o := c.onlyVerdict()
		for _, r := range o.Reports {
			if r.Of.ServerID == lost.node.self.ServerID && string(r.Summary) == "4 s" {
				return
			}
		}
		t.Errorf("the verdict lacks the lost node: %d reports", len(o.Reports))
	})
}

func TestFormerLifeStandsBesideTheNewOne(t *testing.T) {
	h := newReports("me")
	of := Member{ServerID: "b-1", NodeID: "b"}
	h.put(Report{RunID: "r", Of: of, Incarnation: "first", Seq: 9, Summary: []byte("before")})
	h.put(Report{RunID: "r", Of: of, Incarnation: "second", Seq: 1, Summary: []byte("after")})
	h.put(Report{RunID: "r", Of: of, Incarnation: "second", Seq: 1, Summary: []byte("again")})
	got, _ := h.of("r")
	if len(got["b-1"]) != 2 || string(got["b-1"][0].Summary) != "before" || string(got["b-1"][1].Summary) != "after" || got.final(Member{ServerID: "b-1", Incarnation: "second"}) {
		t.Errorf("held %+v", got)
	}
	h.put(Report{RunID: "r", Of: of, Incarnation: "second", Seq: 2, Final: true})
	h.put(Report{RunID: "r", Of: of, Incarnation: "second", Seq: 3, Summary: []byte("late")})
	if got, _ := h.of("r"); !got.final(Member{ServerID: "b-1", Incarnation: "second"}) || !got["b-1"][1].Final {
		t.Errorf("a summary has replaced the final one: %+v", got)
	}
}

// TestRoomForSummariesIsBounded in bytes, and final ones are taken all the same.
func TestRoomForSummariesIsBounded(t *testing.T) {
	h := newReports("me")
	large := make([]byte, MaxSummary)
	report := func(k int) Report {
		return Report{RunID: "r", Of: Member{ServerID: fmt.Sprint("b-", k)}, Incarnation: "x", Seq: 1, Summary: large}
	}
	k := 0
	for h.put(report(k)) {
		if k++; k > maxHeld/MaxSummary {
			t.Fatalf("%d summaries of %d bytes are held", k, MaxSummary)
		}
	}
	final := report(k)
	final.Final = true
	if !h.put(final) {
		t.Error("a final one is not taken")
	}
	if newer := report(0); h.put(func() Report { newer.Seq, newer.Summary = 2, nil; return newer }()) == false {
		t.Error("one that makes room is not taken")
	}
	h.retain(func(string) bool { return false })
	if !h.put(report(0)) || h.size != MaxSummary {
		t.Errorf("after the run %d bytes are held", h.size)
	}
}

// source is a stream of which a test plays the sender.
type source struct {
	up   chan Report
	acks chan StreamAck
}

func newSource() *source { return &source{make(chan Report, 16), make(chan StreamAck, 16)} }

func (s *source) Ack(a StreamAck) error { s.acks <- a; return nil }
func (s *source) Next(ctx context.Context) (Report, error) {
	select {
	case r, ok := <-s.up:
		if !ok {
			return r, io.EOF
		}
		return r, nil
	case <-ctx.Done():
		return Report{}, context.Cause(ctx)
	}
}

func TestStreamsOfStrangersAreRefused(t *testing.T) {
	virtual(t, 3, func(t *testing.T, c *cluster) {
		c.source.set("run 60s", "1", nil)
		c.startAll()
		l := c.waitLeader()
		c.waitPhase(20*time.Second, "running")
		voter := c.hosts[slices.IndexFunc(c.hosts, (*host).follows)]
		to, from := voter.node, l.node
		good := func() StreamHead {
			fence := from.leading.Load().fence()
			return StreamHead{ClusterID: from.identity.ClusterID(), TargetID: to.self.ServerID, From: from.self, Fence: &fence}
		}
		third := c.hosts[slices.IndexFunc(c.hosts, func(h *host) bool { return h != l && h != voter })].node
		summary := Report{RunID: c.onlyRun(), Of: from.self, Incarnation: "x", Seq: 1}
		for name, tt := range map[string]struct {
			head   func(*StreamHead)
			report func(*Report)
			want   error
		}{
			"another cluster":      {func(h *StreamHead) { h.ClusterID = "other" }, nil, ErrOtherCluster},
			"another process here": {func(h *StreamHead) { h.TargetID = "b-00000000" }, nil, ErrOtherCluster},
			"no member":            {func(h *StreamHead) { h.From.ServerID, h.Fence = "z-00000000", nil }, nil, ErrRefused},
			"a term of the past":   {func(h *StreamHead) { h.Fence.Term-- }, nil, ErrStaleLeader},
			"a term of the future": {func(h *StreamHead) { h.Fence.Term = 1 << 63 }, nil, ErrStaleLeader},
			"another's fence":      {func(h *StreamHead) { h.From = third.self }, nil, ErrStaleLeader},
			"no run named":         {nil, func(r *Report) { r.RunID = "" }, ErrRefused},
			"too large a summary":  {nil, func(r *Report) { r.Summary = make([]byte, MaxSummary+1) }, ErrRefused},
		} {
			head, r, s := good(), summary, newSource()
			if tt.head != nil {
				tt.head(&head)
			}
			if tt.report != nil {
				tt.report(&r)
			}
			s.up <- r
			if err := to.HandleStream(t.Context(), head, s); !errors.Is(err, tt.want) {
				t.Errorf("%s: got %v, want %v", name, err, tt.want)
			}
			if held, _ := to.reports.of(r.RunID); slices.ContainsFunc(held[r.Of.ServerID], func(r Report) bool { return r.Incarnation == "x" }) {
				t.Errorf("%s: its summary is held", name)
			}
		}
		unknown, s := summary, newSource()
		unknown.RunID = "not yet here"
		s.up <- unknown
		s.up <- summary
		close(s.up)
		if err := to.HandleStream(t.Context(), good(), s); err != nil {
			t.Fatal(err)
		}
		if a, b := <-s.acks, <-s.acks; !a.Again || b.Again || b.Seq != 1 || b.ServerID != from.self.ServerID {
			t.Errorf("acknowledged %+v, %+v; want the first asked for again", a, b)
		}
	})
}

// TestStreamsThatAreDeadEnd: one that carries nothing, and one that the same member has replaced.
func TestStreamsThatAreDeadEnd(t *testing.T) {
	virtual(t, 3, func(t *testing.T, c *cluster) {
		c.source.set("run 60s", "1", nil)
		c.startAll()
		c.waitPhase(20*time.Second, "running")
		to, from := c.hosts[0].node, c.hosts[1].node
		head := StreamHead{ClusterID: from.identity.ClusterID(), TargetID: to.self.ServerID, From: from.self}
		ended := make(chan error, 2)
		began := time.Now()
		go func() { ended <- to.HandleStream(t.Context(), head, newSource()) }()
		<-time.After(time.Second)
		go func() { ended <- to.HandleStream(t.Context(), head, newSource()) }()
		if err := <-ended; !errors.Is(err, ErrConflict) || time.Since(began) > 2*time.Second {
			t.Errorf("the first ended after %s: %v", time.Since(began), err)
		}
		if err := <-ended; err == nil || !strings.Contains(err.Error(), "no summary for") || time.Since(began) > 32*time.Second {
			t.Errorf("the second ended after %s: %v", time.Since(began), err)
		}
		if n := len(to.inlets.open); n != 0 {
			t.Errorf("%d streams are remembered", n)
		}
	})
}

// TestSummariesThatNobodyTakesAreWarnedOf once, not with every try.
func TestSummariesThatNobodyTakesAreWarnedOf(t *testing.T) {
	virtual(t, 3, func(t *testing.T, c *cluster) {
		c.tell()
		c.source.set("run 60s", "1", nil)
		c.startAll()
		c.waitLeader()
		c.veto("", "", "Stream")
		c.secondsOf(30 * time.Second)
		for _, h := range c.hosts {
			if n := h.events.count("summaries_stalled"); n != 1 && h.follows() {
				t.Errorf("%s has warned %d times, want once", h.addr, n)
			}
		}
	})
}
