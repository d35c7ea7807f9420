package main

import (
	"bytes"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"volley/e2e/parts"
	"volley/node"
	"volley/stats"
)

func freePort(t *testing.T) int {
	t.Helper()
	ports, err := parts.FreePorts(1)
	if err != nil {
		t.Fatal(err)
	}
	return ports[0]
}

func put(t *testing.T, server *parts.GCSServer, bucket, object, body string) {
	t.Helper()
	url := "http://" + server.Addr + "/upload/storage/v1/b/" + bucket + "/o?uploadType=media&name=" + object
	resp, err := http.Post(url, "application/yaml", strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		t.Fatalf("upload %s: %s", object, resp.Status)
	}
}

// The instance of a service that is a cluster of one takes its plan from a
// bucket, has everything on the one port, and after SIGTERM has drained, reported
// and uploaded within 8 s.
func TestServiceOfOneInstance(t *testing.T) {
	server := gcsServer(t)
	target := record(t, always)
	put(t, server, "results", "plan.yaml", planOf(target.URL, "/x", "60s", "metadata: {run_id: service}"))
	port := freePort(t)
	for name, value := range map[string]string{
		"PORT": strconv.Itoa(port), "CLUSTER_ENABLED": "true", "CLUSTER_BIND_ADDR": fmt.Sprintf("127.0.0.1:%d", freePort(t)),
		"CLUSTER_CONFIG_SOURCE": "gcs", "GCS_CONFIG_BUCKET": "results", "GCS_CONFIG_OBJECT": "plan.yaml", "CLUSTER_START_DELAY": "200ms",
		"KEEP_ALIVE": "true", "CLUSTER_ON_ABORT": "hold", "ENGINE_MODE": "inproc", "RESULT_FILE": "gs://results/{run_id}.json", "CLUSTER_NODE_ID": "localhost",
	} {
		t.Setenv(name, value)
	}
	p := launch(t, "")
	p.base = fmt.Sprintf("http://127.0.0.1:%d", port)
	if p.app.listeners.metrics != nil {
		t.Error("there is a second listener beside that of PORT")
	}
	p.until("the plan's load is sent", func() bool { return target.count("GET /x") >= 5 })
	p.until("/metrics on the port tells of requests", func() bool { return p.metric("requests_total") > 0 })
	began := time.Now()
	code := p.signal()
	if took := time.Since(began); code != node.ExitStopped || took > 8*time.Second {
		t.Errorf("exit code %d after %s", code, took)
	}
	code, out, errOut := reported(t, "-format", "json", "gs://results/service.json")
	if code != node.ExitOK {
		t.Fatalf("report: exit %d, %s", code, errOut)
	}
	r, err := stats.ReadResult(strings.NewReader(out))
	if err != nil || r.Requests != int64(target.count("GET /x")) || r.Stopped == nil || r.Stopped.Cause != "signal" {
		t.Errorf("%d requests, the target counts %d; stopped %+v; %v", r.Requests, target.count("GET /x"), r.Stopped, err)
	}
}

// readyLimit is how long a cold start may take until /ready answers. The best of
// some starts counts: a busy machine is not what is measured.
const readyLimit = 150 * time.Millisecond

func TestReadySoonAfterItsStart(t *testing.T) {
	if testing.Short() {
		t.Skip("builds the binary and measures time")
	}
	binary := filepath.Join(t.TempDir(), "volley")
	if out, err := exec.CommandContext(t.Context(), "go", "build", "-o", binary, ".").CombinedOutput(); err != nil {
		t.Fatalf("build: %v\n%s", err, out)
	}
	best := time.Hour
	for range 5 {
		took := readyAfter(t, binary)
		t.Logf("ready %s after the process was started", took)
		best = min(best, took)
	}
	if best > readyLimit {
		t.Errorf("ready after %s at best, want %s", best, readyLimit)
	}
}

// readyAfter starts a process as Cloud Run would and says when /ready answers.
func readyAfter(t *testing.T, binary string) time.Duration {
	t.Helper()
	port := freePort(t)
	process := exec.CommandContext(t.Context(), binary)
	var said bytes.Buffer
	process.Env, process.Stderr, process.Dir = append(os.Environ(), "PORT="+strconv.Itoa(port)), &said, t.TempDir()
	process.Cancel = func() error { return process.Process.Signal(os.Interrupt) }
	began := time.Now()
	if err := process.Start(); err != nil {
		t.Fatal(err)
	}
	defer process.Wait()
	defer process.Process.Signal(os.Interrupt)
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for time.Since(began) < 10*time.Second {
		resp, err := http.Get(fmt.Sprintf("http://127.0.0.1:%d/ready", port))
		if err == nil {
			resp.Body.Close()
			return time.Since(began)
		}
		<-tick.C
	}
	t.Fatalf("not ready; it says:\n%s", &said)
	return 0
}
