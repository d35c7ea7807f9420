package sources_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/hashicorp/consul/api"

	"volley/sources"
)

// opener is what brings the files that a document names.
type opener interface {
	Open(ctx context.Context, name string) (io.ReadCloser, error)
}

func contentOf(t *testing.T, from opener, name string) (string, error) {
	t.Helper()
	file, err := from.Open(within(t, 20*time.Second), name)
	if err != nil {
		return "", err
	}
	defer file.Close()
	content, err := io.ReadAll(file)
	return string(content), err
}

// files writes files below a folder.
func files(t *testing.T, contents map[string]string) string {
	t.Helper()
	folder := t.TempDir()
	for name, content := range contents {
		path := filepath.Join(folder, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			t.Fatal(err)
		}
		put(t, path, []byte(content), 0o600)
	}
	return folder
}

func TestFilesBesideALocalPlan(t *testing.T) {
	folder := files(t, map[string]string{"plans/a.yaml": plan, "plans/users.csv": "beside", "plans/in/x": "below", "up.csv": "above", "cwd/users.csv": "cwd", "cwd/only.csv": "only"})
	t.Chdir(filepath.Join(folder, "cwd"))
	for _, place := range []string{filepath.Join(folder, "plans/a.yaml"), "../plans/a.yaml"} {
		from, err := sources.NewFile(place)
		if err != nil {
			t.Fatal(err)
		}
		for name, want := range map[string]string{
			"users.csv": "beside", "./in/x": "below", "../up.csv": "above", "only.csv": "only", filepath.Join(folder, "up.csv"): "above",
		} {
			if got, err := contentOf(t, from, name); got != want || err != nil {
				t.Errorf("%s, %s: %q, %v; want %q", place, name, got, err, want)
			}
		}
		for name, want := range map[string]error{"gone.csv": sources.ErrNotFound, "/gone.csv": sources.ErrNotFound, "in": sources.ErrRefused} {
			if _, err := contentOf(t, from, name); !errors.Is(err, want) || !strings.Contains(err.Error(), name) {
				t.Errorf("%s, %s: %v, want %v", place, name, err, want)
			}
		}
	}
}

func TestFilesOfAFolder(t *testing.T) {
	folder := files(t, map[string]string{"data/users.csv": "here", "data/in/x": "below", "secret": "s"})
	from := sources.Folder{Path: filepath.Join(folder, "data")}
	if err := os.Symlink("../secret", filepath.Join(folder, "data", "link")); err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]string{"users.csv": "here", "./in/../in/x": "below"} {
		if got, err := contentOf(t, from, name); got != want || err != nil {
			t.Errorf("%s: %q, %v; want %q", name, got, err, want)
		}
	}
	for name, want := range map[string]error{
		"gone": sources.ErrNotFound, "../secret": sources.ErrRefused, "in/../../secret": sources.ErrRefused, "link": sources.ErrRefused,
		filepath.Join(folder, "data/users.csv"): sources.ErrRefused, "in": sources.ErrRefused, "": sources.ErrRefused,
	} {
		if got, err := contentOf(t, from, name); !errors.Is(err, want) {
			t.Errorf("%q: %q, %v, want %v", name, got, err, want)
		}
	}
	if _, err := contentOf(t, sources.Folder{}, "x"); !errors.Is(err, sources.ErrRefused) || !strings.Contains(err.Error(), "DATA_DIR") {
		t.Errorf("no folder: %v", err)
	}
}

func TestALocalFileIsNotReadBeyondTheEnd(t *testing.T) {
	from := sources.Folder{Path: files(t, map[string]string{"x": "content"})}
	ctx, cancel := context.WithCancel(t.Context())
	file, err := from.Open(ctx, "x")
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	cancel()
	if _, err := io.ReadAll(file); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
}

func TestFilesBesideAKey(t *testing.T) {
	server := consulServer(t)
	kv := consulClient(t, server.Addr, server.Token).KV()
	binary := []byte{0, 0xff, '\n'}
	for key, value := range map[string][]byte{"loadtest/data/users.csv": binary, "loadtest/empty": nil, "other/secret": []byte("s")} {
		if _, err := kv.Put(&api.KVPair{Key: key, Value: value}, nil); err != nil {
			t.Fatal(err)
		}
	}
	from, ok := consulSource(t, server.Addr, server.Token, key).(opener)
	if !ok {
		t.Fatal("a Consul source opens nothing")
	}
	for name, want := range map[string]string{"./data/users.csv": string(binary), "empty": ""} {
		if got, err := contentOf(t, from, name); got != want || err != nil {
			t.Errorf("%s: %q, %v", name, got, err)
		}
	}
	if _, err := contentOf(t, from, "gone.csv"); !errors.Is(err, sources.ErrNotFound) || !strings.Contains(err.Error(), "consul-kv:loadtest/gone.csv") {
		t.Errorf("a key that is not there: %v", err)
	}
	for _, name := range []string{"../other/secret", "/loadtest/empty"} {
		if _, err := contentOf(t, from, name); !errors.Is(err, sources.ErrRefused) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// breaking is a server of one object whose connection breaks after so many bytes.
func breaking(t *testing.T, content []byte, after int, replaced bool) (addr string, reads *atomic.Int64) {
	t.Helper()
	reads = &atomic.Int64{}
	return before(t, gcsServer(t).Addr, func(w http.ResponseWriter, r *http.Request, _ http.Handler) {
		if r.URL.Query().Get("alt") != "media" {
			w.Header().Set("Content-Type", "application/json")
			fmt.Fprintf(w, `{"kind":"storage#object","bucket":%q,"name":"dir/in/big.bin","generation":"7","size":"%d"}`, bucket, len(content))
			return
		}
		if n := reads.Add(1); r.URL.Query().Get("generation") != "7" || replaced && n > 1 {
			w.WriteHeader(http.StatusNotFound)
			return
		}
		first := 0
		if _, err := fmt.Sscanf(r.Header.Get("Range"), "bytes=%d-", &first); err == nil && first > 0 {
			w.Header().Set("Content-Range", fmt.Sprintf("bytes %d-%d/%d", first, len(content)-1, len(content)))
			w.Header().Set("Content-Length", fmt.Sprint(len(content)-first))
			w.WriteHeader(http.StatusPartialContent)
		} else {
			w.Header().Set("Content-Length", fmt.Sprint(len(content)))
		}
		_, _ = w.Write(content[first:min(first+after, len(content))])
		if first+after < len(content) {
			w.(http.Flusher).Flush()
			panic(http.ErrAbortHandler)
		}
	}), reads
}

func TestAnObjectIsReadOnWhereItsConnectionBroke(t *testing.T) {
	content := bytes.Repeat([]byte("0123456789abcdef"), 64<<10) // 1 MiB
	addr, reads := breaking(t, content, 300<<10, false)
	from, ok := emulated(t, addr).(opener)
	if !ok {
		t.Fatal("a GCS source opens nothing")
	}
	got, err := contentOf(t, from, "in/big.bin")
	if err != nil || got != string(content) {
		t.Errorf("%d bytes of %d, or others, %v", len(got), len(content), err)
	}
	if n := reads.Load(); n != 4 {
		t.Errorf("%d reads, want 4", n)
	}
	addr, _ = breaking(t, content, 300<<10, true)
	if _, err := contentOf(t, emulated(t, addr).(opener), "in/big.bin"); !errors.Is(err, sources.ErrRefused) || !strings.Contains(err.Error(), "replaced while it was read") {
		t.Errorf("another generation: %v", err)
	}
}

func TestFilesBesideAnObject(t *testing.T) {
	addr := gcsServer(t).Addr
	upload(t, addr, []byte("small"))
	from := emulated(t, addr).(opener)
	if got, err := contentOf(t, from, "./suite.yaml"); got != "small" || err != nil {
		t.Errorf("%q, %v", got, err)
	}
	if _, err := contentOf(t, from, "gone.csv"); !errors.Is(err, sources.ErrNotFound) || !strings.Contains(err.Error(), "gs://plans/dir/gone.csv") {
		t.Errorf("an object that is not there: %v", err)
	}
	for _, name := range []string{"../dir/suite.yaml", "/dir/suite.yaml"} {
		if _, err := contentOf(t, from, name); !errors.Is(err, sources.ErrRefused) {
			t.Errorf("%s: %v", name, err)
		}
	}
}
