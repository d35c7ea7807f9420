package grpcsvc

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"net"
	"os"
	"strings"

	"google.golang.org/grpc/credentials"
	grpcpeer "google.golang.org/grpc/peer"

	"volley/door"
)

// porter is the server's side of a handshake, TLS or none: it tells why one has
// failed, and hands the connection on to the calls that come over it.
type porter struct {
	credentials.TransportCredentials
}

// ServerHandshake is credentials.TransportCredentials'.
func (p porter) ServerHandshake(raw net.Conn) (net.Conn, credentials.AuthInfo, error) {
	conn, info, err := p.TransportCredentials.ServerHandshake(raw)
	comer, ok := raw.(*door.Conn)
	if !ok {
		return conn, info, err
	}
	if err != nil {
		if comer.Spoke() { // a probe of the port says nothing
			kind, words := whyNot(err)
			comer.Warn(kind, "connection refused: "+words+": "+err.Error())
		}
		return nil, nil, err
	}
	return conn, visitor{info, comer}, nil
}

// Clone is credentials.TransportCredentials'.
func (p porter) Clone() credentials.TransportCredentials {
	return porter{p.TransportCredentials.Clone()}
}

// whyNot says in one of a few ways why a handshake has failed.
func whyNot(err error) (kind, words string) {
	var invalid x509.CertificateInvalidError
	var unknown x509.UnknownAuthorityError
	var noTLS tls.RecordHeaderError
	var alert *net.OpError
	switch {
	case errors.As(err, &invalid) && invalid.Reason == x509.Expired:
		return "certificate expired", "the caller's certificate has expired or is not valid yet"
	case errors.As(err, &unknown):
		return "certificate of another CA", "the caller's certificate is not of the CA of CLUSTER_TLS_CA"
	case strings.Contains(err.Error(), "didn't provide a certificate"):
		return "no certificate", "the caller shows no certificate"
	case errors.As(err, &noTLS):
		return "no TLS", "the caller does not speak TLS"
	case errors.As(err, &alert) && alert.Op == "remote error":
		return "refused by the caller", "the caller does not accept this node's certificate"
	case errors.Is(err, os.ErrDeadlineExceeded), errors.Is(err, io.EOF):
		return "handshake", "the handshake was not finished in time"
	}
	return "handshake", "the handshake failed"
}

// visitor is a connection as its calls know it.
type visitor struct {
	credentials.AuthInfo
	conn *door.Conn
}

// visitorOf finds whose call it is; the zero visitor, which takes everything, if
// the server was given no door.
func visitorOf(ctx context.Context) visitor {
	p, ok := grpcpeer.FromContext(ctx)
	if !ok {
		return visitor{}
	}
	v, _ := p.AuthInfo.(visitor)
	return v
}

func (v visitor) admit() {
	if v.conn != nil {
		v.conn.Admit()
	}
}

func (v visitor) warn(kind, message string, args ...any) {
	if v.conn != nil {
		v.conn.Warn(kind, message, args...)
	}
}

func (v visitor) info(kind, message string, args ...any) {
	if v.conn != nil {
		v.conn.Info(kind, message, args...)
	}
}
