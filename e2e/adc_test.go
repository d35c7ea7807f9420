package e2e

import (
	"testing"
	"time"
)

// Application Default Credentials, the real way: the library asks a metadata
// server for the token and shows it to the service.
func TestADCFromMetadataServer(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	target, store, metadata := b.target(), b.gcsStore(), b.metadata(true)
	proxy := b.gcsProxy(store.gcsServer, fakeToken)
	l := load{rps: 50, seconds: 2}
	plan := l.plan(target.base())
	store.put(plan)
	nodes := b.nodes(three(), proxy.env(bucket, object), metadata.env())
	startAll(t, nodes)
	runToEnd(t, target, nodes, l, waitReady(t, nodes, plan, formTime))

	stats := proxy.stats()
	if stats.ObjectGets != 1 || stats.Unauthorized != 0 {
		t.Errorf("proxy counted %+v; want the object read once, by the leader alone, and never without token", stats)
	}
	if metadata.tokens() == 0 {
		t.Error("the metadata server handed out no token")
	}
	wantSecret(t, nodes, fakeToken)
}

// Without credentials the failure is quick and says what to do.
func TestADCMissing(t *testing.T) {
	const limit = 10 * time.Second
	cases := []struct {
		name     string
		metadata bool
		words    []string
	}{
		{"no metadata server", false, []string{"GOOGLE_APPLICATION_CREDENTIALS", "gcloud auth application-default login"}},
		{"no service account", true, []string{"service account"}},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			b := newBench(t)
			target, store := b.target(), b.gcsStore()
			proxy := b.gcsProxy(store.gcsServer, fakeToken)
			store.put(load{rps: 50, seconds: 2}.plan(target.base()))
			settings := proxy.env(bucket, object)
			if c.metadata {
				settings = settings.with(b.metadata(false).env())
			}
			nodes := sourceNodes(t, b, settings)
			wantAborted(t, target, nodes, formTime+limit, 104)
			wantSaid(t, nodes, c.words...)
			if took := abortTook(t, nodes); took > limit {
				t.Errorf("the failure took %v, want under %v", took, limit)
			}
		})
	}
}

// abortTook is how long it took from the begin of the fetch to the abort.
func abortTook(t *testing.T, nodes []*node) time.Duration {
	t.Helper()
	for _, n := range nodes {
		fetches, aborts := n.events("config_fetch"), n.events("run_aborted")
		if len(fetches) > 0 && len(aborts) > 0 {
			return aborts[len(aborts)-1].time.Sub(fetches[0].time)
		}
	}
	t.Fatal("no node logged both config_fetch and run_aborted")
	return 0
}
