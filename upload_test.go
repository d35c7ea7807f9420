package main

import (
	"bytes"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"volley/e2e/parts"
	"volley/node"
	"volley/settings"
	"volley/sources"
	"volley/stats"
)

// gcsServer starts a storage server with a bucket "results", and points volley to it.
func gcsServer(t *testing.T) *parts.GCSServer {
	t.Helper()
	dir := t.TempDir()
	if err := os.Mkdir(filepath.Join(dir, "results"), 0o755); err != nil {
		t.Fatal(err)
	}
	server, err := parts.StartGCS(t.Context(), dir)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(server.Stop)
	t.Setenv("STORAGE_EMULATOR_HOST", server.Addr)
	return server
}

// temporary gives volley a temporary folder of its own, and lists what is in it.
func temporary(t *testing.T) func() []string {
	t.Helper()
	dir := t.TempDir()
	t.Setenv("TMPDIR", dir)
	return func() []string {
		found, err := filepath.Glob(filepath.Join(dir, "volley-*"))
		if err != nil {
			t.Fatal(err)
		}
		return found
	}
}

func standalone(t *testing.T) {
	t.Setenv("CLUSTER_HEALTH_ADDR", "127.0.0.1:0")
	t.Setenv("METRICS_ADDR", "off")
	t.Setenv("CLUSTER_NODE_ID", "box")
}

func TestResultIsUploadedAndReportedFromTheBucket(t *testing.T) {
	server := gcsServer(t)
	standalone(t)
	left := temporary(t)
	target := record(t, always)
	t.Setenv("RESULT_FILE", "gs://results/{run_id}/{node_id}.json")
	p := launch(t, planFileIn(t, planOf(target.URL, "/x", "1s", "metadata: {run_id: nightly}")))
	if code := p.exit(); code != node.ExitOK {
		t.Fatalf("exit code %d", code)
	}
	if files := left(); len(files) != 0 {
		t.Errorf("left behind: %q", files)
	}
	resp, err := http.Get("http://" + server.Addr + "/storage/v1/b/results/o/nightly%2Fbox.html?alt=media")
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	report, err := io.ReadAll(resp.Body)
	if err != nil || !strings.HasPrefix(resp.Header.Get("Content-Type"), "text/html") || !bytes.Contains(report, []byte("volley run nightly")) {
		t.Errorf("the report beside the result: %s, %s, %d bytes, %v", resp.Status, resp.Header.Get("Content-Type"), len(report), err)
	}
	for _, name := range []string{"gs://results/nightly/box.json", "gs://results/nightly/*", "gs://results/*/b*.json"} {
		code, out, errOut := reported(t, "-format", "json", name)
		if code != node.ExitOK {
			t.Fatalf("report %s: exit %d, %s", name, code, errOut)
		}
		r, err := stats.ReadResult(strings.NewReader(out))
		if err != nil || r.RunID != "nightly" || r.Requests != int64(target.count("GET /x")) || r.Requests == 0 {
			t.Errorf("report %s: %+v, %v; the target counts %d", name, r, err, target.count("GET /x"))
		}
	}
	for name, want := range map[string]string{
		"gs://results/nightly/none*": "no object has such a name", "gs://results/none.json": `there is no object "none.json" in bucket "results"`,
		"gs://results/nightly/box.html": "that is a report", "gs://none/*": `no object "*" in bucket "none"`, "gs://results": "want gs://bucket/object",
	} {
		if code, _, errOut := reported(t, name); code != node.ExitInvalid || !strings.Contains(errOut, want) {
			t.Errorf("report %s: exit %d, %q, want %q", name, code, errOut, want)
		}
	}
}

func TestResultThatIsNotUploadedIsKept(t *testing.T) {
	gcsServer(t)
	standalone(t)
	left := temporary(t)
	target := record(t, always)
	t.Setenv("RESULT_FILE", "gs://no-such-bucket/r.json")
	p := launch(t, planFileIn(t, planOf(target.URL, "/x", "300ms", "")))
	if code := p.exit(); code != node.ExitOK {
		t.Errorf("exit code %d: that of the run is 0", code)
	}
	var result, report string
	for _, file := range left() {
		switch {
		case strings.HasSuffix(file, "-r.json"):
			result = file
		case strings.HasSuffix(file, "-r.html"):
			report = file
		}
	}
	if result == "" || report == "" || len(left()) != 2 {
		t.Fatalf("kept: %q", left())
	}
	for _, want := range []string{`"event":"result_upload_failed"`, `bucket \"no-such-bucket\" does not exist`, "it is kept as " + result + " and " + report} {
		if strings.Count(p.log.String(), want) != 1 {
			t.Errorf("the log does not say once: %s", want)
		}
	}
	body, err := os.ReadFile(result)
	if err != nil {
		t.Fatal(err)
	}
	if r, err := stats.ReadResult(bytes.NewReader(body)); err != nil || r.Requests != int64(target.count("GET /x")) {
		t.Errorf("the copy: %+v, %v", r, err)
	}
}

// begun brings one result after the other to a store at the server's address.
func begun(t *testing.T, log io.Writer, results int, parts func(i int) []*part) *uploads {
	t.Helper()
	set, _, err := settings.Load()
	if err != nil {
		t.Fatal(err)
	}
	l := slog.New(slog.NewJSONHandler(log, nil))
	store, err := openStore(set, l)
	if err != nil {
		t.Fatal(err)
	}
	u := newUploads(store, l)
	for i := range results {
		u.begin(fmt.Sprint("run-", i), parts(i))
		u.going.Wait()
	}
	return u
}

// Of a node that stays up, while its bucket is away for good, only the newest results are kept.
func TestCopiesOfResultsAreBounded(t *testing.T) {
	gcsServer(t)
	left := temporary(t)
	var log lines
	u := begun(t, &log, mostCopies, func(i int) []*part {
		name := sources.Place{Bucket: "no-such-bucket", Object: fmt.Sprintf("r%02d", i)}
		body := []byte(name.Object)
		return []*part{{to: name, content: sources.Content{Body: body}}, {to: name, content: sources.Content{Body: body}}}
	})
	u.settle()
	kept := map[string]int{}
	for _, file := range left() {
		kept[file[len(file)-3:]]++
	}
	for i := range mostCopies {
		if name, want := fmt.Sprintf("r%02d", i), 2*min(1, i/(mostCopies/2)); kept[name] != want {
			t.Errorf("%d copies of %s are kept, want %d", kept[name], name, want)
		}
	}
	if n := strings.Count(log.String(), `"level":"WARN","msg":"the oldest result that is in no bucket is removed for a new one: `); n != mostCopies {
		t.Errorf("%d removed copies are told of, want %d:\n%s", n, mostCopies, log.String())
	}
	u.keep(localCopy{path: "none", bytes: mostCopied})
	if len(u.copies) != 1 || len(left()) != 0 {
		t.Errorf("%d copies beside one that is as large as all may be, files %q", len(u.copies)-1, left())
	}
}

// What a bucket did not take is brought to it once it takes something again.
func TestCopiesAreUploadedOnceTheBucketIsBack(t *testing.T) {
	server := gcsServer(t)
	left := temporary(t)
	var log lines
	word := func(bucket, name string, fresh bool) *part {
		return &part{to: sources.Place{Bucket: bucket, Object: name}, content: sources.Content{Type: "text/plain", Body: []byte("of " + name), New: fresh}}
	}
	u := begun(t, &log, 4, func(i int) []*part {
		switch i {
		case 0:
			return []*part{word("results", "there", false)}
		case 1:
			return []*part{word("late", "a.json", false), word("late", "a.html", false)}
		case 2:
			owed, old := word("late", "there", true), word("late", "b.json", false)
			owed.owed, old.content.Body = true, []byte("older")
			return []*part{owed, old}
		}
		// Somebody makes the bucket.
		resp, err := http.Post("http://"+server.Addr+"/storage/v1/b", "application/json", strings.NewReader(`{"name":"late"}`))
		if err != nil || resp.StatusCode != http.StatusOK {
			t.Fatal(resp, err)
		}
		resp.Body.Close()
		if files := left(); len(files) != 4 {
			t.Errorf("kept while there is no bucket: %q", files)
		}
		return []*part{word("late", "b.json", false)} // what was kept for the same place is older
	})
	u.settle()
	if files := left(); len(files) != 0 || u.owes() {
		t.Errorf("left behind: %q; owes %v", files, u.owes())
	}
	for _, name := range []string{"a.json", "a.html", "there", "b.json"} {
		resp, err := http.Get("http://" + server.Addr + "/storage/v1/b/late/o/" + name + "?alt=media")
		if err != nil {
			t.Fatal(err)
		}
		body, err := io.ReadAll(resp.Body)
		resp.Body.Close()
		if err != nil || string(body) != "of "+name || resp.Header.Get("Content-Type") != "text/plain" {
			t.Errorf("%s: %s, %q, %v", name, resp.Header.Get("Content-Type"), body, err)
		}
	}
	if n := strings.Count(log.String(), `"msg":"uploaded what was kept as `); n != 3 {
		t.Errorf("%d uploads of copies are told of, want 3:\n%s", n, log.String())
	}
}

// The result of a run stays in its place, however long that of the run before it has
// to try.
func TestAnOlderResultGivesWay(t *testing.T) {
	server := gcsServer(t)
	left := temporary(t)
	var opened atomic.Bool
	tried, there := make(chan struct{}, 1), make(chan struct{}, 1)
	behind := httputil.NewSingleHostReverseProxy(&url.URL{Scheme: "http", Host: server.Addr})
	front := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			t.Error(err)
		}
		if bytes.Contains(body, []byte("older")) && !opened.Load() {
			select {
			case tried <- struct{}{}:
			default:
			}
			http.Error(w, "away", http.StatusServiceUnavailable)
			return
		}
		r.Body, r.ContentLength = io.NopCloser(bytes.NewReader(body)), int64(len(body))
		behind.ServeHTTP(w, r)
		if bytes.Contains(body, []byte("newer")) {
			there <- struct{}{}
		}
	}))
	defer front.Close()
	t.Setenv("STORAGE_EMULATOR_HOST", strings.TrimPrefix(front.URL, "http://"))
	var log lines
	u := begun(t, &log, 0, nil)
	to := sources.Place{Bucket: "results", Object: "latest.json"}
	u.begin("one", []*part{{to: to, content: sources.Content{Body: []byte("the older one")}}})
	<-tried
	u.begin("two", []*part{{to: to, content: sources.Content{Body: []byte("the newer one")}}})
	<-there
	opened.Store(true)
	u.settle()
	resp, err := http.Get("http://" + server.Addr + "/storage/v1/b/results/o/latest.json?alt=media")
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if body, err := io.ReadAll(resp.Body); err != nil || string(body) != "the newer one" {
		t.Errorf("in the bucket is %q, %v", body, err)
	}
	if files := left(); len(files) != 0 || !strings.Contains(log.String(), "the result is not uploaded: that of a later run takes its place") {
		t.Errorf("left behind: %q, the log:\n%s", files, log.String())
	}
}

// What is only to be said if nobody has said it is no failure where somebody has.
func TestAWordThatIsThereAlready(t *testing.T) {
	gcsServer(t)
	left := temporary(t)
	var log lines
	u := begun(t, &log, 2, func(int) []*part {
		return []*part{{to: sources.Place{Bucket: "results", Object: "word"}, owed: true, content: sources.Content{Body: []byte("lost"), New: true}}}
	})
	u.settle()
	if u.owes() || len(left()) != 0 || strings.Contains(log.String(), "ERROR") {
		t.Errorf("owes %v, left behind %q, the log:\n%s", u.owes(), left(), log.String())
	}
}

// A signal while requests hang and the bucket is silent: drained, reported and
// kept within 8 s.
func TestSignalLeavesUploadsSoMuchTime(t *testing.T) {
	if testing.Short() {
		t.Skip("takes 8 seconds")
	}
	standalone(t)
	left := temporary(t)
	silent := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		io.Copy(io.Discard, r.Body)
		<-r.Context().Done()
	}))
	defer silent.Close()
	hanging := make(chan struct{}, 100)
	target := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		hanging <- struct{}{}
		<-r.Context().Done()
	}))
	defer target.Close()
	t.Setenv("STORAGE_EMULATOR_HOST", strings.TrimPrefix(silent.URL, "http://"))
	t.Setenv("RESULT_FILE", "gs://results/r.json")
	p := launch(t, planFileIn(t, planOf(target.URL, "/x", "60s", "")))
	<-hanging
	began := time.Now()
	code := p.signal()
	if took := time.Since(began); code != node.ExitStopped || took > 8*time.Second {
		t.Errorf("exit code %d after %s", code, took)
	} else {
		t.Logf("ended %s after the signal", took)
	}
	if files := left(); len(files) != 2 {
		t.Errorf("kept: %q", files)
	}
}
