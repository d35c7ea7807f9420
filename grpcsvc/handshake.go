package grpcsvc

import (
	"context"
	"crypto/tls"
	"errors"
	"net"
	"strings"
	"sync/atomic"

	"google.golang.org/grpc/credentials"

	"volley/node"
)

// handshakeWatch is TLS that remembers why a certificate was not accepted: gRPC
// makes of it a text within "unavailable", which looks like a peer that is away.
type handshakeWatch struct {
	credentials.TransportCredentials
	refusal *atomic.Pointer[string]
}

func watchHandshake(config *tls.Config) *handshakeWatch {
	return &handshakeWatch{credentials.NewTLS(config), new(atomic.Pointer[string])}
}

// Clone shares the memory, as the copy serves the same connection.
func (w *handshakeWatch) Clone() credentials.TransportCredentials {
	return &handshakeWatch{w.TransportCredentials.Clone(), w.refusal}
}

// ClientHandshake sees the refusal of the server's certificate by us.
func (w *handshakeWatch) ClientHandshake(ctx context.Context, authority string, raw net.Conn) (net.Conn, credentials.AuthInfo, error) {
	conn, info, err := w.TransportCredentials.ClientHandshake(ctx, authority, raw)
	if err != nil {
		w.note(err)
		return nil, nil, err
	}
	return &watchedConn{conn, w}, info, nil
}

// watchedConn sees the refusal of our certificate by the server: in TLS 1.3 it
// arrives after the handshake, at the first read.
type watchedConn struct {
	net.Conn
	watch *handshakeWatch
}

func (c *watchedConn) Read(p []byte) (int, error) {
	n, err := c.Conn.Read(p)
	if err != nil {
		c.watch.note(err)
	}
	return n, err
}

func (w *handshakeWatch) note(err error) {
	var op *net.OpError
	alert := errors.As(err, &op) && op.Op == "remote error" // crypto/tls's form of an alert
	if alert || errors.Is(err, node.ErrUnauthenticated) {
		text := err.Error()
		w.refusal.Store(&text)
	}
}

// explain adds node.ErrUnauthenticated to a failure that is about the refusal
// remembered, and not, say, about a later refused connection.
func (w *handshakeWatch) explain(err error) error {
	if w == nil {
		return err
	}
	refusal := w.refusal.Load()
	if refusal == nil || !strings.Contains(err.Error(), *refusal) {
		return err
	}
	return &remoteError{text: err.Error(), causes: []error{err, node.ErrUnauthenticated}}
}
