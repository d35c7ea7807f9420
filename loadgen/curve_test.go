package loadgen

import (
	"math"
	"testing"
	"time"

	"volley/plan"
)

func rpsCurve(target float64) curve { return newCurve(plan.Load{Model: "rps", Target: &target}) }

func rampLoad(low, high float64, d time.Duration, shape string) curve {
	return newCurve(plan.Load{Model: "ramp", Min: &low, Max: &high, RampDuration: d, Shape: shape})
}

func TestArrivalsOfAConstantRateAreDueExactly(t *testing.T) {
	for _, tc := range []struct {
		rate float64
		k    int64
		due  time.Duration
	}{
		{100, 0, 0},
		{100, 1, 10 * time.Millisecond},
		{100, 999, 9990 * time.Millisecond},
		{3, 1, 333_333_333},
		{3, 2, 666_666_667},
		{7000, 7000*3600 + 1, time.Hour + 142_857},
		{15_000, 1_000_000_000, 66_666_666_666_667},
		{0.5, 3, 6 * time.Second},
	} {
		if got, ok := rpsCurve(tc.rate).due(tc.k); !ok || got != tc.due {
			t.Errorf("rate %v: arrival %d is due at %d, %v; want %d", tc.rate, tc.k, got, ok, tc.due)
		}
	}
}

func TestArrivalsOfARampSolveTheIntegral(t *testing.T) {
	for name, tc := range map[string]struct {
		c   curve
		k   int64
		due time.Duration
	}{
		// Up from 0 to 100/s in 10 s: Λ = 5 t², so k is due at sqrt(k/5).
		"from zero, first":     {rampLoad(0, 100, 30*time.Second, "thirds"), 0, 0},
		"from zero, one":       {rampLoad(0, 100, 30*time.Second, "thirds"), 1, 447_213_595},
		"from zero, up":        {rampLoad(0, 100, 30*time.Second, "thirds"), 125, 5 * time.Second},
		"top begins":           {rampLoad(0, 100, 30*time.Second, "thirds"), 500, 10 * time.Second},
		"top":                  {rampLoad(0, 100, 30*time.Second, "thirds"), 1000, 15 * time.Second},
		"down":                 {rampLoad(0, 100, 30*time.Second, "thirds"), 1500 + 375, 25 * time.Second},
		"hold stays":           {rampLoad(0, 100, 10*time.Second, "hold"), 500 + 1000, 20 * time.Second},
		"min stays after":      {rampLoad(10, 100, 30*time.Second, "thirds"), 550 + 1000 + 550 + 50, 35 * time.Second},
		"from one rate":        {rampLoad(10, 30, 20*time.Second, "hold"), 15*10 + 0, 10 * time.Second},
		"no ramp is the top":   {rampLoad(1, 50, 0, "thirds"), 50, time.Second},
		"no ramp, whole is up": {rampLoad(1, 50, 0, "hold"), 100, 2 * time.Second},
	} {
		if got, ok := tc.c.due(tc.k); !ok || got != tc.due {
			t.Errorf("%s: arrival %d is due at %d, %v; want %d", name, tc.k, got, ok, tc.due)
		}
	}
}

func TestNothingIsDueWhereTheCurveEnds(t *testing.T) {
	if at, ok := rpsCurve(0).due(0); ok {
		t.Errorf("rate 0: arrival 0 is due at %v", at)
	}
	// 500 up, 1000 on top, 500 down, then 0 for ever.
	c := rampLoad(0, 100, 30*time.Second, "thirds")
	if at, ok := c.due(1999); !ok || at >= 30*time.Second {
		t.Errorf("the last arrival is due at %v, %v", at, ok)
	}
	if at, ok := c.due(2000); ok {
		t.Errorf("arrival 2000 is due at %v", at)
	}
	if got := c.index(time.Hour); got != 2000 {
		t.Errorf("arrivals in an hour = %d, want 2000", got)
	}
}

func TestACurveAskedAndDueAgree(t *testing.T) {
	curves := map[string]curve{
		"rps 7000": rpsCurve(7000), "rps 1/3": rpsCurve(1. / 3),
		"thirds": rampLoad(1, 1000, 900*time.Second, "thirds"),
		"hold":   rampLoad(0, 333, 7*time.Second, "hold"),
	}
	for name, c := range curves {
		last := time.Duration(-1)
		for k := range int64(20_000) {
			at, ok := c.due(k)
			if !ok {
				break
			}
			if at <= last {
				t.Fatalf("%s: arrival %d is due at %v, not after %v", name, k, at, last)
			}
			if diff := math.Abs(c.asked(at) - float64(k)); diff > 1e-5 {
				t.Fatalf("%s: Λ(due(%d)) is off by %v", name, k, diff)
			}
			if c.index(at) != k || c.index(at+1) != k+1 {
				t.Fatalf("%s: before %v there are %d arrivals, before a ns later %d; want %d and one more", name, at, c.index(at), c.index(at+1), k)
			}
			last = at
		}
	}
}

func TestAskedIsTheAreaUnderTheCurve(t *testing.T) {
	c := rampLoad(0, 100, 30*time.Second, "thirds")
	for at, want := range map[time.Duration]float64{
		-time.Second: 0, 0: 0, 5 * time.Second: 125, 10 * time.Second: 500, 20 * time.Second: 1500,
		25 * time.Second: 1875, 30 * time.Second: 2000, time.Hour: 2000,
	} {
		if got := c.asked(at); math.Abs(got-want) > 1e-9 {
			t.Errorf("asked(%v) = %v, want %v", at, got, want)
		}
	}
	if got := (curve{}).asked(time.Second); got != 0 {
		t.Errorf("a closed model asks for %v", got)
	}
}
