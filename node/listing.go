package node

import (
	"context"
	"maps"
	"slices"
	"sync"
	"time"
)

// listing is a place elsewhere where nodes are listed: asked again and again,
// but not more often than it bears.
type listing struct {
	ask   func(ctx context.Context) ([]string, error)
	every time.Duration // between two questions
	limit time.Duration // of one question
	keep  time.Duration // an address counts for so long after it was last listed: an answer may be a part of the list

	mu     sync.Mutex
	asked  time.Time
	failed error
	seen   map[string]time.Time // host:port -> when it was last listed
}

// Addresses returns host:port of all that is listed. With an error, which says
// that the place could not be asked, come those that were listed before.
func (l *listing) Addresses(ctx context.Context) ([]string, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if time.Since(l.asked) >= l.every {
		l.renew(ctx)
	}
	return slices.Sorted(maps.Keys(l.seen)), l.failed
}

func (l *listing) renew(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, l.limit)
	defer cancel()
	listed, err := l.ask(ctx)
	l.asked, l.failed = time.Now(), err
	if err != nil {
		return
	}
	if l.seen == nil {
		l.seen = map[string]time.Time{}
	}
	for _, addr := range listed {
		l.seen[addr] = l.asked
	}
	maps.DeleteFunc(l.seen, func(_ string, at time.Time) bool { return l.asked.Sub(at) > l.keep })
}
