package loadgen

import (
	"context"
	"crypto/tls"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"sync/atomic"
	"time"

	"volley/plan"
)

const greetingWait = time.Second

// connBuffer is what a connection has for reading and for writing, in bytes: half
// of net/http's own, which with thousands of workers is most of what they take.
// Most requests fit; of what is longer the rest does not pass through it.
const connBuffer = 2 << 10

// dialer opens the connections of a run.
type dialer struct {
	names     *resolver
	overrides map[string]detour
	version   plan.HTTPVersion
	own       bool        // connections of HTTP/1.1 are our own client's
	greets    bool        // wait with HTTP/2 until the other side has said how many streams it takes
	tls, bare *tls.Config // bare: without the client certificate
	proxy     func(*http.Request) (*url.URL, error)
	open      func(ctx context.Context, network, addr string) (net.Conn, error)
	// Whether connections of our own client, and of net/http's, were opened.
	ours, theirs atomic.Bool
	ipv6         atomic.Bool // a connection to an IPv6 address was opened
	// What makes an HTTP connection of one that is open: givenConn in the context.
	http1, http2 *http.Transport
}

type givenConn struct{}

func newDialer(c *plan.Config, local Client) (*dialer, error) {
	to, err := overrides(c)
	if err != nil {
		return nil, err
	}
	own, bare, err := tlsConfigs(c, local)
	if err != nil {
		return nil, err
	}
	d := &dialer{
		names:     newResolver(c.DNS),
		overrides: to,
		version:   c.HTTP,
		tls:       own,
		bare:      bare,
		open:      opener(local),
		http1:     newTransport(),
		http2:     newTransport(),
	}
	if local.ProxyFromEnv {
		d.proxy = http.ProxyFromEnvironment
	}
	closes := perRequest(c)
	d.http1.Protocols.SetHTTP1(true)
	d.http1.DisableKeepAlives = closes
	// TLS, if any, is ours: to the transport all connections are open ones.
	d.http2.Protocols.SetUnencryptedHTTP2(true)
	d.http2.DisableKeepAlives = closes
	return d, nil
}

// keepAlive is after how long a silent connection is probed, as in the predecessor.
const keepAlive = time.Minute

func opener(local Client) func(ctx context.Context, network, addr string) (net.Conn, error) {
	plain := (&net.Dialer{KeepAlive: keepAlive}).DialContext
	if !local.TCPDelay {
		return plain
	}
	return func(ctx context.Context, network, addr string) (net.Conn, error) {
		conn, err := plain(ctx, network, addr)
		if tcp, ok := conn.(*net.TCPConn); ok && err == nil {
			err = tcp.SetNoDelay(false)
		}
		if err != nil && conn != nil {
			_ = conn.Close()
			conn = nil
		}
		return conn, err
	}
}

func newTransport() *http.Transport {
	return &http.Transport{
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return ctx.Value(givenConn{}).(net.Conn), nil
		},
		DisableCompression:    true,
		ReadBufferSize:        connBuffer,
		WriteBufferSize:       connBuffer,
		ExpectContinueTimeout: time.Second,
		Protocols:             new(http.Protocols),
	}
}

// certain is whether a request to an origin goes over our own client, before
// there is a connection: with http: auto TLS may agree on HTTP/2.
func (d *dialer) certain(o origin) bool {
	return d.own && (d.version == "1.1" || o.scheme == "http")
}

// dial opens a connection, TLS included.
func (d *dialer) dial(ctx context.Context, r route) (*line, error) {
	l := &line{route: r}
	l.meter.epoch = time.Now()
	through, err := d.proxyOf(ctx, r.origin)
	switch {
	case err != nil:
	case through != nil:
		err = d.dialProxy(ctx, l, through)
	default:
		err = d.dialDirect(ctx, l)
	}
	if err != nil {
		return nil, err
	}
	if l.wire != nil {
		d.ours.Store(true)
	} else {
		d.theirs.Store(true)
	}
	return l, nil
}

func (d *dialer) dialDirect(ctx context.Context, l *line) error {
	conn, err := d.connect(ctx, l.route.origin, &l.took)
	if err != nil {
		return err
	}
	l.http2 = d.version == "2" // known beforehand: there is nothing to ask without TLS
	var beneath *socket
	if d.own && !l.http2 {
		beneath = newSocket(conn)
		conn = beneath
	}
	if l.route.scheme == "https" {
		if conn, l.http2, err = d.handshake(ctx, conn, l.route, &l.took); err != nil {
			return err
		}
	}
	if beneath != nil && !l.http2 {
		l.wire = newWire(beneath, conn)
		return nil
	}
	from := d.http1
	if l.http2 {
		from = d.http2
	}
	metered := &meteredConn{Conn: conn, meter: &l.meter}
	var greeted chan struct{}
	if l.http2 && d.greets {
		greeted = make(chan struct{})
		metered.greeted = greeted
	}
	l.conn, err = from.NewClientConn(context.WithValue(ctx, givenConn{}, metered), "http", l.route.addr)
	if err != nil || greeted == nil {
		return err
	}
	return greeting(ctx, l, greeted)
}

// greeting waits until the other side has greeted; without it net/http assumes
// room for 100 requests, and those that are too many would wait where it cannot
// be told from the target's own time. One that does not greet is used as it is.
func greeting(ctx context.Context, l *line, greeted <-chan struct{}) error {
	limit := time.NewTimer(greetingWait)
	defer limit.Stop()
	select {
	case <-greeted:
	case <-limit.C:
	case <-ctx.Done():
		_ = l.conn.Close()
		return ctx.Err()
	}
	return nil
}

// handshake closes conn if it fails.
func (d *dialer) handshake(ctx context.Context, conn net.Conn, r route, took *timing) (net.Conn, bool, error) {
	began := time.Now()
	cfg := d.config(r)
	cfg.ServerName, _, _ = net.SplitHostPort(r.addr)
	secure := tls.Client(conn, cfg)
	if err := secure.HandshakeContext(ctx); err != nil {
		_ = conn.Close()
		return nil, false, &tlsError{err}
	}
	took.tls = time.Since(began)
	h2, err := agreed(d.version, secure.ConnectionState().NegotiatedProtocol)
	if err != nil {
		_ = conn.Close()
	}
	return secure, h2, err
}

func (d *dialer) config(r route) *tls.Config {
	if r.bare {
		return d.bare.Clone()
	}
	return d.tls.Clone()
}

// proxyOf is the proxy that the environment names for an origin, or nil.
func (d *dialer) proxyOf(ctx context.Context, o origin) (*url.URL, error) {
	if d.proxy == nil {
		return nil, nil
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, o.scheme+"://"+o.addr+"/", http.NoBody)
	if err != nil {
		return nil, fmt.Errorf("find the proxy for %s: %w", o.addr, err)
	}
	return d.proxy(req)
}

// dialProxy leaves the way through a proxy to net/http. The transport serves
// this one connection, so that what TLS agrees on can be told.
func (d *dialer) dialProxy(ctx context.Context, l *line, proxy *url.URL) error {
	if l.route.scheme == "http" && d.version == "2" {
		return fmt.Errorf("connect to %s through a proxy: HTTP/2 without TLS cannot pass it (config.http 1.1, or an https URL)", l.route.addr)
	}
	t, negotiated := newTransport(), ""
	t.Proxy = http.ProxyURL(proxy)
	t.DisableKeepAlives = d.http1.DisableKeepAlives
	t.Protocols.SetHTTP1(d.version != "2")
	t.Protocols.SetHTTP2(d.version != "1.1")
	t.TLSClientConfig = d.config(l.route)
	t.TLSClientConfig.VerifyConnection = func(s tls.ConnectionState) error {
		negotiated = s.NegotiatedProtocol
		return nil
	}
	t.DialContext = func(ctx context.Context, _, addr string) (net.Conn, error) {
		conn, err := d.connect(ctx, origin{scheme: proxy.Scheme, addr: addr}, &l.took)
		if err != nil {
			return nil, err
		}
		return &meteredConn{Conn: conn, meter: &l.meter}, nil
	}
	conn, err := t.NewClientConn(ctx, l.route.scheme, l.route.addr)
	if err != nil {
		return fmt.Errorf("connect to %s through a proxy: %w", l.route.addr, err)
	}
	if l.route.scheme == "https" {
		l.http2, err = agreed(d.version, negotiated)
	}
	if err != nil {
		_ = conn.Close()
	}
	l.conn = conn
	l.meter.rearm() // what has passed was the proxy's
	return err
}

// connect goes to where an override leads, or to the first of a host's addresses
// that answers.
func (d *dialer) connect(ctx context.Context, o origin, took *timing) (net.Conn, error) {
	host, port, err := net.SplitHostPort(o.addr)
	if err != nil {
		return nil, fmt.Errorf("connect to %q: %w", o.addr, err)
	}
	began := time.Now()
	if to, ok := d.overrides[host]; ok {
		conn, err := d.open(ctx, "tcp", to.leads(o.scheme, port))
		took.connect = time.Since(began)
		return conn, err
	}
	addrs, err := d.names.addresses(ctx, host)
	if err != nil {
		return nil, err
	}
	found := time.Now()
	conn, err := d.firstThatAnswers(ctx, addrs, port)
	took.dns, took.connect = found.Sub(began), time.Since(found)
	return conn, err
}
