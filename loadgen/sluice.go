package loadgen

import (
	"sync"
	"time"
)

// After a hiccup of less than a tenth of a second, of the target or of this
// machine, many workers want to send at once. Late arrivals then pass at twice
// the curve, after as many at once as it asks in 5 ms. So no 10 ms hold more than
// two and a half times what the curve asks in them, plus one: the half that is
// left to three times is for what a busy machine does to them on their way.
const (
	sluiceWindow = 10 * time.Millisecond
	sluiceGap    = 0.5 // in units of Λ
)

// sluice is what every arrival passes in the moment it is sent. Only one that is
// late is held there: the curve may have clumps as it likes.
type sluice struct {
	curve curve
	gap   float64 // sluiceGap of this node's share

	mu   sync.Mutex
	full float64       // up to where in Λ it has let arrivals through
	last time.Duration // when the last one passed
}

func newSluice(s schedule) *sluice {
	return &sluice{curve: s.curve, gap: sluiceGap / s.share.fraction(), last: -sluiceWindow}
}

// pass returns when an arrival that was due at due and could go now may go.
func (s *sluice) pass(due, now time.Duration) time.Duration {
	s.mu.Lock()
	defer s.mu.Unlock()
	at := now
	if now-due > lateAfter {
		at = max(now, s.opens(now))
	}
	s.full, s.last = max(s.full, s.curve.asked(at))+s.gap, max(at, s.last)
	return at
}

// opens is when it lets the next late one through: one in 10 ms it always does.
func (s *sluice) opens(now time.Duration) time.Duration {
	latest := s.last + sluiceWindow
	room := s.curve.low(now, now+sluiceWindow) * sluiceWindow.Seconds()
	room = min(room, max(room/2, 1))
	at, ok := s.curve.reach(s.full - sluiceGap*room)
	if ok && at <= latest {
		return at
	}
	s.full = s.curve.asked(latest)
	return latest
}
