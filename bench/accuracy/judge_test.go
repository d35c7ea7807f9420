package main

import (
	"testing"
	"time"
)

// seen is what a target sees of a rate that is exact, but for what change does.
func seen(rate int, length time.Duration, change func(bins []int64)) []int64 {
	bins := make([]int64, length.Milliseconds()+1000)
	for k := range rate * int(length.Seconds()) {
		bins[k*1000/rate]++
	}
	change(bins)
	return bins
}

func TestJudge(t *testing.T) {
	cells, err := cellsOf(12*time.Second, "10", "50", false)
	if err != nil {
		t.Fatal(err)
	}
	for name, tc := range map[string]struct {
		change  func(bins []int64)
		ok      bool
		densest int64
	}{
		"exact":          {func([]int64) {}, true, 1},
		"one lost":       {func(b []int64) { b[1000] = 0 }, true, 1},
		"three lost":     {func(b []int64) { b[5000], b[5020], b[5040] = 0, 0, 0 }, false, 1},
		"clump of three": {func(b []int64) { b[5000], b[5020], b[5040] = 3, 0, 0 }, false, 3},
		"clump of two":   {func(b []int64) { b[5000], b[5020] = 2, 0 }, true, 2},
	} {
		v := cells[0].judge(seen(50, 12*time.Second, tc.change))
		if v.ok != tc.ok || v.densest != tc.densest {
			t.Errorf("%s: %+v, want ok %v, densest %d", name, v, tc.ok, tc.densest)
		}
	}
}

func TestBadFlagsAreRefused(t *testing.T) {
	for _, bad := range []struct {
		length         time.Duration
		workers, rates string
	}{{time.Second, "1", "1"}, {time.Minute, "0", "1"}, {time.Minute, "1,x", "1"}, {time.Minute, "1", "-1"}} {
		if _, err := cellsOf(bad.length, bad.workers, bad.rates, false); err == nil {
			t.Errorf("%+v is accepted", bad)
		}
	}
}
