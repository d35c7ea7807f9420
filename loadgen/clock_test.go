package loadgen

import (
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// In virtual time everybody wakes at the very instant, in whatever order they
// have come, and nobody spins: the test would not end.
func TestClockWakesEverybodyInTurn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newClock(time.Now())
		if _, ok := c.bell.(*timerBell); !ok {
			t.Errorf("virtual time with a %T", c.bell)
		}
		var all sync.WaitGroup
		for i := range 100 {
			at := time.Duration(i*37%100) * 10 * time.Millisecond
			all.Go(func() {
				var a alarm
				for range 3 {
					if !c.wait(&a, nil, at) || time.Since(c.base) != at {
						t.Errorf("woken at %v, want %v", time.Since(c.base), at)
					}
					at += time.Second
				}
			})
		}
		all.Wait()
		c.mu.Lock()
		defer c.mu.Unlock()
		if len(c.queue) > 0 || c.set != endless {
			t.Errorf("%d are left, the bell is set to %v", len(c.queue), c.set)
		}
	})
}

// Who hears something goes at once; the others wake when they wanted to.
func TestClockForgetsWhoHasGone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newClock(time.Now())
		defer c.stop()
		heard := make(chan struct{})
		var all sync.WaitGroup
		wait := func(heard <-chan struct{}, at, want time.Duration) {
			all.Go(func() {
				var a alarm
				if in := c.wait(&a, heard, at); in != (want == at) || time.Since(c.base) != want {
					t.Errorf("until %v: %v at %v, want %v", at, in, time.Since(c.base), want)
				}
				if in := c.wait(&a, nil, 10*time.Second); !in || time.Since(c.base) != 10*time.Second {
					t.Errorf("then until 10s: %v at %v", in, time.Since(c.base))
				}
			})
		}
		for _, at := range []time.Duration{1, 4, 5, 6} {
			wait(heard, at*time.Second, min(at*time.Second, 3*time.Second))
			wait(nil, at*time.Second, at*time.Second)
		}
		time.AfterFunc(3*time.Second, func() { close(heard) })
		all.Wait()
	})
}

func TestClockThatStopsWakesEverybody(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newClock(time.Now())
		var all sync.WaitGroup
		for range 10 {
			all.Go(func() {
				var a alarm
				if c.wait(&a, nil, time.Hour) || time.Since(c.base) != time.Second {
					t.Errorf("woken at %v, want to be sent away after 1s", time.Since(c.base))
				}
				if c.wait(&a, nil, time.Hour) {
					t.Error("a clock that has stopped lets wait")
				}
			})
		}
		time.AfterFunc(time.Second, c.stop)
		all.Wait()
		c.stop() // once more does no harm
	})
}

// Those who want to wake soon after the first wake with the last of them; who is
// alone wakes on time.
func TestClockWakesSeveralByOneStrike(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newClock(time.Now())
		defer c.stop()
		c.slack = slack{few: 200, many: 500}
		var all sync.WaitGroup
		for _, w := range []struct{ at, want time.Duration }{
			{5000, 5000}, {1201, 1201}, {1200, 1201}, {1050, 1201}, {1001, 1201}, {1000, 1201}, {300, 300}, {2350, 2500}, {2300, 2500}, {2500, 2500}, {2501, 2501}, {3600, 3600}, {3399, 3399},
		} {
			all.Go(func() {
				var a alarm
				if in := c.wait(&a, nil, w.at); !in || time.Since(c.base) != w.want {
					t.Errorf("until %d: %v at %d, want %d", w.at, in, time.Since(c.base), w.want)
				}
			})
			synctest.Wait()
		}
		all.Wait()
	})
}

// On the wall clock nobody wakes early, and nobody is forgotten, however many
// come and go at once.
func TestClockIsNeverEarly(t *testing.T) {
	for name, bell := range map[string]func(strike func()) striker{
		"kernel": newKernelBell,
		"timer":  func(strike func()) striker { return newTimerBell(strike) },
	} {
		c := &clock{base: time.Now(), set: endless, slack: ordinarySlack(), lead: newLead()}
		if c.bell = bell(c.strike); c.bell == nil {
			t.Logf("%s: none here", name)
			continue
		}
		var all sync.WaitGroup
		for i := range 64 {
			all.Go(func() {
				var a alarm
				for n := range 50 {
					at := time.Since(c.base) + time.Duration((i*131+n*37)%2000)*time.Microsecond
					if in := c.wait(&a, nil, at); !in || time.Since(c.base) < at {
						t.Errorf("%s: %v at %v, before %v", name, in, time.Since(c.base), at)
					}
				}
			})
		}
		all.Wait()
		c.stop()
	}
}
