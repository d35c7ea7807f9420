package stats

import (
	"encoding/json"
	"fmt"
	"io"
	"math"
	"strconv"
	"time"
)

// ResultSchema names the form of Result's JSON.
const ResultSchema = "volley.result/1"

// Scope says whose result it is.
type Scope string

// The scopes of a result.
const (
	ScopeNode    Scope = "node"
	ScopeCluster Scope = "cluster"
)

// Result is what users read of a run; its JSON is that of contract section 5.
// Figures that do not exist, such as a percentile of no samples, are null.
type Result struct {
	Schema        string       `json:"schema"`
	RunID         string       `json:"run_id"`         // "" for several
	Runs          []string     `json:"runs,omitempty"` // if there are several
	Plan          string       `json:"plan,omitempty"` // its name
	ConfigVersion string       `json:"config_version"`
	Scope         Scope        `json:"scope"`
	Nodes         []NodeResult `json:"nodes"`
	Tasks         int          `json:"tasks,omitempty"` // of the job, each of which is a node; 0 outside a job
	// Part says that it is what one node of several has measured, in a cluster: its
	// thresholds are about all nodes, and judged in the leader's result.
	Part bool `json:"part,omitempty"`
	// StartSpreadMs is the largest start skew of the run's nodes less the smallest;
	// null if less than two have started. Clocks that differ may have made that as
	// much larger or smaller as StartSpreadBoundMs says, as far as they are known.
	StartSpreadMs      *float64 `json:"start_spread_ms,omitempty"`
	StartSpreadBoundMs float64  `json:"start_spread_bound_ms,omitempty"`
	// apart is how many nodes have started each by itself, in what has just been merged.
	apart int
	// Shares say who sent the load, in a cluster; one row for the start, and one for
	// each time that a node came or was lost.
	Shares       []ShareResult `json:"shares,omitempty"`
	StartedAt    time.Time     `json:"started_at"`
	DurationS    float64       `json:"duration_s"`         // planned; so far, while it runs
	WarmupS      float64       `json:"warmup_s,omitempty"` // first part of it, in no figure but these two
	WarmupReqs   int64         `json:"warmup_requests,omitempty"`
	WarmupErrors int64         `json:"warmup_errors,omitempty"`

	// Stopped is set if the run has ended before its time; figures are of what was
	// sent until then, rates and the target of all of DurationS.
	Stopped *Stopped `json:"stopped,omitempty"`

	Due         int64   `json:"due"`
	Started     int64   `json:"started"`
	Completed   int64   `json:"completed"`
	Interrupted int64   `json:"interrupted"`
	Dropped     int64   `json:"dropped"`
	Requests    int64   `json:"requests"`
	Retried     int64   `json:"retried"`
	Iterations  int64   `json:"iterations"`
	RPS         float64 `json:"rps"` // requests per second
	// Amplification is requests per run of a step, if attempts and hops make it
	// more than 1.
	Amplification float64 `json:"amplification,omitempty"`
	Unit          string  `json:"unit,omitempty"` // of the load, if it is not iterations
	// PercentileSource is "sampled" or "off" if histograms do not hold all.
	PercentileSource string `json:"percentiles,omitempty"`
	SamplePct        int64  `json:"sample_pct,omitempty"` // of requests in them
	// SamplePctMost is the largest share if nodes differ; SamplePct is the smallest.
	SamplePctMost int64 `json:"sample_pct_most,omitempty"`
	// MemorySavingSinceS is since when of the run, in seconds, memory was short:
	// new steps and scenarios are counted as "other", and phases are not recorded.
	MemorySavingSinceS float64 `json:"memory_saving_since_s,omitempty"`
	// RowsSkipped is how many rows of split data files nobody has used, or may use
	// again, because a node that is lost may have.
	RowsSkipped int64 `json:"rows_skipped,omitempty"`
	// FoldedLabels is how many steps and scenarios are counted as "other".
	FoldedLabels int64 `json:"folded_labels,omitempty"`
	// LastInterval is the end of the run apart; of a single node, if it has such a view.
	LastInterval *IntervalResult `json:"last_interval,omitempty"`

	Target     Target      `json:"target"`
	LateStarts LateStarts  `json:"late_starts"`
	Drops      Drops       `json:"drops,omitzero"`
	Errors     ErrorCounts `json:"errors"`
	// ErrorExamples has one error of each kind that occurred, under the kind's
	// name in Errors, without queries and bodies.
	ErrorExamples map[string]string `json:"error_examples,omitempty"`
	Variables     Variables         `json:"variables,omitzero"`
	StatusCodes   map[string]int64  `json:"status_codes"`
	BytesIn       int64             `json:"bytes_in"`
	BytesOut      int64             `json:"bytes_out"`
	Connections   Connections       `json:"connections"`

	Latency     Percentiles `json:"latency_ms"`
	ServiceTime Percentiles `json:"service_time_ms"`
	LatencyOK   Percentiles `json:"latency_ok_ms"`
	Iteration   Percentiles `json:"iteration_ms"`

	// Phases are those of requests, if the plan asks for them.
	Phases *PhaseResult `json:"phases_ms,omitempty"`

	Steps      []StepResult      `json:"steps"`
	Scenarios  []ScenarioResult  `json:"scenarios,omitempty"`
	Stages     []StageResult     `json:"stages,omitempty"`
	Series     []SeriesPoint     `json:"series"`
	Courses    []CourseResult    `json:"courses,omitempty"` // of a run that has ended
	Slowest    []SlowRequest     `json:"slowest"`
	Thresholds []ThresholdResult `json:"thresholds"`
	Generator  GeneratorResult   `json:"generator"`
}

// NodeResult is one node's line of a Result.
type NodeResult struct {
	NodeID        string   `json:"node_id"`
	RunID         string   `json:"run_id,omitempty"` // if the result is of several
	StartSkewMs   *float64 `json:"start_skew_ms"`    // null if it started nothing
	ClockOffsetMs float64  `json:"clock_offset_ms"`
	ClockBoundMs  float64  `json:"clock_bound_ms,omitempty"` // how far off that may be, 0 if it is not known
	Requests      int64    `json:"requests"`
	RPS           float64  `json:"rps"`     // requests per second
	CPUPct        float64  `json:"cpu_pct"` // of what its processes may use
	// ScheduleLagP99Ms is how late 99 of 100 starts were at most by its own fault.
	ScheduleLagP99Ms float64 `json:"schedule_lag_p99_ms"`
	ThrottledPct     float64 `json:"throttled_pct"` // of the time, by the cgroup
	GCPauseP99Ms     float64 `json:"gc_pause_p99_ms"`
	Dropped          int64   `json:"dropped"`
	// Verdict is on its generator alone, "" if nothing is known of it; Reasons say
	// what has made it worse than ok.
	Verdict Verdict  `json:"verdict,omitempty"`
	Reasons []string `json:"reasons,omitempty"`
	// Share is its part of the load when it sent last, 1 if each has the whole; null
	// without a cluster.
	Share         *float64    `json:"share,omitempty"`
	ConfigVersion string      `json:"config_version,omitempty"` // that it ran
	OverTime      []NodePoint `json:"over_time,omitempty"`      // how its generator fared
	Complete      bool        `json:"complete"`
	Reason        string      `json:"reason,omitempty"` // why it is not complete
	// ThinkTimeScale is what the node's think times were multiplied by, null for 1.
	ThinkTimeScale *float64 `json:"think_time_scale,omitempty"`
}

// Target is what the curve asked for; null in a closed model, which asks for
// no rate.
type Target struct {
	Iterations   *int64   `json:"iterations"`
	RateErrorPct *float64 `json:"rate_error_pct"` // started against asked for; null while a run goes on and is off by no more than a second's
}

// LateStarts splits the starts more than 1 ms after due by cause.
type LateStarts struct {
	NoWorker  int64 `json:"no_worker"`
	CatchUp   int64 `json:"catch_up"`
	Generator int64 `json:"generator"`
}

// Drops splits dropped arrivals by cause, as far as it is known.
type Drops struct {
	Thinking int64 `json:"thinking"`           // workers were thinking
	Target   int64 `json:"target"`             // workers were waiting for the target
	End      int64 `json:"end"`                // still waiting at the end of the duration
	Isolated int64 `json:"isolated,omitempty"` // the node had no lease, or could not know whether another was sending them
}

// ErrorCounts is the number of errors by kind.
type ErrorCounts struct {
	Timeout     int64 `json:"timeout"`
	Network     int64 `json:"network"`
	TLS         int64 `json:"tls"`
	ClientError int64 `json:"client_error"`
	ServerError int64 `json:"server_error"`
	Assertion   int64 `json:"assertion"`
	Other       int64 `json:"other"`
	Generator   int64 `json:"generator"`
}

// Total is the number of errors of all kinds.
func (e ErrorCounts) Total() int64 {
	return e.Timeout + e.Network + e.TLS + e.ClientError + e.ServerError + e.Assertion + e.Other + e.Generator
}

// Variables counts what went wrong with a plan's variables.
type Variables struct {
	Unresolved        int64 `json:"unresolved"`         // uses of ${…} that stayed as they are
	ExtractionsFailed int64 `json:"extractions_failed"` // not found in a response
}

// Connections counts requests by the kind of their connection.
type Connections struct {
	New        int64 `json:"new"`
	Reused     int64 `json:"reused"`
	Reconnects int64 `json:"reconnects"`
	// Downgrades is the number of redirects from https to http.
	Downgrades     int64 `json:"downgrades,omitempty"`
	LookupFailures int64 `json:"lookup_failures,omitempty"` // of host names
	// Client is whose connections they were: "own", "std" (net/http's) or
	// "own and std"; "" if none was opened.
	Client string `json:"client,omitempty"`
}

// Percentiles is a histogram's block, in milliseconds.
type Percentiles struct {
	Min  *float64 `json:"min"`
	Mean *float64 `json:"mean"`
	P50  *float64 `json:"p50"`
	P90  *float64 `json:"p90"`
	P95  *float64 `json:"p95"`
	P99  *float64 `json:"p99"`
	P999 *float64 `json:"p99_9"`
	Max  *float64 `json:"max"`
	// Over1h is the number of samples that the histogram holds in its top
	// bucket because they are longer than 1 h.
	Over1h    int64  `json:"over_1h,omitempty"`
	Histogram string `json:"histogram"` // nanoseconds; base64, HDR V2 compressed
}

// StepResult is one step's part of a Result.
type StepResult struct {
	StepKey
	Requests    int64       `json:"requests"`
	Errors      int64       `json:"errors"`
	Latency     Percentiles `json:"latency_ms"`
	ServiceTime Percentiles `json:"service_time_ms"`
	StepDetail
}

// SeriesPoint is one second of a run, or a coarser span: as long as the next
// point is away. Target is in arrivals, and so is every count, over that span.
type SeriesPoint struct {
	T              float64  `json:"t"` // seconds since the start
	Target         float64  `json:"target"`
	Started        int64    `json:"started"`
	Late           int64    `json:"late"`
	Dropped        int64    `json:"dropped"`
	Errors         int64    `json:"errors"`
	P50            *float64 `json:"p50"`
	P95            *float64 `json:"p95"`
	P99            *float64 `json:"p99"`
	Max            *float64 `json:"max"`
	Workers        int64    `json:"workers"`
	ScheduleLagP99 *float64 `json:"schedule_lag_p99"`
	CPUPct         float64  `json:"cpu_pct"`
	ThrottledPct   float64  `json:"throttled_pct"`
	GCPause        float64  `json:"gc_pause"` // the longest, in milliseconds
	PointDetail
}

// SlowRequest is one of the slowest requests of a run.
type SlowRequest struct {
	T          float64 `json:"t"` // seconds since the start
	Ms         float64 `json:"ms"`
	Scenario   string  `json:"scenario,omitempty"`
	Step       string  `json:"step"`
	Status     int     `json:"status"`
	NodeID     string  `json:"node_id"`
	Connection string  `json:"connection"` // new, reused
}

// ThresholdResult is the verdict on one threshold of the plan.
type ThresholdResult struct {
	Expr string `json:"expr"`
	// Value is in milliseconds for durations, 0..1 for error_rate and
	// assertion_rate, percent where the threshold has it, else a count or a
	// number per second. It is null without a sample, or if a percentile's rank
	// falls among the dropped.
	Value         *float64 `json:"value"`
	OK            bool     `json:"ok"`
	FailedAtS     *float64 `json:"failed_at_s"`     // since the start; null if not known
	RateAtFailure *float64 `json:"rate_at_failure"` // arrivals started per second
}

// GeneratorResult is how the load generator itself fared, on the worst node.
type GeneratorResult struct {
	CPUPct           float64 `json:"cpu_pct"`
	ThrottledPct     float64 `json:"throttled_pct"`
	ThrottledPeriods int64   `json:"throttled_periods,omitempty"` // of the cgroup
	GCPauseP99Ms     float64 `json:"gc_pause_p99_ms"`
	ScheduleLagP50Ms float64 `json:"schedule_lag_p50_ms"`
	ScheduleLagP99Ms float64 `json:"schedule_lag_p99_ms"`
	WakeupP99Ms      float64 `json:"wakeup_p99_ms,omitempty"`
	// ClockJumpMs is how far the wall clock has jumped at once, if more than a second.
	ClockJumpMs float64 `json:"clock_jump_ms,omitempty"`
	Verdict     Verdict `json:"verdict"`
	// Reasons say what has made the verdict worse than ok.
	Reasons []string `json:"reasons,omitempty"`
}

// NewResult makes a result of a summary, merged if scope is cluster. Without
// nodes it is the result of the summary's own node.
func NewResult(s *Summary, scope Scope, nodes []NodeResult) (*Result, error) {
	if len(nodes) == 0 {
		nodes = []NodeResult{s.Node(0)}
	}
	r := &Result{
		Schema: ResultSchema, RunID: s.RunID, ConfigVersion: s.ConfigVersion, Scope: scope, Nodes: thinNodes(nodes),
		StartedAt: s.StartedAt, DurationS: s.duration().Seconds(), WarmupS: s.Warmup.Seconds(), WarmupReqs: s.WarmupRequests, WarmupErrors: s.WarmupErrors,
		Due: s.Due(), Started: s.Started, Completed: s.Completed, Interrupted: s.interrupted(), Dropped: s.Dropped,
		Requests: s.Requests, Retried: s.Retried, Iterations: s.iterations(), RPS: perSecond(s.Requests, s.Span()),
		Target:        newTarget(s),
		LateStarts:    LateStarts{NoWorker: s.LateNoWorker, CatchUp: s.LateCatchUp, Generator: s.LateGenerator},
		Errors:        newErrorCounts(s),
		ErrorExamples: newErrorExamples(s),
		Variables:     Variables{Unresolved: s.UnresolvedVariables, ExtractionsFailed: s.ExtractionsFailed},
		StatusCodes:   map[string]int64{},
		BytesIn:       s.BytesIn, BytesOut: s.BytesOut,
		Connections: newConnections(s),
		Steps:       []StepResult{}, Series: s.newSeries(), Slowest: newSlowest(s), Thresholds: []ThresholdResult{},
		Generator: newGeneratorResult(s),
	}
	r.StartSpreadMs, r.StartSpreadBoundMs = startSpread(nodes)
	r.addDetail(s)
	if s.Ended {
		r.Courses = newCourses(s.Parts)
	}
	if s.StoppedBy != "" {
		r.Stopped = &Stopped{Cause: s.StoppedBy, AfterS: s.StoppedAfter.Seconds()}
	}
	for code, n := range s.StatusCodes() {
		r.StatusCodes[strconv.Itoa(code)] = n
	}
	return r, r.addHistograms(s)
}

func (r *Result) addHistograms(s *Summary) error {
	var b blockBuilder
	r.Latency = b.block(&s.Latency, s.slower(s.Dropped))
	r.ServiceTime = b.block(&s.Service, 0)
	r.LatencyOK = b.block(&s.LatencyOK, 0)
	r.Iteration = b.block(&s.IterationTime, 0)
	for i := range s.Steps {
		st := &s.Steps[i]
		r.Steps = append(r.Steps, StepResult{
			StepKey: st.StepKey, Requests: st.Requests, Errors: st.Errors,
			Latency: b.block(&st.Latency, 0), ServiceTime: b.block(&st.Service, 0), StepDetail: b.stepDetail(st),
		})
	}
	r.addParts(&b, s)
	return b.err
}

// iterations is how many have been completed.
func (s *Summary) iterations() int64 { return s.Completed - s.Placed }

// interrupted counts as such what a live or a lost node had not ended yet, so
// that started = completed + interrupted holds in every result.
func (s *Summary) interrupted() int64 { return max(s.Started-s.Completed, s.Interrupted) }

// Stopped says how a run has ended before its time.
type Stopped struct {
	Cause  string  `json:"cause"` // stop, signal, replaced, threshold or memory
	AfterS float64 `json:"after_s"`
}

// Node is the summary's line in a result's nodes; clockOffset is the leader's
// clock less this node's.
func (s *Summary) Node(clockOffset time.Duration) NodeResult {
	n := NodeResult{
		NodeID: s.NodeID, ClockOffsetMs: millis(clockOffset), Requests: s.Requests, RPS: perSecond(s.Requests, s.Span()),
		CPUPct: round(s.Generator.CPUPct, 1), ScheduleLagP99Ms: millis(s.Generator.ScheduleLagP99),
		ThrottledPct: round(s.Generator.ThrottledPct, 1), GCPauseP99Ms: millis(s.Generator.GCPauseP99), Dropped: s.Dropped,
		ConfigVersion: s.ConfigVersion, OverTime: s.fared(), Complete: s.Ended && s.Failure == "", Reason: s.Failure,
	}
	n.Verdict, n.Reasons = s.verdict()
	if skew, ok := s.StartSkew(); ok {
		ms := millis(skew)
		n.StartSkewMs = &ms
	}
	if s.Scaled {
		n.ThinkTimeScale = &s.ThinkTimeScale
	}
	if !n.Complete && n.Reason == "" {
		n.Reason = "its final report is missing"
	}
	return n
}

// WriteJSON writes the result as one indented JSON object.
func (r *Result) WriteJSON(w io.Writer) error {
	data, err := json.MarshalIndent(r, "", "  ")
	if err != nil {
		return fmt.Errorf("write result as JSON: %w", err)
	}
	if _, err := w.Write(append(data, '\n')); err != nil {
		return fmt.Errorf("write result as JSON: %w", err)
	}
	return nil
}

func newErrorCounts(s *Summary) ErrorCounts {
	return ErrorCounts{
		Timeout: s.Errors[ErrTimeout], Network: s.Errors[ErrNetwork], TLS: s.Errors[ErrTLS],
		ClientError: s.Errors[ErrClient], ServerError: s.Errors[ErrServer], Assertion: s.Errors[ErrAssertion],
		Other: s.Errors[ErrOther], Generator: s.Errors[ErrGenerator],
	}
}

func newErrorExamples(s *Summary) map[string]string {
	names := [errorKinds]string{
		ErrTimeout: "timeout", ErrNetwork: "network", ErrTLS: "tls", ErrClient: "client_error", ErrServer: "server_error",
		ErrAssertion: "assertion", ErrOther: "other", ErrGenerator: "generator",
	}
	out := map[string]string{}
	for kind, text := range s.ErrorExamples {
		if text != "" {
			out[names[kind]] = text
		}
	}
	return out
}

func newGeneratorResult(s *Summary) GeneratorResult {
	g := s.Generator
	verdict, reasons := s.verdict()
	return GeneratorResult{
		CPUPct: round(g.CPUPct, 1), ThrottledPct: round(g.ThrottledPct, 1), ThrottledPeriods: g.ThrottledPeriods,
		GCPauseP99Ms: millis(g.GCPauseP99), ScheduleLagP50Ms: millis(g.ScheduleLagP50), ScheduleLagP99Ms: millis(g.ScheduleLagP99), WakeupP99Ms: millis(g.WakeupP99), ClockJumpMs: millis(g.ClockJump),
		Verdict: verdict, Reasons: reasons,
	}
}

// blockBuilder keeps the first error of many blocks, and the form of an empty
// one: compressing is what takes the time.
type blockBuilder struct {
	err   error
	empty string
}

// block makes a histogram's block; slower arrivals count as slower than any
// sample.
func (b *blockBuilder) block(h *Histogram, slower int64) Percentiles {
	encoded := b.empty
	if h.count > 0 || encoded == "" {
		var err error
		if encoded, err = h.Base64(); err != nil && b.err == nil {
			b.err = fmt.Errorf("make result: %w", err)
		}
	}
	if h.count == 0 {
		b.empty = encoded
	}
	p := Percentiles{Histogram: encoded, Over1h: h.over}
	if h.count == 0 {
		return p
	}
	p.Min, p.Mean, p.Max = msOf(h.Min()), msOf(h.Mean()), msOf(h.Max())
	for _, field := range p.byRank() {
		if d, ok := h.PercentileAmong(field.percent, slower); ok {
			*field.value = msOf(d)
		}
	}
	return p
}

type percentField struct {
	percent float64
	value   **float64
}

func (p *Percentiles) byRank() []percentField {
	return []percentField{{50, &p.P50}, {90, &p.P90}, {95, &p.P95}, {99, &p.P99}, {99.9, &p.P999}}
}

func msOf(d time.Duration) *float64 {
	ms := millis(d)
	return &ms
}

func millis(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }

func perSecond(n int64, span time.Duration) float64 {
	if span <= 0 {
		return 0
	}
	return round(float64(n)/span.Seconds(), 3)
}

// round keeps digits behind the point: more would be noise to a reader. What
// is no number JSON can hold becomes 0.
func round(v float64, digits int) float64 {
	unit := math.Pow10(digits)
	scaled := math.Round(v * unit)
	if math.IsNaN(scaled) || math.IsInf(scaled, 0) {
		return 0
	}
	return scaled / unit
}
