package e2e

import (
	"archive/tar"
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/moby/moby/client"

	"volley/e2e/parts"
)

// buildTimeout bounds the building of one binary and its image; the first
// build of Consul takes minutes.
const buildTimeout = 15 * time.Minute

// The images, each built at first use and at most once per process. All are
// FROM scratch with one static binary, which therefore is the entry point.
var (
	volleyImage = sync.OnceValues(func() (string, error) {
		if path := os.Getenv("VOLLEY_E2E_BIN"); path != "" {
			return imageOf("volley", path)
		}
		return builtImage("volley", func(ctx context.Context, binary, arch string) error { return asShipped(ctx, binary, arch) })
	})
	// shiftableImage is volley with VOLLEY_TEST_CLOCK_SHIFT.
	shiftableImage = sync.OnceValues(func() (string, error) {
		return builtImage("volley", func(ctx context.Context, binary, arch string) error {
			return asShipped(ctx, binary, arch, "e2e")
		})
	})
	programsImage = sync.OnceValues(func() (string, error) {
		return builtImage("programs", func(ctx context.Context, binary, arch string) error {
			return goBuild(ctx, ".", []string{"CGO_ENABLED=0", "GOOS=linux", "GOARCH=" + arch}, "-trimpath", "-o", binary, "./programs")
		})
	})
	consulImage = sync.OnceValues(func() (string, error) {
		return partImage("VOLLEY_E2E_CONSUL_IMAGE", parts.ConsulTool())
	})
	gcsImage = sync.OnceValues(func() (string, error) {
		return partImage("VOLLEY_E2E_GCS_IMAGE", parts.FakeGCSTool())
	})
)

// builtImage makes an image of the binary that build writes, for the engine's architecture.
func builtImage(name string, build func(ctx context.Context, binary, arch string) error) (string, error) {
	temporary, err := os.MkdirTemp("", "volley-e2e-")
	if err != nil {
		return "", err
	}
	defer os.RemoveAll(temporary)
	binary := filepath.Join(temporary, name)
	ctx, cancel := context.WithTimeout(context.Background(), buildTimeout)
	defer cancel()
	arch, err := engineArch(ctx)
	if err != nil {
		return "", err
	}
	if err := build(ctx, binary, arch); err != nil {
		return "", fmt.Errorf("build %s: %w", name, err)
	}
	return imageOf(name, binary)
}

// goBuild runs go build in a folder, beside tests that take times.
func goBuild(ctx context.Context, folder string, environment []string, args ...string) error {
	build := exec.CommandContext(ctx, "nice", append([]string{"-n", "10", "go", "build"}, args...)...)
	build.Dir, build.Env = folder, append(os.Environ(), environment...)
	if out, err := build.CombinedOutput(); err != nil {
		return fmt.Errorf("%w\n%s", err, out)
	}
	return nil
}

// partImage is a published image if the variable names one, else one of a
// binary built from the pins below e2e/tools.
func partImage(variable string, tool parts.Tool) (string, error) {
	if published := os.Getenv(variable); published != "" {
		return published, nil
	}
	ctx, cancel := context.WithTimeout(context.Background(), buildTimeout)
	defer cancel()
	arch, err := engineArch(ctx)
	if err != nil {
		return "", err
	}
	binary, err := parts.Build(ctx, tool, "linux", arch)
	if err != nil {
		return "", err
	}
	return imageOf(tool.Name, binary)
}

// engineArch is the architecture of the machine that runs the containers, in Go's spelling.
func engineArch(ctx context.Context) (string, error) {
	docker, err := engine()
	if err != nil {
		return "", err
	}
	version, err := docker.ServerVersion(ctx, client.ServerVersionOptions{})
	if err != nil {
		return "", fmt.Errorf("ask the engine for its architecture: %w", err)
	}
	return version.Arch, nil
}

// imageOf makes an image of one static binary. Its tag is the hash of what is
// in it, so an unchanged binary is found and not built again.
func imageOf(name, binary string) (string, error) {
	content, err := os.ReadFile(binary)
	if err != nil {
		return "", fmt.Errorf("image of %s: %w", name, err)
	}
	dockerfile := "FROM scratch\nCOPY " + name + " /" + name + "\nENTRYPOINT [\"/" + name + "\"]\n"
	sum := sha256.Sum256(append([]byte(dockerfile), content...))
	repo := "volley-e2e/" + name
	tag := repo + ":" + hex.EncodeToString(sum[:8])
	docker, err := engine()
	if err != nil {
		return "", err
	}
	ctx, cancel := context.WithTimeout(context.Background(), buildTimeout)
	defer cancel()
	if _, err := docker.ImageInspect(ctx, tag); err == nil {
		return tag, nil
	}
	files := map[string][]byte{"Dockerfile": []byte(dockerfile), name: content}
	if err := buildImage(ctx, docker, tag, files, client.ImageBuildOptions{}); err != nil {
		return "", fmt.Errorf("image of %s: %w", name, err)
	}
	removeOthers(ctx, docker, repo, tag)
	return tag, nil
}

// buildImage has the engine build the Dockerfile among files.
func buildImage(ctx context.Context, docker *client.Client, tag string, files map[string][]byte, options client.ImageBuildOptions) error {
	archive := &bytes.Buffer{}
	writer := tar.NewWriter(archive)
	for name, content := range files {
		if err := writer.WriteHeader(&tar.Header{Name: name, Mode: 0o755, Size: int64(len(content))}); err != nil {
			return err
		}
		if _, err := writer.Write(content); err != nil {
			return err
		}
	}
	if err := writer.Close(); err != nil {
		return err
	}
	options.Tags, options.Remove, options.ForceRemove, options.Labels = []string{tag}, true, true, map[string]string{labelSuite: "1"}
	built, err := docker.ImageBuild(ctx, archive, options)
	if err != nil {
		return err
	}
	defer built.Body.Close()
	return buildError(built.Body)
}

// buildError reads the engine's account of a build to its end.
func buildError(body io.Reader) error {
	decoder := json.NewDecoder(body)
	var said []string // the last words
	for {
		var step struct {
			Stream string `json:"stream"`
			Error  string `json:"error"`
		}
		switch err := decoder.Decode(&step); {
		case errors.Is(err, io.EOF):
			return nil
		case err != nil:
			return err
		case step.Error != "":
			return fmt.Errorf("%s: %s", strings.TrimSpace(step.Error), strings.Join(said, "; "))
		}
		if line := strings.TrimSpace(step.Stream); line != "" {
			said = append(said, line)[max(0, len(said)-4):]
		}
	}
}

// inUse is how long an image is left alone: another run of the suite on the
// same engine may be between two containers of it.
const inUse = time.Hour

// removeOthers drops earlier builds of an image; one in use stays.
func removeOthers(ctx context.Context, docker *client.Client, repo, keep string) {
	images, err := docker.ImageList(ctx, client.ImageListOptions{
		Filters: client.Filters{}.Add("label", labelSuite+"=1").Add("reference", repo),
	})
	if err != nil {
		return
	}
	for _, image := range images.Items {
		if time.Since(time.Unix(image.Created, 0)) < inUse {
			continue
		}
		for _, tag := range image.RepoTags {
			if tag != keep {
				_, _ = docker.ImageRemove(ctx, tag, client.ImageRemoveOptions{PruneChildren: true})
			}
		}
	}
}
