package e2e

import (
	"errors"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strconv"
	"testing"
	"time"
)

// Steps and checks that the acceptance tests share.

// Names of the plan in its places, and of a cluster's three nodes.
const (
	bucket = "plans"
	object = "team/plan.yaml"
	key    = "loadtest/config" // the default of CONSUL_CONFIG_KEY
)

func three() []string { return []string{"a", "b", "c"} }

// formTime is enough for a cluster to form and hand out a plan on a busy machine.
const formTime = 30 * time.Second

// endTime is enough for everything after the last request of a run.
const endTime = 20 * time.Second

// planStore is a place that a leader fetches the plan from.
type planStore interface {
	put(plan string)
	// settings make a node read the plan here.
	settings() env
	// names are what a message about the plan must say to be of use.
	names() []string
	// away makes the server unreachable; heal (of the container) brings it back.
	away()
	heal()
}

type gcsStore struct {
	*gcsServer
}

// gcsStore starts a fake-gcs-server with an empty bucket.
func (b *bench) gcsStore() *gcsStore {
	b.t.Helper()
	server := b.gcs()
	server.createBucket(bucket)
	return &gcsStore{server}
}

func (s *gcsStore) put(plan string) { s.upload(bucket, object, plan) }
func (s *gcsStore) settings() env   { return s.env(bucket, object) }
func (s *gcsStore) names() []string { return []string{bucket, object} }
func (s *gcsStore) away()           { s.refusePort(gcsPortNo) }

type consulStore struct {
	*consulServer
}

func (s *consulStore) put(plan string) { s.consulServer.put(key, plan) }
func (s *consulStore) settings() env {
	return s.env("").with(env{"CLUSTER_CONFIG_SOURCE": "consul-kv"})
}
func (s *consulStore) names() []string { return []string{key} }

// away swallows packets where gcsStore refuses connections: both happen.
func (s *consulStore) away() { s.dropPort(consulPortNo) }

// waitReady waits until every node shows cluster_ready for this plan with one
// and the same run scheduled, and returns the instant of the start.
func waitReady(t testing.TB, nodes []*node, plan string, within time.Duration) time.Time {
	t.Helper()
	var first clusterHealth
	for i, n := range nodes {
		health := n.waitCluster(within, "cluster_ready and scheduled", func(h clusterHealth) error {
			if !h.ClusterReady || h.startAt().IsZero() {
				return fmt.Errorf("cluster_ready %v, phase %q, start_at %v, error %q", h.ClusterReady, h.Phase, h.startAt(), h.errorText())
			}
			return nil
		})
		if i == 0 {
			first = health
		}
		if health.Config.Version != versionOf(plan) {
			t.Errorf("%s: config version %s, want %s", n.name, health.Config.Version, versionOf(plan))
		}
		if health.Run.RunID != first.Run.RunID || health.startAt() != first.startAt() || health.LeaderID != first.LeaderID {
			t.Errorf("%s: run %s at %v led by %s, but %s: run %s at %v led by %s", n.name, health.Run.RunID, health.startAt(),
				health.LeaderID, nodes[0].name, first.Run.RunID, first.startAt(), first.LeaderID)
		}
	}
	return first.startAt()
}

// runToEnd waits for the good end of a run of l on all nodes and checks what the
// target counted: everybody's due, nothing before startAt, all together, once.
func runToEnd(t testing.TB, target *target, nodes []*node, l load, startAt time.Time) {
	t.Helper()
	wantExits(t, nodes, time.Until(startAt)+l.duration()+endTime, 0)
	stats := target.stats()
	spread := wantStartTogether(t, stats, nodes, startAt, looseSkew)
	t.Logf("first requests %v apart, %d requests", spread, stats.Total)
	for _, n := range nodes {
		l.wantSent(t, stats.from(n).Total, 1, n.name)
	}
	if late := time.Unix(0, stats.LastNS).Sub(startAt.Add(l.duration())); late > 2*time.Second {
		t.Errorf("last request %v after the planned end: did a second run start?", late)
	}
	wantOneRun(t, nodes)
	result := clusterResult(t, nodes)
	if result.Requests != stats.Total || len(result.Nodes) != len(nodes) {
		t.Errorf("result counts %d requests of %d nodes, the target %d of %d", result.Requests, len(result.Nodes), stats.Total, len(nodes))
	}
}

// How far apart the nodes' first requests may be: the figure promised, for tests
// that have the machine for themselves, and what tells a common start from none,
// for tests that run beside others.
const (
	maxSkew   = 20 * time.Millisecond
	looseSkew = 300 * time.Millisecond
)

// wantOneRun checks by the logs that each node ran once under one leader.
func wantOneRun(t testing.TB, nodes []*node) {
	t.Helper()
	for _, n := range nodes {
		if got := len(n.events("run_started")); got != 1 {
			t.Errorf("%s: %d events run_started, want 1", n.name, got)
		}
	}
	wantOneElection(t, nodes)
}

// wantOneElection checks by the logs that there was one leader in one term. The
// leader says so; whether followers repeat it is left open.
func wantOneElection(t testing.TB, nodes []*node) {
	t.Helper()
	elected := map[string]bool{}
	for _, n := range nodes {
		for _, line := range n.events("leader_elected") {
			elected[fmt.Sprintf("%v in term %v", line.fields["leader_id"], line.fields["term"])] = true
		}
		if lost := len(n.events("leadership_lost")); lost != 0 {
			t.Errorf("%s: %d events leadership_lost, want none", n.name, lost)
		}
	}
	if len(elected) != 1 {
		t.Errorf("elected: %v, want one leader in one term", slices.Collect(maps.Keys(elected)))
	}
}

// wantSaid checks that some node logged a line with all the words.
func wantSaid(t testing.TB, nodes []*node, words ...string) {
	t.Helper()
	var last []string
	for _, n := range nodes {
		if slices.ContainsFunc(n.logs(), func(l logLine) bool { return holds(l.text(), words) }) {
			return
		}
		last = append(last, n.name+": "+n.lastWords())
	}
	t.Errorf("no node logged a line with all of %q; last words: %q", words, last)
}

// wantLineNamed checks that some node logged the line number of a mistake, as
// LINE:COLUMN, beside the words.
func wantLineNamed(t testing.TB, nodes []*node, line int, words ...string) {
	t.Helper()
	position := regexp.MustCompile(`(^|\D)` + strconv.Itoa(line) + `:\d+`)
	for _, n := range nodes {
		for _, l := range n.logs() {
			if position.MatchString(l.text()) && holds(l.text(), words) {
				return
			}
		}
	}
	t.Errorf("no node logged position %d:COLUMN with %q; last words of %s: %s", line, words, nodes[0].name, nodes[0].lastWords())
}

// wantAborted checks a run that must not start: every node ends with the code,
// nobody elected twice, the target saw nothing.
func wantAborted(t testing.TB, target *target, nodes []*node, within time.Duration, code int) {
	t.Helper()
	wantExits(t, nodes, within, code)
	wantOneElection(t, nodes)
	target.wantQuiet()
}

// wantOneLeaderAtMost checks all the time that no two nodes lead.
func wantOneLeaderAtMost(t testing.TB, nodes []*node, during time.Duration) {
	t.Helper()
	always(t, during, "at most one leader", func() error {
		var leaders []string
		for _, n := range nodes {
			if health, err := n.tryCluster(); err == nil && health.State == "leader" {
				leaders = append(leaders, n.name)
			}
		}
		if len(leaders) > 1 {
			return errors.New("leaders: " + fmt.Sprint(leaders))
		}
		return nil
	})
}
