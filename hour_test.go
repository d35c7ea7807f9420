package main

import (
	"fmt"
	"runtime"
	"testing"
	"time"

	"volley/node"
	"volley/page"
	"volley/plan"
	"volley/stats"
)

// An hour of three nodes and twenty steps, as a leader sees it that judges windows of
// them: what it holds does not grow once the series is as long as it gets, and the
// page that shows it loads in less than 500 kB. It takes over anew every minute, and
// watches every second before what it holds is measured.
func TestAnHourIsFlatOnTheLeader(t *testing.T) {
	if testing.Short() {
		t.Skip("an hour's figures take half a minute")
	}
	names := []string{"a", "b", "c"}
	layout := stats.Layout{Duration: time.Hour}
	steps, thresholds := "", ""
	for i := range 20 {
		layout.Steps = append(layout.Steps, stats.StepKey{Scenario: "shop", Step: fmt.Sprint("step ", i)})
		if i < stats.MaxParts {
			expr := fmt.Sprintf("step(step %d).p95 < 10s over last 60s", i)
			layout.Judged = append(layout.Judged, plan.Threshold{Expr: expr})
			thresholds += fmt.Sprintf("  - {expr: %q, abortOnFail: true}\n", expr)
		}
		steps += fmt.Sprintf("      - {name: step %d, request: {method: GET, path: /}}\n", i)
	}
	document := fmt.Sprintf(`version: "1.0"
config: {baseUrl: "http://127.0.0.1:9", duration: 1h, workers: 2}
load: {model: rps, target: 30}
scenarios:
  - name: shop
    steps:
%sthresholds:
%s`, steps, thresholds)
	if _, _, err := plan.Parse([]byte(document)); err != nil {
		t.Fatal(err)
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
		o := node.Outcome{Run: run, Config: node.Config{Version: "sha256:1", Document: []byte(document)}, Going: true}
		at := time.Duration(second) * time.Second
		for i, rec := range recorders {
			for k := range 10 {
				took := time.Duration(1+(second*10+k*7919+i)%1000) * 100 * time.Microsecond
				rec.Shard(0).Arrived(stats.Arrival{Due: at, Sent: at + took/100, WorkerFree: true})
				rec.Shard(0).Request(stats.Sample{Step: (second + k) % 20, At: at, Latency: took, Service: took, Status: 200, Complete: true})
			}
			rec.Observe(stats.Gauges{At: at, Workers: 10, CPUPct: float64(second % 50), GCPause: 123456})
		}
		minute := second / 60
		if (second+1)%60 != 0 && minute != 18 && minute != 19 && minute != 58 && minute != 59 {
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
		if failed := r.observe(o); failed != "" {
			t.Fatalf("%q has failed after %s", failed, at)
		}
		if (second+1)%60 != 0 {
			continue
		}
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
