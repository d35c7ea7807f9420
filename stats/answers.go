package stats

import (
	"fmt"
	"math"
	"strings"

	"volley/plan"
)

// StillGoing is the Reason of a node's line whose part is not over yet.
const StillGoing = "the run is going on"

// Tone says how good an answer is.
type Tone string

// The tones of answers.
const (
	ToneGood Tone = "good"
	ToneWarn Tone = "warn"
	ToneBad  Tone = "bad"
	ToneNone Tone = "none" // neither: there is nothing to say it by
)

// Answer is what a result says of one question that its readers have.
type Answer struct {
	Question string `json:"question"`
	Answer   string `json:"answer"`  // a word or two
	Because  string `json:"because"` // whole sentences, with the figures it rests on
	Tone     Tone   `json:"tone"`
}

// What the load may be off by and still be what was asked for.
const (
	rateTolerancePct = 1.0
	lateTolerance    = 0.01 // of the starts
)

// Going says whether the result is of a run that is not over yet.
func (r *Result) Going() bool {
	for _, n := range r.Nodes {
		if !n.Complete && n.Reason == StillGoing {
			return true
		}
	}
	return false
}

// Answers are those to the three questions of whoever reads a result: was the
// target fast enough, was the load what was asked for, can the generator be trusted.
func (r *Result) Answers() []Answer {
	return []Answer{r.answerTarget(), r.answerLoad(), r.answerGenerator()}
}

func (r *Result) answerTarget() Answer {
	a := Answer{Question: "Was the target fast enough?", Tone: ToneNone}
	figures := fmt.Sprintf("p95 %s, p99 %s, %.2f %% errors.", rankCell(r.Latency.P95, r.Latency.Max, r.Dropped).text, rankCell(r.Latency.P99, r.Latency.Max, r.Dropped).text, 100*r.errorRate())
	var failed []string
	for i := range r.Thresholds {
		if t := &r.Thresholds[i]; !t.OK && !r.OfOneTask() {
			failed = append(failed, cut(t.Expr, 80)+" "+r.becameOf(t))
		}
	}
	n := len(r.Thresholds)
	switch {
	case r.Requests == 0:
		a.Answer, a.Because = "Not known", "No request was answered."
	case r.Part:
		a.Answer, a.Because = "Not told by a part", "Thresholds are about all nodes: the leader judges them, and its result tells. Of this part alone: "+figures
	case n > 0 && r.OfOneTask():
		a.Answer, a.Because = "Not told by a part", fmt.Sprintf("Thresholds are about all %d tasks of the job: volley report judges them on the results of all. Of this task alone: %s", r.Tasks, figures)
	case n == 0:
		a.Answer, a.Because = "The plan does not say", "It has no thresholds to judge by. "+figures
	case len(failed) > 0:
		a.Answer, a.Tone = "No", ToneBad
		a.Because = fmt.Sprintf("%s failed: %s. %s", countOf(len(failed), n, "threshold"), cut(strings.Join(failed, "; "), 300), figures)
	default:
		a.Answer, a.Tone = "Yes", ToneGood
		a.Because = fmt.Sprintf("%s held. %s", countOf(n, n, "threshold"), figures)
		if r.Going() {
			a.Answer = "So far, yes"
		}
	}
	if r.Requests == 0 || r.Generator.Verdict != VerdictSaturated {
		return a
	}
	if len(failed) > 0 { // latencies count from due: what volley was late by is in them
		a.Answer, a.Tone = "Not certain", ToneWarn
		a.Because += " But volley itself did not keep up, and the fault may be its own: see the generator."
	} else {
		a.Because += " But volley itself did not keep up: see the generator."
	}
	return a
}

// OfOneTask says whether it is what one of several tasks of a job has measured:
// thresholds are about all of them.
func (r *Result) OfOneTask() bool { return r.Tasks > 1 && len(r.Nodes) == 1 }

// becameOf says what a threshold's value was, or why it has none.
func (r *Result) becameOf(t *ThresholdResult) string {
	c, _ := plan.ParseCondition(t.Expr)
	switch {
	case t.Value != nil:
		return "was " + t.valueText()
	case r.Dropped > 0 && c.Metric.IsDuration() && c.Metric.Of == "latency" && c.Step == "" && c.Scenario == "":
		return "lies among the dropped"
	}
	return "has no value"
}

// countOf is "2 of 3 thresholds", "all 3 thresholds" or "the only threshold".
func countOf(n, of int, noun string) string {
	switch {
	case of == 1:
		return "The only " + noun
	case n == of:
		return fmt.Sprintf("All %d %ss", of, noun)
	}
	return fmt.Sprintf("%d of %d %ss", n, of, noun)
}

func (r *Result) answerLoad() Answer {
	a := Answer{Question: "Was the load what the plan asks for?", Answer: "Yes", Tone: ToneGood, Because: upper(r.rateText()) + "."}
	if r.Going() {
		a.Answer = "So far, yes"
	}
	worse := func(tone Tone, answer, because string) {
		if a.Tone != ToneBad {
			a.Answer, a.Tone = answer, tone
		}
		a.Because += " " + because
	}
	if r.Due == 0 && r.Started == 0 {
		return Answer{Question: a.Question, Answer: "No", Tone: ToneBad, Because: "Nothing was sent."}
	}
	if st := r.Stopped; st != nil {
		worse(ToneWarn, "Not to its end", fmt.Sprintf("The run was ended after %s of %s: %s.", seconds(st.AfterS), seconds(r.DurationS), clean(st.Cause)))
	}
	if r.Dropped > 0 {
		worse(ToneBad, "No", fmt.Sprintf("%d arrivals (%.2f %% of those due) were dropped%s.", r.Dropped, 100*float64(r.Dropped)/float64(r.Due), r.Drops.mostly()))
	} else if e := r.Target.RateErrorPct; e != nil && r.Stopped == nil && math.Abs(*e) > rateTolerancePct {
		worse(ToneBad, "No", fmt.Sprintf("That is off by more than %g %%.", rateTolerancePct))
	}
	if late := r.LateStarts; float64(late.total()) > lateTolerance*float64(r.Started) {
		worse(ToneWarn, "Mostly", fmt.Sprintf("%.1f %% started more than 1 ms late%s.", 100*float64(late.total())/float64(r.Started), late.mostly()))
	}
	if there := len(r.Nodes); there < r.Tasks {
		worse(ToneWarn, "Not all of it is known", fmt.Sprintf("Of the job's %d tasks it has %d: what the others have sent is not in it.", r.Tasks, there))
	}
	if n := r.apart; n > 0 {
		worse(ToneWarn, "Not known", fmt.Sprintf("Its %d nodes have started each by itself: what they sent together is that only if they did so at one instant.", n))
	}
	if lost := r.incomplete(); len(lost) > 0 {
		text := fmt.Sprintf("The part of %s is not complete", cut(strings.Join(lost, ", "), 120))
		if n := r.unsent(); n > 0 {
			text += fmt.Sprintf(": nobody knows of %d arrivals whether they were sent", n)
		}
		worse(ToneWarn, "Not all of it is known", text+".")
	}
	return a
}

// unsent is how many arrivals of lost nodes nobody is known to have sent.
func (r *Result) unsent() (n int64) {
	for _, row := range r.Shares {
		n += row.Unsent
	}
	return n
}

// incomplete are the nodes whose figures end before their part did.
func (r *Result) incomplete() (names []string) {
	for _, n := range r.Nodes {
		if !n.Complete && n.Reason != StillGoing {
			names = append(names, short(n.NodeID))
		}
	}
	return names
}

// mostly names the cause of most drops, if it is known.
func (d Drops) mostly() string {
	return most([]cause{{d.Target, "workers were waiting for the target"}, {d.Thinking, "workers were in think time"}, {d.End, "the end of the run came first"}, {d.Isolated, "a node had no leader"}})
}

func (l LateStarts) mostly() string {
	return most([]cause{{l.NoWorker, "all workers were busy with the target"}, {l.CatchUp, "the load was catching up"}, {l.Generator, "volley itself was late"}})
}

type cause struct {
	n    int64
	text string
}

func most(causes []cause) string {
	first := cause{}
	for _, c := range causes {
		if c.n > first.n {
			first = c
		}
	}
	if first.n == 0 {
		return ""
	}
	return ", most because " + first.text
}

func (r *Result) answerGenerator() Answer {
	g := &r.Generator
	a := Answer{Question: "Can the generator be trusted?", Answer: "Yes", Tone: ToneGood}
	where := "It"
	if len(r.Nodes) > 1 {
		where = "The busiest node"
	}
	figures := fmt.Sprintf("%s took %.1f %% of the CPU that it may use; 99 of 100 starts were at most %s late by its own fault.", where, g.CPUPct, ms(&g.ScheduleLagP99Ms))
	place, reasons := r.trouble()
	switch {
	case r.Due == 0 && r.Started == 0:
		a.Answer, a.Tone, a.Because = "Not known", ToneNone, "It had nothing to do."
	case g.Verdict == VerdictStrained:
		a.Answer, a.Tone = "With care", ToneWarn
		a.Because = fmt.Sprintf("volley was strained%s: %s. What is fast may have been measured a little too slow.", place, reasons)
	case g.Verdict == VerdictSaturated:
		a.Answer, a.Tone = "No", ToneBad
		if cpu, kept := r.keptFromCPU(); kept {
			a.Because = fmt.Sprintf("volley was saturated%s: %s. It took only %.1f %% of the CPU that it may use: something else kept it from the CPU, such as other processes, or other machines on the same host. Give it a quieter machine: to send less changes little.", place, reasons, cpu)
			break
		}
		a.Because = fmt.Sprintf("volley was saturated%s: %s. It was the bottleneck, or part of it: send less, or from more nodes.", place, reasons)
	default:
		a.Because = figures
	}
	return a
}

// textAnswers stand at the top: the rest is what they rest on.
func (r *Result) textAnswers(p *page) {
	for _, a := range r.Answers() {
		p.line(plain(a.Question+" "), cell{a.Answer + ".", a.Tone.style()})
		for _, line := range wrapped(a.Because, lineWidth-2) {
			p.line(plain("  " + line))
		}
	}
	p.gap()
}

// wrapped breaks text into lines between its words; a longer word is a line of its own.
func wrapped(text string, width int) (lines []string) {
	line := ""
	for _, word := range strings.Fields(text) {
		if line != "" && len(line)+1+len(word) > width {
			lines, line = append(lines, line), ""
		}
		if line != "" {
			line += " "
		}
		line += word
	}
	return append(lines, line)
}

func upper(text string) string { return strings.ToUpper(text[:1]) + text[1:] }
