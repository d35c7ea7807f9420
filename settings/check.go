package settings

import (
	"log/slog"
	"math"
	"os"
	"regexp"
	"strconv"
	"strings"
	"unicode"
)

const (
	defaultAPIAddr     = "0.0.0.0:8080"
	defaultMetricsAddr = "0.0.0.0:9090"
	off                = "off"
)

func (c *checker) checkRun(s *Settings) {
	switch {
	case s.Run.EngineMode == "" && s.Cluster.Enabled:
		s.Run.EngineMode = "child"
	case s.Run.EngineMode == "":
		s.Run.EngineMode = "inproc"
	case s.Run.EngineMode == "inproc" && s.Cluster.Enabled:
		c.warn("ENGINE_MODE=inproc in a cluster: load in the control process can cost the leadership")
	}
	c.checkAllOrNone(map[string]string{"CLIENT_CERT_PATH": s.Run.ClientCertPath, "CLIENT_KEY_PATH": s.Run.ClientKeyPath},
		"CLIENT_CERT_PATH", "CLIENT_KEY_PATH")
	c.checkResultFile(s.Run.ResultFile)
	c.checkPlanEnv(&s.Run)
	c.checkFolder("DATA_DIR", s.Run.DataDir)
}

func (c *checker) checkFolder(name, path string) {
	if path == "" {
		return
	}
	info, err := os.Stat(path)
	c.refuseUnless(err == nil && info.IsDir(), name, "want a folder that is there")
}

// checkPlanEnv reads the variables that a plan may read. volley's own secrets
// are none of them: a plan may come from anybody who can post one.
func (c *checker) checkPlanEnv(run *Run) {
	run.PlanEnv = map[string]Secret{}
	for _, name := range run.PlanEnvNames {
		if c.secrets[name] {
			c.refuse("PLAN_ENV", "%s is a secret of volley's own, which no plan may read: want names of other variables", name)
			continue
		}
		if value, ok := os.LookupEnv(name); ok {
			run.PlanEnv[name] = NewSecret(value)
		}
	}
}

// checkAllOrNone checks variables that name readable files and make sense only
// together.
func (c *checker) checkAllOrNone(files map[string]string, names ...string) {
	given := 0
	for _, name := range names {
		if files[name] != "" {
			given++
			c.checkReadable(name, files[name])
		}
	}
	for _, name := range names {
		if given > 0 && files[name] == "" {
			c.refuse(name, "not set: want %s together, or none", strings.Join(names, ", "))
		}
	}
}

func (c *checker) checkReadable(name, path string) {
	file, err := os.Open(path)
	if err != nil {
		c.refuse(name, "want a readable file: %v", err)
		return
	}
	defer file.Close()
	if info, err := file.Stat(); err == nil && info.IsDir() {
		c.refuse(name, "want a readable file: it is a directory")
	}
}

func (c *checker) checkResultFile(target string) {
	c.refuseUnless(!strings.HasSuffix(target, ".html"), "RESULT_FILE", "want another ending than .html: it names the result as JSON, beside which x.json has the report as x.html")
	path, isGCS := strings.CutPrefix(target, "gs://")
	if !isGCS {
		return
	}
	bucket, object, _ := strings.Cut(path, "/")
	c.refuseUnless(bucket != "" && object != "" && !strings.ContainsAny(bucket, "{}"), "RESULT_FILE",
		"want a path or gs://bucket/object, where the object's name alone may have {run_id} and {node_id}")
}

// maxLabel is what a plan may use for a label, too.
const maxLabel = 256

// maxNodeID bounds names that become labels, parts of identities and of paths.
const maxNodeID = 128

func (c *checker) checkIdentity(s *Settings, hostname func() (string, error)) {
	if s.Node.ID == "" {
		s.Node.ID = c.defaultNodeID(hostname)
	}
	nameTask(s)
	c.refuseUnless(nodeName(s.Node.ID) || s.Node.ID == "", "CLUSTER_NODE_ID",
		"node name %q: want 1 to %d printable characters without blanks, / and \\", s.Node.ID, maxNodeID)
	if s.Node.Name == "" {
		s.Node.Name = s.Node.ID
	}
	for _, label := range [][2]string{{"NODE_NAME", s.Node.Name}, {"CLUSTER_REGION", s.Node.Region}, {"TENANT", s.Node.Tenant}} {
		name, text := label[0], label[1]
		fits := len(text) <= maxLabel && !strings.ContainsFunc(text, unicode.IsControl)
		c.refuseUnless(fits || c.bad[name] || !s.IsSet(name), name, "want a label: at most %d bytes, no control characters", maxLabel)
	}
	c.refuseUnless(metricPrefix.MatchString(s.Node.MetricNamespace), "METRIC_NAMESPACE",
		"want letters, digits and _, not beginning with a digit")
}

var metricPrefix = regexp.MustCompile(`^[a-zA-Z_][a-zA-Z0-9_]*$`)

func (c *checker) defaultNodeID(hostname func() (string, error)) string {
	if name := os.Getenv("HOSTNAME"); name != "" {
		return name
	}
	name, err := hostname()
	if err != nil {
		c.refuse("CLUSTER_NODE_ID", "not set, and the host's name is not known (%v): want a name for this node", err)
	}
	return name
}

func nodeName(name string) bool {
	return len(name) > 0 && len(name) <= maxNodeID && !strings.ContainsFunc(name, func(r rune) bool {
		return r == '/' || r == '\\' || unicode.IsSpace(r) || !unicode.IsPrint(r)
	})
}

func (c *checker) checkControl(s *Settings) {
	control := &s.Control
	onPort := control.Port != nil && !c.bad["PORT"]
	if control.Addr == "" {
		control.Addr = defaultAPIAddr
		if onPort {
			control.Addr = "0.0.0.0:" + strconv.Itoa(*control.Port)
		}
	} else {
		c.checkListen("CLUSTER_HEALTH_ADDR", control.Addr)
	}
	switch {
	case strings.EqualFold(strings.TrimSpace(control.MetricsAddr), off), control.MetricsAddr == "" && onPort:
		control.MetricsAddr = ""
	case control.MetricsAddr == "":
		control.MetricsAddr = defaultMetricsAddr
	default:
		c.checkMetricsAddr(control)
	}
	c.checkToken("API_AUTH_TOKEN", control.Token)
	if control.HealthAuth && !control.Token.IsSet() {
		c.warn("HEALTH_AUTH_ENABLED has no effect without API_AUTH_TOKEN: the control API is open")
	}
}

func (c *checker) checkMetricsAddr(control *Control) {
	if !isListen(control.MetricsAddr) {
		c.refuse("METRICS_ADDR", "want host:port with a port from 0 to 65535, or off")
		return
	}
	c.refuseUnless(control.MetricsAddr != control.Addr || strings.HasSuffix(control.Addr, ":0"), "METRICS_ADDR",
		"the control API listens there, and serves /metrics too: want another address, or off")
}

// checkToken refuses tokens that no HTTP header can carry.
func (c *checker) checkToken(name string, token Secret) {
	unfit := func(r rune) bool { return r <= ' ' || r > '~' }
	c.refuseUnless(!strings.ContainsFunc(token.Reveal(), unfit), name,
		"want printable ASCII characters without blanks (is there a line break at the end?)")
}

// levelOff is above every level that is logged.
const levelOff = slog.Level(math.MaxInt32)

func (c *checker) checkLog(s *Settings) {
	fromRust, ok := rustLevel(s.Log.RustLog)
	c.refuseUnless(ok, "RUST_LOG", "want trace, debug, info, warn, error or off, or directives such as rust_loadtest=debug")
	if s.Log.LevelName == "" {
		s.Log.LevelName = fromRust
	}
	s.Log.Level = levelNamed(s.Log.LevelName)
}

func levelNamed(name string) slog.Level {
	switch name {
	case "trace":
		return slog.LevelDebug - 4
	case "debug":
		return slog.LevelDebug
	case "warn":
		return slog.LevelWarn
	case "error":
		return slog.LevelError
	case off:
		return levelOff
	}
	return slog.LevelInfo
}

// rustLevel reads RUST_LOG: a level for everything, or target=level directives,
// of which those for rust_loadtest and volley count; info if none applies.
func rustLevel(text string) (name string, ok bool) {
	general, own := "info", ""
	for directive := range strings.SplitSeq(text, ",") {
		target, level, targeted := strings.Cut(strings.TrimSpace(directive), "=")
		if !targeted {
			target, level = "", target
		}
		level = strings.ToLower(level)
		switch {
		case directive == "":
		case !knownLevel(level):
			return "info", false
		case target == "":
			general = level
		case target == "rust_loadtest" || target == "volley":
			own = level
		}
	}
	if own != "" {
		return own, true
	}
	return general, true
}

func knownLevel(name string) bool {
	switch name {
	case "trace", "debug", "info", "warn", "error", off:
		return true
	}
	return false
}
