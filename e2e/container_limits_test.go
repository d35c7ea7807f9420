package e2e

import (
	"fmt"
	"math"
	"strings"
	"testing"

	"github.com/moby/moby/client"
)

// aloneInCluster is a cluster of one, with a child engine, that takes its plan and
// a data file from a bucket, and leaves the result in another or the same.
func (b *bench) aloneInCluster(spec containerSpec, store *gcsStore, plan, results string) *node {
	b.t.Helper()
	store.upload(bucket, "team/codes.csv", "code\n200\n")
	store.put(strings.NewReplacer("  - name: check\n", "  - name: check\n    dataFile: {path: codes.csv, strategy: cycle}\n").Replace(plan))
	return b.nodeWith(spec, store.settings().with(env{
		"CLUSTER_NODES": "", "CLUSTER_EXPECT": "1", "RESULT_FILE": "gs://" + results + "/result.json",
	}))
}

// Both processes keep to what the container may use, by their own runtimes' word:
// of the CPU the engine takes no more than the quota, so that the control process
// is never throttled for it; of the memory each has its part.
func TestProcessesKeepToTheContainersLimits(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	b.cpus = 1
	const memory = 256 << 20
	target, store := b.target(), b.gcsStore()
	l := load{rps: 20, seconds: 1}
	n := b.aloneInCluster(containerSpec{name: "alone", memory: memory}, store, l.plan(target.base()), bucket)
	n.start()
	n.wantExit(formTime+l.duration()+endTime, 0)
	// Go itself never goes below two threads for a quota.
	control := min(b.processors(), max(2, int(math.Ceil(b.cpus))))
	for event, want := range map[string]string{
		"node_started":         fmt.Sprintf(`"gomaxprocs":%d,"memory_limit_bytes":%d,"gomemlimit_bytes":%d,`, control, memory, memory*30/100),
		"engine_child_started": fmt.Sprintf(`"gomaxprocs":%d,"gomemlimit_bytes":%d`, 1, memory*55/100),
	} {
		if lines := n.events(event); len(lines) != 1 || !strings.Contains(lines[0].raw, want) {
			t.Errorf("%s: want one line with %s: %v", event, want, lines)
		}
	}
}

// processors are those of the Docker engine's machine.
func (b *bench) processors() int {
	b.t.Helper()
	ctx, cancel := call()
	defer cancel()
	info, err := b.docker.Info(ctx, client.InfoOptions{})
	if err != nil {
		b.t.Fatal(err)
	}
	return info.Info.NCPU
}

// Where it might write anywhere, as root on a file system that takes it, volley
// writes nothing but to the temporary folder, and leaves there only a result that
// its bucket did not take.
func TestNothingIsWritten(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	target, store := b.target(), b.gcsStore()
	l := load{rps: 20, seconds: 1}
	n := b.aloneInCluster(containerSpec{name: "alone", image: b.imageFor(shippedImage), user: "0:0"}, store, l.plan(target.base()), "no-such-bucket")
	n.start()
	n.wantExit(formTime+l.duration()+endTime, 0)
	for _, event := range []string{"data_fetched", "result_upload_failed"} { // what a folder is needed for
		if len(n.events(event)) != 1 {
			t.Errorf("%d lines %s, want 1", len(n.events(event)), event)
		}
	}
	ctx, cancel := call()
	defer cancel()
	diff, err := b.docker.ContainerDiff(ctx, n.handle.GetContainerID(), client.ContainerDiffOptions{})
	if err != nil {
		t.Fatal(err)
	}
	var kept []string
	for _, change := range diff.Changes {
		switch {
		case change.Path == "/tmp":
		case strings.HasPrefix(change.Path, "/tmp/volley-") && (strings.HasSuffix(change.Path, "-result.json") || strings.HasSuffix(change.Path, "-result.html")):
			kept = append(kept, change.Path)
		default:
			t.Errorf("%v %s", change.Kind, change.Path)
		}
	}
	if len(kept) != 2 {
		t.Errorf("kept %q, want the result and the report", kept)
	}
}
