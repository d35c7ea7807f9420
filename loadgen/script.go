package loadgen

import (
	"cmp"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"net/http"
	"net/textproto"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"volley/plan"
	"volley/stats"
)

// script is a plan's scenarios made ready to send: read only, shared by all
// workers of a run.
type script struct {
	scenarios []scenario
	shares    []float64 // cumulative weights
	origins   []origin  // distinct, in the order of the plan
	layout    stats.Layout
	tables    tables
}

type scenario struct {
	steps []step
	names names // of its variables
	feed  *feed // nil without a data file
}

// step is a request template with what is asked of its response.
type step struct {
	index       int // in the layout
	method      string
	url         *url.URL // nil if it varies; then address makes it
	address     address
	host        string // Host header, "" for the URL's own
	header      http.Header
	varying     []varyingHeader
	traced      bool // each request gets a trace context
	payload     payload
	timeout     time.Duration // of an attempt
	retries     int
	retryDelay  time.Duration
	extract     []extractor
	asserts     []assertion
	readsBody   bool // an extractor or assertion does
	readsHeader bool
	idempotent  bool
	form        *form         // nil if the request is made anew each time
	cache       time.Duration // how long its variables are good for, 0 for not
	think       plan.ThinkTime
	continues   bool // the iteration goes on after a failure
}

// varyingHeader is a header with variables.
type varyingHeader struct {
	name  string // canonical
	value template
}

// origin is what a connection leads to.
type origin struct{ scheme, addr string }

func originOf(u *url.URL) origin {
	port := u.Port()
	if port == "" {
		port = defaultPort(u.Scheme)
	}
	return origin{u.Scheme, net.JoinHostPort(asciiHost(u.Hostname()), port)}
}

func defaultPort(scheme string) string {
	if scheme == "https" {
		return "443"
	}
	return "80"
}

// compile builds the script for a job; the error lists every template that
// makes no request.
func compile(p *plan.Plan, job *Job) (*script, error) {
	s := &script{}
	var errs []error
	files := &files{from: job.Files}
	feeds, err := newFeeds(p, job, files)
	if err != nil {
		return nil, err
	}
	s.tables = feeds.known
	var sum float64
	for i := range p.Scenarios {
		from := &p.Scenarios[i]
		to := scenario{names: names{}}
		in := &parser{job: job, names: to.names}
		for j := range from.Steps {
			st, err := in.step(&p.Config, from, &from.Steps[j], files)
			if err != nil {
				errs = append(errs, fmt.Errorf("scenarios[%d].steps[%d].%w", i, j, err))
				continue
			}
			st.index = len(s.layout.Steps)
			s.layout.Steps = append(s.layout.Steps, stats.StepKey{Scenario: from.Name, Step: from.Steps[j].Name})
			if o, ok := st.origin(); ok {
				s.reaches(o)
			}
			to.steps = append(to.steps, st)
		}
		if to.feed, err = feeds.of(from, to.names); err != nil {
			errs = append(errs, fmt.Errorf("scenarios[%d].dataFile.%w", i, err))
		}
		sum += from.Weight
		s.scenarios, s.shares = append(s.scenarios, to), append(s.shares, sum)
	}
	if len(s.scenarios) == 0 {
		errs = append(errs, errors.New("scenarios: there is none (at least one is needed)"))
	}
	return s, errors.Join(errs...)
}

func (s *script) reaches(o origin) {
	if !slices.Contains(s.origins, o) {
		s.origins = append(s.origins, o)
	}
}

// pick draws the scenario of iteration n by weight: the same for the same seed,
// whichever worker runs it.
func (s *script) pick(seed uint64, n int64) *scenario {
	if len(s.scenarios) == 1 {
		return &s.scenarios[0]
	}
	draw := rand.New(rand.NewPCG(seed, uint64(n))).Float64() * s.shares[len(s.shares)-1]
	for i, share := range s.shares {
		if draw < share {
			return &s.scenarios[i]
		}
	}
	return &s.scenarios[len(s.scenarios)-1]
}

func (p *parser) step(c *plan.Config, sc *plan.Scenario, from *plan.Step, files *files) (step, error) {
	st := step{
		method:     from.Request.Method,
		header:     http.Header{},
		timeout:    cmp.Or(from.Timeout, sc.Config.Timeout, c.Timeout),
		retries:    sc.Config.RetryCount,
		retryDelay: sc.Config.RetryDelay,
		continues:  from.ContinueOnFailure,
	}
	if from.Cache != nil && len(from.Extract) > 0 { // who keeps nothing must not skip the step for it
		st.cache = from.Cache.TTL
	}
	if from.ThinkTime != nil {
		st.think = *from.ThinkTime
	}
	for _, part := range []func() error{
		func() (err error) { st.payload, err = p.payload(&from.Request, files); return err },
		func() error { return st.setHeaders(p, c, from.Request.Headers) },
		func() error { return st.setURL(p, c.BaseURL, &from.Request) },
		func() error { return checkHeader(st.header) },
		func() error { return st.checkFraming() },
		func() (err error) { st.extract, err = p.extractors(from.Extract); return err },
		func() (err error) { st.asserts, err = p.assertions(from.Assertions); return err },
	} {
		if err := part(); err != nil {
			return st, err
		}
	}
	st.readsBody = slices.ContainsFunc(st.extract, func(e extractor) bool { return e.readsBody() }) ||
		slices.ContainsFunc(st.asserts, func(a assertion) bool { return a.readsBody() })
	st.readsHeader = slices.ContainsFunc(st.extract, func(e extractor) bool { return !e.readsBody() }) ||
		slices.ContainsFunc(st.asserts, func(a assertion) bool { return a.kind == "headerExists" })
	st.idempotent = isIdempotent(st.method, st.hasHeader)
	st.form = st.newForm(perRequest(c))
	return st, nil
}

// setURL finds the URL of a step whose every request has the same one.
func (st *step) setURL(p *parser, base string, r *plan.Request) error {
	var err error
	if st.address, err = p.address(base, r); err != nil || !st.address.static() {
		return err
	}
	c := trip{req: &http.Request{Header: st.header}, own: true}
	if c.req.URL, err = st.address.url(&scope{}); err != nil {
		return err
	}
	c.signIn()
	st.url = c.req.URL
	return nil
}

func (st *step) origin() (origin, bool) {
	if st.url != nil {
		return originOf(st.url), true
	}
	return st.address.origin()
}

// setHeaders gives a request what the predecessor's had (Accept, no
// User-Agent), then the plan's; a step's header replaces one of the same name,
// and so does the type of a form that of a common header.
func (st *step) setHeaders(p *parser, c *plan.Config, own []plan.Header) error {
	st.header.Set("Accept", "*/*")
	// An empty value is how net/http is told to send none at all.
	st.header.Set("User-Agent", "")
	for _, h := range c.CustomHeaders {
		if err := st.setHeader(p, h); err != nil {
			return fmt.Errorf("request.headers: config.customHeaders: %s: %w", h.Name, err)
		}
	}
	if kind := st.payload.kind; kind != "" {
		st.dropHeader("Content-Type")
		st.header.Set("Content-Type", kind)
	}
	for _, h := range own {
		if strings.EqualFold(h.Name, "Content-Type") && strings.HasPrefix(st.payload.kind, "multipart/") {
			return errors.New("request.headers.Content-Type: conflicts with multipart (it is left out: the boundary belongs in it)")
		}
		if err := st.setHeader(p, h); err != nil {
			return fmt.Errorf("request.headers.%s: %w", h.Name, err)
		}
	}
	st.traced = c.Traceparent && !st.hasHeader("Traceparent")
	// net/http takes the Host header from the request, not from the map.
	st.host = st.header.Get("Host")
	st.header.Del("Host")
	return nil
}

func (st *step) setHeader(p *parser, h plan.Header) error {
	value, err := p.plain(h.Value)
	if err != nil {
		return err
	}
	st.dropHeader(h.Name)
	if text, ok := value.static(); ok {
		st.header.Set(h.Name, text)
		return nil
	}
	st.varying = append(st.varying, varyingHeader{textproto.CanonicalMIMEHeaderKey(h.Name), value})
	return nil
}

func (st *step) dropHeader(name string) {
	st.header.Del(name)
	name = textproto.CanonicalMIMEHeaderKey(name)
	st.varying = slices.DeleteFunc(st.varying, func(v varyingHeader) bool { return v.name == name })
}

func (st *step) hasHeader(name string) bool {
	return st.header[name] != nil || slices.ContainsFunc(st.varying, func(v varyingHeader) bool { return v.name == name })
}

func checkHeader(h http.Header) error {
	for name, values := range h {
		for _, v := range values {
			if strings.ContainsFunc(v, isControl) || name == "" || strings.ContainsFunc(name, notInName) {
				return fmt.Errorf("request.headers: %q: the value cannot be sent (a name without blanks and a value without control characters are accepted)", name)
			}
		}
	}
	return nil
}

// checkFraming refuses the headers that say where a body ends, unless they say
// what is sent anyway.
func (st *step) checkFraming() error {
	for _, name := range []string{"Content-Length", "Transfer-Encoding", "Trailer"} {
		if !st.hasHeader(name) {
			continue
		}
		length, fixed := st.payload.length()
		if name != "Content-Length" || !fixed || st.header.Get(name) != strconv.FormatInt(length, 10) {
			return fmt.Errorf("request.headers.%s: cannot be set (it is left out: a body is sent with its length)", name)
		}
		st.dropHeader(name)
	}
	return nil
}

func isControl(r rune) bool { return r < ' ' && r != '\t' || r == 0x7f }

func notInName(r rune) bool {
	return r <= ' ' || r >= 0x7f || strings.ContainsRune(`"(),/:;<=>?@[\]{}`, r)
}
