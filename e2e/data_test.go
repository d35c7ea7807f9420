package e2e

import (
	"errors"
	"strings"
	"testing"
	"time"
)

// The leader fetches the data files beside the plan; no node needs them on its
// own disk. Each row says which status the target is to answer, so that a row
// that did not arrive fails the run's threshold.
func TestDataFilesReachEveryNode(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	target, store := b.target(), b.gcsStore()
	store.upload(bucket, "team/codes.csv", "code,word\n204,a\n204,b\n204,c\n")
	l := load{rps: 50, seconds: 2, path: "/status/${code}"}
	plan := strings.NewReplacer(
		"  - name: check\n", "  - name: check\n    dataFile: {path: codes.csv, strategy: cycle}\n",
		"expected: 200", "expected: 204",
	).Replace(l.plan(target.base())) + "thresholds: ['error_rate == 0%']\n"
	store.put(plan)
	nodes := b.nodes(three(), store.settings())
	startAll(t, nodes)
	for _, n := range nodes {
		n.waitCluster(formTime, "a version that counts the files in", func(h clusterHealth) error {
			if !h.ClusterReady {
				return errors.New("not ready yet")
			}
			return nil
		})
		if got := n.clusterHealth().Config.Version; got == versionOf(plan) || !strings.HasPrefix(got, "sha256:") {
			t.Errorf("%s: version %s, want one of plan and files", n.name, got)
		}
	}
	wantExits(t, nodes, l.duration()+formTime+endTime, 0)
	l.wantSent(t, target.stats().Total, len(nodes), "all nodes")
}

// A file that is not there is a fault of the source: 104, without a request.
func TestDataFileMissing(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	target, store := b.target(), b.gcsStore()
	plan := strings.Replace(load{rps: 50, seconds: 2}.plan(target.base()),
		"  - name: check\n", "  - name: check\n    dataFile: {path: nowhere.csv}\n", 1)
	store.put(plan)
	nodes := b.nodes(three(), store.settings())
	startAll(t, nodes)
	wantAborted(t, target, nodes, formTime+10*time.Second, 104)
	wantSaid(t, nodes, "nowhere.csv")
}
