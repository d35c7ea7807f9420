package otlp

import (
	"log/slog"
	"math"
	"slices"
	"testing"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/sdk/metric/metricdata"

	"volley/stats"
)

// run is a summary of requests that took so long each.
func run(t *testing.T, id string, took ...time.Duration) *stats.Summary {
	t.Helper()
	r := stats.NewRecorder(stats.Layout{Steps: []stats.StepKey{{Scenario: "s", Step: "a"}}}, 1)
	shard := r.Shard(0)
	for _, d := range took {
		shard.Request(stats.Sample{Latency: d, Service: d, Status: 200, Complete: true})
	}
	s := r.Summary()
	s.RunID = id
	return s
}

// exposed are the duration histograms of a process that has had these runs, as
// they are pushed.
func exposed(t *testing.T, c converter, runs ...*stats.Summary) metricdata.Aggregation {
	t.Helper()
	m, err := stats.NewMetrics("v", stats.BuildInfo{})
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range runs {
		m.SetSummary(s)
	}
	families, err := m.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range families {
		if f.GetName() == "v_request_duration_seconds" {
			return c.family(f).Data
		}
	}
	t.Fatal("no v_request_duration_seconds")
	return nil
}

// A sample lies in the bucket whose bounds it is between, the upper one included,
// in every form and however the histogram came here.
func TestBuckets(t *testing.T) {
	for _, took := range []time.Duration{
		time.Nanosecond, 999 * time.Nanosecond, time.Microsecond, 4 * time.Millisecond, 5 * time.Millisecond, 5100 * time.Microsecond,
		70 * time.Millisecond, time.Second, 1100 * time.Millisecond, 2 * time.Second, 9 * time.Second, 30 * time.Minute,
	} {
		s := run(t, "r", took, took)
		of := func(string) map[stats.StepKey]Endpoint { return nil }
		for name, data := range map[string]metricdata.Aggregation{
			"scraped explicit": exposed(t, converter{}, s), "scraped exponential": exposed(t, converter{exponential: true}, s),
			"requests explicit":    converter{}.requests([]*stats.Summary{s}, of).Data,
			"requests exponential": converter{exponential: true}.requests([]*stats.Summary{s}, of).Data,
		} {
			var lower, upper, sum float64
			var count uint64
			switch h := data.(type) {
			case metricdata.Histogram[float64]:
				p := h.DataPoints[0]
				i := slices.IndexFunc(p.BucketCounts, func(n uint64) bool { return n > 0 })
				bounds := append(append([]float64{0}, p.Bounds...), math.Inf(1))
				lower, upper, count, sum = bounds[i], bounds[i+1], p.BucketCounts[i], p.Sum
			case metricdata.ExponentialHistogram[float64]:
				p := h.DataPoints[0]
				if len(p.PositiveBucket.Counts) != 1 {
					t.Fatalf("%s, %v: %+v", name, took, p)
				}
				i := float64(p.PositiveBucket.Offset)
				lower, upper, count, sum = math.Exp2(i/8), math.Exp2((i+1)/8), p.PositiveBucket.Counts[0], p.Sum
			}
			const digits = 1 + 1e-3 // what the histograms keep
			if v := took.Seconds(); count != 2 || v*digits <= lower || v > upper*digits || math.Abs(sum-2*v) > 1e-12*v {
				t.Errorf("%s: twice %v is %d samples between %v and %v, in all %v s", name, took, count, lower, upper, sum)
			}
		}
	}
}

// Buckets between which there are empty ones keep their places.
func TestBucketsWithGaps(t *testing.T) {
	data := exposed(t, converter{exponential: true}, run(t, "r", 0, time.Millisecond, time.Second, 2*time.Second, 2*time.Second))
	p := data.(metricdata.ExponentialHistogram[float64]).DataPoints[0]
	got := map[int]uint64{}
	for i, n := range p.PositiveBucket.Counts {
		if n > 0 {
			got[int(p.PositiveBucket.Offset)+i] = n
		}
	}
	// 2^0 and 2^1 end the buckets -1 and 7; a millisecond is between 2^(-80/8) and 2^(-79/8).
	if want := map[int]uint64{-80: 1, -1: 1, 7: 2}; len(got) != 3 || got[-80] != want[-80] || got[-1] != want[-1] || got[7] != want[7] || p.ZeroCount != 1 || p.Count != 5 {
		t.Errorf("%v, zero %d, of %d; want %v and one 0", got, p.ZeroCount, p.Count, want)
	}
}

// Where requests go is asked for while the plan is known, and kept as long as the
// run's figures are.
func TestEndpointsAreKept(t *testing.T) {
	m, err := stats.NewMetrics("v", stats.BuildInfo{})
	if err != nil {
		t.Fatal(err)
	}
	asked := map[string]int{}
	p, err := New(Config{URL: "http://127.0.0.1:1", Every: time.Hour}, m, func(runID string) map[stats.StepKey]Endpoint {
		asked[runID]++
		if runID == "forgotten" {
			return nil
		}
		return map[stats.StepKey]Endpoint{{Scenario: "s", Step: "a"}: {Method: "GET", Address: runID, Port: 80}}
	}, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	first, second, forgotten := run(t, "one", time.Second), run(t, "two", time.Second), run(t, "forgotten", time.Second)
	address := func(loads ...*stats.Summary) (all []string) {
		data := converter{}.requests(loads, p.endpointsOf(loads)).Data.(metricdata.Histogram[float64])
		for _, point := range data.DataPoints {
			v, _ := point.Attributes.Value(attribute.Key("server.address"))
			all = append(all, v.AsString())
		}
		return all
	}
	for _, tt := range []struct {
		loads []*stats.Summary
		want  []string
	}{
		{[]*stats.Summary{first}, []string{"one"}},
		{[]*stats.Summary{first, second, forgotten}, []string{"one", "two", ""}},
		{[]*stats.Summary{second}, []string{"two"}},
	} {
		if got := address(tt.loads...); !slices.Equal(got, tt.want) {
			t.Errorf("addresses %q, want %q", got, tt.want)
		}
	}
	if asked["one"] != 1 || asked["two"] != 1 || len(p.known) != 1 {
		t.Errorf("asked %v, kept %v", asked, p.known)
	}
}
