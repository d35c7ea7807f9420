package plan

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Environment is a load test as the predecessor's environment variables
// describe it. A nil pointer or an empty text is a variable that is not set.
// Who reads the variables is not this package's business; it knows their names
// for its messages.
type Environment struct {
	TargetURL   string // TARGET_URL, required
	RequestType string // REQUEST_TYPE, default GET, any case
	SendJSON    bool   // SEND_JSON
	JSONPayload string // JSON_PAYLOAD, sent as it is

	CustomHeaders     string         // CUSTOM_HEADERS
	ResolveTargetAddr string         // RESOLVE_TARGET_ADDR
	SkipTLSVerify     *bool          // SKIP_TLS_VERIFY
	RequestTimeout    *time.Duration // REQUEST_TIMEOUT, REQUEST_TIMEOUT_SECS
	Workers           *int           // NUM_CONCURRENT_TASKS
	Duration          *time.Duration // TEST_DURATION, default 2h

	LoadModel    string         // LOAD_MODEL_TYPE, default Concurrent, any case
	TargetRPS    *float64       // TARGET_RPS
	MinRPS       *float64       // MIN_RPS
	MaxRPS       *float64       // MAX_RPS
	RampDuration *time.Duration // RAMP_DURATION, default TEST_DURATION

	DailyMinRPS         *float64       // DAILY_MIN_RPS
	DailyMidRPS         *float64       // DAILY_MID_RPS
	DailyMaxRPS         *float64       // DAILY_MAX_RPS
	DailyCycleDuration  *time.Duration // DAILY_CYCLE_DURATION
	MorningRampRatio    *float64       // MORNING_RAMP_RATIO, default 0.125
	PeakSustainRatio    *float64       // PEAK_SUSTAIN_RATIO, default 0.167
	MidDeclineRatio     *float64       // MID_DECLINE_RATIO, default 0.125
	MidSustainRatio     *float64       // MID_SUSTAIN_RATIO, default 0.167
	EveningDeclineRatio *float64       // EVENING_DECLINE_RATIO, default 0.167

	PoolMaxIdlePerHost  *int   // POOL_MAX_IDLE_PER_HOST
	PoolIdleTimeoutSecs *int   // POOL_IDLE_TIMEOUT_SECS
	Tenant              string // TENANT
	Scope               string // load.scope of a plan that names none: Merge alone reads it

	// Where a plan names a client certificate of its own. Without one there, the
	// engine reads the variables by itself: they are the node's.
	ClientCertPath string // CLIENT_CERT_PATH
	ClientKeyPath  string // CLIENT_KEY_PATH
}

// FromEnvironment renders the plan that e describes as a document that Parse
// accepts. Errors name the variables at fault, all at once.
func FromEnvironment(e Environment) ([]byte, error) {
	target, targetErr := splitTarget(e.TargetURL)
	r := &renderer{}
	r.line(0, "version", quoted("1.0"))
	if e.Tenant != "" {
		r.open(0, "metadata")
		r.line(1, "tenant", quoted(e.Tenant))
	}
	r.config(e, target)
	loadErr := r.load(e)
	if err := errors.Join(targetErr, loadErr, r.scenario(e, target)); err != nil {
		return nil, err
	}
	document := r.out.Bytes()
	if _, _, err := Parse(document); err != nil {
		return nil, inVariables(err)
	}
	return document, nil
}

// target is a URL in two parts whose joining gives the URL again.
type target struct{ base, path string }

func splitTarget(text string) (target, error) {
	if text == "" {
		return target{}, errors.New("TARGET_URL is missing (" + acceptBaseURL + ")")
	}
	if problem := urlProblem(text); problem != "" {
		return target{}, fmt.Errorf("TARGET_URL: %q %s (%s)", maskURL(text), problem, acceptBaseURL)
	}
	text, _, _ = strings.Cut(text, "#")
	authority := strings.Index(text, "://") + len("://")
	end := strings.IndexAny(text[authority:], "/?")
	if end < 0 {
		return target{base: text, path: "/"}, nil
	}
	base, path := text[:authority+end], text[authority+end:]
	if strings.HasPrefix(path, "//") { // joining would fold the slashes
		path = text
	}
	if path[0] == '?' {
		path = "/" + path
	}
	return target{base: base, path: literal(path)}, nil
}

// literal keeps a text from being taken for one with variables.
func literal(text string) string {
	return strings.ReplaceAll(text, "${", "$${")
}

type renderer struct{ out bytes.Buffer }

func (r *renderer) open(depth int, key string) {
	fmt.Fprintf(&r.out, "%s%s:\n", strings.Repeat("  ", depth), key)
}

func (r *renderer) line(depth int, key, value string) {
	fmt.Fprintf(&r.out, "%s%s: %s\n", strings.Repeat("  ", depth), key, value)
}

// quoted is a double-quoted YAML text; JSON's form of one is a subset of it.
func quoted(text string) string {
	var out bytes.Buffer
	encoder := json.NewEncoder(&out)
	encoder.SetEscapeHTML(false)
	if encoder.Encode(text) != nil {
		return `""` // a string always encodes
	}
	return strings.ReplaceAll(strings.TrimSpace(out.String()), "\x7f", `\x7f`)
}

func number(value float64) string {
	return strconv.FormatFloat(value, 'f', -1, 64)
}

// span writes a duration in the largest unit that holds it exactly.
func span(d time.Duration) string {
	for _, unit := range []string{"d", "h", "m", "s", "ms"} {
		if size := durationUnits[unit]; d%size == 0 && d != 0 {
			return strconv.FormatInt(int64(d/size), 10) + unit
		}
	}
	if d == 0 {
		return "0s"
	}
	return strconv.FormatFloat(float64(d)/float64(time.Millisecond), 'f', -1, 64) + "ms"
}

func (r *renderer) config(e Environment, t target) {
	r.open(0, "config")
	r.line(1, "baseUrl", quoted(t.base))
	if e.Workers != nil {
		r.line(1, "workers", strconv.Itoa(*e.Workers))
	}
	r.line(1, "duration", span(e.duration()))
	if e.RequestTimeout != nil {
		r.line(1, "timeout", span(*e.RequestTimeout))
	}
	if e.SkipTLSVerify != nil && *e.SkipTLSVerify {
		r.line(1, "skipTlsVerify", "true")
	}
	if e.CustomHeaders != "" {
		r.line(1, "customHeaders", quoted(e.CustomHeaders))
	}
	if e.ResolveTargetAddr != "" {
		r.line(1, "resolveTargetAddr", quoted(e.ResolveTargetAddr))
	}
	if e.PoolMaxIdlePerHost != nil || e.PoolIdleTimeoutSecs != nil {
		r.open(1, "pool")
		r.whole(2, "maxIdlePerHost", e.PoolMaxIdlePerHost)
		r.whole(2, "idleTimeoutSecs", e.PoolIdleTimeoutSecs)
	}
}

func (r *renderer) whole(depth int, key string, value *int) {
	if value != nil {
		r.line(depth, key, strconv.Itoa(*value))
	}
}

func (e Environment) duration() time.Duration {
	if e.Duration == nil {
		return 2 * time.Hour
	}
	return *e.Duration
}

// environmentModels are the names of a load model in LOAD_MODEL_TYPE, in lower
// case, with those of plans.
var environmentModels = map[string]string{
	"": "concurrent", "concurrent": "concurrent", "rps": "rps",
	"ramprps": "ramp", "ramp": "ramp", "dailytraffic": "dailytraffic",
}

// modelNumber is a number that a load model reads.
type modelNumber struct {
	variable, key string
	value         *float64
	usual         float64 // used if value is nil, unless required
	required      bool
}

func (r *renderer) load(e Environment) error {
	model, known := environmentModels[strings.ToLower(strings.TrimSpace(e.LoadModel))]
	if !known {
		return fmt.Errorf("LOAD_MODEL_TYPE: %q is not a load model (Concurrent, Rps, RampRps or DailyTraffic)", e.LoadModel)
	}
	r.open(0, "load")
	r.line(1, "model", model)
	var missing []string
	for _, n := range e.numbers(model) {
		switch {
		case n.value != nil:
			r.line(1, n.key, number(*n.value))
		case n.required:
			missing = append(missing, n.variable)
		default:
			r.line(1, n.key, number(n.usual))
		}
	}
	switch {
	case model == "ramp" && e.RampDuration == nil:
		r.line(1, "rampDuration", span(e.duration()))
	case model == "ramp":
		r.line(1, "rampDuration", span(*e.RampDuration))
	case model == "dailytraffic" && e.DailyCycleDuration == nil:
		missing = append(missing, "DAILY_CYCLE_DURATION")
	case model == "dailytraffic":
		r.line(1, "cycleDuration", span(*e.DailyCycleDuration))
	}
	if len(missing) > 0 {
		return fmt.Errorf("LOAD_MODEL_TYPE: %s requires %s", e.LoadModel, strings.Join(missing, ", "))
	}
	return nil
}

func (e Environment) numbers(model string) []modelNumber {
	switch model {
	case "rps":
		return []modelNumber{{"TARGET_RPS", "target", e.TargetRPS, 0, true}}
	case "ramp":
		return []modelNumber{{"MIN_RPS", "min", e.MinRPS, 0, true}, {"MAX_RPS", "max", e.MaxRPS, 0, true}}
	case "dailytraffic":
		return []modelNumber{
			{"DAILY_MIN_RPS", "min", e.DailyMinRPS, 0, true},
			{"DAILY_MID_RPS", "mid", e.DailyMidRPS, 0, true},
			{"DAILY_MAX_RPS", "max", e.DailyMaxRPS, 0, true},
			{"MORNING_RAMP_RATIO", "morningRampRatio", e.MorningRampRatio, 0.125, false},
			{"PEAK_SUSTAIN_RATIO", "peakSustainRatio", e.PeakSustainRatio, 0.167, false},
			{"MID_DECLINE_RATIO", "midDeclineRatio", e.MidDeclineRatio, 0.125, false},
			{"MID_SUSTAIN_RATIO", "midSustainRatio", e.MidSustainRatio, 0.167, false},
			{"EVENING_DECLINE_RATIO", "eveningDeclineRatio", e.EveningDeclineRatio, 0.167, false},
		}
	}
	return nil
}

func (r *renderer) scenario(e Environment, t target) error {
	if e.SendJSON && e.JSONPayload == "" {
		return errors.New("SEND_JSON is true, but JSON_PAYLOAD is missing (the body to send)")
	}
	method := e.method()
	r.open(0, "scenarios")
	r.line(1, "- name", "default")
	r.open(2, "steps")
	r.line(3, "- name", "request")
	r.open(4, "request")
	r.line(5, "method", quoted(method))
	r.line(5, "path", quoted(t.path))
	if e.SendJSON && carriesPayload(method) {
		r.open(5, "headers")
		r.line(6, "Content-Type", "application/json")
		r.line(5, "body", quoted(literal(e.JSONPayload)))
	}
	return nil
}

func (e Environment) method() string {
	if method := strings.ToUpper(strings.TrimSpace(e.RequestType)); method != "" {
		return method
	}
	return "GET"
}

func carriesPayload(method string) bool {
	return slices.Contains([]string{"POST", "PUT", "PATCH"}, method)
}

// variables says which variable a path of a rendered plan came from.
var variables = map[string]string{
	"metadata.tenant": "TENANT", "config.baseUrl": "TARGET_URL", "config.workers": "NUM_CONCURRENT_TASKS",
	"config.duration": "TEST_DURATION", "config.timeout": "REQUEST_TIMEOUT", "config.customHeaders": "CUSTOM_HEADERS",
	"config.resolveTargetAddr": "RESOLVE_TARGET_ADDR", "config.pool.maxIdlePerHost": "POOL_MAX_IDLE_PER_HOST",
	"config.pool.idleTimeoutSecs": "POOL_IDLE_TIMEOUT_SECS", "load.target": "TARGET_RPS",
	"load.rampDuration": "RAMP_DURATION", "load.cycleDuration": "DAILY_CYCLE_DURATION",
	"load.mid": "DAILY_MID_RPS", "load.min": "MIN_RPS or DAILY_MIN_RPS", "load.max": "MAX_RPS or DAILY_MAX_RPS",
	"load.morningRampRatio": "MORNING_RAMP_RATIO", "load.peakSustainRatio": "PEAK_SUSTAIN_RATIO",
	"load.midDeclineRatio": "MID_DECLINE_RATIO", "load.midSustainRatio": "MID_SUSTAIN_RATIO",
	"load.eveningDeclineRatio":             "EVENING_DECLINE_RATIO",
	"scenarios[0].steps[0].request.method": "REQUEST_TYPE",
	"scenarios[0].steps[0].request.path":   "TARGET_URL",
	"scenarios[0].steps[0].request.body":   "JSON_PAYLOAD",
}

// inVariables rewrites the mistakes of a rendered plan, which nobody wrote, as
// mistakes of the variables.
func inVariables(err error) error {
	var mistakes Errors
	if !errors.As(err, &mistakes) {
		return err
	}
	lines := make([]string, len(mistakes))
	for i, m := range mistakes {
		lines[i] = "the environment's plan: " + m.text()
		if name, known := variables[m.Path]; known {
			lines[i] = name + ": " + m.Message
		}
	}
	return errors.New(strings.Join(lines, "\n"))
}
