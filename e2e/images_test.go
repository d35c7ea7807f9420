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
		return builtImage("volley", "..", ".")
	})
	programsImage = sync.OnceValues(func() (string, error) {
		return builtImage("programs", ".", "./programs")
	})
	consulImage = sync.OnceValues(func() (string, error) {
		return partImage("VOLLEY_E2E_CONSUL_IMAGE", parts.ConsulTool())
	})
	gcsImage = sync.OnceValues(func() (string, error) {
		return partImage("VOLLEY_E2E_GCS_IMAGE", parts.FakeGCSTool())
	})
)

// builtImage compiles the main package pkg, as seen from folder, into an image.
func builtImage(name, folder, pkg string) (string, error) {
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
	build := exec.CommandContext(ctx, "go", "build", "-trimpath", "-o", binary, pkg)
	build.Dir = folder
	build.Env = append(os.Environ(), "CGO_ENABLED=0", "GOOS=linux", "GOARCH="+arch)
	if out, err := build.CombinedOutput(); err != nil {
		return "", fmt.Errorf("build %s: %w\n%s", name, err, out)
	}
	return imageOf(name, binary)
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
	if err := buildImage(ctx, docker, tag, files); err != nil {
		return "", fmt.Errorf("image of %s: %w", name, err)
	}
	removeOthers(ctx, docker, repo, tag)
	return tag, nil
}

func buildImage(ctx context.Context, docker *client.Client, tag string, files map[string][]byte) error {
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
	built, err := docker.ImageBuild(ctx, archive, client.ImageBuildOptions{
		Tags: []string{tag}, Remove: true, ForceRemove: true, Labels: map[string]string{labelSuite: "1"},
	})
	if err != nil {
		return err
	}
	defer built.Body.Close()
	return buildError(built.Body)
}

// buildError reads the engine's account of a build to its end.
func buildError(body io.Reader) error {
	decoder := json.NewDecoder(body)
	for {
		var step struct {
			Error string `json:"error"`
		}
		switch err := decoder.Decode(&step); {
		case errors.Is(err, io.EOF):
			return nil
		case err != nil:
			return err
		case step.Error != "":
			return errors.New(strings.TrimSpace(step.Error))
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
