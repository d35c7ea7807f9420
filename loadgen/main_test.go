package loadgen_test

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"volley/loadgen"
	"volley/plan"
)

// TestMain makes of the test binary an engine child where it is started as one.
func TestMain(m *testing.M) {
	if len(os.Args) > 1 && os.Args[1] == loadgen.ChildCommand {
		os.Exit(loadgen.ServeChild(context.Background()))
	}
	os.Exit(m.Run())
}

// lockedBuffer collects a log that several goroutines write.
type lockedBuffer struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (b *lockedBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.Write(p)
}

func (b *lockedBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.String()
}

func testLog() (*slog.Logger, *lockedBuffer) {
	var b lockedBuffer
	return slog.New(slog.NewTextHandler(&b, nil)), &b
}

// onBoth runs a test on an engine of either kind and then looks for goroutines
// that were left behind.
func onBoth(t *testing.T, test func(t *testing.T, e loadgen.Engine)) {
	t.Run("in process", func(t *testing.T) {
		leavesNothing(t)
		log, _ := testLog()
		test(t, loadgen.NewInProcess(log))
	})
	t.Run("child", func(t *testing.T) {
		leavesNothing(t)
		e := openChild(t)
		test(t, e)
	})
}

func openChild(t *testing.T) *loadgen.Child {
	t.Helper()
	log, out := testLog()
	e, err := loadgen.OpenChild(t.Context(), loadgen.ChildConfig{Log: log})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := e.Close(); err != nil {
			t.Errorf("close: %v", err)
		}
		if t.Failed() {
			t.Logf("the child said:\n%s", out)
		}
	})
	return e
}

// leavesNothing compares the goroutines of this package before and after. It
// must be called first, so that its check comes last.
func leavesNothing(t *testing.T) {
	t.Helper()
	before := runtime.NumGoroutine()
	t.Cleanup(func() {
		http.DefaultClient.CloseIdleConnections()
		if eventually(func() bool { return runtime.NumGoroutine() <= before }) {
			return
		}
		buf := make([]byte, 1<<20)
		t.Errorf("%d goroutines before, %d after:\n%s", before, runtime.NumGoroutine(), buf[:runtime.Stack(buf, true)])
	})
}

// eventually polls a condition for up to 5 s.
func eventually(ok func() bool) bool {
	tick := time.NewTicker(2 * time.Millisecond)
	defer tick.Stop()
	for range 2500 {
		if ok() {
			return true
		}
		<-tick.C
	}
	return false
}

// seen is a target that remembers what reached it.
type seen struct {
	*httptest.Server
	mu    sync.Mutex
	calls []call
	conns int
}

type call struct {
	at           time.Time
	method, path string
	host         string
	header       http.Header
	body         int
	bodyText     string
}

func (s *seen) all() []call {
	s.mu.Lock()
	defer s.mu.Unlock()
	return append([]call{}, s.calls...)
}

func (s *seen) connections() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.conns
}

// paths counts the calls by method and path.
func (s *seen) paths() map[string]int {
	out := map[string]int{}
	for _, c := range s.all() {
		out[c.method+" "+c.path]++
	}
	return out
}

// answer is what a test's target does, after the call has been noted.
type answer func(w http.ResponseWriter, r *http.Request)

func ok(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, "hello") }

func newTarget(t *testing.T, a answer) *seen {
	t.Helper()
	s := unstarted(a)
	s.Start()
	t.Cleanup(s.Close)
	return s
}

func newTLSTarget(t *testing.T, a answer) *seen {
	t.Helper()
	s := unstarted(a)
	s.StartTLS()
	t.Cleanup(s.Close)
	return s
}

func unstarted(a answer) *seen {
	s := &seen{}
	s.Server = httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		at := time.Now()
		var body bytes.Buffer
		_, _ = body.ReadFrom(r.Body)
		s.mu.Lock()
		s.calls = append(s.calls, call{at, r.Method, r.RequestURI, r.Host, r.Header.Clone(), body.Len(), head(body.String())})
		s.mu.Unlock()
		a(w, r)
	}))
	s.Config.ErrorLog = slog.NewLogLogger(slog.DiscardHandler, slog.LevelInfo)
	s.Config.ConnState = s.count
	return s
}

func head(s string) string { return s[:min(len(s), 1000)] }

// job makes a plan's job; the document may say $BASE for the target's URL.
func job(id, document, base string) loadgen.Job {
	if !strings.Contains(document, "client: ") {
		document = strings.Replace(document, "config: {", "config: {client: "+client+", ", 1)
	}
	doc := []byte(strings.ReplaceAll(document, "$BASE", base))
	return loadgen.Job{
		RunID: id, ConfigVersion: plan.Version(doc), Document: doc, NodeID: "node-a", Region: "local", Seed: 7, Apart: true,
		Client: loadgen.Client{ThinkTimeScale: 1},
	}
}

func prepare(t *testing.T, e loadgen.Engine, j loadgen.Job) {
	t.Helper()
	if err := e.Prepare(t.Context(), j); err != nil {
		t.Fatalf("prepare: %v", err)
	}
}

func (s *seen) count(_ net.Conn, state http.ConnState) {
	if state != http.StateNew {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.conns++
}
