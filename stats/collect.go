package stats

import "time"

// NodeState is what the metrics show of a node and, in a cluster, of its part
// in it.
type NodeState struct {
	NodeID, Region string
	State          string // standalone, forming, follower, leader

	ConfigVersion  string // "" before there is a config
	ConfigSource   string
	ConfigRevision string
	Phase          string // of the run, as in /health/cluster

	// Clustered says that the fields below mean something.
	Clustered        bool
	LeaderChanges    int64
	Term             uint64
	Members          map[string]int // by suffrage
	DeliveryAttempts []DeliveryAttempts
	ClockOffsets     map[string]time.Duration // by node, leader's clock less its own
	ControlLag       time.Duration
	ContactGap       time.Duration // the longest without word of a leader, or a leader's of a follower

	Process ProcessState
}

// ProcessState is what the metrics show of the process, its engine included.
type ProcessState struct {
	RSS, Virtual int64 // bytes; 0 if not known
	// How often the memory guard saw its thresholds exceeded.
	MemoryWarnings, MemoryCriticals int64
	// PercentilesOff is true if no histograms are recorded, and SamplingPct the
	// share of requests in them, 0 for all.
	PercentilesOff bool
	SamplingPct    int
}

// DeliveryAttempts is how many tries to hand the config to Node had Result,
// ok, failed or refused.
type DeliveryAttempts struct {
	Node, Result string
	N            int64
}

// run emits the series that carry a run label.
func (e *emitter) run(s *Summary) {
	of := e.ofRun(s)
	with := func(label string) []string { return e.ofRun(s, label) }
	e.counter("requests_total", s.Requests, of...)
	if !s.Ended {
		e.gauge("concurrent_requests", float64(s.InFlight), of...)
	} else {
		e.gauge("concurrent_requests", 0, of...)
	}
	for i, phase := range phaseNames() {
		if h := &s.Phases[i]; h.count > 0 {
			e.histogram("request_phase_seconds", h, with(phase)...)
		}
	}
	e.histogram("request_duration_seconds", &s.Service, of...)
	e.histogram("request_latency_seconds", &s.Latency, of...)
	for code, n := range s.StatusCodes() {
		e.counter("requests_status_codes_total", n, with(statusLabel(code))...)
	}
	var noStatus int64
	for i := range s.Steps {
		noStatus += s.Steps[i].NoStatus
		e.step(s, &s.Steps[i])
	}
	e.counter("requests_status_codes_total", noStatus, with("error")...)
	for kind, n := range s.Errors {
		if category := errorCategory(ErrorKind(kind)); category != "" {
			e.counter("request_errors_by_category", n, with(category)...)
		}
	}
	for i := range s.Scenarios {
		e.scenario(s, &s.Scenarios[i])
	}
}

func errorCategory(kind ErrorKind) string {
	switch kind {
	case ErrTimeout:
		return "timeout_error"
	case ErrNetwork:
		return "network_error"
	case ErrTLS:
		return "tls_error"
	case ErrClient:
		return "client_error"
	case ErrServer:
		return "server_error"
	case ErrAssertion:
		return "assertion_error"
	case ErrOther:
		return "other_error"
	case ErrGenerator:
		return "generator_error"
	}
	return ""
}

func (e *emitter) step(s *Summary, st *StepStats) {
	of := func(label ...string) []string {
		return e.ofPart(s, append([]string{st.Scenario, st.Step}, label...)...)
	}
	e.counter("scenario_steps_total", st.Succeeded, of("success")...)
	e.counter("scenario_steps_total", st.Errors-st.Superseded, of("failed")...)
	e.histogram("scenario_step_duration_seconds", &st.Service, of()...)
	e.histogram("scenario_step_latency_seconds", &st.Latency, of()...)
	e.counter("scenario_assertions_total", st.AssertionsPassed, of("passed")...)
	e.counter("scenario_assertions_total", st.AssertionsFailed, of("failed")...)
	for code, n := range st.StatusCodes {
		e.counter("scenario_step_status_codes_total", n, of(statusLabel(code))...)
	}
}

func (e *emitter) scenario(s *Summary, sc *ScenarioStats) {
	e.counter("scenario_executions_total", sc.Succeeded, e.ofPart(s, sc.Name, "success")...)
	e.counter("scenario_executions_total", sc.Failed, e.ofPart(s, sc.Name, "failed")...)
	e.counter("scenario_requests_total", sc.Succeeded+sc.Failed, e.ofPart(s, sc.Name, s.Tenant)...)
	e.histogram("scenario_duration_seconds", &sc.Duration, e.ofPart(s, sc.Name)...)
}

// totals emits the counters of the process, over all its runs.
func (e *emitter) totals(t *Summary) {
	e.counter("late_starts_total", t.LateNoWorker, "no_worker")
	e.counter("late_starts_total", t.LateCatchUp, "catch_up")
	e.counter("late_starts_total", t.LateGenerator, "generator")
	e.counter("dropped_iterations_total", t.Dropped)
	e.histogram("schedule_lag_seconds", &t.ScheduleLag)
	e.counter("histogram_labels_evicted_total", t.FoldedLabels)
	e.counter("redirect_downgrades_total", t.Downgrades)
	e.counter("lookup_failures_total", t.LookupFailures)
	requests := t.ConnsNew + t.ConnsReused
	e.counter("connection_pool_requests_total", requests)
	e.counter("connection_pool_new_total", t.ConnsNew)
	e.counter("connection_pool_likely_new_total", t.ConnsNew)
	e.counter("connection_pool_reused_total", t.ConnsReused)
	e.counter("connection_pool_likely_reused_total", t.ConnsReused)
	if requests > 0 {
		e.gauge("connection_pool_reuse_rate_percent", 100*float64(t.ConnsReused)/float64(requests))
	}
}

// working emits what is true of all that is going on.
func (e *emitter) working(all []*Summary) {
	var workers, iterations, histograms, bytes int64
	for _, s := range all {
		if !s.Ended {
			histograms += s.Histograms
			bytes += s.HistogramBytes
			workers += s.Workers
			iterations += s.Started - s.Completed - s.Interrupted
		}
	}
	e.gauge("workers_configured_total", float64(workers))
	e.gauge("concurrent_scenarios", float64(iterations))
	e.gauge("histogram_count", float64(histograms))
	e.gauge("histogram_memory_estimate_bytes", float64(bytes))
}

// newest emits what is true of the newest run.
func (e *emitter) newest(runs []*Summary) {
	if len(runs) == 0 {
		return
	}
	newest := runs[len(runs)-1]
	if skew, ok := newest.StartSkew(); ok {
		e.gauge("run_start_skew_seconds", skew.Seconds())
	}
	for i := range newest.Scenarios {
		sc := &newest.Scenarios[i]
		e.gauge("scenario_throughput_rps", perSecond(sc.Succeeded+sc.Failed, newest.Span()), sc.Name)
	}
	if newest.Pool.Limited {
		e.gauge("connection_pool_max_idle_per_host", float64(newest.Pool.MaxIdlePerHost))
	}
	if t := newest.Pool.IdleTimeout; t > 0 {
		e.gauge("connection_pool_idle_timeout_seconds", t.Seconds())
	}
}

func phaseNames() [phaseCount]string {
	return [phaseCount]string{"dns", "connect", "tls", "first_byte"}
}

func (e *emitter) process(p ProcessState) {
	if p.RSS > 0 {
		e.gauge("process_memory_rss_bytes", float64(p.RSS))
	}
	if p.Virtual > 0 {
		e.gauge("process_memory_virtual_bytes", float64(p.Virtual))
	}
	e.counter("memory_warning_threshold_exceeded_total", p.MemoryWarnings)
	e.counter("memory_critical_threshold_exceeded_total", p.MemoryCriticals)
	e.gauge("percentile_tracking_active", float64(one(!p.PercentilesOff)))
	sampling := p.SamplingPct
	if sampling == 0 {
		sampling = 100
	}
	e.gauge("percentile_sampling_rate_percent", float64(sampling))
}

func phases() []string {
	return []string{
		"waiting", "fetching", "distributing", "ready", "scheduled",
		"running", "finished", "stopped", "aborted",
	}
}

func (e *emitter) node(n NodeState) {
	e.gauge("cluster_node_info", 1, n.NodeID, n.Region, n.State)
	if n.ConfigVersion != "" {
		e.gauge("config_info", 1, n.ConfigVersion, n.ConfigSource, n.ConfigRevision)
	}
	for _, phase := range phases() {
		e.gauge("run_phase", float64(one(phase == n.Phase)), phase)
	}
	e.process(n.Process)
	if n.Clustered {
		e.cluster(n)
	}
}

func (e *emitter) cluster(n NodeState) {
	e.counter("raft_leader_changes_total", n.LeaderChanges)
	e.gauge("raft_term", float64(n.Term))
	e.gauge("control_lag_seconds", n.ControlLag.Seconds())
	e.gauge("raft_contact_gap_seconds", n.ContactGap.Seconds())
	for suffrage, count := range n.Members {
		e.gauge("cluster_members", float64(count), suffrage)
	}
	for _, d := range n.DeliveryAttempts {
		e.counter("config_delivery_attempts_total", d.N, d.Node, d.Result)
	}
	for node, offset := range n.ClockOffsets {
		e.gauge("clock_offset_seconds", offset.Seconds(), node)
	}
}
