package e2e

import (
	"bytes"
	"compress/gzip"
	"context"
	"crypto/sha256"
	"debug/buildinfo"
	"debug/elf"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/moby/moby/api/types/image"
	"github.com/moby/moby/client"
)

// What the image may take, in bytes, and its process: from its start until it
// serves, and from SIGTERM until it has ended. Of nodes that start at the same moment
// the first has to keep to startLimit, the others to togetherLimit: they have the
// processors in turn.
const (
	imageLimit      = 30_000_000
	compressedLimit = 12_000_000
	startLimit      = time.Second
	togetherLimit   = 3 * time.Second
	sealedMemory    = 64 << 20
)

// shippedImage is what the Dockerfile makes of this commit, on a builder of this
// machine's own; built at first use.
var shippedImage = sync.OnceValues(func() (string, error) {
	ctx, cancel := context.WithTimeout(context.Background(), buildTimeout)
	defer cancel()
	docker, err := engine()
	if err != nil {
		return "", err
	}
	arch, err := engineArch(ctx)
	if err != nil {
		return "", err
	}
	if _, err := volleyImage(); err != nil { // fills the build cache
		return "", err
	}
	builder := fmt.Sprintf("volley-e2e/builder:%d", os.Getpid())
	if err := makeBuilder(ctx, docker, builder, arch); err != nil {
		return "", fmt.Errorf("make the builder: %w", err)
	}
	defer removeBuilder(docker, builder)
	files, err := buildContext("..")
	if err != nil {
		return "", err
	}
	const tag = "volley-e2e/shipped:latest"
	platform := "linux/" + arch
	return tag, buildImage(ctx, docker, tag, files, client.ImageBuildOptions{
		BuildArgs: map[string]*string{"BUILDER": &builder, "BUILDPLATFORM": &platform}, NoCache: true,
	})
})

func shippedInspect(t *testing.T) image.InspectResponse {
	t.Helper()
	name, err := shippedImage()
	if err != nil {
		t.Fatal(err)
	}
	docker, err := engine()
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := call()
	defer cancel()
	found, err := docker.ImageInspect(ctx, name)
	if err != nil {
		t.Fatal(err)
	}
	return found.InspectResponse
}

// The image is small, says what it is, runs as nobody and has no shell.
func TestShippedImage(t *testing.T) {
	t.Parallel()
	found := shippedInspect(t)
	compressed := compressedSize(t)
	t.Logf("image: %.1f MB, compressed %.1f MB (at most %.1f and %.1f)", float64(found.Size)/1e6, float64(compressed)/1e6, imageLimit/1e6, compressedLimit/1e6)
	if found.Size > imageLimit || compressed > compressedLimit {
		t.Errorf("image of %d bytes, compressed %d; want at most %d and %d", found.Size, compressed, imageLimit, compressedLimit)
	}
	config := found.Config
	if config.User != "65532:65532" || !slices.Equal(config.Entrypoint, []string{"/volley"}) || len(config.Cmd) > 0 {
		t.Errorf("runs %q %q as %q", config.Entrypoint, config.Cmd, config.User)
	}
	if config.Healthcheck == nil || !slices.Equal(config.Healthcheck.Test, []string{"CMD", "/volley", "health"}) {
		t.Errorf("health check %+v", config.Healthcheck)
	}
	for label, want := range map[string]string{"title": "volley", "version": "dev", "revision": "unknown", "licenses": "Apache-2.0"} {
		if got := config.Labels["org.opencontainers.image."+label]; got != want {
			t.Errorf("label %s is %q, want %q", label, got, want)
		}
	}
}

// compressedSize is what a registry would be sent.
func compressedSize(t *testing.T) int64 {
	t.Helper()
	docker, err := engine()
	if err != nil {
		t.Fatal(err)
	}
	name, err := shippedImage()
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := call()
	defer cancel()
	saved, err := docker.ImageSave(ctx, []string{name})
	if err != nil {
		t.Fatal(err)
	}
	defer saved.Close()
	var size counter
	zipped := gzip.NewWriter(&size)
	if _, err := io.Copy(zipped, saved); err != nil {
		t.Fatal(err)
	}
	if err := zipped.Close(); err != nil {
		t.Fatal(err)
	}
	return int64(size)
}

// counter counts what is written.
type counter int64

func (c *counter) Write(p []byte) (int, error) { *c += counter(len(p)); return len(p), nil }

// The binary in the image is the one that is built beside it, byte for byte, and
// shows how it was built.
func TestShippedBinary(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	inside, err := b.create(containerSpec{name: "shipped", image: b.imageFor(shippedImage)}).readFile("/volley")
	if err != nil {
		t.Fatal(err)
	}
	info, err := buildinfo.Read(bytes.NewReader(inside))
	if err != nil {
		t.Fatal(err)
	}
	settings := map[string]string{}
	for _, s := range info.Settings {
		settings[s.Key] = s.Value
	}
	if !strings.Contains(settings["-tags"], "disable_grpc_modules") || settings["CGO_ENABLED"] != "0" || settings["-trimpath"] != "true" {
		t.Errorf("built with %v", settings)
	}
	outside := filepath.Join(t.TempDir(), "volley")
	if err := asShipped(t.Context(), outside, settings["GOARCH"]); err != nil {
		t.Fatal(err)
	}
	again, err := os.ReadFile(outside)
	if err != nil {
		t.Fatal(err)
	}
	if sha256.Sum256(inside) != sha256.Sum256(again) {
		t.Errorf("two builds of one commit differ: %d bytes in the image, %d outside", len(inside), len(again))
	}
}

// The other architecture is built as well; its size is bounded alike.
func TestShippedForAnotherArchitecture(t *testing.T) {
	t.Parallel()
	arch, machine := "arm64", elf.EM_AARCH64
	if own, err := engineArch(t.Context()); err == nil && own == arch {
		arch, machine = "amd64", elf.EM_X86_64
	}
	binary := filepath.Join(t.TempDir(), "volley")
	if err := asShipped(t.Context(), binary, arch); err != nil {
		t.Fatal(err)
	}
	file, err := elf.Open(binary)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	info, err := os.Stat(binary)
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("%s: %.1f MB", arch, float64(info.Size())/1e6)
	if file.Machine != machine || info.Size() > imageLimit {
		t.Errorf("for %v, %d bytes; want %v and at most %d", file.Machine, info.Size(), machine, imageLimit)
	}
	if libraries, err := file.ImportedLibraries(); err != nil || len(libraries) > 0 {
		t.Errorf("it needs %v, %v; want a static binary", libraries, err)
	}
}

// sealed makes a node of the shipped image: its own user, read-only, without
// capabilities, in 64 MiB. There is no place for a result.
func (b *bench) sealed(name, volume string, settings ...env) *node {
	b.t.Helper()
	return b.nodeWith(containerSpec{name: name, image: b.imageFor(shippedImage), sealed: true, memory: sealedMemory, volume: volume},
		env{"RESULT_FILE": ""}.with(settings...))
}

// sealedNodes are three of them that find each other by the static list, unless settings say otherwise.
func (b *bench) sealedNodes(settings ...env) []*node {
	b.t.Helper()
	var list []string
	for i := range three() {
		list = append(list, fmt.Sprintf("%s:%d", b.cluster.address(b.lastHost+1+i), clusterPort))
	}
	var made []*node
	for _, name := range three() {
		made = append(made, b.sealed(name, "", append([]env{{"CLUSTER_NODES": strings.Join(list, ",")}}, settings...)...))
	}
	return made
}

// planVolume makes a volume with a plan where volley looks for one.
func (b *bench) planVolume(plan string) string {
	b.t.Helper()
	return b.filesVolume(map[string]string{"/etc/volley/config.yaml": plan})
}

func (b *bench) filesVolume(files map[string]string) string {
	b.t.Helper()
	ctx, cancel := call()
	defer cancel()
	made, err := b.docker.VolumeCreate(ctx, client.VolumeCreateOptions{Labels: labels()})
	if err != nil {
		b.t.Fatal(err)
	}
	name := made.Volume.Name
	b.atEnd = append(b.atEnd, func(ctx context.Context) error {
		_, err := b.docker.VolumeRemove(ctx, name, client.VolumeRemoveOptions{})
		return err
	})
	b.create(containerSpec{name: "files", image: b.imageFor(programsImage), volume: name, files: files})
	return name
}

// wantServedSoon bounds the time from the start of each container's process until it
// has opened its ports; the nodes were started together.
func wantServedSoon(t *testing.T, nodes ...*node) {
	t.Helper()
	first := togetherLimit
	for _, n := range nodes {
		took := n.waitEvent(formTime, "node_started", 1).time.Sub(n.startedAt())
		t.Logf("%s: started in %v", n.name, took.Round(time.Millisecond))
		if took > togetherLimit {
			t.Errorf("%s: %v from the start of the container to node_started, want at most %v", n.name, took, togetherLimit)
		}
		first = min(first, took)
	}
	if first > startLimit {
		t.Errorf("%v from the start of a container to node_started at best, want at most %v", first, startLimit)
	}
}

// Standalone with a mounted plan; the image's health check says that it is well.
func TestShippedStandalone(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	target := b.target()
	l := load{rps: 50, seconds: 3}
	n := b.sealed("alone", b.planVolume(l.plan(target.base())), standalone())
	n.start()
	wantServedSoon(t, n)
	code, output, err := n.handle.Exec(t.Context(), []string{"/volley", "health"})
	if err != nil || code != 0 {
		said, _ := io.ReadAll(output)
		t.Errorf("volley health in the container: %d, %v: %s", code, err, said)
	}
	n.wantExit(l.duration()+endTime, 0)
	l.wantSent(t, target.stats().from(n).Total, 1, n.name)
}

// With nothing but the environment; SIGTERM in the midst of the load.
func TestShippedByEnvironment(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	target := b.target()
	n := b.sealed("alone", "", standalone(), env{
		"TARGET_URL": target.base() + "/x", "LOAD_MODEL_TYPE": "Rps", "TARGET_RPS": "100", "NUM_CONCURRENT_TASKS": "10", "TEST_DURATION": "1h",
	})
	n.start()
	wantServedSoon(t, n)
	eventually(t, formTime, "load arrives", func() error {
		if target.stats().Requests["GET /x"] < 100 {
			return errNotEnough
		}
		return nil
	})
	began := time.Now()
	n.signal("SIGTERM")
	n.wantExit(leaveLimit, 105)
	t.Logf("ended %v after SIGTERM (at most %v)", time.Since(began).Round(time.Millisecond), leaveLimit)
}

// Three nodes that meet in Consul and take the plan from there.
func TestShippedClusterWithConsul(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	target, store := b.target(), &consulStore{b.consul(false)}
	runSealed(t, b, target, store, store.settings(), store.discovery(3, ""))
	wantNothingLeft(t, store.consulServer)
}

// Three nodes with credentials of a metadata server, and a plan in GCS, to which
// the result goes and the report beside it.
func TestShippedClusterWithGCS(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	target, store, metadata := b.target(), b.gcsStore(), b.metadata(true)
	proxy := b.gcsProxy(store.gcsServer, fakeToken)
	runSealed(t, b, target, store, proxy.env(bucket, object), metadata.env(), env{"RESULT_FILE": "gs://" + bucket + "/results/last.json"})
	var result struct {
		RunID    string `json:"run_id"`
		Requests int64  `json:"requests"`
	}
	if err := json.Unmarshal([]byte(store.download(bucket, "results/last.json")), &result); err != nil {
		t.Fatal(err)
	}
	if want := int64(target.stats().Total); result.Requests != want || want == 0 {
		t.Errorf("the result has %d requests, the target counted %d", result.Requests, want)
	}
	if report := store.download(bucket, "results/last.html"); !strings.HasPrefix(report, "<!doctype html>") || !strings.Contains(report, result.RunID) {
		t.Errorf("the report of run %s: %.200q", result.RunID, report)
	}
	if stats := proxy.stats(); stats.ObjectGets != 1 || stats.Unauthorized != 0 {
		t.Errorf("proxy counted %+v; want the object read once, and never without token", stats)
	}
}

func runSealed(t *testing.T, b *bench, target *target, store planStore, settings ...env) {
	t.Helper()
	l := load{rps: 50, seconds: 2}
	plan := l.plan(target.base())
	store.put(plan)
	nodes := b.sealedNodes(settings...)
	startAll(t, nodes)
	wantServedSoon(t, nodes...)
	startAt := waitReady(t, nodes, plan, formTime)
	wantExits(t, nodes, time.Until(startAt)+l.duration()+endTime, 0)
	stats := target.stats()
	for _, n := range nodes {
		l.wantSent(t, stats.from(n).Total, 1, n.name)
	}
	wantOneRun(t, nodes)
}
