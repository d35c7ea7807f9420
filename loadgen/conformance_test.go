package loadgen_test

import (
	"context"
	"errors"
	"math"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"volley/loadgen"
	"volley/stats"
)

const lead = 300 * time.Millisecond

const rpsPlan = `
version: "1.0"
config: {baseUrl: "$BASE", workers: 4, duration: 1s, gracefulStop: 5s}
load: {model: rps, target: 200}
scenarios:
  - name: browse
    weight: 3
    steps:
      - {name: list, request: {method: GET, path: /list}}
      - {name: item, request: {method: POST, path: /item, body: "0123456789"}}
  - name: buy
    steps:
      - {name: pay, request: {method: put, path: "pay?x=1", bodySize: 10KB}}
`

func TestConformanceCountsWhatTheTargetSaw(t *testing.T) {
	onBoth(t, func(t *testing.T, e loadgen.Engine) {
		target := newTarget(t, ok)
		j := job("r1", rpsPlan, target.URL)
		prepare(t, e, j)
		var mu sync.Mutex
		var lives []*stats.Summary
		start := time.Now().Add(lead)
		s, err := e.Run(t.Context(), "r1", start, func(s *stats.Summary) {
			mu.Lock()
			defer mu.Unlock()
			lives = append(lives, s)
		})
		if err != nil {
			t.Fatal(err)
		}
		checkIdentity(t, s, j, start)
		checkCounts(t, s, target)
		checkStart(t, s, target, start)
		if len(lives) == 0 || !lives[0].Sent || lives[0].RunID != "r1" || lives[0].Ended {
			t.Errorf("%d live summaries, want one at the first request that says so", len(lives))
		}
	})
}

func checkIdentity(t *testing.T, s *stats.Summary, j loadgen.Job, start time.Time) {
	t.Helper()
	if s.RunID != j.RunID || s.ConfigVersion != j.ConfigVersion || s.NodeID != "node-a" || s.Region != "local" {
		t.Errorf("summary of run %q, version %q, node %q, region %q", s.RunID, s.ConfigVersion, s.NodeID, s.Region)
	}
	if s.Planned != time.Second || s.Workers != 4 || !s.Ended || s.Closed || s.Target != 200 {
		t.Errorf("planned %v, workers %d, ended %v, closed %v, target %v; want 1s, 4, true, false, 200", s.Planned, s.Workers, s.Ended, s.Closed, s.Target)
	}
	if diff := s.StartedAt.Sub(start).Abs(); diff > time.Millisecond || s.Elapsed < time.Second {
		t.Errorf("started %v off, elapsed %v", diff, s.Elapsed)
	}
	if s.Generator.CPUPct <= 0 || s.Generator.CPUPct > 100 {
		t.Errorf("cpu %v %%", s.Generator.CPUPct)
	}
}

func checkCounts(t *testing.T, s *stats.Summary, target *seen) {
	t.Helper()
	if s.Due() != 200 || s.Started != s.Completed || s.Interrupted != 0 {
		t.Errorf("due %d = started %d + dropped %d, completed %d", s.Due(), s.Started, s.Dropped, s.Completed)
	}
	calls := target.all()
	if s.Requests != int64(len(calls)) || s.ErrorCount() != 0 || s.StatusCodes()[200] != s.Requests {
		t.Errorf("%d requests, %d errors, codes %v; the target saw %d", s.Requests, s.ErrorCount(), s.StatusCodes(), len(calls))
	}
	if s.Latency.Count() != s.Requests || s.Service.Count() != s.Requests || s.BytesIn < s.Requests*5 {
		t.Errorf("%d latencies, %d service times, %d bytes in", s.Latency.Count(), s.Service.Count(), s.BytesIn)
	}
	// One each for 4 workers; on a machine under stress net/http gives up some.
	if int(s.ConnsNew) != target.connections() || s.ConnsNew+s.ConnsReused != s.Requests || s.ConnsNew > 4+s.Requests/20 {
		t.Errorf("%d new and %d reused connections; the target saw %d", s.ConnsNew, s.ConnsReused, target.connections())
	}
	paths := target.paths()
	for i, path := range []string{"GET /list", "POST /item", "PUT /pay?x=1"} {
		if st := s.Steps[i]; st.Requests != int64(paths[path]) || st.Requests == 0 {
			t.Errorf("step %s counts %d, the target saw %d", st.Step, st.Requests, paths[path])
		}
	}
	// 3 to 1, four standard deviations.
	n, started := float64(paths["GET /list"]), float64(s.Started)
	if math.Abs(n-0.75*started) > 4*math.Sqrt(0.75*0.25*started) {
		t.Errorf("scenario of weight 3 of 4 ran %v of %v times", n, started)
	}
	for _, c := range calls {
		if c.method == "PUT" && (c.body != 10<<10 || strings.Trim(c.bodyText, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789") != "") {
			t.Errorf("body of %d bytes: %q", c.body, c.bodyText)
		}
	}
}

func checkStart(t *testing.T, s *stats.Summary, target *seen, start time.Time) {
	t.Helper()
	first := target.all()[0].at
	if first.Before(start) || first.Sub(start) > 50*time.Millisecond {
		t.Errorf("the target saw the first request %v after the start", first.Sub(start))
	}
	if skew, sent := s.StartSkew(); !sent || s.FirstDue != 0 || skew < 0 || skew > 50*time.Millisecond {
		t.Errorf("start skew %v, first due %v", skew, s.FirstDue)
	}
}

const slowPlan = `
version: "1.0"
config: {baseUrl: "$BASE", workers: 3, duration: 20s, gracefulStop: 10s}
load: {model: concurrent}
scenarios: [{name: s, steps: [{name: a, request: {method: GET, path: /}}]}]
`

// hangs answers only after the test lets it.
func hangs(t *testing.T) (answer, chan struct{}) {
	release := make(chan struct{})
	t.Cleanup(func() {
		select {
		case <-release:
		default:
			close(release)
		}
	})
	return func(w http.ResponseWriter, r *http.Request) {
		select {
		case <-release:
		case <-r.Context().Done():
		}
	}, release
}

func TestConformanceStopDrainsAndThenInterrupts(t *testing.T) {
	onBoth(t, func(t *testing.T, e loadgen.Engine) {
		for name, finish := range map[string]bool{"in time": true, "too late": false} {
			a, release := hangs(t)
			target := newTarget(t, a)
			prepare(t, e, job(name, slowPlan, target.URL))
			ctx, cancel := context.WithCancelCause(t.Context())
			done := make(chan struct{})
			go func() { // joined below
				defer close(done)
				if !eventually(func() bool { return len(target.all()) == 3 }) {
					t.Error("the target did not see three requests")
				}
				cancel(&loadgen.StopCause{Reason: "stop", Grace: 200 * time.Millisecond})
				if finish {
					close(release)
				}
			}()
			s, err := e.Run(ctx, name, time.Now(), nil)
			<-done
			if err != nil {
				t.Fatal(err)
			}
			want := int64(3)
			if finish {
				want = 0
			}
			if s.Interrupted != want || s.Started != s.Completed+s.Interrupted || s.Requests != int64(len(target.all())) || s.ErrorCount() != 0 {
				t.Errorf("%s: started %d = completed %d + interrupted %d (want %d); %d requests of %d, %d errors",
					name, s.Started, s.Completed, s.Interrupted, want, s.Requests, len(target.all()), s.ErrorCount())
			}
			if s.Elapsed > 5*time.Second || !s.Ended {
				t.Errorf("%s: elapsed %v, ended %v", name, s.Elapsed, s.Ended)
			}
		}
	})
}

func TestConformanceStopBeforeTheStartSendsNothing(t *testing.T) {
	onBoth(t, func(t *testing.T, e loadgen.Engine) {
		target := newTarget(t, ok)
		prepare(t, e, job("r", slowPlan, target.URL))
		ctx, cancel := context.WithCancelCause(t.Context())
		time.AfterFunc(50*time.Millisecond, func() { cancel(&loadgen.StopCause{Reason: "stop", Grace: time.Second}) })
		s, err := e.Run(ctx, "r", time.Now().Add(time.Hour), nil)
		if err != nil || s.Due() != 0 || s.Sent || len(target.all()) != 0 {
			t.Errorf("%v, due %d, %d requests", err, s.Due(), len(target.all()))
		}
	})
}

func TestConformancePrepareRefuses(t *testing.T) {
	onBoth(t, func(t *testing.T, e loadgen.Engine) {
		for name, tc := range map[string]struct{ document, want string }{
			"invalid":     {strings.Replace(slowPlan, "duration: 20s", "duration: soon", 1), "config.duration"},
			"no variable": {strings.Replace(slowPlan, "path: /", "path: '/${env.SECRET}'", 1), "scenarios[0].steps[0].request.path: ${env.SECRET} is not known"},
			"no URL":      {strings.Replace(slowPlan, "path: /", "path: 'http://h:port/'", 1), "scenarios[0].steps[0].request.path"},
		} {
			err := e.Prepare(t.Context(), job(name, tc.document, "http://h"))
			if err == nil || !strings.Contains(err.Error(), tc.want) {
				t.Errorf("%s: %v, want %q in it", name, err, tc.want)
			}
			if _, err := e.Run(t.Context(), name, time.Now(), nil); !errors.Is(err, loadgen.ErrUnknownRun) {
				t.Errorf("%s: run says %v", name, err)
			}
		}
		j := job("cert", slowPlan, "http://h")
		j.Client.ClientCertPath, j.Client.ClientKeyPath = "/nowhere.pem", "/nokey.pem"
		if err := e.Prepare(t.Context(), j); err == nil || !strings.Contains(err.Error(), "/nowhere.pem") {
			t.Errorf("a missing client certificate: %v", err)
		}
	})
}

func TestConformancePrepareIsIdempotentAndARunStartsOnce(t *testing.T) {
	onBoth(t, func(t *testing.T, e loadgen.Engine) {
		target := newTarget(t, ok)
		j := job("r", strings.Replace(slowPlan, "20s", "300ms", 1), target.URL)
		other := job("r", strings.Replace(slowPlan, "20s", "200ms", 1), target.URL)
		prepare(t, e, j)
		prepare(t, e, j)
		prepare(t, e, other) // a newer config of a run that has not started
		prepare(t, e, j)
		var during error
		var once sync.Once
		s, err := e.Run(t.Context(), "r", time.Now(), func(*stats.Summary) {
			once.Do(func() {
				during = errors.Join(e.Prepare(t.Context(), j))
				if e.Prepare(t.Context(), other) == nil {
					t.Error("another config under the id of a running run is prepared")
				}
				if _, err := e.Run(t.Context(), "r", time.Now(), nil); !errors.Is(err, loadgen.ErrUnknownRun) {
					t.Errorf("a second start of a running run: %v", err)
				}
				e.Discard("r")
			})
		})
		if err != nil || during != nil || s.Planned != 300*time.Millisecond || s.Started == 0 || s.Requests != int64(len(target.all())) {
			t.Errorf("run: %v; prepared while it runs: %v; %d requests of %d", err, during, s.Requests, len(target.all()))
		}
		if _, err := e.Run(t.Context(), "r", time.Now(), nil); !errors.Is(err, loadgen.ErrUnknownRun) {
			t.Errorf("a second run: %v, want ErrUnknownRun", err)
		}
		prepare(t, e, job("d", slowPlan, target.URL))
		e.Discard("d")
		if _, err := e.Run(t.Context(), "d", time.Now(), nil); !errors.Is(err, loadgen.ErrUnknownRun) {
			t.Errorf("a discarded run: %v, want ErrUnknownRun", err)
		}
	})
}

func TestConformanceARunStartsWhileAnotherDrains(t *testing.T) {
	onBoth(t, func(t *testing.T, e loadgen.Engine) {
		a, release := hangs(t)
		slow, quick := newTarget(t, a), newTarget(t, ok)
		prepare(t, e, job("old", slowPlan, slow.URL))
		prepare(t, e, job("new", strings.Replace(slowPlan, "20s", "300ms", 1), quick.URL))
		ctx, cancel := context.WithCancelCause(t.Context())
		type result struct {
			s   *stats.Summary
			err error
		}
		old := make(chan result, 1)
		go func() { // joined below
			s, err := e.Run(ctx, "old", time.Now(), nil)
			old <- result{s, err}
		}()
		if !eventually(func() bool { return len(slow.all()) == 3 }) {
			t.Fatal("the first run sends nothing")
		}
		cancel(&loadgen.StopCause{Reason: "replaced", Grace: 5 * time.Second})
		s, err := e.Run(t.Context(), "new", time.Now(), nil)
		if err != nil || s.RunID != "new" || s.Requests == 0 || s.Requests != int64(len(quick.all())) {
			t.Errorf("the new run: %v, %d requests of %d", err, s.Requests, len(quick.all()))
		}
		select {
		case r := <-old:
			t.Errorf("the old run did not drain meanwhile: %v", r.err)
		default:
		}
		close(release)
		if r := <-old; r.err != nil || r.s.RunID != "old" || r.s.Completed != 3 || r.s.Interrupted != 0 {
			t.Errorf("the old run: %v, completed %d, interrupted %d", r.err, r.s.Completed, r.s.Interrupted)
		}
	})
}

func TestConformanceAStartInThePastIsInTheBooks(t *testing.T) {
	onBoth(t, func(t *testing.T, e loadgen.Engine) {
		target := newTarget(t, ok)
		prepare(t, e, job("r", strings.Replace(rpsPlan, "duration: 1s", "duration: 10s", 1), target.URL))
		s, err := e.Run(t.Context(), "r", time.Now().Add(-9500*time.Millisecond), nil)
		if err != nil {
			t.Fatal(err)
		}
		if s.Due() != 2000 || s.Dropped < 1700 || s.Started < 50 || s.FirstDue != 0 || s.Planned != 10*time.Second {
			t.Errorf("due %d, dropped %d, started %d, the first due at %v; want all of the curve in the books", s.Due(), s.Dropped, s.Started, s.FirstDue)
		}
		if math.Abs(s.Target-float64(s.Due())) > 1.5 {
			t.Errorf("target %v, due %d", s.Target, s.Due())
		}
	})
}

func TestConformanceATargetThatIsDownIsANetworkError(t *testing.T) {
	onBoth(t, func(t *testing.T, e loadgen.Engine) {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		base := "http://" + l.Addr().String()
		_ = l.Close()
		prepare(t, e, job("r", strings.Replace(rpsPlan, "duration: 1s", "duration: 500ms", 1), base))
		s, err := e.Run(t.Context(), "r", time.Now().Add(lead), nil)
		if err != nil {
			t.Fatal(err)
		}
		if s.Due() != 100 || s.Requests != s.Started || s.Errors[stats.ErrNetwork] != s.Requests || s.Latency.Count() != 0 || s.ConnsNew != 0 {
			t.Errorf("due %d, %d requests, errors %v, %d latencies, %d connections", s.Due(), s.Requests, s.Errors, s.Latency.Count(), s.ConnsNew)
		}
	})
}

func TestConformanceASlowTargetTimesOut(t *testing.T) {
	onBoth(t, func(t *testing.T, e loadgen.Engine) {
		a, _ := hangs(t)
		target := newTarget(t, a)
		document := strings.NewReplacer("20s", "500ms", "name: a,", "name: a, timeout: 150ms,").Replace(slowPlan)
		prepare(t, e, job("r", document, target.URL))
		s, err := e.Run(t.Context(), "r", time.Now().Add(lead), nil)
		if err != nil {
			t.Fatal(err)
		}
		if s.Errors[stats.ErrTimeout] != s.Requests || s.Requests != int64(len(target.all())) || s.Requests < 3 || s.Interrupted != 0 {
			t.Errorf("%d requests of %d, errors %v", s.Requests, len(target.all()), s.Errors)
		}
		if p, _ := s.Service.Percentile(50); p < 140*time.Millisecond || p > time.Second || s.Latency.Count() != s.Requests {
			t.Errorf("median service time %v of %d timeouts", p, s.Latency.Count())
		}
	})
}
