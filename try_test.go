package main

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"volley/node"
)

// planFile writes a plan; it may say $BASE for the URL of the target.
func planFile(t *testing.T, text, base string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "plan.yaml")
	if err := os.WriteFile(path, []byte(strings.ReplaceAll(text, "$BASE", base)), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// answering is a target that answers each path with a text.
func answering(t *testing.T, texts map[string]string) string {
	t.Helper()
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Set-Cookie", "session=s3ss10n-value; Path=/")
		w.Header()["Date"] = nil
		w.Header().Set("Content-Type", "text/plain")
		text, known := texts[r.URL.Path]
		if !known {
			w.WriteHeader(http.StatusNotFound)
		}
		fmt.Fprint(w, text)
	}))
	t.Cleanup(srv.Close)
	return srv.URL
}

func try(t *testing.T, args ...string) (code int, out, errOut string) {
	t.Helper()
	var o, e bytes.Buffer
	code = tryPlan(t.Context(), args, &o, &e)
	return code, o.String(), e.String()
}

const shop = `version: "1.0"
config: {baseUrl: "$BASE", duration: 1s, customHeaders: "X-Api-Key: k3y-of-all"}
load: {model: rps, target: 1}
scenarios:
  - name: Shop
    steps:
      - name: Login
        request:
          method: POST
          path: /login
          headers: {Content-Type: application/json}
          body: '{"user": "ann", "password": "pa55word!", "n": 1}'
        extract:
          - {type: jsonPath, name: token, jsonPath: $.access_token}
          - {type: jsonPath, name: id, jsonPath: $.user.id}
        assertions:
          - {type: statusCode, expected: 200}
          - {type: jsonPath, path: $.user.id, expected: 42}
        thinkTime: 1s
      - name: Cart
        request:
          method: GET
          path: "/cart/${id}?x=1&token=${token}"
          headers: {Authorization: "Bearer ${token}", Host: shop.test}
        assertions:
          - {type: bodyContains, text: laptop}
`

// times vary; what is printed of them is compared as T.
func untimed(out string) string {
	return regexp.MustCompile(`after [0-9.]+[µm]?s`).ReplaceAllString(out, "after T")
}

func TestTryPrintsAnIteration(t *testing.T) {
	environment(t, "THINK_TIME_SCALE=0.001")
	base := answering(t, map[string]string{
		"/login":   `{"access_token": "eyJhbGciOi.J9", "user": {"id": 42, "secrets": ["abcdef", 1]}, "ok": true}`,
		"/cart/42": "laptop for eyJhbGciOi.J9\nsecond \x1b[31mline",
	})
	code, out, errOut := try(t, planFile(t, shop, base))
	want := `scenario Shop
  step Login
    > POST $BASE/login
    > Accept: */*
    > Content-Type: application/json
    > X-Api-Key: <secret>
    >
    > {"user": "ann", "password": "<secret>", "n": 1}
    < 200 OK after T on a new connection
    < Content-Length: 91
    < Content-Type: text/plain
    < Set-Cookie: <secret>
    <
    < {"access_token": "<secret>", "user": {"id": 42, "secrets": ["<secret>", "<secret>"]}, "ok": true}
    variable token = <secret> (jsonPath $["access_token"])
    variable id = "42" (jsonPath $["user"]["id"])
    pass statusCode: 200, got 200
    pass jsonPath $.user.id: 42, got 42
    thinks 1ms (THINK_TIME_SCALE=0 leaves that out)
  step Cart
    > GET $BASE/cart/42?x=1&token=<secret>
    > Host: shop.test
    > Accept: */*
    > Authorization: <secret>
    > Cookie: <secret>
    > X-Api-Key: <secret>
    < 200 OK after T on a kept connection
    < Content-Length: 41
    < Content-Type: text/plain
    < Set-Cookie: <secret>
    <
    < laptop for <secret>
    < second �[31mline
    pass bodyContains: laptop
scenarios: 1; steps: 2 run, 0 failed; assertions: 3 passed, 0 failed
`
	if got := strings.ReplaceAll(untimed(out), base, "$BASE"); got != want || code != node.ExitOK || errOut != "" {
		t.Errorf("exit %d, %q, and\n%s\nwant\n%s", code, errOut, got, want)
	}
}

func TestTryFails(t *testing.T) {
	environment(t)
	plan := planFile(t, strings.Replace(shop, "thinkTime: 1s", "", 1), answering(t, map[string]string{"/login": `{"user": {"id": 41}}`, "/cart/41": "laptop"}))
	code, out, _ := try(t, plan)
	for _, want := range []string{
		"FAIL jsonPath $.user.id: 42, got 41", "FAILED: assertions[1]: jsonPath $.user.id has another value", "variable token is not set: ",
		"step Cart: not run, a step before it has failed", "scenarios: 1; steps: 1 run, 1 failed, 1 not run; assertions: 1 passed, 1 failed",
	} {
		if !strings.Contains(out, want) {
			t.Errorf("no %q in\n%s", want, out)
		}
	}
	if code != node.ExitFailed {
		t.Errorf("exit %d, want %d", code, node.ExitFailed)
	}

	// A status that no assertion expects is an error, as in a run.
	plan = planFile(t, strings.Replace(shop, "  - name: Shop\n    steps:\n", "  - name: Shop\n    steps:\n      - {name: Gone, request: {method: GET, path: /gone}}\n", 1), answering(t, nil))
	if code, out, _ = try(t, plan); code != node.ExitFailed || !strings.Contains(out, "< 404 Not Found") || !strings.Contains(out, "FAILED: the status is 404") {
		t.Errorf("exit %d\n%s", code, out)
	}
}

func TestTryRefuses(t *testing.T) {
	environment(t)
	base := answering(t, map[string]string{"/login": "", "/cart": ""})
	good := planFile(t, shop, base)
	bad := planFile(t, strings.Replace(shop, "load: {model: rps, target: 1}", "load: {model: warp}", 1), base)
	for _, test := range []struct {
		args []string
		want string
	}{
		{[]string{bad}, bad + `:3:15: load.model: "warp" is not a load model`},
		{[]string{good + ".none"}, "no such file"}, {nil, tryUsage}, {[]string{good, good}, tryUsage},
		{[]string{"-scenario", "Nobody", good}, `scenario "Nobody": the plan has no such scenario`},
		{[]string{"-speed", "9", good}, "not defined: -speed"},
	} {
		if code, out, errOut := try(t, test.args...); code != node.ExitInvalid || !strings.Contains(errOut, test.want) || out != "" {
			t.Errorf("%q: exit %d, %q, %q, want %q", test.args, code, out, errOut, test.want)
		}
	}
	t.Setenv("THINK_TIME_SCALE", "much")
	if code, _, errOut := try(t, good); code != node.ExitInvalid || !strings.Contains(errOut, "THINK_TIME_SCALE") {
		t.Errorf("exit %d, %q", code, errOut)
	}
}

func TestTryIsInterrupted(t *testing.T) {
	environment(t)
	ctx, cancel := context.WithCancel(t.Context())
	srv := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body) // the server sees the end of a connection only then
		cancel()
		<-r.Context().Done()
	}))
	t.Cleanup(srv.Close)
	var out, errOut bytes.Buffer
	if code := tryPlan(ctx, []string{planFile(t, shop, srv.URL)}, &out, &errOut); code != node.ExitStopped || !strings.Contains(errOut.String(), "interrupted") {
		t.Errorf("exit %d, %q, %q", code, &out, &errOut)
	}
}

func TestTryCutsBodies(t *testing.T) {
	environment(t, "PLAN_ENV=SHOP_TOKEN", "SHOP_TOKEN=t0k3n-of-env")
	base := answering(t, map[string]string{
		"/a": strings.Repeat("ä", 3000), "/b": "\x00\x01\x02", "/c": `{"k": "` + strings.Repeat("x", mostShown) + `", "password": "hidden-late"} hidden-late`, "/d": "t0k3n-of-env", "/e": `{"token": "known-late"}`,
	})
	code, out, _ := try(t, planFile(t, `version: "1.0"
config: {baseUrl: "$BASE", duration: 1s}
load: {model: concurrent}
scenarios:
  - name: S
    steps:
      - request: {method: GET, path: /a}
      - request: {method: GET, path: /b}
      - request: {method: POST, path: /c, bodySize: 5KB}
      - request: {method: POST, path: /d, body: "x=${env.SHOP_TOKEN}"}
      - request: {method: GET, path: /e, headers: {X-Echo: of known-late}}
`, base))
	for _, want := range []string{
		"    < " + strings.Repeat("ä", mostShown/2) + "\n    < … (6000 bytes in all)\n", "    < (3 bytes of text/plain)\n", "    > … (5120 bytes in all)\n",
		"xxx\n    < … (4144 bytes in all)\n", "    > x=<secret>\n", "    < <secret>\n", "    > X-Echo: of <secret>\n",
	} {
		if !strings.Contains(out, want) {
			t.Errorf("no %q in\n%s", want, out)
		}
	}
	if code != node.ExitOK || strings.Contains(out, "hidden-late") || strings.Contains(out, "t0k3n") || strings.Contains(out, "known-late") {
		t.Errorf("exit %d\n%s", code, out)
	}
}
