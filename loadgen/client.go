package loadgen

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptrace"
	"sync"
	"syscall"
	"time"

	"volley/plan"
	"volley/stats"
)

// idleTimeout is after how long without a request a connection is closed, as
// in the predecessor.
const idleTimeout = 30 * time.Second

// client is one worker's HTTP client: a transport with one connection per
// origin. One goroutine uses it, but for ready.
type client struct {
	dialer    *dialer
	transport *http.Transport
	meter     meter
	trace     *httptrace.ClientTrace

	// of the request under way, set by the trace
	newConn bool
	conns   int
	held    map[origin]bool // origins that a connection was opened to
	keeps   bool            // connections outlive a request

	mu    sync.Mutex
	ready map[origin]net.Conn // connections opened before the start
}

func newClient(d *dialer, c *plan.Config, local Client) *client {
	cl := &client{dialer: d, held: map[origin]bool{}, ready: map[origin]net.Conn{}}
	cl.meter.epoch = time.Now()
	cl.trace = &httptrace.ClientTrace{GotConn: cl.gotConn}
	cl.transport = &http.Transport{
		DialContext:           cl.dialFor("http"),
		DialTLSContext:        cl.dialFor("https"),
		TLSClientConfig:       d.tls.Clone(), // of https through a proxy
		DisableCompression:    true,
		MaxIdleConnsPerHost:   1,
		IdleConnTimeout:       idleTimeout,
		ExpectContinueTimeout: time.Second,
		Protocols:             new(http.Protocols),
	}
	cl.transport.Protocols.SetHTTP1(true)
	if local.ProxyFromEnv {
		cl.transport.Proxy = http.ProxyFromEnvironment
	}
	cl.keep(c)
	return cl
}

// keep settles how long a connection lives.
func (c *client) keep(cfg *plan.Config) {
	none := cfg.Connections.Mode == "request"
	if p := cfg.Pool; p != nil {
		none = none || p.MaxIdlePerHost != nil && *p.MaxIdlePerHost == 0
		if p.IdleTimeoutSecs != nil {
			// 0 is "at once" in a plan and "never" in net/http.
			c.transport.IdleConnTimeout = time.Duration(*p.IdleTimeoutSecs) * time.Second
			none = none || *p.IdleTimeoutSecs == 0
		}
	}
	c.transport.DisableKeepAlives = none
	c.keeps = !none && cfg.Connections.Mode == "worker"
}

// dialFor is how the transport gets a connection: one that was opened ahead if
// there is one that still lives.
func (c *client) dialFor(scheme string) func(ctx context.Context, network, addr string) (net.Conn, error) {
	return func(ctx context.Context, _, addr string) (net.Conn, error) {
		o := origin{scheme, addr}
		conn := c.takeReady(o)
		if conn == nil {
			var err error
			if conn, err = c.dialer.dial(ctx, o); err != nil {
				return nil, err
			}
		}
		return &meteredConn{Conn: conn, meter: &c.meter}, nil
	}
}

// prepare opens a connection without sending a request on it.
func (c *client) prepare(ctx context.Context, o origin) error {
	conn, err := c.dialer.dial(ctx, o)
	if err != nil {
		return err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.ready[o] = conn
	return nil
}

func (c *client) takeReady(o origin) net.Conn {
	c.mu.Lock()
	defer c.mu.Unlock()
	conn := c.ready[o]
	delete(c.ready, o)
	if conn != nil && !alive(conn) {
		_ = conn.Close()
		return nil
	}
	return conn
}

func (c *client) close() {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, conn := range c.ready {
		_ = conn.Close()
	}
	clear(c.ready)
	c.transport.CloseIdleConnections()
}

func (c *client) gotConn(info httptrace.GotConnInfo) {
	c.newConn = !info.Reused
	c.conns++
	c.meter.rearm()
}

// exchange is one request with its response, or what became of it.
type exchange struct {
	begun, sent, ended time.Time // sent: the first byte, begun if there was none
	status             int
	header             http.Header
	err                error
	newConn            bool
	reconnected        int64
	in, out            int64
	wrote              bool
}

// do sends a request and reads all of the response.
func (c *client) do(req *http.Request) exchange {
	c.newConn, c.conns = false, 0
	c.meter.rearm()
	in, out := c.meter.in.Load(), c.meter.out.Load()
	x := exchange{begun: time.Now()}
	req = req.WithContext(httptrace.WithClientTrace(req.Context(), c.trace))
	res, err := c.transport.RoundTrip(req)
	if err == nil {
		_, err = io.Copy(io.Discard, res.Body)
		_ = res.Body.Close()
		x.status, x.header = res.StatusCode, res.Header
	}
	x.ended, x.err = time.Now(), err
	if x.sent, x.wrote = c.meter.firstByte(); !x.wrote {
		x.sent = x.begun
	}
	x.in, x.out = c.meter.in.Load()-in, c.meter.out.Load()-out
	x.newConn = c.newConn && c.conns > 0
	x.reconnected = c.reconnects(originOf(req.URL), x.newConn)
	return x
}

// reconnects is how many connections were opened because a kept one broke.
func (c *client) reconnects(o origin, fresh bool) int64 {
	if !fresh || !c.keeps {
		return 0
	}
	if c.held[o] {
		return 1
	}
	if len(c.held) < mostHosts {
		c.held[o] = true
	}
	return 0
}

// failure classifies an exchange without a complete response. timedOut is
// whether the request's own deadline had passed.
func failure(err error, timedOut bool) stats.ErrorKind {
	var handshake *tlsError
	switch {
	case exhausted(err):
		return stats.ErrGenerator
	case timedOut:
		return stats.ErrTimeout
	case errors.As(err, &handshake) || isTLS(err):
		return stats.ErrTLS
	}
	return stats.ErrNetwork
}

// exhausted is true if this machine, not the target, ran out of something.
func exhausted(err error) bool {
	for _, no := range []syscall.Errno{syscall.EMFILE, syscall.ENFILE, syscall.EADDRNOTAVAIL, syscall.ENOBUFS, syscall.ENOMEM} {
		if errors.Is(err, no) {
			return true
		}
	}
	return false
}

func isTLS(err error) bool {
	var (
		alert   tls.AlertError
		record  tls.RecordHeaderError
		verify  *tls.CertificateVerificationError
		unknown x509.UnknownAuthorityError
		name    x509.HostnameError
	)
	return errors.As(err, &alert) || errors.As(err, &record) || errors.As(err, &verify) ||
		errors.As(err, &unknown) || errors.As(err, &name)
}
