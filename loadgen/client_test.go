package loadgen_test

import (
	"fmt"
	"net"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"volley/loadgen"
	"volley/stats"
)

// once is a plan of one worker that goes through its steps at least once.
const once = `
version: "1.0"
config: {baseUrl: "$BASE", workers: 1, duration: DURATION, CONFIG}
load: {model: concurrent}
scenarios: [{name: s, steps: STEPS}]
`

// runOnce runs the steps at least once and returns the final summary.
func runOnce(t *testing.T, config, steps, base string) *stats.Summary {
	t.Helper()
	leavesNothing(t)
	// On a machine under stress a short run may be over before it begins.
	for _, duration := range []string{"100ms", "1s", "5s"} {
		if s := runFor(t, duration, config, steps, base); s.Started > 0 {
			return s
		}
	}
	t.Fatal("no iteration was started")
	return nil
}

func runFor(t *testing.T, duration, config, steps, base string) *stats.Summary {
	t.Helper()
	log, _ := testLog()
	e := loadgen.NewInProcess(log)
	document := strings.NewReplacer("DURATION", duration, "CONFIG", config, "STEPS", steps).Replace(once)
	prepare(t, e, job("r", document, base))
	s, err := e.Run(t.Context(), "r", time.Now().Add(50*time.Millisecond), nil)
	if err != nil {
		t.Fatal(err)
	}
	if s.Started != s.Completed {
		t.Fatalf("started %d, completed %d", s.Started, s.Completed)
	}
	return s
}

func TestRequestsLookAsThePlanSays(t *testing.T) {
	target := newTarget(t, ok)
	runOnce(t, `customHeaders: "X-All: common, X-Own: common, Accept: text/plain"`, `[
	  {request: {method: get, path: "//search?q=Laptop Pro 15&x=%41%", queryParams: {b: "1 & 2", a: "ü"}}},
	  {request: {method: PATCH, path: "/ü/a b%2Fc#part", headers: {x-own: own, Host: other.example, User-Agent: me/1}, body: '{"a":1}'}},
	  {request: {method: POST, path: $BASE/full, headers: {Content-Type: text/x}}},
	  {request: {method: DELETE, path: /gone}}]`, target.URL+"/base/")
	calls := target.all()
	for i, want := range []string{
		"GET /base/search?q=Laptop%20Pro%2015&x=%41%25&b=1+%26+2&a=%C3%BC", "PATCH /base/%C3%BC/a%20b%2Fc", "POST /base//full", "DELETE /base/gone",
	} {
		if got := calls[i].method + " " + calls[i].path; got != want {
			t.Errorf("request %d is %q, want %q", i, got, want)
		}
	}
	get, patch, post := calls[0], calls[1], calls[2]
	want := http.Header{"Accept": {"text/plain"}, "X-All": {"common"}, "X-Own": {"common"}}
	if fmt.Sprint(get.header) != fmt.Sprint(want) {
		t.Errorf("headers %v, want %v and no other", get.header, want)
	}
	if patch.host != "other.example" || patch.header.Get("X-Own") != "own" || patch.header.Get("User-Agent") != "me/1" || patch.bodyText != `{"a":1}` {
		t.Errorf("PATCH has host %q, headers %v, body %q", patch.host, patch.header, patch.bodyText)
	}
	if h := patch.header; h.Get("Content-Type") != "" || h.Get("Content-Length") != "7" {
		t.Errorf("PATCH has headers %v", h)
	}
	if post.header.Get("Content-Type") != "text/x" || post.header.Get("Content-Length") != "0" {
		t.Errorf("POST has headers %v", post.header)
	}
}

func TestDefaultHeadersAreThePredecessors(t *testing.T) {
	target := newTarget(t, ok)
	runOnce(t, "", `[{request: {method: GET, path: /}}]`, target.URL)
	if got, want := fmt.Sprint(target.all()[0].header), "map[Accept:[*/*]]"; got != want {
		t.Errorf("headers %s, want %s", got, want)
	}
}

func status(w http.ResponseWriter, r *http.Request) {
	var code int
	_, _ = fmt.Sscanf(r.URL.Path, "/%d", &code)
	w.WriteHeader(code)
}

func TestAResponseIsJudgedByItsStatusAndTheAssertions(t *testing.T) {
	is := func(expected string) string { return "assertions: [{type: statusCode, expected: " + expected + "}]" }
	not := func(expected string) string {
		return "assertions: [{type: statusCode, expected: " + expected + ", not: true}]"
	}
	for _, tc := range []struct {
		code   int
		assert string
		want   stats.ErrorKind
	}{
		{200, "", stats.ErrNone},
		{304, "", stats.ErrNone},
		{404, "", stats.ErrClient},
		{503, "", stats.ErrServer},
		{600, "", stats.ErrOther},
		{404, is("404"), stats.ErrNone},
		{404, is("4xx"), stats.ErrNone},
		{404, is("[200, 5xx]"), stats.ErrClient},
		{500, is("200"), stats.ErrServer},
		{200, is("404"), stats.ErrAssertion},
		{201, is("[200, 201]"), stats.ErrNone},
		{404, not("5xx"), stats.ErrNone},
		{500, not("5xx"), stats.ErrServer},
		{200, not("2xx"), stats.ErrAssertion},
	} {
		target := newTarget(t, status)
		s := runOnce(t, "", fmt.Sprintf("[{request: {method: GET, path: /%d}, %s}]", tc.code, tc.assert), target.URL)
		want := [len(s.Errors)]int64{}
		if tc.want != stats.ErrNone {
			want[tc.want] = s.Requests
		}
		if s.Errors != want || s.StatusCodes()[tc.code] != s.Requests || s.LatencyOK.Count() != s.Requests-s.ErrorCount() {
			t.Errorf("%d with %q: errors %v, want %v; codes %v, ok %d", tc.code, tc.assert, s.Errors, want, s.StatusCodes(), s.LatencyOK.Count())
		}
		asserted := s.Steps[0].AssertionsPassed + s.Steps[0].AssertionsFailed
		if (asserted == s.Requests) != (tc.assert != "") {
			t.Errorf("%d with %q: %d assertions in %d requests", tc.code, tc.assert, asserted, s.Requests)
		}
	}
}

func TestAnIterationEndsAtAFailedStepUnlessItMayContinue(t *testing.T) {
	for continues, want := range map[string]int64{"false": 0, "true": 1} {
		target := newTarget(t, status)
		s := runOnce(t, "", `[{request: {method: GET, path: /200}}, {request: {method: GET, path: /500}, continueOnFailure: `+continues+`}, {request: {method: GET, path: /201}}]`, target.URL)
		if s.Steps[2].Requests != want*s.Started || s.Scenarios[0].Failed != s.Started {
			t.Errorf("continueOnFailure %s: third step sent %d times in %d iterations, %d failed", continues, s.Steps[2].Requests, s.Started, s.Scenarios[0].Failed)
		}
	}
}

func TestRedirectsAreFollowedAndCountedAsHops(t *testing.T) {
	target := newTarget(t, func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/post":
			http.Redirect(w, r, "/keep", http.StatusTemporaryRedirect)
		case "/keep":
			http.Redirect(w, r, "/get", http.StatusSeeOther)
		case "/loop":
			http.Redirect(w, r, "/loop", http.StatusFound)
		}
	})
	s := runOnce(t, "maxRedirects: 3", `[{request: {method: POST, path: /post, body: abc}}, {request: {method: GET, path: /loop}}]`, target.URL)
	n := int64(s.Started)
	if s.Requests != 7*n || s.Steps[0].Requests != 3*n || s.Latency.Count() != 2*n || s.Service.Count() != 7*n || s.ErrorCount() != 0 {
		t.Errorf("%d iterations: %d requests, %d latencies, %d service times, %d errors", n, s.Requests, s.Latency.Count(), s.Service.Count(), s.ErrorCount())
	}
	calls := target.all()
	for i, want := range []string{"POST /post 3", "POST /keep 3", "GET /get 0", "GET /loop 0"} {
		if got := fmt.Sprint(calls[i].method, " ", calls[i].path, " ", calls[i].body); got != want {
			t.Errorf("hop %d is %q, want %q", i, got, want)
		}
	}
}

func TestCredentialsDoNotFollowARedirectToAnotherHost(t *testing.T) {
	other := newTarget(t, ok)
	elsewhere := strings.Replace(other.URL, "127.0.0.1", "localhost", 1)
	target := newTarget(t, func(w http.ResponseWriter, r *http.Request) {
		to := other.URL // another port is the same host, as in net/http
		if r.URL.Path == "/" {
			to = elsewhere
		}
		http.Redirect(w, r, to+r.URL.Path, http.StatusFound)
	})
	runOnce(t, "", `[{request: {method: GET, path: /, headers: {Authorization: secret, Cookie: a=b, X-Id: "1"}}},
	  {request: {method: GET, path: /same, headers: {Authorization: secret, Cookie: a=b}}}]`, target.URL)
	h, same := other.all()[0].header, other.all()[1].header
	if h.Get("Authorization") != "" || h.Get("Cookie") != "" || h.Get("X-Id") != "1" {
		t.Errorf("the other host got %v", h)
	}
	if same.Get("Authorization") != "secret" || same.Get("Cookie") != "a=b" {
		t.Errorf("the same host got %v", same)
	}
}

func TestCookiesLiveAsLongAsThePlanSays(t *testing.T) {
	for mode, want := range map[string][]string{
		"iteration": {"", "own=1; c=1", "c=1", ""},
		"worker":    {"", "own=1; c=1", "c=1", "c=1"},
		"off":       {"", "own=1", "", ""},
	} {
		target := newTarget(t, func(w http.ResponseWriter, _ *http.Request) { w.Header().Set("Set-Cookie", "c=1") })
		// Long enough for a second iteration on any machine.
		runFor(t, "500ms", "cookies: "+mode, `[{request: {method: GET, path: /in}}, {request: {method: GET, path: /a, headers: {Cookie: own=1}}}, {request: {method: GET, path: /b}}]`, target.URL)
		var got []string
		for _, c := range target.all()[:4] {
			got = append(got, c.header.Get("Cookie"))
		}
		if fmt.Sprint(got) != fmt.Sprint(want) {
			t.Errorf("cookies %s: %q, want %q", mode, got, want)
		}
	}
}

func TestConnectionsLiveAsLongAsThePlanSays(t *testing.T) {
	steps := `[{request: {method: GET, path: /1}}, {request: {method: GET, path: /2}}]`
	for config, perIteration := range map[string]int64{
		"connections: worker": 0, "connections: request": 2, "connections: iteration": 1,
		"pool: {maxIdlePerHost: 0}": 2, "pool: {idleTimeoutSecs: 0}": 2, "pool: {maxIdlePerHost: 5}": 0,
	} {
		target := newTarget(t, ok)
		s := runOnce(t, config, steps, target.URL)
		want := max(perIteration*s.Started, 1)
		if s.ConnsNew != want || int64(target.connections()) != want || s.ConnsNew+s.ConnsReused != s.Requests || s.Reconnects != 0 {
			t.Errorf("%s: %d new, %d reused, %d reconnects in %d iterations; want %d new", config, s.ConnsNew, s.ConnsReused, s.Reconnects, s.Started, want)
		}
	}
}

func TestAConnectionThatTheTargetClosesIsAReconnect(t *testing.T) {
	target := newTarget(t, func(w http.ResponseWriter, _ *http.Request) { w.Header().Set("Connection", "close") })
	s := runOnce(t, "", `[{request: {method: GET, path: /}}]`, target.URL)
	if s.ConnsNew != s.Requests || s.Reconnects != s.Requests-1 {
		t.Errorf("%d requests: %d new connections, %d reconnects", s.Requests, s.ConnsNew, s.Reconnects)
	}
}

func TestTLSIsVerifiedUnlessThePlanSaysOtherwise(t *testing.T) {
	steps := `[{request: {method: GET, path: /}}]`
	target := newTLSTarget(t, ok)
	if s := runOnce(t, "skipTlsVerify: true", steps, target.URL); s.ErrorCount() != 0 || s.Requests != int64(len(target.all())) {
		t.Errorf("skipTlsVerify: %d errors, %d requests of %d", s.ErrorCount(), s.Requests, len(target.all()))
	}
	before := len(target.all())
	if s := runOnce(t, "", steps, target.URL); s.Errors[stats.ErrTLS] != s.Requests || len(target.all()) != before {
		t.Errorf("verified: %d requests, errors %v, %d reached the target", s.Requests, s.Errors, len(target.all())-before)
	}
}

func TestResolveTargetAddrLeadsElsewhere(t *testing.T) {
	target := newTarget(t, ok)
	u, _ := url.Parse(target.URL)
	s := runOnce(t, `resolveTargetAddr: "no.such.host.invalid:127.0.0.1:`+u.Port()+`"`, `[{request: {method: GET, path: /}}]`, "http://no.such.host.invalid")
	if s.ErrorCount() != 0 || target.all()[0].host != "no.such.host.invalid" {
		t.Errorf("%d errors, host %q", s.ErrorCount(), target.all()[0].host)
	}
	// A port in the URL wins over that of the override.
	s = runOnce(t, `resolveTargetAddr: "no.such.host.invalid:127.0.0.1:1"`, `[{request: {method: GET, path: /}}]`, "http://no.such.host.invalid:"+u.Port())
	if s.ErrorCount() != 0 {
		t.Errorf("with a port in the URL: errors %v", s.Errors)
	}
}

func TestALookupThatFailsIsANetworkError(t *testing.T) {
	s := runOnce(t, "", `[{request: {method: GET, path: /}, timeout: 2s}]`, "http://no.such.host.invalid")
	if s.Errors[stats.ErrNetwork]+s.Errors[stats.ErrTimeout] != s.Requests || s.BytesOut != 0 {
		t.Errorf("errors %v in %d requests", s.Errors, s.Requests)
	}
}

func TestAResponseThatBreaksOffIsANetworkError(t *testing.T) {
	target := newTarget(t, func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Length", "100")
		fmt.Fprint(w, "half")
		panic(http.ErrAbortHandler)
	})
	s := runOnce(t, "", `[{request: {method: GET, path: /}}]`, target.URL)
	if s.Errors[stats.ErrNetwork] != s.Requests || len(s.StatusCodes()) != 0 || s.Service.Count() != 0 {
		t.Errorf("%d requests: errors %v, codes %v, %d service times", s.Requests, s.Errors, s.StatusCodes(), s.Service.Count())
	}
}

// TestConnectionsAreOpenBeforeTheStart looks at the target during the lead.
func TestConnectionsAreOpenBeforeTheStart(t *testing.T) {
	for name, newOne := range map[string]func(*testing.T, answer) *seen{"http": newTarget, "https": newTLSTarget} {
		t.Run(name, func(t *testing.T) {
			leavesNothing(t)
			target := newOne(t, ok)
			log, _ := testLog()
			e := loadgen.NewInProcess(log)
			document := strings.NewReplacer("workers: 3", "workers: 20, skipTlsVerify: true", "20s", "200ms").Replace(slowPlan)
			prepare(t, e, job("r", document, target.URL))
			start := time.Now().Add(1500 * time.Millisecond)
			early := make(chan int, 1)
			timer := time.AfterFunc(1450*time.Millisecond, func() { early <- target.connections() })
			defer timer.Stop()
			s, err := e.Run(t.Context(), "r", start, nil)
			if err != nil {
				t.Fatal(err)
			}
			if n := <-early; n != 20 || target.connections() != 20 || s.ConnsNew != 20 || s.Reconnects != 0 {
				t.Errorf("%d connections just before the start, %d in all, %d counted; want 20", n, target.connections(), s.ConnsNew)
			}
			if first := target.all()[0].at; first.Before(start) {
				t.Errorf("a request was sent %v before the start", start.Sub(first))
			}
		})
	}
}

// TestAReadyConnectionThatDiedIsReplaced: the target closes what is idle before
// the first request.
func TestAReadyConnectionThatDiedIsReplaced(t *testing.T) {
	leavesNothing(t)
	target := unstarted(ok)
	target.Config.ReadHeaderTimeout = 50 * time.Millisecond
	target.Start()
	t.Cleanup(target.Close)
	log, _ := testLog()
	e := loadgen.NewInProcess(log)
	prepare(t, e, job("r", strings.Replace(slowPlan, "20s", "100ms", 1), target.URL))
	s, err := e.Run(t.Context(), "r", time.Now().Add(500*time.Millisecond), nil)
	if err != nil || s.ErrorCount() != 0 || target.connections() != 6 {
		t.Errorf("%v, errors %v, %d connections; want 3 that were closed and 3 more", err, s.Errors, target.connections())
	}
}

func TestServiceTimeLeavesConnectingOut(t *testing.T) {
	leavesNothing(t)
	// A TLS target whose handshake begins late: the listener dawdles.
	target := unstarted(ok)
	target.Listener = dawdler{target.Listener}
	target.StartTLS()
	t.Cleanup(target.Close)
	log, _ := testLog()
	e := loadgen.NewInProcess(log)
	document := strings.NewReplacer("workers: 3", "workers: 1, skipTlsVerify: true, connections: request", "20s", "100ms").Replace(slowPlan)
	prepare(t, e, job("r", document, target.URL))
	s, err := e.Run(t.Context(), "r", time.Now(), nil)
	if err != nil || s.ErrorCount() != 0 {
		t.Fatalf("%v, errors %v", err, s.Errors)
	}
	if s.Latency.Min() < 100*time.Millisecond || s.Service.Min() > 100*time.Millisecond {
		t.Errorf("latency %v and service time %v; want connecting in the former alone", s.Latency.Min(), s.Service.Min())
	}
	// What the target sees first is the first byte, which had to wait as well.
	if skew, sent := s.StartSkew(); !sent || skew < 100*time.Millisecond {
		t.Errorf("start skew %v, want that of the first byte", skew)
	}
}

// The predecessor's scenarios measured up to the head of a response.
func TestServiceTimeEndsWithTheLastByte(t *testing.T) {
	leavesNothing(t)
	target := newTarget(t, func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprint(w, "first")
		w.(http.Flusher).Flush()
		select {
		case <-time.After(100 * time.Millisecond):
		case <-r.Context().Done():
		}
		fmt.Fprint(w, "last")
	})
	log, _ := testLog()
	for name, assertion := range map[string]string{"unread": "", "read": ", assertions: [{type: bodyContains, text: firstlast}]"} {
		e := loadgen.NewInProcess(log)
		document := strings.NewReplacer("workers: 3", "workers: 1", "20s", "100ms", "path: /}", "path: /}"+assertion).Replace(slowPlan) + "metrics: {phases: true}\n"
		prepare(t, e, job("r", document, target.URL))
		s, err := e.Run(t.Context(), "r", time.Now().Add(lead), nil)
		if err != nil || s.ErrorCount() != 0 || s.Requests == 0 {
			t.Fatalf("%s: %v, %d requests, errors %v", name, err, s.Requests, s.Errors)
		}
		if s.Service.Min() < 100*time.Millisecond || s.Latency.Min() < 100*time.Millisecond {
			t.Errorf("%s: service time %v, latency %v; the last byte comes after 100 ms", name, s.Service.Min(), s.Latency.Min())
		}
		if first := s.Phases[3].Min(); first >= 100*time.Millisecond || first <= 0 {
			t.Errorf("%s: the first byte after %v", name, first)
		}
	}
}

// dawdler reads the first bytes of a connection 100 ms late.
type dawdler struct{ net.Listener }

type lateConn struct {
	net.Conn
	from time.Time
}

func (d dawdler) Accept() (net.Conn, error) {
	c, err := d.Listener.Accept()
	return &lateConn{c, time.Now().Add(100 * time.Millisecond)}, err
}

func (c *lateConn) Read(b []byte) (int, error) {
	if d := time.Until(c.from); d > 0 {
		<-time.After(d)
	}
	return c.Conn.Read(b)
}

// Where each request has a place in the schedule, the wait of a redirect's for its
// own is none of the time that the target has.
func TestARedirectsWaitForItsPlaceIsNotTheTargets(t *testing.T) {
	for _, client := range []string{"own", "std"} {
		target := newTarget(t, func(w http.ResponseWriter, r *http.Request) {
			if r.URL.Path == "/" {
				http.Redirect(w, r, "/there", http.StatusFound)
			}
		})
		log, _ := testLog()
		e := loadgen.NewInProcess(log)
		prepare(t, e, job("r", `version: "1.0"
config: {baseUrl: "$BASE", workers: 20, duration: 3s, timeout: 400ms, client: `+client+`}
load: {model: rps, target: 20, unit: requests}
scenarios: [{name: s, steps: [{request: {method: GET, path: /}}]}]
`, target.URL))
		s, err := e.Run(t.Context(), "r", time.Now().Add(50*time.Millisecond), nil)
		if err != nil {
			t.Fatal(err)
		}
		if n := target.paths()["GET /there"]; s.ErrorCount() != 0 || n < 10 {
			t.Errorf("client %s: %d requests, %d of them redirected, errors %v", client, s.Requests, n, s.Errors)
		}
	}
}
