package e2e

import (
	"net/http"
	"strings"
	"testing"
	"time"
)

// accepted is the answer 202 of POST /config.
type accepted struct {
	RunID         string `json:"run_id"`
	ConfigVersion string `json:"config_version"`
	NodeID        string `json:"node_id"`
}

// waitingCluster starts three nodes that wait for a posted plan.
func waitingCluster(t *testing.T, b *bench, settings ...env) (nodes []*node, leader *node, followers []*node) {
	t.Helper()
	nodes = b.nodes(three(), append([]env{{"CLUSTER_CONFIG_SOURCE": "none"}}, settings...)...)
	startAll(t, nodes)
	leader, followers = waitLeader(t, nodes, formTime)
	return nodes, leader, followers
}

// postPlan posts a plan that must be accepted.
func (n *node) postPlan(plan string, headers ...string) accepted {
	n.bench.t.Helper()
	answer := n.post("/config", plan, headers...)
	if answer.status != http.StatusAccepted {
		n.fatalf("POST /config: status %d, want 202: %s", answer.status, answer.body)
	}
	var out accepted
	answer.status = http.StatusOK
	n.must("POST /config", answer.decode(&out))
	if out.RunID == "" || out.ConfigVersion != versionOf(plan) || out.NodeID == "" {
		n.bench.t.Errorf("%s: answer %s, want a run id, a node id and version %s", n.name, answer.body, versionOf(plan))
	}
	return out
}

// POST /config on a follower reaches the leader; a bad plan is refused with
// every mistake on leader and follower alike, and the running test goes on.
func TestConfigPost(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	target := b.target()
	nodes, leader, followers := waitingCluster(t, b)
	l := load{rps: 50, seconds: 4}
	plan := l.plan(target.base())
	twoMistakes := strings.NewReplacer("workers: 10", "workers: many", "target: 50", "target: -50").Replace(plan)

	unprepared := strings.Replace(plan, "path: /x", "path: /x/${env.NOT_LISTED}", 1) // no mistake of the schema's
	wantRefused := func() {
		t.Helper()
		for _, n := range []*node{leader, followers[0], followers[1]} {
			wantPlanErrors(t, n, twoMistakes, "config.workers", "load.target")
			wantPlanErrors(t, n, unprepared, "scenarios[0].steps[0].request.path")
		}
	}
	wantRefused()
	for _, n := range nodes {
		if health := n.clusterHealth(); health.Phase != "waiting" || health.Run.RunID != "" {
			t.Errorf("%s: phase %q, run %q after a refused plan, want waiting and none", n.name, health.Phase, health.Run.RunID)
		}
	}
	run := followers[0].postPlan(plan)
	startAt := waitReady(t, nodes, plan, formTime)
	leader.waitPhase(formTime, "running")
	wantRefused()
	for _, n := range nodes {
		health := n.waitPhase(l.duration()+endTime, "finished")
		if health.Run.RunID != run.RunID || health.Config.Version != run.ConfigVersion {
			t.Errorf("%s: finished run %s of %s, want %s of %s", n.name, health.Run.RunID, health.Config.Version, run.RunID, run.ConfigVersion)
		}
	}
	stats := target.stats()
	wantStartTogether(t, stats, nodes, startAt, looseSkew)
	for _, n := range nodes {
		l.wantSent(t, stats.from(n).Total, 1, n.name+", whose running test nothing may touch")
		if !n.running() {
			t.Errorf("%s ended; with source none it stays for the next plan", n.name)
		}
	}
}

// wantPlanErrors posts a bad plan and wants 400 with these paths, each with its place.
func wantPlanErrors(t testing.TB, n *node, plan string, paths ...string) {
	t.Helper()
	answer := n.post("/config", plan)
	if answer.status != http.StatusBadRequest {
		t.Fatalf("%s: status %d, want 400: %s", n.name, answer.status, answer.body)
	}
	var got planErrors
	answer.status = http.StatusOK
	n.must("answer of POST /config", answer.decode(&got))
	if len(got.Errors) != len(paths) {
		t.Fatalf("%s: %d mistakes named, want %d: %s", n.name, len(got.Errors), len(paths), answer.body)
	}
	lines := strings.Split(plan, "\n")
	for i, mistake := range got.Errors {
		field := paths[i][strings.LastIndex(paths[i], ".")+1:]
		if mistake.Path != paths[i] || mistake.Message == "" || mistake.Line < 1 || mistake.Line > len(lines) ||
			!strings.Contains(lines[mistake.Line-1], field) || mistake.Column < 1 {
			t.Errorf("%s: mistake %+v, want %s with line and column of it", n.name, mistake, paths[i])
		}
	}
}

// Who may post what: the token is asked for where the request arrives.
func TestConfigPostRefused(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	target := b.target()
	const token = "e2e-api-token"
	nodes, _, followers := waitingCluster(t, b, env{"API_AUTH_TOKEN": token})
	plan := load{rps: 50, seconds: 2}.plan(target.base())
	bearer := []string{"Authorization", "Bearer " + token}
	for _, c := range []struct {
		name, body string
		headers    []string
		want       int
	}{
		{"no token", plan, nil, 401},
		{"wrong token", plan, []string{"Authorization", "Bearer nonsense"}, 401},
		{"foreign origin", plan, append([]string{"Origin", "http://evil.example"}, bearer...), 403},
		{"foreign site", plan, append([]string{"Sec-Fetch-Site", "cross-site"}, bearer...), 403},
		{"too large", plan + strings.Repeat("# comment\n", 60_000), bearer, 413},
	} {
		for _, n := range nodes {
			if answer := n.post("/config", c.body, c.headers...); answer.status != c.want {
				t.Errorf("%s on %s: status %d, want %d: %s", c.name, n.name, answer.status, c.want, answer.body)
			}
		}
	}
	target.wantQuiet()
	run := followers[0].postPlan(plan, bearer...)
	waitReady(t, nodes, plan, formTime)
	if health := followers[1].clusterHealth(); health.Run.RunID != run.RunID {
		t.Errorf("run %s, want the posted %s", health.Run.RunID, run.RunID)
	}
	wantSecret(t, nodes, token)
}

// Without a leader a plan is refused within seconds, and says when to come back.
func TestConfigPostWithoutLeader(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	nodes := b.nodes(three(), env{"CLUSTER_CONFIG_SOURCE": "none"})
	nodes[0].start()
	nodes[0].waitCluster(formTime, "forming", func(h clusterHealth) error { return nil })
	began := time.Now()
	answer := nodes[0].post("/config", load{rps: 50, seconds: 2}.plan("http://10.0.0.1:8000"))
	if answer.status != http.StatusServiceUnavailable || answer.header.Get("Retry-After") == "" {
		t.Errorf("status %d, Retry-After %q; want 503 with one: %s", answer.status, answer.header.Get("Retry-After"), answer.body)
	}
	if took := time.Since(began); took > 8*time.Second {
		t.Errorf("the answer took %v, want about 5s", took)
	}
}

// POST /stop ends the run everywhere; with source none the nodes stay.
func TestConfigStop(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	target := b.target()
	nodes, leader, followers := waitingCluster(t, b)
	plan := load{rps: 50, seconds: 60}.plan(target.base())
	followers[0].postPlan(plan)
	waitReady(t, nodes, plan, formTime)
	leader.waitPhase(formTime, "running")
	if answer := followers[1].post("/stop", "not json"); answer.status != http.StatusBadRequest {
		t.Errorf("a body that is not understood: status %d, want 400: %s", answer.status, answer.body)
	}
	if answer := followers[1].post("/stop", ""); answer.status != http.StatusOK {
		t.Errorf("POST /stop: status %d, want 200: %s", answer.status, answer.body)
	}
	for _, n := range nodes {
		n.waitPhase(endTime, "stopped")
	}
	quiet := target.stats().Total
	always(t, 2*time.Second, "nothing is sent after the stop", func() error {
		if now := target.stats().Total; now > quiet {
			return errNotQuiet
		}
		return nil
	})
}
