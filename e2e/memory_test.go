package e2e

import (
	"encoding/json"
	"fmt"
	"os"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"
)

// long says that measurements shall take as long as the acceptance asks for.
func long() bool { return os.Getenv("VOLLEY_E2E") == "long" }

// thinkers is a plan of so many workers that go through so many steps and think
// after each.
func thinkers(base string, workers, steps int, think, duration time.Duration) string {
	var b strings.Builder
	fmt.Fprintf(&b, `version: "1.0"
config: {baseUrl: %q, workers: %d, duration: %dms, gracefulStop: 2s}
load: {model: concurrent}
metrics: {phases: true}
scenarios:
  - name: thinking
    steps:
`, base, workers, duration.Milliseconds())
	for i := range steps {
		fmt.Fprintf(&b, "      - {name: step%d, thinkTime: %dms, request: {method: GET, path: /%d}}\n", i, think.Milliseconds(), i)
	}
	return b.String()
}

// limited makes a standalone node that runs a plan with so much memory, 0 for as
// much as there is.
func (b *bench) limited(plan string, memory int64, settings ...env) *node {
	b.t.Helper()
	return b.nodeWith(containerSpec{
		name: "alone", cmd: []string{"run", "/plan.yaml"}, files: map[string]string{"/plan.yaml": plan}, memory: memory,
	}, standalone().with(settings...))
}

var metricLine = regexp.MustCompile(`(?m)^volley_([a-z_]+) (\S+)$`)

// metrics reads the metrics without labels.
func (n *node) metrics() (map[string]float64, error) {
	base, err := n.tryURL(metricsPort)
	if err != nil {
		return nil, err
	}
	return metricsAt(base)
}

func metricsAt(base string) (map[string]float64, error) {
	answer, err := ask("GET", base+"/metrics", "")
	if err != nil {
		return nil, err
	}
	out := map[string]float64{}
	for _, m := range metricLine.FindAllStringSubmatch(string(answer.body), -1) {
		if out[m[1]], err = strconv.ParseFloat(m[2], 64); err != nil {
			return nil, err
		}
	}
	return out, nil
}

// peak looks at a metric twice a second until the container has ended, and
// returns the highest value.
func (n *node) peak(within time.Duration, name string) (highest float64, code int) {
	n.bench.t.Helper()
	deadline := time.Now().Add(within)
	tick := time.NewTicker(500 * time.Millisecond)
	defer tick.Stop()
	for {
		if values, err := n.metrics(); err == nil {
			highest = max(highest, values[name])
		}
		state, err := n.state()
		n.must("state", err)
		if !state.Running {
			return highest, state.ExitCode
		}
		if time.Now().After(deadline) {
			n.fatalf("still running after %v", within)
		}
		<-tick.C
	}
}

// A worker that thinks costs little: 2000 of them stay below 150 MB.
func TestMemoryOfThinkingWorkers(t *testing.T) {
	duration := 15 * time.Second
	if long() {
		duration = time.Minute
	}
	b := newBench(t)
	target := b.target()
	n := b.limited(thinkers(target.base(), 2000, 1, time.Second, duration), 0)
	n.start()
	highest, code := n.peak(duration+time.Minute, "process_memory_rss_bytes")
	t.Logf("RSS of 2000 workers with 1 s think time over %v: at most %.1f MB", duration, highest/1e6)
	if code != 0 || highest == 0 || highest >= 150e6 {
		t.Errorf("exit code %d, RSS up to %.1f MB; want 0 and less than 150 MB", code, highest/1e6)
	}
	// Some are slow to begin on a machine that others use.
	if got, want := n.result().Requests, 2000*int64(duration.Seconds()); got < want*8/10 || got > want+2000 || got != target.stats().from(n).Total {
		t.Errorf("%d requests, the target counted %d; want about %d", got, target.stats().from(n).Total, want)
	}
}

// killed says whether the kernel killed the container's process for its memory.
func (n *node) killed() bool {
	n.bench.t.Helper()
	state, err := n.state()
	n.must("state", err)
	return state.OOMKilled
}

const smallContainer = 64 << 20

// In 64 MiB a plan of 20 steps for 200 workers is no trouble.
func TestMemoryOfASmallContainer(t *testing.T) {
	b := newBench(t)
	target := b.target()
	const duration = 15 * time.Second
	n := b.limited(thinkers(target.base(), 200, 20, 100*time.Millisecond, duration), smallContainer)
	n.start()
	highest, code := n.peak(duration+time.Minute, "process_memory_rss_bytes")
	t.Logf("RSS of 200 workers with 20 steps in 64 MiB: at most %.1f MiB, exit code %d", highest/(1<<20), code)
	if n.killed() {
		t.Fatalf("the kernel killed it for its memory; last words: %s", n.lastWords())
	}
	if code != 0 {
		t.Fatalf("exit code %d; last words: %s", code, n.lastWords())
	}
	r := n.result()
	if r.Requests != target.stats().from(n).Total || r.Requests < 10_000 || !r.Nodes[0].Complete {
		t.Errorf("%d requests, the target counted %d, complete %v; want all", r.Requests, target.stats().from(n).Total, r.Nodes[0].Complete)
	}
	started := n.events("node_started")[0]
	if limit := int64(smallContainer * 85 / 100); !strings.Contains(started.raw, fmt.Sprintf(`"gomemlimit_bytes":%d`, limit)) {
		t.Errorf("the start line does not say GOMEMLIMIT=%d: %s", limit, started.raw)
	}
}

// Where memory does not do, the guard ends the run before the kernel does: with
// its words, the report and exit code 1.
func TestMemoryGuardIsFasterThanTheKernel(t *testing.T) {
	b := newBench(t)
	target := b.target()
	plan := strings.NewReplacer(
		"load: {model: concurrent}", "load: {model: stages, unit: workers, stages: [{duration: 60s, target: 6000}]}",
		"workers: 1, ", "").Replace(thinkers(target.base(), 1, 1, time.Second, time.Minute))
	n := b.limited(plan, smallContainer)
	n.start()
	_, code := n.peak(2*time.Minute, "memory_critical_threshold_exceeded_total")
	if n.killed() {
		t.Fatalf("the kernel killed it for its memory; last words: %s", n.lastWords())
	}
	if code != 1 {
		t.Fatalf("exit code %d, want 1; last words: %s", code, n.lastWords())
	}
	var said []string
	for _, line := range n.logs() {
		if strings.Contains(line.raw, "MEMORY_CRITICAL_THRESHOLD_PERCENT") {
			said = append(said, line.raw)
		}
	}
	if len(said) == 0 {
		t.Error("the guard has said nothing")
	}
	data, err := n.readFile(strings.ReplaceAll(resultPath, "{node_id}", n.name))
	n.must("result", err)
	var r struct {
		Requests int64 `json:"requests"`
		Nodes    []struct {
			Complete bool   `json:"complete"`
			Reason   string `json:"reason"`
		} `json:"nodes"`
	}
	n.must("result", json.Unmarshal(data, &r))
	t.Logf("ended after %d requests: %s", r.Requests, r.Nodes[0].Reason)
	if r.Nodes[0].Complete || !strings.Contains(r.Nodes[0].Reason, "memory ran out") {
		t.Errorf("the result says %+v, want that memory ran out", r.Nodes[0])
	}
}
