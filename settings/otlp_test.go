package settings

import (
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

// What is said for metrics alone beats what is said for all signals, which beats
// the default.
func TestOTLP(t *testing.T) {
	file := filepath.Join(t.TempDir(), "file.pem")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	const prefix = "OTEL_EXPORTER_OTLP_"
	for _, tt := range []struct {
		name string
		env  []string
		want func(o OTLP) bool
	}{
		{"nothing", nil, func(o OTLP) bool {
			every, push := o.Limits()
			return !o.On() && every == time.Minute && push == 30*time.Second && o.TryTimeout() == 10*time.Second &&
				o.MetricsProtocol == "http/protobuf" && o.MetricsCompression == "none" && len(o.HeaderPairs()) == 0 && maps.Equal(o.Resource(), map[string]string{"service.name": "volley"})
		}},
		{"general", []string{prefix + "ENDPOINT=https://c:4318", prefix + "TIMEOUT=700", prefix + "COMPRESSION=gzip", prefix + "HEADERS=a=1,b=x%2Cy%3D", prefix + "CERTIFICATE=" + file,
			prefix + "CLIENT_CERTIFICATE=" + file, prefix + "CLIENT_KEY=" + file, "OTEL_RESOURCE_ATTRIBUTES=service.name=s,k=v"}, func(o OTLP) bool {
			return o.On() && o.MetricsEndpoint == "https://c:4318/v1/metrics" && o.TryTimeout() == 700*time.Millisecond && o.MetricsCompression == "gzip" &&
				maps.Equal(o.HeaderPairs(), map[string]string{"a": "1", "b": "x,y="}) && o.MetricsCA == file && o.MetricsCert == file && o.MetricsKey == file &&
				maps.Equal(o.Resource(), map[string]string{"service.name": "s", "k": "v"})
		}},
		{"metrics alone", []string{prefix + "ENDPOINT=http://c:4318", prefix + "METRICS_ENDPOINT=http://m:4318/x", prefix + "TIMEOUT=700", prefix + "METRICS_TIMEOUT=800",
			prefix + "COMPRESSION=gzip", prefix + "METRICS_COMPRESSION=none", prefix + "HEADERS=a=1", prefix + "METRICS_HEADERS=b=2", "OTEL_SERVICE_NAME=n", "OTEL_RESOURCE_ATTRIBUTES=service.name=s"}, func(o OTLP) bool {
			return o.On() && o.MetricsEndpoint == "http://m:4318/x" && o.TryTimeout() == 800*time.Millisecond && o.MetricsCompression == "none" &&
				maps.Equal(o.HeaderPairs(), map[string]string{"b": "2"}) && o.Resource()["service.name"] == "n"
		}},
		{"grpc", []string{prefix + "ENDPOINT=http://c:4317", prefix + "PROTOCOL=GRPC"}, func(o OTLP) bool {
			return o.On() && o.MetricsEndpoint == "http://c:4317" && o.MetricsProtocol == "grpc"
		}},
		{"disabled", []string{prefix + "ENDPOINT=http://c:4317", "OTEL_SDK_DISABLED=true"}, func(o OTLP) bool { return !o.On() }},
		{"none", []string{prefix + "ENDPOINT=http://c:4317", "OTEL_METRICS_EXPORTER=none"}, func(o OTLP) bool { return !o.On() }},
	} {
		t.Run(tt.name, func(t *testing.T) {
			environment(t, tt.env...)
			s, _, err := Load()
			if err != nil || !tt.want(s.OTLP) {
				t.Errorf("%v, %+v", err, s.OTLP)
			}
		})
	}
}

// What says how to push is warned about where nothing is pushed, unless that is
// asked for; what every program is told is not.
func TestOTLPWithoutAnEndpoint(t *testing.T) {
	const headers = "OTEL_EXPORTER_OTLP_HEADERS=a=b"
	for _, tt := range []struct {
		env  []string
		want []string
	}{
		{[]string{"OTEL_SERVICE_NAME=n", "OTEL_RESOURCE_ATTRIBUTES=a=b"}, nil},
		{[]string{headers, "OTEL_METRIC_EXPORT_INTERVAL=100"}, []string{"without OTEL_EXPORTER_OTLP_ENDPOINT these have no effect: OTEL_EXPORTER_OTLP_HEADERS, OTEL_METRIC_EXPORT_INTERVAL"}},
		{[]string{headers, "OTEL_SDK_DISABLED=true"}, nil},
		{[]string{headers, "OTEL_METRICS_EXPORTER=none"}, nil},
		{[]string{headers, "OTEL_EXPORTER_OTLP_ENDPOINT=http://c"}, nil},
	} {
		environment(t, tt.env...)
		if _, warnings, err := Load(); err != nil || !slices.Equal(warnings, tt.want) {
			t.Errorf("%q: %v, %q, want %q", tt.env, err, warnings, tt.want)
		}
	}
}

func TestOTLPRefuses(t *testing.T) {
	for settings, want := range map[string]string{
		"OTEL_EXPORTER_OTLP_ENDPOINT=http://c/x OTEL_EXPORTER_OTLP_PROTOCOL=grpc":             `OTEL_EXPORTER_OTLP_ENDPOINT="http://c/x": gRPC takes no path: want a URL such as http://collector:4317`,
		"OTEL_EXPORTER_OTLP_METRICS_ENDPOINT=http://8.8.8.8:1 OTEL_EXPORTER_OTLP_HEADERS=a=b": `OTEL_EXPORTER_OTLP_METRICS_ENDPOINT="http://8.8.8.8:1": with headers, which may hold a token, plain http only goes to loopback and private addresses: want https`,
		"OTEL_EXPORTER_OTLP_PROTOCOL=http/json":                                               `OTEL_EXPORTER_OTLP_PROTOCOL="http/json": not in the accepted form: want http/protobuf or grpc`,
		"OTEL_EXPORTER_OTLP_TIMEOUT=10s":                                                      `OTEL_EXPORTER_OTLP_TIMEOUT="10s": not in the accepted form: want a whole number from 1 to 600000`,
		"OTEL_EXPORTER_OTLP_METRICS_TEMPORALITY_PREFERENCE=delta":                             `OTEL_EXPORTER_OTLP_METRICS_TEMPORALITY_PREFERENCE="delta": not in the accepted form: want cumulative`,
		"OTEL_EXPORTER_OTLP_ENDPOINT=http://c:4318?x=1":                                       `OTEL_EXPORTER_OTLP_ENDPOINT="http://c:4318?<secret>": want a URL that begins with http:// or https://, such as http://collector:4318, without user, query and fragment`,
		"OTEL_EXPORTER_OTLP_HEADERS=a=%0Ab":                                                   `OTEL_EXPORTER_OTLP_HEADERS="<secret>": want name=value,name=value, with what has a meaning there percent-encoded`,
		"OTEL_METRIC_EXPORT_INTERVAL=0":                                                       `OTEL_METRIC_EXPORT_INTERVAL="0": outside the accepted range: want a whole number from 100 to 86400000`,
		"OTEL_EXPORTER_OTLP_METRICS_DEFAULT_HISTOGRAM_AGGREGATION=exact":                      `OTEL_EXPORTER_OTLP_METRICS_DEFAULT_HISTOGRAM_AGGREGATION="exact": not in the accepted form: want explicit_bucket_histogram or base2_exponential_bucket_histogram`,
	} {
		environment(t, strings.Fields(settings)...)
		_, _, err := Load()
		if lines := problems(err); len(lines) != 1 || lines[0] != want {
			t.Errorf("%s: %q, want %q", settings, lines, want)
		}
	}
}
