package loadgen

import (
	"bytes"
	"errors"
	"fmt"
	"net/url"
	"strings"

	"volley/plan"
)

// address makes a step's URL.
type address struct {
	base  template
	path  template // a path, or a full URL
	query template // the query parameters, placed; empty for none
}

func (p *parser) address(base string, r *plan.Request) (address, error) {
	var a address
	var err error
	if a.base, err = p.parse(strings.TrimRight(base, "/")); err != nil {
		return a, fmt.Errorf("request.path: config.baseUrl: %w", err)
	}
	path, _, _ := strings.Cut(r.Path, "#") // a fragment is never sent
	if a.path, err = p.parse(path); err != nil {
		return a, fmt.Errorf("request.path: %w", err)
	}
	if a.query, err = p.pairs(r.QueryParams); err != nil {
		return a, fmt.Errorf("request.queryParams: %w", err)
	}
	return a, nil
}

// pairs is "name=value&…", as in a query or a form.
func (p *parser) pairs(list []plan.Header) (template, error) {
	var out template
	for i, pair := range list {
		name, err := p.at(inQuery, pair.Name)
		if err != nil {
			return nil, err
		}
		value, err := p.at(inQuery, pair.Value)
		if err != nil {
			return nil, err
		}
		if i > 0 {
			out = out.literal("&")
		}
		out = out.join(name).literal("=").join(value)
	}
	return out, nil
}

func (t template) join(more template) template {
	for _, v := range more {
		if v.source == fromPlan {
			t = t.literal(v.text)
			continue
		}
		t = append(t, v)
	}
	return t
}

// static is true if every request has the same URL.
func (a *address) static() bool {
	_, fixed := a.query.static()
	return fixed && a.base.ofJob() && a.path.ofJob()
}

// ofJob is true if nothing varies within a run.
func (t template) ofJob() bool {
	for _, v := range t {
		if v.source != fromPlan && v.source != fromJob {
			return false
		}
	}
	return true
}

// text is the URL, unescaped where literals are. A path is joined to the base
// as the predecessor did, one slash between, unless it is a URL of its own.
func (a *address) text(s *scope) string {
	out := s.fillURL(nil, 0, a.path)
	if !isURL(string(out[:min(len(out), 8)])) {
		base := s.fillURL(nil, 0, a.base)
		path := strings.TrimLeft(string(out), "/")
		out = append(append([]byte(strings.TrimRight(string(base), "/")), '/'), path...)
	}
	text, _, _ := strings.Cut(string(out), "#") // one that came with a variable
	query := s.text(a.query)
	switch {
	case query == "":
		return text
	case !strings.Contains(text, "?"):
		return text + "?" + query
	case strings.HasSuffix(text, "?") || strings.HasSuffix(text, "&"):
		return text + query
	}
	return text + "&" + query
}

// fillURL appends a URL, or a path, that begins at from. It escapes each
// variable by where it stands: not at all if the text begins with it and in the
// authority, then as a path's segment, then as a part of the query.
func (s *scope) fillURL(dst []byte, from int, t template) []byte {
	for i := range t {
		how := t[i].how
		if how == byPlace {
			how = placeAfter(dst[from:])
		}
		dst = s.append(dst, &t[i], how)
	}
	return dst
}

func placeAfter(text []byte) escaping {
	switch {
	case len(text) == 0:
		return asIs
	case bytes.IndexByte(text, '?') >= 0:
		return inQuery
	case text[0] != '/' && isURL(string(text[:min(len(text), 8)])) && !pastAuthority(string(text)):
		return asIs
	}
	return inPath
}

// url is the address filled in.
func (a *address) url(s *scope) (*url.URL, error) {
	text := a.text(s)
	u, err := url.Parse(escape(text))
	var syntax *url.Error
	switch {
	case errors.As(err, &syntax):
		return nil, fmt.Errorf("request.path: %q is no URL: %w", presentable(text), syntax.Err)
	case u.Scheme != "http" && u.Scheme != "https":
		return nil, fmt.Errorf("request.path: %q is no URL (http://host/path or https://host/path)", presentable(text))
	case u.Hostname() == "":
		return nil, fmt.Errorf("request.path: %q has no host (http://host/path or a path is accepted)", presentable(text))
	}
	asciiURL(u)
	return u, nil
}

// presentable is a URL for a message: without query and user info, which may
// hold secrets.
func presentable(text string) string {
	text, _, _ = strings.Cut(text, "?")
	scheme, rest, found := strings.Cut(text, "://")
	if !found {
		return text
	}
	authority, path, _ := strings.Cut(rest, "/")
	return scheme + "://" + authority[strings.LastIndexByte(authority, '@')+1:] + "/" + path
}

// origin is where the address leads, as far as that is known before the run.
func (a *address) origin() (origin, bool) {
	text, whole := a.path.known()
	if !isURL(text) {
		text, whole = a.base.known()
	}
	u, err := url.Parse(escape(text))
	if err != nil || u.Host == "" || !whole && !pastAuthority(text) {
		return origin{}, false
	}
	return originOf(u), true
}

// known is what a URL begins with in the whole run.
func (t template) known() (text string, whole bool) {
	for i := range t {
		if !t[i : i+1].ofJob() {
			return string((&scope{}).fillURL(nil, 0, t[:i])), false
		}
	}
	return string((&scope{}).fillURL(nil, 0, t)), true
}

// pastAuthority is true for a URL whose host and port are complete.
func pastAuthority(text string) bool {
	_, rest, _ := strings.Cut(text, "://")
	return strings.ContainsAny(rest, "/?")
}

func isURL(s string) bool {
	lower := strings.ToLower(s[:min(len(s), 8)])
	return strings.HasPrefix(lower, "http://") || lower == "https://"
}

// escape percent-encodes what must not appear in a URL, which net/http would
// send as it is (blanks and non-ASCII in the query) or refuse (a lone %). What
// is encoded already stays.
func escape(text string) string { return string(appendEscaped(nil, []byte(text))) }

func appendEscaped(dst, text []byte) []byte {
	const hex = "0123456789ABCDEF"
	for i, c := range text {
		bad := c <= ' ' || c >= 0x7f || strings.IndexByte("\"<>\\^`{|}", c) >= 0 ||
			c == '%' && !isHexPair(text[i+1:])
		if bad {
			dst = append(dst, '%', hex[c>>4], hex[c&15])
			continue
		}
		dst = append(dst, c)
	}
	return dst
}

func isHexPair(s []byte) bool {
	return len(s) >= 2 && isHex(s[0]) && isHex(s[1])
}

func isHex(c byte) bool {
	return '0' <= c && c <= '9' || 'a' <= c && c <= 'f' || 'A' <= c && c <= 'F'
}
