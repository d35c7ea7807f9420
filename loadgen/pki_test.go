package loadgen_test

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"testing"
	"time"
)

// authority is a certificate authority of a test's own.
type authority struct {
	dir  string
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
}

func newAuthority(t *testing.T) *authority {
	t.Helper()
	a := &authority{dir: t.TempDir(), key: newECKey(t)}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "test authority"},
		NotBefore: time.Unix(0, 0), NotAfter: time.Now().Add(time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	}
	a.cert = sign(t, template, template, a.key, a.key)
	a.write(t, "ca.pem", "CERTIFICATE", a.cert.Raw)
	return a
}

func newECKey(t *testing.T) *ecdsa.PrivateKey {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

func sign(t *testing.T, template, parent *x509.Certificate, key crypto.Signer, by crypto.Signer) *x509.Certificate {
	t.Helper()
	der, err := x509.CreateCertificate(rand.Reader, template, parent, key.Public(), by)
	if err != nil {
		t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return cert
}

func (a *authority) file(name string) string { return filepath.Join(a.dir, name) }

// write makes a PEM file of pairs of a type and its content.
func (a *authority) write(t *testing.T, name string, blocks ...any) {
	t.Helper()
	var text []byte
	for i := 0; i < len(blocks); i += 2 {
		text = append(text, pem.EncodeToMemory(&pem.Block{Type: blocks[i].(string), Bytes: blocks[i+1].([]byte)})...)
	}
	if err := os.WriteFile(a.file(name), text, 0o600); err != nil {
		t.Fatal(err)
	}
}

// issue signs a certificate for a key and all names that a test's target has.
func (a *authority) issue(t *testing.T, who string, key crypto.Signer) *x509.Certificate {
	t.Helper()
	return sign(t, &x509.Certificate{
		SerialNumber: big.NewInt(2), Subject: pkix.Name{CommonName: who},
		NotBefore: time.Unix(0, 0), NotAfter: time.Now().Add(time.Hour),
		DNSNames: []string{"localhost", "secure.test", "xn--bcher-kva.example"}, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1), net.IPv6loopback},
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	}, a.cert, key, a.key)
}

// clients writes same.key, a certificate for each of two names that has it, and
// another.key.
func (a *authority) clients(t *testing.T, names ...string) {
	t.Helper()
	same := newECKey(t)
	for _, who := range names {
		a.write(t, who+".pem", "CERTIFICATE", a.issue(t, who, same).Raw)
	}
	for name, key := range map[string]*ecdsa.PrivateKey{"same.key": same, "another.key": newECKey(t)} {
		der, err := x509.MarshalECPrivateKey(key)
		if err != nil {
			t.Fatal(err)
		}
		a.write(t, name, "EC PRIVATE KEY", der)
	}
}

// server is what a target shows, and whom it asks for a certificate.
func (a *authority) server(t *testing.T, ask tls.ClientAuthType) *tls.Config {
	t.Helper()
	key := newECKey(t)
	pool := x509.NewCertPool()
	pool.AddCert(a.cert)
	return &tls.Config{
		Certificates: []tls.Certificate{{Certificate: [][]byte{a.issue(t, "server", key).Raw}, PrivateKey: key}},
		ClientAuth:   ask, ClientCAs: pool,
	}
}

// client writes who.pem and a key in each form, and returns the keys' names.
func (a *authority) client(t *testing.T, who string) (cert string, keys map[string]string) {
	t.Helper()
	ec, must := newECKey(t), func(der []byte, err error) []byte {
		if err != nil {
			t.Fatal(err)
		}
		return der
	}
	rsaKey, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	a.write(t, who+"-ec.pem", "CERTIFICATE", a.issue(t, who, ec).Raw)
	a.write(t, who+"-rsa.pem", "CERTIFICATE", a.issue(t, who, rsaKey).Raw)
	a.write(t, who+"-pkcs8.key", "PRIVATE KEY", must(x509.MarshalPKCS8PrivateKey(rsaKey)))
	a.write(t, who+"-pkcs1.key", "RSA PRIVATE KEY", x509.MarshalPKCS1PrivateKey(rsaKey))
	// As openssl ecparam -genkey writes it, the curve's name first.
	a.write(t, who+"-ec.key", "EC PARAMETERS", []byte{6, 8, 0x2a, 0x86, 0x48, 0xce, 0x3d, 3, 1, 7}, "EC PRIVATE KEY", must(x509.MarshalECPrivateKey(ec)))
	return a.file(who + "-ec.pem"), map[string]string{
		a.file(who + "-pkcs8.key"): a.file(who + "-rsa.pem"),
		a.file(who + "-pkcs1.key"): a.file(who + "-rsa.pem"),
		a.file(who + "-ec.key"):    a.file(who + "-ec.pem"),
	}
}
