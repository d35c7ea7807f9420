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
	// leadAfter is how long nobody has been woken before: those that follow each
	// other faster find a processor that is awake.
	leadAfter = 500 * time.Microsecond
	// mostSpun is the share of all time that may be spent on spinning, one in so
	// many; some of it in advance. From half of it on the lead is half as long, which
	// few come to run within.
	mostSpun   = 100
	spunBefore = 10 * time.Millisecond
	// leadMemory is of how many the average is.
	leadMemory = 4
)

func newLead() *lead { return &lead{by: firstLead} }

// before is by how much one is woken early who wants to wake at an instant; both
// times are since the run's start.
func (l *lead) before(at, now time.Duration) time.Duration {
	most := spunBefore + max(now, 0)/mostSpun
	switch {
	case at-now < max(leadAfter, 2*l.by) || l.spun > most:
		return 0
	case l.spun > most/2:
		return l.by / 2
	}
	return l.by
}

// learn takes how late one has come to run, and for how long it then spun.
func (l *lead) learn(late, spun time.Duration) {
	l.by += (min(max(late, 0), mostLead) - l.by) / leadMemory
	l.spun += max(spun, 0)
}
