package stats

import (
	"fmt"
	"time"
)

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
	verdict, _ := s.verdict()
	return verdict
}

// verdict comes with what has made it worse than ok.
func (s *Summary) verdict() (Verdict, []string) {
	strained := generatorLimits{lag: time.Millisecond, cpuPct: 80, throttled: 1}
	saturated := generatorLimits{lag: 10 * time.Millisecond, cpuPct: 95, throttled: 10}
	reasons := s.Generator.beyond(saturated)
	if n := s.Errors[ErrGenerator]; n > 0 {
		reasons = append(reasons, fmt.Sprintf("%d errors of the generator's own: out of descriptors, ports or memory", n))
	}
	if j := s.Generator.ClockJump; j > 0 {
		reasons = append(reasons, fmt.Sprintf("the wall clock jumped by %.1f s during the run: the machine was suspended, or its clock was set", j.Seconds()))
	}
	if len(reasons) > 0 {
		return VerdictSaturated, reasons
	}
	if reasons = s.Generator.beyond(strained); len(reasons) > 0 {
		return VerdictStrained, reasons
	}
	return VerdictOK, nil
}

// What the reasons of a verdict begin with that are about lateness.
const (
	lagReason    = "schedule lag"
	wakeupReason = "scheduler wake-up"
)

// beyond says which limits are exceeded.
func (g Generator) beyond(l generatorLimits) []string {
	var out []string
	late := func(what string, d time.Duration) {
		if d > l.lag {
			out = append(out, fmt.Sprintf("%s p99 %.2f ms, more than %.0f ms", what, millis(d), millis(l.lag)))
		}
	}
	share := func(what string, pct, limit float64) {
		if pct > limit {
			out = append(out, fmt.Sprintf("%s %.1f %%, more than %.0f %%", what, pct, limit))
		}
	}
	late(lagReason, g.ScheduleLagP99)
	late(wakeupReason, g.WakeupP99)
	share("CPU", g.CPUPct, l.cpuPct)
	share("throttled", g.ThrottledPct, l.throttled)
	return out
}
