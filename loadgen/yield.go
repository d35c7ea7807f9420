package loadgen

import (
	"log/slog"
	"math"
	"runtime"
	"syscall"
)

const niceness = 10

// yieldToParent lets the parent go first wherever the two compete. Nothing in
// it needs a privilege; what fails all the same is logged and does no harm.
func yieldToParent(log *slog.Logger) {
	warn := func(what string, err error) {
		if err != nil {
			log.Warn("engine child cannot "+what, "event", "engine_child_limits", "error", err)
		}
	}
	// On Linux a niceness belongs to a thread: the whole group, our own, is the
	// way to reach those that run already. New ones inherit it.
	if syscall.Getpgrp() == syscall.Getpid() {
		warn("become nicer", syscall.Setpriority(syscall.PRIO_PGRP, 0, niceness))
	}
	warn("raise its oom_score_adj", volunteer())
	warn("raise its limit of open files", raiseFileLimit())
	runtime.GOMAXPROCS(processors(runtime.NumCPU(), cpuQuota()))
}

// processors is max(1, floor(quota or CPUs)): a share more than the quota would
// get the whole cgroup throttled, the parent with it.
func processors(cpus int, quota float64) int {
	if quota > 0 {
		cpus = min(cpus, int(math.Floor(quota)))
	}
	return max(cpus, 1)
}
