package sources_test

import (
	"bytes"
	"context"
	"errors"
	"io/fs"
	"os"
	"strings"
	"testing"
	"time"

	"volley/sources"
)

const plan = "version: \"1.0\"\nload:\n  model: rps\n"

// fetcher is what all sources have in common.
type fetcher interface {
	Fetch(context.Context) (sources.Document, error)
}

// backend is a place that documents are kept in, for the suite.
type backend struct {
	// holding returns a source whose document has this content.
	holding func(t *testing.T, content []byte) fetcher
	// origin is how holding's document names its place.
	origin string
	// revised changes what holding's source reads, and returns that source.
	revised func(t *testing.T, content []byte) fetcher
	missing func(t *testing.T) fetcher
	// forbidden returns a source that may not be read by us.
	forbidden func(t *testing.T) fetcher
	// refusesLarge says that content of 512 KiB and a byte cannot even be stored; it tries.
	refusesLarge func(t *testing.T, content []byte) bool
	// silent returns a source that is reached but never answers.
	silent func(t *testing.T) fetcher
	// away returns a source whose server is gone, and what brings it back; nil: no server.
	away func(t *testing.T) (source fetcher, back func())
	// says are words that a message must have, by case.
	says map[string][]string
}

// TestSources is the contract of every source, against the real thing.
func TestSources(t *testing.T) {
	for name, open := range map[string]func(*testing.T) backend{"file": fileBackend, "consul-kv": consulBackend, "gcs": gcsBackend} {
		t.Run(name, func(t *testing.T) {
			b := open(t)
			t.Run("found", b.testFound)
			t.Run("missing", b.testMissing)
			t.Run("forbidden", b.testForbidden)
			t.Run("empty", b.testEmpty)
			t.Run("as large as can be", b.testLargest)
			t.Run("too large", b.testTooLarge)
			t.Run("slow beyond the deadline", b.testSlow)
			t.Run("cancelled", b.testCancelled)
			t.Run("watched", b.testWatch)
			if b.away != nil {
				t.Run("server away", b.testAway)
				t.Run("server away while watched", b.testWatchAway)
				t.Run("server away, then back", b.testBack)
			}
		})
	}
}

func within(t *testing.T, limit time.Duration) context.Context {
	ctx, cancel := context.WithTimeout(t.Context(), limit)
	t.Cleanup(cancel)
	return ctx
}

// fails fetches within limit and wants an error of that kind, within the time
// that a permanent error or the limit leaves, and with the case's words.
func (b backend) fails(t *testing.T, source fetcher, limit time.Duration, kind error, permanent bool, which string) {
	t.Helper()
	started := time.Now()
	doc, err := source.Fetch(within(t, limit))
	took := time.Since(started)
	if !errors.Is(err, kind) {
		t.Fatalf("got %+v and error %v, want one that is %q", doc, err, kind)
	}
	if sources.Permanent(err) != permanent {
		t.Errorf("Permanent is %t for: %v", !permanent, err)
	}
	for _, words := range append(b.says[which], "fetch "+b.origin) {
		if !strings.Contains(err.Error(), words) {
			t.Errorf("message lacks %q: %v", words, err)
		}
	}
	if permanent && took > limit/2 {
		t.Errorf("a permanent error took %s", took)
	}
	if took > limit+time.Second {
		t.Errorf("it took %s, with a limit of %s", took, limit)
	}
	t.Log(err)
}

func (b backend) testFound(t *testing.T) {
	first, err := b.holding(t, []byte(plan)).Fetch(within(t, 10*time.Second))
	if err != nil {
		t.Fatal(err)
	}
	if string(first.Bytes) != plan || first.Origin != b.origin || first.Revision == "" {
		t.Errorf("got %q from %q revision %q; want the plan from %q and a revision", first.Bytes, first.Origin, first.Revision, b.origin)
	}
	changed := b.revised(t, []byte(plan+"#"))
	second, err := changed.Fetch(within(t, 10*time.Second))
	if err != nil {
		t.Fatal(err)
	}
	third, err := changed.Fetch(within(t, 10*time.Second))
	if err != nil {
		t.Fatal(err)
	}
	if string(second.Bytes) != plan+"#" || second.Revision == first.Revision || second.Revision != third.Revision {
		t.Errorf("revisions %q, after a change %q, %q; want two different ones, the second twice", first.Revision, second.Revision, third.Revision)
	}
}

func (b backend) testMissing(t *testing.T) {
	b.fails(t, b.missing(t), 10*time.Second, sources.ErrNotFound, true, "missing")
}

func (b backend) testForbidden(t *testing.T) {
	b.fails(t, b.forbidden(t), 10*time.Second, sources.ErrForbidden, true, "forbidden")
}

func (b backend) testEmpty(t *testing.T) {
	b.fails(t, b.holding(t, nil), 10*time.Second, sources.ErrEmpty, true, "empty")
	b.fails(t, b.holding(t, []byte(" \n\t\n")), 10*time.Second, sources.ErrEmpty, true, "blank")
}

func (b backend) testLargest(t *testing.T) {
	content := bytes.Repeat([]byte("x"), sources.MaxDocument)
	doc, err := b.holding(t, content).Fetch(within(t, 10*time.Second))
	if err != nil || !bytes.Equal(doc.Bytes, content) {
		t.Errorf("got %d bytes, error %v; want all %d", len(doc.Bytes), err, len(content))
	}
}

func (b backend) testTooLarge(t *testing.T) {
	content := bytes.Repeat([]byte("x"), sources.MaxDocument+1)
	if b.refusesLarge != nil {
		if !b.refusesLarge(t, content) {
			t.Error("content of 512 KiB and a byte was stored")
		}
		return
	}
	b.fails(t, b.holding(t, content), 10*time.Second, sources.ErrTooLarge, true, "too large")
}

func (b backend) testSlow(t *testing.T) {
	b.fails(t, b.silent(t), 500*time.Millisecond, sources.ErrTimeout, false, "slow")
}

func (b backend) testCancelled(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	source := b.silent(t)
	time.AfterFunc(100*time.Millisecond, cancel)
	started := time.Now()
	_, err := source.Fetch(ctx)
	if !errors.Is(err, context.Canceled) || sources.Permanent(err) {
		t.Errorf("got %v, want one that is context.Canceled", err)
	}
	if took := time.Since(started); took > 2*time.Second {
		t.Errorf("it took %s to hear of the end", took)
	}
}

func (b backend) testAway(t *testing.T) {
	source, back := b.away(t)
	defer back()
	b.fails(t, source, 1500*time.Millisecond, sources.ErrUnreachable, false, "away")
}

func (b backend) testBack(t *testing.T) {
	source, back := b.away(t)
	done := make(chan struct{})
	go func() {
		defer close(done)
		back()
	}()
	doc, err := source.Fetch(within(t, 20*time.Second))
	<-done
	if err != nil || string(doc.Bytes) != plan {
		t.Errorf("got %q and %v after the server came back", doc.Bytes, err)
	}
}

// put writes a file as whoever runs the test.
func put(t *testing.T, path string, content []byte, mode fs.FileMode) {
	t.Helper()
	if err := os.WriteFile(path, content, mode); err != nil {
		t.Fatal(err)
	}
}
