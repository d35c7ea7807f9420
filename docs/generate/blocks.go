package main

import (
	"fmt"
	"regexp"
	"strings"

	"volley/plan"
)

var (
	fence  = regexp.MustCompile("(?ms)^(<!-- (?:run by|not run): [^\n]+ -->\n)?```yaml\n(.*?)^```$")
	topKey = regexp.MustCompile(`(?m)^([a-z]+):`)
)

// fragments are the YAML blocks of a page that are plans or parts of one: those
// that no mark above says are run, and so read, elsewhere.
func fragments(page []byte) []string {
	var out []string
	for _, m := range fence.FindAllSubmatch(page, -1) {
		if len(m[1]) == 0 {
			out = append(out, string(m[2]))
		}
	}
	return out
}

// rest is what a page leaves out of a plan that it shows only parts of.
var rest = []struct{ key, text string }{
	{"version", "version: \"1.0\"\n"},
	{"config", "config: {baseUrl: \"http://127.0.0.1:8081\", duration: 10m}\n"},
	{"load", "load: {model: rps, target: 10}\n"},
	{"scenarios", "scenarios: [{name: S, steps: [{name: A, request: {method: GET, path: /}}]}]\n"},
}

// complete parses a fragment with the parts that it leaves out; an unknown key
// is a mistake here.
func complete(fragment string) (*plan.Plan, error) {
	has := map[string]bool{}
	for _, m := range topKey.FindAllStringSubmatch(fragment, -1) {
		has[m[1]] = true
	}
	var b strings.Builder
	for _, r := range rest {
		if !has[r.key] {
			b.WriteString(r.text)
		}
	}
	p, warnings, err := plan.Parse([]byte(b.String() + fragment))
	if err == nil && len(warnings) > 0 {
		err = fmt.Errorf("%v", warnings)
	}
	return p, err
}
