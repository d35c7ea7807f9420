package plan

import (
	"math"
	"slices"
	"strings"
	"time"
)

var models = []string{"concurrent", "rps", "ramp", "dailytraffic", "stages"}

// modelKeys are the keys of load that only some models read.
var modelKeys = []struct {
	key    string
	models string
}{
	{"target", "rps"}, {"min", "ramp dailytraffic"}, {"mid", "dailytraffic"}, {"max", "ramp dailytraffic"},
	{"rampDuration", "ramp"}, {"shape", "ramp"}, {"cycleDuration", "dailytraffic"},
	{"morningRampRatio", "dailytraffic"}, {"peakSustainRatio", "dailytraffic"}, {"midDeclineRatio", "dailytraffic"},
	{"midSustainRatio", "dailytraffic"}, {"eveningDeclineRatio", "dailytraffic"},
	{"from", "stages"}, {"stages", "stages"}, {"rampUp", "concurrent"},
}

func (v *validator) load() {
	l := &v.plan.Load
	v.loadEnums(l)
	v.loadNumbers(l)
	if !v.required("load.model", either(models)) || !v.model(l.Model) {
		v.anyModel(l)
		return
	}
	v.unusedModelKeys(l)
	switch l.Model {
	case "rps":
		v.curve("target", l.Target)
	case "ramp":
		v.ramp(l)
	case "dailytraffic":
		v.daily(l)
	case "stages":
		v.stages(l)
	}
	v.endless(l)
	v.maxWorkers(l)
}

func (v *validator) model(name string) bool {
	alias := map[string]string{"rampRps": "ramp", "RampRps": "ramp"}[name]
	if alias == "" {
		return v.oneOf("load.model", "a load model", name, models...)
	}
	v.fail("load.model", "%q is not a load model (%s; did you mean %s?)", name, either(models), alias)
	return false
}

// anyModel checks what is wrong whichever model it is that is meant.
func (v *validator) anyModel(l *Load) {
	for _, given := range []struct {
		key   string
		value *float64
	}{{"target", l.Target}, {"min", l.Min}, {"mid", l.Mid}, {"max", l.Max}} {
		if given.value != nil {
			v.rate("load."+given.key, *given.value)
		}
	}
	v.positive("load.cycleDuration", l.CycleDuration)
	for i, stage := range l.Stages {
		if path := index("load.stages", i) + ".target"; v.given(path) {
			v.stageTarget(path, stage.Target)
		}
	}
}

func (v *validator) loadEnums(l *Load) {
	v.oneOf("load.shape", "a shape", l.Shape, "thirds", "hold")
	v.oneOf("load.arrival", "a kind of arrival", l.Arrival, "uniform", "poisson")
	v.oneOf("load.scope", "a scope", l.Scope, "node", "cluster")
	if v.oneOf("load.unit", "a unit", l.Unit, "iterations", "requests", "workers") &&
		l.Unit == "workers" && l.Model != "stages" && !v.silent("load.model") {
		v.fail("load.unit", "workers needs model stages (iterations or requests with other models)")
	}
}

func (v *validator) loadNumbers(l *Load) {
	if l.Iterations != nil {
		v.whole("load.iterations", *l.Iterations, 1, math.MaxInt64)
	}
	v.whole("load.maxWorkers", int64(l.MaxWorkers), 1, v.mostWorkers())
}

// unusedModelKeys warns rather than refuses: the predecessor ignored them.
func (v *validator) unusedModelKeys(l *Load) {
	for _, k := range modelKeys {
		if !slices.Contains(strings.Fields(k.models), l.Model) {
			v.unused("load", "with model "+l.Model, k.key)
		}
	}
	if l.Closed() {
		v.unused("load", "in a closed model", "arrival", "maxWorkers", "maxBacklog")
	}
	if l.Model == "stages" && l.Unit == "workers" {
		v.unused("config", "with load.unit workers", "workers")
	}
}

// curve checks a required rate of a model.
func (v *validator) curve(key string, value *float64) bool {
	path := "load." + key
	if !v.required(path, acceptRate) {
		return false
	}
	v.rate(path, *value)
	return !v.silent(path)
}

// below checks that one given rate is less than another.
func (v *validator) below(low, high string, least, most *float64) {
	lowPath, highPath := "load."+low, "load."+high
	if !v.silent(lowPath) && !v.silent(highPath) && *least >= *most {
		v.fail(highPath, "%s is not above load.%s %s (a larger number)", v.shown(highPath), low, v.shown(lowPath))
	}
}

func (v *validator) ramp(l *Load) {
	minOK, maxOK := v.curve("min", l.Min), v.curve("max", l.Max)
	if minOK && maxOK {
		v.below("min", "max", l.Min, l.Max)
	}
	v.required("load.rampDuration", acceptDuration)
}

func (v *validator) daily(l *Load) {
	minOK, midOK, maxOK := v.curve("min", l.Min), v.curve("mid", l.Mid), v.curve("max", l.Max)
	if minOK && midOK {
		v.below("min", "mid", l.Min, l.Mid)
	}
	if midOK && maxOK {
		v.below("mid", "max", l.Mid, l.Max)
	}
	if v.required("load.cycleDuration", acceptDuration) {
		v.positive("load.cycleDuration", l.CycleDuration)
	}
	v.ratios(l)
}

func (v *validator) ratios(l *Load) {
	ratios := []struct {
		key   string
		value **float64
		usual float64
	}{
		{"morningRampRatio", &l.MorningRampRatio, defaultMorningRamp},
		{"peakSustainRatio", &l.PeakSustainRatio, defaultPeakSustain},
		{"midDeclineRatio", &l.MidDeclineRatio, defaultMidDecline},
		{"midSustainRatio", &l.MidSustainRatio, defaultMidSustain},
		{"eveningDeclineRatio", &l.EveningDeclineRatio, defaultEveningDecline},
	}
	sum, last, legal := 0.0, "", true
	for _, r := range ratios {
		path := "load." + r.key
		if *r.value == nil {
			*r.value = &r.usual
		} else {
			v.atLeastZero(path, **r.value, "a share of the cycle from 0 to 1")
			legal = legal && !v.silent(path)
			last = path
		}
		sum += **r.value
	}
	const rounding = 1e-9
	if legal && sum > 1+rounding {
		v.fail(last, "makes the ratios of the cycle sum to %.4g, defaults of those left out included (at most 1)", sum)
	}
}

func (v *validator) stages(l *Load) {
	if !v.required("load.stages", "a list of {duration, target}") {
		return
	}
	if len(l.Stages) == 0 {
		v.fail("load.stages", "is empty (a list of {duration, target})")
		return
	}
	v.stageTarget("load.from", l.From)
	sum, legal := time.Duration(0), true
	for i, stage := range l.Stages {
		path := index("load.stages", i)
		legal = v.required(path+".duration", acceptDuration) && legal
		if v.required(path+".target", acceptRate) {
			v.stageTarget(path+".target", stage.Target)
		}
		if sum > math.MaxInt64-stage.Duration {
			v.fail(path+".duration", "makes the sum of the stages too long for a duration (292 years)")
			return
		}
		sum += stage.Duration
	}
	if legal {
		v.stagesDuration(sum)
	}
}

func (v *validator) stageTarget(path string, target float64) {
	if v.plan.Load.Unit != "workers" {
		v.rate(path, target)
		return
	}
	if target < 0 || target > float64(v.mostWorkers()) || target != math.Trunc(target) {
		v.fail(path, "%s is not a number of workers (a whole number from 0 to %d)", v.shown(path), v.mostWorkers())
	}
}

// stagesDuration compares the stages with config.duration, or fills it in.
func (v *validator) stagesDuration(sum time.Duration) {
	const path = "config.duration"
	c := &v.plan.Config
	switch {
	case v.silent("config") || v.silent(path):
	case !v.given(path) && sum == 0:
		v.fail("load.stages", "take no time in all (a stage above 0s, or config.duration)")
	case !v.given(path):
		c.Duration = sum
		if c.Warmup > 0 && c.Warmup >= sum {
			v.fail("config.warmup", "%s is not shorter than the stages, %s (a duration below it)", v.shown("config.warmup"), sum)
		}
	case c.Duration < sum:
		v.fail(path, "%s is shorter than the stages, %s (leave it out, or at least their sum)", v.shown(path), sum)
	}
}

// endless refuses a run that only load.iterations ends, but whose curve may
// never get there.
func (v *validator) endless(l *Load) {
	if l.Iterations == nil || v.given("config.duration") || v.silent("load") {
		return
	}
	idle := ""
	switch {
	case l.Model == "rps" && l.Target != nil && *l.Target == 0:
		idle = "load.target"
	case l.Model == "ramp" && l.Shape == "thirds" && l.Min != nil && *l.Min == 0:
		idle = "load.min"
	}
	if idle != "" {
		v.fail("config.duration", "is missing (%s; load.iterations alone may never be reached, as %s is 0)", acceptDuration, idle)
	}
}

// maxWorkers fills the default in: a plan that names workers means them as a
// ceiling, as they were in the predecessor.
func (v *validator) maxWorkers(l *Load) {
	const path = "load.maxWorkers"
	switch {
	case !v.given(path) && v.given("config.workers"):
		l.MaxWorkers = v.plan.Config.Workers
	case !v.given(path):
		l.MaxWorkers = defaultMaxWorkers
	case v.given("config.workers") && !l.Closed() && l.MaxWorkers < v.plan.Config.Workers && !v.silent("config.workers"):
		v.fail(path, "%s is less than config.workers %s (at least as many, or leave one of the two out)",
			v.shown(path), v.shown("config.workers"))
	}
}

// Closed is true if a worker's next iteration is due when it has finished the
// one before, so that no rate is scheduled.
func (l Load) Closed() bool {
	return l.Model == "concurrent" || l.Model == "stages" && l.Unit == "workers"
}
