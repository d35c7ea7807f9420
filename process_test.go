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
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"volley/control"
	"volley/settings"
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

// A shipped binary knows nothing of the variable that shifts its clock in tests,
// and what the e2e suite builds does.
func TestShippedBinaryHasNoClockShift(t *testing.T) {
	if testing.Short() {
		t.Skip("builds two binaries")
	}
	for _, tags := range []string{"", "e2e"} {
		binary := filepath.Join(t.TempDir(), "volley")
		build := exec.CommandContext(t.Context(), "go", "build", "-tags", tags, "-o", binary, ".")
		if out, err := build.CombinedOutput(); err != nil {
			t.Fatalf("build with tags %q: %v\n%s", tags, err, out)
		}
		content, err := os.ReadFile(binary)
		if err != nil {
			t.Fatal(err)
		}
		if knows := bytes.Contains(content, []byte("VOLLEY_TEST_CLOCK_SHIFT")); knows != (tags == "e2e") {
			t.Errorf("with tags %q the binary knows VOLLEY_TEST_CLOCK_SHIFT: %v", tags, knows)
		}
	}
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
	urls  []string // queries
}

func record(t *testing.T, status func(path string) int) *recorder {
	t.Helper()
	r := &recorder{}
	r.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		body, _ := io.ReadAll(req.Body)
		r.mu.Lock()
		r.asked = append(r.asked, strings.TrimSpace(req.Method+" "+req.URL.Path+" "+string(body)))
		r.urls = append(r.urls, req.URL.RawQuery)
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
