package plan

import (
	"fmt"
	"regexp"
	"strconv"
	"strings"
	"time"
)

// Condition is a threshold's expression, parsed.
type Condition struct {
	Step     string // limits the metric to the steps of this name, in any scenario
	Scenario string // limits the metric to one scenario; at most one of the two is set
	Metric   Metric
	Op       string // <, <=, >, >=, ==
	// Value is in nanoseconds for durations, in 0..1 for error_rate and
	// assertion_rate, in percent with OfDue, else the number as written.
	Value float64
	OfDue bool          // Value is a percentage of the due count (rps, iterations)
	Last  time.Duration // judged over the last so much of the run; 0 means all of it
}

// Metric is what a condition looks at.
type Metric struct {
	// Name is "percentile", "mean" or "max" for a duration, else error_rate,
	// assertion_rate, errors, dropped, late_starts, rps or iterations.
	Name string
	// Of says which durations: latency, service, ok or iteration.
	Of         string
	Percentile float64 // above 0, up to 100
}

// IsDuration is true if the metric is measured in nanoseconds.
func (m Metric) IsDuration() bool { return m.Of != "" }

const acceptThreshold = "[step(Name).|scenario(Name).]METRIC < NUMBER [over last DURATION], such as p95 < 300ms"

const acceptMetric = "pNN, mean, max, service.pNN, ok.pNN, iteration.pNN, error_rate, assertion_rate, errors, dropped, late_starts, rps or iterations"

var (
	conditionForm = regexp.MustCompile(`^(.*?)\s*(<=|>=|==|<|>)\s*([0-9.]+)\s*(ms|s|%|/s)?(?:\s+over\s+last\s+(\S+))?$`)
	selectorForm  = regexp.MustCompile(`^(step|scenario)\((.*)\)\.([^()]*)$`)
	percentile    = regexp.MustCompile(`^p([0-9]{1,3}(?:\.[0-9]{1,4})?)$`)
)

// ParseCondition reads the expression of a threshold. Problem says what is
// wrong with it and what is accepted, and is "" if nothing is. Whether steps
// and scenarios of the given names exist is for Parse to check.
func ParseCondition(expr string) (c Condition, problem string) {
	parts := conditionForm.FindStringSubmatch(strings.TrimSpace(expr))
	if parts == nil {
		return c, "is not a threshold (" + acceptThreshold + ")"
	}
	c.Op = parts[2]
	name := parts[1]
	if selector := selectorForm.FindStringSubmatch(name); selector != nil {
		if selector[1] == "step" {
			c.Step = selector[2]
		} else {
			c.Scenario = selector[2]
		}
		if selector[2] == "" {
			return c, "names no " + selector[1] + " (" + selector[1] + "(Name).METRIC)"
		}
		name = selector[3]
	}
	if c.Metric, problem = parseMetric(name); problem != "" {
		return c, problem
	}
	if problem = c.setValue(parts[3], parts[4]); problem != "" {
		return c, problem
	}
	if problem = c.setLast(parts[5]); problem != "" {
		return c, problem
	}
	return c, c.contradiction()
}

func parseMetric(name string) (Metric, string) {
	m := Metric{Of: "latency"}
	base := name
	if of, rest, found := strings.Cut(name, "."); found {
		switch of {
		case "service", "ok", "iteration":
			m.Of, base = of, rest
		}
	}
	if p := percentile.FindStringSubmatch(base); p != nil {
		m.Name = "percentile"
		m.Percentile, _ = strconv.ParseFloat(p[1], 64) // the form leaves nothing to fail
		if m.Percentile <= 0 || m.Percentile > 100 {
			return m, "has a percentile out of range (above p0, up to p100)"
		}
		return m, ""
	}
	m.Name = base
	switch base {
	case "mean", "max":
		return m, ""
	case "error_rate", "assertion_rate", "errors", "dropped", "late_starts", "rps", "iterations":
		if base == name {
			m.Of = ""
			return m, ""
		}
	}
	return m, "has no known metric (" + acceptMetric + ")"
}

// setValue reads the number in the unit that the metric takes.
func (c *Condition) setValue(number, unit string) string {
	value, problem := parseNumber(number)
	if problem != "" {
		return "has no number to compare with (" + acceptThreshold + ")"
	}
	c.Value = value
	name := c.Metric.Name
	switch {
	case c.Metric.IsDuration():
		return c.setNanoseconds(unit)
	case name == "error_rate" || name == "assertion_rate":
		return c.setRatio(unit)
	case (name == "rps" || name == "iterations") && unit == "%":
		c.OfDue = true
		return ""
	case unit == "" || name == "rps" && unit == "/s":
		return ""
	case name == "rps":
		return "compares rps with a number in " + unit + " (a number, with /s or % or without a unit)"
	case name == "iterations":
		return "compares iterations with a number in " + unit + " (a number, with % or without a unit)"
	}
	return "compares a count with a number in " + unit + " (a number without a unit)"
}

func (c *Condition) setNanoseconds(unit string) string {
	switch unit {
	case "ms":
		c.Value *= float64(time.Millisecond)
	case "s":
		c.Value *= float64(time.Second)
	case "":
		return "compares a duration with a number without a unit (ms or s after the number)"
	default:
		return "compares a duration with a number in " + unit + " (ms or s after the number)"
	}
	return ""
}

func (c *Condition) setRatio(unit string) string {
	switch unit {
	case "%":
		c.Value /= 100
	case "":
	default:
		return "compares a rate with a number in " + unit + " (% after the number, or a number from 0 to 1)"
	}
	if c.Value > 1 {
		return "compares a rate with more than all (0% to 100%, or a number from 0 to 1)"
	}
	return ""
}

func (c *Condition) setLast(text string) string {
	if text == "" {
		return ""
	}
	last, problem := parseDuration(text)
	if problem != "" || last == 0 {
		return "has no duration after \"over last\" (" + acceptDuration + ")"
	}
	c.Last = last
	return ""
}

// contradiction finds metrics that do not exist for what is selected: arrivals
// belong to the run, and iterations to no step.
func (c *Condition) contradiction() string {
	selected := c.Step != "" || c.Scenario != ""
	name := c.Metric.Name
	switch {
	case selected && (name == "dropped" || name == "late_starts"):
		return "asks for " + name + " of a part of the plan (" + name + " without step or scenario)"
	case selected && c.OfDue:
		return "asks for a share of what was due of a part of the plan (without step or scenario, or a number without %)"
	case c.Step != "" && (name == "iterations" || c.Metric.Of == "iteration"):
		return "asks for the iterations of a step (without step, or with scenario)"
	}
	return ""
}

// Condition is the threshold's expression, parsed. A plan that Parse accepted
// has no other.
func (t Threshold) Condition() (Condition, bool) {
	c, problem := ParseCondition(t.Expr)
	return c, problem == ""
}

// thresholdAt is where a threshold's expression stands.
func (v *validator) thresholdAt(path string) string {
	if v.at[path].plain {
		return path
	}
	return path + ".expr"
}

// refusePercentiles refuses thresholds on durations, whose histograms the node
// does not record.
func (v *validator) refusePercentiles(node string) {
	for i := range v.plan.Thresholds {
		at := v.thresholdAt(fmt.Sprintf("thresholds[%d]", i))
		if c, ok := v.plan.Thresholds[i].Condition(); ok && c.Metric.IsDuration() {
			v.fail(at, "%s needs percentiles, which node %s does not record: PERCENTILE_TRACKING_ENABLED=false there"+
				" (error_rate, assertion_rate, errors, dropped, late_starts, rps or iterations)", v.shown(at), node)
		}
	}
}

func (v *validator) threshold(path string, t *Threshold) {
	at := v.thresholdAt(path)
	if at != path && !v.filled(at, t.Expr, acceptThreshold) {
		return
	}
	c, problem := ParseCondition(t.Expr)
	switch {
	case problem != "":
	case c.OfDue && v.plan.Load.Closed():
		problem = "compares with what was due, but in a closed model nothing is due by a rate (a number without %)"
	case c.Scenario != "" && !v.hasScenario(c.Scenario):
		problem = "names a scenario that the plan does not have (the name of one of its scenarios)"
	case c.Step != "" && !v.hasStep(c.Step):
		problem = "names a step that the plan does not have (the name of one of its steps)"
	}
	if problem != "" {
		v.fail(at, "%s %s", v.shown(at), problem)
	}
	if !t.AbortOnFail {
		v.unused(path, "without abortOnFail", "after")
	}
}

func (v *validator) hasScenario(name string) bool {
	for _, s := range v.plan.Scenarios {
		if s.Name == name {
			return true
		}
	}
	return v.silent("scenarios")
}

func (v *validator) hasStep(name string) bool {
	for _, scenario := range v.plan.Scenarios {
		for _, s := range scenario.Steps {
			if s.Name == name {
				return true
			}
		}
	}
	return v.silent("scenarios")
}
