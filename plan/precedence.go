package plan

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Precedence says who is heard where the environment and a document give the
// same field.
type Precedence bool

// A plan file is what the operator has laid on the machine, and the variables
// are what is said on top of it at start; a plan that is posted comes later
// than both. Defaults are heard last in either case.
const (
	EnvironmentWins Precedence = false
	DocumentWins    Precedence = true
)

// Merge puts the variables that are set in e into a document, and says in a
// sentence each what has hidden what. LOAD_MODEL_TYPE stands for a whole load.
// Without a variable that matters the document comes back as it is, byte for
// byte; so does one that is no tree, for Parse to refuse. An error is what
// Parse says of the merged document, at the places of the one that was given,
// with the names of the variables at fault.
func Merge(document []byte, e Environment, who Precedence) (merged []byte, notes []string, err error) {
	root, faults := grow(document)
	if len(faults) > 0 || root.under == nil {
		return document, nil, nil
	}
	m := &merger{root: root, who: who, from: map[string]string{}}
	m.config(e)
	if err := m.load(e); err != nil {
		return nil, m.notes, err
	}
	m.scope(e)
	if len(m.from) == 0 {
		return document, m.notes, nil
	}
	merged = append([]byte(mergedMark), root.bytes()...)
	if _, _, err := Parse(merged); err != nil {
		return nil, m.notes, m.placed(document, err)
	}
	return merged, m.notes, nil
}

// mergedMark begins a merged document: whoever sees it shall not look for its
// lines in the one that was given.
const mergedMark = "# merged with the variables of the environment\n"

func isMerged(document []byte) bool { return bytes.HasPrefix(document, []byte(mergedMark)) }

// Of is the warning as text, with its place unless the document is a merged
// one, whose lines nobody has seen.
func (w Warning) Of(document []byte) string {
	if isMerged(document) {
		return Error(w).text()
	}
	return w.String()
}

// scope is that of a load that names none.
func (m *merger) scope(e Environment) {
	if e.Scope != "" && m.root.at("load.scope") == nil && m.root.put("load.scope", scalar(e.Scope)) {
		m.from["load.scope"] = "CLOUD_RUN_TASK_COUNT"
	}
}

type merger struct {
	root  *branch
	who   Precedence
	from  map[string]string // path -> the variable that it is from
	notes []string
}

// give lays a variable's value, as YAML, at a path, unless the document is
// heard first and has one.
func (m *merger) give(path, variable, value string) {
	switch given := m.root.at(path) != nil; {
	case given && m.who == DocumentWins:
		m.hide(path+" of the plan", variable)
		return
	case given:
		m.hide(variable, path+" of the plan")
	}
	if m.root.put(path, scalar(value)) {
		m.from[path] = variable
	}
}

func (m *merger) hide(winner, loser string) { m.notes = append(m.notes, winner+" hides "+loser) }

func (m *merger) text(path, variable, value string) {
	if value != "" {
		m.give(path, variable, quoted(value))
	}
}

func (m *merger) whole(path, variable string, value *int) {
	if value != nil {
		m.give(path, variable, strconv.Itoa(*value))
	}
}

func (m *merger) span(path, variable string, value *time.Duration) {
	if value != nil {
		m.give(path, variable, span(*value))
	}
}

func (m *merger) config(e Environment) {
	m.text("metadata.tenant", "TENANT", e.Tenant)
	m.text("config.baseUrl", "TARGET_URL", e.TargetURL)
	m.whole("config.workers", "NUM_CONCURRENT_TASKS", e.Workers)
	m.duration(e)
	m.span("config.timeout", "REQUEST_TIMEOUT", e.RequestTimeout)
	if e.SkipTLSVerify != nil {
		m.give("config.skipTlsVerify", "SKIP_TLS_VERIFY", strconv.FormatBool(*e.SkipTLSVerify))
	}
	m.text("config.customHeaders", "CUSTOM_HEADERS", e.CustomHeaders)
	m.text("config.resolveTargetAddr", "RESOLVE_TARGET_ADDR", e.ResolveTargetAddr)
	m.whole("config.pool.maxIdlePerHost", "POOL_MAX_IDLE_PER_HOST", e.PoolMaxIdlePerHost)
	m.whole("config.pool.idleTimeoutSecs", "POOL_IDLE_TIMEOUT_SECS", e.PoolIdleTimeoutSecs)
	if m.root.at("config.tls.cert") != nil { // else the engine takes the variables as they are
		m.text("config.tls.cert", "CLIENT_CERT_PATH", e.ClientCertPath)
		m.text("config.tls.key", "CLIENT_KEY_PATH", e.ClientKeyPath)
	}
}

// duration leaves a document alone that says by its stages or iterations how
// long it takes, if it is heard first.
func (m *merger) duration(e Environment) {
	if e.Duration != nil && m.who == DocumentWins && m.root.at("config.duration") == nil {
		for _, path := range []string{"load.stages", "load.iterations"} {
			if m.root.at(path) != nil {
				m.hide(path+" of the plan", "TEST_DURATION")
				return
			}
		}
	}
	m.span("config.duration", "TEST_DURATION", e.Duration)
}

func (m *merger) load(e Environment) error {
	model := ""
	if b := m.root.at("load.model"); b != nil {
		model = unquoted(b.text)
	}
	switch {
	case e.LoadModel != "" && (m.who == EnvironmentWins || model == ""):
		return m.loadOf(e)
	case e.LoadModel != "":
		m.hide("load.model of the plan", "LOAD_MODEL_TYPE")
	}
	for _, n := range e.modelVariables(model) {
		m.give("load."+n.key, n.variable, n.value)
	}
	m.useless(e, model)
	return nil
}

// loadOf is the load that LOAD_MODEL_TYPE and its companions describe, in the
// place of the document's or around what that has of one.
func (m *merger) loadOf(e Environment) error {
	if b := m.root.at("config.duration"); e.Duration == nil && b != nil {
		if d, problem := parseDuration(unquoted(b.text)); problem == "" {
			e.Duration = &d // what a ramp takes by default
		}
	}
	r := &renderer{}
	if err := r.load(e); err != nil {
		return err
	}
	described, faults := grow(r.out.Bytes())
	if len(faults) > 0 {
		return faults
	}
	load := described.under["load"]
	if old := m.root.at("load"); m.who == EnvironmentWins {
		if old != nil {
			for _, key := range old.keys {
				m.hide("LOAD_MODEL_TYPE", join("load", key)+" of the plan")
			}
		}
		m.root.set("load", &branch{under: map[string]*branch{}})
	}
	model := environmentModels[strings.ToLower(strings.TrimSpace(e.LoadModel))]
	names := map[string]string{}
	for _, n := range e.modelVariables(model) {
		names[n.key] = n.variable
	}
	for _, key := range load.keys {
		name := names[key]
		if name == "" {
			name = "LOAD_MODEL_TYPE"
		}
		m.give("load."+key, name, load.under[key].text)
	}
	m.useless(e, model)
	return nil
}

// useless names the variables of other models, where they were meant to win.
func (m *merger) useless(e Environment, model string) {
	if m.who == DocumentWins || model == "" {
		return
	}
	m.notes = append(m.notes, e.unread(model)...)
}

// unread says which variables of other models are set.
func (e Environment) unread(model string) (notes []string) {
	read := e.modelVariables(model)
	for _, other := range []string{"rps", "ramp", "dailytraffic"} {
		for _, n := range e.modelVariables(other) {
			same := func(r modelVariable) bool { return r.variable == n.variable }
			if !slices.ContainsFunc(read, same) {
				notes = append(notes, n.variable+" has no effect: load.model is "+model)
			}
		}
	}
	return notes
}

// WithoutEffect says, in a sentence each, what is set in e and is in no way in
// the plan that FromEnvironment makes of it.
func (e Environment) WithoutEffect() []string {
	notes := e.unread(environmentModels[strings.ToLower(strings.TrimSpace(e.LoadModel))])
	for i := range notes {
		notes[i] += ", by LOAD_MODEL_TYPE"
	}
	if method := e.method(); e.SendJSON && !carriesPayload(method) {
		notes = append(notes, "SEND_JSON has no effect: REQUEST_TYPE is "+method+", and POST, PUT and PATCH carry JSON_PAYLOAD")
	}
	return notes
}

// modelVariable is a variable of a load model that is set.
type modelVariable struct{ key, variable, value string }

func (e Environment) modelVariables(model string) (set []modelVariable) {
	for _, n := range e.numbers(model) {
		if n.value != nil {
			set = append(set, modelVariable{n.key, n.variable, number(*n.value)})
		}
	}
	if model == "ramp" && e.RampDuration != nil {
		set = append(set, modelVariable{"rampDuration", "RAMP_DURATION", span(*e.RampDuration)})
	}
	if model == "dailytraffic" && e.DailyCycleDuration != nil {
		set = append(set, modelVariable{"cycleDuration", "DAILY_CYCLE_DURATION", span(*e.DailyCycleDuration)})
	}
	return set
}

// placed gives the mistakes of a merged document the places of the one that it
// was made of.
func (m *merger) placed(document []byte, err error) error {
	var mistakes Errors
	root, fault := parseYAML(document)
	if !errors.As(err, &mistakes) || fault != nil {
		return err
	}
	d := newDecoder(root)
	d.decodeRoot(root, withDefaults())
	for i, mistake := range mistakes {
		at := d.position(mistake.Path)
		mistakes[i].Line, mistakes[i].Column = at.Line, at.Column
		if name := m.from[mistake.Path]; name != "" {
			mistakes[i].Message = fmt.Sprintf("from %s: %s", name, mistake.Message)
		}
	}
	return mistakes.ordered()
}

// StandbyDocument is the plan by which a node stands by after a run of the
// given one: standby.workers request config.baseUrl, standby.rps times a second
// in all, by the client settings of the plan and the method and payload of the
// environment. It has no end of its own that anybody would live to see.
func StandbyDocument(document []byte, e Environment) ([]byte, error) {
	p, _, err := Parse(document)
	if err != nil {
		return nil, err
	}
	if p.Standby == nil {
		return nil, errors.New("the plan has no standby")
	}
	root, faults := grow(document)
	if len(faults) > 0 {
		return nil, faults
	}
	r := &renderer{}
	r.open(0, "load")
	r.line(1, "model", "rps")
	r.line(1, "target", number(p.Standby.RPS))
	if err := r.scenario(e, target{path: p.Config.BaseURL}); err != nil {
		return nil, err
	}
	own, faults := grow(r.out.Bytes())
	if len(faults) > 0 {
		return nil, faults
	}
	for _, key := range []string{"standby", "thresholds", "metrics"} {
		root.remove(key)
	}
	root.set("load", own.under["load"])
	root.set("scenarios", own.under["scenarios"])
	root.put("config.workers", scalar(strconv.Itoa(p.Standby.Workers)))
	root.put("config.duration", scalar("365d"))
	root.at("config").remove("warmup")
	if b := root.at("metadata"); b != nil {
		b.remove("run_id")
	}
	out := root.bytes()
	if _, _, err := Parse(out); err != nil {
		return nil, fmt.Errorf("standby: %w", err)
	}
	return out, nil
}
