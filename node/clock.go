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
	clockSetWarn = 100 * time.Millisecond // step of this machine's clock
	clockTold    = time.Minute            // between two warnings of the same clock
)

// wall is the clock that other nodes see of this process: the machine's wall
// clock as it was when the process began, carried on by the monotonic clock. So
// an instant that was agreed on in it, and an offset between two of them, stay
// what they are when somebody sets the machine's clock.
type wall struct {
	began time.Time
	unix  int64 // ns, of the wall clock when the process began
	now   func() time.Time
}

func newWall(now func() time.Time) wall {
	if now == nil {
		now = time.Now
	}
	return wall{began: time.Now(), unix: now().UnixNano(), now: now}
}

// read is what the clock shows at an instant of this process.
func (w wall) read(t time.Time) int64 { return w.unix + int64(t.Sub(w.began)) }

// instant is when the clock shows that; as a wall clock time it is one of the
// machine's clock as it is now.
func (w wall) instant(unix int64) time.Time {
	now := time.Now()
	return now.Add(time.Duration(unix - w.read(now)))
}

// set is by how much the machine's wall clock has been set since.
func (w wall) set() time.Duration {
	return time.Duration(w.now().UnixNano() - w.read(time.Now()))
}

// offset is what is known of another server's clock: its clock minus ours,
// give or take bound.
type offset struct {
	offset, bound time.Duration
	measured      time.Time
}

// clocks keeps this node's offset to the servers that led.
type clocks struct {
	upstream Upstream
	wall     wall
	mu       sync.Mutex
	offsets  map[string]offset
	warned   map[string]time.Time // of whose clock, when
}

// doubtful says, at most once a clockTold of each server, that its clock and
// this node's differ much or are hard to compare.
func (c *clocks) doubtful(server string, o offset) bool {
	if o.bound <= clockWarn && o.offset.Abs() <= clockOffWarn {
		return false
	}
	return c.warn(server)
}

// warn says whether a warning of the server's clock is due.
func (c *clocks) warn(server string) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if last, ok := c.warned[server]; ok && time.Since(last) < clockTold {
		return false
	}
	if len(c.warned) > 64 {
		clear(c.warned)
	}
	c.warned[server] = time.Now()
	return true
}

// to returns the offset to the server's clock; ok is false if it was never measured.
func (c *clocks) to(server string) (offset, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	o, ok := c.offsets[server]
	return o, ok
}

// ClockOffset is the leader's clock minus this node's as last measured, and by
// what that may be wrong; 0 on the leader itself and before.
func (n *Node) ClockOffset() (off, bound time.Duration) {
	if n.clocks == nil {
		return 0, 0
	}
	id, _ := n.leader()
	o, _ := n.clocks.to(id)
	return o.offset, o.bound
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
	sent, received := c.wall.read(t1), c.wall.read(t1.Add(roundTrip))
	return offset{
		offset:   (time.Duration(pong.ReceivedNs-sent) + time.Duration(pong.SentNs-received)) / 2,
		bound:    max((roundTrip-time.Duration(pong.SentNs-pong.ReceivedNs))/2, 1), // 0 is "not known"
		measured: time.Now(),
	}, nil
}
