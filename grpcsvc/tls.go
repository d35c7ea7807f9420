package grpcsvc

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"sync"
	"time"

	"volley/node"
)

const (
	lookEvery  = time.Second      // at the files, where handshakes ask for them
	watchEvery = 10 * time.Second // where none does
)

// MutualTLS is what a Server and what a Client and Transport need, from PEM
// files that are read again when they change: for new connections, open ones go
// on as they are.
//
// Each side accepts any certificate that the CA signed, for no name in
// particular: nodes come and go with their addresses, so an address in the
// certificate would have to be known beforehand. Hence the CA should sign
// nodes of this cluster only.
type MutualTLS struct {
	Server, Client *tls.Config

	ca, cert, key string
	log           *slog.Logger

	mu      sync.Mutex
	looked  time.Time
	files   files  // as they were then, whatever came of it
	failure string // of taking them into use
	now     *papers
	expired *papers // whose end has been told
}

// files is what CA, certificate and key hold. Time and size tell too little: a
// copy may keep the one, a certificate of the same name has the other.
type files struct{ ca, cert, key string }

// papers are what the files held when all of them were right.
type papers struct {
	roots  *x509.CertPool
	own    tls.Certificate
	ends   time.Time
	server *tls.Config
}

// LoadTLS reads the files. Errors name the file. The own certificate is checked
// now, both as a client's and as a server's, so that an expired one fails the
// start. A nil log is slog.Default().
func LoadTLS(ca, cert, key string, log *slog.Logger) (*MutualTLS, error) {
	if log == nil {
		log = slog.Default()
	}
	m := &MutualTLS{ca: ca, cert: cert, key: key, log: log, looked: time.Now()}
	var err error
	if m.files, err = m.look(); err != nil {
		return nil, err
	}
	if m.now, err = m.read(m.files); err != nil {
		return nil, err
	}
	m.Server = &tls.Config{
		GetConfigForClient: func(*tls.ClientHelloInfo) (*tls.Config, error) { return m.current().server, nil },
		MinVersion:         tls.VersionTLS13,
	}
	m.Client = &tls.Config{
		GetClientCertificate: func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return &m.current().own, nil },
		MinVersion:           tls.VersionTLS13,
		// The library's check includes the name; VerifyConnection does the rest of it.
		InsecureSkipVerify: true,
		VerifyConnection: func(state tls.ConnectionState) error {
			if err := verify(m.current().roots, state.PeerCertificates, x509.ExtKeyUsageServerAuth); err != nil {
				return fmt.Errorf("%w: the server's certificate: %w", node.ErrUnauthenticated, err)
			}
			return nil
		},
	}
	return m, nil
}

// Run looks at the files now and then until ctx ends, so that what is wrong
// with new ones is told before a connection needs them. It returns nil.
func (m *MutualTLS) Run(ctx context.Context) error {
	tick := time.NewTicker(watchEvery)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
			m.current()
		case <-ctx.Done():
			return nil
		}
	}
}

// current are the newest papers that were right. It looks whether there are
// newer ones, at most once a second.
func (m *MutualTLS) current() *papers {
	m.mu.Lock()
	defer m.mu.Unlock()
	if time.Since(m.looked) < lookEvery {
		return m.now
	}
	m.looked = time.Now()
	if seen, err := m.look(); err != nil || seen != m.files || m.failure != "" {
		m.files = seen
		m.renew(seen, err)
	}
	if m.now.ends.Before(m.looked) && m.expired != m.now {
		m.expired = m.now
		m.log.Error("the certificate of this node has expired: other nodes refuse new connections until its file holds another", "event", "certificate_expired", "file", m.cert, "expired", m.now.ends)
	}
	return m.now
}

// renew takes files into use. Those that are not right yet, half written or not
// belonging together, are tried again at every look and told once.
func (m *MutualTLS) renew(seen files, err error) {
	var fresh *papers
	if err == nil {
		fresh, err = m.read(seen)
	}
	if err != nil {
		if text := err.Error(); text != m.failure {
			m.failure = text
			m.log.Warn("new certificate files are not right, the ones before stay in use: "+text, "event", "certificates_kept")
		}
		return
	}
	m.failure, m.now = "", fresh
	m.log.Info("certificate files have changed and are in use for new connections", "event", "certificates_reloaded", "file", m.cert, "expires", fresh.ends)
}

// look reads the files.
func (m *MutualTLS) look() (seen files, err error) {
	for _, f := range []struct {
		what, name string
		to         *string
	}{{"CA certificate", m.ca, &seen.ca}, {"certificate", m.cert, &seen.cert}, {"key", m.key, &seen.key}} {
		content, err := os.ReadFile(f.name)
		if err != nil {
			return files{}, fmt.Errorf("read %s: %w", f.what, err)
		}
		*f.to = string(content)
	}
	return seen, nil
}

// read makes papers of what the files hold.
func (m *MutualTLS) read(seen files) (*papers, error) {
	roots := x509.NewCertPool()
	if !roots.AppendCertsFromPEM([]byte(seen.ca)) {
		return nil, fmt.Errorf("CA certificate %s: no certificate in it (accepted: PEM)", m.ca)
	}
	own, err := m.ownCertificate(roots, seen)
	if err != nil {
		return nil, err
	}
	return &papers{roots: roots, own: own, ends: own.Leaf.NotAfter, server: &tls.Config{
		Certificates: []tls.Certificate{own},
		ClientAuth:   tls.RequireAndVerifyClientCert,
		ClientCAs:    roots,
		MinVersion:   tls.VersionTLS13,
		// A resumed session would be a way past a CA that is trusted no more.
		SessionTicketsDisabled: true,
	}}, nil
}

func (m *MutualTLS) ownCertificate(roots *x509.CertPool, seen files) (tls.Certificate, error) {
	own, err := tls.X509KeyPair([]byte(seen.cert), []byte(seen.key))
	if err != nil {
		return tls.Certificate{}, fmt.Errorf("certificate %s with key %s: %w", m.cert, m.key, err)
	}
	chain, err := parseChain(own)
	if err != nil {
		return tls.Certificate{}, fmt.Errorf("certificate %s: %w", m.cert, err)
	}
	for _, use := range []struct {
		name string
		key  x509.ExtKeyUsage
	}{{"server", x509.ExtKeyUsageServerAuth}, {"client", x509.ExtKeyUsageClientAuth}} {
		if err := verify(roots, chain, use.key); err != nil {
			return tls.Certificate{}, fmt.Errorf("certificate %s is not accepted as a %s's by the CA given: %w", m.cert, use.name, err)
		}
	}
	own.Leaf = chain[0]
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
