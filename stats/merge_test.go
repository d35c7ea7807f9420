package stats

import (
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"
)

// randomSample is one of many kinds of request.
func randomSample(rng *rand.Rand, steps int) Sample {
	sm := Sample{Step: rng.IntN(steps), Latency: time.Duration(rng.Int64N(1 << rng.IntN(42))), Complete: true, Status: 200,
		BytesIn: rng.Int64N(100), BytesOut: rng.Int64N(100), NewConn: rng.IntN(9) == 0}
	sm.Service = sm.Latency / 2
	switch rng.IntN(10) {
	case 0:
		sm.Status, sm.Kind = 500+rng.IntN(5), ErrServer
	case 1:
		sm.Status, sm.Kind, sm.Complete = 0, ErrNetwork, false
	case 2:
		sm.Partial = true
	}
	return sm
}

func mustEncode(t *testing.T, s *Summary) string {
	t.Helper()
	data, err := s.Encode()
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}

// Merging is exact: three nodes merged, in any order, are byte for byte what
// one recorder counts that sees all their samples.
func TestMergeEqualsOneRecorder(t *testing.T) {
	layout := Layout{Steps: []StepKey{{"a", "one"}, {"a", "two"}, {"b", "one"}}}
	rng := rand.New(rand.NewPCG(5, 6))
	all := NewRecorder(layout, 4)
	var nodes []*Summary
	for n := range 3 {
		node := NewRecorder(layout, 2)
		for i := range 3000 {
			a := Arrival{Due: time.Duration(rng.Int64N(1e9)), WorkerFree: rng.IntN(2) == 0}
			a.Sent = a.Due + time.Duration(rng.Int64N(2e6))
			sm, it := randomSample(rng, 3), Iteration{Step: i % 3, Duration: time.Duration(i), Outcome: Outcome(rng.IntN(3))}
			for _, sh := range []*Shard{node.Shard(i), all.Shard(i)} {
				sh.Arrived(a)
				sh.Request(sm)
				sh.Iteration(it)
				sh.Dropped(int64(i % 2))
			}
		}
		s := node.Summary()
		s.ConfigVersion, s.StartedAt, s.Target = "v1", time.Unix(50, 0), float64(100*n)
		nodes = append(nodes, s)
	}
	want := all.Summary()
	want.ConfigVersion, want.StartedAt, want.Target = "v1", time.Unix(50, 0), 300
	for _, order := range [][]int{{0, 1, 2}, {2, 1, 0}, {1, 2, 0}} {
		got, err := Merge(nodes[order[0]], nodes[order[1]], nodes[order[2]])
		if err != nil {
			t.Fatal(err)
		}
		// A merged summary has the worst node's lag, not that of all starts.
		want.Generator.ScheduleLagP50, want.Generator.ScheduleLagP99 = got.Generator.ScheduleLagP50, got.Generator.ScheduleLagP99
		want.Histograms, want.HistogramBytes = got.Histograms, got.HistogramBytes
		if mustEncode(t, got) != mustEncode(t, want) {
			t.Errorf("order %v: merged (%d requests, first due %v) differs from one recorder (%d requests, first due %v)",
				order, got.Requests, got.FirstDue, want.Requests, want.FirstDue)
		}
	}
}

// Every percentile of what three nodes have streamed is that of all their samples
// together, to the bucket: of the run and of each step.
func TestMergedPercentilesAreThoseOfTheUnion(t *testing.T) {
	const each = 1_000_000
	rng := rand.New(rand.NewPCG(7, 8))
	layout := Layout{Steps: []StepKey{{"s", "one"}, {"s", "two"}}}
	var streamed []*Summary
	var union [2][]time.Duration // by step
	for node, latency := range []func() time.Duration{
		func() time.Duration { return time.Duration(rng.Int64N(int64(80 * millisecond))) },
		func() time.Duration { return time.Duration(math.Exp(2*rng.NormFloat64()) * float64(20*millisecond)) },
		func() time.Duration { return time.Duration(float64(1+999*rng.IntN(2)) * (1 + rng.ExpFloat64()) * 1e5) },
	} {
		r := NewRecorder(layout, 1)
		for i := range each {
			d := min(latency(), time.Hour)
			r.Shard(0).Request(Sample{Step: i % 2, Latency: d, Service: d / 2, Status: 200, Complete: true})
			union[i%2] = append(union[i%2], d)
		}
		s := r.Summary()
		s.NodeID = fmt.Sprint(node)
		got, err := Decode([]byte(mustEncode(t, s)))
		if err != nil {
			t.Fatal(err)
		}
		streamed = append(streamed, got)
	}
	merged, err := Merge(streamed...)
	if err != nil {
		t.Fatal(err)
	}
	check := func(name string, h *Histogram, all []time.Duration) {
		slices.Sort(all)
		if h.Count() != int64(len(all)) {
			t.Errorf("%s: %d samples, want %d", name, h.Count(), len(all))
		}
		for tenths := 1; tenths <= 1000; tenths++ { // p0.1 … p100
			p := float64(tenths) / 10
			got, ok := h.Percentile(p)
			if want := all[(tenths*len(all)+999)/1000-1]; !ok || bucketIndex(int64(got)) != bucketIndex(int64(want)) {
				t.Fatalf("%s: p%v is %v, of the union %v", name, p, got, want)
			}
		}
	}
	check("run", &merged.Latency, slices.Concat(union[0], union[1]))
	for i := range merged.Steps {
		check(merged.Steps[i].Step, &merged.Steps[i].Latency, union[i])
	}
}

func TestMergeMatchesStepsByName(t *testing.T) {
	count := func(node string, keys ...StepKey) *Summary {
		r := NewRecorder(Layout{Steps: keys}, 1)
		for i := range keys {
			r.Shard(0).Request(Sample{Step: i, Status: 200 + i, Complete: true, Latency: millisecond})
			r.Shard(0).Iteration(Iteration{Step: i, Duration: millisecond})
		}
		s := r.Summary()
		s.NodeID, s.RunID = node, "r"
		return s
	}
	one, two := count("a", StepKey{"x", "1"}, StepKey{"x", "2"}), count("b", StepKey{"y", "1"}, StepKey{"x", "2"})
	before := mustEncode(t, one)
	m, err := Merge(one, two)
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, st := range m.Steps {
		got = append(got, fmt.Sprintf("%s/%s=%d %v", st.Scenario, st.Step, st.Requests, st.StatusCodes))
	}
	if want := "x/1=1 map[200:1] x/2=2 map[201:2] y/1=1 map[200:1]"; strings.Join(got, " ") != want {
		t.Errorf("steps %s, want %s", strings.Join(got, " "), want)
	}
	if m.RunID != "r" || m.NodeID != "" || len(m.Scenarios) != 2 || m.Scenarios[0].Succeeded != 3 {
		t.Errorf("run %q, node %q, scenarios %+v, want r, none, x with 3", m.RunID, m.NodeID, m.Scenarios)
	}
	if mustEncode(t, one) != before {
		t.Error("Merge changed its argument")
	}
}

func TestMergeOfTimesAndFailures(t *testing.T) {
	early := &Summary{NodeID: "a", StartedAt: time.Unix(10, 0), Sent: true, FirstDue: 5 * time.Second, FirstSent: 6 * time.Second,
		Elapsed: 8 * time.Second, Planned: 9 * time.Second, Ended: true, Failure: "engine died", Generator: Generator{CPUPct: 10, WakeupP99: 3, ClockJump: 2 * time.Second}}
	late := &Summary{NodeID: "b", StartedAt: time.Unix(12, 0), Sent: true, FirstDue: time.Second, FirstSent: 3 * time.Second,
		Elapsed: 7 * time.Second, Planned: 9 * time.Second, Generator: Generator{CPUPct: 90, ThrottledPct: 2}}
	for _, pair := range [][]*Summary{{early, late}, {late, early}} {
		m, err := Merge(pair...)
		if err != nil {
			t.Fatal(err)
		}
		// b sent at 15 s, a at 16 s.
		if skew, _ := m.StartSkew(); skew != 2*time.Second || !m.FirstRequest().Equal(time.Unix(15, 0)) {
			t.Errorf("first request %v with skew %v, want b's: 15 s, 2s", m.FirstRequest().Unix(), skew)
		}
		if m.StartedAt != time.Unix(10, 0) || m.Elapsed != 8*time.Second || m.Ended || m.Failure != "a: engine died" {
			t.Errorf("started %v, elapsed %v, ended %v, failure %q", m.StartedAt, m.Elapsed, m.Ended, m.Failure)
		}
		if want := (Generator{CPUPct: 90, ThrottledPct: 2, WakeupP99: 3, ClockJump: 2 * time.Second}); m.Generator != want {
			t.Errorf("generator %+v, want the worst of each figure %+v", m.Generator, want)
		}
	}
}

func TestMergeRefuses(t *testing.T) {
	_, err := Merge(&Summary{NodeID: "a", ConfigVersion: "v1"}, &Summary{NodeID: "b", ConfigVersion: "v2"})
	if want := `merge summaries: node "a" ran config version "v1", node "b" ran "v2"`; err == nil || err.Error() != want {
		t.Errorf("different config versions: %v, want %s", err, want)
	}
	if _, err = Merge(); err == nil {
		t.Error("merging nothing succeeded")
	}
}

// Nodes that sample differently share one histogram: whatever is dropped where,
// no percentile exists whose rank may fall among the dropped.
func TestMergeOfSamplingRates(t *testing.T) {
	part := func(pct int, sent, dropped int64) *Summary {
		r := NewRecorder(Layout{Steps: oneStep().Steps, SamplePct: pct}, 1)
		for range sent {
			r.Shard(0).Request(Sample{Latency: millisecond, Status: 200, Complete: true})
		}
		r.Shard(0).Drop(Drop{N: dropped})
		return r.Summary()
	}
	for _, c := range []struct {
		name          string
		nodes         []*Summary
		gone          float64 // a percentile that must not exist
		least, most   int64   // as the result tells
		wantedPresent float64 // and one that must
	}{
		{"the thin one drops a third of all", []*Summary{part(100, 1000, 0), part(10, 1000, 1000)}, 67, 10, 100, 50},
		{"the full one drops", []*Summary{part(10, 1000, 0), part(100, 1000, 1000)}, 67, 10, 100, 50},
		{"three of them", []*Summary{part(20, 1000, 0), part(50, 1000, 0), part(10, 1000, 1000)}, 76, 10, 50, 40},
		{"the same rates", []*Summary{part(10, 1000, 0), part(10, 1000, 1000)}, 67, 10, 0, 66},
	} {
		for range 2 {
			m, err := Merge(c.nodes...)
			if err != nil {
				t.Fatal(err)
			}
			if _, ok := m.Latency.PercentileAmong(c.gone, m.slower(m.Dropped)); ok {
				t.Errorf("%s: p%v exists though it falls among the dropped", c.name, c.gone)
			}
			if _, ok := m.Latency.PercentileAmong(c.wantedPresent, m.slower(m.Dropped)); !ok {
				t.Errorf("%s: p%v does not exist", c.name, c.wantedPresent)
			}
			res, err := NewResult(m, ScopeNode, nil)
			if err != nil {
				t.Fatal(err)
			}
			back, err := res.summary()
			if err != nil || res.SamplePct != c.least || res.SamplePctMost != c.most || back.slower(1000) != m.slower(1000) {
				t.Errorf("%s: result says %d to %d %%, read back %d of 1000; %v", c.name, res.SamplePct, res.SamplePctMost, back.slower(1000), err)
			}
			c.nodes[0], c.nodes[len(c.nodes)-1] = c.nodes[len(c.nodes)-1], c.nodes[0]
		}
	}
}

// Nodes of one run fold the same labels; runs of one node add up.
func TestFoldedLabelsOfNodesAndRuns(t *testing.T) {
	a, b := &Summary{FoldedLabels: 20}, &Summary{FoldedLabels: 22}
	m, err := Merge(a, b, a)
	if err != nil || m.FoldedLabels != 22 {
		t.Errorf("%d labels folded on three nodes, %v; want 22", m.FoldedLabels, err)
	}
	metrics := newTestMetrics(t)
	for i := range keptRuns + 2 {
		metrics.SetSummary(&Summary{RunID: fmt.Sprint(i), FoldedLabels: 2})
	}
	wantSeries(t, scrape(t, metrics), fmt.Sprintf("volley_histogram_labels_evicted_total %d", 2*(keptRuns+2)))
}

// Percentiles of a cluster in which a node records none are those of the others,
// and the report says so.
func TestPercentilesOfSomeNodes(t *testing.T) {
	of := func(layouts ...Layout) string {
		var parts []*Summary
		for _, l := range layouts {
			l.Steps = oneStep().Steps
			r := NewRecorder(l, 1)
			r.Shard(0).Request(Sample{Latency: time.Millisecond, Status: 200, Complete: true})
			parts = append(parts, r.Summary())
		}
		merged, err := Merge(parts...)
		if err != nil {
			t.Fatal(err)
		}
		res, err := NewResult(merged, ScopeCluster, nil)
		if err != nil {
			t.Fatal(err)
		}
		var out strings.Builder
		if err := res.WriteText(&out, false); err != nil {
			t.Fatal(err)
		}
		for line := range strings.Lines(out.String()) {
			if rest, ok := strings.CutPrefix(line, "percentiles"); ok {
				return strings.TrimSpace(rest)
			}
		}
		return ""
	}
	off := Layout{NoHistograms: true}
	for _, c := range []struct{ got, want string }{
		{of(Layout{}, Layout{}), ""},
		{of(off, off), "off"},
		{of(Layout{}, off), "off on some nodes: what is here is of those that record them"},
	} {
		if c.got != c.want {
			t.Errorf("the report says %q of the percentiles, want %q", c.got, c.want)
		}
	}
}
