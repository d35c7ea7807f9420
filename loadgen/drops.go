package loadgen

import (
	"time"

	"volley/stats"
)

// patrolEvery is how often somebody looks for arrivals that have grown too old
// while all workers hang. As long as one of them is there, and there is no backlog,
// nothing grows old, and patrolSeldom will do.
const (
	patrolEvery  = 50 * time.Millisecond
	patrolSeldom = 4 * patrolEvery
)

// busyness is what the workers do at one moment. Those of a closed model are
// never idle.
type busyness struct{ idle, thinking, waiting int64 }

func (c *crew) look() *busyness {
	b := &busyness{idle: c.idle.Load(), thinking: c.thinking.Load()}
	b.waiting = max(c.workers.Load()-b.idle-b.thinking, 0)
	return b
}

// patrol drops what is too old, until over. What the workers do at that moment
// is why.
func (c *crew) patrol(over <-chan struct{}) {
	timer := time.NewTimer(patrolEvery)
	defer timer.Stop()
	before := &busyness{idle: 1}
	for {
		select {
		case <-timer.C:
			now := c.look()
			why := now
			if before.idle == 0 && now.idle > 0 {
				why = before // a worker has come back just now: it was not there for these
			}
			seldom := before.idle > 0 && now.idle > 0
			before = now
			c.busyness.Store(why)
			c.expired(why, c.pacer.drop(c.now()))
			timer.Reset(c.pacer.nextPatrol(seldom))
		case <-over:
			return
		}
	}
}

// nextPatrol is soon enough to see several times how it stands before the first
// arrival that nobody came for is too old.
func (p *pacer) nextPatrol(seldom bool) time.Duration {
	p.mu.Lock()
	defer p.mu.Unlock()
	if !seldom || p.behind {
		return patrolEvery
	}
	return max(min(patrolSeldom, p.maxBacklog/4), patrolEvery)
}

// dropped counts what a worker found too old when it came back. It is no longer
// busy itself, so the last patrol knows better why.
func (c *crew) dropped(d drops) {
	if d.expired > 0 {
		b := c.busyness.Load()
		if b == nil {
			b = c.look()
		}
		c.expired(b, d.expired)
	}
	c.lost(stats.DropOther, d.held)
}

// expired splits n arrivals among what the workers they needed were doing.
func (c *crew) expired(b *busyness, n int64) {
	busy := b.thinking + b.waiting
	if n == 0 {
		return
	}
	if b.idle > 0 || busy == 0 {
		c.lost(stats.DropOther, n) // somebody was there, held by the catch-up rule
		return
	}
	thinking := (n*b.thinking + busy/2) / busy
	c.lost(stats.DropThinking, thinking)
	c.lost(stats.DropWaiting, n-thinking)
}

// lost counts n dropped arrivals. Requests that come due after the last
// iteration has begun are nobody's, and so are arrivals that no data is left for.
func (c *crew) lost(cause stats.DropCause, n int64) {
	if n > 0 && !(c.isSpent() && (c.requests || c.dry())) {
		c.shard(0).Drop(stats.Drop{At: c.now(), N: n, Cause: cause})
	}
}
