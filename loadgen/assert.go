package loadgen

import (
	"bytes"
	"fmt"
	"net/textproto"
	"regexp"
	"slices"
	"time"

	"volley/plan"
	"volley/stats"
)

// assertion is what a response must satisfy.
type assertion struct {
	kind     string
	not      bool
	statuses []plan.StatusRange
	most     time.Duration
	query    jsonQuery
	path     string   // the query as the plan writes it
	exists   bool     // any value will do
	text     template // expected, or contained
	regex    *regexp.Regexp
	header   string
}

func (p *parser) assertions(list []plan.Assertion) ([]assertion, error) {
	var out []assertion
	for i := range list {
		a, err := p.assertion(&list[i])
		if err != nil {
			return nil, fmt.Errorf("assertions[%d].%w", i, err)
		}
		out = append(out, a)
	}
	return out, nil
}

func (p *parser) assertion(from *plan.Assertion) (assertion, error) {
	a := assertion{
		kind: from.Type, not: from.Not, statuses: from.Expected.Statuses, most: from.Max, path: from.Path,
		header: textproto.CanonicalMIMEHeaderKey(from.Header),
	}
	var err error
	switch from.Type {
	case "jsonPath":
		if a.query, err = newJSONQuery(from.Path); err != nil {
			return a, fmt.Errorf("path: %w", err)
		}
		a.exists = !from.Expected.Set || from.Expected.Text == "*"
		if a.text, err = p.plain(from.Expected.Text); err != nil {
			return a, fmt.Errorf("expected: %w", err)
		}
	case "bodyContains":
		if a.text, err = p.plain(from.Text); err != nil {
			return a, fmt.Errorf("text: %w", err)
		}
	case "bodyMatches":
		if a.regex, err = regexp.Compile(from.Regex); err != nil {
			return a, fmt.Errorf("regex: %w", err)
		}
	}
	return a, nil
}

func (a *assertion) readsBody() bool {
	return a.kind == "jsonPath" || a.kind == "bodyContains" || a.kind == "bodyMatches"
}

// check is nil if the response satisfies the assertion. A body that could not
// be read satisfies none, not even a negated one.
func (a *assertion) check(s *scope, r *response) error {
	if a.readsBody() && r.trouble != nil {
		return r.trouble
	}
	holds := a.holds(s, r)
	if (holds == nil) != a.not {
		return nil
	}
	if a.not {
		return fmt.Errorf("%s holds, and must not", a.what())
	}
	return holds
}

// what names the assertion without any value from a response.
func (a *assertion) what() string {
	switch a.kind {
	case "jsonPath":
		return a.kind + " " + a.path
	case "headerExists":
		return a.kind + " " + a.header
	case "responseTime":
		return a.kind + " of at most " + a.most.String()
	}
	return a.kind
}

func (a *assertion) holds(s *scope, r *response) error {
	switch a.kind {
	case "statusCode":
		if !expects(a.statuses, r.status) {
			return fmt.Errorf("the status is %d", r.status)
		}
	case "responseTime":
		if r.took > a.most {
			return fmt.Errorf("%s: it took %s", a.what(), r.took.Round(10*time.Microsecond))
		}
	case "jsonPath":
		value, err := r.query(a.query)
		if err != nil {
			return fmt.Errorf("%s: %w", a.what(), err)
		}
		if !a.exists && !bytes.Equal(value, s.bytes(a.text)) {
			return fmt.Errorf("%s has another value", a.what())
		}
	case "bodyContains":
		if !bytes.Contains(r.body, s.bytes(a.text)) {
			return fmt.Errorf("%s: the body does not have the text", a.what())
		}
	case "bodyMatches":
		if !a.regex.Match(r.body) {
			return fmt.Errorf("%s: nothing in the body matches", a.what())
		}
	case "headerExists":
		if len(r.header[a.header]) == 0 {
			return fmt.Errorf("%s: it is not there", a.what())
		}
	}
	return nil
}

func expects(statuses []plan.StatusRange, status int) bool {
	return slices.ContainsFunc(statuses, func(r plan.StatusRange) bool {
		return status >= r.Lo && status <= r.Hi
	})
}

// verdict is how a complete response was judged.
type verdict struct {
	kind           stats.ErrorKind
	passed, failed int
	complete       bool  // all variables were in the response
	problem        error // what the first error was
}

// judge extracts the step's variables and then checks all its assertions.
// Those on the status, if there are any, alone decide on it; an unexpected
// status goes before a failed assertion.
func (u *user) judge(st *step, r *response) verdict {
	v := verdict{}
	v.complete, v.problem = u.extract(st, r)
	onStatus, statusHolds := 0, true
	for i := range st.asserts {
		a := &st.asserts[i]
		err := a.check(&u.scope, r)
		if u.watch != nil {
			u.watch.asserted(u, a, r, err)
		}
		if a.kind == "statusCode" {
			onStatus++
			statusHolds = statusHolds && err == nil
		}
		if err == nil {
			v.passed++
			continue
		}
		v.failed++
		if v.problem == nil {
			v.problem = fmt.Errorf("assertions[%d]: %w", i, err)
		}
	}
	if r.trouble != nil && v.problem == nil {
		// Only extractors with a default or none read the body: a coding that
		// nobody knows still is a failed assertion.
		v.failed, v.problem = v.failed+1, r.trouble
	}
	switch fine := r.status >= 200 && r.status < 400; {
	case onStatus > 0 && statusHolds || fine:
		if v.problem != nil {
			v.kind = stats.ErrAssertion
		}
	default:
		v.kind = statusKind(r.status)
		v.problem = fmt.Errorf("the status is %d", r.status)
	}
	return v
}

func statusKind(status int) stats.ErrorKind {
	switch {
	case status >= 400 && status < 500:
		return stats.ErrClient
	case status >= 500 && status < 600:
		return stats.ErrServer
	}
	return stats.ErrOther
}
