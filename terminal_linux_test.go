package main

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// buildVolley builds the binary as users have it.
func buildVolley(t *testing.T) string {
	t.Helper()
	binary := filepath.Join(t.TempDir(), "volley")
	if out, err := exec.CommandContext(t.Context(), "go", "build", "-o", binary, ".").CombinedOutput(); err != nil {
		t.Fatalf("build: %v\n%s", err, out)
	}
	return binary
}

// onTerminal runs a binary on a pseudo terminal of so many columns, and returns
// what it wrote there, and its exit code.
func onTerminal(t *testing.T, binary string, columns uint16, env []string, args ...string) (string, int) {
	t.Helper()
	ptmx, err := os.OpenFile("/dev/ptmx", os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		t.Skipf("no pseudo terminals here: %v", err)
	}
	defer ptmx.Close()
	fd := int(ptmx.Fd())
	if err := unix.IoctlSetPointerInt(fd, unix.TIOCSPTLCK, 0); err != nil {
		t.Fatal(err)
	}
	n, err := unix.IoctlGetInt(fd, unix.TIOCGPTN)
	if err != nil {
		t.Fatal(err)
	}
	if err := unix.IoctlSetWinsize(fd, unix.TIOCSWINSZ, &unix.Winsize{Row: 40, Col: columns}); err != nil {
		t.Fatal(err)
	}
	tty, err := os.OpenFile(fmt.Sprintf("/dev/pts/%d", n), os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, binary, args...)
	cmd.Stdout, cmd.Stderr = tty, tty
	cmd.Env = append([]string{"PATH=" + os.Getenv("PATH"), "HOME=" + t.TempDir()}, env...)
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	tty.Close()
	var screen bytes.Buffer
	_, _ = screen.ReadFrom(ptmx) // ends with an error when the last writer has gone
	_ = cmd.Wait()
	return strings.ReplaceAll(screen.String(), "\r\n", "\n"), cmd.ProcessState.ExitCode()
}

// The real binary on a terminal: one line that is drawn in place, erased before
// anything else is written, and nothing left of it at the end.
func TestTerminal(t *testing.T) {
	url, _ := target(t)
	plan := writePlan(t, url, "3s")
	env := []string{"CLUSTER_HEALTH_ADDR=127.0.0.1:0", "METRICS_ADDR=off", "CLUSTER_NODE_ID=n", "TERM=xterm"}
	binary := buildVolley(t)
	screen, code := onTerminal(t, binary, 60, env, "run", plan)
	if code != 0 {
		t.Fatalf("exit code %d:\n%s", code, screen)
	}
	const erase = "\r\x1b[K"
	drawn := regexp.MustCompile(`\r\x1b\[K(\ds/3s  [^\r\n]*)`).FindAllStringSubmatch(screen, -1)
	if len(drawn) < 3 || len(drawn) > 8 {
		t.Errorf("progress is drawn %d times in 3 s, want 3 to 8:\n%q", len(drawn), screen)
	}
	for _, d := range drawn {
		if len(d[1]) > 59 {
			t.Errorf("a line of %d columns on a terminal of 60: %q", len(d[1]), d[1])
		}
	}
	if !regexp.MustCompile(`\ds/3s  (4|5)\d\.\d/s of 50\.0/s  p95 \d+\.\d ms  errors 0`).MatchString(screen) {
		t.Errorf("no line has rate against target, p95 and errors:\n%q", screen)
	}
	for line := range strings.SplitSeq(screen, "\n") {
		at := strings.LastIndex(line, erase)
		shown := line[at+1:]
		if at >= 0 {
			shown = line[at+len(erase):]
		}
		if strings.Contains(shown, "s/3s  ") {
			t.Errorf("progress stays in a line of the log or the report: %q", line)
		}
	}
	if !strings.Contains(screen, "\x1b[32mok\x1b[0m") && !strings.Contains(screen, "strained\x1b[0m") && !strings.Contains(screen, "saturated\x1b[0m") {
		t.Errorf("the verdict has no colour:\n%q", screen)
	}

	plan = writePlan(t, url, "1s")
	for name, more := range map[string][]string{"NO_COLOR": {"NO_COLOR=1"}, "TERM=dumb": {"TERM=dumb"}, "JSON logs": {"LOG_FORMAT=json"}} {
		screen, code := onTerminal(t, binary, 100, append(env, more...), "run", plan)
		if code != 0 {
			t.Fatalf("%s: exit code %d:\n%s", name, code, screen)
		}
		if name == "NO_COLOR" && !strings.Contains(screen, erase) {
			t.Errorf("NO_COLOR: no progress:\n%q", screen)
		}
		if name != "NO_COLOR" && strings.Contains(screen, "\x1b[K") {
			t.Errorf("%s: a line is drawn in place:\n%q", name, screen)
		}
		if regexp.MustCompile(`\x1b\[[0-9]+m`).MatchString(screen) {
			t.Errorf("%s: there is colour:\n%q", name, screen)
		}
	}
}
