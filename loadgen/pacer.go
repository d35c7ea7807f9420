package loadgen

import (
	"sync"
	"time"
)

// A backlog is worked off at no more than 110 % of the curve. In units of Λ the
// arrivals of a backlog keep 1/1.1 apart: then those in a window, but the
// first, fit into 110 % of what the curve asks between its ends, for a window
// of any length and wherever the curve goes.
const (
	catchUp = 1.1
	// catchUpWindow is the length for which the rule is made: once in it, one
	// arrival is always allowed.
	catchUpWindow = time.Second
	// imprecision is what nanoseconds may make of a place in Λ.
	imprecision = 0.01
)

// pacer hands out arrivals, each once, in order. Times are since the run's
// start and come in as arguments: it is arithmetic behind a mutex.
type pacer struct {
	maxBacklog time.Duration // age at which an unsent arrival is dropped
	sluice     *sluice
	schedule   schedule
	lease      *lease        // without which nothing grows too old
	base       time.Time     // the run's start, where there is a lease
	until      time.Duration // none falls due from here on, whatever division comes

	mu      sync.Mutex
	slots   []*slot // of all workers
	queue   *arrivals
	ended   bool
	sent    bool
	opening time.Duration // when the first arrival of all is due
	last    time.Duration // release of the last one handed out, if sent
	place   float64       // and the place in Λ that it took
	behind  bool          // a backlog exists and is worked off
	window  window        // what was handed out lately
	watch   time.Duration // until then the rule has to be looked after: places were kept
	resumed time.Duration // what was due before it waited for a lease, or for a division
}

// ticket is an arrival handed to a worker, which sends it at release.
type ticket struct {
	index   int64
	level   float64 // its place in Λ
	due     time.Duration
	release time.Duration // due, or later if held back
	free    bool          // the worker was there before the arrival fell due
	catchUp bool          // held back by the catch-up rule
	first   bool          // of all that the pacer handed out
	slept   bool          // handed out once more: see overslept
}

// drops are arrivals that will not be sent.
type drops []loss

// loss is some of them that fell due in one stage.
type loss struct {
	due  time.Duration // the first of them
	n    int64
	held bool // by the catch-up rule, for too long; else nobody came for them in time
}

func (d drops) with(l loss) drops {
	if l.n == 0 {
		return d
	}
	return append(d, l)
}

// newPacer starts at the beginning of the curve: what a node that comes late
// misses of it is dropped, and shows.
func newPacer(s schedule, maxBacklog time.Duration) *pacer {
	p := &pacer{
		maxBacklog: maxBacklog, sluice: newSluice(s), schedule: s, until: s.end, queue: newArrivals(s),
		window: window{curve: s.curve, claims: s.claims},
	}
	p.opening = p.queue.due
	return p
}

// take hands out the next arrival, into a worker's slot; ok is false if there is
// none left.
func (p *pacer) take(now time.Duration, to *slot) (t ticket, d drops, ok bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	d = p.expire(now)
	for q := p.queue; !p.over(); q.advance() {
		release, place := p.release(now)
		if release-q.due > p.maxBacklog {
			d = d.with(loss{due: q.due, n: q.one(q.arrival), held: true})
			continue
		}
		t = ticket{
			index: q.k, level: q.level, due: q.due, release: release,
			free:    q.slept || now <= q.due && release == q.due,
			slept:   q.slept,
			catchUp: !q.slept && release > q.due && (release > now || q.due < p.resumed),
			first:   !p.sent,
		}
		p.sent, p.last, p.place = true, release, place
		p.window.add(release)
		q.advance()
		to.put(t)
		return t, d, true
	}
	return ticket{}, d, false
}

func (p *pacer) over() bool { return p.ended || p.queue.none }

// release is when the arrival at the head, taken at now, goes out, and the place
// in Λ that it takes. Until it is late by more than a tenth of a second's load,
// that is as soon as it can: arrivals that are all that little late keep to the
// rule by themselves, and the ordinary jitter of workers is made up for at once.
// Behind that there is a backlog until an arrival is on time again.
func (p *pacer) release(now time.Duration) (release time.Duration, place float64) {
	q := p.queue
	release = max(q.due, now)
	place = q.curve.asked(release)
	was := p.behind
	p.behind = was || p.overdue(release)
	if p.behind && p.sent {
		release, place = p.spaced(release, was)
	}
	if release < p.watch {
		release = p.window.free(max(release, p.last)) // in order
	}
	if release == q.due {
		p.behind = false
		return release, q.level
	}
	asked := q.curve.asked(release)
	if place = max(place, asked-(catchUp-1)*p.room(release)); asked-place > imprecision {
		p.watch = release + catchUpWindow + windowStep
	}
	return release, place
}

// lateAfter is how long after due a start is late.
const lateAfter = time.Millisecond

// overdue is true if the arrival at the head, ready to go at ready, is late by
// more than the rule has room for.
func (p *pacer) overdue(ready time.Duration) bool {
	q := p.queue
	if ready-q.due <= lateAfter {
		return false
	}
	return q.curve.asked(ready)-q.level > (catchUp-1)*p.room(ready)
}

// spaced is when the next one of a backlog, which could go at ready, follows the
// last, and its place in Λ, without the rounding to nanoseconds, which would add
// up. A node that shares the curve keeps its part of it.
//
// A place that passes while no worker is there is kept, up to a tenth of a
// second's load: workers that are busy most of the time, and not evenly, would
// otherwise send less than the curve asks for as long as there is a backlog,
// which then never ends. The backlog itself begins without any.
func (p *pacer) spaced(ready time.Duration, was bool) (at time.Duration, place float64) {
	c := p.queue.curve
	place = p.place + 1/(catchUp*p.queue.claim.pace(ready))
	at, ok := c.reach(place)
	if latest := p.last + catchUpWindow; !ok || at > latest {
		at, place = latest, c.asked(latest)
	}
	switch {
	case at >= ready:
		return at, place
	case !was:
		return ready, c.asked(ready)
	}
	return ready, place
}

// room is how much of Λ a second around t has at least.
func (p *pacer) room(t time.Duration) float64 {
	return p.queue.curve.low(t-catchUpWindow, t+catchUpWindow) * catchUpWindow.Seconds()
}

// drop removes the arrivals that are too old at now and returns them.
// Without a lease they stay: they may be another's by then.
func (p *pacer) drop(now time.Duration) drops {
	p.mu.Lock()
	defer p.mu.Unlock()
	if !p.lease.valid() {
		return nil
	}
	return p.expire(now)
}

func (p *pacer) expire(now time.Duration) drops {
	if p.over() {
		return nil
	}
	return p.queue.skip(now - p.maxBacklog)
}

// stop ends the handing out; it returns the arrivals due by now that were left.
func (p *pacer) stop(now time.Duration) (left drops) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if !p.over() && p.lease.valid() {
		left = p.queue.skip(now + 1)
	}
	p.ended = true
	return left
}

// limited is true if the plan wants so many arrivals and no more.
func (p *pacer) limited() bool { return p.schedule.limit > 0 }

// spent is true if as many arrivals as the plan wants have been handed out or
// dropped.
func (p *pacer) spent() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.queue.spent()
}
