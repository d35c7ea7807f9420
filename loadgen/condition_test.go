package loadgen

import (
	"fmt"
	"testing"
	"testing/fstest"
	"testing/synctest"
	"time"
)

// throttledFor are the files of a cgroup that was throttled so long.
func throttledFor(d time.Duration) cgroups {
	return cgroupsOf(fstest.MapFS{
		"proc/self/cgroup":         {Data: []byte("0::/a\n")},
		"sys/fs/cgroup/a/cpu.stat": {Data: fmt.Appendf(nil, "nr_throttled 1\nthrottled_usec %d\n", d.Microseconds())},
	}, "cpu")
}

// TestTheGeneratorIsJudgedWhileItSends: what comes before and the drain have little
// to do, and would make a strained generator look better. A moment's figures alone
// would say anything.
func TestTheGeneratorIsJudgedWhileItSends(t *testing.T) {
	for _, tc := range []struct {
		sends, throttled time.Duration
		want             float64
	}{
		{10 * time.Second, 9700 * time.Millisecond, 97},
		{10 * time.Millisecond, 10 * time.Millisecond, 1}, // of a second
	} {
		synctest.Test(t, func(t *testing.T) {
			c := newCondition()
			c.groups = throttledFor(time.Minute)
			<-time.After(settleAt)
			c.begin()
			<-time.After(tc.sends)
			c.groups = throttledFor(time.Minute + tc.throttled)
			if got := c.generator().ThrottledPct; got != tc.want {
				t.Errorf("while it sends: %v %%, want %v", got, tc.want)
			}
			c.end()
			<-time.After(30 * time.Second)
			if got := c.generator().ThrottledPct; got != tc.want {
				t.Errorf("after the drain: %v %%, want %v", got, tc.want)
			}
		})
	}
}

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
