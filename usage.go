package main

import (
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
