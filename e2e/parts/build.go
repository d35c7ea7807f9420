package parts

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"time"
)

// Tool is a program that is built from its Go module, pinned in a module of
// its own because its dependencies do not agree with ours.
type Tool struct {
	Name    string // of the binary, and of the folder below e2e/tools
	Package string // main package; also its module
}

// buildTimeout bounds a build whose caller set no deadline: Consul takes two
// to four minutes on two cores with an empty build cache.
const buildTimeout = 15 * time.Minute

// lockPoll is how often a process that waits for another one's build looks again.
const lockPoll = 100 * time.Millisecond

// ConsulTool returns what Consul is built from.
func ConsulTool() Tool { return Tool{Name: "consul", Package: "github.com/hashicorp/consul"} }

// FakeGCSTool returns what fake-gcs-server is built from.
func FakeGCSTool() Tool {
	return Tool{Name: "fakegcs", Package: "github.com/fsouza/fake-gcs-server"}
}

// Consul returns the path of a Consul binary for this machine, built at need.
func Consul(ctx context.Context) (string, error) {
	return Build(ctx, ConsulTool(), runtime.GOOS, runtime.GOARCH)
}

// FakeGCS returns the path of a fake-gcs-server binary for this machine, built at need.
func FakeGCS(ctx context.Context) (string, error) {
	return Build(ctx, FakeGCSTool(), runtime.GOOS, runtime.GOARCH)
}

// Build returns the path of a static binary of tool for the given system, for
// example "linux" and "arm64". It is built once and kept in the user's cache
// directory below volley-e2e, in a folder named after version and pins, so
// that a changed pin builds anew. Processes that ask at the same time wait for
// one build.
func Build(ctx context.Context, tool Tool, goos, goarch string) (string, error) {
	source, err := sourceDir(tool)
	if err != nil {
		return "", fmt.Errorf("build %s: %w", tool.Name, err)
	}
	folder, err := cacheDir(tool, source, goos+"-"+goarch)
	if err != nil {
		return "", fmt.Errorf("build %s: %w", tool.Name, err)
	}
	binary := filepath.Join(folder, tool.Name)
	if isBuilt(binary) {
		return binary, nil
	}
	ctx, cancel := context.WithTimeout(ctx, buildTimeout)
	defer cancel()
	if err := buildOnce(ctx, tool, source, binary, goos, goarch); err != nil {
		return "", fmt.Errorf("build %s: %w", tool.Name, err)
	}
	return binary, nil
}

func isBuilt(binary string) bool {
	info, err := os.Stat(binary)
	return err == nil && info.Mode().IsRegular()
}

// sourceDir finds the tool's nested module from the place of this source file.
// With -trimpath that place is no path; then the working directory's module is asked for.
func sourceDir(tool Tool) (string, error) {
	_, file, _, _ := runtime.Caller(0)
	dir := filepath.Join(filepath.Dir(file), "..", "tools", tool.Name)
	if _, err := os.Stat(filepath.Join(dir, "go.mod")); err == nil {
		return dir, nil
	}
	out, err := exec.Command("go", "list", "-m", "-f", "{{.Dir}}").Output()
	if err != nil {
		return "", fmt.Errorf("find the main module: %w", err)
	}
	dir = filepath.Join(strings.TrimSpace(string(out)), "e2e", "tools", tool.Name)
	if _, err := os.Stat(filepath.Join(dir, "go.mod")); err != nil {
		return "", fmt.Errorf("find the pins: %w", err)
	}
	return dir, nil
}

// cacheDir makes and names the folder of one build.
func cacheDir(tool Tool, source, system string) (string, error) {
	pins, err := os.ReadFile(filepath.Join(source, "go.mod"))
	if err != nil {
		return "", err
	}
	sums, err := os.ReadFile(filepath.Join(source, "go.sum"))
	if err != nil {
		return "", err
	}
	base, err := os.UserCacheDir()
	if err != nil {
		return "", fmt.Errorf("find a cache directory (HOME or XDG_CACHE_HOME must be set): %w", err)
	}
	version, err := pinned(tool.Package, string(pins))
	if err != nil {
		return "", err
	}
	sum := sha256.Sum256(append(sums, runtime.Version()...))
	name := fmt.Sprintf("%s-%s-%s-%s", tool.Name, version, system, hex.EncodeToString(sum[:6]))
	folder := filepath.Join(base, "volley-e2e", name)
	return folder, os.MkdirAll(folder, 0o755)
}

// pinned reads the version of a module from the text of a go.mod.
func pinned(module, gomod string) (string, error) {
	for line := range strings.Lines(gomod) {
		fields := strings.Fields(strings.TrimPrefix(strings.TrimSpace(line), "require "))
		if len(fields) >= 2 && fields[0] == module && strings.HasPrefix(fields[1], "v") {
			return fields[1], nil
		}
	}
	return "", fmt.Errorf("go.mod pins no version of %s", module)
}

// buildOnce builds under a lock and moves the finished binary to its place in
// one step: whoever finds it there finds it whole.
func buildOnce(ctx context.Context, tool Tool, source, binary, goos, goarch string) error {
	unlock, err := lock(ctx, binary+".lock")
	if err != nil {
		return err
	}
	defer unlock()
	if isBuilt(binary) {
		return nil
	}
	started := time.Now()
	fmt.Fprintf(os.Stderr, "building %s for %s/%s into %s, once; this takes minutes with an empty build cache\n",
		tool.Package, goos, goarch, filepath.Dir(binary))
	fresh := binary + ".new"
	cmd := exec.CommandContext(ctx, "go", "build", "-trimpath", "-ldflags", "-s -w", "-o", fresh, tool.Package)
	cmd.Dir = source
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0", "GOWORK=off", "GOFLAGS=", "GOOS="+goos, "GOARCH="+goarch)
	cmd.WaitDelay = 5 * time.Second
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("go build %s in %s: %w\n%s", tool.Package, source, err, out)
	}
	if err := os.Rename(fresh, binary); err != nil {
		return err
	}
	fmt.Fprintf(os.Stderr, "built %s in %s\n", tool.Name, time.Since(started).Round(time.Second))
	return nil
}

// lock takes the file lock at path, which the system gives back if its holder
// dies. It looks again and again instead of blocking, so that ctx can end it.
func lock(ctx context.Context, path string) (unlock func(), err error) {
	file, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o644)
	if err != nil {
		return nil, err
	}
	for waiting := false; ; waiting = true {
		err := syscall.Flock(int(file.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
		if err == nil {
			return func() { _ = file.Close() }, nil
		}
		if !errors.Is(err, syscall.EWOULDBLOCK) {
			return nil, errors.Join(&fs.PathError{Op: "lock", Path: path, Err: err}, file.Close())
		}
		if !waiting {
			fmt.Fprintf(os.Stderr, "waiting for another process's build (%s)\n", path)
		}
		select {
		case <-ctx.Done():
			return nil, errors.Join(fmt.Errorf("wait for another build: %w", ctx.Err()), file.Close())
		case <-time.After(lockPoll):
		}
	}
}
