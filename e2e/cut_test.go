package e2e

import (
	"strconv"

	dockercontainer "github.com/moby/moby/api/types/container"
	"github.com/moby/moby/client"
	tc "github.com/testcontainers/testcontainers-go"
)

// dropPort makes a black hole of a TCP port: from now on every packet from or to
// it vanishes, in and out. Nothing is refused and no connection is closed.
func (c *container) dropPort(port int) {
	c.bench.t.Helper()
	c.inNamespace("drop", "-port", strconv.Itoa(port))
}

// refusePort makes the container look as if nobody listened on a TCP port, for
// open connections too, while the process lives on with all its memory.
func (c *container) refusePort(port int) {
	c.bench.t.Helper()
	c.inNamespace("drop", "-refuse", "-port", strconv.Itoa(port))
}

// heal undoes dropPort and refusePort. A restart of the container does as well.
func (c *container) heal() {
	c.bench.t.Helper()
	c.inNamespace("heal")
}

// inNamespace runs a helper in the container's network namespace with the right
// to change its packet filter.
func (c *container) inNamespace(cmd ...string) {
	c.bench.t.Helper()
	ctx, cancel := call()
	defer cancel()
	code, out, err := c.bench.runOnce(ctx, tc.ContainerRequest{
		Image: c.bench.imageFor(programsImage),
		Cmd:   cmd,
		HostConfigModifier: func(config *dockercontainer.HostConfig) {
			config.NetworkMode = dockercontainer.NetworkMode("container:" + c.handle.GetContainerID())
			config.CapAdd = []string{"NET_ADMIN"}
		},
	})
	c.must("change packet filter", err)
	if code != 0 {
		c.fatalf("change packet filter: exit code %d: %s", code, out)
	}
}

// disconnect takes the cluster's network away from the container: names vanish,
// connections break. Its control API stays in reach.
func (c *container) disconnect() {
	c.bench.t.Helper()
	ctx, cancel := call()
	defer cancel()
	_, err := c.bench.docker.NetworkDisconnect(ctx, c.bench.cluster.network.ID,
		client.NetworkDisconnectOptions{Container: c.handle.GetContainerID(), Force: true})
	c.must("disconnect", err)
}

// reconnect gives the cluster's network back, under the same address.
func (c *container) reconnect() {
	c.bench.t.Helper()
	ctx, cancel := call()
	defer cancel()
	c.connect(ctx, c.bench.cluster, c.clusterIP)
}
