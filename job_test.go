package main

import (
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"volley/node"
	"volley/settings"
	"volley/stats"
)

// jobPlan asks for 200 requests of all tasks together, each with a row of its own.
const jobPlan = `version: "1.0"
config: {baseUrl: "$BASE", workers: 10, duration: 2s}
load: {model: rps, target: 100}
thresholds: [{expr: "rps > 90/s"}, {expr: "p95 < 0.001ms"}]
scenarios:
  - name: s
    dataFile: {path: rows.csv, format: csv, strategy: sequential, onExhausted: stop}
    steps: [{name: get, request: {method: GET, path: "/x?row=${row}"}}]
`

// startJob starts the tasks of a job, each as Cloud Run would.
func startJob(t *testing.T, count int, file string) (tasks []*process) {
	t.Helper()
	t.Setenv("CLUSTER_HEALTH_ADDR", "127.0.0.1:0")
	t.Setenv("METRICS_ADDR", "off")
	t.Setenv("CLOUD_RUN_EXECUTION", "job-x7k2p")
	t.Setenv("CLOUD_RUN_TASK_COUNT", fmt.Sprint(count))
	t.Setenv("RESULT_FILE", "gs://results/{run_id}/{node_id}.json")
	for i := range count {
		t.Setenv("CLOUD_RUN_TASK_INDEX", fmt.Sprint(i))
		tasks = append(tasks, launch(t, file))
	}
	return tasks
}

// Five tasks that know nothing of each other send what the plan asks for, every
// row of the data file once, and their results merge to what the target counts.
func TestTasksOfAJobShareTheLoad(t *testing.T) {
	gcsServer(t)
	left := temporary(t)
	target := record(t, always)
	file := planFileIn(t, strings.ReplaceAll(jobPlan, "$BASE", target.URL))
	var rows strings.Builder
	rows.WriteString("row\n")
	for i := range 250 {
		fmt.Fprintln(&rows, i)
	}
	if err := os.WriteFile(filepath.Join(filepath.Dir(file), "rows.csv"), []byte(rows.String()), 0o600); err != nil {
		t.Fatal(err)
	}
	for i, task := range startJob(t, 5, file) {
		if code := task.exit(); code != node.ExitOK {
			t.Errorf("task %d: exit code %d, but no task can tell of the thresholds", i, code)
		}
		if log := task.log.String(); !strings.Contains(log, fmt.Sprintf("task %d of 5", i)) || strings.Contains(log, `"event":"threshold_failed"`) ||
			!strings.Contains(log, "100 iterations/s in all") {
			t.Errorf("task %d says:\n%s", i, log)
		}
	}
	if files := left(); len(files) != 0 {
		t.Errorf("left behind: %q", files)
	}
	code, out, errOut := reported(t, "-format", "json", "gs://results/job-x7k2p/*")
	if code != node.ExitFailed {
		t.Fatalf("report: exit %d, %s", code, errOut)
	}
	r, err := stats.ReadResult(strings.NewReader(out))
	if err != nil {
		t.Fatal(err)
	}
	sent := sentRows(target)
	if r.Due != 200 || *r.Target.Iterations != 200 || r.Requests != int64(len(sent)) || len(r.Nodes) != 5 || r.Nodes[3].NodeID != "task-3" || r.RunID != "job-x7k2p" {
		t.Errorf("due %d of %d, %d requests, the target counts %d; nodes %+v of %s", r.Due, *r.Target.Iterations, r.Requests, len(sent), r.Nodes, r.RunID)
	}
	slices.Sort(sent)
	if twice := len(sent) - len(slices.Compact(slices.Clone(sent))); twice != 0 || slices.Contains(sent, "") {
		t.Errorf("%d rows were sent twice: %q", twice, sent)
	}
	if rps := r.Thresholds; len(rps) != 2 || rps[1].OK || r.Dropped == 0 && !rps[0].OK {
		t.Errorf("thresholds %+v: the rate is that of all, and no request takes a microsecond", rps)
	}
}

func sentRows(target *recorder) (rows []string) {
	target.mu.Lock()
	defer target.mu.Unlock()
	for _, u := range target.urls {
		query, err := url.ParseQuery(u)
		if err != nil {
			return nil
		}
		rows = append(rows, query.Get("row"))
	}
	return rows
}

// What only one task would do, or would do once more, is refused.
func TestTaskRefusesWhatItCannotDoAlone(t *testing.T) {
	standalone(t)
	t.Setenv("CLOUD_RUN_TASK_INDEX", "1")
	t.Setenv("CLOUD_RUN_TASK_COUNT", "2")
	for name, c := range map[string]struct {
		env, plan string
		code      int
		says      string
	}{
		"tried again": {"CLOUD_RUN_TASK_ATTEMPT=1", planOf("http://127.0.0.1:1", "/x", "1s", ""), node.ExitFailure, "its share is not sent again"},
		"no plan":     {"", "", node.ExitInvalid, "a task of a job has nobody to post it a plan"},
		"standby":     {"", planOf("http://127.0.0.1:1", "/x", "1s", "standby: {workers: 1, rps: 1}"), node.ExitInvalid, "a task of a job ends with its run"},
		"abort": {"", planOf("http://127.0.0.1:1", "/x", "1s", `thresholds: [{expr: "error_rate < 1%", abortOnFail: true}]`), node.ExitInvalid,
			"does not know what the others measure"},
	} {
		t.Run(name, func(t *testing.T) {
			if variable, value, ok := strings.Cut(c.env, "="); ok {
				t.Setenv(variable, value)
			}
			set, _, err := settings.Load()
			if err != nil {
				t.Fatal(err)
			}
			if c.plan != "" {
				set.Run.ConfigFile = planFileIn(t, c.plan)
			}
			log := &lines{}
			code := node.ExitOK
			a, err := newApp(set, newLogging(set, log, log))
			if err != nil {
				code = exitCodeOf(err)
				fmt.Fprint(log, err)
			} else {
				code = a.run(t.Context())
			}
			if code != c.code || !strings.Contains(log.String(), c.says) {
				t.Errorf("exit code %d, want %d and %q:\n%s", code, c.code, c.says, log)
			}
		})
	}
}

// The tasks agree on run, seed and scope without a word, with or without a name
// of the execution.
func TestTasksAgreeOnTheRun(t *testing.T) {
	standalone(t)
	t.Setenv("CLOUD_RUN_TASK_COUNT", "3")
	t.Setenv("TARGET_URL", "http://127.0.0.1:1/")
	t.Setenv("TARGET_RPS", "30")
	t.Setenv("LOAD_MODEL_TYPE", "rps")
	var first *node.Checked
	for i := range 3 {
		t.Setenv("CLOUD_RUN_TASK_INDEX", fmt.Sprint(i))
		set, _, err := settings.Load()
		if err != nil {
			t.Fatal(err)
		}
		a, err := newApp(set, newLogging(set, &lines{}, &lines{}))
		if err != nil {
			t.Fatal(err)
		}
		source, err := a.source()
		if err != nil {
			t.Fatal(err)
		}
		c, err := source.Fetch(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		checked, err := a.check(c.Document)
		a.close()
		if err != nil {
			t.Fatal(err)
		}
		if first == nil {
			first = &checked
		}
		if !checked.Divided || checked.Version != first.Version || *checked.Seed != *first.Seed || checked.RunID != first.RunID || !strings.HasPrefix(checked.RunID, "job-") {
			t.Errorf("task %d: %+v, seed %d; the first: %+v, seed %d", i, checked, *checked.Seed, first, *first.Seed)
		}
		if set.Node.ID != fmt.Sprintf("box-%d", i) {
			t.Errorf("task %d is called %s", i, set.Node.ID)
		}
	}
}
