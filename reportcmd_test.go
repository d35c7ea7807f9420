package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"volley/node"
	"volley/plan"
	"volley/stats"
)

// resultOf writes the result of a node that sent n requests of that latency.
func resultOf(t *testing.T, nodeID, version string, n int, latency time.Duration, thresholds ...string) string {
	t.Helper()
	return resultOfRun(t, "run", nodeID, version, n, latency, thresholds...)
}

func resultOfRun(t *testing.T, runID, nodeID, version string, n int, latency time.Duration, thresholds ...string) string {
	t.Helper()
	rec := stats.NewRecorder(stats.Layout{Steps: []stats.StepKey{{Scenario: "s", Step: "get"}}, Duration: 10 * time.Second}, 1)
	for i := range n {
		at := time.Duration(i) * time.Millisecond
		rec.Shard(0).Arrived(stats.Arrival{Due: at, Sent: at})
		rec.Shard(0).Request(stats.Sample{At: at, Latency: latency, Service: latency, Status: 200, Complete: true})
		rec.Shard(0).Iteration(stats.Iteration{Duration: latency})
	}
	s := rec.Summary()
	s.RunID, s.ConfigVersion, s.NodeID, s.Ended = runID, version, nodeID, true
	s.StartedAt, s.Elapsed, s.Planned, s.Target = time.Unix(1_800_000_000, 0).UTC(), 10*time.Second, 10*time.Second, float64(n)
	result, err := stats.NewResult(s, stats.ScopeNode, nil)
	if err != nil {
		t.Fatal(err)
	}
	var list []plan.Threshold
	for _, expr := range thresholds {
		list = append(list, plan.Threshold{Expr: expr})
	}
	result.Thresholds = stats.NewJudge(list).Result(s)
	body, err := encode(result)
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), nodeID+".json")
	if err := os.WriteFile(path, body, 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func reported(t *testing.T, args ...string) (code int, out, errOut string) {
	t.Helper()
	var o, e bytes.Buffer
	code = report(t.Context(), args, &o, &e)
	return code, o.String(), e.String()
}

// The thresholds are those of all requests: a part that fails one alone does
// not fail the whole, and the other way round.
func TestReportMergesAndJudges(t *testing.T) {
	fast := resultOf(t, "a", "sha256:1", 1000, 10*time.Millisecond, "mean < 50ms")
	slow := resultOf(t, "b", "sha256:1", 100, 100*time.Millisecond, "mean < 50ms")
	if code, _, errOut := reported(t, slow); code != node.ExitFailed || errOut != "" {
		t.Errorf("the slow part alone: exit %d, %q", code, errOut)
	}
	code, out, errOut := reported(t, "-format", "json", fast, slow)
	var got stats.Result
	if err := json.Unmarshal([]byte(out), &got); err != nil {
		t.Fatalf("%v in %q", err, out)
	}
	if code != node.ExitOK || errOut != "" || got.Requests != 1100 || got.Due != 1100 || len(got.Nodes) != 2 || got.Scope != stats.ScopeCluster || *got.Latency.Max != 100 {
		t.Errorf("exit %d, %q, %d requests, %d due, nodes %+v, latency %+v", code, errOut, got.Requests, got.Due, got.Nodes, got.Latency)
	}
	if row := got.Thresholds; len(row) != 1 || !row[0].OK || *row[0].Value < 18.1 || *row[0].Value > 18.3 {
		t.Errorf("thresholds %+v, want the mean of all, 18.18 ms", row)
	}

	fast = resultOf(t, "a", "sha256:1", 1000, 10*time.Millisecond, "p99 < 50ms")
	slow = resultOf(t, "b", "sha256:1", 100, 100*time.Millisecond)
	code, out, _ = reported(t, fast, slow)
	if code != node.ExitFailed || !strings.Contains(out, "p99 < 50ms") || !strings.Contains(out, "2 nodes") || strings.Contains(out, "\x1b") {
		t.Errorf("exit %d and\n%s", code, out)
	}
}

func TestReportOfOneRunIsItsOwn(t *testing.T) {
	file := resultOf(t, "a", "sha256:1", 7, time.Millisecond)
	code, out, errOut := reported(t, "-format=json", file)
	written, err := os.ReadFile(file)
	if code != node.ExitOK || errOut != "" || err != nil || out != string(written) {
		t.Errorf("exit %d, %q, %v and\n%s\nwant\n%s", code, errOut, err, out, written)
	}
}

// The report as a page is of what the files make together, and judged like the others.
// TestReportReadsFilesByPattern: what a shell has not put there, as in quotes,
// is read as in a bucket.
func TestReportReadsFilesByPattern(t *testing.T) {
	folder := filepath.Join(t.TempDir(), "[a]") // nothing but * stands for others
	if err := os.Mkdir(folder, 0o700); err != nil {
		t.Fatal(err)
	}
	for i, name := range []string{"task 0", "task 1"} {
		if err := os.Rename(resultOf(t, name, "sha256:1", 100*(i+1), time.Millisecond), filepath.Join(folder, name+".json")); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.WriteFile(filepath.Join(folder, "task 0.html"), []byte("<html>"), 0o600); err != nil {
		t.Fatal(err)
	}
	code, out, errOut := reported(t, "-format", "json", filepath.Join(folder, "*"))
	var got stats.Result
	if err := json.Unmarshal([]byte(out), &got); err != nil || code != node.ExitOK || errOut != "" || got.Requests != 300 || len(got.Nodes) != 2 {
		t.Errorf("exit %d, %v, %q, %d requests of %d nodes, want 300 of 2", code, err, errOut, got.Requests, len(got.Nodes))
	}
	none := filepath.Join(folder, "*.jsn")
	want := "volley: " + none + ": no file has such a name (* stands for any characters but /)\n"
	if code, out, errOut := reported(t, none); code != node.ExitInvalid || out != "" || errOut != want {
		t.Errorf("exit %d, %q, %q, want %q", code, out, errOut, want)
	}
}

func TestReportAsPage(t *testing.T) {
	a, b := resultOf(t, "a", "sha256:1", 1000, 10*time.Millisecond, "mean < 5ms"), resultOf(t, "b", "sha256:1", 100, 10*time.Millisecond, "mean < 5ms")
	code, out, errOut := reported(t, "-format", "html", a, b)
	if code != node.ExitFailed || errOut != "" || !strings.HasPrefix(out, "<!doctype html>") || !strings.Contains(out, `"requests":1100,`) || !strings.Contains(out, `The only threshold failed: mean \u003c 5ms was 10.0 ms.`) {
		t.Errorf("exit %d, %q and %.3000s", code, errOut, out)
	}
}

// Runs stand side by side, in the order given; the files of one run's nodes are
// one column. The thresholds of the last decide.
func TestReportCompares(t *testing.T) {
	before := resultOfRun(t, "r-1", "a", "sha256:1", 1000, 100*time.Millisecond, "p95 < 50ms")
	a := resultOfRun(t, "r-2", "a", "sha256:2", 400, 20*time.Millisecond, "p95 < 50ms")
	b := resultOfRun(t, "r-2", "b", "sha256:2", 400, 20*time.Millisecond, "p95 < 50ms")
	code, out, errOut := reported(t, "-compare", before, a, b)
	if code != node.ExitOK || errOut != "" {
		t.Errorf("exit %d, %q", code, errOut)
	}
	for _, want := range []string{
		"1  run r-1, started 2027-01-15T08:00:00Z, config sha256:1, nodes: 1\n2  run r-2, started 2027-01-15T08:00:00Z, config sha256:2, nodes: 2\n",
		"the configs differ",
		"\ntoo short to tell: 1 and 1 blocks of 10 s",
		"requests           1000      800 -20.0 %\n",
		"p95            100.0 ms  20.0 ms -80.0 %\n",
		"thresholds       failed             held\n",
	} {
		if !strings.Contains(out, want) {
			t.Errorf("no %q in\n%s", want, out)
		}
	}
	// Runs after "--" are one column, and those of one id are not taken for one run.
	later := resultOfRun(t, "r-1", "a", "sha256:1", 500, 20*time.Millisecond)
	if code, out, errOut := reported(t, "-compare", before, "--", later); code != node.ExitOK || !strings.HasPrefix(out, "the rates differ: 1 was asked for 100.0/s, 2 for 50.0/s\ntoo short to tell: 1 and 1 blocks") || !strings.Contains(out, "requests           1000      500 -50.0 %\n") {
		t.Errorf("exit %d, %q and\n%s", code, errOut, out)
	}
	if code, _, _ := reported(t, "-compare", a, b, before); code != node.ExitFailed {
		t.Errorf("the last run's threshold has failed: exit %d", code)
	}
	_, out, _ = reported(t, "-compare", "-format", "json", before, a, b)
	var got stats.Comparison
	if err := json.Unmarshal([]byte(out), &got); err != nil {
		t.Fatal(err)
	}
	if got.Schema != "volley.comparison/1" || len(got.Runs) != 2 || got.Runs[1].Nodes != 2 || got.Runs[0].Thresholds != "failed" {
		t.Errorf("%+v", got)
	}
	for _, line := range got.Figures {
		if line.Name == "requests" && (*line.Values[1] != 800 || *line.Changes[1] != -20 || *line.Changes[0] != 0) || line.Name == "dropped" && line.Changes[1] != nil {
			t.Errorf("%s: %v %v", line.Name, line.Values, line.Changes)
		}
	}
}

func TestReportRefuses(t *testing.T) {
	a, other := resultOf(t, "a", "sha256:1", 5, time.Millisecond), resultOf(t, "b", "sha256:2", 5, time.Millisecond)
	junk := filepath.Join(t.TempDir(), "junk.json")
	if err := os.WriteFile(junk, []byte(`{"schema": "other/1"}`), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct {
		args []string
		want string
	}{
		{nil, reportUsage}, {[]string{"-format", "html", "-compare", a, a}, "-format html: of one result"}, {[]string{"-format", "xml", a}, `-format "xml": no such format (text, json or html)`},
		{[]string{a, "--", other}, "with -compare"}, {[]string{"-compare", a, "--"}, "one of which has no result"}, {[]string{"-compare", a, "--", a, other}, "config version"},
		{[]string{"-compare", a}, "they are all of one run (accepted: 2 to 5 runs)"}, {[]string{"gs://b"}, `"gs://b": want gs://bucket/object`},
		{[]string{a, "-format", "json"}, "options come before"}, {[]string{"-colour", a}, "not defined: -colour"},
		{[]string{a, a}, `node "a" of run "run" is in two of them`}, {[]string{a, other}, "config version"},
		{[]string{junk}, fmt.Sprintf(`%s: read result: its schema is "other/1"`, junk)}, {[]string{junk + ".none"}, "no such file"},
	} {
		if code, out, errOut := reported(t, test.args...); code != node.ExitInvalid || !strings.Contains(errOut, test.want) || out != "" {
			t.Errorf("%q: exit %d, %q, %q, want %q", test.args, code, out, errOut, test.want)
		}
	}
}

// One task's result alone is no verdict on the job.
func TestReportOfOneTask(t *testing.T) {
	path := resultOf(t, "task 0", "sha256:1", 100, 100*time.Millisecond, "mean < 50ms")
	body, err := os.ReadFile(path)
	if err == nil {
		err = os.WriteFile(path, bytes.Replace(body, []byte("{"), []byte(`{"tasks":5,`), 1), 0o600)
	}
	if err != nil {
		t.Fatal(err)
	}
	code, out, errOut := reported(t, path)
	const want = "volley: thresholds are about all 5 tasks of the job: the exit code tells of the one whose result was given\n"
	if code != node.ExitFailed || errOut != want || !strings.Contains(out, "not judged: it is about all tasks") || strings.Contains(out, "failed\n") {
		t.Errorf("exit %d, %q and\n%s", code, errOut, out)
	}
}

func TestSchemaIsPrinted(t *testing.T) {
	var out bytes.Buffer
	if code := schema(&out); code != node.ExitOK || !bytes.Equal(out.Bytes(), plan.Schema()) {
		t.Errorf("exit %d, %d bytes", code, out.Len())
	}
}
