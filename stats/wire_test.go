package stats

import (
	"fmt"
	"math"
	"math/rand/v2"
	"reflect"
	"runtime"
	"strings"
	"testing"
	"time"

	"volley/plan"
)

// fullSummary has something in every field.
func fullSummary() *Summary {
	rng := rand.New(rand.NewPCG(7, 8))
	r := NewRecorder(Layout{
		Steps: []StepKey{{"a", "one"}, {"b", "two"}, {"c", "three"}}, MaxLabels: 2, SamplePct: 50, Duration: 10 * time.Second,
		Judged: []plan.Threshold{{Expr: "step(one).p50 < 1s over last 2s"}, {Expr: "scenario(b).errors < 1 over last 2s"}, {Expr: "ok.p50 < 1s over last 2s"}},
		Stages: []Stage{{To: 4 * time.Second, ToRate: 9}, {From: 4 * time.Second, To: 10 * time.Second, FromRate: 9, ToRate: 3}},
		Asked:  func(t time.Duration) float64 { return 50 * t.Seconds() },
	}, 2)
	for i := range 500 {
		sh := r.Shard(i)
		sh.Arrived(Arrival{Due: time.Duration(i + 1), Sent: time.Duration(i) + 5*millisecond, WorkerFree: i%3 == 0, CatchUp: i%5 == 0})
		sm := randomSample(rng, 2)
		sm.At = time.Duration(i) * 20 * millisecond
		sm.Phases = &Phases{DNS: 1, Connect: 2, TLS: 3, FirstByte: 4}
		sm.AssertionsPassed, sm.AssertionsFailed = i%2, i%3
		sh.Request(sm)
		sh.Iteration(Iteration{Step: i % 2, Duration: time.Duration(i) * millisecond, Outcome: Outcome(i % 3)})
	}
	for range 2 { // of which one is sampled
		r.Shard(0).Request(Sample{Latency: 3 * time.Hour, Service: 2 * time.Hour, Status: 200, Complete: true})
	}
	r.Shard(0).Retried(0, 3)
	r.Shard(0).Dropped(17)
	r.Shard(0).Drop(Drop{Due: 3 * time.Second, At: 3 * time.Second, N: 2, Cause: DropThinking})
	r.Shard(0).Drop(Drop{Due: 3 * time.Second, At: 3 * time.Second, N: 3, Cause: DropWaiting})
	r.Shard(1).Drop(Drop{Due: 9 * time.Second, At: 9 * time.Second, N: 5, Cause: DropEnd})
	r.Shard(1).Placed()
	r.Shard(0).Downgraded()
	r.Shard(0).LookupFailed()
	r.Shard(1).Drop(Drop{Due: time.Second, At: time.Second, N: 2, Cause: DropIsolated})
	r.Observe(Gauges{At: 2 * time.Second, Workers: 8, InFlight: 3, CPUPct: 70, ThrottledPct: 2, GCPause: 300 * time.Microsecond})
	r.Shard(0).Reconnected(4)
	r.Shard(0).Unresolved()
	r.Shard(1).ExtractionFailed()
	r.Shard(1).Example(ErrTLS, "GET http://h/: bad certificate")
	s := r.Summary()
	s.RunID, s.ConfigVersion, s.NodeID, s.Region, s.Tenant = "run", "sha256:x", "node", "local", "acme"
	s.StartedAt = time.Unix(0, 1_700_000_000_123_456_789)
	s.Elapsed, s.Planned, s.Warmup = 11*time.Second, 10*time.Second, time.Second
	s.WarmupRequests, s.WarmupErrors = 40, 3
	s.StoppedBy, s.StoppedAfter = "stop", 7*time.Second
	s.Ended, s.Closed, s.Failure, s.Target, s.Workers = true, true, "it broke", 123.25, 7
	s.Unit, s.NoHistograms, s.Pool = "requests", true, Pool{Limited: true, MaxIdlePerHost: 4, IdleTimeout: time.Minute}
	s.OwnClient, s.StdClient = true, true
	s.ThinkTimeScale, s.Scaled = 0.5, true
	s.RowsSkipped = 6
	s.Generator.CPUPct, s.Generator.ThrottledPct, s.Generator.ThrottledPeriods = 42.5, 0.5, 9
	s.SavingSince, s.SampleMost = 4*time.Second, 75
	s.Generator.GCPauseP99, s.Generator.WakeupP99, s.Generator.ClockJump = 100, 200, 300
	return s
}

func TestEncodeDecode(t *testing.T) {
	for name, s := range map[string]*Summary{"full": fullSummary(), "empty": {}} {
		got, err := Decode([]byte(mustEncode(t, s)))
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		if mustEncode(t, got) != mustEncode(t, s) {
			t.Errorf("%s: encoded again it differs", name)
		}
		// Every plain field, so that one added later cannot be forgotten.
		a, b := reflect.ValueOf(*s), reflect.ValueOf(*got)
		for i := range a.NumField() {
			field := a.Type().Field(i)
			if name == "full" && field.Name != "Histogram" && a.Field(i).IsZero() {
				t.Errorf("the test leaves %s zero", field.Name)
			}
			if field.Name == "Series" {
				compareSeries(t, &s.Series, &got.Series)
				continue
			}
			if field.Name == "Parts" {
				compareParts(t, s.Parts, got.Parts)
				continue
			}
			if strings.Contains(field.Type.String(), "Stats") || strings.Contains(field.Type.String(), "Histogram") {
				continue
			}
			if !reflect.DeepEqual(a.Field(i).Interface(), b.Field(i).Interface()) {
				t.Errorf("%s: %s is %v, was %v", name, field.Name, b.Field(i), a.Field(i))
			}
		}
		for i := range s.Steps {
			x, y := s.Steps[i], got.Steps[i]
			if x.StepKey != y.StepKey || x.Requests != y.Requests || !reflect.DeepEqual(x.StatusCodes, y.StatusCodes) ||
				x.Latency.tally != y.Latency.tally || x.Service.tally != y.Service.tally {
				t.Errorf("%s: step %d is %+v, was %+v", name, i, y, x)
			}
		}
		p, _ := s.Latency.Percentile(99)
		if q, _ := got.Latency.Percentile(99); p != q || got.Latency.Mean() != s.Latency.Mean() {
			t.Errorf("%s: latency p99 %v mean %v, was %v %v", name, q, got.Latency.Mean(), p, s.Latency.Mean())
		}
	}
}

func compareSeries(t *testing.T, a, b *Series) {
	t.Helper()
	if a.Span != b.Span || a.First != b.First || len(a.Points) != len(b.Points) {
		t.Fatalf("series of %d points from %d every %d s, want %d, %d, %d", len(b.Points), b.First, b.Span, len(a.Points), a.First, a.Span)
	}
	for i := range a.Points {
		if a.Points[i] != b.Points[i] {
			t.Errorf("point %d is %+v, want %+v", i, b.Points[i], a.Points[i])
		}
	}
}

func TestDecodeRefusesDamage(t *testing.T) {
	good := mustEncode(t, fullSummary())
	for n := 0; n < len(good); n += 1 + n/200 {
		if _, err := Decode([]byte(good[:n])); err == nil {
			t.Fatalf("%d of %d bytes were accepted", n, len(good))
		}
	}
	for name, c := range map[string]struct{ data, want string }{
		"too long":       {good + "x", "1 bytes too many"},
		"other version":  {good[:4] + "\x01" + good[5:], fmt.Sprintf("it is of version 1, this build reads version %d", wireVersion)},
		"something else": {`{"schema":"volley.result/1"}`, "it does not begin as a summary does"},
		"huge":           {good + strings.Repeat("x", MaxEncoded), "at most 16777216 are accepted"},
		"long text":      {wireMagic + string(rune(wireVersion)) + "\xff\xff\xff\xff\x0f", "at most 65536 are accepted"},
	} {
		if _, err := Decode([]byte(c.data)); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, want %q", name, err, c.want)
		}
	}
}

// Bucket counts that each pass but together overflow must not panic.
func TestDecodeRefusesOverflowingBuckets(t *testing.T) {
	e := &encoder{}
	e.counter(maxCounter)
	e.counter(0) // none over 1 h
	for range 4 {
		e.unsigned(0) // min, max, sum
	}
	const buckets = 2000
	e.unsigned(buckets)
	for range buckets {
		e.unsigned(1)
		e.counter(maxCounter)
	}
	d := &decoder{data: e.buf}
	d.histogram(&Histogram{})
	if want := "bucket 1 of a histogram holds"; d.err == nil || !strings.Contains(d.err.Error(), want) {
		t.Errorf("%v, want %q", d.err, want)
	}
}

// One flipped byte must never panic, and what is accepted must be coherent.
func TestDecodeOfFlippedBytes(t *testing.T) {
	good := []byte(mustEncode(t, fullSummary()))
	rng := rand.New(rand.NewPCG(9, 10))
	for range 150 {
		bad := append([]byte(nil), good...)
		bad[rng.IntN(len(bad))] ^= 1 << rng.IntN(8)
		checkDecoded(t, bad)
	}
}

// checkDecoded uses all that was decoded, if anything was.
func checkDecoded(t *testing.T, data []byte) {
	t.Helper()
	s, err := Decode(data)
	if err != nil {
		return
	}
	if _, err := s.Encode(); err != nil {
		t.Fatalf("decoded but not encodable: %v", err)
	}
	if _, err := Merge(s, s); err != nil {
		t.Fatalf("decoded but not mergeable: %v", err)
	}
	r, err := NewResult(s, ScopeNode, nil)
	if err != nil {
		t.Fatalf("decoded but without result: %v", err)
	}
	var out strings.Builder
	if err := r.WriteText(&out, false); err != nil {
		t.Fatal(err)
	}
	if err := r.WriteJSON(&out); err != nil {
		t.Fatal(err)
	}
}

func FuzzDecode(f *testing.F) {
	for _, s := range []*Summary{fullSummary(), {}} {
		data, err := s.Encode()
		if err != nil {
			f.Fatal(err)
		}
		f.Add(data)
	}
	f.Fuzz(func(t *testing.T, data []byte) { checkDecoded(t, data) })
}

// The worst that a small input can make Decode allocate is many steps.
func TestDecodeAllocatesInProportion(t *testing.T) {
	s := &Summary{}
	for range maxSteps {
		s.Steps = append(s.Steps, StepStats{})
	}
	data := mustEncode(t, s)
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	if _, err := Decode([]byte(data)); err != nil {
		t.Fatal(err)
	}
	runtime.ReadMemStats(&after)
	if got, limit := after.TotalAlloc-before.TotalAlloc, uint64(200*len(data)); got > limit {
		t.Errorf("%d bytes of input took %d bytes, want at most %d", len(data), got, limit)
	}
	s.Steps = append(s.Steps, StepStats{})
	if _, err := s.Encode(); err == nil || !strings.Contains(err.Error(), "16385 steps, at most 16384 are accepted") {
		t.Errorf("too many steps: %v", err)
	}
}

func TestEncodeRefusesNonsense(t *testing.T) {
	for want, s := range map[string]*Summary{
		"a counter is -1":    {Requests: -1},
		"a figure is NaN":    {Target: math.NaN()},
		"a figure is 1e+300": {Target: 1e300},
		"a figure is -1":     {Generator: Generator{CPUPct: -1}},
		"65537 bytes of tex": {Failure: strings.Repeat("x", maxString+1)},
	} {
		if _, err := s.Encode(); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v, want %q", err, want)
		}
	}
}
