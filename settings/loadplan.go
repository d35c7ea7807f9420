package settings

import (
	"net/netip"
	"net/url"
	"strconv"
	"strings"
	"time"
)

// checkLoad checks the plan that the environment describes. What a model needs
// beside its own variables is asked for only where the environment describes
// the load: in a cluster it does not.
func (c *checker) checkLoad(s *Settings) {
	p := &s.LoadPlan
	c.refuseUnless(p.TargetURL == "" || isTarget(p.TargetURL), "TARGET_URL", "want a URL that begins with http:// or https://")
	c.checkMethod(p)
	c.checkModel(p)
	c.checkTimeout(s)
	c.checkHeaders(p.CustomHeaders.Reveal())
	c.refuseUnless(p.ResolveTarget == "" || isOverride(p.ResolveTarget), "RESOLVE_TARGET_ADDR", "want host:ip:port, an IPv6 address in brackets")
	if s.Cluster.Enabled {
		return
	}
	c.refuseUnless(!p.SendJSON || p.JSONPayload.IsSet(), "JSON_PAYLOAD", "not set, and SEND_JSON=true needs it: want the body to send")
	if p.JSONPayload.IsSet() && !p.SendJSON {
		c.warn("JSON_PAYLOAD has no effect without SEND_JSON=true")
	}
	c.refuseUnless(p.PoolIdleTimeout%time.Second == 0, "POOL_IDLE_TIMEOUT_SECS", "want whole seconds, as in 30 or 5m")
	c.checkModelNeeds(p)
}

func isTarget(text string) bool {
	target, err := url.Parse(text)
	return err == nil && target.Host != "" && (target.Scheme == "http" || target.Scheme == "https")
}

func (c *checker) checkMethod(p *LoadPlan) {
	p.RequestType = strings.ToUpper(strings.TrimSpace(p.RequestType))
	switch p.RequestType {
	case "GET", "POST", "PUT", "PATCH", "DELETE", "HEAD", "OPTIONS":
	default:
		c.refuse("REQUEST_TYPE", "want GET, POST, PUT, PATCH, DELETE, HEAD or OPTIONS")
	}
}

// checkModel turns the model's name into the one that plans use.
func (c *checker) checkModel(p *LoadPlan) {
	switch model := strings.ToLower(strings.TrimSpace(p.Model)); model {
	case "concurrent", "rps", "dailytraffic":
		p.Model = model
	case "ramprps", "ramp":
		p.Model = "ramp"
	default:
		c.refuse("LOAD_MODEL_TYPE", "want Concurrent, Rps, RampRps (or ramp) or DailyTraffic")
	}
}

func (c *checker) checkTimeout(s *Settings) {
	p := &s.LoadPlan
	if p.TimeoutAlias == nil || c.bad["REQUEST_TIMEOUT"] || c.bad["REQUEST_TIMEOUT_SECS"] {
		return
	}
	if s.IsSet("REQUEST_TIMEOUT_SECS") && *p.TimeoutAlias != p.Timeout {
		c.refuse("REQUEST_TIMEOUT", "contradicts REQUEST_TIMEOUT_SECS, of which it is an alias: set one of them")
		return
	}
	p.Timeout = *p.TimeoutAlias
}

// checkHeaders checks the list without repeating any of it.
func (c *checker) checkHeaders(list string) {
	const form = "want Name:Value,Name:Value with \\, for a comma inside a value"
	for i, item := range splitHeaders(list) {
		name, value, ok := strings.Cut(item, ":")
		if strings.TrimSpace(item) == "" {
			continue
		}
		if !ok || !isToken(strings.TrimSpace(name)) || strings.ContainsAny(value, "\r\n\x00") {
			c.refuse("CUSTOM_HEADERS", "item %d is not Name:Value: %s", i+1, form)
			return
		}
	}
}

// splitHeaders splits at commas that no backslash precedes.
func splitHeaders(list string) []string {
	var items []string
	start := 0
	for i := range len(list) {
		if list[i] == ',' && (i == 0 || list[i-1] != '\\') {
			items = append(items, list[start:i])
			start = i + 1
		}
	}
	return append(items, list[start:])
}

// isToken reports whether name is a field name of HTTP.
func isToken(name string) bool {
	return name != "" && !strings.ContainsFunc(name, func(r rune) bool {
		return r <= ' ' || r >= 0x7f || strings.ContainsRune(`"(),/:;<=>?@[\]{}`, r)
	})
}

func isOverride(text string) bool {
	host, rest, ok := strings.Cut(text, ":")
	at := strings.LastIndex(rest, ":")
	if !ok || strings.TrimSpace(host) == "" || at < 0 {
		return false
	}
	literal := strings.TrimSuffix(strings.TrimPrefix(rest[:at], "["), "]")
	_, badIP := netip.ParseAddr(literal)
	port, badPort := strconv.ParseUint(rest[at+1:], 10, 16)
	return badIP == nil && badPort == nil && port > 0
}

// checkModelNeeds asks for the variables that the model cannot do without.
func (c *checker) checkModelNeeds(p *LoadPlan) {
	needs := map[string][]string{
		"rps":          {"TARGET_RPS"},
		"ramp":         {"MIN_RPS", "MAX_RPS"},
		"dailytraffic": {"DAILY_MIN_RPS", "DAILY_MID_RPS", "DAILY_MAX_RPS", "DAILY_CYCLE_DURATION"},
	}
	given := map[string]bool{
		"TARGET_RPS": p.TargetRPS != nil, "MIN_RPS": p.MinRPS != nil, "MAX_RPS": p.MaxRPS != nil,
		"DAILY_MIN_RPS": p.DailyMinRPS != nil, "DAILY_MID_RPS": p.DailyMidRPS != nil,
		"DAILY_MAX_RPS": p.DailyMaxRPS != nil, "DAILY_CYCLE_DURATION": p.DailyCycle != nil,
	}
	for _, name := range needs[p.Model] {
		c.refuseUnless(given[name] || c.bad[name], name, "not set: load model %s requires %s", p.Model, name)
	}
	sum := p.MorningRamp + p.PeakSustain + p.MidDecline + p.MidSustain + p.EveningDecline
	c.refuseUnless(p.Model != "dailytraffic" || sum <= 1+1e-9, "MORNING_RAMP_RATIO",
		"the five ratios of DailyTraffic add up to %g: want at most 1, the rest being night", sum)
}

// LoadVariablesSet names the variables that are set and describe a load, in
// the order of the table. In a cluster they have no effect.
func (s Settings) LoadVariablesSet() []string {
	var names []string
	for _, v := range variablesOf(&s.LoadPlan) {
		if s.set[v.name] {
			names = append(names, v.name)
		}
	}
	return names
}
