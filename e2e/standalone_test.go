package e2e

import (
	"net/http"
	"strings"
	"testing"
	"time"
)

// alone makes a standalone node that runs a plan from a file.
func (b *bench) alone(plan string, settings ...env) *node {
	b.t.Helper()
	return b.nodeWith(containerSpec{
		name: "alone", cmd: []string{"run", "/plan.yaml"}, files: map[string]string{"/plan.yaml": plan},
	}, standalone().with(settings...))
}

// A standalone run touches no server of a cluster and opens no cluster port.
func TestStandaloneTouchesNothing(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	target, trap := b.target(), b.target()
	l := load{rps: 100, seconds: 3}
	n := b.alone(l.plan(target.base()), env{
		"CONSUL_ADDR": trap.base(), "CONSUL_HTTP_ADDR": trap.base(), "STORAGE_EMULATOR_HOST": trap.base(),
		"GCE_METADATA_HOST": strings.TrimPrefix(trap.base(), "http://"),
	})
	n.start()
	n.waitEvent(formTime, "run_started", 1)
	if health := n.clusterHealth(); health.State != "standalone" || health.ClusterEnabled || health.Phase != "running" {
		t.Errorf("health shows state %q, cluster_enabled %v, phase %q; want standalone, false, running",
			health.State, health.ClusterEnabled, health.Phase)
	}
	if _, failure := target.fetch("http://" + n.ctlIP + ":7000/"); !strings.Contains(failure, "refused") {
		t.Errorf("the cluster port answers %q, want it refused", failure)
	}
	n.wantExit(l.duration()+endTime, 0)
	if got := trap.stats().from(n); got.Connections != 0 || got.Total != 0 {
		t.Errorf("a standalone run spoke to servers of a cluster: %+v", got)
	}
	stats, result := target.stats(), n.result()
	if got := stats.from(n).Total; result.Due != l.due() || result.Requests != got || result.StatusCodes["200"] != got || got == 0 || result.Scope != "node" {
		t.Errorf("the target counted %d requests, the result %+v; want as many of %d due", got, result, l.due())
	}
}

// SIGTERM in mid-run: the report is written and counts what the target counted.
func TestStandaloneLeave(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	target := b.target()
	n := b.alone(load{rps: 100, seconds: 60}.plan(target.base()))
	n.start()
	eventually(t, formTime, "load arrives", func() error {
		if target.stats().Total < 100 {
			return errNotEnough
		}
		return nil
	})
	n.signal("SIGTERM")
	n.wantExit(leaveLimit, 105)
	if got, want := n.result().Requests, target.stats().Total; got != want {
		t.Errorf("the report counts %d requests, the target %d", got, want)
	}
}

// A plan with mistakes ends the process with 104, naming line and field.
func TestStandaloneBadPlan(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	target := b.target()
	for _, bad := range badPlans(t, load{rps: 100, seconds: 2}.plan(target.base())) {
		n := b.alone(bad.text)
		n.start()
		n.wantExit(endTime, 104)
		wantLineNamed(t, []*node{n}, bad.line, bad.path)
	}
	target.wantQuiet()
}

// Without a plan the process waits for one and runs it.
func TestStandalonePost(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	target := b.target()
	l := load{rps: 50, seconds: 2}
	n := b.node("alone", standalone(), nil)
	n.start()
	n.waitServing(controlPort, "/ready")
	target.wantQuiet()
	n.postPlan(l.plan(target.base()))
	n.waitPhase(l.duration()+endTime, "finished")
	l.wantSent(t, target.stats().from(n).Total, 1, n.name)
	answer, err := ask(http.MethodGet, n.url(metricsPort)+"/metrics", "")
	if err != nil || answer.status != http.StatusOK || !strings.Contains(string(answer.body), "volley_requests_total") {
		t.Errorf("metrics: %v, status %d", err, answer.status)
	}
	n.signal("SIGTERM") // without a run: nothing was cut short
	n.wantExit(leaveLimit, 0)
}

// Wrong settings are named with value and accepted form.
func TestStandaloneBadSettings(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	n := b.node("alone", env{"DISCOVERY_MODE": "carrier-pigeon", "CLUSTER_CONFIG_SOURCE": "none", "CLUSTER_NODES": "10.0.0.1:7000"}, nil)
	n.start()
	n.wantExit(10*time.Second, 104)
	n.wantInLogs("DISCOVERY_MODE", "carrier-pigeon", "static")
}
