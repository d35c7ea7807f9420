package stats

import (
	"math/rand/v2"
	"reflect"
	"sync"
	"testing"
	"time"
)

func oneStep() Layout { return Layout{Steps: []StepKey{{Scenario: "main", Step: "get"}}} }

const millisecond = time.Millisecond

func TestArrivalsAreSplitByCause(t *testing.T) {
	r := NewRecorder(oneStep(), 2)
	at := func(i int, a Arrival) { r.Shard(i).Arrived(a) }
	at(0, Arrival{Due: 20 * millisecond, Sent: 20*millisecond + 400*time.Microsecond, WorkerFree: true})
	at(1, Arrival{Due: 10 * millisecond, Sent: 11 * millisecond, WorkerFree: true}) // exactly 1 ms is not late
	at(2, Arrival{Due: 30 * millisecond, Sent: 33 * millisecond, WorkerFree: true})
	at(3, Arrival{Due: 40 * millisecond, Sent: 90 * millisecond})
	at(4, Arrival{Due: 50 * millisecond, Sent: 90 * millisecond})
	at(5, Arrival{Due: 60 * millisecond, Sent: 60 * millisecond})
	at(6, Arrival{Due: 70 * millisecond, Sent: 75 * millisecond, CatchUp: true, WorkerFree: true})
	r.Shard(0).Dropped(3)

	s := r.Summary()
	if s.Due() != 10 || s.Started != 7 || s.Dropped != 3 {
		t.Errorf("due %d, started %d, dropped %d, want 10, 7, 3", s.Due(), s.Started, s.Dropped)
	}
	if s.LateGenerator != 1 || s.LateNoWorker != 2 || s.LateCatchUp != 1 {
		t.Errorf("late by generator %d, no worker %d, catch-up %d, want 1, 2, 1", s.LateGenerator, s.LateNoWorker, s.LateCatchUp)
	}
	if s.ScheduleLag.Count() != 3 || s.ScheduleLag.Max() != 3*millisecond || s.Generator.ScheduleLagP99 != 3*millisecond {
		t.Errorf("schedule lag of %d starts up to %v, p99 %v, want 3 up to 3ms: only where a worker was free",
			s.ScheduleLag.Count(), s.ScheduleLag.Max(), s.Generator.ScheduleLagP99)
	}
	if skew, ok := s.StartSkew(); !ok || skew != millisecond || s.FirstSent != 11*millisecond {
		t.Errorf("start skew %v of the arrival sent at %v, want that of the first due: 1ms at 11ms", skew, s.FirstSent)
	}
	s.StartedAt = time.Unix(100, 0)
	if want := time.Unix(100, 11e6); !s.FirstRequest().Equal(want) {
		t.Errorf("first request %v, want %v", s.FirstRequest(), want)
	}
	if _, ok := NewRecorder(oneStep(), 1).Summary().StartSkew(); ok {
		t.Error("a run without an arrival has a start skew")
	}
}

func TestRequestsGoIntoTheRightHistograms(t *testing.T) {
	r := NewRecorder(oneStep(), 1)
	sh := r.Shard(0)
	sh.Request(Sample{Latency: 2 * millisecond, Service: millisecond, Status: 200, Complete: true, NewConn: true, BytesIn: 10, BytesOut: 1, AssertionsPassed: 2})
	sh.Request(Sample{Latency: 4 * millisecond, Service: 3 * millisecond, Status: 503, Kind: ErrServer, Complete: true, BytesIn: 5})
	sh.Request(Sample{Latency: 30 * time.Second, Service: 29 * time.Second, Kind: ErrTimeout, BytesOut: 1})
	sh.Request(Sample{Latency: 9 * time.Second, Service: 9 * time.Second, Kind: ErrNetwork, NewConn: true})
	sh.Request(Sample{Latency: 8 * time.Second, Service: 5 * millisecond, Status: 500, Kind: ErrServer, Complete: true, Partial: true})
	sh.Retried(0, 1)
	sh.Request(Sample{Latency: 6 * millisecond, Service: millisecond, Status: 200, Kind: ErrAssertion, Complete: true, AssertionsFailed: 1})

	s := r.Summary()
	if s.Requests != 6 || s.Retried != 1 || s.ErrorCount() != 4 || s.ErrorRate() != 0.8 {
		t.Errorf("requests %d, retried %d, errors %d, rate %v, want 6, 1, 4, 0.8", s.Requests, s.Retried, s.ErrorCount(), s.ErrorRate())
	}
	want := [errorKinds]int64{ErrServer: 1, ErrTimeout: 1, ErrNetwork: 1, ErrAssertion: 1}
	if s.Errors != want {
		t.Errorf("errors by kind %v, want %v", s.Errors, want)
	}
	if n := s.Latency.Count(); n != 4 || s.Latency.Max() != 30*time.Second {
		t.Errorf("latency has %d samples up to %v, want 4 up to 30s: the timeout, not the failed connection, not the attempt", n, s.Latency.Max())
	}
	if n := s.Service.Count(); n != 5 || s.Service.Max() != 29*time.Second {
		t.Errorf("service time has %d samples up to %v, want 5 up to 29s", n, s.Service.Max())
	}
	if n := s.LatencyOK.Count(); n != 1 || s.LatencyOK.Max() != 2*millisecond {
		t.Errorf("latency of successes has %d samples up to %v, want 1 of 2ms", n, s.LatencyOK.Max())
	}
	if codes := s.StatusCodes(); !reflect.DeepEqual(codes, map[int]int64{200: 2, 500: 1, 503: 1}) || s.Steps[0].NoStatus != 2 {
		t.Errorf("status codes %v and %d without, want 200:2 500:1 503:1 and 2", codes, s.Steps[0].NoStatus)
	}
	if s.BytesIn != 15 || s.BytesOut != 2 || s.ConnsNew != 2 || s.ConnsReused != 4 {
		t.Errorf("bytes %d in %d out, connections %d new %d reused, want 15, 2, 2, 4", s.BytesIn, s.BytesOut, s.ConnsNew, s.ConnsReused)
	}
	st := s.Steps[0]
	if st.Succeeded != 1 || st.Errors != 4 || st.AssertionsPassed != 2 || st.AssertionsFailed != 1 {
		t.Errorf("step: %d succeeded, %d errors, %d assertions passed, %d failed, want 1, 4, 2, 1",
			st.Succeeded, st.Errors, st.AssertionsPassed, st.AssertionsFailed)
	}
}

func TestStepsAndScenariosAreCountedApart(t *testing.T) {
	r := NewRecorder(Layout{Steps: []StepKey{{"a", "one"}, {"a", "two"}, {"b", "one"}, {"a", "one"}}}, 2)
	for step, n := range []int{1, 2, 3, 4} {
		for range n {
			r.Shard(step).Request(Sample{Step: step, Latency: time.Duration(step+1) * millisecond, Complete: true, Status: 200 + step})
		}
	}
	r.Shard(0).Iteration(Iteration{Step: 3, Duration: millisecond})
	r.Shard(0).Iteration(Iteration{Step: 2, Duration: 2 * millisecond, Outcome: Failed})
	r.Shard(1).Iteration(Iteration{Step: 2, Duration: time.Hour, Outcome: Interrupted})

	s := r.Summary()
	if len(s.Steps) != 3 || s.Steps[0].Requests != 5 || s.Steps[1].Requests != 2 || s.Steps[2].Requests != 3 {
		t.Fatalf("steps %+v, want a/one 5, a/two 2, b/one 3: one name is one step", s.Steps)
	}
	if s.Requests != 10 || s.Latency.Count() != 10 || s.Steps[0].Latency.Max() != 4*millisecond {
		t.Errorf("requests %d, latencies %d, a/one up to %v, want 10, 10, 4ms", s.Requests, s.Latency.Count(), s.Steps[0].Latency.Max())
	}
	if s.Completed != 2 || s.Interrupted != 1 || s.IterationTime.Count() != 2 || s.IterationTime.Max() != 2*millisecond {
		t.Errorf("completed %d, interrupted %d, %d iteration times up to %v, want 2, 1, 2 up to 2ms",
			s.Completed, s.Interrupted, s.IterationTime.Count(), s.IterationTime.Max())
	}
	if a, b := s.Scenarios[0], s.Scenarios[1]; a.Name != "a" || a.Succeeded != 1 || b.Failed != 1 || b.Interrupted != 1 {
		t.Errorf("scenarios %+v %+v, want a: 1 succeeded, b: 1 failed, 1 interrupted", a, b)
	}
}

func TestSpanIsThePlannedDurationLessWarmup(t *testing.T) {
	for _, c := range []struct {
		s    Summary
		want time.Duration
	}{
		{Summary{Planned: 60 * time.Second, Elapsed: 75 * time.Second, Ended: true}, 60 * time.Second},
		{Summary{Planned: 60 * time.Second, Warmup: 10 * time.Second, Elapsed: 60 * time.Second, Ended: true}, 50 * time.Second},
		{Summary{Planned: 60 * time.Second, Elapsed: 20 * time.Second, Ended: true}, 60 * time.Second},
		{Summary{Planned: 60 * time.Second, Elapsed: 20 * time.Second}, 20 * time.Second},
		{Summary{Planned: 60 * time.Second, Elapsed: 5 * time.Second, Warmup: 10 * time.Second}, 0},
		{Summary{Planned: 60 * time.Second, Elapsed: 70 * time.Second}, 60 * time.Second},
	} {
		if got := c.s.Span(); got != c.want {
			t.Errorf("span of planned %v, warm-up %v, elapsed %v, ended %v = %v, want %v",
				c.s.Planned, c.s.Warmup, c.s.Elapsed, c.s.Ended, got, c.want)
		}
	}
}

// Workers record while snapshots are taken; no snapshot may contradict itself
// and in the end nothing is lost.
func TestSummaryWhileRecording(t *testing.T) {
	const workers, each = 8, 4000
	r := NewRecorder(Layout{Steps: []StepKey{{"a", "one"}, {"b", "two"}}}, 3)
	var group sync.WaitGroup
	for w := range workers {
		group.Go(func() {
			for i := range each {
				// The arrival and its end may be counted by different shards.
				r.Shard(w).Arrived(Arrival{Due: time.Duration(i), Sent: time.Duration(i)})
				r.Shard(w + i).Request(Sample{Step: i % 2, Latency: time.Duration(i), Service: time.Duration(i), Status: 200, Complete: true})
				r.Shard(w + i + 1).Iteration(Iteration{Step: i % 2, Duration: time.Duration(i)})
			}
		})
	}
	done := make(chan struct{})
	go func() { group.Wait(); close(done) }()
	var last int64
	for running := true; running; {
		select {
		case <-done:
			running = false
		default:
		}
		s := r.Summary()
		if s.Completed > s.Requests || s.Requests > s.Started || s.Started < last {
			t.Fatalf("started %d (was %d), requests %d, completed %d: not one instant", s.Started, last, s.Requests, s.Completed)
		}
		if s.Latency.Count() != s.Requests || s.Steps[0].Requests+s.Steps[1].Requests != s.Requests {
			t.Fatalf("requests %d, latencies %d, by step %d + %d", s.Requests, s.Latency.Count(), s.Steps[0].Requests, s.Steps[1].Requests)
		}
		last = s.Started
	}
	s := r.Summary()
	if s.Started != workers*each || s.Requests != workers*each || s.Completed != workers*each {
		t.Errorf("started %d, requests %d, completed %d, want %d each", s.Started, s.Requests, s.Completed, workers*each)
	}
}

// A snapshot must not change when recording goes on.
func TestSummaryIsIndependent(t *testing.T) {
	r := NewRecorder(oneStep(), 1)
	record := func() {
		r.Shard(0).Request(Sample{Latency: time.Duration(rand.IntN(1e9)), Status: 200, Complete: true})
	}
	record()
	before := r.Summary()
	want, err := before.Encode()
	if err != nil {
		t.Fatal(err)
	}
	for range 100 {
		record()
	}
	r.Summary()
	if got, err := before.Encode(); err != nil || string(got) != string(want) {
		t.Errorf("an earlier summary changed when recording went on (%v)", err)
	}
}
