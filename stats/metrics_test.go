package stats

import (
	"fmt"
	"io"
	"math"
	"mime"
	"net/http"
	"net/http/httptest"
	"os"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	dto "github.com/prometheus/client_model/go"
	"github.com/prometheus/common/expfmt"
)

func newTestMetrics(t *testing.T) *Metrics {
	t.Helper()
	m, err := NewMetrics("volley", BuildInfo{Version: "1.2.3", Revision: "abc", GoVersion: "go1.26"})
	if err != nil {
		t.Fatal(err)
	}
	return m
}

// scrape returns the text exposition as series -> value.
func scrape(t *testing.T, m *Metrics) map[string]string {
	t.Helper()
	rec := httptest.NewRecorder()
	m.Handler().ServeHTTP(rec, httptest.NewRequest(http.MethodGet, "/metrics", nil))
	if rec.Code != http.StatusOK {
		t.Fatalf("scrape answers %d: %s", rec.Code, rec.Body)
	}
	out := map[string]string{}
	for line := range strings.Lines(rec.Body.String()) {
		if line = strings.TrimSpace(line); !strings.HasPrefix(line, "#") {
			at := strings.LastIndexByte(line, ' ')
			out[line[:at]] = line[at+1:]
		}
	}
	return out
}

func wantSeries(t *testing.T, got map[string]string, want string) {
	t.Helper()
	for line := range strings.Lines(strings.TrimSpace(want)) {
		line = strings.TrimSpace(line)
		at := strings.LastIndexByte(line, ' ')
		if value, ok := got[line[:at]]; !ok || value != line[at+1:] {
			t.Errorf("%s is %q, want %s", line[:at], value, line[at+1:])
		}
	}
}

func TestMetricsOfARun(t *testing.T) {
	m := newTestMetrics(t)
	s := nodeSummary("a", 100, 7)
	s.Region, s.Tenant = "eu", "acme"
	s.LateCatchUp, s.ConnsReused, s.Errors[ErrTLS] = 4, 3, 2
	m.SetSummary(s)
	got := scrape(t, m)
	wantSeries(t, got, `
		volley_build_info{goversion="go1.26",revision="abc",version="1.2.3"} 1
		volley_requests_total{node_id="a",region="eu",run_id="r-1",tenant="acme"} 200
		volley_requests_status_codes_total{node_id="a",region="eu",run_id="r-1",status_code="200",tenant="acme"} 190
		volley_requests_status_codes_total{node_id="a",region="eu",run_id="r-1",status_code="503",tenant="acme"} 10
		volley_requests_status_codes_total{node_id="a",region="eu",run_id="r-1",status_code="error",tenant="acme"} 0
		volley_request_errors_by_category{category="server_error",node_id="a",region="eu",run_id="r-1",tenant="acme"} 10
		volley_request_errors_by_category{category="tls_error",node_id="a",region="eu",run_id="r-1",tenant="acme"} 2
		volley_request_errors_by_category{category="client_error",node_id="a",region="eu",run_id="r-1",tenant="acme"} 0
		volley_request_errors_by_category{category="other_error",node_id="a",region="eu",run_id="r-1",tenant="acme"} 0
		volley_request_errors_by_category{category="timeout_error",node_id="a",region="eu",run_id="r-1",tenant="acme"} 0
		volley_request_errors_by_category{category="network_error",node_id="a",region="eu",run_id="r-1",tenant="acme"} 0
		volley_request_duration_seconds_bucket{node_id="a",region="eu",run_id="r-1",tenant="acme",le="0.005"} 100
		volley_request_duration_seconds_bucket{node_id="a",region="eu",run_id="r-1",tenant="acme",le="0.01"} 200
		volley_request_duration_seconds_count{node_id="a",region="eu",run_id="r-1",tenant="acme"} 200
		volley_request_duration_seconds_sum{node_id="a",region="eu",run_id="r-1",tenant="acme"} 1.01
		volley_request_latency_seconds_bucket{node_id="a",region="eu",run_id="r-1",tenant="acme",le="0.05"} 99
		volley_request_latency_seconds_bucket{node_id="a",region="eu",run_id="r-1",tenant="acme",le="+Inf"} 200
		volley_request_latency_seconds_sum{node_id="a",region="eu",run_id="r-1",tenant="acme"} 10.2
		volley_scenario_executions_total{node_id="a",run_id="r-1",scenario="checkout",status="success"} 90
		volley_scenario_executions_total{node_id="a",run_id="r-1",scenario="checkout",status="failed"} 10
		volley_scenario_requests_total{node_id="a",run_id="r-1",scenario="checkout",tenant="acme"} 100
		volley_scenario_duration_seconds_count{node_id="a",run_id="r-1",scenario="checkout"} 100
		volley_scenario_steps_total{node_id="a",run_id="r-1",scenario="checkout",status="success",step="Pay"} 90
		volley_scenario_steps_total{node_id="a",run_id="r-1",scenario="checkout",status="failed",step="Pay"} 10
		volley_scenario_step_status_codes_total{node_id="a",run_id="r-1",scenario="checkout",status_code="503",step="Pay"} 10
		volley_scenario_step_duration_seconds_sum{node_id="a",run_id="r-1",scenario="checkout",step="Pay"} 0.505
		volley_scenario_step_latency_seconds_sum{node_id="a",run_id="r-1",scenario="checkout",step="Pay"} 5.15
		volley_scenario_throughput_rps{scenario="checkout"} 10
		volley_late_starts_total{cause="no_worker"} 5
		volley_late_starts_total{cause="catch_up"} 4
		volley_late_starts_total{cause="generator"} 0
		volley_dropped_iterations_total 7
		volley_schedule_lag_seconds_count 95
		volley_schedule_lag_seconds_sum 0.0285
		volley_connection_pool_requests_total 4
		volley_connection_pool_new_total 1
		volley_connection_pool_likely_new_total 1
		volley_connection_pool_reused_total 3
		volley_connection_pool_likely_reused_total 3
		volley_connection_pool_reuse_rate_percent 75
		volley_run_start_skew_seconds 0.0003
		volley_workers_configured_total 0
		volley_concurrent_scenarios 0`)

	next := nodeSummary("a", 3, 2)
	next.RunID, next.Ended, next.Completed, next.Elapsed = "r-2", false, 1, 2*time.Second
	next.Steps[0].AssertionsPassed, next.Steps[0].AssertionsFailed = 8, 9
	next.Steps[0].Succeeded, next.Steps[0].Errors, next.Steps[0].Superseded = 1, 5, 3 // two runs failed, one after three attempts in vain
	m.SetSummary(next)
	wantSeries(t, scrape(t, m), `
		volley_requests_total{node_id="a",region="",run_id="r-2",tenant=""} 6
		volley_requests_total{node_id="a",region="eu",run_id="r-1",tenant="acme"} 200
		volley_dropped_iterations_total 9
		volley_schedule_lag_seconds_count 98
		volley_workers_configured_total 5
		volley_concurrent_scenarios 2
		volley_scenario_throughput_rps{scenario="checkout"} 1.5
		volley_scenario_steps_total{node_id="a",run_id="r-2",scenario="checkout",status="failed",step="Log in"} 2
		volley_scenario_assertions_total{node_id="a",result="passed",run_id="r-2",scenario="checkout",step="Log in"} 8
		volley_scenario_assertions_total{node_id="a",result="failed",run_id="r-2",scenario="checkout",step="Log in"} 9`)
}

// What the engine says of itself and of the histograms.
func TestMetricsOfTheEngine(t *testing.T) {
	m := newTestMetrics(t)
	r := NewRecorder(Layout{Steps: []StepKey{{"a", "one"}, {"b", "two"}}, MaxLabels: 1}, 1)
	sh := r.Shard(0)
	sh.Request(Sample{Latency: millisecond, Service: millisecond, Status: 200, Complete: true,
		Phases: &Phases{DNS: 2 * millisecond, Connect: 3 * millisecond, TLS: 4 * millisecond, FirstByte: 5 * millisecond}})
	sh.Downgraded()
	sh.LookupFailed()
	sh.LookupFailed()
	sh.Drop(Drop{N: 3, Cause: DropEnd})
	sh.Arrived(Arrival{})
	r.Observe(Gauges{At: time.Second, Workers: 4, InFlight: 6, CPUPct: 5})
	s := r.Summary()
	s.RunID, s.NodeID, s.Elapsed = "r-1", "a", 2*time.Second
	s.Workers, s.Pool = 9, Pool{Limited: true, MaxIdlePerHost: 5, IdleTimeout: 90 * time.Second}
	m.SetSummary(s)
	got := scrape(t, m)
	wantSeries(t, got, fmt.Sprintf(`
		volley_concurrent_requests{node_id="a",region="",run_id="r-1",tenant=""} 6
		volley_concurrent_scenarios 1
		volley_workers_configured_total 9
		volley_histogram_count 9
		volley_histogram_memory_estimate_bytes %s
		volley_histogram_labels_evicted_total 2
		volley_redirect_downgrades_total 1
		volley_lookup_failures_total 2
		volley_dropped_iterations_total 3
		volley_connection_pool_max_idle_per_host 5
		volley_connection_pool_idle_timeout_seconds 90
		volley_request_phase_seconds_sum{node_id="a",phase="dns",region="",run_id="r-1",tenant=""} 0.002
		volley_request_phase_seconds_sum{node_id="a",phase="connect",region="",run_id="r-1",tenant=""} 0.003
		volley_request_phase_seconds_sum{node_id="a",phase="tls",region="",run_id="r-1",tenant=""} 0.004
		volley_request_phase_seconds_sum{node_id="a",phase="first_byte",region="",run_id="r-1",tenant=""} 0.005`,
		strconv.FormatFloat(float64(s.HistogramBytes), 'g', -1, 64)))
	if s.HistogramBytes < 10_000 {
		t.Errorf("the histograms take %d bytes, want those of their pages", s.HistogramBytes)
	}
	ended := s.Clone()
	ended.Ended, ended.Completed = true, 1
	m.SetSummary(ended)
	wantSeries(t, scrape(t, m), `
		volley_concurrent_requests{node_id="a",region="",run_id="r-1",tenant=""} 0
		volley_concurrent_scenarios 0
		volley_histogram_count 0
		volley_histogram_memory_estimate_bytes 0
		volley_workers_configured_total 0`)
}

func TestMetricsOfTheProcess(t *testing.T) {
	m := newTestMetrics(t)
	var p ProcessState
	m.SetNode(func() NodeState { return NodeState{Process: p} })
	got := scrape(t, m)
	wantSeries(t, got, `
		volley_percentile_tracking_active 1
		volley_percentile_sampling_rate_percent 100
		volley_memory_warning_threshold_exceeded_total 0
		volley_memory_critical_threshold_exceeded_total 0`)
	if _, ok := got["volley_process_memory_rss_bytes"]; ok {
		t.Error("memory that is not known is shown")
	}
	p = ProcessState{RSS: 5 << 20, Virtual: 7 << 30, MemoryWarnings: 2, MemoryCriticals: 1, PercentilesOff: true, SamplingPct: 25}
	wantSeries(t, scrape(t, m), `
		volley_process_memory_rss_bytes 5.24288e+06
		volley_process_memory_virtual_bytes 7.516192768e+09
		volley_percentile_tracking_active 0
		volley_percentile_sampling_rate_percent 25
		volley_memory_warning_threshold_exceeded_total 2
		volley_memory_critical_threshold_exceeded_total 1`)
}

// Every metric's name is in a test that reads a value of it.
func TestEveryMetricHasATest(t *testing.T) {
	source, err := os.ReadFile("metrics_test.go")
	if err != nil {
		t.Fatal(err)
	}
	for name := range newDescs("volley") {
		if !regexp.MustCompile("volley_" + name + `(_bucket|_count|_sum)?(\{| )`).Match(source) {
			t.Errorf("no test reads %s", name)
		}
	}
}

func TestOldRunsVanishAndTotalsStay(t *testing.T) {
	m := newTestMetrics(t)
	for i := range 25 {
		s := nodeSummary("a", 2, 1)
		s.RunID = fmt.Sprint("r-", i)
		m.SetSummary(s)
		m.SetSummary(s) // a newer state of the same run replaces it
	}
	got := scrape(t, m)
	runs := 0
	for series := range got {
		if strings.HasPrefix(series, "volley_requests_total{") {
			runs++
		}
	}
	if runs != 10 {
		t.Errorf("%d runs are shown, want the last 10", runs)
	}
	if _, ok := got[`volley_requests_total{node_id="a",region="",run_id="r-15",tenant=""}`]; !ok {
		t.Error("r-15 is not shown")
	}
	wantSeries(t, got, `
		volley_dropped_iterations_total 25
		volley_schedule_lag_seconds_count 50
		volley_connection_pool_new_total 25`)
}

// What is sent between runs has series of its own, takes no run's place and is
// in every total once, however often a node stands by.
func TestMetricsOfStandby(t *testing.T) {
	m := newTestMetrics(t)
	run := nodeSummary("a", 2, 1)
	run.RunID = "r-1"
	m.SetSummary(run)
	for i := range 3 {
		s := nodeSummary("a", 2, 1)
		s.RunID, s.StartedAt = "", run.StartedAt.Add(time.Duration(i+1)*time.Hour)
		s.FirstSent += time.Second
		s.Ended = false
		m.SetSummary(s)
		wantSeries(t, scrape(t, m), fmt.Sprintf("volley_workers_configured_total %d", s.Workers))
		ended := *s
		ended.Ended = true
		m.SetSummary(&ended)
	}
	one := float64(run.Requests)
	wantSeries(t, scrape(t, m), fmt.Sprintf(`
		volley_requests_total{node_id="a",region="",run_id="",tenant=""} %g
		volley_requests_total{node_id="a",region="",run_id="r-1",tenant=""} %g
		volley_dropped_iterations_total 4
		volley_connection_pool_new_total 4
		volley_workers_configured_total 0`, one, one))
	skew, _ := run.StartSkew()
	wantSeries(t, scrape(t, m), fmt.Sprintf("volley_run_start_skew_seconds %g", skew.Seconds()))
	for i := range 12 { // runs come and go beside it
		s := nodeSummary("a", 2, 1)
		s.RunID = fmt.Sprint("later-", i)
		m.SetSummary(s)
	}
	wantSeries(t, scrape(t, m), fmt.Sprintf(`
		volley_requests_total{node_id="a",region="",run_id="",tenant=""} %g
		volley_dropped_iterations_total 16`, one))
}

func TestMetricsOfTheNode(t *testing.T) {
	m := newTestMetrics(t)
	m.SetNode(func() NodeState {
		return NodeState{NodeID: "a", Region: "eu", State: "standalone", Phase: "waiting"}
	})
	got := scrape(t, m)
	wantSeries(t, got, `
		volley_cluster_node_info{node_id="a",region="eu",state="standalone"} 1
		volley_run_phase{phase="waiting"} 1
		volley_run_phase{phase="running"} 0`)
	for series := range got {
		if strings.Contains(series, "raft") || strings.Contains(series, "config_info") {
			t.Errorf("a standalone node without a config shows %s", series)
		}
	}

	m.SetNode(func() NodeState {
		return NodeState{
			NodeID: "a\xff", Region: "eu", State: "leader", Phase: "running", Clustered: true,
			ConfigVersion: "sha256:x", ConfigSource: "gcs", ConfigRevision: "17", LeaderChanges: 2, Term: 3,
			Members:          map[string]int{"voter": 3, "nonvoter": 1},
			DeliveryAttempts: []DeliveryAttempts{{"b", "ok", 1}, {"c", "timeout", 2}},
			ClockOffsets:     map[string]time.Duration{"b": -1500 * time.Microsecond}, ControlLag: 2 * millisecond, ContactGap: 110 * millisecond,
		}
	})
	got = scrape(t, m)
	wantSeries(t, got, `
		volley_cluster_node_info{node_id="a�",region="eu",state="leader"} 1
		volley_config_info{revision="17",source="gcs",version="sha256:x"} 1
		volley_raft_leader_changes_total 2
		volley_raft_term 3
		volley_cluster_members{suffrage="voter"} 3
		volley_cluster_members{suffrage="nonvoter"} 1
		volley_config_delivery_attempts_total{node="b",result="ok"} 1
		volley_config_delivery_attempts_total{node="c",result="timeout"} 2
		volley_clock_offset_seconds{node="b"} -0.0015
		volley_control_lag_seconds 0.002
		volley_raft_contact_gap_seconds 0.11`)
	for _, phase := range strings.Fields("waiting fetching distributing ready scheduled running finished stopped aborted") {
		want := "0"
		if phase == "running" {
			want = "1"
		}
		wantSeries(t, got, fmt.Sprintf("volley_run_phase{phase=%q} %s", phase, want))
	}
}

// A scraper that asks for protobuf gets native buckets beside the classic ones.
// What all nodes have told has names of its own on the leader, and equals the sum
// over the nodes' series; where nobody leads it is not there.
func TestMetricsOfAllNodes(t *testing.T) {
	leader, leads := newTestMetrics(t), true
	var nodes []*Summary
	sums := map[string]float64{}
	perNode := regexp.MustCompile(`(node_id|region)="[^"]*",?`)
	for i, id := range []string{"a", "b", "c"} {
		s := nodeSummary(id, 50*(i+1), i)
		s.Tenant, s.Region, s.Ended, s.InFlight = "acme", id, false, 2
		s.Steps[0].AssertionsPassed = 8
		s.Phases[0].Record(millisecond)
		nodes = append(nodes, s)
		node := newTestMetrics(t)
		node.SetSummary(s)
		for name, v := range scrape(t, node) {
			n, err := strconv.ParseFloat(v, 64)
			if err != nil {
				t.Fatal(err)
			}
			sums["volley_cluster_"+strings.Replace(perNode.ReplaceAllString(strings.TrimPrefix(name, "volley_"), ""), ",}", "}", 1)] += n
		}
	}
	merged, err := Merge(nodes...)
	if err != nil {
		t.Fatal(err)
	}
	leader.SetMerged(func() *Summary {
		if !leads {
			return nil
		}
		return merged
	})
	got := scrape(t, leader)
	wantSeries(t, got, `
		volley_cluster_requests_total{run_id="r-1",tenant="acme"} 600
		volley_cluster_concurrent_requests{run_id="r-1",tenant="acme"} 6
		volley_cluster_request_phase_seconds_count{phase="dns",run_id="r-1",tenant="acme"} 3
		volley_cluster_requests_status_codes_total{run_id="r-1",status_code="503",tenant="acme"} 30
		volley_cluster_request_errors_by_category{category="server_error",run_id="r-1",tenant="acme"} 30
		volley_cluster_request_duration_seconds_count{run_id="r-1",tenant="acme"} 600
		volley_cluster_request_latency_seconds_bucket{run_id="r-1",tenant="acme",le="0.1"} 498
		volley_cluster_scenario_executions_total{run_id="r-1",scenario="checkout",status="failed"} 30
		volley_cluster_scenario_requests_total{run_id="r-1",scenario="checkout",tenant="acme"} 300
		volley_cluster_scenario_duration_seconds_count{run_id="r-1",scenario="checkout"} 300
		volley_cluster_scenario_steps_total{run_id="r-1",scenario="checkout",status="failed",step="Pay"} 30
		volley_cluster_scenario_step_duration_seconds_count{run_id="r-1",scenario="checkout",step="Pay"} 300
		volley_cluster_scenario_step_latency_seconds_count{run_id="r-1",scenario="checkout",step="Pay"} 300
		volley_cluster_scenario_step_status_codes_total{run_id="r-1",scenario="checkout",status_code="200",step="Log in"} 300
		volley_cluster_scenario_assertions_total{result="passed",run_id="r-1",scenario="checkout",step="Log in"} 24`)
	compared := 0
	for name, v := range got {
		if !strings.HasPrefix(name, "volley_cluster_") {
			continue
		}
		n, err := strconv.ParseFloat(v, 64)
		if sum, ok := sums[name]; err != nil || !ok || math.Abs(n-sum) > 1e-9*sum {
			t.Errorf("%s is %s, the nodes' sum %v", name, v, sum)
		}
		compared++
	}
	if compared < 100 {
		t.Errorf("compared %d series", compared)
	}
	leads = false
	for name := range scrape(t, leader) {
		if strings.HasPrefix(name, "volley_cluster_") {
			t.Errorf("%s without leadership", name)
		}
	}
}

func TestNativeHistograms(t *testing.T) {
	m := newTestMetrics(t)
	r := NewRecorder(oneStep(), 1)
	for _, d := range []time.Duration{0, 500 * millisecond, time.Second, time.Second, 20 * time.Second} {
		r.Shard(0).Request(Sample{Latency: d, Status: 200, Complete: true})
	}
	m.SetSummary(r.Summary())
	rec, req := httptest.NewRecorder(), httptest.NewRequest(http.MethodGet, "/metrics", nil)
	req.Header.Set("Accept", "application/vnd.google.protobuf;proto=io.prometheus.client.MetricFamily;encoding=delimited")
	m.Handler().ServeHTTP(rec, req)
	if kind, _, err := mime.ParseMediaType(rec.Header().Get("Content-Type")); err != nil || kind != "application/vnd.google.protobuf" {
		t.Fatalf("content type %q, %v", kind, err)
	}
	h := latencyHistogram(t, rec)
	// Schema 3: bucket 0 ends at 1 s; 0.5 s = 2^-1 ends bucket -8; 20 s = 2^4.32 lies in bucket 35.
	got := map[int]int64{}
	index, at, count := int32(0), 0, int64(0)
	for _, span := range h.GetPositiveSpan() {
		index += span.GetOffset()
		for range span.GetLength() {
			count += h.GetPositiveDelta()[at]
			got[int(index)] += count
			index, at = index+1, at+1
		}
	}
	want := map[int]int64{-8: 1, 0: 2, 35: 1}
	if h.GetSchema() != 3 || h.GetZeroCount() != 1 || fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("schema %d, zero %d, buckets %v, want 3, 1, %v", h.GetSchema(), h.GetZeroCount(), got, want)
	}
	if b := h.GetBucket(); len(b) != 11 || b[10].GetUpperBound() != 10 || b[10].GetCumulativeCount() != 4 {
		t.Errorf("classic buckets %v, want 11 of which 10 s holds 4", b)
	}
}

func latencyHistogram(t *testing.T, rec *httptest.ResponseRecorder) *dto.Histogram {
	t.Helper()
	dec := expfmt.NewDecoder(rec.Body, expfmt.ResponseFormat(rec.Header()))
	for {
		var family dto.MetricFamily
		if err := dec.Decode(&family); err == io.EOF {
			t.Fatal("volley_request_latency_seconds is missing")
		} else if err != nil {
			t.Fatal(err)
		}
		if family.GetName() == "volley_request_latency_seconds" {
			return family.GetMetric()[0].GetHistogram()
		}
	}
}

func TestNamespace(t *testing.T) {
	for _, bad := range []string{"", "9x", "a-b", "a b", "a:b", "ä"} {
		if _, err := NewMetrics(bad, BuildInfo{}); err == nil || !strings.Contains(err.Error(), fmt.Sprintf("%q", bad)) {
			t.Errorf("namespace %q: %v, want an error that names it", bad, err)
		}
	}
	m, err := NewMetrics("rust_loadtest", BuildInfo{})
	if err != nil {
		t.Fatal(err)
	}
	if _, ok := scrape(t, m)["rust_loadtest_workers_configured_total"]; !ok {
		t.Error("the namespace does not begin the names")
	}
}

// Scrapes go on while runs change and shards record.
func TestScrapeWhileRecording(t *testing.T) {
	m := newTestMetrics(t)
	r := NewRecorder(oneStep(), 2)
	stop := make(chan struct{})
	var group sync.WaitGroup
	group.Go(func() {
		for i := 0; ; i++ {
			select {
			case <-stop:
				return
			default:
			}
			r.Shard(i).Request(Sample{Latency: time.Duration(i), Status: 200, Complete: true})
			if i%100 == 0 {
				m.SetSummary(r.Summary())
			}
		}
	})
	for range 30 {
		scrape(t, m)
	}
	close(stop)
	group.Wait()
}
