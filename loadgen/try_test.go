package loadgen_test

import (
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"volley/loadgen"
)

const tried = `version: "1.0"
config: {baseUrl: "$BASE", duration: 1s, cookies: iteration}
load: {model: rps, target: 1}
scenarios:
  - name: One
    weight: 1
    config: {retryCount: 2}
    steps:
      - name: Begin
        request: {method: POST, path: "/begin?a=${nothing}", body: "n=${iteration}", headers: {X-Run: "${run_id}"}}
        extract:
          - {type: header, name: tag, header: ETag}
          - {type: jsonPath, name: id, jsonPath: $.id}
          - {type: regex, name: none, regex: "x(y)z", default: fallback}
          - {type: cookie, name: gone, cookie: gone}
        assertions:
          - {type: statusCode, expected: [200, 3xx]}
          - {type: jsonPath, path: $.id, expected: "${tag}"}
          - {type: jsonPath, path: $.id, not: true}
          - {type: headerExists, header: ETag}
          - {type: bodyContains, text: nope}
        continueOnFailure: true
        thinkTime: 10ms
      - name: Flaky
        request: {method: GET, path: "/flaky/${id}"}
      - name: Away
        request: {method: GET, path: /away}
      - name: Broken
        request: {method: GET, path: /broken}
      - name: Never
        request: {method: GET, path: /never}
  - name: Two
    weight: 1000
    steps:
      - name: Only
        request: {method: GET, path: /only}
        assertions: [{type: bodyMatches, regex: "^h"}]
`

// triedTarget answers as the plan above needs it.
func triedTarget(t *testing.T) *seen {
	flaky := 0
	return newTarget(t, func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/begin":
			w.Header().Set("ETag", "7")
			w.Header().Set("Content-Encoding", "gzip")
			z := gzip.NewWriter(w)
			fmt.Fprint(z, `{"id": 7}`)
			_ = z.Close()
		case "/flaky/7":
			if flaky++; flaky == 1 {
				w.WriteHeader(http.StatusServiceUnavailable)
			}
			fmt.Fprint(w, "now")
		case "/away":
			http.Redirect(w, r, "/there", http.StatusFound)
		case "/broken":
			w.WriteHeader(http.StatusNotFound)
		default:
			fmt.Fprint(w, "hello")
		}
	})
}

func tryAll(t *testing.T, j loadgen.Job, only string) []loadgen.TriedStep {
	t.Helper()
	var steps []loadgen.TriedStep
	if err := loadgen.Try(t.Context(), j, only, func(s loadgen.TriedStep) { steps = append(steps, s) }); err != nil {
		t.Fatal(err)
	}
	return steps
}

func TestTry(t *testing.T) {
	leavesNothing(t)
	target := triedTarget(t)
	steps := tryAll(t, job("r", tried, target.URL), "")
	var names []string
	for _, s := range steps {
		names = append(names, fmt.Sprintf("%s/%s %d failed=%v", s.Scenario, s.Step, len(s.Attempts), s.Failed))
	}
	want := []string{
		"One/Begin 1 failed=true", "One/Flaky 2 failed=false", "One/Away 1 failed=false", "One/Broken 1 failed=true",
		"One/Never 0 failed=false", "Two/Only 1 failed=false",
	}
	if !reflect.DeepEqual(names, want) {
		t.Fatalf("steps\n%q, want\n%q", names, want)
	}
	beginning(t, &steps[0], target.URL)
	flaky, away, broken, only := steps[1].Attempts, steps[2].Attempts[0], steps[3].Attempts[0], steps[5].Attempts[0]
	if flaky[0].Problem != "the status is 503" || flaky[1].Problem != "" || flaky[1].Exchanges[0].URL != target.URL+"/flaky/7" {
		t.Errorf("flaky: %+v", flaky)
	}
	if len(away.Exchanges) != 2 || away.Exchanges[0].Status != 302 || away.Exchanges[1].URL != target.URL+"/there" || string(away.Exchanges[1].Response) != "hello" {
		t.Errorf("away: %+v", away)
	}
	if broken.Problem != "the status is 404" {
		t.Errorf("broken: %+v", broken)
	}
	if a := only.Assertions; !reflect.DeepEqual(a, []loadgen.TriedAssertion{{Name: "bodyMatches", Want: "^h"}}) {
		t.Errorf("only: %+v", a)
	}
	if got := target.paths(); got["GET /flaky/7"] != 2 || got["GET /never"] != 0 || len(target.all()) != 7 {
		t.Errorf("the target saw %v", got)
	}
}

// beginning checks all that is told of the first step.
func beginning(t *testing.T, s *loadgen.TriedStep, base string) {
	t.Helper()
	a := s.Attempts[0]
	e := a.Exchanges[0]
	if e.Method != "POST" || e.URL != base+"/begin?a=$%7Bnothing%7D" && e.URL != base+"/begin?a=%24%7Bnothing%7D" || string(e.Body) != "n=0" || e.Length != 3 || e.Header.Get("X-Run") != "r" {
		t.Errorf("request %+v", e)
	}
	if e.Status != 200 || e.ResponseHeader.Get("ETag") != "7" || string(e.Response) != `{"id": 7}` || e.ResponseLength != 9 || !e.NewConnection || e.Took <= 0 {
		t.Errorf("response %+v", e)
	}
	if want := []loadgen.TriedVariable{
		{Name: "tag", From: "header Etag", Value: "7"}, {Name: "id", From: `jsonPath $["id"]`, Value: "7"},
		{Name: "none", From: "regex x(y)z", Value: "fallback", Default: true, Problem: "no match"},
		{Name: "gone", From: "cookie gone", Problem: "no such cookie"},
	}; !reflect.DeepEqual(a.Variables, want) {
		t.Errorf("variables %+v", a.Variables)
	}
	if want := []loadgen.TriedAssertion{
		{Name: "statusCode", Want: "200 or 3xx", Got: "200"}, {Name: "jsonPath $.id", Want: "7", Got: "7"},
		{Name: "not jsonPath $.id", Want: "any value", Got: "7", Problem: "jsonPath $.id holds, and must not"},
		{Name: "headerExists Etag", Got: "7"}, {Name: "bodyContains", Want: "nope", Problem: "bodyContains: the body does not have the text"},
	}; !reflect.DeepEqual(a.Assertions, want) {
		t.Errorf("assertions %+v", a.Assertions)
	}
	if a.Problem != "assertions[2]: jsonPath $.id holds, and must not" || s.Think.Min != 10*time.Millisecond || !reflect.DeepEqual(s.Unresolved, []string{"${nothing}"}) {
		t.Errorf("problem %q, think %v, unresolved %q", a.Problem, s.Think, s.Unresolved)
	}
}

func TestTryOneScenario(t *testing.T) {
	target := triedTarget(t)
	if steps := tryAll(t, job("r", tried, target.URL), "Two"); len(steps) != 1 || steps[0].Scenario != "Two" || len(target.all()) != 1 {
		t.Errorf("%+v", steps)
	}
	err := loadgen.Try(t.Context(), job("r", tried, target.URL), "Three", nil)
	if !errors.Is(err, loadgen.ErrUnknownScenario) || !strings.Contains(err.Error(), `"Three"`) || len(target.all()) != 1 {
		t.Errorf("an unknown scenario: %v", err)
	}
	if err := loadgen.Try(t.Context(), job("r", "version: 9", ""), "", nil); err == nil || !strings.Contains(err.Error(), "version") {
		t.Errorf("a bad plan: %v", err)
	}
}

// A target that cannot be reached is no error of the tool; what a step had to
// itself the next one has not.
func TestTryUnreachable(t *testing.T) {
	target := triedTarget(t)
	base := target.URL
	target.Close()
	steps := tryAll(t, job("r", tried, base), "Two")
	if a := steps[0].Attempts; !steps[0].Failed || len(a) != 1 || a[0].Exchanges[0].Status != 0 || !strings.Contains(a[0].Problem, "refused") {
		t.Errorf("%+v", steps[0])
	}
}

func TestTryTakesTheFirstRow(t *testing.T) {
	target := newTarget(t, ok)
	folder := t.TempDir()
	if err := os.WriteFile(filepath.Join(folder, "users.csv"), []byte("user,unused\nann,1\nbob,2\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	j := job("r", `version: "1.0"
config: {baseUrl: "$BASE", duration: 1s}
load: {model: concurrent}
scenarios:
  - name: S
    dataFile: {path: users.csv}
    steps: [{request: {method: GET, path: "/${user}"}}, {request: {method: GET, path: "/again/${user}"}}]
`, target.URL)
	j.Files = loadgen.Files{Folder: folder, Local: true}
	steps := tryAll(t, j, "")
	if want := []loadgen.TriedVariable{{Name: "user", From: "dataFile users.csv", Value: "ann"}}; !reflect.DeepEqual(steps[0].Row, want) || steps[1].Row != nil {
		t.Errorf("rows %+v, %+v, want %+v with the first", steps[0].Row, steps[1].Row, want)
	}
	if got := target.paths(); got["GET /ann"] != 1 || got["GET /again/ann"] != 1 || len(got) != 2 {
		t.Errorf("the target saw %v", got)
	}
}

func TestTryKeepsSoMuchOfABody(t *testing.T) {
	target := newTarget(t, func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/coded":
			w.Header().Set("Content-Encoding", "rot13")
			fmt.Fprint(w, "uryyb")
		case "/long":
			fmt.Fprint(w, strings.Repeat("x", loadgen.MaxTriedBody+5))
		case "/longer":
			fmt.Fprint(w, strings.Repeat("x", 2<<20+1))
		}
	})
	steps := tryAll(t, job("r", `version: "1.0"
config: {baseUrl: "$BASE", duration: 1s, maxBody: 2MB}
load: {model: concurrent}
scenarios:
  - name: S
    steps:
      - request: {method: POST, path: /sized, bodySize: 1025KB}
      - request: {method: GET, path: /coded}
      - request: {method: GET, path: /long}
      - request: {method: GET, path: /longer}
`, target.URL), "")
	var at []loadgen.TriedExchange
	for _, s := range steps {
		if s.Failed {
			t.Errorf("%s: %+v", s.Step, s.Attempts)
		}
		at = append(at, s.Attempts[0].Exchanges[0])
	}
	sent := target.all()[0]
	if e := at[0]; e.Length != 1025<<10 || len(e.Body) != loadgen.MaxTriedBody || string(e.Body[:1000]) != sent.bodyText || sent.body != 1025<<10 {
		t.Errorf("a body of %d bytes, %d of them kept", e.Length, len(e.Body))
	}
	if e := at[1]; e.Status != 200 || !strings.Contains(e.Unreadable, `"rot13"`) || e.Response != nil {
		t.Errorf("%+v", e)
	}
	if e := at[2]; e.ResponseLength != loadgen.MaxTriedBody+5 || len(e.Response) != loadgen.MaxTriedBody || e.Unreadable != "" {
		t.Errorf("%d bytes, %d of them kept, %q", e.ResponseLength, len(e.Response), e.Unreadable)
	}
	if e := at[3]; !strings.Contains(e.Unreadable, "config.maxBody") {
		t.Errorf("%d bytes, %q", e.ResponseLength, e.Unreadable)
	}
}

// Think times are waited for, and an end of the context ends them.
func TestTryThinks(t *testing.T) {
	target := newTarget(t, ok)
	ctx, cancel := context.WithCancelCause(t.Context())
	cause := errors.New("enough")
	j := job("r", strings.Replace(tried, "thinkTime: 10ms", "thinkTime: 1h", 1), target.URL)
	var names []string
	err := loadgen.Try(ctx, j, "One", func(s loadgen.TriedStep) {
		names = append(names, s.Step)
		cancel(cause)
	})
	if !errors.Is(err, cause) || !reflect.DeepEqual(names, []string{"Begin"}) {
		t.Errorf("%v after %q", err, names)
	}
}
