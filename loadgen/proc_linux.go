package loadgen

import (
	"os"
	"path"
	"strconv"
	"strings"
	"syscall"
)

// childAttributes: a process group of its own, which a niceness can be given
// to as a whole, and death with the thread that started it.
func childAttributes() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
}

// volunteer makes the kernel prefer this process when memory runs out.
func volunteer() error {
	const file = "/proc/self/oom_score_adj"
	text, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	now, err := strconv.Atoi(strings.TrimSpace(string(text)))
	if err != nil {
		return err
	}
	return os.WriteFile(file, []byte(strconv.Itoa(min(now+500, 1000))), 0)
}

// cpuQuota is how many CPUs the cgroup may use, the tightest limit on the way
// up; 0 for no limit.
func cpuQuota() float64 {
	text, err := os.ReadFile("/proc/self/cgroup")
	if err != nil {
		return 0
	}
	var quota float64
	for line := range strings.Lines(string(text)) {
		parts := strings.SplitN(strings.TrimSpace(line), ":", 3)
		if len(parts) != 3 {
			continue
		}
		for dir := path.Clean("/" + parts[2]); ; dir = path.Dir(dir) {
			quota = tighter(quota, quotaAt(parts[1], dir))
			if dir == "/" {
				break
			}
		}
	}
	return quota
}

// quotaAt reads one cgroup: version 2 if controllers is empty, else version 1.
func quotaAt(controllers, dir string) float64 {
	const root = "/sys/fs/cgroup"
	if controllers == "" {
		return ratio(strings.Fields(read(path.Join(root, dir, "cpu.max"))))
	}
	for _, name := range strings.Split(controllers, ",") {
		if name == "cpu" {
			at := path.Join(root, controllers, dir)
			return ratio([]string{
				strings.TrimSpace(read(path.Join(at, "cpu.cfs_quota_us"))),
				strings.TrimSpace(read(path.Join(at, "cpu.cfs_period_us"))),
			})
		}
	}
	return 0
}

func read(file string) string {
	text, err := os.ReadFile(file) //nolint:gosec // the kernel's files
	if err != nil {
		return ""
	}
	return string(text)
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

func tighter(a, b float64) float64 {
	if a == 0 || b > 0 && b < a {
		return b
	}
	return a
}

// raiseFileLimit raises the limit of open files to the hard one.
func raiseFileLimit() error {
	var limit syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &limit); err != nil {
		return err
	}
	limit.Cur = limit.Max
	return syscall.Setrlimit(syscall.RLIMIT_NOFILE, &limit)
}
