package node

import (
	"context"
	"fmt"
	"sync"
	"time"
)

const (
	pingTimeout  = time.Second
	pingCount    = 8
	pingSpacing  = 5 * time.Millisecond
	clockEvery   = 10 * time.Second
	clockWarn    = 50 * time.Millisecond  // bound
	clockOffWarn = 100 * time.Millisecond // offset
)

// offset is what is known of another server's clock: its clock minus ours,
// give or take bound.
type offset struct {
	offset, bound time.Duration
	measured      time.Time
}

// clocks keeps this node's offset to the servers that led.
type clocks struct {
	upstream Upstream
	mu       sync.Mutex
	offsets  map[string]offset
}

// to returns the offset to the server's clock; ok is false if it was never measured.
func (c *clocks) to(server string) (offset, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	o, ok := c.offsets[server]
	return o, ok
}

// ClockOffset is the leader's clock minus this node's as last measured, 0 on the
// leader itself and before.
func (n *Node) ClockOffset() time.Duration {
	if n.clocks == nil {
		return 0
	}
	id, _ := n.leader()
	o, _ := n.clocks.to(id)
	return o.offset
}

// measure asks the server at addr for its clock pingCount times and keeps the
// answer with the shortest round trip: with t1, t4 ours and t2, t3 theirs the
// offset is ((t2-t1)+(t3-t4))/2, and it is wrong by at most half the round trip (RFC 5905, section 8).
func (c *clocks) measure(ctx context.Context, server, addr string) (offset, error) {
	best := offset{bound: 1 << 62}
	var failed error
	for i := range pingCount {
		if i > 0 && !sleep(ctx, pingSpacing) {
			break
		}
		o, err := c.ping(ctx, server, addr)
		if err != nil {
			failed = err
			continue
		}
		if o.bound < best.bound {
			best = o
		}
	}
	if best.measured.IsZero() {
		return best, fmt.Errorf("measure the clock of %s at %s: %w", server, addr, failed)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.offsets) > 64 { // leaders of a long life
		clear(c.offsets)
	}
	c.offsets[server] = best
	return best, nil
}

func (c *clocks) ping(ctx context.Context, server, addr string) (offset, error) {
	ctx, cancel := context.WithTimeout(ctx, pingTimeout)
	defer cancel()
	t1 := time.Now()
	pong, err := c.upstream.Ping(ctx, addr)
	if err != nil {
		return offset{}, err
	}
	roundTrip := time.Since(t1)
	if pong.ServerID != server {
		return offset{}, fmt.Errorf("%s answers instead of %s: %w", pong.ServerID, server, ErrOtherCluster)
	}
	// t4 from the monotonic clock, so that a step of our own wall clock does no harm.
	sent, received := t1.UnixNano(), t1.Add(roundTrip).UnixNano()
	return offset{
		offset:   (time.Duration(pong.ReceivedNs-sent) + time.Duration(pong.SentNs-received)) / 2,
		bound:    max((roundTrip-time.Duration(pong.SentNs-pong.ReceivedNs))/2, 1), // 0 is "not known"
		measured: time.Now(),
	}, nil
}
