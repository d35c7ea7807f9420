package settings

import (
	"errors"
	"os"
	"reflect"
	"slices"
	"strings"
)

// Load reads the environment. The warnings are sentences for the log. The
// error, if any, is an *Error that holds every mistake at once; the settings
// then must not be used.
func Load() (Settings, []string, error) { return load(os.Hostname) }

func load(hostname func() (string, error)) (Settings, []string, error) {
	s := Settings{set: map[string]bool{}}
	var later laterVariables
	variables := variablesOf(&s)
	c := newChecker(append(slices.Clone(variables), variablesOf(&later)...))
	for _, v := range variables {
		s.set[v.name] = v.isSet()
		c.decode(v)
	}
	c.refuseLater(&later)
	c.checkRun(&s)
	c.checkIdentity(&s, hostname)
	c.checkEphemeral(&s)
	c.checkRegistry(&s)
	c.checkControl(&s)
	c.checkLog(&s)
	c.checkMemory(&s.Memory)
	c.checkCluster(&s)
	c.checkSource(&s)
	c.checkConsul(&s)
	c.checkLoad(&s)
	c.warnUnknown()
	return s, c.warnings, c.err()
}

// LoadTerminal reads what commands that run nothing need, whatever the rest is.
func LoadTerminal() Terminal {
	return Terminal{NoColour: os.Getenv("NO_COLOR"), Kind: os.Getenv("TERM")}
}

func (c *checker) decode(v variable) {
	switch err := v.decode(); {
	case err == nil:
	case errors.Is(err, errForm), errors.Is(err, errRange):
		c.refuse(v.name, "%v: %s", err, v.accepted())
	default:
		c.refuse(v.name, "%v", err)
	}
}

// refuseLater refuses every variable of a later version that is set to
// anything but its default.
func (c *checker) refuseLater(later *laterVariables) {
	var defaults laterVariables
	untouched := variablesOf(&defaults)
	for i, v := range variablesOf(later) {
		if !v.isSet() {
			continue
		}
		if v.tag.Get("deprecated") != "" {
			c.warn("%s is deprecated and has no effect", v.name)
			continue
		}
		c.decode(v)
		if c.bad[v.name] || untouched[i].hasDefault(v.value) {
			continue
		}
		c.refuse(v.name, "not in this version (%s): %s", v.tag.Get("desc"), remedy(v.tag.Get("default")))
	}
}

func remedy(def string) string {
	if def == "" {
		return "leave it unset"
	}
	return "leave it unset, or at " + def
}

// hasDefault reports whether value is the default of v, which is not yet decoded.
func (v variable) hasDefault(value reflect.Value) bool {
	def := v.tag.Get("default")
	if def == "" {
		return false
	}
	one := reflect.New(v.textType()).Elem()
	return v.decodeText(one, def) == nil && reflect.DeepEqual(one.Convert(value.Type()).Interface(), value.Interface())
}

// warnUnknown names variables that look like a misspelt one of the cluster's.
func (c *checker) warnUnknown() {
	for _, entry := range os.Environ() {
		name, value, _ := strings.Cut(entry, "=")
		if _, known := c.secrets[name]; !known && value != "" && strings.HasPrefix(name, "CLUSTER_") {
			c.warn("%s is not a variable of volley (see `volley env`): it has no effect", name)
		}
	}
}
