package main

import (
	"debug/buildinfo"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"strings"
	"testing"
)

// git runs git in a folder.
func git(t *testing.T, folder string, args ...string) {
	t.Helper()
	command := exec.CommandContext(t.Context(), "git", args...)
	command.Dir = folder
	command.Env = append(os.Environ(), "GIT_AUTHOR_NAME=t", "GIT_AUTHOR_EMAIL=t@example.com", "GIT_COMMITTER_NAME=t", "GIT_COMMITTER_EMAIL=t@example.com",
		"GIT_AUTHOR_DATE=2026-01-02T03:04:05Z", "GIT_COMMITTER_DATE=2026-01-02T03:04:05Z") // the same commit each time
	if out, err := command.CombinedOutput(); err != nil {
		t.Fatalf("git %q: %v\n%s", args, err, out)
	}
}

// clone makes a copy of this repository whose newest commit is a release.
func clone(t *testing.T) string {
	t.Helper()
	root, err := filepath.Abs("../..")
	if err != nil {
		t.Fatal(err)
	}
	folder := filepath.Join(t.TempDir(), "volley")
	git(t, root, "clone", "-q", root, folder)
	changes := filepath.Join(folder, "CHANGELOG.md")
	text, err := os.ReadFile(changes)
	if err != nil {
		t.Fatal(err)
	}
	text = regexp.MustCompile(`(?m)^## \[Unreleased\]$`).ReplaceAll(text, []byte("$0\n\n## [1.2.3] - 2026-01-02"))
	if err := os.WriteFile(changes, text, 0o600); err != nil {
		t.Fatal(err)
	}
	git(t, folder, "commit", "-qam", "1.2.3")
	return folder
}

// commands are those of CONTRIBUTING.md, in one shell.
func commands(t *testing.T) string {
	t.Helper()
	page, err := os.ReadFile("../../CONTRIBUTING.md")
	if err != nil {
		t.Fatal(err)
	}
	found := regexp.MustCompile("(?ms)^<!-- run by: deploy/release/release_test.go -->\n```sh\n(.*?)^```$").FindSubmatch(page)
	if found == nil {
		t.Fatal("CONTRIBUTING.md has no block that is run by this test")
	}
	return string(found[1])
}

// shell runs commands in a folder, with the build cache of the suite in e2e, which
// builds the same packages with the same flags.
func shell(t *testing.T, folder, script string) (string, error) {
	t.Helper()
	base, err := os.UserCacheDir()
	if err != nil {
		t.Fatal(err)
	}
	command := exec.CommandContext(t.Context(), "sh", "-ec", script)
	command.Dir, command.Env = folder, append(os.Environ(), "GOCACHE="+filepath.Join(base, "volley-e2e", "shipped"))
	out, err := command.CombinedOutput()
	return string(out), err
}

func read(t *testing.T, elements ...string) string {
	t.Helper()
	content, err := os.ReadFile(filepath.Join(elements...))
	if err != nil {
		t.Fatal(err)
	}
	return string(content)
}

// What CONTRIBUTING.md tells makes a release of whole files, and from the same
// commit in another folder, in which more lies about, the same bytes.
func TestRelease(t *testing.T) {
	if testing.Short() {
		t.Skip("builds binaries")
	}
	first, second := clone(t), clone(t)
	out, err := shell(t, first, commands(t))
	if err != nil || strings.Count(out, ": OK\n") != 4 {
		t.Fatalf("the commands of CONTRIBUTING.md: %v\n%s", err, out)
	}
	if err := os.WriteFile(filepath.Join(second, "more.go"), []byte("package main\n\nfunc init() { panic(1) }\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if out, err := shell(t, second, "go run ./deploy/release -version 1.2.3 -arch "+runtime.GOARCH); err != nil {
		t.Fatalf("once more: %v\n%s", err, out)
	}
	sums := read(t, first, "dist", "SHA256SUMS")
	for line := range strings.Lines(read(t, second, "dist", "SHA256SUMS")) {
		if !strings.Contains(sums, line) {
			t.Errorf("two releases of one commit differ:\n%s%s", sums, line)
		}
	}
	binary := filepath.Join(first, "dist", "volley-1.2.3-linux-"+runtime.GOARCH)
	if said, err := exec.CommandContext(t.Context(), binary, "version").Output(); err != nil || !strings.HasPrefix(string(said), "volley 1.2.3 (") || strings.Contains(string(said), "unknown") {
		t.Errorf("it says it is %q, %v", said, err)
	}
	wantBill(t, binary)
}

// wantBill holds the bill of materials against the binary.
func wantBill(t *testing.T, binary string) {
	t.Helper()
	var b bill
	if err := json.Unmarshal([]byte(read(t, binary+".cdx.json")), &b); err != nil {
		t.Fatal(err)
	}
	info, err := buildinfo.ReadFile(binary)
	if err != nil {
		t.Fatal(err)
	}
	refs := map[string]bool{}
	for _, c := range b.Components {
		refs[c.Ref] = true
	}
	for _, m := range info.Deps {
		if !refs["pkg:golang/"+m.Path+"@"+m.Version] {
			t.Errorf("the bill lacks %s %s", m.Path, m.Version)
		}
	}
	if b.Format != "CycloneDX" || len(b.Components) != len(info.Deps)+1 || len(b.Dependencies[0].On) != len(b.Components) || !strings.Contains(read(t, filepath.Dir(binary), "SHA256SUMS"), b.Metadata.Component.Hashes[0].Content) {
		t.Errorf("the bill: %+v", b.Metadata)
	}
}

// What would make no release makes none, and says why.
func TestReleaseRefuses(t *testing.T) {
	for _, test := range []struct {
		r    release
		want string
	}{
		{release{version: "v1.2"}, `-version "v1.2": want a semantic version`},
		{release{version: "1.2.3", archs: []string{"amd64", "mips"}}, `-arch "mips": want amd64, arm64`},
		{release{version: "1.2.3", commit: "no-such-commit"}, `-commit "no-such-commit"`},
		{release{version: "999.0.0", commit: "HEAD", out: filepath.Join(t.TempDir(), "dist")}, `no section "## [999.0.0]"`},
	} {
		if err := test.r.make(t.Context()); err == nil || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%+v: %v, want %s", test.r, err, test.want)
		}
	}
}
