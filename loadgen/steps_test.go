package loadgen_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"math"
	"math/big"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"volley/loadgen"
	"volley/stats"
)

// slack is what a machine under stress may add to a wait.
const slack = 400 * time.Millisecond

func TestThinkTimeComesAfterEachStep(t *testing.T) {
	target := newTarget(t, ok)
	gaps := func(think string, scale float64) (between, after time.Duration, s *stats.Summary) {
		before := len(target.all())
		s, _ = outing{
			length: "350ms", alter: func(j *loadgen.Job) { j.Client.ThinkTimeScale = scale },
			steps: `[{request: {method: GET, path: /a}, thinkTime: ` + think + `}, {request: {method: GET, path: /b}, thinkTime: ` + think + `}]`,
		}.run(t, target.URL)
		c := target.all()[before:]
		return c[1].at.Sub(c[0].at), c[2].at.Sub(c[1].at), s
	}
	for _, tc := range []struct {
		think  string
		scale  float64
		lo, hi time.Duration
	}{
		{"100ms", 1, 100 * time.Millisecond, 100 * time.Millisecond},
		{"{min: 50ms, max: 120ms}", 1, 50 * time.Millisecond, 120 * time.Millisecond},
		{"1s", 0.1, 100 * time.Millisecond, 100 * time.Millisecond},
		{"1s", 0, 0, 0},
	} {
		between, after, s := gaps(tc.think, tc.scale)
		for _, gap := range []time.Duration{between, after} {
			if gap < tc.lo-time.Millisecond || gap > tc.hi+slack {
				t.Errorf("thinkTime %s, scale %v: %v between requests, want %v to %v", tc.think, tc.scale, gap, tc.lo, tc.hi)
			}
		}
		// It is in the iteration's time, not in the latency.
		if s.IterationTime.Min() < 2*tc.lo || s.Steps[1].Latency.Min() > 45*time.Millisecond || s.ErrorCount() != 0 {
			t.Errorf("thinkTime %s: iterations from %v, latency of the second step from %v", tc.think, s.IterationTime.Min(), s.Steps[1].Latency.Min())
		}
	}
}

// TestThinkTimeAfterTheLastStepIsNoInterruption: the end of the run does not
// lose an iteration that has nothing left but to think. Nobody thinks about a
// step that failed.
func TestThinkTimeAfterTheLastStepIsNoInterruption(t *testing.T) {
	target := newTarget(t, status)
	s, _ := outing{config: "gracefulStop: 0s", steps: `[{request: {method: GET, path: /200}, thinkTime: 1h}]`}.run(t, target.URL)
	if s.Started != 1 || s.Completed != 1 || s.Interrupted != 0 || s.Elapsed > time.Minute {
		t.Errorf("started %d, completed %d, interrupted %d after %v", s.Started, s.Completed, s.Interrupted, s.Elapsed)
	}
	s, _ = outing{steps: `[{request: {method: GET, path: /500}, thinkTime: 1h}]`}.run(t, target.URL)
	if s.Started < 2 {
		t.Errorf("a failed step is thought about: %d iterations", s.Started)
	}
}

func TestACachedStepSparesItsRequests(t *testing.T) {
	var logins atomic.Int64
	for _, tc := range []struct {
		cache, code, extract string
		want                 string // what the second step sends
		most, least          int64  // logins in some iterations
	}{
		{"cache: {ttl: 1h}", "200", "{type: jsonPath, name: token, jsonPath: $.token}", "t1", 1, 1},
		{"cache: {ttl: 0s}", "200", "{type: jsonPath, name: token, jsonPath: $.token}", "t1", math.MaxInt64, 2},
		{"timeout: 9s", "200", "{type: jsonPath, name: token, jsonPath: $.token}", "t1", math.MaxInt64, 2},
		{"cache: {ttl: 1h}", "404", "{type: jsonPath, name: token, jsonPath: $.token}", "t1", math.MaxInt64, 2},
		{"cache: {ttl: 1h}", "200", "{type: jsonPath, name: token, jsonPath: $.nope}", "${token}", math.MaxInt64, 2},
		{"cache: {ttl: 1h}", "200", "{type: jsonPath, name: token, jsonPath: $.nope, default: d}", "d", math.MaxInt64, 2},
		{"cache: {ttl: 1h}", "200", "", "${token}", math.MaxInt64, 2}, // there is nothing to keep
	} {
		logins.Store(0)
		target := newTarget(t, func(w http.ResponseWriter, r *http.Request) {
			if strings.HasPrefix(r.URL.Path, "/login") {
				if strings.HasSuffix(r.URL.Path, "404") {
					w.WriteHeader(http.StatusNotFound)
				}
				fmt.Fprintf(w, `{"token": "t%d"}`, logins.Add(1))
			}
		})
		s, _ := outing{length: "200ms", steps: `[{name: x, request: {method: POST, path: /login` + tc.code + `}, continueOnFailure: true, ` + tc.cache + `, extract: [` + tc.extract + `]},
		  {name: y, request: {method: PUT, path: /, body: "${token}"}}]`}.run(t, target.URL)
		n := logins.Load()
		if s.Started < 3 || n < tc.least || n > tc.most || n != s.Steps[0].Requests || s.Steps[0].Latency.Count() != n || s.Steps[1].Requests != s.Started {
			t.Errorf("%v: %d logins in %d iterations, step counts %d", tc, n, s.Started, s.Steps[0].Requests)
		}
		first := ""
		for _, c := range target.all() {
			if c.method == "PUT" && first == "" {
				first = c.bodyText
			}
			if c.method == "PUT" && tc.most == 1 && c.bodyText != tc.want {
				t.Fatalf("%v: a later iteration sends %q", tc, c.bodyText)
			}
		}
		if first != tc.want {
			t.Errorf("%v: the second step sends %q, want %q", tc, first, tc.want)
		}
	}
}

func TestRetriesRepairWhatFails(t *testing.T) {
	for _, tc := range []struct {
		retries, fails int // so many attempts in all, 99 for each
		how            string
		requests       int64 // of a step
		retried        int64
		kind           stats.ErrorKind
		errors         int64
	}{
		{2, 2, "503", 3, 2, stats.ErrNone, 0},
		{2, 99, "503", 3, 0, stats.ErrServer, 3},
		{0, 99, "503", 1, 0, stats.ErrServer, 1},
		{3, 1, "break", 2, 1, stats.ErrNone, 0},
		{1, 99, "break", 2, 0, stats.ErrNetwork, 2},
		{1, 1, "hang", 2, 1, stats.ErrNone, 0},
		{5, 99, "404", 1, 0, stats.ErrClient, 1}, // only what may be better next time
		{5, 99, "wrong", 1, 0, stats.ErrAssertion, 1},
	} {
		var n atomic.Int64
		target := newTarget(t, func(w http.ResponseWriter, r *http.Request) {
			attempt := n.Add(1)
			if attempt > int64(tc.fails) && tc.fails < 99 {
				fmt.Fprint(w, "right")
				return
			}
			switch tc.how {
			case "break":
				panic(http.ErrAbortHandler)
			case "hang":
				<-r.Context().Done()
			case "wrong":
				fmt.Fprint(w, "wrong")
			default:
				r.URL.Path = "/" + tc.how
				status(w, r)
			}
		})
		began := time.Now()
		s, _ := outing{
			more:  fmt.Sprintf(", config: {retryCount: %d, retryDelay: 40ms}", tc.retries),
			steps: `[{request: {method: POST, path: /, body: "${uuid}"}, timeout: 300ms, assertions: [{type: bodyContains, text: right}]}]`,
		}.run(t, target.URL)
		requests, errors, latencies := tc.requests+s.Started-1, tc.errors, s.Started
		if tc.fails == 99 {
			requests, errors = tc.requests*s.Started, tc.errors*s.Started
		}
		if tc.kind == stats.ErrNetwork {
			latencies = 0
		}
		if s.Requests != requests || n.Load() != requests || s.Retried != tc.retried || s.Service.Count() < latencies {
			t.Errorf("%+v: %d requests in %d iterations, the target saw %d, %d retried", tc, s.Requests, s.Started, n.Load(), s.Retried)
		}
		if s.ErrorCount() != errors || s.Errors[tc.kind] != errors && errors > 0 {
			t.Errorf("%+v: errors %v in %d iterations", tc, s.Errors, s.Started)
		}
		waits := time.Duration(tc.requests-1) * 40 * time.Millisecond
		if s.Latency.Count() != latencies || latencies > 0 && s.Latency.Max() < waits || time.Since(began) < waits {
			t.Errorf("%+v: %d latencies up to %v in %v", tc, s.Latency.Count(), s.Latency.Max(), time.Since(began))
		}
	}
}

func TestTimeoutsOfStepScenarioAndPlan(t *testing.T) {
	target := newTarget(t, func(_ http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/hang" {
			<-r.Context().Done()
		}
	})
	for _, tc := range []struct{ config, scenario, step string }{
		{"timeout: 60ms", "", ""}, {"timeout: 1h", "config: {timeout: 60ms}", ""}, {"timeout: 1h", "config: {timeout: 1h}", "timeout: 60ms"},
	} {
		more, step := "", ""
		if tc.scenario != "" {
			more = ", " + tc.scenario
		}
		if tc.step != "" {
			step = ", " + tc.step
		}
		s, _ := outing{config: tc.config, more: more, steps: `[{request: {method: GET, path: /hang}` + step + `}]`}.run(t, target.URL)
		if s.Errors[stats.ErrTimeout] != s.Started || s.Latency.Min() < 60*time.Millisecond || s.Latency.Max() > 60*time.Millisecond+slack {
			t.Errorf("%v: errors %v, latency %v", tc, s.Errors, s.Latency.Max())
		}
	}
}

func TestBodiesAreDecodedOnlyWhereTheyAreRead(t *testing.T) {
	text := `{"token": "t", "fill": "` + strings.Repeat("x", 20_000) + `"}`
	target := newTarget(t, func(w http.ResponseWriter, r *http.Request) {
		coding := strings.TrimPrefix(r.URL.Path, "/")
		w.Header().Set("Content-Encoding", coding)
		body := []byte(text)
		if coding != "odd" && coding != "broken" {
			body = loadgen.EncodeForTest(t, coding, text)
		}
		if coding == "broken" {
			w.Header().Set("Content-Encoding", "gzip")
		}
		_, _ = w.Write(body)
	})
	read := "assertions: [{type: jsonPath, path: $.token, expected: t}]"
	for _, tc := range []struct{ config, coding, reads, example string }{
		{"", "gzip", read, ""}, {"", "deflate", read, ""}, {"", "br", read, ""}, {"", "zstd", read, ""},
		{"", "gzip", "extract: [{type: jsonPath, name: v, jsonPath: $.token, required: true}]", ""},
		{"", "odd", "", ""}, {"", "broken", "", ""}, {"", "odd", "assertions: [{type: statusCode, expected: 200}, {type: headerExists, header: Content-Encoding}]", ""},
		{"", "odd", read, `content coding "odd": it is unknown`},
		{"", "broken", read, `content coding "gzip"`},
		{"", "odd", "assertions: [{type: bodyContains, text: nope, not: true}]", `content coding "odd"`},
		{"", "odd", "extract: [{type: regex, name: v, regex: x, default: d}]", `content coding "odd"`},
		{"maxBody: 20000B", "gzip", read, "more than the 20000 bytes of config.maxBody"},
		{"maxBody: 20000B", "gzip", "", ""},
		{"maxBody: 21KB", "gzip", read, ""},
	} {
		reads := ""
		if tc.reads != "" {
			reads = ", " + tc.reads
		}
		s, _ := outing{config: tc.config, steps: `[{request: {method: GET, path: /` + tc.coding + `}` + reads + `}]`}.run(t, target.URL)
		example := s.ErrorExamples[stats.ErrAssertion]
		if (s.Errors[stats.ErrAssertion] == s.Requests) != (tc.example != "") || !strings.Contains(example, tc.example) || tc.example == "" && s.ErrorCount() != 0 {
			t.Errorf("%v: errors %v of %d, %q", tc, s.Errors, s.Requests, example)
		}
		if st := s.Steps[0]; tc.example != "" && st.AssertionsFailed != s.Requests {
			t.Errorf("%v: %d assertions failed in %d requests", tc, st.AssertionsFailed, s.Requests)
		}
		if most := s.Requests * 1000; (tc.coding == "gzip" || tc.coding == "br") && s.BytesIn > most {
			t.Errorf("%v: %d bytes in for %d requests: that is not the wire", tc, s.BytesIn, s.Requests)
		}
	}
}

func TestMaxBodyBindsPlainBodiesToo(t *testing.T) {
	target := newTarget(t, func(w http.ResponseWriter, r *http.Request) { fmt.Fprint(w, strings.Repeat("x", 2048)) })
	for size, want := range map[string]int64{"2047B": 1, "2048B": 0} {
		s, _ := outing{config: "maxBody: " + size, steps: `[{request: {method: GET, path: /}, assertions: [{type: bodyMatches, regex: x}]}]`}.run(t, target.URL)
		if s.Errors[stats.ErrAssertion] != want*s.Requests {
			t.Errorf("maxBody %s: errors %v of %d", size, s.Errors, s.Requests)
		}
	}
}

func TestARedirectFromHTTPSToHTTPIsFollowedAndCounted(t *testing.T) {
	plain := newTarget(t, func(w http.ResponseWriter, r *http.Request) { fmt.Fprint(w, "plain") })
	secure := newTLSTarget(t, func(w http.ResponseWriter, r *http.Request) {
		http.Redirect(w, r, plain.URL+"/x", http.StatusPermanentRedirect)
	})
	s, _ := outing{config: "skipTlsVerify: true", steps: `[{request: {method: PUT, path: /, body: abc}, assertions: [{type: bodyContains, text: plain}]}]`}.run(t, secure.URL)
	if s.ErrorCount() != 0 || s.Downgrades != s.Started || plain.all()[0].line() != "PUT /x" || plain.all()[0].bodyText != "abc" {
		t.Errorf("errors %v, %d downgrades of %d, then %s %q", s.Errors, s.Downgrades, s.Started, plain.all()[0].line(), plain.all()[0].bodyText)
	}
}

func TestEachRedirectKeepsOrLosesTheBody(t *testing.T) {
	for code, want := range map[int]string{301: "GET /to ", 302: "GET /to ", 303: "GET /to ", 307: "POST /to a=0", 308: "POST /to a=0"} {
		target := newTarget(t, func(w http.ResponseWriter, r *http.Request) {
			if r.URL.Path == "/from" {
				http.Redirect(w, r, "/to", code)
			}
		})
		outing{steps: `[{request: {method: POST, path: /from, form: {a: "${worker}"}, headers: {X-A: "${worker}"}}}]`}.run(t, target.URL)
		c := target.all()[1]
		if got := c.line() + " " + c.bodyText; got != want || c.header.Get("X-A") != "0" || (c.header.Get("Content-Type") == "") != strings.HasPrefix(want, "GET") {
			t.Errorf("%d leads to %q with %v, want %q", code, got, c.header, want)
		}
	}
}

// TestCookiesAndVariablesTravelOverRedirects: the jar takes cookies of hops, and
// extractors see the last response.
func TestCookiesAndVariablesTravelOverRedirects(t *testing.T) {
	target := newTarget(t, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Add("Set-Cookie", "at="+strings.Trim(r.URL.Path, "/")+"; Path=/")
		if r.URL.Path == "/a" {
			w.Header().Set("X-V", "hop")
			http.Redirect(w, r, "/b", http.StatusFound)
			return
		}
		w.Header().Set("X-V", "end")
	})
	outing{steps: `[{request: {method: GET, path: /a, headers: {Cookie: "own=${worker}"}}, extract: [{type: header, name: v, header: X-V}, {type: cookie, name: c, cookie: at}]}, {request: {method: GET, path: "/${v}/${c}"}}]`}.run(t, target.URL)
	c := target.all()
	if c[1].header.Get("Cookie") != "own=0; at=a" || c[2].path != "/end/b" || c[2].header.Get("Cookie") != "at=b" {
		t.Errorf("then %q with %q, then %s with %q", c[1].path, c[1].header.Get("Cookie"), c[2].path, c[2].header.Get("Cookie"))
	}
}

// TestTheClientCertificateStaysWithItsHost: what a redirect leads to elsewhere
// does not see it, neither does a later request suffer from that.
func TestTheClientCertificateStaysWithItsHost(t *testing.T) {
	shown := func(r *http.Request) string { return fmt.Sprint(len(r.TLS.PeerCertificates)) }
	var other, target *seen
	asks := func(a answer) *seen {
		s := unstarted(a)
		s.TLS = &tls.Config{ClientAuth: tls.RequestClientCert, MinVersion: tls.VersionTLS12}
		s.StartTLS()
		t.Cleanup(s.Close)
		return s
	}
	other = asks(func(w http.ResponseWriter, r *http.Request) { w.Header().Set("X-Certs", shown(r)) })
	target = asks(func(w http.ResponseWriter, r *http.Request) {
		http.Redirect(w, r, strings.Replace(other.URL, "127.0.0.1", "localhost", 1)+"/"+shown(r), http.StatusFound)
	})
	cert, key := clientPair(t)
	direct := strings.Replace(other.URL, "127.0.0.1", "localhost", 1)
	s, _ := outing{
		config: "skipTlsVerify: true", alter: func(j *loadgen.Job) { j.Client.ClientCertPath, j.Client.ClientKeyPath = cert, key },
		steps: `[{request: {method: GET, path: /}, extract: [{type: header, name: led, header: X-Certs}]},
		  {request: {method: GET, path: ` + direct + `/direct}, extract: [{type: header, name: asked, header: X-Certs}]},
		  {request: {method: GET, path: "` + direct + `/${led}/${asked}"}}]`,
	}.run(t, target.URL)
	c := other.all()
	if s.ErrorCount() != 0 || c[0].path != "/1" || c[2].path != "/0/1" {
		t.Errorf("errors %v %v; the host itself saw %s, led there and asked directly %s", s.Errors, s.ErrorExamples, c[0].path, c[2].path)
	}
}

// clientPair writes a certificate and its key.
func clientPair(t *testing.T) (cert, key string) {
	t.Helper()
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, template, template, private.Public(), private)
	if err != nil {
		t.Fatal(err)
	}
	secret, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		t.Fatal(err)
	}
	folder := t.TempDir()
	for name, block := range map[string]*pem.Block{"cert.pem": {Type: "CERTIFICATE", Bytes: der}, "key.pem": {Type: "PRIVATE KEY", Bytes: secret}} {
		if err := os.WriteFile(filepath.Join(folder, name), pem.EncodeToMemory(block), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return filepath.Join(folder, "cert.pem"), filepath.Join(folder, "key.pem")
}

func TestAVariableThatMakesNoRequestIsAnErrorOfItsOwn(t *testing.T) {
	target := newTarget(t, func(w http.ResponseWriter, _ *http.Request) {
		fmt.Fprint(w, `{"line": "a\nb", "host": "http://:1:2/?secret"}`)
	})
	for _, request := range []string{`path: /, headers: {X: "${line}"}`, `path: "${host}"`} {
		s, _ := outing{steps: `[{request: {method: GET, path: /}, extract: [{type: jsonPath, name: line, jsonPath: $.line}, {type: jsonPath, name: host, jsonPath: $.host}]}, {request: {method: GET, ` + request + `}}]`}.run(t, target.URL)
		if s.Errors[stats.ErrOther] != s.Started || int64(len(target.all())) < s.Started || s.Steps[1].Latency.Count() != 0 {
			t.Errorf("%s: errors %v in %d iterations", request, s.Errors, s.Started)
		}
		if text := s.ErrorExamples[stats.ErrOther]; !strings.Contains(text, "request.") || strings.Contains(text, "secret") {
			t.Errorf("%s: the example is %q", request, text)
		}
	}
}

func TestErrorsHaveAnExampleWithoutQueryAndBody(t *testing.T) {
	target := newTarget(t, status)
	s, _ := outing{steps: `[{request: {method: POST, path: "/503?key=secret", body: secret}, continueOnFailure: true}, {request: {method: GET, path: /404}, continueOnFailure: true}, {request: {method: GET, path: "http://me:secret@127.0.0.1:1/x?secret"}}]`}.run(t, target.URL)
	for kind, want := range map[stats.ErrorKind]string{
		stats.ErrServer: "POST " + target.URL + "/503: the status is 503", stats.ErrClient: "GET " + target.URL + "/404: the status is 404",
		stats.ErrNetwork: "GET http://127.0.0.1:1/x: ",
	} {
		if got := s.ErrorExamples[kind]; !strings.HasPrefix(got, want) || strings.Contains(got, "secret") {
			t.Errorf("kind %d: %q, want %q", kind, got, want)
		}
	}
}
