package settings

import (
	"log/slog"
	"time"
)

// Settings is everything the environment says, typed, with defaults filled in
// and aliases and derived defaults resolved. A field with an envconfig tag is
// one variable and holds its effective value.
type Settings struct {
	Run       Run
	Job       Job
	Ephemeral Ephemeral
	Node      Identity
	Registry  Registry
	Control   Control
	OTLP      OTLP
	Log       Log
	Terminal  Terminal
	Memory    Memory
	Cluster   Cluster
	Source    Source
	Consul    Consul
	LoadPlan  LoadPlan
	// ClockShift is added to the machine's wall clock: always 0, except in the
	// binary that the end-to-end tests build for it (see clockshift_e2e.go).
	ClockShift time.Duration

	set map[string]bool // variables that are set and not empty
}

// Run is what one process runs and how it ends.
type Run struct {
	ConfigFile     string            `envconfig:"CONFIG_FILE" desc:"plan file of a standalone run; of every node with CLUSTER_CONFIG_SOURCE=file"`
	KeepAlive      bool              `envconfig:"KEEP_ALIVE" default:"false" desc:"stay up after the run instead of exiting with the verdict; in a cluster the leader's value counts"`
	ResultFile     string            `envconfig:"RESULT_FILE" desc:"where the result goes as JSON at the end of each run, with the report as HTML beside it: a path or gs://bucket/object; {run_id} and {node_id} are filled in"`
	EngineMode     string            `envconfig:"ENGINE_MODE" oneof:"child,inproc" desc:"where the load engine runs; default child in a cluster, inproc standalone"`
	ThinkTimeScale float64           `envconfig:"THINK_TIME_SCALE" default:"1" min:"0" desc:"multiplies think times, marked in the report"`
	ProxyFromEnv   bool              `envconfig:"PROXY_FROM_ENV" default:"false" desc:"honour HTTP_PROXY, HTTPS_PROXY and NO_PROXY for the load"`
	PlanEnvNames   []string          `envconfig:"PLAN_ENV" desc:"comma-separated names of variables that a plan may read as ${env.NAME}; never volley's own secrets"`
	PlanEnv        map[string]Secret // those of them that are set
	DataDir        string            `envconfig:"DATA_DIR" desc:"where a posted plan finds its data files"`
	ClientCertPath string            `envconfig:"CLIENT_CERT_PATH" desc:"PEM client certificate of the load's mTLS, local to this node; needs CLIENT_KEY_PATH"`
	ClientKeyPath  string            `envconfig:"CLIENT_KEY_PATH" desc:"PEM key of CLIENT_CERT_PATH"`
}

// Identity is how this process is named in labels, logs and answers.
type Identity struct {
	ID              string `envconfig:"CLUSTER_NODE_ID" desc:"label and name of the node, unique among live members; default HOSTNAME, else the host's name"`
	Name            string `envconfig:"NODE_NAME" desc:"node_name in answers of the control API; default CLUSTER_NODE_ID"`
	Region          string `envconfig:"CLUSTER_REGION" default:"local" desc:"label region"`
	Tenant          string `envconfig:"TENANT" desc:"label tenant: instead of a plan file's, and for a posted plan that names none"`
	MetricNamespace string `envconfig:"METRIC_NAMESPACE" default:"volley" desc:"prefix of metric names; rust_loadtest keeps its dashboards working"`
}

// Control is the HTTP control API and the metrics listener.
type Control struct {
	Port        *int   `envconfig:"PORT" min:"1" max:"65535" desc:"set by Cloud Run: the control API listens on 0.0.0.0:$PORT unless CLUSTER_HEALTH_ADDR is set"`
	Addr        string `envconfig:"CLUSTER_HEALTH_ADDR" desc:"host:port of the control API; default 0.0.0.0:$PORT, else 0.0.0.0:8080"`
	MetricsAddr string `envconfig:"METRICS_ADDR" desc:"host:port of a second listener for /metrics, or off; default 0.0.0.0:9090, off when PORT is set"` // "" = off
	Token       Secret `envconfig:"API_AUTH_TOKEN" desc:"bearer token of POST /config and POST /stop"`
	HealthAuth  bool   `envconfig:"HEALTH_AUTH_ENABLED" default:"false" desc:"ask for the token on every GET but /ready, /health/cluster and / too"`
}

// Log is what is logged, and how.
type Log struct {
	LevelName string     `envconfig:"LOG_LEVEL" oneof:"trace,debug,info,warn,error,off" desc:"least level that is logged; default that of RUST_LOG, else info"`
	Format    string     `envconfig:"LOG_FORMAT" oneof:"text,json" desc:"text or json; default text on a terminal, else json"` // "" = by terminal
	Project   string     `envconfig:"GOOGLE_CLOUD_PROJECT" desc:"project of the traces of requests to the control API, so that Cloud Logging shows log lines beside them; default on Cloud Run and with DISCOVERY_MODE=gce: asked of the metadata server"`
	Service   string     `envconfig:"K_SERVICE" desc:"set by Cloud Run in a service: there is a metadata server"`
	RustLog   string     `envconfig:"RUST_LOG" desc:"a level, or directives such as rust_loadtest=debug, when LOG_LEVEL is not set"`
	Level     slog.Level // of LevelName
}

// Terminal is what every program is told of the terminal it writes to.
type Terminal struct {
	NoColour string `envconfig:"NO_COLOR" desc:"set to anything: no colour in the report"`
	Kind     string `envconfig:"TERM" desc:"dumb: no colour, and no progress line that is drawn anew in place"`
}

// OnGoogle says whether there is a metadata server of Google's to ask.
func (s *Settings) OnGoogle() bool {
	return s.Log.Service != "" || s.Cluster.Enabled && s.Cluster.Discovery == "gce"
}

// Dumb says that what has been written cannot be written over.
func (t Terminal) Dumb() bool { return t.Kind == "dumb" }

// Colour says whether a terminal may be given colours.
func (t Terminal) Colour() bool { return t.NoColour == "" && !t.Dumb() }

// Memory is what this process records and what it does when memory runs out. It
// is node-local, in a cluster too.
type Memory struct {
	Percentiles bool          `envconfig:"PERCENTILE_TRACKING_ENABLED" default:"true" desc:"record latencies; false: the result has no percentiles, and a plan with a threshold on one is refused"`
	SamplePct   int           `envconfig:"PERCENTILE_SAMPLING_RATE" default:"100" min:"1" max:"100" desc:"percentage of requests and iterations whose times go into percentiles; all of them are counted"`
	MaxLabels   int           `envconfig:"MAX_HISTOGRAM_LABELS" default:"100" min:"1" max:"100000" desc:"how many steps, and how many scenarios, are counted apart; the rest together as other"`
	Rotation    time.Duration `envconfig:"HISTOGRAM_ROTATION_INTERVAL" default:"off" off:"true" desc:"length of the view last_interval beside the result, which it never clears; at least 1s, or off"` // 0 = off
	WarningPct  float64       `envconfig:"MEMORY_WARNING_THRESHOLD_PERCENT" default:"80" min:"1" max:"100" desc:"memory guard: percentage of the memory limit from which it warns and saves"`
	CriticalPct float64       `envconfig:"MEMORY_CRITICAL_THRESHOLD_PERCENT" default:"90" min:"1" max:"100" desc:"memory guard: percentage of the memory limit at which it ends the run (exit 1)"`
	SaveOnWarn  bool          `envconfig:"AUTO_DISABLE_PERCENTILES_ON_WARNING" default:"true" desc:"memory guard: on warning record no new labels and no phases any more; false: only warn"`
	GoLimit     string        `envconfig:"GOMEMLIMIT" desc:"memory limit of the Go runtime, which reads it itself; default 85 % of the cgroup's limit, with a child engine 30 % and 55 %"`
}

// Cluster is how this node finds others and lives with them.
type Cluster struct {
	Enabled        bool          `envconfig:"CLUSTER_ENABLED" default:"false" desc:"run as a node of a cluster"`
	BindAddr       string        `envconfig:"CLUSTER_BIND_ADDR" default:"0.0.0.0:7000" desc:"host:port that gRPC and Raft listen on"`
	AdvertiseAddr  string        `envconfig:"CLUSTER_ADVERTISE_ADDR" desc:"host:port as others dial this node; default from CLUSTER_BIND_ADDR, else the interface that reaches the peers"` // "" = find out
	SelfAddr       string        `envconfig:"CLUSTER_SELF_ADDR" desc:"alias of CLUSTER_ADVERTISE_ADDR"`
	Discovery      string        `envconfig:"DISCOVERY_MODE" default:"static" oneof:"static,consul,dns,gce" desc:"how nodes find each other: by a list (static), in Consul, by a name in DNS, or as machines of Google Compute Engine (gce)"`
	Nodes          []string      `envconfig:"CLUSTER_NODES" desc:"static: host:port,... of all nodes, this one included or not; dns: one name, name:port for A and AAAA records, a name without a port for SRV records"`
	GCELabel       string        `envconfig:"GCE_LABEL" desc:"gce: key=value of the label of all nodes' machines; default: those of this machine's managed instance group"`
	GCEEndpoint    string        `envconfig:"GCE_ENDPOINT" desc:"gce: another base URL of the Compute API, with the usual credentials; plain http only to loopback and private addresses"`
	Expect         int           `envconfig:"CLUSTER_EXPECT" min:"1" max:"10000" desc:"how many nodes, this one included, form the cluster; default for static: the listed nodes and this one"` // 0 = listed and self
	MinPeers       *int          `envconfig:"CLUSTER_MIN_PEERS" min:"0" max:"9999" desc:"alias: CLUSTER_EXPECT - 1"`
	FormTimeout    time.Duration `envconfig:"CLUSTER_FORM_TIMEOUT" default:"120s" min:"1s" desc:"no leader for that long: exit 102"`
	StartDelay     time.Duration `envconfig:"CLUSTER_START_DELAY" default:"3s" min:"100ms" desc:"how far ahead the common start is set"`
	TLSCA          string        `envconfig:"CLUSTER_TLS_CA" desc:"PEM authority of mutual TLS between nodes; all three CLUSTER_TLS_ variables or none"`
	TLSCert        string        `envconfig:"CLUSTER_TLS_CERT" desc:"PEM certificate of this node"`
	TLSKey         string        `envconfig:"CLUSTER_TLS_KEY" desc:"PEM key of CLUSTER_TLS_CERT"`
	Token          Secret        `envconfig:"CLUSTER_TOKEN" desc:"shared secret that every call between nodes must show"`
	Insecure       bool          `envconfig:"CLUSTER_INSECURE" default:"false" desc:"allow a public advertise address without CLUSTER_TOKEN and TLS"`
	OnAbort        string        `envconfig:"CLUSTER_ON_ABORT" default:"exit" oneof:"exit,hold" desc:"after an aborted start: exit with its code, or hold until there is a new config; the leader's value counts"`
	ReapAfter      time.Duration `envconfig:"CLUSTER_REAP_AFTER" default:"60s" min:"1s" desc:"a silent member is removed after that long"`
	IsolationGrace time.Duration `envconfig:"CLUSTER_ISOLATION_GRACE" default:"60s" min:"0s" desc:"load.scope node: a node without a leader goes on with its load for so long, then ends it and tries to rejoin"`
	MaxClockError  time.Duration `envconfig:"CLUSTER_MAX_CLOCK_ERROR" default:"off" off:"true" desc:"a larger bound of a node's clock offset aborts the start, or off"` // 0 = off
	Weight         float64       `envconfig:"CLUSTER_WEIGHT" default:"1" desc:"share of the load with load.scope: cluster, more than 0"`
	DataDir        string        `envconfig:"CLUSTER_DATA_DIR" desc:"directory of this node alone that keeps its identity and Raft's log, votes and snapshots over a restart; default: in memory, and a new identity with every start"`
	ServiceName    string        `envconfig:"CONSUL_SERVICE_NAME" default:"loadtest-cluster" desc:"the cluster's name in every discovery mode, and of its service in Consul"`
}

// Source is where the leader takes the plan from.
type Source struct {
	Kind            string        `envconfig:"CLUSTER_CONFIG_SOURCE" oneof:"gcs,consul-kv,file,none" desc:"gcs, consul-kv, file or none (wait for POST /config); required in a cluster"`
	Timeout         time.Duration `envconfig:"CLUSTER_CONFIG_TIMEOUT_SECS" default:"30" min:"1s" max:"1h" desc:"limit of the fetch, and of each try to hand the plan to a node"`
	Watch           bool          `envconfig:"CLUSTER_CONFIG_WATCH" default:"false" desc:"follow the source while running: a changed and valid plan takes over; set it alike on all nodes, the leader's value counts"`
	GCSBucket       string        `envconfig:"GCS_CONFIG_BUCKET" desc:"bucket of the plan; required with CLUSTER_CONFIG_SOURCE=gcs"`
	GCSObject       string        `envconfig:"GCS_CONFIG_OBJECT" desc:"object of the plan; required with CLUSTER_CONFIG_SOURCE=gcs"`
	GCSEndpoint     string        `envconfig:"GCS_ENDPOINT" desc:"another base URL of the storage JSON API, with the usual credentials; plain http only to loopback and private addresses"`
	StorageEmulator string        `envconfig:"STORAGE_EMULATOR_HOST" desc:"a storage emulator, used without credentials"`
	ConsulKey       string        `envconfig:"CONSUL_CONFIG_KEY" default:"loadtest/config" desc:"key of the plan with CLUSTER_CONFIG_SOURCE=consul-kv"`
}

// Consul is the client's side of the Consul agent; the CONSUL_ variables mean
// what they mean to every Consul client.
type Consul struct {
	Addr          string `envconfig:"CONSUL_ADDR" desc:"the Consul agent; default CONSUL_HTTP_ADDR, else http://127.0.0.1:8500"`
	HTTPAddr      string `envconfig:"CONSUL_HTTP_ADDR" desc:"the Consul agent where CONSUL_ADDR is not set"`
	Token         Secret `envconfig:"CONSUL_HTTP_TOKEN" desc:"ACL token"`
	TokenFile     string `envconfig:"CONSUL_HTTP_TOKEN_FILE" desc:"file with the ACL token"`
	Auth          Secret `envconfig:"CONSUL_HTTP_AUTH" desc:"user:password of basic authentication"`
	SSL           bool   `envconfig:"CONSUL_HTTP_SSL" default:"false" desc:"talk https"`
	SSLVerify     bool   `envconfig:"CONSUL_HTTP_SSL_VERIFY" default:"true" desc:"check the agent's certificate"`
	CACert        string `envconfig:"CONSUL_CACERT" desc:"PEM file of authorities"`
	CAPath        string `envconfig:"CONSUL_CAPATH" desc:"folder of PEM files of authorities"`
	ClientCert    string `envconfig:"CONSUL_CLIENT_CERT" desc:"PEM client certificate"`
	ClientKey     string `envconfig:"CONSUL_CLIENT_KEY" desc:"PEM key of CONSUL_CLIENT_CERT"`
	TLSServerName string `envconfig:"CONSUL_TLS_SERVER_NAME" desc:"name expected in the agent's certificate"`
	Namespace     string `envconfig:"CONSUL_NAMESPACE" desc:"Consul Enterprise namespace"`
	Partition     string `envconfig:"CONSUL_PARTITION" desc:"Consul Enterprise admin partition"`
}

// LoadPlan is the plan as the environment describes it. Standalone only: in a
// cluster the leader's document alone describes the load. Beside a plan, what
// is set beats a file and is beaten by a posted one. IsSet tells a value that was
// given from a default.
type LoadPlan struct {
	TargetURL       string         `envconfig:"TARGET_URL" desc:"full URL that is requested"`
	RequestType     string         `envconfig:"REQUEST_TYPE" default:"GET" desc:"GET, POST, PUT, PATCH, DELETE, HEAD or OPTIONS"`
	SendJSON        bool           `envconfig:"SEND_JSON" default:"false" desc:"send JSON_PAYLOAD with POST, PUT and PATCH"`
	JSONPayload     Secret         `envconfig:"JSON_PAYLOAD" desc:"body, sent as it is when SEND_JSON is true"`
	CustomHeaders   Secret         `envconfig:"CUSTOM_HEADERS" desc:"comma-separated Name:Value; a backslash before a comma makes it part of the value"`
	ResolveTarget   string         `envconfig:"RESOLVE_TARGET_ADDR" desc:"host:ip:port, sends requests for host to that address"`
	SkipTLSVerify   bool           `envconfig:"SKIP_TLS_VERIFY" default:"false" desc:"accept any certificate"`
	Timeout         time.Duration  `envconfig:"REQUEST_TIMEOUT_SECS" default:"30" min:"1ms" desc:"of one request"`
	TimeoutAlias    *time.Duration `envconfig:"REQUEST_TIMEOUT" min:"1ms" desc:"alias of REQUEST_TIMEOUT_SECS"`
	Workers         int            `envconfig:"NUM_CONCURRENT_TASKS" default:"10" min:"1" desc:"workers"`
	Duration        time.Duration  `envconfig:"TEST_DURATION" default:"2h" desc:"length of the test"`
	Model           string         `envconfig:"LOAD_MODEL_TYPE" default:"concurrent" desc:"Concurrent, Rps, RampRps (ramp) or DailyTraffic, in any case"` // as a plan names it
	TargetRPS       *float64       `envconfig:"TARGET_RPS" min:"0" desc:"Rps: rate per second, required; 0 is idle"`
	MinRPS          *float64       `envconfig:"MIN_RPS" min:"0" desc:"RampRps: least rate, required"`
	MaxRPS          *float64       `envconfig:"MAX_RPS" min:"0" desc:"RampRps: greatest rate, required"`
	RampDuration    *time.Duration `envconfig:"RAMP_DURATION" desc:"RampRps: length of the ramp; default TEST_DURATION"`
	DailyMinRPS     *float64       `envconfig:"DAILY_MIN_RPS" min:"0" desc:"DailyTraffic: rate at night, required"`
	DailyMidRPS     *float64       `envconfig:"DAILY_MID_RPS" min:"0" desc:"DailyTraffic: rate by day, required"`
	DailyMaxRPS     *float64       `envconfig:"DAILY_MAX_RPS" min:"0" desc:"DailyTraffic: rate at the peak, required"`
	DailyCycle      *time.Duration `envconfig:"DAILY_CYCLE_DURATION" min:"1ms" desc:"DailyTraffic: length of a day, required"`
	MorningRamp     float64        `envconfig:"MORNING_RAMP_RATIO" default:"0.125" min:"0" max:"1" desc:"DailyTraffic: share of the cycle"`
	PeakSustain     float64        `envconfig:"PEAK_SUSTAIN_RATIO" default:"0.167" min:"0" max:"1" desc:"DailyTraffic: share of the cycle"`
	MidDecline      float64        `envconfig:"MID_DECLINE_RATIO" default:"0.125" min:"0" max:"1" desc:"DailyTraffic: share of the cycle"`
	MidSustain      float64        `envconfig:"MID_SUSTAIN_RATIO" default:"0.167" min:"0" max:"1" desc:"DailyTraffic: share of the cycle"`
	EveningDecline  float64        `envconfig:"EVENING_DECLINE_RATIO" default:"0.167" min:"0" max:"1" desc:"DailyTraffic: share of the cycle"`
	PoolMaxIdle     int            `envconfig:"POOL_MAX_IDLE_PER_HOST" default:"32" min:"0" desc:"idle connections kept per host; 0: a connection per request"`
	PoolIdleTimeout time.Duration  `envconfig:"POOL_IDLE_TIMEOUT_SECS" default:"30" desc:"how long an idle connection is kept, in whole seconds; 0: not at all"`
	TCPNoDelay      bool           `envconfig:"TCP_NODELAY" default:"true" desc:"send small packets at once; false: let them wait for company (Nagle)"`
}

// deprecatedVariables may be set, and have no effect.
type deprecatedVariables struct {
	RegistryInterval string `envconfig:"NODE_REGISTRY_INTERVAL" deprecated:"true" desc:"has no effect: a node registers once"`
}

// IsSet reports whether the variable of that name is set and not empty.
func (s Settings) IsSet(variable string) bool { return s.set[variable] }
