package stats

import "time"

// Verdict says whether the load generator kept up with what it had to do.
// Waiting for the target never makes it worse.
type Verdict string

// The verdicts, from best to worst.
const (
	VerdictOK        Verdict = "ok"
	VerdictStrained  Verdict = "strained"
	VerdictSaturated Verdict = "saturated"
)

// generatorLimits is what a generator may reach before its verdict worsens.
type generatorLimits struct {
	lag               time.Duration // schedule lag and wake-up, p99
	cpuPct, throttled float64
}

// Verdict is that of the worst node of a merged summary.
func (s *Summary) Verdict() Verdict {
	strained := generatorLimits{lag: time.Millisecond, cpuPct: 80, throttled: 1}
	saturated := generatorLimits{lag: 10 * time.Millisecond, cpuPct: 95, throttled: 10}
	switch {
	case s.Errors[ErrGenerator] > 0 || s.Generator.exceeds(saturated):
		return VerdictSaturated
	case s.Generator.exceeds(strained):
		return VerdictStrained
	}
	return VerdictOK
}

func (g Generator) exceeds(l generatorLimits) bool {
	return g.ScheduleLagP99 > l.lag || g.WakeupP99 > l.lag || g.CPUPct > l.cpuPct || g.ThrottledPct > l.throttled
}
