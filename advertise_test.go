package main

import (
	"bytes"
	"errors"
	"net"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/hashicorp/consul/api"

	"volley/e2e/parts"
	"volley/node"
	"volley/settings"
)

// machine is one at 10.0.0.1, behind the default route, in whose DNS names resolve.
func machine(t *testing.T, names map[string]string) (m addressing, warned *[]string) {
	t.Helper()
	own, loopback := netip.MustParseAddr("10.0.0.1"), netip.MustParseAddr("127.0.0.1")
	warned = &[]string{}
	m = addressing{
		resolve: func(host string) []netip.Addr {
			if text, ok := names[host]; ok {
				host = text
			}
			if ip, err := netip.ParseAddr(host); err == nil {
				return []netip.Addr{ip}
			}
			return nil
		},
		local: func() (map[netip.Addr]bool, error) { return map[netip.Addr]bool{own: true, loopback: true}, nil },
		warn:  func(_, text string) { *warned = append(*warned, text) },
	}
	m.route = func(to string) (from, peer netip.Addr, err error) {
		host, _, err := net.SplitHostPort(to)
		if err != nil {
			return from, peer, err
		}
		ips := m.resolve(host)
		switch {
		case len(ips) == 0:
			return from, peer, errors.New("no such host")
		case ips[0].IsLoopback():
			return loopback, ips[0], nil
		}
		return own, ips[0], nil
	}
	return m, warned
}

var everywhere = &net.TCPAddr{IP: net.IPv4zero, Port: 7000}

func TestAdvertisedAmongListedNodes(t *testing.T) {
	for _, c := range []struct {
		name, nodes, want string
		names             map[string]string
		bound             net.Addr
	}{
		{"its own address", "10.0.0.1:7000,10.0.0.2:7000", "10.0.0.1:7000", nil, everywhere},
		{"not in the list", "10.0.0.2:7000,10.0.0.3:7000", "10.0.0.1:7000", nil, everywhere},
		{"its own name", "a:7000,b:7000", "10.0.0.1:7000", map[string]string{"a": "10.0.0.1", "b": "10.0.0.2"}, everywhere},
		{"its own name, which /etc/hosts calls loopback", "a:7000,b:7000", "10.0.0.1:7000", map[string]string{"a": "127.0.0.1", "b": "10.0.0.2"}, everywhere},
		{"its own name is loopback, the other's not known yet", "a:7000,b:7000", "10.0.0.1:7000", map[string]string{"a": "127.0.0.1"}, everywhere},
		{"no name is known yet", "a:7000,b:7000", "10.0.0.1:7000", nil, everywhere},
		{"all on this machine", "127.0.0.1:7000,127.0.0.1:7001", "127.0.0.1:7000", nil, everywhere},
		{"all on this machine, itself not listed", "127.0.0.1:7001", "127.0.0.1:7000", nil, everywhere},
		{"bound to loopback", "10.0.0.2:7000", "127.0.0.1:7003", nil, &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: 7003}},
	} {
		t.Run(c.name, func(t *testing.T) {
			m, _ := machine(t, c.names)
			set := settings.Settings{Cluster: settings.Cluster{Discovery: "static", Nodes: strings.Split(c.nodes, ",")}}
			if got, err := m.advertised(set, c.bound); err != nil || got != c.want {
				t.Errorf("got %q, %v; want %q", got, err, c.want)
			}
		})
	}
}

// besideConsul are the settings of a node whose agent is on its machine, on
// loopback, as the README has it.
func besideConsul(addr, token string) settings.Settings {
	return settings.Settings{
		Cluster: settings.Cluster{Discovery: "consul"},
		Consul:  settings.Consul{Addr: addr, Token: settings.NewSecret(token), SSLVerify: true},
	}
}

// What counts is the address that the agent gives out, whatever the token may read.
func TestAdvertisedBesideConsulAgent(t *testing.T) {
	server, err := parts.StartConsulAs(t.Context(), t.TempDir(), true, "10.0.0.1")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(server.Stop)
	client, err := api.NewClient(&api.Config{Address: server.Addr, Token: server.Token})
	if err != nil {
		t.Fatal(err)
	}
	// The policy of the README has no agent:read.
	policy, _, err := client.ACL().PolicyCreate(&api.ACLPolicy{Name: "least", Rules: `node_prefix "" { policy = "read" }`}, nil)
	if err != nil {
		t.Fatal(err)
	}
	least, _, err := client.ACL().TokenCreate(&api.ACLToken{Policies: []*api.ACLTokenPolicyLink{{ID: policy.ID}}}, nil)
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name, addr, token string
		elsewhere         string // where the default route goes from
		want, warning     string
	}{
		{name: "agent may be asked", addr: "http://" + server.Addr, token: server.Token, want: "10.0.0.1:7000"},
		{name: "address without a scheme", addr: server.Addr, token: server.Token, want: "10.0.0.1:7000"},
		{name: "only its members may be read", addr: "http://" + server.Addr, token: least.SecretID, want: "10.0.0.1:7000"},
		{name: "nothing may be read", addr: "http://" + server.Addr, token: "", elsewhere: "10.9.9.9", want: "10.9.9.9:7000", warning: server.Addr},
		{name: "agent is away", addr: "http://127.0.0.1:1", elsewhere: "10.9.9.9", want: "10.9.9.9:7000", warning: "127.0.0.1:1"},
		{name: "nothing is known", addr: "http://127.0.0.1:1", want: "set CLUSTER_ADVERTISE_ADDR to host:port"},
		{name: "agent on another machine", addr: "http://10.0.0.9:8500", want: "10.0.0.1:7000"},
		{name: "agent of another name, at the scheme's port", addr: "https://10.0.0.9", want: "10.0.0.1:7000"},
	} {
		t.Run(c.name, func(t *testing.T) {
			m, warned := machine(t, nil)
			usual := m.route
			m.route = func(to string) (from, peer netip.Addr, err error) {
				if !slices.Contains(elsewhere, to) {
					return usual(to)
				}
				if c.elsewhere == "" {
					return from, peer, errors.New("network is unreachable")
				}
				return netip.MustParseAddr(c.elsewhere), netip.MustParseAddr("192.0.2.1"), nil
			}
			got, err := m.advertised(besideConsul(c.addr, c.token), everywhere)
			if err != nil {
				got = err.Error()
			}
			if !strings.Contains(got, c.want) || err == nil && got != c.want {
				t.Errorf("got %q, want %q", got, c.want)
			}
			if all := strings.Join(*warned, "\n"); !strings.Contains(all, c.warning) || (c.warning == "") != (all == "") {
				t.Errorf("warned %q, want %q", all, c.warning)
			}
		})
	}
}

// Behind a name in DNS it is the address that is this machine's; as long as the
// name says nothing, that of the default route.
func TestAdvertisedBehindAName(t *testing.T) {
	for _, c := range []struct {
		name  string
		addrs []string
		want  string
	}{
		{"listed already", []string{"10.0.0.2:7000", "10.0.0.1:7000"}, "10.0.0.1:7000"},
		{"not listed yet", []string{"10.0.0.2:7000"}, "10.0.0.1:7000"},
		{"nobody is listed yet", nil, "10.0.0.1:7000"},
	} {
		m, _ := machine(t, nil)
		m.behind = func(name string) []string {
			if c.addrs == nil {
				return []string{name}
			}
			return c.addrs
		}
		set := settings.Settings{Cluster: settings.Cluster{Discovery: "dns", Nodes: []string{"nodes.test:7000"}}}
		if got, err := m.advertised(set, everywhere); err != nil || got != c.want {
			t.Errorf("%s: got %q, %v; want %q", c.name, got, err, c.want)
		}
	}
}

// On Google Compute Engine it is what the metadata server says, whatever
// network a container there sees.
func TestAdvertisedOnGoogle(t *testing.T) {
	google := parts.StartGoogle()
	t.Cleanup(google.Stop)
	t.Setenv("GCE_METADATA_HOST", google.Metadata(parts.Machine{Name: "load-aaaa", IP: "10.132.0.7"}, true))
	m := new(app).addressing()
	set := settings.Settings{Cluster: settings.Cluster{Discovery: "gce"}}
	if got, err := m.advertised(set, everywhere); err != nil || got != "10.132.0.7:7000" {
		t.Errorf("got %q, %v; want what the metadata server says", got, err)
	}
}

// Where the agent itself is known as loopback, all is on one machine.
func TestAdvertisedBesideLoopbackAgent(t *testing.T) {
	server, err := parts.StartConsul(t.Context(), t.TempDir(), false)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(server.Stop)
	m, _ := machine(t, nil)
	if got, err := m.advertised(besideConsul("http://"+server.Addr, ""), everywhere); err != nil || got != "127.0.0.1:7000" {
		t.Errorf("got %q, %v", got, err)
	}
}

func TestExpectedCountsThisNodeOnce(t *testing.T) {
	for _, c := range []struct {
		name, nodes, advertise, hostname string
		names                            map[string]string
		want                             int
		warnings                         int
	}{
		{"listed by address", "10.0.0.1:7000,10.0.0.2:7000", "10.0.0.1:7000", "h", nil, 2, 0},
		{"not listed", "10.0.0.2:7000,10.0.0.3:7000", "10.0.0.1:7000", "h", nil, 3, 0},
		{"listed by name", "a:7000,b:7000", "10.0.0.1:7000", "h", map[string]string{"a": "10.0.0.1", "b": "10.0.0.2"}, 2, 0},
		{"listed by address, advertised by name", "10.0.0.1:7000,10.0.0.2:7000", "a:7000", "h", map[string]string{"a": "10.0.0.1"}, 2, 0},
		{"own name not known yet, it is the host's", "a.x:7000,b.x:7000,c.x:7000", "10.0.0.1:7000", "A", map[string]string{"b.x": "10.0.0.2"}, 3, 1},
		{"own name not known yet, and another", "a.x:7000,b.x:7000", "10.0.0.1:7000", "h", map[string]string{"b.x": "10.0.0.2"}, 3, 1},
		{"two unknown names like the host's", "a.x:7000,a.y:7000", "10.0.0.1:7000", "a", nil, 3, 2},
		{"another port is another node", "10.0.0.1:7000,10.0.0.1:7001", "10.0.0.1:7000", "h", nil, 2, 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			m, warned := machine(t, c.names)
			got, err := m.expected(settings.Cluster{Discovery: "static", Nodes: strings.Split(c.nodes, ",")}, c.advertise, c.hostname)
			if err != nil || got != c.want || len(*warned) != c.warnings {
				t.Errorf("got %d, %v, warned %q; want %d and %d warnings", got, err, *warned, c.want, c.warnings)
			}
		})
	}
}

// Names are looked up side by side: a DNS server that is away costs one timeout.
func TestNamesAreLookedUpSideBySide(t *testing.T) {
	m, _ := machine(t, nil)
	looking, goOn := make(chan string), make(chan struct{})
	m.resolve = func(host string) []netip.Addr { looking <- host; <-goOn; return nil }
	done := make(chan struct{})
	go func() { m.resolveAll([]string{"a:1", "b:1", "c:1"}); close(done) }()
	for range 3 {
		select {
		case <-looking:
		case <-time.After(5 * time.Second):
			t.Fatal("the next name is not looked up before the one before is known")
		}
	}
	close(goOn)
	<-done
}

func TestExposure(t *testing.T) {
	open := settings.Cluster{}
	for _, c := range []struct {
		name, advertise, want, warning string
		cluster                        settings.Cluster
	}{
		{"public", "203.0.113.7:7000", "is a public address", "", open},
		{"private", "10.0.0.1:7000", "", "open to everyone", open},
		{"a name for a public one", "public:7000", "is a public address", "", open},
		{"a name that does not resolve", "node.invalid:7000", `CLUSTER_ADVERTISE_ADDR "node.invalid": the name does not resolve`, "", open},
		{"that, with a token", "node.invalid:7000", "", "", settings.Cluster{Token: settings.NewSecret("t")}},
		{"that, with TLS", "node.invalid:7000", "", "", settings.Cluster{TLSCA: "ca.pem"}},
		{"that, insecure on purpose", "node.invalid:7000", "", "CLUSTER_INSECURE", settings.Cluster{Insecure: true}},
	} {
		t.Run(c.name, func(t *testing.T) {
			m, warned := machine(t, map[string]string{"public": "203.0.113.7"})
			err := m.checkExposure(c.cluster, c.advertise)
			if (err == nil) != (c.want == "") || err != nil && !strings.Contains(err.Error(), c.want) {
				t.Errorf("got %v, want %q", err, c.want)
			}
			if all := strings.Join(*warned, "\n"); !strings.Contains(all, c.warning) || (c.warning == "") != (all == "") {
				t.Errorf("warned %q, want %q", all, c.warning)
			}
		})
	}
}

// The same at the seam of a user; and the engine is warned about once, not by
// the settings and again by who starts it.
func TestUnresolvedAdvertiseAddrIsRefused(t *testing.T) {
	url, _ := target(t)
	environment(t, "CLUSTER_ENABLED=true", "CLUSTER_CONFIG_SOURCE=file", "CONFIG_FILE="+writePlan(t, url, "1s"), "CLUSTER_NODES=127.0.0.1:1",
		"CLUSTER_BIND_ADDR=127.0.0.1:0", "CLUSTER_ADVERTISE_ADDR=node.invalid:7000", "ENGINE_MODE=inproc", "LOG_FORMAT=json")
	var out, errOut bytes.Buffer
	if code := run(t.Context(), []string{"run"}, &out, &errOut); code != node.ExitInvalid {
		t.Errorf("exit code %d, want %d", code, node.ExitInvalid)
	}
	said := out.String() + errOut.String()
	if !strings.Contains(said, "the name does not resolve, so it may be a public address") {
		t.Errorf("said %s", said)
	}
	if n := strings.Count(said, "ENGINE_MODE=inproc in a cluster"); n != 1 {
		t.Errorf("warned %d times about ENGINE_MODE: %s", n, said)
	}
}
