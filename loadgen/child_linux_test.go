package loadgen_test

import (
	"fmt"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	"volley/loadgen"
)

// TestChildYieldsToItsParent reads what the kernel knows of the child.
func TestChildYieldsToItsParent(t *testing.T) {
	leavesNothing(t)
	child, target := openChild(t), newTarget(t, ok)
	pid := onlyChild(t)
	own := niceOf(t, fmt.Sprintf("/proc/self/task/%d/stat", os.Getpid()))
	wantNiceness(t, pid, own) // until there is load: the first request shall leave on time
	prepare(t, child, job("r", nicePlan, target.URL))
	if _, err := child.Run(t.Context(), "r", time.Now(), nil); err != nil {
		t.Fatal(err)
	}
	wantNiceness(t, pid, min(max(own, 10), 19))
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

const nicePlan = `version: "1.0"
config: {baseUrl: $BASE, workers: 1, duration: 300ms}
load: {model: rps, target: 20}
scenarios: [{name: s, steps: [{request: {method: GET, path: /}}]}]
`

// wantNiceness looks at every thread of a process.
func wantNiceness(t *testing.T, pid, want int) {
	t.Helper()
	tasks, err := os.ReadDir(fmt.Sprintf("/proc/%d/task", pid))
	if err != nil || len(tasks) < 2 {
		t.Fatalf("threads %v, %v", tasks, err)
	}
	for _, task := range tasks {
		if got := niceOf(t, fmt.Sprintf("/proc/%d/task/%s/stat", pid, task.Name())); got != want {
			t.Errorf("thread %s has niceness %d, want %d", task.Name(), got, want)
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

// environOf is a variable as the process was started with.
func environOf(t *testing.T, pid int, name string) string {
	t.Helper()
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/environ", pid))
	if err != nil {
		t.Fatal(err)
	}
	value := ""
	for entry := range strings.SplitSeq(string(text), "\x00") {
		if v, ok := strings.CutPrefix(entry, name+"="); ok {
			value = v
		}
	}
	return value
}

func TestChildTellsItsProcess(t *testing.T) {
	leavesNothing(t)
	log, _ := testLog()
	e, err := loadgen.OpenChild(t.Context(), loadgen.ChildConfig{Log: log, MemoryLimit: 123 << 20})
	if err != nil {
		t.Fatal(err)
	}
	defer e.Close()
	if pid := onlyChild(t); e.PID() != pid {
		t.Errorf("PID %d, want %d", e.PID(), pid)
	}
	if got := environOf(t, e.PID(), "GOMEMLIMIT"); got != "128974848" {
		t.Errorf("the child has GOMEMLIMIT=%q, want 128974848", got)
	}
	if resident, _ := loadgen.NewMemory().Of(e.PID()); resident <= 0 {
		t.Errorf("the child has %d bytes", resident)
	}
}
