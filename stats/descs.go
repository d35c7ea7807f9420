package stats

import (
	"math"
	"strconv"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"
)

// descs holds every metric by its name without the namespace.
type descs map[string]*prometheus.Desc

func newDescs(namespace string) descs {
	d := descs{}
	add := func(name, help string, labels ...string) {
		d[name] = prometheus.NewDesc(namespace+"_"+name, help, labels, nil)
	}
	addRequests(add, "region", "tenant", "node_id", "run_id")
	addScenarios(add, "node_id", "run_id")
	merged := func(name, help string, labels ...string) {
		add(mergedPrefix+name, "Of all nodes, on the leader. "+help, labels...)
	}
	addRequests(merged, "tenant", "run_id")
	addScenarios(merged, "run_id")
	addTotals(add)
	addNode(add)
	return d
}

// mergedPrefix begins the names of what a leader shows of all nodes: names of
// their own, so that a sum over nodes counts nothing twice.
const mergedPrefix = "cluster_"

type addDesc func(name, help string, labels ...string)

func addRequests(add addDesc, ofRun ...string) {
	with := func(label string) []string { return append([]string{label}, ofRun...) }
	add("requests_total", "HTTP requests: attempts and redirect hops.", ofRun...)
	add("concurrent_requests", "Requests sent and not answered yet.", ofRun...)
	add("request_phase_seconds", "Parts of requests, if the plan asks for them.", with("phase")...)
	add("requests_status_codes_total", "Requests by status code; error if there was no response.", with("status_code")...)
	add("request_errors_by_category", "Requests that are errors, by category.", with("category")...)
	add("request_duration_seconds", "Service time: first byte sent to last byte read.", ofRun...)
	add("request_latency_seconds", "Latency counted from due to last byte read.", ofRun...)
}

func addScenarios(add addDesc, ofRun ...string) {
	of := func(labels ...string) []string { return append(labels, ofRun...) }
	add("scenario_executions_total", "Completed iterations by outcome.", of("scenario", "status")...)
	add("scenario_requests_total", "Completed iterations.", of("scenario", "tenant")...)
	add("scenario_duration_seconds", "Duration of completed iterations, think time included.", of("scenario")...)
	add("scenario_steps_total", "Runs of a step by outcome; cache hits are none.", of("scenario", "step", "status")...)
	add("scenario_step_duration_seconds", "Service time of a step's requests.", of("scenario", "step")...)
	add("scenario_step_latency_seconds", "Latency of a step, counted from due.", of("scenario", "step")...)
	add("scenario_step_status_codes_total", "Responses of a step by status code.", of("scenario", "step", "status_code")...)
	add("scenario_assertions_total", "Assertions by result.", of("scenario", "step", "result")...)
}

func addTotals(add addDesc) {
	add("scenario_throughput_rps", "Completed iterations per second of the newest run.", "scenario")
	add("concurrent_scenarios", "Iterations going on.")
	add("late_starts_total", "Arrivals started more than 1 ms after due, by cause.", "cause")
	add("dropped_iterations_total", "Arrivals that were due and never started.")
	add("schedule_lag_seconds", "Send less due time where a worker was free.")
	add("connection_pool_requests_total", "Requests that had a connection.")
	add("connection_pool_new_total", "Requests that opened a connection.")
	add("connection_pool_reused_total", "Requests on a connection already open.")
	add("connection_pool_likely_new_total", "The same as connection_pool_new_total, under its old name.")
	add("connection_pool_likely_reused_total", "The same as connection_pool_reused_total, under its old name.")
	add("connection_pool_reuse_rate_percent", "Share of requests on a connection already open.")
	add("connection_pool_max_idle_per_host", "Idle connections that the newest run's plan allows a worker to keep per host.")
	add("connection_pool_idle_timeout_seconds", "After how long the newest run's plan closes an idle connection.")
	add("redirect_downgrades_total", "Redirects from https to http that were followed.")
	add("lookup_failures_total", "Failed look-ups of host names.")
	add("histogram_count", "Histograms that hold samples, in the runs going on.")
	add("histogram_memory_estimate_bytes", "About what the histograms of the runs going on take.")
	add("histogram_labels_evicted_total", "Steps and scenarios counted together as other.")
	add("workers_configured_total", "Workers of the runs going on.")
	add("run_start_skew_seconds", "Send less due time of the newest run's first arrival.")
	add("build_info", "1, with what the binary was built of.", "version", "revision", "goversion")
}

func addNode(add addDesc) {
	add("config_info", "1, with the config that generates load, else the one being prepared.", "version", "source", "revision")
	add("run_phase", "1 for the phase the node is in, 0 for the others.", "phase")
	add("raft_leader_changes_total", "Changes of leader seen by this node.")
	add("raft_term", "Raft's current term.")
	add("cluster_members", "Members by suffrage.", "suffrage")
	add("cluster_node_info", "1, with the node's state.", "node_id", "region", "state")
	add("config_delivery_attempts_total", "Tries to hand the config to a node, by result.", "node", "result")
	add("clock_offset_seconds", "The leader's clock less the node's.", "node")
	add("control_lag_seconds", "How late the control process woke up at worst in the last 15 s.")
	add("raft_contact_gap_seconds", "Longest time between two messages of the leader, or, on it, between two answers of a follower, since the newest run began.")
	addProcess(add)
}

func addProcess(add addDesc) {
	add("process_memory_rss_bytes", "Resident memory, the engine's included.")
	add("process_memory_virtual_bytes", "Virtual memory, the engine's included.")
	add("memory_warning_threshold_exceeded_total", "Times that memory passed the warning threshold.")
	add("memory_critical_threshold_exceeded_total", "Times that memory passed the critical threshold.")
	add("percentile_tracking_active", "1 if histograms are recorded, else 0.")
	add("percentile_sampling_rate_percent", "Share of requests and iterations that go into histograms.")
}

// emitter turns figures into metrics of the descs.
type emitter struct {
	descs  descs
	out    chan<- prometheus.Metric
	prefix string // of names: mergedPrefix for what is of all nodes
}

// merged is the emitter of what is of all nodes.
func (e *emitter) merged() *emitter { return &emitter{e.descs, e.out, mergedPrefix} }

// ofRun are the label values of a run's requests, after those of the series.
func (e *emitter) ofRun(s *Summary, more ...string) []string {
	if e.prefix == mergedPrefix {
		return append(more, s.Tenant, s.RunID)
	}
	return append(more, s.Region, s.Tenant, s.NodeID, s.RunID)
}

// ofPart are those of a run's scenarios and steps.
func (e *emitter) ofPart(s *Summary, more ...string) []string {
	if e.prefix == mergedPrefix {
		return append(more, s.RunID)
	}
	return append(more, s.NodeID, s.RunID)
}

func (e *emitter) desc(name string) *prometheus.Desc { return e.descs[e.prefix+name] }

func (e *emitter) counter(name string, n int64, labels ...string) {
	e.send(name, prometheus.CounterValue, float64(n), labels)
}

func (e *emitter) gauge(name string, v float64, labels ...string) {
	e.send(name, prometheus.GaugeValue, v, labels)
}

func (e *emitter) send(name string, kind prometheus.ValueType, v float64, labels []string) {
	e.out <- prometheus.MustNewConstMetric(e.desc(name), kind, v, printable(labels)...)
}

// printable makes label values that Prometheus accepts: node names come from
// the environment and may be anything.
func printable(labels []string) []string {
	out := make([]string, len(labels))
	for i, l := range labels {
		out[i] = strings.ToValidUTF8(l, "\uFFFD")
	}
	return out
}

// buckets are the classic ones of the predecessor's dashboards, in seconds.
func buckets() []float64 {
	return []float64{0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10}
}

// NativeSchema of the histograms gives 8 buckets to each power of two, 9 % wide.
const NativeSchema = 3

func (e *emitter) histogram(name string, h *Histogram, labels ...string) {
	labels = printable(labels)
	desc, count, sum := e.desc(name), uint64(h.count), h.Seconds()
	zero, native := h.Native()
	e.out <- bothForms{
		Metric: prometheus.MustNewConstHistogram(desc, count, sum, h.classicBuckets(), labels...),
		native: prometheus.MustNewConstNativeHistogram(desc, count, sum, native, nil, zero, NativeSchema,
			prometheus.DefNativeHistogramZeroThreshold, time.Time{}, labels...),
	}
}

// classicBuckets are cumulative.
func (h *Histogram) classicBuckets() map[float64]uint64 {
	out := map[float64]uint64{}
	for _, bound := range buckets() {
		out[bound] = uint64(h.AtMost(bound))
	}
	return out
}

// AtMost counts the samples up to a bound in seconds, to the bucket: those of the
// bucket that the bound lies in are among them.
func (h *Histogram) AtMost(seconds float64) int64 {
	if h.packed == nil {
		return 0
	}
	bound := int64(math.Round(seconds * float64(time.Second)))
	var n int64
	h.packed.ForEachBucket(func(value, count int64) bool {
		if value <= bound {
			n += count
		}
		return value <= bound
	})
	return n
}

// Seconds is the exact sum of all samples.
func (h *Histogram) Seconds() float64 { return h.sum() / float64(time.Second) }

// Native counts the samples by buckets of NativeSchema, in seconds: bucket i
// ends at 2^(i/8), itself included. Samples of 0 are counted by themselves.
func (h *Histogram) Native() (zero uint64, positive map[int]int64) {
	positive = map[int]int64{}
	if h.packed == nil {
		return 0, positive
	}
	h.packed.ForEachBucket(func(value, count int64) bool {
		if value == 0 {
			zero += uint64(count)
			return true
		}
		octave := math.Log2(float64(value) / float64(time.Second))
		positive[int(math.Ceil(octave*(1<<NativeSchema)))] += count
		return true
	})
	return zero, positive
}

// bothForms is a histogram with classic and native buckets; the library makes
// constant ones of one form only.
type bothForms struct {
	prometheus.Metric // classic
	native            prometheus.Metric
}

// Write implements prometheus.Metric.
func (b bothForms) Write(out *dto.Metric) error {
	var native dto.Metric
	if err := b.native.Write(&native); err != nil {
		return err
	}
	if err := b.Metric.Write(out); err != nil {
		return err
	}
	from, to := native.GetHistogram(), out.GetHistogram()
	to.Schema, to.ZeroThreshold, to.ZeroCount = from.Schema, from.ZeroThreshold, from.ZeroCount
	to.PositiveSpan, to.PositiveDelta = from.PositiveSpan, from.PositiveDelta
	return nil
}

func statusLabel(code int) string { return strconv.Itoa(code) }
