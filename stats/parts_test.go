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

// second plays one in which latencies lie widely around median, so that their
// sketches have to take buckets together.
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

// A leader that takes over in mid-run reads the same of each window as one that
// has watched from the start: as closely as a sketch is until a window has passed,
// and exactly from then on.
func TestWindowsAfterATakeover(t *testing.T) {
	var thresholds []plan.Threshold
	for _, metric := range []string{
		"p50", "p99", "mean", "max", "service.p90", "ok.p90", "iteration.p90", "errors", "error_rate", "assertion_rate", "rps", "iterations", "dropped",
		"step(get).p90", "step(put).ok.p50", "step(get).errors", "step(put).error_rate", "step(get).rps", "scenario(main).service.p90", "scenario(side).iterations", "scenario(main).iteration.p50",
	} {
		c := plan.Threshold{Expr: metric + " < 0 over last 6s"}
		if _, problem := plan.ParseCondition(c.Expr); problem != "" {
			c.Expr = metric + " < 1ms over last 6s"
		}
		thresholds = append(thresholds, c)
	}
	for _, takeover := range []int{3, 12} {
		d := newDuo(thresholds)
		watched, late := NewJudge(thresholds), NewJudge(thresholds)
		for second := 1; second <= 20; second++ {
			median, errorShare := 300*time.Millisecond, 0.2
			if second > 14 {
				median, errorShare = 20*time.Millisecond, 0.01 // what was before has to leave the window
			}
			d.second(median, errorShare)
			s := d.merged(t)
			watched.Observe(s)
			switch {
			case second < takeover:
				continue
			case second == takeover:
				late.Resume(s)
			}
			late.Observe(s)
			for i, r := range watched.rules {
				where := fmt.Sprintf("taken over at %d s, %s at %d s", takeover, r.Expr, second)
				compareWindows(t, where, r, late.rules[i], s, second >= takeover+6)
			}
		}
		end := d.merged(t)
		want, got := watched.Result(end), late.Result(end)
		for i := range want {
			if want[i].OK != got[i].OK {
				t.Errorf("taken over at %d s: the verdict on %s is %v, want %v", takeover, want[i].Expr, got[i].OK, want[i].OK)
			}
		}
	}
	if n := Parts(thresholds); n != 10 {
		t.Errorf("%d parts are asked for, want 10: each once", n)
	}
}

func compareWindows(t *testing.T, where string, watched, late *rule, s *Summary, exact bool) {
	t.Helper()
	now := readingOf(&watched.cond, s)
	a, full := peek(watched, now, s)
	b, known := peek(late, now, s)
	if full != known {
		t.Errorf("%s: full is %v for who has watched, %v for who has taken over", where, full, known)
	}
	if !full || !known {
		return
	}
	x, _, _ := a.value(&watched.cond)
	y, _, _ := b.value(&watched.cond)
	tolerance := 0.01
	if exact || !watched.cond.Metric.IsDuration() {
		tolerance = 0
	}
	if math.Abs(x-y) > tolerance*x {
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
