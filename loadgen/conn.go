package loadgen

import (
	"net"
	"net/http"
	"net/http/httptrace"
	"sync/atomic"
	"time"
)

// meter counts what a connection carries. The transport reads and writes in
// goroutines of its own, hence the atomics.
type meter struct {
	epoch    time.Time
	in, out  atomic.Int64
	first    atomic.Int64 // ns since epoch of the request's first byte, 0 before it
	answered atomic.Int64 // of the response's first byte
}

// rearm prepares for the next request.
func (m *meter) rearm() {
	m.first.Store(0)
	m.answered.Store(0)
}

func (m *meter) now() int64 { return max(int64(time.Since(m.epoch)), 1) }

// instant is the time of a reading; false if there is none.
func (m *meter) instant(reading *atomic.Int64) (time.Time, bool) {
	ns := reading.Load()
	return m.epoch.Add(time.Duration(ns)), ns != 0
}

// trace has the meter note when the headers of a request begin to be written
// and when the response's do.
func (m *meter) trace() *httptrace.ClientTrace {
	return &httptrace.ClientTrace{
		WroteHeaderField:     func(string, []string) { m.first.CompareAndSwap(0, m.now()) },
		GotFirstResponseByte: func() { m.answered.CompareAndSwap(0, m.now()) },
	}
}

// meteredConn is a connection, above TLS unless a proxy is between, that a
// meter watches.
type meteredConn struct {
	net.Conn
	meter *meter
	// greeted is closed when the first of what the other side says has been
	// digested; nil if nobody waits for that. Only the reader uses it.
	greeted chan struct{}
}

func (c *meteredConn) Read(b []byte) (int, error) {
	if c.meter.answered.Load() != 0 {
		c.heard()
	}
	n, err := c.Conn.Read(b)
	if err != nil {
		c.heard()
	}
	if n > 0 && c.meter.answered.Load() == 0 {
		c.meter.answered.Store(c.meter.now())
	}
	c.meter.in.Add(int64(n))
	return n, err
}

func (c *meteredConn) heard() {
	if c.greeted != nil {
		close(c.greeted)
		c.greeted = nil
	}
}

func (c *meteredConn) Write(b []byte) (int, error) {
	if c.meter.first.Load() == 0 {
		c.meter.first.Store(c.meter.now())
	}
	n, err := c.Conn.Write(b)
	c.meter.out.Add(int64(n))
	return n, err
}

// route is what a connection leads to, and as whom: bare ones never show the
// client certificate.
type route struct {
	origin
	bare bool
}

// line is one connection. A keeper owns it, and lends it to one request at a
// time, or with HTTP/2 to several.
type line struct {
	conn  *http.ClientConn // nil if it is our own client's
	wire  *wire            // nil if it is net/http's
	route route
	http2 bool
	meter meter
	took  timing      // what opening it took
	used  atomic.Bool // a request has been sent on it
	lent  int         // requests under way; guarded by its keeper

	limit  time.Duration // how long it may be idle; 0 for as long as it likes
	since  time.Time     // when it came to rest; guarded by its keeper
	expiry *time.Timer   // looks whether it has been idle for too long; nil for never
	shut   atomic.Bool
}

// timing is what the parts of opening a connection took.
type timing struct{ dns, connect, tls time.Duration }

// rest starts the time after which an idle connection is gone. A timer that runs
// goes on: what it finds when it fires is that the line came to rest later.
func (l *line) rest(limit time.Duration, with interface{ expired(*line) }) {
	l.limit, l.since = limit, now()
	if limit > 0 && l.expiry == nil {
		l.expiry = time.AfterFunc(limit, func() { with.expired(l) })
	}
}

// stale is whether it has been idle for too long.
func (l *line) stale() bool { return l.limit > 0 && time.Since(l.since) >= l.limit }

// later has the timer look again: at the end of a rest, or of one that begins
// now.
func (l *line) later(rests bool) {
	wait := l.limit
	if rests {
		wait -= time.Since(l.since)
	}
	if !l.shut.Load() {
		l.expiry.Reset(wait)
	}
}

// wake ends the rest. It is false if the connection may not be used any more;
// expired is true if that was because it had been idle for too long.
func (l *line) wake() (alive, expired bool) {
	if l.stale() {
		return false, true
	}
	if l.wire != nil {
		return l.wire.alive(), false
	}
	return l.fit(), false
}

// fit is whether another request may be sent, now or when one has ended.
func (l *line) fit() bool {
	if l.wire != nil {
		return l.wire.fit
	}
	if l.conn.Err() != nil {
		return false
	}
	// One that the other side is about to close has room for none. A stream that
	// has just ended may still be counted as in flight.
	return l.conn.Available() > 0 || l.http2 && l.conn.InFlight() > 0
}

// room is whether one more request may be sent at once beside those under way.
func (l *line) room() bool {
	return l.lent < l.conn.Available()+l.conn.InFlight()
}

func (l *line) close() {
	l.shut.Store(true)
	if l.expiry != nil {
		l.expiry.Stop()
	}
	if l.wire != nil {
		l.wire.close()
		return
	}
	_ = l.conn.Close()
}

// shut closes lines; it must not be called with a keeper's lock held, as
// closing may take time and reports to the keeper.
func shut(lines []*line) {
	for _, l := range lines {
		l.close()
	}
}
