package stats

import (
	"fmt"
	"math"
	"math/rand/v2"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"volley/plan"
)

func TestSeriesBySecond(t *testing.T) {
	r := NewRecorder(Layout{
		Steps: oneStep().Steps, Duration: 3500 * millisecond,
		Asked: func(t time.Duration) float64 { return t.Seconds() * t.Seconds() * 2 }, // 0 to 14/s
	}, 2)
	at := func(shard int, due, sent, latency time.Duration, kind ErrorKind) {
		r.Shard(shard).Arrived(Arrival{Due: due, Sent: sent, WorkerFree: true})
		r.Shard(shard).Request(Sample{At: sent, Service: latency, Latency: latency + sent - due, Status: 200, Kind: kind, Complete: true, AssertionsFailed: 2})
		r.Shard(shard).Iteration(Iteration{Duration: latency})
	}
	at(0, 100*millisecond, 100*millisecond, 10*millisecond, ErrNone)
	at(1, 200*millisecond, 202*millisecond, 20*millisecond, ErrNone)
	at(0, 900*millisecond, 900*millisecond, 300*millisecond, ErrServer) // known in the next second
	r.Observe(Gauges{At: 990 * millisecond, Workers: 3, CPUPct: 20})
	r.Summary()
	r.Shard(0).Drop(Drop{At: 3100 * millisecond, N: 2})
	r.Shard(1).Retried(0, 1) // at the time of this shard's last event
	at(1, 3*time.Second, 3*time.Second, 700*millisecond, ErrNone)
	r.Observe(Gauges{At: 3 * time.Second, Workers: 7, CPUPct: 50})
	r.Observe(Gauges{At: 3900 * millisecond, Workers: 5, CPUPct: 60})

	res, err := NewResult(r.Summary(), ScopeNode, nil)
	if err != nil {
		t.Fatal(err)
	}
	type row struct {
		t, target                                             float64
		started, late, dropped, errors, retried, done, failed int64
		p50, max                                              float64
		workers                                               int64
		cpu                                                   float64
	}
	var got []row
	for _, p := range res.Series {
		x := row{p.T, p.Target, p.Started, p.Late, p.Dropped, p.Errors, p.Retried, p.Completed, p.AssertionsFailed, -1, -1, p.Workers, p.CPUPct}
		if p.P50 != nil {
			x.p50 = math.Round(*p.P50)
		}
		if p.Max != nil {
			x.max = *p.Max
		}
		got = append(got, x)
	}
	want := []row{
		{0, 2, 3, 1, 0, 0, 1, 2, 4, 10, 22, 3, 20},
		{1, 6, 0, 0, 0, 1, 0, 1, 2, 300, 300, 0, 0},
		{2, 10, 0, 0, 0, 0, 0, 0, 0, -1, -1, 0, 0},
		{3, 6.5, 1, 0, 2, 0, 0, 1, 2, -1, 700, 7, 60}, // p50: rank 2 of 1 and 2 dropped
	}
	if !slices.Equal(got, want) {
		t.Errorf("series\n%+v, want\n%+v", got, want)
	}
	if lag := res.Series[0].ScheduleLagP99; lag == nil || math.Round(*lag) != 2 {
		t.Errorf("schedule lag p99 %v, want 2 ms", lag)
	}
}

// 20 minutes with a summary now and then: 600 points of 2 s, and nothing lost.
func TestSeriesIsCoarsened(t *testing.T) {
	for _, every := range []int{1, 7, 2000} {
		r := NewRecorder(oneStep(), 3)
		for i := range 1200 {
			at := time.Duration(i) * time.Second
			r.Observe(Gauges{At: at, Workers: int64(i % 5), CPUPct: float64(i % 7)})
			r.Shard(i).Arrived(Arrival{Due: at, Sent: at})
			r.Shard(i).Request(Sample{At: at, Latency: time.Duration(i+1) * millisecond, Status: 200, Complete: true})
			if i%every == 0 {
				r.Summary()
			}
		}
		s := r.Summary()
		if len(s.Series.Points) != 600 || s.Series.Span != 2 {
			t.Fatalf("%d points of %d s, want 600 of 2 s", len(s.Series.Points), s.Series.Span)
		}
		for i := range s.Series.Points {
			p := &s.Series.Points[i]
			d, _ := p.percentile(50, 0)
			if p.Started != 2 || p.Requests != 2 || p.Max != time.Duration(2*i+2)*millisecond ||
				math.Abs(float64(d-time.Duration(2*i+1)*millisecond)) > float64(d)/1000 {
				t.Fatalf("a summary every %d: point %d is %+v with p50 %v", every, i, *p, d)
			}
			if want := int64(max(2*i%5, (2*i+1)%5)); p.Workers != want {
				t.Fatalf("point %d has %d workers, want the most of its seconds, %d", i, p.Workers, want)
			}
		}
	}
}

// The drain after ten minutes must not make the series coarser.
func TestDrainLeavesTheSeriesFine(t *testing.T) {
	r := NewRecorder(Layout{Steps: oneStep().Steps, Duration: 10 * time.Minute}, 1)
	for i := range 620 {
		r.Shard(0).Request(Sample{At: time.Duration(i) * time.Second, Status: 200, Complete: true})
	}
	s := r.Summary()
	if s.Series.Span != 1 || len(s.Series.Points) != 600 || s.Series.Points[599].Requests != 21 {
		t.Errorf("%d points of %d s, the last with %d requests, want 600 of 1 s and 21",
			len(s.Series.Points), s.Series.Span, s.Series.Points[599].Requests)
	}
}

func TestSeriesOfNodesAddUp(t *testing.T) {
	node := func(from, to int, latency time.Duration) *Summary {
		r := NewRecorder(oneStep(), 1)
		for i := from; i < to; i++ {
			at := time.Duration(i) * time.Second
			r.Shard(0).Request(Sample{At: at, Latency: latency, Status: 200, Complete: true})
			r.Observe(Gauges{At: at, Workers: 2, CPUPct: float64(latency / millisecond)})
		}
		return r.Summary()
	}
	long, joiner, late := node(0, 700, 10*millisecond), node(3, 5, 30*millisecond), node(5000, 5002, millisecond)
	for _, order := range [][]*Summary{{long, joiner}, {joiner, long}} {
		m, err := Merge(order...)
		if err != nil {
			t.Fatal(err)
		}
		p := m.Series.Points
		if m.Series.Span != 2 || len(p) != 350 || p[0].Requests != 2 || p[1].Requests != 3 || p[2].Requests != 3 {
			t.Fatalf("%d points of %d s: %+v", len(p), m.Series.Span, p[:3])
		}
		d, _ := p[1].percentile(99, 0)
		if math.Abs(float64(d-30*millisecond)) > 3e4 || p[1].Workers != 4 || p[1].CPUPct != 30 || p[0].Workers != 2 {
			t.Errorf("p99 %v, %d workers, %v %% CPU, want 30ms, 4, the worst 30", d, p[1].Workers, p[1].CPUPct)
		}
	}
	far, _ := Merge(long, late)
	if n := len(far.Series.Points); far.Series.Span != 16 || n != 313 || far.Series.Points[312].Requests != 2 {
		t.Errorf("%d points of %d s, want 313 of 16 s", n, far.Series.Span)
	}
}

// A time from a clock gone mad must cost no memory.
func TestSeriesOfStrangeTimes(t *testing.T) {
	r := NewRecorder(oneStep(), 1)
	for _, at := range []time.Duration{0, -time.Hour, math.MaxInt64 / 2, time.Second} {
		r.Shard(0).Request(Sample{At: at, Status: 200, Complete: true})
	}
	s := r.Summary()
	var n int64
	for i := range s.Series.Points {
		n += s.Series.Points[i].Requests
	}
	if n != 4 || len(s.Series.Points) > maxPoints {
		t.Errorf("%d requests in %d points, want 4", n, len(s.Series.Points))
	}
	if got, err := Decode([]byte(mustEncode(t, s))); err != nil || len(got.Series.Points) != len(s.Series.Points) {
		t.Errorf("its byte form is not read: %v", err)
	}
}

// In whatever order sketches are merged, the bytes are the same, and nothing is
// counted twice.
func TestSketchMergesExactly(t *testing.T) {
	rng := rand.New(rand.NewPCG(11, 12))
	for _, octaves := range []int{1, 10, 40} {
		var all dense
		var parts []sketch
		for range 6 {
			var part dense
			for range rng.IntN(3000) {
				d := time.Duration(1000 + rng.Int64N(1<<rng.IntN(octaves)+1))
				all.record(d)
				part.record(d)
			}
			parts = append(parts, sketchOf(&part, latencySketch))
		}
		want := sketchOf(&all, latencySketch)
		for range 5 {
			rng.Shuffle(len(parts), func(i, j int) { parts[i], parts[j] = parts[j], parts[i] })
			var left, right sketch
			for i, p := range parts {
				left = left.merge(p, latencySketch)
				right = parts[len(parts)-1-i].merge(right, latencySketch)
			}
			if left != want || right != want {
				t.Fatalf("%d octaves: the order matters", octaves)
			}
		}
		fold, cells := want.buckets()
		if len(cells) > latencySketch || want.count() != all.count || want.check(latencySketch) != nil {
			t.Errorf("%d octaves: %d buckets of %d samples, %v, want at most %d of %d",
				octaves, len(cells), want.count(), want.check(latencySketch), latencySketch, all.count)
		}
		if octaves == 1 && fold != 0 {
			t.Error("samples that lie together are folded")
		}
	}
}

func TestSketchRefusesDamage(t *testing.T) {
	for name, bad := range map[sketch]string{
		"\x0b\x00\x01":         "fold is 11",
		"\x00":                 "too early",
		"\x00\x01":             "too early",
		"\x00\x01\x00":         "holds 0",
		"\x00\x01\x01\x00\x01": "bucket 1",
		"\x00\xff\xff\x7f\x01": "bucket 0",
		"\x00\x01\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01": "bucket 0",
	} {
		if err := name.check(4); err == nil || !strings.Contains(err.Error(), bad) {
			t.Errorf("%q: %v, want %q", name, err, bad)
		}
	}
	if err := sketch("\x00\x01\x01\x01\x01\x01\x01").check(2); err == nil {
		t.Error("more buckets than the limit are accepted")
	}
}

func TestStagesOf(t *testing.T) {
	p := func(yaml string) *plan.Plan {
		t.Helper()
		out, _, err := plan.Parse([]byte(strings.Replace(`
version: "1.0"
config: {baseUrl: "http://h", duration: 60s}
load: LOAD
scenarios: [{name: s, steps: [{request: {method: GET, path: /}}]}]
`, "LOAD", yaml, 1)))
		if err != nil {
			t.Fatal(err)
		}
		return out
	}
	got := StagesOf(p(`{model: stages, from: 5, stages: [{duration: 10s, target: 100}, {duration: 0s, target: 40}, {duration: 20s, target: 40}]}`))
	want := []Stage{
		{0, 10 * time.Second, 5, 100}, {10 * time.Second, 30 * time.Second, 40, 40}, {30 * time.Second, time.Minute, 40, 40},
	}
	if !slices.Equal(got, want) {
		t.Errorf("%v, want %v", got, want)
	}
	if got := StagesOf(p("{model: rps, target: 5}")); got != nil {
		t.Errorf("stages of model rps: %v, want none", got)
	}
}

func TestStagesAreCountedApart(t *testing.T) {
	stages := []Stage{{To: time.Second, ToRate: 10}, {From: time.Second, To: 3 * time.Second, FromRate: 10, ToRate: 10}}
	layout := Layout{Steps: oneStep().Steps, Stages: stages, Asked: func(t time.Duration) float64 { return 10 * min(t, 3*time.Second).Seconds() }}
	node := func() *Summary {
		r := NewRecorder(layout, 2)
		for i := range 30 {
			due := time.Duration(i) * 100 * millisecond
			sent := due + 300*millisecond
			r.Shard(i).Arrived(Arrival{Due: due, Sent: sent})
			// Due in the first second, sent or known in the next: the first stage's.
			r.Shard(i).Request(Sample{At: sent, Service: 500 * millisecond, Latency: 800 * millisecond, Status: 200, Complete: true})
		}
		r.Shard(0).Drop(Drop{Due: 900 * millisecond, At: 2 * time.Second, N: 4, Cause: DropEnd})
		r.Shard(0).Request(Sample{At: 9 * time.Second, Kind: ErrNetwork}) // after the last stage
		return r.Summary()
	}
	m, err := Merge(node(), node())
	if err != nil {
		t.Fatal(err)
	}
	res, err := NewResult(m, ScopeCluster, nil)
	if err != nil {
		t.Fatal(err)
	}
	for i, want := range []StageResult{
		{FromS: 0, ToS: 1, FromRate: 0, ToRate: 20, Target: 20, Started: 20, Late: 20, Dropped: 8, Requests: 20},
		{FromS: 1, ToS: 3, FromRate: 20, ToRate: 20, Target: 40, Started: 40, Late: 40, Requests: 42, Errors: 2},
	} {
		got := res.Stages[i]
		p50 := got.Latency.P50
		got.Latency = Percentiles{}
		if got != want || p50 == nil || *p50 != 800 {
			t.Errorf("stage %d: %+v with p50 %v, want %+v with 800", i, got, p50, want)
		}
	}
}

func TestSlowestRequests(t *testing.T) {
	rng := rand.New(rand.NewPCG(13, 14))
	var all []int
	var nodes []*Summary
	for n := range 3 {
		r := NewRecorder(Layout{Steps: []StepKey{{"a", "one"}, {"a", "two"}}}, 2)
		for i := range 500 {
			ms := rng.IntN(1 << 30)
			all = append(all, ms)
			r.Shard(i).Request(Sample{Step: i % 2, At: time.Duration(i), Latency: time.Duration(ms), Status: 200 + i%2, Complete: true, NewConn: i%2 == 0})
			if i%100 == 0 {
				r.Summary()
			}
		}
		// Neither hops nor failed connections have a latency.
		r.Shard(0).Request(Sample{Latency: time.Hour, Complete: true, Partial: true})
		r.Shard(0).Request(Sample{Latency: time.Hour, Kind: ErrNetwork})
		s := r.Summary()
		s.NodeID = string(rune('a' + n))
		nodes = append(nodes, s)
	}
	nodes[1].Slowest[0].Status = 0
	m, err := Merge(nodes...)
	if err != nil {
		t.Fatal(err)
	}
	slices.SortFunc(all, func(a, b int) int { return b - a })
	res, err := NewResult(m, ScopeCluster, nil)
	if err != nil {
		t.Fatal(err)
	}
	if len(res.Slowest) != 20 {
		t.Fatalf("%d slowest requests, want 20", len(res.Slowest))
	}
	seen := map[string]bool{}
	for i, x := range res.Slowest {
		if x.Ms != float64(all[i])/1e6 {
			t.Errorf("slowest %d took %v ms, want %v", i, x.Ms, float64(all[i])/1e6)
		}
		if x.Status == 201 && (x.Step != "two" || x.Connection != "reused") || x.Status == 200 && (x.Step != "one" || x.Connection != "new") {
			t.Errorf("slowest %d: %+v", i, x)
		}
		seen[x.NodeID] = true
	}
	if !seen["a"] || !seen["b"] || !seen["c"] {
		t.Errorf("the slowest come of %v, want all three nodes", seen)
	}
}

// 100 steps on 4 CPUs whose latencies lie within an octave or two: pages, not
// 270 KB for each of their histograms.
func TestHistogramsTakeWhatTheyHold(t *testing.T) {
	var keys []StepKey
	for i := range 100 {
		keys = append(keys, StepKey{"s", string(rune('A' + i))})
	}
	var before, after runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	r := NewRecorder(Layout{Steps: keys}, 4)
	for i := range 100_000 {
		latency := 5*millisecond + time.Duration(i%1000)*time.Microsecond
		r.Shard(i / 100).Request(Sample{Step: i % 100, Latency: latency, Service: latency, Status: 200, Complete: true})
		if i == 50_000 {
			r.Summary()
		}
	}
	s := r.Summary()
	runtime.GC()
	runtime.ReadMemStats(&after)
	grown := int64(after.HeapAlloc) - int64(before.HeapAlloc)
	if limit := int64(24 << 20); grown > limit || s.HistogramBytes > limit || s.HistogramBytes < 1<<20 {
		t.Errorf("the heap grew by %d bytes, the recorder says %d, want at most %d", grown, s.HistogramBytes, limit)
	}
	if s.Histograms != 2*100+3 {
		t.Errorf("%d histograms hold samples, want latency and service of 100 steps and 3 of the run", s.Histograms)
	}
	runtime.KeepAlive(r)
}

func TestLabelsAreBounded(t *testing.T) {
	r := NewRecorder(Layout{Steps: []StepKey{{"a", "1"}, {"a", "2"}, {"b", "1"}, {"c", "1"}, {"a", "2"}}, MaxLabels: 2}, 1)
	for step := range 5 {
		r.Shard(0).Request(Sample{Step: step, Status: 200, Complete: true})
		r.Shard(0).Iteration(Iteration{Step: step})
	}
	s := r.Summary()
	if len(s.Steps) != 3 || s.Steps[1].Requests != 2 || s.Steps[2].StepKey != (StepKey{"other", "other"}) || s.Steps[2].Requests != 2 {
		t.Errorf("steps %+v, want a/1, a/2 and the rest in other", s.Steps)
	}
	if len(s.Scenarios) != 3 || s.Scenarios[0].Succeeded != 3 || s.Scenarios[2].Name != "other" || s.Scenarios[2].Succeeded != 1 {
		t.Errorf("scenarios %+v, want a, b and the rest in other", s.Scenarios)
	}
	if s.FoldedLabels != 3 || s.Slowest[0].Scenario == "other" {
		t.Errorf("%d folded, slowest %v, want 3, with its own name", s.FoldedLabels, s.Slowest[0])
	}
}

func TestSamplingOfHistograms(t *testing.T) {
	for _, c := range []struct {
		layout  Layout
		samples int64
		source  string
		p50null bool
	}{
		{Layout{}, 1000, "", false},
		{Layout{SamplePct: 100}, 1000, "", false},
		{Layout{SamplePct: 30}, 300, "sampled", false},
		{Layout{SamplePct: 1}, 10, "sampled", false},
		{Layout{NoHistograms: true}, 0, "off", true},
	} {
		c.layout.Steps = oneStep().Steps
		r := NewRecorder(c.layout, 1)
		for i := range 1000 {
			r.Shard(0).Request(Sample{Latency: time.Duration(i), Status: 200, Complete: true})
		}
		r.Shard(0).Drop(Drop{N: 500})
		s := r.Summary()
		res, err := NewResult(s, ScopeNode, nil)
		if err != nil {
			t.Fatal(err)
		}
		if s.Latency.Count() != c.samples || s.Requests != 1000 || res.PercentileSource != c.source || (res.Latency.P50 == nil) != c.p50null {
			t.Errorf("%+v: %d samples of %d requests, percentiles %q, p50 %v", c.layout, s.Latency.Count(), s.Requests, res.PercentileSource, res.Latency.P50)
		}
		// Two thirds were sent: p66 exists and p67 does not, sampled or not.
		if _, ok := s.Latency.PercentileAmong(67, s.slower(s.Dropped)); ok {
			t.Errorf("%+v: p67 exists though a third was dropped", c.layout)
		}
	}
}

// Requests and iterations come in a pattern: each kind of them is sampled alike.
func TestSamplingIsFairToEveryStep(t *testing.T) {
	for _, pct := range []int{1, 10, 50, 99} {
		for steps := 1; steps <= 5; steps++ {
			layout := Layout{SamplePct: pct}
			for i := range steps {
				layout.Steps = append(layout.Steps, StepKey{"s", fmt.Sprint(i)})
			}
			r := NewRecorder(layout, 1)
			for range 10_000 {
				for i := range steps {
					r.Shard(0).Request(Sample{Step: i, Status: 200, Complete: true})
				}
				r.Shard(0).Iteration(Iteration{})
			}
			s, want := r.Summary(), int64(pct)*100
			for i := range s.Steps {
				if n := s.Steps[i].Latency.Count(); n < want*9/10 || n > want*11/10 {
					t.Errorf("%d %% of %d steps: step %d has %d samples of 10000, want about %d", pct, steps, i, n, want)
				}
			}
			if n := s.IterationTime.Count(); n < want*9/10 || n > want*11/10 {
				t.Errorf("%d %% of %d steps: %d iterations of 10000, want about %d", pct, steps, n, want)
			}
		}
	}
}

func TestHistogramMinus(t *testing.T) {
	rng := rand.New(rand.NewPCG(15, 16))
	var before, since, both Histogram
	for i := range 5000 {
		d := time.Duration(rng.Int64N(1 << (10 + i%25)))
		both.Record(d)
		if i < 2000 {
			before.Record(d)
		} else {
			since.Record(d)
		}
	}
	got := both.Minus(&before)
	for _, p := range []float64{10, 50, 90, 99} {
		a, _ := got.Percentile(p)
		b, _ := since.Percentile(p)
		if a != b {
			t.Errorf("p%v is %v, want %v", p, a, b)
		}
	}
	near := func(a, b time.Duration) bool { return math.Abs(float64(a-b)) <= float64(b)/1000 }
	if got.Count() != 3000 || got.Mean() != since.Mean() || !near(got.Max(), since.Max()) || !near(got.Min(), since.Min()) {
		t.Errorf("%d samples %v..%v, mean %v, want %d %v..%v, %v", got.Count(), got.Min(), got.Max(), got.Mean(),
			since.Count(), since.Min(), since.Max(), since.Mean())
	}
	if none := both.Minus(&both); none.Count() != 0 || none.Mean() != 0 {
		t.Errorf("a histogram less itself holds %d", none.Count())
	}
	if all := both.Minus(&Histogram{}); all.tally != both.tally {
		t.Error("a histogram less nothing is another")
	}
}
