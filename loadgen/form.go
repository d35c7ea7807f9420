package loadgen

import (
	"bytes"
	"cmp"
	"encoding/hex"
	"fmt"
	"math/rand/v2"
	"net/http"
	"net/textproto"
	"net/url"
	"slices"
	"strconv"
	"strings"
)

// form is a step's request as our own client sends it: the bytes that every
// request has, and between them what varies.
type form struct {
	origin origin
	at     string // scheme and authority of the URL
	whole  []byte // the request, if nothing varies; the jar's cookies may all the same
	pieces []slip
	jarred bool // there is a place for the jar's cookies: the plan has none itself
	// What stands before a path that varies; "" if that is a URL of its own.
	folder string
	single bool // it says that it is the only one on its connection
}

// slip is a part of a request.
type slip struct {
	what  content
	text  string // of a literal; the name of a header, with its colon
	index int    // of a varying header
}

type content uint8

const (
	isLiteral content = iota
	isTarget
	isHeader
	isAgent // a header that is left out if it is empty
	isLength
	isTrace
	isBody
	isCookies
)

// newForm makes the form of a step. It is nil where the whole URL has to be
// parsed anew for each request, or the body is long: then there is little to win,
// and it would be each worker's instead of all workers'.
func (st *step) newForm(single bool) *form {
	f := &form{single: single}
	u, ok := f.place(st)
	if !ok || st.payload.about() > shortRequest || slices.ContainsFunc(st.varying, func(v varyingHeader) bool { return v.name == "Host" }) {
		return nil
	}
	f.origin, f.at = originOf(u), u.Scheme+"://"+u.Host
	host, ok := hostLine(st, u)
	if !ok {
		return nil
	}
	f.literal(st.method + " ")
	if st.url != nil {
		f.literal(u.RequestURI())
	} else {
		f.add(slip{what: isTarget})
	}
	f.literal(" HTTP/1.1\r\n" + host)
	f.headers(st)
	if single {
		f.literal("Connection: close\r\n")
	}
	f.literal("\r\n")
	if st.payload.size > 0 || len(st.payload.chunks) > 0 {
		f.add(slip{what: isBody})
	} else {
		f.literal(st.payload.fixed)
	}
	f.settle()
	return f
}

// settle makes the bytes of a request in which nothing varies but cookies.
func (f *form) settle() {
	for _, p := range f.pieces {
		switch p.what {
		case isLiteral:
			f.whole = append(f.whole, p.text...)
		case isCookies:
		default:
			f.whole = nil
			return
		}
	}
}

// place finds where the requests go: u has the scheme and the authority, and the
// path if it is always the same.
func (f *form) place(st *step) (u *url.URL, ok bool) {
	if st.url != nil {
		return st.url, true
	}
	base, whole := st.address.base.known()
	first := ""
	if p := st.address.path; len(p) > 0 && p[0].source == fromPlan {
		first = p[0].text
	}
	switch {
	case isURL(first) && pastAuthority(first):
		base = first[:strings.Index(first, "://")+3]
		base += first[len(base):][:strings.IndexAny(first[len(base):], "/?")]
	case !whole || !strings.HasPrefix(first, "/"):
		return nil, false
	}
	u, err := url.Parse(escape(base))
	if err != nil || u.Hostname() == "" || u.User != nil || u.RawQuery != "" || u.Fragment != "" || strings.ContainsAny(base, "?#") {
		return nil, false
	}
	asciiURL(u)
	if !isURL(first) {
		f.folder = strings.TrimRight(u.EscapedPath(), "/") + "/"
	}
	return u, u.Scheme == "http" || u.Scheme == "https"
}

// hostLine is the Host header as net/http writes it.
func hostLine(st *step, u *url.URL) (string, bool) {
	var out bytes.Buffer
	req := &http.Request{Method: http.MethodGet, URL: &url.URL{Scheme: u.Scheme, Host: u.Host, Path: "/"}, Host: st.host, Header: http.Header{"User-Agent": {""}}}
	if req.Write(&out) != nil {
		return "", false
	}
	_, line, _ := strings.Cut(out.String(), "\r\n")
	return strings.CutSuffix(line, "\r\n")
}

// headers are in net/http's order: the agent, the length, then all others by
// name.
func (f *form) headers(st *step) {
	names := make([]string, 0, len(st.header)+len(st.varying)+1)
	at := map[string]int{}
	for name := range st.header {
		names = append(names, name)
	}
	for i, v := range st.varying {
		names = append(names, v.name)
		at[v.name] = i
	}
	if st.traced {
		names = append(names, "Traceparent")
	}
	if f.jarred = !st.hasHeader("Cookie"); f.jarred {
		names = append(names, "Cookie")
	}
	slices.SortFunc(names, func(a, b string) int {
		return cmp.Or(-cmp.Compare(strconv.FormatBool(a == "User-Agent"), strconv.FormatBool(b == "User-Agent")), strings.Compare(a, b))
	})
	sized := false
	for _, name := range names {
		if name != "User-Agent" && !sized {
			f.length(st)
			sized = true
		}
		i, varies := at[name]
		switch {
		case name == "User-Agent" && varies:
			f.add(slip{what: isAgent, text: name + ": ", index: i})
		case varies:
			f.add(slip{what: isHeader, text: name + ": ", index: i})
		case name == "Traceparent" && st.traced:
			f.add(slip{what: isTrace})
		case name == "Cookie" && f.jarred:
			f.add(slip{what: isCookies})
		case name == "User-Agent" && st.header.Get(name) == "":
		default:
			for _, value := range st.header[name] {
				f.literal(name + ": " + textproto.TrimString(value) + "\r\n")
			}
		}
	}
	if !sized {
		f.length(st)
	}
}

func (f *form) length(st *step) {
	if n, fixed := st.payload.length(); fixed {
		f.literal(string(appendLength(nil, st.method, int(n))))
		return
	}
	f.add(slip{what: isLength})
}

// appendLength appends the header that says how long the body is. For methods
// that usually have one it is there for none as well.
func appendLength(dst []byte, method string, n int) []byte {
	if n == 0 && method != http.MethodPost && method != http.MethodPut && method != http.MethodPatch {
		return dst
	}
	dst = append(dst, "Content-Length: "...)
	return append(strconv.AppendInt(dst, int64(n), 10), "\r\n"...)
}

func (f *form) add(p slip) { f.pieces = append(f.pieces, p) }

func (f *form) literal(text string) {
	if n := len(f.pieces); n > 0 && f.pieces[n-1].what == isLiteral {
		f.pieces[n-1].text += text
		return
	}
	f.add(slip{text: text})
}

// desk is where a worker fills in forms.
type desk struct {
	out    []byte
	values []byte // of what varies
	ends   []int  // of each varying header's value, in values
	random randomBody
	source rand.PCG
}

// keepDesk is how large a desk's buffers may stay between requests.
const keepDesk = 256 << 10

// fill makes the bytes of a request. They are good until the next one is made.
// Values are drawn in the same order as for net/http: headers, URL, body.
func (u *user) fill(st *step) ([]byte, error) {
	f, d := st.form, &u.desk
	if f.whole != nil && u.jar == nil {
		return f.whole, nil
	}
	if cap(d.out)+cap(d.values) > keepDesk {
		d.out, d.values = nil, nil
	}
	d.values, d.ends = d.values[:0], d.ends[:0]
	for i := range st.varying {
		v := &st.varying[i]
		from := len(d.values)
		d.values = u.scope.fill(d.values, v.value)
		if bytes.ContainsFunc(d.values[from:], isControl) {
			return nil, errControl(v.name)
		}
		d.ends = append(d.ends, len(d.values))
	}
	targetAt, bodyAt := len(d.values), len(d.values)
	if st.url == nil {
		d.values, targetAt = f.target(d.values, &st.address, &u.scope)
		bodyAt = len(d.values)
	}
	target := d.values[targetAt:bodyAt]
	d.values = u.fillBody(d.values, &st.payload)
	d.out = f.assemble(d, st, target, d.values[bodyAt:], u.cookies(st, target))
	return d.out, nil
}

func errControl(header string) error {
	return fmt.Errorf("request.headers.%s: a variable has a control character", header)
}

func (u *user) fillBody(dst []byte, p *payload) []byte {
	if p.size > 0 {
		u.desk.source.Seed(u.seed, u.bodies.Add(1))
		u.desk.random = randomBody{left: p.size, src: &u.desk.source}
		at := len(dst)
		dst = slices.Grow(dst, int(p.size))[:at+int(p.size)]
		_, _ = u.desk.random.Read(dst[at:])
		return dst
	}
	for i := range p.chunks {
		dst = u.scope.fill(dst, p.chunks[i].text)
		dst = append(dst, p.chunks[i].data...)
	}
	return dst
}

// cookies are the jar's for a request whose URL has this target if it varies.
func (u *user) cookies(st *step, target []byte) []*http.Cookie {
	if u.jar == nil {
		return nil
	}
	to := st.url
	if to == nil {
		var err error
		if to, err = url.Parse(st.form.at + string(target)); err != nil {
			return nil // no jar has any for what is no URL
		}
	}
	return u.jar.Cookies(to)
}

func (f *form) assemble(d *desk, st *step, target, body []byte, cookies []*http.Cookie) []byte {
	out := d.out[:0]
	for i := range f.pieces {
		p := &f.pieces[i]
		switch p.what {
		case isLiteral:
			out = append(out, p.text...)
		case isTarget:
			out = append(out, target...)
		case isHeader, isAgent:
			value := d.values[d.begin(p.index):d.ends[p.index]]
			if p.what == isHeader || len(value) > 0 {
				out = append(append(append(out, p.text...), trimmed(value)...), "\r\n"...)
			}
		case isLength:
			out = appendLength(out, st.method, len(body))
		case isTrace:
			out = append(appendTrace(append(out, "Traceparent: "...)), "\r\n"...)
		case isBody:
			out = append(out, body...)
		case isCookies:
			out = appendCookies(out, cookies)
		}
	}
	return out
}

// appendCookies appends the header that brings cookies back.
func appendCookies(dst []byte, cookies []*http.Cookie) []byte {
	for i, c := range cookies {
		before := "; "
		if i == 0 {
			before = "Cookie: "
		}
		dst = append(append(dst, before...), c.String()...)
	}
	if len(cookies) > 0 {
		dst = append(dst, "\r\n"...)
	}
	return dst
}

func (d *desk) begin(i int) int {
	if i == 0 {
		return 0
	}
	return d.ends[i-1]
}

// appendTrace appends a trace context of its own.
func appendTrace(dst []byte) []byte {
	id, span := randomID(), randomID()
	dst = hex.AppendEncode(append(dst, "00-"...), id[:])
	dst = hex.AppendEncode(append(dst, '-'), span[:8])
	return append(dst, "-01"...)
}

// target appends what a request line says of a URL that varies, as it is before
// it is escaped and then as it is sent, which begins at at.
func (f *form) target(dst []byte, a *address, s *scope) (out []byte, at int) {
	from := len(dst)
	dst = s.fillURL(dst, from, a.path)
	raw := dst[from:]
	if f.folder == "" {
		raw = raw[f.authority(raw):]
	} else {
		raw = bytes.TrimLeft(raw, "/")
	}
	if hash := bytes.IndexByte(raw, '#'); hash >= 0 { // one that came with a variable
		raw = raw[:hash]
	}
	middle := len(dst)
	dst = s.fill(dst, a.query)
	query := dst[middle:]
	at = len(dst)
	dst = append(dst, f.folder...)
	if f.folder == "" && (len(raw) == 0 || raw[0] != '/') {
		dst = append(dst, '/')
	}
	dst = appendEscaped(dst, raw)
	if len(query) > 0 {
		switch {
		case bytes.IndexByte(raw, '?') < 0:
			dst = append(dst, '?')
		case raw[len(raw)-1] != '?' && raw[len(raw)-1] != '&':
			dst = append(dst, '&')
		}
		dst = appendEscaped(dst, query)
	}
	return dst, at
}

// authority is where a URL's path begins.
func (f *form) authority(text []byte) int {
	from := bytes.Index(text, []byte("://")) + 3
	at := bytes.IndexAny(text[from:], "/?")
	return from + at
}
