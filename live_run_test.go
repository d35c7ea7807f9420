package main

import (
	"context"
	"encoding/json"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"volley/node"
	"volley/settings"
	"volley/stats"
)

// Every node of a cluster shows the run of all while it goes: the leader's merged
// result, with thresholds as they stand.
func TestClusterReportWhileTheRunGoes(t *testing.T) {
	url, count := target(t)
	environment(t)
	ports, err := freePorts(2)
	if err != nil {
		t.Fatal(err)
	}
	plan := withThresholds(t, writePlan(t, url, "4s"), `"errors < 1", "iterations >= 400"`)
	var nodes []*app
	done := make(chan int, 2)
	for i := range 2 {
		a := openApp(t, func(set *settings.Settings) {
			*set = demoSettings(*set, string(rune('a'+i)), ports, i, plan)
			set.Run.KeepAlive, set.Cluster.StartDelay = true, 500*time.Millisecond
		})
		nodes = append(nodes, a)
		ctx, cancel := context.WithCancel(t.Context())
		defer func() { cancel(); <-done }()
		go func() { done <- a.run(ctx) }()
	}
	ask := func(a *app) (r stats.Result, ok bool) {
		resp, err := http.Get("http://" + a.listeners.control.Addr().String() + "/report.json")
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		return r, resp.StatusCode == http.StatusOK && json.NewDecoder(resp.Body).Decode(&r) == nil
	}
	both := map[string]stats.Result{} // the newest with figures of both nodes
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for end := time.Now().Add(40 * time.Second); nodes[0].node.Status().Phase != "finished" || nodes[1].node.Status().Phase != "finished"; <-tick.C {
		if time.Now().After(end) {
			t.Fatal("the run does not end")
		}
		for _, a := range nodes {
			r, ok := ask(a)
			if ok && len(r.Nodes) == 2 && r.Nodes[0].Requests > 0 && r.Nodes[1].Requests > 0 && !r.Nodes[0].Complete && !r.Nodes[1].Complete {
				both[a.self.NodeID] = r
			}
		}
	}
	for _, a := range nodes {
		r, ok := both[a.self.NodeID]
		if !ok {
			t.Errorf("%s never showed what both nodes had sent", a.self.NodeID)
			continue
		}
		if r.Scope != stats.ScopeCluster || r.Requests != r.Nodes[0].Requests+r.Nodes[1].Requests || r.Requests > count.Load() || r.Due != r.Started+r.Dropped {
			t.Errorf("%s: scope %s, %d requests of nodes %+v, due %d, started %d, dropped %d", a.self.NodeID, r.Scope, r.Requests, r.Nodes, r.Due, r.Started, r.Dropped)
		}
		if len(r.Thresholds) != 2 || !r.Thresholds[0].OK || r.Thresholds[1].OK {
			t.Errorf("%s: thresholds %+v, want the first held so far and the second not yet", a.self.NodeID, r.Thresholds)
		}
		for _, n := range r.Nodes {
			if n.Reason != stats.StillGoing {
				t.Errorf("%s says of %s: %q, want that it is going on", a.self.NodeID, n.NodeID, n.Reason)
			}
		}
		if last, ok := ask(a); !ok || last.Requests != count.Load() || !last.Nodes[0].Complete || !last.Nodes[1].Complete || !stats.Held(last.Thresholds) {
			t.Errorf("%s after the run: %d requests of %d, %+v", a.self.NodeID, last.Requests, count.Load(), last.Nodes)
		}
	}
}

// A node that is lost in a run that goes on is shown as lost, one that has told
// nothing yet as going on.
func TestLiveResultSaysWhoIsLost(t *testing.T) {
	body, err := (&stats.Summary{RunID: "r", NodeID: "a", Planned: 20 * time.Second, Elapsed: 5 * time.Second, Requests: 50, Started: 50, Completed: 50}).Encode()
	if err != nil {
		t.Fatal(err)
	}
	members := []node.Member{{ServerID: "a-1", NodeID: "a"}, {ServerID: "b-1", NodeID: "b"}, {ServerID: "c-1", NodeID: "c"}}
	o := node.Outcome{
		Run: node.Run{ID: "r", Participants: members}, Lost: members, Going: true,
		Members: map[string]node.Standing{"b-1": {Alive: true}},
		Reports: []node.Report{{RunID: "r", Of: members[0], Summary: body}},
	}
	merged, nodes, _, err := merge(o, readAll)
	if err != nil {
		t.Fatal(err)
	}
	want := []string{"it was lost 5.0 s after the start: its figures end there", stats.StillGoing, "it was lost and has reported nothing"}
	for i, n := range nodes {
		if n.Complete || n.Reason != want[i] {
			t.Errorf("%s: complete %v, %q; want %q", n.NodeID, n.Complete, n.Reason, want[i])
		}
	}
	if merged.Ended || merged.Requests != 50 {
		t.Errorf("ended %v with %d requests, want a run of 50 that goes on", merged.Ended, merged.Requests)
	}
}

// A threshold with abortOnFail is held against what all nodes tell, ends the run
// on all of them with 99, and is told once.
func TestClusterRunEndsByAThreshold(t *testing.T) {
	target := record(t, func(string) int { return http.StatusInternalServerError })
	file := environment(t)
	ports, err := freePorts(2)
	if err != nil {
		t.Fatal(err)
	}
	plan := withThresholds(t, writePlan(t, target.URL, "60s"), `{expr: "errors < 120", abortOnFail: true}, "iterations >= 1", "rps < 1"`)
	log := &lines{}
	codes := make(chan int, 2)
	for i := range 2 {
		set, _, err := settings.Load()
		if err != nil {
			t.Fatal(err)
		}
		set = demoSettings(set, string(rune('a'+i)), ports, i, plan)
		set.Cluster.StartDelay, set.Run.ResultFile = 500*time.Millisecond, file
		a, err := newApp(set, newLogging(set, io.Discard, log))
		if err != nil {
			t.Fatal(err)
		}
		go func() { codes <- a.run(t.Context()) }()
	}
	for range 2 {
		if code := <-codes; code != node.ExitFailed {
			t.Errorf("exit code %d, want 99", code)
		}
	}
	for text, want := range map[string]int{
		`"event":"threshold_failed"`: 2, `"message":"threshold failed, the run ends: errors < 120"`: 1, `"message":"threshold failed: rps < 1"`: 1,
		`"event":"run_stopped","cause":"threshold"`: 2,
	} {
		if got := strings.Count(log.String(), text); got != want {
			t.Errorf("%s: %d times, want %d", text, got, want)
		}
	}
	r := readResult(t, file)
	if r.Stopped == nil || r.Stopped.Cause != "threshold" || r.Stopped.AfterS > 40 || r.Requests < 120 {
		t.Errorf("%d requests, stopped %+v, want at least 120 of both nodes and the threshold", r.Requests, r.Stopped)
	}
	if t.Failed() {
		t.Log(log.String())
	}
}

// The threshold that has ended a run has failed, also in the eyes of a leader
// that comes after that and sees what came in later.
func TestThresholdThatEndedARunHasFailed(t *testing.T) {
	r := &results{thresholds: (&runner{}).judged}
	document := []byte("version: \"1.0\"\nconfig: {baseUrl: \"http://127.0.0.1\", duration: 10s}\nload: {model: rps, target: 1}\nscenarios: [{name: s, steps: [{name: s, request: {method: GET, path: /}}]}]\nthresholds: [{expr: \"errors < 5\", abortOnFail: true}, \"iterations >= 1\"]\n")
	o := node.Outcome{Run: node.Run{ID: "r", StopDetail: "errors < 5"}, Config: node.Config{Document: document}}
	rows, err := r.verdicts(o, &stats.Summary{RunID: "r", Planned: 10 * time.Second, Elapsed: 10 * time.Second, Requests: 9, Started: 9, Completed: 9, Scenarios: []stats.ScenarioStats{{Name: "s", Succeeded: 9}}})
	if err != nil || len(rows) != 2 || rows[0].OK || !rows[1].OK {
		t.Errorf("%+v, %v: want that the first has failed, and only that", rows, err)
	}
}
