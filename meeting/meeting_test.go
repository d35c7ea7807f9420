package meeting

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"path"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"volley/sources"
)

// board is a bucket in virtual time, each call to which takes up to latency.
type board struct {
	mu      sync.Mutex
	objects map[string][]byte
	written map[string]int // how often
	latency time.Duration
	fails   func(call, object string) error // before it is done
	loses   func(call, object string) error // what is answered though it was done
}

func newBoard() *board {
	none := func(_, _ string) error { return nil }
	return &board{objects: map[string][]byte{}, written: map[string]int{}, latency: 40 * time.Millisecond, fails: none, loses: none}
}

// way is half of a call, unless ctx ends before.
func (b *board) way(ctx context.Context) error {
	if _, limited := ctx.Deadline(); !limited {
		return errors.New("a call without a deadline")
	}
	if b.latency > 0 && !sleep(ctx, rand.N(b.latency/2)) {
		return ctx.Err()
	}
	return nil
}

func (b *board) do(ctx context.Context, call, object string, f func() error) error {
	if err := errors.Join(b.way(ctx), b.fails(call, object)); err != nil {
		return err
	}
	b.mu.Lock()
	err := f()
	b.mu.Unlock()
	return errors.Join(err, b.loses(call, object), b.way(ctx))
}

// boardAhead is how far the board's clock is ahead of the test's.
const boardAhead = 90 * time.Second

// Put tries again after an answer that was lost, as sources.Store does.
func (b *board) Put(ctx context.Context, to sources.Place, c sources.Content) (w sources.Written, err error) {
	for {
		err := b.do(ctx, "put", to.Object, func() error {
			if _, there := b.objects[to.Object]; there && c.New {
				return sources.ErrExists
			}
			b.objects[to.Object], w.At = c.Body, time.Now().Add(boardAhead).Truncate(time.Millisecond)
			b.written[to.Object]++
			return nil
		})
		if !errors.Is(err, sources.ErrTimeout) {
			return w, err
		}
	}
}

func (b *board) Get(ctx context.Context, from sources.Place, _ int64) (body []byte, err error) {
	return body, b.do(ctx, "get", from.Object, func() error {
		var there bool
		if body, there = b.objects[from.Object]; !there {
			return sources.ErrNotFound
		}
		return nil
	})
}

func (b *board) List(ctx context.Context, pattern sources.Place, _ int) (found []sources.Place, err error) {
	return found, b.do(ctx, "list", pattern.Object, func() error {
		for name := range b.objects {
			if ok, err := path.Match(pattern.Object, name); ok || err != nil {
				found = append(found, sources.Place{Bucket: pattern.Bucket, Object: name})
			}
		}
		return nil
	})
}

const thePlan = "sha256:0123456789abcdef"

// task is one that has a clock of its own.
func task(b Board, index, count, attempt int) *Meeting {
	ahead := time.Duration(index-1) * 7 * time.Second
	return New(Options{
		Board: b, Place: sources.Place{Bucket: "b", Object: "p/"}, Execution: "job-x", Index: index, Count: count, Attempt: attempt,
		Timeout: time.Minute, Now: func() time.Time { return time.Now().Add(ahead) }, Most: 1000, Log: slog.New(slog.DiscardHandler),
	})
}

// outcome is what Meet returned, and when.
type outcome struct {
	start Start
	err   error
	at    time.Time
}

// all has tasks meet, each after a while of its own.
func all(t *testing.T, b Board, count int, after func(i int) time.Duration) (out []outcome) {
	out = make([]outcome, count)
	var wg sync.WaitGroup
	for i := range count {
		wg.Go(func() {
			sleep(t.Context(), after(i))
			start, err := task(b, i, count, 0).Meet(t.Context(), thePlan)
			out[i] = outcome{start, err, time.Now()}
		})
	}
	wg.Wait()
	return out
}

// Tasks whose clocks differ by half a minute start at one instant, give or take
// what each says of its clock, and know it in time.
func TestTasksStartTogether(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBoard()
		began := time.Now()
		out := all(t, b, 5, func(i int) time.Duration { return time.Duration(i) * 3 * time.Second })
		for i, o := range out {
			if o.err != nil {
				t.Fatalf("task %d: %v", i, o.err)
			}
			off := o.start.Local.Add(boardAhead).Sub(o.start.At).Abs()
			if !o.start.At.Equal(out[0].start.At) || off > o.start.Bound || o.start.Bound > b.latency {
				t.Errorf("task %d starts at %s, %s off, by its clock known to %s; task 0 at %s", i, o.start.At, off, o.start.Bound, out[0].start.At)
			}
			if ahead := time.Duration(i-1) * 7 * time.Second; (o.start.Offset + ahead - boardAhead).Abs() > o.start.Bound+time.Millisecond {
				t.Errorf("task %d: the bucket's clock is %s off, want %s", i, o.start.Offset, boardAhead-ahead)
			}
			if n := b.written[fmt.Sprintf("p/job-x/here-%d-0123456789ab", i)]; n != 3 {
				t.Errorf("task %d has read the clock %d times", i, n)
			}
			if left := o.start.Local.Sub(o.at); left < time.Second {
				t.Errorf("task %d knows %s before", i, left)
			}
		}
		if lead := out[0].start.Local.Sub(began); lead < 12*time.Second+Lead || lead > 12*time.Second+Lead+2*pollEvery {
			t.Errorf("they start %s after the first came, want soon after the last, who came at 12s", lead)
		}
		for name := range b.objects {
			if !strings.HasPrefix(name, "p/job-x/") {
				t.Errorf("%s is not in the execution's folder", name)
			}
		}
	})
}

// Somebody does not come: all who wait are told who, and start nothing, at the
// same decision. Who comes after that, or is tried again, is told so, too.
func TestATaskThatDoesNotComeIsNamed(t *testing.T) {
	for _, gone := range []int{0, 3} {
		synctest.Test(t, func(t *testing.T) {
			b := newBoard()
			out := all(t, b, 5, func(i int) time.Duration {
				if i == gone {
					return time.Hour
				}
				return time.Duration(i) * 4 * time.Second
			})
			for i, o := range out {
				if !errors.Is(o.err, ErrNoStart) || !strings.Contains(o.err.Error(), fmt.Sprintf("after 1m0s (RENDEZVOUS_TIMEOUT) not all tasks are there: still missing: task %d of 5", gone)) {
					t.Errorf("task %d: %v", i, o.err)
				}
			}
			if _, err := task(b, 1, 5, 1).Meet(t.Context(), thePlan); !errors.Is(err, ErrNoStart) {
				t.Errorf("tried again: %v", err)
			}
		})
	}
}

// Whatever the last one's instant is beside the others' limit: all start, or none.
func TestAllStartOrNone(t *testing.T) {
	started := 0
	for i := range 60 {
		synctest.Test(t, func(t *testing.T) {
			b := newBoard()
			b.latency = 500 * time.Millisecond
			out := all(t, b, 4, func(task int) time.Duration {
				if task == i%4 {
					return time.Minute - 2*time.Second + time.Duration(i)*50*time.Millisecond
				}
				return 0
			})
			for task, o := range out {
				if (o.err == nil) != (out[0].err == nil) || o.err != nil && !errors.Is(o.err, ErrNoStart) {
					t.Errorf("the last came %d: task %d: %v, task 0: %v", i, task, o.err, out[0].err)
				}
			}
			if out[0].err == nil {
				started++
			}
		})
	}
	if started == 0 || started == 60 {
		t.Errorf("%d of 60 have started: the test tells nothing", started)
	}
}

func TestTasksWithAnotherPlanDoNotStart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBoard()
		errs := make([]error, 3)
		var wg sync.WaitGroup
		for i, plan := range []string{thePlan, thePlan, "sha256:fedcba9876543210"} {
			wg.Go(func() { _, errs[i] = task(b, i, 3, 0).Meet(t.Context(), plan) })
		}
		wg.Wait()
		for i, err := range errs {
			if !errors.Is(err, ErrNoStart) || !strings.Contains(err.Error(), "another than 0123456789ab has task 2, this one tasks 0, 1") {
				t.Errorf("task %d: %v", i, err)
			}
		}
	})
}

// The three cases of a task that is tried again, and that of one who did not get
// to the start.
func TestATaskThatIsTriedAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBoard()
		first := all(t, b, 3, func(int) time.Duration { return 0 })[0].start
		started := first.At
		sleep(t.Context(), time.Until(first.Local)+10*time.Second)
		again := task(b, 1, 3, 1)
		if start, err := again.Meet(t.Context(), thePlan); !errors.Is(err, ErrLost) || !start.At.Equal(started) ||
			!strings.Contains(err.Error(), "attempt 0 of task 1 has started, and left no result (gs://b/p/job-x-task-1.json)") {
			t.Errorf("started, without a result: %+v, %v", start, err)
		}
		b.objects["p/job-x-task-1.json"] = []byte("its result")
		var done *Done
		if start, err := task(b, 1, 3, 2).Meet(t.Context(), thePlan); !errors.As(err, &done) || string(done.Result) != "its result" || !start.At.Equal(started) {
			t.Errorf("with a result: %+v, %v", start, err)
		}
		delete(b.objects, "p/job-x/started-2")
		start, err := task(b, 2, 3, 1).Meet(t.Context(), thePlan)
		if late := time.Since(start.Local); err != nil || late < 10*time.Second || late > 11*time.Second || start.Local.Sub(first.Local).Abs() > start.Bound+first.Bound {
			t.Errorf("not started: %+v, %v after the start, %v", start, late, err)
		}
		if _, err := task(b, 2, 3, 0).Meet(t.Context(), thePlan); !errors.Is(err, ErrLost) || !strings.Contains(err.Error(), "attempt 1 of task 2 has started") {
			t.Errorf("who was thought to be gone comes back: %v", err)
		}
		if _, err := task(b, 1, 3, 0).Meet(t.Context(), "sha256:other"); !errors.As(err, &done) {
			t.Errorf("a result counts whatever the plan is now: %v", err)
		}
		delete(b.objects, "p/job-x/started-1")
		if _, err := task(b, 1, 3, 1).Meet(t.Context(), "sha256:other"); !errors.Is(err, ErrNoStart) || !strings.Contains(err.Error(), "task 0 has begun with plan sha256:0123456789abcdef and 3 tasks, this task has sha256:other and 3") {
			t.Errorf("late with another plan: %v", err)
		}
	})
}

// Two processes of one task, both before the start: one of them sends its part.
func TestOneProcessHasATasksPart(t *testing.T) {
	for range 20 {
		synctest.Test(t, func(t *testing.T) {
			b := newBoard()
			errs := make([]error, 4)
			var wg sync.WaitGroup
			for i, index := range []int{0, 1, 2, 1} {
				wg.Go(func() { _, errs[i] = task(b, index, 3, i/3).Meet(t.Context(), thePlan) })
			}
			wg.Wait()
			if (errs[1] == nil) == (errs[3] == nil) || errs[0] != nil || errs[2] != nil {
				t.Errorf("%v", errs)
			}
			if lost := errors.Join(errs[1], errs[3]); !errors.Is(lost, ErrLost) {
				t.Errorf("the other: %v", lost)
			}
		})
	}
}

// Who waits goes on when the bucket has been away. An answer that is lost,
// of whatever call, changes nothing: what was written is found.
func TestABucketThatIsAway(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBoard()
		began := time.Now()
		var mu sync.Mutex
		lost := map[string]bool{}
		b.fails = func(call, object string) error {
			if after := time.Since(began); after > 5*time.Second && after < 20*time.Second {
				return sources.ErrUnreachable
			}
			return nil
		}
		b.loses = func(call, object string) error {
			mu.Lock()
			defer mu.Unlock()
			if name := path.Base(object); call == "put" && (name == "start.json" || name == "started-1") && !lost[object] {
				lost[object] = true
				return sources.ErrTimeout
			}
			return nil
		}
		for i, o := range all(t, b, 3, func(i int) time.Duration { return time.Duration(i/2) * 30 * time.Second }) {
			if o.err != nil || o.start.Local.Sub(began) < 30*time.Second {
				t.Errorf("task %d: %+v, %v", i, o.start, o.err)
			}
		}
		if len(lost) != 2 {
			t.Errorf("the answers that were lost: %v", lost)
		}
	})
}

// A bucket that is away when a task comes is asked again, for as long as it would
// wait for the others, and no longer: then it says so, and does not start.
func TestABucketThatIsAwayFromTheStart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBoard()
		began := time.Now()
		awayFor := 45 * time.Second
		b.fails = func(_, _ string) error {
			if time.Since(began) < awayFor {
				return sources.ErrUnreachable
			}
			return nil
		}
		for i, o := range all(t, b, 3, func(int) time.Duration { return 0 }) {
			if o.err != nil || o.start.Local.Sub(began) < awayFor {
				t.Errorf("task %d, away for %s: %+v, %v", i, awayFor, o.start, o.err)
			}
		}
		b.objects = map[string][]byte{}
		began, awayFor = time.Now(), time.Hour
		b.latency = 10 * time.Minute // until it hangs up
		for i, o := range all(t, b, 3, func(int) time.Duration { return 0 }) {
			if !errors.Is(o.err, ErrNoStart) || !errors.Is(o.err, sources.ErrUnreachable) || !strings.Contains(o.err.Error(), "after 1m0s (RENDEZVOUS_TIMEOUT) what RENDEZVOUS names does not answer: ") {
				t.Errorf("task %d, away for good: %v", i, o.err)
			}
			if waited := o.at.Sub(began); waited < time.Minute || waited > time.Minute+5*time.Second {
				t.Errorf("task %d has waited for %s", i, waited)
			}
		}
	})
}

// What another try would not change is told at once; a signal ends the wait.
func TestAWaitThatEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBoard()
		b.fails = func(call, _ string) error {
			if call == "put" {
				return sources.ErrForbidden
			}
			return nil
		}
		began := time.Now()
		if _, err := task(b, 0, 2, 0).Meet(t.Context(), thePlan); !errors.Is(err, sources.ErrForbidden) || time.Since(began) > time.Second {
			t.Errorf("after %s: %v", time.Since(began), err)
		}
		b.fails = func(_, _ string) error { return nil }
		ctx, cancel := context.WithCancel(t.Context())
		time.AfterFunc(5*time.Second, cancel)
		if _, err := task(b, 0, 2, 0).Meet(ctx, thePlan); !errors.Is(err, context.Canceled) || time.Since(began) > 6*time.Second {
			t.Errorf("after %s: %v", time.Since(began), err)
		}
	})
}
