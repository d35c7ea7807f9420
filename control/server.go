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
)

// Limits of both listeners.
const (
	readHeaderTimeout = 5 * time.Second
	readTimeout       = 20 * time.Second // a whole request
	callTimeout       = 30 * time.Second // what an App may take
	writeTimeout      = readTimeout + callTimeout + 10*time.Second
	idleTimeout       = 60 * time.Second
	maxHeaderBytes    = 32 << 10
	maxChanging       = 16 // POSTs at a time
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
}

// Server is the control API. Listening is its caller's work.
type Server struct {
	app        App
	metrics    http.Handler
	auth       auth
	healthAuth bool
	log        *slog.Logger
	drain      time.Duration
	changing   chan struct{} // a place for each POST in work
	origins    *http.CrossOriginProtection
	routes     map[string]route
}

// New returns a server that is not yet running.
func New(o Options) *Server {
	s := &Server{
		app: o.App, metrics: o.Metrics, auth: newAuth(o.Token), healthAuth: o.HealthAuth, log: o.Log, drain: o.Drain,
		changing: make(chan struct{}, maxChanging), origins: http.NewCrossOriginProtection(),
	}
	if s.log == nil {
		s.log = slog.Default()
	}
	if s.drain == 0 {
		s.drain = defaultDrain
	}
	s.routes = s.table()
	return s
}

// Run serves the control API on ln until ctx ends, lets requests in work
// finish for at most Options.Drain, and returns when all have. It closes ln.
func (s *Server) Run(ctx context.Context, ln net.Listener) error {
	return s.serve(ctx, ln, http.HandlerFunc(s.route))
}

// RunMetrics serves GET /metrics alone on ln, as Run does.
func (s *Server) RunMetrics(ctx context.Context, ln net.Listener) error {
	only := map[string]route{"/metrics": s.routes["/metrics"]}
	return s.serve(ctx, ln, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { dispatch(only, w, r) }))
}

func (s *Server) serve(ctx context.Context, ln net.Listener, handler http.Handler) error {
	var connections sync.WaitGroup
	requests, abandon := context.WithCancel(context.WithoutCancel(ctx))
	defer abandon()
	server := &http.Server{
		Handler:           handler,
		ReadHeaderTimeout: readHeaderTimeout,
		ReadTimeout:       readTimeout,
		WriteTimeout:      writeTimeout,
		IdleTimeout:       idleTimeout,
		MaxHeaderBytes:    maxHeaderBytes,
		BaseContext:       func(net.Listener) context.Context { return requests },
		ConnState:         counting(&connections),
		ErrorLog:          slog.NewLogLogger(s.log.Handler(), slog.LevelDebug),
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

// counting keeps count of the open connections, whose goroutines run the
// handlers, so that they can be waited for. A connection is counted before
// Serve returns from accepting it.
func counting(open *sync.WaitGroup) func(net.Conn, http.ConnState) {
	return func(_ net.Conn, state http.ConnState) {
		switch state {
		case http.StateNew:
			open.Add(1)
		case http.StateClosed, http.StateHijacked:
			open.Done()
		}
	}
}
