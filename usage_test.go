package main

import (
	"testing"
	"time"
)

func TestCPUTimeOfAnotherProcess(t *testing.T) {
	for stat, want := range map[string]time.Duration{
		"77 (a) b (c) S 1 77 77 0 -1 4194560 9 8 7 6 150 50 1000 2000 20 10 4 0 123 1 1": 2 * time.Second,
		"77 (volley) S 1 77": 0,
		"":                   0,
	} {
		if got := cpuTimeIn(stat); got != want {
			t.Errorf("%q: %v, want %v", stat, got, want)
		}
	}
}

// An engine child counts while it lives, and its death and its successor are no
// jump.
func TestCPUPercentOfLivingProcesses(t *testing.T) {
	var u cpuUsage
	at := time.Unix(100, 0)
	for i, look := range []struct {
		after time.Duration
		used  map[int]time.Duration
		want  float64
	}{
		{0, map[int]time.Duration{0: 5 * time.Second, 7: time.Hour}, 0}, // what was before the first look
		{time.Second, map[int]time.Duration{0: 5200 * time.Millisecond, 7: time.Hour + 800*time.Millisecond}, 100},
		{time.Second / 2, map[int]time.Duration{0: time.Minute}, 100}, // too soon
		{time.Second / 2, map[int]time.Duration{0: 5300 * time.Millisecond}, 10},
		{time.Second, map[int]time.Duration{0: 5300 * time.Millisecond, 8: 500 * time.Millisecond}, 50},
	} {
		at = at.Add(look.after)
		if got := u.percent(at, look.used); got < look.want-0.01 || got > look.want+0.01 {
			t.Errorf("look %d: %v %%, want %v", i, got, look.want)
		}
	}
}
