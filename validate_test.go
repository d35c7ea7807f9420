package main

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"volley/node"
)

func validated(t *testing.T, text string, files map[string]string) (code int, out, errOut string) {
	t.Helper()
	t.Chdir(t.TempDir())
	files["p.yaml"] = text
	for name, content := range files {
		if err := os.WriteFile(filepath.Join(".", name), []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	var o, e bytes.Buffer
	code = validate([]string{"p.yaml"}, &o, &e)
	return code, o.String(), e.String()
}

// What the schema does not show is told with its place: files that are not
// there and variables that nothing sets may be as they are meant.
func TestValidateLooksBeyondTheDocument(t *testing.T) {
	const text = `version: "1.0"
config:
  baseUrl: "http://a"
  duration: 5s
  customHeaders: "Authorization: Bearer ${token}, X-A: ${nope}"
load: {model: rps, target: 10}
scenarios:
  - name: one
    dataFile: {path: users.csv, format: csv, strategy: random}
    steps:
      - name: login
        request: {method: GET, path: "/a?x=${tokn}&u=${user}&e=${env.FOO}&r=${random(1,9)}&i=${iteration}&d=$${kept}"}
        extract:
          - {type: jsonPath, name: token, jsonPath: $.t}
      - name: second
        request:
          method: POST
          path: /b/${token}
          headers: {X-Q: "${later}"}
          body: |
            {"a": "${user}", "c": "${json:ghost}"}
        assertions:
          - {type: bodyContains, text: "${here}"}
          - {type: jsonPath, path: $.x, expected: "${other}"}
        extract:
          - {type: regex, name: here, regex: "a(b)"}
      - name: third
        request: {method: POST, path: /, bodyFile: gone.bin}
        extract:
          - {type: regex, name: later, regex: "a(b)"}
  - name: any column
    dataFile: {path: none.json, format: json, strategy: cycle}
    steps:
      - request: {method: GET, path: "/${a}"}
`
	const advice = ", so it is sent as it is written (a variable that a step extracts before, or a column of the data file; $${ for a literal ${) (warning)\n"
	want := "p.yaml:5:18: config.customHeaders: nothing sets ${nope}" + advice +
		"p.yaml:12:38: scenarios[0].steps[0].request.path: nothing sets ${tokn}" + advice +
		`p.yaml:19:26: scenarios[0].steps[1].request.headers.X-Q: ${later} is used before step "third" extracts it (warning)` + "\n" +
		"p.yaml:20:17: scenarios[0].steps[1].request.body: nothing sets ${json:ghost}" + advice +
		"p.yaml:24:51: scenarios[0].steps[1].assertions[1].expected: nothing sets ${other}" + advice +
		"p.yaml:28:52: scenarios[0].steps[2].request.bodyFile: open gone.bin: no such file or directory (warning)\n" +
		"p.yaml:32:22: scenarios[1].dataFile.path: open none.json: no such file or directory (warning)\n"
	environment(t, "PLAN_ENV=FOO", "FOO=1")
	code, out, errOut := validated(t, text, map[string]string{"users.csv": "user,password\nann,x\n"})
	if code != node.ExitOK || out != "p.yaml: ok\n" || errOut != want {
		t.Errorf("exit %d, %q and\n%s\nwant\n%s", code, out, errOut, want)
	}
	_, _, errOut = validated(t, text, map[string]string{"users.csv": "user,password\nann\n", "gone.bin": "", "none.json": `[{"b":1}]`})
	want = "p.yaml:5:18: config.customHeaders: nothing sets ${token}" + advice + // in the second scenario
		"p.yaml:5:18: config.customHeaders: nothing sets ${nope}" + advice +
		`p.yaml:9:22: scenarios[0].dataFile.path: csv file "users.csv": line 2: 1 fields (2 are needed, as in the header) (warning)` + "\n" +
		"p.yaml:34:38: scenarios[1].steps[0].request.path: nothing sets ${a}" + advice
	if errOut != want {
		t.Errorf("\n%s\nwant\n%s", errOut, want)
	}
}

// What this machine's environment lacks, another's may have: it is a warning.
func TestValidateKnowsTheEnvironment(t *testing.T) {
	const text = `version: "1.0"
config: {baseUrl: "http://${env.HOST_OF_TARGET}", duration: 5s}
load: {model: rps, target: 10}
scenarios:
  - name: one
    dataFile: {path: none.csv, format: csv, strategy: cycle}
    steps:
      - request: {method: POST, path: "/${env.KNOWN}", body: "${json:env.X} ${env.UNLISTED} ${env.UNSET} ${column}"}
`
	environment(t, "PLAN_ENV=KNOWN,UNSET", "KNOWN=1", "UNLISTED=1")
	refused := func(variable, name string) string {
		return variable + " is not known here (PLAN_ENV has to list " + name + ", and it has to be set): run refuses the plan where that is so (warning)\n"
	}
	body := "p.yaml:8:62: scenarios[0].steps[0].request.body: "
	want := "p.yaml:2:19: config.baseUrl: " + refused("${env.HOST_OF_TARGET}", "HOST_OF_TARGET") +
		"p.yaml:6:22: scenarios[0].dataFile.path: open none.csv: no such file or directory (warning)\n" +
		body + refused("${json:env.X}", "X") + body + refused("${env.UNLISTED}", "UNLISTED") + body + refused("${env.UNSET}", "UNSET")
	code, out, errOut := validated(t, text, map[string]string{})
	if code != node.ExitOK || out != "p.yaml: ok\n" || errOut != want {
		t.Errorf("exit %d, %q and\n%s\nwant\n%s", code, out, errOut, want)
	}
}

// What every run would refuse is no plan, though its document is in order.
func TestValidateRefusesWhatEveryRunWould(t *testing.T) {
	code, out, errOut := validated(t, `version: "1.0"
config: {baseUrl: "http://a", duration: 5s}
load: {model: rps, target: 10}
scenarios:
  - name: one
    steps:
      - request: {method: GET, path: "/${random(9,1)}"}
      - request: {method: POST, path: /, body: x, headers: {Content-Length: "5"}}
`, map[string]string{})
	const want = "p.yaml:7:38: scenarios[0].steps[0].request.path: ${random(9,1)} is no random number (${random(a,b)} with integers a <= b, both included)\n" +
		"p.yaml:8:77: scenarios[0].steps[1].request.headers.Content-Length: cannot be set (it is left out: a body is sent with its length)\n"
	if code != node.ExitInvalid || out != want || errOut != "" {
		t.Errorf("exit %d, %q and\n%s\nwant\n%s", code, errOut, out, want)
	}
}

// What only a cluster refuses is a note: the plan may be run standalone.
func TestValidateNotesWhatAClusterRefuses(t *testing.T) {
	text := `version: "1.0"
config: {baseUrl: "http://a", duration: 5s}
load: {model: rps, target: 10}
scenarios:
  - name: one
    steps:
      - {name: s, request: {method: GET, path: /}}
`
	thresholds := "thresholds:\n  - p95 < 1s over last 2s\n"
	for i := range 9 {
		text += fmt.Sprintf("      - {name: s%d, request: {method: GET, path: /}}\n", i)
		thresholds += fmt.Sprintf("  - step(s%d).p95 < 1s over last 2s\n", i)
	}
	text += thresholds
	code, out, _ := validated(t, text, map[string]string{})
	const want = "p.yaml: ok\n" +
		"p.yaml: note: thresholds: over last on 9 parts (steps, scenarios, service, ok and iteration figures of each): at most 8 are accepted in a cluster or a job, whose nodes or tasks tell each part's course\n"
	if code != node.ExitOK || out != want {
		t.Errorf("exit %d and\n%s\nwant\n%s", code, out, want)
	}
	log := &lines{}
	environment(t, "CLUSTER_ENABLED=true", "CLUSTER_CONFIG_SOURCE=file", "CLUSTER_BIND_ADDR=127.0.0.1:0", "CONFIG_FILE=p.yaml", "LOG_FORMAT=json")
	if code := run(t.Context(), nil, io.Discard, log); code != node.ExitInvalid || !strings.Contains(log.String(), "18:3: thresholds: over last on 9 parts") {
		t.Errorf("exit %d, want 104 with the thresholds at their place:\n%s", code, log)
	}
}
