package stats

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"volley/plan"
)

// second is what the run of a judge's test does in one second.
type second struct {
	requests, errors, dropped, late int
	latency                         time.Duration
	step                            int
}

// trial plays seconds to a recorder and gives the judge a summary after each.
type trial struct {
	rec   *Recorder
	judge *Judge
	at    time.Duration
	unit  string
	// plannedS is the planned duration in seconds, 0 for as long as is played.
	plannedS int
}

func newTrial(exprs ...string) *trial {
	var thresholds []plan.Threshold
	for _, e := range exprs {
		thresholds = append(thresholds, plan.Threshold{Expr: e})
	}
	layout := Layout{Steps: []StepKey{{"main", "get"}, {"main", "put"}, {"side", "get"}}}
	return &trial{rec: NewRecorder(layout, 2), judge: NewJudge(thresholds)}
}

func (tr *trial) play(n int, s second) {
	sh := tr.rec.Shard(0)
	for range n {
		for i := range s.requests {
			at := tr.at + time.Duration(i)*time.Second/time.Duration(s.requests)
			a := Arrival{Due: at, Sent: at}
			if i < s.late {
				a.Due -= 5 * millisecond
			}
			sh.Arrived(a)
			sm := Sample{Step: s.step, At: at, Latency: s.latency, Status: 200, Complete: true, AssertionsPassed: 3}
			if i < s.errors {
				sm.Status, sm.Kind, sm.AssertionsFailed = 500, ErrServer, 1
			}
			sh.Request(sm)
			sh.Iteration(Iteration{Step: s.step, Duration: s.latency})
		}
		sh.Drop(Drop{At: tr.at, N: int64(s.dropped), Cause: DropWaiting})
		tr.at += time.Second
		tr.judge.Observe(tr.summary())
	}
}

func (tr *trial) summary() *Summary {
	s := tr.rec.Summary()
	s.Elapsed, s.Unit = tr.at, tr.unit
	s.Planned = time.Duration(tr.plannedS) * time.Second
	return s
}

func (tr *trial) end() []ThresholdResult {
	s := tr.summary()
	s.Ended = true
	return tr.judge.Result(s)
}

// show is "value ok failed_at rate".
func show(r ThresholdResult) string {
	text := func(v *float64) string {
		if v == nil {
			return "-"
		}
		return fmt.Sprintf("%g", *v)
	}
	return fmt.Sprintf("%s %v %s %s", text(r.Value), r.OK, text(r.FailedAtS), text(r.RateAtFailure))
}

// What each metric reads: 10 s of 20/s, of which 15 at step get take 10 ms, then
// 5 s of 40/s at step put that take 200 ms with errors, drops and late starts.
func TestEveryMetric(t *testing.T) {
	cases := map[string]string{
		"p50 < 100ms":                        "200 false 15 40",
		"p95 < 100ms":                        "- false 11 40", // 400 samples, 25 dropped: the 404th
		"p90 <= 200ms":                       "200 true - -",
		"max < 1s":                           "200 true - -",
		"mean > 100ms":                       "105 true - -",
		"service.p50 < 1ms":                  "0 true - -",
		"ok.p99 < 300ms":                     "200 true - -",
		"iteration.p50 < 100ms":              "10.002431 true - -",
		"iteration.max < 100ms":              "200 false 11 40",
		"error_rate < 10%":                   "0.125 false 14 40",
		"error_rate <= 0.125":                "0.125 true - -",
		"assertion_rate > 97%":               "0.96 false 13 40",
		"errors <= 50":                       "50 true - -",
		"errors < 50":                        "50 false 15 40",
		"dropped < 26":                       "25 true - -",
		"dropped == 25":                      "25 true - -",
		"late_starts < 10":                   "10 false 15 40",
		"rps > 26/s":                         "26.666667 true - -",
		"rps < 21":                           "26.666667 false 11 40",
		"iterations >= 400":                  "400 true - -",
		"iterations > 400":                   "400 false 15 26.667",
		"iterations > 95%":                   "94.117647 false 14 40",
		"rps >= 94%":                         "94.117647 true - -",
		"step(get).p99 < 100ms":              "10 true - -",
		"step(put).p50 < 100ms":              "200 false 11 40",
		"step(put).errors < 20":              "50 false 12 40",
		"step(put).error_rate < 20%":         "0.25 false 11 40",
		"step(put).ok.max < 1s":              "200 true - -",
		"step(put).rps > 13":                 "13.333333 true - -",
		"scenario(main).p50 < 1s":            "10.002431 true - -",
		"scenario(main).iterations == 400":   "400 true - -",
		"scenario(main).iteration.p99 < 1s":  "200 true - -",
		"scenario(side).p50 < 1s":            "- false - -",
		"scenario(side).errors < 1":          "- false - -",
		"scenario(side).assertion_rate > 1%": "- false - -",
		"p50 < 100ms over last 5s":           "200 false 12 40",
		"error_rate < 10% over last 4s":      "0.1 false 11 40",
		"error_rate < 30% over last 4s":      "0.25 true - -",
		"rps > 15 over last 3s":              "40 true - -",
		"rps < 30/s over last 2s":            "30 false 11 40",
		"dropped < 11 over last 2s":          "10 true - -",
		"step(put).max < 1s over last 5s":    "200 true - -",
		"p50 < 1s over last 1h":              "200 true - -",
	}
	exprs := make([]string, 0, len(cases))
	for expr := range cases {
		exprs = append(exprs, expr)
	}
	tr := newTrial(exprs...)
	tr.play(10, second{requests: 20, latency: 10 * millisecond})
	tr.play(5, second{requests: 40, latency: 200 * millisecond, step: 1, errors: 10, dropped: 5, late: 2})
	for _, row := range tr.end() {
		if got := show(row); got != cases[row.Expr] {
			t.Errorf("%s: %s, want %s", row.Expr, got, cases[row.Expr])
		}
	}
}

// A threshold on the whole run that recovers has held; one over a window has not.
func TestRecovery(t *testing.T) {
	tr := newTrial("p90 < 100ms", "error_rate < 10%", "p90 < 100ms over last 3s", "error_rate < 10% over last 3s")
	tr.play(2, second{requests: 10, latency: time.Second, errors: 5})
	tr.play(50, second{requests: 10, latency: millisecond})
	var got []string
	for _, row := range tr.end() {
		got = append(got, show(row))
	}
	want := "1.000447 true - -, 0.019231 true - -, 1000 false 3 10, 0.333333 false 3 10"
	if strings.Join(got, ", ") != want {
		t.Errorf("%s, want %s", strings.Join(got, ", "), want)
	}
}

func TestUnitOfDue(t *testing.T) {
	tr := newTrial("rps >= 95%")
	tr.unit = "requests"
	tr.play(1, second{requests: 10})
	tr.rec.Shard(0).Request(Sample{Status: 200, Complete: true})
	tr.rec.Shard(0).Drop(Drop{N: 10})
	if got := show(tr.end()[0]); got != "55 false 1 10" {
		t.Errorf("11 requests of 20 due: %s, want 55 false 1 10", got)
	}
}

func TestAbort(t *testing.T) {
	tr := newTrial()
	tr.judge = NewJudge([]plan.Threshold{
		{Expr: "errors < 100"},
		{Expr: "iterations > 1000", AbortOnFail: true},
		{Expr: "max < 100ms", AbortOnFail: true, After: 5 * time.Second},
		{Expr: "p50 < 10s over last 2s", AbortOnFail: true},
	})
	aborted := func() string {
		row, ok := tr.judge.Aborting()
		if !ok {
			return ""
		}
		return row.Expr + " " + show(row)
	}
	tr.play(4, second{requests: 50, errors: 50, latency: time.Second})
	if got := aborted(); got != "" {
		t.Fatalf("aborted after 4 s: %s: the first does not abort, the second can still hold, the third waits", got)
	}
	tr.play(1, second{requests: 10, latency: millisecond})
	if got := aborted(); got != "max < 100ms 1000 false 5 10" {
		t.Errorf("after 5 s: %q, want max < 100ms 1000 false 5 10", got)
	}
	if Held(tr.end()) {
		t.Error("the run's thresholds held")
	}
	if !Held(nil) {
		t.Error("a run without thresholds has not held them")
	}
}

// What was aborted has failed, whatever the drain brings.
func TestAbortIsForGood(t *testing.T) {
	tr := newTrial()
	tr.judge = NewJudge([]plan.Threshold{{Expr: "error_rate < 10%", AbortOnFail: true}})
	tr.play(1, second{requests: 10, errors: 2})
	for range 90 {
		tr.rec.Shard(0).Request(Sample{Status: 200, Complete: true})
	}
	tr.at += time.Second
	if got := show(tr.end()[0]); got != "0.2 false 1 10" {
		t.Errorf("%s, want the value at the abort: 0.2 false 1 10", got)
	}
}

// Only final reports: the series says when it failed.
func TestReplay(t *testing.T) {
	exprs := []string{
		"p50 < 100ms", "error_rate < 10%", "errors < 15", "iterations > 1000", "p90 < 100ms over last 2s",
		"error_rate <= 25% over last 2s", "rps < 30 over last 2s", "service.p50 < 1ms", "service.p50 < 1ms over last 2s",
	}
	tr := newTrial(exprs...)
	tr.play(10, second{requests: 20, latency: 10 * millisecond})
	tr.play(5, second{requests: 40, latency: 200 * millisecond, step: 1, errors: 10})
	tr.play(5, second{requests: 20, latency: 10 * millisecond})
	tr.plannedS = 20
	observed := tr.end()
	fresh := newTrial(exprs...)
	fresh.rec, fresh.at, fresh.plannedS = tr.rec, tr.at, 20
	replayed := fresh.end()
	for i, want := range observed {
		got, expected := show(replayed[i]), show(want)
		switch want.Expr {
		case "service.p50 < 1ms over last 2s":
			expected = "- false - -" // cannot be replayed, so it is not said to hold
		}
		if got != expected {
			t.Errorf("%s: replayed %s, want %s", want.Expr, got, expected)
		}
	}
	for expr, want := range map[string]bool{
		"p95 < 1s": true, "step(a).p95 < 1s": true, "p95 < 1s over last 5s": true, "errors < 3 over last 5s": true,
		"step(a).errors < 1 over last 5s": false, "ok.p95 < 1s over last 5s": false, "iteration.max < 1s over last 5s": false,
	} {
		c, problem := plan.ParseCondition(expr)
		if problem != "" {
			t.Fatal(expr, problem)
		}
		if replayable(&c) != want {
			t.Errorf("%s can be replayed: %v, want %v", expr, !want, want)
		}
	}
}

// A window of an hour must not keep a reading for each of its seconds.
func TestHistoryIsBounded(t *testing.T) {
	var h history
	for i := range 20_000 {
		r := reading{n: int64(i)}
		w, full := h.window(r, time.Duration(i)*time.Second, time.Hour)
		if full != (i >= 3600) {
			t.Fatalf("after %d s the window of 1h is full: %v", i, full)
		}
		if full && (w.n < 3590 || w.n > 3610) {
			t.Fatalf("the last hour counts %d, want about 3600", w.n)
		}
	}
	if len(h.readings) > maxHistory+10 {
		t.Errorf("%d readings are kept, want at most about %d", len(h.readings), maxHistory)
	}
}

// A run that ends long before its time: what is of all of it divides by the
// planned duration, but its last seconds are the last in which it sent.
func TestThresholdsOfARunThatEndsEarly(t *testing.T) {
	cases := map[string]string{
		"rps > 10":                        "6.666667 false 20.01 20",
		"rps > 15 over last 5s":           "20 true - -",
		"iterations > 1000":               "400 false 20 20",
		"step(get).rps > 15 over last 5s": "20 true - -",
		"iterations > 90 over last 5s":    "100 true - -",
	}
	for expr, want := range cases {
		tr := newTrial(expr)
		tr.plannedS = 60
		tr.play(20, second{requests: 20, latency: millisecond})
		s := tr.summary()
		s.Ended, s.Elapsed, s.StoppedBy, s.StoppedAfter = true, 20*time.Second+10*millisecond, "stop", 20*time.Second
		tr.judge.Observe(s)
		if got := show(tr.judge.Result(s)[0]); got != want {
			t.Errorf("%s: %s, want %s", expr, got, want)
		}
		replayed := NewJudge([]plan.Threshold{{Expr: expr}}).Result(s)[0]
		if c, _ := plan.ParseCondition(expr); replayable(&c) && (replayed.OK != (want[len(want)-1] == '-') || fmt.Sprint(*replayed.Value) != strings.Fields(want)[0]) {
			t.Errorf("%s, replayed: %s, want %s", expr, show(replayed), want)
		}
	}
	v := NewInterval(time.Minute)
	if _, err := v.Observe(&Summary{Planned: time.Minute, Ended: true, StoppedBy: "stop", StoppedAfter: 7 * time.Second}); err != nil {
		t.Fatal(err)
	}
	if r, err := v.Result(); err != nil || r.ToS != 7 {
		t.Errorf("the last interval of a run that ended after 7 s: %+v, %v", r, err)
	}
}

// The rate at a failure is that of the arrivals that count: none of warm-up's,
// and none of a moment too short for one.
func TestRateAtFailureAfterWarmup(t *testing.T) {
	tr := newTrial("error_rate < 1%", "errors < 30")
	at := func(elapsed time.Duration, started, errors int64) {
		s := &Summary{Elapsed: elapsed, Warmup: time.Second, Planned: 10 * time.Second, Started: started, Requests: started}
		s.Errors[ErrServer] = errors
		tr.judge.Observe(s)
	}
	at(500*millisecond, 0, 0)
	at(1003*millisecond, 1, 1)
	at(2003*millisecond, 41, 41)
	s := &Summary{Elapsed: 10 * time.Second, Warmup: time.Second, Planned: 10 * time.Second, Started: 360, Requests: 360, Ended: true}
	s.Errors[ErrServer] = 360
	rows := tr.judge.Result(s)
	if got := show(rows[0]) + ", " + show(rows[1]); got != "1 false 1.003 -, 360 false 2.003 40.877" {
		t.Errorf("%s", got)
	}
}
