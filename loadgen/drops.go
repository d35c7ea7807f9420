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
	if len(d) == 0 {
		return
	}
	b := c.busyness.Load()
	if b == nil {
		b = c.look()
	}
	c.expired(b, d)
}

// expired splits arrivals among what the workers they needed were doing.
func (c *crew) expired(b *busyness, d drops) {
	busy := b.thinking + b.waiting
	for _, l := range d {
		if l.held || b.idle > 0 || busy == 0 {
			c.lost(stats.DropOther, l) // somebody was there, held by the catch-up rule
			continue
		}
		thinking, waiting := l, l
		thinking.n = (l.n*b.thinking + busy/2) / busy
		waiting.n -= thinking.n
		c.lost(stats.DropThinking, thinking)
		c.lost(stats.DropWaiting, waiting)
	}
}

// lost counts dropped arrivals. Requests that come due after the last
// iteration has begun are nobody's, and so are arrivals that no data is left for.
func (c *crew) lost(cause stats.DropCause, d ...loss) {
	if len(d) == 0 || c.isSpent() && (c.requests || c.dry()) {
		return
	}
	now := c.now()
	for _, l := range d {
		c.shard(0).Drop(stats.Drop{Due: l.due, At: now, N: l.n, Cause: cause})
	}
}
