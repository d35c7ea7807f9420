package e2e

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"sync"
	"testing"
	"time"

	dockercontainer "github.com/moby/moby/api/types/container"
	"github.com/moby/moby/api/types/network"
	"github.com/moby/moby/client"
	tc "github.com/testcontainers/testcontainers-go"
)

// containerConfig is the engine's type of a container's own settings.
type containerConfig = dockercontainer.Config

// hostConfig is the engine's type of what the machine gives a container.
type hostConfig = dockercontainer.HostConfig

// container is one container of a bench: what may be done to it and seen of it.
// Its methods fail the bench's test when the engine refuses.
type container struct {
	bench     *bench
	name      string
	handle    tc.Container
	ctlIP     string
	clusterIP string     // "" if it is not on the cluster's network
	aliases   []string   // its names there, besides the container's
	publisher *container // whose published ports are this one's too; nil: it has its own
}

func (c *container) fatalf(format string, args ...any) {
	c.bench.t.Helper()
	c.bench.t.Fatalf(c.name+": "+format, args...)
}

// must fails the test if doing something to the container did not work.
func (c *container) must(doing string, err error) {
	c.bench.t.Helper()
	if err != nil {
		c.fatalf("%s: %v", doing, err)
	}
}

func (c *container) start() {
	c.bench.t.Helper()
	c.must("start", c.tryStart())
}

func (c *container) tryStart() error {
	ctx, cancel := call()
	defer cancel()
	return c.handle.Start(ctx)
}

// stop sends SIGTERM and, if the process is still there after grace, SIGKILL.
func (c *container) stop(grace time.Duration) {
	c.bench.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), grace+callTimeout)
	defer cancel()
	c.must("stop", c.handle.Stop(ctx, &grace))
}

// signal sends a signal such as "SIGTERM" and does not wait for what comes of it.
func (c *container) signal(name string) {
	c.bench.t.Helper()
	ctx, cancel := call()
	defer cancel()
	_, err := c.bench.docker.ContainerKill(ctx, c.handle.GetContainerID(), client.ContainerKillOptions{Signal: name})
	c.must("send "+name, err)
}

// kill ends the process without giving it a word.
func (c *container) kill() {
	c.bench.t.Helper()
	c.signal("SIGKILL")
	if _, err := c.exitCode(callTimeout); err != nil {
		c.fatalf("kill: %v", err)
	}
}

// restart starts the stopped or killed container again: same addresses, same
// file system, new process.
func (c *container) restart(grace time.Duration) {
	c.bench.t.Helper()
	c.stop(grace)
	c.start()
}

// pause freezes every process of the container; its connections stay open and silent.
func (c *container) pause() {
	c.bench.t.Helper()
	ctx, cancel := call()
	defer cancel()
	_, err := c.bench.docker.ContainerPause(ctx, c.handle.GetContainerID(), client.ContainerPauseOptions{})
	c.must("pause", err)
}

func (c *container) unpause() {
	c.bench.t.Helper()
	ctx, cancel := call()
	defer cancel()
	_, err := c.bench.docker.ContainerUnpause(ctx, c.handle.GetContainerID(), client.ContainerUnpauseOptions{})
	c.must("unpause", err)
}

// connect puts the container on a segment under an address.
func (c *container) connect(ctx context.Context, s *segment, ip string) {
	c.bench.t.Helper()
	_, err := c.bench.docker.NetworkConnect(ctx, s.network.ID, client.NetworkConnectOptions{
		Container: c.handle.GetContainerID(),
		EndpointConfig: &network.EndpointSettings{
			Aliases:    c.aliases,
			IPAMConfig: &network.EndpointIPAMConfig{IPv4Address: netip.MustParseAddr(ip)},
		},
	})
	c.must("connect to network", err)
}

// remove is the end of the container, in whatever state it is.
func (c *container) remove() {
	ctx, cancel := call()
	defer cancel()
	_, err := c.bench.docker.ContainerRemove(ctx, c.handle.GetContainerID(),
		client.ContainerRemoveOptions{Force: true, RemoveVolumes: true})
	if err != nil {
		c.bench.t.Logf("remove %s: %v", c.name, err)
	}
}

func (c *container) state() (*dockercontainer.State, error) {
	ctx, cancel := call()
	defer cancel()
	state, err := c.handle.State(ctx)
	if err != nil {
		return nil, fmt.Errorf("inspect %s: %w", c.name, err)
	}
	return state, nil
}

// startedAt is when the engine started the container's process.
func (c *container) startedAt() time.Time {
	c.bench.t.Helper()
	state, err := c.state()
	c.must("start time", err)
	at, err := time.Parse(time.RFC3339Nano, state.StartedAt)
	c.must("start time", err)
	return at
}

// running says whether the process is there, paused or not.
func (c *container) running() bool {
	c.bench.t.Helper()
	state, err := c.state()
	c.must("state", err)
	return state.Running
}

var errStillRunning = errors.New("still running")

// exitCode waits for the end of the process.
func (c *container) exitCode(within time.Duration) (code int, err error) {
	err = poll(within, func() error {
		state, err := c.state()
		if err != nil {
			return err
		}
		if state.Status != dockercontainer.StateExited {
			return errStillRunning
		}
		code = state.ExitCode
		return nil
	})
	return code, err
}

// wantExit waits for the end of the process and checks its exit code.
func (c *container) wantExit(within time.Duration, want int) {
	c.bench.t.Helper()
	code, err := c.exitCode(within)
	if err != nil {
		c.fatalf("no exit within %v: %v (want exit code %d)", within, err, want)
	}
	if code != want {
		c.bench.t.Errorf("%s: exit code %d, want %d; last words: %s", c.name, code, want, c.lastWords())
	}
}

// wantExits is wantExit for several nodes that end at about the same time.
func wantExits(t testing.TB, nodes []*node, within time.Duration, want int) {
	t.Helper()
	deadline := time.Now().Add(within)
	for _, n := range nodes {
		n.wantExit(max(time.Until(deadline), time.Second), want)
	}
}

// url is the base URL of a published port, which changes with every start.
func (c *container) url(port string) string {
	c.bench.t.Helper()
	url, err := c.tryURL(port)
	c.must("find port "+port, err)
	return url
}

// tryURL is url for a container that may have ended.
func (c *container) tryURL(port string) (string, error) {
	if c.publisher != nil {
		return c.publisher.tryURL(port)
	}
	ctx, cancel := call()
	defer cancel()
	host, err := c.handle.Host(ctx)
	if err != nil {
		return "", err
	}
	mapped, err := c.handle.MappedPort(ctx, port)
	if err != nil {
		return "", err
	}
	return "http://" + net.JoinHostPort(host, mapped.Port()), nil
}

// readFile copies a file out of the container, which may have ended.
func (c *container) readFile(path string) ([]byte, error) {
	ctx, cancel := call()
	defer cancel()
	content, err := c.handle.CopyFileFromContainer(ctx, path)
	if err != nil {
		return nil, fmt.Errorf("copy %s from %s: %w", path, c.name, err)
	}
	defer content.Close()
	return io.ReadAll(content)
}

// startAll starts containers side by side, each after its delay (none given = at once).
func startAll[C interface{ tryStart() error }](t testing.TB, containers []C, delays ...time.Duration) {
	t.Helper()
	problems := make([]error, len(containers))
	var starts sync.WaitGroup
	for i, c := range containers {
		var delay time.Duration
		if i < len(delays) {
			delay = delays[i]
		}
		starts.Go(func() {
			<-time.After(delay)
			problems[i] = c.tryStart()
		})
	}
	starts.Wait()
	if err := errors.Join(problems...); err != nil {
		t.Fatalf("start: %v", err)
	}
}
