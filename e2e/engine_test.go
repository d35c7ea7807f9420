package e2e

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/moby/moby/api/types/network"
	"github.com/moby/moby/client"
	tclog "github.com/testcontainers/testcontainers-go/log"
)

// Labels on everything that the suite makes, so that a later run finds what an
// interrupted one left behind.
const (
	labelSuite = "volley.e2e"      // always "1"
	labelHost  = "volley.e2e.host" // machine that runs the tests
	labelPID   = "volley.e2e.pid"  // test process
)

// callTimeout bounds one call to the Docker engine or to a server of the suite.
const callTimeout = 30 * time.Second

// engine is the one client of the Docker engine, opened at first use.
var engine = sync.OnceValues(func() (*client.Client, error) {
	return client.New(client.FromEnv)
})

// call is a context for one call; it does not hang on a test's own context, as
// cleaning up comes after its end.
func call() (context.Context, context.CancelFunc) {
	return context.WithTimeout(context.Background(), callTimeout)
}

// prepareEngine checks in one step and with one line that containers can run,
// and removes what interrupted runs left.
func prepareEngine() error {
	tclog.SetDefault(tclog.NewNoopLogger())
	docker, err := engine()
	if err != nil {
		return fmt.Errorf("no Docker engine: %w (start one, or leave these tests out with -short)", err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	if _, err := docker.Ping(ctx, client.PingOptions{NegotiateAPIVersion: true}); err != nil {
		return fmt.Errorf("no Docker engine answers at %s: %w (start one, or leave these tests out with -short)",
			docker.DaemonHost(), oneLine(err))
	}
	if err := adaptTestcontainers(ctx, docker); err != nil {
		return err
	}
	return sweep(ctx, docker)
}

func closeEngine() {
	if docker, err := engine(); err == nil {
		_ = docker.Close()
	}
}

func oneLine(err error) error {
	return fmt.Errorf("%s", strings.Join(strings.Fields(err.Error()), " "))
}

// adaptTestcontainers turns off the library's cleaning container, whose image
// would have to be pulled (sweep does its work), and corrects its guess that
// published ports are on the bridge's gateway when this machine is itself a
// container that has the engine inside.
func adaptTestcontainers(ctx context.Context, docker *client.Client) error {
	settings := map[string]string{"TESTCONTAINERS_RYUK_DISABLED": "true"}
	if strings.HasPrefix(docker.DaemonHost(), "unix://") && hasBridge(ctx, docker) {
		settings["TESTCONTAINERS_HOST_OVERRIDE"] = "127.0.0.1"
	}
	for name, value := range settings {
		if _, set := os.LookupEnv(name); set {
			continue
		}
		if err := os.Setenv(name, value); err != nil {
			return fmt.Errorf("set %s: %w", name, err)
		}
	}
	return nil
}

// hasBridge says whether the engine's bridge is an interface of this machine.
func hasBridge(ctx context.Context, docker *client.Client) bool {
	found, err := docker.NetworkInspect(ctx, "bridge", client.NetworkInspectOptions{})
	if err != nil {
		return false
	}
	local := localPrefixes()
	return slices.ContainsFunc(found.Network.IPAM.Config, func(c network.IPAMConfig) bool {
		return slices.ContainsFunc(local, func(p netip.Prefix) bool { return p.Masked() == c.Subnet })
	})
}

// localPrefixes are the addresses of this machine with their networks.
func localPrefixes() []netip.Prefix {
	addresses, err := net.InterfaceAddrs()
	if err != nil {
		return nil
	}
	var out []netip.Prefix
	for _, a := range addresses {
		if p, err := netip.ParsePrefix(a.String()); err == nil {
			out = append(out, p)
		}
	}
	return out
}

// labels go on every container, network and image of this process.
func labels() map[string]string {
	hostname, _ := os.Hostname()
	return map[string]string{labelSuite: "1", labelHost: hostname, labelPID: strconv.Itoa(os.Getpid())}
}

// sweep removes containers and networks of test processes that are gone. Those
// of a living process stay: two runs may share an engine.
func sweep(ctx context.Context, docker *client.Client) error {
	mine := client.Filters{}.Add("label", labelSuite+"=1")
	containers, err := docker.ContainerList(ctx, client.ContainerListOptions{All: true, Filters: mine})
	if err != nil {
		return fmt.Errorf("list containers: %w", oneLine(err))
	}
	for _, c := range containers.Items {
		if abandoned(c.Labels, time.Unix(c.Created, 0)) {
			_, _ = docker.ContainerRemove(ctx, c.ID, client.ContainerRemoveOptions{Force: true, RemoveVolumes: true})
		}
	}
	networks, err := docker.NetworkList(ctx, client.NetworkListOptions{Filters: mine})
	if err != nil {
		return fmt.Errorf("list networks: %w", oneLine(err))
	}
	for _, n := range networks.Items {
		if abandoned(n.Labels, n.Created) {
			_, _ = docker.NetworkRemove(ctx, n.ID, client.NetworkRemoveOptions{})
		}
	}
	return nil
}

// abandoned says that whoever made a thing is gone. Of another machine's
// processes only the age is known.
func abandoned(labels map[string]string, created time.Time) bool {
	if hostname, _ := os.Hostname(); labels[labelHost] != hostname {
		return time.Since(created) > 2*time.Hour
	}
	pid, err := strconv.Atoi(labels[labelPID])
	return err != nil || syscall.Kill(pid, 0) == syscall.ESRCH
}
