package loadgen

import (
	"bytes"
	"log/slog"
	"net/http"
	"net/http/cookiejar"
	"net/url"
	"strings"
	"testing"
)

// workerOf is a worker of a plan with these steps; "v" is set to what has to be
// escaped.
func workerOf(t testing.TB, config, steps string) *user {
	t.Helper()
	document := "version: \"1.0\"\nconfig: {baseUrl: \"http://target.test/base/\", workers: 1, seed: 5, client: own, " + config + "}\nload: {model: concurrent, iterations: 1}\nscenarios: [{name: s, steps: " + steps + "}]\n"
	r, err := newRun(Job{RunID: "r", Document: []byte(document), Client: Client{ThinkTimeScale: 1}}, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	u := newUser(r, 0, nil)
	u.client, u.scenario = r.net.client(), &r.script.scenarios[0]
	u.afresh()
	return u
}

// afresh begins the same iteration once more.
func (u *user) afresh() {
	u.fresh(u.scenario, 7)
	if slot, ok := u.scenario.names["v"]; ok {
		u.scope.set(slot, `a "b"/ü?&=#1`)
	}
}

// TestFormsAreWhatNetHTTPWrites compares the bytes of a form with those that
// net/http makes of the same step.
func TestFormsAreWhatNetHTTPWrites(t *testing.T) {
	formless := 0
	for _, step := range []string{
		"method: GET, path: /", "method: HEAD, path: '/a b?c=d e'", "method: POST, path: /", "method: DELETE, path: /, body: x",
		"method: GET, path: 'https://other.test:81/x?y=${iteration}'", "method: GET, path: 'http://other.test?y=${v}'", "method: GET, path: 'http://other.test/${v}'",
		"method: GET, path: '/${v}'", "method: GET, path: '//${v}/${random(1,1000)}?q=${v}&w=${raw:v}', queryParams: {a: '${v}', b: c}",
		"method: GET, path: '/x?', queryParams: {a: '${v}'}", "method: GET, path: '/x?a=1&', queryParams: {a: '${v}'}", "method: GET, path: '/x', queryParams: {a: '${v}'}",
		"method: PUT, path: '/${random(1,9)}', body: '${random(1,1000)}${v}', headers: {X-B: '${random(1,1000)}', Accept: ' ${v} ', A: '${worker}'}",
		"method: POST, path: /, body: '${none}', headers: {User-Agent: 'me/${random(1,9)}', Content-Type: a/b}", "method: POST, path: /, headers: {Host: some.test, X: ' y '}, body: '${raw:v}'",
		"method: POST, path: /, form: {a: '${v}', b: c}", "method: PATCH, path: /, bodySize: 1KB", "method: GET, path: '/${none}', headers: {Idempotency-Key: '${v}'}",
		"method: GET, path: /, headers: {Cookie: 'a=b'}", "method: GET, path: '/shop/${v}', headers: {A: b, X-C: d}, body: x",
		"method: GET, path: '/a/b/../c;d=e:f@g!$()*+,[]~_-.%41%zz'", "method: GET, path: 'x/${v}'", "method: GET, path: '${v}'", "method: GET, path: /, headers: {Host: '${v}'}",
	} {
		for _, config := range []string{"", "connections: request", "cookies: worker"} {
			u := workerOf(t, config, "[{request: {"+step+"}, extract: [{type: header, name: v, header: x}]}]")
			st := &u.scenario.steps[0]
			if st.form == nil {
				formless++
				continue
			}
			if config == "cookies: worker" {
				u.jar = jarOf(t)
			}
			if u.jar != nil && !st.form.jarred {
				continue
			}
			got, err := u.fill(st)
			if err != nil {
				t.Fatal(err)
			}
			got = bytes.Clone(got)
			form := st.form
			st.form = nil
			u.afresh()
			u.bodies.Store(0)
			c, err := u.newTrip(t.Context(), st)
			if err != nil {
				t.Fatal(err)
			}
			u.dress(c)
			req := c.request()
			var want bytes.Buffer
			if err := c.errand.write(&want, u.client.single); err != nil || string(got) != string(c.errand.wire) {
				t.Errorf("%s is\n%q, net/http has\n%q (%v)", step, got, c.errand.wire, err)
			}
			if form.origin != originOf(req.URL) || st.idempotent != c.errand.idempotent {
				t.Errorf("%s goes to %v, idempotent %v; want %v, %v", step, form.origin, st.idempotent, originOf(req.URL), c.errand.idempotent)
			}
			st.form = form
			back := form.read(got, st)
			if u.jar != nil {
				req.Header.Del("Cookie") // which the next hop gets anew
			}
			if back.URL.Host+back.URL.RequestURI() != req.URL.Host+req.URL.RequestURI() || back.Method != req.Method || back.Host != req.Host || back.ContentLength != req.ContentLength || len(back.Header) != len(req.Header) {
				t.Errorf("%s read back is %v %v %v %d %v, want %v %v %v %d %v", step, back.Method, back.URL, back.Host, back.ContentLength, back.Header,
					req.Method, req.URL, req.Host, req.ContentLength, req.Header)
			}
		}
	}
	if formless != 9 { // the last three, each with every config
		t.Errorf("%d steps have no form, want 9", formless)
	}
}

// jarOf has cookies for some of the places that the tests' steps go to.
func jarOf(t *testing.T) http.CookieJar {
	t.Helper()
	jar, err := cookiejar.New(nil)
	if err != nil {
		t.Fatal(err)
	}
	for place, header := range map[string]string{
		"http://target.test/": "a=1", "http://target.test/base/shop/": `b="2 3"; Path=/base/shop`, "http://other.test/": "c=4",
	} {
		to, err := url.Parse(place)
		if err != nil {
			t.Fatal(err)
		}
		jar.SetCookies(to, (&http.Response{Header: http.Header{"Set-Cookie": {header}}}).Cookies())
	}
	return jar
}

func TestARequestIsMadeWithoutAllocation(t *testing.T) {
	for name, step := range map[string]string{
		"fixed":     "method: GET, path: /, headers: {X: y}",
		"templated": "method: POST, path: '/items/${iteration}', queryParams: {w: '${worker}'}, headers: {Authorization: 'Bearer ${random(1,9)}', X-Id: '${uuid}'}, body: '{\"n\":${random(1,1000)}}'",
		"random":    "method: POST, path: /, bodySize: 2KB",
	} {
		u := workerOf(t, "", "[{request: {"+step+"}}]")
		st, ctx := &u.scenario.steps[0], t.Context()
		if n := testing.AllocsPerRun(100, func() {
			if _, err := u.newTrip(ctx, st); err != nil {
				t.Fatal(err)
			}
		}); n != 0 {
			t.Errorf("%s: %v allocations", name, n)
		}
	}
}

func TestAHeaderWithAControlCharacterIsNotSent(t *testing.T) {
	u := workerOf(t, "", "[{request: {method: GET, path: /, headers: {X: '${w}'}}, extract: [{type: header, name: w, header: x}]}]")
	u.scope.set(u.scenario.names["w"], "a\r\nEvil: b")
	if _, err := u.newTrip(t.Context(), &u.scenario.steps[0]); err == nil || !strings.Contains(err.Error(), "request.headers.X: a variable has a control character") {
		t.Errorf("the error is %v", err)
	}
}

func BenchmarkRequest(b *testing.B) {
	for name, step := range map[string]string{
		"fixed":     "method: GET, path: /",
		"templated": "method: POST, path: '/items/${iteration}', headers: {X-Id: '${uuid}'}, body: '{\"n\":${random(1,1000)}}'",
	} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			u := workerOf(b, "", "[{request: {"+step+"}}]")
			st, ctx := &u.scenario.steps[0], b.Context()
			for b.Loop() {
				if _, err := u.newTrip(ctx, st); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// What is long is all workers' and no worker's own: such a step has no form.
func TestALongBodyHasNoForm(t *testing.T) {
	long := strings.Repeat("x", shortRequest+1)
	for step, want := range map[string]bool{
		"body: short":                           true,
		"body: " + long:                         false,
		"bodySize: 64KB":                        true,
		"bodySize: 65KB":                        false,
		"multipart: [{name: a, value: '${v}'}]": true,
		"multipart: [{name: a, value: '${v}'}, {name: b, value: " + long + "}]": false,
	} {
		u := workerOf(t, "", "[{request: {method: POST, path: /, "+step+"}, extract: [{type: header, name: v, header: x}]}]")
		if got := u.scenario.steps[0].form != nil; got != want {
			t.Errorf("%.60s: a form %v, want %v", step, got, want)
		}
	}
}
