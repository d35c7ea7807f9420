package stats

import (
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"volley/plan"
)

func compareParts(t *testing.T, want, got []Part) {
	t.Helper()
	if len(got) != len(want) {
		t.Fatalf("%d parts, want %d", len(got), len(want))
	}
	for i := range want {
		if got[i].partKey != want[i].partKey {
			t.Errorf("part %d is of %+v, want %+v", i, got[i].partKey, want[i].partKey)
		}
		compareSeries(t, &want[i].Series, &got[i].Series)
	}
}

// duo is two nodes whose summaries a leader has.
type duo struct {
	nodes   [2]*Recorder
	rng     *rand.Rand
	elapsed time.Duration
}

func newDuo(judged []plan.Threshold) *duo {
	d := &duo{rng: rand.New(rand.NewPCG(3, 4))}
	for i := range d.nodes {
		d.nodes[i] = NewRecorder(Layout{Steps: []StepKey{{"main", "get"}, {"main", "put"}, {"side", "get"}}, Judged: judged}, 2)
	}
	return d
}

// second plays the next one, in which latencies lie widely around median, so that
// their sketches have to take buckets together.
func (d *duo) second(median time.Duration, errorShare float64) {
	for n, rec := range d.nodes {
		for i := range 400 {
			sh, at := rec.Shard(i), d.elapsed+time.Duration(i)*time.Second/400
			latency := time.Duration(float64(median) * math.Exp(d.rng.NormFloat64()))
			sm := Sample{Step: (i + n) % 3, At: at, Latency: latency, Service: latency / 2, Status: 200, Complete: true, AssertionsPassed: 1}
			if d.rng.Float64() < errorShare {
				sm.Status, sm.Kind, sm.AssertionsFailed = 500, ErrServer, 1
			}
			sm.At -= sm.Service // it ends in this second
			sh.Arrived(Arrival{Due: at, Sent: at, WorkerFree: true})
			sh.Request(sm)
			sh.Iteration(Iteration{Step: sm.Step, Duration: latency})
		}
		rec.Shard(0).Drop(Drop{At: d.elapsed, N: 4, Cause: DropWaiting})
	}
	d.elapsed += time.Second
}

// merged is what a leader has of both, by way of the wire.
func (d *duo) merged(t *testing.T) *Summary {
	t.Helper()
	var got []*Summary
	for _, rec := range d.nodes {
		s := rec.Summary()
		s.Elapsed, s.Planned = d.elapsed, time.Minute
		back, err := Decode([]byte(mustEncode(t, s)))
		if err != nil {
			t.Fatal(err)
		}
		got = append(got, back)
	}
	out, err := Merge(got...)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// A leader that takes over in mid-run reads of windows that begin before nearly what
// one reads that has watched from the start: of two seconds before, as the words of
// nodes may be so much apart, and as closely as a sketch is. Once a window has passed
// it reads exactly the same.
func TestWindowsAfterATakeover(t *testing.T) {
	var thresholds []plan.Threshold
	for _, expr := range []string{
		"p50 > 1ms", "p90 < 1ms", "mean < 1ms", "max < 1ms", "service.p90 < 1ms", "ok.p90 < 1ms", "iteration.p90 < 1ms", "errors < 1", "error_rate < 1%",
		"assertion_rate > 10%", "rps > 720", "rps < 880", "iterations < 5200", "iterations > 4400", "dropped < 60", "step(get).p90 < 1ms", "step(put).ok.p50 < 1ms",
		"step(get).errors < 1", "step(put).error_rate < 1%", "step(get).rps > 480", "scenario(main).service.p90 < 1ms", "scenario(side).iterations < 1760",
		"scenario(main).iteration.p50 < 1ms",
	} {
		thresholds = append(thresholds, plan.Threshold{Expr: expr + " over last 6s"})
	}
	if n := Parts(thresholds); n != MaxParts {
		t.Errorf("%d parts are asked for, want %d: each once, and none for counts where there is one for times", n, MaxParts)
	}
	const slow = 21 // seconds; what was before has to leave the window
	for _, test := range []struct {
		takeover int
		between  time.Duration // of a second, when summaries come
	}{{3, 0}, {12, 8 * millisecond}, {25, 300 * millisecond}} {
		d := newDuo(thresholds)
		d.elapsed = test.between
		watched, late := NewJudge(thresholds), NewJudge(thresholds)
		for second := 1; second <= 33; second++ {
			median := 300 * millisecond
			if second > slow {
				median = 20 * millisecond
			}
			d.second(median, 0.2)
			s := d.merged(t)
			watched.Observe(s)
			switch {
			case second < test.takeover:
				continue
			case second == test.takeover:
				late.Resume(s)
			}
			late.Observe(s)
			exact := second >= test.takeover+6
			if !exact && second > slow && second < slow+9 {
				continue // half of a window is of either kind
			}
			for i, r := range watched.rules {
				compareWindows(t, fmt.Sprintf("taken over at %d s, %s at %s", test.takeover, r.Expr, d.elapsed), r, late.rules[i], s, exact)
			}
		}
		end := d.merged(t)
		want, got := watched.Result(end), late.Result(end)
		held := 0
		for i := range want {
			if want[i].OK != got[i].OK {
				t.Errorf("taken over at %d s: the verdict on %s is %v, want %v", test.takeover, want[i].Expr, got[i].OK, want[i].OK)
			}
			if got[i].OK {
				held++
			}
		}
		if held != 9 {
			t.Errorf("taken over at %d s: %d hold, want 9", test.takeover, held)
		}
	}
}

// compareWindows compares what two rules read of the window that ends now.
func compareWindows(t *testing.T, where string, watched, late *rule, s *Summary, exact bool) {
	t.Helper()
	off := 0.08
	switch m := watched.cond.Metric; {
	case exact && m.Name == "max":
		off = 0.001 // of a window it is known by its bucket
	case exact:
		off = 0
	case m.Name == "max":
		off = 20 // another window has another
	case m.IsDuration():
		off = 0.15
	}
	now := readingOf(&watched.cond, s)
	a, full := peek(watched, now, s)
	b, known := peek(late, now, s)
	if exact && full != known {
		t.Errorf("%s: full is %v for who has watched, %v for who has taken over", where, full, known)
	}
	if !full || !known {
		return
	}
	x, _, _ := a.value(&watched.cond)
	y, _, _ := b.value(&watched.cond)
	if math.Abs(x-y) > off*x {
		t.Errorf("%s: %g, want %g", where, y, x)
	}
}

// peek is a rule's window now, of a copy: it leaves the rule's readings alone.
func peek(r *rule, now reading, s *Summary) (reading, bool) {
	copied := *r
	copied.history = history{slices.Clone(r.history.readings), slices.Clone(r.history.times)}
	return copied.window(now, s, s.Elapsed)
}

// More parts than travel are not kept.
func TestPartsAreBounded(t *testing.T) {
	var thresholds []plan.Threshold
	layout := Layout{}
	for i := range MaxParts + 5 {
		name := fmt.Sprintf("s%d", i)
		layout.Steps = append(layout.Steps, StepKey{"main", name})
		thresholds = append(thresholds, plan.Threshold{Expr: "step(" + name + ").p95 < 1s over last 5s"}, plan.Threshold{Expr: "step(" + name + ").p99 < 1s over last 9s"})
	}
	layout.Judged = thresholds
	if n := Parts(thresholds); n != MaxParts+5 {
		t.Errorf("%d parts are asked for, want %d", n, MaxParts+5)
	}
	rec := NewRecorder(layout, 1)
	rec.Shard(0).Request(Sample{Step: 1, Latency: time.Second, Status: 200, Complete: true})
	s := rec.Summary()
	if len(s.Parts) != MaxParts || len(s.Parts[1].Series.Points) != 1 || len(s.Parts[2].Series.Points) != 0 {
		t.Errorf("%d parts, of which the second has %d points and the third %d", len(s.Parts), len(s.Parts[1].Series.Points), len(s.Parts[2].Series.Points))
	}
	s.Parts = append(s.Parts, Part{})
	if _, err := s.Encode(); err == nil {
		t.Error("a summary with too many parts has a byte form")
	}
}

// As many parts as there may be, full and of any samples, fit into a message with
// all the rest: node.MaxSummary is 6 MiB.
func TestFullPartsFitIntoAMessage(t *testing.T) {
	const enough = 5 << 20
	rng := rand.New(rand.NewPCG(5, 6))
	fullPoint := func(limit int) Point {
		var cells []bucket
		for index := int64(0); len(cells) < limit; index += 1 + rng.Int64N(int64(12_000/limit)) {
			cells = append(cells, bucket{index, 128 + rng.Int64N(16_000)}) // takes two bytes
		}
		p := Point{Max: time.Hour, latency: newSketch(2, cells, limit)}
		for _, c := range p.counters() {
			*c = maxCounter / 1000
		}
		return p
	}
	s := fullSummary()
	s.Parts = nil
	fill := func(series *Series, limit int) {
		series.Span, series.First, series.Points = 1, 0, nil
		for range maxPoints {
			series.Points = append(series.Points, fullPoint(limit))
		}
	}
	fill(&s.Series, latencySketch)
	for i := range MaxParts {
		s.Parts = append(s.Parts, newPart(partKey{Step: fmt.Sprint("step ", i), Of: "service"}))
		fill(&s.Parts[i].Series, partSketch)
	}
	body := mustEncode(t, s)
	if len(body) > enough {
		t.Errorf("%d bytes, at most %d leave room for steps", len(body), enough)
	}
	t.Logf("%.1f MB", float64(len(body))/1e6)
	// Merged and made coarser they are no larger.
	for range 3 {
		s.Parts[0].Series.coarsen()
	}
	s.Parts[0].Series.add(&s.Parts[1].Series)
	for i := range s.Parts[0].Series.Points {
		if err := s.Parts[0].Series.Points[i].latency.check(partSketch); err != nil {
			t.Fatal(err)
		}
	}
	totals, err := DecodeTotals([]byte(body))
	if err != nil {
		t.Fatal(err)
	}
	if len(totals.Series.Points) != 0 || len(totals.Parts) != 0 || totals.Requests != s.Requests || totals.Latency.tally != s.Latency.tally || len(totals.Slowest) != len(s.Slowest) {
		t.Errorf("the totals: %d points, %d parts, %d requests of %d", len(totals.Series.Points), len(totals.Parts), totals.Requests, s.Requests)
	}
}

// What was watched is not judged again by rounded figures when there is a gap later.
func TestResumeLeavesWhatWasWatched(t *testing.T) {
	const seconds = 14
	percentiles := []int{50, 60, 70, 75, 80, 85, 90, 95}
	most := make([]float64, len(percentiles)) // of the exact windows, in ms
	watch := func(bound func(i int) float64) (*Judge, *Summary) {
		var thresholds []plan.Threshold
		for i, p := range percentiles {
			thresholds = append(thresholds, plan.Threshold{Expr: fmt.Sprintf("p%d < %.6fms over last 6s", p, bound(i))})
		}
		d, judge := newDuo(thresholds), NewJudge(thresholds)
		var s *Summary
		for range seconds {
			d.second(300*millisecond, 0)
			s = d.merged(t)
			judge.Observe(s)
			for i, r := range judge.rules {
				if w, full := peek(r, readingOf(&r.cond, s), s); full {
					v, _, _ := w.value(&r.cond)
					most[i] = max(most[i], v/1e6)
				}
			}
		}
		return judge, s
	}
	watch(func(int) float64 { return 1e6 })
	judge, s := watch(func(i int) float64 { return most[i] * 1.00001 })
	judge.Resume(s)
	for _, r := range judge.rules {
		if r.failing {
			t.Errorf("%s held while it was watched, and has failed since", r.Expr)
		}
	}
	fresh := NewJudge(nil)
	for _, r := range judge.rules {
		fresh.rules = append(fresh.rules, &rule{Threshold: r.Threshold, cond: r.cond})
	}
	fresh.Resume(s)
	if !slices.ContainsFunc(fresh.rules, func(r *rule) bool { return r.failing }) {
		t.Error("rounded figures would have held, too: this test shows nothing")
	}
}

// Ten runs are kept, none of them with what grows with its length.
func TestMetricsKeepNoCourse(t *testing.T) {
	m := newTestMetrics(t)
	s := fullSummary()
	m.SetSummary(s)
	for _, kept := range m.Loads() {
		if len(s.Parts) == 0 || len(s.Series.Points) == 0 || len(kept.Parts)+len(kept.Series.Points)+len(kept.Slowest)+len(kept.Stages) > 0 {
			t.Errorf("of %d parts %d are kept, of %d points %d", len(s.Parts), len(kept.Parts), len(s.Series.Points), len(kept.Series.Points))
		}
	}
	if len(m.Loads()) != 1 {
		t.Errorf("%d runs are kept", len(m.Loads()))
	}
}
