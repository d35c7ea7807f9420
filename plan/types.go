// Package plan is the YAML test plan: its types, their parsing with line and
// column, validation, defaults and version hash. It knows no network, no
// cluster and no environment.
package plan

import "time"

// Plan is a parsed, validated test plan with every default filled in.
type Plan struct {
	Version    string      `yaml:"version"`
	Metadata   Metadata    `yaml:"metadata"`
	Config     Config      `yaml:"config"`
	Load       Load        `yaml:"load"`
	Scenarios  []Scenario  `yaml:"scenarios"`
	Standby    *Standby    `yaml:"standby"`
	Thresholds []Threshold `yaml:"thresholds"`
	Metrics    Metrics     `yaml:"metrics"`
}

// Metadata describes a plan; Tenant and RunID become labels.
type Metadata struct {
	Name        string   `yaml:"name"`
	Description string   `yaml:"description"`
	Author      string   `yaml:"author"`
	Tags        []string `yaml:"tags"`
	Tenant      string   `yaml:"tenant"`
	RunID       string   `yaml:"run_id"`
}

// Config is how requests are sent, by whom and for how long.
type Config struct {
	BaseURL string `yaml:"baseUrl"`
	Workers int    `yaml:"workers"` // default 10
	// Duration includes Warmup. It is the sum of the stages if the plan leaves
	// it out, and 0, for unbounded, with Load.Iterations; without those, 0 is
	// a run that ends at once.
	Duration      time.Duration     `yaml:"duration"`
	Timeout       time.Duration     `yaml:"timeout"` // of one request, default 30s
	SkipTLSVerify bool              `yaml:"skipTlsVerify"`
	CustomHeaders Headers           `yaml:"customHeaders"`
	ResolveTarget ResolveTarget     `yaml:"resolveTargetAddr"`
	Pool          *Pool             `yaml:"pool"`
	Seed          *int64            `yaml:"seed"`
	GracefulStop  time.Duration     `yaml:"gracefulStop"` // default 30s
	Warmup        time.Duration     `yaml:"warmup"`
	Traceparent   bool              `yaml:"traceparent"`
	HTTP          HTTPVersion       `yaml:"http"`        // "1.1", "2", "auto"
	Client        string            `yaml:"client"`      // auto, own, std
	Connections   Connections       `yaml:"connections"` // worker, iteration, request, <n>
	DNS           DNS               `yaml:"dns"`
	Resolve       map[string]string `yaml:"resolve"` // host -> ip[:port]; a port here beats the URL's
	TLS           *TLS              `yaml:"tls"`
	Cookies       string            `yaml:"cookies"` // iteration, worker, off
	MaxRedirects  int               `yaml:"maxRedirects"`
	MaxBody       Size              `yaml:"maxBody"`
}

// Header is one header field, in the order written.
type Header struct{ Name, Value string }

// Headers is the list form of customHeaders: "Name: value, Other: value".
type Headers []Header

// ResolveTarget is a parsed host:ip:port override; zero when none is set.
type ResolveTarget struct{ Host, IP, Port string }

// HTTPVersion is "1.1", "2" or "auto".
type HTTPVersion string

// Connections says who owns connections: Mode is worker, iteration, request
// or shared, the latter with N connections in all.
type Connections struct {
	Mode string
	N    int
}

// Size is a number of bytes.
type Size int64

// Pool holds the predecessor's idle connection settings.
type Pool struct {
	MaxIdlePerHost          *int `yaml:"maxIdlePerHost"` // 0: a connection per request
	IdleTimeoutSecs         *int `yaml:"idleTimeoutSecs"`
	MetricsReuseThresholdMs *int `yaml:"metricsReuseThresholdMs"`
}

// DNS is how often and how a host name is looked up.
type DNS struct {
	TTL    time.Duration `yaml:"ttl"`    // default 5m
	Select string        `yaml:"select"` // roundRobin, first
}

// TLS names PEM files on the node; CA is believed beside the system's, Cert and
// Key beat CLIENT_CERT_PATH and CLIENT_KEY_PATH.
type TLS struct {
	CA   string `yaml:"ca"`
	Cert string `yaml:"cert"`
	Key  string `yaml:"key"`
}

// Load is the load model: how many iterations (or requests) are due when.
type Load struct {
	Model string `yaml:"model"` // concurrent, rps, ramp, dailytraffic, stages

	Target       *float64      `yaml:"target"`       // rps: per second
	Min          *float64      `yaml:"min"`          // ramp, dailytraffic: per second
	Mid          *float64      `yaml:"mid"`          // dailytraffic
	Max          *float64      `yaml:"max"`          // ramp, dailytraffic
	RampDuration time.Duration `yaml:"rampDuration"` // ramp
	Shape        string        `yaml:"shape"`        // ramp: thirds, hold

	CycleDuration       time.Duration `yaml:"cycleDuration"`
	MorningRampRatio    *float64      `yaml:"morningRampRatio"`
	PeakSustainRatio    *float64      `yaml:"peakSustainRatio"`
	MidDeclineRatio     *float64      `yaml:"midDeclineRatio"`
	MidSustainRatio     *float64      `yaml:"midSustainRatio"`
	EveningDeclineRatio *float64      `yaml:"eveningDeclineRatio"`

	From   float64 `yaml:"from"` // stages: target at t=0
	Stages []Stage `yaml:"stages"`

	Unit       string        `yaml:"unit"`       // iterations, requests, workers
	Arrival    string        `yaml:"arrival"`    // uniform, poisson
	RampUp     time.Duration `yaml:"rampUp"`     // concurrent
	Iterations *int64        `yaml:"iterations"` // the run ends after so many
	Scope      string        `yaml:"scope"`      // node (also if left out), cluster
	MaxWorkers int           `yaml:"maxWorkers"` // default: config.workers if named, else 10000
	MaxBacklog time.Duration `yaml:"maxBacklog"` // default 1s
}

// Stage is a linear piece of a stages curve that ends at Target.
type Stage struct {
	Duration time.Duration `yaml:"duration"`
	Target   float64       `yaml:"target"`
}

// Scenario is an ordered list of steps that one iteration runs.
type Scenario struct {
	Name     string         `yaml:"name"`
	Weight   float64        `yaml:"weight"` // default 1
	Steps    []Step         `yaml:"steps"`
	DataFile *DataFile      `yaml:"dataFile"`
	Config   ScenarioConfig `yaml:"config"`
}

// ScenarioConfig overrides Config for one scenario.
type ScenarioConfig struct {
	Timeout    time.Duration `yaml:"timeout"`
	RetryCount int           `yaml:"retryCount"`
	RetryDelay time.Duration `yaml:"retryDelay"`
}

// Step is one request with what is read from and asked of its response.
type Step struct {
	Name              string        `yaml:"name"` // default "Step <n>"
	Request           Request       `yaml:"request"`
	Extract           []Extract     `yaml:"extract"`
	Assertions        []Assertion   `yaml:"assertions"`
	Cache             *Cache        `yaml:"cache"`
	ThinkTime         *ThinkTime    `yaml:"thinkTime"`
	Timeout           time.Duration `yaml:"timeout"`
	ContinueOnFailure bool          `yaml:"continueOnFailure"`
}

// Request is the template of one HTTP request.
type Request struct {
	Method      string      `yaml:"method"` // upper case
	Path        string      `yaml:"path"`   // or a full URL
	QueryParams []Header    `yaml:"queryParams"`
	Headers     []Header    `yaml:"headers"`
	Body        string      `yaml:"body"`
	BodySize    Size        `yaml:"bodySize"`
	BodyFile    string      `yaml:"bodyFile"`
	Form        []Header    `yaml:"form"`
	Multipart   []Multipart `yaml:"multipart"`
}

// Multipart is one part of a multipart/form-data body.
type Multipart struct {
	Name        string `yaml:"name"`
	Value       string `yaml:"value"`
	File        string `yaml:"file"`
	Filename    string `yaml:"filename"`
	ContentType string `yaml:"contentType"`
}

// Extract reads a variable out of a response.
type Extract struct {
	Type     string  `yaml:"type"` // jsonPath, regex, header, cookie
	Name     string  `yaml:"name"`
	JSONPath string  `yaml:"jsonPath"`
	Regex    string  `yaml:"regex"`
	Header   string  `yaml:"header"`
	Cookie   string  `yaml:"cookie"`
	Default  *string `yaml:"default"`
	Required bool    `yaml:"required"`
}

// Assertion is what a response must satisfy.
type Assertion struct {
	Type     string        `yaml:"type"`     // statusCode, responseTime, jsonPath, bodyContains, bodyMatches, headerExists
	Expected Expected      `yaml:"expected"` // statusCode, jsonPath
	Max      time.Duration `yaml:"max"`
	Path     string        `yaml:"path"`
	Text     string        `yaml:"text"`
	Regex    string        `yaml:"regex"`
	Header   string        `yaml:"header"`
	Not      bool          `yaml:"not"`
}

// Expected is the expectation of a statusCode assertion (Statuses: ranges
// lo..hi, inclusive) or the text of a jsonPath one.
type Expected struct {
	Set      bool
	Text     string
	Statuses []StatusRange
}

// StatusRange is an inclusive range of HTTP status codes.
type StatusRange struct{ Lo, Hi int }

// Cache keeps a step's variables for TTL.
type Cache struct {
	TTL time.Duration `yaml:"ttl"`
}

// ThinkTime is a pause after a step: fixed when Min == Max.
type ThinkTime struct {
	Min time.Duration `yaml:"min"`
	Max time.Duration `yaml:"max"`
}

// DataFile feeds rows to iterations.
type DataFile struct {
	Path        string `yaml:"path"`
	Format      string `yaml:"format"`      // csv, json
	Strategy    string `yaml:"strategy"`    // sequential, random, cycle
	OnExhausted string `yaml:"onExhausted"` // wrap, stop
	Split       *bool  `yaml:"split"`
}

// Standby is what a node does after the run.
type Standby struct {
	Workers int     `yaml:"workers"` // default 2
	RPS     float64 `yaml:"rps"`
}

// Threshold is a condition on the result; see contract section 8.
type Threshold struct {
	Expr        string        `yaml:"expr"`
	AbortOnFail bool          `yaml:"abortOnFail"`
	After       time.Duration `yaml:"after"`
}

// Metrics switches optional measurements on.
type Metrics struct {
	Phases bool `yaml:"phases"`
}
