package control

import (
	"context"
	"reflect"
	"strings"
	"sync"
	"testing"
)

func pointer[T any](value T) *T { return &value }

func running() Health {
	return Health{
		NodeID: "n1", NodeName: "one", Region: "eu", Tenant: pointer("blue"), RunID: "run-1", NodeState: StateRunning,
		RPS: 12.346, ErrorRatePct: 0.126, Workers: 7, MemoryMB: 12.34, TotalMemoryMB: 1024.06, CPUPct: 99.96,
		TimeRemainingSecs: 30, TestStartedAtUnix: pointer(int64(1700000000)), TestDurationSecs: pointer(int64(60)),
		TestPercentComplete: pointer(50.04), CurrentYAML: pointer("version: 1.0"),
	}
}

func TestHealth(t *testing.T) {
	full := map[string]any{
		"status": "ok", "node_id": "n1", "node_name": "one", "region": "eu", "ephemeral": false, "tenant": "blue", "run_id": "run-1",
		"node_state": "running", "rps": 12.35, "error_rate_pct": 0.13, "workers": 7.0, "memory_mb": 12.3, "total_memory_mb": 1024.1,
		"cpu_pct": 100.0, "time_remaining_secs": 30.0, "test_started_at_unix": 1700000000.0, "test_duration_secs": 60.0,
		"test_percent_complete": 50.0, "current_yaml": nil,
	}
	for _, test := range []struct {
		name, token string
		headers     []string
		change      func(*Health)
		want        map[string]any // differences from full
	}{
		{"running", "", nil, nil, nil},
		{"no token configured: the plan stays hidden", "", []string{"Authorization:Bearer "}, nil, nil},
		{"token not shown", "t0ken", nil, nil, nil},
		{"wrong token", "t0ken", []string{"Authorization:Bearer wrong"}, nil, nil},
		{"token shown", "t0ken", []string{"Authorization:Bearer t0ken"}, nil, map[string]any{"current_yaml": "version: 1.0"}},
		{"idle: nothing of a running test", "", nil, func(h *Health) { h.NodeState = StateIdle }, map[string]any{
			"node_state": "idle", "time_remaining_secs": 0.0, "test_started_at_unix": nil, "test_duration_secs": nil, "test_percent_complete": nil}},
		{"standby", "", nil, func(h *Health) { h.NodeState, h.Tenant = StateStandby, nil }, map[string]any{
			"node_state": "standby", "tenant": nil, "time_remaining_secs": 0.0, "test_started_at_unix": nil, "test_duration_secs": nil, "test_percent_complete": nil}},
		{"past its end", "", nil, func(h *Health) { h.TimeRemainingSecs, h.TestPercentComplete = -4, pointer(103.0) }, map[string]any{
			"time_remaining_secs": 0.0, "test_percent_complete": 100.0}},
		{"nothing measured yet", "", nil, func(h *Health) { zero := 0.0; h.ErrorRatePct, h.CPUPct = zero/zero, 1/zero }, map[string]any{
			"error_rate_pct": 0.0, "cpu_pct": 0.0}},
	} {
		t.Run(test.name, func(t *testing.T) {
			app := &fakeApp{health: running()}
			if test.change != nil {
				test.change(&app.health)
			}
			base := serving(t, server(t, app, func(o *Options) { o.Token = test.token }).Run)
			want := map[string]any{}
			for key, value := range full {
				want[key] = value
			}
			for key, value := range test.want {
				want[key] = value
			}
			if got := call(t, "GET", base+"/health", "", test.headers...); got.status != 200 || !reflect.DeepEqual(got.json(t), want) {
				t.Errorf("got %d %s\nwant %v", got.status, got.body, want)
			}
		})
	}
}

func TestHealthCluster(t *testing.T) {
	for _, test := range []struct {
		query    string
		draining bool
		status   int
		state    any
	}{
		{"", false, 200, "forming"},
		{"?server_id=n1-00c0ffee", false, 200, "forming"},
		{"?server_id=n1-deadbeef", false, 404, nil},
		{"?server_id=", false, 404, nil},
		{"?server_id=n1-deadbeef", true, 404, nil},
		{"?server_id=n1-00c0ffee", true, 503, "forming"},
		{"", true, 503, "forming"},
	} {
		base := serving(t, server(t, &fakeApp{draining: test.draining}, func(o *Options) { o.Token, o.HealthAuth = "t0ken", true }).Run)
		got := call(t, "GET", base+"/health/cluster"+test.query, "")
		if got.status != test.status || got.json(t)["state"] != test.state {
			t.Errorf("%q, draining %v: %d %s, want %d, state %v", test.query, test.draining, got.status, got.body, test.status, test.state)
		}
	}
}

func TestReport(t *testing.T) {
	app := &fakeApp{}
	base := serving(t, server(t, app, nil).Run)
	for query, want := range map[string]string{"": "", "?scope=node": "node", "?scope=cluster": "cluster"} {
		if got := call(t, "GET", base+"/report.json"+query, ""); got.status != 200 || got.json(t)["scope"] != want {
			t.Errorf("%q: %d %s, want scope %q", query, got.status, got.body, want)
		}
	}
	if got := call(t, "GET", base+"/report.json?scope=galaxy", ""); got.status != 400 {
		t.Errorf("unknown scope: %d", got.status)
	}
	empty := &fakeApp{report: func(string) ([]byte, error) { return nil, ErrNoResult }}
	base = serving(t, server(t, empty, nil).Run)
	if got := call(t, "GET", base+"/report.json", ""); got.status != 404 || got.json(t)["error"] != "no result yet" {
		t.Errorf("without a result: %+v", got)
	}
}

func TestMetricsOnBothListeners(t *testing.T) {
	for _, healthAuth := range []bool{false, true} {
		s := server(t, &fakeApp{}, func(o *Options) { o.Token, o.HealthAuth = "t0ken", healthAuth })
		bases := []string{serving(t, s.Run), serving(t, s.RunMetrics)}
		for _, base := range bases {
			got := call(t, "GET", base+"/metrics", "", "Authorization:Bearer t0ken")
			if got.status != 200 || !strings.Contains(got.body, "\nvolley_requests_total 42\n") {
				t.Errorf("%s: %d\n%s", base, got.status, got.body)
			}
			want := 200
			if healthAuth {
				want = 401
			}
			if got := call(t, "GET", base+"/metrics", ""); got.status != want {
				t.Errorf("%s without a token, HEALTH_AUTH_ENABLED %v: %d, want %d", base, healthAuth, got.status, want)
			}
		}
		for path, want := range map[string]int{"/health": 404, "/config": 404, "/": 404} {
			if got := call(t, "GET", bases[1]+path, ""); got.status != want {
				t.Errorf("%s on the metrics listener: %d, want %d", path, got.status, want)
			}
		}
	}
}

func TestPageAsksForNothingFromElsewhere(t *testing.T) {
	base := serving(t, server(t, &fakeApp{health: running()}, nil).Run)
	for path, want := range map[string]bool{"/": false, "/report.html": true} {
		got := call(t, "GET", base+path, "")
		if got.status != 200 || got.header.Get("Content-Type") != "text/html; charset=utf-8" || strings.Contains(got.body, "run-1") != want {
			t.Errorf("%s: %d, %q, has data: %v", path, got.status, got.header.Get("Content-Type"), !want)
		}
		policy := got.header.Get("Content-Security-Policy")
		for _, part := range []string{"default-src 'none'", "script-src 'sha256-", "style-src 'sha256-", "connect-src 'self'", "frame-ancestors 'none'"} {
			if !strings.Contains(policy, part) {
				t.Errorf("%s: the policy %q is without %q", path, policy, part)
			}
		}
		for _, alien := range []string{"http:", "https:", "src=", `href="/`, "unsafe"} {
			if body := strings.ReplaceAll(got.body, "http://www.w3.org/2000/svg", ""); strings.Contains(body, alien) {
				t.Errorf("%s contains %q", path, alien)
			}
		}
	}
}

func TestTooManyPosts(t *testing.T) {
	release := make(chan struct{})
	app := &fakeApp{submit: func(context.Context, []byte) (Accepted, error) { <-release; return Accepted{}, nil }}
	s := server(t, app, nil)
	base := serving(t, s.Run)
	var posts sync.WaitGroup
	for range maxChanging {
		posts.Go(func() {
			if got := call(t, "POST", base+"/config", "x"); got.status != 202 {
				t.Errorf("a post within the bound: %+v", got)
			}
		})
	}
	waitFor(t, func() bool { return len(s.changing) == maxChanging })
	if got := call(t, "POST", base+"/config", "x"); got.status != 503 || got.header.Get("Retry-After") != "2" {
		t.Errorf("one more post: %+v", got)
	}
	if got := call(t, "GET", base+"/health/cluster", ""); got.status != 200 {
		t.Errorf("reading meanwhile: %d", got.status)
	}
	close(release)
	posts.Wait()
}
