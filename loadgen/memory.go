package loadgen

import (
	"io/fs"
	"os"
	"path"
	"strconv"
	"strings"
)

// MemoryUse is how much of a limit is in use, in bytes.
type MemoryUse struct {
	Used, Limit int64
	// Smallest is the smallest of all limits: another than the nearest, which is
	// that in use for the most part, may have less room.
	Smallest int64
	// Cgroup is true if the limit is a cgroup's, at which the kernel kills, and
	// Used what all processes in it take together; else the limit is the
	// machine's memory, and Used what the asked processes take.
	Cgroup bool
}

// Percent is 0 if the limit is not known.
func (u MemoryUse) Percent() float64 {
	if u.Limit <= 0 {
		return 0
	}
	return 100 * float64(u.Used) / float64(u.Limit)
}

// Memory reads what memory there is and who has it. Where the kernel does not
// tell, as on macOS, everything is 0.
type Memory struct {
	root   fs.FS
	groups cgroups
}

// NewMemory is of this machine.
func NewMemory() *Memory { return memoryOf(machine()) }

func memoryOf(root fs.FS) *Memory { return &Memory{root, cgroupsOf(root, "memory")} }

// noLimit is what version 1 says at least where there is none.
const noLimit = 1 << 60

// Use is that of the limit which is nearest. processes are asked for what they
// take if no cgroup has a limit; 0 is this process.
func (m *Memory) Use(processes ...int) MemoryUse {
	total := m.total()
	var nearest MemoryUse
	smallest := total
	for _, u := range m.limited(total) {
		if !nearest.Cgroup || u.Percent() > nearest.Percent() {
			nearest = u
		}
		if smallest == 0 || u.Limit < smallest {
			smallest = u.Limit
		}
	}
	if !nearest.Cgroup {
		nearest.Used, _ = m.Of(processes...)
		nearest.Limit = total
	}
	nearest.Smallest = smallest
	return nearest
}

// Limit is the smallest of all limits, however full each is: it does not change
// with what others use, as that of Use may.
func (m *Memory) Limit() (bytes int64, cgroup bool) {
	bytes = m.total()
	for _, u := range m.limited(bytes) {
		if !cgroup || u.Limit < bytes {
			bytes, cgroup = u.Limit, true
		}
	}
	return bytes, cgroup
}

// limited are the cgroups whose limit is below the machine's memory.
func (m *Memory) limited(total int64) (out []MemoryUse) {
	for _, c := range m.groups {
		if u, ok := c.memory(); ok && (total == 0 || u.Limit < total) {
			out = append(out, u)
		}
	}
	return out
}

// memory is what the cgroup's processes have that the kernel cannot take back:
// the cache of files does not count.
func (c cgroup) memory() (u MemoryUse, ok bool) {
	usage, limit, inactive, active := "memory.current", "memory.max", "inactive_file", "active_file"
	if !c.v2 {
		usage, limit, inactive, active = "memory.usage_in_bytes", "memory.limit_in_bytes", "total_inactive_file", "total_active_file"
	}
	most, ok := c.number(limit)
	if !ok || most <= 0 || most >= noLimit {
		return u, false
	}
	used, ok := c.number(usage)
	cached, _ := c.sum("memory.stat", inactive, active)
	return MemoryUse{Used: max(used-cached, 0), Limit: most, Cgroup: true}, ok
}

// total is the machine's memory.
func (m *Memory) total() int64 {
	for line := range strings.Lines(read(m.root, "proc/meminfo")) {
		if f := strings.Fields(line); len(f) >= 2 && f[0] == "MemTotal:" {
			kb, _ := strconv.ParseInt(f[1], 10, 64)
			return kb << 10
		}
	}
	return 0
}

// Of is the resident and the virtual memory of processes together; 0 is this
// process, and one that is gone has none.
func (m *Memory) Of(processes ...int) (resident, virtual int64) {
	for _, pid := range processes {
		name := "self"
		if pid != 0 {
			name = strconv.Itoa(pid)
		}
		f := strings.Fields(read(m.root, path.Join("proc", name, "statm")))
		if len(f) < 2 {
			continue
		}
		size, err1 := strconv.ParseInt(f[0], 10, 64)
		pages, err2 := strconv.ParseInt(f[1], 10, 64)
		if err1 == nil && err2 == nil {
			virtual, resident = virtual+size*int64(os.Getpagesize()), resident+pages*int64(os.Getpagesize())
		}
	}
	return resident, virtual
}
