package settings

import (
	"fmt"
	"os"
	"strconv"
	"strings"
)

// Problem is one mistake in the environment.
type Problem struct {
	Variable string // its name
	Value    string // as set, "<secret>" for a secret, "" if it is not set
	Message  string // what is wrong and what is accepted
}

func (p Problem) String() string {
	if p.Value == "" {
		return p.Variable + ": " + p.Message
	}
	return p.Variable + "=" + strconv.Quote(p.Value) + ": " + p.Message
}

// Error is every mistake in the environment, in the order of the table.
type Error struct{ Problems []Problem }

func (e *Error) Error() string {
	lines := make([]string, len(e.Problems))
	for i, p := range e.Problems {
		lines[i] = p.String()
	}
	return fmt.Sprintf("invalid environment (%d):\n  %s", len(lines), strings.Join(lines, "\n  "))
}

// maxShown bounds how much of a value an error repeats.
const maxShown = 120

// checker collects mistakes and warnings.
type checker struct {
	secrets  map[string]bool // every variable, and whether its value is masked
	problems []Problem
	warnings []string
	bad      map[string]bool // variables with a problem: their values mean nothing
}

func newChecker(variables []variable) *checker {
	c := &checker{secrets: map[string]bool{}, bad: map[string]bool{}}
	for _, v := range variables {
		c.secrets[v.name] = v.secret()
	}
	return c
}

// refuse records a mistake in the variable of that name.
func (c *checker) refuse(name, format string, args ...any) {
	c.bad[name] = true
	c.problems = append(c.problems, Problem{name, c.shown(name), fmt.Sprintf(format, args...)})
}

// refuseUnless records the mistake only if ok is false.
func (c *checker) refuseUnless(ok bool, name, format string, args ...any) {
	if !ok {
		c.refuse(name, format, args...)
	}
}

func (c *checker) warn(format string, args ...any) {
	c.warnings = append(c.warnings, fmt.Sprintf(format, args...))
}

func (c *checker) shown(name string) string {
	value := os.Getenv(name)
	switch {
	case value == "":
		return ""
	case c.secrets[name]:
		return mask
	}
	value = withoutCredentials(value)
	if len(value) > maxShown {
		value = strings.ToValidUTF8(value[:maxShown], "") + "…"
	}
	return value
}

func (c *checker) err() error {
	if len(c.problems) == 0 {
		return nil
	}
	return &Error{c.problems}
}
