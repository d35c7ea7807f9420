package loadgen

import (
	"sync"
	"time"
)

// A backlog is worked off at no more than 110 % of the curve over any second:
// 109 % and a burst of 10 ms, without which the ordinary jitter of a worker
// would already hold arrivals back.
const (
	catchUpPct   = 109
	catchUpBurst = 10 * time.Millisecond
)

// pacer hands out the arrivals of a curve, each once, in order. Times are
// since the run's start and come in as arguments: it is arithmetic behind a
// mutex.
type pacer struct {
	curve      curve
	maxBacklog time.Duration // age at which an unsent arrival is dropped

	mu      sync.Mutex
	next    int64         // the arrival to hand out
	total   int64         // arrivals due before the run's end
	allowed time.Duration // no arrival before it, by the catch-up rule
}

// ticket is an arrival handed to a worker, which sends it at release.
type ticket struct {
	index   int64
	due     time.Duration
	release time.Duration // due, or later if held back
	free    bool          // the worker was there before the arrival fell due
	catchUp bool          // held back by the catch-up rule
}

// newPacer starts at the place of the curve that joined has reached; end is
// where arrivals stop.
func newPacer(c curve, joined, end, maxBacklog time.Duration) *pacer {
	p := &pacer{curve: c, maxBacklog: maxBacklog, total: c.index(end)}
	p.next = min(c.index(joined), p.total)
	return p
}

// take hands out the next arrival; ok is false if there is none left. dropped
// is how many it found too old on the way.
func (p *pacer) take(now time.Duration) (t ticket, dropped int64, ok bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	dropped = p.expire(now)
	for ; p.next < p.total; p.next++ {
		due, _ := p.curve.due(p.next)
		release := max(due, p.allowed)
		if release-due > p.maxBacklog {
			dropped++
			continue
		}
		p.hold(p.next, due, max(release, now))
		t = ticket{
			index: p.next, due: due, release: release,
			free:    now <= due && release == due,
			catchUp: release > due && release > now,
		}
		p.next++
		return t, dropped, true
	}
	return ticket{}, dropped, false
}

// hold moves the catch-up limit on: arrival k, due at due, goes out at sent.
func (p *pacer) hold(k int64, due, sent time.Duration) {
	after, ok := p.curve.due(k + 1)
	if !ok {
		return
	}
	gap := time.Duration(float64(after-due) * 100 / catchUpPct)
	p.allowed = max(p.allowed, sent-catchUpBurst) + gap
}

// drop removes the arrivals that are too old at now and returns how many.
func (p *pacer) drop(now time.Duration) int64 {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.expire(now)
}

func (p *pacer) expire(now time.Duration) int64 {
	if p.next >= p.total {
		return 0
	}
	if due, _ := p.curve.due(p.next); now-due <= p.maxBacklog {
		return 0
	}
	return p.skipTo(p.curve.index(now - p.maxBacklog))
}

// stop ends the handing out; it returns how many arrivals due by now were left.
func (p *pacer) stop(now time.Duration) int64 {
	p.mu.Lock()
	defer p.mu.Unlock()
	left := p.skipTo(p.curve.index(now + 1))
	p.next = p.total
	return left
}

func (p *pacer) skipTo(k int64) int64 {
	k = min(max(k, p.next), p.total)
	n := k - p.next
	p.next = k
	return n
}
