package plan

import (
	"net/netip"
	"strconv"
	"strings"
	"time"

	"github.com/goccy/go-yaml/ast"
)

// The types here have a form of their own in YAML.

func (s *Size) decode(d *decoder, path string, node ast.Node) {
	if text, ok := d.scalar(path, node, acceptSize); ok {
		value, problem := parseSize(text)
		d.store(path, text, problem, acceptSize)
		*s = value
	}
}

const acceptHeaders = `"Name: value, Other: value"; \, is a comma within a value`

func (h *Headers) decode(d *decoder, path string, node ast.Node) {
	text, ok := d.scalar(path, node, acceptHeaders)
	if !ok {
		return
	}
	headers, problem := parseHeaders(text)
	if problem != "" {
		d.fail(path, "%s (%s)", problem, acceptHeaders)
	}
	*h = headers
}

// parseHeaders reads "Name: value, Other: value". A later header of the same
// name replaces an earlier one. Problems name the item by number, never by
// content, as it may be a secret.
func parseHeaders(text string) (headers Headers, problem string) {
	for i, item := range splitEscaped(text) {
		if strings.TrimSpace(item) == "" {
			continue
		}
		name, value, found := strings.Cut(item, ":")
		name, value = strings.TrimSpace(name), strings.TrimSpace(value)
		number := strconv.Itoa(i + 1)
		switch {
		case !found:
			return nil, "item " + number + " has no colon"
		case !validHeaderName(name):
			return nil, "item " + number + " has no legal header name"
		case !validHeaderValue(value):
			return nil, "item " + number + " has a control character in its value"
		}
		headers = headers.with(Header{Name: name, Value: value})
	}
	return headers, ""
}

// splitEscaped splits at commas that no backslash precedes; "\," is a comma,
// any other backslash stays.
func splitEscaped(text string) []string {
	var items []string
	var item strings.Builder
	for i := 0; i < len(text); i++ {
		switch {
		case text[i] == '\\' && i+1 < len(text) && text[i+1] == ',':
			item.WriteByte(',')
			i++
		case text[i] == ',':
			items = append(items, item.String())
			item.Reset()
		default:
			item.WriteByte(text[i])
		}
	}
	return append(items, item.String())
}

func (h Headers) with(header Header) Headers {
	for i := range h {
		if strings.EqualFold(h[i].Name, header.Name) {
			h[i] = header
			return h
		}
	}
	return append(h, header)
}

// validHeaderName is RFC 9110's token.
func validHeaderName(name string) bool {
	for i := range len(name) {
		c := name[i]
		alphanumeric := c >= '0' && c <= '9' || c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z'
		if !alphanumeric && strings.IndexByte("!#$%&'*+-.^_`|~", c) < 0 {
			return false
		}
	}
	return name != ""
}

func validHeaderValue(value string) bool {
	for i := range len(value) {
		if c := value[i]; c < ' ' && c != '\t' || c == 0x7f {
			return false
		}
	}
	return true
}

const acceptResolveTarget = "host:ip:port, such as api.example.com:10.0.0.5:8443; an IPv6 address in brackets"

func (r *ResolveTarget) decode(d *decoder, path string, node ast.Node) {
	text, ok := d.scalar(path, node, acceptResolveTarget)
	if !ok || strings.TrimSpace(text) == "" {
		return
	}
	host, rest, _ := strings.Cut(strings.TrimSpace(text), ":")
	ip, port, valid := splitAddress(rest)
	if !valid || port == "" || host == "" || strings.ContainsAny(host, " /") {
		d.fail(path, "%s is not an override (%s)", show(path, text), acceptResolveTarget)
		return
	}
	*r = ResolveTarget{Host: host, IP: ip, Port: port}
}

// splitAddress reads ip[:port], an IPv6 address with a port in brackets. The
// ip is returned without them.
func splitAddress(text string) (ip, port string, ok bool) {
	if address, err := netip.ParseAddr(strings.Trim(text, "[]")); err == nil {
		return address.String(), "", true
	}
	both, err := netip.ParseAddrPort(text)
	if err != nil || both.Port() == 0 {
		return "", "", false
	}
	return both.Addr().String(), strconv.Itoa(int(both.Port())), true
}

func (h *HTTPVersion) decode(d *decoder, path string, node ast.Node) {
	const accepted = `"1.1", "2" or auto`
	text, ok := d.scalar(path, node, accepted)
	if !ok {
		return
	}
	switch text = strings.TrimSpace(text); text {
	case "1.1", "2", "auto":
		*h = HTTPVersion(text)
	case "2.0":
		*h = "2"
	default:
		d.fail(path, "%s is not a version of HTTP (%s)", show(path, text), accepted)
	}
}

func (c *Connections) decode(d *decoder, path string, node ast.Node) {
	const accepted = "worker, iteration, request, or a number of shared connections from 1 to 100000"
	text, ok := d.scalar(path, node, accepted)
	if !ok {
		return
	}
	switch text {
	case "worker", "iteration", "request":
		*c = Connections{Mode: text}
		return
	}
	n, problem := parseWhole(text)
	if problem != "" || n < 1 || n > 100_000 {
		d.fail(path, "%s is not a way to share connections (%s)", show(path, text), accepted)
		return
	}
	*c = Connections{Mode: "shared", N: int(n)}
}

// decode keeps the text; which form is legal depends on the assertion's type,
// which may come later in the document, so the validator reads it.
func (e *Expected) decode(d *decoder, path string, node ast.Node) {
	e.Set = true
	list, ok := node.(*ast.SequenceNode)
	if !ok {
		e.Text, _ = d.scalar(path, node, "text, a number, or a list of status codes")
		return
	}
	for i, item := range list.Values {
		sub := path + "[" + strconv.Itoa(i) + "]"
		if !d.noteItem(sub, item) {
			d.fail(sub, "is empty (%s)", acceptStatus)
			continue
		}
		if item = d.resolve(sub, item); item != nil {
			d.scalar(sub, item, acceptStatus)
		}
	}
}

// decode accepts one duration, or a map with min and max.
func (t *ThinkTime) decode(d *decoder, path string, node ast.Node) {
	if _, ok := node.(ast.MapNode); ok {
		type fields ThinkTime // without this method
		d.decodeAs(path, node, (*fields)(t))
		return
	}
	var fixed time.Duration
	d.decodeAs(path, node, &fixed)
	t.Min, t.Max = fixed, fixed
}

// decode accepts the expression alone, or a map.
func (t *Threshold) decode(d *decoder, path string, node ast.Node) {
	if _, ok := node.(ast.MapNode); ok {
		type fields Threshold // without this method
		d.decodeAs(path, node, (*fields)(t))
		return
	}
	t.Expr, _ = d.scalar(path, node, "an expression such as p95 < 300ms, or a map with expr")
}
