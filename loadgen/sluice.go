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
	// mostMore is how long one is put off at most because of those on time.
	mostMore = 100 * time.Millisecond
)

// sluice is what every arrival passes in the moment it is sent. Only one that is
// late is held there: the curve may have clumps as it likes. Those that are on
// time go first, and whoever is held waits so much longer.
type sluice struct {
	curve curve
	gap   float64 // sluiceGap of this node's share

	mu   sync.Mutex
	full float64       // up to where in Λ it has let arrivals through
	ours float64       // how much of that those took that were on time
	last time.Duration // when the last one passes
}

// pause is a late arrival's stay in the sluice.
type pause struct {
	until time.Duration
	level float64 // the place in Λ where it may go; 0 if nothing puts it off
	ours  float64 // of the sluice, when that was found
}

func newSluice(s schedule) *sluice {
	return &sluice{curve: s.curve, gap: sluiceGap / s.share.fraction(), last: -sluiceWindow}
}

// pass says until when an arrival that was due at due and could go now is held.
func (s *sluice) pass(due, now time.Duration) pause {
	s.mu.Lock()
	defer s.mu.Unlock()
	p := pause{until: now}
	if now-due > lateAfter {
		p = s.opens(now)
		p.until = max(p.until, now)
	} else {
		s.ours += s.gap
	}
	s.full, s.last = max(s.full, s.curve.asked(p.until))+s.gap, max(p.until, s.last)
	return p
}

// again says how much longer one is held whose pause is over, because of those
// that were on time meanwhile; false if it may go.
func (s *sluice) again(p pause, now time.Duration) (pause, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if p.level == 0 || s.ours == p.ours {
		return p, false
	}
	p.level, p.ours = p.level+s.ours-p.ours, s.ours
	at, ok := s.curve.reach(p.level)
	if latest := p.until + mostMore; !ok || at > latest {
		at, p.level = latest, 0 // the curve has gone down to next to nothing
	}
	p.until = at
	s.last = max(s.last, at)
	return p, at > now
}

// opens is when it lets the next late one through: one in 10 ms it always does.
func (s *sluice) opens(now time.Duration) pause {
	latest := s.last + sluiceWindow
	level := s.full - sluiceGap*s.room(now)
	at, ok := s.curve.reach(level)
	if ok && at <= latest {
		return pause{until: at, level: level, ours: s.ours}
	}
	s.full = s.curve.asked(latest)
	return pause{until: latest, level: s.full, ours: s.ours}
}

// room is how many late ones it lets through at once.
func (s *sluice) room(now time.Duration) float64 {
	share := s.curve.low(now, now+sluiceWindow) * sluiceWindow.Seconds()
	if share < 1 {
		return 0
	}
	return max(share/2, 1)
}
