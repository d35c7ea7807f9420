package parts

import (
	"context"
	"net/http"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"
)

func TestPinnedVersionComesFromTheNestedModule(t *testing.T) {
	for tool, want := range map[Tool]string{ConsulTool(): "v1.19.2", FakeGCSTool(): "v1.56.1"} {
		dir, err := sourceDir(tool)
		if err != nil {
			t.Fatal(err)
		}
		text, err := os.ReadFile(filepath.Join(dir, "go.mod"))
		if err != nil {
			t.Fatal(err)
		}
		if got, err := pinned(tool.Package, string(text)); err != nil || got != want {
			t.Errorf("%s: pinned %q, %v; want %s", tool.Name, got, err, want)
		}
	}
	if _, err := pinned("example.com/none", "require example.com/other v1.0.0\n"); err == nil {
		t.Error("a module that is not required has a version")
	}
}

func TestBuildHappensOnceAndIsKept(t *testing.T) {
	first, err := FakeGCS(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	before, err := os.Stat(first)
	if err != nil {
		t.Fatal(err)
	}
	second, err := Build(t.Context(), FakeGCSTool(), runtime.GOOS, runtime.GOARCH)
	if err != nil {
		t.Fatal(err)
	}
	after, err := os.Stat(second)
	if err != nil {
		t.Fatal(err)
	}
	if first != second || !before.ModTime().Equal(after.ModTime()) {
		t.Errorf("built twice: %s (%s), %s (%s)", first, before.ModTime(), second, after.ModTime())
	}
	if !strings.Contains(first, filepath.Join("volley-e2e", "fakegcs-v1.56.1-")) {
		t.Errorf("kept at %s, want a folder volley-e2e/fakegcs-v1.56.1-…", first)
	}
}

func TestLockIsHeldByOne(t *testing.T) {
	path := filepath.Join(t.TempDir(), "lock")
	unlock, err := lock(t.Context(), path)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if _, err := lock(ctx, path); err == nil {
		t.Fatal("two hold the lock")
	}
	unlock()
	again, err := lock(t.Context(), path)
	if err != nil {
		t.Fatal(err)
	}
	again()
}

func TestServersKeepAddressAndStateOverARestart(t *testing.T) {
	consul, err := StartConsul(t.Context(), t.TempDir(), false)
	if err != nil {
		t.Fatal(err)
	}
	addr := consul.Addr
	consul.Stop()
	if err := answers(t.Context(), http.MethodGet, "http://"+addr+"/v1/kv/ready", ""); err == nil {
		t.Error("Consul answers after Stop")
	}
	if err := consul.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	defer consul.Stop()
	if err := answers(t.Context(), http.MethodGet, "http://"+addr+"/v1/kv/ready", ""); err != nil {
		t.Errorf("the key is lost: %v", err)
	}
}
