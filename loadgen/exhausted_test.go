package loadgen_test

import (
	"net/http"
	"os"
	"strings"
	"testing"
	"time"

	"volley/loadgen"
	"volley/stats"
)

const hungryPlan = `version: "1.0"
config: {baseUrl: $BASE, workers: 100, duration: 1s, gracefulStop: 1s, connections: request}
load: {model: concurrent}
scenarios: [{name: s, steps: [{name: get, request: {method: GET, path: /}}]}]
`

// An engine that runs out of descriptors says that it was its own fault.
func TestRunningOutOfDescriptorsIsTheGenerators(t *testing.T) {
	leavesNothing(t)
	log, out := testLog()
	e, err := loadgen.OpenChild(t.Context(), loadgen.ChildConfig{
		Log: log, Executable: "/bin/sh",
		Args: []string{"-c", `ulimit -n 60 && exec "$0" "$1"`, os.Args[0], loadgen.ChildCommand},
	})
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	defer e.Close()
	target := newTarget(t, func(w http.ResponseWriter, r *http.Request) {
		<-time.After(200 * time.Millisecond) // so long that they need their connections at a time
		ok(w, r)
	})
	prepare(t, e, job("r", hungryPlan, target.URL))
	s, err := e.Run(t.Context(), "r", time.Now().Add(lead), nil)
	if err != nil {
		t.Fatal(err)
	}
	if s.Errors[stats.ErrGenerator] == 0 || s.Errors[stats.ErrNetwork] != 0 {
		t.Errorf("errors by kind %v, want some of kind generator and none of kind network", s.Errors)
	}
	if s.Verdict() != stats.VerdictSaturated {
		t.Errorf("verdict %s, want saturated", s.Verdict())
	}
	if text := s.ErrorExamples[stats.ErrGenerator]; !strings.Contains(text, "too many open files") {
		t.Errorf("the example is %q", text)
	}
}
