package control

import (
	"bufio"
	"compress/gzip"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"volley/page"
	"volley/stats"
)

// growing is an app whose series has one point more in each View.
func growing() *fakeApp {
	var views atomic.Int64
	return &fakeApp{view: func() page.View {
		result := &stats.Result{RunID: "run-1"}
		for i := range views.Add(1) {
			result.Series = append(result.Series, stats.SeriesPoint{T: float64(i), Started: 10 * i})
		}
		return page.View{Plan: "shop", Result: result}
	}}
}

type sentEvent struct {
	Plan   string
	Series struct {
		From int
		Rows [][]any
	}
}

// ask sends a GET of a path on a connection in memory, and returns what comes.
func ask(t *testing.T, conn net.Conn, path string, headers ...string) *http.Response {
	t.Helper()
	request := "GET " + path + " HTTP/1.1\r\nHost: volley\r\n" + strings.Join(append(headers, "", ""), "\r\n")
	if _, err := io.WriteString(conn, request); err != nil {
		t.Fatal(err)
	}
	response, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil {
		t.Fatal(err)
	}
	return response
}

// next is the event that comes next, false at the end of the stream.
func next(t *testing.T, from *bufio.Reader) (e sentEvent, ok bool) {
	t.Helper()
	line, err := from.ReadString('\n')
	if err != nil {
		return e, false
	}
	data, isData := strings.CutPrefix(line, "data: ")
	if blank, err := from.ReadString('\n'); !isData || blank != "\n" || err != nil {
		t.Fatalf("no event: %q, then %q (%v)", line, blank, err)
	}
	if err := json.Unmarshal([]byte(data), &e); err != nil {
		t.Fatal(err)
	}
	return e, true
}

// A stream has an event a second, for longer than any deadline of requests; each
// says of the series only what is new; the last is of the moment of the end.
func TestEvents(t *testing.T) {
	for _, coding := range []string{"", "gzip"} {
		synctest.Test(t, func(t *testing.T) {
			took, err := during(t, server(t, growing(), nil), func(p *pipes) {
				response := ask(t, p.dial(), "/events", "Accept-Encoding: "+coding)
				if got := response.Header.Get("Content-Type"); got != "text/event-stream" || response.Header.Get("Content-Encoding") != coding {
					t.Errorf("%q, encoded %q, want %q", got, response.Header.Get("Content-Encoding"), coding)
				}
				reader := bufio.NewReader(response.Body)
				if coding == "gzip" {
					body, err := gzip.NewReader(reader)
					if err != nil {
						t.Fatal(err)
					}
					reader = bufio.NewReader(body)
				}
				began := time.Now()
				for i := range 300 {
					e, ok := next(t, reader)
					if !ok || e.Plan != "shop" || e.Series.From != i || len(e.Series.Rows) != 1 || e.Series.Rows[0][2] != float64(10*i) {
						t.Fatalf("event %d: %v, %+v, want only point %d", i, ok, e, i)
					}
					if since := time.Since(began); since != time.Duration(i)*time.Second {
						t.Fatalf("event %d came after %s", i, since)
					}
				}
			})
			if took > defaultDrain || err != nil {
				t.Errorf("the server ended after %s: %v", took, err)
			}
		})
	}
}

func TestLastEventIsOfTheEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		events := make(chan sentEvent, 10)
		app := growing()
		_, err := during(t, server(t, app, nil), func(p *pipes) {
			from := bufio.NewReader(ask(t, p.dial(), "/events").Body)
			go func() {
				for e, ok := next(t, from); ok; e, ok = next(t, from) {
					events <- e
				}
				close(events)
			}()
			synctest.Wait() // the first has been read; the next second is not yet over
		})
		var all []sentEvent
		for e := range events {
			all = append(all, e)
		}
		if err != nil || len(all) != 2 || all[1].Series.From != 1 || len(all[1].Series.Rows) != 1 {
			t.Errorf("%+v (%v), want the first and one more at the end", all, err)
		}
	})
}

// Who reads nothing loses its place, and there is a place for so many.
func TestViewersAreBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := server(t, growing(), nil)
		_, err := during(t, s, func(p *pipes) {
			for range maxViewers {
				ask(t, p.dial(), "/events") // and never reads on
			}
			refused := ask(t, p.dial(), "/events")
			if body, _ := io.ReadAll(refused.Body); refused.StatusCode != 503 || refused.Header.Get("Retry-After") != "2" || !strings.Contains(string(body), fmt.Sprint(maxViewers)) {
				t.Errorf("one more viewer: %d, %s", refused.StatusCode, body)
			}
			<-time.After(eventWrite + 2*viewEvery)
			synctest.Wait()
			if n := len(s.live.viewers); n != 0 {
				t.Errorf("%d viewers that read nothing have kept their places", n)
			}
		})
		if err != nil {
			t.Error(err)
		}
	})
}

func TestEventsAskForTheToken(t *testing.T) {
	base := serving(t, server(t, growing(), func(o *Options) { o.Token, o.HealthAuth = "t0ken", true }).Run)
	if got := call(t, "GET", base+"/events", "", "Authorization:Bearer guessed"); got.status != 401 {
		t.Errorf("without the token: %d", got.status)
	}
	if got := call(t, "GET", base+"/events?token=t0ken", ""); got.status != 401 {
		t.Errorf("with the token in the address: %d", got.status)
	}
	for _, test := range []struct {
		change func(*Options)
		want   string
	}{
		{nil, "none"}, {func(o *Options) { o.HealthAuth = true }, "none"}, {func(o *Options) { o.Token = "t0ken" }, "change"},
		{func(o *Options) { o.Token, o.HealthAuth = "t0ken", true }, "all"},
	} {
		page := call(t, "GET", serving(t, server(t, growing(), test.change).Run)+"/", "").body
		if !strings.Contains(page, `data-token="`+test.want+`"`) || strings.Contains(page, "t0ken") {
			t.Errorf("the page does not say that the token is asked for %q, or says the token", test.want)
		}
	}
}

func TestPagesAreCompressedForWhoTakesIt(t *testing.T) {
	base := serving(t, server(t, growing(), nil).Run)
	for accepted, want := range map[string]string{"": "", "gzip": "gzip", "br, gzip;q=0.5": "gzip", "gzip;q=0": "", "identity": ""} {
		request, err := http.NewRequestWithContext(t.Context(), "GET", base+"/", http.NoBody)
		if err != nil {
			t.Fatal(err)
		}
		request.Header.Set("Accept-Encoding", accepted)
		response, err := (&http.Transport{DisableCompression: true}).RoundTrip(request)
		if err != nil {
			t.Fatal(err)
		}
		size, err := io.Copy(io.Discard, response.Body)
		response.Body.Close()
		if got := response.Header.Get("Content-Encoding"); got != want || err != nil || (size < 20_000) != (want == "gzip") {
			t.Errorf("accepting %q: %q, %d bytes (%v), want %q", accepted, got, size, err, want)
		}
	}
}
