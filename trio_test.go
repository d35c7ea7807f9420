package main_test

import (
	"bytes"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"
)

// trio is three nodes as processes of their own, which stay up and wait for a plan.
type trio struct {
	t     *testing.T
	apis  []string
	names []string
	nodes []*exec.Cmd
}

func startTrio(t *testing.T) *trio {
	t.Helper()
	bin := filepath.Join(t.TempDir(), "volley")
	build(t, bin, ".")
	c := &trio{t: t, names: []string{"amber", "birch", "cedar"}}
	var addrs []string
	for range c.names {
		addrs = append(addrs, free(t))
		c.apis = append(c.apis, free(t))
	}
	for i, name := range c.names {
		node := exec.CommandContext(t.Context(), bin)
		var out bytes.Buffer
		node.Stdout, node.Stderr = &out, &out
		node.Env = append(os.Environ(), "CLUSTER_ENABLED=true", "CLUSTER_TOKEN=cluster-token", "METRICS_ADDR=off", "CLUSTER_NODES="+strings.Join(addrs, ","),
			"CLUSTER_CONFIG_SOURCE=none", "KEEP_ALIVE=true", "API_AUTH_TOKEN="+apiToken, "HEALTH_AUTH_ENABLED=true", "CLUSTER_NODE_ID="+name,
			"CLUSTER_BIND_ADDR="+addrs[i], "CLUSTER_HEALTH_ADDR="+c.apis[i], "CLUSTER_START_DELAY=3s")
		if err := node.Start(); err != nil {
			t.Fatal(err)
		}
		c.nodes = append(c.nodes, node)
		c.apis[i] = "http://" + c.apis[i]
		t.Cleanup(func() {
			_ = node.Process.Kill()
			_ = node.Wait()
			if t.Failed() {
				t.Logf("%s:\n%s", name, out.String())
			}
		})
	}
	return c
}

// leader is the node that leads, by the API of all.
func (c *trio) leader() int {
	c.t.Helper()
	found := 0
	waitFor(c.t, "a leader of three", func() bool {
		for i, api := range c.apis {
			if status, ok := get(c.t, api+"/health/cluster").(map[string]any); ok && status["state"] == "leader" && status["peers"] == 2.0 {
				found = i
				return true
			}
		}
		return false
	})
	return found
}

// slowTarget answers after some milliseconds; every 20th payment fails.
func slowTarget(t *testing.T) string {
	t.Helper()
	var mu sync.Mutex
	n := 0
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		mu.Lock()
		n++
		i := n
		mu.Unlock()
		wait := time.NewTimer(time.Duration(3+i%11) * time.Millisecond)
		<-wait.C
		if r.URL.Path == "/pay" && i%20 == 0 {
			w.WriteHeader(http.StatusServiceUnavailable)
		}
		_, _ = io.WriteString(w, "ok")
	}))
	t.Cleanup(server.Close)
	return server.URL
}
