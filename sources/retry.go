package sources

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"time"
)

// patience says how a fetch is tried again.
type patience struct {
	attempt time.Duration // a single try's limit
	first   time.Duration // wait after the first try; doubles
	most    time.Duration // longest wait
	total   time.Duration // limit of all tries if the caller's context has none
}

// Waits stay at a second or less so that a server that comes back late in the
// caller's time is still found.
func defaultPatience() patience {
	return patience{attempt: 10 * time.Second, first: 200 * time.Millisecond, most: time.Second, total: 30 * time.Second}
}

// fetch is persist for a document: what is wrong for good may come with the
// document's origin and revision.
func (p patience) fetch(ctx context.Context, origin string, onRetry func(error), try func(context.Context) (Document, error)) (Document, error) {
	return persist(ctx, p, "fetch "+origin, onRetry, try)
}

// persist calls try until it succeeds, fails for good, or ctx ends, and says in
// its error what failed, after how many tries, and the last cause.
// onRetry, if there is one, hears of every failure that is tried again.
func persist[T any](ctx context.Context, p patience, what string, onRetry func(error), try func(context.Context) (T, error)) (out T, err error) {
	if _, limited := ctx.Deadline(); !limited {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, p.total)
		defer cancel()
	}
	started := time.Now()
	var last error
	for tries := 1; ; tries++ {
		got, err := once(ctx, p.attempt, try)
		if err == nil {
			return got, nil
		}
		if Permanent(err) && !errors.Is(ctx.Err(), context.Canceled) {
			return got, fmt.Errorf("%s: %w", what, err)
		}
		if ctx.Err() == nil || last == nil {
			last = err // a try that ctx cut short knows less than the one before
		}
		if ctx.Err() == nil {
			if onRetry != nil {
				onRetry(fmt.Errorf("%s: %w", what, err))
			}
			sleep(ctx, p.wait(tries))
		}
		if ctx.Err() != nil {
			return out, fmt.Errorf("%s: %w", what, gaveUp(ctx, last, tries, time.Since(started)))
		}
	}
}

// once is one try, within its own limit.
func once[T any](ctx context.Context, limit time.Duration, try func(context.Context) (T, error)) (T, error) {
	limited, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	got, err := try(limited)
	if err != nil && !Permanent(err) && limited.Err() != nil && !errors.Is(err, ErrTimeout) {
		err = fail(ErrTimeout, err, "the server was asked and did not answer")
	}
	return got, err
}

// gaveUp is the error of a fetch that ctx ended.
func gaveUp(ctx context.Context, last error, tries int, after time.Duration) error {
	if errors.Is(ctx.Err(), context.Canceled) {
		return fmt.Errorf("cancelled after %s: %w", after.Round(time.Millisecond), ctx.Err())
	}
	return fmt.Errorf("gave up after %s (tries: %d): %w", after.Round(time.Millisecond), tries, last)
}

// wait is the pause after try number tries: doubling, with jitter, so that
// nodes that failed together do not come back together.
func (p patience) wait(tries int) time.Duration {
	wait := p.most
	if tries < 16 {
		wait = min(p.first<<(tries-1), p.most)
	}
	return wait/2 + rand.N(wait/2+1)
}

func sleep(ctx context.Context, wait time.Duration) {
	timer := time.NewTimer(wait)
	defer timer.Stop()
	select {
	case <-ctx.Done():
	case <-timer.C:
	}
}
