package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"golang.org/x/sys/unix"

	"volley/stats"
)

// stretch is a run of one node as it is at a time: 10/s asked for, 8/s started,
// each slower than the one before, every fourth an error.
func stretch(t *testing.T, start time.Time, elapsed time.Duration) *stats.Summary {
	t.Helper()
	r := stats.NewRecorder(stats.Layout{Steps: []stats.StepKey{{Scenario: "s", Step: "get"}}}, 1)
	n := int(8 * elapsed.Seconds())
	for i := range n {
		r.Shard(0).Arrived(stats.Arrival{Due: time.Duration(i) * time.Second / 8})
		sm := stats.Sample{Latency: time.Duration(i/8+1) * 10 * time.Millisecond, Status: 200, Complete: true}
		if i%4 == 3 {
			sm.Status, sm.Kind = 500, stats.ErrServer
		}
		r.Shard(0).Request(sm)
	}
	r.Observe(stats.Gauges{At: elapsed, Workers: 3})
	s := r.Summary()
	s.RunID, s.StartedAt, s.Elapsed, s.Planned = "r-1", start, elapsed, time.Minute
	s.Target, s.Workers = 10*elapsed.Seconds(), 5
	return s
}

// Off a terminal there is one line every ten seconds, of these ten seconds.
func TestProgressInTheLog(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var out bytes.Buffer
		var newest atomic.Pointer[stats.Summary]
		start := time.Now()
		p := &progress{
			log:    slog.New(slog.NewJSONHandler(&out, nil)),
			newest: newest.Load,
		}
		ctx, cancel := context.WithTimeout(t.Context(), 45*time.Second)
		defer cancel()
		go func() {
			for at := time.Second; at <= 35*time.Second; at += time.Second {
				next := stretch(t, start, at)
				select {
				case <-time.After(time.Until(start.Add(at))):
				case <-ctx.Done():
					return
				}
				next.Ended = at == 35*time.Second
				newest.Store(next)
			}
		}()
		if err := p.run(ctx); err != nil {
			t.Fatal(err)
		}
		var lines []map[string]any
		for line := range strings.Lines(out.String()) {
			var fields map[string]any
			if err := json.Unmarshal([]byte(line), &fields); err != nil {
				t.Fatal(err)
			}
			if fields["msg"] != "progress" || fields["run_id"] != "r-1" || fields["total_s"] != 60.0 || fields["workers"] != 3.0 {
				t.Errorf("line %s", line)
			}
			if _, ok := fields["event"]; ok {
				t.Errorf("the line has an event, which is not in the contract's list: %s", line)
			}
			lines = append(lines, fields)
		}
		if len(lines) != 3 {
			t.Fatalf("%d lines in 35 s of a run and 10 s after it, want 3:\n%s", len(lines), &out)
		}
		// The p95 of ten seconds: 80 samples, of which the slowest 8 took (10 s + 1) * 10 ms.
		for i, want := range []struct{ elapsed, rate, target, p95, errors float64 }{{10, 8, 10, 100, 20}, {20, 8, 10, 200, 40}, {30, 8, 10, 300, 60}} {
			f := lines[i]
			near := func(name string, value float64, slack float64) {
				if got, _ := f[name].(float64); got < value-slack || got > value+slack {
					t.Errorf("line %d: %s is %v, want %v", i, name, f[name], value)
				}
			}
			near("elapsed_s", want.elapsed, 0)
			near("rate", want.rate, 0.01)
			near("target_rate", want.target, 0.01)
			near("p95_ms", want.p95, 11)
			near("errors", want.errors, 2)
			near("error_rate", 0.25, 0)
		}
	})
}

func TestProgressLine(t *testing.T) {
	base := progressFigures{elapsed: 12*time.Second + 700*time.Millisecond, total: 5 * time.Minute, timed: true, rate: 98.74, target: 100, open: true,
		p95: 12340 * time.Microsecond, measured: true, errors: 3, errorRate: 0.0025, workers: 10}
	for want, change := range map[string]func(*progressFigures){
		"12s/5m0s  98.7/s of 100.0/s  p95 12.3 ms  errors 3 (0.25 %)  workers 10":       func(*progressFigures) {},
		"12s/5m0s  98.7/s  p95 12.3 ms  errors 3 (0.25 %)  workers 10":                  func(f *progressFigures) { f.open = false },
		"12s/5m0s  warm-up: 400 requests, 2 errors, not counted":                        func(f *progressFigures) { f.warmup, f.warmRequests, f.warmErrors = true, 400, 2 },
		"12s/5m0s  starting  p95 12.3 ms  errors 3 (0.25 %)  workers 10":                func(f *progressFigures) { f.timed = false },
		"12s/10s  draining  p95 12.3 ms  errors 3 (0.25 %)  workers 10":                 func(f *progressFigures) { f.total = 10 * time.Second },
		"12s  98.7/s of 100.0/s  p95 12.3 ms  errors 3 (0.25 %)  workers 10  dropped 7": func(f *progressFigures) { f.total, f.dropped = 0, 7 },
	} {
		f := base
		change(&f)
		if got := f.line(); got != want {
			t.Errorf("line %q, want %q", got, want)
		}
	}
}

// Warm-up is in no count, so the rate just after it is not thinned by it.
func TestProgressAfterWarmup(t *testing.T) {
	before := &stats.Summary{Elapsed: 4 * time.Second, Warmup: 5 * time.Second}
	now := &stats.Summary{Elapsed: 6 * time.Second, Warmup: 5 * time.Second, Started: 50, Target: 50}
	if f := figuresOf(before, now); f.rate != 50 || f.target != 50 || f.warmup {
		t.Errorf("figures %+v, want 50/s of 50/s", f)
	}
	// The first summary comes with the first request.
	if f := figuresOf(&stats.Summary{}, &stats.Summary{Elapsed: time.Millisecond, Started: 1, Target: 1}); f.timed {
		t.Errorf("figures %+v: a rate of a millisecond", f)
	}
	if f := figuresOf(&stats.Summary{}, before); !f.warmup || f.rate != 0 {
		t.Errorf("figures %+v, want warm-up", f)
	}
}

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
