package loadgen

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"volley/stats"
)

// stub is a worker whose iterations take a given time, in virtual time.
type stub struct {
	shard   *stats.Shard
	takes   func(n int64) time.Duration
	ran     *atomic.Int64
	running *atomic.Int64
	closed  *atomic.Int64
}

func (s stub) iterate(ctx context.Context, n int64, _ time.Time) {
	s.ran.Add(1)
	s.running.Add(1)
	defer s.running.Add(-1)
	outcome := stats.Succeeded
	select {
	case <-time.After(s.takes(n)):
	case <-ctx.Done():
		outcome = stats.Interrupted
	}
	s.shard.Iteration(stats.Iteration{Outcome: outcome})
}

func (s stub) ready(int64) bool { return true }

func (s stub) counting(bool)         {}
func (stub) onWrite(func(time.Time)) {}

func (s stub) close() { s.closed.Add(1) }

type trial struct {
	crew                 *crew
	rec                  *stats.Recorder
	ran, running, closed atomic.Int64
	thinking             atomic.Int64
	mu                   sync.Mutex
}

// newTrial is a crew that starts in a second.
func newTrial(c curve, length time.Duration, first, most int, takes func(n int64) time.Duration) *trial {
	t := &trial{rec: stats.NewRecorder(stats.Layout{Steps: []stats.StepKey{{Scenario: "s", Step: "1"}}}, 2)}
	t.crew = &crew{
		base: time.Now().Add(time.Second), length: length, grace: 30 * time.Second,
		first: first, most: func() int { return most }, thinking: &t.thinking, shard: t.rec.Shard, begun: make(chan struct{}),
		recruit: func(id int, _ place) iterator {
			return stub{t.rec.Shard(id), takes, &t.ran, &t.running, &t.closed}
		},
	}
	if len(c.pieces) > 0 {
		t.crew.pacer = newPacer(schedule{curve: c, claims: newClaims(), end: length}, time.Second)
	} else {
		t.crew.staff = staff{curve: curve{}.forever(float64(first)), claims: newClaims()}
	}
	return t
}

func always(d time.Duration) func(int64) time.Duration {
	return func(int64) time.Duration { return d }
}

func TestCrewSendsEveryArrivalWhenItIsDue(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		tr := newTrial(rpsCurve(100), 10*time.Second, 2, 2, always(15*time.Millisecond))
		start := tr.crew.base
		tr.crew.run(t.Context())
		s := tr.rec.Summary()
		if s.Started != 1000 || s.Dropped != 0 || s.Completed != 1000 || s.LateNoWorker+s.LateCatchUp+s.LateGenerator != 0 {
			t.Errorf("started %d, dropped %d, completed %d, late %d/%d/%d; want 1000, 0, 1000 and none late",
				s.Started, s.Dropped, s.Completed, s.LateNoWorker, s.LateCatchUp, s.LateGenerator)
		}
		if skew, ok := s.StartSkew(); !ok || skew != 0 || s.FirstDue != 0 {
			t.Errorf("start skew %v, %v, first due %v; want 0", skew, ok, s.FirstDue)
		}
		if took := time.Since(start); took != 10*time.Second+5*time.Millisecond {
			t.Errorf("the run took %v, want 10 s and the rest of the last iteration (5 ms)", took)
		}
		if tr.closed.Load() != 2 {
			t.Errorf("%d workers closed, want 2", tr.closed.Load())
		}
	})
}

func TestCrewGrowsOnDemandUpToItsLimit(t *testing.T) {
	for most, want := range map[int]int64{50: 1000, 5: 0} {
		synctest.Test(t, func(t *testing.T) {
			// 100/s at 100 ms each keep ten workers busy.
			tr := newTrial(rpsCurve(100), 10*time.Second, 1, most, always(100*time.Millisecond))
			tr.crew.run(t.Context())
			s := tr.rec.Summary()
			if s.Due() != 1000 || s.Completed != s.Started {
				t.Errorf("most %d: due %d, started %d, completed %d", most, s.Due(), s.Started, s.Completed)
			}
			if want > 0 && (s.Started != want || tr.crew.workers.Load() > 12) {
				t.Errorf("most %d: started %d with %d workers, want all with about 11", most, s.Started, tr.crew.workers.Load())
			}
			// Five workers can do 50/s: half of the load is dropped.
			if want == 0 && (s.Started < 495 || s.Started > 510 || s.LateNoWorker < 480) {
				t.Errorf("most %d: started %d, late for want of a worker %d; want about 500, nearly all late", most, s.Started, s.LateNoWorker)
			}
		})
	}
}

func TestCrewRecoversFromAStallWithoutABurst(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		// The one worker hangs for 5 s with arrival 100; then all is quick.
		tr := newTrial(rpsCurve(100), 30*time.Second, 1, 1, func(n int64) time.Duration {
			if n == 100 {
				return 5 * time.Second
			}
			return time.Millisecond
		})
		tr.crew.run(t.Context())
		s := tr.rec.Summary()
		if s.Due() != 3000 || s.Dropped < 390 || s.Dropped > 410 {
			t.Errorf("due %d, dropped %d; want 3000 and about 400 (5 s less the backlog of 1 s)", s.Due(), s.Dropped)
		}
		if s.LateCatchUp < 900 || s.LateGenerator != 0 {
			t.Errorf("late by catching up %d, by the generator %d; want about 1000 and 0", s.LateCatchUp, s.LateGenerator)
		}
	})
}

func TestCrewOfAClosedModelIsAlwaysBusy(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		tr := newTrial(curve{}, 10*time.Second, 3, 3, always(100*time.Millisecond))
		tr.crew.run(t.Context())
		s := tr.rec.Summary()
		if s.Started != 300 || s.Dropped != 0 || s.Completed != 300 || s.FirstDue != 0 || s.FirstSent != 0 {
			t.Errorf("started %d, dropped %d, completed %d, first %v/%v; want 300, 0, 300, 0/0",
				s.Started, s.Dropped, s.Completed, s.FirstDue, s.FirstSent)
		}
	})
}

func TestCrewEndsWhateverHangs(t *testing.T) {
	stop := func(grace time.Duration) error { return &StopCause{Reason: "stop", Grace: grace} }
	for name, tc := range map[string]struct {
		closed   bool
		cause    error // nil: the run ends by itself at 10 s
		at       time.Duration
		takes    time.Duration
		ends     time.Duration
		dropped  int64
		finished bool
	}{
		"the plan's grace is over":      {takes: time.Hour, ends: 40 * time.Second, dropped: 98},
		"grace suffices":                {takes: 20 * time.Second, ends: 20*time.Second + 100*time.Millisecond, dropped: 98, finished: true},
		"stop with a shorter grace":     {cause: stop(5 * time.Second), at: 2 * time.Second, takes: time.Hour, ends: 7 * time.Second, dropped: 19},
		"stop with a longer grace":      {cause: stop(time.Hour), at: 2 * time.Second, takes: time.Hour, ends: 32 * time.Second, dropped: 19},
		"cancelled without a cause":     {cause: context.Canceled, at: 2 * time.Second, takes: time.Hour, ends: 2 * time.Second, dropped: 19},
		"stopped before the start":      {cause: stop(time.Second), at: -time.Millisecond, takes: time.Hour, ends: -time.Millisecond, finished: true},
		"stopped while it drains":       {cause: stop(time.Second), at: 15 * time.Second, takes: time.Hour, ends: 16 * time.Second, dropped: 98},
		"stop of a drain ends no later": {cause: stop(time.Hour), at: 15 * time.Second, takes: time.Hour, ends: 40 * time.Second, dropped: 98},
		"closed":                        {closed: true, cause: stop(time.Second), at: 5 * time.Second, takes: time.Hour, ends: 6 * time.Second},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				c := rpsCurve(10)
				if tc.closed {
					c = curve{}
				}
				tr := newTrial(c, 10*time.Second, 2, 2, always(tc.takes))
				ctx, cancel := context.WithCancelCause(t.Context())
				defer cancel(nil)
				if tc.cause != nil {
					time.AfterFunc(time.Until(tr.crew.base.Add(tc.at)), func() { cancel(tc.cause) })
				}
				tr.crew.run(ctx)
				if got := tr.crew.now(); got != tc.ends {
					t.Errorf("ended at %v, want %v", got, tc.ends)
				}
				s := tr.rec.Summary()
				if s.Dropped != tc.dropped || s.Started != tr.ran.Load() || s.Started != s.Completed+s.Interrupted {
					t.Errorf("dropped %d (want %d), started %d = completed %d + interrupted %d", s.Dropped, tc.dropped, s.Started, s.Completed, s.Interrupted)
				}
				if (s.Interrupted == 0) != tc.finished {
					t.Errorf("interrupted %d iterations", s.Interrupted)
				}
				if tr.running.Load() != 0 {
					t.Errorf("%d iterations still run", tr.running.Load())
				}
			})
		})
	}
}

func TestStopCauseIsFoundBehindACause(t *testing.T) {
	ctx, cancel := context.WithCancelCause(context.Background())
	cancel(errors.Join(errors.New("x"), &StopCause{Reason: "stop", Grace: 3 * time.Second}))
	if got := graceOf(ctx); got != 3*time.Second {
		t.Errorf("grace = %v, want 3s", got)
	}
}

func TestPreciseWaitDoesNotSpinInVirtualTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var a alarm
		at := time.Now().Add(time.Second)
		if !a.precisely(t.Context(), nil, at) || !time.Now().Equal(at) {
			t.Errorf("woke at %v, want %v", time.Now(), at)
		}
	})
}

func TestPreciseWaitEndsOnTime(t *testing.T) {
	var a alarm
	best := time.Hour
	for range 20 {
		at := time.Now().Add(5 * time.Millisecond)
		if !a.precisely(t.Context(), nil, at) {
			t.Fatal("the wait was cut short")
		}
		late := time.Since(at)
		if late < 0 {
			t.Fatalf("woke %v early", -late)
		}
		best = min(best, late)
	}
	if best > 100*time.Microsecond {
		t.Errorf("at best %v late, want microseconds", best)
	}
}
