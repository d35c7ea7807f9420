package loadgen

import (
	"bytes"
	"errors"
	"fmt"
	"net/textproto"
	"regexp"
	"strings"

	"volley/plan"
)

// extractor reads a variable out of a response.
type extractor struct {
	slot     int
	name     string
	from     string // jsonPath, regex, header, cookie
	query    jsonQuery
	regex    *regexp.Regexp
	group    int
	key      string // of a header or cookie
	fallback *string
	required bool
}

func (p *parser) extractors(list []plan.Extract) ([]extractor, error) {
	var out []extractor
	for i := range list {
		e, err := p.extractor(&list[i])
		if err != nil {
			return nil, fmt.Errorf("extract[%d].%w", i, err)
		}
		out = append(out, e)
	}
	return out, nil
}

func (p *parser) extractor(from *plan.Extract) (extractor, error) {
	e := extractor{
		slot: p.names.slot(from.Name), name: from.Name, from: from.Type,
		fallback: from.Default, required: from.Required,
	}
	var err error
	switch from.Type {
	case "jsonPath":
		if e.query, err = newJSONQuery(from.JSONPath); err != nil {
			return e, fmt.Errorf("jsonPath: %w", err)
		}
	case "regex":
		if e.regex, err = regexp.Compile(from.Regex); err != nil {
			return e, fmt.Errorf("regex: %w", err)
		}
		e.group = groupOf(e.regex, from.Name)
	case "header":
		e.key = textproto.CanonicalMIMEHeaderKey(from.Header)
	case "cookie":
		e.key = from.Cookie
	}
	return e, nil
}

// groupOf is the group that has the value: one named so or like the variable,
// else the first, else the whole match.
func groupOf(r *regexp.Regexp, variable string) int {
	for _, name := range []string{"value", variable} {
		if i := r.SubexpIndex(name); i > 0 {
			return i
		}
	}
	return min(r.NumSubexp(), 1)
}

func (e *extractor) readsBody() bool { return e.from == "jsonPath" || e.from == "regex" }

var (
	errNoMatch  = errors.New("no match")
	errNoHeader = errors.New("no such header")
	errNoCookie = errors.New("no such cookie")
)

// value is a part of the response where that has it as it is.
func (e *extractor) value(r *response) ([]byte, error) {
	switch e.from {
	case "jsonPath":
		return r.query(e.query)
	case "regex":
		at := e.regex.FindSubmatchIndex(r.body)
		if at == nil || at[2*e.group] < 0 {
			return nil, errNoMatch
		}
		// What is no UTF-8 becomes U+FFFD: a variable is text wherever it goes.
		return bytes.ToValidUTF8(r.body[at[2*e.group]:at[2*e.group+1]], []byte("\uFFFD")), nil
	case "header":
		if values := r.header[e.key]; len(values) > 0 {
			return []byte(values[0]), nil
		}
		return nil, errNoHeader
	}
	text, err := e.cookie(r.header["Set-Cookie"])
	return []byte(text), err
}

// cookie is what stands between the first cookie's name and its attributes.
func (e *extractor) cookie(lines []string) (string, error) {
	for _, line := range lines {
		pair, _, _ := strings.Cut(line, ";")
		name, value, found := strings.Cut(pair, "=")
		if found && strings.TrimSpace(name) == e.key {
			return strings.TrimSpace(value), nil
		}
	}
	return "", errNoCookie
}

// extract sets a step's variables, whatever the status was. complete is false
// if one was not found, default or not; err names the first required one that
// was not.
func (u *user) extract(st *step, r *response) (complete bool, err error) {
	complete = true
	for i := range st.extract {
		e := &st.extract[i]
		var text []byte
		problem := r.trouble
		if problem == nil || !e.readsBody() {
			text, problem = e.value(r)
		}
		if u.watch != nil {
			u.watch.extracted(e, string(text), problem)
		}
		switch {
		case problem == nil:
			u.scope.keep(e.slot, text)
			continue
		case e.fallback != nil:
			u.scope.set(e.slot, *e.fallback)
		case e.required && err == nil:
			err = fmt.Errorf("extract[%d]: ${%s} is required: %w", i, e.name, problem)
		}
		complete = false
		u.shard.ExtractionFailed()
	}
	return complete, err
}
