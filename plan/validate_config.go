package plan

import (
	"fmt"
	"net/url"
	"regexp"
	"strings"
)

const (
	maxWorkersNode    = 10_000
	maxWorkersCluster = 1_000_000 // totals, to be divided among nodes
)

func (v *validator) config() {
	c := &v.plan.Config
	v.baseURL(c.BaseURL)
	v.whole("config.workers", int64(c.Workers), 1, v.mostWorkers())
	v.duration()
	v.positive("config.timeout", c.Timeout)
	v.pool()
	v.oneOf("config.client", "a client", c.Client, "auto", "own", "std")
	v.oneOf("config.dns.select", "a way to select", c.DNS.Select, "roundRobin", "first")
	v.oneOf("config.cookies", "a lifetime of cookies", c.Cookies, "iteration", "worker", "off")
	v.whole("config.maxRedirects", int64(c.MaxRedirects), 0, 100)
	v.resolve()
	v.tls()
}

// mostWorkers is larger where numbers are totals of a cluster.
func (v *validator) mostWorkers() int64 {
	if v.plan.Load.Scope == "cluster" {
		return maxWorkersCluster
	}
	return maxWorkersNode
}

const acceptBaseURL = "a URL that begins with http:// or https://, such as https://api.example.com"

func (v *validator) baseURL(text string) {
	const path = "config.baseUrl"
	if !v.filled(path, text, acceptBaseURL) {
		return
	}
	if problem := urlProblem(text); problem != "" {
		v.fail(path, "%s %s (%s)", v.shown(path), problem, acceptBaseURL)
		return
	}
	if strings.ContainsAny(text, "?#") {
		v.fail(path, "%s has a query or a fragment (a URL without; a query belongs to request.path or request.queryParams)", v.shown(path))
	}
}

var variable = regexp.MustCompile(`\$\{[^}]*\}`)

// urlProblem says what is wrong with a full URL, in which ${variables} may
// stand for anything but the scheme.
func urlProblem(text string) string {
	if !fullURL(text) {
		return "does not begin with http:// or https://"
	}
	text = variable.ReplaceAllString(text, "1") // legal as a host, as a port and in a path
	before, _, _ := strings.Cut(text, "?")
	authority, _, _ := strings.Cut(before[strings.Index(before, "://")+3:], "/")
	if strings.ContainsFunc(authority, func(r rune) bool { return r <= ' ' }) {
		return "has a blank in its host"
	}
	// The path and query are escaped when a request is built.
	u, err := url.Parse("http://" + authority)
	switch {
	case err != nil:
		return "has no legal host and port"
	case u.Hostname() == "":
		return "has no host"
	case u.Port() != "" && !validPort(u.Port()):
		return "has a port out of range"
	}
	return ""
}

func fullURL(text string) bool {
	return strings.HasPrefix(text, "http://") || strings.HasPrefix(text, "https://")
}

func validPort(port string) bool {
	value, problem := parseWhole(port)
	return problem == "" && value >= 1 && value <= 65535
}

// duration may be left out where the load says by itself when it is over. It
// stays 0 then with load.iterations; stages fill it in.
func (v *validator) duration() {
	const path = "config.duration"
	c, l := &v.plan.Config, &v.plan.Load
	if !v.given(path) {
		if l.Iterations == nil && l.Model != "stages" && !v.silent("load.model") && !v.silent("load.iterations") {
			v.fail(path, "is missing (%s)", acceptDuration)
		}
		return
	}
	if c.Duration == 0 && l.Iterations != nil {
		v.fail(path, "%s ends the run before its iterations (leave it out to be bound by load.iterations alone)", v.shown(path))
	}
	if c.Warmup > 0 && c.Warmup >= c.Duration {
		v.fail("config.warmup", "%s is not shorter than config.duration %s (a duration below it)",
			v.shown("config.warmup"), v.shown(path))
	}
}

func (v *validator) pool() {
	p := v.plan.Config.Pool
	if p == nil {
		return
	}
	const most = 1_000_000
	for key, value := range map[string]*int{
		"maxIdlePerHost": p.MaxIdlePerHost, "idleTimeoutSecs": p.IdleTimeoutSecs, "metricsReuseThresholdMs": p.MetricsReuseThresholdMs,
	} {
		if value != nil {
			v.whole("config.pool."+key, int64(*value), 0, most)
		}
	}
	mode := v.plan.Config.Connections.Mode
	if p.MaxIdlePerHost != nil && *p.MaxIdlePerHost == 0 && v.given("config.connections") && mode != "request" {
		v.fail("config.pool.maxIdlePerHost", "0 asks for a connection per request, but config.connections is %s (one of the two)",
			v.shown("config.connections"))
	}
}

const acceptResolve = "an IP address with or without a port, such as 10.0.0.5:8443 or [::1]:8443"

func (v *validator) resolve() {
	c := &v.plan.Config
	for host, address := range c.Resolve {
		path := join("config.resolve", host)
		if _, _, ok := splitAddress(address); !ok {
			v.fail(path, "%s is not an address (%s)", v.shown(path), acceptResolve)
		}
		if host == "" || strings.ContainsAny(host, ":/ ") {
			v.fail(path, "the key is not a host name (a name without scheme and port)")
		}
		if host == c.ResolveTarget.Host {
			v.fail(path, "is also in config.resolveTargetAddr (one of the two)")
		}
	}
}

func (v *validator) tls() {
	t := v.plan.Config.TLS
	if t == nil {
		return
	}
	for _, pair := range [][2]string{{"cert", "key"}, {"key", "cert"}} {
		have, want := "config.tls."+pair[0], "config.tls."+pair[1]
		if v.given(have) && !v.given(want) {
			v.fail(want, "is missing (a path; %s needs it)", have)
		}
	}
	for key, file := range map[string]string{"ca": t.CA, "cert": t.Cert, "key": t.Key} {
		if path := "config.tls." + key; v.given(path) {
			v.filled(path, file, "a path on the node")
		}
	}
}

// index is the path of an item of a list.
func index(path string, i int) string {
	return fmt.Sprintf("%s[%d]", path, i)
}
