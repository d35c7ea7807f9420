package settings

import (
	"slices"
	"strings"
	"testing"
)

// nonsense is what a variable of no form but a text's refuses.
var nonsense = map[string]string{
	"CLUSTER_NODE_ID": "a b", "METRIC_NAMESPACE": "9", "CLUSTER_HEALTH_ADDR": "8080", "METRICS_ADDR": "here", "API_AUTH_TOKEN": "a b",
	"RUST_LOG": "loud", "RESULT_FILE": "gs://b", "DATA_DIR": "/nowhere", "PLAN_ENV": "API_AUTH_TOKEN", "CLIENT_CERT_PATH": "/nowhere", "CLIENT_KEY_PATH": "/nowhere",
	"NODE_REGISTRY_URL": "web", "AUTO_REGISTER_PSK": "a b", "NODE_BASE_URL": "node", "NODE_TAGS": "{",
	"TARGET_URL": "host", "REQUEST_TYPE": "FETCH", "CUSTOM_HEADERS": "x", "RESOLVE_TARGET_ADDR": "x", "LOAD_MODEL_TYPE": "fast",
	"GCS_ENDPOINT": "host", "GCE_ENDPOINT": "host", "GCE_LABEL": "shop", "CONSUL_ADDR": "consul", "CONSUL_HTTP_ADDR": "consul",
	"CLUSTER_BIND_ADDR": "7000", "CLUSTER_ADVERTISE_ADDR": "7000", "CLUSTER_SELF_ADDR": "7000", "CLUSTER_NODES": "a", "CLUSTER_TOKEN": "a b",
	"CLUSTER_TLS_CA": "/nowhere", "CLUSTER_TLS_CERT": "/nowhere", "CLUSTER_TLS_KEY": "/nowhere",
	"CONFIG_FILE": "/nowhere", "GCS_CONFIG_BUCKET": "gs://b",
	"NODE_NAME": "a\tb", "CLUSTER_REGION": strings.Repeat("r", 257), "TENANT": "a\nb",
	"OTEL_EXPORTER_OTLP_ENDPOINT": "collector:4318", "OTEL_EXPORTER_OTLP_METRICS_ENDPOINT": "http://user:pass@collector", "OTEL_EXPORTER_OTLP_HEADERS": "x", "OTEL_EXPORTER_OTLP_METRICS_HEADERS": "a b=c",
	"OTEL_RESOURCE_ATTRIBUTES": "a=%zz", "OTEL_SERVICE_NAME": strings.Repeat("s", 257),
	"OTEL_EXPORTER_OTLP_CERTIFICATE": "/nowhere", "OTEL_EXPORTER_OTLP_CLIENT_CERTIFICATE": "/nowhere", "OTEL_EXPORTER_OTLP_CLIENT_KEY": "/nowhere",
	"OTEL_EXPORTER_OTLP_METRICS_CERTIFICATE": "/nowhere", "OTEL_EXPORTER_OTLP_METRICS_CLIENT_CERTIFICATE": "/nowhere", "OTEL_EXPORTER_OTLP_METRICS_CLIENT_KEY": "/nowhere",
	"RENDEZVOUS": "x", "CLUSTER_DATA_DIR": "/dev/null", "CONSUL_CACERT": "/nowhere", "CONSUL_CAPATH": "/dev/null",
}

// anyText has the variables in which every text means something.
var anyText = []string{
	"SELF_DESTRUCT_CMD", "JSON_PAYLOAD", "CLOUD_RUN_EXECUTION",
	"CONSUL_SERVICE_NAME", "CONSUL_CONFIG_KEY", "GCS_CONFIG_OBJECT", // names at others' places
	"NO_COLOR", "TERM", "GOMEMLIMIT", // others' conventions: the Go runtime refuses its own
	"GOOGLE_CLOUD_PROJECT", "K_SERVICE", // Google's names
	"STORAGE_EMULATOR_HOST", // as Google's clients read it
	"CONSUL_HTTP_TOKEN", "CONSUL_HTTP_TOKEN_FILE", "CONSUL_HTTP_AUTH", "CONSUL_CLIENT_CERT", "CONSUL_CLIENT_KEY",
	"CONSUL_TLS_SERVER_NAME", "CONSUL_NAMESPACE", "CONSUL_PARTITION", // as Consul's client reads them
}

// TestEveryVariableRefusesWhatItCannotBe walks the table: a bad value is an error
// that names the variable, the value and what is accepted, whatever the variable.
func TestEveryVariableRefusesWhatItCannotBe(t *testing.T) {
	context := map[string][]string{
		"CONFIG_FILE":       {"CLUSTER_ENABLED=true", "CLUSTER_CONFIG_SOURCE=file"},
		"GCS_CONFIG_BUCKET": {"CLUSTER_ENABLED=true", "CLUSTER_CONFIG_SOURCE=gcs", "GCS_CONFIG_OBJECT=o"},
	}
	for _, spec := range []any{&Settings{}, &deprecatedVariables{}} {
		for _, v := range variablesOf(spec) {
			for _, bad := range []string{nonsense[v.name], "\xff\xfe"} {
				switch {
				case v.tag.Get("deprecated") != "":
					continue
				case bad != "":
				case strings.HasPrefix(v.accepted(), "want a text"):
					if !slices.Contains(anyText, v.name) {
						t.Errorf("%s: nothing shows that it refuses anything", v.name)
					}
					continue
				default:
					bad = "nonsense"
				}
				around := context[v.name]
				if around == nil && strings.HasPrefix(v.name, "CLUSTER_") && v.name != "CLUSTER_ENABLED" {
					around = []string{"CLUSTER_ENABLED=true", "CLUSTER_CONFIG_SOURCE=none"}
				}
				environment(t, append(slices.Clone(around), v.name+"="+bad)...)
				_, _, err := Load()
				shown := v.name + "=\""
				if !slices.ContainsFunc(problems(err), func(line string) bool {
					return strings.HasPrefix(line, shown) && (strings.Contains(line, "want") || strings.Contains(line, "secret of volley's own") || strings.Contains(line, "not in this version"))
				}) {
					t.Errorf("%s=%q gives %q, want a line that begins %s and says what is accepted", v.name, bad, problems(err), shown)
				}
			}
		}
	}
}
