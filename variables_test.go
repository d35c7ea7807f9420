package main

import (
	"bytes"
	"strings"
	"testing"

	"volley/plan"
	"volley/settings"
)

// planVariable is a variable that describes the load: with what others, and the
// line of the plan that it becomes, § its value.
type planVariable struct {
	around, value, line string
}

const (
	ramping = "LOAD_MODEL_TYPE=RampRps MIN_RPS=1 MAX_RPS=9"
	daily   = "LOAD_MODEL_TYPE=DailyTraffic DAILY_MIN_RPS=1 DAILY_MID_RPS=2 DAILY_MAX_RPS=9 DAILY_CYCLE_DURATION=1h " +
		"MORNING_RAMP_RATIO=0.1 PEAK_SUSTAIN_RATIO=0.1 MID_DECLINE_RATIO=0.1 MID_SUSTAIN_RATIO=0.1 EVENING_DECLINE_RATIO=0.1"
)

var planVariables = map[string]planVariable{
	"TARGET_URL":             {"", "http://b.test", `baseUrl: "§"`},
	"REQUEST_TYPE":           {"", "PATCH", `method: "§"`},
	"SEND_JSON":              {"REQUEST_TYPE=PUT JSON_PAYLOAD=[7]", "true", `body: "[7]"`},
	"JSON_PAYLOAD":           {"REQUEST_TYPE=PUT SEND_JSON=true", "[8]", `body: "§"`},
	"CUSTOM_HEADERS":         {"", "X-A:1", `customHeaders: "§"`},
	"RESOLVE_TARGET_ADDR":    {"", "h:10.0.0.1:81", `resolveTargetAddr: "§"`},
	"SKIP_TLS_VERIFY":        {"", "true", "skipTlsVerify: §"},
	"REQUEST_TIMEOUT_SECS":   {"", "700ms", "timeout: §"},
	"REQUEST_TIMEOUT":        {"", "800ms", "timeout: §"},
	"NUM_CONCURRENT_TASKS":   {"", "17", "workers: §"},
	"TEST_DURATION":          {"", "90m", "duration: §"},
	"LOAD_MODEL_TYPE":        {"TARGET_RPS=3", "rps", "model: §"},
	"TARGET_RPS":             {"LOAD_MODEL_TYPE=Rps", "12.5", "target: §"},
	"MIN_RPS":                {ramping, "3.5", "min: §"},
	"MAX_RPS":                {ramping, "33.5", "max: §"},
	"RAMP_DURATION":          {ramping, "7m", "rampDuration: §"},
	"DAILY_MIN_RPS":          {daily, "1.5", "min: §"},
	"DAILY_MID_RPS":          {daily, "2.5", "mid: §"},
	"DAILY_MAX_RPS":          {daily, "33.5", "max: §"},
	"DAILY_CYCLE_DURATION":   {daily, "7h", "cycleDuration: §"},
	"MORNING_RAMP_RATIO":     {daily, "0.15", "morningRampRatio: §"},
	"PEAK_SUSTAIN_RATIO":     {daily, "0.15", "peakSustainRatio: §"},
	"MID_DECLINE_RATIO":      {daily, "0.15", "midDeclineRatio: §"},
	"MID_SUSTAIN_RATIO":      {daily, "0.15", "midSustainRatio: §"},
	"EVENING_DECLINE_RATIO":  {daily, "0.15", "eveningDeclineRatio: §"},
	"POOL_MAX_IDLE_PER_HOST": {"", "5", "maxIdlePerHost: §"},
	"POOL_IDLE_TIMEOUT_SECS": {"", "6", "idleTimeoutSecs: §"},
	"TENANT":                 {"", "shop", `tenant: "§"`},
}

// notOfThePlan are node-local: TestClientAsTheEnvironmentSays has it.
var notOfThePlan = map[string]bool{"TCP_NODELAY": true}

// ofNoFile are what a step says for itself in a plan file.
var ofNoFile = map[string]bool{"REQUEST_TYPE": true, "SEND_JSON": true, "JSON_PAYLOAD": true}

// TestEveryVariableOfTheLoadReachesThePlan walks the table of variables: each is in
// the plan that migrate writes, and on top of a plan file.
func TestEveryVariableOfTheLoadReachesThePlan(t *testing.T) {
	for _, g := range settings.Groups() {
		for _, v := range g.Variables {
			if _, ok := planVariables[v.Name]; g.Name == "LoadPlan" && !ok && !notOfThePlan[v.Name] {
				t.Errorf("%s: nothing shows that this variable does something", v.Name)
			}
		}
	}
	const file = `version: "1.0"
config: {baseUrl: http://doc.test, duration: 10m}
load: {model: concurrent}
scenarios: [{name: s, steps: [{request: {method: GET, path: /}}]}]
`
	for name, v := range planVariables {
		t.Run(name, func(t *testing.T) {
			line := strings.ReplaceAll(v.line, "§", v.value)
			environment(t, append(append([]string{"TARGET_URL=http://a.test"}, strings.Fields(v.around)...), name+"=")...)
			if name == "TARGET_URL" {
				environment(t, "TARGET_URL=http://a.test")
			}
			if before := migrated(t); strings.Contains(before, line) {
				t.Errorf("%q is there without it:\n%s", line, before)
			}
			environment(t, name+"="+v.value)
			if after := migrated(t); !strings.Contains(after, line) {
				t.Errorf("%q is not in the plan of the environment:\n%s", line, after)
			}
			if ofNoFile[name] {
				return
			}
			set, _, err := settings.Load()
			if err != nil {
				t.Fatal(err)
			}
			merged, _, err := plan.Merge([]byte(file), variablesSet(set), plan.EnvironmentWins)
			plain := strings.NewReplacer(`"`, "")
			if err != nil || !strings.Contains(plain.Replace(string(merged)), plain.Replace(line)) {
				t.Errorf("%q is not in the plan file with the environment on top: %v\n%s", line, err, merged)
			}
		})
	}
}

// migrated is what migrate writes, nothing if the settings lack something.
func migrated(t *testing.T) string {
	t.Helper()
	var document bytes.Buffer
	run(t.Context(), []string{"migrate"}, &document, t.Output())
	return document.String()
}
