package loadgen

import (
	"math"
	"slices"
	"testing"
	"time"
)

// poissonGaps are the gaps between n arrivals of a constant rate, in mean gaps.
func poissonGaps(rate float64, seed uint64, n int) []float64 {
	a := newArrivals(schedule{curve: rpsCurve(rate), claims: newClaims(), poisson: true, seed: seed, end: endless})
	var gaps []float64
	last := time.Duration(0)
	for range n {
		gaps = append(gaps, (a.due-last).Seconds()*rate)
		last = a.due
		a.advance()
	}
	return gaps
}

// TestPoissonGapsAreExponential tests mean and variance at the 0.1 % level, and
// the whole distribution by Kolmogorov and Smirnov, with a fixed seed.
func TestPoissonGapsAreExponential(t *testing.T) {
	const n, quantile = 200_000, 3.2905 // two-sided 0.1 %
	gaps := poissonGaps(1000, 42, n)
	mean, variance := 0.0, 0.0
	for _, g := range gaps {
		mean += g / n
	}
	for _, g := range gaps {
		variance += (g - mean) * (g - mean) / (n - 1)
	}
	// The variance of an exponential's sample variance is about 8/n.
	if z := (mean - 1) * math.Sqrt(n); math.Abs(z) > quantile {
		t.Errorf("the mean gap is %v of 1/rate (z = %.2f)", mean, z)
	}
	if z := (variance - 1) * math.Sqrt(n/8.0); math.Abs(z) > quantile {
		t.Errorf("the variance of gaps is %v of 1/rate² (z = %.2f)", variance, z)
	}
	slices.Sort(gaps)
	worst := 0.0
	for i, g := range gaps {
		p := 1 - math.Exp(-g)
		worst = max(worst, math.Abs(p-float64(i)/n), math.Abs(p-float64(i+1)/n))
	}
	if limit := 1.95 / math.Sqrt(n); worst > limit {
		t.Errorf("the distribution is %v off the exponential one, at most %v is chance", worst, limit)
	}
}

func TestPoissonDependsOnTheSeedAlone(t *testing.T) {
	first := poissonGaps(50, 1, 1000)
	if !slices.Equal(first, poissonGaps(50, 1, 1000)) {
		t.Error("the same seed gives other arrivals")
	}
	if slices.Equal(first, poissonGaps(50, 2, 1000)) {
		t.Error("another seed gives the same arrivals")
	}
}

// TestPoissonFollowsTheCurve counts arrivals in the thirds of a ramp: they are
// Poisson distributed around Λ.
func TestPoissonFollowsTheCurve(t *testing.T) {
	c := rampCurve(0, 1000, 30, "thirds")
	a := newArrivals(schedule{curve: c, claims: newClaims(), poisson: true, seed: 3, end: 30 * time.Second})
	for _, want := range []float64{5000, 10_000, 5000} {
		end := a.due.Truncate(10*time.Second) + 10*time.Second
		got := float64(a.skip(end).sum())
		if z := (got - want) / math.Sqrt(want); math.Abs(z) > 3.29 {
			t.Errorf("until %v there are %v arrivals, want about %v (z = %.2f)", end, got, want, z)
		}
	}
	if !a.none {
		t.Errorf("arrival %d is due at %v, after the end", a.k, a.due)
	}
}

func TestArrivalsEndByTheirNumber(t *testing.T) {
	for _, poisson := range []bool{false, true} {
		a := newArrivals(schedule{curve: rpsCurve(100), claims: newClaims(), poisson: poisson, seed: 1, end: endless, limit: 250})
		n := 0
		for ; !a.none; a.advance() {
			n++
		}
		if n != 250 || !a.spent() {
			t.Errorf("poisson %v: %d arrivals, spent %v; want 250", poisson, n, a.spent())
		}
	}
}

func TestArrivalsOfTheWarmupDoNotCount(t *testing.T) {
	for _, poisson := range []bool{false, true} {
		s := schedule{curve: rpsCurve(100), claims: newClaims(), poisson: poisson, seed: 1, end: 10 * time.Second, warmup: 3 * time.Second}
		count, all := newArrivals(s), newArrivals(schedule{curve: s.curve, claims: s.claims, poisson: poisson, seed: 1, end: s.end})
		early := all.skip(3 * time.Second).sum()
		if got, want := count.skip(5*time.Second).sum(), all.skip(5*time.Second).sum(); got != want || early == 0 || want < 100 {
			t.Errorf("poisson %v: skipping to 5 s counts %d, want %d", poisson, got, want)
		}
	}
}
