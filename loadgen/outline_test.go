package loadgen

import (
	"slices"
	"testing"
	"time"
)

func outlineOf(t *testing.T, config, load string, s Share, until time.Duration) Outline {
	t.Helper()
	o, err := NewOutline(planOf(t, config, load), s, until)
	if err != nil {
		t.Fatal(err)
	}
	return o
}

func TestOutlineHasTheCornersOfACurve(t *testing.T) {
	const s = time.Second
	for _, tc := range []struct {
		name, config, load string
		share              Share
		until              time.Duration
		want               []Corner
	}{
		{"a day and a half", "duration: 150s", day, Share{}, time.Hour, []Corner{
			{0, 0}, {10 * s, 100}, {10 * s, 100}, {30 * s, 100}, {30 * s, 100}, {40 * s, 50}, {40 * s, 50}, {50 * s, 50}, {50 * s, 50}, {60 * s, 0},
			{60 * s, 0}, {100 * s, 0}, {100 * s, 0}, {110 * s, 100}, {110 * s, 100}, {130 * s, 100}, {130 * s, 100}, {140 * s, 50}, {140 * s, 50}, {150 * s, 50},
		}},
		{"cut off", "duration: 10s", "model: ramp, min: 0, max: 80, rampDuration: 8s, shape: hold", Share{}, 4 * s, []Corner{{0, 0}, {4 * s, 40}}},
		{"a share", "duration: 10s", "model: rps, target: 80, scope: cluster", Share{Index: 1, Weights: []float64{3, 1}}, time.Hour, []Corner{{0, 20}, {10 * s, 20}}},
		{"workers", "workers: 3, duration: 10s", "model: concurrent, rampUp: 6s", Share{}, time.Hour, []Corner{{0, 1}, {2 * s, 1}, {2 * s, 2}, {4 * s, 2}, {4 * s, 3}, {10 * s, 3}}},
	} {
		if got := outlineOf(t, tc.config, tc.load, tc.share, tc.until).Corners(); !slices.Equal(got, tc.want) {
			t.Errorf("%s: %v, want %v", tc.name, got, tc.want)
		}
	}
}

func TestOutlineEndsWithTheLastArrival(t *testing.T) {
	o := outlineOf(t, "duration: 10s", "model: rps, target: 4, iterations: 9", Share{}, time.Hour)
	if got, want := o.Arrivals(1), []time.Duration{0, 250, 500, 750, 1000, 1250, 1500, 1750, 2000}; len(got) != len(want) || got[8] != want[8]*time.Millisecond {
		t.Errorf("arrivals %v, want %v ms", got, want)
	}
	if got := o.End(); got != 2*time.Second {
		t.Errorf("it ends at %v, want 2s", got)
	}
	if got := outlineOf(t, "duration: 10s", "model: concurrent, iterations: 9", Share{}, time.Hour).End(); got != 10*time.Second {
		t.Errorf("a closed model ends at %v, want its duration: nobody knows when its iterations are done", got)
	}
}
