package node

import (
	"fmt"
	"math"
	"math/rand/v2"
	"testing"
	"time"

	"volley/plan"
	"volley/stats"
)

// realistic is the summary of a node after ten minutes of 100 requests a second,
// with log-normal latencies. So many of the steps have a course of their own.
func realistic(steps, parts int) (*stats.Recorder, *stats.Summary) {
	const seconds, perSecond = 600, 100
	layout := stats.Layout{Duration: seconds * time.Second}
	for i := range steps {
		layout.Steps = append(layout.Steps, stats.StepKey{Scenario: "shop", Step: fmt.Sprint("step ", i)})
		if i < parts {
			layout.Judged = append(layout.Judged, plan.Threshold{Expr: fmt.Sprintf("step(step %d).p95 < 1s over last 10s", i)})
		}
	}
	rec, random := stats.NewRecorder(layout, 1), rand.New(rand.NewPCG(1, 2))
	for k := range seconds * perSecond {
		at := time.Duration(k) * time.Second / perSecond
		took := time.Duration(20e6 * math.Exp(random.NormFloat64()/2))
		rec.Shard(0).Arrived(stats.Arrival{Due: at, Sent: at})
		rec.Shard(0).Request(stats.Sample{Step: k % steps, At: at, Latency: took, Service: took, Status: 200, Complete: true, BytesIn: 1000})
		rec.Shard(0).Iteration(stats.Iteration{Step: k % steps, Duration: took})
		if parts > 0 && k%perSecond == perSecond-1 {
			rec.Summary() // which makes a point of each part
		}
	}
	s := rec.Summary()
	s.RunID, s.NodeID, s.Elapsed, s.Planned = "run-1", "a", seconds*time.Second, seconds*time.Second
	return rec, s
}

// BenchmarkSummary is what one summary costs where it is made, where it is kept, and
// where it is judged. Each node makes one a second; the leader keeps one of each node a
// second, and reads it once, at the end.
func BenchmarkSummary(b *testing.B) {
	for _, size := range []struct{ steps, parts int }{{1, 0}, {10, 0}, {20, 0}, {20, stats.MaxParts}, {50, 0}} {
		steps := size.steps
		rec, s := realistic(steps, size.parts)
		body, err := s.Encode()
		if err != nil {
			b.Fatal(err)
		}
		run := func(name string, do func()) {
			b.Run(fmt.Sprintf("steps=%d,parts=%d/%s", steps, size.parts, name), func(b *testing.B) {
				b.SetBytes(int64(len(body)))
				b.ReportAllocs()
				for b.Loop() {
					do()
				}
				b.ReportMetric(float64(len(body)), "size-bytes")
			})
		}
		held := newReports("me")
		r := Report{RunID: "run-1", Of: Member{ServerID: "b-12345678"}, Incarnation: "x", Summary: body}
		second := 600
		run("record and sum up a second", func() {
			for k := range 100 {
				at := time.Duration(second)*time.Second + time.Duration(k)*10*time.Millisecond
				took := time.Duration(20e6 + k*12345)
				rec.Shard(0).Arrived(stats.Arrival{Due: at, Sent: at})
				rec.Shard(0).Request(stats.Sample{Step: k % steps, At: at, Latency: took, Service: took, Status: 200, Complete: true})
			}
			rec.Summary()
			second++
		})
		run("encode", func() {
			if _, err := s.Encode(); err != nil {
				b.Fatal(err)
			}
		})
		run("put", func() { r.Seq++; held.put(r) })
		run("decode", func() {
			if _, err := stats.Decode(body); err != nil {
				b.Fatal(err)
			}
		})
	}
}
