package grpcsvc

import (
	"sync"
	"time"

	"github.com/hashicorp/raft"
)

// contacts measures for how long nothing was heard of those that must be heard
// of: on a follower between two messages of its leader, on the leader between
// two answers of one follower. Elections and leases hang on these gaps.
type contacts struct {
	mu       sync.Mutex
	leader   time.Time                   // last message of one, zero before the first and while this node leads
	answered map[raft.ServerID]time.Time // last answer of a follower, empty unless this node leads
	longest  time.Duration
}

// heard takes note of a leader's message.
func (c *contacts) heard(now time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.leader.IsZero() {
		c.longest = max(c.longest, now.Sub(c.leader))
	}
	c.leader, c.answered = now, nil
}

// answer takes note of a follower's answer to this node as the leader.
func (c *contacts) answer(of raft.ServerID, now time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if last, ok := c.answered[of]; ok {
		c.longest = max(c.longest, now.Sub(last))
	}
	if c.answered == nil {
		c.answered = map[raft.ServerID]time.Time{}
	}
	c.leader, c.answered[of] = time.Time{}, now
}

// gap is the longest so far, that of a follower which still waits included. A
// leader's silent follower counts when it answers again: it may be gone.
func (c *contacts) gap(now time.Time) time.Duration {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.leader.IsZero() {
		return c.longest
	}
	return max(c.longest, now.Sub(c.leader))
}

// restart forgets the longest.
func (c *contacts) restart(now time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.longest = 0
	if !c.leader.IsZero() {
		c.leader = now
	}
	clear(c.answered)
}

// ContactGap is the longest time since RestartContactGap, or since the start,
// between two messages of a leader that reached this node, or, while it leads,
// between two answers of one follower.
func (t *Transport) ContactGap() time.Duration { return t.contacts.gap(time.Now()) }

// RestartContactGap begins ContactGap anew.
func (t *Transport) RestartContactGap() { t.contacts.restart(time.Now()) }
