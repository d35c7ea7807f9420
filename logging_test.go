package main

import (
	"bytes"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"volley/node"
)

// Where a person reads the log each mistake of a plan has a line; a machine gets
// all of them in one.
func TestEachMistakeOfAPlanHasALine(t *testing.T) {
	plan := filepath.Join(t.TempDir(), "bad.yaml")
	if err := os.WriteFile(plan, []byte("version: \"1.0\"\nconfig: {baseUrl: \"ftp://x\", duration: 1s, workers: none}\nload: {model: nope}\nscenarios: []\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for format, want := range map[string]string{
		"text": `msg="the plan is invalid: 2:19: config\.baseUrl: .*" event=config_invalid origin=\S+ revision=\S+
  2:53: config\.workers: "none" .*
  3:15: load\.model: "nope" .*
  4:12: scenarios: .*
(?s:.*)msg="exit: invalid plan from \S+: 2:19: .* \(and 3 more, above\)" event=exit exit_code=104
$`,
		"json": `"message":"the plan is invalid: 2:19: [^\n]*\\n2:53: [^\n]*\\n3:15: [^\n]*\\n4:12: [^\n]*","event":"config_invalid"`,
	} {
		environment(t, "LOG_FORMAT="+format)
		var log bytes.Buffer
		if code := run(t.Context(), []string{plan}, io.Discard, &log); code != node.ExitInvalid {
			t.Errorf("%s: exit code %d", format, code)
		}
		if !regexp.MustCompile(want).MatchString(log.String()) {
			t.Errorf("%s: the log is\n%s\nwant %s", format, &log, want)
		}
		if n := strings.Count(log.String(), "scenarios: "); n > 2 { // that there is no run may be told before the process ends
			t.Errorf("%s: the last mistake is told %d times:\n%s", format, n, &log)
		}
	}
}
