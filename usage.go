package main

import (
	"os"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"
)

const megabyte = 1 << 20

// cpuUsage measures what CPU this process and its engine use.
type cpuUsage struct {
	mu   sync.Mutex
	at   time.Time
	used time.Duration
	pct  float64
}

// cpuPercent is the use since the last call at least a second ago, in percent of one core.
func (u *cpuUsage) cpuPercent() float64 {
	var total time.Duration
	for _, who := range []int{syscall.RUSAGE_SELF, syscall.RUSAGE_CHILDREN} {
		var r syscall.Rusage
		if syscall.Getrusage(who, &r) == nil {
			total += time.Duration(r.Utime.Nano() + r.Stime.Nano())
		}
	}
	u.mu.Lock()
	defer u.mu.Unlock()
	now := time.Now()
	if wall := now.Sub(u.at); wall >= time.Second {
		if !u.at.IsZero() {
			u.pct = 100 * float64(total-u.used) / float64(wall)
		}
		u.at, u.used = now, total
	}
	return u.pct
}

// residentMB is the resident memory of this process; 0 where /proc is not there.
func residentMB() float64 {
	b, err := os.ReadFile("/proc/self/statm")
	if err != nil {
		return 0
	}
	fields := strings.Fields(string(b))
	if len(fields) < 2 {
		return 0
	}
	pages, err := strconv.ParseFloat(fields[1], 64)
	if err != nil {
		return 0
	}
	return pages * float64(os.Getpagesize()) / megabyte
}

// memoryLimitMB is the cgroup's limit, else the machine's memory; 0 if neither is known.
func memoryLimitMB() float64 {
	for _, path := range []string{"/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes"} {
		b, err := os.ReadFile(path)
		if err != nil {
			continue
		}
		limit, err := strconv.ParseFloat(strings.TrimSpace(string(b)), 64)
		if err == nil && limit < 1<<60 {
			return limit / megabyte
		}
	}
	b, err := os.ReadFile("/proc/meminfo")
	if err != nil {
		return 0
	}
	for line := range strings.Lines(string(b)) {
		f := strings.Fields(line)
		if len(f) >= 2 && f[0] == "MemTotal:" {
			kb, _ := strconv.ParseFloat(f[1], 64)
			return kb / 1024
		}
	}
	return 0
}
