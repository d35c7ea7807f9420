package control

import (
	"context"
	"errors"
	"io"
	"net"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// pipes is a listener whose connections stay in memory, for virtual time.
type pipes struct {
	accept chan net.Conn
	closed chan struct{}
}

func newPipes() *pipes { return &pipes{make(chan net.Conn), make(chan struct{})} }

func (p *pipes) Accept() (net.Conn, error) {
	select {
	case conn := <-p.accept:
		return conn, nil
	case <-p.closed:
		return nil, net.ErrClosed
	}
}

func (p *pipes) Close() error {
	select {
	case <-p.closed:
	default:
		close(p.closed)
	}
	return nil
}

func (p *pipes) Addr() net.Addr { return &net.TCPAddr{} }

func (p *pipes) dial() net.Conn {
	client, server := net.Pipe()
	p.accept <- server
	return client
}

// during runs s on a listener in memory and in virtual time, lets act use it, and
// returns Run's error and how long Run took to return after act.
func during(t *testing.T, s *Server, act func(*pipes)) (took time.Duration, err error) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	listener, done := newPipes(), make(chan error, 1)
	go func() { done <- s.Run(ctx, listener) }()
	act(listener)
	cancel()
	ended := time.Now()
	err = <-done
	return time.Since(ended), err
}

func TestARequestInWorkIsFinished(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		app := &fakeApp{submit: func(ctx context.Context, _ []byte) (Accepted, error) {
			select {
			case <-time.After(2 * time.Second):
				return Accepted{RunID: "late"}, nil
			case <-ctx.Done():
				return Accepted{}, ctx.Err()
			}
		}}
		var answer string
		read := make(chan struct{})
		took, err := during(t, server(t, app, nil), func(p *pipes) {
			conn := p.dial()
			write(t, conn, "POST /config HTTP/1.1\r\nHost: h\r\nContent-Length: 1\r\n\r\nx")
			go func() { answer = readAll(conn); close(read) }()
			synctest.Wait()
		})
		<-read
		if err != nil || took < 2*time.Second || took > defaultDrain || !strings.HasPrefix(answer, "HTTP/1.1 202") || !strings.Contains(answer, `"run_id":"late"`) {
			t.Errorf("ended after %v with %v; the answer was %q", took, err, answer)
		}
	})
}

func TestAHungRequestIsCutOff(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var cause error
		app := &fakeApp{submit: func(ctx context.Context, _ []byte) (Accepted, error) {
			<-ctx.Done()
			cause = ctx.Err()
			return Accepted{}, cause
		}}
		took, err := during(t, server(t, app, nil), func(p *pipes) {
			conn := p.dial()
			write(t, conn, "POST /config HTTP/1.1\r\nHost: h\r\nContent-Length: 1\r\n\r\nx")
			go readAll(conn)
			synctest.Wait()
		})
		if err != nil || took < defaultDrain || took > defaultDrain+time.Second || !errors.Is(cause, context.Canceled) {
			t.Errorf("ended after %v with %v; the call saw %v", took, err, cause)
		}
	})
}

func TestAStalledClientDoesNotDelayTheEnd(t *testing.T) {
	for _, sends := range []string{"GET /re", "POST /config HTTP/1.1\r\nHost: h\r\nContent-Length: 5\r\n\r\nab"} {
		synctest.Test(t, func(t *testing.T) {
			took, err := during(t, server(t, &fakeApp{}, nil), func(p *pipes) {
				conn := p.dial()
				write(t, conn, sends)
				go readAll(conn)
				synctest.Wait()
			})
			if err != nil || took > defaultDrain+time.Second {
				t.Errorf("%q: ended after %v with %v", sends, took, err)
			}
		})
	}
}

// Each silent or slow client is dropped at the listener's own limit.
func TestSlowClientsAreDropped(t *testing.T) {
	for _, test := range []struct {
		name, sends string
		after       time.Duration
		status      string
	}{
		{"says nothing", "", readHeaderTimeout, ""},
		{"stops within the header", "GET /ready HTTP/1.1\r\nHost: h\r\n", readHeaderTimeout, ""},
		{"stops within the body", "POST /config HTTP/1.1\r\nHost: h\r\nContent-Length: 5\r\n\r\nab", readTimeout, "HTTP/1.1 408"},
		{"keeps an idle connection", "GET /ready HTTP/1.1\r\nHost: h\r\n\r\n", idleTimeout, "HTTP/1.1 200"},
	} {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				app := &fakeApp{}
				_, err := during(t, server(t, app, nil), func(p *pipes) {
					conn, began := p.dial(), time.Now()
					if test.sends != "" {
						write(t, conn, test.sends)
					}
					answer := readAll(conn)
					if took := time.Since(began); took < test.after || took > test.after+time.Second || !strings.HasPrefix(answer, test.status) {
						t.Errorf("dropped after %v with %q, want %v, %q", took, answer, test.after, test.status)
					}
				})
				if received, _ := app.asked(); err != nil || len(received) != 0 {
					t.Errorf("Run: %v; the app received %q", err, received)
				}
			})
		})
	}
}

func TestHugeHeadersAreRefused(t *testing.T) {
	base := serving(t, server(t, &fakeApp{}, nil).Run)
	if got := call(t, "GET", base+"/ready", "", "X-Junk:"+strings.Repeat("x", 2*maxHeaderBytes)); got.status != 431 {
		t.Errorf("status %d, want 431", got.status)
	}
}

func TestABrokenListenerEndsRun(t *testing.T) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ln.Close()
	if err := server(t, &fakeApp{}, nil).Run(t.Context(), ln); !errors.Is(err, net.ErrClosed) {
		t.Errorf("got %v, want net.ErrClosed", err)
	}
}

func write(t *testing.T, conn net.Conn, text string) {
	t.Helper()
	if _, err := io.WriteString(conn, text); err != nil {
		t.Error(err)
	}
}

// readAll reads until the connection is closed; an error then is no matter.
func readAll(conn net.Conn) string {
	content, _ := io.ReadAll(conn)
	return string(content)
}
