package loadgen_test

import (
	"context"
	"net/http"
	"strings"
	"testing"
	"time"

	"volley/loadgen"
	"volley/stats"
)

const recordedPlan = `
version: "1.0"
config: {baseUrl: "$BASE", workers: 2, duration: 1s, pool: {maxIdlePerHost: 7, idleTimeoutSecs: 9}}
load: {model: rps, target: 100}
scenarios:
  - name: s
    steps:
      - {name: one, request: {method: GET, path: /1}}
      - {name: two, request: {method: GET, path: /2}}
      - {name: three, request: {method: GET, path: /3}}
thresholds: ["step(three).errors < 1"]
`

// What the node records is the engine's to know, in a child too.
func TestConformanceRecording(t *testing.T) {
	for _, c := range []struct {
		name      string
		recording loadgen.Recording
		check     func(t *testing.T, s *stats.Summary)
	}{
		{"all", loadgen.Recording{}, func(t *testing.T, s *stats.Summary) {
			if s.Latency.Count() != s.Requests || len(s.Steps) != 3 || s.FoldedLabels != 0 {
				t.Errorf("%d latencies of %d requests, %d steps, %d folded; want all, 3, 0", s.Latency.Count(), s.Requests, len(s.Steps), s.FoldedLabels)
			}
			if want := (stats.Pool{Limited: true, MaxIdlePerHost: 7, IdleTimeout: 9 * time.Second}); s.Pool != want {
				t.Errorf("pool %+v, want %+v", s.Pool, want)
			}
			g := s.Generator
			if g.CPUPct <= 0 || g.CPUPct > 100 || g.WakeupP99 <= 0 || g.ScheduleLagP99 <= 0 || g.ThrottledPct < 0 || g.ThrottledPct > 100 {
				t.Errorf("generator %+v, want figures", g)
			}
		}},
		{"off", loadgen.Recording{Off: true}, func(t *testing.T, s *stats.Summary) {
			if s.Latency.Count() != 0 || s.IterationTime.Count() != 0 || !s.NoHistograms || s.ScheduleLag.Count() == 0 {
				t.Errorf("%d latencies, %d lags, off: %v; want none but the lags'", s.Latency.Count(), s.ScheduleLag.Count(), s.NoHistograms)
			}
		}},
		{"sampled", loadgen.Recording{SamplePct: 20}, func(t *testing.T, s *stats.Summary) {
			if n := s.Latency.Count(); n < s.Requests/20 || n > s.Requests/2 || s.SamplePct != 20 {
				t.Errorf("%d latencies of %d at %d %%, want about a fifth at 20", n, s.Requests, s.SamplePct)
			}
		}},
		{"labels", loadgen.Recording{MaxLabels: 2}, func(t *testing.T, s *stats.Summary) {
			if len(s.Steps) != 3 || s.Steps[1].Step != "other" || s.Steps[2].Step != "three" || s.FoldedLabels != 1 {
				t.Errorf("steps %+v, %d folded; want one, other and three, which a threshold names", s.Steps, s.FoldedLabels)
			}
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			onBoth(t, func(t *testing.T, e loadgen.Engine) {
				target := newTarget(t, ok)
				j := job("r", recordedPlan, target.URL)
				j.Recording = c.recording
				prepare(t, e, j)
				s, err := e.Run(t.Context(), "r", time.Now().Add(lead), nil)
				if err != nil {
					t.Fatal(err)
				}
				// A machine that others use drops some at the end.
				if seen := int64(len(target.all())); s.Requests != seen || seen < 150 || seen > 300 {
					t.Errorf("%d requests counted, %d seen, want all of about 300", s.Requests, seen)
				}
				c.check(t, s)
			})
		})
	}
}

const lateStepPlan = `
version: "1.0"
config: {baseUrl: "$BASE", workers: 1, duration: 10s, gracefulStop: 0s}
load: {model: concurrent}
metrics: {phases: true}
scenarios:
  - name: s
    steps:
      - {name: early, continueOnFailure: true, request: {method: GET, path: /early}}
      - {name: late, request: {method: GET, path: /late}, assertions: [{type: statusCode, expected: 200}]}
  - {name: never, weight: 0.0001, steps: [{name: seldom, request: {method: GET, path: /seldom}}]}
`

// Saving begins a second after the first request, not before, and what comes
// up after it is counted as other.
func TestConformanceSave(t *testing.T) {
	onBoth(t, func(t *testing.T, e loadgen.Engine) {
		saved := make(chan struct{})
		target := newTarget(t, func(w http.ResponseWriter, r *http.Request) {
			if strings.HasPrefix(r.URL.Path, "/early") {
				select { // so that the later step comes after
				case <-saved:
				case <-r.Context().Done():
				}
			}
			ok(w, r)
		})
		prepare(t, e, job("r", lateStepPlan, target.URL))
		e.Save() // a run that has not begun is left alone
		ctx, stop := context.WithCancelCause(t.Context())
		var released bool
		s, err := e.Run(ctx, "r", time.Now(), func(s *stats.Summary) {
			e.Save()
			e.Collect()
			if s.SavingSince > 0 && !released {
				released = true
				close(saved)
			}
			if s.Completed > 0 {
				stop(&loadgen.StopCause{Reason: "stop"})
			}
		})
		if err != nil {
			t.Fatal(err)
		}
		if s.SavingSince < time.Second || s.SavingSince > 9*time.Second {
			t.Errorf("saving since %v, want not before 1s", s.SavingSince)
		}
		var names []string
		for _, st := range s.Steps {
			names = append(names, st.Step)
		}
		if strings.Join(names, " ") != "other" && strings.Join(names, " ") != "early other" {
			t.Errorf("steps %v, want nothing of its own that came up after saving began", names)
		}
	})
}
