package loadgen

import (
	"math"
	"runtime"
	"runtime/metrics"
	"syscall"
	"time"

	"volley/stats"
)

// condition measures how this process has fared since it was made.
type condition struct {
	began, last time.Time     // last: when lately was asked
	used, then  time.Duration // CPU time at these instants
	processors  float64       // that the process may use
	groups      cgroups
	throttled   []time.Duration // at the beginning
	waits       []metrics.Sample
	before      []*metrics.Float64Histogram // of waits, at the beginning
}

// The histograms of waits.
const (
	gcPause = iota
	wakeup
)

func newCondition() *condition {
	now, used, groups := time.Now(), cpuUsed(), cgroupsOf(machine(), "cpu")
	c := &condition{
		began: now, last: now, used: used, then: used, groups: groups, throttled: groups.throttled(),
		processors: float64(runtime.GOMAXPROCS(0)),
		waits:      []metrics.Sample{gcPause: {Name: "/sched/pauses/total/gc:seconds"}, wakeup: {Name: "/sched/latencies:seconds"}},
	}
	if quota := groups.quota(); quota > 0 {
		c.processors = min(c.processors, quota)
	}
	metrics.Read(c.waits)
	for _, w := range c.waits {
		h := *w.Value.Float64Histogram()
		h.Counts = append([]uint64(nil), h.Counts...) // reading again would overwrite them
		c.before = append(c.before, &h)
	}
	return c
}

// generator is how the process has fared from the beginning until now; the
// schedule lag is not its to know.
func (c *condition) generator() stats.Generator {
	metrics.Read(c.waits)
	return stats.Generator{
		CPUPct:       c.share(cpuUsed()-c.used, time.Since(c.began)),
		ThrottledPct: throttledShare(c.throttled, c.groups.throttled(), time.Since(c.began)),
		GCPauseP99:   c.wait(gcPause),
		WakeupP99:    c.wait(wakeup),
	}
}

// lately is the share of the CPU since it was asked last.
func (c *condition) lately() float64 {
	now, used := time.Now(), cpuUsed()
	share := c.share(used-c.then, now.Sub(c.last))
	c.last, c.then = now, used
	return share
}

// share is of what the process may use, 0 to 100.
func (c *condition) share(used, wall time.Duration) float64 {
	if wall <= 0 {
		return 0
	}
	return min(100*float64(used)/float64(wall)/c.processors, 100)
}

// throttledShare is that of the cgroup that was throttled the most. Where it
// waited on several CPUs at a time all of them count, up to all of the time: to
// call a strained generator strained too early does no harm.
func throttledShare(before, now []time.Duration, wall time.Duration) float64 {
	var most time.Duration
	for i := range now {
		most = max(most, now[i]-before[i])
	}
	if wall <= 0 {
		return 0
	}
	return min(100*float64(most)/float64(wall), 100)
}

func (c *condition) wait(which int) time.Duration {
	return percentileSince(c.before[which], c.waits[which].Value.Float64Histogram(), 0.99)
}

// percentileSince is of what the runtime has counted between two states of a
// histogram: the middle of the bucket, which is at most a tenth away.
func percentileSince(before, now *metrics.Float64Histogram, share float64) time.Duration {
	var total uint64
	for i, n := range now.Counts {
		total += n - before.Counts[i]
	}
	rank, seen := uint64(math.Ceil(share*float64(total))), uint64(0)
	for i, n := range now.Counts {
		if seen += n - before.Counts[i]; seen < rank || rank == 0 {
			continue
		}
		low, high := max(now.Buckets[i], 0), now.Buckets[i+1]
		if math.IsInf(high, 1) {
			high = low
		}
		return time.Duration((low + high) / 2 * float64(time.Second))
	}
	return 0
}

func cpuUsed() time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		return 0
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}
