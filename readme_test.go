package main_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io/fs"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/hashicorp/consul/api"

	"volley/e2e/parts"
	"volley/loadgen"
	"volley/plan"
)

// block is a piece of the README or of docs/ that a reader is told to run or to use, with
// the comment above it that says where it is run.
type block struct {
	kind string // sh, hcl
	by   string // of "<!-- run by: X -->"
	not  string // of "<!-- not run: why -->"
	text string
}

// nodes is how many nodes the README's clusters have.
const nodes = 3

func blocks(t *testing.T) []block {
	t.Helper()
	fence := regexp.MustCompile("(?ms)^(?:<!-- (run by|not run): ([^\n]+) -->\n)?```([a-z]+)\n(.*?)^```$")
	var all []block
	for _, page := range append([]string{"README.md", "CONTRIBUTING.md"}, filesOf(t, "docs", ".md")...) {
		for _, m := range fence.FindAllStringSubmatch(readPage(t, page), -1) {
			b := block{kind: m[3], text: m[4]}
			if m[1] == "run by" {
				b.by = m[2]
			} else {
				b.not = m[2]
			}
			all = append(all, b)
		}
	}
	return all
}

// blockOf returns the n-th block of that kind that the calling test runs.
func blockOf(t *testing.T, kind string, n int) string {
	t.Helper()
	for _, b := range blocks(t) {
		if b.by != t.Name() || b.kind != kind {
			continue
		}
		if n == 0 {
			return b.text
		}
		n--
	}
	t.Fatalf("README.md and docs/ have too few %s blocks that say they are run by %s", kind, t.Name())
	return ""
}

// Every block of the README and of docs/ names where it is run, and is run there.
// Plans and queries are what docs/generate's tests look at.
func TestReadmeBlocksAreRun(t *testing.T) {
	script, err := os.ReadFile(".ci/run")
	if err != nil {
		t.Fatal(err)
	}
	own, err := os.ReadFile("readme_test.go")
	if err != nil {
		t.Fatal(err)
	}
	all := blocks(t)
	if len(all) < 30 {
		t.Errorf("found %d blocks; does this test still understand the pages?", len(all))
	}
	for _, b := range all {
		switch {
		case b.not != "":
		case b.by == "" && (b.kind == "yaml" || b.kind == "promql"):
		case b.by == ".ci/run":
			for line := range strings.Lines(b.text) {
				if !runs(string(script), strings.TrimSpace(line)) {
					t.Errorf(".ci/run does not run %q", strings.TrimSpace(line))
				}
			}
		case strings.HasSuffix(b.by, "_test.go"):
			if there, err := os.ReadFile(b.by); err != nil || !strings.Contains(string(there), "run by: "+b.by) {
				t.Errorf("%s does not look for what says that it is run by it (%v):\n%s", b.by, err, b.text)
			}
		case !strings.Contains(string(own), fmt.Sprintf("t.Run(%q, ", strings.TrimPrefix(b.by, "TestReadme/"))):
			t.Errorf("no test %q runs\n%s", b.by, b.text)
		}
	}
}

// runs reports whether a line of the script begins with the command.
func runs(script, command string) bool {
	for line := range strings.Lines(script) {
		if line = strings.TrimSpace(line); line == command || strings.HasPrefix(line, command+" ") {
			return true
		}
	}
	return false
}

// TestReadme does what the README and docs/ tell their reader to do.
func TestReadme(t *testing.T) {
	bin := t.TempDir()
	build(t, filepath.Join(bin, "volley"), ".")
	build(t, filepath.Join(bin, "volley-target"), "./e2e/programs")
	t.Run("Standalone", func(t *testing.T) { newWorkshop(t, bin).testStandalone() })
	t.Run("StaticCluster", func(t *testing.T) { newWorkshop(t, bin).testStaticCluster() })
	t.Run("ConsulCluster", func(t *testing.T) { newWorkshop(t, bin).testConsulCluster() })
	t.Run("GCSCluster", func(t *testing.T) { newWorkshop(t, bin).testGCSCluster() })
	t.Run("ControlAPI", func(t *testing.T) { newWorkshop(t, bin).testControlAPI() })
	t.Run("Plan", func(t *testing.T) { newWorkshop(t, bin).testPlan() })
	t.Run("Scenario", func(t *testing.T) { newWorkshop(t, bin).testScenario() })
	t.Run("Pages", func(t *testing.T) { newWorkshop(t, bin).testPages() })
	t.Run("Certificates", func(t *testing.T) { newWorkshop(t, bin).testCertificates() })
	t.Run("Tutorial", func(t *testing.T) { newWorkshop(t, bin).testTutorial() })
	t.Run("HotReload", func(t *testing.T) { newWorkshop(t, bin).testHotReload() })
	t.Run("MutualTLS", func(t *testing.T) { newWorkshop(t, bin).testMutualTLS() })
	t.Run("Thresholds", func(t *testing.T) { newWorkshop(t, bin).testThresholds() })
	t.Run("Job", func(t *testing.T) { newWorkshop(t, bin).testJob() })
	t.Run("Migration", func(t *testing.T) { newWorkshop(t, bin).testMigration() })
}

func build(t *testing.T, path, pkg string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
	defer cancel()
	if out, err := exec.CommandContext(ctx, "go", "build", "-o", path, pkg).CombinedOutput(); err != nil {
		t.Fatalf("build %s: %v\n%s", pkg, err, out)
	}
}

// workshop runs blocks of the README and of docs/: with a volley of this tree, in a folder
// of its own, on ports that are free, with plans that take a second.
type workshop struct {
	t       *testing.T
	bin     string   // folder of volley and volley-target
	dir     string   // where scripts run
	replace []string // pairs: what the README says, what is done instead
	scripts []string // what was run
}

func newWorkshop(t *testing.T, bin string) *workshop {
	t.Helper()
	w := &workshop{t: t, bin: bin, dir: t.TempDir()}
	t.Cleanup(w.everyBlockRan)
	ports := triple(t)
	w.swap("go build -o volley .", "true", "go build -o /tmp/volley-target ./e2e/programs", "true", "/tmp/volley-target", filepath.Join(bin, "volley-target"),
		"./volley", filepath.Join(bin, "volley"),
		"127.0.0.1:8081", free(t), "127.0.0.1:8080", free(t), "127.0.0.1:700", "127.0.0.1:"+ports, "127.0.0.1:818$i", "127.0.0.1:0")
	example, err := os.ReadFile("examples/quickstart.yaml")
	if err != nil {
		t.Fatal(err)
	}
	// By their number, not by time: however busy the machine is, none falls due too
	// shortly before the end to be sent.
	short := strings.Replace(w.adapted(string(example)), "duration: 30s", "duration: 5s", 1)
	short = strings.Replace(short, "  target: 50\n", "  target: 50\n  iterations: 50\n", 1)
	if !strings.Contains(short, "duration: 5s") || !strings.Contains(short, "iterations: 50") {
		t.Fatal("examples/quickstart.yaml does not take 30s at 50 a second, as the README says")
	}
	for _, name := range []string{"config.yaml", "examples/quickstart.yaml"} {
		w.write(name, short)
	}
	return w
}

// everyBlockRan holds the marks to their word: a block that says it is run by this
// test was part of a script.
func (w *workshop) everyBlockRan() {
	if w.t.Failed() {
		return
	}
	for _, b := range blocks(w.t) {
		part := func(script string) bool { return strings.Contains(script, strings.TrimSpace(b.text)) }
		if b.by == w.t.Name() && b.kind == "sh" && !slices.ContainsFunc(w.scripts, part) {
			w.t.Errorf("a page says that %s runs this, and it does not:\n%s", b.by, b.text)
		}
	}
}

func (w *workshop) swap(pairs ...string) { w.replace = append(w.replace, pairs...) }

func (w *workshop) adapted(text string) string {
	return strings.NewReplacer(w.replace...).Replace(text)
}

func (w *workshop) write(name, text string) {
	w.t.Helper()
	path := filepath.Join(w.dir, name)
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		w.t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		w.t.Fatal(err)
	}
}

// shell runs text as a script and returns what it prints. Whatever it has
// started is gone when it returns.
func (w *workshop) shell(text string, env ...string) string {
	w.t.Helper()
	w.scripts = append(w.scripts, text)
	ctx, cancel := context.WithTimeout(w.t.Context(), 2*time.Minute)
	defer cancel()
	script := exec.CommandContext(ctx, "bash", "-euo", "pipefail", "-c", w.adapted(text))
	script.Dir = w.dir
	script.Env = append(environment(), "METRICS_ADDR=off", "LOG_FORMAT=json", "CLUSTER_HEALTH_ADDR="+w.adapted("127.0.0.1:8080"))
	script.Env = append(script.Env, env...)
	script.SysProcAttr = &syscall.SysProcAttr{Setpgid: true} // so that all of it can be ended
	script.Cancel = func() error { return syscall.Kill(-script.Process.Pid, syscall.SIGKILL) }
	var out bytes.Buffer
	script.Stdout, script.Stderr, script.WaitDelay = &out, &out, 5*time.Second
	err := script.Run()
	_ = syscall.Kill(-script.Process.Pid, syscall.SIGKILL)
	if err != nil {
		w.t.Fatalf("%v: the script\n%s\nprinted\n%s", err, w.adapted(text), out.String())
	}
	return out.String()
}

// environment is this process's without what would change volley's settings.
func environment() []string {
	return slices.DeleteFunc(os.Environ(), func(v string) bool {
		return strings.HasPrefix(v, "CLUSTER_") || strings.HasPrefix(v, "CONSUL_") || strings.HasPrefix(v, "GCS_") || strings.HasPrefix(v, "STORAGE_")
	})
}

func free(t *testing.T) string {
	t.Helper()
	ports, err := parts.FreePorts(1)
	if err != nil {
		t.Fatal(err)
	}
	return fmt.Sprint("127.0.0.1:", ports[0])
}

// triple returns what three free ports begin with: followed by 1, 2, 3 it is a port.
func triple(t *testing.T) string {
	t.Helper()
	for prefix := 2100; prefix < 2900; prefix++ {
		var open []net.Listener
		for digit := range nodes {
			if ln, err := net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d%d", prefix, digit+1)); err == nil {
				open = append(open, ln)
			}
		}
		for _, ln := range open {
			ln.Close()
		}
		if len(open) == nodes {
			return fmt.Sprint(prefix)
		}
	}
	t.Fatal("no three free ports in a row")
	return ""
}

// onEach makes a script that does text on three nodes at a time, and fails if one fails.
func onEach(text string) string {
	var b strings.Builder
	b.WriteString("pids=()\n")
	for n := range nodes {
		fmt.Fprintf(&b, "(export CLUSTER_NODE_ID=node%[1]d CLUSTER_BIND_ADDR=127.0.0.1:700%[1]d CLUSTER_HEALTH_ADDR=127.0.0.1:0\n%[2]s) & pids+=($!)\n", n+1, text)
	}
	b.WriteString("for p in ${pids[@]}; do wait $p; done\n")
	return b.String()
}

// target runs what the plans send to until the test ends.
func (w *workshop) target() {
	w.t.Helper()
	addr := w.adapted("127.0.0.1:8081")
	server := exec.Command(filepath.Join(w.bin, "volley-target"), "target", "-listen", addr)
	if err := server.Start(); err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(func() {
		_ = server.Process.Kill()
		_ = server.Wait()
	})
	for tick, limit := time.NewTicker(20*time.Millisecond), time.After(10*time.Second); ; {
		conn, err := net.DialTimeout("tcp", addr, time.Second)
		if err == nil {
			conn.Close()
			tick.Stop()
			return
		}
		select {
		case <-tick.C:
		case <-limit:
			w.t.Fatalf("the target does not serve: %v", err)
		}
	}
}

// ran checks a report: so many nodes, each of which has sent 50 requests.
func ran(t *testing.T, result []byte, nodes int) {
	t.Helper()
	var r struct {
		Requests    int            `json:"requests"`
		StatusCodes map[string]int `json:"status_codes"`
		Nodes       []struct {
			Complete bool `json:"complete"`
			Requests int  `json:"requests"`
		} `json:"nodes"`
	}
	if err := json.Unmarshal(result, &r); err != nil {
		t.Fatalf("result %q: %v", result, err)
	}
	if len(r.Nodes) != nodes || r.Requests != 50*nodes || r.StatusCodes["200"] != 50*nodes {
		t.Errorf("%d nodes, %d requests, %v, want %d nodes with 50 requests each, all 200", len(r.Nodes), r.Requests, r.StatusCodes, nodes)
	}
	for _, n := range r.Nodes {
		if !n.Complete || n.Requests != 50 {
			t.Errorf("node: %+v, want complete with 50 requests", n)
		}
	}
}

func (w *workshop) read(name string) []byte {
	w.t.Helper()
	content, err := os.ReadFile(filepath.Join(w.dir, name))
	if err != nil {
		w.t.Fatal(err)
	}
	return content
}

func (w *workshop) testStandalone() {
	w.shell(blockOf(w.t, "sh", 0) + blockOf(w.t, "sh", 1) + "kill %1\n")
	ran(w.t, w.read("result.json"), 1)
	ran(w.t, w.read("merged.json"), 1)
	if report := w.read("report.html"); !bytes.Contains(report, []byte("Was the target fast enough?")) {
		w.t.Errorf("report.html is no report: %.200s", report)
	}
}

func (w *workshop) testStaticCluster() {
	w.target()
	w.shell(blockOf(w.t, "sh", 0), "RESULT_FILE=result.json")
	ran(w.t, w.read("result.json"), nodes)
}

func (w *workshop) testConsulCluster() {
	t := w.t
	w.target()
	server, err := parts.StartConsul(t.Context(), t.TempDir(), true)
	if err != nil {
		t.Fatal(err)
	}
	defer server.Stop()
	binary, err := parts.Consul(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	w.swap("consul kv put", binary+" kv put")
	addr := "CONSUL_HTTP_ADDR=http://" + server.Addr
	w.shell(blockOf(t, "sh", 0), addr, "CONSUL_HTTP_TOKEN="+server.Token)

	client, err := api.NewClient(&api.Config{Address: server.Addr, Token: server.Token})
	if err != nil {
		t.Fatal(err)
	}
	policy, _, err := client.ACL().PolicyCreate(&api.ACLPolicy{Name: "readme", Rules: blockOf(t, "hcl", 0)}, nil)
	if err != nil {
		t.Fatal(err)
	}
	token, _, err := client.ACL().TokenCreate(&api.ACLToken{Policies: []*api.ACLTokenPolicyLink{{ID: policy.ID}}}, nil)
	if err != nil {
		t.Fatal(err)
	}
	w.shell(onEach(blockOf(t, "sh", 1)), addr, "CONSUL_HTTP_TOKEN="+token.SecretID, "RESULT_FILE=result.json")
	ran(t, w.read("result.json"), nodes)

	keys, _, err := client.KV().Keys("", "", nil)
	if err != nil {
		t.Fatal(err)
	}
	if keys = slices.DeleteFunc(keys, func(k string) bool { return k == "ready" }); !slices.Equal(keys, []string{"loadtest/config"}) {
		t.Errorf("keys after the run: %v, want only the plan", keys)
	}
	entries, _, err := client.Catalog().Service("loadtest-cluster", "", nil)
	if err != nil || len(entries) != 0 {
		t.Errorf("%d instances are left after the run (%v)", len(entries), err)
	}
}

func (w *workshop) testGCSCluster() {
	t := w.t
	w.target()
	store := t.TempDir()
	server, err := parts.StartGCS(t.Context(), store)
	if err != nil {
		t.Fatal(err)
	}
	defer server.Stop()
	base := "http://" + server.Addr
	post(t, base+"/storage/v1/b?project=test", "application/json", []byte(`{"name":"my-bucket"}`))
	post(t, base+"/upload/storage/v1/b/my-bucket/o?uploadType=media&name=loadtest/config.yaml", "application/yaml", w.read("config.yaml"))
	w.swap("10.0.0.1:7000", w.adapted("127.0.0.1:7001"), "10.0.0.2:7000", w.adapted("127.0.0.1:7002"), "10.0.0.3:7000", w.adapted("127.0.0.1:7003"))
	w.shell(onEach(blockOf(t, "sh", 0)), "STORAGE_EMULATOR_HOST="+base, "RESULT_FILE=result.json")
	ran(t, w.read("result.json"), nodes)
}

func post(t *testing.T, url, contentType string, body []byte) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, url, bytes.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	request.Header.Set("Content-Type", contentType)
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	response.Body.Close()
	if response.StatusCode != http.StatusOK {
		t.Fatalf("POST %s: %s", url, response.Status)
	}
}

func (w *workshop) testControlAPI() {
	out := w.shell(blockOf(w.t, "sh", 0))
	for _, want := range []string{`{"ready":true}`, `"node_state":"idle"`, `"state":"standalone"`, `{"status":"accepted","run_id":"run-`, "volley_build_info{", `{"stopped":true,`} {
		if !strings.Contains(out, want) {
			w.t.Errorf("the block does not print %s:\n%s", want, out)
		}
	}
}

// The plan that docs/plan.md shows is one.
func TestDocumentedPlan(t *testing.T) {
	page, err := os.ReadFile("docs/plan.md")
	if err != nil {
		t.Fatal(err)
	}
	_, rest, _ := strings.Cut(string(page), "```yaml\n")
	document, _, found := strings.Cut(rest, "```")
	if !found {
		t.Fatal("docs/plan.md shows no plan")
	}
	p, warnings, err := plan.Parse([]byte(document))
	if err != nil || len(warnings) > 0 {
		t.Fatalf("%v, warnings %v", err, warnings)
	}
	if notes := loadgen.Unsupported(p); len(notes) > 0 {
		t.Errorf("it cannot be run: %q", notes)
	}
}

// docs/cluster.md lists exactly the events that the program logs.
func TestDocumentedEvents(t *testing.T) {
	page, err := os.ReadFile("docs/cluster.md")
	if err != nil {
		t.Fatal(err)
	}
	_, table, _ := strings.Cut(string(page), "\n## Log events\n")
	documented := map[string]bool{}
	for row := range strings.Lines(table) {
		if cells := strings.Split(row, "|"); len(cells) > 1 {
			for _, m := range regexp.MustCompile("`([a-z_]+)`").FindAllStringSubmatch(cells[1], -1) {
				documented[m[1]] = m[1] == "event"
			}
		}
	}
	logged := regexp.MustCompile(`"event", "([a-z_]+)"`)
	err = filepath.WalkDir(".", func(name string, entry fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case entry.IsDir():
			return skipFolder(name)
		case !strings.HasSuffix(name, ".go") || strings.HasSuffix(name, "_test.go"):
			return nil
		}
		source, err := os.ReadFile(name)
		for _, m := range logged.FindAllSubmatch(source, -1) {
			event := string(m[1])
			if _, ok := documented[event]; !ok {
				t.Errorf("%s logs event %q, which docs/cluster.md does not list", name, event)
			}
			documented[event] = true
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	for event, found := range documented {
		if !found {
			t.Errorf("docs/cluster.md lists event %q, which nothing logs", event)
		}
	}
}
