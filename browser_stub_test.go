package main_test

import (
	"encoding/json"
	"fmt"
	"math"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	"volley/node"
	"volley/page"
	"volley/stats"
)

// serve shows a view on the live page, again each second, as a node does.
func serve(t *testing.T, view page.View) string {
	t.Helper()
	live, err := page.Live(page.Open)
	if err != nil {
		t.Fatal(err)
	}
	shot, err := page.Take(view)
	if err != nil {
		t.Fatal(err)
	}
	routes := http.NewServeMux()
	routes.HandleFunc("/{$}", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Security-Policy", live.Policy)
		w.Header().Set("Content-Type", "text/html; charset=utf-8")
		_, _ = w.Write(live.HTML)
	})
	routes.HandleFunc("/events", func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "text/event-stream")
		tick := time.NewTicker(time.Second)
		defer tick.Stop()
		for before := (page.Snapshot{}); ; before = shot {
			if _, err := fmt.Fprintf(w, "data: %s\n\n", shot.Since(before)); err != nil || http.NewResponseController(w).Flush() != nil {
				return
			}
			select {
			case <-tick.C:
			case <-r.Context().Done():
				return
			}
		}
	})
	server := httptest.NewServer(routes)
	t.Cleanup(func() {
		server.CloseClientConnections() // Close waits for the page's stream
		server.Close()
	})
	return server.URL
}

// decoded is a value as the API's JSON has it.
func decoded(t *testing.T, value any) (out any) {
	t.Helper()
	data, err := json.Marshal(value)
	if err == nil {
		err = json.Unmarshal(data, &out)
	}
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// Whoever waits for the start is told which node it waits for.
func TestPageTellsWhoHasNotAcknowledged(t *testing.T) {
	const version = "sha256:0123456789abcdef"
	status := node.Status{
		State: "follower", NodeID: "amber", ClusterEnabled: true, Peers: 2, LeaderID: "birch", Phase: "distributing",
		Config: &node.StatusConfig{Version: version, Source: "post", Origin: "birch"}, Run: &node.StatusRun{RunID: "run-1", PlannedDurationS: 60},
	}
	for _, name := range []string{"amber", "birch", "cedar"} {
		m := node.MemberStatus{NodeID: name, Suffrage: "voter", Alive: true, Share: 1.0 / 3, ConfigVersion: version}
		if name == "cedar" {
			m.ConfigVersion = ""
		}
		status.Members = append(status.Members, m)
	}
	b := openBrowser(t)
	base := serve(t, page.View{Plan: "checkout", Cluster: status})
	b.open(base, `!document.getElementById("before").hidden`)
	if got, want := eval[string](b, `document.getElementById("flow-text").innerText`), "2 of 3 nodes have acknowledged the plan; not yet: cedar."; got != want {
		t.Errorf("the page says %q, want %q", got, want)
	}
	if got := eval[string](b, `document.querySelector("#flow [aria-current=step]").innerText`); got != "distributing" {
		t.Errorf("the step that is marked is %q, want distributing", got)
	}
	got := eval[[]string](b, `[...document.querySelectorAll("#table-nodes tbody tr")].map(tr => tr.cells[0].innerText + ": " + tr.cells[tr.cells.length - 1].innerText)`)
	if want := []string{"amber: ✓ 01234567", "birch: ✓ 01234567", "cedar: not acknowledged"}; !slices.Equal(got, want) {
		t.Errorf("the nodes' plans are %q, want %q", got, want)
	}
	if wrong := append(differences(b.numbers(), nil, decoded(t, status)), b.words(nil, decoded(t, status))...); len(wrong) > 0 {
		t.Errorf("not the API's:\n%s", strings.Join(wrong, "\n"))
	}
	b.picture("not-yet", 1280, false)
	b.silent(base)
}

// anHour is the result of a day in small: a rate that rises and falls within the
// hour, latency that follows it, and a quarter in which the target has errors.
func anHour(t *testing.T) *stats.Result {
	t.Helper()
	layout := stats.Layout{Duration: time.Hour, Asked: func(at time.Duration) float64 {
		return at.Seconds() + 40*3600/math.Pi*(1-math.Cos(math.Pi*at.Hours()))
	}}
	for _, name := range []string{"browse", "basket", "pay"} {
		layout.Steps = append(layout.Steps, stats.StepKey{Scenario: "checkout", Step: name})
	}
	recorder := stats.NewRecorder(layout, 1)
	shard := recorder.Shard(0)
	for second := range 3600 {
		load := math.Sin(math.Pi * float64(second) / 3600)
		from := time.Duration(second) * time.Second
		for i := range 1 + int(40*load) {
			at := from + time.Duration(i)*20*time.Millisecond
			took := time.Duration(float64(5+(i*7919+second*104729)%97) * (1 + 3*load) * float64(time.Millisecond))
			sample := stats.Sample{Step: i % 3, At: at, Latency: took, Service: took, Status: 200, Complete: true}
			if second/900 == 2 && i%20 == 0 {
				sample.Status, sample.Kind = 503, stats.ErrServer
			}
			shard.Arrived(stats.Arrival{Due: at, Sent: at + took/1000, WorkerFree: true})
			shard.Request(sample)
		}
		recorder.Observe(stats.Gauges{At: from, Workers: 2 + int64(20*load), CPUPct: 5 + 60*load, GCPause: time.Duration(100+second%300) * time.Microsecond})
	}
	s := recorder.Summary()
	s.RunID, s.NodeID, s.Elapsed, s.Planned, s.Ended = "run-1", "amber", time.Hour, time.Hour, true
	s.Target, s.StartedAt = float64(s.Started), time.Unix(1_700_000_000, 0).UTC()
	line := s.Node(0)
	line.Complete = true
	result, err := stats.NewResult(s, stats.ScopeNode, []stats.NodeResult{line})
	if err != nil {
		t.Fatal(err)
	}
	return result
}

// An hour can be read: its charts have their points and axes, and show the values of
// any moment.
func TestPageOfAnHour(t *testing.T) {
	b := openBrowser(t)
	result := anHour(t)
	status := node.Status{State: "standalone", NodeID: "amber", Phase: "finished", Run: &node.StatusRun{RunID: "run-1", PlannedDurationS: 3600}, Members: []node.MemberStatus{{NodeID: "amber", Alive: true, Share: 1}}}
	base := serve(t, page.View{Plan: "checkout", Cluster: status, Result: result})
	b.open(base, `document.querySelectorAll(".chart path").length > 6`)

	report := decoded(t, result)
	if wrong := append(differences(b.numbers(), report, decoded(t, status)), b.words(report, decoded(t, status))...); len(wrong) > 0 {
		t.Errorf("not the API's:\n%s", strings.Join(wrong, "\n"))
	}
	b.points("an hour", report)
	if n := eval[int](b, `document.querySelectorAll(".chart:not([hidden])").length`); n != 6 {
		t.Errorf("%d charts, want 6", n)
	}
	if n := eval[int](b, `(document.querySelectorAll(".chart")[1].querySelector("path.a").getAttribute("d").match(/[ML]/g) || []).length`); n < 400 || n != len(result.Series) {
		t.Errorf("p95 is a line through %d points, want one through all %d, at least 400", n, len(result.Series))
	}
	for _, look := range []struct {
		name  string
		width int64
	}{{"hour", 1280}, {"hour-phone", 390}} {
		b.window(look.width, 900)
		eval[bool](b, settled)
		b.labels(look.name)
		half := b.mouse(1804.0 / 3600) // points are of eight seconds, and drawn in their middle
		if half != 1800 {
			t.Errorf("%s: the middle of the hour is second %v, want 1800", look.name, half)
		}
		b.pointed(look.name, half, report)
		b.leave()
		b.picture(look.name, look.width, false)
	}
	b.silent(base)
}

// labels checks that between any two texts of a chart is some room, and none leaves it.
func (b *browser) labels(what string) {
	b.t.Helper()
	type found struct {
		Seen  int
		Wrong []string
	}
	got := eval[found](b, `(() => {
		const out = { Seen: 0, Wrong: [] };
		for (const svg of document.querySelectorAll(".chart:not([hidden]) svg")) {
			const whole = svg.getBoundingClientRect(), all = [...svg.querySelectorAll("text")].map(e => ({ text: e.textContent, box: e.getBoundingClientRect() })), of = svg.getAttribute("aria-label");
			all.forEach(({ text, box }, i) => {
				out.Seen++;
				if (box.left < whole.left || box.right > whole.right + 0.5 || box.top < whole.top || box.bottom > whole.bottom + 0.5) out.Wrong.push(of + ": " + text + " is cut off");
				for (const other of all.slice(i + 1)) {
					if (box.left < other.box.right + 6 && other.box.left < box.right + 6 && box.top < other.box.bottom && other.box.top < box.bottom) out.Wrong.push(of + ": " + text + " lies over " + other.text);
				}
			});
		}
		return out;
	})()`)
	if got.Seen < 6*7 || len(got.Wrong) > 0 {
		b.t.Errorf("%s: of %d labels: %q", what, got.Seen, got.Wrong)
	}
}
