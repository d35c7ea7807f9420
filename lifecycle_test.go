package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"volley/control"
	"volley/node"
	"volley/settings"
	"volley/stats"
)

// lines is a log that tests read while it is written.
type lines struct {
	mu  sync.Mutex
	all bytes.Buffer
}

func (l *lines) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.all.Write(p)
}

func (l *lines) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.all.String()
}

// process is a volley whose control API is asked.
type process struct {
	t      *testing.T
	app    *app
	base   string
	log    *lines
	cancel context.CancelFunc
	code   chan int
	ended  bool
}

// launch starts one, with the environment of the test and a plan file unless that is "".
func launch(t *testing.T, planFile string) *process {
	t.Helper()
	set, warnings, err := settings.Load()
	if err != nil {
		t.Fatal(err)
	}
	if planFile != "" {
		set.Run.ConfigFile = planFile
	}
	p := &process{t: t, log: &lines{}, code: make(chan int, 1)}
	logging := newLogging(set, io.Discard, p.log)
	for _, w := range warnings {
		logging.log.Warn(w)
	}
	if p.app, err = newApp(set, logging); err != nil {
		t.Fatal(err)
	}
	p.base = "http://" + p.app.listeners.control.Addr().String()
	ctx, cancel := context.WithCancel(t.Context())
	p.cancel = cancel
	go func() { p.code <- p.app.run(ctx) }()
	t.Cleanup(func() {
		if !p.ended {
			p.signal()
		}
		if t.Failed() {
			t.Log(p.log.String())
		}
	})
	p.until("the API serves", func() bool {
		resp, err := http.Get(p.base + "/ready")
		if err == nil {
			resp.Body.Close()
		}
		return err == nil
	})
	return p
}

// signal ends the process and returns its exit code.
func (p *process) signal() int {
	p.cancel()
	return p.exit()
}

// exit waits for the end of the process.
func (p *process) exit() int {
	p.t.Helper()
	select {
	case code := <-p.code:
		p.ended = true
		p.cancel()
		return code
	case <-time.After(20 * time.Second):
		p.t.Fatal("the process does not end")
		return 0
	}
}

func (p *process) until(what string, ok func() bool) {
	p.t.Helper()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for limit := time.After(20 * time.Second); !ok(); {
		select {
		case <-tick.C:
		case <-limit:
			p.t.Fatalf("not in time: %s; the log:\n%s", what, p.log)
		}
	}
}

func (p *process) health() (h control.Health) {
	p.t.Helper()
	resp, err := http.Get(p.base + "/health")
	if err != nil {
		p.t.Fatal(err)
	}
	defer resp.Body.Close()
	if err := json.NewDecoder(resp.Body).Decode(&h); err != nil {
		p.t.Fatal(err)
	}
	return h
}

func (p *process) state(want string) {
	p.t.Helper()
	p.until("state "+want, func() bool { return p.health().NodeState == want })
}

// post asks a changing endpoint and returns status and body.
func (p *process) post(path, body string) (int, map[string]any) {
	p.t.Helper()
	resp, err := http.Post(p.base+path, "application/yaml", strings.NewReader(body))
	if err != nil {
		p.t.Fatal(err)
	}
	defer resp.Body.Close()
	out := map[string]any{}
	if err := json.NewDecoder(resp.Body).Decode(&out); err != nil {
		p.t.Fatal(err)
	}
	return resp.StatusCode, out
}

// submit posts a plan that is accepted, and returns its run.
func (p *process) submit(plan string) string {
	p.t.Helper()
	status, answer := p.post("/config", plan)
	if status != http.StatusAccepted {
		p.t.Fatalf("POST /config: %d %v", status, answer)
	}
	return answer["run_id"].(string)
}

func (p *process) stop() map[string]any {
	p.t.Helper()
	status, answer := p.post("/stop", "")
	if status != http.StatusOK {
		p.t.Fatalf("POST /stop: %d %v", status, answer)
	}
	return answer
}

func (p *process) over(run string) {
	p.t.Helper()
	p.until("the end of run "+run, func() bool {
		r := p.app.node.State().Run(run)
		return r != nil && r.Ended
	})
}

// metric is the sum of the series of a name whose labels hold all the texts.
func (p *process) metric(name string, labels ...string) (sum float64) {
	p.t.Helper()
	resp, err := http.Get(p.base + "/metrics")
	if err != nil {
		p.t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		p.t.Fatal(err)
	}
	for line := range strings.Lines(string(body)) {
		series, value, _ := strings.Cut(strings.TrimSpace(line), " ")
		have, rest, _ := strings.Cut(series, "{")
		missing := func(label string) bool { return !strings.Contains(rest, label) }
		if have != "volley_"+name || slices.ContainsFunc(labels, missing) {
			continue
		}
		number, err := strconv.ParseFloat(value, 64)
		if err != nil {
			p.t.Fatal(err)
		}
		sum += number
	}
	return sum
}

// recorder is a target that notes what it is asked.
type recorder struct {
	*httptest.Server
	mu    sync.Mutex
	asked []string // METHOD /path body
	at    []time.Time
	heads []http.Header
}

func record(t *testing.T, status func(path string) int) *recorder {
	t.Helper()
	r := &recorder{}
	r.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		body, _ := io.ReadAll(req.Body)
		r.mu.Lock()
		r.asked = append(r.asked, strings.TrimSpace(req.Method+" "+req.URL.Path+" "+string(body)))
		r.heads, r.at = append(r.heads, req.Header), append(r.at, time.Now())
		r.mu.Unlock()
		w.WriteHeader(status(req.URL.Path))
	}))
	t.Cleanup(r.Close)
	return r
}

func always(string) int { return http.StatusOK }

func (r *recorder) count(what string) int {
	r.mu.Lock()
	defer r.mu.Unlock()
	n := 0
	for _, a := range r.asked {
		if a == what {
			n++
		}
	}
	return n
}

// planOf sends GET path to the target, 40 times a second.
func planOf(base, path, duration, more string) string {
	return fmt.Sprintf(`version: "1.0"
config: {baseUrl: "%s/base", workers: 2, duration: %s}
load: {model: rps, target: 40}
scenarios: [{name: s, steps: [{name: get, request: {method: GET, path: "%s%s"}}]}]
%s
`, base, duration, base, path, more)
}

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
				if h := p.health(); h.RPS != 0 || h.RunID != run || h.TestStartedAtUnix != nil || h.CurrentYAML != nil || h.TimeRemainingSecs != 0 || *h.Tenant != "red" {
					t.Errorf("health in standby: %+v", h)
				}
				p.until("the counter of standby", func() bool { return p.metric("requests_total", `run_id=""`, `tenant="red"`) > 0 })
				if got, seen := p.metric("requests_total", `run_id="`+run+`"`), target.count(fmt.Sprint("GET /run", round)); got != float64(seen) || seen == 0 || seen > 20 {
					t.Errorf("the run counts %g requests, the target %d, want 20", got, seen)
				}
				if round == 0 {
					continue // the next plan ends it
				}
				if answer := p.stop(); answer["run_id"] != run || answer["workers"] != 3.0 || answer["message"] != "standby after run "+run+" ends" {
					t.Errorf("POST /stop in standby answers %v", answer)
				}
			}
			p.state(control.StateIdle)
			p.until("no standby workers", func() bool { return p.metric("workers_configured_total") == 0 })
			if h := p.health(); h.Workers != 0 {
				t.Errorf("%d workers after /stop", h.Workers)
			}
			sent := target.count(standing)
			p.over(p.submit(planOf(target.URL, "/last", "500ms", "standby: {workers: 3, rps: 0}")))
			p.state(control.StateStandby)
			if h := p.health(); h.Workers != 0 {
				t.Errorf("%d workers in a standby without load", h.Workers)
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

func TestEphemeral(t *testing.T) {
	target := record(t, always)
	done := filepath.Join(t.TempDir(), "done")
	failing := "thresholds: [\"p95 < 0.000001ms\"]"
	env := func(t *testing.T, delay string) {
		environment(t, "EPHEMERAL=1", "EPHEMERAL_FINAL_SCRAPE_DELAY="+delay, "TARGET_URL="+target.URL+"/env", "SELF_DESTRUCT_CMD=echo gone; echo x >> "+done)
	}
	gone := func() int {
		b, err := os.ReadFile(done)
		if err != nil {
			return 0
		}
		return len(b) / 2
	}
	t.Run("the whole life", func(t *testing.T) {
		env(t, "1500ms")
		p := launch(t, "")
		p.state(control.StateReady)
		if h := p.health(); !h.Ephemeral || h.Workers != 0 || h.TimeRemainingSecs != 0 {
			t.Errorf("health when ready: %+v", h)
		}
		p.stop()
		p.state(control.StateReady)
		p.submit(planOf(target.URL, "/stopped", "1m", ""))
		p.state(control.StateRunning)
		p.stop()
		p.state(control.StateIdle)
		p.over(p.submit(planOf(target.URL, "/first", "200ms", "standby: {rps: 100}")))
		p.state(control.StateIdle)
		if p.metric("requests_total") == 0 {
			t.Error("no metrics for the last scrape")
		}
		p.submit(planOf(target.URL, "/second", "2500ms", failing)) // longer than the delay
		p.state(control.StateRunning)
		if code := p.exit(); code != node.ExitFailed {
			t.Errorf("exit code %d, want that of the last run", code)
		}
		if n := target.count("GET /second"); n <= 60 || n > 100 { // 60 in the scrape delay
			t.Errorf("%d requests of the second plan, want 100: did the node leave in the middle?", n)
		}
		if gone() != 1 || !strings.Contains(p.log.String(), "SELF_DESTRUCT_CMD is done") || !strings.Contains(p.log.String(), `"output":"gone\n"`) {
			t.Errorf("SELF_DESTRUCT_CMD ran %d times; the log:\n%s", gone(), p.log)
		}
		if n := target.count("GET /env") + target.count("GET /base"); n != 0 {
			t.Errorf("%d requests that no plan asks for", n)
		}
	})
	t.Run("a signal in the scrape delay", func(t *testing.T) {
		env(t, "1h")
		p := launch(t, "")
		p.over(p.submit(planOf(target.URL, "/first", "200ms", "")))
		if code := p.signal(); code != node.ExitOK || gone() != 1 {
			t.Errorf("exit code %d, SELF_DESTRUCT_CMD ran %d times", code, gone()-1)
		}
	})
	t.Run("with a plan file", func(t *testing.T) {
		env(t, "0")
		t.Setenv("TARGET_URL", "")
		t.Setenv("SELF_DESTRUCT_CMD", "exit 3")
		p := launch(t, writePlan(t, target.URL, "200ms"))
		if code := p.exit(); code != node.ExitOK || !strings.Contains(p.log.String(), "SELF_DESTRUCT_CMD failed") {
			t.Errorf("exit code %d; the log:\n%s", code, p.log)
		}
	})
}

func TestACommandIsEndedWithAllThatItStarted(t *testing.T) {
	began := time.Now()
	out, err := shell("sleep 60 & echo $!; sleep 60", 300*time.Millisecond)
	if took := time.Since(began); err != context.DeadlineExceeded || took > 10*time.Second {
		t.Errorf("%v after %s", err, took)
	}
	if pid, err := strconv.Atoi(strings.TrimSpace(out)); err != nil {
		t.Errorf("it printed %q", out)
	} else {
		for end := time.Now().Add(10 * time.Second); ; runtime.Gosched() { // a killed process may take a moment
			stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
			if err != nil || bytes.Contains(stat, []byte(") Z ")) {
				break
			}
			if time.Now().After(end) {
				t.Fatalf("what it started in the background lives on: %s", stat)
			}
		}
	}
	if out, err := shell("yes | head -c 100000; echo end", time.Minute); err != nil || len(out) != 2000 || !strings.HasSuffix(out, "end\n") {
		t.Errorf("%d bytes of output, %v", len(out), err)
	}
}

func TestRegistration(t *testing.T) {
	var mu sync.Mutex
	var seen []*http.Request
	var bodies []string
	elsewhere := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		t.Errorf("the key went along to %s: %v", r.URL, r.Header)
	}))
	defer elsewhere.Close()
	web := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		mu.Lock()
		defer mu.Unlock()
		seen, bodies = append(seen, r), append(bodies, string(body))
		switch len(seen) {
		case 1:
			http.Error(w, "not yet", http.StatusServiceUnavailable)
		case 2:
			http.Redirect(w, r, elsewhere.URL, http.StatusTemporaryRedirect)
		}
	}))
	defer web.Close()
	environment(t, "NODE_REGISTRY_URL="+web.URL+"/app/", "AUTO_REGISTER_PSK=hush", "NODE_BASE_URL=http://node:8080", "NODE_NAME=Node One", `NODE_TAGS={"pool": ["eu"]}`,
		"CUSTOM_HEADERS=X-Load:1", "RESOLVE_TARGET_ADDR=127.0.0.1:10.255.255.1:1", "SKIP_TLS_VERIFY=true", "NODE_REGISTRY_INTERVAL=5")
	p := launch(t, "")
	p.until("registration", func() bool { return strings.Contains(p.log.String(), "registered with "+web.URL) })
	mu.Lock()
	defer mu.Unlock()
	if len(seen) != 3 {
		t.Fatalf("%d tries, want 3", len(seen))
	}
	for i, r := range seen {
		if r.Method != "POST" || r.URL.Path != "/app/api/v1/nodes/register" || r.Header.Get("X-Auto-Register-PSK") != "hush" ||
			r.Header.Get("Content-Type") != "application/json" || r.Header.Get("X-Load") != "" {
			t.Errorf("try %d: %s %s %v", i+1, r.Method, r.URL, r.Header)
		}
		if want := `{"name":"Node One","base_url":"http://node:8080","region":"local","tags":{"pool":["eu"]}}`; bodies[i] != want {
			t.Errorf("try %d sends %s, want %s", i+1, bodies[i], want)
		}
	}
	if h := p.health(); h.NodeName != "Node One" {
		t.Errorf("node_name in /health is %q", h.NodeName)
	}
	if _, answer := p.post("/config", planOf(web.URL, "/x", "1m", "")); answer["node_name"] != "Node One" || answer["node_id"] != "n" {
		t.Errorf("POST /config answers %v", answer)
	}
	if strings.Contains(p.log.String(), "hush") {
		t.Error("the log shows the key")
	}
	if !strings.Contains(p.log.String(), "NODE_REGISTRY_INTERVAL is deprecated") {
		t.Error("no word of NODE_REGISTRY_INTERVAL")
	}
}

// A web application that does not answer holds nobody up.
func TestRegistrationEndsWithTheProcess(t *testing.T) {
	asked, release := make(chan struct{}, 1), make(chan struct{})
	web := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {
		asked <- struct{}{}
		<-release
	}))
	defer web.Close()
	defer close(release)
	environment(t, "NODE_REGISTRY_URL="+web.URL, "AUTO_REGISTER_PSK=hush", "NODE_BASE_URL=http://node:8080")
	p := launch(t, "")
	<-asked
	began := time.Now()
	if code := p.signal(); code != node.ExitOK || time.Since(began) > 3*time.Second {
		t.Errorf("exit code %d after %s", code, time.Since(began))
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
	p.over(p.submit(planOf(target.URL, "/posted", "750ms", "")))
	if n := readResult(t, result).Due; n != 30 || target.count("GET /posted") == 0 {
		t.Errorf("the posted plan of 40/s for 750ms: %d arrivals, want 30", n)
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
	const plans, workers = 60, 4
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
