package sources_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"volley/sources"
)

func fileSource(t *testing.T, path string) fetcher {
	source, err := sources.NewFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return source
}

func fileBackend(t *testing.T) backend {
	dir := t.TempDir()
	path := filepath.Join(dir, "plan.yaml")
	holding := func(t *testing.T, content []byte) fetcher {
		_ = os.Remove(path)
		put(t, path, content, 0o644)
		return fileSource(t, path)
	}
	return backend{
		origin:  path,
		holding: holding,
		revised: func(t *testing.T, content []byte) fetcher {
			source := holding(t, content)
			later := time.Now().Add(time.Second)
			if err := os.Chtimes(path, later, later); err != nil {
				t.Fatal(err)
			}
			return source
		},
		missing: func(t *testing.T) fetcher {
			_ = os.Remove(path)
			return fileSource(t, path)
		},
		forbidden: func(t *testing.T) fetcher { return unreadable(t, path) },
		silent: func(t *testing.T) fetcher {
			_ = os.Remove(path)
			if err := syscall.Mkfifo(path, 0o600); err != nil {
				t.Fatal(err)
			}
			writer, err := os.OpenFile(path, os.O_RDWR, 0) // a writer that writes nothing
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { _ = writer.Close() })
			return fileSource(t, path)
		},
		says: map[string][]string{
			"missing": {"no such file on this node"}, "forbidden": {"may not read it", "chmod a+r"},
			"blank": {"4 bytes are all white space"}, "too large": {"524289 bytes", "at most 524288"}, "slow": {"a pipe whose writer keeps quiet?"},
		},
	}
}

// unreadable returns a source of a file without any right to read. Root may
// read everything, so the test binary then fetches as another user.
func unreadable(t *testing.T, path string) fetcher {
	_ = os.Remove(path)
	put(t, path, []byte(plan), 0o000)
	if os.Getuid() != 0 {
		return fileSource(t, path)
	}
	return asNobody{t, path}
}

// asNobody fetches a file in a process of an unprivileged user.
type asNobody struct {
	t    *testing.T
	path string
}

const nobody = 65534

func (n asNobody) Fetch(ctx context.Context) (sources.Document, error) {
	// Neither the file's folder nor the test binary may be out of its reach.
	dir, err := os.MkdirTemp("", "volley-nobody-")
	if err != nil {
		return sources.Document{}, err
	}
	defer os.RemoveAll(dir)
	self, err := os.ReadFile("/proc/self/exe")
	if err != nil {
		return sources.Document{}, err
	}
	put(n.t, filepath.Join(dir, "self"), self, 0o755)
	for folder := filepath.Dir(n.path); folder != os.TempDir() && folder != "/"; folder = filepath.Dir(folder) {
		if err := os.Chmod(folder, 0o755); err != nil {
			return sources.Document{}, err
		}
	}
	if err := os.Chmod(dir, 0o755); err != nil {
		return sources.Document{}, err
	}
	cmd := exec.CommandContext(ctx, filepath.Join(dir, "self"))
	cmd.Dir = "/"
	cmd.Env = []string{"SOURCES_TEST_PART=file", "SOURCES_TEST_PATH=" + n.path}
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: nobody, Gid: nobody}}
	out, err := cmd.CombinedOutput()
	return sources.Document{}, verdict(out, err)
}

// verdict turns what runPart printed back into an error of its kind.
func verdict(out []byte, err error) error {
	kind, message, ok := strings.Cut(string(out), "|")
	if !ok {
		return fmt.Errorf("the other process: %w: %s", err, out)
	}
	for _, known := range kinds() {
		if known.Error() == kind {
			return told{message: message, kind: known}
		}
	}
	return errors.New(message)
}

// told is an error of another process.
type told struct {
	message string
	kind    error
}

func (t told) Error() string { return t.message }
func (t told) Unwrap() error { return t.kind }

func kinds() []error {
	return []error{sources.ErrNotFound, sources.ErrForbidden, sources.ErrTooLarge, sources.ErrEmpty, sources.ErrCredentials,
		sources.ErrRefused, sources.ErrUnreachable, sources.ErrTimeout}
}

// runPart is the test binary in its second role: one fetch, told by its
// environment, whose outcome it prints as "kind|message".
func runPart(part string) int {
	var source fetcher
	var err error
	if part == "file" {
		source, err = sources.NewFile(os.Getenv("SOURCES_TEST_PATH"))
	} else {
		source, err = sources.NewGCS(sources.GCSConfig{Bucket: os.Getenv("SOURCES_TEST_BUCKET"), Object: object, Endpoint: os.Getenv("SOURCES_TEST_ENDPOINT")})
	}
	if err != nil {
		fmt.Print(err)
		return 1
	}
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	doc, err := source.Fetch(ctx)
	if err == nil {
		fmt.Printf("ok|%s", doc.Bytes)
		return 0
	}
	for _, kind := range kinds() {
		if errors.Is(err, kind) {
			fmt.Printf("%s|%s", kind, err)
			return 1
		}
	}
	fmt.Print(err)
	return 1
}

func TestFileThatIsADirectoryIsRefused(t *testing.T) {
	_, err := fileSource(t, t.TempDir()).Fetch(t.Context())
	if !errors.Is(err, sources.ErrRefused) || !strings.Contains(err.Error(), "is a directory") {
		t.Errorf("got %v", err)
	}
}

func TestFileReadsAPipe(t *testing.T) {
	reader, writer, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer reader.Close()
	go func() {
		_, _ = writer.WriteString(plan)
		_ = writer.Close()
	}()
	doc, err := fileSource(t, fmt.Sprintf("/dev/fd/%d", reader.Fd())).Fetch(t.Context())
	if err != nil || string(doc.Bytes) != plan {
		t.Errorf("got %q, %v", doc.Bytes, err)
	}
}

func TestFileWithoutAPathIsNoSource(t *testing.T) {
	if _, err := sources.NewFile(""); err == nil {
		t.Error("an empty path is accepted")
	}
}
