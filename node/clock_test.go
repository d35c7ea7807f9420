package node

import (
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// clockOf is a wall clock that is wrong, and may be set.
type clockOf struct{ by atomic.Int64 }

func (c *clockOf) now() time.Time { return time.Now().Add(time.Duration(c.by.Load())) }

// Nodes start together whatever their clocks show, and whoever sets one
// meanwhile: none of the ways from a measurement to the start goes by a clock
// that can be set.
func TestStartIsOneInstantWhateverTheClocks(t *testing.T) {
	shifts := map[string]time.Duration{"a": -400 * time.Millisecond, "b": 0, "c": 700 * time.Millisecond}
	for _, when := range []string{"", "Distribute", "StartTest", "scheduled"} {
		t.Run("set at "+when, func(t *testing.T) {
			virtual(t, 3, func(t *testing.T, c *cluster) {
				clocks := map[string]*clockOf{}
				c.tweak = func(o *Options) {
					mine := &clockOf{}
					mine.by.Store(int64(shifts[o.Self.NodeID]))
					o.Now, clocks[o.Self.NodeID] = mine.now, mine
				}
				set := sync.OnceFunc(func() {
					for name, clock := range clocks { // each to another hour
						clock.by.Add(int64(time.Hour) * int64(name[0]-'b'+2))
					}
				})
				c.f.fail = func(_, _, call string) error {
					if call == when {
						set()
					}
					return nil
				}
				c.startAll()
				if when == "scheduled" {
					c.waitPhase(20*time.Second, when)
					set()
				}
				c.waitPhase(20*time.Second, "running")
				var first, last time.Time
				for _, h := range c.hosts {
					h.runner.mu.Lock()
					starts := h.runner.starts[h.node.currentRun()]
					h.runner.mu.Unlock()
					if len(starts) != 1 {
						t.Fatalf("%s: %d starts, want 1", h.addr, len(starts))
					}
					if first.IsZero() || starts[0].Before(first) {
						first = starts[0]
					}
					if starts[0].After(last) {
						last = starts[0]
					}
				}
				if spread := last.Sub(first); spread > fabricDelay {
					t.Errorf("starts are %v apart, want at most what a measurement is wrong by, %v", spread, fabricDelay)
				}
				wantClocksShown(t, c, shifts)
				for _, h := range c.hosts {
					if said := h.events.count("clock_set"); when == "" && said != 0 || when != "" && said != 1 {
						t.Errorf("%s: %d events clock_set, want one for each time the clock is set", h.addr, said)
					}
				}
				c.waitEnd(time.Minute, ExitOK)
			})
		})
	}
}

// wantClocksShown checks offset and bound of each member as the leader knows
// them, and that one who is off by more than 100 ms has said so, once.
func wantClocksShown(t *testing.T, c *cluster, shifts map[string]time.Duration) {
	t.Helper()
	l := c.leader()
	for _, m := range l.node.Status().Members {
		want := shifts[l.node.self.NodeID] - shifts[m.NodeID]
		off := time.Duration(m.ClockOffsetMs * float64(time.Millisecond))
		if (off - want).Abs() > fabricDelay {
			t.Errorf("offset of %s %v, want %v", m.NodeID, off, want)
		}
		if leads := m.NodeID == l.node.self.NodeID; leads != (m.ClockBoundMs == 0) {
			t.Errorf("bound of %s %v ms", m.NodeID, m.ClockBoundMs)
		}
	}
	for _, h := range c.hosts {
		far := (shifts[l.node.self.NodeID] - shifts[h.node.self.NodeID]).Abs() > clockOffWarn
		if said := h.events.count("clock_offset"); far && said != 1 || !far && said != 0 {
			t.Errorf("%s: %d events clock_offset, far %v", h.addr, said, far)
		}
	}
}

func TestDoubtfulClocks(t *testing.T) {
	c := &clocks{warned: map[string]time.Time{}}
	for _, tt := range []struct {
		o    offset
		want bool
	}{
		{offset{offset: 100 * time.Millisecond, bound: 50 * time.Millisecond}, false},
		{offset{offset: -101 * time.Millisecond, bound: 1}, true},
		{offset{bound: 51 * time.Millisecond}, true},
	} {
		clear(c.warned)
		if got := c.doubtful("x", tt.o); got != tt.want {
			t.Errorf("%+v: doubtful %v, want %v", tt.o, got, tt.want)
		}
	}
	if c.doubtful("x", offset{bound: time.Second}) || !c.doubtful("y", offset{bound: time.Second}) {
		t.Error("a warning is to be repeated after a minute, for each server")
	}
}

// A node that has never measured the clock goes by its own, and says so.
func TestUnknownClockIsSaid(t *testing.T) {
	virtual(t, 1, func(t *testing.T, c *cluster) {
		h := c.start(0)
		c.waitPhase(20*time.Second, "running")
		n := h.node
		now := time.Now()
		for range 3 {
			at, err := n.localTime(n.wall.read(now), "nobody-12345678")
			if err != nil || !at.Equal(now) {
				t.Errorf("%v, %v, want %v", at, err, now)
			}
		}
		if said := h.events.count("clock_unknown"); said != 1 {
			t.Errorf("said %d times, want once", said)
		}
		if _, err := n.localTime(0, ""); err == nil || !strings.Contains(err.Error(), "without an instant") {
			t.Errorf("error %v", err)
		}
	})
}
