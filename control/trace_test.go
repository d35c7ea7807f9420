package control

import (
	"errors"
	"log/slog"
	"net/http"
	"strings"
	"testing"
)

// The lines that a request leaves in the log are of its trace.
func TestLinesAreOfTheRequestsTrace(t *testing.T) {
	const trace = "4bf92f3577b34da6a3ce929d0e0e4736"
	const field = ` logging.googleapis.com/trace=projects/proj/traces/` + trace
	const span = ` logging.googleapis.com/spanId=`
	for _, test := range []struct {
		project, header, want string
	}{
		{"proj", "Traceparent:00-" + trace + "-00f067aa0ba902b7-01", field + span + "00f067aa0ba902b7"},
		{"proj", "X-Cloud-Trace-Context:" + trace + "/18446744073709551615;o=1", field + span + "ffffffffffffffff"},
		{"proj", "X-Cloud-Trace-Context:" + trace + "/74;o=0", field + span + "000000000000004a"},
		{"proj", "X-Cloud-Trace-Context:" + trace, field},
		{"proj", "X-Cloud-Trace-Context:" + trace + "/99999999999999999999", field},
		{"proj", "X-Cloud-Trace-Context:" + trace[:31] + "Z/1", ""},
		{"proj", "Traceparent:00-" + trace + "-x", ""},
		{"proj", "Accept:*/*", ""},
		{"", "Traceparent:00-" + trace + "-00f067aa0ba902b7-01", ""},
	} {
		lines := &logLines{}
		app := &fakeApp{report: func(string) ([]byte, error) { return nil, errors.New("broken") }}
		base := serving(t, server(t, app, func(o *Options) {
			o.Log, o.Project = slog.New(slog.NewTextHandler(lines, nil)), func() string { return test.project }
		}).Run)
		call(t, http.MethodPost, base+"/config", "plan", test.header)                          // accepted
		call(t, http.MethodPost, base+"/stop", "", test.header)                                // accepted
		call(t, http.MethodPost, base+"/config", "x", "Origin:https://evil.test", test.header) // refused
		call(t, http.MethodGet, base+"/report.json", "", test.header)                          // failed
		got := strings.Split(strings.TrimSpace(lines.String()), "\n")
		if len(got) != 4 {
			t.Fatalf("%d lines of 4 requests:\n%s", len(got), lines)
		}
		for _, line := range got {
			if test.want != "" && !strings.Contains(line+" ", test.want+" ") || test.want == "" && strings.Contains(line, "googleapis") || !strings.Contains(test.want, span) && strings.Contains(line, span) {
				t.Errorf("%s %s: want %q in %s", test.project, test.header, test.want, line)
			}
		}
	}
}
