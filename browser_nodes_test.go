package main_test

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"volley/node"
	"volley/page"
	"volley/plan"
	"volley/stats"
)

// part is what a node has measured of a run of ten seconds, as far as it got.
func part(runID, nodeID string, seconds int) *stats.Summary {
	recorder := stats.NewRecorder(stats.Layout{Steps: []stats.StepKey{{Scenario: "shop", Step: "browse"}}, Duration: 10 * time.Second}, 1)
	shard := recorder.Shard(0)
	for i := range 10 * seconds {
		at := time.Duration(i) * 100 * time.Millisecond
		shard.Arrived(stats.Arrival{Due: at, Sent: at, WorkerFree: true})
		shard.Request(stats.Sample{At: at, Latency: 20 * time.Millisecond, Service: 20 * time.Millisecond, Status: 200, Complete: true})
	}
	recorder.Observe(stats.Gauges{At: time.Duration(seconds-1) * time.Second, Workers: 2, CPUPct: 12})
	s := recorder.Summary()
	s.RunID, s.NodeID, s.ConfigVersion, s.StartedAt = runID, nodeID, "sha256:0123456789abcdef", time.Unix(1_800_000_000, 0).UTC()
	s.Elapsed, s.Planned, s.Target, s.Ended = time.Duration(seconds)*time.Second, 10*time.Second, float64(10*seconds), true
	return s
}

// told is the result of parts of a run; change changes the node's line of each.
func told(t *testing.T, parts []*stats.Summary, change func(i int, line *stats.NodeResult)) *stats.Result {
	t.Helper()
	var lines []stats.NodeResult
	for i, s := range parts {
		line := s.Node(0)
		if change != nil {
			change(i, &line)
		}
		lines = append(lines, line)
	}
	scope := stats.ScopeCluster
	if len(parts) == 1 {
		scope = stats.ScopeNode
	}
	merged, err := stats.Merge(parts...)
	if err != nil {
		t.Fatal(err)
	}
	result, err := stats.NewResult(merged, scope, lines)
	if err != nil {
		t.Fatal(err)
	}
	return result
}

// openReport shows a result as the file that its report is.
func (b *browser) openReport(result *stats.Result) {
	b.t.Helper()
	document, err := page.Report(result)
	if err != nil {
		b.t.Fatal(err)
	}
	file := filepath.Join(b.t.TempDir(), "report.html")
	if err := os.WriteFile(file, document.HTML, 0o600); err != nil {
		b.t.Fatal(err)
	}
	b.open("file://"+file, `!document.getElementById("totals").hidden`)
}

// column is what stands below a head of a table, beside the first cell of its row.
func (b *browser) column(table, head string) (cells []string) {
	b.t.Helper()
	for _, row := range eval[[][]string](b, `(() => {
		const table = document.querySelector("#table-`+table+` table");
		if (!table) return [];
		const at = [...table.tHead.rows[0].cells].findIndex(c => c.textContent === "`+head+`");
		return [...table.tBodies[0].rows].map(tr => [tr.cells[0].textContent, at < 0 ? "no such column" : tr.cells[at].textContent]);
	})()`) {
		cells = append(cells, strings.ReplaceAll(strings.Join(row, ": "), "\u00a0", " "))
	}
	return cells
}

func (b *browser) wantColumn(table, head string, want ...string) {
	b.t.Helper()
	if got := b.column(table, head); !slices.Equal(got, want) {
		b.t.Errorf("%s, %s: %q, want %q", table, head, got, want)
	}
}

// wantTrue checks that numbers and words of the page are those of a result and a cluster.
func (b *browser) wantTrue(result, cluster any) {
	b.t.Helper()
	if wrong := append(differences(b.numbers(), result, cluster), b.words(result, cluster)...); len(wrong) > 0 {
		b.t.Errorf("not the API's:\n%s", strings.Join(wrong, "\n"))
	}
}

const restarted = "it was restarted, and had told of its first 3.0 s: its figures end there, those of the process after it are beside them"

// A node that was restarted has a line for each of its processes, and both stand on
// the page: what it sent before is in the totals, too. The cluster tells of the newest.
func TestPageShowsBothProcessesOfARestartedNode(t *testing.T) {
	result := told(t, []*stats.Summary{part("run-1", "amber", 10), part("run-1", "birch", 3), part("run-1", "birch", 5)}, func(i int, line *stats.NodeResult) {
		if half := 0.5; i == 1 {
			line.Complete, line.Reason, line.Share = false, restarted, &half
		}
	})
	status := node.Status{State: "leader", NodeID: "amber", LeaderID: "amber", ClusterEnabled: true, Phase: "running", Run: &node.StatusRun{RunID: "run-1", PlannedDurationS: 10}}
	for _, name := range []string{"amber", "birch", "cedar"} { // the last has come too late to have a part
		status.Members = append(status.Members, node.MemberStatus{NodeID: name, Suffrage: "voter", Alive: true, Share: 0.5})
	}
	b := openBrowser(t)
	base := serve(t, page.View{Cluster: status, Result: result})
	b.open(base, `!document.getElementById("totals").hidden`)
	b.wantColumn("nodes", "requests", "amber: 100", "birch: 30", "birch: 50", "cedar: –")
	b.wantColumn("nodes", "state", "amber: leader", "birch: gone", "birch: voter", "cedar: voter")
	b.wantColumn("nodes", "part", "amber: ✓ complete", "birch: "+restarted, "birch: ✓ complete", "cedar: –")
	b.wantColumn("generators", "verdict", "amber: ok", "birch: ok", "birch: ok")
	if red := eval[[]string](b, `[...document.querySelectorAll("#table-nodes .bad-text")].map(e => e.textContent)`); !slices.Equal(red, []string{restarted}) {
		t.Errorf("in red: %q, want that it was restarted", red)
	}
	b.wantTrue(decoded(t, result), decoded(t, status))
	b.picture("restarted", 1280, false)
	b.picture("restarted-phone", 390, false)
	b.silent(base)
}

// Without a disk a node that restarts is a new member, beside the lost one of the same
// name until that is removed: each has its own line, and who has none yet a row.
func TestPageTellsALostProcessFromTheOneAfterIt(t *testing.T) {
	const lost = "it was lost 3.0 s after the start: its figures end there"
	status := node.Status{State: "leader", NodeID: "amber", LeaderID: "amber", ClusterEnabled: true, Phase: "running", Run: &node.StatusRun{RunID: "run-1", PlannedDurationS: 10}}
	status.Members = []node.MemberStatus{
		{NodeID: "amber", ServerID: "amber-1", Suffrage: "voter", Alive: true, Share: 0.5},
		{NodeID: "birch", ServerID: "birch-1", Suffrage: "voter"},
		{NodeID: "birch", ServerID: "birch-2", Suffrage: "nonvoter", Alive: true, Share: 0.5},
	}
	parts := []*stats.Summary{part("run-1", "amber", 10), part("run-1", "birch", 3), part("run-1", "birch", 5)}
	change := func(i int, line *stats.NodeResult) {
		if i == 1 {
			line.Complete, line.Reason = false, lost
		}
	}
	b := openBrowser(t)
	for _, parts := range [][]*stats.Summary{parts, parts[:2]} {
		result := told(t, parts, change)
		base := serve(t, page.View{Cluster: status, Result: result})
		b.open(base, `!document.getElementById("totals").hidden`)
		b.wantColumn("nodes", "state", "amber: leader", "birch: lost", "birch: nonvoter")
		b.wantColumn("nodes", "share", "amber: 50.00 %", "birch: 0.00 %", "birch: 50.00 %")
		after := "birch: –"
		if len(parts) == 3 {
			after = "birch: ✓ complete"
		}
		b.wantColumn("nodes", "part", "amber: ✓ complete", "birch: "+lost, after)
		b.wantTrue(decoded(t, result), decoded(t, status))
	}
}

// Runs of one node that are merged have a row each, which says of which run it is.
func TestReportOfMergedRunsHasARowForEach(t *testing.T) {
	var runs []*stats.Result
	for i, id := range []string{"run-1", "run-2", "run-3"} {
		runs = append(runs, told(t, []*stats.Summary{part(id, "amber", 10-i)}, nil))
	}
	merged, err := stats.MergeResults(runs...)
	if err != nil {
		t.Fatal(err)
	}
	b := openBrowser(t)
	b.openReport(merged)
	b.wantColumn("nodes", "requests", "amber in run-1: 100", "amber in run-2: 90", "amber in run-3: 80")
	b.wantColumn("generators", "verdict", "amber in run-1: ok", "amber in run-2: ok", "amber in run-3: ok")
	b.wantTrue(decoded(t, merged), nil)
	if facts := b.facts(); !slices.Contains(facts, "3 runs together") || !slices.Contains(facts, "node amber") {
		t.Errorf("the head says %q, want that three runs are of one node", facts)
	}
	b.picture("merged", 1280, false)
}

// judgedOn gives a result two thresholds: the first fails, the other holds.
func judgedOn(result *stats.Result, by *stats.Summary) {
	result.Thresholds = stats.NewJudge([]plan.Threshold{{Expr: "p95 < 1ms"}, {Expr: "error_rate < 1%"}}).Result(by)
}

// What one task of a job has measured is no verdict on the job, neither good nor bad.
func TestReportOfOneTaskJudgesNothing(t *testing.T) {
	s := part("run-1", "task-0", 10)
	result := told(t, []*stats.Summary{s}, nil)
	judgedOn(result, s)
	b := openBrowser(t)
	b.openReport(result)
	b.wantColumn("thresholds", "verdict", "p95 < 1ms: ✗ failed", "error_rate < 1%: ✓ held")

	result.Tasks = 5
	b.openReport(result)
	b.wantColumn("thresholds", "verdict", "p95 < 1ms: not judged: it is about all tasks", "error_rate < 1%: not judged: it is about all tasks")
	if marked := eval[int](b, `document.querySelectorAll("#table-thresholds .bad-text, #table-thresholds .good-text").length`); marked != 0 {
		t.Errorf("%d verdicts have the colour of one", marked)
	}
}

// facts are what the head says below the title.
func (b *browser) facts() []string {
	b.t.Helper()
	return eval[[]string](b, `[...document.querySelectorAll("#facts li")].map(e => e.textContent)`)
}

// A report of a run that goes on says so, and judges what is there so far alone.
func TestReportOfARunThatGoesOnSaysSo(t *testing.T) {
	s := part("run-1", "amber", 4)
	s.Ended = false
	result := told(t, []*stats.Summary{s}, func(_ int, line *stats.NodeResult) { line.Reason = stats.StillGoing })
	judgedOn(result, s)
	b := openBrowser(t)
	b.openReport(result)
	if got := eval[[]string](b, `(p => [p.textContent, p.className])(document.getElementById("phase"))`); !slices.Equal(got, []string{"going on", "pill warn"}) {
		t.Errorf("the phase is %q, want going on, as a warning", got)
	}
	if facts := b.facts(); !slices.Contains(facts, "its first 00:04") || slices.ContainsFunc(facts, func(f string) bool { return strings.HasPrefix(f, "duration") }) {
		t.Errorf("the head says %q, want as of when it is", facts)
	}
	b.wantColumn("thresholds", "verdict", "p95 < 1ms: ✗ failed", "error_rate < 1%: ✓ holds so far")
	b.wantTrue(decoded(t, result), nil)
	b.picture("report-going", 1280, false)
	b.picture("report-going-phone", 390, true)

	s.Ended = true
	b.openReport(told(t, []*stats.Summary{s}, nil))
	if got := eval[string](b, `document.getElementById("phase").textContent`); got != "finished" || !slices.Contains(b.facts(), "duration 00:10") {
		t.Errorf("the phase is %q, and the head says %q, want finished and its duration", got, b.facts())
	}
}
