package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/goccy/go-yaml"

	"volley/settings"
)

const (
	rulesFile     = "deploy/prometheus/rules.yml"
	rulesTestFile = "deploy/prometheus/rules_test.yml"
	dashboardFile = "deploy/grafana/volley.json"
	// scrapeEvery is how often the tests' Prometheus asks.
	scrapeEvery = time.Second
)

// debian is where a program of Debian's package prometheus is; without it the
// test is left out, but not in CI.
func debian(t *testing.T, program string) string {
	t.Helper()
	path, err := exec.LookPath(program)
	if err == nil {
		return path
	}
	if os.Getenv("CI") == "true" {
		t.Fatalf("no %s: apt-get install prometheus", program)
	}
	t.Skipf("no %s here: dashboard and alerts are not tested (apt-get install prometheus)", program)
	return ""
}

// promtool runs it on a file or its input, and returns what it says.
func promtool(t *testing.T, input io.Reader, args ...string) (string, error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	command := exec.CommandContext(ctx, debian(t, "promtool"), args...)
	command.Stdin = input
	out, err := command.CombinedOutput()
	return string(out), err
}

// alerts are the rules of a file, by name.
func alerts(t *testing.T) (names []string) {
	t.Helper()
	var file struct {
		Groups []struct {
			Rules []struct{ Alert, Expr string }
		}
	}
	readYAML(t, rulesFile, &file)
	for _, g := range file.Groups {
		for _, r := range g.Rules {
			names = append(names, r.Alert)
		}
	}
	if len(names) < 10 {
		t.Fatalf("%s has the alerts %q; does this test still understand it?", rulesFile, names)
	}
	return names
}

func readYAML(t *testing.T, name string, to any) {
	t.Helper()
	text, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	if err := yaml.Unmarshal(text, to); err != nil {
		t.Fatalf("%s: %v", name, err)
	}
}

// The alerts and the example's configuration are what Prometheus reads, and each
// alert has a case in which it is told and one in which it is not.
func TestAlerts(t *testing.T) {
	const example = "deploy/prometheus/prometheus.yml"
	text, err := os.ReadFile(example)
	if err != nil {
		t.Fatal(err)
	}
	// What the example has as comments is read by Prometheus as well.
	whole := regexp.MustCompile(`(?m)^    # ((?:dns_sd|relabel)_configs: )`).ReplaceAll(text, []byte("    $1")) // Debian's is built without Consul
	if bytes.Count(whole, []byte("    dns_sd_configs: "))+bytes.Count(whole, []byte("    relabel_configs: ")) != 2 {
		t.Errorf("%s has no other ways to find nodes; does this test still understand it?", example)
	}
	rules, err := filepath.Abs(rulesFile)
	if err != nil {
		t.Fatal(err)
	}
	uncommented := filepath.Join(t.TempDir(), "prometheus.yml")
	if err := os.WriteFile(uncommented, bytes.ReplaceAll(whole, []byte("[rules.yml]"), []byte("["+rules+"]")), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, args := range [][]string{
		{"check", "rules", rulesFile},
		{"check", "config", example},
		{"check", "config", uncommented},
		{"test", "rules", rulesTestFile},
	} {
		if out, err := promtool(t, nil, args...); err != nil {
			t.Errorf("promtool %s: %v\n%s", strings.Join(args, " "), err, out)
		}
	}
	var cases struct {
		Tests []struct {
			AlertRuleTest []struct {
				Alertname string
				ExpAlerts []any `yaml:"exp_alerts"`
			} `yaml:"alert_rule_test"`
		}
	}
	readYAML(t, rulesTestFile, &cases)
	told := map[string]bool{}
	for _, test := range cases.Tests {
		for _, one := range test.AlertRuleTest {
			told[one.Alertname] = told[one.Alertname] || len(one.ExpAlerts) > 0
		}
	}
	for _, name := range alerts(t) {
		if !told[name] {
			t.Errorf("%s has no case in which %s is told", rulesTestFile, name)
		}
	}
}

// storefront answers, and fails in every way that the dashboard has a line for.
func storefront(t *testing.T, duration time.Duration) (plan string, requests *atomic.Int64) {
	t.Helper()
	requests = new(atomic.Int64)
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		requests.Add(1)
		if r.URL.Path == "/missing" {
			http.NotFound(w, r)
		}
	}))
	t.Cleanup(srv.Close)
	return fmt.Sprintf(`version: "1.0"
metadata: {run_id: r-1, tenant: acme}
config: {baseUrl: %q, workers: 4, duration: %vs}
load: {model: rps, target: 20}
metrics: {phases: true}
scenarios:
  - name: shop
    steps:
      - {name: front, request: {method: GET, path: /}}
      - {name: missing, continueOnFailure: true, request: {method: GET, path: /missing}}
      - name: picky
        continueOnFailure: true
        request: {method: GET, path: /}
        assertions: [{type: bodyContains, text: hello}]
`, srv.URL, duration.Seconds()), requests
}

// scraped is how long Prometheus watches a run: a minute where there is time.
func scraped() time.Duration {
	if os.Getenv("VOLLEY_E2E") == "long" {
		return time.Minute
	}
	return 8 * time.Second
}

// A real Prometheus, with and without native histograms, watches a run of three
// nodes: no scrape fails, what the leader shows of all nodes is the sum of what
// they show, and dashboard and alerts have an answer to each of their questions.
func TestPrometheus(t *testing.T) {
	if testing.Short() {
		t.Skip("a run that Prometheus watches takes a while")
	}
	debian(t, "prometheus")
	plan, requests := storefront(t, scraped())
	ports, err := freePorts(3)
	if err != nil {
		t.Fatal(err)
	}
	environment(t)
	var nodes []*app
	var addrs []string
	for i := range ports {
		nodes = append(nodes, openApp(t, func(set *settings.Settings) {
			*set = demoSettings(*set, string(rune('a'+i)), ports, i, plan)
			set.Run.KeepAlive, set.Run.ConfigFile, set.Source.Kind = true, "", "none"
		}))
		addrs = append(addrs, nodes[i].listeners.control.Addr().String())
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan int, len(nodes))
	for _, a := range nodes {
		go func() { done <- a.run(ctx) }()
	}
	t.Cleanup(func() {
		cancel()
		for range nodes {
			<-done
		}
	})
	classic, native := startPrometheus(t, addrs, false), startPrometheus(t, addrs, true)
	for _, p := range []*promServer{classic, native} { // which takes 5 s to begin
		p.until("the first scrapes", func() error {
			if got, err := p.number("count(volley_run_phase{phase=\"waiting\"} == 1)", time.Now()); err != nil || got != 3 {
				return fmt.Errorf("%v nodes, %v", got, err)
			}
			return nil
		})
	}
	classic.until("the plan is taken", func() error {
		resp, err := http.Post("http://"+addrs[0]+"/config", "application/yaml", strings.NewReader(plan))
		if err != nil {
			return err
		}
		defer resp.Body.Close()
		if resp.StatusCode != http.StatusAccepted {
			return fmt.Errorf("answers %s", resp.Status)
		}
		return nil
	})
	phase := func(want string) func() error {
		return func() error {
			for _, a := range nodes {
				if got := a.node.Status().Phase; got != want {
					return fmt.Errorf("%s is %s, want %s", a.self.NodeID, got, want)
				}
			}
			return nil
		}
	}
	classic.until("the start", phase("running"))
	classic.within(scraped()+30*time.Second, "the end", phase("finished"))
	ended := time.Now()
	for _, p := range []*promServer{classic, native} {
		t.Run(fmt.Sprintf("native histograms %v", p.native), func(t *testing.T) {
			p.t = t
			p.until("the last scrape", func() error {
				got, err := p.number(`sum(volley_requests_total{run_id="r-1"})`, time.Now())
				if want := float64(requests.Load()); err != nil || got != want {
					return fmt.Errorf("the nodes' sum is %v, want the target's %v: %v", got, want, err)
				}
				got, err = p.number(`sum(volley_cluster_requests_total{run_id="r-1"})`, time.Now())
				if want := float64(requests.Load()); err != nil || got != want {
					return fmt.Errorf("the leader's sum is %v, want the target's %v: %v", got, want, err)
				}
				return nil
			})
			p.wantScraped(len(nodes))
			p.wantWhole(nodes[0])
			p.wantDashboard(ended)
			p.wantPages(ended)
			p.wantRules()
		})
	}
	for _, a := range nodes {
		if a.node.Leads() {
			wantLinted(t, a.listeners.control.Addr().String())
		}
	}
}

// wantScraped says that no scrape has failed, since each node's first.
func (p *promServer) wantScraped(nodes int) {
	p.t.Helper()
	var state struct {
		ActiveTargets []struct{ ScrapeURL, LastError, Health string }
	}
	if err := p.get("targets", nil, &state); err != nil {
		p.t.Fatal(err)
	}
	if len(state.ActiveTargets) != nodes {
		p.t.Errorf("it scrapes %+v, want %d nodes", state.ActiveTargets, nodes)
	}
	for _, target := range state.ActiveTargets {
		if target.Health != "up" || target.LastError != "" {
			p.t.Errorf("%+v", target)
		}
	}
	now := time.Now()
	found, err := p.query(`min_over_time(up[5m])`, now)
	if err != nil || len(found) != nodes {
		p.t.Fatalf("up has %d series, %v", len(found), err)
	}
	for _, s := range found {
		if s.value() != 1 {
			p.t.Errorf("a scrape of %s has failed", s.Metric["instance"])
		}
	}
	scrapes, err := p.number(`min(count_over_time(up[5m]))`, now)
	if least := float64(scraped()/scrapeEvery) / 2; err != nil || scrapes < least {
		p.t.Errorf("%v scrapes of a node, %v; want at least %v", scrapes, err, least)
	}
	p.t.Logf("%v scrapes of each node, none has failed", scrapes)
	resp, err := http.Get(p.url + "/metrics")
	if err != nil {
		p.t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		p.t.Fatal(err)
	}
	refused := regexp.MustCompile(`(?m)^(prometheus_target_scrapes?_(?:sample_(?:duplicate_timestamp|out_of_order|out_of_bounds)|exceeded_\w+|cache_flush_forced)_total) (\S+)$`)
	counts := refused.FindAllSubmatch(body, -1)
	if len(counts) < 4 {
		p.t.Errorf("found %d counters of refused samples", len(counts))
	}
	for _, m := range counts {
		if string(m[2]) != "0" {
			p.t.Errorf("%s is %s", m[1], m[2])
		}
	}
}

// form is how a metric is asked for: what stands around it, and after its name.
type form struct{ around, suffix string }

// wantWhole compares each series that a leader shows of all nodes with the sum of the nodes'.
func (p *promServer) wantWhole(a *app) {
	p.t.Helper()
	now, compared := time.Now(), 0
	for _, name := range families(a, "volley") {
		own, ok := strings.CutPrefix(name, "cluster_")
		if !ok || !slices.Contains(families(a, "volley"), own) {
			continue
		}
		forms := []form{{"%s", ""}}
		switch histogram := strings.HasSuffix(name, "_seconds"); {
		case histogram && p.native:
			forms = []form{{"histogram_count(%s)", ""}, {"histogram_sum(%s)", ""}, {"histogram_quantile(0.5, %s)", ""}, {"histogram_quantile(0.99, %s)", ""}}
		case histogram:
			forms = []form{{"%s", "_count"}, {"%s", "_sum"}, {"%s", "_bucket"}}
		}
		for _, f := range forms {
			whole := fmt.Sprintf(f.around, "sum without (instance, job) (volley_"+name+f.suffix+")")
			parts := fmt.Sprintf(f.around, "sum without (instance, job, region, node_id) (volley_"+own+f.suffix+`{run_id="r-1"})`)
			differ, err := p.query(whole+" - "+parts, now)
			if err != nil {
				p.t.Fatal(err)
			}
			for _, side := range []string{whole, parts} {
				if all, err := p.query(side, now); err != nil || len(all) != len(differ) || len(all) == 0 {
					p.t.Errorf("%s: %v, %d series, of which the other side has %d", side, err, len(all), len(differ))
				}
			}
			for _, s := range differ {
				compared++
				if d := s.value(); !(math.Abs(d) < 1e-9) {
					p.t.Errorf("%s of %v differs from the sum of the nodes by %v", whole, s.Metric, d)
				}
			}
		}
	}
	if compared < 30 {
		p.t.Errorf("compared %d series", compared)
	}
	p.t.Logf("%d series of the leader are the sum of the nodes'", compared)
}

// wantRules says that the server evaluates all alerts, none with an error. The
// run has errors, but has not ended long enough ago that they are told; nothing
// is the matter with the cluster.
func (p *promServer) wantRules() {
	p.t.Helper()
	names := alerts(p.t)
	slices.Sort(names)
	type rule struct{ Name, State, Health, LastError string }
	p.until("all alerts are evaluated", func() error {
		var all struct{ Groups []struct{ Rules []rule } }
		if err := p.get("rules", nil, &all); err != nil {
			return err
		}
		var seen []string
		for _, g := range all.Groups {
			for _, r := range g.Rules {
				seen = append(seen, r.Name)
				if r.Health != "ok" || r.LastError != "" {
					return fmt.Errorf("%+v", r)
				}
				if slices.Contains(wellAlerts(), r.Name) && r.State != "inactive" || r.Name == "VolleyErrors" && r.State == "inactive" {
					p.t.Errorf("%+v", r)
				}
			}
		}
		slices.Sort(seen)
		if !slices.Equal(seen, names) {
			return fmt.Errorf("it has %q, want %q", seen, names)
		}
		return nil
	})
}

// wellAlerts are those that a busy machine does not set off.
func wellAlerts() []string {
	return []string{
		"VolleyRunAborted", "VolleyStartDelayed", "VolleyGeneratorOutOfResources", "VolleyMemoryShort", "VolleyMemoryExhausted",
		"VolleyMemberNotScraped", "VolleyNoLeader", "VolleySeveralLeaders", "VolleyPlansDiffer",
	}
}

// wantLinted has promtool look at a leader's exposition. What it complains of are
// names that rust_loadtest had and its dashboards ask for.
func wantLinted(t *testing.T, addr string) {
	t.Helper()
	resp, err := http.Get("http://" + addr + "/metrics")
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	page, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	out, err := promtool(t, bytes.NewReader(page), "check", "metrics")
	var failure *exec.ExitError
	if err != nil && !errors.As(err, &failure) {
		t.Fatal(err)
	}
	old := []string{
		"volley_request_errors_by_category", "volley_cluster_request_errors_by_category", // the second as what it is the sum of
		"volley_histogram_count", "volley_histogram_labels_evicted_total", "volley_histogram_memory_estimate_bytes", "volley_workers_configured_total",
	}
	complaints := strings.Split(strings.TrimSpace(out), "\n")
	for _, line := range complaints {
		if name, _, _ := strings.Cut(line, " "); !slices.Contains(old, name) {
			t.Errorf("promtool check metrics says: %s", line)
		}
	}
	if len(complaints) < 2 {
		t.Errorf("promtool check metrics says only %q; does it still look at names?", out)
	}
}
