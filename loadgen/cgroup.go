package loadgen

import (
	"io/fs"
	"os"
	"path"
	"slices"
	"strconv"
	"strings"
	"time"
)

// machine is the kernel's view of this machine. Where its files are not there,
// as on macOS, nothing is known and nothing is limited.
func machine() fs.FS { return os.DirFS("/") }

// cgroup is one cgroup that this process is in, for one controller.
type cgroup struct {
	root fs.FS
	dir  string
	v2   bool
}

// cgroups are those of one controller: this process's own and all above it, as
// far as this process can see them. Each of them may have a limit.
type cgroups []cgroup

func cgroupsOf(root fs.FS, controller string) cgroups {
	var found cgroups
	for line := range strings.Lines(read(root, "proc/self/cgroup")) {
		parts := strings.SplitN(strings.TrimSpace(line), ":", 3)
		if len(parts) != 3 {
			continue
		}
		at, v2 := "sys/fs/cgroup", parts[1] == ""
		if !v2 {
			if !slices.Contains(strings.Split(parts[1], ","), controller) {
				continue
			}
			at = path.Join(at, parts[1])
		}
		for dir := path.Clean("/" + parts[2]); ; dir = path.Dir(dir) {
			found = append(found, cgroup{root, path.Join(at, dir), v2})
			if dir == "/" {
				break
			}
		}
	}
	return found
}

func read(root fs.FS, file string) string {
	text, err := fs.ReadFile(root, file)
	if err != nil {
		return ""
	}
	return string(text)
}

func (c cgroup) read(file string) string {
	return strings.TrimSpace(read(c.root, path.Join(c.dir, file)))
}

// number reads a file that holds one; ok is false if it does not ("max").
func (c cgroup) number(file string) (n int64, ok bool) {
	n, err := strconv.ParseInt(c.read(file), 10, 64)
	return n, err == nil
}

// sum adds up the values of some keys of a file of lines "key value".
func (c cgroup) sum(file string, keys ...string) (total int64, ok bool) {
	for line := range strings.Lines(c.read(file)) {
		f := strings.Fields(line)
		if len(f) != 2 || !slices.Contains(keys, f[0]) {
			continue
		}
		if n, err := strconv.ParseInt(f[1], 10, 64); err == nil {
			total, ok = total+n, true
		}
	}
	return total, ok
}

// quota is how many CPUs the cgroups may use, the tightest limit of all; 0 for
// no limit.
func (g cgroups) quota() float64 {
	var least float64
	for _, c := range g {
		fields := strings.Fields(c.read("cpu.max"))
		if !c.v2 {
			fields = []string{c.read("cpu.cfs_quota_us"), c.read("cpu.cfs_period_us")}
		}
		if q := ratio(fields); q > 0 && (least == 0 || q < least) {
			least = q
		}
	}
	return least
}

// ratio is quota / period, 0 for none ("max", -1) or what makes no sense.
func ratio(fields []string) float64 {
	if len(fields) != 2 {
		return 0
	}
	quota, err1 := strconv.ParseFloat(fields[0], 64)
	period, err2 := strconv.ParseFloat(fields[1], 64)
	if err1 != nil || err2 != nil || quota <= 0 || period <= 0 {
		return 0
	}
	return quota / period
}

// throttling is for how long the kernel has kept a cgroup from the CPU, summed up
// over the CPUs, and in how many periods.
type throttling struct {
	time    time.Duration
	periods int64
}

func (g cgroups) throttled() []throttling {
	out := make([]throttling, len(g))
	for i, c := range g {
		key, unit := "throttled_usec", time.Microsecond
		if !c.v2 {
			key, unit = "throttled_time", time.Nanosecond
		}
		n, _ := c.sum("cpu.stat", key)
		out[i].time = time.Duration(n) * unit
		out[i].periods, _ = c.sum("cpu.stat", "nr_throttled")
	}
	return out
}
