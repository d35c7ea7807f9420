package node

import (
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"
)

// who makes members of their node ids, with weights of 1.
func who(ids ...string) (list []Member) {
	for _, id := range ids {
		list = append(list, Member{ServerID: id + "-00000000", NodeID: id, Weight: 1})
	}
	return list
}

func TestRedivide(t *testing.T) {
	const s = time.Second
	is := func(id, how string) attendance {
		a := attendance{Member: who(id)[0]}
		switch how {
		case "ready":
			a.ready = true
		case "lost":
			a.lost, a.ready, a.silent = true, true, 12*s
		case "gone":
			a.lost, a.gone, a.silent = true, true, 12*s
		}
		return a
	}
	const divided, whole = true, false
	at := func(at time.Duration, ids ...string) Division {
		return Division{At: at, From: at.Milliseconds(), Members: who(ids...)}
	}
	for _, tt := range []struct {
		name    string
		divided bool
		before  []Division
		all     []attendance
		now     time.Duration
		want    string
	}{
		{"nobody comes or goes", divided, []Division{at(0, "a", "b")}, []attendance{is("a", "ready"), is("b", "ready")}, 5 * s, ""},
		{"one is lost", divided, []Division{at(0, "a", "b")}, []attendance{is("a", "ready"), is("b", "lost")}, 9 * s, "12s a: node b is lost"},
		{"one has been silent for long", divided, []Division{at(0, "a", "b")}, []attendance{is("a", "ready"), is("b", "lost")}, 20 * s, "21s a: node b is lost"},
		{"one is provably gone", divided, []Division{at(0, "a", "b")}, []attendance{is("a", "ready"), is("b", "gone")}, 9 * s, "10s a: node b is gone"},
		{"one is lost of a load that is not divided", whole, []Division{at(0, "a", "b")}, []attendance{is("a", "ready"), is("b", "gone")}, 9 * s, ""},
		{"one joins", divided, []Division{at(0, "a", "b")}, []attendance{is("a", "ready"), is("b", "ready"), is("c", "ready")}, 9 * s, "12.5s a b c: node c joins"},
		{"one joins a load that is not divided", whole, []Division{at(0, "a", "b")}, []attendance{is("a", "ready"), is("b", "lost"), is("c", "ready")}, 9 * s, "12.5s a c: node c joins"},
		{"one is back to a load that is not divided", whole, []Division{at(0, "a", "b"), at(7*s, "a", "c")}, []attendance{is("a", "ready"), is("b", "ready"), is("c", "ready")}, 9 * s, ""},
		{"one that is not ready yet", divided, []Division{at(0, "a")}, []attendance{is("a", "ready"), is("c", "")}, 9 * s, ""},
		{"one that is not ready keeps its part", divided, []Division{at(0, "a", "c")}, []attendance{is("a", "ready"), is("c", "")}, 9 * s, ""},
		{"one is back", divided, []Division{at(0, "a", "b"), at(7*s, "a")}, []attendance{is("a", "ready"), is("b", "ready")}, 9 * s, "12.5s a b: node b is back"},
		{"several at once", divided, []Division{at(0, "a", "b", "c")}, []attendance{is("a", "ready"), is("b", "lost"), is("c", "gone"), is("d", "ready"), is("e", "ready")}, 9 * s,
			"12.5s a d e: node b is lost, node c is gone, node d joins, node e joins"},
		{"not before the division that is there", divided, []Division{at(0, "a", "b"), at(15*s, "a", "b")}, []attendance{is("a", "ready"), is("b", "gone")}, 9 * s, "15s a: node b is gone"},
		{"not before the start", divided, []Division{at(0, "a", "b")}, []attendance{is("a", "ready"), is("b", "gone")}, -s, ""},
		{"not in the last seconds", divided, []Division{at(0, "a", "b")}, []attendance{is("a", "ready"), is("b", "gone")}, 58 * s, ""},
		{"but just before", divided, []Division{at(0, "a", "b")}, []attendance{is("a", "ready"), is("b", "gone")}, 57 * s, "58s a: node b is gone"},
		{"nobody would be left", divided, []Division{at(0, "b")}, []attendance{is("a", ""), is("b", "gone")}, 9 * s, ""},
		{"a run without a start", divided, nil, []attendance{is("a", "ready")}, 9 * s, ""},
		{"one that nothing is known of keeps its part", divided, []Division{at(0, "a", "b")}, []attendance{is("a", "ready")}, 9 * s, ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			r := &Run{Duration: time.Minute, Divided: tt.divided, Divisions: tt.before}
			for _, d := range tt.before {
				r.Participants = append(r.Participants, d.Members...) // some twice
			}
			got := ""
			if d, ok := redivide(r, tt.now, tt.all); ok {
				got = d.At.String()
				for _, m := range d.Members {
					got += " " + m.NodeID
				}
				got += ": " + d.Cause
			}
			if got != tt.want {
				t.Errorf("got  %q\nwant %q", got, tt.want)
			}
		})
	}
	full := &Run{Duration: time.Hour, Divided: true, Divisions: slices.Repeat([]Division{at(0, "a", "b")}, MaxDivisions)}
	if d, ok := redivide(full, 9*s, []attendance{is("a", "ready"), is("b", "gone")}); ok {
		t.Errorf("divided once more than %d times: %+v", MaxDivisions, d)
	}
}

// load is what the nodes of a cluster would send together, second by second of the
// run: each by the divisions that its runner knows, and within its lease.
type load struct {
	c    *cluster
	run  string
	most float64         // of the target, at any time
	gaps []time.Duration // after the start, every 10 ms in which less than the target was sent
	stop chan struct{}
	done chan struct{}
}

// of is by how many divisions a process sends at least.
func (s Settlement) of(life string) int {
	if n, there := s.But[life]; there {
		return n
	}
	return max(s.Divisions, 1)
}

// watchLoad looks every 10 ms. A process that is cut off still sends, one that is dead does not.
func (c *cluster) watchLoad(run string) *load {
	w := &load{c: c, run: run, stop: make(chan struct{}), done: make(chan struct{})}
	go func() {
		defer close(w.done)
		for {
			select {
			case <-w.stop:
				return
			case <-c.t.Context().Done():
				return
			case <-time.After(10 * time.Millisecond):
				w.look()
			}
		}
	}()
	return w
}

func (w *load) look() {
	sum, at, text := 0.0, time.Duration(-1), ""
	w.c.f.mu.Lock()
	hosts := slices.DeleteFunc(slices.Clone(w.c.hosts), func(h *host) bool { return h.dead })
	w.c.f.mu.Unlock()
	for _, h := range hosts {
		pl := h.node.player.find(w.run)
		if pl == nil || pl.ending() || time.Since(pl.start) < 0 {
			continue
		}
		if at < 0 { // an arrival is everybody's at one time, but for the error of their clocks
			at = time.Since(pl.start)
		}
		h.runner.mu.Lock()
		parts := h.runner.parts[w.run]
		for len(parts) > 0 && parts[len(parts)-1].At > at {
			parts = parts[:len(parts)-1]
		}
		if len(parts) > 0 && time.Now().Before(h.runner.leased[w.run]) {
			share := parts[len(parts)-1].share(h.node.self)
			for i, d := range parts[:len(parts)-1] { // what others may send by that still is spread evenly over all
				for _, m := range d.Members {
					if s := h.runner.settled[w.run]; !m.sameLife(h.node.self) && s.of(m.Life()) <= i+1 {
						share *= 1 - d.share(m)
					}
				}
			}
			sum += share
			text += fmt.Sprintf(" %s %.3f by the division of %s, settled %+v,", h.node.self.ServerID, share, parts[len(parts)-1].At, h.runner.settled[w.run])
		}
		h.runner.mu.Unlock()
	}
	if at < 0 {
		return
	}
	if sum > 1+1e-9 && w.most <= 1+1e-9 {
		w.c.t.Errorf("%s after the start more than the target is sent:%s", at, text)
	}
	w.most = max(w.most, sum)
	if sum < 1-1e-9 {
		w.gaps = append(w.gaps, at)
	}
}

// end stops watching; the load was never more than the target, and less only in
// the spans given, for no longer than they are.
func (w *load) end(spans ...[2]time.Duration) {
	w.c.t.Helper()
	close(w.stop)
	<-w.done
	if w.most > 1+1e-9 {
		w.c.t.Errorf("up to %.3f of the target were sent", w.most)
	}
	for _, at := range w.gaps {
		if !slices.ContainsFunc(spans, func(s [2]time.Duration) bool { return s[0] <= at && at <= s[1] }) {
			w.c.t.Errorf("less than the target was sent %s after the start; want that in %v only", at, spans)
			return
		}
	}
	if len(spans) > 0 && len(w.gaps) == 0 {
		w.c.t.Error("the target was whole all the time")
	}
}

// newestOf are the divisions as a node has them in its log.
func (h *host) divisions(run string) []Division {
	if r := h.node.State().Run(run); r != nil {
		return r.Divisions
	}
	return nil
}

// going brings a cluster up to the point where the plan's run is going, and
// returns the run.
func (c *cluster) going(plan string) string {
	c.t.Helper()
	c.source.set(plan, "1", nil)
	c.startAll()
	c.waitPhase(20*time.Second, "running")
	return c.onlyRun()
}

// divided waits until every living node has so many divisions of the run, and
// returns the last.
func (c *cluster) divided(d time.Duration, run string, times int) Division {
	c.t.Helper()
	c.within(d, fmt.Sprintf("%d divisions everywhere", times), func() bool {
		return !slices.ContainsFunc(c.alive(), func(h *host) bool { return len(h.divisions(run)) < times })
	})
	return c.alive()[0].divisions(run)[times-1]
}

func (c *cluster) follower() *host {
	l := c.leader()
	return c.hosts[slices.IndexFunc(c.hosts, func(h *host) bool { return h != l && !h.dead })]
}

// verdict is the one outcome that a run had.
func (c *cluster) verdict(run string) Outcome {
	c.t.Helper()
	var all []Outcome
	for _, h := range c.hosts {
		for _, o := range h.judge.all() {
			if o.Run.ID == run && !o.Alone {
				all = append(all, o)
			}
		}
	}
	if len(all) != 1 {
		c.t.Fatalf("%d verdicts of run %s, want 1", len(all), run)
	}
	return all[0]
}

func TestLossIsDividedAndWhoIsBackIsIncluded(t *testing.T) {
	virtual(t, 3, func(t *testing.T, c *cluster) {
		run := c.going("run 60s scope cluster")
		w := c.watchLoad(run)
		lost := c.follower()
		<-time.After(5 * time.Second)
		began := time.Now()
		c.f.isolate(lost.addr, true)
		c.within(10*time.Second, "the loss is divided", func() bool { return len(c.leader().divisions(run)) == 2 })
		d := c.leader().divisions(run)[1]
		if find(d.Members, lost.node.self.ServerID) != nil || len(d.Members) != 2 || d.Cause != "node "+lost.node.self.NodeID+" is lost" {
			t.Errorf("division %+v", d)
		}
		c.within(10*time.Second, "the lost node knows that it is isolated", func() bool { return lost.events.count("isolated") == 1 })
		if took := time.Since(began); took > 4*time.Second {
			t.Errorf("isolated after %s", took)
		}
		for _, m := range lost.node.Status().Members {
			if m.ServerID == lost.node.self.ServerID && (!m.Isolated || m.Share != 0) {
				t.Errorf("the isolated node shows %+v", m)
			}
		}
		<-time.After(4 * time.Second)
		c.f.isolate(lost.addr, false)
		d = c.divided(20*time.Second, run, 3)
		if len(d.Members) != 3 || d.Cause != "node "+lost.node.self.NodeID+" is back" {
			t.Errorf("division %+v", d)
		}
		<-time.After(3 * time.Second)
		if lost.events.count("isolation_over") != 1 || lost.events.count("isolated") != 1 {
			t.Errorf("%d isolations, %d of them over; want one", lost.events.count("isolated"), lost.events.count("isolation_over"))
		}
		// From the end of its lease, at the latest 3 s after the cut, to the division.
		w.end([2]time.Duration{5 * time.Second, 11 * time.Second})
		c.waitEnd(2*time.Minute, ExitOK)
		if o := c.verdict(run); len(o.Reports) != 3 || len(o.Lost) != 0 || len(o.Run.Divisions) != 3 {
			t.Errorf("%d reports, lost %v, %d divisions", len(o.Reports), o.Lost, len(o.Run.Divisions))
		}
		for _, h := range c.hosts {
			if h.events.count("shares_changed") != 2 {
				t.Errorf("%s: %d events shares_changed, want 2", h.addr, h.events.count("shares_changed"))
			}
		}
	})
}

// A leader that is cut off sends no longer than its followers do.
func TestIsolatedLeaderIsSuspended(t *testing.T) {
	virtual(t, 3, func(t *testing.T, c *cluster) {
		run := c.going("run 60s scope cluster")
		w := c.watchLoad(run)
		<-time.After(5 * time.Second)
		old := c.leader()
		c.f.isolate(old.addr, true)
		c.within(10*time.Second, "the loss is divided", func() bool {
			return !slices.ContainsFunc(c.hosts, func(h *host) bool { return h != old && len(h.divisions(run)) < 2 })
		})
		<-time.After(8 * time.Second)
		if old.events.count("isolated") != 1 {
			t.Errorf("%d events isolated on the old leader, want 1", old.events.count("isolated"))
		}
		c.f.isolate(old.addr, false)
		c.divided(20*time.Second, run, 3)
		<-time.After(3 * time.Second)
		w.end([2]time.Duration{5 * time.Second, 13 * time.Second})
		c.waitEnd(2*time.Minute, ExitOK)
		if o := c.verdict(run); len(o.Reports) != 3 || len(o.Lost) != 0 {
			t.Errorf("%d reports, lost %v", len(o.Reports), o.Lost)
		}
	})
}

func TestKilledLeadersPartIsGivenAway(t *testing.T) {
	virtual(t, 3, func(t *testing.T, c *cluster) {
		run := c.going("run 60s scope cluster")
		w := c.watchLoad(run)
		<-time.After(5 * time.Second)
		c.kill(c.leader())
		d := c.divided(10*time.Second, run, 2)
		if len(d.Members) != 2 || d.At > 13*time.Second {
			t.Errorf("division %+v, want two members within 8 s", d)
		}
		<-time.After(5 * time.Second)
		w.end([2]time.Duration{5 * time.Second, 13 * time.Second})
		c.waitEnd(2*time.Minute, ExitOK)
		if o := c.verdict(run); len(o.Reports) != 2 || len(o.Lost) != 1 {
			t.Errorf("%d reports, lost %v", len(o.Reports), o.Lost)
		}
		if c.source.count() != 1 {
			t.Errorf("%d fetches, want 1", c.source.count())
		}
	})
}

// One that is told of a division late, for its engine has no CPU, goes on by the
// one before; the others send nothing of that until it knows.
func TestNobodySendsWhatAnotherMaySendStill(t *testing.T) {
	virtual(t, 4, func(t *testing.T, c *cluster) {
		run := c.going("run 60s scope cluster")
		w := c.watchLoad(run)
		<-time.After(5 * time.Second)
		lost := c.follower()
		c.kill(lost)
		late := c.follower()
		busy := func(err error) {
			late.runner.mu.Lock()
			defer late.runner.mu.Unlock()
			late.runner.fail = err
		}
		busy(errors.New("no CPU"))
		c.divided(10*time.Second, run, 2)
		<-time.After(5 * time.Second)
		for _, h := range c.alive() {
			h.runner.mu.Lock()
			if s := h.runner.settled[run]; s.of(late.node.self.Life()) != 1 || s.of(h.node.self.Life()) != 2 && h != late {
				t.Errorf("%s was told %+v, and one node alone goes by the first division", h.addr, s)
			}
			h.runner.mu.Unlock()
		}
		busy(nil)
		took := time.Now()
		c.within(5*time.Second, "all are told that it knows", func() bool {
			return !slices.ContainsFunc(c.alive(), func(h *host) bool {
				h.runner.mu.Lock()
				defer h.runner.mu.Unlock()
				return !h.runner.settled[run].equal(Settlement{Divisions: 2})
			})
		})
		if took := time.Since(took); took > time.Second {
			t.Errorf("that took %s, want less than the second that a division is made ahead", took)
		}
		<-time.After(3 * time.Second)
		w.end([2]time.Duration{5 * time.Second, 20 * time.Second})
		c.waitEnd(2*time.Minute, ExitOK)
	})
}
