package stats

import (
	"math"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"
)

func TestNearestRank(t *testing.T) {
	for _, c := range []struct {
		p    float64
		n    int64
		want int64
	}{
		{50, 1, 1}, {50, 2, 1}, {50, 3, 2}, {90, 10, 9}, {90, 11, 10},
		{99, 100, 99}, {99, 101, 100}, {99.9, 1000, 999}, {99.9, 999, 999},
		{99.9, 10_000_000, 9_990_000}, {99.999, 100_000, 99_999},
		{100, 7, 7}, {0, 7, 1}, {50, 0, 1}, {99.9, 1 << 60, 1151768583102240130},
	} {
		if got := nearestRank(c.p, c.n); got != c.want {
			t.Errorf("nearestRank(%v, %d) = %d, want %d", c.p, c.n, got, c.want)
		}
	}
}

// The bucket arithmetic of the byte form must be that of the library.
func TestBucketsAreThoseOfTheLibrary(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	values := []int64{0, 1, 2047, 2048, 2049, 4095, 4096, 5_000_000, histHighest - 1, histHighest}
	for range 300 {
		values = append(values, rng.Int64N(1<<rng.IntN(41)+1))
	}
	for _, v := range values {
		lib := hdrhistogram.New(histLowest, histHighest, histDigits)
		if err := lib.RecordValue(v); err != nil {
			t.Fatalf("record %d: %v", v, err)
		}
		low, high := bucketValue(bucketIndex(v)), highestEquivalent(v)
		if low != lib.Min() && v >= 2048 || high != lib.Max() {
			t.Fatalf("bucket of %d is %d..%d, the library's %d..%d", v, low, high, lib.Min(), lib.Max())
		}
		if low > v || high < v || float64(high-low) > float64(v)/1000 {
			t.Fatalf("bucket of %d is %d..%d: not within 3 digits", v, low, high)
		}
	}
}

func TestPercentilesAgainstSortedSamples(t *testing.T) {
	rng := rand.New(rand.NewPCG(3, 4))
	for _, n := range []int{1, 2, 3, 10, 99, 1000, 5001} {
		var sparse Histogram
		var fast dense
		var samples []int64
		sum := 0.0
		for range n {
			v := int64(math.Exp(rng.Float64()*20)) * 10
			samples = append(samples, v)
			sum += float64(v)
			sparse.Record(time.Duration(v))
			fast.record(time.Duration(v))
		}
		slices.Sort(samples)
		var drained Histogram
		fast.drainInto(&drained)
		for name, h := range map[string]*Histogram{"sparse": &sparse, "dense": &drained} {
			for _, p := range []float64{0, 1, 50, 90, 95, 99, 99.9, 100} {
				want := samples[nearestRank(p, int64(n))-1]
				got, ok := h.Percentile(p)
				if !ok || math.Abs(float64(int64(got)-want)) > float64(want)/1000 {
					t.Errorf("%s: p%v of %d samples = %d, want %d within 0.1 %%", name, p, n, got, want)
				}
			}
			if h.Count() != int64(n) || int64(h.Min()) != samples[0] || int64(h.Max()) != samples[n-1] {
				t.Errorf("%s: %d samples %d..%d, want %d exactly %d..%d",
					name, h.Count(), h.Min(), h.Max(), n, samples[0], samples[n-1])
			}
			if want := time.Duration(sum / float64(n)); h.Mean() != want {
				t.Errorf("%s: mean %d, want %d", name, h.Mean(), want)
			}
		}
	}
}

// Every percentile that a result reports, of a million samples recorded on
// several CPUs and merged, is that of the sorted samples within 0.1 %.
func TestReportedPercentilesOfAMillionSamples(t *testing.T) {
	const n = 1_000_000
	rng := rand.New(rand.NewPCG(21, 22))
	for name, draw := range map[string]func() float64{
		"uniform":   func() float64 { return 1e6 + 9e6*rng.Float64() },
		"lognormal": func() float64 { return 3e6 * math.Exp(rng.NormFloat64()) },
		"pareto":    func() float64 { return 2e5 / math.Pow(1-rng.Float64(), 1/1.2) },
	} {
		r, samples := NewRecorder(oneStep(), 4), make([]int64, n)
		for i := range samples {
			samples[i] = int64(min(draw(), 3e12))
			r.Shard(i).Request(Sample{Latency: time.Duration(samples[i]), Status: 200, Complete: true})
			if i%(n/5) == 0 {
				r.Summary()
			}
		}
		slices.Sort(samples)
		res, err := NewResult(r.Summary(), ScopeNode, nil)
		if err != nil {
			t.Fatal(err)
		}
		for _, f := range res.Latency.byRank() {
			want := float64(samples[nearestRank(f.percent, n)-1]) / 1e6
			if got := **f.value; math.Abs(got-want) > want/1000 {
				t.Errorf("%s: p%v is %v ms, want %v within 0.1 %%", name, f.percent, got, want)
			}
		}
		if *res.Latency.Max != float64(samples[n-1])/1e6 || *res.Latency.Min != float64(samples[0])/1e6 {
			t.Errorf("%s: %v..%v ms, want exactly %v..%v ns", name, *res.Latency.Min, *res.Latency.Max, samples[0], samples[n-1])
		}
	}
}

func TestPercentileAmongDropped(t *testing.T) {
	var h Histogram
	for i := 1; i <= 90; i++ {
		h.Record(time.Duration(i) * time.Millisecond)
	}
	if d, ok := h.PercentileAmong(90, 10); !ok || d != 90*time.Millisecond {
		t.Errorf("p90 of 90 samples and 10 dropped = %v %v, want 90ms", d, ok)
	}
	if d, ok := h.PercentileAmong(91, 10); ok {
		t.Errorf("p91 of 90 samples and 10 dropped = %v, want none: its rank falls among the dropped", d)
	}
	if d, ok := h.PercentileAmong(50, 10); !ok || d < 50*time.Millisecond || d > 50050*time.Microsecond {
		t.Errorf("p50 of 90 samples and 10 dropped = %v, want the 50th sample", d)
	}
	var empty Histogram
	if _, ok := empty.PercentileAmong(50, 10); ok {
		t.Error("a histogram without samples has a percentile")
	}
}

func TestSamplesBeyondAnHour(t *testing.T) {
	var h Histogram
	var fast dense
	for _, d := range []time.Duration{time.Second, 2 * time.Hour, 30 * time.Hour, time.Hour, -time.Second} {
		h.Record(d)
		fast.record(d)
	}
	var drained Histogram
	fast.drainInto(&drained)
	for _, h := range []*Histogram{&h, &drained} {
		if h.Over() != 2 || h.Max() != 30*time.Hour || h.Min() != 0 {
			t.Errorf("over %d, range %v..%v, want 2 and 0s..30h", h.Over(), h.Min(), h.Max())
		}
		if got, _ := h.Percentile(80); got < time.Hour || got > time.Hour+4*time.Second {
			t.Errorf("p80 = %v, want the top bucket", got)
		}
		if want := (33*time.Hour + time.Second) / 5; h.Mean() != want {
			t.Errorf("mean %v, want %v", h.Mean(), want)
		}
	}
}

// 584 years of summed latency would overflow 64 bits.
func TestMeanOfAVeryLargeRun(t *testing.T) {
	var h Histogram
	h.Record(time.Hour)
	for range 40 { // 2^40 h
		other := h.Clone()
		h.Merge(&other)
	}
	if h.Count() != 1<<40 || h.Mean() != time.Hour {
		t.Errorf("%d samples of mean %v, want 2^40 of 1h", h.Count(), h.Mean())
	}
}

func TestBase64IsReadByHDRTools(t *testing.T) {
	var h Histogram
	for i := 1; i <= 1000; i++ {
		h.Record(time.Duration(i) * time.Millisecond)
	}
	text, err := h.Base64()
	if err != nil {
		t.Fatal(err)
	}
	read, err := hdrhistogram.Decode([]byte(text))
	if err != nil {
		t.Fatal(err)
	}
	if read.TotalCount() != 1000 || !read.ValuesAreEquivalent(read.Max(), int64(time.Second)) ||
		!read.ValuesAreEquivalent(read.ValueAtPercentile(50), int64(500*time.Millisecond)) {
		t.Errorf("read back: %d samples, p50 %d, max %d", read.TotalCount(), read.ValueAtPercentile(50), read.Max())
	}
	var empty Histogram
	if text, err = empty.Base64(); err != nil {
		t.Fatal(err)
	}
	if read, err = hdrhistogram.Decode([]byte(text)); err != nil || read.TotalCount() != 0 {
		t.Errorf("empty histogram read back: %v, %v", read, err)
	}
}
