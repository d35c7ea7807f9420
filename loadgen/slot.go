package loadgen

import "sync/atomic"

// slot is where a worker keeps the arrival it waits for, so that the pacer can
// have it back. Whoever empties it has the arrival: the worker, which sends it, or
// the pacer.
type slot struct {
	held   atomic.Bool
	ticket ticket // valid while held; written by the pacer
}

// put hands a worker its ticket. A nil slot is that of a worker whose tickets
// nobody wants back.
func (s *slot) put(t ticket) {
	if s != nil {
		s.ticket = t
		s.held.Store(true)
	}
}

// empty is true for one caller a ticket.
func (s *slot) empty() bool { return s == nil || s.held.CompareAndSwap(true, false) }

func (s *slot) holds() bool { return s == nil || s.held.Load() }
