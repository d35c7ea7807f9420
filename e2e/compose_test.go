package e2e

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/moby/moby/client"
)

// The Compose file as it is copied, with images that are built here, by the
// commands that the page about it names: Consul, a storage server, a target and
// three nodes that run a plan, report, and are gone afterwards.
func TestCompose(t *testing.T) {
	t.Parallel()
	compose, err := exec.LookPath("docker-compose")
	if err != nil && os.Getenv("CI") == "true" {
		t.Fatal("no docker-compose: apt-get install docker-compose")
	}
	if err != nil {
		t.Skip("no docker-compose here (apt-get install docker-compose)")
	}
	b := newBench(t)
	c := &composition{bench: b, name: fmt.Sprintf("volley-e2e-%d", os.Getpid()), environment: []string{
		"VOLLEY_IMAGE=" + b.imageFor(shippedImage), "CONSUL_IMAGE=" + b.imageFor(consulImage), "GCS_IMAGE=" + b.imageFor(gcsImage),
		"TARGET_IMAGE=" + b.imageFor(programsImage), "TARGET_COMMAND=target -listen=:8000", "CONTROL_PORT=0", "CLUSTER_TOKEN=" + clusterToken,
	}}
	c.prepare(compose)
	defer c.down()
	up, logs, down := c.commands()
	c.run(up)
	said := c.run(logs) // returns when the nodes have ended
	reports := 0
	for line := range strings.Lines(said) {
		var report struct {
			Event    string           `json:"event"`
			Requests int64            `json:"requests"`
			Nodes    []map[string]any `json:"nodes"`
		}
		_, text, _ := strings.Cut(line, "{") // after the container's name, in colour
		if json.Unmarshal([]byte("{"+text), &report) != nil || report.Event != "report" {
			continue
		}
		reports++
		if len(report.Nodes) != 3 {
			t.Errorf("the report has %d nodes, want 3", len(report.Nodes))
		}
		load{rps: 50, seconds: 10}.wantSent(t, report.Requests, 3, "all nodes, by the report,")
	}
	if reports != 1 {
		t.Errorf("%d reports, want the leader's:\n%s", reports, said)
	}
	for name, code := range c.exitCodes("node1", "node2", "node3") {
		if code != 0 {
			t.Errorf("%s: exit code %d", name, code)
		}
	}
	c.run(down)
	if left := c.containers(); len(left) > 0 {
		t.Errorf("%d containers are left: %v", len(left), left)
	}
}

// composition is what docker-compose makes of the file.
type composition struct {
	*bench
	name        string
	environment []string
}

// composeTime bounds each command: the plan takes 10 s.
const composeTime = 2 * time.Minute

// prepare gives the commands of the page, which a plugin of docker's takes, to the
// program, and marks what it makes as the suite's, for sweep.
func (c *composition) prepare(compose string) {
	c.t.Helper()
	service := map[string]any{"labels": labels()}
	mark, err := json.Marshal(map[string]any{
		"services": map[string]any{"consul": service, "gcs": service, "target": service, "node1": service, "node2": service, "node3": service},
		"networks": map[string]any{"default": service},
	})
	if err != nil {
		c.t.Fatal(err)
	}
	folder := c.t.TempDir()
	marks, docker := filepath.Join(folder, "marks.json"), filepath.Join(folder, "docker")
	script := fmt.Sprintf("#!/bin/sh\n[ \"$1 $2\" = 'compose -f' ] || exit 64\nfile=$3\nshift 3\nexec %s -p %s -f \"$file\" -f %s \"$@\"\n", compose, c.name, marks)
	for path, content := range map[string]string{marks: string(mark), docker: script} {
		if err := os.WriteFile(path, []byte(content), 0o700); err != nil { //nolint:gosec // a script
			c.t.Fatal(err)
		}
	}
	c.environment = append(append(os.Environ(), c.environment...), "PATH="+folder+string(os.PathListSeparator)+os.Getenv("PATH"))
}

// commands are those of the page.
func (c *composition) commands() (up, logs, down string) {
	c.t.Helper()
	page, err := os.ReadFile("../docs/howto/docker.md")
	if err != nil {
		c.t.Fatal(err)
	}
	found := regexp.MustCompile("(?m)^<!-- run by: e2e/compose_test.go -->\n```sh\n(.*)\n(.*)\n(.*)\n```$").FindSubmatch(page)
	if found == nil {
		c.t.Fatal("docs/howto/docker.md has no three commands that say they are run by this test")
	}
	return string(found[1]), string(found[2]), string(found[3])
}

// run runs a command of the page in the folder that the page is for.
func (c *composition) run(command string) string {
	c.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), composeTime)
	defer cancel()
	shell := exec.CommandContext(ctx, "sh", "-c", command)
	// The program's own children, too, end in time.
	shell.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	shell.Cancel = func() error { return syscall.Kill(-shell.Process.Pid, syscall.SIGKILL) }
	var out bytes.Buffer
	shell.Dir, shell.Env, shell.Stdout, shell.Stderr = "..", c.environment, &out, &out
	if err := shell.Run(); err != nil {
		c.t.Fatalf("%s: %v\n%s", command, err, &out)
	}
	return out.String()
}

// down removes all that is left, whatever became of the test.
func (c *composition) down() {
	ctx, cancel := context.WithTimeout(context.Background(), composeTime)
	defer cancel()
	remove := exec.CommandContext(ctx, "sh", "-c", "docker compose -f deploy/compose.yaml down -v -t 1")
	remove.Dir, remove.Env = "..", c.environment
	if out, err := remove.CombinedOutput(); err != nil {
		c.t.Errorf("down: %v\n%s", err, out)
	}
}

// containers are those that there are, by service.
func (c *composition) containers() map[string]string {
	c.t.Helper()
	ctx, cancel := call()
	defer cancel()
	list, err := c.docker.ContainerList(ctx, client.ContainerListOptions{All: true, Filters: client.Filters{}.Add("label", "com.docker.compose.project="+c.name)})
	if err != nil {
		c.t.Fatal(err)
	}
	found := map[string]string{}
	for _, made := range list.Items {
		found[made.Labels["com.docker.compose.service"]] = made.ID
	}
	return found
}

func (c *composition) exitCodes(services ...string) map[string]int {
	c.t.Helper()
	ctx, cancel := call()
	defer cancel()
	there, codes := c.containers(), map[string]int{}
	for _, service := range services {
		found, err := c.docker.ContainerInspect(ctx, there[service], client.ContainerInspectOptions{})
		if err != nil {
			c.t.Fatalf("%s: %v", service, err)
		}
		codes[service] = found.Container.State.ExitCode
	}
	return codes
}
