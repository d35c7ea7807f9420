package main_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/chromedp/chromedp"

	"volley/stats"
)

// pageClock is a time of a run as the page writes it.
func pageClock(seconds float64) string {
	s := int(seconds + 0.5)
	if h := s / 3600; h > 0 {
		return fmt.Sprintf("%d:%02d:%02d", h, s/60%60, s%60)
	}
	return fmt.Sprintf("%02d:%02d", s/60, s%60)
}

// elsewhere are the places whose numbers are no figures of the API, or are looked at
// by themselves: times of the head, names in heads, marks on axes, the second that a
// chart points at, and what words and rows compare as a whole.
const elsewhere = "#facts li, #flow-text, thead th, dt, .legend li, svg text, .at, #answer-list *, #note-list *, #table-stages tbody th, td.over, #points td, #node-points td"

// words are the texts of the page that are not the API's: answers, labels, and
// whatever has a digit and is no figure.
func (b *browser) words(report, cluster any) (wrong []string) {
	b.t.Helper()
	if got, want := eval[[]string](b, `[...document.querySelectorAll("#answers:not([hidden]) .answer")].map(e => [e.className.split(" ").pop(), ...[...e.children].map(c => c.textContent)].join("\n"))`), answersOf(report); !slices.Equal(got, want) {
		wrong = append(wrong, fmt.Sprintf("the answers are %q, want %q", got, want))
	}
	if got, want := b.notes(), notesOf(report); !slices.Equal(got, want) {
		wrong = append(wrong, fmt.Sprintf("the notes are %q, want %q", got, want))
	}
	if got, want := eval[[]string](b, `[...document.querySelectorAll("#table-stages tbody th")].map(e => e.textContent)`), stagesOf(report); !slices.Equal(got, want) {
		wrong = append(wrong, fmt.Sprintf("the stages are %q, want %q", got, want))
	}
	if got, want := eval[[]string](b, `[...document.querySelectorAll("#table-generators td.over")].map(e => e.parentElement.cells[0].textContent + ": " + e.textContent)`), faredOf(report); !slices.Equal(got, want) {
		wrong = append(wrong, fmt.Sprintf("the nodes fared %q, want %q", got, want))
	}
	said := []string{strings.Join(appendTexts(nil, list(report, "runs")), ", ")}
	for _, n := range list(report, "nodes") {
		said = append(said, lineName(n))
	}
	for _, from := range []any{report, cluster} {
		said = appendTexts(said, from)
	}
	for _, text := range eval[[]string](b, `(() => {
		const out = [], walk = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
		while (walk.nextNode()) {
			const text = walk.currentNode.textContent.trim(), e = walk.currentNode.parentElement;
			if (/\d/.test(text) && e.checkVisibility() && !e.closest("[data-k]") && !e.matches("`+elsewhere+`")) out.push(text);
		}
		return out;
	})()`) {
		for part := range strings.SplitSeq(strings.TrimPrefix(text, "✓ "), "; ") {
			if !slices.ContainsFunc(said, func(s string) bool { return s == part || len(part) >= 8 && strings.Contains(s, part) }) {
				wrong = append(wrong, fmt.Sprintf("%q is neither a figure with a key nor a text of the API", text))
			}
		}
	}
	return wrong
}

// appendTexts adds all names and texts of a JSON document.
func appendTexts(texts []string, from any) []string {
	switch from := from.(type) {
	case string:
		texts = append(texts, from)
	case []any:
		for _, v := range from {
			texts = appendTexts(texts, v)
		}
	case map[string]any:
		for name, v := range from {
			texts = appendTexts(append(texts, name), v)
		}
	}
	return texts
}

// answersOf are the answers that a result gives, as tone, question, answer and reason.
func answersOf(report any) []string {
	out := []string{}
	if r := readAgain(report); r != nil {
		for _, a := range r.Answers() {
			out = append(out, strings.Join([]string{string(a.Tone), a.Question, a.Answer, a.Because}, "\n"))
		}
	}
	return out
}

// notesOf are the notes of a result, each after what it is about.
func notesOf(report any) []string {
	out := []string{}
	if r := readAgain(report); r != nil {
		for _, n := range r.Notes() {
			out = append(out, n.About+": "+n.Text)
		}
	}
	return out
}

// readAgain is a result as the API has given it, nil where there is none.
func readAgain(report any) *stats.Result {
	data, err := json.Marshal(report)
	if err != nil {
		return nil
	}
	r, err := stats.ReadResult(bytes.NewReader(data))
	if err != nil {
		return nil
	}
	return r
}

func stagesOf(report any) []string {
	out := []string{}
	for _, s := range list(report, "stages") {
		stage := s.(map[string]any)
		out = append(out, fmt.Sprintf("%s to %s, %v → %v", pageClock(stage["from_s"].(float64)), pageClock(stage["to_s"].(float64)), stage["from_rate"], stage["to_rate"]))
	}
	return out
}

// lineName is what a node's line is called: with its run where there are several.
func lineName(line any) string {
	n := line.(map[string]any)
	if run, ok := n["run_id"]; ok {
		return fmt.Sprintf("%s in %s", n["node_id"], run)
	}
	return fmt.Sprint(n["node_id"])
}

// faredOf says of each node's line when its generator was not ok; nothing of one that
// has no two spans to compare.
func faredOf(report any) []string {
	out := []string{}
	for _, n := range list(report, "nodes") {
		points := list(n, "over_time")
		if len(points) < 2 {
			continue
		}
		verdict := func(i int) any { return points[i].(map[string]any)["verdict"] }
		var parts []string
		for from, to := 0, 0; from < len(points); from = to {
			end := "the end"
			for to < len(points) && verdict(to) == verdict(from) {
				to++
			}
			if to < len(points) {
				end = pageClock(points[to].(map[string]any)["t"].(float64))
			}
			if verdict(from) != "ok" {
				parts = append(parts, fmt.Sprintf("%v %s to %s", verdict(from), pageClock(points[from].(map[string]any)["t"].(float64)), end))
			}
		}
		text := "ok throughout"
		if len(parts) > 0 {
			text = strings.Join(parts[:min(len(parts), 3)], ", ")
		}
		if len(parts) > 3 {
			text += " …"
		}
		out = append(out, lineName(n)+": "+text)
	}
	return out
}

// points compares each row of the two tables of points with the API's.
func (b *browser) points(what string, report any) {
	b.t.Helper()
	names := []string{"t", "target", "started", "late", "dropped", "errors", "p50", "p95", "p99", "max", "workers", "schedule_lag_p99", "cpu_pct", "throttled_pct", "gc_pause"}
	heads := strings.Split(strings.ReplaceAll(strings.Join(names, ","), "_", " "), ",")
	b.rows(what, "points", heads, names, list(report, "series"))

	var rows []any
	for _, n := range list(report, "nodes") {
		for _, p := range list(n, "over_time") {
			row := map[string]any{"node_id": lineName(n)}
			for name, v := range p.(map[string]any) {
				row[name] = v
			}
			rows = append(rows, row)
		}
	}
	b.rows(what, "node-points", []string{"node", "t", "lag p99", "CPU", "throttled", "GC pause", "dropped", "generator"},
		[]string{"node_id", "t", "schedule_lag_p99", "cpu_pct", "throttled_pct", "gc_pause", "dropped", "verdict"}, rows)
}

// rows opens a table of points, compares it with rows of the API, and closes it.
func (b *browser) rows(what, id string, heads, names []string, want []any) {
	b.t.Helper()
	summary := chromedp.CSS("#" + id + " summary")
	b.do(chromedp.Click(summary))
	b.until(5*time.Second, "the table "+id, fmt.Sprintf(`document.querySelector("#%s table")`, id))
	got := eval[[][]string](b, fmt.Sprintf(`[...document.querySelectorAll("#%s tr")].map(tr => [...tr.cells].map(c => c.textContent))`, id))
	b.do(chromedp.Click(summary))
	if len(got) < 3 || len(got) != len(want)+1 || !slices.Equal(got[0], heads) {
		b.t.Errorf("%s: #%s has %d rows below %q, want %d below %q", what, id, len(got)-1, got[:min(len(got), 1)], len(want), heads)
		return
	}
	var wrong []string
	for i, row := range want {
		for j, name := range names {
			if v := row.(map[string]any)[name]; !cellShows(got[i+1][j], name, v) {
				wrong = append(wrong, fmt.Sprintf("row %d, %s: %q, the API %v", i, name, got[i+1][j], v))
			}
		}
	}
	if len(wrong) > 0 {
		b.t.Errorf("%s: #%s: %d cells are not the API's: %s", what, id, len(wrong), strings.Join(wrong[:min(len(wrong), 10)], "; "))
	}
}

// cellShows says whether a cell of a table of points shows a value of the API.
func cellShows(text, name string, value any) bool {
	switch v := value.(type) {
	case nil:
		return text == "–"
	case string:
		return text == v
	case float64:
		if name == "t" {
			return text == pageClock(v)
		}
		return shown{F: "ms", Text: text}.matches(v)
	}
	return false
}
