package loadgen

import (
	"bytes"
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
		"LOAD=model: dailytraffic, min: 1, mid: 2, max: 3, cycleDuration: 1m", "LOAD=model: stages, stages: [{duration: 1m, target: 3}]",
		"LOAD=model: stages, unit: workers, stages: [{duration: 1m, target: 3}]", "LOAD=model: rps, target: 5, unit: requests",
		"LOAD=model: rps, target: 5, arrival: poisson", "LOAD=model: rps, target: 5, scope: cluster", "LOAD=model: rps, target: 5, iterations: 100", "LOAD=model: concurrent, rampUp: 3s",
		"CONFIG=warmup: 3s", "CONFIG=timeout: 3s", "CONFIG=skipTlsVerify: true", `CONFIG=customHeaders: "A: b"`, `CONFIG=resolveTargetAddr: "h:10.0.0.1:80"`,
		"CONFIG=pool: {maxIdlePerHost: 0}", "CONFIG=pool: {maxIdlePerHost: 5, idleTimeoutSecs: 3}", "CONFIG=seed: 3", "CONFIG=gracefulStop: 3s",
		"CONFIG=http: 1.1", "CONFIG=http: 2", "CONFIG=http: auto", "CONFIG=client: std", "CONFIG=client: auto", "CONFIG=client: own",
		"CONFIG=connections: 10", "CONFIG=pool: {maxIdlePerHost: 4}", "CONFIG=dns: {ttl: 1m}", "CONFIG=dns: {select: first}",
		"CONFIG=resolve: {h: 10.0.0.1}", "CONFIG=tls: {ca: ca.pem}", "TOP: EXTRA=metrics: {phases: true}", "CONFIG=connections: request", "CONFIG=connections: iteration", "CONFIG=connections: worker",
		"CONFIG=traceparent: true", "CONFIG=maxBody: 1MB", `CONFIG=customHeaders: "A: ${x}"`, "SCENARIO=config: {retryCount: 1}", "STEP=thinkTime: 1s",
		"STEP=cache: {ttl: 1s}, extract: [{type: header, name: x, header: y}]", "STEP=assertions: [{type: statusCode, expected: 200}, {type: responseTime, max: 1s}]",
		"STEP=assertions: [{type: bodyContains, text: x}]", "REQUEST=body: 'a ${x}'", "REQUEST=queryParams: {a: '${x}'}", "REQUEST=headers: {a: '${x}'}",
		"REQUEST=bodyFile: f", "REQUEST=form: {a: b}", "REQUEST=multipart: [{name: a, value: b}]",
		"CONFIG=cookies: off", "CONFIG=cookies: worker", "CONFIG=cookies: iteration", "CONFIG=maxRedirects: 0",
		"SCENARIO=weight: 3", "SCENARIO=dataFile: {path: u.csv}", "SCENARIO=config: {timeout: 3s}", "STEP=timeout: 3s", "STEP=continueOnFailure: true",
		"STEP=assertions: [{type: statusCode, expected: [200, 4xx], not: true}]",
		"REQUEST=body: x", "REQUEST=bodySize: 3KB", "REQUEST=queryParams: {a: b}", "REQUEST=headers: {a: b}",
		"TOP: EXTRA=standby: {workers: 2, rps: 3}", "TOP: EXTRA=thresholds: ['p95 < 300ms']", "TOP: EXTRA=metadata: {name: n, tenant: t}",
	} {
		if lines := Unsupported(with(t, what)); len(lines) > 0 {
			t.Errorf("%q is refused: %v", what, lines)
		}
	}
}

func TestOurOwnClientRefusesWhatItCannotDo(t *testing.T) {
	for what, want := range map[string]string{
		"CONFIG=client: own":                               "",
		"CONFIG=client: own, http: 2":                      "config.client: own speaks HTTP/1.1, and config.http is 2 (config.http 1.1, or config.client auto or std)",
		"CONFIG=client: own, http: auto":                   "config.client: own speaks HTTP/1.1, and config.http is auto (config.http 1.1, or config.client auto or std)",
		`CONFIG=client: own, customHeaders: "upgrade: x"`:  "config.client: own cannot send config.customHeaders.upgrade (it can be left out, or config.client auto or std)",
		"REQUEST=headers: {Expect: 100-continue}, body: x": "", // the client is auto
	} {
		if got := strings.Join(Unsupported(with(t, what)), "\n"); got != want {
			t.Errorf("%s gives\n%s\nwant\n%s", what, got, want)
		}
	}
	for what, want := range map[string]bool{
		"": true, "CONFIG=client: std": false, "CONFIG=client: own": true, "CONFIG=http: auto": true, "CONFIG=http: 2": false,
		"REQUEST=headers: {Expect: 100-continue}, body: x": false,
	} {
		if got, err := isOwn(with(t, what), Client{}); got != want || err != nil {
			t.Errorf("%q: own client %v, %v; want %v", what, got, err, want)
		}
	}
	if got, err := isOwn(with(t, ""), Client{ProxyFromEnv: true}); got || err != nil {
		t.Errorf("with a proxy: own client %v, %v", got, err)
	}
	if _, err := isOwn(with(t, "CONFIG=client: own"), Client{ProxyFromEnv: true}); err == nil || !strings.HasPrefix(err.Error(), "config.client: own passes no proxy") {
		t.Errorf("own with a proxy: %v", err)
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
		p, _, err := plan.Parse(bytes.ReplaceAll(text, []byte("./examples/data/"), []byte("data/")))
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
		if _, err := compile(p, &Job{Files: Files{Folder: filepath.Join(filepath.Dir(file), ".."), Local: true}}); err != nil && len(lines) == 0 {
			t.Errorf("%s: %v", file, err)
		}
		t.Log(filepath.Base(file), fmt.Sprint(len(lines), " lines"))
	}
}
