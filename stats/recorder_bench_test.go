package stats

import (
	"testing"
	"time"
)

// traffic records an arrival, its request and its iteration, as a worker does.
type traffic struct {
	shard *Shard
	at    time.Duration
}

func newTraffic(layout Layout) (*Recorder, *traffic) {
	layout.Steps = []StepKey{{Scenario: "s", Step: "a"}}
	rec := NewRecorder(layout, 1)
	return rec, &traffic{shard: rec.Shard(0)}
}

func (t *traffic) one() {
	const took = 200 * time.Microsecond
	t.shard.Arrived(Arrival{Due: t.at, Sent: t.at + 40*time.Microsecond, WorkerFree: true})
	t.shard.Request(Sample{At: t.at, Latency: took, Service: took, Status: 200, Complete: true, BytesIn: 196, BytesOut: 40})
	t.shard.Iteration(Iteration{Duration: took})
	t.at += 50 * time.Microsecond
}

// BenchmarkRecording is what all counters and histograms of one request cost.
func BenchmarkRecording(b *testing.B) {
	_, t := newTraffic(Layout{})
	b.ReportAllocs()
	for b.Loop() {
		t.one()
	}
}

// What is recorded of a request allocates nothing once its histograms have the
// pages that they need.
func TestRecordingDoesNotAllocate(t *testing.T) {
	rec, traffic := newTraffic(Layout{})
	for range 3 { // both blocks of the shard
		traffic.one()
		rec.Summary()
	}
	traffic.at = 0
	if n := testing.AllocsPerRun(1000, traffic.one); n > 0 {
		t.Errorf("%v allocations a request", n)
	}
}

func BenchmarkHistogramRecord(b *testing.B) {
	var d dense
	b.ReportAllocs()
	for v := time.Duration(0); b.Loop(); v += 977 {
		d.record(v % (10 * time.Millisecond))
	}
}
