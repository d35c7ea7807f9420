package main

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"math/big"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// Which core is whose.
const (
	generatorCore = "0"
	targetCore    = "1"
)

// bodySize is that of a large response, in bytes.
const bodySize = 1 << 20

// server is nginx, whose counter says what has really been sent.
type server struct {
	cmd    *exec.Cmd
	plain  string // the URL of a small answer
	secure string // the same over TLS
	large  string
	status string
}

const configuration = `
worker_processes 1; daemon off; pid FOLDER/nginx.pid; error_log FOLDER/nginx.log;
worker_rlimit_nofile 20000;
events { worker_connections 16384; }
http {
  access_log off; keepalive_requests 1000000000; keepalive_timeout 600; tcp_nodelay on; sendfile on;
  client_body_temp_path FOLDER; proxy_temp_path FOLDER; fastcgi_temp_path FOLDER; uwsgi_temp_path FOLDER; scgi_temp_path FOLDER;
  server {
    listen 127.0.0.1:PLAIN backlog=8192;
    location = / { default_type text/plain; return 200 "hello world, this is a small body of a response\n"; }
    location = /large { root FOLDER; }
    location / { default_type application/json; return 200 '{"msg":"hello"}'; }
    location = /login { default_type application/json; return 200 'LOGIN'; }
  }
  server { listen 127.0.0.1:STATUS; location / { stub_status; } }
  server {
    listen 127.0.0.1:SECURE ssl backlog=8192; ssl_protocols TLSv1.3; ssl_certificate FOLDER/cert.pem; ssl_certificate_key FOLDER/key.pem;
    location / { default_type text/plain; return 200 "hello world, this is a small body of a response\n"; }
  }
}
`

// login is what a scenario reads a token and a number out of.
const login = `{"auth":{"token":"eyJhbGciOiJIUzI1NiJ9.abc.def"},"items":[{"id":0,"name":"item 0"},{"id":1,"name":"item 1"},` +
	`{"id":2,"name":"item 2","price":2.5,"tags":["a","b"]},{"id":3,"name":"item 3"},{"id":4,"name":"item 4"},{"id":5,"name":"item 5"},` +
	`{"id":6,"name":"item 6"},{"id":7,"name":"item 7"}]}`

// startTarget starts nginx on its core.
func startTarget(ctx context.Context, folder string) (*server, error) {
	for _, needed := range []string{"taskset", "nginx"} {
		if _, err := exec.LookPath(needed); err != nil {
			return nil, fmt.Errorf("%s is missing (Debian: apt-get install util-linux nginx-light)", needed)
		}
	}
	ports, err := freePorts(3)
	if err != nil {
		return nil, err
	}
	text := strings.NewReplacer("FOLDER", folder, "PLAIN", ports[0], "SECURE", ports[1], "STATUS", ports[2], "LOGIN", login).Replace(configuration)
	err = errors.Join(os.Chmod(folder, 0o755), // nginx reads the large file as somebody else
		os.WriteFile(filepath.Join(folder, "nginx.conf"), []byte(text), 0o644),
		os.WriteFile(filepath.Join(folder, "large"), make([]byte, bodySize), 0o644), certify(folder))
	if err != nil {
		return nil, err
	}
	s := &server{
		plain: "http://127.0.0.1:" + ports[0] + "/", secure: "https://127.0.0.1:" + ports[1] + "/", status: "http://127.0.0.1:" + ports[2] + "/",
	}
	s.large = s.plain + "large"
	s.cmd = exec.Command("taskset", "-c", targetCore, "nginx", "-c", filepath.Join(folder, "nginx.conf"))
	s.cmd.Stderr = os.Stderr
	if err := s.cmd.Start(); err != nil {
		return nil, fmt.Errorf("start nginx: %w", err)
	}
	for limit := time.Now().Add(10 * time.Second); ; {
		_, err := s.count(ctx)
		if err == nil {
			return s, nil
		}
		if time.Now().After(limit) || ctx.Err() != nil {
			return nil, errors.Join(fmt.Errorf("nginx does not answer: %w", err), s.stop())
		}
		time.Sleep(10 * time.Millisecond)
	}
}

// freePorts finds ports that nobody listens on just now.
func freePorts(n int) (ports []string, err error) {
	for range n {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			return nil, fmt.Errorf("find a free port: %w", err)
		}
		defer l.Close() // after the last is found: none is found twice
		ports = append(ports, strconv.Itoa(l.Addr().(*net.TCPAddr).Port))
	}
	return ports, nil
}

// stop ends nginx and waits for it.
func (s *server) stop() error {
	_ = s.cmd.Process.Signal(syscall.SIGTERM)
	if err := s.cmd.Wait(); err != nil {
		return fmt.Errorf("end nginx: %w", err)
	}
	return nil
}

var handled = regexp.MustCompile(`(?m)^ *\d+ +\d+ +(\d+) *$`)

// count is how many requests nginx has had, those for its count included.
func (s *server) count(ctx context.Context) (int64, error) {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, s.status, http.NoBody)
	if err != nil {
		return 0, err
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		return 0, err
	}
	defer res.Body.Close()
	page, err := io.ReadAll(res.Body)
	if err != nil {
		return 0, err
	}
	m := handled.FindSubmatch(page)
	if m == nil {
		return 0, fmt.Errorf("nginx says nothing of its requests: %s", page)
	}
	return strconv.ParseInt(string(m[1]), 10, 64)
}

// certify writes a certificate for the target, and its key.
func certify(folder string) error {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return err
	}
	like := x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "target"}, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(24 * time.Hour), IsCA: true, BasicConstraintsValid: true,
	}
	cert, err := x509.CreateCertificate(rand.Reader, &like, &like, &key.PublicKey, key)
	if err != nil {
		return err
	}
	secret, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return err
	}
	return errors.Join(
		os.WriteFile(filepath.Join(folder, "cert.pem"), pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: cert}), 0o644),
		os.WriteFile(filepath.Join(folder, "key.pem"), pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: secret}), 0o600))
}
