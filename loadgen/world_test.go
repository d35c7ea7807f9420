package loadgen_test

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"volley/loadgen"
	"volley/stats"
)

// world is a network in memory, so that a run on it takes virtual time: minutes
// pass in milliseconds, and all that the target sees is exact. Every address
// leads to the target, by TLS where the port is 443.
type world struct {
	serve answer
	tls   *tls.Config
	names []string // what every name leads to, 10.0.0.1 unless given

	began   time.Time
	mu      sync.Mutex
	calls   []sight
	dials   []string // "after address"
	lookups int
}

// sight is a request as the target saw it.
type sight struct {
	at   time.Duration // since the start of the run
	line string        // method, request URI
	host string
	addr string // that was dialled
	http *http.Request
	body string // the first of it
	size int
}

// outcome is what became of a run.
type outcome struct {
	*stats.Summary
	calls   []sight
	dials   []string
	lookups int
	err     error // why the plan is refused
}

// play runs a job in virtual time.
func (w *world) play(t *testing.T, j loadgen.Job) (out outcome) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		plain, secure := newEntrance(), newEntrance()
		server := &http.Server{
			Handler: http.HandlerFunc(w.note), TLSConfig: w.tls, ErrorLog: slog.NewLogLogger(slog.DiscardHandler, slog.LevelInfo),
			Protocols: new(http.Protocols),
		}
		server.Protocols.SetHTTP1(true)
		server.Protocols.SetHTTP2(true)
		server.Protocols.SetUnencryptedHTTP2(true)
		var serving sync.WaitGroup
		serving.Go(func() { _ = server.Serve(plain) })
		if w.tls != nil {
			serving.Go(func() { _ = server.ServeTLS(secure, "", "") })
		}
		w.began = time.Now()
		open := func(ctx context.Context, _, addr string) (net.Conn, error) {
			w.mu.Lock()
			w.dials = append(w.dials, fmt.Sprint(time.Since(w.began), " ", addr))
			w.mu.Unlock()
			if strings.HasSuffix(addr, ":443") {
				return secure.dial(ctx, addr)
			}
			return plain.dial(ctx, addr)
		}
		out.Summary, out.err = loadgen.RunOn(t.Context(), j, slog.New(slog.DiscardHandler), open, w.lookup)
		_ = server.Close()
		_ = secure.Close()
		serving.Wait()
	})
	out.calls, out.dials, out.lookups = w.calls, w.dials, w.lookups
	return out
}

func (w *world) lookup(context.Context, string, string) (found []netip.Addr, err error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.lookups++
	for _, name := range append(w.names, "10.0.0.1")[:max(len(w.names), 1)] {
		found = append(found, netip.MustParseAddr(name))
	}
	return found, nil
}

func (w *world) note(rw http.ResponseWriter, r *http.Request) {
	at := time.Since(w.began)
	body, _ := io.ReadAll(io.LimitReader(r.Body, 4096))
	rest, _ := io.Copy(io.Discard, r.Body)
	addr := r.Context().Value(http.LocalAddrContextKey).(net.Addr).String()
	w.mu.Lock()
	w.calls = append(w.calls, sight{at, r.Method + " " + r.RequestURI, r.Host, addr, r, string(body), len(body) + int(rest)})
	w.mu.Unlock()
	w.serve(rw, r)
}

// entrance is a listener in memory.
type entrance struct {
	waiting chan net.Conn
	closed  chan struct{}
	once    sync.Once
}

func newEntrance() *entrance {
	return &entrance{waiting: make(chan net.Conn), closed: make(chan struct{})}
}

func (e *entrance) Accept() (net.Conn, error) {
	select {
	case c := <-e.waiting:
		return c, nil
	case <-e.closed:
		return nil, net.ErrClosed
	}
}

func (e *entrance) Close() error {
	e.once.Do(func() { close(e.closed) })
	return nil
}

func (e *entrance) Addr() net.Addr { return place("memory") }

func (e *entrance) dial(ctx context.Context, addr string) (net.Conn, error) {
	ours, theirs := net.Pipe()
	select {
	case e.waiting <- addressed{theirs, place(addr)}:
		return ours, nil
	case <-e.closed:
	case <-ctx.Done():
	}
	return nil, errors.New("nobody listens")
}

// place is an address as it is.
type place string

func (place) Network() string  { return "memory" }
func (p place) String() string { return string(p) }

// addressed is the target's end of a connection, which knows what was dialled.
type addressed struct {
	net.Conn
	at place
}

func (a addressed) LocalAddr() net.Addr { return a.at }
