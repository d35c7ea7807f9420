package stats

import (
	"bytes"
	"fmt"
	"math"
	"math/rand/v2"
	"strings"
	"testing"
	"time"
)

// simulated is a run of a target whose latency has a heavy tail, wanders from
// second to second, drifts, and lies a little elsewhere in each run.
type simulated struct {
	seed      uint64
	seconds   int
	slower    float64 // 1 is as it is
	errors    float64 // share
	planned   string
	verdictBy time.Duration // schedule lag
}

const simulatedRate = 50

func (v simulated) result(t *testing.T) *Result {
	t.Helper()
	random := rand.New(rand.NewPCG(v.seed, 7))
	length := time.Duration(v.seconds) * time.Second
	rec := NewRecorder(Layout{Steps: []StepKey{{Scenario: "s", Step: "get"}}, Duration: length}, 1)
	level, drift, wander := 0.007*random.NormFloat64(), 0.03*random.NormFloat64(), 0.0
	for i := range v.seconds * simulatedRate {
		if i%simulatedRate == 0 {
			wander = 0.8*wander + 0.02*random.NormFloat64()
		}
		at := time.Duration(i) * time.Second / simulatedRate
		logarithm := level + wander + drift*(float64(i)/float64(v.seconds*simulatedRate)-0.5) + 0.4*random.NormFloat64()
		if random.Float64() < 0.02 { // Pareto's tail
			logarithm += -math.Log(1-random.Float64()) / 1.5
		}
		latency := time.Duration(20 * v.slower * float64(time.Millisecond) * math.Exp(logarithm))
		sample := Sample{At: at, Latency: latency, Service: latency, Status: 200, Complete: true}
		if random.Float64() < v.errors {
			sample.Status, sample.Kind = 500, ErrServer
		}
		rec.Shard(0).Arrived(Arrival{Due: at, Sent: at})
		rec.Shard(0).Request(sample)
		rec.Shard(0).Iteration(Iteration{Duration: latency})
	}
	s := rec.Summary()
	s.RunID, s.ConfigVersion, s.NodeID, s.Ended = fmt.Sprintf("r-%d", v.seed), "sha256:1"+v.planned, "a", true
	s.Elapsed, s.Planned, s.Target = length, length, float64(v.seconds*simulatedRate)
	s.Generator.ScheduleLagP99 = v.verdictBy
	r, err := NewResult(s, ScopeNode, nil)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func weighed(t *testing.T, before, after []*Result) *Comparison {
	t.Helper()
	c, err := CompareSides(before, after)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// tallyOf compares so many pairs, and says how often each verdict was.
func tallyOf(t *testing.T, pairs uint64, slower float64, runs, seconds int, planned string) map[ChangeVerdict]int {
	t.Helper()
	got := map[ChangeVerdict]int{}
	for pair := range pairs {
		var sides [2][]*Result
		for i := range sides {
			for run := range runs {
				v := simulated{seed: 1000*pair + 100*uint64(i) + uint64(run), seconds: seconds, slower: 1, errors: 0.01}
				if i == 1 {
					v.slower, v.planned = slower, planned
				}
				sides[i] = append(sides[i], v.result(t))
			}
		}
		c := weighed(t, sides[0], sides[1])
		got[c.Weighed.Verdict]++
		for _, f := range c.Weighed.Figures {
			if f.Verdict == ChangeReal && slower == 1 {
				t.Logf("pair %d: %s is real: %+.2f (%+.2f to %+.2f)", pair, f.Name, *f.Change, *f.Low, *f.High)
			}
		}
	}
	return got
}

// Whatever way the sides are given: what has not changed is noise and what is a
// tenth slower is real, each in at least 19 of 20 pairs. With -short there are
// four pairs of the first way, and none may be wrong.
func TestChangesAreToldFromNoise(t *testing.T) {
	pairs, right := uint64(20), 19
	if testing.Short() {
		pairs, right = 4, 4
	}
	layouts := []struct {
		name          string
		runs, seconds int
		planned       string // of the second side
	}{
		{"paired blocks", 1, 180, ""}, {"blocks of different plans", 1, 180, "b"}, {"blocks of two runs", 2, 90, ""}, {"five runs", 5, 60, ""},
	}
	if testing.Short() {
		layouts = layouts[:1]
	}
	for _, test := range layouts {
		t.Run(test.name, func(t *testing.T) {
			if got := tallyOf(t, pairs, 1, test.runs, test.seconds, test.planned); got[ChangeNoise] < right {
				t.Errorf("the same target: %v, want noise in %d of %d", got, right, pairs)
			}
			if got := tallyOf(t, pairs, 1.1, test.runs, test.seconds, test.planned); got[ChangeReal] < right {
				t.Errorf("a tenth slower: %v, want real in %d of %d", got, right, pairs)
			}
		})
	}
}

// An interval is about the change that was made, it comes out the same each
// time, and another side's is not about it.
func TestIntervalsHoldWhatWasChanged(t *testing.T) {
	a := simulated{seed: 1, seconds: 300, slower: 1, errors: 0.01}.result(t)
	b := simulated{seed: 2, seconds: 300, slower: 1.2, errors: 0.05}.result(t)
	c := weighed(t, []*Result{a}, []*Result{b})
	w := c.Weighed
	if w.Units != "blocks of the same moments" || w.Before != 30 || w.After != 30 || w.BlockS != 10 || len(w.Figures) != 6 {
		t.Fatalf("%+v", w)
	}
	for i, want := range []struct {
		name    string
		change  float64
		verdict ChangeVerdict
	}{{"latency mean", 20, ChangeReal}, {"latency p50", 20, ChangeReal}, {"latency p95", 20, ChangeReal}, {"latency p99", 20, ""}, {"error rate", 4, ChangeReal}, {"requests/s", 0, ChangeNoise}} {
		f := w.Figures[i]
		if f.Name != want.name || *f.Low > want.change || *f.High < want.change || want.verdict != "" && f.Verdict != want.verdict {
			t.Errorf("%s: %+.2f (%+.2f to %+.2f) %s, want %+v", f.Name, *f.Change, *f.Low, *f.High, f.Verdict, want)
		}
	}
	var first, again bytes.Buffer
	if err := c.WriteText(&first, false); err != nil {
		t.Fatal(err)
	}
	if err := weighed(t, []*Result{a}, []*Result{b}).WriteText(&again, false); err != nil || first.String() != again.String() {
		t.Errorf("another text the second time: %v", err)
	}
	if head, _, _ := strings.Cut(first.String(), "\n"); !strings.HasPrefix(head, "real: latency mean, latency p50, latency p95") || !strings.HasSuffix(head, "; by 30 and 30 blocks of the same moments, 10 s each") {
		t.Errorf("the first line is %q", head)
	}
}

// A longer run has points of 2 s and more: its blocks are as long as whole
// points, and both sides' are equally long.
func TestBlocksOfCoarseSeries(t *testing.T) {
	a := simulated{seed: 1, seconds: 4810, slower: 1}.result(t)
	b := simulated{seed: 2, seconds: 200, slower: 1, planned: "b"}.result(t)
	w := weighed(t, []*Result{a}, []*Result{b}).Weighed
	if w.Units != "blocks" || w.BlockS != 16 || w.Before != 300 || w.After != 12 {
		t.Errorf("%+v", w)
	}
}

func TestTooShortToTell(t *testing.T) {
	a, b := simulated{seed: 1, seconds: 119, slower: 1}.result(t), simulated{seed: 2, seconds: 300, slower: 2}.result(t)
	c := weighed(t, []*Result{a}, []*Result{b})
	var text bytes.Buffer
	if err := c.WriteText(&text, false); err != nil {
		t.Fatal(err)
	}
	want := "too short to tell: 11 and 11 blocks of 10 s (at least 12 on each side, or 5 runs on each side)\n"
	if c.Weighed.Verdict != ChangeTooShort || len(c.Weighed.Figures) != 0 || !strings.HasPrefix(text.String(), want) {
		t.Errorf("%+v, %s", c.Weighed, text.String())
	}
}

// What makes figures hard to compare stands before them.
func TestDifferencesComeFirst(t *testing.T) {
	a := simulated{seed: 1, seconds: 150, slower: 1}.result(t)
	b := simulated{seed: 2, seconds: 150, slower: 1, planned: "b", verdictBy: 2 * time.Millisecond}.result(t)
	*b.Target.Iterations = 150 * 60
	var text bytes.Buffer
	if err := weighed(t, []*Result{a}, []*Result{b}).WriteText(&text, false); err != nil {
		t.Fatal(err)
	}
	want := "the configs differ, and so may what the figures mean: 1 has sha256:1, 2 has sha256:1b\n" +
		"the rates differ: 1 was asked for 50.0/s, 2 for 60.0/s\n" +
		"the generator did not keep up in every run: it was ok in 1, strained in 2\n" +
		"noise: no figure has changed by more than what differs by itself; by 15 and 15 blocks, 10 s each\n"
	if !strings.HasPrefix(text.String(), want) {
		t.Errorf("got\n%s\nwant first\n%s", text.String(), want)
	}
}

// Quantiles as the tables have them.
func TestStudent(t *testing.T) {
	for _, test := range []struct{ p, freedom, want float64 }{{0.975, 1, 12.706}, {0.975, 4, 2.776}, {0.995, 4, 4.604}, {0.975, 11, 2.201}, {0.9975, 30, 3.030}} {
		if got := student(test.p, test.freedom); math.Abs(got-test.want) > 0.001*test.want {
			t.Errorf("t(%v, %v) = %.4f, want %.3f", test.p, test.freedom, got, test.want)
		}
	}
}
