package e2e

import (
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"testing"
	"time"
)

// jobTasks is of how many tasks the job of these tests is.
const jobTasks = 5

// job is an execution whose tasks meet in a bucket, in containers of the shipped image.
type job struct {
	b         *bench
	store     *gcsServer
	execution string
	volume    string
}

// newJob has a plan of rate requests a second by all tasks together, each with a row of its own.
func newJob(t *testing.T, execution string, rate, seconds int) (*job, *target) {
	t.Helper()
	b := newBench(t)
	target, store := b.target(), b.gcs()
	store.createBucket(bucket)
	load := fmt.Sprintf("  model: rps\n  target: %d\n", rate)
	plan := strings.Replace(tracedPlan(target.base(), load, time.Duration(seconds)*time.Second),
		"  - name: check\n", "  - name: check\n    dataFile: {path: rows.csv, strategy: sequential, onExhausted: stop}\n", 1)
	plan = strings.Replace(plan, "X-Volley-Iteration: ${iteration}", "X-Volley-Iteration: ${row}", 1)
	var rows strings.Builder
	rows.WriteString("row\n")
	for i := range rate * seconds {
		fmt.Fprintln(&rows, i)
	}
	volume := b.filesVolume(map[string]string{"/etc/volley/config.yaml": plan, "/etc/volley/rows.csv": rows.String()})
	return &job{b, store, execution, volume}, target
}

func (j *job) bucket() env {
	return env{"STORAGE_EMULATOR_HOST": fmt.Sprintf("http://%s:%d", j.store.ctlIP, gcsPortNo)}
}

// task is one of the job's; each try of one is a process of its own.
func (j *job) task(index, attempt int) *node {
	j.b.t.Helper()
	spec := containerSpec{
		name: fmt.Sprintf("task%d-%d", index, attempt), image: j.b.imageFor(shippedImage), sealed: true, memory: sealedMemory, volume: j.volume,
		tmpfs: "/tmp", // as on Cloud Run; a data file is copied there
	}
	n := j.b.nodeWith(spec, standalone().with(j.bucket(), env{
		"RESULT_FILE": "", "CLUSTER_NODE_ID": "", "CLOUD_RUN_EXECUTION": j.execution, "CLOUD_RUN_TASK_INDEX": fmt.Sprint(index),
		"CLOUD_RUN_TASK_COUNT": fmt.Sprint(jobTasks), "CLOUD_RUN_TASK_ATTEMPT": fmt.Sprint(attempt), "RENDEZVOUS": "gs://" + bucket + "/load",
	}))
	n.start()
	return n
}

// jobResult is what these tests read of the report of all tasks.
type jobResult struct {
	runResult
	StartSpreadMS *float64 `json:"start_spread_ms"`
	Target        struct {
		Iterations int64 `json:"iterations"`
	} `json:"target"`
	Shares []struct {
		Cause  string `json:"cause"`
		Unsent int64  `json:"unsent"`
	} `json:"shares"`
}

// merged is the report of all tasks, by the command, in a container as well.
func (j *job) merged(want int) (r jobResult) {
	j.b.t.Helper()
	n := j.b.nodeWith(containerSpec{name: "report", image: j.b.imageFor(shippedImage), sealed: true, memory: sealedMemory,
		cmd: []string{"report", "-format", "json", "gs://" + bucket + "/load/*"}}, env{"RESULT_FILE": ""}.with(standalone(), j.bucket()))
	n.start()
	n.wantExit(formTime, want)
	text := n.printed()
	if err := json.Unmarshal([]byte(text), &r); err != nil {
		j.b.t.Fatalf("the report is %.300q: %v", text, err)
	}
	return r
}

// printed is what the container has written to its standard output.
func (c *container) printed() string {
	c.bench.t.Helper()
	ctx, cancel := call()
	defer cancel()
	logs, err := c.handle.Logs(ctx)
	c.must("read its output", err)
	defer logs.Close()
	text, err := io.ReadAll(logs)
	c.must("read its output", err)
	return string(text)
}

// A job of five tasks sends what its plan asks for, each row once, from one
// instant on, and its report has what the target counted. A task that is tried
// again and finds its result ends with the verdict of it.
func TestShippedJob(t *testing.T) {
	t.Parallel()
	const rate, seconds = 200, 5
	j, target := newJob(t, "job-a", rate, seconds)
	var tasks []*node
	for i := range jobTasks {
		tasks = append(tasks, j.task(i, 0))
	}
	wantExits(t, tasks, formTime+seconds*time.Second+endTime, 0)
	sent := target.stats().Total
	if off := sent - rate*seconds; off > rate*seconds/200 || off < -rate*seconds/200 {
		t.Errorf("the target counted %d requests, want %d within 0.5 %%", sent, rate*seconds)
	}
	r := j.merged(0)
	if r.Requests != sent || r.Due != rate*seconds || r.Target.Iterations != rate*seconds || len(r.Nodes) != jobTasks || r.RunID != "job-a" {
		t.Errorf("%d requests of %d due of %d, by %d nodes of run %q; the target counted %d", r.Requests, r.Due, r.Target.Iterations, len(r.Nodes), r.RunID, sent)
	}
	wantOnce(t, indices(t, target.stats().Arrivals))
	if r.StartSpreadMS == nil {
		t.Error("the report does not say how far apart the starts were")
	} else {
		t.Logf("starts %.3f ms apart", *r.StartSpreadMS)
	}
	again := j.task(2, 1)
	again.wantExit(formTime, 0)
	if after := target.stats().Total; after != sent {
		t.Errorf("a task that is tried again has sent %d requests", after-sent)
	}
}

// One task's process dies before the start, and the next try joins late; another's
// dies in mid-run, and its share is reported as lost. No row is sent twice.
func TestShippedJobWithTasksTriedAgain(t *testing.T) {
	t.Parallel()
	const rate, seconds = 200, 12
	j, target := newJob(t, "job-b", rate, seconds)
	late := j.task(4, 0)
	late.waitEvent(formTime, "job_waiting", 1)
	late.kill()
	var tasks []*node
	for i := range jobTasks - 1 {
		tasks = append(tasks, j.task(i, 0))
	}
	eventually(t, formTime, "load arrives", func() error {
		if target.stats().Total < 100 {
			return errNotEnough
		}
		return nil
	})
	killed := tasks[3]
	killed.kill()
	tasks = append(tasks[:3], j.task(4, 1))
	j.task(3, 1).wantExit(formTime, 1)
	wantExits(t, tasks, formTime+seconds*time.Second+endTime, 0)
	tasks[3].waitEvent(time.Second, "job_late", 1)
	wantOnce(t, indices(t, target.stats().Arrivals))
	r, counted := j.merged(0), target.stats()
	total, lost := counted.Total, counted.from(killed).Total
	if r.Requests != total-lost || len(r.Nodes) != jobTasks || r.Nodes[3].Complete || !strings.Contains(r.Nodes[3].Reason, "lost") || r.Target.Iterations != rate*seconds {
		t.Errorf("%d requests of %d asked for, nodes %+v; the target counted %d, %d of them of the task that was killed", r.Requests, r.Target.Iterations, r.Nodes, total, lost)
	}
	var unsent int64
	for _, s := range r.Shares {
		unsent += s.Unsent
	}
	if r.Due+unsent != rate*seconds {
		t.Errorf("due %d and unsent %d, want %d together", r.Due, unsent, rate*seconds)
	}
}
