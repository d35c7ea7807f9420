package loadgen

import (
	"sync"
	"time"
)

// After a hiccup of less than a tenth of a second, of the target or of this
// machine, many workers want to send at once. Late arrivals then pass at twice
// the curve, those on time included, after as many at once as it asks in 5 ms;
// and none passes while 10 ms hold twice what the curve asks. With those on time,
// which are never held, that is three times at most, plus one.
const (
	sluiceWindow = 10 * time.Millisecond
	sluiceGap    = 0.5 // in units of Λ
	// mostMore is how long one is put off at most because of those on time.
	mostMore = 100 * time.Millisecond
	// A machine that is busy wakes those who are held in bunches.
	sluiceStep  = time.Millisecond
	sluiceSteps = int64(sluiceWindow/sluiceStep) + 1
	sluiceWait  = 2 * sluiceStep
	mostWaits   = int(mostMore / sluiceWait)
)

// sluice is what every arrival passes in the moment it is sent. Only one that is
// late is held there: the curve may have clumps as it likes. Those that are on
// time go first, and whoever is held waits so much longer.
type sluice struct {
	curve  curve
	claims *claims

	mu   sync.Mutex
	full float64       // up to where in Λ it has let arrivals through
	ours float64       // how much of that those took that were on time
	last time.Duration // when the last one passes

	went   [sluiceSteps]int64 // how many went in each of the last milliseconds
	newest int64
}

// pause is a late arrival's stay in the sluice.
type pause struct {
	until time.Duration
	level float64 // the place in Λ where it may go; 0 if nothing puts it off
	ours  float64 // of the sluice, when that was found
	tries int     // how often it has found too many before it
}

func newSluice(s schedule) *sluice {
	return &sluice{curve: s.curve, claims: s.claims, last: -sluiceWindow}
}

// gap is sluiceGap of this node's share.
func (s *sluice) gap(now time.Duration) float64 { return sluiceGap / s.claims.Load().pace(now) }

// pass says until when an arrival that was due at due and could go now is held.
func (s *sluice) pass(due, now time.Duration) pause {
	s.mu.Lock()
	defer s.mu.Unlock()
	p := pause{until: now}
	if now-due > lateAfter {
		p = s.opens(now)
		p.until = max(p.until, now)
	} else {
		s.ours += s.gap(now)
		s.count(now)
	}
	s.full, s.last = max(s.full, s.curve.asked(p.until))+s.gap(now), max(p.until, s.last)
	if now-due > lateAfter && p.until <= now {
		p, _ = s.leave(p, now)
	}
	return p
}

// leave lets a late one go unless too many went just now; then it waits a moment.
func (s *sluice) leave(p pause, now time.Duration) (pause, bool) {
	share := s.curve.low(now, now+sluiceWindow) * sluiceWindow.Seconds() * sluiceGap / s.gap(now)
	if n := s.lately(now); float64(n) > 2*share && p.tries < mostWaits {
		p.tries++
		p.until = now + sluiceWait
		return p, true
	}
	s.count(now)
	return p, false
}

// again says how much longer one is held whose pause is over, because of those
// that were on time meanwhile; false if it may go.
func (s *sluice) again(p pause, now time.Duration) (pause, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if p.level == 0 || s.ours == p.ours {
		return s.leave(p, now)
	}
	p.level, p.ours = p.level+s.ours-p.ours, s.ours
	at, ok := s.curve.reach(p.level)
	if latest := p.until + mostMore; !ok || at > latest {
		at, p.level = latest, 0 // the curve has gone down to next to nothing
	}
	p.until = at
	s.last = max(s.last, at)
	if at > now {
		return p, true
	}
	return s.leave(p, now)
}

// count counts one that goes now.
func (s *sluice) count(now time.Duration) {
	s.lately(now)
	s.went[s.newest%sluiceSteps]++
}

// lately is how many went in the last 10 ms.
func (s *sluice) lately(now time.Duration) (n int64) {
	step := max(int64(now/sluiceStep), s.newest)
	for s.newest = max(s.newest, step-sluiceSteps); s.newest < step; {
		s.newest++
		s.went[s.newest%sluiceSteps] = 0
	}
	for _, k := range s.went {
		n += k
	}
	return n
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
