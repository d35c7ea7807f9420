package main

import (
	"fmt"
	"runtime"
	"testing"
	"time"

	"volley/node"
	"volley/page"
	"volley/stats"
)

// An hour of three nodes and twenty steps, as a leader sees it: what it holds does
// not grow once the series is as long as it gets, and the page that shows it loads
// in less than 500 kB.
func TestAnHourIsFlatOnTheLeader(t *testing.T) {
	names := []string{"a", "b", "c"}
	layout := stats.Layout{Duration: time.Hour}
	for i := range 20 {
		layout.Steps = append(layout.Steps, stats.StepKey{Scenario: "shop", Step: fmt.Sprint("step ", i)})
	}
	var recorders []*stats.Recorder
	for range names {
		recorders = append(recorders, stats.NewRecorder(layout, 1))
	}
	run := node.Run{ID: "r", Version: "sha256:1", Duration: time.Hour, StartAt: 1, Participants: membersOf(names...)}
	r := &results{thresholds: (&runner{}).judged}
	held := func() uint64 {
		runtime.GC()
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		return m.HeapAlloc
	}
	var before page.Snapshot
	var body []byte
	var early uint64
	most := 0 // bytes of an event
	for second := range 3600 {
		o := node.Outcome{Run: run, Config: node.Config{Version: "sha256:1", Document: []byte(dividedPlan)}, Going: true}
		at := time.Duration(second) * time.Second
		for i, rec := range recorders {
			for k := range 10 {
				took := time.Duration(1+(second*10+k*7919+i)%1000) * 100 * time.Microsecond
				rec.Shard(0).Arrived(stats.Arrival{Due: at, Sent: at + took/100, WorkerFree: true})
				rec.Shard(0).Request(stats.Sample{Step: (second + k) % 20, At: at, Latency: took, Service: took, Status: 200, Complete: true})
			}
			rec.Observe(stats.Gauges{At: at, Workers: 10, CPUPct: float64(second % 50), GCPause: 123456})
		}
		if (second+1)%60 != 0 {
			continue // what it would merge then is forgotten with the next
		}
		for i, rec := range recorders {
			s := rec.Summary()
			s.RunID, s.ConfigVersion, s.NodeID, s.Elapsed, s.Planned = run.ID, run.Version, names[i], at+time.Second, time.Hour
			summary, err := s.Encode()
			if err != nil {
				t.Fatal(err)
			}
			o.Reports = append(o.Reports, node.Report{RunID: run.ID, Of: run.Participants[i], Summary: summary})
		}
		r.observe(o)
		var err error
		if body, err = r.live(o); err != nil {
			t.Fatal(err)
		}
		result, err := parsed(body, nil)
		if err != nil {
			t.Fatal(err)
		}
		shot, err := page.Take(page.View{Result: result})
		if err != nil {
			t.Fatal(err)
		}
		most = max(most, len(shot.Since(page.Snapshot{})))
		before = shot
		if second+1 == 20*60 {
			early = held()
		}
	}
	late := held()
	t.Logf("the leader and three recorders hold %.1f MB after 20 min, %.1f MB after 60; a first event has %d bytes at most; the result %d", float64(early)/1e6, float64(late)/1e6, most, len(body))
	if float64(late) > 1.1*float64(early) {
		t.Errorf("%d bytes are held after 60 min, %d after 20: want flat", late, early)
	}
	if most > 400_000 { // the page itself is some 60 kB
		t.Errorf("an event of %d bytes, want less than 400 000", most)
	}
	runtime.KeepAlive(recorders)
	runtime.KeepAlive(r)
	runtime.KeepAlive(before)
}
