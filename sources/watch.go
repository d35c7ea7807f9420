package sources

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"time"
)

// Watch tells what is new at a source. It belongs to one goroutine at a time,
// holds nothing that must be closed, and remembers no document: who is slow to
// ask gets the newest, and what was there in between never.
type Watch struct {
	origin  string
	look    look
	pace    pace
	onRetry func(error)

	trouble  string    // why there is no document, as it was told last
	next     time.Time // not to look before
	failures int       // in a row, of the kind that passes
}

// look asks once, within ctx, for what is there beside the revision known. It
// may wait for a change. An answer with that revision, or an error that is no
// more than a moment's, is no news.
type look func(ctx context.Context, known string) (Document, error)

// pace says how often a watch looks.
type pace struct {
	every time.Duration // from one look to the next, at least
	limit time.Duration // of one look
	first time.Duration // wait after the first failure; doubles
	most  time.Duration // longest wait after failures
}

func paceOf(every, limit time.Duration) pace {
	return pace{every: every, limit: limit, first: 500 * time.Millisecond, most: 15 * time.Second}
}

// Next waits until the source holds another revision than known, and returns
// it, or what is wrong with it: then the document has a revision and no bytes.
// An error without a revision says that there is no document at all, or none
// for us; it is told once. When that is over, Next returns whatever is there,
// even the revision known. What may pass by itself is tried again until ctx
// ends, which is the only other error.
func (w *Watch) Next(ctx context.Context, known string) (Document, error) {
	for {
		sleep(ctx, time.Until(w.next))
		if ctx.Err() != nil {
			return Document{}, ctx.Err()
		}
		began := time.Now()
		doc, err := w.once(ctx, known)
		w.next = began.Add(jittered(w.pace.every))
		if ctx.Err() != nil {
			return Document{}, ctx.Err()
		}
		switch {
		case err == nil || doc.Revision != "" || errors.Is(err, ErrNotFound):
			w.failures = 0 // it can be waited for
		case Permanent(err):
			w.putOff()
		default:
			w.failed(err)
			continue
		}
		if err != nil {
			err = fmt.Errorf("fetch %s: %w", w.origin, err)
		}
		if w.news(doc, err, known) {
			return doc, err
		}
	}
}

func (w *Watch) once(ctx context.Context, known string) (Document, error) {
	limited, cancel := context.WithTimeout(ctx, w.pace.limit)
	defer cancel()
	if w.trouble != "" {
		known = "" // whatever it is, it is wanted whole
	}
	return w.look(limited, known)
}

// failed is what becomes of a failure that may pass.
func (w *Watch) failed(err error) {
	w.putOff()
	if w.onRetry != nil && !errors.Is(err, errUnsettled) {
		w.onRetry(fmt.Errorf("watch %s: %w", w.origin, err))
	}
}

// putOff makes the next look wait, the longer the more have failed.
func (w *Watch) putOff() {
	w.failures++
	wait := patience{first: w.pace.first, most: w.pace.most}.wait(w.failures)
	if after := time.Now().Add(wait); after.After(w.next) {
		w.next = after
	}
}

// errUnsettled is what a look ends with that has seen something which may
// still be on its way.
var errUnsettled = errors.New("it may still be changing")

// news says whether the outcome of a look is any.
func (w *Watch) news(doc Document, err error, known string) bool {
	before := w.trouble
	w.trouble = ""
	if err != nil && doc.Revision == "" {
		w.trouble = err.Error()
		return w.trouble != before
	}
	return doc.Revision != known || before != ""
}

// jittered is d, up to a tenth longer: nodes shall not ask in step.
func jittered(d time.Duration) time.Duration { return d + rand.N(d/10+1) }
