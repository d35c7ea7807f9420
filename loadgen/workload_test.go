package loadgen

import (
	"cmp"
	"context"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"volley/plan"
	"volley/stats"
)

// player stands in for a user: it sends as many requests as requests says, each
// of which takes a while, with a think time after each.
type player struct {
	shift    *shift
	place    place
	counts   bool
	requests int
	takes    time.Duration
	thinks   time.Duration
}

// shift is a crew made of a plan, with what its players did. Times are since
// the start.
type shift struct {
	crew *crew
	run  *run
	rec  *stats.Recorder
	work workload

	mu      sync.Mutex
	sent    []time.Duration // requests
	began   []time.Duration // iterations
	numbers []int64
	running int
	changes map[time.Duration]int // iterations running after each instant
	uncount int                   // requests that do not count
}

// workloadOf is a participant's share of a plan's load.
func workloadOf(p *plan.Plan, sh Share) (workload, error) {
	if len(sh.Weights) > 0 {
		p.Load.Scope = "cluster"
	}
	self, divisions := sh.divisions()
	return newWorkload(p, self, divisions, 0)
}

func newShift(t *testing.T, p *plan.Plan, sh Share, pl player) *shift {
	t.Helper()
	work, err := workloadOf(p, sh)
	if err != nil {
		t.Fatal(err)
	}
	return shiftOf(p, work, pl, &run{})
}

// shiftOf runs a workload as r says.
func shiftOf(p *plan.Plan, work workload, pl player, r *run) *shift {
	r.plan, r.work, r.script = p, work, &script{}
	r.log = cmp.Or(r.log, slog.New(slog.DiscardHandler))
	r.rec = stats.NewRecorder(work.layout(stats.Layout{Steps: []stats.StepKey{{Scenario: "s", Step: "a"}}}, p), 1)
	r.base = time.Now().Add(time.Second)
	s := &shift{run: r, rec: r.rec, work: work, changes: map[time.Duration]int{}}
	s.crew = r.muster(make([]*client, work.first()))
	s.crew.recruit = func(_ int, turn place) iterator {
		own := pl
		own.shift, own.place = s, turn
		return &own
	}
	return s
}

func (s *shift) note(change int, n int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.running += change
	s.changes[s.crew.now()] = s.running
	if change > 0 {
		s.began, s.numbers = append(s.began, s.crew.now()), append(s.numbers, n)
	}
}

func (p *player) ready(int64) bool { return true }

func (p *player) counting(counts bool)  { p.counts = counts }
func (*player) onWrite(func(time.Time)) {}
func (p *player) close()                {}

func (p *player) iterate(ctx context.Context, n int64, _ time.Time) {
	s := p.shift
	s.note(1, n)
	defer s.note(-1, n)
	outcome := stats.Succeeded
	for range p.requests {
		p.place(time.Now())
		s.mu.Lock()
		s.sent = append(s.sent, s.crew.now())
		if !p.counts {
			s.uncount++
		}
		s.mu.Unlock()
		if !p.pause(ctx, p.takes) {
			outcome = stats.Interrupted
			break
		}
		s.crew.thinking.Add(1)
		whole := p.pause(ctx, p.thinks)
		s.crew.thinking.Add(-1)
		if !whole {
			outcome = stats.Interrupted
			break
		}
	}
	if p.counts {
		s.rec.Shard(0).Iteration(stats.Iteration{Outcome: outcome})
	}
}

func (p *player) pause(ctx context.Context, d time.Duration) bool {
	if d == 0 {
		return true
	}
	var a alarm
	return a.until(ctx, time.Now().Add(d))
}

// checkSums is what holds in every result.
func checkSums(t *testing.T, s *stats.Summary) {
	t.Helper()
	if s.Due() != s.Started+s.Dropped || s.Started != s.Completed+s.Interrupted {
		t.Errorf("due %d, started %d, dropped %d, completed %d, interrupted %d", s.Due(), s.Started, s.Dropped, s.Completed, s.Interrupted)
	}
	if s.Dropped < s.DroppedThinking+s.DroppedWaiting+s.DroppedEnd {
		t.Errorf("dropped %d, by cause %d/%d/%d", s.Dropped, s.DroppedThinking, s.DroppedWaiting, s.DroppedEnd)
	}
}

func TestARunEndsByTheNumberOfItsIterations(t *testing.T) {
	for _, tc := range []struct {
		config, load string
		takes        time.Duration
		started      int64
		lasted       time.Duration
		byNumber     bool
	}{
		// Alone it replaces the duration: the 100th is due at 0.99 s.
		{"workers: 5", "model: rps, target: 100, iterations: 100", 10 * time.Millisecond, 100, time.Second, true},
		{"workers: 5, duration: 10s", "model: rps, target: 100, iterations: 100", 10 * time.Millisecond, 100, time.Second, true},
		{"workers: 5, duration: 1s", "model: rps, target: 50, iterations: 100", 10 * time.Millisecond, 50, time.Second, false},
		{"workers: 4", "model: concurrent, iterations: 42", 100 * time.Millisecond, 42, 1100 * time.Millisecond, true},
		{"workers: 4, duration: 1s", "model: concurrent, iterations: 42", 100 * time.Millisecond, 40, time.Second, false},
		// 30 iterations of 3 requests at 10/s: the last is sent at 8.9 s.
		{"workers: 5", "model: rps, target: 10, unit: requests, iterations: 30", 10 * time.Millisecond, 90, 8910 * time.Millisecond, true},
		// Iterations that take longer than gracefulStop are not cut off.
		{"workers: 5, gracefulStop: 1s", "model: rps, target: 10, iterations: 5", 20 * time.Second, 5, 20400 * time.Millisecond, true},
	} {
		t.Run(tc.config+" "+tc.load, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				p := planOf(t, tc.config, tc.load)
				requests := 1
				if p.Load.Unit == "requests" {
					requests = 3
				}
				s := newShift(t, p, Share{}, player{requests: requests, takes: tc.takes})
				lasted := s.crew.run(t.Context())
				sum := s.rec.Summary()
				checkSums(t, sum)
				if sum.Started != tc.started || sum.Dropped != 0 || sum.Interrupted != 0 || lasted != tc.lasted || s.crew.byNumber() != tc.byNumber {
					t.Errorf("started %d, dropped %d, interrupted %d, lasted %v, by number %v; want %d, 0, 0, %v, %v",
						sum.Started, sum.Dropped, sum.Interrupted, lasted, s.crew.byNumber(), tc.started, tc.lasted, tc.byNumber)
				}
			})
		})
	}
}

func TestWorkersBeginEvenlySpreadOverRampUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newShift(t, planOf(t, "workers: 5, duration: 20s", "model: concurrent, rampUp: 10s"), Share{}, player{requests: 1, takes: 100 * time.Second})
		s.crew.run(t.Context())
		want := []time.Duration{0, 2 * time.Second, 4 * time.Second, 6 * time.Second, 8 * time.Second}
		if !slices.Equal(s.began, want) {
			t.Errorf("workers begin at %v, want %v", s.began, want)
		}
	})
}

func TestStagesOfWorkersFollowTheCurve(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := planOf(t, "gracefulStop: 0s", "model: stages, unit: workers, stages: "+
			"[{duration: 10s, target: 10}, {duration: 5s, target: 10}, {duration: 0s, target: 3}, {duration: 5s, target: 3}, {duration: 6s, target: 0}, {duration: 4s, target: 0}]")
		s := newShift(t, p, Share{}, player{requests: 1, takes: 10 * time.Millisecond})
		s.crew.run(t.Context())
		sum := s.rec.Summary()
		checkSums(t, sum)
		// Each iteration is 10 ms of a worker: the curve's integral is 50 + 50 + 15 + 9.
		if want := int64(12_400); sum.Completed < want-15 || sum.Completed > want+15 {
			t.Errorf("%d iterations, want %d", sum.Completed, want)
		}
		at := func(when time.Duration) (n int) {
			last := time.Duration(-1)
			for moment, running := range s.changes {
				if moment <= when && moment > last {
					last, n = moment, running
				}
			}
			return n
		}
		for when, want := range map[time.Duration]int{
			400 * time.Millisecond: 0, 600 * time.Millisecond: 1, 3 * time.Second: 3, 9400 * time.Millisecond: 9, 9600 * time.Millisecond: 10,
			14 * time.Second: 10, 15100 * time.Millisecond: 3, 20900 * time.Millisecond: 3, 21100 * time.Millisecond: 2, 25500 * time.Millisecond: 0,
		} {
			if got := at(when + 5*time.Millisecond); got != want {
				t.Errorf("at %v there are %d workers, want %d", when, got, want)
			}
		}
	})
}

func TestAWorkerThatGoesFinishesItsIteration(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := planOf(t, "duration: 10s", "model: stages, unit: workers, from: 4, stages: [{duration: 1s, target: 4}, {duration: 0s, target: 0}, {duration: 1s, target: 0}]")
		s := newShift(t, p, Share{}, player{requests: 1, takes: 3 * time.Second})
		s.crew.run(t.Context())
		if sum := s.rec.Summary(); sum.Started != 4 || sum.Completed != 4 || s.crew.workers.Load() != 0 {
			t.Errorf("started %d, completed %d, %d workers left", sum.Started, sum.Completed, s.crew.workers.Load())
		}
	})
}

func TestNumbersOfWorkersAreDividedAmongParticipants(t *testing.T) {
	total := 0
	for i, want := range []int{4, 3, 3} {
		w, err := workloadOf(planOf(t, "workers: 10, duration: 10s", "model: concurrent"), Share{Index: i, Weights: []float64{1, 1, 1}})
		if err != nil || w.first() != want || w.most() != want {
			t.Errorf("participant %d has %d of up to %d workers, %v; want %d", i, w.first(), w.most(), err, want)
		}
		w, _ = workloadOf(planOf(t, "", "model: stages, unit: workers, stages: [{duration: 10s, target: 10}]"), Share{Index: i, Weights: []float64{1, 1, 1}})
		total += w.staff.at(4500 * time.Millisecond)
	}
	if total != 5 {
		t.Errorf("participants have %d workers together, want 5", total)
	}
}

func TestEveryRequestTakesAPlaceInTheSchedule(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := planOf(t, "duration: 10s", "model: rps, target: 20, unit: requests, maxWorkers: 50")
		s := newShift(t, p, Share{}, player{requests: 3, takes: 20 * time.Millisecond})
		s.crew.run(t.Context())
		sum := s.rec.Summary()
		checkSums(t, sum)
		if sum.Started != 200 || sum.Dropped != 0 {
			t.Errorf("started %d, dropped %d; want 200 places", sum.Started, sum.Dropped)
		}
		for k, at := range s.sent[:200] {
			if at != time.Duration(k)*50*time.Millisecond {
				t.Fatalf("request %d is sent at %v", k, at)
			}
		}
		// What is left of the last iterations goes without a place.
		if n := len(s.sent); n < 200 || n > 212 || n != 3*len(s.began) {
			t.Errorf("%d requests of %d iterations", n, len(s.began))
		}
		if n := s.crew.workers.Load(); n > 12 {
			t.Errorf("%d workers came to be, a few would do", n)
		}
	})
}

// TestIterationsOfRequestsAreNumberedByThemselves: however long requests take, and
// so whichever places an iteration gets, its number is how many began before it.
// Nodes that share a schedule know nothing of each other's, and have no two alike.
func TestIterationsOfRequestsAreNumberedByThemselves(t *testing.T) {
	for _, takes := range []time.Duration{time.Millisecond, 170 * time.Millisecond} {
		synctest.Test(t, func(t *testing.T) {
			load := "model: rps, target: 20, unit: requests, maxWorkers: 50"
			s := newShift(t, planOf(t, "duration: 10s", load), Share{}, player{requests: 3, takes: takes})
			s.crew.run(t.Context())
			if len(s.numbers) < 60 {
				t.Fatalf("%v: only %d iterations", takes, len(s.numbers))
			}
			for k, n := range s.numbers {
				if n != int64(k) {
					t.Fatalf("%v: the numbers of iterations are %v", takes, s.numbers)
				}
			}
			seen := map[int64]int{}
			for i := range 2 {
				s := newShift(t, planOf(t, "duration: 10s", load), Share{Index: i, Weights: []float64{1, 1}}, player{requests: 3, takes: takes})
				s.crew.run(t.Context())
				for _, n := range s.numbers {
					seen[n]++
				}
			}
			for n, times := range seen {
				if times > 1 {
					t.Errorf("%v: %d iterations of two nodes are number %d", takes, times, n)
				}
			}
		})
	}
}

func TestWarmupIsSentAndNotCounted(t *testing.T) {
	for _, load := range []string{"model: rps, target: 100", "model: rps, target: 100, unit: requests", "model: concurrent"} {
		synctest.Test(t, func(t *testing.T) {
			p := planOf(t, "workers: 2, duration: 10s, warmup: 4s", load)
			s := newShift(t, p, Share{}, player{requests: 2, takes: 5 * time.Millisecond})
			s.crew.run(t.Context())
			sum := s.rec.Summary()
			checkSums(t, sum)
			want := int64(600)
			if p.Load.Closed() { // two workers, 10 ms an iteration
				want = 1200
			}
			if sum.Started != want || s.uncount < 398 || s.uncount > 1600 {
				t.Errorf("%s: %d started count, want %d; %d requests do not", load, sum.Started, want, s.uncount)
			}
			if asked := s.work.asked(10 * time.Second); !p.Load.Closed() && asked != 600 {
				t.Errorf("%s: the curve asks for %v that count, want 600", load, asked)
			}
			s.crew.firstArrival(sum)
			if skew, ok := sum.StartSkew(); !ok || skew != 0 || sum.FirstDue != 0 {
				t.Errorf("%s: start skew %v, %v of the arrival due at %v", load, skew, ok, sum.FirstDue)
			}
		})
	}
}

func TestDropsInTheWarmupDoNotCount(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := planOf(t, "workers: 1, duration: 10s, warmup: 5s", "model: rps, target: 10")
		s := newShift(t, p, Share{}, player{requests: 1, takes: time.Hour})
		s.crew.run(t.Context())
		if sum := s.rec.Summary(); sum.Started != 0 || sum.Dropped != 50 || sum.DroppedWaiting != 40 || sum.DroppedEnd != 10 {
			t.Errorf("started %d, dropped %d, waiting %d, end %d; want 0, 50, 40, 10", sum.Started, sum.Dropped, sum.DroppedWaiting, sum.DroppedEnd)
		}
	})
}

func TestDropsAreSplitByWhatTheWorkersDid(t *testing.T) {
	for _, tc := range []struct{ takes, thinks time.Duration }{
		{time.Millisecond, 20 * time.Second}, {20 * time.Second, 0}, {5 * time.Second, 5 * time.Second},
	} {
		synctest.Test(t, func(t *testing.T) {
			p := planOf(t, "workers: 2, duration: 11s, gracefulStop: 60s", "model: rps, target: 100")
			s := newShift(t, p, Share{}, player{requests: 1, takes: tc.takes, thinks: tc.thinks})
			s.crew.run(t.Context())
			sum := s.rec.Summary()
			checkSums(t, sum)
			// The end and the last patrol are at one instant: what has grown too old
			// since the one before may be the end's.
			const sincePatrol = int64(100 * patrolEvery / time.Second)
			if sum.Due() != 1100 || sum.Dropped < 1090 || sum.DroppedEnd < 90 || sum.DroppedEnd > 101+sincePatrol {
				t.Errorf("due %d, dropped %d, at the end %d", sum.Due(), sum.Dropped, sum.DroppedEnd)
			}
			early := float64(sum.Dropped - sum.DroppedEnd)
			share := float64(sum.DroppedThinking) / early
			// Arrivals are dropped from 1 s on; the third kind thinks from 5 s to 10 s.
			want := map[time.Duration]float64{time.Millisecond: 1, 20 * time.Second: 0, 5 * time.Second: 0.5}[tc.takes]
			if share < want-0.02 || share > want+0.02 || sum.DroppedThinking+sum.DroppedWaiting+sum.DroppedEnd != sum.Dropped {
				t.Errorf("takes %v, thinks %v: %.3f of the drops are the thinking's, want %v; %d/%d/%d of %d", tc.takes, tc.thinks, share, want,
					sum.DroppedThinking, sum.DroppedWaiting, sum.DroppedEnd, sum.Dropped)
			}
		})
	}
}

func TestParticipantsSendTheWholeCurveTogether(t *testing.T) {
	var sent []time.Duration
	for i := range 3 {
		synctest.Test(t, func(t *testing.T) {
			p := planOf(t, "workers: 6, duration: 5s", "model: rps, target: 300, iterations: 1200")
			s := newShift(t, p, Share{Index: i, Weights: []float64{1, 2, 3}}, player{requests: 1, takes: time.Millisecond})
			s.crew.run(t.Context())
			sent = append(sent, s.sent...)
			if want := []int{200, 400, 600}[i]; len(s.sent) != want || s.work.asked(5*time.Second) != float64(want) {
				t.Errorf("participant %d sent %d, is asked for %v; want %d", i, len(s.sent), s.work.asked(5*time.Second), want)
			}
		})
	}
	slices.Sort(sent)
	for k, at := range sent {
		if want, _ := rpsCurve(300).due(int64(k)); at != want {
			t.Fatalf("arrival %d of all is sent at %v, want %v", k, at, want)
		}
	}
	if len(sent) != 1200 {
		t.Errorf("they sent %d together, want 1200", len(sent))
	}
}

func TestNeedOfWorkers(t *testing.T) {
	const scenarios = `
scenarios:
  - {name: a, weight: 3, steps: [{name: x, thinkTime: 1s, request: {method: GET, path: /}}, {name: y, thinkTime: {min: 1s, max: 3s}, request: {method: GET, path: /}}]}
  - {name: b, weight: 1, steps: [{name: z, request: {method: GET, path: /}}]}
`
	for _, tc := range []struct {
		config, load string
		scale        float64
		least        int
		short        bool
	}{
		// 2.25 s of think time and 50 ms, 100/s.
		{"workers: 10", "model: rps, target: 100", 1, 230, true},
		{"workers: 300", "model: rps, target: 100", 1, 230, false},
		{"workers: 10", "model: rps, target: 100", 0, 5, false},
		{"workers: 10", "model: ramp, min: 1, max: 100, rampDuration: 30s", 0, 5, false},
		// 1.75 requests an iteration.
		{"workers: 10", "model: rps, target: 175, unit: requests", 1, 230, true},
		{"workers: 10", "model: concurrent", 1, 0, false},
	} {
		p, _, err := plan.Parse(fmt.Appendf(nil, "version: \"1.0\"\nconfig: {baseUrl: \"http://h\", duration: 1m, %s}\nload: {%s}\n%s", tc.config, tc.load, scenarios))
		if err != nil {
			t.Fatal(err)
		}
		if n := NeedOf(p, tc.scale); n.Least != tc.least || n.Short() != tc.short {
			t.Errorf("%s, %s: %q, want %d, short %v", tc.config, tc.load, n, tc.least, tc.short)
		}
	}
}
