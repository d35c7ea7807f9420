package loadgen_test

import (
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"volley/loadgen"
	"volley/stats"
)

// modelPlan has two steps, so that iterations and requests differ.
const modelPlan = `
version: "1.0"
config: {baseUrl: "$BASE", workers: 4, %s}
load: {%s}
scenarios: [{name: s, steps: [{name: a, request: {method: GET, path: /a}}, {name: b, request: {method: GET, path: /b}}]}]
`

func TestConformanceLoadModels(t *testing.T) {
	for name, tc := range map[string]struct {
		config, load string
		check        func(s *stats.Summary, seen int) error
	}{
		"by number alone": {"gracefulStop: 5s", "model: rps, target: 200, iterations: 60", func(s *stats.Summary, seen int) error {
			if s.Started != 60 || s.Completed != 60 || seen != 120 || s.Target != 60 || s.Planned < 295*time.Millisecond || s.Planned > 5*time.Second {
				return fmt.Errorf("started %d, completed %d, seen %d, target %v, planned %v", s.Started, s.Completed, seen, s.Target, s.Planned)
			}
			return nil
		}},
		"requests": {"duration: 500ms", "model: rps, target: 100, unit: requests", func(s *stats.Summary, seen int) error {
			// What is left of an iteration at the end goes without a place.
			r, err := stats.NewResult(s, stats.ScopeNode, nil)
			if err != nil || s.Due() != 50 || s.Started != s.Completed || seen < 50-int(s.Dropped) || seen > 58 || r.Iterations != int64(seen/2) {
				return fmt.Errorf("%w: due %d, started %d, completed %d, seen %d, iterations %d", err, s.Due(), s.Started, s.Completed, seen, r.Iterations)
			}
			return nil
		}},
		"warmup": {"duration: 600ms, warmup: 300ms", "model: stages, stages: [{duration: 0s, target: 100}, {duration: 600ms, target: 100}]", func(s *stats.Summary, seen int) error {
			if s.Due() != 30 || s.Requests != 2*s.Started || int64(seen) != s.Requests+s.WarmupRequests || seen < 110 || s.FirstDue != 0 || s.Span() != 300*time.Millisecond || s.Target < 29.99 || s.Target > 30.01 {
				return fmt.Errorf("due %d, %d requests, seen %d, first due %v, span %v, target %v", s.Due(), s.Requests, seen, s.FirstDue, s.Span(), s.Target)
			}
			return nil
		}},
		"stages of workers": {"", "model: stages, unit: workers, from: 3, stages: [{duration: 300ms, target: 3}, {duration: 0s, target: 0}, {duration: 100ms, target: 0}, {duration: 0s, target: 2}, {duration: 200ms, target: 2}]", func(s *stats.Summary, seen int) error {
			if !s.Closed || s.Started == 0 || s.Started != s.Completed || seen != 2*int(s.Started) || s.Dropped != 0 || s.Errors != (stats.Summary{}).Errors {
				return fmt.Errorf("closed %v, started %d, completed %d, seen %d, errors %v", s.Closed, s.Started, s.Completed, seen, s.Errors)
			}
			return nil
		}},
	} {
		t.Run(name, func(t *testing.T) {
			onBoth(t, func(t *testing.T, e loadgen.Engine) {
				target := newTarget(t, ok)
				prepare(t, e, job("r", fmt.Sprintf(modelPlan, tc.config, tc.load), target.URL))
				s, err := e.Run(t.Context(), "r", time.Now().Add(lead), nil)
				if err == nil {
					err = tc.check(s, len(target.all()))
				}
				if err != nil {
					t.Error(err)
				}
			})
		})
	}
}

func TestConformanceShareIsPartOfTheCurve(t *testing.T) {
	onBoth(t, func(t *testing.T, e loadgen.Engine) {
		target := newTarget(t, ok)
		for i, want := range []int64{25, 75} {
			j := job(fmt.Sprint("r", i), fmt.Sprintf(modelPlan, "duration: 500ms", "model: rps, target: 200, scope: cluster"), target.URL)
			j.Self, j.Divisions = fmt.Sprint(i), []loadgen.Division{{Among: []loadgen.Portion{{"0", 1}, {"1", 3}}}}
			prepare(t, e, j)
			s, err := e.Run(t.Context(), j.RunID, time.Now().Add(lead), nil)
			if err != nil || s.Due() != want || s.Target != float64(want) {
				t.Errorf("participant %d: %v, due %d of a target of %v; want %d", i, err, s.Due(), s.Target, want)
			}
		}
		j := job("bad", fmt.Sprintf(modelPlan, "duration: 500ms", "model: rps, target: 200, scope: cluster"), target.URL)
		j.Self, j.Divisions = "0", []loadgen.Division{{Among: []loadgen.Portion{{"0", 1}, {"0", 3}}}}
		if err := e.Prepare(t.Context(), j); err == nil {
			t.Error("one member twice is accepted")
		}
	})
}

// An error that counts has its example, whatever failed in the warm-up before.
func TestConformanceExamplesAreOfWhatCounts(t *testing.T) {
	onBoth(t, func(t *testing.T, e loadgen.Engine) {
		target := newTarget(t, func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusBadGateway) })
		prepare(t, e, job("r", fmt.Sprintf(modelPlan, "duration: 600ms, warmup: 300ms", "model: rps, target: 50"), target.URL))
		s, err := e.Run(t.Context(), "r", time.Now().Add(lead), nil)
		if err != nil || s.WarmupErrors == 0 || s.Errors[stats.ErrServer] == 0 || !strings.Contains(s.ErrorExamples[stats.ErrServer], "the status is 502") {
			t.Errorf("%v, %d errors in the warm-up, %d after it, such as %q", err, s.WarmupErrors, s.Errors[stats.ErrServer], s.ErrorExamples[stats.ErrServer])
		}
	})
}
