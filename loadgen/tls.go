package loadgen

import (
	"cmp"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"os"

	"volley/plan"
)

const acceptCertificate = "PEM files: a certificate with its chain, and its key in PKCS#8, PKCS#1 or EC form without a passphrase"

// tlsConfigs makes the configuration of connections, without ServerName: one
// that shows the client certificate and one that never does. They are the same
// if there is none.
func tlsConfigs(c *plan.Config, local Client) (own, bare *tls.Config, err error) {
	bare = &tls.Config{
		InsecureSkipVerify: c.SkipTLSVerify, //nolint:gosec // the plan asks for it
		NextProtos:         protocolNames(c.HTTP),
		ClientSessionCache: tls.NewLRUClientSessionCache(0),
	}
	if c.TLS != nil && c.TLS.CA != "" {
		if bare.RootCAs, err = authorities(c.TLS.CA); err != nil {
			return nil, nil, err
		}
	}
	cert, err := clientCertificate(c.TLS, local)
	if cert == nil || err != nil {
		return bare, bare, err
	}
	own = bare.Clone()
	own.Certificates = []tls.Certificate{*cert}
	// A session that was begun with the certificate carries it on.
	own.ClientSessionCache = tls.NewLRUClientSessionCache(0)
	return own, bare, nil
}

// protocolNames is what ALPN offers.
func protocolNames(version plan.HTTPVersion) []string {
	switch version {
	case "2":
		return []string{"h2"}
	case "auto":
		return []string{"h2", "http/1.1"}
	}
	return []string{"http/1.1"}
}

// authorities are the system's and those of a file.
func authorities(file string) (*x509.CertPool, error) {
	text, err := os.ReadFile(file)
	if err != nil {
		return nil, fmt.Errorf("config.tls.ca: %w (a PEM file of certificates)", err)
	}
	pool, err := x509.SystemCertPool()
	if err != nil {
		pool = x509.NewCertPool() // a machine without any
	}
	if !pool.AppendCertsFromPEM(text) {
		return nil, fmt.Errorf("config.tls.ca: %q holds no certificate (a PEM file of certificates)", file)
	}
	return pool, nil
}

// clientCertificate is the plan's, else that of the node's settings, else nil.
func clientCertificate(t *plan.TLS, local Client) (*tls.Certificate, error) {
	cert, key, from := local.ClientCertPath, local.ClientKeyPath, [2]string{"CLIENT_CERT_PATH", "CLIENT_KEY_PATH"}
	if t != nil && (t.Cert != "" || t.Key != "") {
		cert, key, from = t.Cert, t.Key, [2]string{"config.tls.cert", "config.tls.key"}
	}
	if cert == "" && key == "" {
		return nil, nil
	}
	if cert == "" || key == "" {
		return nil, fmt.Errorf("%s %q and %s %q belong together (%s)", from[0], cert, from[1], key, acceptCertificate)
	}
	pair, err := tls.LoadX509KeyPair(cert, key)
	if err != nil {
		return nil, fmt.Errorf("%s %q with %s %q: %w (%s)", from[0], cert, from[1], key, err, acceptCertificate)
	}
	return &pair, nil
}

// tlsError marks a failed handshake.
type tlsError struct{ err error }

func (e *tlsError) Error() string { return "TLS handshake: " + e.err.Error() }
func (e *tlsError) Unwrap() error { return e.err }

// agreed is whether the connection speaks HTTP/2; an error if it has to and
// does not.
func agreed(version plan.HTTPVersion, negotiated string) (bool, error) {
	if negotiated == "h2" {
		return true, nil
	}
	if version == "2" {
		return false, &tlsError{fmt.Errorf("the target does not speak HTTP/2: it chose %q (config.http: auto takes what it has)", cmp.Or(negotiated, "no protocol"))}
	}
	return false, nil
}

func isTLS(err error) bool {
	var (
		handshake *tlsError
		alert     tls.AlertError
		record    tls.RecordHeaderError
		verify    *tls.CertificateVerificationError
		unknown   x509.UnknownAuthorityError
		name      x509.HostnameError
		remote    *net.OpError
	)
	if errors.As(err, &remote) && remote.Op == "remote error" {
		// An alert after the handshake, as of TLS 1.3 for a missing certificate.
		return true
	}
	return errors.As(err, &handshake) || errors.As(err, &alert) || errors.As(err, &record) ||
		errors.As(err, &verify) || errors.As(err, &unknown) || errors.As(err, &name)
}
