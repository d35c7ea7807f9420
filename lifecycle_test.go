package main

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"testing"
	"time"

	"volley/control"
	"volley/node"
	"volley/stats"
)

func TestStandby(t *testing.T) {
	for _, mode := range []string{"inproc", "child"} {
		t.Run(mode, func(t *testing.T) {
			target := record(t, always)
			environment(t, "ENGINE_MODE="+mode, "REQUEST_TYPE=POST", "SEND_JSON=true", "JSON_PAYLOAD={}", "TENANT=red")
			const standing = "POST /base {}"
			p := launch(t, "")
			for round := range 2 {
				before := target.count(standing)
				run := p.submit(planOf(target.URL, fmt.Sprint("/run", round), "500ms", "standby: {workers: 3, rps: 100}"))
				p.state(control.StateStandby)
				p.until("standby requests", func() bool { return target.count(standing) > before+50 })
				p.until("standby workers", func() bool { return p.health().Workers == 3 })
				p.until("a rate of standby", func() bool { return p.health().RPS > 50 })
				if h := p.health(); h.RPS > 200 || h.ErrorRatePct != 0 || h.RunID != run || h.TestStartedAtUnix != nil || h.CurrentYAML != nil || h.TimeRemainingSecs != 0 || *h.Tenant != "red" {
					t.Errorf("health in standby: %+v", h)
				}
				p.until("the counter of standby", func() bool { return p.metric("requests_total", `run_id=""`, `tenant="red"`) > 0 })
				if got, seen := p.metric("requests_total", `run_id="`+run+`"`), target.count(fmt.Sprint("GET /run", round)); got != float64(seen) || seen == 0 || seen > 20 {
					t.Errorf("the run counts %g requests, the target %d, want 20", got, seen)
				}
				if round == 0 {
					continue // the next plan ends it
				}
				if answer := p.stop(); answer["run_id"] != run || answer["workers"] != 3.0 || answer["rps"].(float64) <= 0 || answer["message"] != "standby after run "+run+" ends" {
					t.Errorf("POST /stop in standby answers %v", answer)
				}
			}
			p.state(control.StateIdle)
			p.until("no standby workers", func() bool { return p.metric("workers_configured_total") == 0 })
			if h := p.health(); h.Workers != 0 || h.RPS != 0 {
				t.Errorf("after /stop: %+v", h)
			}
			sent := target.count(standing)
			p.over(p.submit(planOf(target.URL, "/last", "500ms", "standby: {workers: 3, rps: 0}")))
			p.state(control.StateStandby)
			if h := p.health(); h.Workers != 0 || h.RPS != 0 {
				t.Errorf("in a standby without load: %+v", h)
			}
			if now := target.count(standing); now != sent {
				t.Errorf("%d requests of standby after its end", now-sent)
			}
			if total := p.metric("connection_pool_requests_total"); total != float64(len(target.asked)) {
				t.Errorf("%g requests in all by the metrics, the target saw %d", total, len(target.asked))
			}
			p.over(p.submit(planOf(target.URL, "/again", "200ms", "standby: {workers: 1, rps: 100}")))
			p.until("standby once more", func() bool { return target.count(standing) > sent })
			if code := p.signal(); code != node.ExitOK {
				t.Errorf("a signal in standby: exit code %d", code)
			}
			if left := children(t); len(left) != 0 {
				t.Errorf("children are left: %v", left)
			}
		})
	}
}

// In a cluster the variables fill nothing: a node that stands by asks with GET.
func TestStandbyOfAClusterNode(t *testing.T) {
	target := record(t, always)
	environment(t, "CLUSTER_ENABLED=true", "CLUSTER_CONFIG_SOURCE=none", "CLUSTER_BIND_ADDR=127.0.0.1:0", "CLUSTER_START_DELAY=300ms",
		"REQUEST_TYPE=POST", "TARGET_RPS=5", "TENANT=red")
	p := launch(t, "")
	p.until("a leader", p.app.node.Leads)
	run := p.submit(planOf(target.URL, "/run", "300ms", "standby: {rps: 100}"))
	p.state(control.StateStandby)
	p.until("standby requests", func() bool { return target.count("GET /base") > 20 })
	p.until("standby workers", func() bool { return p.health().Workers == 2 })
	if got, seen := p.metric("requests_total", `run_id="`+run+`"`, `tenant="red"`), target.count("GET /run"); got != float64(seen) || seen == 0 || seen > 12 {
		t.Errorf("%g requests with the label of TENANT, %d at the target, want 12", got, seen)
	}
	p.stop()
	p.state(control.StateIdle)
	p.until("silence", func() bool { return p.metric("workers_configured_total") == 0 && p.health().Workers == 0 })
	if code := p.signal(); code != node.ExitOK {
		t.Errorf("exit code %d", code)
	}
}

func TestOnlyTheOldestPlanIsForgotten(t *testing.T) {
	r := &runner{jobs: map[string]prepared{}}
	for i := range maxJobs + 5 {
		id := fmt.Sprint(i)
		r.makeRoom(id)
		r.jobs[id] = prepared{order: i}
	}
	_, old := r.jobs["4"]
	_, kept := r.jobs["5"]
	if len(r.jobs) != maxJobs || old || !kept {
		t.Errorf("%d jobs, want the newest %d", len(r.jobs), maxJobs)
	}
}

func TestHealthInEveryState(t *testing.T) {
	target := record(t, func(path string) int {
		if path == "/bad" {
			return http.StatusInternalServerError
		}
		return http.StatusOK
	})
	environment(t, "TENANT=env", "API_AUTH_TOKEN=")
	p := launch(t, "")
	p.state(control.StateIdle)
	if h := p.health(); h.Tenant == nil || *h.Tenant != "env" || h.RunID != "" || h.Ephemeral || h.TestDurationSecs != nil {
		t.Errorf("before any test: %+v", h)
	}
	scenario := fmt.Sprintf(`version: "1.0"
metadata: {tenant: blue}
config: {baseUrl: %q, workers: 5, duration: 1m}
load: {model: rps, target: 100}
scenarios: [{name: s, steps: [{name: good, request: {method: GET, path: /good}}, {name: bad, request: {method: GET, path: /bad}}]}]
`, target.URL)
	run := p.submit(scenario)
	p.until("rates", func() bool { h := p.health(); return h.RPS > 0 && h.ErrorRatePct > 0 })
	h := p.health()
	if h.NodeState != control.StateRunning || h.RunID != run || *h.Tenant != "blue" || h.Workers != 5 || h.RPS < 100 || h.RPS > 400 || h.ErrorRatePct < 45 || h.ErrorRatePct > 55 {
		t.Errorf("running: %+v", h)
	}
	if *h.TestDurationSecs != 60 || h.TimeRemainingSecs < 40 || h.TimeRemainingSecs > 60 || *h.TestPercentComplete <= 0 || *h.TestPercentComplete > 35 ||
		time.Since(time.Unix(*h.TestStartedAtUnix, 0)) > 20*time.Second {
		t.Errorf("running: %d s left, %v of %v s, from %v", h.TimeRemainingSecs, *h.TestPercentComplete, *h.TestDurationSecs, *h.TestStartedAtUnix)
	}
	if _, answer := p.post("/stop", `{"tenant":"red"}`); answer["stopped"] != false || answer["message"] != "conflict: run "+run+` belongs to tenant "blue", not "red"` {
		t.Errorf("POST /stop of another tenant answers %v", answer)
	}
	for body, want := range map[string]int{`{"tenant":"red"}`: 409, `{"tenant":1}`: 400, `stop`: 400, `{"tennant":"blue"}`: 400, `{"tenant":"blue"}{}`: 400} {
		if status, answer := p.post("/stop", body); status != want {
			t.Errorf("POST /stop %s: %d %v, want %d", body, status, answer, want)
		}
	}
	if status, answer := p.post("/config", planOf(target.URL, "/other", "1s", "")); status != http.StatusConflict { // TENANT makes it env's
		t.Errorf("the plan of another tenant: %d %v", status, answer)
	}
	if h := p.health(); h.NodeState != control.StateRunning || h.RunID != run {
		t.Errorf("after all that was refused: %+v", h)
	}
	if status, answer := p.post("/stop", `{"tenant":"blue"}`); status != 200 || answer["run_id"] != run || answer["workers"] != 5.0 || answer["rps"].(float64) <= 0 {
		t.Errorf("POST /stop: %d %v", status, answer)
	}
	p.state(control.StateIdle)
	p.over(run)
	if h := p.health(); h.Workers != 0 || h.RPS != 0 || h.TimeRemainingSecs != 0 || h.TestStartedAtUnix != nil || h.TestDurationSecs != nil || h.TestPercentComplete != nil || h.RunID != run || *h.Tenant != "blue" {
		t.Errorf("after /stop: %+v", h)
	}
	if answer := p.stop(); answer["stopped"] != true || answer["run_id"] != nil || answer["message"] != "nothing was running" {
		t.Errorf("a second /stop: %v", answer)
	}
	endless := p.submit(strings.Replace(planOf(target.URL, "/count", "1m", ""), ", duration: 1m}\nload: {", "}\nload: {iterations: 100000, ", 1))
	p.state(control.StateRunning)
	if h := p.health(); h.RunID != endless || *h.Tenant != "env" || h.TestDurationSecs != nil || h.TestPercentComplete != nil || h.TimeRemainingSecs != 0 || h.TestStartedAtUnix == nil {
		t.Errorf("a test that only its iterations end: %+v", h)
	}
	p.until("a rate", func() bool { return p.health().RPS > 0 })
	p.submit(planOf(target.URL, "/next", "300ms", ""))
	p.until("the next run", func() bool { h := p.health(); return h.RunID != endless && h.NodeState == control.StateRunning })
	p.state(control.StateStandby) // it stays up: the predecessor's name for that
	if h := p.health(); h.Workers != 0 || h.RPS != 0 || *h.Tenant != "env" {
		t.Errorf("after a test: %+v", h)
	}
	if got := p.metric("requests_total", `tenant="env"`); got != float64(target.count("GET /count")+target.count("GET /next")) {
		t.Errorf("%g requests with the label of TENANT", got)
	}
}

// A stop while the plan is fetched has ended something, and says so.
func TestStopEndsTheStart(t *testing.T) {
	gone := make(chan struct{})
	slow := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		select {
		case <-r.Context().Done():
		case <-gone:
		}
	}))
	defer slow.Close()
	defer close(gone)
	environment(t, "CLUSTER_ENABLED=true", "CLUSTER_CONFIG_SOURCE=consul-kv", "CONSUL_ADDR="+slow.URL, "CLUSTER_BIND_ADDR=127.0.0.1:0")
	p := launch(t, "")
	p.until("the fetch", p.app.node.Fetching)
	if answer := p.stop(); answer["stopped"] != true || answer["run_id"] != nil || answer["message"] != "the start ends, before there was a run" {
		t.Errorf("POST /stop answers %v", answer)
	}
	if code := p.exit(); code != node.ExitStopped {
		t.Errorf("exit code %d, want %d", code, node.ExitStopped)
	}
}

// A stop lets finish what has begun: until then its workers are still there, and
// so they are when a run is past its planned end.
func TestHealthWhileARunDrains(t *testing.T) {
	release := make(chan struct{})
	target := record(t, func(string) int { <-release; return http.StatusOK })
	environment(t)
	p := launch(t, "")
	slow := func(path, duration string) string {
		return strings.Replace(planOf(target.URL, path, duration, ""), "duration:", "gracefulStop: 1m, duration:", 1)
	}
	run := p.submit(slow("/end", "200ms"))
	p.until("the planned end", func() bool { h := p.health(); return h.TestPercentComplete != nil && *h.TestPercentComplete == 100 })
	if h := p.health(); h.NodeState != control.StateRunning || h.Workers != 2 || h.TimeRemainingSecs != 0 || *h.TestDurationSecs != 0 || h.TestStartedAtUnix == nil {
		t.Errorf("past its planned end: %+v", h)
	}
	release <- struct{}{}
	release <- struct{}{}
	p.over(run)
	run = p.submit(slow("/stop", "1m"))
	p.until("both workers at it", func() bool { return p.health().Workers == 2 && target.count("GET /stop") == 2 })
	p.stop()
	if h := p.health(); h.NodeState != control.StateIdle || h.Workers != 2 || h.TimeRemainingSecs != 0 || h.TestStartedAtUnix != nil || h.RunID != run {
		t.Errorf("stopped, with two requests that go on: %+v", h)
	}
	close(release)
	p.over(run)
	if h := p.health(); h.NodeState != control.StateIdle || h.Workers != 0 || h.RPS != 0 {
		t.Errorf("when all is over: %+v", h)
	}
}

func TestPrecedenceOfARun(t *testing.T) {
	target := record(t, always)
	result := environment(t, "TARGET_RPS=20", "TEST_DURATION=1s", "CUSTOM_HEADERS=X-From:env", "POOL_MAX_IDLE_PER_HOST=0", "KEEP_ALIVE=true")
	document := planOf(target.URL, "/file", "10m", "x-note: 1\nunknown: 2")
	file := filepath.Join(t.TempDir(), "plan.yaml")
	if err := os.WriteFile(file, []byte(document), 0o600); err != nil {
		t.Fatal(err)
	}
	p := launch(t, file)
	p.until("a run", func() bool { return p.app.node.State().Current != nil })
	p.over(p.app.node.State().Current.ID)
	if n := readResult(t, result).Due; n != 20 {
		t.Errorf("the plan file with TARGET_RPS=20 TEST_DURATION=1s: %d arrivals, want 20", n)
	}
	for _, want := range []string{"TEST_DURATION hides config.duration of the plan", "TARGET_RPS hides load.target of the plan", `"unknown: is not a known key`} {
		if strings.Count(p.log.String(), want) != 1 {
			t.Errorf("the log does not say once %q", want)
		}
	}
	p.over(p.submit(planOf(target.URL, "/posted", "1500ms", "")))
	if n := readResult(t, result).Due; n != 60 || target.count("GET /posted") == 0 {
		t.Errorf("the posted plan of 40/s for 1.5s, longer than TEST_DURATION: %d arrivals, want 60", n)
	}
	for _, want := range []string{"config.duration of the plan hides TEST_DURATION", "load.target of the plan hides TARGET_RPS"} {
		if strings.Count(p.log.String(), want) != 1 {
			t.Errorf("the log does not say once %q", want)
		}
	}
	for i, head := range target.heads {
		if head.Get("X-From") != "env" {
			t.Errorf("%s: headers %v, want those of CUSTOM_HEADERS too", target.asked[i], head)
		}
	}
	if status, answer := p.post("/config", "version: \"1.0\"\nconfig:\n  baseUrl: http://a\n  workers: none\nload: {model: rps, target: 1}\nscenarios: []\n"); status != 400 ||
		!strings.Contains(fmt.Sprint(answer), "column:12 line:4 message:\"none\" is not a whole number") {
		t.Errorf("a posted plan with mistakes: %d %v", status, answer)
	}
}

func TestVariablesThatMakeAPlanFileWrongExit104(t *testing.T) {
	target := record(t, always)
	environment(t, "TARGET_URL="+target.URL+"?a=b")
	var log lines
	if code := run(t.Context(), []string{writePlan(t, target.URL, "1s")}, io.Discard, &log); code != node.ExitInvalid {
		t.Errorf("exit code %d", code)
	}
	for _, want := range []string{"plan.yaml: 2:19: config.baseUrl: from TARGET_URL: ", `"config_invalid"`} {
		if !strings.Contains(log.String(), want) {
			t.Errorf("the log does not say %q:\n%s", want, log.String())
		}
	}
}

// TestPlansPostedInATightLoop: whatever is posted when, no worker is left
// behind and no run sees another's requests.
func TestPlansPostedInATightLoop(t *testing.T) {
	for _, mode := range []string{"inproc", "child"} {
		t.Run(mode, func(t *testing.T) { testTightLoop(t, mode) })
	}
}

func testTightLoop(t *testing.T, mode string) {
	const plans, workers = 30, 4 // each of every kind, ended in every way
	target := record(t, always)
	dir := t.TempDir()
	environment(t, "ENGINE_MODE="+mode, "RESULT_FILE="+filepath.Join(dir, "{run_id}.json"))
	p := launch(t, "")
	p.over(p.submit(planOf(target.URL, "/warm", "100ms", ""))) // what lives as long as the process is there
	http.DefaultClient.CloseIdleConnections()
	before := runtime.NumGoroutine()
	var runs []string
	for i := range plans {
		text := fmt.Sprintf(`version: "1.0"
metadata: {run_id: r%d}
config: {baseUrl: %q, workers: %d, duration: 250ms}
load: {model: %s}
scenarios: [{name: s, steps: [{name: get, request: {method: GET, path: /r%d}}]}]
`, i, target.URL, workers, []string{"rps, target: 300", "concurrent"}[i%2], i)
		if i%3 == 0 {
			text = strings.Replace(text, "250ms", "1m", 1) // only the next plan ends it
		}
		var status int
		p.until("room for another plan", func() bool { // 503 while a run drains beside its successor
			var answer map[string]any
			if status, answer = p.post("/config", text); status == http.StatusAccepted {
				runs = append(runs, answer["run_id"].(string))
			}
			return status != http.StatusServiceUnavailable
		})
		if status != http.StatusAccepted {
			t.Fatalf("plan %d: status %d", i, status)
		}
		switch i % 5 {
		case 2:
			p.until("a request of "+runs[i], func() bool { return target.count("GET /"+runs[i]) > 0 })
		case 3:
			p.state(control.StateRunning)
		case 4:
			p.stop()
		}
	}
	last := runs[plans-1]
	p.over(last)
	p.over(p.submit(planOf(target.URL, "/end", "100ms", "")))
	p.until("the gauges to fall", func() bool {
		return p.metric("workers_configured_total") == 0 && p.metric("concurrent_requests") == 0 && p.metric("concurrent_scenarios") == 0
	})
	if h := p.health(); h.Workers != 0 || h.NodeState != control.StateStandby {
		t.Errorf("health afterwards: %+v", h)
	}
	http.DefaultClient.CloseIdleConnections()
	settled(t, before)
	ran := 0
	for i, run := range runs {
		if run != fmt.Sprint("r", i) {
			t.Errorf("plan %d became run %s", i, run)
		}
		sent := target.count("GET /" + run)
		body, err := os.ReadFile(filepath.Join(dir, run+".json"))
		if err != nil && sent == 0 {
			continue // another took its place before it began
		}
		var result stats.Result
		if err == nil {
			err = json.Unmarshal(body, &result)
		}
		if err != nil {
			t.Fatal(err)
		}
		ran++
		// What was cut off may or may not have reached the target.
		if lost := result.Interrupted; result.RunID != run || result.Requests > int64(sent) || result.Requests+lost < int64(sent) ||
			result.Due != result.Started+result.Dropped || result.Started != result.Completed+result.Interrupted {
			t.Errorf("run %s: %d requests and %d cut off in the result of %s, %d at the target", run, result.Requests, lost, result.RunID, sent)
		}
	}
	if ran < plans/5 {
		t.Errorf("only %d of %d plans ran", ran, plans)
	}
	target.unmixed(t)
	if code := p.signal(); code != node.ExitOK || len(children(t)) != 0 {
		t.Errorf("exit code %d, children %v", code, children(t))
	}
}

// unmixed checks that a run makes way for its successor: soon after the first
// request of that, none of an older one is left. At one instant both ends of a
// take-over are there, as different goroutines act by the same clock.
func (r *recorder) unmixed(t *testing.T) {
	t.Helper()
	r.mu.Lock()
	defer r.mu.Unlock()
	newest, since := -1, time.Time{}
	for i, a := range r.asked {
		n, err := strconv.Atoi(strings.TrimPrefix(a, "GET /r"))
		if err != nil {
			continue
		}
		if n > newest {
			newest, since = n, r.at[i]
		}
		if late := r.at[i].Sub(since); n < newest && late > time.Second {
			t.Errorf("a request of run %d, %s after the first of run %d", n, late, newest)
		}
	}
}
