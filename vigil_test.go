package main

import (
	"fmt"
	"io"
	"log/slog"
	"testing"
	"time"

	"volley/node"
	"volley/plan"
	"volley/stats"
)

// reign is a run of some nodes, each of which sends ten requests a second and
// has one error in it, as a leader hears of them.
type reign struct {
	t         *testing.T
	results   *results
	document  string
	recorders map[string]*stats.Recorder
	told      map[string][]byte // what of each node has come last
	at        time.Duration
}

func newReign(t *testing.T, threshold string, nodes ...string) *reign {
	t.Helper()
	w := &reign{t: t, recorders: map[string]*stats.Recorder{}, told: map[string][]byte{}}
	w.lead()
	w.document = fmt.Sprintf(`version: "1.0"
config: {baseUrl: "http://a", duration: 10m}
load: {model: rps, target: 10}
scenarios: [{name: s, steps: [{name: a, request: {method: GET, path: /}}]}]
thresholds: [{expr: %q, abortOnFail: true}]
`, threshold)
	for _, name := range nodes {
		w.recorders[name] = stats.NewRecorder(stats.Layout{
			Steps: []stats.StepKey{{Scenario: "s", Step: "a"}}, Duration: 10 * time.Minute, Judged: []plan.Threshold{{Expr: threshold}},
		}, 1)
	}
	return w
}

// lead makes it another leader, that knows nothing but what it is told.
func (w *reign) lead() {
	w.results = &results{logging: logging{log: slog.New(slog.NewTextHandler(io.Discard, nil))}}
}

// pass lets time pass, after which each node tells how it stands.
func (w *reign) pass(seconds int) {
	for range seconds {
		for _, rec := range w.recorders {
			for i := range 10 {
				at := w.at + time.Duration(i)*time.Second/10
				rec.Shard(0).Arrived(stats.Arrival{Due: at, Sent: at})
				sm := stats.Sample{At: at, Latency: time.Millisecond, Service: time.Millisecond, Status: 200, Complete: true}
				if i == 5 {
					sm.Status, sm.Kind = 500, stats.ErrServer
				}
				rec.Shard(0).Request(sm)
				rec.Shard(0).Iteration(stats.Iteration{Duration: time.Millisecond})
			}
		}
		w.at += time.Second
	}
	for name, rec := range w.recorders {
		s := rec.Summary()
		s.RunID, s.NodeID, s.Elapsed, s.Planned = "r", name, w.at, 10*time.Minute
		s.Ended = w.at >= s.Planned
		body, err := s.Encode()
		if err != nil {
			w.t.Fatal(err)
		}
		w.told[name] = body
	}
}

// observed is what the leader says of the last word of those nodes.
func (w *reign) observed(heard ...string) (failed string) {
	w.t.Helper()
	return w.results.observe(w.outcome(heard...))
}

func (w *reign) outcome(heard ...string) node.Outcome {
	o := node.Outcome{Run: node.Run{ID: "r"}, Config: node.Config{Document: []byte(w.document)}, Going: true, Members: map[string]node.Standing{}}
	for name := range w.recorders {
		m := node.Member{ServerID: name, NodeID: name}
		o.Run.Participants = append(o.Run.Participants, m)
		o.Members[name] = node.Standing{Alive: true}
	}
	for _, name := range heard {
		o.Reports = append(o.Reports, node.Report{RunID: "r", Of: node.Member{ServerID: name, NodeID: name}, Summary: w.told[name]})
	}
	return o
}

// A leader that was none for a while, or that has not heard of a node for a while,
// does not take what came in between for one window.
func TestVigilKnowsAGap(t *testing.T) {
	w := newReign(t, "step(a).errors < 25 over last 10s", "a", "b")
	want := func(when, failed string, heard ...string) {
		t.Helper()
		if got := w.observed(heard...); got != failed {
			t.Errorf("%s: %q fails, want %q", when, got, failed)
		}
	}
	for second := 1; second <= 20; second++ {
		w.pass(1)
		want(fmt.Sprintf("at %d s", second), "", "a", "b")
	}
	w.pass(40)
	want("after 40 s in which another led", "", "a", "b")
	for range 5 {
		w.pass(1)
		b := w.told["b"]
		want("the next seconds", "", "a", "b")
		w.told["b"] = b
	}
	silent := w.told["b"]
	for range 8 {
		w.pass(1)
		w.told["b"] = silent
		want("while b is silent", "", "a", "b")
	}
	w.pass(1)
	want("when b is heard again", "", "a", "b")
	for range 9 {
		w.pass(1)
		want("afterwards", "", "a", "b")
	}
}

// The words of nodes are of different moments: a window that is read of their course
// ends where all of them are known.
func TestVigilReadsWhatAllHaveTold(t *testing.T) {
	w := newReign(t, "step(a).rps > 18 over last 2s", "a", "b")
	w.pass(60)
	for range 6 {
		before := w.told["b"]
		w.pass(1)
		newest := w.told["b"]
		w.told["b"] = before
		if failed := w.observed("a", "b"); failed != "" {
			t.Errorf("%q fails at %s: both send 10 requests a second", failed, w.at)
		}
		w.told["b"] = newest
	}
}

// The verdict of a leader that led before, and again at the end, is of the whole run.
func TestVerdictKnowsAGap(t *testing.T) {
	w := newReign(t, "step(a).errors < 25 over last 10s", "a", "b")
	for range 20 {
		w.pass(1)
		w.observed("a", "b")
	}
	w.pass(580)
	o := w.outcome("a", "b")
	o.Going = false
	merged, _, _, err := merge(o, readAll)
	if err != nil {
		t.Fatal(err)
	}
	rows, err := w.results.watchedVerdicts(o, merged)
	if err != nil || len(rows) != 1 || !rows[0].OK || rows[0].Value == nil || *rows[0].Value != 20 {
		t.Errorf("the verdict is %+v, %v; want 20 errors in the last window", rows, err)
	}
}

// A leader that takes over waits for the word of all who are there, for a while.
func TestVigilWaitsForWhoIsThere(t *testing.T) {
	const threshold = "step(a).rps > 25 over last 10s"
	w := newReign(t, threshold, "a", "b", "c")
	w.pass(60)
	early := w.told["c"] // of a former reign
	for range mostWaits {
		if failed := w.observed("a", "b"); failed != "" {
			t.Fatalf("%q is judged without c", failed)
		}
		w.pass(1)
	}
	if failed := w.observed("a", "b", "c"); failed != "" {
		t.Errorf("%q fails once all are heard", failed)
	}
	w.lead()
	w.pass(60)
	w.told["c"] = early
	for i := range mostWaits {
		if failed := w.observed("a", "b", "c"); failed != "" {
			t.Fatalf("wait %d: %q is judged with an old word of c", i, failed)
		}
	}
	if failed := w.observed("a", "b", "c"); failed != threshold {
		t.Errorf("%q fails when there is no more waiting, want %q", failed, threshold)
	}
}
