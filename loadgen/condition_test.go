package loadgen

import (
	"testing"
	"time"
)

// A suspended machine's wall clock is found further on than the monotonic one; a
// clock that is set, anywhere. What a clock is set by all the time is no jump.
func TestWallClockThatJumpsIsSeen(t *testing.T) {
	var w clockWatch
	for i, step := range []struct{ ran, wall, by, most time.Duration }{
		{time.Second, time.Second, 0, 0},
		{2 * time.Second, 3 * time.Second, 0, 0}, // one second, no more
		{3 * time.Second, 7 * time.Second, 3 * time.Second, 3 * time.Second},
		{4 * time.Second, 8 * time.Second, 0, 3 * time.Second},
		{5 * time.Second, 4 * time.Second, -5 * time.Second, 5 * time.Second},
		{6 * time.Second, 6500 * time.Millisecond, 1500 * time.Millisecond, 5 * time.Second},
	} {
		if by := w.look(step.ran, step.wall); by != step.by || w.most != step.most {
			t.Errorf("step %d: jumped by %s, at most %s; want %s, %s", i, by, w.most, step.by, step.most)
		}
	}
}
