package loadgen

import (
	"net"
	"strconv"
	"strings"

	"volley/plan"
	"volley/stats"
)

// Place is where a step's requests go, as far as that is the same for all of
// them; what is not is empty.
type Place struct {
	Method, Scheme, Host string
	Port                 int
	Path                 string // a variable as {name}, without the query
}

// Places are those of a job's steps. Where steps of one name differ, what they
// have in common is kept. The error is that of a document that is no plan.
func Places(job *Job) (map[stats.StepKey]Place, error) {
	p, _, err := plan.Parse(job.Document)
	if err != nil {
		return nil, err
	}
	places := map[stats.StepKey]Place{}
	for i := range p.Scenarios {
		in := &parser{job: job, names: names{}, anyEnv: true}
		for _, step := range p.Scenarios[i].Steps {
			key := stats.StepKey{Scenario: p.Scenarios[i].Name, Step: step.Name}
			found := in.place(p.Config.BaseURL, &step.Request)
			if known, twice := places[key]; twice {
				found = found.common(known)
			}
			places[key] = found
		}
	}
	return places, nil
}

func (p *parser) place(base string, r *plan.Request) Place {
	out := Place{Method: r.Method, Path: pathOf(base, r.Path)}
	a, err := p.address(base, r)
	if err != nil {
		return out
	}
	if o, ok := a.origin(); ok {
		host, port, err := net.SplitHostPort(o.addr)
		if number, bad := strconv.Atoi(port); err == nil && bad == nil {
			out.Scheme, out.Host, out.Port = o.scheme, host, number
		}
	}
	return out
}

// pathOf is a URL's path as the plan has it, which is the same for every request.
func pathOf(base, path string) string {
	if !isURL(path) {
		path = strings.TrimRight(base, "/") + "/" + strings.TrimLeft(path, "/")
	}
	path, _, _ = strings.Cut(path, "#")
	path, _, _ = strings.Cut(path, "?")
	_, rest, isURL := strings.Cut(path, "://")
	if !isURL {
		return "" // the base is a variable
	}
	_, path, _ = strings.Cut(rest, "/")
	return "/" + strings.ReplaceAll(path, "${", "{")
}

func (p Place) common(o Place) Place {
	if p.Method != o.Method {
		p.Method = ""
	}
	if p.Scheme != o.Scheme || p.Host != o.Host || p.Port != o.Port {
		p.Scheme, p.Host, p.Port = "", "", 0
	}
	if p.Path != o.Path {
		p.Path = ""
	}
	return p
}
