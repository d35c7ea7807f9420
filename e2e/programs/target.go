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
	maxRuns     = 256     // run ids, further ones go under "other"
	maxBody     = 16 << 20
)

// Request headers by which a plan may say more of an arrival: which node sends
// it, of which run it is (${run_id}), which arrival (${iteration}), and when it
// was sent (${timestamp}).
const (
	nodeHeader      = "X-Volley-Node"
	runHeader       = "X-Volley-Run"
	iterationHeader = "X-Volley-Iteration"
	sentHeader      = "X-Volley-Sent"
)

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
	NS        int64  `json:"ns"`
	Source    string `json:"source"`
	Run       string `json:"run,omitempty"`
	Iteration *int64 `json:"n,omitempty"`
	SentMS    int64  `json:"sent_ms,omitempty"`
}

// target counts. One mutex is enough: 50 000 requests a second hold it for
// a few per cent of the time.
type target struct {
	now func() time.Time

	mu    sync.Mutex
	stats targetStats
	runs  map[string]string // each run id once, however many arrivals have it
}

func newTarget(now func() time.Time) *target {
	t := &target{now: now}
	t.reset()
	return t
}

func runTarget(ctx context.Context, args []string) error {
	flags := flag.NewFlagSet("target", flag.ContinueOnError)
	listen := flags.String("listen", ":8000", "address to listen on")
	kernel := flags.Bool("kernel-time", false, "count a request as arrived when the kernel got it, not when this process did")
	if err := flags.Parse(args); err != nil {
		return err
	}
	t := newTarget(time.Now)
	listener, err := net.Listen("tcp", *listen)
	if err != nil {
		return err
	}
	if *kernel {
		listener = stamped(listener)
	}
	return serveOn(ctx, listener, t, t.connected)
}

func (t *target) reset() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.stats = targetStats{Sources: map[string]*sourceStats{}, Requests: map[string]int64{}}
	t.runs = map[string]string{}
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

// arrived is when a request did: by the kernel if its connection knows.
func (t *target) arrived(r *http.Request) time.Time {
	if c, ok := r.Context().Value(connKey{}).(interface{ arrived() time.Time }); ok {
		if at := c.arrived(); !at.IsZero() {
			return at
		}
	}
	return t.now()
}

func (t *target) count(r *http.Request) {
	now := t.arrived(r).UnixNano()
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
		t.stats.Arrivals = append(t.stats.Arrivals, t.arrival(now, addr, r.Header))
	}
	s.seen(r.Header.Get(nodeHeader))
}

// arrival is what is kept of one request. The caller holds the mutex.
func (t *target) arrival(now int64, addr string, h http.Header) arrival {
	a := arrival{NS: now, Source: addr, Run: t.run(h.Get(runHeader))}
	if n, err := strconv.ParseInt(h.Get(iterationHeader), 10, 64); err == nil {
		a.Iteration = &n
	}
	if ms, err := strconv.ParseInt(h.Get(sentHeader), 10, 64); err == nil {
		a.SentMS = ms
	}
	return a
}

func (t *target) run(id string) string {
	if id == "" {
		return ""
	}
	known, ok := t.runs[id]
	if !ok && len(t.runs) >= maxRuns {
		return "other"
	}
	if !ok {
		known = strings.Clone(id)
		t.runs[known] = known
	}
	return known
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
