package loadgen_test

import (
	"strings"
	"syscall"
	"testing"
	"time"

	"volley/loadgen"
)

// TestAFrozenChildSendsNothingUnderAnExpiredLease stops the process and lets it go
// on: the first that it sends is under the next lease, which came while it was
// stopped and is over too, or under the one after that.
func TestAFrozenChildSendsNothingUnderAnExpiredLease(t *testing.T) {
	leavesNothing(t)
	child, target := openChild(t), newTarget(t, ok)
	j := job("r", strings.Replace(numbered, "LOAD", "model: rps, target: 200, maxBacklog: 100ms", 1), target.URL)
	j.Leased, j.Divisions = true, []loadgen.Division{{Among: among("a")}}
	start := time.Now().Add(lead)
	pid := child.PID()
	signal := func(s syscall.Signal) {
		if err := syscall.Kill(pid, s); err != nil {
			t.Error(err)
		}
	}
	at := func(d time.Duration, do func()) { time.AfterFunc(time.Until(start.Add(d)), do) }
	s := together(t, child, j, []string{"a"}, start, func(id string) {
		child.Lease(id, start.Add(500*time.Millisecond))
		at(400*time.Millisecond, func() { signal(syscall.SIGSTOP) })
		at(700*time.Millisecond, func() { child.Lease(id, start.Add(900*time.Millisecond)) })
		at(1000*time.Millisecond, func() { signal(syscall.SIGCONT) })
		at(1400*time.Millisecond, func() { child.Lease(id, start.Add(time.Hour)) })
	})[0]
	before, after, under := 0, 0, 0
	for _, c := range target.all() {
		switch at := c.at.Sub(start); {
		case at < 450*time.Millisecond:
			before++
		case at < 1390*time.Millisecond:
			// What was under way when it was stopped may come out of it later.
			if under++; due(t, c) > 400*time.Millisecond || under > 2 {
				t.Errorf("%s is sent at %v, without a lease", c.path, at)
			}
		default:
			after++
		}
	}
	if before < 40 || after < 80 || s.Started != int64(before+after+under) || s.DroppedIsolated < 100 {
		t.Errorf("%d before, %d after; started %d, dropped %d, isolated %d", before, after, s.Started, s.Dropped, s.DroppedIsolated)
	}
}

// due is when the arrival that a call is was due, at 200/s.
func due(t *testing.T, c call) time.Duration {
	return time.Duration(numbers(t, []call{c})[0]) * 5 * time.Millisecond
}
