package loadgen

import (
	"sync"
	"sync/atomic"
	"time"
)

// lease is until when a run may send. Before each arrival it is looked at once
// more, so that a process that was stopped and goes on sends nothing by mistake.
// A nil one never ends.
type lease struct {
	born  time.Time
	until atomic.Int64 // since born; at first 0, which is over
	back  bell         // rung when there is one again

	// settled says who knows of which divisions, since when: what falls due before is
	// looked at by what was known then. Each word replaces the list.
	settled atomic.Pointer[settlements]
}

// settle takes note of a word of the leader's. It is for one caller at a time.
func (l *lease) settle(s Settlement) {
	known := l.known().and(s, time.Now())
	l.settled.Store(&known)
}

func (l *lease) known() settlements {
	if p := l.settled.Load(); p != nil {
		return *p
	}
	return nil
}

func newLease() *lease { return &lease{born: time.Now()} }

// valid says whether an arrival may go now.
func (l *lease) valid() bool { return l == nil || int64(time.Since(l.born)) < l.until.Load() }

// extend grants more time, never less: two calls may change places.
func (l *lease) extend(until time.Time) {
	for to := int64(until.Sub(l.born)); ; {
		had := l.until.Load()
		if to <= had || l.until.CompareAndSwap(had, to) {
			break
		}
	}
	l.back.ring()
}

// ended is when it has run out, or will.
func (l *lease) ended() time.Time { return l.born.Add(time.Duration(l.until.Load())) }

// bell wakes those who wait for it. A nil one never rings.
type bell struct {
	mu   sync.Mutex
	next chan struct{}
}

// heard is closed when the bell is next rung.
func (b *bell) heard() <-chan struct{} {
	if b == nil {
		return nil
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.next == nil {
		b.next = make(chan struct{})
	}
	return b.next
}

func (b *bell) ring() {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.next != nil {
		close(b.next)
		b.next = nil
	}
}
