package loadgen

import (
	"fmt"
	"math"
	"os"
	"runtime"
	"runtime/metrics"
	"slices"
	"testing"
	"testing/fstest"
	"time"
)

func kernel(files map[string]string) fstest.MapFS {
	out := fstest.MapFS{}
	for name, text := range files {
		out[name] = &fstest.MapFile{Data: []byte(text)}
	}
	return out
}

const meminfo = "MemFree: 1 kB\nMemTotal:  1024 kB\nMemAvailable: 1 kB\n" // 1 MiB

func TestMemoryUse(t *testing.T) {
	page := int64(os.Getpagesize())
	for _, c := range []struct {
		name  string
		files map[string]string
		want  MemoryUse
	}{
		{"nothing is known", nil, MemoryUse{}},
		{"version 2: cache of files does not count", map[string]string{
			"proc/self/cgroup": "0::/a/b\n", "proc/meminfo": meminfo,
			"sys/fs/cgroup/a/b/memory.max": "1000\n", "sys/fs/cgroup/a/b/memory.current": "900\n",
			"sys/fs/cgroup/a/b/memory.stat": "anon 5\ninactive_file 200\nactive_file 100\n",
		}, MemoryUse{600, 1000, 1000, true}},
		{"version 2: the limit above is nearer", map[string]string{
			"proc/self/cgroup": "0::/a/b\n", "proc/meminfo": meminfo,
			"sys/fs/cgroup/a/b/memory.max": "1000", "sys/fs/cgroup/a/b/memory.current": "100",
			"sys/fs/cgroup/a/memory.max": "2000", "sys/fs/cgroup/a/memory.current": "1900",
		}, MemoryUse{1900, 2000, 1000, true}},
		{"version 2 in a container: the namespace's root", map[string]string{
			"proc/self/cgroup":         "0::/docker/1\n",
			"sys/fs/cgroup/memory.max": "1000", "sys/fs/cgroup/memory.current": "100",
		}, MemoryUse{100, 1000, 1000, true}},
		{"version 2 without a limit: the machine's", map[string]string{
			"proc/self/cgroup": "0::/\n", "proc/meminfo": meminfo, "proc/self/statm": "9 2 1\n", "proc/77/statm": "9 3 1\n",
			"sys/fs/cgroup/memory.max": "max\n", "sys/fs/cgroup/memory.current": "100",
		}, MemoryUse{Used: 5 * page, Limit: 1 << 20, Smallest: 1 << 20}},
		{"version 1", map[string]string{
			"proc/self/cgroup": "5:cpu,cpuacct:/x\n4:memory:/a\n0::/\n", "proc/meminfo": meminfo,
			"sys/fs/cgroup/memory/a/memory.limit_in_bytes": "1000", "sys/fs/cgroup/memory/a/memory.usage_in_bytes": "900",
			"sys/fs/cgroup/memory/a/memory.stat":         "inactive_file 1\ntotal_inactive_file 300\ntotal_active_file 100\n",
			"sys/fs/cgroup/memory/memory.limit_in_bytes": "9223372036854771712", "sys/fs/cgroup/memory/memory.usage_in_bytes": "90000",
		}, MemoryUse{500, 1000, 1000, true}},
		{"a limit above the machine's memory is none", map[string]string{
			"proc/self/cgroup": "0::/\n", "proc/meminfo": meminfo, "proc/self/statm": "9 1 1\n",
			"sys/fs/cgroup/memory.max": "2097152", "sys/fs/cgroup/memory.current": "100",
		}, MemoryUse{Used: page, Limit: 1 << 20, Smallest: 1 << 20}},
	} {
		if got := memoryOf(kernel(c.files)).Use(0, 77); got != c.want {
			t.Errorf("%s: %+v, want %+v", c.name, got, c.want)
		}
	}
	// What is nearest changes with what others use, the smallest limit does not.
	for _, used := range []string{"100", "1900"} {
		m := memoryOf(kernel(map[string]string{
			"proc/self/cgroup": "0::/a/b/c\n", "proc/meminfo": meminfo,
			"sys/fs/cgroup/a/b/c/memory.max": "3000", "sys/fs/cgroup/a/b/c/memory.current": "10",
			"sys/fs/cgroup/a/b/memory.max": "1000", "sys/fs/cgroup/a/b/memory.current": "80",
			"sys/fs/cgroup/a/memory.max": "2000", "sys/fs/cgroup/a/memory.current": used,
		}))
		if limit, cgroup := m.Limit(); limit != 1000 || !cgroup {
			t.Errorf("with %s used above: the smallest limit is %d of a cgroup %v, want 1000", used, limit, cgroup)
		}
	}
	if limit, cgroup := memoryOf(kernel(map[string]string{"proc/meminfo": meminfo})).Limit(); limit != 1<<20 || cgroup {
		t.Errorf("without a cgroup's limit: %d, %v, want the machine's", limit, cgroup)
	}
	if got := (MemoryUse{Used: 1, Limit: 4}).Percent(); got != 25 {
		t.Errorf("1 of 4 is %v %%", got)
	}
}

func TestMemoryOfProcesses(t *testing.T) {
	page := int64(os.Getpagesize())
	m := memoryOf(kernel(map[string]string{"proc/self/statm": "100 10 1 1\n", "proc/7/statm": "50 5 1 1\n", "proc/8/statm": "garbage"}))
	if resident, virtual := m.Of(0, 7, 8, 9); resident != 15*page || virtual != 150*page {
		t.Errorf("%d resident, %d virtual, want 15 and 150 pages", resident, virtual)
	}
}

func TestCPUOfCgroups(t *testing.T) {
	v2 := cgroupsOf(kernel(map[string]string{
		"proc/self/cgroup":        "0::/a\n",
		"sys/fs/cgroup/a/cpu.max": "150000 100000\n", "sys/fs/cgroup/cpu.max": "max 100000\n",
		"sys/fs/cgroup/a/cpu.stat": "usage_usec 9\nnr_throttled 3\nthrottled_usec 2500\n",
	}), "cpu")
	if q, th := v2.quota(), v2.throttled(); q != 1.5 || !slices.Equal(th, []throttling{{2500 * time.Microsecond, 3}, {}}) {
		t.Errorf("version 2: quota %v, throttled %v", q, th)
	}
	v1 := cgroupsOf(kernel(map[string]string{
		"proc/self/cgroup": "3:cpu,cpuacct:/a\n0::/\n",
		"sys/fs/cgroup/cpu,cpuacct/a/cpu.cfs_quota_us":  "-1",
		"sys/fs/cgroup/cpu,cpuacct/a/cpu.cfs_period_us": "100000",
		"sys/fs/cgroup/cpu,cpuacct/cpu.cfs_quota_us":    "50000",
		"sys/fs/cgroup/cpu,cpuacct/cpu.cfs_period_us":   "100000",
		"sys/fs/cgroup/cpu,cpuacct/a/cpu.stat":          "nr_periods 4\nthrottled_time 700\n",
	}), "cpu")
	if q, th := v1.quota(), v1.throttled(); q != 0.5 || th[0].time != 700 {
		t.Errorf("version 1: quota %v, throttled %v", q, th)
	}
}

func TestThrottledShare(t *testing.T) {
	before, now := []throttling{{time.Second, 7}, {}}, []throttling{{time.Second, 7}, {100 * time.Millisecond, 3}}
	if got, periods := throttledShare(before, now, 2*time.Second); got != 5 || periods != 3 {
		t.Errorf("100 ms of 2 s are %v %% in %d periods", got, periods)
	}
	if got, _ := throttledShare([]throttling{{}}, []throttling{{time: time.Minute}}, time.Second); got != 100 {
		t.Errorf("more than all of the time is %v %%", got)
	}
	if got, periods := throttledShare(nil, nil, time.Second); got != 0 || periods != 0 {
		t.Errorf("without cgroups %v %% in %d periods", got, periods)
	}
}

// Each second tells of itself alone, the whole run of all of them.
func TestConditionTellsOfEachSecond(t *testing.T) {
	stat := func(periods, usec int) fstest.MapFS {
		return fstest.MapFS{
			"proc/self/cgroup":         {Data: []byte("0::/a\n")},
			"sys/fs/cgroup/a/cpu.stat": {Data: fmt.Appendf(nil, "nr_throttled %d\nthrottled_usec %d\n", periods, usec)},
		}
	}
	c := newCondition()
	at := func(periods, usec int) { c.groups = cgroupsOf(stat(periods, usec), "cpu") }
	at(3, 1_000_000)
	c.begin()
	runtime.GC()
	at(5, 3_000_000_000) // far more than can have passed
	if g := c.lately(); g.ThrottledPct != 100 || g.GCPause <= 0 {
		t.Errorf("a throttled second with a collection: %v %%, pause %v; want 100, more than 0", g.ThrottledPct, g.GCPause)
	}
	if g := c.lately(); g.ThrottledPct != 0 {
		t.Errorf("the next second is throttled for %v %%, want 0", g.ThrottledPct)
	}
	if g := c.generator(); g.ThrottledPct != 100 || g.ThrottledPeriods != 2 || g.GCPauseP99 <= 0 {
		t.Errorf("the whole: %v %% in %d periods, pauses %v; want 100, 2, more than 0", g.ThrottledPct, g.ThrottledPeriods, g.GCPauseP99)
	}
}

func TestPercentileSince(t *testing.T) {
	buckets := []float64{math.Inf(-1), 0, 1e-3, 3e-3, math.Inf(1)}
	state := func(counts ...uint64) *metrics.Float64Histogram {
		return &metrics.Float64Histogram{Counts: counts, Buckets: buckets}
	}
	for _, c := range []struct {
		before, now *metrics.Float64Histogram
		want        time.Duration
	}{
		{state(0, 0, 0, 0), state(0, 0, 0, 0), 0},
		{state(0, 5, 9, 9), state(0, 5, 9, 9), 0}, // nothing since
		{state(0, 5, 9, 9), state(0, 104, 10, 9), 500 * time.Microsecond},
		{state(0, 5, 9, 9), state(0, 103, 11, 9), 2 * time.Millisecond}, // the 99th of 100
		{state(0, 0, 0, 0), state(0, 0, 0, 1), 3 * time.Millisecond},
	} {
		if got := percentileSince(c.before, c.now, 0.99); got != c.want {
			t.Errorf("from %v to %v: %v, want %v", c.before.Counts, c.now.Counts, got, c.want)
		}
	}
}
