package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"
	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"

	"volley/settings"
)

// series is the value of each series of a scrape by name{labels}, of a
// histogram the number of its samples.
type series map[string]float64

func (s series) labelled(name string, labels ...string) float64 {
	return s[seriesName(name, labels...)]
}

// sum is over all series of a metric.
func (s series) sum(name string) (sum float64) {
	for of, v := range s {
		if family, _, _ := strings.Cut(of, "{"); family == name {
			sum += v
		}
	}
	return sum
}

func (s series) has(name string) bool {
	for of := range s {
		if family, _, _ := strings.Cut(of, "{"); family == name {
			return true
		}
	}
	return false
}

// seriesName takes labels as name=value, in any order.
func seriesName(name string, labels ...string) string {
	set := model.LabelSet{}
	for _, l := range labels {
		k, v, _ := strings.Cut(l, "=")
		set[model.LabelName(k)] = model.LabelValue(v)
	}
	return name + set.String()
}

// scrapeURL reads /metrics of a process; names lose the namespace.
func scrapeURL(t *testing.T, addr, namespace string) series {
	t.Helper()
	resp, err := http.Get("http://" + addr + "/metrics")
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	parser := expfmt.NewTextParser(model.UTF8Validation)
	families, err := parser.TextToMetricFamilies(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	out := series{}
	for name, family := range families {
		for _, m := range family.GetMetric() {
			var labels []string
			for _, l := range m.GetLabel() {
				labels = append(labels, l.GetName()+"="+l.GetValue())
			}
			out[seriesName(strings.TrimPrefix(name, namespace+"_"), labels...)] = valueOf(m)
		}
	}
	return out
}

func valueOf(m *dto.Metric) float64 {
	switch {
	case m.GetCounter() != nil:
		return m.GetCounter().GetValue()
	case m.GetGauge() != nil:
		return m.GetGauge().GetValue()
	}
	return float64(m.GetHistogram().GetSampleCount())
}

// families are the names of all metrics that a process may show.
func families(a *app, namespace string) (names []string) {
	descs := make(chan *prometheus.Desc)
	go func() {
		defer close(descs)
		a.metrics.Describe(descs)
	}()
	fqName := regexp.MustCompile(`fqName: "([^"]+)"`)
	for d := range descs {
		names = append(names, strings.TrimPrefix(fqName.FindStringSubmatch(d.String())[1], namespace+"_"))
	}
	return names
}

// observed is what was seen of a process: the greatest value of each series
// while a run was going on, and the last scrape after it.
type observed struct {
	most, last series
}

// watch runs an app until its run is judged, looking at it all the while; then
// it is scraped once more and ended.
func watch(t *testing.T, namespace string, apps ...*app) []observed {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan int, len(apps))
	for _, a := range apps {
		go func() { done <- a.run(ctx) }()
	}
	seen := make([]observed, len(apps))
	for i := range seen {
		seen[i].most = series{}
	}
	over := func() bool {
		for _, a := range apps {
			if a.node.Status().Phase != "finished" {
				return false
			}
		}
		return true
	}
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for end := time.Now().Add(30 * time.Second); !over(); <-tick.C {
		if time.Now().After(end) {
			cancel()
			t.Fatalf("the run is not over, but %s", apps[0].node.Status().Phase)
		}
		for i, a := range apps {
			for name, v := range scrapeURL(t, a.listeners.control.Addr().String(), namespace) {
				seen[i].most[name] = max(seen[i].most[name], v)
			}
		}
	}
	for i, a := range apps {
		seen[i].last = scrapeURL(t, a.listeners.control.Addr().String(), namespace)
	}
	t.Cleanup(func() {
		cancel()
		for range apps {
			<-done
		}
	})
	return seen
}

// ordeal is a target at which everything happens that is counted, and counts
// requests itself.
func ordeal(t *testing.T) (plan string, requests *atomic.Int64) {
	requests = new(atomic.Int64)
	mux := http.NewServeMux()
	plain := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { requests.Add(1); mux.ServeHTTP(w, r) }))
	t.Cleanup(plain.Close)
	secure := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		requests.Add(1)
		http.Redirect(w, r, plain.URL+"/ok", http.StatusFound)
	}))
	t.Cleanup(secure.Close)
	mux.HandleFunc("/ok", func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, "hello") })
	mux.HandleFunc("/missing", http.NotFound)
	mux.HandleFunc("/broken", func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusInternalServerError) })
	mux.HandleFunc("/odd", func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(620) })
	mux.HandleFunc("/slow", func(_ http.ResponseWriter, r *http.Request) {
		select {
		case <-time.After(400 * time.Millisecond):
		case <-r.Context().Done():
		}
	})
	text := fmt.Sprintf(`version: "1.0"
metadata: {name: ordeal, tenant: acme, run_id: r-1}
config: {baseUrl: %q, workers: 2, duration: 4s, timeout: 300ms, skipTlsVerify: true, gracefulStop: 5s,
  pool: {maxIdlePerHost: 3, idleTimeout: 40s}}
load: {model: rps, target: 20, maxWorkers: 2, maxBacklog: 500ms}
metrics: {phases: true}
scenarios:
  - name: shop
    steps:
      - name: ok
        request: {method: GET, path: /ok}
        assertions: [{type: bodyContains, text: hello}]
      - {name: missing, continueOnFailure: true, request: {method: GET, path: /missing}}
      - {name: broken, continueOnFailure: true, request: {method: GET, path: /broken}}
      - {name: odd, continueOnFailure: true, request: {method: GET, path: /odd}}
      - name: picky
        continueOnFailure: true
        request: {method: GET, path: /ok}
        assertions: [{type: bodyContains, text: bye}]
      - {name: down, continueOnFailure: true, request: {method: GET, path: %q}}
      - {name: slow, continueOnFailure: true, request: {method: GET, path: /slow}}
      - {name: nobody, continueOnFailure: true, request: {method: GET, path: "http://nobody.invalid/"}}
      - {name: wrong, continueOnFailure: true, request: {method: GET, path: %q}}
`, plain.URL, secure.URL+"/", strings.Replace(plain.URL, "http:", "https:", 1)+"/")
	plan = filepath.Join(t.TempDir(), "plan.yaml")
	if err := os.WriteFile(plan, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return plan, requests
}

func openApp(t *testing.T, change func(*settings.Settings)) *app {
	t.Helper()
	return openAppLogging(t, t.Output(), change)
}

// Every metric has a check here that reads the value which a real run has moved
// it to; one that is registered and has none fails the test. The names and
// labels are those of the predecessor where it had the metric.
func TestEveryMetricMoves(t *testing.T) {
	const namespace = "rust_loadtest"
	plan, requests := ordeal(t)
	environment(t, "METRIC_NAMESPACE="+namespace, "KEEP_ALIVE=true", "CLUSTER_REGION=eu", "CONFIG_FILE="+plan)
	alone := openApp(t, func(*settings.Settings) {})
	names := families(alone, namespace)
	one := watch(t, namespace, alone)[0]
	body, err := alone.Report(t.Context(), "")
	if err != nil {
		t.Fatal(err)
	}
	var result struct {
		Requests, Completed, Dropped int64
		Errors                       map[string]float64
		Connections                  struct{ New, Reused float64 }
		LateStarts                   map[string]float64 `json:"late_starts"`
	}
	if err := json.Unmarshal(body, &result); err != nil {
		t.Fatal(err)
	}

	ports, err := freePorts(2)
	if err != nil {
		t.Fatal(err)
	}
	url, hits := target(t)
	clusterPlan := writePlan(t, url, "2s")
	var nodes []*app
	for i := range 2 {
		nodes = append(nodes, openApp(t, func(set *settings.Settings) {
			*set = demoSettings(*set, string(rune('a'+i)), ports, i, clusterPlan)
			set.Run.KeepAlive, set.Cluster.StartDelay = true, 500*time.Millisecond
		}))
	}
	cluster := watch(t, namespace, nodes...)
	leader, follower := cluster[0], cluster[1]
	if nodes[1].node.Leads() {
		leader, follower = follower, leader
	}

	ofRun := []string{"region=eu", "tenant=acme", "node_id=n", "run_id=r-1"}
	with := func(more ...string) []string { return append(more, ofRun...) }
	step := func(name string, more ...string) []string {
		return append(more, "scenario=shop", "step="+name, "node_id=n", "run_id=r-1")
	}
	done := float64(result.Completed)
	equal := func(got, want float64) error {
		if got != want || want == 0 {
			return fmt.Errorf("%v, want %v and not 0", got, want)
		}
		return nil
	}
	positive := func(values ...float64) error {
		for i, v := range values {
			if !(v > 0) {
				return fmt.Errorf("value %d is %v, want more than 0", i, v)
			}
		}
		return nil
	}
	// during is a gauge that is set while the run goes on and 0 afterwards.
	during := func(name string, labels ...string) error {
		if now := one.last.labelled(name, labels...); now != 0 {
			return fmt.Errorf("%v after the run, want 0", now)
		}
		return positive(one.most.labelled(name, labels...))
	}
	present := func(name string) error {
		if !one.last.has(name) {
			return fmt.Errorf("not shown")
		}
		return nil
	}
	category := func(name, of string) error {
		return equal(one.last.labelled("request_errors_by_category", with("category="+name)...), result.Errors[of])
	}
	checks := map[string]func() error{
		"requests_total": func() error {
			return equal(one.last.labelled("requests_total", ofRun...), float64(result.Requests))
		},
		"concurrent_requests": func() error { return during("concurrent_requests", ofRun...) },
		"request_phase_seconds": func() error {
			of := func(phase string) float64 { return one.last.labelled("request_phase_seconds", with("phase="+phase)...) }
			return positive(of("connect"), of("tls"), of("first_byte"))
		},
		"requests_status_codes_total": func() error {
			of := func(code string) float64 {
				return one.last.labelled("requests_status_codes_total", with("status_code="+code)...)
			}
			return positive(of("200"), of("302"), of("404"), of("500"), of("error"))
		},
		"request_errors_by_category": func() error {
			for name, of := range map[string]string{
				"client_error": "client_error", "server_error": "server_error", "other_error": "other", "timeout_error": "timeout",
				"network_error": "network", "tls_error": "tls", "assertion_error": "assertion",
			} {
				if err := category(name, of); err != nil {
					return fmt.Errorf("%s: %w", name, err)
				}
			}
			if one.last.labelled("request_errors_by_category", with("category=generator_error")...) != 0 {
				return fmt.Errorf("errors of the generator's own")
			}
			return nil
		},
		"request_duration_seconds": func() error { return positive(one.last.labelled("request_duration_seconds", ofRun...)) },
		"request_latency_seconds":  func() error { return positive(one.last.labelled("request_latency_seconds", ofRun...)) },
		"scenario_executions_total": func() error {
			return equal(one.last.labelled("scenario_executions_total", "scenario=shop", "status=failed", "node_id=n", "run_id=r-1"), done)
		},
		"scenario_requests_total": func() error {
			return equal(one.last.labelled("scenario_requests_total", "scenario=shop", "tenant=acme", "node_id=n", "run_id=r-1"), done)
		},
		"scenario_duration_seconds": func() error {
			return equal(one.last.labelled("scenario_duration_seconds", "scenario=shop", "node_id=n", "run_id=r-1"), done)
		},
		"scenario_steps_total": func() error {
			return positive(one.last.labelled("scenario_steps_total", step("ok", "status=success")...),
				one.last.labelled("scenario_steps_total", step("picky", "status=failed")...))
		},
		"scenario_step_duration_seconds": func() error { return positive(one.last.labelled("scenario_step_duration_seconds", step("ok")...)) },
		"scenario_step_latency_seconds":  func() error { return positive(one.last.labelled("scenario_step_latency_seconds", step("ok")...)) },
		"scenario_step_status_codes_total": func() error {
			return positive(one.last.labelled("scenario_step_status_codes_total", step("odd", "status_code=620")...))
		},
		"scenario_assertions_total": func() error {
			return positive(one.last.labelled("scenario_assertions_total", step("ok", "result=passed")...),
				one.last.labelled("scenario_assertions_total", step("picky", "result=failed")...))
		},
		"scenario_throughput_rps": func() error {
			return equal(one.last.labelled("scenario_throughput_rps", "scenario=shop"), done/4)
		},
		"concurrent_scenarios": func() error { return during("concurrent_scenarios") },
		"late_starts_total": func() error {
			return equal(one.last.labelled("late_starts_total", "cause=no_worker"), result.LateStarts["no_worker"])
		},
		"dropped_iterations_total":  func() error { return equal(one.last.labelled("dropped_iterations_total"), float64(result.Dropped)) },
		"schedule_lag_seconds":      func() error { return positive(one.last.labelled("schedule_lag_seconds")) },
		"connection_pool_new_total": func() error { return equal(one.last.labelled("connection_pool_new_total"), result.Connections.New) },
		"connection_pool_likely_new_total": func() error {
			return equal(one.last.labelled("connection_pool_likely_new_total"), result.Connections.New)
		},
		"connection_pool_reused_total": func() error {
			return equal(one.last.labelled("connection_pool_reused_total"), result.Connections.Reused)
		},
		"connection_pool_likely_reused_total": func() error {
			return equal(one.last.labelled("connection_pool_likely_reused_total"), result.Connections.Reused)
		},
		"connection_pool_requests_total": func() error {
			return equal(one.last.labelled("connection_pool_requests_total"), result.Connections.New+result.Connections.Reused)
		},
		"connection_pool_reuse_rate_percent": func() error {
			all := result.Connections.New + result.Connections.Reused
			return equal(one.last.labelled("connection_pool_reuse_rate_percent"), 100*result.Connections.Reused/all)
		},
		"redirect_downgrades_total": func() error { return positive(one.last.labelled("redirect_downgrades_total")) },
		"lookup_failures_total":     func() error { return positive(one.last.labelled("lookup_failures_total")) },
		"histogram_count":           func() error { return during("histogram_count") },
		"histogram_memory_estimate_bytes": func() error {
			return during("histogram_memory_estimate_bytes")
		},
		"workers_configured_total": func() error { return during("workers_configured_total") },
		"run_start_skew_seconds":   func() error { return positive(one.last.labelled("run_start_skew_seconds")) },
		"build_info":               func() error { return equal(one.last.sum("build_info"), 1) },
		"config_info":              func() error { return equal(one.last.sum("config_info"), 1) },
		"run_phase": func() error {
			if one.last.labelled("run_phase", "phase=running") != 0 || one.last.sum("run_phase") != 1 {
				return fmt.Errorf("more than one phase, or running, after the run")
			}
			return positive(one.most.labelled("run_phase", "phase=running"), one.last.labelled("run_phase", "phase=finished"))
		},
		"cluster_node_info": func() error {
			return positive(one.last.labelled("cluster_node_info", "node_id=n", "region=eu", "state=standalone"),
				leader.last.sum("cluster_node_info"), follower.most.sum("cluster_node_info"))
		},
		"raft_leader_changes_total": func() error {
			return positive(leader.last.sum("raft_leader_changes_total"), follower.last.sum("raft_leader_changes_total"))
		},
		"raft_term": func() error { return equal(leader.last.sum("raft_term"), follower.last.sum("raft_term")) },
		"cluster_members": func() error {
			if all := leader.last.sum("cluster_members"); all != 2 {
				return fmt.Errorf("%v members, want 2", all)
			}
			return positive(leader.last.labelled("cluster_members", "suffrage=voter"))
		},
		"config_delivery_attempts_total": func() error {
			a, b := leader.last.labelled("config_delivery_attempts_total", "node=a", "result=ok"), leader.last.labelled("config_delivery_attempts_total", "node=b", "result=ok")
			if a+b < 1 || follower.last.has("config_delivery_attempts_total") {
				return fmt.Errorf("%v on the leader, on the follower %v; want the leader's alone", a+b, follower.last.sum("config_delivery_attempts_total"))
			}
			return nil
		},
		"clock_offset_seconds": func() error {
			a, b := leader.last[seriesName("clock_offset_seconds", "node=a")], leader.last[seriesName("clock_offset_seconds", "node=b")]
			if a == 0 && b == 0 || max(a, b) > 0.1 || min(a, b) < -0.1 {
				return fmt.Errorf("%v and %v on one machine, want a measurement near 0", a, b)
			}
			return nil
		},
		"control_lag_seconds": func() error {
			return positive(leader.most.sum("control_lag_seconds"), follower.most.sum("control_lag_seconds"))
		},
		"raft_contact_gap_seconds": func() error {
			a, b := leader.last.sum("raft_contact_gap_seconds"), follower.last.sum("raft_contact_gap_seconds")
			if min(a, b) < 0.05 || max(a, b) > 2 { // between Raft's own pace and what costs the leadership
				return fmt.Errorf("%v on the leader, %v on the follower, want some 0.1", a, b)
			}
			return nil
		},
		"percentile_tracking_active":               func() error { return equal(one.last.labelled("percentile_tracking_active"), 1) },
		"percentile_sampling_rate_percent":         func() error { return equal(one.last.labelled("percentile_sampling_rate_percent"), 100) },
		"histogram_labels_evicted_total":           func() error { return present("histogram_labels_evicted_total") },
		"memory_warning_threshold_exceeded_total":  func() error { return present("memory_warning_threshold_exceeded_total") },
		"memory_critical_threshold_exceeded_total": func() error { return present("memory_critical_threshold_exceeded_total") },
	}
	for _, name := range []string{
		"process_memory_rss_bytes", "process_memory_virtual_bytes", "connection_pool_max_idle_per_host", "connection_pool_idle_timeout_seconds",
	} {
		checks[name] = func() error {
			return positive(one.last.sum(name))
		}
	}
	mergedChecks(checks, names, leader.last, follower.last)
	for _, name := range names {
		check, ok := checks[name]
		if !ok {
			t.Errorf("%s is registered and has no check", name)
			continue
		}
		if err := check(); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	if lost := result.Requests - requests.Load(); lost < 1 {
		t.Errorf("the result counts %d requests, the target %d: those to nobody are missing", result.Requests, requests.Load())
	}
	wantResultEverywhere(t, nodes, hits.Load())
}

// wantResultEverywhere asks each node of a cluster for the cluster's result.
func wantResultEverywhere(t *testing.T, nodes []*app, requests int64) {
	t.Helper()
	var ofNodes int64 // a node that was kept from the processor has dropped some
	for _, a := range nodes {
		for _, scope := range []string{"", "?scope=cluster", "?scope=node"} {
			resp, err := http.Get("http://" + a.listeners.control.Addr().String() + "/report.json" + scope)
			if err != nil {
				t.Fatal(err)
			}
			var r resultFile
			err = json.NewDecoder(resp.Body).Decode(&r)
			resp.Body.Close()
			own := scope == "?scope=node"
			if own {
				ofNodes += r.Requests
			}
			if err != nil || resp.StatusCode != http.StatusOK || own != (r.Requests != requests) || r.Requests == 0 {
				t.Errorf("/report.json%s of %s: %s, %v, %d requests of %d in all", scope, a.self.NodeID, resp.Status, err, r.Requests, requests)
			}
		}
	}
	if ofNodes != requests {
		t.Errorf("the nodes' own results have %d requests together, want %d", ofNodes, requests)
	}
}
