package settings

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

// environment makes vars (NAME=value) the whole of volley's environment.
func environment(t *testing.T, vars ...string) {
	t.Helper()
	for _, spec := range []any{&Settings{}, &deprecatedVariables{}} {
		for _, v := range variablesOf(spec) {
			t.Setenv(v.name, "")
		}
	}
	t.Setenv("HOSTNAME", "box")
	for _, entry := range vars {
		name, value, _ := strings.Cut(entry, "=")
		t.Setenv(name, value)
	}
}

func loadOK(t *testing.T, vars ...string) (Settings, []string) {
	t.Helper()
	environment(t, vars...)
	s, warnings, err := Load()
	if err != nil {
		t.Fatalf("Load with %q: %v", vars, err)
	}
	return s, warnings
}

func planFile(t *testing.T) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "plan.yaml")
	if err := os.WriteFile(path, []byte("version: 1.0\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestDefaults(t *testing.T) {
	s, warnings := loadOK(t)
	got := fmt.Sprint(s.Control.Addr, s.Control.MetricsAddr, s.Node.ID, s.Node.Name, s.Node.Region, s.Node.MetricNamespace,
		s.Run.EngineMode, s.Run.ThinkTimeScale, s.Log.Level, s.Log.Format, s.Cluster.BindAddr, s.Cluster.Discovery,
		s.Cluster.FormTimeout, s.Cluster.StartDelay, s.Cluster.OnAbort, s.Cluster.MaxClockError, s.Cluster.ServiceName,
		s.Source.Timeout, s.Source.ConsulKey, s.Consul.Addr, s.Consul.SSLVerify, s.LoadPlan.Timeout, s.LoadPlan.Duration,
		s.LoadPlan.Model, s.LoadPlan.RequestType, s.LoadPlan.PoolMaxIdle, s.LoadPlan.PoolIdleTimeout, s.LoadPlan.TCPNoDelay)
	want := fmt.Sprint("0.0.0.0:8080", "0.0.0.0:9090", "box", "box", "local", "volley",
		"inproc", 1.0, slog.LevelInfo, "", "0.0.0.0:7000", "static",
		120*time.Second, 3*time.Second, "exit", time.Duration(0), "loadtest-cluster",
		30*time.Second, "loadtest/config", "http://127.0.0.1:8500", true, 30*time.Second, 2*time.Hour,
		"concurrent", "GET", 32, 30*time.Second, true)
	if got != want {
		t.Errorf("defaults\n got %s\nwant %s", got, want)
	}
	if len(warnings) != 0 {
		t.Errorf("warnings without any variable: %q", warnings)
	}
	if s.Cluster.Enabled || s.Cluster.Expect != 0 || s.LoadPlan.TargetRPS != nil || len(s.LoadVariablesSet()) != 0 {
		t.Errorf("unset values are not zero: %+v", s)
	}
}

// The empty variables of environment() also prove that empty is not set.

func TestOneBoolRule(t *testing.T) {
	for text, want := range map[string]bool{
		"true": true, "TRUE": true, "1": true, "yes": true, " On ": true,
		"false": false, "False": false, "0": false, "no": false, "OFF": false,
	} {
		s, _ := loadOK(t, "KEEP_ALIVE="+text, "CONSUL_HTTP_SSL_VERIFY="+text)
		if s.Run.KeepAlive != want || s.Consul.SSLVerify != want {
			t.Errorf("%q read as %v and %v, want %v", text, s.Run.KeepAlive, s.Consul.SSLVerify, want)
		}
	}
}

func TestDurations(t *testing.T) {
	for text, want := range map[string]time.Duration{
		"30": 30 * time.Second, "30s": 30 * time.Second, " 10m ": 10 * time.Minute, "365d": 365 * 24 * time.Hour,
		"0m": 0, "500ms": 500 * time.Millisecond, "2h": 2 * time.Hour,
	} {
		if got, err := parseDuration(text); err != nil || got != want {
			t.Errorf("parseDuration(%q) = %v, %v, want %v", text, got, err, want)
		}
	}
	for _, text := range []string{"5.5h", "-5m", "m", "", "10x", "10µ", "1h30m", "+3s", "3 s", "1S", "99999999999999999999s", "9223372036854775807d", "300000d"} {
		if got, err := parseDuration(text); err == nil {
			t.Errorf("parseDuration(%q) = %v, want an error", text, got)
		}
	}
}

// Every mistake has a line that begins as given.
func TestBadValues(t *testing.T) {
	const cluster = "CLUSTER_ENABLED=true"
	const source = "CLUSTER_CONFIG_SOURCE=none"
	const task, ofFive = "CLOUD_RUN_TASK_INDEX=0", "CLOUD_RUN_TASK_COUNT=5"
	for _, test := range []struct {
		vars []string
		want string
	}{
		{[]string{"KEEP_ALIVE=maybe"}, `KEEP_ALIVE="maybe": not in the accepted form: want true, 1, yes, on or false, 0, no, off`},
		{[]string{"CLUSTER_ENABLED=t"}, `CLUSTER_ENABLED="t": not in the accepted form: want true`},
		{[]string{"NUM_CONCURRENT_TASKS=ten"}, `NUM_CONCURRENT_TASKS="ten": not in the accepted form: want a whole number of at least 1`},
		{[]string{"NUM_CONCURRENT_TASKS=0"}, `NUM_CONCURRENT_TASKS="0": outside the accepted range: want a whole number of at least 1`},
		{[]string{"PORT=70000"}, `PORT="70000": outside the accepted range: want a whole number from 1 to 65535`},
		{[]string{"TARGET_RPS=NaN"}, `TARGET_RPS="NaN": not in the accepted form: want a number of at least 0`},
		{[]string{"TARGET_RPS=-1"}, `TARGET_RPS="-1": outside`},
		{[]string{"MAX_RPS=inf"}, `MAX_RPS="inf": not in`},
		{[]string{"TEST_DURATION=1h30m"}, `TEST_DURATION="1h30m": not in the accepted form: want a duration such as 500ms, 30s, 5m, 2h or 1d (a bare number is seconds)`},
		{[]string{"CLUSTER_CONFIG_TIMEOUT_SECS=0"}, `CLUSTER_CONFIG_TIMEOUT_SECS="0": outside the accepted range: want a duration`},
		{[]string{"CLUSTER_MAX_CLOCK_ERROR=never"}, `CLUSTER_MAX_CLOCK_ERROR="never": not in the accepted form: want off or a duration`},
		{[]string{"LOG_LEVEL=loud"}, `LOG_LEVEL="loud": not in the accepted form: want trace, debug, info, warn, error or off`},
		{[]string{"LOG_FORMAT=xml"}, `LOG_FORMAT="xml": not in the accepted form: want text or json`},
		{[]string{"RUST_LOG=loud"}, `RUST_LOG="loud": want trace`},
		{[]string{"METRIC_NAMESPACE=9-volley"}, `METRIC_NAMESPACE="9-volley": want letters`},
		{[]string{"CLUSTER_NODE_ID=a b"}, `CLUSTER_NODE_ID="a b": node name "a b": want 1 to 128`},
		{[]string{"CLUSTER_NODE_ID=a/b"}, `CLUSTER_NODE_ID="a/b": node name`},
		{[]string{"CLUSTER_HEALTH_ADDR=8080"}, `CLUSTER_HEALTH_ADDR="8080": want host:port`},
		{[]string{"METRICS_ADDR=here"}, `METRICS_ADDR="here": want host:port with a port from 0 to 65535, or off`},
		{[]string{"METRICS_ADDR=0.0.0.0:8080"}, `METRICS_ADDR="0.0.0.0:8080": the control API listens there`},
		{[]string{"API_AUTH_TOKEN=two words"}, `API_AUTH_TOKEN="<secret>": want printable ASCII`},
		{[]string{"CLUSTER_TOKEN=line\n"}, `CLUSTER_TOKEN="<secret>": want printable ASCII`},
		{[]string{"RESULT_FILE=gs://bucket"}, `RESULT_FILE="gs://bucket": want a path or gs://bucket/object`},
		{[]string{"RESULT_FILE=report.html"}, `RESULT_FILE="report.html": want another ending than .html`},
		{[]string{"ENGINE_MODE=thread"}, `ENGINE_MODE="thread": not in the accepted form: want child or inproc`},
		{[]string{"CLIENT_CERT_PATH=/dev/null"}, `CLIENT_KEY_PATH: not set: want CLIENT_CERT_PATH, CLIENT_KEY_PATH together, or none`},
		{[]string{"CLUSTER_DATA_DIR=/dev/null"}, `CLUSTER_DATA_DIR="/dev/null": want a directory, or a path where one can be made`},
		{[]string{"CLUSTER_ISOLATION_GRACE=-5s"}, `CLUSTER_ISOLATION_GRACE="-5s"`},
		{[]string{"PLAN_ENV=HOME,CLUSTER_TOKEN"}, `PLAN_ENV="HOME,CLUSTER_TOKEN": CLUSTER_TOKEN is a secret of volley's own, which no plan may read: want names of other variables`},
		{[]string{"DATA_DIR=/nowhere"}, `DATA_DIR="/nowhere": want a folder that is there`},
		{[]string{"TCP_NODELAY=slow"}, `TCP_NODELAY="slow": not in the accepted form: want true`},
		{[]string{"CLUSTER_WEIGHT=0"}, `CLUSTER_WEIGHT="0": want a number greater than 0`},
		{[]string{"CLUSTER_WEIGHT=-1"}, `CLUSTER_WEIGHT="-1": want a number greater than 0`},

		{[]string{cluster}, `CLUSTER_CONFIG_SOURCE: not set, and a cluster needs it: want gcs, consul-kv, file or none`},
		{[]string{cluster, "CLUSTER_CONFIG_SOURCE=s3"}, `CLUSTER_CONFIG_SOURCE="s3": not in the accepted form: want gcs, consul-kv, file or none`},
		{[]string{cluster, "CLUSTER_CONFIG_SOURCE=gcs"}, `GCS_CONFIG_BUCKET: not set`},
		{[]string{cluster, "CLUSTER_CONFIG_SOURCE=gcs", "GCS_CONFIG_BUCKET=b"}, `GCS_CONFIG_OBJECT: not set`},
		{[]string{cluster, "CLUSTER_CONFIG_SOURCE=gcs", "GCS_CONFIG_BUCKET=gs://b/o", "GCS_CONFIG_OBJECT=o"}, `GCS_CONFIG_BUCKET="gs://b/o": want a bucket's name`},
		{[]string{cluster, "CLUSTER_CONFIG_SOURCE=file"}, `CONFIG_FILE: not set`},
		{[]string{cluster, "CLUSTER_CONFIG_SOURCE=file", "CONFIG_FILE=/no/such/plan"}, `CONFIG_FILE="/no/such/plan": want a readable file: open /no/such/plan: no such file`},
		{[]string{cluster, "CLUSTER_CONFIG_SOURCE=file", "CONFIG_FILE=/"}, `CONFIG_FILE="/": want a readable file: it is a directory`},
		{[]string{cluster, source, "DISCOVERY_MODE=dns"}, `CLUSTER_EXPECT: not set: DISCOVERY_MODE=dns needs it`},
		{[]string{cluster, source, "DISCOVERY_MODE=dns", "CLUSTER_EXPECT=3"}, `CLUSTER_NODES: DISCOVERY_MODE=dns needs one name: want name:port (A and AAAA records), or a name without a port (SRV records)`},
		{[]string{cluster, source, "DISCOVERY_MODE=dns", "CLUSTER_EXPECT=3", "CLUSTER_NODES=a:1,b:1"}, `CLUSTER_NODES="a:1,b:1": DISCOVERY_MODE=dns needs one name`},
		{[]string{cluster, source, "DISCOVERY_MODE=dns", "CLUSTER_EXPECT=3", "CLUSTER_NODES=a:0"}, `CLUSTER_NODES="a:0": DISCOVERY_MODE=dns needs one name`},
		{[]string{cluster, source, "DISCOVERY_MODE=gce"}, `CLUSTER_EXPECT: not set: DISCOVERY_MODE=gce needs it`},
		{[]string{cluster, source, "DISCOVERY_MODE=gce", "CLUSTER_EXPECT=3", "GCE_LABEL=volley"}, `GCE_LABEL="volley": want key=value of a label`},
		{[]string{cluster, source, "DISCOVERY_MODE=gce", "CLUSTER_EXPECT=3", "GCE_LABEL=a=b c"}, `GCE_LABEL="a=b c": want key=value of a label`},
		{[]string{"GCE_ENDPOINT=http://8.8.8.8/compute/v1/"}, `GCE_ENDPOINT="http://8.8.8.8/compute/v1/": plain http only goes to loopback and private addresses`},
		{[]string{cluster, source, "DISCOVERY_MODE=consul"}, `CLUSTER_EXPECT: not set: DISCOVERY_MODE=consul needs it`},
		{[]string{cluster, source, "CLUSTER_EXPECT=3", "CLUSTER_MIN_PEERS=3"}, `CLUSTER_MIN_PEERS="3": contradicts CLUSTER_EXPECT=3`},
		{[]string{cluster, source, "CLUSTER_NODES=a:1,b:1,c:1,d:1,e:1", "CLUSTER_EXPECT=3"}, `CLUSTER_EXPECT="3": 3 of 5 nodes are too few: two clusters could form beside each other; want at least 4`},
		{[]string{cluster, source, "CLUSTER_NODES=a:1,b"}, `CLUSTER_NODES="a:1,b": "b" is not host:port`},
		{[]string{cluster, source, "CLUSTER_BIND_ADDR=7000"}, `CLUSTER_BIND_ADDR="7000": want host:port`},
		{[]string{cluster, source, "CLUSTER_ADVERTISE_ADDR=0.0.0.0:7000"}, `CLUSTER_ADVERTISE_ADDR="0.0.0.0:7000": want host:port as other nodes dial it`},
		{[]string{cluster, source, "CLUSTER_SELF_ADDR=a:1", "CLUSTER_ADVERTISE_ADDR=b:1"}, `CLUSTER_SELF_ADDR="a:1": contradicts CLUSTER_ADVERTISE_ADDR="b:1"`},
		{[]string{cluster, source, "CLUSTER_ADVERTISE_ADDR=8.8.8.8:7000"}, `CLUSTER_ADVERTISE_ADDR="8.8.8.8:7000": 8.8.8.8 is a public address`},
		{[]string{cluster, source, "CLUSTER_BIND_ADDR=[2001:4860::1]:7000"}, `CLUSTER_BIND_ADDR="[2001:4860::1]:7000": 2001:4860::1 is a public address`},
		{[]string{cluster, source, "CLUSTER_TLS_CA=/dev/null"}, `CLUSTER_TLS_CERT: not set: want CLUSTER_TLS_CA, CLUSTER_TLS_CERT, CLUSTER_TLS_KEY together`},
		{[]string{"GCS_ENDPOINT=http://8.8.8.8/storage/v1/"}, `GCS_ENDPOINT="http://8.8.8.8/storage/v1/": plain http only goes to loopback and private addresses`},
		{[]string{"GCS_ENDPOINT=host:443"}, `GCS_ENDPOINT="host:443": want a URL`},
		{[]string{"CONSUL_ADDR=consul"}, `CONSUL_ADDR="consul": want http://host:port`},
		{[]string{"CONSUL_HTTP_ADDR=ftp://c:1"}, `CONSUL_HTTP_ADDR="ftp://c:1": want`},
		{[]string{"CONSUL_HTTP_SSL=perhaps"}, `CONSUL_HTTP_SSL="perhaps": not in the accepted form`},

		{[]string{"TARGET_URL=ftp://user:pw@host/?q=1"}, `TARGET_URL="ftp://<secret>@host/?<secret>": want a URL that begins with http:// or https://`},
		{[]string{"REQUEST_TYPE=FETCH"}, `REQUEST_TYPE="FETCH": want GET, POST`},
		{[]string{"SEND_JSON=true"}, `JSON_PAYLOAD: not set, and SEND_JSON=true needs it`},
		{[]string{"CUSTOM_HEADERS=A:1,Bearer hidden"}, `CUSTOM_HEADERS="<secret>": item 2 is not Name:Value`},
		{[]string{"CUSTOM_HEADERS=:1"}, `CUSTOM_HEADERS="<secret>": item 1`},
		{[]string{"RESOLVE_TARGET_ADDR=host:1.2.3.4"}, `RESOLVE_TARGET_ADDR="host:1.2.3.4": want host:ip:port`},
		{[]string{"RESOLVE_TARGET_ADDR=host:name:80"}, `RESOLVE_TARGET_ADDR="host:name:80": want`},
		{[]string{"REQUEST_TIMEOUT=5s", "REQUEST_TIMEOUT_SECS=6"}, `REQUEST_TIMEOUT="5s": contradicts REQUEST_TIMEOUT_SECS`},
		{[]string{"POOL_IDLE_TIMEOUT_SECS=500ms"}, `POOL_IDLE_TIMEOUT_SECS="500ms": want whole seconds`},
		{[]string{"LOAD_MODEL_TYPE=fast"}, `LOAD_MODEL_TYPE="fast": want Concurrent, Rps`},
		{[]string{"LOAD_MODEL_TYPE=Rps"}, `TARGET_RPS: not set: load model rps requires TARGET_RPS`},
		{[]string{"LOAD_MODEL_TYPE=ramp", "MIN_RPS=1"}, `MAX_RPS: not set: load model ramp requires MAX_RPS`},
		{[]string{"LOAD_MODEL_TYPE=DailyTraffic"}, `DAILY_CYCLE_DURATION: not set`},
		{[]string{"LOAD_MODEL_TYPE=DailyTraffic", "PEAK_SUSTAIN_RATIO=0.9"}, `MORNING_RAMP_RATIO: the five ratios of DailyTraffic add up to 1.484`},

		{[]string{"RENDEZVOUS=gs://b/p"}, `RENDEZVOUS="gs://b/p": want it together with CLOUD_RUN_TASK_COUNT: only the tasks of a job meet there`},
		{[]string{"RENDEZVOUS=gs://b", task, ofFive}, `RENDEZVOUS="gs://b": want gs://bucket/prefix without`},
		{[]string{"RENDEZVOUS=gs://b/p/*", task, ofFive}, `RENDEZVOUS="gs://b/p/*": want gs://bucket/prefix without`},
		{[]string{"RENDEZVOUS=gs://b/p", task, "CLOUD_RUN_TASK_COUNT=1001"}, `RENDEZVOUS="gs://b/p": want at most 1000 tasks`},
		{[]string{"RENDEZVOUS=gs://b/p", task, ofFive}, `CLOUD_RUN_EXECUTION: not set: want the execution's name with RENDEZVOUS`},
		{[]string{"RENDEZVOUS=gs://b/p", task, ofFive, "CLOUD_RUN_EXECUTION=a/b"}, `CLOUD_RUN_EXECUTION="a/b": want letters, digits`},
		{[]string{"RENDEZVOUS_TIMEOUT=9s"}, `RENDEZVOUS_TIMEOUT="9s": outside the accepted range`},
		{[]string{"CLUSTER_CONFIG_WATCH=true", cluster, "CLUSTER_CONFIG_SOURCE=none"}, `CLUSTER_CONFIG_WATCH="true": there is nothing to follow with CLUSTER_CONFIG_SOURCE=none: want false, or the source gcs, consul-kv or file`},
		{[]string{"AUTO_REGISTER_PSK=hu sh"}, `AUTO_REGISTER_PSK="<secret>": want printable ASCII characters without blanks`},
		{[]string{"EPHEMERAL=1", cluster, source}, `EPHEMERAL="1": not in a cluster, whose nodes end with their run anyhow`},
		{[]string{"EPHEMERAL=maybe"}, `EPHEMERAL="maybe": not in the accepted form: want true`},
		{[]string{"EPHEMERAL_FINAL_SCRAPE_DELAY=soon"}, `EPHEMERAL_FINAL_SCRAPE_DELAY="soon": not in the accepted form: want a duration such as`},
		{[]string{"NODE_TAGS={pool: eu}"}, `NODE_TAGS="{pool: eu}": want JSON, such as {"pool":"eu"}`},
		{[]string{"NODE_REGISTRY_URL=web:80"}, `NODE_REGISTRY_URL="web:80": want a URL that begins with http:// or https://`},
		{[]string{"NODE_BASE_URL=node-1"}, `NODE_BASE_URL="node-1": want a URL that begins with http:// or https://`},
	} {
		environment(t, test.vars...)
		_, _, err := Load()
		if lines := problems(err); !slices.ContainsFunc(lines, func(line string) bool { return strings.HasPrefix(line, test.want) }) {
			t.Errorf("%q\n got %q\nwant a line %s", test.vars, lines, test.want)
		}
	}
}

func problems(err error) []string {
	var all *Error
	if !errors.As(err, &all) {
		return nil
	}
	var lines []string
	for _, p := range all.Problems {
		lines = append(lines, p.String())
	}
	return lines
}

func TestAllMistakesAtOnce(t *testing.T) {
	environment(t, "KEEP_ALIVE=maybe", "PORT=x", "CLUSTER_ENABLED=true", "LOG_FORMAT=xml", "API_AUTH_TOKEN=s e c r e t", "EPHEMERAL=on")
	_, _, err := Load()
	var all *Error
	if !errors.As(err, &all) {
		t.Fatalf("got %v, want an *Error", err)
	}
	var names []string
	for _, p := range all.Problems {
		names = append(names, p.Variable)
	}
	want := []string{"KEEP_ALIVE", "PORT", "LOG_FORMAT", "EPHEMERAL", "API_AUTH_TOKEN", "CLUSTER_CONFIG_SOURCE"}
	if !slices.Equal(names, want) {
		t.Errorf("mistakes in %v, want %v", names, want)
	}
	if strings.Contains(err.Error(), "s e c") || strings.Count(err.Error(), "\n") != len(want) {
		t.Errorf("the error does not show one masked line a mistake:\n%v", err)
	}
}

func TestDeprecatedVariables(t *testing.T) {
	_, warnings := loadOK(t, "NODE_REGISTRY_INTERVAL=5")
	if want := []string{"NODE_REGISTRY_INTERVAL is deprecated and has no effect"}; !slices.Equal(warnings, want) {
		t.Errorf("warnings %q, want %q", warnings, want)
	}
}

func TestEphemeralAndRegistry(t *testing.T) {
	s, warnings := loadOK(t, "EPHEMERAL=1", "EPHEMERAL_FINAL_SCRAPE_DELAY=0s", "SELF_DESTRUCT_CMD=halt", "NODE_REGISTRY_URL=https://web",
		"AUTO_REGISTER_PSK=hush", "NODE_BASE_URL=http://node", `NODE_TAGS=["a",1]`)
	e, r := s.Ephemeral, s.Registry
	if !e.On || e.ScrapeDelay != 0 || e.SelfDestruct.Reveal() != "halt" || !r.Registers() || r.Tags != `["a",1]` || len(warnings) > 0 {
		t.Errorf("%+v %+v, warnings %q", e, r, warnings)
	}
	s, _ = loadOK(t)
	if s.Ephemeral.On || s.Ephemeral.ScrapeDelay != time.Minute || s.Registry.Registers() || s.Registry.Tags != "{}" {
		t.Errorf("by default: %+v %+v", s.Ephemeral, s.Registry)
	}
	for _, test := range []struct {
		vars []string
		want string
	}{
		{[]string{"NODE_REGISTRY_URL=http://web", "NODE_BASE_URL=http://node"}, "NODE_REGISTRY_URL has no effect without AUTO_REGISTER_PSK: the node does not register"},
		{[]string{"NODE_REGISTRY_URL=http://web", "AUTO_REGISTER_PSK=hush"}, "NODE_REGISTRY_URL has no effect without NODE_BASE_URL: the node does not register"},
		{[]string{"EPHEMERAL=yes", "KEEP_ALIVE=yes"}, "KEEP_ALIVE has no effect on an ephemeral node: it leaves after its run"},
		{[]string{"SELF_DESTRUCT_CMD=halt"}, "SELF_DESTRUCT_CMD has no effect without EPHEMERAL=true"},
		{[]string{"EPHEMERAL_FINAL_SCRAPE_DELAY=5s"}, "EPHEMERAL_FINAL_SCRAPE_DELAY has no effect without EPHEMERAL=true"},
	} {
		s, warnings := loadOK(t, test.vars...)
		if !slices.Equal(warnings, []string{test.want}) || s.Registry.Registers() {
			t.Errorf("%q: warnings %q, want %q", test.vars, warnings, test.want)
		}
	}
}

func TestListeners(t *testing.T) {
	for _, test := range []struct {
		vars          []string
		addr, metrics string
	}{
		{[]string{"PORT=9999"}, "0.0.0.0:9999", ""},
		{[]string{"PORT=9999", "METRICS_ADDR=:9091"}, "0.0.0.0:9999", ":9091"},
		{[]string{"PORT=9999", "CLUSTER_HEALTH_ADDR=127.0.0.1:1"}, "127.0.0.1:1", ""},
		{[]string{"METRICS_ADDR=OFF"}, "0.0.0.0:8080", ""},
		{[]string{"CLUSTER_HEALTH_ADDR=:0", "METRICS_ADDR=:0"}, ":0", ":0"},
	} {
		s, _ := loadOK(t, test.vars...)
		if s.Control.Addr != test.addr || s.Control.MetricsAddr != test.metrics {
			t.Errorf("%q: %q and %q, want %q and %q", test.vars, s.Control.Addr, s.Control.MetricsAddr, test.addr, test.metrics)
		}
	}
}

func TestClusterOfThree(t *testing.T) {
	path := planFile(t)
	s, warnings := loadOK(t, "CLUSTER_ENABLED=yes", "CLUSTER_CONFIG_SOURCE=FILE", "CONFIG_FILE="+path,
		"CLUSTER_NODES= 10.0.0.1:7000, 10.0.0.2:7000,10.0.0.3:7000,10.0.0.1:7000,", "CLUSTER_MIN_PEERS=2",
		"CLUSTER_SELF_ADDR=10.0.0.1:7000", "CLUSTER_TOKEN=t0ken", "CLUSTER_MAX_CLOCK_ERROR=20ms", "CLUSTER_ON_ABORT=hold", "CLUSTER_ISOLATION_GRACE=5s",
		"TARGET_URL=http://t/", "LOAD_MODEL_TYPE=Rps", "CLIENT_CERT_PATH="+path, "CLIENT_KEY_PATH="+path)
	if want := []string{"10.0.0.1:7000", "10.0.0.2:7000", "10.0.0.3:7000"}; !slices.Equal(s.Cluster.Nodes, want) {
		t.Errorf("nodes %q, want %q", s.Cluster.Nodes, want)
	}
	if s.Source.Kind != "file" || s.Cluster.Expect != 3 || s.Cluster.AdvertiseAddr != "10.0.0.1:7000" ||
		s.Cluster.Token.Reveal() != "t0ken" || s.Cluster.MaxClockError != 20*time.Millisecond || s.Cluster.IsolationGrace != 5*time.Second ||
		s.Cluster.OnAbort != "hold" || s.Run.EngineMode != "child" {
		t.Errorf("wrong values: %+v", s.Cluster)
	}
	if want := []string{"TARGET_URL", "LOAD_MODEL_TYPE"}; !slices.Equal(s.LoadVariablesSet(), want) {
		t.Errorf("load variables %q, want %q", s.LoadVariablesSet(), want)
	}
	if len(warnings) != 0 {
		t.Errorf("warnings %q", warnings)
	}
}

func TestWarnings(t *testing.T) {
	cluster := []string{"CLUSTER_ENABLED=true", "CLUSTER_CONFIG_SOURCE=none"}
	for _, test := range []struct {
		vars []string
		want string
	}{
		{[]string{"HEALTH_AUTH_ENABLED=1"}, "HEALTH_AUTH_ENABLED has no effect without API_AUTH_TOKEN"},
		{[]string{"CLUSTER_NODES=a:1", "CLUSTER_CONFIG_SOURCE=none"}, "without CLUSTER_ENABLED=true these have no effect: CLUSTER_NODES, CLUSTER_CONFIG_SOURCE"},
		{[]string{"CLUSTER_ENABLE=true"}, "CLUSTER_ENABLE is not a variable of volley, is CLUSTER_ENABLED meant? It has no effect"},
		{[]string{"CLUSTER_LEADERS=3"}, "CLUSTER_LEADERS is not a variable of volley (see `volley env`): it has no effect"},
		{[]string{"RESULT_FIL=r.json"}, "RESULT_FIL is not a variable of volley, is RESULT_FILE meant? It has no effect"},
		{[]string{"TARGET_RSP=10"}, "TARGET_RSP is not a variable of volley, is TARGET_RPS meant? It has no effect"},
		{[]string{"metrics_addr=off"}, "metrics_addr is not a variable of volley, is METRICS_ADDR meant? It has no effect"},
		{[]string{"REQUEST_TIME_OUT_SEC=1"}, "REQUEST_TIME_OUT_SEC is not a variable of volley, is REQUEST_TIMEOUT_SECS meant? It has no effect"},
		{[]string{"JSON_PAYLOAD={}"}, "JSON_PAYLOAD has no effect without SEND_JSON=true"},
		{[]string{"GCS_CONFIG_BUCKET=b", "GCS_CONFIG_OBJECT=o", "CONSUL_CONFIG_KEY=k"}, "without CLUSTER_ENABLED=true these have no effect: GCS_CONFIG_BUCKET, GCS_CONFIG_OBJECT, CONSUL_CONFIG_KEY"},
		{append(cluster, "CONFIG_FILE=plan.yaml"), "CONFIG_FILE has no effect with CLUSTER_CONFIG_SOURCE=none"},
		{append(cluster, "CONSUL_CONFIG_KEY=k"), "CONSUL_CONFIG_KEY has no effect with CLUSTER_CONFIG_SOURCE=none"},
		{append(cluster, "CLUSTER_CONFIG_SOURCE=consul-kv", "GCS_CONFIG_BUCKET=b"), "GCS_CONFIG_BUCKET has no effect with CLUSTER_CONFIG_SOURCE=consul-kv"},
		{append(cluster, "CLUSTER_CONFIG_SOURCE=file", "CONFIG_FILE=settings_test.go", "GCS_CONFIG_OBJECT=o"), "GCS_CONFIG_OBJECT has no effect with CLUSTER_CONFIG_SOURCE=file"},
		{append(cluster, "ENGINE_MODE=inproc"), "ENGINE_MODE=inproc in a cluster"},
		{append(cluster, "CLUSTER_EXPECT=3"), "CLUSTER_EXPECT=3, but CLUSTER_NODES lists 0"},
		{append(cluster, "DISCOVERY_MODE=gce", "CLUSTER_EXPECT=3", "CLUSTER_NODES=a:1"), "CLUSTER_NODES has no effect with DISCOVERY_MODE=gce"},
		{append(cluster, "DISCOVERY_MODE=dns", "CLUSTER_EXPECT=3", "CLUSTER_NODES=a", "GCE_LABEL=k=v"), "GCE_LABEL has no effect with DISCOVERY_MODE=dns"},
	} {
		t.Run(strings.Join(test.vars, " "), func(t *testing.T) {
			_, warnings := loadOK(t, test.vars...)
			if len(warnings) != 1 || !strings.HasPrefix(warnings[0], test.want) {
				t.Errorf("warns %q, want only %q", warnings, test.want)
			}
		})
	}
}

// What is like a variable of ours is not told of where it is another program's, or a plan's.
func TestOthersVariablesAreTheirs(t *testing.T) {
	_, warnings := loadOK(t, "PLAN_ENV=TARGET_URI", "TARGET_URI=/x", "OTEL_EXPORTER_OTLP_HEADER=a=b", "CONSUL_HTTP_SSLX=1", "NODE_HOME=/node", "PORTS=1", "GOMAXPROCS=1", "MAX_HISTOGRAM_LABEL=")
	if len(warnings) != 0 {
		t.Errorf("warnings %q", warnings)
	}
}

func TestCheckExposure(t *testing.T) {
	const (
		silent  = ""
		warned  = "the cluster port at"
		allowed = "CLUSTER_INSECURE: the cluster port at the public address"
		refused = "refused"
	)
	open, insecure := Cluster{}, Cluster{Insecure: true}
	for _, test := range []struct {
		cluster Cluster
		ip      string
		want    string
	}{
		{Cluster{Token: NewSecret("x")}, "8.8.8.8", silent}, {Cluster{TLSCA: "ca.pem"}, "2001:4860::1", silent},
		{open, "127.0.0.1", warned}, {open, "::1", warned}, {open, "10.1.2.3", warned}, {open, "172.31.0.1", warned},
		{open, "192.168.1.1", warned}, {open, "fd00::1", warned}, {open, "fe80::1", warned}, {open, "100.64.0.1", warned},
		{open, "::ffff:10.0.0.1", warned}, {open, "8.8.8.8", refused}, {open, "172.32.0.1", refused},
		{open, "100.128.0.1", refused}, {open, "2001:4860::1", refused}, {open, "::ffff:8.8.8.8", refused},
		{insecure, "8.8.8.8", allowed}, {insecure, "10.0.0.1", warned},
	} {
		got, err := test.cluster.CheckExposure(netip.MustParseAddr(test.ip))
		if err != nil {
			got = refused
		}
		if !strings.HasPrefix(got, test.want) || (got == "") != (test.want == "") {
			t.Errorf("%s: %q, %v, want %q", test.ip, got, err, test.want)
		}
	}
}

func TestCheckExpect(t *testing.T) {
	least := map[int]int{1: 1, 2: 2, 3: 3, 4: 3, 5: 4, 6: 5, 7: 5, 8: 6, 9: 7}
	for nodes, want := range least {
		for expect := 1; expect <= nodes; expect++ {
			err := CheckExpect(nodes, expect)
			if (err == nil) != (expect >= want) {
				t.Errorf("CheckExpect(%d, %d) = %v, want it accepted from %d on", nodes, expect, err, want)
			}
			if err != nil && !strings.HasSuffix(err.Error(), fmt.Sprintf("want at least %d", want)) {
				t.Errorf("CheckExpect(%d, %d) = %v, want it to name %d", nodes, expect, err, want)
			}
		}
	}
}

func TestNodeName(t *testing.T) {
	environment(t, "HOSTNAME=")
	s, _, err := load(func() (string, error) { return "from-os", nil })
	if err != nil || s.Node.ID != "from-os" {
		t.Errorf("without HOSTNAME: %q, %v", s.Node.ID, err)
	}
	_, _, err = load(func() (string, error) { return "", errors.New("no name") })
	if want := "CLUSTER_NODE_ID: not set, and the host's name is not known (no name)"; len(problems(err)) != 1 || !strings.HasPrefix(problems(err)[0], want) {
		t.Errorf("without any name: %v, want %s", err, want)
	}
	if s, _ := loadOK(t, "CLUSTER_NODE_ID=n1", "HOSTNAME=box"); s.Node.ID != "n1" || s.Node.Name != "n1" {
		t.Errorf("explicit name: %+v", s.Node)
	}
}

func TestLogLevel(t *testing.T) {
	for _, test := range []struct {
		vars []string
		want slog.Level
	}{
		{[]string{"LOG_LEVEL=DEBUG"}, slog.LevelDebug},
		{[]string{"RUST_LOG=warn"}, slog.LevelWarn},
		{[]string{"RUST_LOG=hyper=trace,rust_loadtest=Error"}, slog.LevelError},
		{[]string{"RUST_LOG=warn,rust_loadtest=debug"}, slog.LevelDebug},
		{[]string{"RUST_LOG=hyper=trace"}, slog.LevelInfo},
		{[]string{"RUST_LOG=error", "LOG_LEVEL=warn"}, slog.LevelWarn},
		{[]string{"LOG_LEVEL=trace"}, slog.LevelDebug - 4},
	} {
		if s, _ := loadOK(t, test.vars...); s.Log.Level != test.want {
			t.Errorf("%q: level %v, want %v", test.vars, s.Log.Level, test.want)
		}
	}
	if s, _ := loadOK(t, "LOG_LEVEL=off"); s.Log.Level <= slog.LevelError {
		t.Errorf("off still logs errors: %v", s.Log.Level)
	}
}

func TestConsulAddress(t *testing.T) {
	if s, _ := loadOK(t, "CONSUL_HTTP_ADDR=10.0.0.9:8500"); s.Consul.Addr != "10.0.0.9:8500" {
		t.Errorf("CONSUL_HTTP_ADDR gives %q", s.Consul.Addr)
	}
	if s, _ := loadOK(t, "CONSUL_HTTP_ADDR=10.0.0.9:8500", "CONSUL_ADDR=https://c:8501"); s.Consul.Addr != "https://c:8501" {
		t.Errorf("CONSUL_ADDR gives %q", s.Consul.Addr)
	}
}

func TestLoadPlan(t *testing.T) {
	s, warnings := loadOK(t, "TARGET_URL=https://h/p", "REQUEST_TYPE=post", "SEND_JSON=yes", "JSON_PAYLOAD={}",
		`CUSTOM_HEADERS=A: 1\,2,B:x:y,,`, "RESOLVE_TARGET_ADDR=h:[::1]:80", "REQUEST_TIMEOUT=500ms",
		"LOAD_MODEL_TYPE=RampRps", "MIN_RPS=1", "MAX_RPS= 20.5 ", "RAMP_DURATION=90")
	p := s.LoadPlan
	if p.RequestType != "POST" || p.JSONPayload.Reveal() != "{}" || p.Timeout != 500*time.Millisecond || p.Model != "ramp" ||
		*p.MinRPS != 1 || *p.MaxRPS != 20.5 || *p.RampDuration != 90*time.Second || p.CustomHeaders.Reveal() != `A: 1\,2,B:x:y,,` {
		t.Errorf("wrong values: %+v", p)
	}
	if !s.IsSet("REQUEST_TYPE") || s.IsSet("TEST_DURATION") || len(warnings) != 0 {
		t.Errorf("set: REQUEST_TYPE %v, TEST_DURATION %v; warnings %q", s.IsSet("REQUEST_TYPE"), s.IsSet("TEST_DURATION"), warnings)
	}
}

func TestSecretsNeverShow(t *testing.T) {
	secret := NewSecret("hunter2")
	encoded, err := json.Marshal(map[string]any{"token": secret, "pointer": &secret})
	if err != nil {
		t.Fatal(err)
	}
	var log bytes.Buffer
	slog.New(slog.NewJSONHandler(&log, nil)).Info("x", "token", secret)
	slog.New(slog.NewTextHandler(&log, nil)).Info("x", "token", &secret)
	shown := string(encoded) + log.String()
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%d", "%T"} {
		shown += fmt.Sprintf(verb, secret) + fmt.Sprintf(verb, struct{ S Secret }{secret})
	}
	if strings.Contains(shown, "hunter2") || strings.Contains(shown, fmt.Sprintf("%x", "hunter2")) {
		t.Errorf("the secret shows in %s", shown)
	}
	if secret.String() != "<secret>" || NewSecret("").String() != "" || secret.Reveal() != "hunter2" {
		t.Errorf("got %q, %q, %q", secret, NewSecret(""), secret.Reveal())
	}
	if want := `{"pointer":"\u003csecret\u003e","token":"\u003csecret\u003e"}`; string(encoded) != want {
		t.Errorf("JSON %s, want %s", encoded, want)
	}
}

func TestLogValueIsTheEffectiveConfiguration(t *testing.T) {
	s, _ := loadOK(t, "API_AUTH_TOKEN=hunter2", "CUSTOM_HEADERS=Authorization:hunter2", "TARGET_URL=http://u:hunter2@h/p?key=hunter2", "PORT=81", "MIN_RPS=3")
	var log bytes.Buffer
	slog.New(slog.NewJSONHandler(&log, nil)).Info("settings", "env", s)
	var line struct{ Env map[string]any }
	if err := json.Unmarshal(log.Bytes(), &line); err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]any{
		"API_AUTH_TOKEN": "<secret>", "CUSTOM_HEADERS": "<secret>", "TARGET_URL": "http://<secret>@h/p?<secret>",
		"CLUSTER_HEALTH_ADDR": "0.0.0.0:81", "CLUSTER_NODE_ID": "box", "TEST_DURATION": "2h0m0s", "MIN_RPS": 3.0, "KEEP_ALIVE": false,
	} {
		if line.Env[name] != want {
			t.Errorf("%s logged as %v, want %v", name, line.Env[name], want)
		}
	}
	var given []string
	for _, attr := range s.Given().Group() {
		given = append(given, attr.String())
	}
	if got, want := strings.Join(given, " "), "PORT=81 API_AUTH_TOKEN=<secret> TARGET_URL=http://<secret>@h/p?<secret> CUSTOM_HEADERS=<secret> MIN_RPS=3"; got != want {
		t.Errorf("given: %s, want %s", got, want)
	}
	if _, shown := line.Env["MAX_RPS"]; shown || strings.Contains(log.String(), "hunter2") {
		t.Errorf("unset or secret values show: %s", log.String())
	}
}

func TestTable(t *testing.T) {
	var out bytes.Buffer
	if err := Table(&out); err != nil {
		t.Fatal(err)
	}
	rows := map[string][]string{}
	for line := range strings.Lines(out.String()) {
		fields := strings.Fields(line)
		rows[fields[0]] = fields[1:]
	}
	for name, want := range map[string]string{
		"CLUSTER_START_DELAY":   "3s how far ahead",
		"API_AUTH_TOKEN":        "- yes bearer token",
		"RENDEZVOUS":            "- gs://bucket/prefix: where",
		"METRIC_NAMESPACE":      "volley prefix of",
		"CLUSTER_CONFIG_SOURCE": "- gcs, consul-kv,",
	} {
		if got := strings.Join(rows[name], " "); !strings.HasPrefix(got, want) {
			t.Errorf("%s: %q, want it to begin %q", name, got, want)
		}
	}
	for _, spec := range []any{&Settings{}, &deprecatedVariables{}} {
		for _, v := range variablesOf(spec) {
			if rows[v.name] == nil || v.tag.Get("desc") == "" {
				t.Errorf("%s has no row or no meaning", v.name)
			}
		}
	}
	if err := Table(failing{}); !errors.Is(err, os.ErrClosed) {
		t.Errorf("a failing writer gives %v", err)
	}
}

type failing struct{}

func (failing) Write([]byte) (int, error) { return 0, os.ErrClosed }
