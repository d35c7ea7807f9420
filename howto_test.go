package main_test

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/goccy/go-yaml"

	"volley/e2e/parts"
)

// blocksOf are all blocks of that kind that the calling test runs, in their
// order.
func blocksOf(t *testing.T, kind string) []string {
	t.Helper()
	var texts []string
	for _, b := range blocks(t) {
		if b.by == t.Name() && b.kind == kind {
			texts = append(texts, b.text)
		}
	}
	return texts
}

// sent is what a report says of how much was sent.
type sent struct {
	Requests    int            `json:"requests"`
	StatusCodes map[string]int `json:"status_codes"`
	Nodes       []struct {
		Complete bool `json:"complete"`
		Requests int  `json:"requests"`
	} `json:"nodes"`
}

func (w *workshop) sent(file string) sent {
	w.t.Helper()
	var s sent
	if err := json.Unmarshal(w.read(file), &s); err != nil {
		w.t.Fatalf("%s: %v", file, err)
	}
	return s
}

// testTutorial does all of docs/tutorial.md in one shell, as its reader does.
func (w *workshop) testTutorial() {
	t := w.t
	gcs, err := parts.FakeGCS(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	bucket := free(t)
	_, port, _ := strings.Cut(bucket, ":")
	w.swap("go build -C e2e/tools/fakegcs -o /tmp/fake-gcs-server github.com/fsouza/fake-gcs-server", "true",
		"/tmp/fake-gcs-server", gcs, "127.0.0.1:4443", bucket, "-port 4443", "-port "+port,
		// By their number, not by time, so that a busy machine loses none.
		"  duration: 5s\n", "  duration: 30s\n", "  target: 20\n", "  iterations: 100\n  target: 20\n",
		"p95 < 500ms", "p95 < 30s")
	out := w.shell(strings.Join(blocksOf(t, "sh"), "\n"))
	for _, want := range []string{"first.yaml: ok\n", "pass statusCode: 200", "fast enough\n", "exit code 99\n", `"event":"config_fetched"`} {
		if !strings.Contains(out, want) {
			t.Errorf("the tutorial does not print %q:\n%s", want, out)
		}
	}
	// A machine that is busy with other tests is too late for some of them, and a
	// node that gets no CPU sends nothing without a lease.
	for file, want := range map[string]struct{ nodes, requests int }{
		"first.json": {1, 100}, "cluster.json": {nodes, 300}, "shared.json": {nodes, 100}, "bucket.json": {nodes, 100},
	} {
		got := w.sent(file)
		if len(got.Nodes) != want.nodes || got.Requests > want.requests || got.Requests < want.requests*6/10 || got.StatusCodes["200"] != got.Requests {
			t.Errorf("%s: %+v, want %d nodes and %d requests, all 200", file, got, want.nodes, want.requests)
		}
		for _, n := range got.Nodes {
			if each := want.requests / want.nodes; !n.Complete || n.Requests < each/3 || n.Requests > each+1 {
				t.Errorf("%s: a node with %+v, want %d requests", file, n, each)
			}
		}
	}
}

// testJob runs the tasks of docs/howto/cloud-run.md, each with its part of the load.
func (w *workshop) testJob() {
	dir := w.t.TempDir()
	if err := os.Mkdir(filepath.Join(dir, "my-bucket"), 0o755); err != nil {
		w.t.Fatal(err)
	}
	bucket, err := parts.StartGCS(w.t.Context(), dir)
	if err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(bucket.Stop)
	w.target()
	w.swap("127.0.0.1:4443", bucket.Addr)
	tasks := blocksOf(w.t, "sh")
	w.shell(tasks[0])
	all := 0
	for i := range 3 {
		one := w.sent(fmt.Sprintf("try-task-%d.json", i))
		if all += one.Requests; one.Requests < 16 || one.Requests > 17 {
			w.t.Errorf("task %d has sent %d requests, want a third of 50", i, one.Requests)
		}
	}
	if page := string(w.read("job.html")); all != 50 || !strings.Contains(page, "task-2") {
		w.t.Errorf("the tasks have sent %d requests, want 50; their report has %d bytes", all, len(page))
	}
	w.shell(tasks[1])
	if met := w.sent("job.json"); met.Requests != 50 || len(met.Nodes) != 3 {
		w.t.Errorf("the tasks that have met: %+v, want 50 requests of three", met)
	}
	out := w.shell(tasks[1][:strings.Index(tasks[1], "for")] + "CLOUD_RUN_TASK_ATTEMPT=1 task=1\n" + "export CLOUD_RUN_TASK_ATTEMPT task\n" +
		strings.TrimSuffix(strings.SplitAfter(tasks[1], "quickstart.yaml")[0][strings.Index(tasks[1], "  CLOUD"):], " &"))
	if !strings.Contains(out, "attempt 0 has sent the task's share of the load; its result is gs://my-bucket/loadtest/try-task-1.json") {
		w.t.Errorf("a task that is tried again:\n%s", out)
	}
}

// testHotReload changes the file of a running cluster as docs/howto/hot-reload.md
// says, to a plan and to none.
func (w *workshop) testHotReload() {
	w.target()
	example, err := os.ReadFile("examples/quickstart.yaml")
	if err != nil {
		w.t.Fatal(err)
	}
	w.write("examples/quickstart.yaml", w.adapted(string(example)))
	out := w.shell(blockOf(w.t, "sh", 0))
	for _, want := range []string{`"event":"config_reloaded"`, `"event":"config_reload_rejected"`, `"error":"rejected revision`, "load.target", `{"stopped":true,`} {
		if !strings.Contains(out, want) {
			w.t.Errorf("the block does not print %q:\n%s", want, out)
		}
	}
	if log := string(w.read("volley.log")); !strings.Contains(log, `"event":"exit"`) || !strings.Contains(log, `"exit_code":105`) {
		w.t.Errorf("POST /stop did not end it:\n%s", log)
	}
}

// testMutualTLS makes the certificates of docs/howto/mtls.md and a cluster with
// them.
func (w *workshop) testMutualTLS() {
	w.target()
	out := w.shell(strings.Join(blocksOf(w.t, "sh"), "\n"), "RESULT_FILE=result.json")
	ran(w.t, w.read("result.json"), nodes)
	if strings.Contains(out, "is open to everyone") {
		w.t.Errorf("the cluster's port was open:\n%s", out)
	}
}

// testThresholds runs what the pipelines of docs/howto/thresholds-in-ci.md run,
// with a target that is good enough and with one that is not.
func (w *workshop) testThresholds() {
	t := w.t
	w.target()
	good := strings.Replace(string(w.read("examples/quickstart.yaml")), "duration: 5s", "duration: 30s", 1) // ends by its number of iterations
	script := blockOf(t, "sh", 0)
	w.write("loadtest.yaml", good+"thresholds: ['error_rate < 1%', 'p95 < 60s']\n")
	if out := w.shell(script); !strings.Contains(out, "fast enough\n") {
		t.Errorf("the shell's test does not pass:\n%s", out)
	}
	pipelines := blocksOf(t, "yaml")
	if len(pipelines) != 2 {
		t.Fatalf("%d pipelines, want one of GitHub and one of GitLab", len(pipelines))
	}
	for _, commands := range [][]string{gitHubCommands(t, pipelines[0]), gitLabCommands(t, pipelines[1])} {
		run := slices.IndexFunc(commands, func(c string) bool { return strings.Contains(c, "volley run") })
		if run < 0 {
			t.Fatalf("no command of a pipeline runs a plan: %q", commands)
		}
		w.shell(commands[run])
		ran(t, w.read("result.json"), 1)
	}
	w.write("loadtest.yaml", good+"thresholds: ['rps > 100000']\n")
	if out := w.shell("(" + script + ") || echo ended with $?"); !strings.Contains(out, "too slow\nended with 1\n") {
		t.Errorf("a threshold that fails is not told apart:\n%s", out)
	}
	w.write("loadtest.yaml", "no plan\n")
	if out := w.shell("(" + script + ") || echo ended with $?"); !strings.Contains(out, "exit code 104\nended with 2\n") {
		t.Errorf("a test that does not work is not told apart:\n%s", out)
	}
}

// gitHubCommands are what the steps of the only job run.
func gitHubCommands(t *testing.T, text string) []string {
	t.Helper()
	var workflow struct {
		Name string `yaml:"name"`
		On   any    `yaml:"on"`
		Jobs map[string]struct {
			RunsOn  string `yaml:"runs-on"`
			Timeout int    `yaml:"timeout-minutes"`
			Steps   []struct {
				Name string            `yaml:"name"`
				If   string            `yaml:"if"`
				Uses string            `yaml:"uses"`
				Run  string            `yaml:"run"`
				With map[string]string `yaml:"with"`
			} `yaml:"steps"`
		} `yaml:"jobs"`
	}
	if err := yaml.UnmarshalWithOptions([]byte(text), &workflow, yaml.Strict()); err != nil {
		t.Fatal(err)
	}
	var commands []string
	for name, job := range workflow.Jobs {
		if job.RunsOn == "" || workflow.On == nil {
			t.Errorf("the job %s runs nowhere, or never", name)
		}
		for _, step := range job.Steps {
			if (step.Uses == "") == (step.Run == "") || step.Uses != "" && !regexp.MustCompile(`^[a-z]+/[a-z-]+@v\d+$`).MatchString(step.Uses) {
				t.Errorf("a step has to use one action or to run one command: %+v", step)
			}
			if step.Run != "" {
				commands = append(commands, step.Run)
			}
		}
	}
	return commands
}

// gitLabCommands are what the only job runs.
func gitLabCommands(t *testing.T, text string) []string {
	t.Helper()
	var pipeline map[string]struct {
		Image        string   `yaml:"image"`
		Timeout      string   `yaml:"timeout"`
		Before       []string `yaml:"before_script"`
		Script       []string `yaml:"script"`
		AllowFailure struct {
			ExitCodes []int `yaml:"exit_codes"`
		} `yaml:"allow_failure"`
		Artifacts struct {
			When  string   `yaml:"when"`
			Paths []string `yaml:"paths"`
		} `yaml:"artifacts"`
	}
	if err := yaml.UnmarshalWithOptions([]byte(text), &pipeline, yaml.Strict()); err != nil {
		t.Fatal(err)
	}
	var commands []string
	for name, job := range pipeline {
		if job.Image == "" || !slices.Contains(job.AllowFailure.ExitCodes, 99) {
			t.Errorf("the job %s has no image, or fails where the page says that it does not", name)
		}
		commands = append(append(commands, job.Before...), job.Script...)
	}
	return commands
}
