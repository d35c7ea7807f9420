package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"volley/node"
	"volley/settings"
	"volley/stats"
)

// contractResult is the example of the contract's section 5. {} there stands
// for a block like that of latency_ms.
const contractResult = `{"schema":"volley.result/1","run_id":"…","config_version":"sha256:…","scope":"node|cluster","nodes":[{"node_id":"a","start_skew_ms":0.4,"clock_offset_ms":0.1,"requests":1000,"complete":true}],
 "started_at":"RFC3339Nano","duration_s":10.0, "due":1000,"started":1000,"completed":1000,"interrupted":0,"dropped":0,
 "requests":1000,"retried":0,"iterations":1000,"rps":100.0,"target":{"iterations":1000,"rate_error_pct":0.0},
 "late_starts":{"no_worker":0,"catch_up":0,"generator":0},"errors":{"timeout":0,"network":0,"tls":0,"client_error":0,"server_error":0,"assertion":0,"other":0,"generator":0},
 "status_codes":{"200":1000},"bytes_in":0,"bytes_out":0,"connections":{"new":5,"reused":995,"reconnects":0},
 "latency_ms":{"min":0.1,"mean":0.2,"p50":0.2,"p90":0.3,"p95":0.3,"p99":0.5,"p99_9":0.9,"max":1.2,"histogram":"base64, HDR V2 compressed"},
 "service_time_ms":{}, "latency_ok_ms":{}, "iteration_ms":{}, "steps":[{"scenario":"…","step":"…","requests":0,"errors":0,"latency_ms":{},"service_time_ms":{}}],
 "series":[{"t":0,"target":100,"started":100,"late":0,"dropped":0,"errors":0,"p50":0.2,"p95":0.3,"p99":0.5,"max":1.2,"workers":5,"schedule_lag_p99":0.1,"cpu_pct":9}],
 "slowest":[{"t":3.2,"ms":1.2,"step":"…","status":200,"node_id":"a","connection":"new"}],
 "thresholds":[{"expr":"p95 < 300ms","value":0.3,"ok":true,"failed_at_s":null,"rate_at_failure":null}],
 "generator":{"cpu_pct":12.0,"throttled_pct":0,"gc_pause_p99_ms":0.1,"schedule_lag_p50_ms":0.04,"schedule_lag_p99_ms":0.3,"verdict":"ok|strained|saturated"}}`

// missing lists what a result lacks of the example, by path.
func missing(path string, want, got, block any) (out []string) {
	switch w := want.(type) {
	case nil:
		return nil
	case map[string]any:
		if len(w) == 0 {
			w = block.(map[string]any)
		}
		g, ok := got.(map[string]any)
		if !ok {
			return []string{fmt.Sprintf("%s is %v, want an object", path, got)}
		}
		for name, inner := range w {
			value, ok := g[name]
			if !ok {
				out = append(out, path+"."+name+" is missing")
				continue
			}
			out = append(out, missing(path+"."+name, inner, value, block)...)
		}
	case []any:
		g, ok := got.([]any)
		if !ok || len(g) == 0 {
			return []string{fmt.Sprintf("%s is %v, want a list with something in it", path, got)}
		}
		for i := range g {
			out = append(out, missing(fmt.Sprintf("%s[%d]", path, i), w[0], g[i], block)...)
		}
	default:
		if fmt.Sprintf("%T", want) != fmt.Sprintf("%T", got) {
			return []string{fmt.Sprintf("%s is %v, want a %T", path, got, want)}
		}
	}
	return out
}

// amongTheDropped leaves out percentiles of the latency that are null because a
// machine that stalls has dropped arrivals.
func amongTheDropped(result any, lacks []string) []string {
	if result.(map[string]any)["dropped"] == 0.0 {
		return lacks
	}
	return slices.DeleteFunc(lacks, func(m string) bool { return strings.HasPrefix(m, ".latency_ms.p9") && strings.Contains(m, "<nil>") })
}

func withThresholds(t *testing.T, plan string, thresholds string) string {
	t.Helper()
	text, err := os.ReadFile(plan)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(plan, append(text, "thresholds: ["+thresholds+"]\n"...), 0o600); err != nil {
		t.Fatal(err)
	}
	return plan
}

// inTheLoad leaves of the series the two seconds of load: the drain may have a
// point of its own, in which nothing is due and there is no latency.
func inTheLoad(t *testing.T, result any) {
	t.Helper()
	fields := result.(map[string]any)
	series, _ := fields["series"].([]any)
	if len(series) != 2 && len(series) != 3 {
		t.Fatalf("a series of %d points for 2 s and the drain, want 2 or 3", len(series))
	}
	fields["series"] = series[:2]
}

// A real run's RESULT_FILE has every name of the contract's example, of the
// example's type; and so has the merged one that volley report makes of it.
func TestResultHasEveryNameOfTheContract(t *testing.T) {
	url, _ := target(t)
	file := environment(t)
	if code := run(t.Context(), []string{withThresholds(t, writePlan(t, url, "2s"), `"p95 < 10s"`)}, io.Discard, t.Output()); code != node.ExitOK {
		t.Fatalf("exit code %d", code)
	}
	var want, got any
	if err := json.Unmarshal([]byte(contractResult), &want); err != nil {
		t.Fatal(err)
	}
	block := want.(map[string]any)["latency_ms"]
	body, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(body, &got); err != nil {
		t.Fatal(err)
	}
	inTheLoad(t, got)
	for _, m := range amongTheDropped(got, missing("", want, got, block)) {
		t.Errorf("RESULT_FILE: %s", m)
	}
	if n := len(missing("", want, map[string]any{"schema": 1.0}, block)); n != len(want.(map[string]any)) {
		t.Errorf("the walk finds %d names missing in an empty result and one wrong", n)
	}
	var out bytes.Buffer
	if code := report(t.Context(), []string{"-format", "json", file}, &out, t.Output()); code != node.ExitOK {
		t.Fatalf("report: exit code %d", code)
	}
	if err := json.Unmarshal(out.Bytes(), &got); err != nil {
		t.Fatal(err)
	}
	inTheLoad(t, got)
	for _, m := range amongTheDropped(got, missing("", want, got, block)) {
		t.Errorf("volley report: %s", m)
	}
}

// GET /report.json shows a run while it goes, thresholds as they stand, and the
// verdict afterwards.
func TestReportWhileTheRunGoes(t *testing.T) {
	url, count := target(t)
	environment(t, "KEEP_ALIVE=true", "CONFIG_FILE="+withThresholds(t, writePlan(t, url, "3s"), `"errors < 1", "iterations >= 150"`))
	log := &lines{}
	a := openAppLogging(t, log, func(*settings.Settings) {})
	done := make(chan int, 1)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	go func() { done <- a.run(ctx) }()
	ask := func() (r stats.Result, status int) {
		resp, err := http.Get("http://" + a.listeners.control.Addr().String() + "/report.json")
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		if resp.StatusCode == http.StatusOK {
			if err := json.NewDecoder(resp.Body).Decode(&r); err != nil {
				t.Fatal(err)
			}
		}
		return r, resp.StatusCode
	}
	live, before := stats.Result{}, 0
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	for end := time.Now().Add(20 * time.Second); a.node.Status().Phase != "finished"; <-tick.C {
		r, status := ask()
		switch {
		case time.Now().After(end):
			t.Fatal("the run does not end")
		case status == http.StatusNotFound && live.Requests == 0:
			before++
		case status != http.StatusOK:
			t.Errorf("status %d in the run", status)
		case !r.Nodes[0].Complete && r.Requests > live.Requests:
			live = r
		}
	}
	if before == 0 || live.Requests == 0 || live.Requests > count.Load() || len(live.Thresholds) != 2 || !live.Thresholds[0].OK || live.Thresholds[1].OK ||
		live.Nodes[0].Reason != "the run is going on" || live.Due != live.Started+live.Dropped || live.Started != live.Completed+live.Interrupted {
		t.Errorf("%d answers before the run, then %+v", before, live)
	}
	last, _ := ask()
	if last.Requests != 150 || !last.Nodes[0].Complete || !stats.Held(last.Thresholds) || len(last.Thresholds) != 2 {
		t.Errorf("after the run: %d requests, %+v, %+v", last.Requests, last.Nodes, last.Thresholds)
	}
	cancel()
	<-done
	wantReportLine(t, log.String())
}

// wantReportLine: where logs are JSON, one line has all that the text would.
func wantReportLine(t *testing.T, log string) {
	t.Helper()
	for line := range strings.Lines(log) {
		var fields map[string]any
		if err := json.Unmarshal([]byte(line), &fields); err != nil {
			t.Errorf("not JSON: %s", line)
		}
		if fields["event"] != "report" {
			continue
		}
		for name := range strings.FieldsSeq(`schema run_id config_version scope nodes started_at duration_s due started completed interrupted dropped requests
			retried iterations rps target late_starts errors status_codes bytes_in bytes_out connections latency_ms service_time_ms
			latency_ok_ms iteration_ms steps slowest thresholds generator`) {
			if _, ok := fields[name]; !ok {
				t.Errorf("the report line has no %s: %s", name, line)
			}
		}
		if strings.Contains(line, "histogram") || fields["requests"] != 150.0 {
			t.Errorf("report line: %s", line)
		}
		return
	}
	t.Errorf("no report line in\n%s", log)
}

// openAppLogging makes an app of the environment whose JSON log goes to a buffer.
func openAppLogging(t *testing.T, log io.Writer, change func(*settings.Settings)) *app {
	t.Helper()
	set, _, err := settings.Load()
	if err != nil {
		t.Fatal(err)
	}
	change(&set)
	a, err := newApp(set, newLogging(set, io.Discard, log))
	if err != nil {
		t.Fatal(err)
	}
	return a
}

func planFileIn(t *testing.T, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "plan.yaml")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// The start log says in plain words what all nodes together send, how many
// workers the curve needs at least, and warns if it cannot have them.
func TestStartLogSaysWhatTheLoadIs(t *testing.T) {
	url, _ := target(t)
	environment(t, "CONFIG_FILE="+planFileIn(t, fmt.Sprintf(`version: "1.0"
config: {baseUrl: %q, workers: 2, duration: 1s}
load: {model: rps, target: 20, maxWorkers: 3}
scenarios:
  - name: s
    steps: [{name: get, request: {method: GET, path: /}, thinkTime: 200ms}]
`, url)))
	log := &lines{}
	a := openAppLogging(t, log, func(*settings.Settings) {})
	if code := a.run(t.Context()); code != node.ExitOK {
		t.Fatalf("exit code %d", code)
	}
	// 20/s * (200 ms + 50 ms) = 5 workers.
	for _, want := range []string{"each node runs 2 to 3 workers for 1s, rps at 20 iterations/s", "1 node: 20 iterations/s in all", "at least 5 workers", `"severity":"WARNING"`} {
		if !strings.Contains(log.String(), want) {
			t.Errorf("the log does not say %q:\n%s", want, log)
		}
	}
}

// A run whose engine died is over: what it last said of itself is kept, marked,
// and no gauge says that load goes on.
func TestAnEngineThatDiesLeavesNoRunGoingOn(t *testing.T) {
	url, count := target(t)
	environment(t, "KEEP_ALIVE=true", "ENGINE_MODE=child", "CONFIG_FILE="+writePlan(t, url, "60s"))
	a := openAppLogging(t, &lines{}, func(*settings.Settings) {})
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	done := make(chan int, 1)
	go func() { done <- a.run(ctx) }()
	until := func(what string, ok func() bool) {
		t.Helper()
		tick := time.NewTicker(20 * time.Millisecond)
		defer tick.Stop()
		for end := time.Now().Add(20 * time.Second); !ok(); <-tick.C {
			if time.Now().After(end) {
				t.Fatalf("not within 20 s: %s", what)
			}
		}
	}
	until("load and a summary of it", func() bool {
		s := a.runner.newest()
		return count.Load() > 60 && s != nil && s.Requests > 0
	})
	for _, stat := range children(t) {
		pid, err := strconv.Atoi(filepath.Base(filepath.Dir(stat)))
		if err != nil {
			t.Fatal(err)
		}
		if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
			t.Fatal(err)
		}
	}
	until("the summary ends", func() bool { return a.runner.newest().Ended })
	body, err := a.Report(t.Context(), "node")
	if err != nil {
		t.Fatal(err)
	}
	var r stats.Result
	if err := json.Unmarshal(body, &r); err != nil {
		t.Fatal(err)
	}
	if n := r.Nodes[0]; n.Complete || !strings.Contains(n.Reason, "killed") || r.Requests == 0 {
		t.Errorf("this node's part: %+v, %d requests", n, r.Requests)
	}
	got := scrapeURL(t, a.listeners.control.Addr().String(), "volley")
	for _, gauge := range []string{"concurrent_scenarios", "workers_configured_total"} {
		if v := got.labelled(gauge); v != 0 {
			t.Errorf("%s is %v", gauge, v)
		}
	}
	cancel()
	<-done
}

// A person reads the value that failed, not where it lies in memory.
func TestTheLogHasTheValueThatFailed(t *testing.T) {
	url, _ := target(t)
	environment(t, "LOG_FORMAT=text")
	var log, out bytes.Buffer
	plan := withThresholds(t, writePlan(t, url, "1s"), `"errors > 5"`)
	if code := run(t.Context(), []string{plan}, &out, &log); code != node.ExitFailed {
		t.Errorf("exit code %d", code)
	}
	for _, want := range []string{`msg="threshold failed: errors > 5"`, "value=0\n"} {
		if !strings.Contains(log.String(), want) {
			t.Errorf("the log does not say %q:\n%s", want, &log)
		}
	}
	for _, want := range []string{"errors > 5", "failed", "all figures are those of node n alone"} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("the report does not say %q:\n%s", want, &out)
		}
	}
}
