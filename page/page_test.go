package page_test

import (
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"regexp"
	"strings"
	"testing"
	"time"

	"volley/page"
	"volley/stats"
)

// hour is the result of a run of 20 steps, so many seconds after its start.
func hour(t *testing.T, seconds int) *stats.Result {
	t.Helper()
	layout := stats.Layout{}
	for i := range 20 {
		layout.Steps = append(layout.Steps, stats.StepKey{Scenario: "checkout", Step: fmt.Sprintf("step number %d", i)})
	}
	recorder := stats.NewRecorder(layout, 1)
	shard := recorder.Shard(0)
	for i := range 10 * seconds {
		at := time.Duration(i) * 100 * time.Millisecond
		shard.Arrived(stats.Arrival{Due: at, Sent: at + 100*time.Microsecond, WorkerFree: true})
		shard.Request(stats.Sample{Step: i % 20, At: at, Latency: time.Duration(1_234_567 + i*i%98_765_432), Service: time.Duration(1_234_567 + i%54_321), Status: 200, Complete: true})
	}
	s := recorder.Summary()
	s.RunID, s.NodeID, s.Elapsed, s.Planned = "run-1", "a", time.Duration(seconds)*time.Second, time.Hour
	s.Target, s.StartedAt = float64(10*seconds), time.Unix(1_700_000_000, 0)
	line := s.Node(0)
	line.Reason = stats.StillGoing
	result, err := stats.NewResult(s, stats.ScopeNode, []stats.NodeResult{line})
	if err != nil {
		t.Fatal(err)
	}
	return result
}

func taken(t *testing.T, v page.View) page.Snapshot {
	t.Helper()
	shot, err := page.Take(v)
	if err != nil {
		t.Fatal(err)
	}
	return shot
}

// Whoever opens the page at the 60th minute loads less than 500 kB, and each
// second after that little, compressed as it is sent.
func TestAnHourFitsIntoAPage(t *testing.T) {
	shell, err := page.Live(page.Open)
	if err != nil {
		t.Fatal(err)
	}
	before, after := taken(t, page.View{Result: hour(t, 3599)}), taken(t, page.View{Result: hour(t, 3600)})
	first := before.Since(page.Snapshot{})
	if n := len(shell.HTML) + len(first); n > 500_000 {
		t.Errorf("the page and its first event are %d bytes, more than 500 000", n)
	}
	var wire bytes.Buffer
	zip := gzip.NewWriter(&wire)
	send := func(event []byte) int {
		n := wire.Len()
		if _, err := zip.Write(event); err != nil {
			t.Fatal(err)
		}
		if err := zip.Flush(); err != nil {
			t.Fatal(err)
		}
		return wire.Len() - n
	}
	opened, next := send(first), send(after.Since(before))
	t.Logf("shell %d bytes, first event %d (%d compressed), the next %d (%d compressed)", len(shell.HTML), len(first), opened, len(after.Since(before)), next)
	if next > 6_000 {
		t.Errorf("a second takes %d bytes, more than 6 000", next)
	}
}

// A hundred nodes over an hour fit, too; what each second brings is new alone.
func TestAnHourOfManyNodesFitsIntoAPage(t *testing.T) {
	shell, err := page.Live(page.Open)
	if err != nil {
		t.Fatal(err)
	}
	const nodes = 100
	shot := func(seconds int) page.Snapshot {
		r := hour(t, seconds)
		line := r.Nodes[0]
		for i := range line.OverTime { // figures as long as they get
			lag := 1234.567
			p := &line.OverTime[i]
			p.ScheduleLagP99, p.CPUPct, p.ThrottledPct, p.GCPause, p.Verdict = &lag, 99.9, 12.3, 45.678, stats.VerdictSaturated
		}
		r.Nodes = nil
		for i := range nodes {
			line.NodeID = fmt.Sprintf("node-%d-0123456789", i)
			r.Nodes = append(r.Nodes, line)
		}
		return taken(t, page.View{Result: r})
	}
	before, after := shot(3590), shot(3600)
	first := before.Since(page.Snapshot{})
	if n := len(shell.HTML) + len(first); n > 500_000 {
		t.Errorf("the page and its first event are %d bytes, more than 500 000", n)
	}
	next := after.Since(before)
	t.Logf("shell %d bytes, first event %d, the next %d", len(shell.HTML), len(first), len(next))
	got := read(t, next)
	if len(got.OverTime.Nodes) != nodes {
		t.Fatalf("%d nodes over time, want %d", len(got.OverTime.Nodes), nodes)
	}
	for i, n := range got.OverTime.Nodes {
		if len(n.Rows) > 1 {
			t.Errorf("node %d is sent again from row %d on: %d rows", i, n.From, len(n.Rows))
		}
	}
	if _, in := got.Result["nodes"].([]any)[0].(map[string]any)["over_time"]; in {
		t.Error("the rows of a node are in the result, too")
	}
}

// A node that comes moves others: their rows are sent anew, and none is taken for another's.
func TestSinceKnowsNodesByName(t *testing.T) {
	shot := func(names ...string) page.Snapshot {
		r := &stats.Result{RunID: "r"}
		for _, name := range names {
			n := stats.NodeResult{NodeID: name}
			for i := range 3 {
				n.OverTime = append(n.OverTime, stats.NodePoint{T: float64(i), Verdict: stats.VerdictOK})
			}
			r.Nodes = append(r.Nodes, n)
		}
		return taken(t, page.View{Result: r})
	}
	got := read(t, shot("a", "b", "c").Since(shot("a", "c")))
	var from []int
	for _, n := range got.OverTime.Nodes {
		from = append(from, n.From)
	}
	if fmt.Sprint(from) != "[3 0 0]" {
		t.Errorf("rows from %v on, want [3 0 0]", from)
	}
}

// event is what a page reads of one.
type event struct {
	Plan    string
	Answers []stats.Answer
	Result  map[string]any
	Series  struct {
		Columns []string
		From    int
		Rows    [][]any
	}
	OverTime struct {
		Nodes []struct {
			From int
			Rows [][]any
		}
	} `json:"over_time"`
}

func read(t *testing.T, data []byte) (e event) {
	t.Helper()
	if err := json.Unmarshal(data, &e); err != nil {
		t.Fatalf("%v in %.200s", err, data)
	}
	return e
}

func TestSinceHasWhatIsNew(t *testing.T) {
	series := func(run string, started ...int64) page.Snapshot {
		r := &stats.Result{RunID: run}
		for i, n := range started {
			r.Series = append(r.Series, stats.SeriesPoint{T: float64(i), Started: n})
		}
		return taken(t, page.View{Result: r})
	}
	for _, test := range []struct {
		name          string
		before, after page.Snapshot
		from          int
		started       []any
	}{
		{"nothing seen", page.Snapshot{}, series("r", 1, 2), 0, []any{1.0, 2.0}},
		{"one more", series("r", 1, 2), series("r", 1, 2, 3), 2, []any{3.0}},
		{"the last has changed, too", series("r", 1, 2), series("r", 1, 5, 3), 1, []any{5.0, 3.0}},
		{"nothing new", series("r", 1, 2), series("r", 1, 2), 2, nil},
		{"coarser", series("r", 1, 2, 3, 4), series("r", 3, 7), 0, []any{3.0, 7.0}},
		{"shorter", series("r", 1, 2, 3), series("r", 1, 2), 2, nil},
		{"another run", series("r", 1, 2), series("s", 1, 2), 0, []any{1.0, 2.0}},
		{"no result", series("r", 1, 2), taken(t, page.View{}), 0, nil},
	} {
		got := read(t, test.after.Since(test.before))
		var started []any
		for _, row := range got.Series.Rows {
			started = append(started, row[2])
		}
		if got.Series.From != test.from || fmt.Sprint(started) != fmt.Sprint(test.started) {
			t.Errorf("%s: from %d on %v, want %d, %v", test.name, got.Series.From, started, test.from, test.started)
		}
	}
}

// What is sent has the figures of the result, and none of the histograms that
// only merging needs; the result is as it was.
func TestTakeIsOfWhatIsRead(t *testing.T) {
	r := hour(t, 20)
	r.Plan = "shop"
	r.Phases = &stats.PhaseResult{DNS: r.Latency, Connect: r.Latency, TLS: r.Latency, FirstByte: r.Latency}
	r.Scenarios = []stats.ScenarioResult{{Scenario: "checkout", Iteration: r.Latency}}
	r.LastInterval = &stats.IntervalResult{Latency: r.Latency}
	r.Courses = []stats.CourseResult{{Step: "buy", Points: []stats.CoursePoint{{PointDetail: stats.PointDetail{Latency: []byte("a sketch")}}}}}
	whole, err := json.Marshal(r)
	if err != nil {
		t.Fatal(err)
	}
	sent := taken(t, page.View{Plan: "shop", Result: r}).Since(page.Snapshot{})
	if after, err := json.Marshal(r); err != nil || !bytes.Equal(whole, after) {
		t.Errorf("the result was changed (%v)", err)
	}
	got := read(t, sent)
	if len(got.Answers) != 3 || got.Plan != "shop" || got.Result["requests"] != 200.0 || got.Result["latency_ms"].(map[string]any)["p95"] != *r.Latency.P95 {
		t.Errorf("%v, %q, %v", got.Answers, got.Plan, got.Result["requests"])
	}
	if phases, ok := got.Result["phases_ms"].(map[string]any); !ok || phases["tls"].(map[string]any)["p95"] != *r.Latency.P95 || len(got.Result["scenarios"].([]any)) != 1 {
		t.Errorf("phases %v, scenarios %v", got.Result["phases_ms"], got.Result["scenarios"])
	}
	if found := regexp.MustCompile(`"histogram":"[^"]|sketch|courses`).Find(sent); found != nil {
		t.Errorf("a histogram is sent: %s", found)
	}
	if i := len(got.Series.Columns); len(got.Series.Rows) != 20 || len(got.Series.Rows[3]) != i || got.Series.Rows[3][7] != *r.Series[3].P95 || got.Series.Columns[7] != "p95" {
		t.Errorf("series: columns %q, %d rows, the fourth %v, want p95 %v", got.Series.Columns, len(got.Series.Rows), got.Series.Rows[3], *r.Series[3].P95)
	}
}

// A report is one file: its policy names its script and style by their hashes,
// nothing in it leads elsewhere, and what stands in a result cannot become markup.
func TestReportStandsAlone(t *testing.T) {
	r := hour(t, 5)
	r.Plan = `</script><script>alert("x")</script>`
	r.Nodes[0].Reason = `<img src="https://evil.example/x">`
	report, err := page.Report(r)
	if err != nil {
		t.Fatal(err)
	}
	html := string(report.HTML)
	for _, name := range []string{"script", "style"} {
		m := regexp.MustCompile(`(?s)<`+name+`>(.*?)</`+name+`>`).FindAllStringSubmatch(html, -1)
		if len(m) != 1 {
			t.Fatalf("%d elements %s, want 1", len(m), name)
		}
		sum := sha256.Sum256([]byte(m[0][1]))
		if want := name + "-src 'sha256-" + base64.StdEncoding.EncodeToString(sum[:]) + "'"; !strings.Contains(report.Policy, want) {
			t.Errorf("the policy %q is without %q", report.Policy, want)
		}
	}
	if strings.Contains(html, "<script>alert") || strings.Contains(html, "<img") {
		t.Error("text of the result has become markup")
	}
	if outside := regexp.MustCompile(`(?:src|href)="(?:https?:|//|/)[^"]*"|@import|url\(`).FindString(html); outside != "" {
		t.Errorf("the report refers to %s", outside)
	}
	if !strings.Contains(html, "Was the target fast enough?") || !strings.Contains(html, "<noscript>") {
		t.Error("without JavaScript there is no text")
	}
}

func TestLivePageHasNoDataAndSaysWhatItAsksFor(t *testing.T) {
	for _, access := range []page.Access{page.Open, page.Changes, page.Closed} {
		live, err := page.Live(access)
		if err != nil {
			t.Fatal(err)
		}
		if html := string(live.HTML); !strings.Contains(html, `data-token="`+string(access)+`"`) || strings.Contains(html, `id="data"`) || !strings.Contains(html, `id="stop"`) {
			t.Errorf("access %q: the page is not the one for it", access)
		}
	}
}
