package e2e

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"testing"
	"time"
)

// authority is a CA of the suite's own.
type authority struct {
	t    *testing.T
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
	pem  string
}

// identity is a certificate with its key, as files and as what Go takes.
type identity struct {
	cert, key string
	pair      tls.Certificate
}

func newAuthority(t *testing.T, name string) *authority {
	t.Helper()
	a := &authority{t: t}
	a.cert, a.key = a.sign(&x509.Certificate{
		Subject: pkix.Name{CommonName: name}, IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
	})
	a.pem = string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: a.cert.Raw}))
	return a
}

func (a *authority) sign(template *x509.Certificate) (*x509.Certificate, *ecdsa.PrivateKey) {
	a.t.Helper()
	own, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		a.t.Fatal(err)
	}
	template.SerialNumber = big.NewInt(time.Now().UnixNano())
	parent, key := a.cert, a.key
	if parent == nil {
		parent, key = template, own
	}
	der, err := x509.CreateCertificate(rand.Reader, template, parent, &own.PublicKey, key)
	if err != nil {
		a.t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		a.t.Fatal(err)
	}
	return cert, own
}

// issue signs a certificate that is valid until then.
func (a *authority) issue(name string, until time.Time) identity {
	a.t.Helper()
	cert, key := a.sign(&x509.Certificate{Subject: pkix.Name{CommonName: name}, NotBefore: until.Add(-2 * time.Hour), NotAfter: until})
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		a.t.Fatal(err)
	}
	made := identity{
		cert: string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: cert.Raw})),
		key:  string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der})),
	}
	if made.pair, err = tls.X509KeyPair([]byte(made.cert), []byte(made.key)); err != nil {
		a.t.Fatal(err)
	}
	return made
}

// Where a node finds its certificates.
const (
	caPath   = "/tls/ca.pem"
	certPath = "/tls/node.pem"
	keyPath  = "/tls/node-key.pem"
)

func tlsEnv() env {
	return env{"CLUSTER_TLS_CA": caPath, "CLUSTER_TLS_CERT": certPath, "CLUSTER_TLS_KEY": keyPath}
}

// writeFile puts a file into the container, running or not.
func (c *container) writeFile(path, content string) {
	c.bench.t.Helper()
	ctx, cancel := call()
	defer cancel()
	c.must("write "+path, c.handle.CopyToContainer(ctx, []byte(content), path, 0o600))
}
