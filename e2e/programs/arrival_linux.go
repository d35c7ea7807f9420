package main

import (
	"encoding/binary"
	"errors"
	"io"
	"net"
	"sync/atomic"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// stamped makes the kernel note when data arrives: on a machine that has other
// things to do this process may be told of it milliseconds later.
func stamped(l net.Listener) net.Listener { return stampedListener{l} }

type stampedListener struct{ net.Listener }

func (l stampedListener) Accept() (net.Conn, error) {
	c, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	tcp, ok := c.(*net.TCPConn)
	if !ok {
		return c, nil
	}
	raw, err := tcp.SyscallConn()
	if err != nil {
		return c, nil
	}
	refused := raw.Control(func(fd uintptr) {
		err = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_TIMESTAMPING, unix.SOF_TIMESTAMPING_RX_SOFTWARE|unix.SOF_TIMESTAMPING_SOFTWARE)
	})
	if refused != nil || err != nil {
		return c, nil // then the handler's own time has to do
	}
	return &stampedConn{Conn: c, raw: raw}, nil
}

type stampedConn struct {
	net.Conn
	raw  syscall.RawConn
	last atomic.Int64 // Unix ns of what was read last
}

func (c *stampedConn) arrived() time.Time {
	if at := c.last.Load(); at != 0 {
		return time.Unix(0, at)
	}
	return time.Time{}
}

func (c *stampedConn) Read(p []byte) (int, error) {
	var n, rest int
	var failed error
	beside := make([]byte, 128)
	err := c.raw.Read(func(fd uintptr) bool {
		for {
			n, rest, _, _, failed = unix.Recvmsg(int(fd), p, beside, 0)
			if !errors.Is(failed, unix.EINTR) {
				return !errors.Is(failed, unix.EAGAIN)
			}
		}
	})
	if err := errors.Join(err, failed); err != nil {
		return 0, err
	}
	if n == 0 && len(p) > 0 {
		return 0, io.EOF
	}
	c.note(beside[:rest])
	return n, nil
}

// note keeps the time that the kernel gives beside the data.
func (c *stampedConn) note(beside []byte) {
	messages, err := unix.ParseSocketControlMessage(beside)
	if err != nil {
		return
	}
	for _, m := range messages {
		if m.Header.Type == unix.SCM_TIMESTAMPING && len(m.Data) >= 16 { // the first of three timespecs
			seconds, ns := binary.NativeEndian.Uint64(m.Data), binary.NativeEndian.Uint64(m.Data[8:])
			if seconds != 0 {
				c.last.Store(int64(seconds)*1e9 + int64(ns))
			}
		}
	}
}
