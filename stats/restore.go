package stats

import (
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"math"
	"math/bits"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"
)

// MaxResult is the largest result that ReadResult reads, in bytes.
const MaxResult = 64 << 20

// ReadResult reads what WriteJSON wrote. The error says what makes it no
// result.
func ReadResult(from io.Reader) (*Result, error) {
	data, err := io.ReadAll(io.LimitReader(from, MaxResult+1))
	if err != nil {
		return nil, fmt.Errorf("read result: %w", err)
	}
	if len(data) > MaxResult {
		return nil, fmt.Errorf("read result: it has more than %d bytes", MaxResult)
	}
	r := &Result{}
	if err := json.Unmarshal(data, r); err != nil {
		return nil, fmt.Errorf("read result: %w", err)
	}
	if r.Schema != ResultSchema {
		return nil, fmt.Errorf("read result: its schema is %q (accepted: %q)", r.Schema, ResultSchema)
	}
	return r, nil
}

func (r *Result) stopped() Stopped {
	if r.Stopped == nil {
		return Stopped{}
	}
	return *r.Stopped
}

// summary is what NewResult made the result of, as far as it is in there.
func (r *Result) summary() (*Summary, error) {
	s := &Summary{
		RunID: r.RunID, ConfigVersion: r.ConfigVersion, StartedAt: r.StartedAt, Ended: true, Unit: r.Unit,
		Elapsed: fromSeconds(r.DurationS), Planned: fromSeconds(r.DurationS), Warmup: fromSeconds(r.WarmupS), WarmupRequests: r.WarmupReqs, WarmupErrors: r.WarmupErrors,
		StoppedBy: r.stopped().Cause, StoppedAfter: fromSeconds(r.stopped().AfterS),
		Closed: r.Target.Iterations == nil, NoHistograms: r.PercentileSource == "off", SamplePct: r.SamplePct, SampleMost: r.SamplePctMost,
		Started: r.Started, Dropped: r.Dropped, Completed: r.Completed, Placed: r.Completed - r.Iterations, Interrupted: r.Interrupted,
		LateNoWorker: r.LateStarts.NoWorker, LateCatchUp: r.LateStarts.CatchUp, LateGenerator: r.LateStarts.Generator,
		Requests: r.Requests, Retried: r.Retried, BytesIn: r.BytesIn, BytesOut: r.BytesOut,
		ConnsNew: r.Connections.New, ConnsReused: r.Connections.Reused, Reconnects: r.Connections.Reconnects,
		Downgrades: r.Connections.Downgrades, LookupFailures: r.Connections.LookupFailures,
		OwnClient: strings.HasPrefix(r.Connections.Client, ownClient), StdClient: strings.HasSuffix(r.Connections.Client, stdClient),
		UnresolvedVariables: r.Variables.Unresolved, ExtractionsFailed: r.Variables.ExtractionsFailed,
		DroppedThinking: r.Drops.Thinking, DroppedWaiting: r.Drops.Target, DroppedEnd: r.Drops.End, DroppedIsolated: r.Drops.Isolated, RowsSkipped: r.RowsSkipped,
		FoldedLabels: r.FoldedLabels, SavingSince: fromSeconds(r.MemorySavingSinceS),
		Generator: r.Generator.restore(), Slowest: restoreSlowest(r.Slowest),
	}
	if r.Target.Iterations != nil {
		s.Target = float64(*r.Target.Iterations)
	}
	s.restoreErrors(r)
	var b restorer
	for to, from := range map[*Histogram]Percentiles{
		&s.Latency: r.Latency, &s.Service: r.ServiceTime, &s.LatencyOK: r.LatencyOK, &s.IterationTime: r.Iteration,
	} {
		*to = b.histogram(&from)
	}
	b.parts(s, r)
	b.series(&s.Series, r.Series)
	s.Parts = b.courses(r.Courses)
	if b.err != nil {
		return nil, b.err
	}
	// The byte form is checked as a whole: what comes back is coherent.
	data, err := s.Encode()
	if err != nil {
		return nil, err
	}
	return Decode(data)
}

func (s *Summary) restoreErrors(r *Result) {
	for i, kind := range r.Errors.kinds() {
		// kinds has them in the order of ErrorKind, but for ErrNone.
		s.Errors[i+1], s.ErrorExamples[i+1] = kind.n, r.ErrorExamples[kind.name]
	}
}

func (g *GeneratorResult) restore() Generator {
	return Generator{
		CPUPct: g.CPUPct, ThrottledPct: g.ThrottledPct, ThrottledPeriods: g.ThrottledPeriods, GCPauseP99: fromMillis(g.GCPauseP99Ms),
		WakeupP99: fromMillis(g.WakeupP99Ms), ClockJump: fromMillis(g.ClockJumpMs), ScheduleLagP50: fromMillis(g.ScheduleLagP50Ms), ScheduleLagP99: fromMillis(g.ScheduleLagP99Ms),
	}
}

func restoreSlowest(rows []SlowRequest) []Slow {
	var out []Slow
	for _, x := range rows {
		out = append(out, Slow{
			At: fromSeconds(x.T), Latency: fromMillis(x.Ms), StepKey: StepKey{Scenario: x.Scenario, Step: x.Step},
			Status: x.Status, NodeID: x.NodeID, NewConn: x.Connection == "new",
		})
	}
	slices.SortFunc(out, slowerFirst)
	return out
}

// restorer keeps the first error of many blocks.
type restorer struct{ err error }

func (b *restorer) fail(format string, args ...any) {
	if b.err == nil {
		b.err = fmt.Errorf(format, args...)
	}
}

// histogram is what a block was made of.
func (b *restorer) histogram(p *Percentiles) Histogram {
	var h Histogram
	if p.Min == nil || p.Max == nil || p.Mean == nil {
		return h
	}
	packed, err := hdrhistogram.DecodePacked([]byte(p.Histogram))
	if err != nil {
		b.fail("a histogram: %w", err)
		return h
	}
	if packed.LowestTrackableValue() != histLowest || packed.HighestTrackableValue() != histHighest || packed.SignificantFigures() != histDigits {
		b.fail("a histogram holds %d..%d with %d digits (accepted: %d..%d with %d)", packed.LowestTrackableValue(),
			packed.HighestTrackableValue(), packed.SignificantFigures(), histLowest, histHighest, histDigits)
		return h
	}
	h.packed = packed
	var n int64
	packed.ForEachBucket(func(_, count int64) bool {
		n += count
		return n >= 0
	})
	t := tally{count: n, over: p.Over1h, min: int64(fromMillis(*p.Min)), max: int64(fromMillis(*p.Max))}
	t.sumHi, t.sumLo = bits.Mul64(uint64(max(fromMillis(*p.Mean), 0)), uint64(max(n, 0)))
	if n <= 0 {
		b.fail("a histogram has %d samples, but a mean", n)
		return Histogram{}
	}
	h.tally = t
	return h
}

// parts restores steps, scenarios, stages and phases.
func (b *restorer) parts(s *Summary, r *Result) {
	for i := range r.Steps {
		from := &r.Steps[i]
		st := StepStats{
			StepKey: from.StepKey, Requests: from.Requests, Errors: from.Errors, Retried: from.Retried,
			Succeeded: from.Succeeded, Superseded: from.Superseded, Extra: from.Extra, NoStatus: from.NoStatus,
			AssertionsPassed: from.AssertionsPassed, AssertionsFailed: from.AssertionsFailed,
			Latency: b.histogram(&from.Latency), Service: b.histogram(&from.ServiceTime),
		}
		if from.LatencyFailed != nil {
			st.LatencyFailed = b.histogram(from.LatencyFailed)
		}
		for _, text := range slices.Sorted(maps.Keys(from.StatusCodes)) {
			code, err := strconv.Atoi(text)
			if err != nil || code < 1 || code > maxStatus {
				b.fail("a status code is %q (accepted: 1..%d)", text, maxStatus)
			}
			st.countStatus(code, from.StatusCodes[text])
		}
		s.Steps = append(s.Steps, st)
	}
	for i := range r.Scenarios {
		from := &r.Scenarios[i]
		s.Scenarios = append(s.Scenarios, ScenarioStats{
			Name: from.Scenario, Succeeded: from.Succeeded, Failed: from.Failed, Interrupted: from.Interrupted,
			Duration: b.histogram(&from.Iteration),
		})
	}
	for i := range r.Stages {
		from := &r.Stages[i]
		s.Stages = append(s.Stages, StageStats{
			Stage:  Stage{From: fromSeconds(from.FromS), To: fromSeconds(from.ToS), FromRate: from.FromRate, ToRate: from.ToRate},
			Target: from.Target, Started: from.Started, Late: from.Late, Dropped: from.Dropped,
			Requests: from.Requests, Errors: from.Errors, Latency: b.histogram(&from.Latency),
		})
	}
	if r.Phases != nil {
		for i, block := range r.Phases.all() {
			s.Phases[i] = b.histogram(block)
		}
	}
}

func (b *restorer) series(to *Series, rows []SeriesPoint) {
	b.course(to, len(rows), func(i int) (float64, Point) {
		from := &rows[i]
		p := from.PointDetail.restore()
		p.Target, p.Started, p.Late, p.Dropped, p.Errors = from.Target, from.Started, from.Late, from.Dropped, from.Errors
		p.Workers, p.CPUPct, p.ThrottledPct, p.GCPause = from.Workers, from.CPUPct, from.ThrottledPct, fromMillis(from.GCPause)
		if from.Max != nil {
			p.Max = fromMillis(*from.Max)
		}
		return from.T, p
	})
}

// course restores so many points, each with the second that it begins at.
func (b *restorer) course(to *Series, n int, row func(i int) (at float64, p Point)) {
	if n == 0 {
		return
	}
	first, _ := row(0)
	to.Span = 1
	if n > 1 {
		second, _ := row(1)
		to.Span = int64(math.Round(second - first))
	}
	if to.Span < 1 || to.Span&(to.Span-1) != 0 || to.Span > maxSpan || n > maxPoints || !(first >= 0 && first <= maxSecond) {
		b.fail("its series of %d points begins at %v s, a point every %d s", n, first, to.Span)
		return
	}
	to.First = int64(math.Round(first)) / to.Span
	for i := range n {
		at, p := row(i)
		to.Points = append(to.Points, p)
		if at != to.Time(i).Seconds() {
			b.fail("point %d of its series is at %v s, want %v s", i, at, to.Time(i).Seconds())
		}
	}
}

// fromSeconds and fromMillis are exact for durations that a result has written.
func fromSeconds(s float64) time.Duration { return nanoseconds(s * float64(time.Second)) }

func fromMillis(ms float64) time.Duration { return nanoseconds(ms * float64(time.Millisecond)) }

// nanoseconds keeps what is no duration from wrapping round.
func nanoseconds(ns float64) time.Duration {
	return time.Duration(math.Round(min(max(ns, -maxCounter), maxCounter)))
}
