package loadgen

import (
	"math"
	"slices"
	"testing"
	"time"
)

func sharesOf(t *testing.T, weights ...float64) []share {
	t.Helper()
	var out []share
	for i := range weights {
		s, err := newShare(Share{Index: i, Weights: weights})
		if err != nil {
			t.Fatal(err)
		}
		out = append(out, s)
	}
	return out
}

func TestEveryArrivalBelongsToExactlyOneParticipant(t *testing.T) {
	for _, weights := range [][]float64{{1}, {1, 1}, {1, 1, 1}, {1, 2}, {3, 1, 0.5}, {0.1, 10, 7, 7}, slices.Repeat([]float64{1}, 49)} {
		shares := sharesOf(t, weights...)
		sum := 0.0
		for _, w := range weights {
			sum += w
		}
		had := make([]int64, len(shares))
		for k := range int64(5000) {
			owners := 0
			for i, s := range shares {
				if s.before(k) != had[i] {
					t.Fatalf("%v: participant %d had %d of the first %d, before says %d", weights, i, had[i], k, s.before(k))
				}
				if s.owns(k) {
					owners++
					had[i]++
				}
				if due := float64(k+1) * weights[i] / sum; math.Abs(float64(had[i])-due) > 2 {
					t.Fatalf("%v: participant %d has %d of the first %d, its part is %.2f", weights, i, had[i], k+1, due)
				}
			}
			if owners != 1 {
				t.Fatalf("%v: arrival %d has %d owners", weights, k, owners)
			}
		}
		for i, s := range shares {
			k := s.next(1_000_000_007)
			for j := int64(1_000_000_007); j <= k; j++ {
				if s.owns(j) != (j == k) {
					t.Errorf("%v: participant %d: next finds %d, owns(%d) = %v", weights, i, k, j, s.owns(j))
				}
			}
		}
	}
}

func TestEqualParticipantsTakeTurns(t *testing.T) {
	for i, s := range sharesOf(t, 1, 1, 1) {
		for k := range int64(30) {
			if s.owns(k) != (k%3 == int64(i)) {
				t.Errorf("participant %d owns arrival %d: %v", i, k, s.owns(k))
			}
		}
	}
}

func TestWholeNumbersAreDividedExactly(t *testing.T) {
	for _, tc := range []struct {
		n       int64
		weights []float64
		want    []int64
	}{
		{10, []float64{1, 1, 1}, []int64{4, 3, 3}},
		{2, []float64{1, 1, 1}, []int64{1, 1, 0}},
		{100, []float64{1, 3}, []int64{25, 75}},
		{7, []float64{1, 2, 1}, []int64{2, 4, 1}},
		{math.MaxInt64 - 1, []float64{1, 1}, []int64{math.MaxInt64 / 2, math.MaxInt64 / 2}},
	} {
		var got []int64
		for _, s := range sharesOf(t, tc.weights...) {
			got = append(got, s.of(tc.n))
		}
		if !slices.Equal(got, tc.want) {
			t.Errorf("%d among %v = %v, want %v", tc.n, tc.weights, got, tc.want)
		}
	}
}

func TestShareRefusesWhatIsNone(t *testing.T) {
	for _, s := range []Share{
		{Index: 2, Weights: []float64{1, 1}}, {Index: -1, Weights: []float64{1}}, {Weights: []float64{0, 1}},
		{Weights: []float64{-1}}, {Weights: []float64{math.NaN()}}, {Weights: []float64{math.Inf(1)}}, {Weights: []float64{1e-9, 1}},
	} {
		if _, err := newShare(s); err == nil {
			t.Errorf("%+v is accepted", s)
		}
	}
}

// TestParticipantsTogetherMakeTheWholeCurve hands the arrivals of one curve out
// on three nodes.
func TestParticipantsTogetherMakeTheWholeCurve(t *testing.T) {
	for _, poisson := range []bool{false, true} {
		whole := schedule{curve: rampOf(0, 500, 20*time.Second), claims: newClaims(), poisson: poisson, seed: 7, end: 30 * time.Second, limit: 6000}
		want := allOf(newArrivals(whole))
		got := map[int64]time.Duration{}
		for _, s := range sharesOf(t, 1, 2, 1.5) {
			part := whole
			part.claims = newClaims(span{share: s})
			for k, due := range allOf(newArrivals(part)) {
				if _, twice := got[k]; twice {
					t.Fatalf("arrival %d has two owners", k)
				}
				got[k] = due
			}
		}
		if len(got) != len(want) || len(want) < 5900 {
			t.Fatalf("poisson %v: the nodes have %d arrivals together, one node %d", poisson, len(got), len(want))
		}
		for k, due := range want {
			if got[k] != due {
				t.Fatalf("poisson %v: arrival %d is due at %v on its node, at %v on a node alone", poisson, k, got[k], due)
			}
		}
	}
}

func rampOf(low, high float64, length time.Duration) curve {
	return rampCurve(low, high, length.Seconds(), "hold")
}

func allOf(a *arrivals) map[int64]time.Duration {
	out := map[int64]time.Duration{}
	for ; !a.none; a.advance() {
		out[a.k] = a.due
	}
	return out
}
