package main

import (
	"bytes"
	"cmp"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"
)

// bench is what all measurements have in common.
type bench struct {
	folder         string
	volley         string // the binary
	self           string // this program's, which is a peer as well
	client         string // of volley's plans
	peers          []string
	target         *server
	rated, unrated time.Duration // lengths of measurements with a rate, and without
	length         time.Duration // that of the mode that is measured
}

// sample is one measurement of a tool.
type sample struct {
	said
	requests int64   // as nginx has counted them
	cpu      float64 // µs of user and system, of the tool's whole life
	rss      float64 // MB at most
}

// said is what a tool says of itself.
type said struct {
	answered int64 // requests answered as they should be
	failed   int64
	seconds  float64 // how long it sent
	lagP50   float64 // ms, of the schedule; 0 where a tool does not say
	lagP99   float64
}

// run lets a tool send a mode's load once.
func (b *bench) run(ctx context.Context, m mode, t tool) (s sample, err error) {
	for name, text := range t.files {
		if err := os.WriteFile(filepath.Join(b.folder, name), []byte(text), 0o644); err != nil {
			return s, err
		}
	}
	before, err := b.target.count(ctx)
	if err != nil {
		return s, err
	}
	out, state, err := b.play(ctx, t)
	if err != nil {
		return s, err
	}
	after, err := b.target.count(ctx)
	if err != nil {
		return s, err
	}
	result, _ := os.ReadFile(b.result()) // volley's alone
	if s.said, err = t.read(out, result); err != nil {
		return s, err
	}
	s.requests = after - before - 1 // the count itself is one
	s.cpu = float64((state.UserTime() + state.SystemTime()).Microseconds())
	s.rss = float64(state.SysUsage().(*syscall.Rusage).Maxrss) / 1024
	return s, s.check(out)
}

func (b *bench) result() string { return filepath.Join(b.folder, "result.json") }

// mostShown is how many bytes of a tool's output an error shows, the last ones.
const mostShown = 2000

// check is an error if the tool did not do its work.
func (s *sample) check(out string) error {
	out = out[max(0, len(out)-mostShown):]
	switch {
	case s.answered < 1 || s.seconds <= 0:
		return fmt.Errorf("it has sent nothing, or does not say so:\n%s", out)
	case s.failed > 0:
		return fmt.Errorf("%d of %d requests failed:\n%s", s.failed, s.failed+s.answered, out)
	case s.answered > s.requests:
		return fmt.Errorf("it says that %d requests were answered, nginx had %d", s.answered, s.requests)
	}
	return nil
}

// play runs a tool to its end on its core.
func (b *bench) play(ctx context.Context, t tool) (out string, state *os.ProcessState, err error) {
	ctx, cancel := context.WithTimeout(ctx, b.length+2*time.Minute)
	defer cancel()
	_ = os.Remove(b.result())
	args := []string{"-c", cmp.Or(t.cores, generatorCore)}
	for _, a := range t.args {
		args = append(args, strings.ReplaceAll(a, "FOLDER", b.folder))
	}
	cmd := exec.CommandContext(ctx, "taskset", args...)
	cmd.Env = append(os.Environ(), "CLUSTER_HEALTH_ADDR=127.0.0.1:0", "METRICS_ADDR=127.0.0.1:0", "LOG_LEVEL=warn", "RESULT_FILE="+b.result())
	cmd.Env = append(cmd.Env, t.env...)
	var both bytes.Buffer
	cmd.Stdout, cmd.Stderr = &both, &both
	if err := cmd.Run(); err != nil {
		return "", nil, fmt.Errorf("%s: %w\n%s", strings.Join(t.args, " "), err, &both)
	}
	return both.String(), cmd.ProcessState, nil
}
