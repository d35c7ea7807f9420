package main

import (
	"bufio"
	"fmt"
	"net"
	"sync"
	"sync/atomic"
	"time"
)

// target answers every request at once and counts them by the millisecond.
type target struct {
	listener net.Listener
	start    atomic.Int64 // Unix nanoseconds
	bins     []atomic.Int64
	open     sync.WaitGroup

	mu    sync.Mutex
	conns []net.Conn
}

func listen(length time.Duration) (*target, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, fmt.Errorf("listen for the load: %w", err)
	}
	t := &target{listener: l, bins: make([]atomic.Int64, length.Milliseconds()+1000)}
	t.open.Go(t.accept)
	return t, nil
}

func (t *target) url() string { return "http://" + t.listener.Addr().String() }

func (t *target) begin(at time.Time) { t.start.Store(at.UnixNano()) }

// accept ends when the listener is closed.
func (t *target) accept() {
	for {
		conn, err := t.listener.Accept()
		if err != nil {
			return
		}
		t.mu.Lock()
		t.conns = append(t.conns, conn)
		t.mu.Unlock()
		t.open.Go(func() { t.serve(conn) })
	}
}

// serve ends when either side closes the connection. A request is over at an
// empty line: these have no body.
func (t *target) serve(conn net.Conn) {
	answer := []byte("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
	in := bufio.NewReader(conn)
	for {
		line, err := in.ReadSlice('\n')
		if err != nil {
			return
		}
		if len(line) > 2 {
			continue
		}
		t.note(time.Now())
		if _, err := conn.Write(answer); err != nil {
			return
		}
	}
}

func (t *target) note(now time.Time) {
	ms := (now.UnixNano() - t.start.Load()) / int64(time.Millisecond)
	if ms >= 0 && ms < int64(len(t.bins)) {
		t.bins[ms].Add(1)
	}
}

func (t *target) counts() []int64 {
	out := make([]int64, len(t.bins))
	for i := range t.bins {
		out[i] = t.bins[i].Load()
	}
	return out
}

func (t *target) close() {
	_ = t.listener.Close()
	t.mu.Lock()
	for _, c := range t.conns {
		_ = c.Close()
	}
	t.mu.Unlock()
	t.open.Wait()
}
