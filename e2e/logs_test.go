package e2e

import (
	"bytes"
	"cmp"
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/moby/moby/api/pkg/stdcopy"
	"github.com/moby/moby/client"
)

// logLine is one line that a container wrote. Those of volley are JSON.
type logLine struct {
	at       time.Time // when the engine saw it
	raw      string
	time     time.Time // as the line says, zero if it does not
	severity string
	message  string
	event    string
	fields   map[string]any // of a JSON line, all of them
}

// text is everything a person reads of the line: what messages are looked for in.
func (l logLine) text() string {
	if l.fields == nil {
		return l.raw
	}
	parts := []string{l.message}
	for _, name := range slices.Sorted(maps.Keys(l.fields)) {
		if name != "message" && name != "time" {
			parts = append(parts, fmt.Sprint(l.fields[name]))
		}
	}
	return strings.Join(parts, " ")
}

// readLogs reads all that the container wrote so far, both streams, in order.
func (c *container) readLogs() ([]logLine, error) {
	ctx, cancel := call()
	defer cancel()
	stream, err := c.bench.docker.ContainerLogs(ctx, c.handle.GetContainerID(),
		client.ContainerLogsOptions{ShowStdout: true, ShowStderr: true, Timestamps: true})
	if err != nil {
		return nil, fmt.Errorf("logs of %s: %w", c.name, err)
	}
	defer stream.Close()
	var out bytes.Buffer
	if _, err := stdcopy.StdCopy(&out, &out, stream); err != nil {
		return nil, fmt.Errorf("logs of %s: %w", c.name, err)
	}
	var lines []logLine
	for text := range strings.Lines(out.String()) {
		lines = append(lines, parseLine(strings.TrimRight(text, "\r\n")))
	}
	return lines, nil
}

// parseLine splits the engine's time stamp off and reads the rest as JSON if it is.
func parseLine(text string) logLine {
	stamp, raw, _ := strings.Cut(text, " ")
	line := logLine{raw: raw}
	line.at, _ = time.Parse(time.RFC3339Nano, stamp)
	if !strings.HasPrefix(raw, "{") || json.Unmarshal([]byte(raw), &line.fields) != nil {
		return line
	}
	line.severity, _ = line.fields["severity"].(string)
	line.message, _ = line.fields["message"].(string)
	line.event, _ = line.fields["event"].(string)
	if written, ok := line.fields["time"].(string); ok {
		line.time, _ = time.Parse(time.RFC3339Nano, written)
	}
	return line
}

// logs is readLogs for a test that cannot go on without.
func (c *container) logs() []logLine {
	c.bench.t.Helper()
	lines, err := c.readLogs()
	c.must("read logs", err)
	return lines
}

// events are the lines with this event, in order.
func (c *container) events(event string) []logLine {
	c.bench.t.Helper()
	return slices.DeleteFunc(c.logs(), func(l logLine) bool { return l.event != event })
}

// waitEvent waits for the n'th line (1 = the first) with this event and returns it.
func (c *container) waitEvent(within time.Duration, event string, n int) logLine {
	c.bench.t.Helper()
	var found []logLine
	eventually(c.bench.t, within, c.name+": log event "+event, func() error {
		if found = c.events(event); len(found) < n {
			return fmt.Errorf("%d of %d such lines; last words: %s", len(found), n, c.lastWords())
		}
		return nil
	})
	return found[n-1]
}

// wantInLogs checks that one line holds all the words, in any order.
func (c *container) wantInLogs(words ...string) {
	c.bench.t.Helper()
	for _, line := range c.logs() {
		if holds(line.text(), words) {
			return
		}
	}
	c.bench.t.Errorf("%s: no log line holds all of %q; last words: %s", c.name, words, c.lastWords())
}

func holds(text string, words []string) bool {
	return !slices.ContainsFunc(words, func(w string) bool { return !strings.Contains(text, w) })
}

// lastWords are the last lines of the log in short, for error messages.
func (c *container) lastWords() string {
	lines, err := c.readLogs()
	if err != nil {
		return err.Error()
	}
	var out []string
	for _, line := range lines[max(0, len(lines)-3):] {
		out = append(out, line.raw)
	}
	return strings.Join(out, " | ")
}

// shownLines is how much of each container's log a failed test prints.
const shownLines = 60

// dump keeps the logs of all containers of a failed test in files, one per
// container and one with all lines in the order of time, and prints the end of each.
func (b *bench) dump() {
	folder := filepath.Join(logsFolder(), strings.ReplaceAll(b.t.Name(), "/", "_")+time.Now().Format("-20060102-150405"))
	if err := os.MkdirAll(folder, 0o755); err != nil {
		b.t.Logf("keep logs: %v", err)
		return
	}
	type entry struct {
		at   time.Time
		text string
	}
	var timeline []entry
	for i, c := range b.all() {
		lines, err := c.readLogs()
		if err != nil {
			b.t.Log(err)
			continue
		}
		var own []string
		for _, line := range lines {
			text := line.at.Format("15:04:05.000000") + " " + line.raw
			own = append(own, text)
			timeline = append(timeline, entry{line.at, fmt.Sprintf("%-10s %s", c.name, text)})
		}
		b.keep(filepath.Join(folder, fmt.Sprintf("%02d-%s.log", i, c.name)), own)
		b.t.Logf("--- %s (%s %s, %s), last lines:\n%s", c.name, c.ctlIP, c.clusterIP, c.shortState(),
			strings.Join(own[max(0, len(own)-shownLines):], "\n"))
	}
	slices.SortStableFunc(timeline, func(a, b entry) int { return cmp.Compare(a.at.UnixNano(), b.at.UnixNano()) })
	var all []string
	for _, e := range timeline {
		all = append(all, e.text)
	}
	b.keep(filepath.Join(folder, "timeline.log"), all)
	b.t.Logf("all logs: %s", folder)
}

func (b *bench) keep(path string, lines []string) {
	if err := os.WriteFile(path, []byte(strings.Join(lines, "\n")+"\n"), 0o644); err != nil {
		b.t.Logf("keep logs: %v", err)
	}
}

func (c *container) shortState() string {
	state, err := c.state()
	if err != nil {
		return err.Error()
	}
	return fmt.Sprintf("%s, exit code %d", state.Status, state.ExitCode)
}

func logsFolder() string {
	if folder := os.Getenv("VOLLEY_E2E_LOGS"); folder != "" {
		return folder
	}
	return filepath.Join(os.TempDir(), "volley-e2e-logs")
}
