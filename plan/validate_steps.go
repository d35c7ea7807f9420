package plan

import (
	"fmt"
	"regexp"
	"strings"
)

func (v *validator) scenarios() {
	const path = "scenarios"
	if !v.required(path, "a list of at least one scenario") {
		return
	}
	if len(v.plan.Scenarios) == 0 {
		v.fail(path, "is empty (a list of at least one scenario)")
	}
	names := map[string]int{}
	for i := range v.plan.Scenarios {
		s := &v.plan.Scenarios[i]
		at := index(path, i)
		v.scenario(at, s)
		if first, twice := names[s.Name]; twice && s.Name != "" {
			v.fail(at+".name", "%s is also the name of scenarios[%d] (a name of its own)", v.shown(at+".name"), first)
		} else {
			names[s.Name] = i
		}
	}
}

func (v *validator) scenario(path string, s *Scenario) {
	v.name(path+".name", s.Name)
	if v.given(path+".weight") && s.Weight <= 0 {
		v.fail(path+".weight", "%s is too small (a number above 0)", v.shown(path+".weight"))
	}
	v.dataFile(path+".dataFile", s.DataFile)
	v.positive(path+".config.timeout", s.Config.Timeout)
	v.whole(path+".config.retryCount", int64(s.Config.RetryCount), 0, 100)
	if s.Config.RetryCount == 0 {
		v.unused(path+".config", "without retryCount", "retryDelay")
	}
	steps := path + ".steps"
	if !v.required(steps, "a list of at least one step") {
		return
	}
	if len(s.Steps) == 0 {
		v.fail(steps, "is empty (a list of at least one step)")
	}
	v.steps(steps, s.Steps)
}

func (v *validator) name(path, name string) {
	if v.filled(path, name, "a name") {
		v.label(path, name)
	}
}

func (v *validator) dataFile(path string, f *DataFile) {
	if f == nil {
		return
	}
	v.filled(path+".path", f.Path, "a path of a CSV or JSON file")
	v.oneOf(path+".format", "a format", f.Format, "csv", "json")
	strategyOK := v.oneOf(path+".strategy", "a strategy", f.Strategy, "sequential", "random", "cycle")
	if v.oneOf(path+".onExhausted", "an action", f.OnExhausted, "wrap", "stop") &&
		f.OnExhausted == "stop" && strategyOK && f.Strategy != "sequential" {
		v.fail(path+".onExhausted", "stop never comes to pass with strategy %s (wrap, or strategy sequential)", f.Strategy)
	}
}

func (v *validator) steps(path string, steps []Step) {
	names := map[string]int{}
	for i := range steps {
		at, s := index(path, i), &steps[i]
		if v.given(at + ".name") {
			v.name(at+".name", s.Name)
		} else {
			s.Name = fmt.Sprintf("Step %d", i+1)
		}
		if first, twice := names[s.Name]; twice {
			v.warnAt(v.position(at+".name"), at+".name", fmt.Sprintf("%q is also the name of steps[%d]: their results are counted together", s.Name, first))
		} else {
			names[s.Name] = i
		}
		v.step(at, s)
	}
}

func (v *validator) step(path string, s *Step) {
	if v.required(path+".request", "a map with method and path") {
		v.request(path+".request", &s.Request)
	}
	for i := range s.Extract {
		v.extract(index(path+".extract", i), &s.Extract[i])
	}
	for i := range s.Assertions {
		v.assertion(index(path+".assertions", i), &s.Assertions[i])
	}
	if s.Cache != nil {
		v.required(path+".cache.ttl", acceptDuration)
		if len(s.Extract) == 0 {
			v.unused(path, "without extract", "cache")
		}
	}
	v.positive(path+".timeout", s.Timeout)
	v.thinkTime(path+".thinkTime", s.ThinkTime)
}

func (v *validator) thinkTime(path string, t *ThinkTime) {
	if t == nil || v.at[path].plain {
		return
	}
	both := v.required(path+".min", acceptDuration)
	both = v.required(path+".max", acceptDuration) && both
	if both && t.Max < t.Min {
		v.fail(path+".max", "%s is less than min %s (at least min)", v.shown(path+".max"), v.shown(path+".min"))
	}
}

var methods = []string{"GET", "POST", "PUT", "PATCH", "DELETE", "HEAD", "OPTIONS"}

func (v *validator) request(path string, r *Request) {
	if v.filled(path+".method", r.Method, either(methods)) {
		r.Method = strings.ToUpper(strings.TrimSpace(r.Method))
		v.oneOf(path+".method", "a method", r.Method, methods...)
	}
	v.target(path+".path", r.Path)
	v.headers(path+".headers", r.Headers)
	v.multipart(path+".multipart", r.Multipart)
	if v.given(path + ".bodyFile") {
		v.filled(path+".bodyFile", r.BodyFile, "a path of a file")
	}
	v.oneBody(path)
}

const acceptPath = "a path such as /users/${id}, or a full URL that begins with http:// or https://"

var scheme = regexp.MustCompile(`^[A-Za-z][A-Za-z0-9+.-]*://`)

func (v *validator) target(path, text string) {
	if !v.filled(path, text, acceptPath) {
		return
	}
	problem := ""
	switch {
	case scheme.MatchString(text):
		problem = urlProblem(text)
	case !validHeaderValue(text): // the same characters would break the request line
		problem = "has a control character"
	}
	if problem != "" {
		v.fail(path, "%s %s (%s)", v.shown(path), problem, acceptPath)
	}
}

// headers names no illegal key: who forgets the colon has a secret in it.
func (v *validator) headers(path string, headers []Header) {
	seen := map[string]string{}
	for _, h := range headers {
		at := join(path, h.Name)
		lower := strings.ToLower(h.Name)
		switch first, twice := seen[lower]; {
		case !validHeaderName(h.Name):
			v.failAt(v.at[at].key, path, "a key is not a header name (letters, digits and !#$%&'*+-.^_`|~)")
		case !validHeaderValue(h.Value):
			v.fail(at, "the value has a control character (text in one line)")
		case twice:
			v.fail(at, "is the same header as %s (each header once)", first)
		}
		seen[lower] = h.Name
	}
}

var bodyKeys = []string{"body", "bodySize", "bodyFile", "form", "multipart"}

func (v *validator) oneBody(path string) {
	first := ""
	for _, key := range bodyKeys {
		switch at := path + "." + key; {
		case !v.given(at):
		case first == "":
			first = key
		default:
			v.fail(at, "conflicts with %s (one of %s)", first, either(bodyKeys))
		}
	}
}

func (v *validator) multipart(path string, parts []Multipart) {
	if v.given(path) && len(parts) == 0 {
		v.fail(path, "is empty (a list of {name, value} or {name, file})")
	}
	for i, p := range parts {
		at := index(path, i)
		v.filled(at+".name", p.Name, "the name of the form field")
		file, value := v.given(at+".file"), v.given(at+".value")
		switch {
		case file && value:
			v.fail(at+".file", "conflicts with value (one of the two)")
		case !file && !value:
			v.fail(at+".value", "is missing (a text; or file, a path)")
		case file:
			v.filled(at+".file", p.File, "a path of a file")
		}
		if !file {
			v.unused(at, "without file", "filename")
		}
		if !validHeaderValue(p.ContentType) || !validHeaderValue(p.Filename) || !validHeaderValue(p.Name) {
			v.fail(at, "has a control character in name, filename or contentType (text in one line)")
		}
	}
}
