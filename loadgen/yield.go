package loadgen

import (
	"log/slog"
	"math"
	"runtime"
	"syscall"
)

const niceness = 10

// yieldToParent takes less than it could get, so that the parent has what it
// needs. Nothing in it needs a privilege; what fails all the same is logged and
// does no harm.
func yieldToParent(log *slog.Logger) {
	warnLimits(log, "raise its oom_score_adj", volunteer())
	warnLimits(log, "raise its limit of open files", raiseFileLimit())
	runtime.GOMAXPROCS(processors(runtime.NumCPU(), cgroupsOf(machine(), "cpu").quota()))
}

// beNice lets the parent go first wherever the two compete for a CPU.
func beNice(log *slog.Logger) {
	// On Linux a niceness belongs to a thread: the whole group, our own, is the
	// way to reach those that run already. New ones inherit it.
	if syscall.Getpgrp() == syscall.Getpid() {
		warnLimits(log, "become nicer", syscall.Setpriority(syscall.PRIO_PGRP, 0, niceness))
	}
}

func warnLimits(log *slog.Logger, what string, err error) {
	if err != nil {
		log.Warn("engine child cannot "+what, "event", "engine_child_limits", "error", err)
	}
}

// processors is max(1, floor(quota or CPUs)): a share more than the quota would
// get the whole cgroup throttled, the parent with it.
func processors(cpus int, quota float64) int {
	if quota > 0 {
		cpus = min(cpus, int(math.Floor(quota)))
	}
	return max(cpus, 1)
}
