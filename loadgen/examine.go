package loadgen

import (
	"fmt"
	"slices"
	"strings"

	"volley/plan"
)

// Examine looks at what a valid plan's document alone does not show. Mistakes are
// those for which every run would refuse it. Notes say which of the files that it
// names cannot be read where it lies, and which variables nothing has set when
// they are used: the plan may still be right, as files may be elsewhere, and what
// nothing sets is sent as it is written; and which variables of the environment
// are none of env here, where a run would be refused. Each is a line that begins
// with its place in the plan.
func Examine(p *plan.Plan, from Files, env []string) (mistakes, notes []string) {
	e := &examiner{plan: p, files: &files{from: from}, env: env, left: mostTableBytes}
	for i := range p.Scenarios {
		e.scenario(fmt.Sprintf("scenarios[%d]", i), &p.Scenarios[i])
	}
	return e.mistakes, e.notes
}

type examiner struct {
	plan            *plan.Plan
	files           *files
	env             []string
	left            int64
	mistakes, notes []string
}

func (e *examiner) note(path, format string, args ...any) {
	line := path + ": " + oneLine(fmt.Sprintf(format, args...))
	if !slices.Contains(e.notes, line) {
		e.notes = append(e.notes, line)
	}
}

func oneLine(text string) string { return strings.ReplaceAll(text, "\n", " ") }

// compiles notes what makes a step's requests impossible, whichever machine sends
// them.
func (e *examiner) compiles(path string, sc *plan.Scenario, st *plan.Step) {
	p := &parser{job: &Job{}, names: names{}, anyEnv: true}
	if _, err := p.step(&e.plan.Config, sc, st, &files{lenient: true}); err != nil {
		e.mistakes = append(e.mistakes, path+"."+oneLine(err.Error()))
	}
}

func (e *examiner) scenario(path string, sc *plan.Scenario) {
	set := map[string]bool{}
	if d := sc.DataFile; d != nil && !e.columns(path+".dataFile.path", d, set) {
		set = nil // anything may be a column
	}
	later := map[string]string{} // variable -> the step that extracts it first
	for j := len(sc.Steps) - 1; j >= 0; j-- {
		for _, x := range sc.Steps[j].Extract {
			later[x.Name] = sc.Steps[j].Name
		}
	}
	for j := range sc.Steps {
		st, at := &sc.Steps[j], fmt.Sprintf("%s.steps[%d]", path, j)
		e.compiles(at, sc, st)
		e.bodies(at+".request", &st.Request)
		e.unset(requestTexts(at+".request", &st.Request), set, later)
		for _, x := range st.Extract {
			if set != nil {
				set[x.Name] = true
			}
		}
		e.unset(assertionTexts(at, st), set, later)
	}
	// What all steps share is right if one of them may set it for those after it.
	e.unset(commonTexts(&e.plan.Config), set, nil)
}

// columns adds those of a data file; false if it cannot be read.
func (e *examiner) columns(path string, d *plan.DataFile, set map[string]bool) bool {
	text, err := e.files.read(d.Path)
	if err == nil {
		var t *table
		if t, err = parseTable(d.Format, text, e.left); err == nil {
			for _, name := range t.columns {
				set[name] = true
			}
			return true
		}
		err = fmt.Errorf("%s file %q: %w", d.Format, d.Path, err)
	}
	e.note(path, "%v", err)
	return false
}

// bodies reads what a request sends of files.
func (e *examiner) bodies(path string, r *plan.Request) {
	if r.BodyFile != "" {
		if _, err := e.files.read(r.BodyFile); err != nil {
			e.note(path+".bodyFile", "%v", err)
		}
	}
	for i, part := range r.Multipart {
		if part.File == "" {
			continue
		}
		if _, err := e.files.read(part.File); err != nil {
			e.note(fmt.Sprintf("%s.multipart[%d].file", path, i), "%v", err)
		}
	}
}

// unset notes the variables of texts that are not set; with set nil it does not
// know of those that a scenario sets.
func (e *examiner) unset(texts []placedText, set map[string]bool, later map[string]string) {
	for _, text := range texts {
		p := &parser{job: &Job{}, names: names{}, anyEnv: true}
		found, err := p.parse(text.text)
		if err != nil {
			continue // a mistake, told as such
		}
		for _, v := range found {
			if name := envName(v.text); v.source == fromElsewhere && !slices.Contains(e.env, name) {
				e.note(text.path, "%s is not known here (PLAN_ENV has to list %s, and it has to be set): run refuses the plan where that is so", v.text, name)
			}
			if set == nil || v.source != fromScenario || set[p.names.of(v.slot)] {
				continue
			}
			name := p.names.of(v.slot)
			if step, ok := later[name]; ok {
				e.note(text.path, "%s is used before step %q extracts it", v.text, step)
				continue
			}
			e.note(text.path, "nothing sets %s, so it is sent as it is written (a variable that a step extracts before, or a column of the data file; $${ for a literal ${)", v.text)
		}
	}
}

// envName is what a variable asks the environment for, "" if it does not.
func envName(variable string) string {
	name := strings.TrimSuffix(strings.TrimPrefix(variable, "${"), "}")
	name = strings.TrimPrefix(strings.TrimPrefix(name, "raw:"), "json:")
	name, found := strings.CutPrefix(name, "env.")
	if !found {
		return ""
	}
	return name
}

// of is the name of a slot.
func (n names) of(slot int) string {
	for name, at := range n {
		if at == slot {
			return name
		}
	}
	return ""
}

// placedText is a text of the plan that may hold variables.
type placedText struct{ path, text string }

func requestTexts(path string, r *plan.Request) []placedText {
	out := []placedText{{path + ".path", r.Path}, {path + ".body", r.Body}}
	out = append(out, pairTexts(path+".queryParams", r.QueryParams)...)
	out = append(out, pairTexts(path+".headers", r.Headers)...)
	out = append(out, pairTexts(path+".form", r.Form)...)
	for i, part := range r.Multipart {
		at := fmt.Sprintf("%s.multipart[%d]", path, i)
		out = append(out, placedText{at + ".name", part.Name}, placedText{at + ".value", part.Value},
			placedText{at + ".filename", part.Filename}, placedText{at + ".contentType", part.ContentType})
	}
	return out
}

func pairTexts(path string, pairs []plan.Header) []placedText {
	var out []placedText
	for _, h := range pairs {
		at := path
		if !strings.ContainsAny(h.Name, " .:[]\"\t\r\n") {
			at += "." + h.Name
		}
		out = append(out, placedText{path, h.Name}, placedText{at, h.Value})
	}
	return out
}

// assertionTexts are those that are compared with the response.
func assertionTexts(path string, st *plan.Step) []placedText {
	var out []placedText
	for i := range st.Assertions {
		a, at := &st.Assertions[i], fmt.Sprintf("%s.assertions[%d]", path, i)
		switch a.Type {
		case "jsonPath":
			out = append(out, placedText{at + ".expected", a.Expected.Text})
		case "bodyContains":
			out = append(out, placedText{at + ".text", a.Text})
		}
	}
	return out
}

func commonTexts(c *plan.Config) []placedText {
	out := []placedText{{"config.baseUrl", c.BaseURL}}
	for _, h := range c.CustomHeaders {
		out = append(out, placedText{"config.customHeaders", h.Value})
	}
	return out
}
