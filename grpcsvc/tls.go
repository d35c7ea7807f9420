package grpcsvc

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"os"

	"volley/node"
)

// LoadTLS reads the PEM files of mutual TLS and returns what a Server and what
// a Client and Transport need. Errors name the file.
//
// Each side accepts any certificate that the CA signed, for no name in
// particular: nodes come and go with their addresses, so an address in the
// certificate would have to be known beforehand. Hence the CA should sign
// nodes of this cluster only. The own certificate is checked now, both as a
// client's and as a server's, so that an expired one fails the start.
func LoadTLS(ca, cert, key string) (server, client *tls.Config, err error) {
	roots, err := loadCA(ca)
	if err != nil {
		return nil, nil, err
	}
	own, err := loadCertificate(roots, cert, key)
	if err != nil {
		return nil, nil, err
	}
	server = &tls.Config{
		Certificates: []tls.Certificate{own},
		ClientAuth:   tls.RequireAndVerifyClientCert,
		ClientCAs:    roots,
		MinVersion:   tls.VersionTLS13,
	}
	client = &tls.Config{
		Certificates: []tls.Certificate{own},
		MinVersion:   tls.VersionTLS13,
		// The library's check includes the name; VerifyConnection does the rest of it.
		InsecureSkipVerify: true,
		VerifyConnection: func(state tls.ConnectionState) error {
			if err := verify(roots, state.PeerCertificates, x509.ExtKeyUsageServerAuth); err != nil {
				return fmt.Errorf("%w: the server's certificate: %w", node.ErrUnauthenticated, err)
			}
			return nil
		},
	}
	return server, client, nil
}

func loadCA(file string) (*x509.CertPool, error) {
	pem, err := os.ReadFile(file)
	if err != nil {
		return nil, fmt.Errorf("read CA certificate: %w", err)
	}
	roots := x509.NewCertPool()
	if !roots.AppendCertsFromPEM(pem) {
		return nil, fmt.Errorf("CA certificate %s: no certificate in it (accepted: PEM)", file)
	}
	return roots, nil
}

func loadCertificate(roots *x509.CertPool, cert, key string) (tls.Certificate, error) {
	certPEM, err := os.ReadFile(cert)
	if err != nil {
		return tls.Certificate{}, fmt.Errorf("read certificate: %w", err)
	}
	keyPEM, err := os.ReadFile(key)
	if err != nil {
		return tls.Certificate{}, fmt.Errorf("read key: %w", err)
	}
	own, err := tls.X509KeyPair(certPEM, keyPEM)
	if err != nil {
		return tls.Certificate{}, fmt.Errorf("certificate %s with key %s: %w", cert, key, err)
	}
	chain, err := parseChain(own)
	if err != nil {
		return tls.Certificate{}, fmt.Errorf("certificate %s: %w", cert, err)
	}
	for usage, name := range map[x509.ExtKeyUsage]string{x509.ExtKeyUsageServerAuth: "server", x509.ExtKeyUsageClientAuth: "client"} {
		if err := verify(roots, chain, usage); err != nil {
			return tls.Certificate{}, fmt.Errorf("certificate %s is not accepted as a %s's by the CA given: %w", cert, name, err)
		}
	}
	return own, nil
}

func parseChain(own tls.Certificate) ([]*x509.Certificate, error) {
	chain := make([]*x509.Certificate, 0, len(own.Certificate))
	for _, der := range own.Certificate {
		c, err := x509.ParseCertificate(der)
		if err != nil {
			return nil, err
		}
		chain = append(chain, c)
	}
	return chain, nil
}

// verify checks that roots vouch for the first certificate of chain, its dates and usage.
func verify(roots *x509.CertPool, chain []*x509.Certificate, usage x509.ExtKeyUsage) error {
	if len(chain) == 0 {
		return errors.New("none shown")
	}
	between := x509.NewCertPool()
	for _, c := range chain[1:] {
		between.AddCert(c)
	}
	_, err := chain[0].Verify(x509.VerifyOptions{Roots: roots, Intermediates: between, KeyUsages: []x509.ExtKeyUsage{usage}})
	return err
}
