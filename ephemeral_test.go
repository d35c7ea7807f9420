package main

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"volley/control"
	"volley/node"
	"volley/settings"
)

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
		if !strings.Contains(p.log.String(), `"message":"exit: ended by a signal, after its run","event":"exit","exit_code":0}`) {
			t.Errorf("the log does not say why it goes:\n%s", p.log)
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
	if _, answer := p.post("/config", planOf(web.URL, "/x", "1m", "")); answer["node_name"] != "Node One" || answer["node_id"] != "n" || answer["region"] != "local" {
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

// TestRegistrationKeepsCredentialsToItself, also when nobody answers.
func TestRegistrationKeepsCredentialsToItself(t *testing.T) {
	set := settings.Settings{}
	set.Registry.URL, set.Registry.Tags = "http://user:hush@127.0.0.1:1/web?k=hush", "{}"
	r, err := newRegistrar(set, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	err = r.register(t.Context())
	if err == nil || strings.Contains(err.Error()+r.shown, "hush") || !strings.Contains(r.shown, "127.0.0.1:1/web/api/v1/nodes/register") {
		t.Errorf("%v; shown as %q", err, r.shown)
	}
}
