package loadgen

import (
	"bufio"
	"bytes"
	"context"
	"io"
	"maps"
	"net/http"
	"net/http/cookiejar"
	"net/url"
	"slices"
	"strings"
)

// trip is a step's request on its way through redirects.
type trip struct {
	step     *step
	errand   errand
	req      *http.Request // nil as long as the bytes of the errand are all there is
	own      bool          // the header map is this trip's, not the step's
	planned  []string      // the Cookie header of the plan
	host     string        // where it began
	stranger bool          // it was led to another host and left its secrets behind
	hops     int
}

// newTrip makes a step's request: its bytes where they are all that is needed.
// The error is that of variables that make none.
func (u *user) newTrip(ctx context.Context, st *step) (*trip, error) {
	c := &u.trip
	*c = trip{step: st, errand: u.newErrand(ctx, st)}
	if st.form != nil && (u.jar == nil || st.form.jarred) && u.watch == nil && u.client.dialer.certain(st.form.origin) {
		wire, err := u.fill(st)
		c.errand.wire, c.errand.route = wire, u.client.route(st.form.origin, false)
		return c, err
	}
	c.req = &http.Request{
		Method: st.method, URL: st.url, Host: st.host, Header: st.header,
		Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1,
	}
	if err := u.fillHeader(c); err != nil {
		return nil, err
	}
	if st.url == nil {
		to, err := st.address.url(&u.scope)
		if err != nil {
			return nil, err
		}
		c.req.URL = to
		c.signIn()
	}
	c.depart()
	u.setBody(c)
	u.head(c)
	return c, nil
}

func (u *user) newErrand(ctx context.Context, st *step) errand {
	return errand{
		ctx: ctx, idempotent: st.idempotent, toHEAD: st.method == http.MethodHead,
		headers: st.readsHeader || u.watch != nil, coding: st.readsBody,
		cookies: u.config.Cookies != "off", redirects: u.config.MaxRedirects > 0,
	}
}

// depart notes where the trip begins.
func (c *trip) depart() { c.host, c.planned = c.req.URL.Hostname(), c.req.Header["Cookie"] }

// head directs the errand to where the request goes.
func (u *user) head(c *trip) {
	c.errand.route = u.client.route(originOf(c.req.URL), c.stranger)
	c.errand.req, c.errand.wire = c.req, nil
	c.errand.toHEAD = c.req.Method == http.MethodHead
	c.errand.idempotent = isIdempotent(c.req.Method, func(name string) bool { return c.req.Header[name] != nil })
}

// request is the trip's request; where there were only its bytes it is read from
// them.
func (c *trip) request() *http.Request {
	if c.req != nil {
		return c.req
	}
	c.req, c.own = c.step.form.read(c.errand.wire, c.step), true
	c.depart()
	return c.req
}

// to is where the trip's request goes.
func (c *trip) to() *url.URL {
	if c.req == nil && c.step.url != nil {
		return c.step.url
	}
	return c.request().URL
}

// read is the request that bytes made of the form are.
func (f *form) read(wire []byte, st *step) *http.Request {
	wire = bytes.Clone(wire) // the next request is made in the same place
	_, body, _ := bytes.Cut(wire, []byte("\r\n\r\n"))
	req, err := http.ReadRequest(bufio.NewReader(bytes.NewReader(wire)))
	if err != nil { // one that net/http would not have sent either
		return &http.Request{Method: st.method, URL: &url.URL{}, Header: http.Header{}}
	}
	if to, err := url.Parse(f.at + req.RequestURI); err == nil {
		req.URL = to
	}
	if req.Host == req.URL.Host {
		req.Host = ""
	}
	req.RequestURI, req.Close, req.TransferEncoding = "", false, nil
	req.Header.Del("Content-Length")
	if f.single {
		req.Header.Del("Connection")
	}
	if f.jarred {
		req.Header.Del("Cookie") // the jar's, which every hop gets anew
	}
	if req.Header["User-Agent"] == nil {
		req.Header["User-Agent"] = []string{""}
	}
	req.Body, req.ContentLength = nil, int64(len(body))
	if len(body) > 0 {
		req.GetBody = func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(body)), nil }
		req.Body, _ = req.GetBody()
	}
	return req
}

// ownHeader makes the header map one that may be written to.
func (c *trip) ownHeader() http.Header {
	if !c.own {
		// The values' slices are only ever replaced.
		c.req.Header, c.own = maps.Clone(c.req.Header), true
	}
	return c.req.Header
}

func (u *user) fillHeader(c *trip) error {
	for i := range c.step.varying {
		v := &c.step.varying[i]
		value := u.scope.text(v.value)
		if strings.ContainsFunc(value, isControl) {
			return errControl(v.name)
		}
		if v.name == "Host" {
			c.req.Host = value
			continue
		}
		c.ownHeader()[v.name] = []string{value}
	}
	return nil
}

// signIn turns the user info of a URL into the header, which only http.Client
// does by itself.
func (c *trip) signIn() {
	user := c.req.URL.User
	if user == nil {
		return
	}
	shown := *c.req.URL
	shown.User = nil
	c.req.URL = &shown
	if c.req.Header.Get("Authorization") == "" {
		password, _ := user.Password()
		c.ownHeader()
		c.req.SetBasicAuth(user.Username(), password)
	}
}

func (u *user) setBody(c *trip) {
	p, req := &c.step.payload, c.req
	switch {
	case p.size > 0:
		number := u.bodies.Add(1)
		req.ContentLength = p.size
		req.GetBody = func() (io.ReadCloser, error) {
			return newRandomBody(p.size, u.seed, number), nil
		}
	case p.fixed != "":
		req.ContentLength = int64(len(p.fixed))
		req.GetBody = func() (io.ReadCloser, error) {
			return io.NopCloser(strings.NewReader(p.fixed)), nil
		}
	default:
		texts, length := p.fill(&u.scope)
		if length == 0 {
			return
		}
		req.ContentLength = length
		req.GetBody = func() (io.ReadCloser, error) { return readAll(texts), nil }
	}
	req.Body, _ = req.GetBody()
}

// dress adds what each hop gets anew: cookies and the trace context.
func (u *user) dress(c *trip) {
	if c.hops > 0 && c.planned != nil && !c.stranger {
		c.ownHeader()["Cookie"] = slices.Clone(c.planned)
	}
	if u.jar != nil {
		for _, cookie := range u.jar.Cookies(c.req.URL) {
			c.ownHeader()
			c.req.AddCookie(cookie)
		}
	}
	if c.step.traced {
		c.ownHeader()["Traceparent"] = []string{string(appendTrace(nil))}
	}
}

func (u *user) keepCookies(c *trip, h http.Header) {
	if u.config.Cookies == "off" || len(h["Set-Cookie"]) == 0 {
		return
	}
	if u.jar == nil {
		u.jar, _ = cookiejar.New(nil) // without options it has no error
	}
	u.jar.SetCookies(c.to(), (&http.Response{Header: h}).Cookies())
}

// follow makes the trip the request that a redirect asks for. It is false if
// there is none that can be followed: then the redirect is the response.
func (c *trip) follow(x *exchange) bool {
	if x.err != nil || !isRedirect(x.status) {
		return false
	}
	location := x.header.Get("Location")
	to, err := c.request().URL.Parse(location)
	if err != nil || location == "" || to.Host == "" || to.Scheme != "http" && to.Scheme != "https" {
		return false
	}
	next := c.req.Clone(c.req.Context())
	if at, err := url.Parse(location); err != nil || at.IsAbs() || at.Host != "" {
		next.Host = "" // that of the URL; a Host of the plan's stays on its host
	}
	asciiURL(to)
	next.URL = to
	next.Header.Del("Cookie")
	c.req, c.own, c.hops = next, true, c.hops+1
	c.leave(to.Hostname())
	c.signIn()
	c.carryBody(x.status)
	return true
}

// secrets do not follow a call to another host, as in net/http.
func secrets() []string {
	return []string{"Authorization", "Www-Authenticate", "Cookie", "Cookie2", "Proxy-Authorization", "Proxy-Authenticate"}
}

// leave drops the secrets once the trip has come to a host that is neither the
// first nor one of its subdomains. From there on they are gone for good.
func (c *trip) leave(host string) {
	if !c.stranger && !isWithin(strings.ToLower(host), strings.ToLower(c.host)) {
		c.stranger = true
	}
	if c.stranger {
		for _, name := range secrets() {
			delete(c.req.Header, name)
		}
	}
}

func isWithin(host, domain string) bool {
	if host == domain {
		return true
	}
	return !strings.ContainsAny(host, ":%") && strings.HasSuffix(host, "."+domain)
}

// carryBody keeps method and body with 307 and 308; the others turn into GET.
func (c *trip) carryBody(status int) {
	req := c.req
	if status == http.StatusTemporaryRedirect || status == http.StatusPermanentRedirect {
		if req.GetBody != nil {
			req.Body, _ = req.GetBody()
		}
		return
	}
	if req.Method != http.MethodHead {
		req.Method = http.MethodGet
	}
	req.Body, req.GetBody, req.ContentLength = nil, nil, 0
	for name := range req.Header {
		if strings.HasPrefix(name, "Content-") {
			delete(req.Header, name)
		}
	}
}

func isRedirect(status int) bool {
	switch status {
	case http.StatusMovedPermanently, http.StatusFound, http.StatusSeeOther,
		http.StatusTemporaryRedirect, http.StatusPermanentRedirect:
		return true
	}
	return false
}
