package loadgen

import (
	"math"
	"runtime"
	"runtime/metrics"
	"syscall"
	"time"

	"volley/stats"
)

// condition measures how this process fares while a run sends.
type condition struct {
	began      time.Time // the watch of the clocks
	atFirst    usage     // when sending began
	atLast     usage     // when lately was asked
	atSpent    *usage    // when the last iteration was begun, of a run that ends by their number
	atEnd      *usage    // when sending ended, nil until then
	processors float64   // that the process may use
	groups     cgroups
	waits      []metrics.Sample
	clock      clockWatch
}

// usage is what a process has used and had to wait for up to an instant.
type usage struct {
	at        time.Time
	cpu       time.Duration
	throttled []throttling // by each of the cgroups
	waits     []*metrics.Float64Histogram
}

// clockJump is how far a wall clock may jump before anybody is told.
const clockJump = time.Second

// clockWatch sees the wall clock jump, against the monotonic one: where a machine
// is suspended only the wall clock may know, afterwards.
type clockWatch struct {
	ran, wall time.Duration // as last seen
	most      time.Duration // the farthest jump over clockJump
}

// look is given what each clock shows, and says by how much the wall clock has
// jumped since it looked last; 0 for no more than clockJump.
func (w *clockWatch) look(ran, wall time.Duration) time.Duration {
	by := (wall - w.wall) - (ran - w.ran)
	w.ran, w.wall = ran, wall
	if by.Abs() <= clockJump {
		return 0
	}
	w.most = max(w.most, by.Abs())
	return by
}

// jumped says by how much the wall clock has jumped since it was asked last.
func (c *condition) jumped() time.Duration {
	now := time.Now()
	return c.clock.look(now.Sub(c.began), now.Round(0).Sub(c.began.Round(0)))
}

// The histograms of waits.
const (
	gcPause = iota
	wakeup
)

func newCondition() *condition {
	now, groups := time.Now(), cgroupsOf(machine(), "cpu")
	c := &condition{
		began: now, groups: groups,
		processors: float64(runtime.GOMAXPROCS(0)),
		waits:      []metrics.Sample{gcPause: {Name: "/sched/pauses/total/gc:seconds"}, wakeup: {Name: "/sched/latencies:seconds"}},
	}
	if quota := groups.quota(); quota > 0 {
		c.processors = min(c.processors, quota)
	}
	c.begin()
	return c
}

// begin is when sending begins: what comes before tells nothing of how a run fares.
func (c *condition) begin() {
	c.atFirst = c.usage()
	c.atLast = c.atFirst
}

// end is when sending ends. In the drain, which may be long, there is little to do,
// and another run may be sending.
func (c *condition) end() {
	u := c.usage()
	c.atEnd = &u
}

// spend is when there is nothing left to begin. What is under way may send for long,
// or wait for one answer: the worse of what is until here and until the end counts.
func (c *condition) spend() {
	u := c.usage()
	c.atSpent = &u
}

// usage is that of now.
func (c *condition) usage() usage {
	u := usage{at: time.Now(), cpu: cpuUsed(), throttled: c.groups.throttled()}
	metrics.Read(c.waits)
	for _, w := range c.waits {
		h := *w.Value.Float64Histogram()
		h.Counts = append([]uint64(nil), h.Counts...) // reading again would overwrite them
		u.waits = append(u.waits, &h)
	}
	return u
}

// leastJudged is what a shorter time of sending is taken for: a process that was
// busy for some milliseconds was not short of CPU.
const leastJudged = time.Second

// generator is how the process has fared while the run sends, until now; the
// schedule lag is not its to know.
func (c *condition) generator() stats.Generator {
	u := c.usage()
	if c.atEnd != nil {
		u = *c.atEnd
	}
	cpu, throttled, periods := c.upTo(&u)
	if c.atSpent != nil {
		most, worst, _ := c.upTo(c.atSpent)
		cpu, throttled = max(cpu, most), max(throttled, worst)
	}
	return stats.Generator{
		CPUPct:           cpu,
		ThrottledPct:     throttled,
		ThrottledPeriods: periods,
		GCPauseP99:       percentileSince(c.atFirst.waits[gcPause], u.waits[gcPause], 0.99),
		WakeupP99:        percentileSince(c.atFirst.waits[wakeup], u.waits[wakeup], 0.99),
		ClockJump:        c.clock.most,
	}
}

// upTo are the shares of the time from when sending began, in percent.
func (c *condition) upTo(u *usage) (cpu, throttled float64, periods int64) {
	wall := max(u.at.Sub(c.atFirst.at), leastJudged)
	throttled, periods = throttledShare(c.atFirst.throttled, u.throttled, wall)
	return c.share(u.cpu-c.atFirst.cpu, wall), throttled, periods
}

// unseen is for how long nobody has asked for what lately tells.
func (c *condition) unseen() time.Duration { return time.Since(c.atLast.at) }

// lately is how the process has fared since it was asked last.
func (c *condition) lately() stats.Gauges {
	u := c.usage()
	wall := u.at.Sub(c.atLast.at)
	throttled, _ := throttledShare(c.atLast.throttled, u.throttled, wall)
	g := stats.Gauges{
		CPUPct: c.share(u.cpu-c.atLast.cpu, wall), ThrottledPct: throttled,
		GCPause: percentileSince(c.atLast.waits[gcPause], u.waits[gcPause], 1),
	}
	c.atLast = u
	return g
}

// share is of what the process may use, 0 to 100.
func (c *condition) share(used, wall time.Duration) float64 {
	if wall <= 0 {
		return 0
	}
	return min(100*float64(used)/float64(wall)/c.processors, 100)
}

// throttledShare is that of the cgroup that was throttled the most, and in how many
// periods one was at most. Where it waited on several CPUs at a time all of them count, up to all of the time: to
// call a strained generator strained too early does no harm.
func throttledShare(before, now []throttling, wall time.Duration) (share float64, periods int64) {
	var most time.Duration
	for i := range now {
		most = max(most, now[i].time-before[i].time)
		periods = max(periods, now[i].periods-before[i].periods)
	}
	if wall <= 0 {
		return 0, periods
	}
	return min(100*float64(most)/float64(wall), 100), periods
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
