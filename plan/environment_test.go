package plan

import (
	"strings"
	"testing"
	"time"
)

func ptr[T any](v T) *T { return &v }

// rendered is the plan that e describes, read back.
func rendered(t *testing.T, e Environment) *Plan {
	t.Helper()
	document, err := FromEnvironment(e)
	if err != nil {
		t.Fatal(err)
	}
	return mustParse(t, string(document))
}

func TestEnvironmentDefaults(t *testing.T) {
	document, err := FromEnvironment(Environment{TargetURL: "http://a.test"})
	if err != nil {
		t.Fatal(err)
	}
	equal(t, "document", string(document), `version: "1.0"
config:
  baseUrl: "http://a.test"
  duration: 2h
load:
  model: concurrent
scenarios:
  - name: default
    steps:
      - name: request
        request:
          method: "GET"
          path: "/"
`)
}

func TestEnvironmentModels(t *testing.T) {
	e := Environment{TargetURL: "http://a.test", Duration: ptr(90 * time.Minute)}

	e.LoadModel, e.TargetRPS = "Rps", ptr(0.25)
	equal(t, "Rps", *rendered(t, e).Load.Target, 0.25)

	e.LoadModel, e.MinRPS, e.MaxRPS = "RampRps", ptr(0.0), ptr(1e6)
	ramp := rendered(t, e).Load
	equal(t, "RampRps", []any{ramp.Model, *ramp.Min, *ramp.Max, ramp.RampDuration}, []any{"ramp", 0.0, 1e6, 90 * time.Minute})
	e.LoadModel, e.RampDuration = "ramp", ptr(1234567*time.Microsecond)
	equal(t, "ramp duration", rendered(t, e).Load.RampDuration, 1234567*time.Microsecond)

	e.LoadModel = "dailytraffic"
	e.DailyMinRPS, e.DailyMidRPS, e.DailyMaxRPS, e.DailyCycleDuration = ptr(1.0), ptr(2.0), ptr(3.0), ptr(24*time.Hour)
	e.PeakSustainRatio = ptr(0.2)
	daily := rendered(t, e).Load
	equal(t, "ratios of the environment", []float64{*daily.MorningRampRatio, *daily.PeakSustainRatio, *daily.MidDeclineRatio,
		*daily.MidSustainRatio, *daily.EveningDeclineRatio}, []float64{0.125, 0.2, 0.125, 0.167, 0.167})
	equal(t, "DailyTraffic", []any{*daily.Min, *daily.Mid, *daily.Max, daily.CycleDuration}, []any{1.0, 2.0, 3.0, 24 * time.Hour})
}

func TestEnvironmentSettings(t *testing.T) {
	p := rendered(t, Environment{TargetURL: "https://a.test/x", CustomHeaders: `X-A: "q"\, b, X-B: \d`, ResolveTargetAddr: "a.test:10.0.0.5:443",
		SkipTLSVerify: ptr(true), RequestTimeout: ptr(1500 * time.Millisecond), Workers: ptr(7), Duration: ptr(time.Duration(0)),
		PoolMaxIdlePerHost: ptr(0), PoolIdleTimeoutSecs: ptr(5), Tenant: "team \"ü\": #1"})
	c := p.Config
	equal(t, "headers", c.CustomHeaders, Headers{{"X-A", `"q", b`}, {"X-B", `\d`}})
	equal(t, "override", c.ResolveTarget, ResolveTarget{"a.test", "10.0.0.5", "443"})
	equal(t, "others", []any{c.SkipTLSVerify, c.Timeout, c.Workers, c.Duration, *c.Pool.MaxIdlePerHost, *c.Pool.IdleTimeoutSecs, p.Metadata.Tenant, p.Load.MaxWorkers},
		[]any{true, 1500 * time.Millisecond, 7, time.Duration(0), 0, 5, "team \"ü\": #1", 7})
}

// joined is how a request's URL is built, compat 2.8.
func joined(p *Plan) string {
	path := p.Scenarios[0].Steps[0].Request.Path
	if fullURL(path) {
		return path
	}
	return strings.TrimRight(p.Config.BaseURL, "/") + "/" + strings.TrimLeft(path, "/")
}

func TestEnvironmentURLStaysAsItIs(t *testing.T) {
	for given, want := range map[string]string{
		"http://a.test":                       "http://a.test/",
		"http://a.test/":                      "http://a.test/",
		"http://a.test/api":                   "http://a.test/api",
		"http://a.test/api/":                  "http://a.test/api/",
		"http://a.test:8080/api/v1?x=1&y=/z/": "http://a.test:8080/api/v1?x=1&y=/z/",
		"https://u:p@a.test/?q":               "https://u:p@a.test/?q",
		"http://a.test?x=1":                   "http://a.test/?x=1",
		"http://a.test//double/":              "http://a.test//double/",
		"http://a.test/a#part":                "http://a.test/a",
		"http://a.test/é b?c=d e":             "http://a.test/é b?c=d e",
		"http://[::1]:80/${x}":                "http://[::1]:80/$${x}", // escaped: never a variable
	} {
		equal(t, given, joined(rendered(t, Environment{TargetURL: given})), want)
	}
}

func TestEnvironmentPayload(t *testing.T) {
	for _, payload := range []string{
		`{"a": "b's \"c\"", "d": [1, 2]}`, "line one\nline two\n\n", "\ttab\r\n  # no comment: {x}", "null", "üñ\u2028\u0001\x7f\U0001F600", `\u0041 \n`,
		"- a\n- b", "*alias &anchor !tag %x @y `z", strings.Repeat("long ", 2000),
	} {
		r := rendered(t, Environment{TargetURL: "http://a.test", RequestType: "post", SendJSON: true, JSONPayload: payload}).Scenarios[0].Steps[0].Request
		equal(t, "request", r, Request{Method: "POST", Path: "/", Headers: []Header{{"Content-Type", "application/json"}}, Body: payload})
	}
	get := rendered(t, Environment{TargetURL: "http://a.test", SendJSON: true, JSONPayload: "{}"}).Scenarios[0].Steps[0].Request
	equal(t, "GET", get, Request{Method: "GET", Path: "/"})
	template := rendered(t, Environment{TargetURL: "http://a.test", RequestType: "PUT", SendJSON: true, JSONPayload: `"${a} $b"`})
	equal(t, "escaped body", template.Scenarios[0].Steps[0].Request.Body, `"$${a} $b"`)
}

func TestEnvironmentWithoutEffect(t *testing.T) {
	rates := Environment{TargetRPS: ptr(5.0), MinRPS: ptr(1.0), RampDuration: ptr(time.Second)}
	ramp, posts := rates, Environment{SendJSON: true, RequestType: "patch"}
	ramp.LoadModel, ramp.MaxRPS = "RampRps", ptr(2.0)
	for want, e := range map[string]Environment{
		"TARGET_RPS has no effect: load.model is concurrent, by LOAD_MODEL_TYPE\nMIN_RPS has no effect: load.model is concurrent, by LOAD_MODEL_TYPE\n" +
			"RAMP_DURATION has no effect: load.model is concurrent, by LOAD_MODEL_TYPE": rates,
		"TARGET_RPS has no effect: load.model is ramp, by LOAD_MODEL_TYPE":                            ramp,
		"SEND_JSON has no effect: REQUEST_TYPE is DELETE, and POST, PUT and PATCH carry JSON_PAYLOAD": {SendJSON: true, RequestType: "delete"},
		"": posts,
	} {
		equal(t, want, strings.Join(e.WithoutEffect(), "\n"), want)
	}
}

func TestEnvironmentMistakes(t *testing.T) {
	for name, c := range map[string]struct {
		e    Environment
		want string
	}{
		"nothing": {Environment{LoadModel: "Rps", SendJSON: true}, "TARGET_URL is missing (" + acceptBaseURL + ")\n" +
			"LOAD_MODEL_TYPE: Rps requires TARGET_RPS\nSEND_JSON is true, but JSON_PAYLOAD is missing (the body to send)"},
		"scheme": {Environment{TargetURL: "a.test/?key=secret"}, `TARGET_URL: "a.test/?…" does not begin with http:// or https:// (` + acceptBaseURL + ")"},
		"model": {Environment{TargetURL: "http://a.test", LoadModel: "Burst"},
			`LOAD_MODEL_TYPE: "Burst" is not a load model (Concurrent, Rps, RampRps or DailyTraffic)`},
		"daily": {Environment{TargetURL: "http://a.test", LoadModel: "DailyTraffic", DailyMidRPS: ptr(1.0)},
			"LOAD_MODEL_TYPE: DailyTraffic requires DAILY_MIN_RPS, DAILY_MAX_RPS, DAILY_CYCLE_DURATION"},
		"values": {Environment{TargetURL: "http://a.test", RequestType: "SEND", Workers: ptr(0), LoadModel: "Rps", TargetRPS: ptr(-1.0)},
			"NUM_CONCURRENT_TASKS: 0 is out of range (a whole number from 1 to 10000)\n" +
				"TARGET_RPS: -1 is negative (a number of arrivals per second, 0 or more)\n" +
				`REQUEST_TYPE: "SEND" is not a method (GET, POST, PUT, PATCH, DELETE, HEAD or OPTIONS)`},
		"headers": {Environment{TargetURL: "http://a.test", CustomHeaders: "secret"}, "CUSTOM_HEADERS: item 1 has no colon (" + acceptHeaders + ")"},
	} {
		document, err := FromEnvironment(c.e)
		if document != nil || err == nil {
			t.Errorf("%s: accepted", name)
			continue
		}
		equal(t, name, err.Error(), c.want)
	}
}
