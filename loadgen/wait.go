package loadgen

import (
	"context"
	"time"
)

// spinFrom is how long before a precise deadline the timer hands over to
// spinning: a timer alone is some 0.1 to 0.3 ms late, spinning under 1 µs.
const spinFrom = 2 * time.Millisecond

// standstill is how many readings of an unchanged clock show that it is a
// virtual one (testing/synctest), which would never move while we spin.
const standstill = 100_000

// alarm waits for instants; one goroutine uses it.
type alarm struct{ timer *time.Timer }

// until waits for t and reports true, or false once ctx is done.
func (a *alarm) until(ctx context.Context, t time.Time) bool {
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
	case <-ctx.Done():
		a.timer.Stop()
		return false
	}
}

// precisely is until to the microsecond, for 2 ms of a CPU.
func (a *alarm) precisely(ctx context.Context, t time.Time) bool {
	if !a.until(ctx, t.Add(-spinFrom)) {
		return false
	}
	last, same := time.Now(), 0
	for last.Before(t) {
		now := time.Now()
		if now.Equal(last) {
			same++
		} else {
			last, same = now, 0
		}
		if same >= standstill {
			return a.until(ctx, t)
		}
	}
	return ctx.Err() == nil
}

// monotonic turns an instant, which may have come over a wire and then has
// only a wall clock reading, into one that a step of the wall clock does not
// move.
func monotonic(t time.Time) time.Time {
	now := time.Now()
	return now.Add(t.Sub(now))
}
