package main

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"
)

// send passes one request with a source address straight to a handler.
func send(h http.Handler, method, path, source string) *httptest.ResponseRecorder {
	request := httptest.NewRequest(method, path, nil)
	request.RemoteAddr = source + ":1234"
	request.Header.Set(nodeHeader, "a")
	recorder := httptest.NewRecorder()
	h.ServeHTTP(recorder, request)
	return recorder
}

func read(t *testing.T, h http.Handler, path string, out any) {
	t.Helper()
	if err := json.Unmarshal(send(h, http.MethodGet, path, "test").Body.Bytes(), out); err != nil {
		t.Fatal(err)
	}
}

func TestTargetCountsBySource(t *testing.T) {
	now := time.Unix(100, 0)
	target := newTarget(func() time.Time { now = now.Add(time.Nanosecond); return now })
	send(target, http.MethodGet, "/x", "10.0.0.1")
	send(target, http.MethodPost, "/x", "10.0.0.2")
	send(target, http.MethodGet, "/x", "10.0.0.1")
	var stats targetStats
	read(t, target, "/_stats?arrivals=1", &stats)
	one := stats.Sources["10.0.0.1"]
	if stats.Total != 3 || one.Total != 2 || one.LastNS-one.FirstNS != 2 || len(one.Nodes) != 1 {
		t.Errorf("counted %d, of 10.0.0.1 %+v", stats.Total, one)
	}
	if stats.Requests["GET /x"] != 2 || stats.Requests["POST /x"] != 1 || stats.Arrivals[1].Source != "10.0.0.2" {
		t.Errorf("requests %v, arrivals %v", stats.Requests, stats.Arrivals)
	}
	send(target, http.MethodPost, "/_reset", "10.0.0.1")
	read(t, target, "/_stats", &stats)
	if stats.Total != 0 {
		t.Errorf("total %d after a reset, want 0", stats.Total)
	}
}

func TestTargetIsBounded(t *testing.T) {
	target := newTarget(time.Now)
	const requests = 3000
	for i := range requests {
		send(target, http.MethodGet, fmt.Sprintf("/%d", i), fmt.Sprintf("10.0.%d.%d", i/250, i%250))
	}
	var stats targetStats
	read(t, target, "/_stats", &stats)
	if len(stats.Sources) != maxSources+1 || len(stats.Requests) != maxPaths+1 {
		t.Errorf("kept %d sources and %d paths, want %d and %d", len(stats.Sources), len(stats.Requests), maxSources+1, maxPaths+1)
	}
	if stats.Total != requests || stats.Sources["other"].Total != requests-maxSources {
		t.Errorf("counted %d, other %d; want %d and %d", stats.Total, stats.Sources["other"].Total, requests, requests-maxSources)
	}
}

func TestTargetWishes(t *testing.T) {
	for path, want := range map[string]struct {
		status int
		delay  time.Duration
	}{
		"/":                      {200, 0},
		"/status/503":            {503, 0},
		"/delay/50ms":            {200, 50 * time.Millisecond},
		"/delay/2s/status/404":   {404, 2 * time.Second},
		"/delay/-1s/status/9999": {200, 0},
		"/delay/1000h":           {200, time.Minute},
	} {
		if status, delay := wish(path); status != want.status || delay != want.delay {
			t.Errorf("%s: status %d, delay %v; want %v", path, status, delay, want)
		}
	}
}

// play sends one object read through a proxy in a mode.
func play(t *testing.T, p *gcsProxy, control proxyControl) int {
	t.Helper()
	p.control = control
	return send(p, http.MethodGet, "/storage/v1/b/plans/o/plan.yaml?alt=media", "10.0.0.1").Code
}

func TestProxyPlays(t *testing.T) {
	upstream := http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusTeapot) })
	p := newGCSProxy("", upstream)
	for mode, want := range map[string]int{
		modeOK: 418, modeUnauthorized: 401, modeForbidden: 403, modeHidden: 404, modeRateLimited: 429, modeUnavailable: 503, modeSlow: 418,
	} {
		if got := play(t, p, proxyControl{Mode: mode}); got != want {
			t.Errorf("mode %s: status %d, want %d", mode, got, want)
		}
	}
	if got := play(t, p, proxyControl{Mode: modeUnavailable, Times: 1}); got != 503 || p.control.Mode != modeOK {
		t.Errorf("status %d, then mode %s; want 503 and ok", got, p.control.Mode)
	}
	if p.stats.ObjectGets != 8 || p.stats.Requests != 8 {
		t.Errorf("counted %+v, want 8 reads", p.stats)
	}
	strict := newGCSProxy("right", upstream)
	if got := play(t, strict, proxyControl{Mode: modeOK}); got != 401 || strict.stats.Unauthorized != 1 || strict.stats.ObjectGets != 0 {
		t.Errorf("without token: status %d, %+v", got, strict.stats)
	}
}
