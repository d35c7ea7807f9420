package e2e

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"strings"
	"sync"
	"testing"

	dockercontainer "github.com/moby/moby/api/types/container"
	"github.com/moby/moby/api/types/network"
	"github.com/moby/moby/client"
	tc "github.com/testcontainers/testcontainers-go"
	tcnet "github.com/testcontainers/testcontainers-go/network"
)

// bench is what one test works on: two networks and the containers on them.
// All of it goes when the test ends; if the test failed, logs are kept before.
//
// The network ctl carries published ports, the load, Consul and GCS. The network
// cluster carries what nodes say to each other and Consul's health checks, and
// can be cut without a test losing sight of a node. Addresses are chosen here,
// so that they are known before a container starts and stay when it restarts.
type bench struct {
	t       *testing.T
	docker  *client.Client
	ctl     *segment
	cluster *segment
	first   env                    // settings of the first of nodes, besides those of all
	cpus    float64                // quota of each node, 0 for none
	volley  func() (string, error) // the nodes' image

	mu         sync.Mutex
	lastHost   int
	containers []*container
	atEnd      []func(context.Context) error // after the containers
}

// segment is a network whose addresses the bench hands out.
type segment struct {
	network *tc.DockerNetwork
	subnet  netip.Prefix // a /24
}

// address is the host'th address of the segment.
func (s *segment) address(host int) string {
	a := s.subnet.Addr().As4()
	a[3] = byte(host)
	return netip.AddrFrom4(a).String()
}

func newBench(t *testing.T) *bench {
	t.Helper()
	docker, err := engine()
	if err != nil {
		t.Fatal(err)
	}
	b := &bench{t: t, docker: docker, lastHost: 9, volley: volleyImage}
	t.Cleanup(b.close)
	b.ctl = b.newSegment(false)
	b.cluster = b.newSegment(true)
	return b
}

// newSegment makes a network in a /24 that nothing on the engine or on this
// machine uses. The cluster's network is an internal one, so that the way out
// and the published ports always belong to ctl.
func (b *bench) newSegment(internal bool) *segment {
	b.t.Helper()
	var problems []error
	for range 20 {
		subnet := netip.PrefixFrom(netip.AddrFrom4([4]byte{10, byte(160 + rand.IntN(90)), byte(rand.IntN(256)), 0}), 24)
		if taken(subnet) {
			continue
		}
		made, err := createNetwork(subnet, internal)
		if err == nil {
			return &segment{network: made, subnet: subnet}
		}
		problems = append(problems, err)
	}
	b.t.Fatalf("no network could be made: %v", errors.Join(problems...))
	return nil
}

func taken(subnet netip.Prefix) bool {
	for _, local := range localPrefixes() {
		if local.Overlaps(subnet) {
			return true
		}
	}
	return false
}

func createNetwork(subnet netip.Prefix, internal bool) (*tc.DockerNetwork, error) {
	ctx, cancel := call()
	defer cancel()
	options := []tcnet.NetworkCustomizer{
		tcnet.WithLabels(labels()),
		tcnet.WithIPAM(&network.IPAM{Driver: "default", Config: []network.IPAMConfig{{Subnet: subnet, Gateway: subnet.Addr().Next()}}}),
	}
	if internal {
		options = append(options, tcnet.WithInternal())
	}
	return tcnet.New(ctx, options...)
}

// nextHost hands out the last byte of the next container's addresses.
func (b *bench) nextHost() int {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.lastHost++
	if b.lastHost > 250 {
		b.t.Fatal("a bench has room for 240 containers")
	}
	return b.lastHost
}

func (b *bench) add(c *container) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.containers = append(b.containers, c)
}

func (b *bench) all() []*container {
	b.mu.Lock()
	defer b.mu.Unlock()
	return append([]*container(nil), b.containers...)
}

// close removes everything, containers in parallel as each takes its time.
func (b *bench) close() {
	if b.t.Failed() {
		b.dump()
	}
	var removals sync.WaitGroup
	for _, c := range b.all() {
		removals.Go(c.remove)
	}
	removals.Wait()
	for _, remove := range b.atEnd {
		ctx, cancel := call()
		if err := remove(ctx); err != nil {
			b.t.Log(err)
		}
		cancel()
	}
	for _, s := range []*segment{b.ctl, b.cluster} {
		if s == nil {
			continue
		}
		ctx, cancel := call()
		if err := s.network.Remove(ctx); err != nil {
			b.t.Logf("remove network %s: %v", s.subnet, err)
		}
		cancel()
	}
}

// imageFor unwraps one of the images and fails the test with its error.
func (b *bench) imageFor(image func() (string, error)) string {
	b.t.Helper()
	name, err := image()
	if err != nil {
		b.t.Fatal(err)
	}
	return name
}

// containerSpec says what to create.
type containerSpec struct {
	name      string
	image     string
	cmd       []string
	env       map[string]string
	files     map[string]string // path -> content
	ports     []string          // published, such as "8080/tcp"
	onCluster bool              // on the cluster's network as well
	aliases   []string          // names there, besides <name>.cluster
	user      string            // "uid:gid", else root
	memory    int64             // limit in bytes, 0 for none
	cpus      float64           // quota, 0 for none
	beside    *container        // that is running, and whose network it shares, published ports included
	volume    string            // of this name, at /etc/volley; "" for none
	tmpfs     string            // a folder in memory, blank with every start; "" for none
	sealed    bool              // read-only, the volume too, without capabilities
}

// create makes a container, with its addresses, and does not start it.
func (b *bench) create(spec containerSpec) *container {
	b.t.Helper()
	c := &container{bench: b, name: spec.name, publisher: spec.beside, aliases: append([]string{spec.name + ".cluster"}, spec.aliases...)}
	host := 0
	if spec.beside != nil {
		c.ctlIP, c.clusterIP = spec.beside.ctlIP, spec.beside.clusterIP
	} else {
		host = b.nextHost()
		c.ctlIP = b.ctl.address(host)
	}
	ctx, cancel := call()
	defer cancel()
	made, err := tc.GenericContainer(ctx, tc.GenericContainerRequest{ContainerRequest: b.request(spec, c.ctlIP)})
	if made != nil {
		c.handle = made
		b.add(c)
	}
	if err != nil {
		b.t.Fatalf("create container %s: %v", spec.name, err)
	}
	if spec.onCluster && spec.beside == nil {
		c.clusterIP = b.cluster.address(host)
		c.connect(ctx, b.cluster, c.clusterIP)
	}
	return c
}

func (b *bench) request(spec containerSpec, ctlIP string) tc.ContainerRequest {
	request := tc.ContainerRequest{
		Image: spec.image, Cmd: spec.cmd, Env: spec.env, ExposedPorts: spec.ports, Labels: labels(),
		Networks:       []string{b.ctl.network.Name},
		NetworkAliases: map[string][]string{b.ctl.network.Name: {spec.name}},
		ConfigModifier: func(config *containerConfig) { config.User, config.Hostname = spec.user, spec.name },
		EndpointSettingsModifier: func(settings map[string]*network.EndpointSettings) {
			for _, s := range settings {
				s.IPAMConfig = &network.EndpointIPAMConfig{IPv4Address: netip.MustParseAddr(ctlIP)}
			}
		},
	}
	if spec.beside != nil {
		request.ExposedPorts, request.Networks, request.NetworkAliases, request.EndpointSettingsModifier = nil, nil, nil, nil
		request.ConfigModifier = func(config *containerConfig) { config.User = spec.user }
	}
	request.HostConfigModifier = func(config *hostConfig) {
		config.Memory, config.MemorySwap = spec.memory, spec.memory // no swap beside it
		config.NanoCPUs = int64(spec.cpus * 1e9)
		if spec.sealed {
			config.ReadonlyRootfs, config.CapDrop, config.SecurityOpt = true, []string{"ALL"}, []string{"no-new-privileges"}
		}
		if spec.tmpfs != "" {
			config.Tmpfs = map[string]string{spec.tmpfs: ""}
		}
		if spec.volume != "" {
			mode := ":rw"
			if spec.sealed {
				mode = ":ro"
			}
			config.Binds = []string{spec.volume + ":/etc/volley" + mode}
		}
		if spec.beside != nil {
			config.NetworkMode = dockercontainer.NetworkMode("container:" + spec.beside.handle.GetContainerID())
		}
	}
	for path, content := range spec.files {
		request.Files = append(request.Files, tc.ContainerFile{
			Reader: strings.NewReader(content), ContainerFilePath: path, FileMode: 0o644,
		})
	}
	return request
}

// runOnce runs a helper to its end and returns its exit code and output.
func (b *bench) runOnce(ctx context.Context, request tc.ContainerRequest) (int, string, error) {
	request.Labels = labels()
	made, err := tc.GenericContainer(ctx, tc.GenericContainerRequest{ContainerRequest: request})
	if made == nil {
		return 0, "", err
	}
	helper := &container{bench: b, name: "helper", handle: made}
	defer helper.remove()
	if err == nil {
		err = made.Start(ctx)
	}
	if err != nil {
		return 0, "", err
	}
	code, err := helper.exitCode(callTimeout)
	if err != nil {
		return 0, "", err
	}
	lines, err := helper.readLogs()
	var out strings.Builder
	for _, line := range lines {
		fmt.Fprintln(&out, line.raw)
	}
	return code, out.String(), err
}
