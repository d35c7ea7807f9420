package main

import (
	"bytes"
	"context"
	"encoding/json"
	"log/slog"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"volley/stats"
)

// stretch is a run of one node as it is at a time: 10/s asked for, 8/s started,
// each slower than the one before, every fourth an error.
func stretch(t *testing.T, start time.Time, elapsed time.Duration) *stats.Summary {
	t.Helper()
	r := stats.NewRecorder(stats.Layout{Steps: []stats.StepKey{{Scenario: "s", Step: "get"}}}, 1)
	n := int(8 * elapsed.Seconds())
	for i := range n {
		r.Shard(0).Arrived(stats.Arrival{Due: time.Duration(i) * time.Second / 8})
		sm := stats.Sample{Latency: time.Duration(i/8+1) * 10 * time.Millisecond, Status: 200, Complete: true}
		if i%4 == 3 {
			sm.Status, sm.Kind = 500, stats.ErrServer
		}
		r.Shard(0).Request(sm)
	}
	r.Observe(stats.Gauges{At: elapsed, Workers: 3})
	s := r.Summary()
	s.RunID, s.StartedAt, s.Elapsed, s.Planned = "r-1", start, elapsed, time.Minute
	s.Target, s.Workers = 10*elapsed.Seconds(), 5
	return s
}

// Off a terminal there is one line every ten seconds, of these ten seconds.
func TestProgressInTheLog(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var out bytes.Buffer
		var newest atomic.Pointer[stats.Summary]
		start := time.Now()
		p := &progress{
			log:    slog.New(slog.NewJSONHandler(&out, nil)),
			newest: newest.Load,
		}
		ctx, cancel := context.WithTimeout(t.Context(), 45*time.Second)
		defer cancel()
		go func() {
			for at := time.Second; at <= 35*time.Second; at += time.Second {
				next := stretch(t, start, at)
				select {
				case <-time.After(time.Until(start.Add(at))):
				case <-ctx.Done():
					return
				}
				next.Ended = at == 35*time.Second
				newest.Store(next)
			}
		}()
		if err := p.run(ctx); err != nil {
			t.Fatal(err)
		}
		var lines []map[string]any
		for line := range strings.Lines(out.String()) {
			var fields map[string]any
			if err := json.Unmarshal([]byte(line), &fields); err != nil {
				t.Fatal(err)
			}
			if fields["msg"] != "progress" || fields["run_id"] != "r-1" || fields["total_s"] != 60.0 || fields["workers"] != 3.0 {
				t.Errorf("line %s", line)
			}
			if _, ok := fields["event"]; ok {
				t.Errorf("the line has an event, which is not in the contract's list: %s", line)
			}
			lines = append(lines, fields)
		}
		if len(lines) != 3 {
			t.Fatalf("%d lines in 35 s of a run and 10 s after it, want 3:\n%s", len(lines), &out)
		}
		// The p95 of ten seconds: 80 samples, of which the slowest 8 took (10 s + 1) * 10 ms.
		for i, want := range []struct{ elapsed, rate, target, p95, errors float64 }{{10, 8, 10, 100, 20}, {20, 8, 10, 200, 40}, {30, 8, 10, 300, 60}} {
			f := lines[i]
			near := func(name string, value float64, slack float64) {
				if got, _ := f[name].(float64); got < value-slack || got > value+slack {
					t.Errorf("line %d: %s is %v, want %v", i, name, f[name], value)
				}
			}
			near("elapsed_s", want.elapsed, 0)
			near("rate", want.rate, 0.01)
			near("target_rate", want.target, 0.01)
			near("p95_ms", want.p95, 11)
			near("errors", want.errors, 2)
			near("error_rate", 0.25, 0)
		}
	})
}

func TestProgressLine(t *testing.T) {
	base := progressFigures{elapsed: 12*time.Second + 700*time.Millisecond, total: 5 * time.Minute, timed: true, rate: 98.74, target: 100, open: true,
		p95: 12340 * time.Microsecond, measured: true, errors: 3, errorRate: 0.0025, workers: 10}
	for want, change := range map[string]func(*progressFigures){
		"12s/5m0s  98.7/s of 100.0/s  p95 12.3 ms  errors 3 (0.25 %)  workers 10":       func(*progressFigures) {},
		"12s/5m0s  98.7/s  p95 12.3 ms  errors 3 (0.25 %)  workers 10":                  func(f *progressFigures) { f.open = false },
		"12s/5m0s  warm-up: 400 requests, 2 errors, not counted":                        func(f *progressFigures) { f.warmup, f.warmRequests, f.warmErrors = true, 400, 2 },
		"12s/5m0s  starting  p95 12.3 ms  errors 3 (0.25 %)  workers 10":                func(f *progressFigures) { f.timed = false },
		"12s/10s  draining  p95 12.3 ms  errors 3 (0.25 %)  workers 10":                 func(f *progressFigures) { f.total = 10 * time.Second },
		"12s  98.7/s of 100.0/s  p95 12.3 ms  errors 3 (0.25 %)  workers 10  dropped 7": func(f *progressFigures) { f.total, f.dropped = 0, 7 },
	} {
		f := base
		change(&f)
		if got := f.line(); got != want {
			t.Errorf("line %q, want %q", got, want)
		}
	}
}

// Warm-up is in no count, so the rate just after it is not thinned by it.
func TestProgressAfterWarmup(t *testing.T) {
	before := &stats.Summary{Elapsed: 4 * time.Second, Warmup: 5 * time.Second}
	now := &stats.Summary{Elapsed: 6 * time.Second, Warmup: 5 * time.Second, Started: 50, Target: 50}
	if f := figuresOf(before, now); f.rate != 50 || f.target != 50 || f.warmup {
		t.Errorf("figures %+v, want 50/s of 50/s", f)
	}
	// The first summary comes with the first request.
	if f := figuresOf(&stats.Summary{}, &stats.Summary{Elapsed: time.Millisecond, Started: 1, Target: 1}); f.timed {
		t.Errorf("figures %+v: a rate of a millisecond", f)
	}
	if f := figuresOf(&stats.Summary{}, before); !f.warmup || f.rate != 0 {
		t.Errorf("figures %+v, want warm-up", f)
	}
}
