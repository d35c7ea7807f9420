package stats

import "strconv"

// StepDetail is what merging results and judging thresholds on them needs of a
// step beyond what is read.
type StepDetail struct {
	Retried          int64            `json:"retried,omitempty"`
	Succeeded        int64            `json:"succeeded,omitempty"`
	Superseded       int64            `json:"superseded,omitempty"` // attempts, errors, that a further one followed in vain
	Extra            int64            `json:"extra,omitempty"`      // requests beyond one for each run
	AssertionsPassed int64            `json:"assertions_passed,omitempty"`
	AssertionsFailed int64            `json:"assertions_failed,omitempty"`
	NoStatus         int64            `json:"no_status,omitempty"` // requests without a response
	StatusCodes      map[string]int64 `json:"status_codes,omitempty"`
	// LatencyFailed is the part of the latencies that errors have.
	LatencyFailed *Percentiles `json:"latency_failed_ms,omitempty"`
}

// PointDetail is what merging results and judging thresholds on them needs of a
// point of the series beyond what is read. Latency and Lag are the histograms
// behind its percentiles in a form of volley's own.
type PointDetail struct {
	Requests         int64  `json:"requests,omitempty"`
	Retried          int64  `json:"retried,omitempty"`
	Completed        int64  `json:"completed,omitempty"`
	AssertionsPassed int64  `json:"assertions_passed,omitempty"`
	AssertionsFailed int64  `json:"assertions_failed,omitempty"`
	Latency          []byte `json:"latency_sketch,omitempty"`
	Lag              []byte `json:"lag_sketch,omitempty"`
}

func (p *Point) detail() PointDetail {
	return PointDetail{
		Requests: p.Requests, Retried: p.Retried, Completed: p.Completed,
		AssertionsPassed: p.AssertionsPassed, AssertionsFailed: p.AssertionsLost,
		Latency: []byte(p.latency), Lag: []byte(p.lag),
	}
}

// restore is the point, as far as it is in there.
func (d *PointDetail) restore() Point {
	return Point{
		Requests: d.Requests, Retried: d.Retried, Completed: d.Completed,
		AssertionsPassed: d.AssertionsPassed, AssertionsLost: d.AssertionsFailed,
		latency: sketch(d.Latency), lag: sketch(d.Lag),
	}
}

// ScenarioResult is one scenario's part of a Result: iterations.
type ScenarioResult struct {
	Scenario    string      `json:"scenario"`
	Succeeded   int64       `json:"succeeded"`
	Failed      int64       `json:"failed"`
	Interrupted int64       `json:"interrupted"`
	Iteration   Percentiles `json:"iteration_ms"`
}

// StageResult is one stage's part of a Result: the arrivals and requests that
// fell due in it.
type StageResult struct {
	FromS    float64     `json:"from_s"` // since the start
	ToS      float64     `json:"to_s"`
	FromRate float64     `json:"from_rate"` // targets at its ends
	ToRate   float64     `json:"to_rate"`
	Target   float64     `json:"target"` // arrivals asked for
	Started  int64       `json:"started"`
	Late     int64       `json:"late"`
	Dropped  int64       `json:"dropped"`
	Requests int64       `json:"requests"`
	Errors   int64       `json:"errors"`
	Latency  Percentiles `json:"latency_ms"`
}

// PhaseResult is how long the parts of requests took.
type PhaseResult struct {
	DNS       Percentiles `json:"dns"`
	Connect   Percentiles `json:"connect"`
	TLS       Percentiles `json:"tls"`
	FirstByte Percentiles `json:"first_byte"`
}

func (p *PhaseResult) all() [phaseCount]*Percentiles {
	return [phaseCount]*Percentiles{&p.DNS, &p.Connect, &p.TLS, &p.FirstByte}
}

// addDetail adds what is no histogram.
func (r *Result) addDetail(s *Summary) {
	r.Unit = s.Unit
	if r.Unit == "iterations" {
		r.Unit = ""
	}
	r.Drops = Drops{Thinking: s.DroppedThinking, Target: s.DroppedWaiting, End: s.DroppedEnd, Isolated: s.DroppedIsolated}
	switch {
	case s.NoHistograms:
		r.PercentileSource = "off"
	case s.share() < 100:
		r.PercentileSource, r.SamplePct, r.SamplePctMost = "sampled", s.share(), s.SampleMost
	}
	r.RowsSkipped = s.RowsSkipped
	r.MemorySavingSinceS, r.FoldedLabels = s.SavingSince.Seconds(), s.FoldedLabels
	runs := s.Requests
	for i := range s.Steps {
		runs -= s.Steps[i].Extra
	}
	if runs > 0 && s.Requests > runs {
		r.Amplification = round(float64(s.Requests)/float64(runs), 3)
	}
}

func newConnections(s *Summary) Connections {
	return Connections{
		New: s.ConnsNew, Reused: s.ConnsReused, Reconnects: s.Reconnects,
		Downgrades: s.Downgrades, LookupFailures: s.LookupFailures, Client: s.client(),
	}
}

const ownClient, stdClient = "own", "std"

// client says which HTTP clients opened connections.
func (s *Summary) client() string {
	switch {
	case s.OwnClient && s.StdClient:
		return ownClient + " and " + stdClient
	case s.OwnClient:
		return ownClient
	case s.StdClient:
		return stdClient
	}
	return ""
}

func (c *Connections) clientText() string {
	if c.Client == "" {
		return ""
	}
	return "; client " + c.Client
}

func (b *blockBuilder) stepDetail(st *StepStats) StepDetail {
	d := StepDetail{
		Retried: st.Retried, Succeeded: st.Succeeded, Superseded: st.Superseded, Extra: st.Extra, NoStatus: st.NoStatus,
		AssertionsPassed: st.AssertionsPassed, AssertionsFailed: st.AssertionsFailed,
		StatusCodes: map[string]int64{},
	}
	for code, n := range st.StatusCodes {
		d.StatusCodes[strconv.Itoa(code)] = n
	}
	if st.LatencyFailed.count > 0 {
		failed := b.block(&st.LatencyFailed, 0)
		d.LatencyFailed = &failed
	}
	return d
}

// addParts adds the histograms of scenarios, stages and phases.
func (r *Result) addParts(b *blockBuilder, s *Summary) {
	for i := range s.Scenarios {
		sc := &s.Scenarios[i]
		r.Scenarios = append(r.Scenarios, ScenarioResult{
			Scenario: sc.Name, Succeeded: sc.Succeeded, Failed: sc.Failed, Interrupted: sc.Interrupted,
			Iteration: b.block(&sc.Duration, 0),
		})
	}
	for i := range s.Stages {
		st := &s.Stages[i]
		r.Stages = append(r.Stages, StageResult{
			FromS: st.From.Seconds(), ToS: st.To.Seconds(), FromRate: st.FromRate, ToRate: st.ToRate,
			Target: round(st.Target, 3), Started: st.Started, Late: st.Late, Dropped: st.Dropped,
			Requests: st.Requests, Errors: st.Errors, Latency: b.block(&st.Latency, s.slower(st.Dropped)),
		})
	}
	r.addPhases(b, s)
}

func (r *Result) addPhases(b *blockBuilder, s *Summary) {
	var phases PhaseResult
	some := false
	for i, to := range phases.all() {
		*to = b.block(&s.Phases[i], 0)
		some = some || s.Phases[i].count > 0
	}
	if some {
		r.Phases = &phases
	}
}
