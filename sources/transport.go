package sources

import (
	"context"
	"crypto/tls"
	"errors"
	"net"
)

// explainTransport gives an error that is no answer of a server its kind.
func explainTransport(err error, server string) error {
	var verification *tls.CertificateVerificationError
	var record tls.RecordHeaderError
	var network net.Error
	switch {
	case errors.As(err, &verification):
		return fail(ErrRefused, err, "the certificate of %s is not trusted", server)
	case errors.As(err, &record):
		return fail(ErrRefused, err, "%s does not speak TLS there (http instead of https?)", server)
	case errors.Is(err, context.DeadlineExceeded), errors.As(err, &network) && network.Timeout():
		return fail(ErrTimeout, err, "%s did not answer", server)
	default:
		return fail(ErrUnreachable, err, "%s cannot be reached", server)
	}
}
