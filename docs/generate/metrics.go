package main

import (
	"fmt"
	"maps"
	"net/http"
	"net/http/httptest"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"volley/stats"
)

// metric is what the exposition says of one.
type metric struct{ name, kind, help, labels string }

// metricGroups are the parts of the page, by how names begin; the first that
// fits, and "" for what is left.
var metricGroups = []struct {
	name     string
	prefixes []string
}{
	{"merged", []string{"cluster_request", "cluster_scenario", "cluster_concurrent"}},
	{"scenarios", []string{"scenario_", "concurrent_scenarios"}},
	{"requests", []string{"request", "concurrent_requests"}},
	{"connections", []string{"connection_", "redirect_", "lookup_"}},
	{"process", []string{"process_", "memory_", "percentile_", "histogram_"}},
	{"cluster", []string{"cluster_", "raft_", "config_", "clock_", "control_"}},
	{"run", []string{""}},
}

func metricsParts() (map[string]string, error) {
	all, err := allMetrics()
	if err != nil {
		return nil, err
	}
	rows := map[string][][]string{}
	for _, m := range all {
		for _, g := range metricGroups {
			if slices.ContainsFunc(g.prefixes, func(p string) bool { return strings.HasPrefix(m.name, p) }) {
				rows[g.name] = append(rows[g.name], []string{code(m.name), m.kind, m.labels, m.help})
				break
			}
		}
	}
	parts := map[string]string{}
	for _, g := range metricGroups {
		parts[g.name] = table([]string{"Name", "Kind", "Labels", "Meaning"}, rows[g.name])
	}
	return parts, nil
}

var (
	description = regexp.MustCompile(`^Desc\{fqName: "n_([^"]+)",.* variableLabels: \{(.*)\}\}$`)
	helpLine    = regexp.MustCompile(`(?m)^# HELP n_(\S+) (.*)$`)
	kindLine    = regexp.MustCompile(`(?m)^# TYPE n_(\S+) (.*)$`)
)

// allMetrics are those that the registry describes, in alphabetical order; what
// they mean and their kinds are in an exposition.
func allMetrics() ([]metric, error) {
	m, err := stats.NewMetrics("n", stats.BuildInfo{})
	if err != nil {
		return nil, err
	}
	page := exposition(m)
	kinds, help := linesOf(kindLine, page), linesOf(helpLine, page)
	descs := make(chan *prometheus.Desc)
	go func() { // ends when the last description is taken, below
		m.Describe(descs)
		close(descs)
	}()
	found := map[string]metric{}
	var unknown error
	for d := range descs {
		parts := description.FindStringSubmatch(d.String())
		if parts == nil {
			unknown = fmt.Errorf("a metric is described as %s", d)
			continue
		}
		labels := strings.Split(parts[2], ",")
		for i := range labels {
			labels[i] = code(labels[i])
		}
		one := metric{name: parts[1], kind: kinds[parts[1]], help: help[parts[1]], labels: strings.Join(labels, " ")}
		if one.kind == "" {
			unknown = fmt.Errorf("busyNode of docs/generate shows no %s", one.name)
		}
		found[one.name] = one
	}
	var all []metric
	for _, name := range slices.Sorted(maps.Keys(found)) {
		all = append(all, found[name])
	}
	return all, unknown
}

// exposition is what a node shows that has something to show for each metric.
func exposition(m *stats.Metrics) string {
	m.SetSummary(busyRun())
	m.SetMerged(busyRun)
	m.SetNode(busyNode)
	answer := httptest.NewRecorder()
	m.Handler().ServeHTTP(answer, httptest.NewRequest(http.MethodGet, "/metrics", nil))
	return answer.Body.String()
}

func linesOf(form *regexp.Regexp, page string) map[string]string {
	out := map[string]string{}
	for _, match := range form.FindAllStringSubmatch(page, -1) {
		out[match[1]] = match[2]
	}
	return out
}

func busyRun() *stats.Summary {
	r := stats.NewRecorder(stats.Layout{Steps: []stats.StepKey{{Scenario: "s", Step: "a"}}}, 1)
	shard := r.Shard(0)
	shard.Arrived(stats.Arrival{WorkerFree: true})
	shard.Request(stats.Sample{Latency: time.Millisecond, Service: time.Millisecond, Status: 200, Complete: true, NewConn: true,
		Phases: &stats.Phases{DNS: time.Millisecond}})
	shard.Iteration(stats.Iteration{Duration: time.Millisecond})
	s := r.Summary()
	s.RunID = "run" // without one it would be what is sent in standby
	s.Pool = stats.Pool{Limited: true, MaxIdlePerHost: 1, IdleTimeout: time.Second}
	return s
}

func busyNode() stats.NodeState {
	return stats.NodeState{
		Clustered: true, ConfigVersion: "v", Members: map[string]int{"voter": 1},
		DeliveryAttempts: []stats.DeliveryAttempts{{Node: "a", Result: "ok", N: 1}},
		ClockOffsets:     map[string]time.Duration{"a": 0},
		Process:          stats.ProcessState{RSS: 1, Virtual: 1},
	}
}
