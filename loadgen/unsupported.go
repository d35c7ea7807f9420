package loadgen

import (
	"fmt"
	"net/textproto"
	"slices"
	"strings"

	"volley/plan"
)

// Unsupported lists what a valid plan asks for and this engine cannot execute,
// one line a feature, each beginning with its place in the plan. A plan is
// either executed as it is written or refused: empty means the former.
func Unsupported(p *plan.Plan) []string {
	f := &findings{}
	f.config(&p.Config)
	f.connections(p)
	f.load(&p.Load)
	for i := range p.Scenarios {
		f.scenario(fmt.Sprintf("scenarios[%d]", i), &p.Scenarios[i])
	}
	f.found(len(p.Thresholds) > 0, "thresholds", "thresholds")
	f.found(p.Standby != nil && p.Standby.RPS > 0, "standby.rps", "load in standby")
	f.found(p.Metrics.Phases, "metrics.phases", "the timing of request phases")
	return f.lines
}

type findings struct{ lines []string }

// found adds a line if the plan uses a feature.
func (f *findings) found(used bool, path, feature string) {
	if used {
		f.lines = append(f.lines, path+": "+feature+": not in this version")
	}
}

func (f *findings) config(c *plan.Config) {
	f.template("config.baseUrl", c.BaseURL)
	f.headers("config.customHeaders", c.CustomHeaders)
	f.found(c.Warmup > 0, "config.warmup", "warmup")
	f.found(c.Traceparent, "config.traceparent", "trace context")
	f.found(c.HTTP != "1.1", "config.http", fmt.Sprintf("HTTP version %q", c.HTTP))
	f.found(c.Client == "own", "config.client", "the engine's own client")
	f.found(c.DNS != defaultDNS, "config.dns", "settings of name lookup")
	f.found(len(c.Resolve) > 0, "config.resolve", "the map of addresses (config.resolveTargetAddr works)")
	f.found(c.TLS != nil, "config.tls", "TLS files of a plan")
	f.found(c.MaxBody != defaultMaxBody, "config.maxBody", "a limit on response bodies")
}

// connections looks at who may hold how many connections.
func (f *findings) connections(p *plan.Plan) {
	c := &p.Config
	f.found(c.Connections.Mode == "shared", "config.connections", "connections shared by workers")
	if c.Pool == nil || c.Pool.MaxIdlePerHost == nil {
		return
	}
	// Each worker keeps one connection per host: a limit binds below that.
	n := *c.Pool.MaxIdlePerHost
	f.found(n > 0 && n < mostWorkers(p), "config.pool.maxIdlePerHost",
		fmt.Sprintf("fewer idle connections (%d) than workers (up to %d)", n, mostWorkers(p)))
}

func (f *findings) load(l *plan.Load) {
	runs := slices.Contains([]string{"concurrent", "rps", "ramp"}, l.Model)
	f.found(!runs, "load.model", fmt.Sprintf("model %q", l.Model))
	f.found(l.Unit != "iterations", "load.unit", fmt.Sprintf("unit %q", l.Unit))
	f.found(l.Arrival != "uniform", "load.arrival", fmt.Sprintf("arrival %q", l.Arrival))
	f.found(l.Scope != "node", "load.scope", fmt.Sprintf("scope %q", l.Scope))
	f.found(l.RampUp > 0, "load.rampUp", "the ramp-up of workers")
	f.found(l.Iterations != nil, "load.iterations", "a number of iterations")
}

func (f *findings) scenario(path string, s *plan.Scenario) {
	f.found(s.DataFile != nil, path+".dataFile", "data files")
	f.found(s.Config.RetryCount > 0, path+".config.retryCount", "retries")
	for i := range s.Steps {
		f.step(fmt.Sprintf("%s.steps[%d]", path, i), &s.Steps[i])
	}
}

func (f *findings) step(path string, s *plan.Step) {
	f.request(path+".request", &s.Request)
	f.found(len(s.Extract) > 0, path+".extract", "extraction of variables")
	for i, a := range s.Assertions {
		f.found(a.Type != "statusCode", fmt.Sprintf("%s.assertions[%d]", path, i),
			fmt.Sprintf("assertion %q", a.Type))
	}
	f.found(s.Cache != nil, path+".cache", "the step cache")
	f.found(s.ThinkTime != nil, path+".thinkTime", "think time")
}

func (f *findings) request(path string, r *plan.Request) {
	f.template(path+".path", r.Path)
	f.pairs(path+".queryParams", r.QueryParams)
	f.headers(path+".headers", r.Headers)
	f.template(path+".body", r.Body)
	f.found(r.BodyFile != "", path+".bodyFile", "body files")
	f.found(len(r.Form) > 0, path+".form", "forms")
	f.found(len(r.Multipart) > 0, path+".multipart", "multipart bodies")
}

// headers also finds what net/http computes by itself, whatever the plan says.
func (f *findings) headers(path string, hs []plan.Header) {
	f.pairs(path, hs)
	for _, h := range hs {
		switch name := textproto.CanonicalMIMEHeaderKey(h.Name); name {
		case "Content-Length", "Transfer-Encoding", "Trailer":
			f.found(true, path, "a "+name+" of your own")
		}
	}
}

func (f *findings) pairs(path string, pairs []plan.Header) {
	for _, p := range pairs {
		if hasVariable(p.Name) || hasVariable(p.Value) {
			f.template(path, "${")
			return
		}
	}
}

func (f *findings) template(path, text string) {
	f.found(hasVariable(text), path, "the substitution of ${…}")
}

func hasVariable(text string) bool { return strings.Contains(text, "${") }
