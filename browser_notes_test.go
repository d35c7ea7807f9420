package main_test

import (
	"regexp"
	"slices"
	"strings"
	"testing"

	"volley/stats"
)

// textNotes are the notes that the text of a result has: what stands below its totals,
// and above them whose figures they are. A row begins with what it is about.
func textNotes(t *testing.T, result *stats.Result) (rows []string) {
	t.Helper()
	var text strings.Builder
	if err := result.WriteText(&text, false); err != nil {
		t.Fatal(err)
	}
	whose := regexp.MustCompile(`(?m)^all figures are .*$`).FindString(text.String())
	below := regexp.MustCompile(`(?ms)^late starts [^\n]*\n(.*?)\n\n`).FindStringSubmatch(text.String())
	if whose == "" || below == nil {
		t.Fatalf("the text has no totals:\n%s", &text)
	}
	rows = []string{"figures: " + whose}
	for line := range strings.SplitSeq(below[1], "\n") {
		about, said := line[:13], line[13:]
		rows = append(rows, strings.TrimSpace(about)+": "+said)
	}
	return rows
}

// notes are those of the page, each after what it is about.
func (b *browser) notes() []string {
	b.t.Helper()
	return eval[[]string](b, `[...document.querySelectorAll("#notes:not([hidden]) dd")].map(e => (e.previousElementSibling.matches("dt") ? e.previousElementSibling.textContent : "") + ": " + e.textContent)`)
}

// What the text says of its figures, what they leave out and what has made them other
// than the plan has it, the page says in the same words.
func TestPageHasEveryNoteOfTheText(t *testing.T) {
	parts := []*stats.Summary{part("run-1", "amber", 10), part("run-1", "birch", 6)}
	parts[0].ThinkTimeScale, parts[0].Scaled = 0.5, true
	parts[0].Dropped, parts[0].DroppedThinking, parts[0].DroppedIsolated = 7, 3, 2
	parts[0].Downgrades, parts[0].LookupFailures = 4, 5
	parts[0].UnresolvedVariables, parts[0].ExtractionsFailed = 8, 9
	result := told(t, parts, nil)
	result.Amplification, result.RowsSkipped, result.FoldedLabels, result.MemorySavingSinceS = 1.25, 11, 13, 2.5
	result.PercentileSource, result.SamplePct = "sampled", 10
	result.Latency.Over1h = 3
	result.LastInterval = &stats.IntervalResult{FromS: 5, ToS: 10, Requests: 50, Latency: result.Latency}
	share := func(names ...string) (of []stats.NodeShare) {
		for _, name := range names {
			of = append(of, stats.NodeShare{NodeID: name, Share: 1 / float64(len(names))})
		}
		return of
	}
	result.Shares = []stats.ShareResult{
		{Nodes: share("amber", "birch")},
		{AtS: 6, FromArrival: 120, Cause: `node birch is lost <b>`, Nodes: share("amber"), Unsent: 20},
		{AtS: 8, FromArrival: 160, Cause: "node cedar joins", Nodes: share("amber", "cedar")},
	}
	want := textNotes(t, result)
	if len(want) != 16 {
		t.Fatalf("the text has %d notes, and this test is to have each kind: %q", len(want), want)
	}
	b := openBrowser(t)
	b.openReport(result)
	if got := b.notes(); !slices.Equal(got, want) {
		t.Errorf("the page's notes are\n%s\nthe text's\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
	b.wantTrue(decoded(t, result), nil)
	b.picture("notes", 1280, false)
	b.picture("notes-phone", 390, true)
	b.printed("notes")
}

// Scenarios, the phases of requests and their connections have tables, as in the text.
func TestPageHasScenariosPhasesAndConnections(t *testing.T) {
	s := part("run-1", "amber", 10)
	s.ConnsNew, s.ConnsReused, s.Reconnects, s.OwnClient = 5, 95, 2, true
	result := told(t, []*stats.Summary{s}, nil)
	result.Phases = &stats.PhaseResult{DNS: result.Latency, Connect: result.Latency, TLS: result.ServiceTime, FirstByte: result.ServiceTime}
	result.Scenarios = []stats.ScenarioResult{{Scenario: "browse", Succeeded: 70, Failed: 3, Interrupted: 1, Iteration: result.Latency}, {Scenario: "pay", Succeeded: 27, Iteration: result.Latency}}
	b := openBrowser(t)
	b.openReport(result)
	b.wantColumn("scenarios", "failed", "browse: 3", "pay: 0")
	b.wantColumn("scenarios", "p95", "browse: 20.0 ms", "pay: 20.0 ms")
	b.wantColumn("percentiles", "p95", "latency from due: 20.0 ms", "latency, successful: 20.0 ms", "service time: 20.0 ms", "iteration: –", "dns: 20.0 ms", "connect: 20.0 ms", "tls: 20.0 ms", "first byte: 20.0 ms")
	b.wantColumn("connections", "reused", "own: 95")
	b.wantTrue(decoded(t, result), nil)
	b.picture("scenarios", 1280, false)

	// One scenario alone is what the totals say.
	result.Scenarios = result.Scenarios[:1]
	b.openReport(result)
	if !eval[bool](b, `document.getElementById("table-scenarios").hidden`) {
		t.Error("one scenario has a table")
	}
}
