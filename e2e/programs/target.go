package main

import (
	"context"
	"encoding/json"
	"flag"
	"io"
	"net"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"time"
)

// Bounds of what a target remembers; what is beyond them is still counted.
const (
	maxArrivals = 1 << 20 // single arrivals with their times
	maxSources  = 1024    // source addresses, further ones go under "other"
	maxPaths    = 256     // method and path pairs, likewise
	maxNodes    = 16      // node names seen from one source
	maxBody     = 16 << 20
)

// nodeHeader is the request header by which a plan may say which node sends.
const nodeHeader = "X-Volley-Node"

// targetStats is the answer of GET /_stats. Times are Unix nanoseconds of this
// machine's wall clock, 0 = never.
type targetStats struct {
	Total    int64                   `json:"total"`
	FirstNS  int64                   `json:"first_ns"`
	LastNS   int64                   `json:"last_ns"`
	Sources  map[string]*sourceStats `json:"sources"`
	Requests map[string]int64        `json:"requests"` // by "METHOD path"
	// Arrivals, only with ?arrivals=1: the first maxArrivals ones in order of arrival.
	Arrivals []arrival `json:"arrivals,omitempty"`
}

type sourceStats struct {
	Total             int64    `json:"total"`
	FirstNS           int64    `json:"first_ns"`
	LastNS            int64    `json:"last_ns"`
	Connections       int64    `json:"connections"`
	FirstConnectionNS int64    `json:"first_connection_ns"`
	Nodes             []string `json:"nodes,omitempty"`
}

type arrival struct {
	NS     int64  `json:"ns"`
	Source string `json:"source"`
}

// target counts. One mutex is enough: 50 000 requests a second hold it for
// a few per cent of the time.
type target struct {
	now func() time.Time

	mu    sync.Mutex
	stats targetStats
}

func newTarget(now func() time.Time) *target {
	t := &target{now: now}
	t.reset()
	return t
}

func runTarget(ctx context.Context, args []string) error {
	flags := flag.NewFlagSet("target", flag.ContinueOnError)
	listen := flags.String("listen", ":8000", "address to listen on")
	if err := flags.Parse(args); err != nil {
		return err
	}
	t := newTarget(time.Now)
	return serve(ctx, *listen, t, t.connected)
}

func (t *target) reset() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.stats = targetStats{Sources: map[string]*sourceStats{}, Requests: map[string]int64{}}
}

// source finds or makes the entry of an address. The caller holds the mutex.
func (t *target) source(addr string) (string, *sourceStats) {
	if s, ok := t.stats.Sources[addr]; ok {
		return addr, s
	}
	if len(t.stats.Sources) >= maxSources {
		addr = "other"
	}
	s, ok := t.stats.Sources[addr]
	if !ok {
		s = &sourceStats{}
		t.stats.Sources[addr] = s
	}
	return addr, s
}

func (t *target) connected(c net.Conn) {
	now := t.now().UnixNano()
	t.mu.Lock()
	defer t.mu.Unlock()
	_, s := t.source(host(c.RemoteAddr().String()))
	s.Connections++
	if s.FirstConnectionNS == 0 {
		s.FirstConnectionNS = now
	}
}

func (t *target) count(r *http.Request) {
	now := t.now().UnixNano()
	request := r.Method + " " + r.URL.Path
	t.mu.Lock()
	defer t.mu.Unlock()
	addr, s := t.source(host(r.RemoteAddr))
	for _, n := range []struct{ total, first, last *int64 }{
		{&t.stats.Total, &t.stats.FirstNS, &t.stats.LastNS}, {&s.Total, &s.FirstNS, &s.LastNS},
	} {
		*n.total++
		*n.last = now
		if *n.first == 0 {
			*n.first = now
		}
	}
	if _, ok := t.stats.Requests[request]; !ok && len(t.stats.Requests) >= maxPaths {
		request = "other"
	}
	t.stats.Requests[request]++
	if len(t.stats.Arrivals) < maxArrivals {
		t.stats.Arrivals = append(t.stats.Arrivals, arrival{NS: now, Source: addr})
	}
	s.seen(r.Header.Get(nodeHeader))
}

func (s *sourceStats) seen(node string) {
	if node == "" || len(s.Nodes) >= maxNodes {
		return
	}
	for _, known := range s.Nodes {
		if known == node {
			return
		}
	}
	s.Nodes = append(s.Nodes, node)
}

// ServeHTTP answers /_stats, /_reset and /_fetch, which are not counted, and
// anything else as a counted request: 200, unless the path says otherwise by
// /status/CODE, and at once, unless it says /delay/DURATION.
func (t *target) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	switch r.URL.Path {
	case "/_stats":
		t.writeStats(w, r.URL.Query().Has("arrivals"))
	case "/_reset":
		t.reset()
	case "/_fetch":
		writeFetch(r.Context(), w, r.URL.Query().Get("url"))
	default:
		t.count(r)
		answer(w, r)
	}
}

func (t *target) writeStats(w http.ResponseWriter, arrivals bool) {
	t.mu.Lock()
	shown := t.stats
	if !arrivals {
		shown.Arrivals = nil
	}
	data, err := json.Marshal(shown)
	t.mu.Unlock()
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	_, _ = w.Write(data)
}

func answer(w http.ResponseWriter, r *http.Request) {
	if r.ContentLength != 0 {
		_, _ = io.Copy(io.Discard, io.LimitReader(r.Body, maxBody))
	}
	status, delay := wish(r.URL.Path)
	if delay > 0 {
		select {
		case <-time.After(delay):
		case <-r.Context().Done():
			return
		}
	}
	w.WriteHeader(status)
	_, _ = io.WriteString(w, "ok\n")
}

// wish reads status and delay from a path such as /delay/50ms/status/503.
func wish(path string) (status int, delay time.Duration) {
	status = http.StatusOK
	parts := strings.Split(path, "/")
	for i := 0; i+1 < len(parts); i++ {
		switch parts[i] {
		case "delay":
			if d, err := time.ParseDuration(parts[i+1]); err == nil && d > 0 {
				delay = min(d, time.Minute)
			}
		case "status":
			if code, err := strconv.Atoi(parts[i+1]); err == nil && code >= 200 && code <= 599 {
				status = code
			}
		}
	}
	return status, delay
}

// writeFetch gets url from inside this container, so that a test can tell who
// reaches whom: {"status":200,"error":"","ms":0.4}.
func writeFetch(ctx context.Context, w http.ResponseWriter, url string) {
	var out struct {
		Status int     `json:"status"`
		Error  string  `json:"error"`
		MS     float64 `json:"ms"`
	}
	client := &http.Client{Timeout: time.Second, Transport: &http.Transport{DisableKeepAlives: true}}
	began := time.Now()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err == nil {
		var response *http.Response
		if response, err = client.Do(request); err == nil {
			out.Status = response.StatusCode
			_ = response.Body.Close()
		}
	}
	if err != nil {
		out.Error = err.Error()
	}
	out.MS = float64(time.Since(began).Microseconds()) / 1000
	_ = json.NewEncoder(w).Encode(out)
}
