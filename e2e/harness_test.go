package e2e

import (
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	consulapi "github.com/hashicorp/consul/api"
)

// The tests in this file guard the guard: each tool of the suite does what its
// comment says. They need no volley.

func TestHarnessTargetCounts(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	target, other := b.target(), b.target()
	before := time.Now()
	for range 3 {
		if status, failure := other.fetch(target.base() + "/status/503"); status != 503 {
			t.Fatalf("status %d (%s), want 503", status, failure)
		}
	}
	stats := target.stats()
	source := stats.Sources[other.ctlIP]
	if stats.Total != 3 || source.Total != 3 || len(stats.Arrivals) != 3 || stats.Requests["GET /status/503"] != 3 {
		t.Errorf("counted %+v, want 3 requests of %s", stats, other.ctlIP)
	}
	if first := time.Unix(0, source.FirstNS); first.Before(before) || first.After(time.Now()) {
		t.Errorf("first request at %v, want between %v and now", first, before)
	}
	if source.Connections != 3 || source.FirstConnectionNS > source.FirstNS {
		t.Errorf("counted %d connections, the first %d ns before its request; want 3, and not after",
			source.Connections, source.FirstNS-source.FirstConnectionNS)
	}
	target.reset()
	target.wantQuiet()
}

func TestHarnessCutsAndHeals(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	near := b.pair("near")
	far := b.pair("far")
	startAll(t, []*target{near, far})
	near.waitServing(targetPort, "/_stats")
	far.waitServing(targetPort, "/_stats")
	url := fmt.Sprintf("http://%s:8000/x", far.clusterIP)

	expect := func(when string, reaches bool, words string) {
		t.Helper()
		status, failure := near.fetch(url)
		if (status == http.StatusOK) != reaches || !strings.Contains(failure, words) {
			t.Errorf("%s: status %d, error %q; want reached %v, error with %q", when, status, failure, reaches, words)
		}
	}
	expect("at first", true, "")
	far.refusePort(8000)
	expect("refused", false, "connection refused")
	far.heal()
	expect("healed after refusing", true, "")
	far.dropPort(8000)
	expect("dropped", false, "deadline exceeded")
	far.heal()
	expect("healed after dropping", true, "")
	far.pause()
	expect("paused", false, "deadline exceeded")
	far.unpause()
	expect("unpaused", true, "")
	far.disconnect()
	expect("disconnected", false, "")
	far.reconnect()
	expect("reconnected", true, "")
	far.restart(time.Second)
	far.waitServing(targetPort, "/_stats")
	expect("restarted under the same address", true, "")
}

// pair is a target on both networks, not started.
func (b *bench) pair(name string) *target {
	return &target{b.create(containerSpec{
		name: name, image: b.imageFor(programsImage), cmd: []string{"target"}, ports: []string{targetPort}, onCluster: true,
	})}
}

func TestHarnessExitsLogsAndFiles(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	guineaPig := func(name string, args ...string) *container {
		return b.create(containerSpec{
			name: name, image: b.imageFor(programsImage), cmd: append([]string{"exit"}, args...),
			files: map[string]string{"/some/folder/plan.yaml": "hello"},
		})
	}
	atOnce, onTerm, killed := guineaPig("at-once", "-code", "104"), guineaPig("on-term", "-code", "105", "-on-term"), guineaPig("killed", "-on-term")
	before := time.Now()
	startAll(t, []*container{atOnce, onTerm, killed}, 0, time.Second)

	atOnce.wantExit(5*time.Second, 104)
	if _, err := onTerm.exitCode(0); err == nil {
		t.Error("on-term ended before SIGTERM")
	}
	line := onTerm.waitEvent(5*time.Second, "node_started", 1)
	if line.fields["code"] != 105.0 || line.severity != "INFO" || line.time.IsZero() || line.at.IsZero() {
		t.Errorf("log line read as %+v", line)
	}
	onTerm.signal("SIGTERM")
	onTerm.wantExit(5*time.Second, 105)
	killed.kill()
	killed.wantExit(5*time.Second, 137)
	atOnce.wantInLogs("guinea pig", "run_finished")
	if early, late := atOnce.startedAt().Sub(before), onTerm.startedAt().Sub(before); early < 0 || late < time.Second {
		t.Errorf("started after %v and %v, want the second after its delay of 1s", early, late)
	}
	if content, err := atOnce.readFile("/some/folder/plan.yaml"); err != nil || string(content) != "hello" {
		t.Errorf("file reads %q, %v", content, err)
	}
}

func TestHarnessConsul(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	consul := b.consul(true)
	consul.put("loadtest/config", "a: 1\n")
	if value, ok := consul.get("loadtest/config"); !ok || value != "a: 1\n" {
		t.Errorf("key reads %q, %v", value, ok)
	}
	if _, err := ask(http.MethodGet, consul.url(consulPort)+"/v1/kv/loadtest/config", ""); err != nil {
		t.Fatal(err)
	}
	reader := consul.token("reader", `key_prefix "loadtest/" { policy = "read" }`)
	get := func(token string) int {
		answer, err := ask(http.MethodGet, consul.url(consulPort)+"/v1/kv/loadtest/config", "", "X-Consul-Token", token)
		if err != nil {
			t.Fatal(err)
		}
		return answer.status
	}
	// Without a right Consul answers 403 or, as if the key were not there, 404.
	if with, without := get(reader), get(""); with != 200 || without < 400 {
		t.Errorf("status %d with a token and %d without, want 200 and a refusal", with, without)
	}
	consul.register(&consulapi.AgentServiceRegistration{ID: "stale", Name: "loadtest-cluster", Address: "10.0.0.1", Port: 7000})
	consul.restart(time.Second)
	consul.waitReady()
	if entries := consul.services("loadtest-cluster"); len(entries) != 1 || entries[0].Service.ID != "stale" {
		t.Errorf("%d entries after a restart, want the one registered before", len(entries))
	}
	consul.delete("loadtest/config")
	if keys := consul.keys(); slices.Contains(keys, "loadtest/config") {
		t.Errorf("keys are %q after the delete", keys)
	}
}

func TestHarnessGCS(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	gcs := b.gcs()
	proxy, metadata := b.gcsProxy(gcs, fakeToken), b.metadata(true)
	gcs.createBucket("plans")
	gcs.upload("plans", "dir/plan.yaml", "a: 1\n")
	if got := gcs.download("plans", "dir/plan.yaml"); got != "a: 1\n" {
		t.Errorf("object reads %q", got)
	}
	get := func(token string) int {
		answer, err := ask(http.MethodGet, proxy.url(proxyPort)+objectPath("plans", "dir/plan.yaml")+"?alt=media", "",
			"Authorization", "Bearer "+token)
		if err != nil {
			t.Fatal(err)
		}
		return answer.status
	}
	statuses := []int{get(fakeToken), get("wrong")}
	for _, mode := range []string{"unauthorized", "forbidden", "hidden", "ratelimited", "unavailable"} {
		proxy.play(mode, 0, 1)
		statuses = append(statuses, get(fakeToken))
	}
	statuses = append(statuses, get(fakeToken))
	if want := []int{200, 401, 401, 403, 404, 429, 503, 200}; !slices.Equal(statuses, want) {
		t.Errorf("statuses %v, want %v", statuses, want)
	}
	if stats := proxy.stats(); stats.ObjectGets != 7 || stats.Unauthorized != 1 || stats.Played != 5 {
		t.Errorf("proxy counted %+v", stats)
	}
	var token struct {
		Value string `json:"access_token"`
	}
	const path = "/computeMetadata/v1/instance/service-accounts/default/token"
	answer, err := ask(http.MethodGet, metadata.url(metadataPort)+path, "", "Metadata-Flavor", "Google")
	if err != nil || answer.decode(&token) != nil || token.Value != fakeToken || metadata.tokens() != 1 {
		t.Errorf("token %q, %v, handed out %d times", token.Value, err, metadata.tokens())
	}
	gcs.deleteObject("plans", "dir/plan.yaml")
	if status := get(fakeToken); status != 404 {
		t.Errorf("status %d after the delete, want 404", status)
	}
}

func TestHarnessKeepsLogs(t *testing.T) {
	t.Setenv("VOLLEY_E2E_LOGS", t.TempDir())
	b := newBench(t)
	c := b.create(containerSpec{name: "talker", image: b.imageFor(programsImage), cmd: []string{"exit", "-code", "3"}})
	c.start()
	c.wantExit(5*time.Second, 3)
	b.dump()
	for _, name := range []string{"00-talker.log", "timeline.log"} {
		found, err := filepath.Glob(filepath.Join(logsFolder(), "*", name))
		if err != nil || len(found) != 1 {
			t.Fatalf("%s: found %v, %v", name, found, err)
		}
		if content, err := os.ReadFile(found[0]); err != nil || !strings.Contains(string(content), "run_finished") {
			t.Errorf("%s holds %q, %v", name, content, err)
		}
	}
}
