package loadgen

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"time"

	"volley/plan"
)

// leastDial is what each address of a host gets at least before the next one
// is tried.
const leastDial = 2 * time.Second

// dialer opens the connections of a run.
type dialer struct {
	names    *resolver
	override plan.ResolveTarget // zero for none
	tls      *tls.Config        // without ServerName
	open     func(ctx context.Context, network, addr string) (net.Conn, error)
}

// tlsError marks a failed handshake.
type tlsError struct{ err error }

func (e *tlsError) Error() string { return "TLS handshake: " + e.err.Error() }
func (e *tlsError) Unwrap() error { return e.err }

func newDialer(c *plan.Config, local Client) (*dialer, error) {
	cfg := &tls.Config{
		InsecureSkipVerify: c.SkipTLSVerify, //nolint:gosec // the plan asks for it
		NextProtos:         []string{"http/1.1"},
		ClientSessionCache: tls.NewLRUClientSessionCache(0),
	}
	if local.ClientCertPath != "" || local.ClientKeyPath != "" {
		cert, err := tls.LoadX509KeyPair(local.ClientCertPath, local.ClientKeyPath)
		if err != nil {
			return nil, fmt.Errorf("load client certificate %q with key %q: %w", local.ClientCertPath, local.ClientKeyPath, err)
		}
		cfg.Certificates = []tls.Certificate{cert}
	}
	return &dialer{
		names:    newResolver(),
		override: c.ResolveTarget,
		tls:      cfg,
		open:     (&net.Dialer{}).DialContext,
	}, nil
}

// dial connects to an origin, TLS included.
func (d *dialer) dial(ctx context.Context, o origin) (net.Conn, error) {
	conn, err := d.connect(ctx, o)
	if err != nil || o.scheme != "https" {
		return conn, err
	}
	return d.handshake(ctx, conn, o)
}

// handshake closes conn if it fails.
func (d *dialer) handshake(ctx context.Context, conn net.Conn, o origin) (net.Conn, error) {
	cfg := d.tls.Clone()
	cfg.ServerName, _, _ = net.SplitHostPort(o.addr)
	secure := tls.Client(conn, cfg)
	if err := secure.HandshakeContext(ctx); err != nil {
		_ = conn.Close()
		return nil, &tlsError{err}
	}
	return secure, nil
}

// connect tries a host's addresses one after the other.
func (d *dialer) connect(ctx context.Context, o origin) (net.Conn, error) {
	host, port, err := net.SplitHostPort(o.addr)
	if err != nil {
		return nil, fmt.Errorf("connect to %q: %w", o.addr, err)
	}
	if d.override.Host != "" && host == d.override.Host {
		return d.open(ctx, "tcp", net.JoinHostPort(d.override.IP, d.overridePort(o.scheme, port)))
	}
	addrs, err := d.names.addresses(ctx, host)
	if err != nil {
		return nil, err
	}
	return d.firstThatAnswers(ctx, addrs, port)
}

// overridePort is the override's only where the URL names no port of its own.
func (d *dialer) overridePort(scheme, port string) string {
	if port == defaultPort(scheme) && d.override.Port != "" {
		return d.override.Port
	}
	return port
}

func (d *dialer) firstThatAnswers(ctx context.Context, addrs []netip.Addr, port string) (net.Conn, error) {
	var errs []error
	for i, addr := range addrs {
		conn, err := d.openWithin(ctx, net.JoinHostPort(addr.String(), port), len(addrs)-i)
		if err == nil {
			return conn, nil
		}
		errs = append(errs, err)
		if ctx.Err() != nil {
			break
		}
	}
	return nil, errors.Join(errs...)
}

// openWithin gives one of several addresses its share of the time there is.
func (d *dialer) openWithin(ctx context.Context, addr string, left int) (net.Conn, error) {
	if deadline, ok := ctx.Deadline(); ok && left > 1 {
		share := max(time.Until(deadline)/time.Duration(left), leastDial)
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, share)
		defer cancel()
	}
	return d.open(ctx, "tcp", addr)
}
