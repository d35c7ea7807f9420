package main

import (
	"bytes"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"volley/node"
	"volley/sources"
	"volley/stats"
)

// meetPlan asks for 100 requests a second of all tasks together, each with a row of its own.
const meetPlan = `version: "1.0"
config: {baseUrl: "$BASE", workers: 15, duration: DURATION}
load: {model: rps, target: 100}
thresholds: [{expr: "error_rate < 1%"}]
scenarios:
  - name: s
    dataFile: {path: rows.csv, format: csv, strategy: sequential, onExhausted: stop}
    steps: [{name: get, request: {method: GET, path: "/x?row=${row}"}}]
`

// gathering is a job whose tasks meet in a bucket.
type gathering struct {
	t      *testing.T
	target *recorder
	store  *sources.Store
	file   string
	count  int
}

func newGathering(t *testing.T, execution string, count int, duration string) *gathering {
	t.Helper()
	server := gcsServer(t)
	g := &gathering{t: t, target: record(t, always), count: count}
	g.file = planFileIn(t, strings.NewReplacer("$BASE", g.target.URL, "DURATION", duration).Replace(meetPlan))
	var rows strings.Builder
	rows.WriteString("row\n")
	for i := range 1000 {
		fmt.Fprintln(&rows, i)
	}
	if err := os.WriteFile(filepath.Join(filepath.Dir(g.file), "rows.csv"), []byte(rows.String()), 0o600); err != nil {
		t.Fatal(err)
	}
	var err error
	if g.store, err = sources.NewStore(sources.StoreConfig{EmulatorHost: server.Addr}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { g.store.Close() })
	t.Setenv("CLUSTER_HEALTH_ADDR", "127.0.0.1:0")
	t.Setenv("METRICS_ADDR", "off")
	t.Setenv("RENDEZVOUS", "gs://results/load")
	t.Setenv("CLOUD_RUN_EXECUTION", execution)
	t.Setenv("CLOUD_RUN_TASK_COUNT", fmt.Sprint(count))
	return g
}

func (g *gathering) task(index, attempt int) *process {
	g.t.Helper()
	g.t.Setenv("CLOUD_RUN_TASK_INDEX", fmt.Sprint(index))
	g.t.Setenv("CLOUD_RUN_TASK_ATTEMPT", fmt.Sprint(attempt))
	return launch(g.t, g.file)
}

// ends checks how a task ends, and what it says.
func (g *gathering) ends(p *process, code int, says string) {
	g.t.Helper()
	if got := p.exit(); got != code || !strings.Contains(p.log.String(), says) {
		g.t.Errorf("exit code %d, want %d and %q:\n%s", got, code, says, p.log)
	}
}

// merged is the report of all, by the command.
func (g *gathering) merged(code int, of string) *stats.Result {
	g.t.Helper()
	got, out, errOut := reported(g.t, "-format", "json", of)
	if got != code {
		g.t.Fatalf("report: exit %d, want %d: %s", got, code, errOut)
	}
	r, err := stats.ReadResult(strings.NewReader(out))
	if err != nil {
		g.t.Fatal(err)
	}
	return r
}

// onceEach checks that no row was sent twice.
func (g *gathering) onceEach() (sent int) {
	g.t.Helper()
	rows := sentRows(g.target)
	slices.Sort(rows)
	if twice := len(rows) - len(slices.Compact(slices.Clone(rows))); twice != 0 || slices.Contains(rows, "") {
		g.t.Errorf("%d rows were sent twice: %q", twice, rows)
	}
	return len(rows)
}

// Five tasks start at one instant beside a real storage server and send what the
// plan asks for, each row once; what they leave there merges to what the target
// counts. A task that is tried again finds its result, or that its share is lost.
func TestTasksOfAJobMeet(t *testing.T) {
	if testing.Short() {
		t.Skip("takes 15 seconds")
	}
	g := newGathering(t, "job-a1", 5, "4s")
	var tasks []*process
	for i := range g.count {
		tasks = append(tasks, g.task(i, 0))
	}
	for _, task := range tasks {
		g.ends(task, node.ExitOK, `"event":"job_met"`)
	}
	sent := g.onceEach()
	r := g.merged(node.ExitOK, "gs://results/load/*")
	if r.Due != 400 || *r.Target.Iterations != 400 || int(r.Requests) != sent || sent < 398 || r.RunID != "job-a1" || len(r.Nodes) != 5 || len(r.Shares) != 0 {
		t.Errorf("due %d of %d, %d requests, the target counts %d; nodes %+v of %s", r.Due, *r.Target.Iterations, r.Requests, sent, r.Nodes, r.RunID)
	}
	if r.StartSpreadMs == nil || *r.StartSpreadMs > 100 || r.StartSpreadBoundMs <= 0 || r.StartSpreadBoundMs > 200 {
		t.Errorf("starts %v ms apart, ±%v: %+v", r.StartSpreadMs, r.StartSpreadBoundMs, r.Nodes)
	}
	if r.StartSpreadMs != nil {
		t.Logf("starts %.3f ms apart, ±%.3f ms", *r.StartSpreadMs, r.StartSpreadBoundMs)
	}
	for _, n := range r.Nodes {
		if !n.Complete || n.ClockBoundMs <= 0 || n.Requests < 79 {
			t.Errorf("%+v", n)
		}
	}

	g.ends(g.task(3, 1), node.ExitOK, "attempt 0 has sent the task's share of the load; its result is gs://results/load/job-a1-task-3.json")
	if err := g.store.Delete(t.Context(), sources.Place{Bucket: "results", Object: "load/job-a1-task-3.json"}); err != nil {
		t.Fatal(err)
	}
	g.ends(g.task(3, 1), node.ExitFailure, "the share is lost")
	g.ends(g.task(3, 2), node.ExitFailure, "attempt 0 has sent the task's share")
	r = g.merged(node.ExitOK, "gs://results/load/job-a1-*")
	if lost := r.Nodes[3]; lost.NodeID != "task-3" || lost.Complete || !strings.Contains(lost.Reason, "the share is lost") {
		t.Errorf("%+v", lost)
	}
	if r.Due != 320 || *r.Target.Iterations != 400 || len(r.Shares) != 2 || r.Shares[1].Unsent != 80 || len(r.Shares[1].Nodes) != 4 {
		t.Errorf("due %d of %d; %+v", r.Due, *r.Target.Iterations, r.Shares)
	}
	if again := len(sentRows(g.target)); again != sent {
		t.Errorf("tasks that were tried again have sent %d requests", again-sent)
	}
}

// A task whose attempt before has come, and gone before the start, joins at its
// place on the curve: what it sends is its own share from there on, with its rows.
// The objects of another execution under the same prefix are none of its.
func TestATaskThatIsTriedAgainJoinsLate(t *testing.T) {
	if testing.Short() {
		t.Skip("takes 15 seconds")
	}
	g := newGathering(t, "job-b2", 3, "6s")
	for _, object := range []string{"job-b1/started-2", "job-b1/here-0-0123456789ab"} {
		if _, err := g.store.Put(t.Context(), sources.Place{Bucket: "results", Object: "load/" + object}, sources.Content{Type: "application/json", Body: []byte("{}")}); err != nil {
			t.Fatal(err)
		}
	}
	before := g.task(2, 0)
	before.until("it is there", func() bool {
		there, err := g.store.List(t.Context(), sources.Place{Bucket: "results", Object: "load/job-b2/here-2-*"}, 2)
		return err == nil && len(there) == 1
	})
	if code := before.signal(); code != node.ExitStopped {
		t.Errorf("the attempt before: exit code %d", code)
	}
	tasks := []*process{g.task(0, 0), g.task(1, 0)}
	tasks[0].until("the load begins", func() bool { return g.target.count("GET /x") > 0 })
	late := g.task(2, 1)
	for _, task := range append(tasks, late) {
		g.ends(task, node.ExitOK, `"event":"job_met"`)
	}
	if !strings.Contains(late.log.String(), `"event":"job_late"`) {
		t.Errorf("it has not come late:\n%s", late.log)
	}
	sent := g.onceEach()
	r := g.merged(node.ExitOK, "gs://results/load/*")
	if len(r.Shares) != 2 || r.Shares[1].Cause != "task-2 has come late" || len(r.Shares[1].Nodes) != 3 {
		t.Fatalf("%+v", r.Shares)
	}
	if unsent := r.Shares[1].Unsent; r.Due+unsent != 600 || *r.Target.Iterations != 600 || unsent < 33 || unsent > 133 || int(r.Requests) != sent || sent < 460 {
		t.Errorf("due %d, unsent %d, of %d; %d requests, the target counts %d", r.Due, unsent, *r.Target.Iterations, r.Requests, sent)
	}
	if at := r.Shares[1].AtS; at < 1 || at > 4 || len(r.Nodes) != 3 || !r.Nodes[2].Complete || *r.Nodes[2].StartSkewMs > 200 {
		t.Errorf("it enters at %v s; %+v", at, r.Nodes)
	}
	started := time.Now()
	g.ends(g.task(2, 2), node.ExitOK, "attempt 1 has sent the task's share")
	if took := time.Since(started); took > 5*time.Second {
		t.Errorf("a task that finds its result takes %s", took)
	}
}

// Tasks that do not come are named, and who has come sends nothing. A bucket that
// is not there is a mistake in the settings.
func TestTasksThatDoNotMeet(t *testing.T) {
	if testing.Short() {
		t.Skip("takes 10 seconds")
	}
	g := newGathering(t, "job-c3", 3, "1s")
	t.Setenv("RENDEZVOUS_TIMEOUT", "10s")
	tasks := []*process{g.task(0, 0), g.task(2, 0)}
	t.Setenv("RENDEZVOUS", "gs://no-such-bucket/load")
	g.ends(g.task(1, 0), node.ExitInvalid, `RENDEZVOUS: write gs://no-such-bucket/load/job-c3/here-1-`)
	for _, task := range tasks {
		g.ends(task, node.ExitCluster, "after 10s (RENDEZVOUS_TIMEOUT) not all tasks are there: still missing: task 1 of 3 (counted from 0)")
	}
	if sent := g.target.count("GET /x"); sent != 0 {
		t.Errorf("%d requests were sent", sent)
	}
}

// A job of one task has a verdict, which is that of the task that is tried again,
// too. A task whose result does not get to where the tasks meet has failed.
func TestVerdictOfATaskThatIsTriedAgain(t *testing.T) {
	if testing.Short() {
		t.Skip("takes 15 seconds")
	}
	g := newGathering(t, "job-d4", 1, "1s")
	text, err := os.ReadFile(g.file)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(g.file, []byte(strings.Replace(string(text), "error_rate < 1%", "p95 < 0.001ms", 1)), 0o600); err != nil {
		t.Fatal(err)
	}
	g.ends(g.task(0, 0), node.ExitFailed, `"event":"result_uploaded"`)
	g.ends(g.task(0, 1), node.ExitFailed, "attempt 0 has sent the task's share")

	left := temporary(t)
	storage := &url.URL{Scheme: "http", Host: os.Getenv("STORAGE_EMULATOR_HOST")}
	pass := httputil.NewSingleHostReverseProxy(storage)
	denying := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil || r.Method == http.MethodPost && strings.Contains(r.URL.String()+string(body), "job-d5-task-0.json") {
			http.Error(w, "no", http.StatusForbidden)
			return
		}
		r.Body = io.NopCloser(bytes.NewReader(body))
		pass.ServeHTTP(w, r)
	}))
	defer denying.Close()
	t.Setenv("STORAGE_EMULATOR_HOST", strings.TrimPrefix(denying.URL, "http://"))
	t.Setenv("CLOUD_RUN_EXECUTION", "job-d5")
	sent := g.target.count("GET /x")
	g.ends(g.task(0, 0), node.ExitFailure, "but the task's result is not where the tasks have met (RENDEZVOUS)")
	if files := left(); len(files) != 1 || g.target.count("GET /x") == sent {
		t.Errorf("kept: %q, %d requests", files, g.target.count("GET /x")-sent)
	}
}

// A task that is tried again ends as the process whose result it finds.
func TestTheVerdictOfAResult(t *testing.T) {
	one, five := 1, 5
	left := []stats.NodeResult{{NodeID: "task-0", Reason: "it left before the end"}}
	whole := []stats.NodeResult{{NodeID: "task-0", Complete: true}}
	failed := []stats.ThresholdResult{{Expr: "errors < 1"}}
	for _, tt := range []struct {
		count  *int
		result stats.Result
		want   int
	}{
		{&five, stats.Result{Nodes: whole, Thresholds: failed}, node.ExitOK}, // the report of all judges
		{&one, stats.Result{Nodes: whole, Thresholds: failed}, node.ExitFailed},
		{&five, stats.Result{Nodes: left}, node.ExitFailure},
		{&five, stats.Result{Nodes: left, Stopped: &stats.Stopped{Cause: "signal"}}, node.ExitStopped},
		{&five, stats.Result{Nodes: whole, Stopped: &stats.Stopped{Cause: "memory"}}, node.ExitFailure},
	} {
		a := &app{}
		a.set.Job.Count = tt.count
		if got := a.verdictOf(&tt.result); got != tt.want {
			t.Errorf("%+v: %d, want %d", tt.result, got, tt.want)
		}
	}
}
