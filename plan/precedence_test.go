package plan

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// full is a document that gives every field that a variable gives, too.
const full = `version: "1.0"
metadata: {tenant: doc}
config:
  baseUrl: http://doc.test
  workers: 3
  duration: 10m
  timeout: 7s
  skipTlsVerify: true
  customHeaders: "X-From: doc"
  resolveTargetAddr: "doc.test:10.0.0.1:80"
  pool: {maxIdlePerHost: 4, idleTimeoutSecs: 5}
  tls: {cert: doc.pem, key: doc.key}
load: {model: rps, target: 6}
scenarios: [{name: s, steps: [{name: get, request: {method: GET, path: /}}]}]
`

// bare is a document that gives none of them but what a plan cannot be without.
const bare = `version: "1.0"
config: {baseUrl: http://doc.test, duration: 10m}
load: {model: rps, target: 6}
scenarios: [{name: s, steps: [{name: get, request: {method: GET, path: /}}]}]
`

// empty lacks even that.
const empty = `version: "1.0"
config: {}
scenarios: [{name: s, steps: [{name: get, request: {method: GET, path: /}}]}]
`

// fields are where variables go: how each is set, and what of a plan it changes.
var fields = []struct {
	variable, path string
	set            func(*Environment)
	of             func(*Plan) any
	env, doc, none any // what of() is if the variable, the document, or neither gives it
}{
	{"TENANT", "metadata.tenant", func(e *Environment) { e.Tenant = "env" }, func(p *Plan) any { return p.Metadata.Tenant }, "env", "doc", ""},
	{"TARGET_URL", "config.baseUrl", func(e *Environment) { e.TargetURL = "http://env.test" }, func(p *Plan) any { return p.Config.BaseURL }, "http://env.test", "http://doc.test", nil},
	{"NUM_CONCURRENT_TASKS", "config.workers", func(e *Environment) { e.Workers = ptr(8) }, func(p *Plan) any { return p.Config.Workers }, 8, 3, 10},
	{"TEST_DURATION", "config.duration", func(e *Environment) { e.Duration = ptr(time.Hour) }, func(p *Plan) any { return p.Config.Duration }, time.Hour, 10 * time.Minute, nil},
	{"REQUEST_TIMEOUT", "config.timeout", func(e *Environment) { e.RequestTimeout = ptr(9 * time.Second) }, func(p *Plan) any { return p.Config.Timeout }, 9 * time.Second, 7 * time.Second, 30 * time.Second},
	{"SKIP_TLS_VERIFY", "config.skipTlsVerify", func(e *Environment) { e.SkipTLSVerify = ptr(false) }, func(p *Plan) any { return p.Config.SkipTLSVerify }, false, true, false},
	{"CUSTOM_HEADERS", "config.customHeaders", func(e *Environment) { e.CustomHeaders = `X-From: env\, "too"` }, func(p *Plan) any {
		return len(p.Config.CustomHeaders) > 0 && strings.HasPrefix(p.Config.CustomHeaders[0].Value, "env")
	}, true, false, false},
	{"RESOLVE_TARGET_ADDR", "config.resolveTargetAddr", func(e *Environment) { e.ResolveTargetAddr = "a.test:10.0.0.2:81" }, func(p *Plan) any { return p.Config.ResolveTarget.IP }, "10.0.0.2", "10.0.0.1", ""},
	{"POOL_MAX_IDLE_PER_HOST", "config.pool.maxIdlePerHost", func(e *Environment) { e.PoolMaxIdlePerHost = ptr(11) }, func(p *Plan) any { return idle(p).MaxIdlePerHost }, 11, 4, 0},
	{"POOL_IDLE_TIMEOUT_SECS", "config.pool.idleTimeoutSecs", func(e *Environment) { e.PoolIdleTimeoutSecs = ptr(12) }, func(p *Plan) any { return idle(p).IdleTimeoutSecs }, 12, 5, 0},
	{"TARGET_RPS", "load.target", func(e *Environment) { e.TargetRPS = ptr(13.5) }, func(p *Plan) any { return *p.Load.Target }, 13.5, 6.0, nil},
}

// idle is a plan's pool without the pointers, 0 for what is left out.
func idle(p *Plan) (out struct{ MaxIdlePerHost, IdleTimeoutSecs int }) {
	if p.Config.Pool != nil && p.Config.Pool.MaxIdlePerHost != nil {
		out.MaxIdlePerHost = *p.Config.Pool.MaxIdlePerHost
	}
	if p.Config.Pool != nil && p.Config.Pool.IdleTimeoutSecs != nil {
		out.IdleTimeoutSecs = *p.Config.Pool.IdleTimeoutSecs
	}
	return out
}

func merged(t *testing.T, document string, e Environment, who Precedence) (*Plan, []string) {
	t.Helper()
	out, notes, err := Merge([]byte(document), e, who)
	if err != nil {
		t.Fatalf("Merge: %v", err)
	}
	return mustParse(t, string(out)), notes
}

// Which source each field is taken from, for every combination of sources.
func TestPrecedence(t *testing.T) {
	for _, f := range fields {
		var e Environment
		f.set(&e)
		p, notes := merged(t, full, e, EnvironmentWins)
		equal(t, f.variable+" over a file", f.of(p), f.env)
		equal(t, f.variable+" over a file: notes", notes, []string{f.variable + " hides " + f.path + " of the plan"})

		p, notes = merged(t, full, e, DocumentWins)
		equal(t, f.variable+" under a posted plan", f.of(p), f.doc)
		equal(t, f.variable+" under a posted plan: notes", notes, []string{f.path + " of the plan hides " + f.variable})

		p, notes = merged(t, full, Environment{}, EnvironmentWins)
		equal(t, f.path+" without a variable", f.of(p), f.doc)
		equal(t, f.path+" without a variable: notes", len(notes), 0)

		if f.none == nil {
			continue // a plan cannot be without
		}
		for _, who := range []Precedence{EnvironmentWins, DocumentWins} {
			p, notes = merged(t, bare, e, who)
			equal(t, f.variable+" alone", f.of(p), f.env)
			equal(t, f.variable+" alone: notes", len(notes), 0)
			p, _ = merged(t, bare, Environment{}, who)
			equal(t, f.path+" by default", f.of(p), f.none)
		}
	}
}

func TestVariablesFillWhatAPlanCannotBeWithout(t *testing.T) {
	e := Environment{TargetURL: "http://env.test", Duration: ptr(time.Hour), LoadModel: "Rps", TargetRPS: ptr(2.0)}
	for _, who := range []Precedence{EnvironmentWins, DocumentWins} {
		p, notes := merged(t, empty, e, who)
		equal(t, "plan", []any{p.Config.BaseURL, p.Config.Duration, p.Load.Model, *p.Load.Target}, []any{"http://env.test", time.Hour, "rps", 2.0})
		equal(t, "notes", len(notes), 0)
	}
}

func TestLoadModelTypeReplacesTheWholeLoad(t *testing.T) {
	const stages = `version: "1.0"
config: {baseUrl: http://doc.test, duration: 10m}
load: {model: stages, unit: requests, maxWorkers: 50, stages: [{duration: 1m, target: 5}]}
scenarios: [{name: s, steps: [{name: get, request: {method: GET, path: /}}]}]
`
	e := Environment{LoadModel: "RampRps", MinRPS: ptr(1.0), MaxRPS: ptr(9.0), TargetRPS: ptr(3.0)}
	p, notes := merged(t, stages, e, EnvironmentWins)
	equal(t, "model", []any{p.Load.Model, *p.Load.Min, *p.Load.Max, len(p.Load.Stages), p.Load.Unit}, []any{"ramp", 1.0, 9.0, 0, "iterations"})
	equal(t, "a ramp takes the duration of the plan", p.Load.RampDuration, 10*time.Minute)
	equal(t, "notes", notes, []string{
		"LOAD_MODEL_TYPE hides load.model of the plan", "LOAD_MODEL_TYPE hides load.unit of the plan",
		"LOAD_MODEL_TYPE hides load.maxWorkers of the plan", "LOAD_MODEL_TYPE hides load.stages of the plan",
		"TARGET_RPS has no effect: load.model is ramp",
	})

	e.Duration = ptr(time.Minute)
	p, _ = merged(t, stages, e, EnvironmentWins)
	equal(t, "or that of the environment", p.Load.RampDuration, time.Minute)

	p, notes = merged(t, stages, e, DocumentWins)
	equal(t, "a posted plan keeps its own", []any{p.Load.Model, len(p.Load.Stages), p.Load.MaxWorkers}, []any{"stages", 1, 50})
	equal(t, "its notes", notes, []string{"config.duration of the plan hides TEST_DURATION", "load.model of the plan hides LOAD_MODEL_TYPE"})

	daily := Environment{LoadModel: "DailyTraffic", DailyMinRPS: ptr(1.0), DailyMidRPS: ptr(2.0), DailyMaxRPS: ptr(3.0), DailyCycleDuration: ptr(time.Hour)}
	p, _ = merged(t, stages, daily, EnvironmentWins)
	equal(t, "ratios are those of the environment", *p.Load.PeakSustainRatio, 0.167)

	if _, _, err := Merge([]byte(stages), Environment{LoadModel: "Rps"}, EnvironmentWins); err == nil || !strings.Contains(err.Error(), "requires TARGET_RPS") {
		t.Errorf("a model without its rate: %v", err)
	}
}

// Companions of a model without LOAD_MODEL_TYPE change the model that is there.
func TestModelVariablesBelongToTheirModel(t *testing.T) {
	ramp := strings.Replace(bare, "{model: rps, target: 6}", "{model: ramp, min: 1, max: 2, rampDuration: 1m}", 1)
	e := Environment{MaxRPS: ptr(20.0), RampDuration: ptr(2 * time.Minute), DailyMaxRPS: ptr(30.0), TargetRPS: ptr(4.0)}
	p, notes := merged(t, ramp, e, EnvironmentWins)
	equal(t, "ramp", []any{*p.Load.Min, *p.Load.Max, p.Load.RampDuration}, []any{1.0, 20.0, 2 * time.Minute})
	equal(t, "notes", notes, []string{
		"MAX_RPS hides load.max of the plan", "RAMP_DURATION hides load.rampDuration of the plan",
		"TARGET_RPS has no effect: load.model is ramp", "DAILY_MAX_RPS has no effect: load.model is ramp",
	})
	missing := strings.Replace(ramp, "max: 2, ", "", 1)
	p, notes = merged(t, missing, e, DocumentWins)
	equal(t, "what a posted ramp leaves out", []any{*p.Load.Max, p.Load.RampDuration}, []any{20.0, time.Minute})
	equal(t, "its notes", notes, []string{"load.rampDuration of the plan hides RAMP_DURATION"})
}

// A posted plan that says by other fields how long it takes is not cut short.
func TestTestDurationDoesNotBoundStagesAndIterations(t *testing.T) {
	for load, want := range map[string]time.Duration{
		"{model: stages, stages: [{duration: 3m, target: 5}]}": 3 * time.Minute,
		"{model: rps, target: 6, iterations: 100}":             0,
	} {
		document := strings.NewReplacer("{model: rps, target: 6}", load, ", duration: 10m", "").Replace(bare)
		p, notes := merged(t, document, Environment{Duration: ptr(time.Second)}, DocumentWins)
		equal(t, load, p.Config.Duration, want)
		equal(t, load+": notes", len(notes), 1)
	}
}

func TestClientCertificateOfThePlan(t *testing.T) {
	e := Environment{ClientCertPath: "/env.pem", ClientKeyPath: "/env.key"}
	p, _ := merged(t, full, e, EnvironmentWins)
	equal(t, "file", *p.Config.TLS, TLS{Cert: "/env.pem", Key: "/env.key"})
	p, _ = merged(t, full, e, DocumentWins)
	equal(t, "posted", *p.Config.TLS, TLS{Cert: "doc.pem", Key: "doc.key"})
	p, _ = merged(t, bare, e, EnvironmentWins)
	equal(t, "a plan without: the variables are the engine's", p.Config.TLS, (*TLS)(nil))
}

func TestMistakesOfAMergedPlanHaveThePlacesOfTheGivenOne(t *testing.T) {
	document := `version: "1.0"
config:
  baseUrl: http://doc.test
  duration: 5m

load: {model: rps, target: -1} # a comment that no rewriting keeps
scenarios: [{name: s, steps: [{name: get, request: {method: GOT, path: /}}]}]
`
	_, _, err := Merge([]byte(document), Environment{TargetURL: "http://env.test?x=secret", Workers: ptr(5)}, EnvironmentWins)
	var mistakes Errors
	if !errors.As(err, &mistakes) || len(mistakes) != 3 {
		t.Fatalf("mistakes %v, want 3", err)
	}
	for i, want := range []string{"3:12: config.baseUrl: from TARGET_URL: ", "6:28: load.target: -1 is negative", "7:61: scenarios[0].steps[0].request.method: "} {
		if got := mistakes[i].Error(); !strings.HasPrefix(got, want) {
			t.Errorf("mistake %q, want %q", got, want)
		}
	}
	if strings.Contains(err.Error(), "secret") {
		t.Error("a message quotes a secret")
	}
	for _, broken := range []string{"a: [", "- 1", "", "config: 5\nload: 6\n"} {
		_, _, want := Parse([]byte(broken))
		out, _, err := Merge([]byte(broken), Environment{Workers: ptr(5)}, EnvironmentWins)
		if err == nil {
			_, _, err = Parse(out)
		}
		if err == nil || want == nil {
			t.Errorf("%q: %v, without variables %v", broken, err, want)
		}
	}
}

func TestADocumentWithoutVariablesStaysByteForByte(t *testing.T) {
	for _, document := range []string{full, bare, "# comment\n" + bare} {
		out, notes, err := Merge([]byte(document), Environment{RequestType: "POST", SendJSON: true, JSONPayload: "{}"}, EnvironmentWins)
		if err != nil || string(out) != document || len(notes) > 0 {
			t.Errorf("%v %v\n%s", err, notes, out)
		}
	}
}

// What is written again means what was read: every plan there is, and the
// corners of YAML.
func TestARewrittenPlanIsTheSamePlan(t *testing.T) {
	documents := map[string]string{"corners": `version: 1.0
x-common: &step {request: {method: GET, path: "/a?b=${c}"}}
metadata:
  name: 'it''s "so": #1'
  description: |
    two
     lines
  author: >-
    one
    line
  tags: [a, "true", 1e3, 0x1F, null-ish, "~"]
config: &c {baseUrl: http://a.test, duration: 1d, workers: 10, skipTlsVerify: yes, resolve: {"on": 10.0.0.1, a.b: "[::1]:80"}}
load: {model: rps, target: 1e1, iterations: 5}
scenarios:
  - name: "é 😀 \u00e9"
    steps:
      - <<: *step
        name: folded
        thinkTime: {min: 1s, max: 2}
        extract: []
        assertions: [{type: statusCode, expected: [200, "3xx"]}, {type: jsonPath, path: $.a, expected: "*"}, {type: jsonPath, path: $.b, expected: 5.0}]
      - name: body
        request: {method: POST, path: /, headers: {X-Empty: , X-Yes: yes}, body: "a\nb\u2028\t\x7f\\"}
`}
	for _, pattern := range []string{"../examples/*.yaml", "/work/shared/testdata/predecessor/configs/*.yaml"} {
		files, err := filepath.Glob(pattern)
		if err != nil {
			t.Fatal(err)
		}
		for _, file := range files {
			document, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			documents[file] = string(document)
		}
	}
	for name, document := range documents {
		want, _, err := Parse([]byte(document))
		if err != nil {
			continue // those of the predecessor that it could not read either
		}
		root, faults := grow([]byte(document))
		if len(faults) > 0 {
			t.Errorf("%s: %v", name, faults)
			continue
		}
		got, _, err := Parse(root.bytes())
		if err != nil {
			t.Errorf("%s: %v\n%s", name, err, root.bytes())
			continue
		}
		equal(t, name, got, want)
	}
	if _, _, err := Parse([]byte(documents["corners"])); err != nil {
		t.Errorf("the corners are no plan: %v", err)
	}
}

func TestStandbyDocument(t *testing.T) {
	document := strings.Replace(full, "timeout: 7s", "timeout: 7s\n  warmup: 1m", 1) + `standby: {workers: 4, rps: 0.5}
thresholds: ["p95 < 1ms"]
metrics: {phases: true}
`
	out, err := StandbyDocument([]byte(document), Environment{RequestType: "post", SendJSON: true, JSONPayload: `{"a": "${b}"}`})
	if err != nil {
		t.Fatal(err)
	}
	p, given := mustParse(t, string(out)), mustParse(t, document)
	request := p.Scenarios[0].Steps[0].Request
	equal(t, "request", []any{len(p.Scenarios), len(p.Scenarios[0].Steps), request.Method, request.Path, request.Body},
		[]any{1, 1, "POST", "http://doc.test", `{"a": "$${b}"}`})
	equal(t, "load", []any{p.Load.Model, *p.Load.Target, p.Load.MaxWorkers}, []any{"rps", 0.5, 4})
	equal(t, "rest", []any{p.Standby, len(p.Thresholds), p.Metrics.Phases, p.Config.Warmup, p.Config.Duration}, []any{(*Standby)(nil), 0, false, time.Duration(0), 365 * 24 * time.Hour})
	want := given.Config
	want.Workers, want.Duration, want.Warmup = 4, 365*24*time.Hour, 0
	equal(t, "client", p.Config, want)
	if _, err := StandbyDocument([]byte(full), Environment{}); err == nil {
		t.Error("a plan without standby has one")
	}
	if out, err = StandbyDocument([]byte(document), Environment{}); err != nil {
		t.Fatal(err)
	}
	equal(t, "by default", mustParse(t, string(out)).Scenarios[0].Steps[0].Request.Method, "GET")
}
