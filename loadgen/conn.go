package loadgen

import (
	"crypto/tls"
	"net"
	"sync/atomic"
	"syscall"
	"time"
)

// meter counts what one worker's connections carry. The transport reads and
// writes in goroutines of its own, hence the atomics.
type meter struct {
	epoch   time.Time
	in, out atomic.Int64
	first   atomic.Int64 // ns since epoch of the request's first byte, 0 before it
}

// rearm prepares for the next request.
func (m *meter) rearm() { m.first.Store(0) }

// firstByte is when the current request's first byte was sent.
func (m *meter) firstByte() (time.Time, bool) {
	ns := m.first.Load()
	return m.epoch.Add(time.Duration(ns)), ns != 0
}

// meteredConn is a connection, above TLS, that a meter watches.
type meteredConn struct {
	net.Conn
	meter *meter
}

func (c *meteredConn) Read(b []byte) (int, error) {
	n, err := c.Conn.Read(b)
	c.meter.in.Add(int64(n))
	return n, err
}

func (c *meteredConn) Write(b []byte) (int, error) {
	c.meter.first.CompareAndSwap(0, max(int64(time.Since(c.meter.epoch)), 1))
	n, err := c.Conn.Write(b)
	c.meter.out.Add(int64(n))
	return n, err
}

// alive says whether a connection that has been idle was closed by the other
// side, without taking anything from it. Where it cannot tell it says yes.
func alive(c net.Conn) bool {
	if t, ok := c.(*tls.Conn); ok {
		c = t.NetConn()
	}
	sc, ok := c.(syscall.Conn)
	if !ok {
		return true
	}
	raw, err := sc.SyscallConn()
	if err != nil {
		return false
	}
	open := true
	err = raw.Read(func(fd uintptr) bool {
		var b [1]byte
		n, _, err := syscall.Recvfrom(int(fd), b[:], syscall.MSG_PEEK|syscall.MSG_DONTWAIT)
		open = n > 0 || err == syscall.EAGAIN || err == syscall.EWOULDBLOCK
		return true
	})
	return err == nil && open
}
