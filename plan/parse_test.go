package plan

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"
)

const minimal = `version: 1.0
config:
  baseUrl: http://127.0.0.1:8081
  duration: 30s
load:
  model: rps
  target: 10
scenarios:
  - name: Shop
    steps:
      - request: {method: get, path: /}
`

func mustParse(t *testing.T, document string) *Plan {
	t.Helper()
	p, warnings, err := Parse([]byte(document))
	if err != nil {
		t.Fatalf("Parse: %v", err)
	}
	if len(warnings) > 0 {
		t.Fatalf("warnings %v, want none", warnings)
	}
	return p
}

// mistakes are those of a document as a person reads them.
func mistakes(t *testing.T, document string) []string {
	t.Helper()
	_, _, err := Parse([]byte(document))
	var all Errors
	if err != nil && !errors.As(err, &all) {
		t.Fatalf("error is %T, want Errors", err)
	}
	if all == nil {
		return nil
	}
	return strings.Split(all.Error(), "\n")
}

func equal(t *testing.T, what string, got, want any) {
	t.Helper()
	if !reflect.DeepEqual(got, want) {
		t.Errorf("%s = %#v, want %#v", what, got, want)
	}
}

func TestDefaults(t *testing.T) {
	p := mustParse(t, minimal)
	target := 10.0
	want := &Plan{
		Version: "1.0",
		Config: Config{BaseURL: "http://127.0.0.1:8081", Workers: 10, Duration: 30 * time.Second, Timeout: 30 * time.Second,
			GracefulStop: 30 * time.Second, HTTP: "1.1", Client: "auto", Connections: Connections{Mode: "worker"},
			DNS: DNS{TTL: 5 * time.Minute, Select: "roundRobin"}, Cookies: "iteration", MaxRedirects: 10, MaxBody: 10 << 20},
		Load: Load{Model: "rps", Target: &target, Shape: "thirds", Unit: "iterations", Arrival: "uniform", Scope: "node",
			MaxWorkers: 10_000, MaxBacklog: time.Second},
		Scenarios: []Scenario{{Name: "Shop", Weight: 1, Steps: []Step{{Name: "Step 1", Request: Request{Method: "GET", Path: "/"}}}}},
	}
	equal(t, "plan", p, want)
}

const everything = `
version: "1.0"
metadata: {name: All, description: d, author: a, tags: [x, 2], tenant: t, run_id: r-1, }
config:
  baseUrl: https://user:pw@api.test/v1/
  workers: "20"
  duration: 1.5m
  timeout: 2500ms
  skipTlsVerify: yes
  customHeaders: 'X-Key: a\,b, Accept: */*, x-key: "c"'
  resolveTargetAddr: api.test:10.0.0.5:8443
  pool: {maxIdlePerHost: 4, idleTimeoutSecs: 0, metricsReuseThresholdMs: 7}
  seed: -3
  gracefulStop: 0
  warmup: 10s
  traceparent: true
  http: 2
  client: std
  connections: 8
  dns: {ttl: 1m, select: first}
  resolve: {b.test: "[::1]:80", c.test: 10.0.0.6}
  tls: {ca: ca.pem, cert: c.pem, key: k.pem}
  cookies: worker
  maxRedirects: 0
  maxBody: 2 kb
load:
  model: stages
  from: 1
  stages:
    - {duration: 10s, target: 5}
    - {duration: 0s, target: 2.5}
  unit: requests
  arrival: poisson
  iterations: 100
  scope: cluster
  maxWorkers: 50000
  maxBacklog: 0
scenarios:
  - name: S
    weight: 0.5
    dataFile: {path: a.json, format: json, strategy: sequential, onExhausted: stop, split: false}
    config: {timeout: 3s, retryCount: 2, retryDelay: 100ms}
    steps:
      - name: One
        request:
          method: post
          path: "/a?b=${c}"
          queryParams: {z: 1, a: true, m: "x y"}
          headers: {Zeta: 1, Alpha: , Mid: "${t}"}
          form: {q: 1.0, p: text}
        extract:
          - {type: jsonPath, name: a, jsonPath: "$.headers.User-Agent"}
          - {type: regex, name: b, regex: '(?P<b>\d+)', default: ""}
          - {type: header, name: c, header: ETag}
          - {type: cookie, name: d, cookie: sid, required: true}
        assertions:
          - {type: statusCode, expected: 404}
          - {type: statusCode, expected: 2xx}
          - {type: statusCode, expected: [200, 3XX]}
          - {type: responseTime, max: 1}
          - {type: jsonPath, path: "$..items[?(@.id > 1)]['a b'][*]", expected: 1.0}
          - {type: bodyContains, text: 5, not: true}
          - {type: bodyMatches, regex: ok}
          - {type: headerExists, header: ETag}
        cache: {ttl: 0}
        thinkTime: {min: 1s, max: 1500ms}
        timeout: 4s
        continueOnFailure: true
      - request:
          method: PUT
          path: https://other.test/x
          multipart:
            - {name: f, file: a.bin, filename: b.bin, contentType: text/plain}
            - {name: v, value: 1}
        thinkTime: 2
standby: {rps: 0.5}
thresholds:
  - p95 < 300ms
  - {expr: "step(One).error_rate <= 1% over last 30s", abortOnFail: true, after: 5s}
metrics: {phases: true}
`

func TestEveryKeyArrives(t *testing.T) {
	p := mustParse(t, everything)
	c := &p.Config
	equal(t, "metadata", p.Metadata, Metadata{Name: "All", Description: "d", Author: "a", Tags: []string{"x", "2"}, Tenant: "t", RunID: "r-1"})
	four, zero, seven, seed := 4, 0, 7, int64(-3)
	equal(t, "config", *c, Config{
		BaseURL: "https://user:pw@api.test/v1/", Workers: 20, Duration: 90 * time.Second, Timeout: 2500 * time.Millisecond,
		SkipTLSVerify: true, CustomHeaders: Headers{{"x-key", `"c"`}, {"Accept", "*/*"}},
		ResolveTarget: ResolveTarget{"api.test", "10.0.0.5", "8443"},
		Pool:          &Pool{MaxIdlePerHost: &four, IdleTimeoutSecs: &zero, MetricsReuseThresholdMs: &seven},
		Seed:          &seed, Warmup: 10 * time.Second, Traceparent: true, HTTP: "2", Client: "std",
		Connections: Connections{Mode: "shared", N: 8}, DNS: DNS{TTL: time.Minute, Select: "first"},
		Resolve: map[string]string{"b.test": "[::1]:80", "c.test": "10.0.0.6"}, TLS: &TLS{"ca.pem", "c.pem", "k.pem"},
		Cookies: "worker", MaxBody: 2048,
	})
	iterations := int64(100)
	equal(t, "load", p.Load, Load{Model: "stages", Shape: "thirds", From: 1, Stages: []Stage{{10 * time.Second, 5}, {0, 2.5}},
		Unit: "requests", Arrival: "poisson", Iterations: &iterations, Scope: "cluster", MaxWorkers: 50000})
	s := p.Scenarios[0]
	split, empty := false, ""
	equal(t, "dataFile", s.DataFile, &DataFile{"a.json", "json", "sequential", "stop", &split})
	equal(t, "scenario config", s.Config, ScenarioConfig{3 * time.Second, 2, 100 * time.Millisecond})
	one := s.Steps[0]
	equal(t, "request", one.Request, Request{Method: "POST", Path: "/a?b=${c}",
		QueryParams: []Header{{"z", "1"}, {"a", "true"}, {"m", "x y"}},
		Headers:     []Header{{"Zeta", "1"}, {"Alpha", ""}, {"Mid", "${t}"}},
		Form:        []Header{{"q", "1.0"}, {"p", "text"}}})
	equal(t, "extract", one.Extract, []Extract{
		{Type: "jsonPath", Name: "a", JSONPath: "$.headers.User-Agent"}, {Type: "regex", Name: "b", Regex: `(?P<b>\d+)`, Default: &empty},
		{Type: "header", Name: "c", Header: "ETag"}, {Type: "cookie", Name: "d", Cookie: "sid", Required: true}})
	equal(t, "assertions", one.Assertions, []Assertion{
		{Type: "statusCode", Expected: Expected{Set: true, Text: "404", Statuses: []StatusRange{{404, 404}}}},
		{Type: "statusCode", Expected: Expected{Set: true, Text: "2xx", Statuses: []StatusRange{{200, 299}}}},
		{Type: "statusCode", Expected: Expected{Set: true, Statuses: []StatusRange{{200, 200}, {300, 399}}}},
		{Type: "responseTime", Max: time.Second},
		{Type: "jsonPath", Path: "$..items[?(@.id > 1)]['a b'][*]", Expected: Expected{Set: true, Text: "1.0"}},
		{Type: "bodyContains", Text: "5", Not: true}, {Type: "bodyMatches", Regex: "ok"}, {Type: "headerExists", Header: "ETag"}})
	equal(t, "cache", one.Cache, &Cache{})
	equal(t, "thinkTime", one.ThinkTime, &ThinkTime{time.Second, 1500 * time.Millisecond})
	equal(t, "step timeout", []any{one.Timeout, one.ContinueOnFailure}, []any{4 * time.Second, true})
	two := s.Steps[1]
	equal(t, "second step", []any{two.Name, two.Request.Path, *two.ThinkTime}, []any{"Step 2", "https://other.test/x", ThinkTime{2 * time.Second, 2 * time.Second}})
	equal(t, "multipart", two.Request.Multipart, []Multipart{{"f", "", "a.bin", "b.bin", "text/plain"}, {"v", "1", "", "", ""}})
	equal(t, "standby", p.Standby, &Standby{Workers: 2, RPS: 0.5})
	equal(t, "thresholds", p.Thresholds, []Threshold{{Expr: "p95 < 300ms"},
		{Expr: "step(One).error_rate <= 1% over last 30s", AbortOnFail: true, After: 5 * time.Second}})
	equal(t, "metrics", p.Metrics, Metrics{Phases: true})
}

// with is minimal with its load (and config.duration) replaced.
func with(load, duration string) string {
	document := strings.Replace(minimal, "  model: rps\n  target: 10\n", "  "+strings.ReplaceAll(load, "\n", "\n  ")+"\n", 1)
	return strings.Replace(document, "  duration: 30s\n", duration, 1)
}

func TestLoadModels(t *testing.T) {
	ramp := mustParse(t, with("model: ramp\nmin: 0\nmax: 5\nrampDuration: 10s\nshape: hold", "  duration: 1m\n"))
	equal(t, "ramp", []any{*ramp.Load.Min, *ramp.Load.Max, ramp.Load.RampDuration, ramp.Load.Shape}, []any{0.0, 5.0, 10 * time.Second, "hold"})

	idle := mustParse(t, with("model: rps\ntarget: 0", "  duration: 0\n"))
	equal(t, "idle target", []any{*idle.Load.Target, idle.Config.Duration}, []any{0.0, time.Duration(0)})

	daily := mustParse(t, with("model: dailytraffic\nmin: 0\nmid: 5\nmax: 10\ncycleDuration: 1d\npeakSustainRatio: 0.3", "  duration: 1m\n")).Load
	equal(t, "ratios", []float64{*daily.MorningRampRatio, *daily.PeakSustainRatio, *daily.MidDeclineRatio, *daily.MidSustainRatio, *daily.EveningDeclineRatio},
		[]float64{0.2, 0.3, 0.2, 0.1, 0.2})

	stages := mustParse(t, with("model: stages\nstages: [{duration: 10s, target: 5}, {duration: 20s, target: 0}]\nunit: workers", ""))
	equal(t, "duration of stages", stages.Config.Duration, 30*time.Second)
	equal(t, "stages by workers are closed", stages.Load.Closed(), true)

	bound := mustParse(t, with("model: concurrent\niterations: 5\nrampUp: 1s", "  workers: 3\n"))
	equal(t, "iterations alone", []any{*bound.Load.Iterations, bound.Config.Duration, bound.Load.MaxWorkers, bound.Load.Closed()},
		[]any{int64(5), time.Duration(0), 3, true})
}

func TestManyMistakesAtOnceInOrder(t *testing.T) {
	got := mistakes(t, `version: 3.1
config:
  baseUrl: localhost
  workers: 0
load:
  model: rps
  target: -5
  target: 6
scenarios:
  - steps:
      - request: {method: BREW}
        thinkTime: [1]
      - request: {method: GET, path: /, body: a, bodySize: 3}
        assertions: [{type: statusCode, expected: 9}, 7]
`)
	want := []string{
		"1:10: version: 3.1 is too new (1.0)",
		"2:1: config.duration: is missing (a duration such as 500ms, 30s, 10m, 2h or 7d; a bare number is seconds)",
		`3:12: config.baseUrl: "localhost" does not begin with http:// or https:// (a URL that begins with http:// or https://, such as https://api.example.com)`,
		"4:12: config.workers: 0 is out of range (a whole number from 1 to 10000)",
		"7:11: load.target: -5 is negative (a number of arrivals per second, 0 or more)",
		"8:3: load.target: is given twice (first in line 7)",
		"10:5: scenarios[0].name: is missing (a name)",
		"11:9: scenarios[0].steps[0].request.path: is missing (a path such as /users/${id}, or a full URL that begins with http:// or https://)",
		`11:27: scenarios[0].steps[0].request.method: "BREW" is not a method (GET, POST, PUT, PATCH, DELETE, HEAD or OPTIONS)`,
		"12:20: scenarios[0].steps[0].thinkTime: is a list (a duration such as 500ms, 30s, 10m, 2h or 7d; a bare number is seconds)",
		"13:60: scenarios[0].steps[1].request.bodySize: 3 has no unit (a whole number above 0 with the unit B, KB or MB, such as 512KB)",
		"14:51: scenarios[0].steps[1].assertions[0].expected: 9 is not a status (a status code such as 200, a class such as 2xx, or a list of them)",
		"14:55: scenarios[0].steps[1].assertions[1]: is a single value (a map)",
	}
	if !slices.Equal(got, want) {
		t.Errorf("got\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}

func TestWarnings(t *testing.T) {
	document := strings.Replace(minimal, "load:\n", "  skipTLSverify: true\nload:\n  min: 1\n  colour: red\n", 1)
	document = strings.Replace(document, "    steps:", "    steps:\n      - {name: Step 2, request: {method: GET, path: /}, cache: {ttl: 1s}}", 1) + "x-parts: {}\nregion: eu\n"
	p, warnings, err := Parse([]byte(document))
	if err != nil || p == nil {
		t.Fatalf("Parse: %v", err)
	}
	var got []string
	for _, w := range warnings {
		got = append(got, w.In("a.yaml"))
	}
	want := []string{
		"a.yaml:5:3: config.skipTLSverify: is not a known key and has no effect (did you mean skipTlsVerify?)",
		"a.yaml:7:3: load.min: has no effect with model rps",
		"a.yaml:8:3: load.colour: is not a known key and has no effect",
		"a.yaml:14:57: scenarios[0].steps[0].cache: has no effect without extract",
		`a.yaml:15:9: scenarios[0].steps[1].name: "Step 2" is also the name of steps[0]: their results are counted together`,
		"a.yaml:17:1: region: is not a known key and has no effect",
	}
	if !slices.Equal(got, want) {
		t.Errorf("got\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
	if p.Config.SkipTLSVerify {
		t.Error("an unknown key took effect")
	}
}

func TestAliasesAndMergeKeys(t *testing.T) {
	p := mustParse(t, `version: "1.0"
x-ok: &ok {type: statusCode, expected: 200}
x-headers: &headers {Accept: text/plain, X-A: 1}
config: {baseUrl: "http://a.test", duration: 1m}
load: {model: rps, target: 1}
scenarios:
  - name: S
    steps:
      - name: A
        request:
          method: GET
          path: /
          headers:
            <<: *headers
            X-A: 2
        assertions: [*ok]
`)
	step := p.Scenarios[0].Steps[0]
	equal(t, "headers", step.Request.Headers, []Header{{"X-A", "2"}, {"Accept", "text/plain"}})
	equal(t, "statuses", step.Assertions[0].Expected.Statuses, []StatusRange{{200, 200}})
}

func TestAliasesAreBounded(t *testing.T) {
	laughs := "version: \"1.0\"\nx-e: &e {type: cookie, name: a, cookie: b}\nx-x: &x [" + strings.Repeat("*e,", 400) +
		"]\nx-s: &s {request: {method: GET, path: /}, extract: *x}\nx-l: &l [" + strings.Repeat("*s,", 400) +
		"]\nscenarios: [" + strings.Repeat("{name: a, steps: *l },", 400) + "]\n"
	got := mistakes(t, laughs)
	if len(got) == 0 || !strings.Contains(got[0], "more than 300000 values once its aliases are expanded") {
		t.Errorf("got %.200q", got)
	}
	for name, document := range map[string]string{
		"self":       "metadata: &m\n  tags: *m\n",
		"merge loop": "metadata: &m\n  <<: [*m, *m]\n",
		"two hops":   "metadata: &m\n  name: &n *n\n",
	} {
		if got := mistakes(t, minimal+document); got == nil {
			t.Errorf("%s: no mistake", name)
		}
	}
}

func TestDocumentsRefused(t *testing.T) {
	deep := strings.Repeat("[", 5000)
	keys := &strings.Builder{}
	for i := range 3000 {
		fmt.Fprintf(keys, "k%d: 1\n", i)
	}
	for name, c := range map[string]struct{ document, want string }{
		"nothing":    {"", "1:1: the document is empty (a plan has version, config, load and scenarios)"},
		"null":       {"---\n~\n", "1:1: the document is empty (a plan has version, config, load and scenarios)"},
		"too large":  {minimal + "#" + strings.Repeat("x", MaxDocument), "1:1: the document has 524468 bytes (at most 524288)"},
		"not UTF-8":  {"a: b\nc: \xff\n", "2:1: the document is not valid UTF-8"},
		"NUL":        {"a: b\nc: \x00\n", "2:1: the document contains a NUL byte (text is accepted)"},
		"deep flow":  {"a: " + deep, "1:68: maps and lists are nested more than 64 deep"},
		"deep lists": {strings.Repeat("- ", 5000), "1:129: maps and lists are nested more than 64 deep"},
		"wide map":   {keys.String(), "2001:6: a map has more than 2000 keys"},
		"documents":  {strings.Repeat("--- a\n", 500), "17:1: another document begins here (one document is accepted)"},
	} {
		if got := strings.Join(mistakes(t, c.document), "\n"); got != c.want {
			t.Errorf("%s: got %q, want %q", name, got, c.want)
		}
	}
}

func TestDocumentForms(t *testing.T) {
	for name, document := range map[string]string{
		"byte order mark":  "\ufeff" + minimal,
		"carriage returns": strings.ReplaceAll(minimal, "\n", "\r\n"),
		"document marks":   "%YAML 1.2\n---\n" + minimal + "...\n",
	} {
		equal(t, name, mustParse(t, document), mustParse(t, minimal))
	}
}

func TestMistakesAreBounded(t *testing.T) {
	got := mistakes(t, minimal+"thresholds:\n"+strings.Repeat("  - x\n", 1500))
	if len(got) != maxErrors+1 || !strings.Contains(got[maxErrors], "500 more mistakes follow (the first 1000 are shown)") {
		t.Errorf("%d mistakes, the last %q", len(got), got[len(got)-1])
	}
}

func TestVersionOfBytes(t *testing.T) {
	equal(t, "Version", Version([]byte("abc")), "sha256:ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad")
}

func TestDurations(t *testing.T) {
	for text, want := range map[string]time.Duration{
		"30": 30 * time.Second, " 10m ": 10 * time.Minute, "365d": 365 * 24 * time.Hour, "0m": 0, "500ms": 500 * time.Millisecond,
		"5.5h": 330 * time.Minute, "0.001ms": time.Microsecond, "0.5": 500 * time.Millisecond, "106751d": 106751 * 24 * time.Hour,
	} {
		if got, problem := parseDuration(text); got != want || problem != "" {
			t.Errorf("parseDuration(%q) = %v, %q; want %v", text, got, problem, want)
		}
	}
	for text, want := range map[string]string{
		"": "is not a duration", "m": "is not a duration", "10x": "is not a duration", "1h30m": "is not a duration", "10M": "is not a duration",
		"+5s": "is not a duration", "1e3": "is not a duration", ".5s": "is not a duration", "-5m": "is negative", "-1": "is negative",
		"106752d": "is too long for a duration", "99999999999999999999": "is too long for a duration", "9223372036.9": "is too long for a duration",
	} {
		if _, problem := parseDuration(text); problem != want {
			t.Errorf("parseDuration(%q): problem %q, want %q", text, problem, want)
		}
	}
}

func TestParseIsStable(t *testing.T) {
	broken := strings.ReplaceAll(everything, "s", "z")
	_, w1, err1 := Parse([]byte(broken))
	for range 20 {
		_, w2, err2 := Parse([]byte(broken))
		equal(t, "warnings", w2, w1)
		equal(t, "errors", err2, err1)
	}
}

func TestPredecessorPlans(t *testing.T) {
	files, _ := filepath.Glob("/work/shared/testdata/predecessor/configs/*.yaml")
	if len(files) == 0 {
		t.Skip("the predecessor's plans are not on this machine")
	}
	equal(t, "number of plans", len(files), 7)
	for _, file := range files {
		parseFile(t, file)
	}
}

func TestExamples(t *testing.T) {
	files, err := filepath.Glob("../examples/*.yaml")
	if err != nil || len(files) < 4 {
		t.Fatalf("%d examples, %v", len(files), err)
	}
	for _, file := range files {
		parseFile(t, file)
	}
}

func parseFile(t *testing.T, file string) {
	t.Helper()
	document, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	_, warnings, err := Parse(document)
	if err != nil || len(warnings) > 0 {
		t.Errorf("%s: %v, warnings %v", filepath.Base(file), err, warnings)
	}
}

func FuzzParse(f *testing.F) {
	f.Add([]byte(minimal))
	f.Add([]byte(everything))
	files, _ := filepath.Glob("testdata/bad/*.yaml")
	for _, file := range files {
		if document, err := os.ReadFile(file); err == nil {
			f.Add(document)
		}
	}
	f.Fuzz(func(t *testing.T, document []byte) {
		p, _, err := Parse(document)
		if err == nil {
			if p == nil || len(p.Scenarios) == 0 || p.Config.BaseURL == "" || p.Load.Model == "" || p.Load.MaxWorkers < 1 {
				t.Fatalf("accepted as %+v", p)
			}
			return
		}
		var all Errors
		if !errors.As(err, &all) || len(all) == 0 || p != nil {
			t.Fatalf("Parse = %v, %T", p, err)
		}
		if !slices.IsSortedFunc(all, byPosition) {
			t.Fatalf("not sorted: %v", err)
		}
		for _, e := range all {
			if e.Line < 1 || e.Column < 1 || e.Message == "" {
				t.Fatalf("%+v has no position or message", e)
			}
		}
	})
}

func TestShownValues(t *testing.T) {
	const request = "scenarios[0].steps[1].request."
	for _, c := range [][3]string{
		{"config.customHeaders", "a", "the value"},
		{request + "headers.Authorization", "a", "the value"},
		{request + `headers."x.y"`, "a", "the value"},
		{request + "body", "1", "the value"},
		{request + "queryParams.token", "a", "the value"},
		{request + "form.password", "a", "the value"},
		{request + "multipart[0].value", "a", "the value"},
		{request + "bodySize", "12x", "12x"},
		{request + "path", "/a?key=b", `"/a?…"`},
		{"config.baseUrl", "http://u:p@a.test/b", `"http://…@a.test/b"`},
		{"metadata.name", strings.Repeat("é", 61), `"` + strings.Repeat("é", 60) + `…"`},
	} {
		equal(t, c[0], show(c[0], c[1]), c[2])
	}
}
