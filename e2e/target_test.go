package e2e

import (
	"fmt"
	"net/http"
	"testing"
	"time"
)

const targetPort = "8000/tcp"

// target is the counting server that nodes send their load to.
type target struct {
	*container
}

// targetStats is what a target counted; times are Unix nanoseconds, 0 = never.
type targetStats struct {
	Total    int64                  `json:"total"`
	FirstNS  int64                  `json:"first_ns"`
	LastNS   int64                  `json:"last_ns"`
	Sources  map[string]sourceStats `json:"sources"` // by address on ctl
	Requests map[string]int64       `json:"requests"`
	Arrivals []arrival              `json:"arrivals"`
}

// arrival is one request; what a plan has not said in a header is missing.
type arrival struct {
	NS        int64  `json:"ns"`
	Source    string `json:"source"`
	Run       string `json:"run"`
	Iteration *int64 `json:"n"`
	SentMS    int64  `json:"sent_ms"`
}

type sourceStats struct {
	Total             int64    `json:"total"`
	FirstNS           int64    `json:"first_ns"`
	LastNS            int64    `json:"last_ns"`
	Connections       int64    `json:"connections"`
	FirstConnectionNS int64    `json:"first_connection_ns"`
	Nodes             []string `json:"nodes"`
}

// target starts a counting server.
func (b *bench) target() *target {
	b.t.Helper()
	return b.targetWith()
}

// targetWith is target with flags of its own.
func (b *bench) targetWith(flags ...string) *target {
	b.t.Helper()
	c := b.create(containerSpec{
		name: "target", image: b.imageFor(programsImage), cmd: append([]string{"target"}, flags...), ports: []string{targetPort},
	})
	c.start()
	made := &target{c}
	made.waitServing(targetPort, "/_stats")
	return made
}

// waitServing waits until a GET is answered, with any status below 500.
func (c *container) waitServing(port, path string) {
	c.bench.t.Helper()
	eventually(c.bench.t, 20*time.Second, c.name+" serves", func() error {
		answer, err := ask(http.MethodGet, c.url(port)+path, "")
		if err == nil && answer.status >= 500 {
			err = fmt.Errorf("status %d: %s", answer.status, answer.body)
		}
		return err
	})
}

// base is the URL that plans name.
func (g *target) base() string { return fmt.Sprintf("http://%s:8000", g.ctlIP) }

func (g *target) stats() targetStats {
	g.bench.t.Helper()
	var out targetStats
	g.must("stats", askJSON(http.MethodGet, g.url(targetPort)+"/_stats?arrivals=1", "", &out))
	return out
}

// counts are stats without single arrivals, of which there may be a million.
func (g *target) counts() targetStats {
	g.bench.t.Helper()
	var out targetStats
	g.must("counts", askJSON(http.MethodGet, g.url(targetPort)+"/_stats", "", &out))
	return out
}

func (g *target) reset() {
	g.bench.t.Helper()
	_, err := ask(http.MethodPost, g.url(targetPort)+"/_reset", "")
	g.must("reset", err)
}

// fetch gets a URL from inside the target's container.
func (g *target) fetch(url string) (status int, failure string) {
	g.bench.t.Helper()
	var out struct {
		Status int    `json:"status"`
		Error  string `json:"error"`
	}
	g.must("fetch", askJSON(http.MethodGet, g.url(targetPort)+"/_fetch?url="+url, "", &out))
	return out.Status, out.Error
}

// from is what one node sent.
func (s targetStats) from(n *node) sourceStats { return s.Sources[n.ctlIP] }

// wantQuiet checks that nothing was ever requested.
func (g *target) wantQuiet() {
	g.bench.t.Helper()
	if stats := g.stats(); stats.Total != 0 {
		g.bench.t.Errorf("the target saw %d requests, want none: %v", stats.Total, stats.Requests)
	}
}

// wantStartTogether checks that every node sent, that none did before startAt,
// and that the first requests are within skew of each other. It returns the spread.
func wantStartTogether(t testing.TB, stats targetStats, nodes []*node, startAt time.Time, skew time.Duration) time.Duration {
	t.Helper()
	var first, last int64
	for _, n := range nodes {
		at := stats.from(n).FirstNS
		if at == 0 {
			t.Fatalf("the target saw no request of %s (%s)", n.name, n.ctlIP)
		}
		if early := startAt.Sub(time.Unix(0, at)); early > time.Millisecond {
			t.Errorf("%s sent its first request %v before start_at", n.name, early)
		}
		if first == 0 || at < first {
			first = at
		}
		last = max(last, at)
	}
	spread := time.Duration(last - first)
	if spread > skew {
		t.Errorf("first requests are %v apart, want at most %v", spread, skew)
	}
	return spread
}
