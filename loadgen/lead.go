package loadgen

import "time"

// lead is by how much before its instant one is woken who waits alone. On a machine
// that has nothing else to do it takes a while, up to some tenths of a
// millisecond, until such a one runs: its processor has to wake, and all it needs
// has left the caches. It spins for what is left, which is half of the time
// nothing.
type lead struct {
	by   time.Duration // how late those who were woken came to run, on average
	spun time.Duration // in all
}

const (
	firstLead = 200 * time.Microsecond
	mostLead  = 500 * time.Microsecond
	// leadAfter is for how long one has to wait: those that follow each other faster
	// find a processor that is awake.
	leadAfter = 500 * time.Microsecond
	// mostSpun is the share of all time that may be spent on spinning, one in so
	// many. What was not spent may be later, up to twice spunBefore, which is there
	// from the start; where less than that is left, the lead is half as long, which
	// few come to run within.
	mostSpun   = 200
	spunBefore = 10 * time.Millisecond
	// leadMemory is of how many the average is.
	leadMemory = 4
)

func newLead() *lead { return &lead{by: firstLead} }

// before is by how much one is woken early who wants to wake at an instant; both
// times are since the run's start.
func (l *lead) before(at, now time.Duration) time.Duration {
	most := spunBefore + max(now, 0)/mostSpun
	l.spun = max(l.spun, most-2*spunBefore)
	switch left := most - l.spun; {
	case at-now < leadAfter || left <= 0:
		return 0
	case left < spunBefore:
		return min(l.by, at-now) / 2
	}
	return min(l.by, (at-now)/2) // never none: who is not woken early teaches nothing
}

// learn takes how late one has come to run.
func (l *lead) learn(late time.Duration) {
	l.by += (min(max(late, 0), mostLead) - l.by) / leadMemory
}

// spend takes for how long one has spun.
func (l *lead) spend(spun time.Duration) { l.spun += max(spun, 0) }
