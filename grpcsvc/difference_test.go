package grpcsvc

import (
	"bytes"
	"fmt"
	"math"
	"math/rand/v2"
	"testing"
	"time"

	"volley/plan"
	"volley/stats"
)

// told are the summaries of a node in successive seconds of a run, in the form that
// travels: of a load of so many requests a second, with log-normal latencies. So many
// of the steps have a course of their own, as a threshold looks at windows of them.
func told(tb testing.TB, steps, parts, perSecond, from, seconds int) (out [][]byte) {
	tb.Helper()
	layout := stats.Layout{Duration: time.Hour}
	for i := range steps {
		layout.Steps = append(layout.Steps, stats.StepKey{Scenario: "shop", Step: fmt.Sprint("step ", i)})
		if i < parts {
			layout.Judged = append(layout.Judged, plan.Threshold{Expr: fmt.Sprintf("step(step %d).p95 < 1s over last 10s", i)})
		}
	}
	rec, random := stats.NewRecorder(layout, 1), rand.New(rand.NewPCG(1, 2))
	shard := rec.Shard(0)
	for second := range from + seconds {
		for k := range perSecond {
			at := time.Duration(second)*time.Second + time.Duration(k)*time.Second/time.Duration(perSecond)
			took := time.Duration(20e6 * math.Exp(random.NormFloat64()/2))
			lag := time.Duration(50e3 * math.Exp(random.NormFloat64()/2))
			step := (second*perSecond + k) % steps
			shard.Arrived(stats.Arrival{Due: at, Sent: at + lag, WorkerFree: true})
			shard.Request(stats.Sample{Step: step, At: at, Latency: took + lag, Service: took, Status: 200, Complete: true, BytesIn: 1000})
			shard.Iteration(stats.Iteration{Step: step, Duration: took})
		}
		now := time.Duration(second+1) * time.Second
		rec.Observe(stats.Gauges{At: now - 1, Workers: 50, InFlight: 3, CPUPct: 10 * random.Float64(), GCPause: time.Duration(random.Int64N(1e6))})
		if second < from && parts == 0 {
			continue
		}
		s := rec.Summary() // which makes a point of each part
		if second < from {
			continue
		}
		s.RunID, s.NodeID, s.StartedAt, s.Elapsed, s.Planned = "run-1", "a", time.Unix(1_700_000_000, 0), now, time.Hour
		body, err := s.Encode()
		if err != nil {
			tb.Fatal(err)
		}
		out = append(out, body)
	}
	return out
}

// What a difference makes is what it was made for, to the byte, whatever the two are.
func TestDifferenceIsExact(t *testing.T) {
	random := rand.New(rand.NewPCG(3, 4))
	noise := func(n int) []byte {
		out := make([]byte, n)
		for i := range out {
			out[i] = byte(random.Uint32())
		}
		return out
	}
	kept := 0
	for range 2000 {
		old := noise(random.IntN(600))
		if random.IntN(2) == 0 {
			old = bytes.Repeat(old[:min(len(old), 7)], 50) // alike everywhere
		}
		now := bytes.Clone(old)
		for range random.IntN(12) {
			at := random.IntN(len(now) + 1)
			until := at + random.IntN(min(len(now)-at, 20)+1)
			now = append(append(bytes.Clone(now[:at]), noise(random.IntN(9))...), now[until:]...)
		}
		diff := difference(old, now)
		if diff == nil {
			continue
		}
		kept++
		got, ok := applied(old, diff, len(now))
		if !ok || !bytes.Equal(got, now) {
			t.Fatalf("of %x to %x: %x, %v", old, now, got, ok)
		}
		if len(diff) >= len(now)/2 {
			t.Errorf("a difference of %d bytes for %d", len(diff), len(now))
		}
		if other := append([]byte{1}, old...); len(old) > 0 {
			if got, ok := applied(other, diff, len(now)); ok && !bytes.Equal(got, now) {
				t.Fatalf("another base makes %x", got)
			}
		}
		if _, ok := applied(old, diff, len(now)-1); ok {
			t.Error("more comes out than is accepted")
		}
	}
	if kept < 500 {
		t.Errorf("only %d of 2000 had a difference worth sending", kept)
	}
}

func FuzzApplied(f *testing.F) {
	f.Add([]byte("base"), []byte("\x04\x00\x00\x00\x00\x04abcd"))
	old := bytes.Repeat([]byte("0123456789abcdef"), 9)
	f.Add(old, difference(old, append([]byte("x"), old...)))
	f.Fuzz(func(t *testing.T, base, diff []byte) {
		if got, ok := applied(base, diff, 1000); ok && len(got) > 1000 {
			t.Errorf("%d bytes", len(got))
		}
	})
}

// At 20 steps a second of a run changes a small part of a summary, and only that
// travels; the summary that arrives is the one that was sent, so that merging is as
// exact as before.
func TestDifferenceIsSmall(t *testing.T) {
	for _, test := range []struct {
		steps, rate, from int
		most              float64 // of the whole
	}{{1, 100, 60, 0.15}, {20, 100, 60, 0.15}, {20, 100, 300, 0.08}, {20, 1000, 60, 0.30}} {
		list := told(t, test.steps, 0, test.rate, test.from, 6)
		var whole, sent int
		for i := 1; i < len(list); i++ {
			diff := difference(list[i-1], list[i])
			if got, ok := applied(list[i-1], diff, len(list[i])); !ok || !bytes.Equal(got, list[i]) {
				t.Fatalf("%d steps: what is made is not what was sent", test.steps)
			}
			whole, sent = whole+len(list[i]), sent+len(diff)
		}
		part := float64(sent) / float64(whole)
		t.Logf("%d steps, %d/s, after %d s: %d bytes whole, %d as a difference (%.1f %%)", test.steps, test.rate, test.from, whole/5, sent/5, 100*part)
		if part > test.most {
			t.Errorf("%.1f %% is sent, want at most %.0f %%", 100*part, 100*test.most)
		}
	}
}
