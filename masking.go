package main

import (
	"bytes"
	"encoding/json"
	"net/url"
	"regexp"
	"slices"
	"strings"

	"volley/loadgen"
)

const masked = "<secret>"

// maskedHeaders are those whose values are secrets whatever they hold.
func maskedHeaders() []string {
	return []string{"Authorization", "Proxy-Authorization", "Cookie", "Set-Cookie"}
}

// isSecretName is true for names of keys, parameters and headers whose values
// are nobody's business.
func isSecretName(name string) bool {
	name = strings.ToLower(strings.NewReplacer("-", "", "_", "", ".", "", " ", "").Replace(name))
	switch name {
	case "pass", "pwd", "pin", "otp", "cvc", "cvv", "sid", "auth", "bearer":
		return true
	}
	return slices.ContainsFunc([]string{
		"token", "passw", "passphrase", "secret", "apikey", "accesskey", "privatekey", "authorization", "credential", "jwt", "sessionid", "cookie",
	}, func(part string) bool { return strings.Contains(name, part) })
}

const (
	// shortestLearned keeps "1" from being masked wherever it stands.
	shortestLearned = 5
	mostLearned     = 1000
)

// masker hides secrets: values by the name they go by, and then those same
// values wherever else they turn up, such as a token in a path.
type masker struct{ known []string }

// learn keeps a value to be hidden from now on. It returns what is shown instead.
func (m *masker) learn(value string) string {
	for _, form := range []string{value, url.QueryEscape(value), url.PathEscape(value)} {
		if len(form) < shortestLearned || len(m.known) >= mostLearned || slices.Contains(m.known, form) || strings.Contains(masked, form) {
			continue
		}
		switch strings.ToLower(form) {
		case "false", "bearer", "basic", "token", "password": // words that stand for themselves
			continue
		}
		m.known = append(m.known, form)
	}
	// A value may be part of another.
	slices.SortStableFunc(m.known, func(a, b string) int { return len(b) - len(a) })
	return masked
}

// hide masks what has been learned.
func (m *masker) hide(text string) string {
	for _, value := range m.known {
		text = strings.ReplaceAll(text, value, masked)
	}
	return text
}

// header is a header's value as it may be shown.
func (m *masker) header(name, value string) string {
	switch {
	case strings.EqualFold(name, "Cookie"), strings.EqualFold(name, "Set-Cookie"):
		m.learnCookies(value)
		return masked
	case slices.ContainsFunc(maskedHeaders(), func(h string) bool { return strings.EqualFold(h, name) }), isSecretName(name):
		if _, credentials, found := strings.Cut(value, " "); found {
			m.learn(credentials)
		}
		return m.learn(value)
	}
	return m.pairs(value)
}

// learnCookies keeps the values of cookies; attributes are none.
func (m *masker) learnCookies(line string) {
	for i, pair := range strings.Split(line, ";") {
		name, value, _ := strings.Cut(strings.TrimSpace(pair), "=")
		switch strings.ToLower(name) {
		case "path", "domain", "expires", "max-age", "samesite", "version", "comment", "priority":
			if i > 0 {
				continue
			}
		}
		m.learn(strings.Trim(value, `"`))
	}
}

var (
	userInfo = regexp.MustCompile(`(://)([^/?#@\s"']+)@`)
	// pair is name=value as in a query or a form.
	pair = regexp.MustCompile(`([A-Za-z0-9_.%\[\]-]+)(=)([^&;\s"'<>#]+)`)
	// jsonPair also finds what is no whole JSON document.
	jsonPair = regexp.MustCompile(`"([^"\\]+)"(\s*:\s*")((?:[^"\\]|\\.)+)`)
	element  = regexp.MustCompile(`<([A-Za-z0-9_.:-]+)((?:\s[^<>]*)?>)([^<]+)`)
	// formPart is a field of a multipart body.
	formPart = regexp.MustCompile(`(?s)name="([^"]*)"([^\r\n]*\r\n(?:[^\r\n]+\r\n)*\r\n)(.+?)\r\n--`)
	input    = regexp.MustCompile(`name=["']?([^"'\s>]+)["']?([^<>]*?value=["'])([^"']+)`)
	turned   = regexp.MustCompile(`(value=["'])([^"']+)(["'][^<>]*?name=["']?)([^"'\s>]+)`)
)

// pairs masks values by the names beside them, and user information.
func (m *masker) pairs(text string) string {
	text = userInfo.ReplaceAllString(text, "${1}"+masked+"@")
	return m.named(pair, text)
}

// named masks the third group of a match whose first is the name of a secret.
func (m *masker) named(form *regexp.Regexp, text string) string {
	return m.replace(form, text, 1, 3)
}

func (m *masker) replace(form *regexp.Regexp, text string, name, value int) string {
	var out strings.Builder
	last := 0
	for _, at := range form.FindAllStringSubmatchIndex(text, -1) {
		key, from, to := text[at[2*name]:at[2*name+1]], at[2*value], at[2*value+1]
		if !isSecretName(key) || from < last || text[from:to] == masked {
			continue
		}
		if plain, err := url.QueryUnescape(text[from:to]); err == nil && form == pair {
			m.learn(plain)
		}
		out.WriteString(text[last:from] + m.learn(text[from:to]))
		last = to
	}
	return out.String() + text[last:]
}

// body masks values by their keys: of JSON, forms, multipart fields, XML and
// HTML inputs. What it cannot read it searches for pairs of either kind.
func (m *masker) body(body []byte) string {
	text := m.named(element, string(body)) // first: masks look like elements
	text = m.json([]byte(text))
	for _, form := range []*regexp.Regexp{jsonPair, formPart, input} {
		text = m.named(form, text)
	}
	text = m.replace(turned, text, 4, 2)
	return m.pairs(text)
}

// span is a part of a text.
type span struct{ from, to int }

// json masks the values of secret keys in JSON documents, as far as they can be
// read, and leaves everything else as it is.
func (m *masker) json(body []byte) string {
	if first := bytes.TrimSpace(body); len(first) == 0 || first[0] != '{' && first[0] != '[' {
		return string(body)
	}
	var out strings.Builder
	last := 0
	for _, s := range m.secretSpans(body) {
		out.Write(body[last:s.from])
		out.WriteString(`"` + masked + `"`)
		last = s.to
	}
	out.Write(body[last:])
	return out.String()
}

// level is an object or list that is open.
type level struct {
	object, secret bool
	key            string // whose value comes next, "" before a key
	named          bool   // key has been read
}

// secretSpans finds scalars whose key, or that of a map or list around them, is
// the name of a secret, and learns them.
func (m *masker) secretSpans(body []byte) []span {
	d := json.NewDecoder(bytes.NewReader(body))
	d.UseNumber()
	var spans []span
	open := []level{{}}
	for {
		before := int(d.InputOffset())
		token, err := d.Token()
		if err != nil {
			return spans // the end, or what is no JSON
		}
		top := &open[len(open)-1]
		secret := top.secret || top.named && isSecretName(top.key)
		switch token := token.(type) {
		case json.Delim:
			if token == '{' || token == '[' {
				top.named = false
				open = append(open, level{object: token == '{', secret: secret})
			} else {
				open = open[:len(open)-1]
			}
			continue
		case string:
			if top.object && !top.named {
				top.key, top.named = token, true
				continue
			}
			if secret {
				m.learn(token)
			}
		case json.Number:
			if secret {
				m.learn(token.String())
			}
		}
		top.named = false
		if secret && token != nil {
			end := int(d.InputOffset())
			spans = append(spans, span{startOf(body, before, end), end})
		}
	}
}

// startOf is where a token begins: after the blanks and signs before it.
func startOf(body []byte, from, to int) int {
	for from < to && strings.IndexByte(" \t\r\n:,", body[from]) >= 0 {
		from++
	}
	return from
}

// learnStep learns all that a step shows, so that none of it is shown before the
// place where it is known to be a secret.
func (m *masker) learnStep(s *loadgen.TriedStep) {
	m.learnVariables(s.Row)
	for i := range s.Attempts {
		a := &s.Attempts[i]
		for j := range a.Exchanges {
			m.learnExchange(&a.Exchanges[j])
		}
		m.learnVariables(a.Variables)
	}
}

func (m *masker) learnExchange(e *loadgen.TriedExchange) {
	m.pairs(e.URL)
	for _, h := range []map[string][]string{e.Header, e.ResponseHeader} {
		for name, values := range h {
			for _, value := range values {
				m.header(name, value)
			}
		}
	}
	m.body(e.Body)
	m.body(e.Response)
}

func (m *masker) learnVariables(list []loadgen.TriedVariable) {
	for i := range list {
		if v := &list[i]; isSecretVariable(v) {
			m.learn(v.Value)
		}
	}
}

// isSecretVariable looks at the name, and at where the value comes from.
func isSecretVariable(v *loadgen.TriedVariable) bool {
	kind, where, _ := strings.Cut(v.From, " ")
	switch kind {
	case "cookie":
		return true
	case "dataFile":
		where = ""
	}
	return isSecretName(v.Name) || isSecretName(where)
}
