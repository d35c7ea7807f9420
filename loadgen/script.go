package loadgen

import (
	"cmp"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"volley/plan"
	"volley/stats"
)

// What the plan package fills in where a plan is silent. Only these are
// executed so far.
var defaultDNS = plan.DNS{TTL: 5 * time.Minute, Select: "roundRobin"}

const defaultMaxBody = plan.Size(10 << 20)

// script is a plan's scenarios made ready to send: read only, shared by all
// workers of a run.
type script struct {
	scenarios []scenario
	shares    []float64 // cumulative weights
	origins   []origin  // distinct, in the order of the plan
	layout    stats.Layout
}

type scenario struct{ steps []step }

// step is a request template with what is asked of its response.
type step struct {
	index     int // in the layout
	method    string
	url       *url.URL
	host      string // Host header, "" for the URL's own
	header    http.Header
	body      string
	bodySize  int64 // random body of that size, in bytes
	timeout   time.Duration
	statuses  []plan.Assertion
	continues bool // the iteration goes on after a failure
}

// origin is what a connection leads to.
type origin struct{ scheme, addr string }

func originOf(u *url.URL) origin {
	port := u.Port()
	if port == "" {
		port = defaultPort(u.Scheme)
	}
	return origin{u.Scheme, net.JoinHostPort(strings.ToLower(u.Hostname()), port)}
}

func defaultPort(scheme string) string {
	if scheme == "https" {
		return "443"
	}
	return "80"
}

// compile builds the script; the error lists every template that makes no
// request.
func compile(p *plan.Plan) (*script, error) {
	s := &script{}
	var errs []error
	var sum float64
	for i := range p.Scenarios {
		from := &p.Scenarios[i]
		var to scenario
		for j := range from.Steps {
			st, err := newStep(&p.Config, from, &from.Steps[j])
			if err != nil {
				errs = append(errs, fmt.Errorf("scenarios[%d].steps[%d].%w", i, j, err))
				continue
			}
			st.index = len(s.layout.Steps)
			s.layout.Steps = append(s.layout.Steps, stats.StepKey{Scenario: from.Name, Step: from.Steps[j].Name})
			s.reaches(originOf(st.url))
			to.steps = append(to.steps, st)
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

func newStep(c *plan.Config, sc *plan.Scenario, from *plan.Step) (step, error) {
	u, err := target(c.BaseURL, &from.Request)
	if err != nil {
		return step{}, err
	}
	st := step{
		method:    from.Request.Method,
		url:       u,
		header:    http.Header{},
		body:      from.Request.Body,
		bodySize:  int64(from.Request.BodySize),
		timeout:   cmp.Or(from.Timeout, sc.Config.Timeout, c.Timeout),
		statuses:  from.Assertions,
		continues: from.ContinueOnFailure,
	}
	st.setHeaders(c.CustomHeaders, from.Request.Headers)
	st.signIn()
	if err := checkHeader(st.header); err != nil {
		return step{}, err
	}
	return st, nil
}

// setHeaders gives a request what the predecessor's had (Accept, no
// User-Agent), then the plan's; a step's header replaces one of the same name.
func (st *step) setHeaders(common, own []plan.Header) {
	st.header.Set("Accept", "*/*")
	// An empty value is how net/http is told to send none at all.
	st.header.Set("User-Agent", "")
	for _, group := range [][]plan.Header{common, own} {
		for _, h := range group {
			st.header.Del(h.Name)
		}
		for _, h := range group {
			st.header.Add(h.Name, h.Value)
		}
	}
	// net/http takes the Host header from the request, not from the map.
	st.host = st.header.Get("Host")
	st.header.Del("Host")
}

// signIn turns the user info of a URL into the header, which only http.Client
// does by itself.
func (st *step) signIn() {
	user := st.url.User
	if user == nil {
		return
	}
	st.url.User = nil
	if st.header.Get("Authorization") == "" {
		password, _ := user.Password()
		r := http.Request{Header: st.header}
		r.SetBasicAuth(user.Username(), password)
	}
}

func checkHeader(h http.Header) error {
	for name, values := range h {
		for _, v := range values {
			if strings.ContainsFunc(v, isControl) || name == "" || strings.ContainsFunc(name, notInName) {
				return fmt.Errorf("request.headers: %q: %q cannot be sent (a name without blanks and a value without control characters are accepted)", name, v)
			}
		}
	}
	return nil
}

func isControl(r rune) bool { return r < ' ' && r != '\t' || r == 0x7f }

func notInName(r rune) bool {
	return r <= ' ' || r >= 0x7f || strings.ContainsRune(`"(),/:;<=>?@[\]{}`, r)
}

// target joins base and path as the predecessor did, one slash between, unless
// the path is a URL of its own, and adds the query parameters in their order.
func target(base string, r *plan.Request) (*url.URL, error) {
	text := r.Path
	if !isURL(text) {
		text = strings.TrimRight(base, "/") + "/" + strings.TrimLeft(r.Path, "/")
	}
	text, _, _ = strings.Cut(text, "#") // a fragment is never sent
	u, err := url.Parse(escape(addQuery(text, r.QueryParams)))
	if err != nil {
		return nil, fmt.Errorf("request.path: %q is no URL: %w", r.Path, err)
	}
	if u.Host == "" {
		return nil, fmt.Errorf("request.path: %q has no host (http://host/path or a path is accepted)", text)
	}
	return u, nil
}

func isURL(s string) bool {
	lower := strings.ToLower(s[:min(len(s), 8)])
	return strings.HasPrefix(lower, "http://") || lower == "https://"
}

func addQuery(text string, params []plan.Header) string {
	var b strings.Builder
	b.WriteString(text)
	for _, p := range params {
		switch {
		case !strings.Contains(b.String(), "?"):
			b.WriteByte('?')
		case !strings.HasSuffix(b.String(), "?") && !strings.HasSuffix(b.String(), "&"):
			b.WriteByte('&')
		}
		b.WriteString(url.QueryEscape(p.Name) + "=" + url.QueryEscape(p.Value))
	}
	return b.String()
}

// escape percent-encodes what must not appear in a URL, which net/http would
// send as it is (blanks and non-ASCII in the query) or refuse (a lone %). What
// is encoded already stays.
func escape(text string) string {
	const hex = "0123456789ABCDEF"
	var b strings.Builder
	for i := 0; i < len(text); i++ {
		c := text[i]
		bad := c <= ' ' || c >= 0x7f || strings.IndexByte("\"<>\\^`{|}", c) >= 0 ||
			c == '%' && !isHexPair(text[i+1:])
		if bad {
			b.Write([]byte{'%', hex[c>>4], hex[c&15]})
			continue
		}
		b.WriteByte(c)
	}
	return b.String()
}

func isHexPair(s string) bool {
	return len(s) >= 2 && isHex(s[0]) && isHex(s[1])
}

func isHex(c byte) bool {
	return '0' <= c && c <= '9' || 'a' <= c && c <= 'f' || 'A' <= c && c <= 'F'
}

// judge says what kind of error a complete response is, if any, and how many
// of the assertions passed. Status assertions, if there are any, alone decide
// on the status.
func (st *step) judge(status int) (kind stats.ErrorKind, passed int) {
	for _, a := range st.statuses {
		if expects(a, status) {
			passed++
		}
	}
	switch fine := status >= 200 && status < 400; {
	case passed == len(st.statuses) && (fine || passed > 0):
		return stats.ErrNone, passed
	case fine:
		return stats.ErrAssertion, passed
	case status >= 400 && status < 500:
		return stats.ErrClient, passed
	case status >= 500 && status < 600:
		return stats.ErrServer, passed
	}
	return stats.ErrOther, passed
}

func expects(a plan.Assertion, status int) bool {
	within := slices.ContainsFunc(a.Expected.Statuses, func(r plan.StatusRange) bool {
		return status >= r.Lo && status <= r.Hi
	})
	return within != a.Not
}

// mostWorkers is how many workers a plan may come to have.
func mostWorkers(p *plan.Plan) int {
	if p.Load.Model == "concurrent" {
		return p.Config.Workers
	}
	return max(p.Load.MaxWorkers, 1)
}

// firstWorkers is how many it has from the start.
func firstWorkers(p *plan.Plan) int {
	return min(p.Config.Workers, mostWorkers(p))
}
