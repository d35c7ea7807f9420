package control

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"strings"
	"sync"
	"testing"
	"time"
)

// logLines is a log that is read while it is written.
type logLines struct {
	mu  sync.Mutex
	all bytes.Buffer
}

func (l *logLines) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.all.Write(p)
}

func (l *logLines) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.all.String()
}

func logged() (*logLines, func(*Options)) {
	lines := &logLines{}
	return lines, func(o *Options) {
		o.Token, o.Log = "t0ken", slog.New(slog.NewTextHandler(lines, nil))
	}
}

// Each kind of refusal is one line in ten seconds, without what was shown.
func TestRefusalsAreTold(t *testing.T) {
	lines, with := logged()
	base := serving(t, server(t, &fakeApp{}, with).Run)
	for range 50 {
		call(t, "POST", base+"/config", "x", "Authorization:Bearer guessed-t0ken")
		call(t, "POST", base+"/stop", "", "Authorization:Bearer t0ken", "Origin:https://evil.example")
		call(t, "POST", base+"/config", strings.Repeat("x", MaxPlan+1), "Authorization:Bearer t0ken")
		if status := formPost(t, base+"/config"); status != http.StatusForbidden {
			t.Fatalf("a form of another site: %d, want 403", status)
		}
	}
	for _, kind := range []string{"control token", "another site", "body"} {
		if got := strings.Count(lines.String(), fmt.Sprintf("kind=%q", kind)) + strings.Count(lines.String(), "kind="+kind+" "); got != 1 {
			t.Errorf("%d lines of kind %q, want 1:\n%s", got, kind, lines)
		}
	}
	if strings.Contains(lines.String(), "t0ken") {
		t.Errorf("a token in the log:\n%s", lines)
	}
}

// formPost is what a page of another site can make a browser send without asking
// first: a form as plain text, with what the browser knows about the user.
func formPost(t *testing.T, url string) int {
	t.Helper()
	got := call(t, "POST", url, "version: \"1.0\"\r\n=", "Content-Type:text/plain", "Authorization:Bearer t0ken",
		"Origin:https://evil.example", "Sec-Fetch-Site:cross-site", "Sec-Fetch-Mode:navigate", "Sec-Fetch-Dest:document")
	return got.status
}

// Connections that stand idle do not keep anybody out, before a request or after one.
func TestIdleConnectionsLockNobodyOut(t *testing.T) {
	lines, with := logged()
	base := serving(t, server(t, &fakeApp{}, with).Run)
	addr := strings.TrimPrefix(base, "http://")
	from := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.IPv4(127, 0, 0, 2)}, Timeout: 5 * time.Second}
	var held []net.Conn
	defer func() {
		for _, conn := range held {
			_ = conn.Close()
		}
	}()
	transport := &http.Transport{}
	defer transport.CloseIdleConnections()
	client := &http.Client{Transport: transport, Timeout: time.Second}
	for i := range maxWaiting + 500 {
		conn, err := from.Dial("tcp", addr)
		if err != nil {
			t.Fatal(err)
		}
		held = append(held, conn)
		if i%2 == 0 { // this one has been answered once
			write(t, conn, "GET /ready HTTP/1.1\r\nHost: h\r\n\r\n")
		}
		if i%100 != 0 {
			continue
		}
		began := time.Now()
		got, err := client.Get(base + "/health")
		if err != nil {
			t.Fatalf("with %d idle connections, after %s: %v", i, time.Since(began), err)
		}
		_, _ = io.Copy(io.Discard, got.Body)
		_ = got.Body.Close()
	}
	waitFor(t, func() bool { // the last ones may not have been accepted yet
		open := 0
		for _, conn := range held {
			if isOpen(conn) {
				open++
			}
		}
		return open <= maxWaiting
	})
	if got := strings.Count(lines.String(), "kind=crowded"); got != 1 {
		t.Errorf("%d lines about the crowd, want 1:\n%s", got, lines)
	}
}

func isOpen(conn net.Conn) bool {
	_ = conn.SetReadDeadline(time.Now().Add(100 * time.Microsecond))
	for buffer := make([]byte, 1<<10); ; {
		if _, err := conn.Read(buffer); err != nil {
			return errors.Is(err, os.ErrDeadlineExceeded)
		}
	}
}

// Noise is told; a request that is understood, or a probe of the port, is not.
func TestNoiseIsTold(t *testing.T) {
	lines, with := logged()
	base := serving(t, server(t, &fakeApp{}, with).Run)
	call(t, "GET", base+"/ready", "")
	conn, err := net.Dial("tcp", strings.TrimPrefix(base, "http://"))
	if err != nil {
		t.Fatal(err)
	}
	_ = conn.Close()
	if strings.Contains(lines.String(), "refused") {
		t.Errorf("told without a cause:\n%s", lines)
	}
	noise, err := net.Dial("tcp", strings.TrimPrefix(base, "http://"))
	if err != nil {
		t.Fatal(err)
	}
	defer noise.Close()
	write(t, noise, "\x16\x03\x01\x02\x00\x01\x00\x01\xfc\r\n\r\n")
	if got := readAll(noise); !strings.HasPrefix(got, "HTTP/1.1 400") {
		t.Errorf("got %q, want 400", got)
	}
	waitFor(t, func() bool { return strings.Contains(lines.String(), "not understood") })
}
