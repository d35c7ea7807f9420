package e2e

import (
	"fmt"
	"strings"
	"testing"
	"time"
)

// The matrix of config sources: each of gcs and consul-kv with everything that
// may be wrong with a plan or with its place. A cell that fails ends every node
// with 104, tells a person what to do, elects nobody anew and sends no request.
// Good ones are in start_test.go.
func TestSources(t *testing.T) {
	sources := []struct {
		name string
		open func(*bench) planStore
	}{
		{"gcs", func(b *bench) planStore { return b.gcsStore() }},
		{"consul-kv", func(b *bench) planStore { return &consulStore{b.consul(false)} }},
	}
	for _, source := range sources {
		t.Run(source.name, func(t *testing.T) {
			cell := func(name string, test func(*testing.T, *bench, *target, planStore)) {
				t.Run(name, func(t *testing.T) {
					t.Parallel()
					b := newBench(t)
					test(t, b, b.target(), source.open(b))
				})
			}
			cell("missing", sourceMissing)
			cell("empty", sourceEmpty)
			for _, kind := range []string{"syntax", "type", "semantic"} {
				cell(kind, func(t *testing.T, b *bench, target *target, store planStore) { sourceBad(t, b, target, store, kind) })
			}
			cell("away and back", sourceAwayAndBack)
			cell("away for good", sourceAway)
		})
	}
}

// sourceNodes starts three nodes, the least of which another one could lead: of
// two only one has a vote, and giving the leadership up would not show.
func sourceNodes(t *testing.T, b *bench, settings ...env) []*node {
	t.Helper()
	nodes := b.nodes(three(), settings...)
	startAll(t, nodes)
	return nodes
}

func sourceMissing(t *testing.T, b *bench, target *target, store planStore) {
	nodes := sourceNodes(t, b, store.settings())
	wantAborted(t, target, nodes, formTime, 104)
	wantSaid(t, nodes, store.names()...)
	if _, ok := store.(*consulStore); ok {
		wantSaid(t, nodes, "consul kv put "+key+" @config.yaml")
	}
}

func sourceEmpty(t *testing.T, b *bench, target *target, store planStore) {
	store.put("")
	nodes := sourceNodes(t, b, store.settings())
	wantAborted(t, target, nodes, formTime, 104)
	wantSaid(t, nodes, store.names()...)
}

func sourceBad(t *testing.T, b *bench, target *target, store planStore, kind string) {
	for _, bad := range badPlans(t, load{rps: 50, seconds: 2}.plan(target.base())) {
		if bad.name != kind {
			continue
		}
		store.put(bad.text)
		nodes := sourceNodes(t, b, store.settings())
		wantAborted(t, target, nodes, formTime, 104)
		wantLineNamed(t, nodes, bad.line, bad.path)
		invalid := 0
		for _, n := range nodes {
			invalid += len(n.events("config_invalid"))
		}
		if invalid != 1 {
			t.Errorf("%d events config_invalid, want one, on the leader", invalid)
		}
	}
}

func sourceAwayAndBack(t *testing.T, b *bench, target *target, store planStore) {
	l := load{rps: 50, seconds: 2}
	plan := l.plan(target.base())
	store.put(plan)
	store.away()
	nodes := sourceNodes(t, b, store.settings(), env{"CLUSTER_CONFIG_TIMEOUT_SECS": "40"})
	leader, _ := waitLeader(t, nodes, formTime)
	leader.waitPhase(formTime, "fetching")
	// Longer than the 10 s of a single try, which could outlast a shorter absence.
	always(t, 12*time.Second, "the leader goes on trying", func() error {
		if health, err := leader.tryCluster(); err != nil || health.Phase != "fetching" {
			return fmt.Errorf("phase %q, %w", health.Phase, err)
		}
		return nil
	})
	store.heal()
	runToEnd(t, target, nodes, l, waitReady(t, nodes, plan, formTime))
}

func sourceAway(t *testing.T, b *bench, target *target, store planStore) {
	store.put(load{rps: 50, seconds: 2}.plan(target.base()))
	store.away()
	nodes := sourceNodes(t, b, store.settings(), env{"CLUSTER_CONFIG_TIMEOUT_SECS": "4"})
	wantAborted(t, target, nodes, formTime, 104)
	wantSaid(t, nodes, store.names()...)
}

// Consul's ACLs are on and nobody may read the key.
func TestSourceForbiddenByConsul(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	target, store := b.target(), &consulStore{b.consul(true)}
	store.put(load{rps: 50, seconds: 2}.plan(target.base()))
	powerless := store.token("powerless", `key_prefix "elsewhere/" { policy = "read" }`)
	nodes := sourceNodes(t, b, store.settings(), env{"CONSUL_HTTP_TOKEN": powerless})
	wantAborted(t, target, nodes, formTime, 104)
	wantSaid(t, nodes, key)
	wantSecret(t, nodes, powerless)
}

// What Google's service may answer, played by the proxy before fake-gcs-server.
func TestSourceRefusedByGCS(t *testing.T) {
	for _, mode := range []string{"forbidden", "hidden", "unauthorized"} {
		t.Run(mode, func(t *testing.T) {
			t.Parallel()
			b := newBench(t)
			target, store, metadata := b.target(), b.gcsStore(), b.metadata(true)
			proxy := b.gcsProxy(store.gcsServer, fakeToken)
			store.put(load{rps: 50, seconds: 2}.plan(target.base()))
			proxy.play(mode, 0, 0)
			nodes := sourceNodes(t, b, proxy.env(bucket, object), metadata.env())
			wantAborted(t, target, nodes, formTime, 104)
			wantSaid(t, nodes, bucket, object)
			if mode == "forbidden" {
				wantSaid(t, nodes, "roles/storage.objectViewer")
			}
			wantSecret(t, nodes, fakeToken)
		})
	}
}

// Trouble that passes is waited out; an answer beyond the time allowed is not.
func TestSourceSlowGCS(t *testing.T) {
	l := load{rps: 50, seconds: 2}
	for _, c := range []struct {
		name, mode string
		delay      int
		times      int
		code       int
	}{
		{"unavailable twice", "unavailable", 0, 2, 0},
		{"rate limited twice", "ratelimited", 0, 2, 0},
		{"slow", "slow", 1500, 0, 0},
		{"too slow", "slow", 20000, 0, 104},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			b := newBench(t)
			target, store := b.target(), b.gcsStore()
			proxy := b.gcsProxy(store.gcsServer, "")
			plan := l.plan(target.base())
			store.put(plan)
			proxy.play(c.mode, c.delay, c.times)
			nodes := sourceNodes(t, b, proxy.env(bucket, object), env{"CLUSTER_CONFIG_TIMEOUT_SECS": "10"})
			if c.code != 0 {
				wantAborted(t, target, nodes, formTime+10*time.Second, c.code)
				wantSaid(t, nodes, bucket, object)
				return
			}
			runToEnd(t, target, nodes, l, waitReady(t, nodes, plan, formTime))
		})
	}
}

// With CLUSTER_ON_ABORT=hold the nodes stay, all show the reason, and the run
// begins when the plan appears, without a new election; then they end as usual.
func TestSourceAbortHeld(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	target, store := b.target(), b.gcsStore()
	nodes := b.nodes(three(), store.settings(), env{"CLUSTER_ON_ABORT": "hold"})
	startAll(t, nodes)
	for _, n := range nodes {
		n.waitCluster(formTime, "aborted with the reason", func(h clusterHealth) error {
			if h.Phase != "aborted" || !strings.Contains(h.errorText(), object) {
				return fmt.Errorf("phase %q, error %q; want aborted, naming %s", h.Phase, h.errorText(), object)
			}
			return nil
		})
	}
	target.wantQuiet()
	l := load{rps: 50, seconds: 2}
	plan := l.plan(target.base())
	store.put(plan)
	runToEnd(t, target, nodes, l, waitReady(t, nodes, plan, 2*formTime))
}

// Source file: every node needs a readable CONFIG_FILE; the leader's is used.
func TestSourceFile(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	target := b.target()
	l := load{rps: 50, seconds: 2}
	plan := l.plan(target.base())
	first := b.lastHost + 1
	list := fmt.Sprintf("%s:7000,%s:7000", b.cluster.address(first), b.cluster.address(first+1))
	settings := env{"CLUSTER_CONFIG_SOURCE": "file", "CONFIG_FILE": "/plans/plan.yaml", "CLUSTER_NODES": list}
	files := map[string]string{"/plans/plan.yaml": plan}
	nodes := []*node{b.node("a", settings, files), b.node("b", settings, files)}
	startAll(t, nodes)
	runToEnd(t, target, nodes, l, waitReady(t, nodes, plan, formTime))

	alone := b.node("c", settings, nil)
	alone.start()
	alone.wantExit(formTime, 104)
	alone.wantInLogs("CONFIG_FILE", "/plans/plan.yaml")
}

// wantSecret checks that no log shows a secret.
func wantSecret(t testing.TB, nodes []*node, secret string) {
	t.Helper()
	for _, n := range nodes {
		for _, line := range n.logs() {
			if strings.Contains(line.raw, secret) {
				t.Errorf("%s logged a secret: %s", n.name, line.raw)
			}
		}
	}
}
