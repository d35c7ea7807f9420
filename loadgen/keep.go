package loadgen

import (
	"context"
	"slices"
	"sync"
	"time"

	"volley/plan"
	"volley/stats"
)

// idleTimeout is after how long without a request a connection is closed, as
// in the predecessor.
const idleTimeout = 30 * time.Second

// keeper says who may send on which connection.
type keeper interface {
	// take grants a request on a route: on a connection that is kept, or, if
	// line is nil, on one that the caller opens. It waits as long as the plan's
	// number of connections asks for.
	take(ctx context.Context, r route) (grant, error)
	// opened makes a connection known that the holder of a grant has opened.
	opened(l *line)
	// give ends a grant. Its line is the one that was used, nil if none could be
	// opened. One that is not fit any more is closed.
	give(r route, g grant)
	// add takes a connection that was opened ahead of any request, or closes it
	// if it is one too many.
	add(l *line)
	close()
}

// grant is the right to send one request.
type grant struct {
	line *line
	// replaces is true if the caller shall open a connection because one broke.
	replaces bool
}

// perRequest is whether every request has a connection of its own.
func perRequest(c *plan.Config) bool {
	if c.Connections.Mode == "request" {
		return true
	}
	p := c.Pool
	return p != nil && (p.MaxIdlePerHost != nil && *p.MaxIdlePerHost == 0 || p.IdleTimeoutSecs != nil && *p.IdleTimeoutSecs == 0)
}

func idleLimit(c *plan.Config) time.Duration {
	if c.Pool != nil && c.Pool.IdleTimeoutSecs != nil {
		return time.Duration(*c.Pool.IdleTimeoutSecs) * time.Second
	}
	return idleTimeout
}

// spareLimit is how many idle connections a host may have; none is set if ok is
// false.
func spareLimit(c *plan.Config) (n int, ok bool) {
	if c.Pool != nil && c.Pool.MaxIdlePerHost != nil {
		return *c.Pool.MaxIdlePerHost, true
	}
	return 0, false
}

// poolOf is what the config says of idle connections.
func poolOf(c *plan.Config) stats.Pool {
	n, limited := spareLimit(c)
	return stats.Pool{Limited: limited, MaxIdlePerHost: int64(n), IdleTimeout: idleLimit(c)}
}

// mostOrigins is how many connections a worker keeps, each to another origin.
const mostOrigins = 8

// own keeps one worker's connections: one per route, at most mostOrigins of
// them. Its lock is for those that are opened ahead, and for timers.
type own struct {
	single bool // close each after its request
	expire time.Duration
	places *places // nil for no limit

	mu    sync.Mutex
	lines []*line // that rest, the longest rested first
	broke map[route]bool
}

func (o *own) take(_ context.Context, r route) (grant, error) {
	o.mu.Lock()
	l := o.leave(o.find(r))
	replaces := len(o.broke) > 0 && o.broke[r]
	if replaces {
		delete(o.broke, r)
	}
	o.mu.Unlock()
	if l == nil {
		return grant{replaces: replaces}, nil
	}
	alive, expired := l.wake()
	if !alive {
		l.close()
		return grant{replaces: !expired}, nil
	}
	return grant{line: l}, nil
}

// find is where the connection on a route rests, -1 if there is none.
func (o *own) find(r route) int {
	for i, l := range o.lines {
		if l.route == r {
			return i
		}
	}
	return -1
}

// leave takes a connection from where it rests; nil for -1.
func (o *own) leave(at int) *line {
	if at < 0 {
		return nil
	}
	l := o.lines[at]
	o.lines = slices.Delete(o.lines, at, at+1)
	o.places.leave(l.route)
	return l
}

func (o *own) opened(*line) {}

func (o *own) give(r route, g grant) {
	l := g.line
	switch {
	case l == nil:
		if g.replaces {
			o.broken(r)
		}
	case o.single:
		l.close()
	case !l.fit():
		l.close()
		o.broken(r)
	default:
		o.add(l)
	}
}

func (o *own) broken(r route) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if len(o.broke) < mostHosts {
		o.broke[r] = true
	}
}

func (o *own) add(l *line) {
	var old *line
	o.mu.Lock()
	full := o.find(l.route) >= 0 || !o.places.enter(l.route)
	if !full {
		if len(o.lines) >= mostOrigins {
			old = o.leave(0)
		}
		l.rest(o.expire, o)
		o.lines = append(o.lines, l)
	}
	o.mu.Unlock()
	if full {
		l.close()
	}
	if old != nil {
		old.close()
	}
}

// expired closes a connection that has been idle for too long.
func (o *own) expired(l *line) {
	o.mu.Lock()
	at := slices.Index(o.lines, l)
	old := at >= 0 && l.stale()
	if old {
		o.leave(at)
	} else {
		l.later(at >= 0)
	}
	o.mu.Unlock()
	if old {
		l.close()
	}
}

// renew closes what has been used, for an iteration that begins anew.
func (o *own) renew() { o.drop(func(l *line) bool { return l.used.Load() }) }

func (o *own) close() { o.drop(func(*line) bool { return true }) }

func (o *own) drop(which func(*line) bool) {
	var old []*line
	o.mu.Lock()
	for at := len(o.lines) - 1; at >= 0; at-- {
		if which(o.lines[at]) {
			old = append(old, o.leave(at))
		}
	}
	clear(o.broke)
	o.mu.Unlock()
	shut(old)
}

// places limits how many connections of all workers may be idle per route. A
// nil one does not.
type places struct {
	most  int
	mu    sync.Mutex
	taken map[route]int
}

func (p *places) enter(r route) bool {
	if p == nil {
		return true
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.taken[r] >= p.most {
		return false
	}
	p.taken[r]++
	return true
}

func (p *places) leave(r route) {
	if p == nil {
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.taken[r]--; p.taken[r] <= 0 {
		delete(p.taken, r)
	}
}
