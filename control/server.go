package control

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"sync"
	"time"

	"volley/door"
	"volley/page"
)

// Limits of both listeners.
const (
	readHeaderTimeout = 5 * time.Second
	readTimeout       = 20 * time.Second // a whole request
	callTimeout       = 30 * time.Second // what an App may take
	writeTimeout      = readTimeout + callTimeout + 10*time.Second
	idleTimeout       = 60 * time.Second
	maxHeaderBytes    = 32 << 10
	maxChanging       = 16   // POSTs at a time
	maxWaiting        = 1000 // connections that no request is in work on; the oldest of the address with most goes first
	maxBusy           = 1000 // of the others
	defaultDrain      = 3 * time.Second
)

// Options is what a Server needs; App and Metrics are required.
type Options struct {
	App        App
	Metrics    http.Handler  // GET /metrics on both listeners
	Token      string        // of the changing endpoints; "" leaves them open
	HealthAuth bool          // the token is asked for on reading endpoints too
	Log        *slog.Logger  // nil: slog.Default()
	Drain      time.Duration // how long requests may finish after Run's end; 0: 3 s
	// Project is the Google Cloud project of the traces that requests are of, "" while
	// it is not known; nil: there is none.
	Project func() string
}

// Server is the control API. Listening is its caller's work.
type Server struct {
	app        App
	metrics    http.Handler
	auth       auth
	healthAuth bool
	log        *slog.Logger
	drain      time.Duration
	project    func() string
	changing   chan struct{} // a place for each POST in work
	refusals   *door.Refusals
	origins    *http.CrossOriginProtection
	live       *live
	routes     map[string]route
}

// New returns a server that is not yet running. It fails if its pages do.
func New(o Options) (*Server, error) {
	s := &Server{
		app: o.App, metrics: o.Metrics, auth: newAuth(o.Token), healthAuth: o.HealthAuth, log: o.Log, drain: o.Drain, project: o.Project,
		changing: make(chan struct{}, maxChanging), origins: http.NewCrossOriginProtection(),
	}
	if s.log == nil {
		s.log = slog.Default()
	}
	if s.drain == 0 {
		s.drain = defaultDrain
	}
	s.refusals = door.NewRefusals(s.log)
	var err error
	s.live, err = newLive(o.access())
	s.routes = s.table()
	return s, err
}

// access is what the live page asks its user's token for.
func (o *Options) access() page.Access {
	switch {
	case o.Token == "":
		return page.Open
	case o.HealthAuth:
		return page.Closed
	}
	return page.Changes
}

// Run serves the control API on ln until ctx ends, lets requests in work
// finish for at most Options.Drain, and returns when all have. It closes ln.
func (s *Server) Run(ctx context.Context, ln net.Listener) error {
	return s.serve(ctx, ln, "control", http.HandlerFunc(s.route))
}

// RunMetrics serves GET /metrics alone on ln, as Run does.
func (s *Server) RunMetrics(ctx context.Context, ln net.Listener) error {
	only := map[string]route{"/metrics": s.routes["/metrics"]}
	return s.serve(ctx, ln, "metrics", http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { dispatch(only, w, r) }))
}

func (s *Server) serve(ctx context.Context, ln net.Listener, port string, handler http.Handler) error {
	ln = door.Guard(ln, door.Options{Strangers: maxWaiting, Admitted: maxBusy, Refusals: door.NewRefusals(s.log), Port: port})
	var connections sync.WaitGroup
	requests, abandon := context.WithCancel(context.WithoutCancel(ctx))
	defer abandon()
	requests = context.WithValue(requests, endKey{}, ctx.Done())
	server := &http.Server{
		Handler:           busy(handler),
		ReadHeaderTimeout: readHeaderTimeout,
		ReadTimeout:       readTimeout,
		WriteTimeout:      writeTimeout,
		IdleTimeout:       idleTimeout,
		MaxHeaderBytes:    maxHeaderBytes,
		BaseContext:       func(net.Listener) context.Context { return requests },
		ConnContext: func(ctx context.Context, conn net.Conn) context.Context {
			return context.WithValue(ctx, connKey{}, conn)
		},
		ConnState: counting(&connections),
		ErrorLog:  slog.NewLogLogger(s.log.Handler(), slog.LevelDebug),
	}
	served := make(chan error, 1)
	go func() { served <- server.Serve(ln) }()
	select {
	case err := <-served:
		abandon()
		_ = server.Close()
		connections.Wait()
		return fmt.Errorf("serve %s: %w", ln.Addr(), err)
	case <-ctx.Done():
	}
	err := s.shutDown(server)
	abandon()
	<-served
	connections.Wait() // calls end with their context, reads and writes with their connection
	return err
}

// shutDown stops the server; what is not done within the drain time is cut.
func (s *Server) shutDown(server *http.Server) error {
	bound, cancel := context.WithTimeout(context.Background(), s.drain)
	defer cancel()
	err := server.Shutdown(bound)
	if errors.Is(err, context.DeadlineExceeded) {
		s.log.Warn("control API: requests cut off at shutdown", "after", s.drain)
		return server.Close()
	}
	return err
}

// endKey is under which a request's context has the channel that is closed when
// the server begins to end: a stream is not drained by waiting for it.
type endKey struct{}

func endOf(r *http.Request) <-chan struct{} {
	end, _ := r.Context().Value(endKey{}).(<-chan struct{})
	return end
}

// connKey is under which a request's context has its connection.
type connKey struct{}

// connOf is the connection of a request, nil where a test has none.
func connOf(r *http.Request) *door.Conn {
	conn, _ := r.Context().Value(connKey{}).(*door.Conn)
	return conn
}

// busy keeps the connections of requests in work from being closed to make room.
func busy(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if conn := connOf(r); conn != nil {
			conn.Admit()
		}
		next.ServeHTTP(w, r)
	})
}

// tell puts a refused request into the log, by kind and at a bounded rate.
func (s *Server) tell(r *http.Request, kind, message string) {
	s.refusals.Warn(kind, "control API: "+message, s.about(r)...)
}

// about are the fields of a log line that is about a request.
func (s *Server) about(r *http.Request) []any {
	return append([]any{"remote", r.RemoteAddr, "method", r.Method, "path", r.URL.Path}, s.traceOf(r)...)
}

// counting keeps count of the open connections, whose goroutines run the
// handlers, so that they can be waited for. A connection is counted before
// Serve returns from accepting it. An idle one may be closed to make room.
func counting(open *sync.WaitGroup) func(net.Conn, http.ConnState) {
	return func(conn net.Conn, state http.ConnState) {
		switch state {
		case http.StateNew:
			open.Add(1)
		case http.StateIdle:
			if c, ok := conn.(*door.Conn); ok {
				c.Release()
			}
		case http.StateClosed, http.StateHijacked:
			open.Done()
		}
	}
}
