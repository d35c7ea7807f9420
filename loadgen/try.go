package loadgen

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"slices"
	"strings"
	"time"

	"volley/plan"
	"volley/stats"
)

// ErrUnknownScenario is returned by Try for a name that the plan does not have.
var ErrUnknownScenario = errors.New("the plan has no such scenario")

// MaxTriedBody is how much of a body Try keeps, in bytes.
const MaxTriedBody = 1 << 20

// TriedStep is what became of one step of an iteration.
type TriedStep struct {
	Scenario, Step string
	// Attempts are the request and its retries, in order; none if the step was
	// not reached because one before it failed.
	Attempts []TriedAttempt
	Failed   bool // an error that no retry has put right
	// Row has the columns of the data file that the scenario uses, with its
	// first step only.
	Row []TriedVariable
	// Unresolved are the variables that nothing had set, as the plan has them.
	Unresolved []string
	// Think is the pause that follows, scaled; zero for none.
	Think plan.ThinkTime
}

// TriedAttempt is one attempt at a step.
type TriedAttempt struct {
	Exchanges  []TriedExchange // the request and the redirects that were followed
	Variables  []TriedVariable
	Assertions []TriedAssertion
	Problem    string // why the attempt is an error, "" if it is none
}

// TriedExchange is a request as it was sent, and its response. Nothing in it is
// masked.
type TriedExchange struct {
	Method, URL, Host string // Host is the header if it is not that of the URL
	Header            http.Header
	Body              []byte // its first MaxTriedBody bytes
	Length            int64  // of the whole body

	Status         int // 0 if there was no complete response
	ResponseHeader http.Header
	Response       []byte // decoded, its first MaxTriedBody bytes
	ResponseLength int64  // decoded, all of it
	Unreadable     string // why there is no response body to show
	Took           time.Duration
	NewConnection  bool
}

// TriedVariable is what an extractor found, or a column of a data file.
type TriedVariable struct {
	Name, From string // From is such as "header ETag" or "dataFile users.csv"
	Value      string
	Problem    string // why it was not found; it has its default, or is unset
	Default    bool
}

// TriedAssertion is how a response was judged by one assertion.
type TriedAssertion struct {
	Name    string // such as "statusCode" or "not jsonPath $.id"
	Want    string // "" if the name says it all
	Got     string // "" if that is not known, or too long to say
	Problem string // why it failed, "" if it passed
}

// Try runs one iteration of each scenario of a job's plan, or only of the one of
// that name if it is not "", in the plan's order. It goes the way that a run
// goes, with retries, redirects and think times (see Client.ThinkTimeScale), but
// one request at a time; each scenario has a worker of its own. watch is given
// each step when it has ended. What fails is data: the error is that of a job
// that Prepare would refuse, ErrUnknownScenario, or the cause of ctx's end.
func Try(ctx context.Context, job Job, only string, watch func(TriedStep)) error {
	r, err := newRun(job, slog.New(slog.DiscardHandler))
	if err != nil {
		return err
	}
	defer r.net.close()
	found := false
	for i := range r.script.scenarios {
		if only != "" && r.plan.Scenarios[i].Name != only {
			continue
		}
		found = true
		if err := r.try(ctx, i, watch); err != nil {
			return err
		}
	}
	if !found {
		return fmt.Errorf("scenario %q: %w", only, ErrUnknownScenario)
	}
	return nil
}

func (r *run) try(ctx context.Context, i int, told func(TriedStep)) error {
	u := newUser(r, 0, nil)
	u.client = r.net.client()
	defer u.close()
	u.script = r.script.only(i)
	u.base = time.Now()
	w := &watcher{layout: &r.script.layout, scale: u.scale, told: told}
	u.watch = w
	u.scope.missing = w.unresolved
	if !u.ready(0) {
		return fmt.Errorf("scenario %q: its data file has no row left", r.plan.Scenarios[i].Name)
	}
	w.current.Row = u.tried()
	u.iterate(ctx, 0, u.base)
	if ctx.Err() != nil {
		return context.Cause(ctx) // what was cut off is no news of the target
	}
	for _, st := range r.script.scenarios[i].steps[w.steps:] {
		told(w.step(&st))
	}
	return nil
}

// tried is the row of the iteration that is ready.
func (u *user) tried() []TriedVariable {
	f := u.scenario.feed
	if f == nil {
		return nil
	}
	var out []TriedVariable
	for _, c := range f.columns {
		if value, ok := f.table.cell(u.row, c.index); ok {
			out = append(out, TriedVariable{Name: f.table.columns[c.index], From: "dataFile " + f.path, Value: value})
		}
	}
	return out
}

// only is a script of one scenario.
func (s *script) only(i int) *script {
	one := *s
	one.scenarios, one.shares = s.scenarios[i:i+1], []float64{1}
	return &one
}

// watcher collects what a user does. Its methods are called where things
// happen, and not at all without a watcher.
type watcher struct {
	layout  *stats.Layout
	scale   float64
	told    func(TriedStep)
	steps   int // that have ended
	current TriedStep
}

func (w *watcher) step(st *step) TriedStep {
	key := w.layout.Steps[st.index]
	return TriedStep{Scenario: key.Scenario, Step: key.Step}
}

// attempt is the one under way.
func (w *watcher) attempt() *TriedAttempt {
	if len(w.current.Attempts) == 0 {
		w.begin()
	}
	return &w.current.Attempts[len(w.current.Attempts)-1]
}

func (w *watcher) begin() { w.current.Attempts = append(w.current.Attempts, TriedAttempt{}) }

// unresolved tells of a variable that stays as the plan has it.
func (w *watcher) unresolved(text string) {
	if !slices.Contains(w.current.Unresolved, text) {
		w.current.Unresolved = append(w.current.Unresolved, text)
	}
}

// exchanged tells of a request that has been answered, or has not been.
func (w *watcher) exchanged(u *user, c *trip, x *exchange) {
	if c.hops == 0 {
		w.begin()
	}
	e := TriedExchange{
		Method: c.req.Method, URL: c.req.URL.String(), Host: c.req.Host, Header: c.req.Header.Clone(),
		Length: c.req.ContentLength, Took: x.ended.Sub(x.sent), NewConnection: x.newConn,
	}
	e.Body = requestBody(c.req)
	if x.err == nil {
		e.Status, e.ResponseHeader = x.status, x.header
		e.setResponse(u, x)
	}
	a := w.attempt()
	a.Exchanges = append(a.Exchanges, e)
}

// requestBody is what a request's body begins with: a copy of it can be had.
func requestBody(req *http.Request) []byte {
	if req.GetBody == nil {
		return nil
	}
	body, err := req.GetBody()
	if err != nil {
		return nil
	}
	defer func() { _ = body.Close() }()
	head, err := io.ReadAll(io.LimitReader(body, MaxTriedBody))
	if err != nil {
		return nil
	}
	return head
}

func (e *TriedExchange) setResponse(u *user, x *exchange) {
	limit := int64(u.config.MaxBody)
	body, err := decode(u.sink.kept, x.header, limit)
	if err == nil && (u.sink.over || int64(len(body)) > limit) {
		err = errTooLarge(limit)
	}
	if err != nil {
		e.Unreadable = err.Error()
		return
	}
	e.ResponseLength = int64(len(body))
	// The sink is used again for the next response.
	e.Response = append([]byte(nil), body[:min(len(body), MaxTriedBody)]...)
}

// extracted tells what an extractor found.
func (w *watcher) extracted(e *extractor, text string, problem error) {
	v := TriedVariable{Name: e.name, From: e.where(), Value: text}
	if problem != nil {
		v.Value, v.Problem = "", problem.Error()
		if e.fallback != nil {
			v.Value, v.Default = *e.fallback, true
		}
	}
	a := w.attempt()
	a.Variables = append(a.Variables, v)
}

// where is the place that an extractor reads.
func (e *extractor) where() string {
	switch e.from {
	case "jsonPath":
		return e.from + " " + e.query.path.String()
	case "regex":
		return e.from + " " + e.regex.String()
	}
	return e.from + " " + e.key
}

// asserted tells how an assertion came out.
func (w *watcher) asserted(u *user, a *assertion, r *response, problem error) {
	t := TriedAssertion{Name: a.kind}
	if problem != nil {
		t.Problem = problem.Error()
	}
	switch a.kind {
	case "statusCode":
		t.Want, t.Got = statusText(a.statuses), fmt.Sprint(r.status)
	case "responseTime":
		t.Want, t.Got = "at most "+a.most.String(), r.took.Round(10*time.Microsecond).String()
	case "jsonPath":
		t.Name += " " + a.path
		if r.trouble == nil {
			got, _ := r.query(a.query)
			t.Got = string(got)
		}
		if t.Want = "any value"; !a.exists {
			t.Want = u.scope.shown(a.text)
		}
	case "bodyContains":
		t.Want = u.scope.shown(a.text)
	case "bodyMatches":
		t.Want = a.regex.String()
	case "headerExists":
		t.Name += " " + a.header
		t.Got = strings.Join(r.header[a.header], ", ")
	}
	if a.not {
		t.Name = "not " + t.Name
	}
	at := w.attempt()
	at.Assertions = append(at.Assertions, t)
}

// shown is a template filled in, or as the plan has it if it would be filled
// in differently the next time.
func (s *scope) shown(t template) string {
	var out []byte
	for i := range t {
		switch t[i].source {
		case fromClock, fromUUID, fromRandom:
			out = append(out, t[i].text...)
		default:
			out = s.append(out, &t[i], t[i].how)
		}
	}
	return string(out)
}

func statusText(ranges []plan.StatusRange) string {
	var out []string
	for _, r := range ranges {
		switch {
		case r.Lo == r.Hi:
			out = append(out, fmt.Sprint(r.Lo))
		default: // a plan has only whole classes
			out = append(out, fmt.Sprintf("%dxx", r.Lo/100))
		}
	}
	return strings.Join(out, " or ")
}

// failed tells why an attempt is an error.
func (w *watcher) failed(problem error) {
	a := w.attempt()
	if a.Problem != "" { // a retry that its variables made impossible to send
		w.begin()
		a = w.attempt()
	}
	a.Problem = problem.Error()
}

// ended tells of a step that has ended.
func (w *watcher) ended(st *step, failed bool) {
	out := w.current
	named := w.step(st)
	out.Scenario, out.Step, out.Failed = named.Scenario, named.Step, failed
	if !failed || st.continues {
		out.Think = plan.ThinkTime{Min: w.scaled(st.think.Min), Max: w.scaled(st.think.Max)}
	}
	w.steps++
	w.current = TriedStep{}
	w.told(out)
}

func (w *watcher) scaled(d time.Duration) time.Duration {
	return time.Duration(float64(d) * w.scale)
}
