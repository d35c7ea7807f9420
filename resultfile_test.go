package main

import (
	"bytes"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"volley/node"
)

func TestResultFileIsTriedBeforeTheLoad(t *testing.T) {
	url, count := target(t)
	folder := t.TempDir()
	device, stdout := filepath.Join(folder, "device"), filepath.Join(folder, "stdout") // not this machine's own: a test that fails replaces them
	if err := errors.Join(syscall.Mkfifo(device, 0o600), os.Symlink("/proc/self/fd/1", stdout)); err != nil {
		t.Fatal(err)
	}
	for _, file := range []string{filepath.Join(folder, "missing", "r.json"), folder, filepath.Join(folder, "results") + "/", device, stdout} {
		environment(t, "RESULT_FILE="+file)
		var lines bytes.Buffer
		if got := run(t.Context(), []string{writePlan(t, url, "1s")}, io.Discard, &lines); got != node.ExitInvalid || count.Load() != 0 {
			t.Errorf("%s: exit code %d, %d requests; want %d and none", file, got, count.Load(), node.ExitInvalid)
		}
		if !strings.Contains(lines.String(), "RESULT_FILE") {
			t.Errorf("%s: it says:\n%s", file, &lines)
		}
	}
}

// A link to a file stays one: what is replaced is the file.
func TestResultFileThroughALink(t *testing.T) {
	url, _ := target(t)
	folder := t.TempDir()
	link, file := filepath.Join(folder, "latest.json"), filepath.Join("kept", "r.json")
	if err := errors.Join(os.Mkdir(filepath.Join(folder, "kept"), 0o755), os.Symlink(file, link)); err != nil {
		t.Fatal(err)
	}
	environment(t, "RESULT_FILE="+link)
	for range 2 { // the first time there is no such file yet
		if got := run(t.Context(), []string{writePlan(t, url, "200ms")}, io.Discard, io.Discard); got != node.ExitOK {
			t.Fatalf("exit code %d", got)
		}
		to, err := os.Readlink(link)
		body, err2 := os.ReadFile(filepath.Join(folder, file))
		if err := errors.Join(err, err2); err != nil || to != file || !bytes.Contains(body, []byte(`"requests"`)) {
			t.Errorf("the link leads to %q, with %d bytes, %v", to, len(body), err)
		}
	}
}
