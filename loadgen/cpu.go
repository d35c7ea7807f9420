package loadgen

import (
	"runtime"
	"syscall"
	"time"
)

// cpuMeter measures what share of the CPU this process has used since it was
// made.
type cpuMeter struct {
	at   time.Time
	used time.Duration
}

func newCPUMeter() cpuMeter { return cpuMeter{at: time.Now(), used: cpuUsed()} }

// percent is of what the process may use, 0 to 100.
func (m cpuMeter) percent() float64 {
	wall := time.Since(m.at)
	if wall <= 0 {
		return 0
	}
	share := float64(cpuUsed()-m.used) / float64(wall) / float64(runtime.GOMAXPROCS(0))
	return min(100*share, 100)
}

func cpuUsed() time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		return 0
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}
