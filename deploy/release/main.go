// Command release builds what a release of volley consists of: a static binary for
// each architecture, what is in it (an SBOM in the form of CycloneDX), and the
// checksums of all. It builds a commit, not what lies in the folder, with the flags
// of the Dockerfile, and from one commit it always makes the same bytes.
//
//	go run ./deploy/release -version 1.2.3
package main

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"time"
)

// limit bounds all of it: two architectures from nothing take some minutes.
const limit = 30 * time.Minute

func main() {
	r := release{}
	flag.StringVar(&r.version, "version", "", "the version, such as 1.2.3, that CHANGELOG.md has a section of")
	flag.StringVar(&r.commit, "commit", "HEAD", "what is built")
	flag.StringVar(&r.out, "out", "dist", "folder for the files, which must not exist yet")
	archs := flag.String("arch", "amd64,arm64", "architectures of Linux")
	flag.Parse()
	r.archs = strings.Split(*archs, ",")
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	if err := r.make(ctx); err != nil {
		fmt.Fprintln(os.Stderr, "release: "+err.Error())
		os.Exit(1)
	}
}

// release is what is made.
type release struct {
	version, commit, out string
	archs                []string
}

// semantic is a version of https://semver.org without build metadata, which no
// image's tag may have.
var semantic = regexp.MustCompile(`^(0|[1-9]\d*)\.(0|[1-9]\d*)\.(0|[1-9]\d*)(-[0-9A-Za-z.-]+)?$`)

func (r *release) make(ctx context.Context) error {
	if !semantic.MatchString(r.version) {
		return fmt.Errorf("-version %q: want a semantic version such as 1.2.3 or 1.2.3-rc.1", r.version)
	}
	if other := slices.IndexFunc(r.archs, func(arch string) bool { return arch != "amd64" && arch != "arm64" }); other >= 0 {
		return fmt.Errorf("-arch %q: want amd64, arm64 or both, with a comma between", r.archs[other])
	}
	revision, err := output(ctx, "git", "rev-parse", "--verify", r.commit+"^{commit}")
	if err != nil {
		return fmt.Errorf("-commit %q: %w", r.commit, err)
	}
	source, err := os.MkdirTemp("", "volley-release-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(source)
	if err := export(ctx, revision, source); err != nil {
		return err
	}
	if err := r.isAnnounced(source); err != nil {
		return err
	}
	flags, err := shippedFlags(source, r.version, revision)
	if err != nil {
		return err
	}
	if err := os.Mkdir(r.out, 0o755); err != nil {
		return fmt.Errorf("-out: %w (a folder that does not exist yet, in one that does)", err)
	}
	for _, arch := range r.archs {
		if err := r.build(ctx, source, arch, flags); err != nil {
			return err
		}
	}
	return r.sum()
}

// isAnnounced holds the version against the changelog.
func (r *release) isAnnounced(source string) error {
	text, err := os.ReadFile(filepath.Join(source, "CHANGELOG.md"))
	if err != nil {
		return err
	}
	if !strings.Contains(string(text), "\n## ["+r.version+"]") {
		return fmt.Errorf("CHANGELOG.md of that commit has no section \"## [%s]\": give what is unreleased its version and date first", r.version)
	}
	return nil
}

// build makes the binary for an architecture, and the list of what is in it.
func (r *release) build(ctx context.Context, source, arch, flags string) error {
	name := fmt.Sprintf("volley-%s-linux-%s", r.version, arch)
	binary, err := filepath.Abs(filepath.Join(r.out, name))
	if err != nil {
		return err
	}
	command := exec.CommandContext(ctx, "go", "build", "-o", binary, ".")
	command.Dir = source
	command.Env = append(command.Environ(), "CGO_ENABLED=0", "GOOS=linux", "GOARCH="+arch, "GOTOOLCHAIN=local", "GOFLAGS="+flags)
	if out, err := command.CombinedOutput(); err != nil {
		return fmt.Errorf("build %s: %w\n%s", name, err, out)
	}
	bill, err := billOf(binary, r.version)
	if err != nil {
		return err
	}
	return os.WriteFile(binary+".cdx.json", bill, 0o644) //nolint:gosec // for everybody
}

// sum writes the checksums of all files, as sha256sum -c reads them.
func (r *release) sum() error {
	entries, err := os.ReadDir(r.out)
	if err != nil {
		return err
	}
	var sums bytes.Buffer
	for _, entry := range entries {
		content, err := os.ReadFile(filepath.Join(r.out, entry.Name()))
		if err != nil {
			return err
		}
		sum := sha256.Sum256(content)
		fmt.Fprintf(&sums, "%s  %s\n", hex.EncodeToString(sum[:]), entry.Name())
	}
	os.Stdout.Write(sums.Bytes())
	return os.WriteFile(filepath.Join(r.out, "SHA256SUMS"), sums.Bytes(), 0o644) //nolint:gosec // for everybody
}

// shippedFlags are those by which the Dockerfile has volley built.
func shippedFlags(source, version, revision string) (string, error) {
	text, err := os.ReadFile(filepath.Join(source, "Dockerfile"))
	if err != nil {
		return "", err
	}
	found := regexp.MustCompile(`(?m)^ENV GOFLAGS="(.*)"$`).FindSubmatch(text)
	if found == nil {
		return "", errors.New("the Dockerfile sets no GOFLAGS")
	}
	return strings.NewReplacer("${VERSION}", version, "${REVISION}", revision).Replace(string(found[1])), nil
}

// export writes the files of a commit into a folder.
func export(ctx context.Context, revision, folder string) error {
	root, err := output(ctx, "git", "rev-parse", "--show-toplevel")
	if err != nil {
		return err
	}
	archive := filepath.Join(folder, ".tar")
	if _, err := output(ctx, "git", "-C", root, "archive", "--format=tar", "-o", archive, revision); err != nil {
		return fmt.Errorf("export the commit: %w", err)
	}
	defer os.Remove(archive)
	if _, err := output(ctx, "tar", "-xf", archive, "-C", folder); err != nil {
		return fmt.Errorf("unpack the commit: %w", err)
	}
	return nil
}

// output is what a command says, without the end of its line.
func output(ctx context.Context, name string, args ...string) (string, error) {
	var said bytes.Buffer
	command := exec.CommandContext(ctx, name, args...)
	command.Stderr = &said
	out, err := command.Output()
	if err != nil {
		return "", fmt.Errorf("%s: %w: %s", strings.Join(append([]string{name}, args...), " "), err, bytes.TrimSpace(said.Bytes()))
	}
	return strings.TrimSpace(string(out)), nil
}
