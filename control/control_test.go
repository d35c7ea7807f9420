package control

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"reflect"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"volley/page"
)

// fakeApp answers with what it is given and remembers what it was asked.
type fakeApp struct {
	submit   func(ctx context.Context, yaml []byte) (Accepted, error)
	stop     func(tenant *string) (Stopped, error)
	report   func(scope string) ([]byte, error)
	health   Health
	view     func() page.View
	draining bool

	mu       sync.Mutex
	stopped  []string
	received []string
}

func (a *fakeApp) Submit(ctx context.Context, yaml []byte) (Accepted, error) {
	a.mu.Lock()
	a.received = append(a.received, string(yaml))
	a.mu.Unlock()
	if a.submit != nil {
		return a.submit(ctx, yaml)
	}
	return Accepted{RunID: "run-1", ConfigVersion: "sha256:abc", NodeID: "n1"}, nil
}

func (a *fakeApp) Stop(_ context.Context, tenant *string) (Stopped, error) {
	a.mu.Lock()
	if a.stopped = append(a.stopped, "all"); tenant != nil {
		a.stopped[len(a.stopped)-1] = "tenant " + *tenant
	}
	a.mu.Unlock()
	if a.stop != nil {
		return a.stop(tenant)
	}
	return Stopped{RunID: "run-1", RPS: 10.127, Workers: 5, Message: "stopping run-1"}, nil
}

func (a *fakeApp) View(context.Context) page.View {
	if a.view != nil {
		return a.view()
	}
	return page.View{Plan: "shop"}
}

func (a *fakeApp) Report(_ context.Context, scope string) ([]byte, error) {
	if a.report != nil {
		return a.report(scope)
	}
	return []byte(`{"schema":"volley.result/1","run_id":"run-1","scope":"` + scope + `"}`), nil
}

func (a *fakeApp) Health(context.Context) Health { return a.health }

func (a *fakeApp) Cluster() (any, string, bool) {
	return map[string]any{"state": "forming", "server_id": "n1-00c0ffee"}, "n1-00c0ffee", a.draining
}

func (a *fakeApp) asked() (received, stopped []string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	return append([]string(nil), a.received...), append([]string(nil), a.stopped...)
}

func metricsHandler(t *testing.T) http.Handler {
	t.Helper()
	registry := prometheus.NewRegistry()
	counter := prometheus.NewCounter(prometheus.CounterOpts{Name: "volley_requests_total", Help: "requests"})
	registry.MustRegister(counter)
	counter.Add(42)
	return promhttp.HandlerFor(registry, promhttp.HandlerOpts{})
}

// serving runs one of the server's listeners until the test ends, and returns
// its base URL.
func serving(t *testing.T, run func(context.Context, net.Listener) error) string {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- run(ctx, ln) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("the server ended with %v", err)
		}
	})
	return "http://" + ln.Addr().String()
}

func server(t *testing.T, app *fakeApp, change func(*Options)) *Server {
	t.Helper()
	o := Options{App: app, Metrics: metricsHandler(t), Log: slog.New(slog.DiscardHandler)}
	if change != nil {
		change(&o)
	}
	s, err := New(o)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

type reply struct {
	status int
	header http.Header
	body   string
}

func (r reply) json(t *testing.T) map[string]any {
	t.Helper()
	if got := r.header.Get("Content-Type"); got != "application/json" {
		t.Errorf("Content-Type %q", got)
	}
	var value map[string]any
	if err := json.Unmarshal([]byte(r.body), &value); err != nil {
		t.Errorf("body %q: %v", r.body, err)
	}
	return value
}

// call sends a request with headers given as Name:value.
func call(t *testing.T, method, url, body string, headers ...string) reply {
	t.Helper()
	request, err := http.NewRequestWithContext(t.Context(), method, url, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	for _, header := range headers {
		name, value, given := strings.Cut(header, ":")
		if !given {
			continue
		}
		request.Header.Add(name, value)
	}
	client := &http.Client{Timeout: 10 * time.Second, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	defer client.CloseIdleConnections()
	response, err := client.Do(request)
	if err != nil {
		t.Fatalf("%s %s: %v", method, url, err)
	}
	defer response.Body.Close()
	content, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	return reply{response.StatusCode, response.Header, string(content)}
}

func TestPathsAndMethods(t *testing.T) {
	base := serving(t, server(t, &fakeApp{}, nil).Run)
	for _, test := range []struct {
		method, path string
		status       int
		allow        string
	}{
		{"GET", "/ready", 200, ""}, {"GET", "/readyz", 200, ""}, {"GET", "/healthz", 200, ""}, {"HEAD", "/ready", 200, ""},
		{"GET", "/health", 200, ""}, {"GET", "/health/cluster", 200, ""}, {"GET", "/metrics", 200, ""}, {"GET", "/", 200, ""},
		{"GET", "/report.json", 200, ""}, {"GET", "/report.html", 200, ""},
		{"POST", "/config", 202, ""}, {"POST", "/cluster/config", 202, ""}, {"POST", "/stop", 200, ""},
		{"GET", "/config", 405, "POST"}, {"PUT", "/config", 405, "POST"}, {"OPTIONS", "/config", 405, "POST"},
		{"HEAD", "/stop", 405, "POST"}, {"DELETE", "/stop", 405, "POST"},
		{"POST", "/health", 405, "GET, HEAD"}, {"POST", "/", 405, "GET, HEAD"}, {"PATCH", "/metrics", 405, "GET, HEAD"},
		{"GET", "/nothing", 404, ""}, {"POST", "/config/", 404, ""}, {"GET", "//health", 404, ""}, {"GET", "/health/../ready", 404, ""},
	} {
		got := call(t, test.method, base+test.path, "")
		if got.status != test.status || got.header.Get("Allow") != test.allow {
			t.Errorf("%s %s: %d, Allow %q, want %d, %q", test.method, test.path, got.status, got.header.Get("Allow"), test.status, test.allow)
		}
		if test.status >= 400 && test.method != "HEAD" && got.json(t)["error"] == "" {
			t.Errorf("%s %s: no error in %q", test.method, test.path, got.body)
		}
	}
}

func TestReady(t *testing.T) {
	base := serving(t, server(t, &fakeApp{}, func(o *Options) { o.Token, o.HealthAuth = "t0ken", true }).Run)
	if got := call(t, "GET", base+"/ready", ""); got.status != 200 || got.json(t)["ready"] != true {
		t.Errorf("/ready: %+v", got)
	}
}

// The token rules, for every endpoint, with and without HEALTH_AUTH_ENABLED.
func TestAuthentication(t *testing.T) {
	endpoints := []struct {
		method, path     string
		changing, always bool
		status           int
	}{
		{"GET", "/ready", false, true, 200}, {"GET", "/readyz", false, true, 200}, {"GET", "/health/cluster", false, true, 200},
		{"GET", "/", false, true, 200}, {"GET", "/health", false, false, 200}, {"GET", "/metrics", false, false, 200},
		{"GET", "/report.json", false, false, 200}, {"GET", "/report.html", false, false, 200},
		{"POST", "/config", true, false, 202}, {"POST", "/cluster/config", true, false, 202}, {"POST", "/stop", true, false, 200},
	}
	headers := map[string]bool{
		"": false, "Authorization:Bearer wrong": false, "Authorization:t0ken": false, "Authorization:Basic t0ken": false,
		"Authorization:Bearer": false, "Authorization:Bearer t0ken2": false, "Authorization:Bearer t0ken": true, "Authorization:bearer t0ken": true,
	}
	for _, set := range []struct {
		token      string
		healthAuth bool
	}{{"t0ken", false}, {"t0ken", true}, {"", true}} {
		app := &fakeApp{}
		base := serving(t, server(t, app, func(o *Options) { o.Token, o.HealthAuth = set.token, set.healthAuth }).Run)
		for _, e := range endpoints {
			for header, good := range headers {
				want := e.status
				if asked := e.changing || set.healthAuth && !e.always; asked && set.token != "" && !good {
					want = 401
				}
				got := call(t, e.method, base+e.path, "", header)
				if got.status != want {
					t.Errorf("%+v %s %s with %q: %d, want %d", set, e.method, e.path, header, got.status, want)
				}
				if want == 401 && (got.header.Get("WWW-Authenticate") != "Bearer" || got.json(t)["error"] != "unauthorized") {
					t.Errorf("%s %s: 401 without its form: %+v", e.method, e.path, got)
				}
			}
		}
	}
}

func TestRefusedRequestsReachNobody(t *testing.T) {
	app := &fakeApp{}
	base := serving(t, server(t, app, func(o *Options) { o.Token = "t0ken" }).Run)
	call(t, "POST", base+"/config", "plan")
	call(t, "POST", base+"/stop", "", "Authorization:Bearer t0ken", "Origin:https://evil.example")
	if received, stopped := app.asked(); len(received)+len(stopped) != 0 {
		t.Errorf("the app was asked: %q, %q", received, stopped)
	}
}

func TestForeignOrigins(t *testing.T) {
	base := serving(t, server(t, &fakeApp{}, nil).Run)
	own := "Origin:" + base
	for _, test := range []struct {
		headers []string
		want    int
	}{
		{nil, 202},
		{[]string{own}, 202},
		{[]string{own, "Sec-Fetch-Site:same-origin"}, 202},
		{[]string{"Sec-Fetch-Site:none"}, 202},
		{[]string{"Origin:https://evil.example"}, 403},
		{[]string{"Origin:null"}, 403},
		{[]string{own, "Sec-Fetch-Site:cross-site"}, 403},
		{[]string{"Sec-Fetch-Site:same-site"}, 403},
	} {
		for _, path := range []string{"/config", "/cluster/config", "/stop"} {
			want := test.want
			if path == "/stop" && want == 202 {
				want = 200
			}
			if got := call(t, "POST", base+path, "", test.headers...); got.status != want {
				t.Errorf("POST %s with %q: %d, want %d", path, test.headers, got.status, want)
			}
		}
	}
	if got := call(t, "GET", base+"/health", "", "Sec-Fetch-Site:cross-site", "Origin:https://evil.example"); got.status != 200 || got.header.Get("Access-Control-Allow-Origin") != "" {
		t.Errorf("a foreign GET: %+v", got)
	}
}

func TestConfigAccepted(t *testing.T) {
	app := &fakeApp{}
	base := serving(t, server(t, app, nil).Run)
	got := call(t, "POST", base+"/config", "version: 1.0\n", "Content-Type:text/plain")
	want := map[string]any{"status": "accepted", "run_id": "run-1", "config_version": "sha256:abc", "node_id": "n1"}
	if got.status != 202 || !reflect.DeepEqual(got.json(t), want) {
		t.Errorf("got %+v, want 202 %v", got, want)
	}
	if received, _ := app.asked(); !reflect.DeepEqual(received, []string{"version: 1.0\n"}) {
		t.Errorf("the app received %q", received)
	}
}

func TestConfigSize(t *testing.T) {
	app := &fakeApp{}
	base := serving(t, server(t, app, nil).Run)
	if got := call(t, "POST", base+"/config", strings.Repeat("x", MaxPlan)); got.status != 202 {
		t.Errorf("%d bytes: %d, want 202", MaxPlan, got.status)
	}
	for _, path := range []string{"/config", "/cluster/config", "/stop"} {
		got := call(t, "POST", base+path, strings.Repeat("x", MaxPlan+1))
		if got.status != 413 || got.json(t)["error"] != "body too large: at most 524288 bytes" {
			t.Errorf("%s with %d bytes: %+v", path, MaxPlan+1, got)
		}
	}
	request, err := http.NewRequestWithContext(t.Context(), "POST", base+"/config", io.LimitReader(endless{}, MaxPlan+1))
	if err != nil {
		t.Fatal(err)
	}
	response, err := http.DefaultClient.Do(request) // chunked: the length is not announced
	if err != nil {
		t.Fatal(err)
	}
	response.Body.Close()
	if response.StatusCode != 413 {
		t.Errorf("chunked: %d, want 413", response.StatusCode)
	}
	if received, _ := app.asked(); len(received) != 1 {
		t.Errorf("the app was asked %d times, want once", len(received))
	}
}

type endless struct{}

func (endless) Read(p []byte) (int, error) {
	for i := range p {
		p[i] = 'x'
	}
	return len(p), nil
}

func TestConfigRefused(t *testing.T) {
	for _, test := range []struct {
		err        error
		status     int
		retryAfter string
		body       string
	}{
		{fmt.Errorf("submit: %w", &InvalidPlanError{[]Problem{{3, 5, "load.target", "want a number"}, {9, 1, "", "unknown"}}}), 400, "",
			`{"errors":[{"line":3,"column":5,"path":"load.target","message":"want a number"},{"line":9,"column":1,"path":"","message":"unknown"}]}`},
		{&InvalidPlanError{}, 400, "", `{"errors":[]}`},
		{fmt.Errorf("%w: tenant blue runs", ErrConflict), 409, "", `{"error":"conflict: tenant blue runs"}`},
		{ErrTooLarge, 413, "", `{"error":"plan too large"}`},
		{fmt.Errorf("%w for 5s", ErrNoLeader), 503, "2", `{"error":"no leader for 5s"}`},
		{fmt.Errorf("%w: another run is in the way", ErrUnavailable), 503, "2", `{"error":"not now: another run is in the way"}`},
		{ErrDraining, 503, "2", `{"error":"shutting down"}`},
		{context.DeadlineExceeded, 503, "2", `{"error":"not done in time: whether it takes effect is not known"}`},
		{errors.New("disk on fire: password hunter2"), 500, "", `{"error":"internal error, see the node's log"}`},
	} {
		app := &fakeApp{submit: func(context.Context, []byte) (Accepted, error) { return Accepted{}, test.err }}
		base := serving(t, server(t, app, nil).Run)
		got := call(t, "POST", base+"/config", "x")
		if got.status != test.status || got.header.Get("Retry-After") != test.retryAfter || strings.TrimSpace(got.body) != test.body {
			t.Errorf("%v: got %d, Retry-After %q, %s\nwant %d, %q, %s", test.err, got.status, got.header.Get("Retry-After"), got.body, test.status, test.retryAfter, test.body)
		}
	}
}

func TestCallsHaveADeadline(t *testing.T) {
	var left time.Duration
	app := &fakeApp{submit: func(ctx context.Context, _ []byte) (Accepted, error) {
		deadline, _ := ctx.Deadline()
		left = time.Until(deadline)
		return Accepted{}, nil
	}}
	base := serving(t, server(t, app, nil).Run)
	call(t, "POST", base+"/config", "x")
	if left <= 0 || left > callTimeout {
		t.Errorf("%v left for the call, want more than 0 and at most %v", left, callTimeout)
	}
}

func TestStop(t *testing.T) {
	for _, test := range []struct {
		body   string
		status int
		asked  string // what the app was asked, "" for nothing
		tenant any
	}{
		{"", 200, "all", nil},
		{" \n", 200, "all", nil},
		{"{}", 200, "all", nil},
		{`{"tenant":null}`, 200, "all", nil},
		{`{"tenant":"blue"}`, 200, "tenant blue", "blue"},
		{`{"tenant":""}`, 200, "tenant ", ""},
		{`{"tenant":5}`, 400, "", nil},
		{`{"tennant":"blue"}`, 400, "", nil},
		{`tenant=blue`, 400, "", nil},
		{`null`, 400, "", nil},
		{`"blue"`, 400, "", nil},
		{`[]`, 400, "", nil},
		{`{"tenant":"blue"`, 400, "", nil},
		{`{"tenant":"blue"} {"tenant":"red"}`, 400, "", nil},
		{`{"tenant":"blue"}}`, 400, "", nil},
	} {
		app := &fakeApp{}
		base := serving(t, server(t, app, nil).Run)
		got := call(t, "POST", base+"/stop", test.body)
		_, stopped := app.asked()
		if got.status != test.status || strings.Join(stopped, ";") != test.asked {
			t.Errorf("%q: %d, asked %q, want %d, %q", test.body, got.status, stopped, test.status, test.asked)
			continue
		}
		want := map[string]any{"stopped": true, "tenant": test.tenant, "run_id": "run-1", "rps": 10.13, "workers": 5.0, "message": "stopping run-1"}
		if test.status == 400 {
			want = map[string]any{"error": `body not understood: want none, or {"tenant":"NAME"}`}
		}
		if !reflect.DeepEqual(got.json(t), want) {
			t.Errorf("%q answered %s, want %v", test.body, got.body, want)
		}
	}
}

func TestStopRefused(t *testing.T) {
	for _, test := range []struct {
		err    error
		status int
		body   string
	}{
		{fmt.Errorf("%w: tenant red runs", ErrConflict), 409, `{"message":"conflict: tenant red runs","stopped":false}`},
		{ErrNoLeader, 503, `{"error":"no leader"}`},
	} {
		app := &fakeApp{stop: func(*string) (Stopped, error) { return Stopped{}, test.err }}
		base := serving(t, server(t, app, nil).Run)
		if got := call(t, "POST", base+"/stop", `{"tenant":"blue"}`); got.status != test.status || strings.TrimSpace(got.body) != test.body {
			t.Errorf("%v: %d %s, want %d %s", test.err, got.status, got.body, test.status, test.body)
		}
	}
}

func waitFor(t *testing.T, condition func() bool) {
	t.Helper()
	deadline, tick := time.After(10*time.Second), time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for !condition() {
		select {
		case <-tick.C:
		case <-deadline:
			t.Fatal("waited 10 s in vain")
		}
	}
}
