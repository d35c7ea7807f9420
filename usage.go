package main

import (
	"fmt"
	"os"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"
)

const (
	megabyte = 1 << 20
	// clockTick is what /proc counts CPU time in: 1/100 s on every architecture
	// that Go knows.
	clockTick = 10 * time.Millisecond
)

// cpuUsage measures what CPU this process and its engine use.
type cpuUsage struct {
	mu   sync.Mutex
	at   time.Time
	used map[int]time.Duration // by process, at that time
	pct  float64
}

// cpuPercent is the use of processes since the last call at least a second ago,
// in percent of one core; 0 is this process.
func (u *cpuUsage) cpuPercent(processes ...int) float64 {
	used := map[int]time.Duration{}
	for _, pid := range processes {
		if t, ok := cpuTime(pid); ok {
			used[pid] = t
		}
	}
	return u.percent(time.Now(), used)
}

// percent counts all that a process has used which was not there before: it has
// begun since.
func (u *cpuUsage) percent(now time.Time, used map[int]time.Duration) float64 {
	u.mu.Lock()
	defer u.mu.Unlock()
	wall := now.Sub(u.at)
	if wall < time.Second {
		return u.pct
	}
	if !u.at.IsZero() {
		var spent time.Duration
		for pid, t := range used {
			spent += max(t-u.used[pid], 0)
		}
		u.pct = 100 * float64(spent) / float64(wall)
	}
	u.at, u.used = now, used
	return u.pct
}

// cpuTime is what a process has used since it began; 0 is this one. A running
// child's is only in /proc.
func cpuTime(pid int) (time.Duration, bool) {
	if pid != 0 {
		text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
		return cpuTimeIn(string(text)), err == nil
	}
	var r syscall.Rusage
	err := syscall.Getrusage(syscall.RUSAGE_SELF, &r)
	return time.Duration(r.Utime.Nano() + r.Stime.Nano()), err == nil
}

// cpuTimeIn is utime and stime of a /proc/PID/stat. The name before them is in
// parentheses and may hold anything.
func cpuTimeIn(stat string) time.Duration {
	f := strings.Fields(stat[strings.LastIndexByte(stat, ')')+1:])
	if len(f) < 13 {
		return 0
	}
	user, _ := strconv.ParseInt(f[11], 10, 64)
	system, _ := strconv.ParseInt(f[12], 10, 64)
	return time.Duration(user+system) * clockTick
}
