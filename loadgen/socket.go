package loadgen

import (
	"io"
	"net"
	"os"
	"syscall"
)

// socket is what our own connections have beneath, and beneath TLS. What is
// held goes out with the next read, which says that it waits before it writes:
// so no answer comes before somebody waits for it, and the read that would find
// nothing is spared. One goroutine reads. Others may write what is not held.
type socket struct {
	net.Conn
	raw  syscall.RawConn // nil if there is no descriptor, as in memory
	turn func(fd uintptr) bool
	ear  func(fd uintptr)

	holding bool   // Write keeps what it is given
	kept    []byte // by Write
	held    []byte // goes out with the next read
	sent    int    // of what was held

	into  []byte        // what a read fills
	lend  func() []byte // or where it comes from once there is something
	skip  int           // or how much it forgets
	eager bool          // it does not wait
	n     int
	err   error
	heard said
}

func newSocket(conn net.Conn) *socket {
	s := &socket{Conn: conn}
	s.turn, s.ear = s.take, s.hear // made once: each of them would be an allocation
	if c, ok := conn.(syscall.Conn); ok {
		s.raw, _ = c.SyscallConn()
	}
	return s
}

// Write writes at once unless the socket is to hold it.
func (s *socket) Write(b []byte) (int, error) {
	if !s.holding {
		return s.Conn.Write(b)
	}
	s.kept = append(s.kept, b...)
	return len(b), nil
}

// Read sends what is held, and then waits for what comes. It is errFull if not
// all of it can be sent at once: the rest is still held.
func (s *socket) Read(b []byte) (int, error) {
	if s.raw == nil {
		return s.Conn.Read(b)
	}
	s.into = b
	n, err := s.wait()
	s.into = nil
	return n, err
}

func (s *socket) wait() (int, error) {
	s.n, s.err = 0, nil
	if err := s.raw.Read(s.turn); err != nil {
		return 0, err
	}
	return s.n, s.err
}

// take is one turn on the descriptor; it is false if there is something to be
// waited for. The runtime has begun to listen when it is called.
func (s *socket) take(fd uintptr) bool {
	var unsent error
	if len(s.held) > 0 {
		unsent = s.put(int(fd))
		if unsent == nil {
			return false
		}
		if unsent == errFull {
			s.err = errFull
			return true
		}
		// The other side may have said why it takes no more.
	}
	n, err := s.get(int(fd))
	switch {
	case err == nil && n > 0:
		s.n = n
	case unsent != nil:
		s.err = unsent
	case err == syscall.EAGAIN && !s.eager:
		return false
	case err == syscall.EAGAIN:
		s.err = os.ErrDeadlineExceeded
	case err != nil:
		s.err = s.failed("read", err)
	default:
		s.err = io.EOF
	}
	return true
}

func (s *socket) get(fd int) (int, error) {
	if s.skip > 0 {
		return forget(fd, s.skip)
	}
	if s.lend != nil {
		s.into = s.lend()
	}
	return readSocket(fd, s.into)
}

// full is that the kernel takes no more of what is held just now. To TLS it is
// an error that passes.
type full struct{}

func (full) Error() string   { return syscall.EAGAIN.Error() }
func (full) Timeout() bool   { return true }
func (full) Temporary() bool { return true }

var errFull error = full{}

// put writes what is held; there is no error if all of it went out.
func (s *socket) put(fd int) error {
	n, err := writeSocket(fd, s.held)
	if n > 0 {
		s.sent, s.held = s.sent+n, s.held[n:]
	}
	switch {
	case err == nil && len(s.held) == 0:
		return nil
	case err == nil || err == syscall.EAGAIN:
		return errFull
	}
	s.held = nil
	return s.failed("write", err)
}

// failed is a system call's error as package net shows it.
func (s *socket) failed(call string, err error) error {
	return &net.OpError{Op: call, Net: "tcp", Source: s.LocalAddr(), Addr: s.RemoteAddr(), Err: os.NewSyscallError(call, err)}
}

// said is what lies there unread: nothing, something, or the end.
type said int

const (
	saidNothing said = iota
	saidSomething
	saidEnd
)

// listen looks without reading or waiting. Where there is no descriptor
// nothing can be heard.
func (s *socket) listen() said {
	if s.raw == nil {
		return saidNothing
	}
	if err := s.raw.Control(s.ear); err != nil {
		return saidEnd
	}
	return s.heard
}

func (s *socket) hear(fd uintptr) { s.heard = peek(int(fd)) }
