package loadgen_test

import (
	"fmt"
	"os"
	"strconv"
	"strings"
	"testing"
)

// TestChildYieldsToItsParent reads what the kernel knows of the child.
func TestChildYieldsToItsParent(t *testing.T) {
	leavesNothing(t)
	openChild(t)
	pid := onlyChild(t)
	tasks, err := os.ReadDir(fmt.Sprintf("/proc/%d/task", pid))
	if err != nil || len(tasks) < 2 {
		t.Fatalf("threads %v, %v", tasks, err)
	}
	own := niceOf(t, fmt.Sprintf("/proc/self/task/%d/stat", os.Getpid()))
	for _, task := range tasks {
		if got := niceOf(t, fmt.Sprintf("/proc/%d/task/%s/stat", pid, task.Name())); got != min(max(own, 10), 19) {
			t.Errorf("thread %s has niceness %d, want 10", task.Name(), got)
		}
	}
	mine, its := scoreOf(t, os.Getpid()), scoreOf(t, pid)
	if its != min(mine+500, 1000) {
		t.Errorf("oom_score_adj %d, want 500 more than %d", its, mine)
	}
	limits, err := os.ReadFile(fmt.Sprintf("/proc/%d/limits", pid))
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(limits)) {
		if f := strings.Fields(strings.TrimPrefix(line, "Max open files")); strings.HasPrefix(line, "Max open files") && f[0] != f[1] {
			t.Errorf("open files: soft limit %s, hard limit %s", f[0], f[1])
		}
	}
}

// niceOf reads field 19 of a stat file; the command's name may hold blanks.
func niceOf(t *testing.T, file string) int {
	t.Helper()
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	_, after, _ := strings.Cut(string(text), ") ")
	n, err := strconv.Atoi(strings.Fields(after)[16])
	if err != nil {
		t.Fatal(err)
	}
	return n
}

func scoreOf(t *testing.T, pid int) int {
	t.Helper()
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/oom_score_adj", pid))
	if err != nil {
		t.Fatal(err)
	}
	n, err := strconv.Atoi(strings.TrimSpace(string(text)))
	if err != nil {
		t.Fatal(err)
	}
	return n
}
