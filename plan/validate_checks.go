package plan

import (
	"errors"
	"regexp"
	"regexp/syntax"
	"slices"
	"strconv"
	"strings"
)

const acceptRegex = "a regular expression in RE2 syntax"

// extractTypes are also the names of the keys that they read.
var extractTypes = []string{"jsonPath", "regex", "header", "cookie"}

func (v *validator) extract(path string, e *Extract) {
	v.variableName(path+".name", e.Name)
	if e.Required && e.Default != nil {
		v.fail(path+".required", "conflicts with default (one of the two)")
	}
	if !v.kind(path, "an extractor", e.Type, extractTypes...) {
		return
	}
	for _, key := range extractTypes {
		if key != e.Type {
			v.unused(path, "with type "+e.Type, key)
		}
	}
	switch e.Type {
	case "jsonPath":
		v.jsonPath(path+".jsonPath", e.JSONPath)
	case "regex":
		v.regex(path+".regex", e.Regex)
	case "header":
		v.headerName(path+".header", e.Header)
	case "cookie":
		v.filled(path+".cookie", e.Cookie, "the name of a cookie")
	}
}

// kind checks the type that says which keys a map has.
func (v *validator) kind(path, what, value string, allowed ...string) bool {
	return v.required(path+".type", either(allowed)) && v.oneOf(path+".type", what, value, allowed...)
}

// builtIn variables hide an extracted one of the same name.
var builtIn = []string{"timestamp", "uuid", "iteration", "worker", "node", "run_id"}

func (v *validator) variableName(path, name string) {
	if !v.filled(path, name, "the name of the variable") {
		return
	}
	if strings.ContainsAny(name, "${}():\" \t\r\n") {
		v.fail(path, "%s is not the name of a variable (no blanks, quotes, brackets, colons or $)", v.shown(path))
	}
	for _, taken := range builtIn {
		if name == taken {
			v.warn(path, "is hidden by the built-in variable ${%s}", taken)
		}
	}
}

func (v *validator) regex(path, text string) {
	if !v.required(path, acceptRegex) {
		return
	}
	if text == "" {
		v.fail(path, "is empty (%s)", acceptRegex)
		return
	}
	if _, err := regexp.Compile(text); err != nil {
		reason := err.Error()
		var syntaxError *syntax.Error
		if errors.As(err, &syntaxError) {
			reason = syntaxError.Code.String()
		}
		v.fail(path, "%s is not a regular expression: %s (%s)", v.shown(path), reason, acceptRegex)
	}
}

func (v *validator) headerName(path, name string) {
	if v.filled(path, name, "the name of a header") && !validHeaderName(name) {
		v.fail(path, "%s is not the name of a header (letters, digits and hyphens)", v.shown(path))
	}
}

func (v *validator) jsonPath(path, text string) {
	if !v.filled(path, text, acceptJSONPath) {
		return
	}
	if problem := jsonPathProblem(text); problem != "" {
		v.fail(path, "%s %s (%s)", v.shown(path), problem, acceptJSONPath)
	}
}

// assertionKeys are the keys that some types of assertion read.
var assertionKeys = []struct{ key, types string }{
	{"expected", "statusCode jsonPath"}, {"max", "responseTime"}, {"path", "jsonPath"},
	{"text", "bodyContains"}, {"regex", "bodyMatches"}, {"header", "headerExists"},
}

func (v *validator) assertion(path string, a *Assertion) {
	if !v.kind(path, "an assertion", a.Type,
		"statusCode", "responseTime", "jsonPath", "bodyContains", "bodyMatches", "headerExists") {
		return
	}
	for _, k := range assertionKeys {
		if !slices.Contains(strings.Fields(k.types), a.Type) {
			v.unused(path, "with type "+a.Type, k.key)
		}
	}
	switch a.Type {
	case "statusCode":
		v.statusCode(path+".expected", &a.Expected)
	case "responseTime":
		if v.required(path+".max", acceptDuration) {
			v.positive(path+".max", a.Max)
		}
	case "jsonPath":
		v.jsonPath(path+".path", a.Path)
		if a.Expected.Set && !v.at[path+".expected"].plain {
			v.fail(path+".expected", "is a list (text; * is satisfied by any value)")
		}
	case "bodyContains":
		if v.required(path+".text", "a text") && a.Text == "" {
			v.fail(path+".text", "is empty (a text)")
		}
	case "bodyMatches":
		v.regex(path+".regex", a.Regex)
	case "headerExists":
		v.headerName(path+".header", a.Header)
	}
}

const acceptStatus = "a status code such as 200, a class such as 2xx, or a list of them"

func (v *validator) statusCode(path string, e *Expected) {
	if !v.required(path, acceptStatus) {
		return
	}
	if v.at[path].plain {
		v.status(path, e)
		return
	}
	items := 0
	for ; v.given(index(path, items)); items++ {
		if at := index(path, items); !v.silent(at) {
			v.status(at, e)
		}
	}
	if items == 0 {
		v.fail(path, "is empty (%s)", acceptStatus)
	}
}

// status reads one code or class at path and adds it to what is expected.
func (v *validator) status(path string, e *Expected) {
	text := strings.ToLower(strings.TrimSpace(v.at[path].text))
	if class, ok := strings.CutSuffix(text, "xx"); ok && len(class) == 1 && class >= "1" && class <= "5" {
		lo := int(class[0]-'0') * 100
		e.Statuses = append(e.Statuses, StatusRange{Lo: lo, Hi: lo + 99})
		return
	}
	code, err := strconv.Atoi(text)
	if err != nil || code < 100 || code > 999 {
		v.fail(path, "%s is not a status (%s)", v.shown(path), acceptStatus)
		return
	}
	e.Statuses = append(e.Statuses, StatusRange{Lo: code, Hi: code})
}
