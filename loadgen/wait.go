package loadgen

import (
	"context"
	"time"
)

// Before a precise deadline a timer, which is some 0.1 to 0.3 ms late (more
// under load), hands over to the kernel's sleep, which is late by some 50 µs,
// and that to spinning, under 1 µs. Spinning for longer would be worse: where
// more engines than CPUs spin for the same instant, the scheduler takes one of
// them off just then, for some milliseconds.
const (
	napFrom  = 2 * time.Millisecond
	spinFrom = 100 * time.Microsecond
)

// alarm waits for instants; one goroutine uses it.
type alarm struct {
	timer *time.Timer

	// Of a clock, while it waits there.
	rings  chan bool
	at     time.Duration
	seat   int
	early  bool          // it was woken before at
	struck time.Duration // when the bell was to strike for it, if so
}

// until waits for t and reports true, or false once ctx is done.
func (a *alarm) until(ctx context.Context, t time.Time) bool { return a.unless(ctx, nil, t) }

// unless is until that also ends, with false, when something is heard.
func (a *alarm) unless(ctx context.Context, heard <-chan struct{}, t time.Time) bool {
	d := time.Until(t)
	if d <= 0 {
		return ctx.Err() == nil
	}
	if a.timer == nil {
		a.timer = time.NewTimer(d)
	} else {
		a.timer.Reset(d)
	}
	select {
	case <-a.timer.C:
		return true
	case <-heard:
	case <-ctx.Done():
	}
	a.timer.Stop()
	return false
}

// precisely is unless to some microseconds. Virtual time (testing/synctest)
// does not move during a nap: there the timer is exact.
func (a *alarm) precisely(ctx context.Context, heard <-chan struct{}, t time.Time) bool {
	if !a.unless(ctx, heard, t.Add(-napFrom)) {
		return false
	}
	for now := time.Now(); now.Before(t.Add(-spinFrom)); {
		nap(t.Add(-spinFrom).Sub(now))
		woken := time.Now()
		if woken.Equal(now) {
			return a.unless(ctx, heard, t)
		}
		now = woken
	}
	for ctx.Err() == nil && time.Now().Before(t) {
		continue // the last of it
	}
	return ctx.Err() == nil
}

// epoch is when this process began, nearly.
var epoch = time.Now()

// now is time.Now by one clock instead of two: the wall clock's time is that of
// the epoch, plus what has passed since. A request takes several.
func now() time.Time { return epoch.Add(time.Since(epoch)) }

// monotonic turns an instant, which may have come over a wire and then has
// only a wall clock reading, into one that a step of the wall clock does not
// move.
func monotonic(t time.Time) time.Time {
	now := time.Now()
	return now.Add(t.Sub(now))
}
