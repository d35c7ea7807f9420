package sources

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net/http"
	"strconv"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hashicorp/consul/api"
)

// Hurry shortens the time between two looks, for the tests of this folder.
func Hurry(w *Watch, every time.Duration) *Watch {
	w.pace.every, w.pace.first = every, every
	return w
}

// scripted plays a Consul server in virtual time.
type scripted struct {
	mu     sync.Mutex
	asked  []string    // the index of each question
	at     []time.Time // and when it came
	answer func(question int, req *http.Request) (*http.Response, error)
}

func (s *scripted) RoundTrip(req *http.Request) (*http.Response, error) {
	s.mu.Lock()
	s.asked, s.at = append(s.asked, req.URL.Query().Get("index")), append(s.at, time.Now())
	question := len(s.asked)
	s.mu.Unlock()
	return s.answer(question, req)
}

func (s *scripted) count() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.asked)
}

func kvAnswer(status int, index uint64, body string) (*http.Response, error) {
	header := http.Header{"X-Consul-Index": {strconv.FormatUint(index, 10)}, "X-Consul-Lastcontact": {"0"}, "X-Consul-Knownleader": {"true"}}
	return &http.Response{StatusCode: status, Header: header, Body: io.NopCloser(bytes.NewReader([]byte(body)))}, nil
}

// found is Consul's answer with the value "plan".
func found(modified, index uint64) (*http.Response, error) {
	return kvAnswer(200, index, `[{"Key":"k","Value":"cGxhbg==","ModifyIndex":`+strconv.FormatUint(modified, 10)+`}]`)
}

// silent holds a question until its context ends.
func silent(req *http.Request) (*http.Response, error) {
	<-req.Context().Done()
	return nil, req.Context().Err()
}

func (s *scripted) watch(t *testing.T, retry func(error)) *Watch {
	t.Helper()
	client, err := api.NewClient(&api.Config{Address: "consul.invalid", HttpClient: &http.Client{Transport: s}})
	if err != nil {
		t.Fatal(err)
	}
	c, err := NewConsul(ConsulConfig{Client: client, Key: "k", OnRetry: retry})
	if err != nil {
		t.Fatal(err)
	}
	return c.Watch("")
}

// nothingFor waits for news that must not come.
func nothingFor(t *testing.T, d time.Duration, w *Watch, known string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), d)
	defer cancel()
	if doc, err := w.Next(ctx, known); !errors.Is(err, context.DeadlineExceeded) || ctx.Err() == nil {
		t.Fatalf("got %+v, %v; want nothing for %s", doc, err, d)
	}
}

func TestConsulIsAskedWithItsIndexAndAnewWhenThatGoesBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &scripted{answer: func(n int, req *http.Request) (*http.Response, error) {
			switch n {
			case 1:
				return found(7, 50)
			case 2: // restored from a copy
				return found(7, 20)
			case 3:
				return found(9, 21)
			}
			return silent(req)
		}}
		w := s.watch(t, nil)
		for _, want := range []string{"7", "9"} {
			doc, err := w.Next(t.Context(), map[string]string{"7": "", "9": "7"}[want])
			if err != nil || doc.Revision != want || string(doc.Bytes) != "plan" {
				t.Fatalf("got %+v, %v; want revision %s", doc, err, want)
			}
		}
		nothingFor(t, 5*time.Second, w, "9")
		if want := []string{"", "50", "", "21"}; len(s.asked) != 4 || s.asked[1] != want[1] || s.asked[2] != want[2] || s.asked[3] != want[3] {
			t.Errorf("asked with the indexes %q, want %q", s.asked, want)
		}
	})
}

// TestConsulIsNeverAskedInATightLoop: a server, or a proxy, that answers at once.
func TestConsulIsNeverAskedInATightLoop(t *testing.T) {
	for name, index := range map[string]uint64{"without an index": 0, "the same index": 7} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := &scripted{answer: func(int, *http.Request) (*http.Response, error) { return found(7, index) }}
				nothingFor(t, 60*time.Second, s.watch(t, nil), "7")
				if got := s.count(); got < 50 || got > 61 {
					t.Errorf("asked %d times in a minute, want about once a second and never more", got)
				}
			})
		})
	}
}

func TestConsulThatIsAwayIsAskedEverMoreRarely(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		heard := 0
		s := &scripted{answer: func(n int, req *http.Request) (*http.Response, error) {
			if n > 20 {
				return found(8, 60)
			}
			return nil, errors.New("connection refused")
		}}
		began := time.Now()
		doc, err := s.watch(t, func(error) { heard++ }).Next(t.Context(), "7")
		if err != nil || doc.Revision != "8" || heard != 20 {
			t.Fatalf("got %+v, %v after hearing of %d failures; want revision 8 after 20", doc, err, heard)
		}
		for i := 1; i < len(s.at); i++ {
			if gap := s.at[i].Sub(s.at[i-1]); gap < time.Second || gap > 15*time.Second {
				t.Errorf("question %d came %s after the one before, want 1 to 15 s", i+1, gap)
			}
		}
		if took := time.Since(began); took < 100*time.Second {
			t.Errorf("20 failures took %s: the wait does not grow", took)
		}
	})
}

func TestConsulThatHoldsAQuestionForEverIsAskedAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &scripted{answer: func(n int, req *http.Request) (*http.Response, error) {
			if n == 1 {
				return silent(req)
			}
			return found(8, 60)
		}}
		began := time.Now()
		if doc, err := s.watch(t, nil).Next(t.Context(), "7"); err != nil || doc.Revision != "8" {
			t.Fatalf("got %+v, %v", doc, err)
		}
		if took := time.Since(began); took < consulWait || took > consulWait+consulWait/16+11*time.Second {
			t.Errorf("the silent question was given up after %s", took)
		}
	})
}

// TestWatchTellsOnceThatThereIsNothing, and when there is again, even if it is
// what was known.
func TestWatchTellsOnceThatThereIsNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var mu sync.Mutex
		there := true
		set := func(on bool) { mu.Lock(); there = on; mu.Unlock() }
		s := &scripted{answer: func(int, *http.Request) (*http.Response, error) {
			mu.Lock()
			defer mu.Unlock()
			if there {
				return found(7, 0)
			}
			return kvAnswer(404, 0, "")
		}}
		w := s.watch(t, nil)
		nothingFor(t, 5*time.Second, w, "7")
		set(false)
		doc, err := w.Next(t.Context(), "7")
		if !errors.Is(err, ErrNotFound) || doc.Revision != "" {
			t.Fatalf("got %+v, %v; want that it is gone", doc, err)
		}
		nothingFor(t, time.Minute, w, "7")
		set(true)
		if doc, err := w.Next(t.Context(), "7"); err != nil || doc.Revision != "7" {
			t.Fatalf("got %+v, %v; want that it is back", doc, err)
		}
		nothingFor(t, time.Minute, w, "7")

		set(false)
		told, gone := s.watch(t, nil), err.Error()
		told.trouble = gone // by the leader before
		nothingFor(t, time.Minute, told, "7")
	})
}
