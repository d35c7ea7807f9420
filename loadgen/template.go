package loadgen

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"net/url"
	"strconv"
	"strings"
	"time"
)

// template is a text of the plan whose variables have been found, so that one
// pass fills it in and no value is searched for variables again.
type template []token

// token is a literal or a variable.
type token struct {
	text   string // of a variable what the plan says: "${x}"
	source source
	slot   int    // fromScenario
	lo, hi int64  // fromRandom, both included
	value  string // fromJob
	how    escaping
}

// source says where a token's value comes from.
type source uint8

const (
	fromPlan     source = iota // a literal
	fromJob                    // the same for the whole run: ${node} ${run_id} ${env.NAME}
	fromScenario               // extracted, or a column of a data file
	fromClock
	fromUUID
	fromIteration
	fromWorker
	fromRandom
	fromElsewhere // the environment of another machine (anyEnv): nothing is sent with it
)

// escaping is what a value undergoes at its place.
type escaping uint8

const (
	byPlace escaping = iota // in a URL's path: what stands before it decides
	asIs
	inJSON  // the inside of a JSON string
	inPath  // a segment of a URL's path
	inQuery // a URL's query, a form
	inLine  // a header line of a multipart field
	inParam // a quoted parameter of such a line
)

func (e escaping) apply(s string) string {
	switch e {
	case inJSON:
		return jsonText(s)
	case inPath:
		return url.PathEscape(s)
	case inQuery:
		return url.QueryEscape(s)
	case inLine:
		return strings.NewReplacer("\r", "%0D", "\n", "%0A").Replace(s)
	case inParam:
		return strings.NewReplacer(`"`, "%22", "\r", "%0D", "\n", "%0A").Replace(s)
	}
	return s
}

func jsonText(s string) string {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	if e.Encode(s) != nil {
		return s // a string always encodes
	}
	return strings.TrimSuffix(strings.TrimPrefix(strings.TrimSuffix(b.String(), "\n"), `"`), `"`)
}

// longestName keeps a brace that is closed pages later from naming a variable.
const longestName = 200

// names numbers a scenario's variables.
type names map[string]int

func (n names) slot(name string) int {
	i, known := n[name]
	if !known {
		i = len(n)
		n[name] = i
	}
	return i
}

// parser finds variables for one scenario of one job.
type parser struct {
	job    *Job
	names  names
	anyEnv bool // environment variables are not asked for: another machine has them
}

// parse finds the variables of a text. "$${" is a literal "${", and so is what
// cannot be a variable, such as "${a b}". The error is that of a built-in with
// wrong arguments or of an unknown environment variable.
func (p *parser) parse(text string) (template, error) {
	var t template
	for text != "" {
		i := strings.Index(text, "${")
		if i < 0 {
			return t.literal(text), nil
		}
		if i > 0 && text[i-1] == '$' {
			t, text = t.literal(text[:i-1]+"${"), text[i+2:]
			continue
		}
		name, ok := variableName(text[i+2:])
		if !ok {
			t, text = t.literal(text[:i+2]), text[i+2:]
			continue
		}
		whole := text[i : i+len(name)+3]
		v, err := p.variable(whole, name)
		if err != nil {
			return nil, err
		}
		t, text = append(t.literal(text[:i]), v), text[i+len(whole):]
	}
	return t, nil
}

// literal appends a literal, to the last token if that is one.
func (t template) literal(text string) template {
	if n := len(t); n > 0 && t[n-1].source == fromPlan {
		t[n-1].text += text
		return t
	}
	if text == "" {
		return t
	}
	return append(t, token{text: text})
}

// variableName is what stands before the closing brace; ok is false if that is
// no name.
func variableName(text string) (name string, ok bool) {
	end := strings.IndexByte(text, '}')
	if end <= 0 || end > longestName {
		return "", false
	}
	name = text[:end]
	if strings.HasPrefix(name, "random(") {
		return name, true
	}
	return name, !strings.ContainsAny(name, "${()\"'` \t\r\n")
}

func (p *parser) variable(whole, name string) (token, error) {
	v := token{text: whole}
	if rest, found := strings.CutPrefix(name, "raw:"); found {
		v.how, name = asIs, rest
	} else if rest, found := strings.CutPrefix(name, "json:"); found {
		v.how, name = inJSON, rest
	}
	if env, found := strings.CutPrefix(name, "env."); found {
		value, known := p.job.Client.Env[env]
		v.source, v.value = fromJob, value
		if !known {
			v.source = fromElsewhere
		}
		if !known && !p.anyEnv {
			return v, fmt.Errorf("%s is not known to this node (PLAN_ENV has to list %s, and it has to be set)", whole, env)
		}
		return v, nil
	}
	if args, found := strings.CutPrefix(name, "random("); found {
		return v.random(args)
	}
	switch name {
	case "timestamp":
		v.source = fromClock
	case "uuid":
		v.source = fromUUID
	case "iteration":
		v.source = fromIteration
	case "worker":
		v.source = fromWorker
	case "node":
		v.source, v.value = fromJob, p.job.NodeID
	case "run_id":
		v.source, v.value = fromJob, p.job.RunID
	default:
		v.source, v.slot = fromScenario, p.names.slot(name)
	}
	return v, nil
}

func (v token) random(args string) (token, error) {
	lo, hi, _ := strings.Cut(strings.TrimSuffix(args, ")"), ",")
	var errLo, errHi error
	v.lo, errLo = strconv.ParseInt(strings.TrimSpace(lo), 10, 64)
	v.hi, errHi = strconv.ParseInt(strings.TrimSpace(hi), 10, 64)
	if errLo != nil || errHi != nil || v.lo > v.hi || !strings.HasSuffix(args, ")") {
		return v, fmt.Errorf("%s is no random number (${random(a,b)} with integers a <= b, both included)", v.text)
	}
	v.source = fromRandom
	return v, nil
}

// placed settles a template at a place with one escaping: literals are escaped
// too if the place is not plain text, and what is known of the job becomes a
// literal.
func (t template) placed(how escaping) template {
	var out template
	for _, v := range t {
		if v.how == byPlace {
			v.how = how
		}
		switch v.source {
		case fromPlan:
			out = out.literal(how.apply(v.text))
		case fromJob:
			out = out.literal(v.how.apply(v.value))
		default:
			out = append(out, v)
		}
	}
	return out
}

// static is the template's text if no variable is left in it.
func (t template) static() (text string, ok bool) {
	switch {
	case len(t) == 0:
		return "", true
	case len(t) == 1 && t[0].source == fromPlan:
		return t[0].text, true
	}
	return "", false
}

// plain is parse for a place of plain text.
func (p *parser) plain(text string) (template, error) { return p.at(asIs, text) }

func (p *parser) at(how escaping, text string) (template, error) {
	t, err := p.parse(text)
	return t.placed(how), err
}

// scope is what variables stand for in one iteration of one worker.
type scope struct {
	worker    int
	iteration int64
	draws     *rand.Rand // the same for the same seed and iteration
	values    []variable // by slot
	missing   func(text string)
	work      []byte // what bytes makes
}

// variable is one that may be set: to a text that stays, such as a column's, or
// to what is kept of a response, in a buffer of its own.
type variable struct {
	text string
	kept []byte
	set  bool
	own  bool // kept has it
}

// keepVariable is how large a buffer a variable may have between iterations.
const keepVariable = 4 << 10

func (v *variable) value() string {
	if v.own {
		return string(v.kept)
	}
	return v.text
}

func (v *variable) append(dst []byte, how escaping) []byte {
	switch {
	case v.own && how == asIs:
		return append(dst, v.kept...)
	case how == asIs:
		return append(dst, v.text...)
	}
	return append(dst, how.apply(v.value())...)
}

func (s *scope) set(slot int, text string) {
	v := &s.values[slot]
	v.text, v.set, v.own = text, true, false
}

// keep sets a variable to a copy of a text.
func (s *scope) keep(slot int, text []byte) {
	v := &s.values[slot]
	v.kept, v.set, v.own = append(v.kept[:0], text...), true, true
}

// reset begins an iteration of a scenario with n variables.
func (s *scope) reset(iteration int64, n int) {
	s.iteration = iteration
	for i := range s.values {
		v := &s.values[i]
		if v.text, v.set = "", false; cap(v.kept) > keepVariable {
			v.kept = nil
		}
	}
	for len(s.values) < n {
		s.values = append(s.values, variable{})
	}
}

// fill appends a template that has been placed.
func (s *scope) fill(dst []byte, t template) []byte {
	for i := range t {
		dst = s.append(dst, &t[i], t[i].how)
	}
	return dst
}

// bytes is a template that has been placed, until the next call.
func (s *scope) bytes(t template) []byte {
	s.work = s.fill(s.work[:0], t)
	return s.work
}

// text is a template that has been placed, as a string.
func (s *scope) text(t template) string {
	if text, ok := t.static(); ok {
		return text
	}
	return string(s.fill(nil, t))
}

func (s *scope) append(dst []byte, v *token, how escaping) []byte {
	switch v.source {
	case fromPlan:
		return append(dst, v.text...)
	case fromJob:
		return append(dst, how.apply(v.value)...)
	case fromScenario:
		if known := &s.values[v.slot]; known.set {
			return known.append(dst, how)
		}
		s.missing(v.text)
		return append(dst, how.apply(v.text)...)
	case fromClock:
		return strconv.AppendInt(dst, time.Now().UnixMilli(), 10)
	case fromIteration:
		return strconv.AppendInt(dst, s.iteration, 10)
	case fromWorker:
		return strconv.AppendInt(dst, int64(s.worker), 10)
	case fromRandom:
		return strconv.AppendInt(dst, s.random(v.lo, v.hi), 10)
	}
	return appendUUID(dst)
}

// random draws from lo to hi, both included.
func (s *scope) random(lo, hi int64) int64 {
	span := uint64(hi) - uint64(lo) + 1
	if span == 0 { // all of them
		return int64(s.draws.Uint64())
	}
	return int64(uint64(lo) + s.draws.Uint64N(span))
}

// appendUUID appends a random one of version 4. It does not come from the
// plan's seed: two runs of one plan shall not create the same things.
func appendUUID(dst []byte) []byte {
	id := randomID()
	id[6], id[8] = id[6]&0x0f|0x40, id[8]&0x3f|0x80
	for i, n := range []int{4, 2, 2, 2, 6} {
		if i > 0 {
			dst = append(dst, '-')
		}
		dst = hex.AppendEncode(dst, id[:n])
		copy(id[:], id[n:])
	}
	return dst
}

func randomID() (id [16]byte) {
	binary.NativeEndian.PutUint64(id[:8], rand.Uint64())
	binary.NativeEndian.PutUint64(id[8:], rand.Uint64())
	return id
}
