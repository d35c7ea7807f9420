package sources_test

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"volley/sources"
)

func newStore(t *testing.T, addr string, heard *[]error) *sources.Store {
	t.Helper()
	config := sources.StoreConfig{EmulatorHost: addr}
	if heard != nil {
		config.OnRetry = func(err error) { *heard = append(*heard, err) }
	}
	store, err := sources.NewStore(config)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := store.Close(); err != nil {
			t.Error(err)
		}
	})
	return store
}

func at(object string) sources.Place { return sources.Place{Bucket: bucket, Object: object} }

func content(body string) sources.Content {
	return sources.Content{Type: "application/json", Body: []byte(body)}
}

func TestStoreKeepsWhatIsWritten(t *testing.T) {
	server := gcsServer(t)
	makeBucket(t, server.Addr)
	store, ctx := newStore(t, server.Addr, nil), within(t, 10*time.Second)
	before := time.Now()
	first, err := store.Put(ctx, at("keep/a.json"), content(`{"n":1}`))
	if err != nil {
		t.Fatal(err)
	}
	second, err := store.Put(ctx, at("keep/a.json"), content(`{"n":2}`))
	if err != nil || second.Generation == first.Generation {
		t.Fatalf("written over: %v, generation %d, before it %d", err, second.Generation, first.Generation)
	}
	if d := second.At.Sub(before); d < -time.Second || d > 10*time.Second {
		t.Errorf("written %s after the test began, by the server's clock", d)
	}
	if body, err := store.Get(ctx, at("keep/a.json"), 7); err != nil || string(body) != `{"n":2}` {
		t.Errorf("got %q, %v", body, err)
	}
	if _, err := store.Get(ctx, at("keep/a.json"), 6); !errors.Is(err, sources.ErrTooLarge) || !strings.Contains(err.Error(), "read gs://plans/keep/a.json") {
		t.Errorf("a byte too long: %v", err)
	}
	if err := store.Delete(ctx, at("keep/a.json")); err != nil {
		t.Error(err)
	}
	if _, err := store.Get(ctx, at("keep/a.json"), 7); !errors.Is(err, sources.ErrNotFound) {
		t.Errorf("it is read after it was deleted: %v", err)
	}
	if err := store.Delete(ctx, at("keep/a.json")); err != nil {
		t.Errorf("deleting what is not there: %v", err)
	}
}

func TestStoreWritesANewObjectOnce(t *testing.T) {
	server := gcsServer(t)
	makeBucket(t, server.Addr)
	store, ctx := newStore(t, server.Addr, nil), within(t, 10*time.Second)
	mine := content("mine")
	mine.New = true
	if _, err := store.Put(ctx, at("once/start"), mine); err != nil {
		t.Fatal(err)
	}
	theirs := content("theirs")
	theirs.New = true
	if _, err := store.Put(ctx, at("once/start"), theirs); !errors.Is(err, sources.ErrExists) {
		t.Errorf("got %v, want that it exists", err)
	}
	if body, err := store.Get(ctx, at("once/start"), 10); err != nil || string(body) != "mine" {
		t.Errorf("got %q, %v", body, err)
	}
}

func TestStoreListsByPattern(t *testing.T) {
	server := gcsServer(t)
	makeBucket(t, server.Addr)
	store, ctx := newStore(t, server.Addr, nil), within(t, 20*time.Second)
	for _, name := range []string{"list/b.json", "list/a.json", "list/a.txt", "list/[a].json", "list/deep/a.json"} {
		if _, err := store.Put(ctx, at(name), content("x")); err != nil {
			t.Fatal(err)
		}
	}
	for pattern, want := range map[string][]string{
		"list/*.json": {"list/[a].json", "list/a.json", "list/b.json"}, "list/a*": {"list/a.json", "list/a.txt"},
		"list/[a]*": {"list/[a].json"}, "list/*/a.json": {"list/deep/a.json"}, "none/*": nil,
	} {
		found, err := store.List(ctx, at(pattern), 10)
		var names []string
		for _, p := range found {
			names = append(names, p.Object)
		}
		if err != nil || !slices.Equal(names, want) {
			t.Errorf("%s: got %q, %v, want %q", pattern, names, err, want)
		}
	}
	if _, err := store.List(ctx, at("list/*.json"), 2); !errors.Is(err, sources.ErrTooLarge) {
		t.Errorf("three of at most two: %v", err)
	}
}

func TestStoreTriesAgainAndSaysWhatIsWrong(t *testing.T) {
	server := gcsServer(t)
	makeBucket(t, server.Addr)
	var calls atomic.Int32
	shaky := before(t, server.Addr, func(w http.ResponseWriter, r *http.Request, pass http.Handler) {
		if r.Method == http.MethodPost && calls.Add(1) <= 2 {
			http.Error(w, "try later", http.StatusServiceUnavailable)
			return
		}
		pass.ServeHTTP(w, r)
	})
	var heard []error
	if _, err := newStore(t, shaky, &heard).Put(within(t, 10*time.Second), at("shaky"), content("x")); err != nil {
		t.Fatal(err)
	}
	if len(heard) != 2 || !errors.Is(heard[0], sources.ErrUnreachable) || !strings.HasPrefix(heard[0].Error(), "write gs://plans/shaky: ") {
		t.Errorf("heard of %v, want two times 503", heard)
	}
	for name, c := range map[string]struct {
		addr string
		to   sources.Place
		kind error
		says string
	}{
		"forbidden": {denying(t, server.Addr, "/o"), at("a"), sources.ErrForbidden, `grant the role roles/storage.objectUser on bucket "plans"`},
		"no bucket": {server.Addr, sources.Place{Bucket: "no-such-bucket", Object: "a"}, sources.ErrNotFound, `bucket "no-such-bucket" does not exist`},
	} {
		_, err := newStore(t, c.addr, nil).Put(within(t, 5*time.Second), c.to, content("x"))
		if !errors.Is(err, c.kind) || !strings.Contains(err.Error(), c.says) {
			t.Errorf("%s: got %v, want %q", name, err, c.says)
		}
	}
	silent := before(t, server.Addr, func(_ http.ResponseWriter, r *http.Request, _ http.Handler) {
		io.Copy(io.Discard, r.Body) // else the server does not see that the client has gone
		<-r.Context().Done()
	})
	started := time.Now()
	_, err := newStore(t, silent, nil).Put(within(t, time.Second), at("a"), content("x"))
	if !errors.Is(err, sources.ErrTimeout) || time.Since(started) > 3*time.Second {
		t.Errorf("a silent server: %v after %s", err, time.Since(started))
	}
}

func TestParsePlace(t *testing.T) {
	if p, err := sources.ParsePlace("gs://b/dir/o.json"); err != nil || p != (sources.Place{Bucket: "b", Object: "dir/o.json"}) || fmt.Sprint(p) != "gs://b/dir/o.json" {
		t.Errorf("got %v, %v", p, err)
	}
	for _, text := range []string{"b/o", "gs://b", "gs://b/", "gs:///o", "gs://"} {
		if _, err := sources.ParsePlace(text); err == nil || !strings.Contains(err.Error(), "want gs://bucket/object") {
			t.Errorf("%q: %v", text, err)
		}
	}
}
