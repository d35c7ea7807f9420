package e2e

import (
	"archive/tar"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strings"

	"github.com/moby/moby/client"
	"github.com/moby/patternmatcher"
	"github.com/moby/patternmatcher/ignorefile"
)

// The Dockerfile that is shipped is built without a registry: on a builder that
// is made here of this machine's Go, and of what building volley takes.

// shippedEnv is how the Dockerfile has volley built, as its defaults are; more
// tags may be added to its own.
func shippedEnv(tags ...string) ([]string, error) {
	text, err := os.ReadFile("../Dockerfile")
	if err != nil {
		return nil, err
	}
	found := regexp.MustCompile(`(?m)^ENV GOFLAGS="(.*)"$`).FindSubmatch(text)
	if found == nil {
		return nil, errors.New("the Dockerfile sets no GOFLAGS")
	}
	flags := string(found[1])
	for _, arg := range []string{"VERSION", "REVISION"} {
		standard := regexp.MustCompile(`(?m)^ARG ` + arg + `=(\S+)$`).FindSubmatch(text)
		if standard == nil {
			return nil, fmt.Errorf("the Dockerfile has no default for %s", arg)
		}
		flags = strings.ReplaceAll(flags, "${"+arg+"}", string(standard[1]))
	}
	for _, tag := range tags {
		flags = strings.Replace(flags, "-tags=", "-tags="+tag+",", 1)
	}
	cache, err := shippedCache()
	return []string{"CGO_ENABLED=0", "GOOS=linux", "GOTOOLCHAIN=local", "GOFLAGS=" + flags, "GOCACHE=" + cache}, err
}

// shippedCache is Go's build cache for the flags of the Dockerfile alone: the
// builder is given all of it.
func shippedCache() (string, error) {
	base, err := os.UserCacheDir()
	return filepath.Join(base, "volley-e2e", "shipped"), err
}

// asShipped builds volley with the flags of the Dockerfile.
func asShipped(ctx context.Context, binary, arch string, tags ...string) error {
	environment, err := shippedEnv(tags...)
	if err != nil {
		return err
	}
	return goBuild(ctx, "..", append(environment, "GOARCH="+arch), "-o", binary, ".")
}

// goPackage is what `go list -json` says of a package.
type goPackage struct {
	Dir        string
	EmbedFiles []string
	Module     *struct{ Path, Version, Dir string }
}

// volleyPackages are all packages that the shipped binary is made of.
func volleyPackages(ctx context.Context, arch string) ([]goPackage, error) {
	environment, err := shippedEnv()
	if err != nil {
		return nil, err
	}
	list := exec.CommandContext(ctx, "go", "list", "-deps", "-json=Dir,EmbedFiles,Module", ".")
	list.Dir, list.Env = "..", append(append(os.Environ(), environment...), "GOARCH="+arch)
	out, err := list.Output()
	if err != nil {
		return nil, fmt.Errorf("go list: %w", err)
	}
	var all []goPackage
	for decoder := json.NewDecoder(strings.NewReader(string(out))); ; {
		var one goPackage
		if err := decoder.Decode(&one); errors.Is(err, io.EOF) {
			return all, nil
		} else if err != nil {
			return nil, err
		}
		all = append(all, one)
	}
}

// makeBuilder imports the builder: the Go toolchain, the source of all packages
// that are not ours, and the build cache, at the paths that they have here.
func makeBuilder(ctx context.Context, docker *client.Client, tag, arch string) error {
	cache, err := shippedCache()
	if err != nil {
		return err
	}
	root, modules, err := goPlaces(ctx)
	if err != nil {
		return err
	}
	packages, err := volleyPackages(ctx, arch)
	if err != nil {
		return err
	}
	reader, writer := io.Pipe()
	go func() { // ends with the import, which reads all or closes the pipe
		w := &packer{tar: tar.NewWriter(writer), done: map[string]bool{}}
		w.folder("/tmp")
		w.toolchain(root, arch)
		w.sources(packages)
		w.modules(modules)
		w.tree(cache)
		writer.CloseWithError(errors.Join(w.failed, w.tar.Close()))
	}()
	defer reader.Close()
	out, err := docker.ImageImport(ctx, client.ImageImportSource{Source: reader, SourceName: "-"}, tag, client.ImageImportOptions{Changes: []string{
		"LABEL " + labelBuilder + "=" + tag, "ENV PATH=" + root + "/bin", "ENV HOME=/tmp", "ENV GOPROXY=off", "ENV GOCACHE=" + cache, "ENV GOMODCACHE=" + modules,
	}})
	if err != nil {
		return err
	}
	defer out.Close()
	return buildError(out)
}

// labelBuilder is on the builder and on every step of a build on it, and says the builder's tag.
const labelBuilder = labelSuite + ".builder"

// removeBuilder removes the builder and what the build stage has left on it.
func removeBuilder(docker *client.Client, tag string) {
	ctx, cancel := call()
	defer cancel()
	left, err := docker.ImageList(ctx, client.ImageListOptions{Filters: client.Filters{}.Add("label", labelBuilder+"="+tag)})
	if err != nil {
		return
	}
	for _, image := range left.Items {
		_, _ = docker.ImageRemove(ctx, image.ID, client.ImageRemoveOptions{Force: true, PruneChildren: true})
	}
	_, _ = docker.ImageRemove(ctx, tag, client.ImageRemoveOptions{Force: true, PruneChildren: true})
}

// goPlaces are GOROOT and GOMODCACHE.
func goPlaces(ctx context.Context) (root, modules string, err error) {
	out, err := exec.CommandContext(ctx, "go", "env", "GOROOT", "GOMODCACHE").Output()
	lines := strings.Fields(string(out))
	if err != nil || len(lines) != 2 {
		return "", "", fmt.Errorf("go env: %w, %q", err, out)
	}
	return lines[0], lines[1], nil
}

// packer writes files into an archive under the paths that they have here. It
// stops at its first failure.
type packer struct {
	tar    *tar.Writer
	done   map[string]bool
	failed error
}

func (p *packer) folder(path string) {
	if p.failed == nil && !p.done[path] {
		p.done[path] = true
		p.failed = p.tar.WriteHeader(&tar.Header{Typeflag: tar.TypeDir, Name: path[1:] + "/", Mode: 0o777})
	}
}

func (p *packer) file(path string) {
	if p.failed != nil || p.done[path] {
		return
	}
	p.done[path] = true
	p.failed = p.copy(path)
}

func (p *packer) copy(path string) error {
	in, err := os.Open(path)
	if err != nil {
		return err
	}
	defer in.Close()
	info, err := in.Stat()
	if err != nil {
		return err
	}
	header := &tar.Header{Name: path[1:], Mode: int64(info.Mode().Perm()), Size: info.Size(), ModTime: info.ModTime()}
	if err := p.tar.WriteHeader(header); err != nil {
		return err
	}
	_, err = io.Copy(p.tar, in)
	return err
}

// tree packs a folder with all below it.
func (p *packer) tree(root string) {
	err := filepath.WalkDir(root, func(path string, entry fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case entry.IsDir():
			p.folder(path)
		case entry.Type().IsRegular():
			p.file(path)
		}
		return p.failed
	})
	p.failed = errors.Join(p.failed, err)
}

func (p *packer) toolchain(root, arch string) {
	p.file(root + "/bin/go")
	p.file(root + "/go.env")
	p.file(root + "/VERSION")
	p.tree(root + "/pkg/include")
	for _, tool := range []string{"asm", "compile", "link"} {
		p.file(root + "/pkg/tool/" + runtime.GOOS + "_" + runtime.GOARCH + "/" + tool)
	}
}

// sources packs the files of packages, but for our own, which the Dockerfile copies.
func (p *packer) sources(packages []goPackage) {
	for _, one := range packages {
		if one.Module != nil && one.Module.Version == "" {
			continue
		}
		entries, err := os.ReadDir(one.Dir)
		p.failed = errors.Join(p.failed, err)
		for _, e := range entries {
			if e.Type().IsRegular() && !strings.HasSuffix(e.Name(), "_test.go") {
				p.file(filepath.Join(one.Dir, e.Name()))
			}
		}
		for _, name := range one.EmbedFiles {
			p.file(filepath.Join(one.Dir, name))
		}
	}
}

// modules packs what the go command wants to know of each module that is here:
// its go.mod, that it has been unpacked, and that it holds no other package.
func (p *packer) modules(cache string) {
	known := cache + "/cache/download"
	err := filepath.WalkDir(known, func(path string, entry fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case entry.IsDir() && entry.Name() == "sumdb":
			return filepath.SkipDir
		case slices.Contains([]string{".mod", ".info", ".ziphash"}, filepath.Ext(path)):
			p.file(path)
		}
		if module, version, ok := strings.Cut(strings.TrimPrefix(path, known), "/@v/"); ok && strings.HasSuffix(version, ".ziphash") {
			p.folder(cache + module + "@" + strings.TrimSuffix(version, ".ziphash"))
		}
		return p.failed
	})
	p.failed = errors.Join(p.failed, err)
}

// buildContext are the files that the Dockerfile is built from, as .dockerignore
// leaves them.
func buildContext(root string) (map[string][]byte, error) {
	file, err := os.Open(filepath.Join(root, ".dockerignore"))
	if err != nil {
		return nil, err
	}
	defer file.Close()
	patterns, err := ignorefile.ReadAll(file)
	if err != nil {
		return nil, err
	}
	ignored, err := patternmatcher.New(patterns)
	if err != nil {
		return nil, err
	}
	files := map[string][]byte{}
	err = filepath.WalkDir(root, func(path string, entry fs.DirEntry, err error) error {
		if err != nil || path == root {
			return err
		}
		name, err := filepath.Rel(root, path)
		if err != nil {
			return err
		}
		skip, err := ignored.MatchesOrParentMatches(name)
		switch {
		case err != nil:
			return err
		case name == "Dockerfile": // the engine is given it in any case
		case skip && entry.IsDir():
			return filepath.SkipDir
		case skip || !entry.Type().IsRegular():
			return nil
		}
		files[name], err = os.ReadFile(path)
		return err
	})
	return files, err
}
