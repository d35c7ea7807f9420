package loadgen

import (
	"bufio"
	"context"
	"crypto/tls"
	"errors"
	"net"
	"os"
	"sync/atomic"
	"time"
)

const (
	// shortRequest is up to how many bytes a request is written in one go.
	shortRequest = 64 << 10
	// lastWrite is how long a request may still be written when its response is
	// complete, as with net/http; then the connection is of no more use.
	lastWrite = 50 * time.Millisecond
	// pourBuffer is for a body that is made while it is sent.
	pourBuffer = 32 << 10
	// wasteBuffer is for what is read and forgotten.
	wasteBuffer = 16 << 10
)

// wire is a connection of our own client: HTTP/1.1, one request at a time.
type wire struct {
	sock *socket
	conn net.Conn // the socket, or TLS upon it

	fit   bool      // another request may be sent
	armed time.Time // the deadline for reading that is set
	until time.Time // when the exchange under way has had its time
	user  *client   // whose exchange it is

	in       int64
	out      atomic.Int64 // atomic, as what is long is written beside the reader
	answered time.Time    // when the first byte of the response came
	pouring  chan error   // one who writes beside the reader; nil for none
	poured   int          // bytes of what was held, by that one
}

func newWire(sock *socket, conn net.Conn) *wire { return &wire{sock: sock, conn: conn, fit: true} }

// alive looks whether the other side has closed a connection that has rested,
// or has said something that nobody asked for.
func (w *wire) alive() bool {
	if !w.fit {
		return false
	}
	if _, secure := w.conn.(*tls.Conn); secure { // TLS may hold what the socket no longer has
		w.fit = w.isTalk()
		return w.fit
	}
	w.fit = w.sock.listen() == saidNothing
	return w.fit
}

// isTalk is whether nothing has come over TLS but its own, such as a session ticket.
func (w *wire) isTalk() bool {
	if !w.armed.IsZero() && !w.armed.After(time.Now()) { // by a deadline that has passed nothing is read
		w.arm(time.Time{})
	}
	w.sock.eager = true
	var one [1]byte
	n, err := w.conn.Read(one[:])
	w.sock.eager = false
	return n == 0 && errors.Is(err, os.ErrDeadlineExceeded)
}

func (w *wire) arm(t time.Time) {
	w.armed = t
	_ = w.conn.SetReadDeadline(t)
}

// ready prepares for an exchange. A deadline that is set and comes sooner than
// the exchange's stays: to look again when it comes costs less than to set
// another for each.
func (w *wire) ready(now, until time.Time, user *client) {
	w.until, w.user = until, user
	w.in, w.answered, w.sock.sent, w.poured = 0, time.Time{}, 0, 0
	w.out.Store(0)
	if !w.armed.After(now) || w.armed.After(until) {
		w.arm(until)
	}
}

// passes is whether an error is only that a deadline came which is not the
// exchange's; then that one is set.
func (w *wire) passes(err error) bool {
	if err == errFull {
		left := w.sock.held
		w.sock.held = nil
		w.pour(func() error { return w.rest(left) })
		return true
	}
	if !errors.Is(err, os.ErrDeadlineExceeded) || w.user.stop.over.Load() || !time.Now().Before(w.until) {
		return false
	}
	w.arm(w.until)
	return !w.user.stop.over.Load() // who stops it sets a deadline after that
}

// Read reads what the other side says.
func (w *wire) Read(b []byte) (int, error) {
	for {
		n, err := w.conn.Read(b)
		if n > 0 || err == nil || !w.passes(err) {
			w.came(n)
			return n, err
		}
	}
}

// First reads what comes first. TLS has to be given where to.
func (w *wire) First(lend func() []byte) (int, error) {
	if w.sock.raw == nil || w.conn != net.Conn(w.sock) {
		return w.Read(lend())
	}
	w.sock.lend = lend
	n, err := w.Read(nil)
	w.sock.lend = nil
	return n, err
}

func (w *wire) came(n int) {
	if w.user.phases && n > 0 && w.answered.IsZero() {
		w.answered = time.Now()
	}
	w.in += int64(n)
}

// Skip reads and forgets.
func (w *wire) Skip(n int64) (int64, error) {
	if !forgets || w.sock.raw == nil || w.conn != net.Conn(w.sock) {
		if w.user.waste == nil {
			w.user.waste = make([]byte, wasteBuffer)
		}
		got, err := w.Read(w.user.waste[:min(n, wasteBuffer)])
		return int64(got), err
	}
	for {
		w.sock.skip = int(min(n, 1<<30))
		got, err := w.sock.wait()
		w.sock.skip = 0
		if got > 0 || !w.passes(err) {
			w.came(got)
			return int64(got), err
		}
	}
}

// send gives a request to the connection. What is short goes out with the first
// read of the response; what is long, beside it, as the response may come first.
func (w *wire) send(k *errand) error {
	switch {
	case k.wire == nil:
		w.pour(func() error {
			to := bufio.NewWriterSize(counting{w}, pourBuffer)
			if err := k.req.Write(to); err != nil {
				return err
			}
			return to.Flush()
		})
	case len(k.wire) > shortRequest || w.sock.raw == nil: // in memory a write waits for a reader
		w.pour(func() error {
			_, err := counting{w}.Write(k.wire)
			return err
		})
	case w.conn == net.Conn(w.sock):
		w.sock.held = k.wire
	default:
		w.sock.kept, w.sock.holding = w.sock.kept[:0], true
		_, err := w.conn.Write(k.wire)
		w.sock.holding = false
		w.sock.held = w.sock.kept
		return err
	}
	return nil
}

// counting writes to a wire.
type counting struct{ w *wire }

func (c counting) Write(b []byte) (int, error) {
	n, err := c.w.conn.Write(b)
	c.w.out.Add(int64(n))
	return n, err
}

// rest is the rest of what did not go out at once.
func (w *wire) rest(left []byte) error {
	n, err := w.sock.Conn.Write(left)
	w.poured = n
	return err
}

// carried is how many bytes of a request went out, when the exchange is settled.
func (w *wire) carried(request []byte) int64 {
	held := w.sock.sent + w.poured
	if w.conn != net.Conn(w.sock) && held > 0 {
		// What TLS made of it is longer.
		if len(w.sock.held) == 0 {
			held = len(request)
		}
		held = min(held, len(request))
	}
	w.sock.held = nil
	return int64(held) + w.out.Load()
}

// pour writes beside the reader.
func (w *wire) pour(write func() error) {
	_ = w.conn.SetWriteDeadline(w.until)
	if w.user.stop.over.Load() {
		_ = w.conn.SetWriteDeadline(longAgo())
	}
	done := make(chan error, 1)
	w.pouring = done
	go func() { done <- write() }() // joined by settle
}

// settle ends an exchange: the connection is fit for another if all went well.
func (w *wire) settle(fit bool) {
	w.fit = fit
	if w.pouring == nil {
		return
	}
	if fit {
		limit := time.NewTimer(lastWrite)
		select {
		case err := <-w.pouring:
			w.fit = err == nil && w.conn.SetWriteDeadline(time.Time{}) == nil
			w.pouring = nil
		case <-limit.C:
			w.fit = false
		}
		limit.Stop()
	}
	if w.pouring != nil {
		_ = w.conn.Close()
		<-w.pouring
		w.pouring = nil
	}
}

// close says good-bye where TLS wants it.
func (w *wire) close() {
	w.fit = false
	_ = w.conn.Close()
}

// stopper ends what a client does when a context ends, at once and without
// anybody who waits for it per request.
type stopper struct {
	ctx    context.Context
	forget func() bool
	over   atomic.Bool
	busy   atomic.Pointer[wire] // what it reads from
}

// heed makes it heed a context from now on.
func (s *stopper) heed(ctx context.Context) {
	if s.ctx == ctx {
		return
	}
	s.release()
	s.ctx = ctx
	s.over.Store(false)
	if ctx.Err() != nil {
		s.over.Store(true)
		return
	}
	s.forget = context.AfterFunc(ctx, s.end)
}

func (s *stopper) end() {
	s.over.Store(true)
	if w := s.busy.Load(); w != nil {
		_ = w.conn.SetDeadline(longAgo())
	}
}

func (s *stopper) release() {
	if s.forget != nil {
		s.forget()
	}
	s.ctx, s.forget = nil, nil
}

// longAgo is a deadline that has passed.
func longAgo() time.Time { return time.Unix(1, 0) }
