package grpcsvc

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"log/slog"
	"math/big"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/hashicorp/raft"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"volley/node"
)

// authority signs certificates into dir.
type authority struct {
	dir  string
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
	file string
}

func newAuthority(t *testing.T, name string) *authority {
	t.Helper()
	a := &authority{dir: t.TempDir()}
	template := &x509.Certificate{Subject: pkix.Name{CommonName: name}, IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign}
	a.cert, a.key = a.sign(t, template, nil)
	a.file = a.write(t, name+".pem", "CERTIFICATE", a.cert.Raw)
	return a
}

func (a *authority) sign(t *testing.T, template *x509.Certificate, key *ecdsa.PrivateKey) (*x509.Certificate, *ecdsa.PrivateKey) {
	t.Helper()
	own, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template.SerialNumber = big.NewInt(time.Now().UnixNano())
	if template.NotAfter.IsZero() {
		template.NotBefore, template.NotAfter = time.Now().Add(-time.Hour), time.Now().Add(time.Hour)
	}
	parent := a.cert
	if key == nil {
		parent, key = template, own
	}
	der, err := x509.CreateCertificate(rand.Reader, template, parent, &own.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return cert, own
}

func (a *authority) write(t *testing.T, name, kind string, der []byte) string {
	t.Helper()
	file := filepath.Join(a.dir, name)
	if err := os.WriteFile(file, pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}), 0o600); err != nil {
		t.Fatal(err)
	}
	return file
}

// issue writes a certificate and its key.
func (a *authority) issue(t *testing.T, name string, change func(*x509.Certificate)) (cert, key string) {
	t.Helper()
	template := &x509.Certificate{Subject: pkix.Name{CommonName: name}, DNSNames: []string{"not-an-address.example"}}
	if change != nil {
		change(template)
	}
	signed, own := a.sign(t, template, a.key)
	der, err := x509.MarshalPKCS8PrivateKey(own)
	if err != nil {
		t.Fatal(err)
	}
	return a.write(t, name+".pem", "CERTIFICATE", signed.Raw), a.write(t, name+"-key.pem", "PRIVATE KEY", der)
}

func TestMutualTLS(t *testing.T) {
	noLeaks(t)
	ours, theirs := newAuthority(t, "ours"), newAuthority(t, "theirs")
	load := func(a *authority, name string) (Options, ClientOptions) {
		cert, key := a.issue(t, name, nil)
		papers, err := LoadTLS(a.file, cert, key, nil)
		if err != nil {
			t.Fatal(err)
		}
		return Options{Handler: answering(node.Pong{ServerID: name}, nil), TLS: papers.Server}, ClientOptions{TLS: papers.Client}
	}
	serverA, clientA := load(ours, "a")
	_, clientB := load(ours, "b")
	serverX, clientX := load(theirs, "x")
	anonymous := ClientOptions{TLS: clientB.TLS.Clone()}
	anonymous.TLS.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return &tls.Certificate{}, nil }

	serverA.Transport = NewTransport(TransportOptions{ServerID: "a", ClusterID: func() string { return "c" }})
	t.Cleanup(func() { _ = serverA.Transport.Close() })
	listenerA, listenerX := listen(t, "127.0.0.1:0"), listen(t, "127.0.0.1:0")
	serve(t, listenerA, serverA)
	serve(t, listenerX, serverX)
	addrA, addrX := listenerA.Addr().String(), listenerX.Addr().String()

	for name, o := range map[string]ClientOptions{"its own": clientA, "another node's": clientB} {
		pong, err := newClient(t, o).Ping(within(t, patience), addrA)
		if err != nil || pong.ServerID != "a" {
			t.Errorf("%s certificate: %v, %v", name, pong, err)
		}
	}
	for name, c := range map[string]struct {
		client ClientOptions
		addr   string
	}{
		"client of another CA":       {clientX, addrA},
		"client without certificate": {anonymous, addrA},
		"server of another CA":       {clientB, addrX},
	} {
		client := newClient(t, c.client)
		if _, err := client.Ping(within(t, patience), c.addr); err == nil {
			t.Errorf("%s: accepted", name)
		}
		// The server's alert may be lost in a reset of the connection; it comes with one of the next.
		eventually(t, name+" told from an absent node", func() bool {
			_, err := client.Ping(within(t, patience), c.addr)
			return errors.Is(err, node.ErrUnauthenticated) && status.Code(err) == codes.Unavailable
		})
	}
	if _, err := newClient(t, ClientOptions{}).Ping(within(t, patience), addrA); err == nil {
		t.Error("plain text: accepted")
	}

	for name, o := range map[string]ClientOptions{"good": clientB, "bad": clientX} {
		transport := NewTransport(TransportOptions{ServerID: "b", ClusterID: func() string { return "c" }, TLS: o.TLS})
		t.Cleanup(func() { _ = transport.Close() })
		vote := func() error {
			return transport.RequestVote("nobody", raft.ServerAddress(addrA), &raft.RequestVoteRequest{}, &raft.RequestVoteResponse{})
		}
		if err := vote(); name == "good" && !errors.Is(err, node.ErrOtherCluster) {
			t.Errorf("Raft with a good certificate: got %v, want the refusal of the target", err)
		}
		if name == "bad" {
			eventually(t, "Raft with a bad certificate refused", func() bool { return errors.Is(vote(), node.ErrUnauthenticated) })
		}
	}
}

func TestLoadTLSNamesTheFile(t *testing.T) {
	a, b := newAuthority(t, "ca"), newAuthority(t, "other-ca")
	cert, key := a.issue(t, "node", nil)
	_, otherKey := a.issue(t, "node2", nil)
	expired, expiredKey := a.issue(t, "expired", func(c *x509.Certificate) {
		c.NotBefore, c.NotAfter = time.Now().Add(-2*time.Hour), time.Now().Add(-time.Hour)
	})
	serverOnly, serverOnlyKey := a.issue(t, "server-only", func(c *x509.Certificate) { c.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth} })
	missing := filepath.Join(a.dir, "missing.pem")
	empty := filepath.Join(a.dir, "empty.pem")
	if err := os.WriteFile(empty, []byte("no PEM"), 0o600); err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		ca, cert, key string
		want          []string
	}{
		"no CA file":          {missing, cert, key, []string{"read CA certificate", missing}},
		"CA file without any": {empty, cert, key, []string{empty, "no certificate in it (accepted: PEM)"}},
		"no certificate":      {a.file, missing, key, []string{"read certificate", missing}},
		"no key":              {a.file, cert, missing, []string{"read key", missing}},
		"not PEM":             {a.file, empty, key, []string{empty, key}},
		"key of another":      {a.file, cert, otherKey, []string{cert, otherKey, "private key does not match"}},
		"another CA":          {b.file, cert, key, []string{cert, "signed by unknown authority"}},
		"expired":             {a.file, expired, expiredKey, []string{expired, "expired"}},
		"of one usage only":   {a.file, serverOnly, serverOnlyKey, []string{serverOnly, "as a client's", "usage"}},
	} {
		_, err := LoadTLS(c.ca, c.cert, c.key, nil)
		for _, want := range c.want {
			if err == nil || !strings.Contains(err.Error(), want) {
				t.Errorf("%s: got %v, want %q in it", name, err, want)
			}
		}
	}
}

// clientOf is a new client, and so a new connection.
func clientOf(t *testing.T, m *MutualTLS) *Client {
	t.Helper()
	return newClient(t, ClientOptions{TLS: m.Client, Log: slog.New(slog.DiscardHandler)})
}
