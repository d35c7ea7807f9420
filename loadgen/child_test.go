package loadgen_test

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"volley/loadgen"
	"volley/stats"
)

// children are the engine children of this process.
func children(t *testing.T) []int {
	t.Helper()
	out, err := exec.Command("ps", "-A", "-o", "pid=,ppid=,args=").Output()
	if err != nil {
		t.Skipf("ps is not there: %v", err)
	}
	var pids []int
	for line := range strings.Lines(string(out)) {
		f := strings.Fields(line)
		if len(f) > 3 && f[1] == strconv.Itoa(os.Getpid()) && f[3] == loadgen.ChildCommand {
			pid, err := strconv.Atoi(f[0])
			if err != nil {
				t.Fatal(err)
			}
			pids = append(pids, pid)
		}
	}
	return pids
}

func onlyChild(t *testing.T) int {
	t.Helper()
	pids := children(t)
	if len(pids) != 1 {
		t.Fatalf("engine children %v, want one", pids)
	}
	return pids[0]
}

// A plan that nobody waits for any more leaves nothing in the child, whether it
// was prepared by then or not.
func TestPreparesThatAreGivenUpLeaveRoom(t *testing.T) {
	leavesNothing(t)
	target := newTarget(t, ok)
	e := openChild(t)
	for i := range 50 {
		ctx, cancel := context.WithTimeout(t.Context(), time.Duration(i)*100*time.Microsecond)
		if err := e.Prepare(ctx, job("given-up-"+strconv.Itoa(i), slowPlan, target.URL)); err == nil {
			e.Discard("given-up-" + strconv.Itoa(i))
		}
		cancel()
	}
	for i := range 16 {
		prepare(t, e, job("wanted-"+strconv.Itoa(i), slowPlan, target.URL))
	}
}

func TestChildThatDiesInARunIsToldAndNotReplacedSilently(t *testing.T) {
	leavesNothing(t)
	target := newTarget(t, ok)
	e := openChild(t)
	prepare(t, e, job("r", slowPlan, target.URL))
	prepare(t, e, job("later", slowPlan, target.URL))
	pid := onlyChild(t)
	var during error
	killed := false
	s, err := e.Run(t.Context(), "r", time.Now(), func(*stats.Summary) {
		if killed {
			return
		}
		killed = true
		if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
			t.Error(err)
		}
		eventually(func() bool {
			during = e.Prepare(context.Background(), job("other", slowPlan, target.URL))
			return errors.Is(during, loadgen.ErrChildDied) && strings.Contains(during.Error(), "has not returned yet")
		})
	})
	if !errors.Is(err, loadgen.ErrChildDied) || !strings.Contains(err.Error(), "signal: killed") {
		t.Errorf("run says %v, want that its child was killed", err)
	}
	if s == nil || !s.Sent || s.Ended || s.RunID != "r" || !strings.Contains(s.Failure, "signal: killed") {
		t.Errorf("the summary is %+v, want the last live one with the failure", s)
	}
	if !errors.Is(during, loadgen.ErrChildDied) || !strings.Contains(during.Error(), "has not returned yet") {
		t.Errorf("prepare during the run says %v", during)
	}
	if pids := children(t); len(pids) != 0 {
		t.Errorf("children %v are left", pids)
	}
	if _, err := e.Run(t.Context(), "later", time.Now(), nil); !errors.Is(err, loadgen.ErrChildDied) {
		t.Errorf("a run whose preparation died says %v", err)
	}
	// With no run under way, the next plan gets a new child.
	prepare(t, e, job("next", strings.Replace(slowPlan, "20s", "100ms", 1), target.URL))
	if s, err := e.Run(t.Context(), "next", time.Now(), nil); err != nil || s.Requests == 0 {
		t.Errorf("the next run: %v", err)
	}
	if again := onlyChild(t); again == pid {
		t.Error("the child is the old one")
	}
}

func TestChildLivesThroughSignalsAndEndsWithItsParentsLink(t *testing.T) {
	leavesNothing(t)
	target := newTarget(t, ok)
	e := openChild(t)
	pid := onlyChild(t)
	for _, sig := range []syscall.Signal{syscall.SIGINT, syscall.SIGTERM, syscall.SIGHUP} {
		if err := syscall.Kill(pid, sig); err != nil {
			t.Fatal(err)
		}
	}
	prepare(t, e, job("r", strings.Replace(slowPlan, "20s", "100ms", 1), target.URL))
	if s, err := e.Run(t.Context(), "r", time.Now(), nil); err != nil || s.Requests == 0 {
		t.Errorf("after the signals: %v", err)
	}
	if err := e.Close(); err != nil {
		t.Error(err)
	}
	if pids := children(t); len(pids) != 0 {
		t.Errorf("after Close, children %v are left", pids)
	}
	if err := e.Prepare(t.Context(), job("r", slowPlan, target.URL)); err == nil {
		t.Error("a closed engine prepares")
	}
	if _, err := e.Run(t.Context(), "r", time.Now(), nil); err == nil {
		t.Error("a closed engine runs")
	}
}

func TestClosingTheChildCutsItsRunOff(t *testing.T) {
	leavesNothing(t)
	a, _ := hangs(t)
	target := newTarget(t, a)
	e := openChild(t)
	prepare(t, e, job("r", slowPlan, target.URL))
	ended := make(chan error, 1)
	go func() { // joined below
		_, err := e.Run(context.Background(), "r", time.Now(), nil)
		ended <- err
	}()
	if !eventually(func() bool { return len(target.all()) == 3 }) {
		t.Fatal("the run sends nothing")
	}
	began := time.Now()
	if err := e.Close(); err != nil {
		t.Error(err)
	}
	if err := <-ended; !errors.Is(err, loadgen.ErrChildDied) {
		t.Errorf("the run says %v", err)
	}
	if took := time.Since(began); took > 2*time.Second {
		t.Errorf("closing took %v", took)
	}
}

func TestAChildThatCannotWorkIsSaidSo(t *testing.T) {
	leavesNothing(t)
	log, out := testLog()
	for name, tc := range map[string]struct {
		args []string
		exe  string
		want []string
	}{
		"fails at once": {[]string{"-c", "echo no such luck >&2; exit 3"}, "/bin/sh", []string{"exit status 3", "no such luck"}},
		"says nothing":  {[]string{"-c", "exit 0"}, "/bin/sh", []string{"exit code 0, without any output"}},
		"is not there":  {nil, filepath.Join(t.TempDir(), "volley"), []string{"start engine child", "no such file"}},
		"talks garbage": {[]string{"-c", "printf '\\377\\377\\377\\377\\377\\377\\377\\377' >&3; exec sleep 60"}, "/bin/sh", []string{"signal: killed"}},
	} {
		e, err := loadgen.OpenChild(t.Context(), loadgen.ChildConfig{Log: log, Executable: tc.exe, Args: tc.args})
		if e != nil || err == nil {
			t.Fatalf("%s: opened, %v", name, err)
		}
		for _, want := range tc.want {
			if !strings.Contains(err.Error(), want) {
				t.Errorf("%s: %v, want %q in it", name, err, want)
			}
		}
	}
	if !strings.Contains(out.String(), "no such luck") || !strings.Contains(out.String(), "broke the protocol") {
		t.Errorf("the log is %s", out)
	}
}

func TestChildsLogRecordsComeWithTheirLevel(t *testing.T) {
	leavesNothing(t)
	log, out := testLog()
	e, err := loadgen.OpenChild(t.Context(), loadgen.ChildConfig{Log: log})
	if err != nil {
		t.Fatal(err)
	}
	prepare(t, e, job("r", strings.Replace(slowPlan, "20s", "50ms", 1), "http://127.0.0.1:1"))
	if _, err := e.Run(t.Context(), "r", time.Now().Add(lead), nil); err != nil {
		t.Fatal(err)
	}
	if err := e.Close(); err != nil { // which also waits for the log
		t.Fatal(err)
	}
	text := out.String()
	for _, want := range []string{"level=WARN", `msg="connections could not be opened before the start"`, "process=engine", "event=connect_ahead_failed", "failed=3"} {
		if !strings.Contains(text, want) {
			t.Errorf("no %s in the log: %s", want, text)
		}
	}
}
