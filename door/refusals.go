package door

import (
	"context"
	"log/slog"
	"slices"
	"sync"
	"time"
)

// Every is how often one kind of refusal is told at most.
const Every = 10 * time.Second

// Refusals tells what was refused: the first of a kind at once, those of the
// next ten seconds as one line with their number, and so on. Whoever knocks a
// thousand times a second fills no log.
type Refusals struct {
	log *slog.Logger

	mu    sync.Mutex
	kinds map[string]*heap
}

// heap is what came of a kind since its last line.
type heap struct {
	count int // since the line
	last  func(count int)
}

// NewRefusals tells log; nil is slog.Default().
func NewRefusals(log *slog.Logger) *Refusals {
	if log == nil {
		log = slog.Default()
	}
	return &Refusals{log: log, kinds: map[string]*heap{}}
}

// Warn tells of a refusal. kind is one of a few fixed words, not made of what a
// stranger said.
func (r *Refusals) Warn(kind, message string, args ...any) {
	r.note(slog.LevelWarn, kind, message, args)
}

// Info tells of what need not be an attack.
func (r *Refusals) Info(kind, message string, args ...any) {
	r.note(slog.LevelInfo, kind, message, args)
}

func (r *Refusals) note(level slog.Level, kind, message string, args []any) {
	tell := func(count int) {
		all := append([]any{"event", "refused", "kind", kind, "count", count}, slices.Clone(args)...)
		r.log.Log(context.Background(), level, message, all...)
	}
	r.mu.Lock()
	h := r.kinds[kind]
	if h != nil {
		h.count++
		h.last = tell
		r.mu.Unlock()
		return
	}
	r.kinds[kind] = &heap{}
	r.mu.Unlock()
	tell(1)
	time.AfterFunc(Every, func() { r.settle(kind) })
}

// settle tells how many there were since the last line, by the newest of them.
func (r *Refusals) settle(kind string) {
	r.mu.Lock()
	h := r.kinds[kind]
	if h.count == 0 {
		delete(r.kinds, kind)
		r.mu.Unlock()
		return
	}
	tell, count := h.last, h.count
	h.count, h.last = 0, nil
	r.mu.Unlock()
	tell(count)
	time.AfterFunc(Every, func() { r.settle(kind) })
}
