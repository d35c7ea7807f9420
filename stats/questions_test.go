package stats

import (
	"bytes"
	"strings"
	"testing"
	"time"

	"volley/plan"
)

// ran is what a node reports of ten seconds at 100 arrivals a second: the target takes
// so long, and the node has workers for only so many requests at a time (0: for all),
// and starts late by its own fault.
func ran(id string, target time.Duration, workers int, late, cpu float64) *Summary {
	r := NewRecorder(Layout{Steps: []StepKey{{"s", "one"}}}, 1)
	shard := r.Shard(0)
	var busy []time.Duration // until when
	for i := range 1000 {
		due := time.Duration(i) * 10 * time.Millisecond
		sent := due + time.Duration(late*float64(time.Millisecond))
		free := busy[:0]
		for _, until := range busy {
			if until > due {
				free = append(free, until)
			}
		}
		if busy = free; workers > 0 && len(busy) == workers {
			shard.Drop(Drop{At: due, N: 1, Cause: DropWaiting})
			continue
		}
		busy = append(busy, sent+target)
		shard.Arrived(Arrival{Due: due, Sent: sent, WorkerFree: true})
		shard.Request(Sample{At: sent + target, Latency: sent + target - due, Service: target, Status: 200, Complete: true})
		shard.Iteration(Iteration{Duration: target})
	}
	for second := range 10 {
		r.Observe(Gauges{At: time.Duration(second) * time.Second, Workers: 10, CPUPct: cpu})
	}
	s := r.Summary()
	s.RunID, s.NodeID, s.ConfigVersion, s.Ended, s.Planned, s.Elapsed, s.Target = "r", id, "sha256:1", true, 10*time.Second, 10*time.Second, 1000
	s.Generator.CPUPct = cpu
	return s
}

// asked finds the answers in the head of a report's text: by their questions, as a
// reader does who has nothing but that.
func asked(text string) map[string]string {
	answers, question := map[string]string{}, ""
	for line := range strings.Lines(text) {
		line = strings.TrimRight(line, "\n")
		if at := strings.Index(line, "? "); at >= 0 && !strings.HasPrefix(line, " ") {
			question = line[:at+1]
			answers[question] = line[at+2:]
		} else if strings.HasPrefix(line, "  ") && question != "" {
			answers[question] += " " + strings.TrimSpace(line)
		} else if question != "" {
			break
		}
	}
	return answers
}

// Whoever has the text of a report, and nothing else, reads in it whether the target
// was fast enough, whether the load was what was asked for, and whether the generator
// can be trusted. What is reported was recorded, merged and judged as in a run, and the
// same stands in the report that is made of its JSON.
func TestTheReportAloneAnswersThreeQuestions(t *testing.T) {
	const target, load, trust = "Was the target fast enough?", "Was the load what the plan asks for?", "Can the generator be trusted?"
	const ms = time.Millisecond
	for _, test := range []struct {
		name  string
		nodes []*Summary
		want  map[string]string
	}{
		{"all is well", []*Summary{ran("a", 20*ms, 0, 0.1, 10), ran("b", 20*ms, 0, 0.1, 12)}, map[string]string{
			target: "Yes. All 2 thresholds held. p95 20.1 ms, p99 20.1 ms, 0.00 % errors.",
			load:   "Yes. 200.0 iterations/s started of 200.0 asked for (+0.00 %).",
			trust:  "Yes. The busiest node took 12.0 % of the CPU that it may use; 99 of 100 starts were at most 0.10 ms late by its own fault."}},
		{"the target is slow, and volley is not", []*Summary{ran("a", 400*ms, 0, 0.1, 10), ran("b", 400*ms, 0, 0.1, 12)}, map[string]string{
			target: "No. 1 of 2 thresholds failed: p95 < 300ms was 400.1 ms. p95 400.1 ms, p99 400.1 ms, 0.00 % errors.",
			load:   "Yes. 200.0 iterations/s started of 200.0 asked for (+0.00 %).",
			trust:  "Yes. The busiest node took 12.0 % of the CPU that it may use; 99 of 100 starts were at most 0.10 ms late by its own fault."}},
		{"so slow that the load falls short", []*Summary{ran("a", 400*ms, 20, 0.1, 10), ran("b", 20*ms, 20, 0.1, 12)}, map[string]string{
			target: "No. 1 of 2 thresholds failed: p95 < 300ms lies among the dropped. p95 > 400.1 ms (504 dropped), p99 > 400.1 ms (504 dropped), 0.00 % errors.",
			load: "No. 149.6 iterations/s started of 200.0 asked for (-25.20 %). 504 arrivals (25.20 % of those due) were dropped, " +
				"most because workers were waiting for the target.",
			trust: "Yes. The busiest node took 12.0 % of the CPU that it may use; 99 of 100 starts were at most 0.10 ms late by its own fault."}},
		{"the generator is the bottleneck, on one node", []*Summary{ran("a", 20*ms, 0, 0.1, 10), ran("b", 20*ms, 0, 400, 99)}, map[string]string{
			target: "Not certain. 1 of 2 thresholds failed: p95 < 300ms was 420.0 ms. p95 420.0 ms, p99 420.0 ms, 0.00 % errors. " +
				"But volley itself did not keep up, and the fault may be its own: see the generator.",
			load: "Mostly. 200.0 iterations/s started of 200.0 asked for (+0.00 %). 50.0 % started more than 1 ms late, most because volley itself was late.",
			trust: "No. volley was saturated on node b: schedule lag p99 400.00 ms, more than 10 ms; CPU 99.0 %, more than 95 %. " +
				"It was the bottleneck, or part of it: send less, or from more nodes."}},
	} {
		t.Run(test.name, func(t *testing.T) {
			var lines []NodeResult
			for _, s := range test.nodes {
				lines = append(lines, s.Node(0))
			}
			merged, err := Merge(test.nodes...)
			if err != nil {
				t.Fatal(err)
			}
			result, err := NewResult(merged, ScopeCluster, lines)
			if err != nil {
				t.Fatal(err)
			}
			result.Thresholds = NewJudge([]plan.Threshold{{Expr: "p95 < 300ms"}, {Expr: "error_rate < 1%"}}).Result(merged)
			var file bytes.Buffer
			if err := result.WriteJSON(&file); err != nil {
				t.Fatal(err)
			}
			read, err := ReadResult(&file)
			if err != nil {
				t.Fatal(err)
			}
			for _, r := range []*Result{result, read} {
				var text bytes.Buffer
				if err := r.WriteText(&text, false); err != nil {
					t.Fatal(err)
				}
				got := asked(text.String())
				for question, want := range test.want {
					if got[question] != want {
						t.Errorf("%s\n got %s\nwant %s", question, got[question], want)
					}
				}
				if len(got) != len(test.want) {
					t.Errorf("%d questions are answered, want %d: %q", len(got), len(test.want), got)
				}
			}
		})
	}
}
