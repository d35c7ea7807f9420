package main

import (
	"context"
	"fmt"
	"log/slog"
	"runtime/debug"
	"sync/atomic"
	"time"

	"volley/loadgen"
	"volley/settings"
	"volley/stats"
)

const (
	// At the limit the kernel does not wait: the guard looks again before memory
	// that grows as fast as it can is over the warning threshold, within these bounds.
	lookSoonest = 100 * time.Millisecond
	lookLatest  = time.Second
	growsAtMost = 4 << 30 // bytes a second; a core that touches new memory gets about one
	// saveEvery is how often runs are told to save while memory is short: one may
	// have begun meanwhile.
	saveEvery = time.Second
)

// Shares of the cgroup's limit that the Go runtime keeps to, in percent. What is
// left is for sockets, stacks of threads and the kernel's own.
const (
	aloneShare  = 85 // the engine is in this process
	parentShare = 30 // it is in a child
	childShare  = 55
)

// memoryGuard keeps the process from being killed for its memory: it saves what
// the result does not need, and ends the run while the result can still be
// written.
type memoryGuard struct {
	log    *slog.Logger
	set    settings.Memory
	use    func() loadgen.MemoryUse
	engine loadgen.Saver
	end    func(reason string) // what runs, with its report
	busy   func() bool         // something runs

	mark  watermark
	saved time.Time // when runs were last told to

	warnings, criticals atomic.Int64
}

func newMemoryGuard(log *slog.Logger, set settings.Memory) *memoryGuard {
	return &memoryGuard{log: log, set: set, mark: watermark{warning: set.WarningPct, critical: set.CriticalPct}}
}

func (g *memoryGuard) run(ctx context.Context) error {
	if g.use().Limit == 0 {
		g.log.Info("the memory guard is off: this system does not say what memory there is")
		return nil
	}
	timer := time.NewTimer(lookSoonest)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-timer.C:
			timer.Reset(g.look(time.Now()))
		}
	}
}

// nextLook is in how long the guard looks again.
func nextLook(use loadgen.MemoryUse, warning float64) time.Duration {
	left := (warning - use.Percent()) / 100 * float64(use.Smallest) // of every limit it is at least that
	return min(max(time.Duration(left/growsAtMost*float64(time.Second)), lookSoonest), lookLatest)
}

// look sees to the memory, and returns in how long it does again.
func (g *memoryGuard) look(now time.Time) (again time.Duration) {
	use := g.use()
	m := g.mark.look(use.Percent(), !g.busy(), now)
	if m.collect {
		g.engine.Collect()
	}
	if m.warn {
		g.warnings.Add(1)
		g.log.Warn("memory is short: "+inMiB(use)+", over MEMORY_WARNING_THRESHOLD_PERCENT; "+g.consequence(),
			"used_bytes", use.Used, "limit_bytes", use.Limit)
	}
	if m.short && g.set.SaveOnWarn && now.Sub(g.saved) >= saveEvery {
		g.saved = now
		g.engine.Save()
	}
	if m.end {
		g.criticals.Add(1)
		g.log.Error("memory runs out: "+inMiB(use)+", over MEMORY_CRITICAL_THRESHOLD_PERCENT; the run ends",
			"used_bytes", use.Used, "limit_bytes", use.Limit)
	}
	if m.dire {
		g.end("memory ran out: " + inMiB(use) + " were in use, over MEMORY_CRITICAL_THRESHOLD_PERCENT")
	}
	return nextLook(use, g.set.WarningPct)
}

func (g *memoryGuard) consequence() string {
	if g.set.SaveOnWarn {
		return "from now on no new labels and no phases are recorded"
	}
	return "nothing is saved (AUTO_DISABLE_PERCENTILES_ON_WARNING=false)"
}

func inMiB(u loadgen.MemoryUse) string {
	return fmt.Sprintf("%d MiB of %d MiB", u.Used>>20, u.Limit>>20)
}

// process is what the metrics show of the guard.
func (g *memoryGuard) process(memory *loadgen.Memory, processes []int) stats.ProcessState {
	resident, virtual := memory.Of(processes...)
	return stats.ProcessState{
		RSS: resident, Virtual: virtual, MemoryWarnings: g.warnings.Load(), MemoryCriticals: g.criticals.Load(),
		PercentilesOff: !g.set.Percentiles, SamplingPct: g.set.SamplePct,
	}
}

// goLimits are what the Go runtimes of this process and of its engine's child
// keep to, in bytes; 0 is no limit of ours.
type goLimits struct{ own, child int64 }

// limitsFor divides the smallest limit, if it is a cgroup's. One that was given
// explicitly wins.
func limitsFor(limit int64, cgroup bool, set settings.Memory, child bool) (l goLimits) {
	switch {
	case set.GoLimit != "" || !cgroup:
		return l
	case child:
		return goLimits{own: limit * parentShare / 100, child: limit * childShare / 100}
	}
	return goLimits{own: limit * aloneShare / 100}
}

// keeps is true if the Go runtimes collect before so many percent of the limit
// are in use.
func (l goLimits) keeps(limit int64, percent float64) bool {
	return l.own > 0 && 100*float64(l.own+l.child) <= percent*float64(limit)
}

// apply sets this process's own, and returns what to say of all at the start.
func (l goLimits) apply(limit int64, set settings.Memory) []any {
	if l.own > 0 {
		debug.SetMemoryLimit(l.own)
	}
	about := []any{"memory_limit_bytes", limit}
	switch {
	case set.GoLimit != "":
		return append(about, "gomemlimit", set.GoLimit)
	case l.child > 0:
		return append(about, "gomemlimit_bytes", l.own, "engine_gomemlimit_bytes", l.child)
	case l.own > 0:
		return append(about, "gomemlimit_bytes", l.own)
	}
	return about
}
