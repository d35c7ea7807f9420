package loadgen

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"volley/plan"
)

const plain = `
version: "1.0"
config: {baseUrl: "http://h", workers: 5, duration: 1m, CONFIG}
load: {LOAD}
scenarios: [{name: s, SCENARIO, steps: [{name: a, STEP, request: {method: GET, path: /, REQUEST}}]}]
TOP: EXTRA
`

// with fills the places of the plain plan: "STEP=thinkTime: 1s".
func with(t *testing.T, what string) *plan.Plan {
	t.Helper()
	values := map[string]string{"CONFIG": "", "LOAD": "model: rps, target: 5", "SCENARIO": "weight: 1", "STEP": "timeout: 1s", "REQUEST": "", "TOP: EXTRA": ""}
	if place, value, ok := strings.Cut(what, "="); ok {
		values[place] = value
	}
	var pairs []string
	for place, value := range values {
		pairs = append(pairs, place, value)
	}
	p, _, err := plan.Parse([]byte(strings.NewReplacer(pairs...).Replace(plain)))
	if err != nil {
		t.Fatalf("%s: %v", what, err)
	}
	return p
}

// TestEveryFeatureIsExecutedOrListed walks the plan's fields: those executed
// are in the first list, with the test that shows it elsewhere.
func TestEveryFeatureIsExecutedOrListed(t *testing.T) {
	for _, what := range []string{
		"", "LOAD=model: concurrent", "LOAD=model: ramp, min: 1, max: 5, rampDuration: 3s",
		"LOAD=model: ramp, min: 1, max: 5, rampDuration: 3s, shape: hold", "LOAD=model: rps, target: 0",
		"LOAD=model: rps, target: 5, maxBacklog: 2s, maxWorkers: 50", "LOAD=model: rps, target: 5, unit: iterations, arrival: uniform, scope: node",
		"CONFIG=timeout: 3s", "CONFIG=skipTlsVerify: true", `CONFIG=customHeaders: "A: b"`, `CONFIG=resolveTargetAddr: "h:10.0.0.1:80"`,
		"CONFIG=pool: {maxIdlePerHost: 0}", "CONFIG=pool: {maxIdlePerHost: 5, idleTimeoutSecs: 3}", "CONFIG=seed: 3", "CONFIG=gracefulStop: 3s",
		"CONFIG=http: 1.1", "CONFIG=client: std", "CONFIG=connections: request", "CONFIG=connections: iteration", "CONFIG=connections: worker",
		"CONFIG=cookies: off", "CONFIG=cookies: worker", "CONFIG=cookies: iteration", "CONFIG=maxRedirects: 0",
		"SCENARIO=weight: 3", "SCENARIO=config: {timeout: 3s}", "STEP=timeout: 3s", "STEP=continueOnFailure: true",
		"STEP=assertions: [{type: statusCode, expected: [200, 4xx], not: true}]",
		"REQUEST=body: x", "REQUEST=bodySize: 3KB", "REQUEST=queryParams: {a: b}", "REQUEST=headers: {a: b}",
		"TOP: EXTRA=standby: {workers: 2, rps: 0}", "TOP: EXTRA=metadata: {name: n, tenant: t}",
	} {
		if lines := Unsupported(with(t, what)); len(lines) > 0 {
			t.Errorf("%q is refused: %v", what, lines)
		}
	}
	for what, want := range map[string]string{
		"LOAD=model: dailytraffic, min: 1, mid: 2, max: 3, cycleDuration: 1m":  `load.model: model "dailytraffic"`,
		"LOAD=model: stages, stages: [{duration: 1m, target: 3}]":              `load.model: model "stages"`,
		"LOAD=model: rps, target: 5, unit: requests":                           `load.unit: unit "requests"`,
		"LOAD=model: rps, target: 5, arrival: poisson":                         `load.arrival: arrival "poisson"`,
		"LOAD=model: rps, target: 5, scope: cluster":                           `load.scope: scope "cluster"`,
		"LOAD=model: rps, target: 5, iterations: 100":                          "load.iterations: a number of iterations",
		"LOAD=model: concurrent, rampUp: 3s":                                   "load.rampUp: the ramp-up of workers",
		"CONFIG=warmup: 3s":                                                    "config.warmup: warmup",
		"CONFIG=traceparent: true":                                             "config.traceparent: trace context",
		"CONFIG=http: 2":                                                       `config.http: HTTP version "2"`,
		"CONFIG=http: auto":                                                    `config.http: HTTP version "auto"`,
		"CONFIG=client: own":                                                   "config.client: the engine's own client",
		"CONFIG=connections: 10":                                               "config.connections: connections shared by workers",
		"CONFIG=pool: {maxIdlePerHost: 4}":                                     "config.pool.maxIdlePerHost: fewer idle connections (4) than workers (up to 5)",
		"CONFIG=dns: {ttl: 1m}":                                                "config.dns: settings of name lookup",
		"CONFIG=dns: {select: first}":                                          "config.dns: settings of name lookup",
		"CONFIG=resolve: {h: 10.0.0.1}":                                        "config.resolve: the map of addresses (config.resolveTargetAddr works)",
		"CONFIG=tls: {ca: ca.pem}":                                             "config.tls: TLS files of a plan",
		"CONFIG=maxBody: 1MB":                                                  "config.maxBody: a limit on response bodies",
		`CONFIG=customHeaders: "A: ${x}"`:                                      "config.customHeaders: the substitution of ${…}",
		"SCENARIO=dataFile: {path: u.csv}":                                     "scenarios[0].dataFile: data files",
		"SCENARIO=config: {retryCount: 1}":                                     "scenarios[0].config.retryCount: retries",
		"STEP=thinkTime: 1s":                                                   "scenarios[0].steps[0].thinkTime: think time",
		"STEP=cache: {ttl: 1s}, extract: [{type: header, name: x, header: y}]": "scenarios[0].steps[0].extract: extraction of variables" + later + "\nscenarios[0].steps[0].cache: the step cache",
		"STEP=assertions: [{type: statusCode, expected: 200}, {type: responseTime, max: 1s}]": `scenarios[0].steps[0].assertions[1]: assertion "responseTime"`,
		"STEP=assertions: [{type: bodyContains, text: x}]":                                    `scenarios[0].steps[0].assertions[0]: assertion "bodyContains"`,
		"REQUEST=body: 'a ${x}'":                   "scenarios[0].steps[0].request.body: the substitution of ${…}",
		"REQUEST=queryParams: {a: '${x}'}":         "scenarios[0].steps[0].request.queryParams: the substitution of ${…}",
		"REQUEST=headers: {a: '${x}'}":             "scenarios[0].steps[0].request.headers: the substitution of ${…}",
		"REQUEST=headers: {content-length: '3'}":   "scenarios[0].steps[0].request.headers: a Content-Length of your own",
		"REQUEST=bodyFile: f":                      "scenarios[0].steps[0].request.bodyFile: body files",
		"REQUEST=form: {a: b}":                     "scenarios[0].steps[0].request.form: forms",
		"REQUEST=multipart: [{name: a, value: b}]": "scenarios[0].steps[0].request.multipart: multipart bodies",
		"TOP: EXTRA=standby: {workers: 2, rps: 3}": "standby.rps: load in standby",
		"TOP: EXTRA=thresholds: ['p95 < 300ms']":   "thresholds: thresholds",
		"TOP: EXTRA=metrics: {phases: true}":       "metrics.phases: the timing of request phases",
	} {
		if got := strings.Join(Unsupported(with(t, what)), "\n"); got != want+later {
			t.Errorf("%q gives\n%s\nwant\n%s", what, got, want+later)
		}
	}
}

const later = ": not in this version"

// TestPredecessorsPlansAreRefusedWithReasonsOrCompile uses what is there of the
// shared material.
func TestPredecessorsPlansAreRefusedWithReasonsOrCompile(t *testing.T) {
	files, _ := filepath.Glob("/work/shared/testdata/predecessor/configs/*.yaml")
	if len(files) == 0 {
		t.Skip("the predecessor's plans are not there")
	}
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		p, _, err := plan.Parse(text)
		if err != nil {
			t.Errorf("%s: %v", file, err)
			continue
		}
		lines := Unsupported(p)
		for _, line := range lines {
			if !strings.HasSuffix(line, later) {
				t.Errorf("%s: %s", file, line)
			}
		}
		if _, err := compile(p); err != nil && len(lines) == 0 {
			t.Errorf("%s: %v", file, err)
		}
		t.Log(filepath.Base(file), fmt.Sprint(len(lines), " lines"))
	}
}
