package settings

import (
	"errors"
	"maps"
	"os"
	"slices"
	"unicode/utf8"
)

// Load reads the environment. The warnings are sentences for the log. The
// error, if any, is an *Error that holds every mistake at once; the settings
// then must not be used.
func Load() (Settings, []string, error) { return load(os.Hostname) }

func load(hostname func() (string, error)) (Settings, []string, error) {
	s := Settings{set: map[string]bool{}}
	variables, deprecated := variablesOf(&s), variablesOf(&deprecatedVariables{})
	c := newChecker(append(slices.Clone(variables), deprecated...))
	for _, v := range variables {
		s.set[v.name] = v.isSet()
		c.decode(v)
	}
	c.warnDeprecated(deprecated)
	c.checkRun(&s)
	c.checkIdentity(&s, hostname)
	c.checkEphemeral(&s)
	c.checkJob(&s)
	c.checkRegistry(&s)
	c.checkControl(&s)
	c.checkOTLP(&s)
	c.checkLog(&s)
	c.checkMemory(&s.Memory)
	c.checkCluster(&s)
	c.checkSource(&s)
	c.checkConsul(&s)
	c.checkLoad(&s)
	c.shiftClock(&s)
	c.warnUnknown(s.Run.PlanEnvNames)
	return s, c.warnings, c.err()
}

// LoadTerminal reads what commands that run nothing need, whatever the rest is.
func LoadTerminal() Terminal {
	return Terminal{NoColour: os.Getenv("NO_COLOR"), Kind: os.Getenv("TERM")}
}

// LoadPlanEnv reads the names of what a plan may read of the environment and finds
// there, for commands that run nothing, whatever the rest is.
func LoadPlanEnv() []string {
	var s Settings
	variables := variablesOf(&s)
	c := newChecker(variables)
	for _, v := range variables {
		if v.name == "PLAN_ENV" {
			c.decode(v)
		}
	}
	c.checkPlanEnv(&s.Run)
	return slices.Sorted(maps.Keys(s.Run.PlanEnv))
}

// LoadStorage reads how Google Cloud Storage is reached, for commands that run
// nothing, whatever the rest is.
func LoadStorage() (endpoint, emulator string, err error) {
	c := newChecker(nil)
	endpoint, emulator = os.Getenv("GCS_ENDPOINT"), os.Getenv("STORAGE_EMULATOR_HOST")
	c.checkCredentialed("GCS_ENDPOINT", endpoint, "https://host/storage/v1/")
	return endpoint, emulator, c.err()
}

func (c *checker) decode(v variable) {
	if !utf8.ValidString(os.Getenv(v.name)) {
		c.refuse(v.name, "not valid UTF-8: %s", v.accepted())
		return
	}
	switch err := v.decode(); {
	case err == nil:
	case errors.Is(err, errForm), errors.Is(err, errRange):
		c.refuse(v.name, "%v: %s", err, v.accepted())
	default:
		c.refuse(v.name, "%v", err)
	}
}

// warnDeprecated names every variable that is set and has no effect any more.
func (c *checker) warnDeprecated(variables []variable) {
	for _, v := range variables {
		if v.isSet() {
			c.warn("%s is deprecated and has no effect", v.name)
		}
	}
}
