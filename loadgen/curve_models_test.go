package loadgen

import (
	"math"
	"testing"
	"time"

	"volley/plan"
)

// planOf parses a plan of which only load and config matter.
func planOf(t *testing.T, config, load string) *plan.Plan {
	t.Helper()
	p, _, err := plan.Parse([]byte(`
version: "1.0"
config: {baseUrl: "http://h", ` + config + `}
load: {` + load + `}
scenarios: [{name: s, steps: [{name: a, request: {method: GET, path: /}}]}]
`))
	if err != nil {
		t.Fatalf("%s / %s: %v", config, load, err)
	}
	return p
}

func openCurve(t *testing.T, load string) curve {
	t.Helper()
	return newCurve(planOf(t, "duration: 10h", load).Load)
}

// day has a night at 0: 10 s up, 20 s at 100, 10 s down to 50, 10 s at 50, 10 s
// down to 0, 40 s of nothing; Λ over it is 500 + 2000 + 750 + 500 + 250 = 4000.
const day = "model: dailytraffic, min: 0, mid: 50, max: 100, cycleDuration: 100s, " +
	"morningRampRatio: 0.1, peakSustainRatio: 0.2, midDeclineRatio: 0.1, midSustainRatio: 0.1, eveningDeclineRatio: 0.1"

func TestDailyTrafficFollowsItsPhases(t *testing.T) {
	c := openCurve(t, day)
	for at, want := range map[time.Duration]float64{
		0: 0, 5 * time.Second: 50, 10 * time.Second: 100, 29 * time.Second: 100, 35 * time.Second: 75, 45 * time.Second: 50,
		55 * time.Second: 25, 60 * time.Second: 0, 99 * time.Second: 0, 105 * time.Second: 50, 1010 * time.Second: 100,
	} {
		if got := c.at(at); math.Abs(got-want) > 1e-9 {
			t.Errorf("R(%v) = %v, want %v", at, got, want)
		}
	}
	for at, want := range map[time.Duration]float64{
		5 * time.Second: 125, 10 * time.Second: 500, 30 * time.Second: 2500, 40 * time.Second: 3250, 50 * time.Second: 3750,
		60 * time.Second: 4000, 100 * time.Second: 4000, 110 * time.Second: 4500, 1000 * time.Second: 40_000,
	} {
		if got := c.asked(at); math.Abs(got-want) > 1e-6 {
			t.Errorf("Λ(%v) = %v, want %v", at, got, want)
		}
	}
}

func TestNothingIsDueThroughANightAtZero(t *testing.T) {
	c := openCurve(t, day)
	for n := range int64(50) {
		night := time.Duration(n)*100*time.Second + time.Minute
		if at, ok := c.due(n*4000 + 3999); !ok || at >= night {
			t.Errorf("day %d: the last arrival is due at %v, %v; want it before %v", n, at, ok, night)
		}
		if at, ok := c.due((n + 1) * 4000); !ok || at != time.Duration(n+1)*100*time.Second {
			t.Errorf("day %d: the next morning's first arrival is due at %v, %v", n, at, ok)
		}
		if got := c.index(night); got != (n+1)*4000 {
			t.Errorf("day %d: %d arrivals before its night", n, got)
		}
	}
}

func TestPhasesWithoutLengthAreJumps(t *testing.T) {
	c := openCurve(t, "model: dailytraffic, min: 10, mid: 20, max: 40, cycleDuration: 10s, "+
		"morningRampRatio: 0, peakSustainRatio: 0.5, midDeclineRatio: 0, midSustainRatio: 0.5, eveningDeclineRatio: 0")
	for at, want := range map[time.Duration]float64{0: 40, 4 * time.Second: 40, 5 * time.Second: 20, 9 * time.Second: 20, 10 * time.Second: 40} {
		if got := c.at(at); got != want {
			t.Errorf("R(%v) = %v, want %v", at, got, want)
		}
	}
	if got := c.asked(20 * time.Second); math.Abs(got-600) > 1e-9 {
		t.Errorf("two days ask for %v, want 600", got)
	}
}

func TestStagesAreLinearPiecesAndJumps(t *testing.T) {
	c := openCurve(t, "model: stages, from: 10, stages: [{duration: 10s, target: 30}, {duration: 0s, target: 100}, "+
		"{duration: 5s, target: 100}, {duration: 0, target: 0}, {duration: 10s, target: 0}, {duration: 10s, target: 50}]")
	for at, want := range map[time.Duration]float64{
		0: 10, 5 * time.Second: 20, 10 * time.Second: 100, 14 * time.Second: 100, 15 * time.Second: 0, 20 * time.Second: 0,
		30 * time.Second: 25, 35 * time.Second: 50, time.Hour: 50,
	} {
		if got := c.at(at); math.Abs(got-want) > 1e-9 {
			t.Errorf("R(%v) = %v, want %v", at, got, want)
		}
	}
	// 200 + 500 + 0 + 250, then 50/s.
	for k, want := range map[int64]time.Duration{
		200: 10 * time.Second, 699: 14990 * time.Millisecond, 700: 25 * time.Second, 950: 35 * time.Second, 1000: 36 * time.Second,
	} {
		if got, ok := c.due(k); !ok || got != want {
			t.Errorf("arrival %d is due at %v, %v; want %v", k, got, ok, want)
		}
	}
	if got := c.peak(time.Hour); got != 100 {
		t.Errorf("peak = %v, want 100", got)
	}
	if got := c.peak(9 * time.Second); math.Abs(got-28) > 1e-9 {
		t.Errorf("peak of the first 9 s = %v, want 28", got)
	}
	if got := c.low(12*time.Second, 14*time.Second); got != 100 {
		t.Errorf("lowest from 12 to 14 s = %v, want 100", got)
	}
	if got := c.low(14*time.Second, 16*time.Second); got != 0 {
		t.Errorf("lowest from 14 to 16 s = %v, want 0", got)
	}
}

// TestEachSecondOfACurveHasItsShare is the acceptance of ramps and days: the
// arrivals due in each second are within 1 % of the curve, or within one.
func TestEachSecondOfACurveHasItsShare(t *testing.T) {
	for name, load := range map[string]string{
		"up":     "model: ramp, min: 0, max: 1000, rampDuration: 60s, shape: hold",
		"thirds": "model: ramp, min: 0, max: 1000, rampDuration: 180s",
		"down":   "model: stages, from: 1000, stages: [{duration: 60s, target: 0}]",
		"day":    day,
		"7000":   "model: rps, target: 7000",
		"half":   "model: rps, target: 0.5",
	} {
		c := openCurve(t, load)
		for s := range 200 {
			from := time.Duration(s) * time.Second
			share := c.asked(from+time.Second) - c.asked(from)
			got := float64(c.index(from+time.Second) - c.index(from))
			if math.Abs(got-share) > max(share/100, 1) {
				t.Errorf("%s: %v arrivals in second %d, the curve asks for %v", name, got, s, share)
			}
		}
	}
}
