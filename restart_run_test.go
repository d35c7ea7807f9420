package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"volley/node"
)

// volleyCommand makes of the test binary a volley, in a process of its own.
const volleyCommand = "__volley"

// trio is three nodes of a cluster, each a process with a directory of its own.
type trio struct {
	t       *testing.T
	plan    string
	cluster [3]string // addresses
	control [3]string
	dirs    [3]string
	more    []string // of the environment
	nodes   [3]*child
}

// child is a volley in a process of its own.
type child struct {
	cmd  *exec.Cmd
	log  *lines
	done chan struct{}
	code int
}

func newTrio(t *testing.T, plan string) *trio {
	t.Helper()
	c := &trio{t: t, plan: filepath.Join(t.TempDir(), "plan.yaml")}
	c.write(plan)
	for i := range 3 {
		c.cluster[i], c.control[i], c.dirs[i] = freeAddr(t), freeAddr(t), filepath.Join(t.TempDir(), "data")
	}
	return c
}

func (c *trio) write(plan string) {
	c.t.Helper()
	if err := os.WriteFile(c.plan, []byte(plan), 0o600); err != nil {
		c.t.Fatal(err)
	}
}

// freeAddr is one that nothing listens on, at the moment.
func freeAddr(t *testing.T) string {
	t.Helper()
	return fmt.Sprint("127.0.0.1:", freePort(t))
}

func (c *trio) start(i int, more ...string) *child {
	c.t.Helper()
	n := &child{cmd: exec.Command(os.Args[0], volleyCommand), log: &lines{}, done: make(chan struct{})}
	n.cmd.Env = append([]string{
		"CLUSTER_ENABLED=true", "CLUSTER_CONFIG_SOURCE=file", "CONFIG_FILE=" + c.plan, "CLUSTER_NODES=" + strings.Join(c.cluster[:], ","),
		"CLUSTER_BIND_ADDR=" + c.cluster[i], "CLUSTER_HEALTH_ADDR=" + c.control[i], "METRICS_ADDR=off", "LOG_FORMAT=json",
		"CLUSTER_NODE_ID=" + string(rune('a'+i)), "CLUSTER_DATA_DIR=" + c.dirs[i], "CLUSTER_START_DELAY=1s", "RESULT_FILE=" + filepath.Join(filepath.Dir(c.plan), "result.json"),
	}, append(c.more, more...)...)
	n.cmd.Stdout, n.cmd.Stderr = n.log, n.log
	if err := n.cmd.Start(); err != nil {
		c.t.Fatal(err)
	}
	go func() {
		defer close(n.done)
		n.code = -1
		var ended *exec.ExitError
		if err := n.cmd.Wait(); err == nil || errors.As(err, &ended) {
			n.code = n.cmd.ProcessState.ExitCode()
		}
	}()
	c.nodes[i] = n
	c.t.Cleanup(func() {
		n.cmd.Process.Kill()
		<-n.done
		if c.t.Failed() {
			c.t.Logf("node %d:\n%s", i, n.log)
		}
	})
	return n
}

func (c *trio) startAll() {
	for i := range 3 {
		c.start(i)
	}
}

// kill ends a process with no time for anything.
func (c *trio) kill(i int) {
	c.nodes[i].cmd.Process.Signal(syscall.SIGKILL)
	<-c.nodes[i].done
}

func (c *trio) status(i int) (st node.Status, ok bool) {
	resp, err := http.Get("http://" + c.control[i] + "/health/cluster")
	if err != nil {
		return st, false
	}
	defer resp.Body.Close()
	return st, json.NewDecoder(resp.Body).Decode(&st) == nil
}

func (c *trio) until(limit time.Duration, what string, ok func() bool) {
	c.t.Helper()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for end := time.After(limit); !ok(); {
		select {
		case <-tick.C:
		case <-end:
			c.t.Fatalf("not within %s: %s", limit, what)
		}
	}
}

func (c *trio) running() {
	c.t.Helper()
	c.until(30*time.Second, "everybody runs", func() bool {
		for i := range 3 {
			if st, ok := c.status(i); !ok || st.Phase != "running" {
				return false
			}
		}
		return true
	})
}

// ended waits for the end of all and checks their exit codes.
func (c *trio) ended(limit time.Duration, code int) {
	c.t.Helper()
	end := time.After(limit)
	for i, n := range c.nodes {
		select {
		case <-n.done:
		case <-end:
			c.t.Fatalf("node %d does not end", i)
		}
		if n.code != code {
			c.t.Errorf("node %d ended with %d, want %d", i, n.code, code)
		}
	}
}

// once is a target that notes how often it is asked for which path.
type once struct {
	*httptest.Server
	mu    sync.Mutex
	asked map[string]int
}

func askedOnce(t *testing.T) *once {
	o := &once{asked: map[string]int{}}
	o.Server = httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		o.mu.Lock()
		defer o.mu.Unlock()
		o.asked[r.URL.Path]++
	}))
	t.Cleanup(o.Close)
	return o
}

func (o *once) total() (n int) {
	o.mu.Lock()
	defer o.mu.Unlock()
	for _, k := range o.asked {
		n += k
	}
	return n
}

// TestRestartWithADirectory: a node is killed in the middle of a run and started
// again; it is the same member, and no arrival is sent twice. Then the cluster is
// started again: its run is over.
func TestRestartWithADirectory(t *testing.T) {
	if testing.Short() {
		t.Skip("three processes, for half a minute")
	}
	target := askedOnce(t)
	plan := func(duration, threshold string) string {
		return fmt.Sprintf(`version: "1.0"
config: {baseUrl: %q, workers: 10, duration: %s}
load: {model: rps, target: 150, scope: cluster}
scenarios: [{name: s, steps: [{name: get, request: {method: GET, path: "/${iteration}"}}]}]
thresholds: [%q]
`, target.URL, duration, threshold)
	}
	c := newTrio(t, plan("20s", "p95 < 0ms"))
	c.startAll()
	c.running()
	before, _ := c.status(1)
	sent := target.total()
	c.until(20*time.Second, "two seconds of load", func() bool { return target.total() > sent+300 })
	c.kill(1)
	c.start(1)
	suffrage := func(st node.Status) string {
		for _, m := range st.Members {
			if m.ServerID == before.ServerID && m.Share > 0 {
				return m.Suffrage
			}
		}
		return ""
	}
	c.until(15*time.Second, "the same server votes, and has a part", func() bool {
		st, ok := c.status(0)
		own, there := c.status(1)
		return ok && there && own.ServerID == before.ServerID && suffrage(st) == "voter" && len(st.Members) == 3 && own.Run != nil && own.Run.FirstRequestMs > 0
	})
	c.ended(60*time.Second, node.ExitFailed)
	total := target.total()
	if total < 150*20/2 || total > 150*20 {
		t.Errorf("%d requests, want most of %d and no more", total, 150*20)
	}
	for path, n := range target.asked {
		if n != 1 {
			t.Errorf("arrival %s was sent %d times", path, n)
		}
	}
	var result struct {
		Requests int `json:"requests"`
		Nodes    []struct {
			NodeID   string `json:"node_id"`
			Requests int    `json:"requests"`
			Complete bool   `json:"complete"`
			Reason   string `json:"reason"`
		} `json:"nodes"`
		Shares []struct {
			Cause  string `json:"cause"`
			Unsent int    `json:"unsent"`
		} `json:"shares"`
	}
	text, err := os.ReadFile(filepath.Join(filepath.Dir(c.plan), "result.json"))
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(text, &result); err != nil {
		t.Fatal(err)
	}
	t.Logf("%d requests at the target; %+v", total, result)
	if len(result.Nodes) != 4 || result.Nodes[1].NodeID != "b" || result.Nodes[2].NodeID != "b" || result.Nodes[1].Complete == result.Nodes[2].Complete {
		t.Errorf("nodes %+v; want b twice, once complete", result.Nodes)
	}
	if len(result.Shares) < 2 || result.Shares[1].Unsent == 0 || !strings.HasPrefix(result.Shares[1].Cause, "node b was restarted") {
		t.Errorf("shares %+v; want what nobody is known to have sent when b was restarted", result.Shares)
	}

	c.startAll()
	began := time.Now()
	c.ended(20*time.Second, node.ExitFailed)
	t.Logf("a finished run: exit after %s", time.Since(began))
	for i, n := range c.nodes {
		if !strings.Contains(n.log.String(), "to run again, store another revision of the plan, empty CLUSTER_DATA_DIR on all nodes") {
			t.Errorf("node %d does not say how to run again", i)
		}
	}
	if now := target.total(); now != total {
		t.Errorf("%d requests after the end", now-total)
	}

	c.write(plan("1s", "p95 < 10s"))
	c.startAll()
	c.ended(30*time.Second, node.ExitOK)
	if target.total() == total {
		t.Error("the changed plan was not run")
	}

	for name, tt := range map[string]struct{ env, want string }{
		"another node":    {"CLUSTER_NODE_ID=z", `it is the directory of node \"a\", and this is node \"z\" (CLUSTER_NODE_ID)`},
		"another cluster": {"CONSUL_SERVICE_NAME=other", `this cluster is \"other\" (CONSUL_SERVICE_NAME)`},
	} {
		n := c.start(0, tt.env)
		<-n.done
		if n.code != node.ExitInvalid || !strings.Contains(n.log.String(), tt.want) && !strings.Contains(n.log.String(), strings.ReplaceAll(tt.want, `\"`, `"`)) {
			t.Errorf("%s: code %d, %s", name, n.code, n.log)
		}
	}
}
