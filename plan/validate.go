package plan

import (
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"
	"unicode"
)

// validator checks what a decoded plan means, and fills in the defaults that
// depend on other fields. It reports under the same paths as the decoder and
// says nothing of what the decoder already refused.
type validator struct {
	*decoder
	plan *Plan
}

func (v *validator) validate() {
	v.version()
	v.label("metadata.tenant", v.plan.Metadata.Tenant)
	v.runID()
	if v.required("config", "a map with baseUrl and duration") {
		v.config()
	}
	if v.required("load", "a map with model") {
		v.load()
	}
	v.scenarios()
	if s := v.plan.Standby; s != nil {
		v.whole("standby.workers", int64(s.Workers), 0, maxWorkersNode)
		v.rate("standby.rps", s.RPS)
	}
	for i := range v.plan.Thresholds {
		v.threshold(fmt.Sprintf("thresholds[%d]", i), &v.plan.Thresholds[i])
	}
}

const acceptVersion = "1.0"

func (v *validator) version() {
	if !v.required("version", acceptVersion) {
		return
	}
	text := strings.TrimSpace(v.plan.Version)
	major, minor, found := strings.Cut(text, ".")
	majorNumber, err := strconv.ParseUint(major, 10, 31)
	_, minorErr := strconv.ParseUint(minor, 10, 31)
	switch {
	case !found || err != nil || minorErr != nil:
		v.fail("version", "%s is not a version (%s)", v.shown("version"), acceptVersion)
	case majorNumber < 1:
		v.fail("version", "%s is too old (%s)", v.shown("version"), acceptVersion)
	case text != acceptVersion:
		v.fail("version", "%s is too new (%s)", v.shown("version"), acceptVersion)
	}
}

const maxLabel = 256

// label checks what becomes the value of a metric's label.
func (v *validator) label(path, text string) {
	if len(text) > maxLabel || strings.ContainsFunc(text, unicode.IsControl) {
		v.fail(path, "%s cannot be a label (at most %d bytes, no control characters)", v.shown(path), maxLabel)
	}
}

// runID also becomes part of file names.
func (v *validator) runID() {
	const path = "metadata.run_id"
	v.label(path, v.plan.Metadata.RunID)
	switch id := v.plan.Metadata.RunID; {
	case strings.ContainsAny(id, `/\`):
		v.fail(path, "%s has a slash (a name that can be part of a file name)", v.shown(path))
	case id == "." || id == "..":
		v.fail(path, "%s is a folder (a name that can be part of a file name)", v.shown(path))
	}
}

// given is true if the document holds a value at path.
func (v *validator) given(path string) bool {
	_, ok := v.at[path]
	return ok
}

// required reports a missing value. It is false too if there is one but it
// could not be read.
func (v *validator) required(path, accepted string) bool {
	if !v.given(path) {
		v.fail(path, "is missing (%s)", accepted)
	}
	return !v.silent(path)
}

// filled reports a missing value and an empty text.
func (v *validator) filled(path, text, accepted string) bool {
	if !v.required(path, accepted) {
		return false
	}
	if strings.TrimSpace(text) == "" {
		v.fail(path, "is empty (%s)", accepted)
	}
	return !v.silent(path)
}

// shown is the value at path as messages print it.
func (v *validator) shown(path string) string {
	return show(path, v.at[path].text)
}

// oneOf checks an enumeration. The empty text of a missing value is legal.
func (v *validator) oneOf(path, what, value string, allowed ...string) bool {
	if !v.given(path) {
		return true
	}
	for _, a := range allowed {
		if value == a {
			return true
		}
	}
	hint := ""
	if near := nearest(value, allowed); near != "" {
		hint = "; did you mean " + near + "?"
	}
	v.fail(path, "%s is not %s (%s%s)", v.shown(path), what, either(allowed), hint)
	return false
}

// either is "a, b or c".
func either(words []string) string {
	if len(words) == 1 {
		return words[0]
	}
	last := len(words) - 1
	return strings.Join(words[:last], ", ") + " or " + words[last]
}

func (v *validator) whole(path string, value, least, most int64) {
	accepted := fmt.Sprintf("a whole number from %d to %d", least, most)
	if most == math.MaxInt64 {
		accepted = fmt.Sprintf("a whole number, %d or more", least)
	}
	if v.given(path) && (value < least || value > most) {
		v.fail(path, "%s is out of range (%s)", v.shown(path), accepted)
	}
}

const maxRate = 1e9

const acceptRate = "a number of arrivals per second, 0 or more"

// rate checks a number of arrivals per second.
func (v *validator) rate(path string, value float64) {
	v.atLeastZero(path, value, acceptRate)
	if value > maxRate {
		v.fail(path, "%s is too large (at most %.0f per second)", v.shown(path), maxRate)
	}
}

func (v *validator) atLeastZero(path string, value float64, accepted string) {
	if value < 0 || math.IsNaN(value) {
		v.fail(path, "%s is negative (%s)", v.shown(path), accepted)
	}
}

// positive checks a duration that must not be zero if it is given.
func (v *validator) positive(path string, value time.Duration) {
	if v.given(path) && value <= 0 {
		v.fail(path, "%s is too short (a duration above 0)", v.shown(path))
	}
}

func (v *validator) warn(path, format string, args ...any) {
	if !v.silent(path) {
		v.warnAt(v.at[path].key, path, fmt.Sprintf(format, args...))
	}
}

// unused warns of given keys that the rest of their map makes pointless.
func (v *validator) unused(base, reason string, keys ...string) {
	for _, key := range keys {
		if path := join(base, key); v.given(path) {
			v.warn(path, "has no effect %s", reason)
		}
	}
}
