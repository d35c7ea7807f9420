package stats

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"
)

// faring is the summary of a node whose generator had trouble from 20 s to 25 s.
func faring(id string, seconds int, trouble Gauges) *Summary {
	r := NewRecorder(Layout{Steps: []StepKey{{"s", "one"}}}, 1)
	for i := range seconds {
		at := time.Duration(i) * time.Second
		g := Gauges{CPUPct: 10, GCPause: 50 * time.Microsecond}
		sent := at + 100*time.Microsecond
		if i >= 20 && i < 25 {
			g, sent = trouble, at+3*time.Millisecond
			r.Shard(0).Drop(Drop{At: at, N: 2})
		}
		r.Shard(0).Arrived(Arrival{Due: at, Sent: sent, WorkerFree: true})
		g.At = at
		r.Observe(g)
	}
	s := r.Summary()
	s.RunID, s.NodeID, s.ConfigVersion, s.Ended = "r", id, "sha256:1", true
	s.Planned = time.Duration(seconds) * time.Second
	s.Elapsed = s.Planned
	return s
}

// A node's line has how its generator fared over time: the worst of each span, and
// all that was dropped.
func TestNodeOverTime(t *testing.T) {
	trouble := Gauges{CPUPct: 96.04, ThrottledPct: 2.5, GCPause: 2 * time.Millisecond}
	row := func(p NodePoint) string {
		lag := "-"
		if p.ScheduleLagP99 != nil {
			lag = fmt.Sprintf("%.1f", *p.ScheduleLagP99)
		}
		return fmt.Sprintf("%v s: lag %s CPU %v throttled %v GC %v dropped %d %s", p.T, lag, p.CPUPct, p.ThrottledPct, p.GCPause, p.Dropped, p.Verdict)
	}
	for _, test := range []struct {
		seconds, points, at int
		want                string
	}{
		{60, 60, 19, "19 s: lag 0.1 CPU 10 throttled 0 GC 0.05 dropped 0 ok"},
		{60, 60, 20, "20 s: lag 3.0 CPU 96 throttled 2.5 GC 2 dropped 2 saturated"},
		{61, 31, 12, "24 s: lag 3.0 CPU 96 throttled 2.5 GC 2 dropped 2 saturated"},
		{3600, 57, 0, "0 s: lag 3.0 CPU 96 throttled 2.5 GC 2 dropped 10 saturated"}, // 3600 s are 450 points of 8 s
		{3600, 57, 56, "3584 s: lag 0.1 CPU 10 throttled 0 GC 0.05 dropped 0 ok"},
	} {
		n := faring("a", test.seconds, trouble).Node(0)
		if len(n.OverTime) != test.points {
			t.Fatalf("%d s make %d points, want %d", test.seconds, len(n.OverTime), test.points)
		}
		if got := row(n.OverTime[test.at]); got != test.want {
			t.Errorf("point %d of %d s:\n got %s\nwant %s", test.at, test.seconds, got, test.want)
		}
	}
	if n := faring("a", 60, trouble).Node(0); n.Dropped != 10 || n.ConfigVersion != "sha256:1" || n.Verdict != VerdictStrained || len(n.Reasons) != 1 {
		t.Errorf("the line: %d dropped, version %q, %s by %q; want 10, sha256:1, strained by the lag", n.Dropped, n.ConfigVersion, n.Verdict, n.Reasons)
	}
	worst := faring("a", 60, trouble)
	if m, err := Merge(worst, faring("b", 60, Gauges{CPUPct: 20})); err != nil {
		t.Fatal(err)
	} else if p := m.newSeries()[20]; p.ThrottledPct != 2.5 || p.GCPause != 2 || p.CPUPct != 96 {
		t.Errorf("the merged point: %v %% throttled, GC %v ms, CPU %v %%; want the worst node's 2.5, 2, 96", p.ThrottledPct, p.GCPause, p.CPUPct)
	}
}

// However many nodes there are, what they have over time is bounded, and a result
// that is read and merged again is no larger.
func TestNodesOverTimeAreBounded(t *testing.T) {
	line := faring("a", 3600, Gauges{CPUPct: 99}).Node(0)
	for nodes, want := range map[int]int{1: 57, 100: 57, 150: 29, 1000: 8} {
		lines := make([]NodeResult, nodes)
		for i := range lines {
			lines[i] = line
		}
		out := thinNodes(lines)
		if got := len(out[nodes-1].OverTime); got != want {
			t.Errorf("each of %d nodes has %d points, want %d", nodes, got, want)
		}
		if p := out[0].OverTime[0]; p.Verdict != VerdictSaturated || p.Dropped != 10 || len(line.OverTime) != 57 {
			t.Errorf("the first point of %d nodes: %+v; the line that was given has %d points", nodes, p, len(line.OverTime))
		}
	}
	one, err := NewResult(faring("a", 3600, Gauges{CPUPct: 99}), ScopeNode, nil)
	if err != nil {
		t.Fatal(err)
	}
	var file bytes.Buffer
	if err := one.WriteJSON(&file); err != nil {
		t.Fatal(err)
	}
	read, err := ReadResult(&file)
	if err != nil {
		t.Fatal(err)
	}
	again, err := MergeResults(read)
	if err != nil {
		t.Fatal(err)
	}
	before, _ := json.Marshal([]any{one.Nodes, one.Series[2], one.Generator})
	after, _ := json.Marshal([]any{again.Nodes, again.Series[2], again.Generator})
	if !bytes.Equal(before, after) {
		t.Errorf("read and merged again\n%s\nis\n%s", before, after)
	}
}

// Where nodes fared differently, answer and report say on which, and when.
func TestAnswersNameTheBottleneck(t *testing.T) {
	well, badly := Gauges{CPUPct: 10}, Gauges{CPUPct: 99}
	for _, test := range []struct {
		name  string
		nodes map[string]Gauges
		cpu   float64 // of the whole run, of who fared badly
		want  string
	}{
		{"one of three", map[string]Gauges{"a": well, "b": badly, "c": well}, 97,
			"bad: No: volley was saturated on node b: CPU 97.0 %, more than 95 %, between 20s and 25s. It was the bottleneck, or part of it: send less, or from more nodes."},
		{"two of three", map[string]Gauges{"a": badly, "b": badly, "c": well}, 97,
			"bad: No: volley was saturated on 2 of 3 nodes (a between 20s and 25s, b between 20s and 25s): CPU 97.0 %, more than 95 %. It was the bottleneck, or part of it: send less, or from more nodes."},
		{"the only one", map[string]Gauges{"a": badly}, 97,
			"bad: No: volley was saturated: CPU 97.0 %, more than 95 %, between 20s and 25s. It was the bottleneck, or part of it: send less, or from more nodes."},
	} {
		t.Run(test.name, func(t *testing.T) {
			var summaries []*Summary
			var lines []NodeResult
			for _, id := range []string{"a", "b", "c"} {
				g, there := test.nodes[id]
				if !there {
					continue
				}
				s := faring(id, 600, g)
				if g == badly {
					s.Generator.CPUPct = test.cpu
				}
				summaries, lines = append(summaries, s), append(lines, s.Node(0))
				lines[len(lines)-1].OverTime = faring(id, 60, g).fared()
			}
			merged, err := Merge(summaries...)
			if err != nil {
				t.Fatal(err)
			}
			r, err := NewResult(merged, ScopeCluster, lines)
			if err != nil {
				t.Fatal(err)
			}
			if got := answersOf(r)[2]; got != test.want {
				t.Errorf("\n got %s\nwant %s", got, test.want)
			}
			var text bytes.Buffer
			if err := r.WriteText(&text, false); err != nil {
				t.Fatal(err)
			}
			if row := "saturated, between 20s and 25s\n"; strings.Contains(text.String(), row) != (len(lines) > 1) {
				t.Errorf("the table of %d generators:\n%s", len(lines), &text)
			}
		})
	}
}
