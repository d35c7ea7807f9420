package plan_test

import (
	"errors"
	"strings"
	"testing"

	"volley/plan"
)

func TestThresholdsWithoutPercentiles(t *testing.T) {
	document := []byte(`version: "1.0"
config: {baseUrl: "http://h", duration: 1s}
load: {model: rps, target: 1}
scenarios: [{name: s, steps: [{name: a, request: {method: GET, path: /}}]}]
thresholds:
  - "error_rate < 1%"
  - p95 < 300ms
  - expr: step(a).service.max < 1s
    abortOnFail: true
  - "iteration.mean < 1s over last 10s"
  - "rps > 1"
`)
	if _, _, err := plan.Parse(document); err != nil {
		t.Fatal(err)
	}
	p, _, err := plan.ParseWithoutPercentiles(document, "n1")
	var mistakes plan.Errors
	if !errors.As(err, &mistakes) || p != nil || len(mistakes) != 3 {
		t.Fatalf("got %v and %v, want the three thresholds on durations refused", p, err)
	}
	for i, want := range []string{
		`7:5: thresholds[1]: "p95 < 300ms" needs percentiles, which node n1 does not record: PERCENTILE_TRACKING_ENABLED=false there (error_rate,`,
		`8:11: thresholds[2].expr: "step(a).service.max < 1s" needs percentiles`,
		`10:5: thresholds[3]: "iteration.mean < 1s over last 10s" needs percentiles`,
	} {
		if !strings.HasPrefix(mistakes[i].Error(), want) {
			t.Errorf("got %s, want %s", mistakes[i], want)
		}
	}
	broken := []byte(strings.Replace(string(document), "p95 <", "p95 is", 1))
	if _, _, err := plan.ParseWithoutPercentiles(broken, "n1"); !errors.As(err, &mistakes) || len(mistakes) != 3 {
		t.Errorf("a mistake of another kind: %v, want it once beside two others", err)
	}
	harmless := []byte(strings.Split(string(document), "  - p95")[0])
	if _, _, err := plan.ParseWithoutPercentiles(harmless, "n1"); err != nil {
		t.Errorf("a threshold on counts is refused: %v", err)
	}
}
