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
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"volley/loadgen"
	"volley/node"
	"volley/settings"
)

func TestMain(m *testing.M) {
	if len(os.Args) > 1 && os.Args[1] == loadgen.ChildCommand {
		os.Exit(loadgen.ServeChild(context.Background()))
	}
	if len(os.Args) > 1 && os.Args[1] == targetCommand {
		serveTarget()
	}
	if len(os.Args) > 1 && os.Args[1] == volleyCommand {
		os.Args = append(os.Args[:1], os.Args[2:]...)
		main()
	}
	os.Exit(m.Run())
}

// target counts requests.
func target(t *testing.T) (url string, count *atomic.Int64) {
	t.Helper()
	count = new(atomic.Int64)
	srv := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { count.Add(1) }))
	t.Cleanup(srv.Close)
	return srv.URL, count
}

func writePlan(t *testing.T, url, duration string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "plan.yaml")
	text := fmt.Sprintf(`version: "1.0"
config: {baseUrl: %q, workers: 4, duration: %s}
load: {model: rps, target: 50}
scenarios:
  - name: s
    steps:
      - name: get
        request: {method: GET, path: /}
        assertions: [{type: statusCode, expected: 200}]
`, url, duration)
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// environment is what a test's process gets: its own ports, its result file.
func environment(t *testing.T, more ...string) (result string) {
	t.Helper()
	result = filepath.Join(t.TempDir(), "result.json")
	for _, kv := range append([]string{"CLUSTER_HEALTH_ADDR=127.0.0.1:0", "METRICS_ADDR=off", "CLUSTER_NODE_ID=n", "RESULT_FILE=" + result}, more...) {
		k, v, _ := strings.Cut(kv, "=")
		t.Setenv(k, v)
	}
	return result
}

type resultFile struct {
	Stopped *struct {
		Cause  string  `json:"cause"`
		AfterS float64 `json:"after_s"`
	} `json:"stopped"`
	Requests int64 `json:"requests"`
	Due      int64 `json:"due"`
	Started  int64 `json:"started"`
	Dropped  int64 `json:"dropped"`
	Nodes    []struct {
		NodeID   string `json:"node_id"`
		Complete bool   `json:"complete"`
	} `json:"nodes"`
}

func readResult(t *testing.T, path string) resultFile {
	t.Helper()
	if report, err := os.ReadFile(strings.TrimSuffix(path, ".json") + ".html"); err != nil || !bytes.HasPrefix(report, []byte("<!doctype html>")) {
		t.Errorf("the report beside %s: %v, %.100q", path, err, report)
	}
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	var r resultFile
	if err := json.Unmarshal(b, &r); err != nil {
		t.Fatal(err)
	}
	return r
}

// children are the live child processes of this one.
func children(t *testing.T) (pids []string) {
	t.Helper()
	stats, err := filepath.Glob("/proc/[0-9]*/stat")
	if err != nil {
		t.Fatal(err)
	}
	for _, path := range stats {
		b, err := os.ReadFile(path)
		if err != nil {
			continue // it has ended meanwhile
		}
		after := string(b[bytes.LastIndexByte(b, ')')+1:])
		f := strings.Fields(after)
		if len(f) > 1 && f[1] == fmt.Sprint(os.Getpid()) && f[0] != "Z" {
			pids = append(pids, path)
		}
	}
	return pids
}

// settled waits until the number of goroutines is back to what it was.
func settled(t *testing.T, before int) {
	t.Helper()
	for end := time.Now().Add(5 * time.Second); runtime.NumGoroutine() > before; runtime.Gosched() {
		if time.Now().After(end) {
			buf := make([]byte, 1<<20)
			t.Fatalf("%d goroutines are left, %d before\n%s", runtime.NumGoroutine(), before, buf[:runtime.Stack(buf, true)])
		}
	}
}

func TestRunLeavesNothingBehind(t *testing.T) {
	for _, tt := range []struct {
		name     string
		env      []string
		children int
	}{
		{"standalone", nil, 0},
		{"standalone with a child engine", []string{"ENGINE_MODE=child"}, 1},
		{"cluster of one", []string{"CLUSTER_ENABLED=true", "CLUSTER_CONFIG_SOURCE=file", "CLUSTER_BIND_ADDR=127.0.0.1:0", "CLUSTER_START_DELAY=300ms"}, 1},
	} {
		t.Run(tt.name, func(t *testing.T) {
			url, count := target(t)
			plan := writePlan(t, url, "1s")
			result := environment(t, append(tt.env, "CONFIG_FILE="+plan)...)
			before := runtime.NumGoroutine()
			most := make(chan int, 1)
			done := make(chan struct{})
			go func() {
				seen := 0
				for {
					seen = max(seen, len(children(t)))
					select {
					case <-done:
						most <- seen
						return
					case <-time.After(20 * time.Millisecond):
					}
				}
			}()
			code := run(t.Context(), nil, io.Discard, t.Output())
			close(done)
			if seen := <-most; seen != tt.children {
				t.Errorf("%d child processes, want %d", seen, tt.children)
			}
			if code != node.ExitOK {
				t.Fatalf("exit code %d", code)
			}
			if left := children(t); len(left) != 0 {
				t.Errorf("child processes are left: %v", left)
			}
			http.DefaultClient.CloseIdleConnections()
			settled(t, before+1) // the target may still hold a connection
			r := readResult(t, result)
			if r.Requests != count.Load() || r.Requests != 50 || len(r.Nodes) != 1 || !r.Nodes[0].Complete {
				t.Errorf("result %+v, the target counted %d, want 50", r, count.Load())
			}
		})
	}
}

func TestSignalEndsAStandaloneRunWithItsReport(t *testing.T) {
	url, count := target(t)
	result := environment(t)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	code := make(chan int, 1)
	go func() { code <- run(ctx, []string{"run", writePlan(t, url, "60s")}, io.Discard, io.Discard) }()
	for end := time.Now().Add(10 * time.Second); count.Load() < 20; runtime.Gosched() {
		if time.Now().After(end) {
			t.Fatal("no load")
		}
	}
	began := time.Now()
	cancel()
	if got := <-code; got != node.ExitStopped {
		t.Errorf("exit code %d, want %d", got, node.ExitStopped)
	}
	if took := time.Since(began); took > 8*time.Second {
		t.Errorf("leaving took %s", took)
	}
	r := readResult(t, result)
	if r.Requests != count.Load() || r.Due != r.Started+r.Dropped {
		t.Errorf("result %+v, the target counted %d", r, count.Load())
	}
	if r.Stopped == nil || r.Stopped.Cause != "signal" || r.Stopped.AfterS <= 0 || r.Stopped.AfterS > 30 {
		t.Errorf("stopped %+v, want by a signal after some seconds of 60", r.Stopped)
	}
}

// Scripts of the predecessor say --config, which it ignored.
func TestPlanByFlag(t *testing.T) {
	url, count := target(t)
	plan := writePlan(t, url, "200ms")
	for _, args := range [][]string{{"--config", plan}, {"-config=" + plan}, {"run", "--config", plan}} {
		environment(t)
		before := count.Load()
		if code := run(t.Context(), args, io.Discard, io.Discard); code != node.ExitOK || count.Load() == before {
			t.Errorf("%q: exit code %d, %d requests", args, code, count.Load()-before)
		}
	}
}

func TestHelpStartsNothing(t *testing.T) {
	for _, args := range [][]string{{"demo", "-h"}, {"run", "--help"}, {"report", "-h"}, {"try", "-help"}} {
		var out bytes.Buffer
		if got := run(t.Context(), args, &out, io.Discard); got != node.ExitOK || out.String() != usage {
			t.Errorf("%v: exit code %d, %q", args, got, out.String())
		}
	}
}

func TestPlanFaultsExit104(t *testing.T) {
	bad := filepath.Join(t.TempDir(), "bad.yaml")
	if err := os.WriteFile(bad, []byte("version: \"1.0\"\nconfig:\n  baseUrl: http://127.0.0.1:1\n  duration: 1x\nload:\n  model: rps\n  target: 1\nscenarios: []\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	environment(t)
	var lines bytes.Buffer
	if got := run(t.Context(), []string{bad}, io.Discard, &lines); got != node.ExitInvalid {
		t.Errorf("exit code %d, want %d", got, node.ExitInvalid)
	}
	if !strings.Contains(lines.String(), "4:13: config.duration") {
		t.Errorf("the log does not say where:\n%s", lines.String())
	}
	url, count := target(t)
	unknown := writePlan(t, url+"/${env.NOPE}", "1s")
	lines.Reset()
	if got := run(t.Context(), []string{unknown}, io.Discard, &lines); got != node.ExitInvalid || count.Load() != 0 {
		t.Errorf("a variable that is not listed: exit code %d, want %d; %d requests", got, node.ExitInvalid, count.Load())
	}
	if !strings.Contains(lines.String(), "PLAN_ENV") || !strings.Contains(lines.String(), ": scenarios[0].steps[0].request") {
		t.Errorf("the log does not say where:\n%s", lines.String())
	}
	if got := run(t.Context(), []string{filepath.Join(t.TempDir(), "missing.yaml")}, io.Discard, io.Discard); got != node.ExitInvalid {
		t.Errorf("a missing plan: exit code %d, want %d", got, node.ExitInvalid)
	}
}

func TestPlanThatThisVersionCannotRunIsRefusedWhole(t *testing.T) {
	url, count := target(t)
	plan := writePlan(t, url, "1s")
	b, err := os.ReadFile(plan)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(plan, bytes.Replace(b, []byte("workers: 4"), []byte("workers: 4, client: own, http: 2"), 1), 0o600); err != nil {
		t.Fatal(err)
	}
	environment(t)
	var lines, out bytes.Buffer
	if got := run(t.Context(), []string{plan}, io.Discard, &lines); got != node.ExitInvalid {
		t.Errorf("exit code %d, want %d", got, node.ExitInvalid)
	}
	if !strings.Contains(lines.String(), "config.client") || count.Load() != 0 {
		t.Errorf("%d requests were sent; the log:\n%s", count.Load(), lines.String())
	}
	if got := run(t.Context(), []string{"validate", plan}, &out, io.Discard); got != node.ExitOK {
		t.Errorf("validate: exit code %d", got)
	}
	if want := plan + ": ok\n"; !strings.HasPrefix(out.String(), want) || !strings.Contains(out.String(), "note") {
		t.Errorf("validate prints %q", out.String())
	}
}

func TestTakenPortExits1(t *testing.T) {
	url, _ := target(t)
	addr := strings.TrimPrefix(url, "http://")
	for _, name := range []string{"METRICS_ADDR", "CLUSTER_HEALTH_ADDR"} {
		environment(t, name+"="+addr)
		var lines bytes.Buffer
		if got := run(t.Context(), []string{writePlan(t, url, "1s")}, io.Discard, &lines); got != node.ExitFailure {
			t.Errorf("%s: exit code %d, want %d", name, got, node.ExitFailure)
		}
		if !strings.Contains(lines.String(), name+": listen tcp") {
			t.Errorf("the message does not name %s: %s", name, lines.String())
		}
	}
}

// TestFaultyCertificatesNameTheirVariable: which of many files is at fault.
func TestFaultyCertificatesNameTheirVariable(t *testing.T) {
	junk := filepath.Join(t.TempDir(), "junk.pem")
	if err := os.WriteFile(junk, []byte("junk"), 0o600); err != nil {
		t.Fatal(err)
	}
	for want, variables := range map[string][]string{
		"CLUSTER_TLS_CA, CLUSTER_TLS_CERT, CLUSTER_TLS_KEY: CA certificate " + junk:                                                  {"CLUSTER_TLS_CA=" + junk, "CLUSTER_TLS_CERT=" + junk, "CLUSTER_TLS_KEY=" + junk, "CLUSTER_CONFIG_SOURCE=none"},
		"CONSUL_CACERT, CONSUL_CAPATH, CONSUL_CLIENT_CERT, CONSUL_CLIENT_KEY: Error loading CA File: Couldn't parse PEM in: " + junk: {"CONSUL_CACERT=" + junk, "CLUSTER_CONFIG_SOURCE=consul-kv", "CONSUL_ADDR=https://127.0.0.1:1"},
	} {
		t.Run(variables[0], func(t *testing.T) {
			environment(t, append(variables, "CLUSTER_ENABLED=true", "CLUSTER_BIND_ADDR=127.0.0.1:0")...)
			var lines bytes.Buffer
			if got := run(t.Context(), nil, io.Discard, &lines); got != node.ExitInvalid || !strings.Contains(lines.String(), want) || !strings.Contains(lines.String(), "accepted: PEM") {
				t.Errorf("exit code %d, want 104 and %q:\n%s", got, want, &lines)
			}
		})
	}
}

// TestDemoLeavesTheNodeOfThisMachineAlone: the environment may be that of a node.
func TestDemoLeavesTheNodeOfThisMachineAlone(t *testing.T) {
	environment(t, "CLUSTER_ENABLED=true", "CLUSTER_CONFIG_SOURCE=file", "CONFIG_FILE="+planFileIn(t, wantsP95), "CLUSTER_CONFIG_WATCH=true", "CLUSTER_DATA_DIR="+t.TempDir(),
		"CLUSTER_MAX_CLOCK_ERROR=1ms", "CLUSTER_WEIGHT=3")
	base, _, err := settings.Load()
	if err != nil {
		t.Fatal(err)
	}
	base.Job.Index, base.Job.Count = new(int), new(int)
	set := demoSettings(base, "a", []string{"127.0.0.1:1"}, 0, "demo.yaml")
	if set.Cluster.DataDir != "" || set.Source.Watch || set.Job.Task() || set.Cluster.MaxClockError != 0 || set.Cluster.Weight != 1 {
		t.Errorf("a node of the demo takes the machine's own settings: %+v, %+v", set.Cluster, set.Source)
	}
	environment(t, "CLUSTER_ENABLED=", "LOG_LEVEL=loud")
	var lines bytes.Buffer
	if got := run(t.Context(), []string{"demo"}, io.Discard, &lines); got != node.ExitInvalid || !strings.Contains(lines.String(), "LOG_LEVEL") {
		t.Errorf("exit code %d, want 104: %s", got, &lines)
	}
}

func TestMigrateRoundTrip(t *testing.T) {
	url, count := target(t)
	environment(t, "TARGET_URL="+url+"/a?b=c", "LOAD_MODEL_TYPE=Rps", "TARGET_RPS=20", "TEST_DURATION=1s")
	var document, out bytes.Buffer
	if got := run(t.Context(), []string{"migrate"}, &document, io.Discard); got != node.ExitOK {
		t.Fatalf("migrate: exit code %d", got)
	}
	path := filepath.Join(t.TempDir(), "migrated.yaml")
	if err := os.WriteFile(path, document.Bytes(), 0o600); err != nil {
		t.Fatal(err)
	}
	if got := run(t.Context(), []string{"validate", path}, &out, io.Discard); got != node.ExitOK || out.String() != path+": ok\n" {
		t.Errorf("validate: exit code %d, %s\n%s", got, out.String(), document.String())
	}
	// The same environment without a plan file runs the plan that it describes.
	if got := run(t.Context(), nil, io.Discard, io.Discard); got != node.ExitOK || count.Load() != 20 {
		t.Errorf("exit code %d, %d requests, want 0 and 20", got, count.Load())
	}
}

// TestVariablesWithoutEffectAreNamed: a variable that changes nothing of the
// run is most likely a mistake.
func TestVariablesWithoutEffectAreNamed(t *testing.T) {
	url, count := target(t)
	environment(t, "TARGET_URL="+url, "LOAD_MODEL_TYPE=Rps", "TARGET_RPS=20", "TEST_DURATION=200ms", "MAX_RPS=9", "SEND_JSON=yes", "JSON_PAYLOAD={}", "API_AUTH_TOKEN=hush")
	for _, args := range [][]string{nil, {"migrate"}, {writePlan(t, url, "200ms")}} {
		var log lines
		if code := run(t.Context(), args, io.Discard, &log); code != node.ExitOK {
			t.Fatalf("%v: exit code %d\n%s", args, code, &log)
		}
		for _, want := range []string{"MAX_RPS has no effect: load.model is rps", "SEND_JSON has no effect", `"API_AUTH_TOKEN":"<secret>"`, `"event":"settings"`} {
			setting := strings.HasPrefix(want, `"`)
			if migrates := args != nil && args[0] == "migrate"; strings.Contains(log.String(), want) == (setting && migrates) {
				t.Errorf("%v: says %q: %v\n%s", args, want, !(setting && migrates), &log)
			}
		}
	}
	if count.Load() == 0 {
		t.Error("nothing was sent")
	}
}

func TestClientAsTheEnvironmentSays(t *testing.T) {
	pem := writePlan(t, "http://h", "1s") // it is not read here
	for _, c := range []struct {
		variable string
		seen     func(loadgen.Client) bool
	}{
		{"TCP_NODELAY=false", func(c loadgen.Client) bool { return c.TCPDelay }},
		{"PROXY_FROM_ENV=1", func(c loadgen.Client) bool { return c.ProxyFromEnv }},
		{"THINK_TIME_SCALE=0.5", func(c loadgen.Client) bool { return c.ThinkTimeScale == 0.5 }},
		{"PLAN_ENV=CLUSTER_NODE_ID", func(c loadgen.Client) bool { return c.Env["CLUSTER_NODE_ID"] == "n" }},
		{"CLIENT_CERT_PATH=" + pem, func(c loadgen.Client) bool { return c.ClientCertPath == pem }},
		{"CLIENT_KEY_PATH=" + pem, func(c loadgen.Client) bool { return c.ClientKeyPath == pem }},
	} {
		client := func(vars ...string) loadgen.Client {
			environment(t, vars...)
			set, _, err := settings.Load()
			if err != nil {
				t.Fatal(err)
			}
			return clientOf(set)
		}
		name, _, _ := strings.Cut(c.variable, "=")
		if strings.HasPrefix(name, "CLIENT_") {
			environment(t, "CLIENT_CERT_PATH="+pem, "CLIENT_KEY_PATH="+pem)
			if !c.seen(client()) {
				t.Errorf("%s has no effect", c.variable)
			}
			environment(t, "CLIENT_CERT_PATH=", "CLIENT_KEY_PATH=")
			continue
		}
		if c.seen(client()) || !c.seen(client(c.variable)) {
			t.Errorf("%s has no effect", c.variable)
		}
		alone := name == "TCP_NODELAY" // in a cluster the leader's plan alone describes the load
		if clustered := c.seen(client("CLUSTER_ENABLED=true", "CLUSTER_CONFIG_SOURCE=none")); clustered == alone {
			t.Errorf("%s in a cluster: %v", c.variable, clustered)
		}
		environment(t, name+"=", "CLUSTER_ENABLED=", "CLUSTER_CONFIG_SOURCE=")
	}
}

func TestCommands(t *testing.T) {
	for _, tt := range []struct {
		args []string
		code int
		out  string
		err  string
	}{
		{[]string{"version"}, 0, "volley dev", ""},
		{[]string{"--help"}, 0, "Usage:", ""},
		{[]string{"env"}, 0, "CLUSTER_CONFIG_SOURCE", ""},
		{[]string{"fly"}, 104, "", `unknown command "fly"`},
		{[]string{"validate"}, 104, "", "takes one plan"},
		{[]string{"run", "a.yaml", "b.yaml"}, 104, "", "one plan, not 2"},
		{[]string{"--config", "a.yaml", "b.yaml"}, 104, "", "one plan, not 2"},
		{[]string{"run", "--config"}, 104, "", "--config takes a plan"},
		{[]string{"--config="}, 104, "", "--config takes a plan"},
		{[]string{"run", "--bogus"}, 104, "", "run has no option --bogus"},
		{[]string{"demo", "--nodes", "5"}, 104, "", "demo takes no argument, not --nodes 5"},
		{[]string{"env", "CLUSTER_NODES"}, 104, "", "env takes no argument"},
		{[]string{"--version", "x"}, 104, "", "--version takes no argument"},
	} {
		var out, errOut bytes.Buffer
		if got := run(t.Context(), tt.args, &out, &errOut); got != tt.code {
			t.Errorf("%v: exit code %d, want %d", tt.args, got, tt.code)
		}
		if !strings.Contains(out.String(), tt.out) || !strings.Contains(errOut.String(), tt.err) {
			t.Errorf("%v prints %q and %q", tt.args, out.String(), errOut.String())
		}
	}
}
