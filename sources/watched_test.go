package sources_test

import (
	"context"
	"errors"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"volley/sources"
)

// watcher is a source that can be watched.
type watcher interface {
	Watch(trouble string) *sources.Watch
}

// hurry is between two looks in these tests; GCS is asked every 10 s else.
const hurry = 100 * time.Millisecond

func (b backend) testWatch(t *testing.T) {
	source := b.holding(t, []byte(plan))
	first, err := source.Fetch(within(t, 10*time.Second))
	if err != nil {
		t.Fatal(err)
	}
	w := sources.Hurry(source.(watcher).Watch(""), hurry)
	next := func(known string) (sources.Document, error) {
		t.Helper()
		doc, err := w.Next(within(t, 10*time.Second), known)
		if errors.Is(err, context.DeadlineExceeded) {
			t.Fatal("no news within 10 s")
		}
		return doc, err
	}
	quiet := func(known string) {
		t.Helper()
		if doc, err := w.Next(within(t, 4*hurry), known); !errors.Is(err, context.DeadlineExceeded) {
			t.Fatalf("got %+v, %v; want no news", doc, err)
		}
	}
	quiet(first.Revision)

	b.revised(t, []byte(plan+"# 2"))
	b.revised(t, []byte(plan+"# 3"))
	third, err := next(first.Revision)
	if err == nil && string(third.Bytes) == plan+"# 2" { // it was that fast
		third, err = next(third.Revision)
	}
	if err != nil || string(third.Bytes) != plan+"# 3" || third.Origin != b.origin {
		t.Fatalf("got %q from %q, %v; want the newest", third.Bytes, third.Origin, err)
	}
	fetched, err := source.Fetch(within(t, 10*time.Second))
	if err != nil || fetched.Revision != third.Revision {
		t.Errorf("Fetch says revision %q (%v), Watch %q", fetched.Revision, err, third.Revision)
	}
	quiet(third.Revision)

	b.revised(t, []byte(" \n"))
	blank, err := next(third.Revision)
	if !errors.Is(err, sources.ErrEmpty) || blank.Revision == "" || blank.Revision == third.Revision {
		t.Fatalf("got revision %q, %v; want a new one that is empty", blank.Revision, err)
	}
	quiet(blank.Revision)

	b.missing(t)
	if gone, err := next(blank.Revision); !errors.Is(err, sources.ErrNotFound) || gone.Revision != "" || !strings.HasPrefix(err.Error(), "fetch "+b.origin) {
		t.Fatalf("got %+v, %v; want that it is gone", gone, err)
	}
	quiet(blank.Revision)

	b.revised(t, []byte(plan+"# 4"))
	if fourth, err := next(blank.Revision); err != nil || string(fourth.Bytes) != plan+"# 4" {
		t.Fatalf("got %q, %v; want what is there now", fourth.Bytes, err)
	}
}

// testWatchAway: a server that goes and comes back with something new.
func (b backend) testWatchAway(t *testing.T) {
	source, back := b.away(t)
	news := make(chan sources.Document, 1)
	w := sources.Hurry(source.(watcher).Watch(""), hurry)
	ctx := within(t, 30*time.Second)
	go func() {
		doc, err := w.Next(ctx, "before")
		if errors.Is(err, sources.ErrNotFound) { // it answers before the document is back
			doc, err = w.Next(ctx, "before")
		}
		if err != nil {
			t.Error(err)
		}
		news <- doc
	}()
	select {
	case doc := <-news:
		t.Fatalf("news of a server that is away: %+v", doc)
	case <-time.After(500 * time.Millisecond):
	}
	back()
	if doc := <-news; string(doc.Bytes) != plan {
		t.Errorf("got %q after the server came back", doc.Bytes)
	}
}

// TestGCSThatUnderstandsTheConditionIsBelieved: the emulator does not.
func TestGCSThatUnderstandsTheConditionIsBelieved(t *testing.T) {
	asked := make(chan string, 100)
	addr := before(t, gcsServer(t).Addr, func(w http.ResponseWriter, r *http.Request, _ http.Handler) {
		select {
		case asked <- r.URL.Query().Get("ifGenerationNotMatch"):
		default:
		}
		w.WriteHeader(http.StatusNotModified)
	})
	w := sources.Hurry(emulated(t, addr).(watcher).Watch(""), hurry)
	if doc, err := w.Next(within(t, 5*hurry), "17"); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("got %+v, %v; want no news", doc, err)
	}
	if condition := <-asked; condition != "17" {
		t.Errorf("asked with the condition %q, want the generation known", condition)
	}
}

// TestFileThatIsBeingWrittenIsNoNews until it rests.
func TestFileThatIsBeingWrittenIsNoNews(t *testing.T) {
	path := filepath.Join(t.TempDir(), "plan.yaml")
	put(t, path, []byte(plan), 0o644)
	source := fileSource(t, path)
	first, err := source.Fetch(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	file, err := os.OpenFile(path, os.O_WRONLY|os.O_APPEND, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	written := make(chan struct{})
	go func() {
		defer close(written)
		for range 20 {
			if _, err := file.WriteString("# more\n"); err != nil {
				t.Error(err)
			}
			<-time.After(hurry / 4)
		}
	}()
	w := sources.Hurry(source.(watcher).Watch(""), hurry)
	doc, err := w.Next(within(t, 10*time.Second), first.Revision)
	<-written
	if err != nil || string(doc.Bytes) != plan+strings.Repeat("# more\n", 20) {
		t.Errorf("got %q, %v; want all that was written", doc.Bytes, err)
	}
}

func TestPipeCannotBeWatched(t *testing.T) {
	path := filepath.Join(t.TempDir(), "pipe")
	if err := syscall.Mkfifo(path, 0o600); err != nil {
		t.Fatal(err)
	}
	_, err := fileSource(t, path).(watcher).Watch("").Next(within(t, 10*time.Second), "")
	if !errors.Is(err, sources.ErrRefused) || !strings.Contains(err.Error(), "no regular file") {
		t.Errorf("got %v, want that it is no regular file", err)
	}
}
