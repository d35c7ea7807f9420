package loadgen_test

import (
	"bufio"
	"crypto/tls"
	"fmt"
	"io"
	"log"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"volley/loadgen"
	"volley/stats"
)

// nasty is a target that does to a connection what a test says: act is given the
// requests of all connections one after the other, numbered from 0, and says
// whether the connection goes on.
type nasty struct {
	net.Listener
	act func(v visitor) (goesOn bool)

	mu    sync.Mutex
	count int
	open  map[net.Conn]bool
	gone  sync.WaitGroup
}

// visitor is one request with its connection.
type visitor struct {
	net.Conn
	tcp  *net.TCPConn
	cork *cork
	in   *bufio.Reader
	req  *http.Request // its body has not been read
	n    int           // of the request
	here int           // of it on this connection
}

func (v visitor) say(text string) bool {
	_, err := io.WriteString(v, text)
	return err == nil
}

// cork holds what is written, where it is in, and lets it go in one piece.
type cork struct {
	net.Conn
	in   bool
	held []byte
}

func (c *cork) Write(b []byte) (int, error) {
	if !c.in {
		return c.Conn.Write(b)
	}
	c.held = append(c.held, b...)
	return len(b), nil
}

func (c *cork) out() {
	c.in = false
	_, _ = c.Conn.Write(c.held)
	c.held = nil
}

func newNasty(secure *tls.Config, act func(v visitor) bool) *nasty {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		panic(err) // several goroutines of a test make targets
	}
	s := &nasty{Listener: l, act: act, open: map[net.Conn]bool{}}
	s.gone.Go(func() { s.accept(secure) })
	return s
}

func (s *nasty) end() {
	_ = s.Close()
	s.mu.Lock()
	for c := range s.open {
		_ = c.Close()
	}
	s.mu.Unlock()
	s.gone.Wait()
}

func (s *nasty) accept(secure *tls.Config) {
	for {
		c, err := s.Accept()
		if err != nil {
			return
		}
		s.mu.Lock()
		s.open[c] = true
		s.mu.Unlock()
		s.gone.Go(func() {
			s.serve(c, secure)
			s.mu.Lock()
			delete(s.open, c)
			s.mu.Unlock()
			_ = c.Close()
		})
	}
}

func (s *nasty) serve(c net.Conn, secure *tls.Config) {
	v := visitor{tcp: c.(*net.TCPConn), cork: &cork{Conn: c}}
	v.Conn = v.cork
	if secure != nil {
		v.Conn = tls.Server(v.cork, secure)
	}
	v.in = bufio.NewReader(v.Conn)
	for goesOn := true; goesOn; v.here++ {
		var err error
		if v.req, err = http.ReadRequest(v.in); err != nil {
			return
		}
		s.mu.Lock()
		v.n = s.count
		s.count++
		s.mu.Unlock()
		goesOn = s.act(v)
	}
}

const (
	fine   = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
	chunky = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
)

// says is a target with one answer, after which it waits for the next request.
func says(text string) func(visitor) bool {
	return func(v visitor) bool { return v.say(text) }
}

// ends is a target with one answer, after which it closes the connection.
func ends(text string) func(visitor) bool {
	return func(v visitor) bool {
		v.say(text)
		return false
	}
}

// nastiness are targets that do what no good one does.
func nastiness() map[string]func(v visitor) bool {
	long := strings.Repeat("0123456789", 10_000)
	return map[string]func(v visitor) bool{
		"closes at once":                ends(""),
		"closes in the status line":     ends("HTTP/1.1 20"),
		"closes in a header":            ends("HTTP/1.1 200 OK\r\nContent-Le"),
		"closes before the body":        ends("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n"),
		"closes in the body":            ends("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhel"),
		"closes in a chunk":             ends(chunky + "5\r\nhel"),
		"closes before the last chunk":  ends(chunky + "5\r\nhello\r\n"),
		"ends the body by closing":      ends("HTTP/1.1 200 OK\r\n\r\nhello"),
		"HTTP/1.0":                      ends("HTTP/1.0 200 OK\r\nContent-Length: 5\r\n\r\nhello"),
		"HTTP/1.0 that stays":           says("HTTP/1.0 200 OK\r\nConnection: keep-alive\r\nContent-Length: 5\r\n\r\nhello"),
		"says that it closes":           ends("HTTP/1.1 200 OK\r\nConnection: x, Close\r\nContent-Length: 2\r\n\r\nok"),
		"says nothing":                  says(""),
		"stops in the body":             says("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhel"),
		"stops in a chunk":              says(chunky + "5\r\nhel"),
		"a long header":                 says("HTTP/1.1 200 OK\r\nX: " + long + "\r\nContent-Length: 2\r\n\r\nok"),
		"a long body":                   says("HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n" + long),
		"a long body in chunks":         says(chunky + "186A0\r\n" + long + "\r\n0\r\n\r\n"),
		"chunks with extensions":        says(chunky + "2;a=\"b\"\r\nok\r\n0;last\r\nX-Trailer: 1\r\n\r\n"),
		"chunks of no number":           says(chunky + "zz\r\nok\r\n0\r\n\r\n"),
		"chunks of a negative number":   says(chunky + "-2\r\nok\r\n0\r\n\r\n"),
		"chunks of a huge number":       says(chunky + "fffffffffffffffff\r\nok"),
		"chunks too long":               says(chunky + "1\r\nok\r\n0\r\n\r\n"),
		"chunks with bare line feeds":   says(chunky + "2\nok\n0\n\n"),
		"two lengths":                   says("HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\nok"),
		"the same length twice":         says("HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 2\r\n\r\nok"),
		"no length":                     says("HTTP/1.1 200 OK\r\nContent-Length: two\r\n\r\nok"),
		"length and chunks":             says("HTTP/1.1 200 OK\r\nContent-Length: 99\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n"),
		"another coding":                says("HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\n\r\nok"),
		"a folded header":               says("HTTP/1.1 200 OK\r\nX: a\r\n b\r\nContent-Length: 2\r\n\r\nok"),
		"a header without a colon":      says("HTTP/1.1 200 OK\r\nnonsense\r\nContent-Length: 2\r\n\r\nok"),
		"bare line feeds":               says("HTTP/1.1 200 OK\nContent-Length: 2\n\nok"),
		"no HTTP":                       says("SSH-2.0-OpenSSH_9.2\r\n"),
		"a status of four digits":       says("HTTP/1.1 2000 OK\r\nContent-Length: 2\r\n\r\nok"),
		"early hints":                   says("HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\n" + fine),
		"another protocol":              ends("HTTP/1.1 101 Switching Protocols\r\n\r\n"),
		"no content":                    says("HTTP/1.1 204 No Content\r\n\r\n"),
		"not modified":                  says("HTTP/1.1 304 Not Modified\r\nContent-Length: 5\r\n\r\n"),
		"something behind the response": says(fine + "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"),
		"a body where there is none":    says("HTTP/1.1 204 No Content\r\nContent-Length: 5\r\n\r\nhello"),
		"drips": func(v visitor) bool {
			for i := range fine {
				if !v.say(fine[i : i+1]) {
					return false
				}
				<-time.After(200 * time.Microsecond)
			}
			return true
		},
		"splits": func(v visitor) bool {
			for _, part := range []string{"HTTP/1.1 200 OK\r", "\nConten", "t-Length: 2\r\n\r", "\no", "k"} {
				if !v.say(part) {
					return false
				}
				<-time.After(2 * time.Millisecond)
			}
			return true
		},
		"resets": func(v visitor) bool {
			_ = v.tcp.SetLinger(0)
			return false
		},
		"resets a connection that was used": func(v visitor) bool {
			if v.here == 0 {
				return v.say(fine)
			}
			_ = v.tcp.SetLinger(0)
			return false
		},
		"closes a connection that was used": func(v visitor) bool { return v.here == 0 && v.say(fine) },
		"closes once it has answered":       ends(fine),
		"closes one half when it has answered": func(v visitor) bool {
			v.say(fine)
			_ = v.tcp.CloseWrite()
			return true
		},
		"closes one half in the body": func(v visitor) bool {
			v.say("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhel")
			_ = v.tcp.CloseWrite()
			return true
		},
		"speaks when nobody asked": func(v visitor) bool {
			v.say(fine)
			<-time.After(2 * time.Millisecond)
			v.say("HTTP/1.1 408 Request Timeout\r\nConnection: close\r\nContent-Length: 0\r\n\r\n")
			return false
		},
	}
}

// counted is what a run counts of its requests.
func counted(s *stats.Summary) string {
	return fmt.Sprintf("%d requests, errors %v, codes %v, %d new, %d reused, %d reconnects, %d service times, %d iterations",
		s.Requests, s.Errors, s.StatusCodes(), s.ConnsNew, s.ConnsReused, s.Reconnects, s.Service.Count(), s.Completed)
}

// isSilent is whether nothing but the timeout ends what a target does.
func isSilent(name string) bool { return name == "says nothing" || strings.HasPrefix(name, "stops in") }

// TestNastyTargetsCountTheSameOnBothClients: a target that breaks the rules is
// the same errors, codes, connections and reconnects, whoever speaks to it. Most
// of them wait for most of the time: several are visited at once.
func TestNastyTargetsCountTheSameOnBothClients(t *testing.T) {
	log.SetOutput(io.Discard) // net/http tells of what it did not ask for
	defer log.SetOutput(os.Stderr)
	leavesNothing(t)
	secure := newAuthority(t).server(t, tls.NoClientCert)
	var all sync.WaitGroup
	slots := make(chan struct{}, 8)
	for name, act := range nastiness() {
		timeout, methods := "10s", []string{"GET", "HEAD", "POST"}
		if isSilent(name) {
			timeout, methods = "600ms", methods[:1]
		}
		slots <- struct{}{}
		all.Go(func() {
			defer func() { <-slots }()
			for _, method := range methods {
				sameOnBoth(t, name, method, nil, act, timeout)
			}
			sameOnBoth(t, name, "GET", secure, act, timeout)
		})
	}
	all.Wait()
}

// sameOnBoth has both clients visit a target and compares what is counted.
func sameOnBoth(t *testing.T, name, method string, secure *tls.Config, act func(v visitor) bool, timeout string) {
	t.Helper()
	scheme := "http"
	if secure != nil {
		scheme = "https"
	}
	var all []string
	for _, client := range []string{"own", "std"} {
		target := newNasty(secure, act)
		v := visit{
			config: "skipTlsVerify: true, timeout: " + timeout + ", client: " + client, times: 2,
			steps: "[{request: {method: " + method + ", path: /}, thinkTime: 60ms}]",
		}
		e := loadgen.NewInProcess(slog.New(slog.DiscardHandler))
		err := e.Prepare(t.Context(), v.job(scheme+"://"+target.Addr().String()))
		if err != nil {
			t.Errorf("%s: %v", name, err)
			return
		}
		s, err := e.Run(t.Context(), "r", time.Now(), nil)
		target.end()
		if err != nil {
			t.Errorf("%s: %v", name, err)
			return
		}
		all = append(all, counted(s))
	}
	if all[0] != all[1] {
		t.Errorf("%s, %s %s:\nown %s\nstd %s", name, scheme, method, all[0], all[1])
	}
}

func TestAHeadWithoutEndIsAnError(t *testing.T) {
	line := "X: " + strings.Repeat("0123456789", 10_000) + "\r\n"
	act := ends("HTTP/1.1 200 OK\r\n" + strings.Repeat(line, 110) + "\r\n")
	sameOnBoth(t, "long", "GET", nil, act, "20s")
	target := newNasty(nil, act)
	defer target.end()
	s := visit{config: "timeout: 20s", steps: "[{request: {method: GET, path: /}}]", times: 1}.pay(t, "http://"+target.Addr().String())
	if s.Errors[stats.ErrNetwork] != 1 {
		t.Errorf("%s", counted(s))
	}
}

// TestAResponseMayComeBeforeTheRequestIsComplete: a target that has seen enough
// of a long body answers, and reads no more.
func TestAResponseMayComeBeforeTheRequestIsComplete(t *testing.T) {
	folder := t.TempDir()
	if err := os.WriteFile(filepath.Join(folder, "long"), make([]byte, 30<<20), 0o600); err != nil {
		t.Fatal(err)
	}
	secure := newAuthority(t).server(t, tls.NoClientCert)
	for scheme, c := range map[string]*tls.Config{"http": nil, "https": secure} {
		for _, body := range []string{"bodySize: 30MB", "bodyFile: long"} {
			var all []string
			for _, client := range []string{"own", "std"} {
				done := make(chan struct{})
				target := newNasty(c, func(v visitor) bool {
					v.say("HTTP/1.1 413 Too Large\r\nContent-Length: 0\r\n\r\n")
					<-done // neither reads nor closes
					return false
				})
				s := visit{
					config: "skipTlsVerify: true, timeout: 10s, client: " + client, times: 2,
					steps: "[{request: {method: POST, path: /, " + body + "}}]",
					alter: func(j *loadgen.Job) { j.Files.Folder = folder },
				}.pay(t, scheme+"://"+target.Addr().String())
				close(done)
				target.end()
				all = append(all, counted(s))
				if s.StatusCodes()[413] != 2 || s.Service.Max() > 5*time.Second {
					t.Errorf("%s, client %s: %s, up to %v", scheme, client, counted(s), s.Service.Max())
				}
			}
			if all[0] != all[1] {
				t.Errorf("%s:\nown %s\nstd %s", scheme, all[0], all[1])
			}
		}
	}
}

// TestWhatTLSHoldsIsNoAnswer: what nobody has asked for lies in the connection's
// TLS when the response is complete, and is none to the next request.
func TestWhatTLSHoldsIsNoAnswer(t *testing.T) {
	target := newNasty(newAuthority(t).server(t, tls.NoClientCert), func(v visitor) bool {
		v.cork.in = true
		v.say(fine)
		v.say("HTTP/1.1 500 Nobody Asked\r\nContent-Length: 0\r\n\r\n")
		v.cork.out()
		return true
	})
	defer target.end()
	s := visit{config: "skipTlsVerify: true, http: 1.1, client: own", times: 4, steps: "[{request: {method: GET, path: /}}]"}.pay(t, "https://"+target.Addr().String())
	if s.StatusCodes()[200] != 4 || s.ErrorCount() != 0 || s.ConnsNew != 4 {
		t.Errorf("%s; want four answers over four connections", counted(s))
	}
}

// TestSendingAgainIsPartOfTheRequest: a kept connection that hangs and then breaks
// has the request sent again over another. The one request took all of that time.
func TestSendingAgainIsPartOfTheRequest(t *testing.T) {
	const hangs = 300 * time.Millisecond
	for scheme, secure := range map[string]*tls.Config{"http": nil, "https": newAuthority(t).server(t, tls.NoClientCert)} {
		for _, client := range []string{"own", "std"} {
			target := newNasty(secure, func(v visitor) bool {
				if v.n == 1 {
					<-time.After(hangs)
					return false
				}
				return v.say(fine)
			})
			s := visit{
				config: "skipTlsVerify: true, http: 1.1, timeout: 10s, client: " + client, times: 2,
				steps: "[{request: {method: GET, path: /}, assertions: [{type: responseTime, max: 250ms}]}]",
			}.pay(t, scheme+"://"+target.Addr().String())
			target.end()
			if s.Requests != 2 || s.Reconnects != 1 || s.Service.Max() < hangs || s.Errors[stats.ErrAssertion] != 1 {
				t.Errorf("%s, %s: %s; service time up to %v, want one that took over %v, and was too slow", client, scheme, counted(s), s.Service.Max(), hangs)
			}
		}
	}
}

// What waits for a shared connection a second time waits on this side: the target
// has not had it meanwhile.
func TestWaitingToSendAgainIsNoServiceTime(t *testing.T) {
	const hangs, answers = 300 * time.Millisecond, 400 * time.Millisecond
	for _, client := range []string{"own", "std"} {
		var n atomic.Int64
		target := newNasty(nil, func(v visitor) bool {
			if n.Add(1) == 3 {
				<-time.After(hangs)
				return false
			}
			<-time.After(answers)
			return v.say(fine)
		})
		s := visit{
			config: "http: 1.1, connections: 1, timeout: 10s, client: " + client, workers: 2,
			steps: "[{request: {method: GET, path: /}}]",
		}.pay(t, "http://"+target.Addr().String())
		target.end()
		if most := hangs + answers; s.Requests != 6 || s.Reconnects != 1 || s.Service.Max() < most || s.Service.Max() > most+answers/2 || s.Latency.Max() < most+answers {
			t.Errorf("%s: %s; service time up to %v, latency to %v, want %v and %v more", client, counted(s), s.Service.Max(), s.Latency.Max(), most, answers)
		}
	}
}
