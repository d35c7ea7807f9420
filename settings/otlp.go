package settings

import (
	"net/netip"
	"net/url"
	"slices"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"
)

// OTLP is where the metrics are pushed to: the standard variables of
// OpenTelemetry, as far as they are about metrics. Of a pair of names, such as
// OTEL_EXPORTER_OTLP_TIMEOUT and OTEL_EXPORTER_OTLP_METRICS_TIMEOUT, the second
// beats the first and holds what is effective.
type OTLP struct {
	Disabled bool   `envconfig:"OTEL_SDK_DISABLED" default:"false" desc:"push nothing, whatever else is set"`
	Exporter string `envconfig:"OTEL_METRICS_EXPORTER" default:"otlp" oneof:"otlp,none" desc:"none: push nothing"`

	Endpoint        string `envconfig:"OTEL_EXPORTER_OTLP_ENDPOINT" desc:"URL of an OTLP receiver, such as http://collector:4318; http/protobuf adds /v1/metrics; without it nothing is pushed"`
	MetricsEndpoint string `envconfig:"OTEL_EXPORTER_OTLP_METRICS_ENDPOINT" desc:"the same for metrics alone, and nothing is added to it"`
	Protocol        string `envconfig:"OTEL_EXPORTER_OTLP_PROTOCOL" default:"http/protobuf" oneof:"http/protobuf,grpc" desc:"how it is pushed"`
	MetricsProtocol string `envconfig:"OTEL_EXPORTER_OTLP_METRICS_PROTOCOL" oneof:"http/protobuf,grpc" desc:"the same for metrics alone"`

	Headers        Secret `envconfig:"OTEL_EXPORTER_OTLP_HEADERS" desc:"comma-separated name=value, percent-encoded: sent with each push"`
	MetricsHeaders Secret `envconfig:"OTEL_EXPORTER_OTLP_METRICS_HEADERS" desc:"the same for metrics alone"`
	Timeout        int    `envconfig:"OTEL_EXPORTER_OTLP_TIMEOUT" default:"10000" min:"1" max:"600000" desc:"milliseconds that one try of a push may take"`
	MetricsTimeout *int   `envconfig:"OTEL_EXPORTER_OTLP_METRICS_TIMEOUT" min:"1" max:"600000" desc:"the same for metrics alone"`

	Compression        string `envconfig:"OTEL_EXPORTER_OTLP_COMPRESSION" default:"none" oneof:"none,gzip" desc:"of what is pushed"`
	MetricsCompression string `envconfig:"OTEL_EXPORTER_OTLP_METRICS_COMPRESSION" oneof:"none,gzip" desc:"the same for metrics alone"`

	CA          string `envconfig:"OTEL_EXPORTER_OTLP_CERTIFICATE" desc:"PEM file of the authorities that the receiver's certificate may be of; default the machine's"`
	MetricsCA   string `envconfig:"OTEL_EXPORTER_OTLP_METRICS_CERTIFICATE" desc:"the same for metrics alone"`
	Cert        string `envconfig:"OTEL_EXPORTER_OTLP_CLIENT_CERTIFICATE" desc:"PEM client certificate; needs its key"`
	MetricsCert string `envconfig:"OTEL_EXPORTER_OTLP_METRICS_CLIENT_CERTIFICATE" desc:"the same for metrics alone"`
	Key         string `envconfig:"OTEL_EXPORTER_OTLP_CLIENT_KEY" desc:"PEM key of the client certificate"`
	MetricsKey  string `envconfig:"OTEL_EXPORTER_OTLP_METRICS_CLIENT_KEY" desc:"the same for metrics alone"`

	Interval    int    `envconfig:"OTEL_METRIC_EXPORT_INTERVAL" default:"60000" min:"100" max:"86400000" desc:"milliseconds from push to push; the first is made at start, a last one at the end"`
	PushTimeout int    `envconfig:"OTEL_METRIC_EXPORT_TIMEOUT" default:"30000" min:"1" max:"600000" desc:"milliseconds that a push may take, all its tries together"`
	Temporality string `envconfig:"OTEL_EXPORTER_OTLP_METRICS_TEMPORALITY_PREFERENCE" default:"cumulative" oneof:"cumulative" desc:"counters count from the process's start, as at /metrics; a collector makes deltas of them"`
	Aggregation string `envconfig:"OTEL_EXPORTER_OTLP_METRICS_DEFAULT_HISTOGRAM_AGGREGATION" default:"explicit_bucket_histogram" oneof:"explicit_bucket_histogram,base2_exponential_bucket_histogram" desc:"explicit buckets as the classic ones at /metrics, or exponential ones of scale 3 as the native ones"`

	ServiceName string `envconfig:"OTEL_SERVICE_NAME" desc:"attribute service.name; default that of OTEL_RESOURCE_ATTRIBUTES, else volley"`
	Attributes  string `envconfig:"OTEL_RESOURCE_ATTRIBUTES" desc:"comma-separated name=value, percent-encoded: attributes of everything that this node pushes"`
}

// On reports whether anything is pushed.
func (o OTLP) On() bool { return !o.Disabled && o.Exporter == "otlp" && o.MetricsEndpoint != "" }

// TryTimeout is that of one try.
func (o OTLP) TryTimeout() time.Duration { return milliseconds(*o.MetricsTimeout) }

func milliseconds(n int) time.Duration { return time.Duration(n) * time.Millisecond }

// Limits are how often is pushed and how long a push may take.
func (o OTLP) Limits() (every, push time.Duration) {
	return milliseconds(o.Interval), milliseconds(o.PushTimeout)
}

// HeaderPairs are those sent with each push.
func (o OTLP) HeaderPairs() map[string]string {
	pairs, _ := pairsOf(o.MetricsHeaders.Reveal()) // Load has refused what is none
	return pairs
}

// Resource is what is said of everything that is pushed.
func (o OTLP) Resource() map[string]string {
	pairs, _ := pairsOf(o.Attributes)
	if pairs["service.name"] == "" {
		pairs["service.name"] = "volley"
	}
	if o.ServiceName != "" {
		pairs["service.name"] = o.ServiceName
	}
	return pairs
}

// pairsOf reads name=value,name=value; both are percent-encoded.
func pairsOf(text string) (pairs map[string]string, ok bool) {
	pairs = map[string]string{}
	for item := range strings.SplitSeq(text, ",") {
		if strings.TrimSpace(item) == "" {
			continue
		}
		name, value, isPair := strings.Cut(item, "=")
		name, badName := url.PathUnescape(strings.TrimSpace(name))
		value, badValue := url.PathUnescape(strings.TrimSpace(value))
		if !isPair || name == "" || badName != nil || badValue != nil {
			return pairs, false
		}
		pairs[name] = value
	}
	return pairs, true
}

func (c *checker) checkOTLP(s *Settings) {
	o := &s.OTLP
	c.checkReceiver("OTEL_EXPORTER_OTLP_ENDPOINT", o.Endpoint)
	c.checkReceiver("OTEL_EXPORTER_OTLP_METRICS_ENDPOINT", o.MetricsEndpoint)
	c.checkPairs("OTEL_EXPORTER_OTLP_HEADERS", o.Headers.Reveal(), isHeader)
	c.checkPairs("OTEL_EXPORTER_OTLP_METRICS_HEADERS", o.MetricsHeaders.Reveal(), isHeader)
	c.checkPairs("OTEL_RESOURCE_ATTRIBUTES", o.Attributes, isAttribute)
	c.refuseUnless(len(o.ServiceName) <= maxLabel, "OTEL_SERVICE_NAME", "want a name of at most %d bytes", maxLabel)
	c.checkFiles(o)
	o.settle()
	if !o.On() {
		c.warnNotPushed(s)
		return
	}
	c.checkWay(s)
}

// checkWay holds the endpoint against what else says how it is reached.
func (c *checker) checkWay(s *Settings) {
	o, name := s.OTLP, "OTEL_EXPORTER_OTLP_METRICS_ENDPOINT"
	if !s.IsSet(name) {
		name = "OTEL_EXPORTER_OTLP_ENDPOINT"
	}
	to, err := url.Parse(o.MetricsEndpoint)
	if err != nil || c.bad[name] {
		return // which is said already
	}
	c.refuseUnless(o.MetricsProtocol != "grpc" || to.Path == "" || to.Path == "/", name, "gRPC takes no path: want a URL such as http://collector:4317")
	if to.Scheme == "https" {
		return
	}
	ip, err := netip.ParseAddr(to.Hostname())
	c.refuseUnless(!o.MetricsHeaders.IsSet() || err != nil || private(ip), name,
		"with headers, which may hold a token, plain http only goes to loopback and private addresses: want https")
	for _, file := range certificateVariables() {
		c.refuseUnless(!s.IsSet(file), file, "the endpoint is plain http: want one that begins with https://, or no certificate")
	}
}

// warnNotPushed names what would say how to push if anything were pushed. Those
// about the whole process, such as OTEL_SERVICE_NAME, may be meant for others.
func (c *checker) warnNotPushed(s *Settings) {
	if s.OTLP.Disabled || s.OTLP.Exporter != "otlp" {
		return // as is asked for
	}
	var idle []string
	for _, v := range variablesOf(&s.OTLP) {
		if v.isSet() && (strings.HasPrefix(v.name, "OTEL_EXPORTER_OTLP_") || strings.HasPrefix(v.name, "OTEL_METRIC_EXPORT_")) {
			idle = append(idle, v.name)
		}
	}
	if len(idle) > 0 {
		c.warn("without OTEL_EXPORTER_OTLP_ENDPOINT these have no effect: %s", strings.Join(idle, ", "))
	}
}

// settle fills what is said for metrics alone with what is said for all.
func (o *OTLP) settle() {
	either := func(own *string, general string) {
		if *own == "" {
			*own = general
		}
	}
	either(&o.MetricsProtocol, o.Protocol)
	either(&o.MetricsCompression, o.Compression)
	either(&o.MetricsCA, o.CA)
	if o.MetricsCert == "" && o.MetricsKey == "" {
		o.MetricsCert, o.MetricsKey = o.Cert, o.Key
	}
	if !o.MetricsHeaders.IsSet() {
		o.MetricsHeaders = o.Headers
	}
	if o.MetricsTimeout == nil {
		o.MetricsTimeout = &o.Timeout
	}
	if o.MetricsEndpoint == "" && o.Endpoint != "" {
		o.MetricsEndpoint = o.Endpoint
		if o.MetricsProtocol == "http/protobuf" {
			o.MetricsEndpoint = strings.TrimRight(o.Endpoint, "/") + "/v1/metrics"
		}
	}
}

func certificateVariables() []string {
	return []string{
		"OTEL_EXPORTER_OTLP_CERTIFICATE", "OTEL_EXPORTER_OTLP_METRICS_CERTIFICATE", "OTEL_EXPORTER_OTLP_CLIENT_CERTIFICATE",
		"OTEL_EXPORTER_OTLP_METRICS_CLIENT_CERTIFICATE", "OTEL_EXPORTER_OTLP_CLIENT_KEY", "OTEL_EXPORTER_OTLP_METRICS_CLIENT_KEY",
	}
}

func (c *checker) checkReceiver(name, endpoint string) {
	if endpoint == "" {
		return
	}
	u, err := url.Parse(endpoint)
	ok := err == nil && u.Hostname() != "" && slices.Contains([]string{"http", "https"}, u.Scheme) && u.RawQuery == "" && u.Fragment == "" && u.User == nil
	c.refuseUnless(ok, name, "want a URL that begins with http:// or https://, such as http://collector:4318, without user, query and fragment")
}

func (c *checker) checkPairs(name, text string, fits func(name, value string) bool) {
	pairs, ok := pairsOf(text)
	for key, value := range pairs {
		ok = ok && fits(key, value)
	}
	c.refuseUnless(ok, name, "want name=value,name=value, with what has a meaning there percent-encoded")
}

// isHeader is true of what HTTP and gRPC take for one.
func isHeader(name, value string) bool {
	return !strings.ContainsFunc(name, func(r rune) bool {
		return !strings.ContainsRune("-_.", r) && (r < '0' || r > '9') && (r < 'A' || r > 'Z') && (r < 'a' || r > 'z')
	}) && !strings.ContainsFunc(value, func(r rune) bool { return r < ' ' || r > '~' })
}

// isAttribute is true of what does not make a log or a label unreadable.
func isAttribute(name, value string) bool {
	return utf8.ValidString(name+value) && !strings.ContainsFunc(name+value, unicode.IsControl)
}

func (c *checker) checkFiles(o *OTLP) {
	for _, ca := range [][2]string{{"OTEL_EXPORTER_OTLP_CERTIFICATE", o.CA}, {"OTEL_EXPORTER_OTLP_METRICS_CERTIFICATE", o.MetricsCA}} {
		if ca[1] != "" {
			c.checkReadable(ca[0], ca[1])
		}
	}
	c.checkAllOrNone(map[string]string{"OTEL_EXPORTER_OTLP_CLIENT_CERTIFICATE": o.Cert, "OTEL_EXPORTER_OTLP_CLIENT_KEY": o.Key},
		"OTEL_EXPORTER_OTLP_CLIENT_CERTIFICATE", "OTEL_EXPORTER_OTLP_CLIENT_KEY")
	c.checkAllOrNone(map[string]string{"OTEL_EXPORTER_OTLP_METRICS_CLIENT_CERTIFICATE": o.MetricsCert, "OTEL_EXPORTER_OTLP_METRICS_CLIENT_KEY": o.MetricsKey},
		"OTEL_EXPORTER_OTLP_METRICS_CLIENT_CERTIFICATE", "OTEL_EXPORTER_OTLP_METRICS_CLIENT_KEY")
}
