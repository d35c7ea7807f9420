package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"net/url"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/hashicorp/consul/api"

	"volley/node"
	"volley/settings"
)

const (
	// lookupTimeout bounds a look at DNS for finding out who this node is.
	lookupTimeout = 5 * time.Second
	// agentTimeout bounds a question to the Consul agent on this machine.
	agentTimeout = 2 * time.Second
)

// elsewhere are addresses that the default route leads to (RFC 5737 and 3849:
// nobody has them). Nothing is sent there.
var elsewhere = []string{"192.0.2.1:9", "[2001:db8::1]:9"}

// addressing finds out how others dial this node. Its functions are the
// machine's.
type addressing struct {
	resolve func(host string) []netip.Addr
	local   func() (map[netip.Addr]bool, error)
	// route is the address that this machine would use towards host:port, and the one that it would reach.
	route func(to string) (from, peer netip.Addr, err error)
	// behind are the nodes that a name in DNS stands for at the moment, or the name.
	behind func(name string) []string
	// metadata is this machine's address as Google Compute Engine gives it.
	metadata func() (netip.Addr, error)
	warn     func(variable, text string)
}

func (a *app) addressing() addressing {
	return addressing{resolve: lookup, local: localAddrs, route: route, behind: behind, metadata: metadataAddress, warn: func(variable, text string) {
		a.log.Warn(text, "event", "settings_warning", "variable", variable)
	}}
}

// advertised is host:port as others dial this node: as set, else the bind
// address, else the listed address that is this machine's, else the interface
// that reaches the peers, or the address that the Consul agent on this machine,
// or Google's metadata server, gives out.
func (m addressing) advertised(set settings.Settings, bound net.Addr) (string, error) {
	if set.Cluster.AdvertiseAddr != "" {
		return set.Cluster.AdvertiseAddr, nil
	}
	host, port, err := net.SplitHostPort(bound.String())
	if err != nil {
		return "", err
	}
	if ip, err := netip.ParseAddr(host); err == nil && !ip.IsUnspecified() {
		return bound.String(), nil
	}
	local, err := m.local()
	if err != nil {
		return "", fmt.Errorf("find this machine's addresses: %w", err)
	}
	var ip netip.Addr
	switch set.Cluster.Discovery {
	case "consul":
		ip, err = m.besideAgent(set.Consul, local)
	case "dns":
		ip, err = m.amongPeers(m.behind(set.Cluster.Nodes[0]), port, local)
	case "gce":
		ip, err = m.metadata()
	default:
		ip, err = m.amongPeers(set.Cluster.Nodes, port, local)
	}
	if err != nil {
		return "", err
	}
	return net.JoinHostPort(ip.String(), port), nil
}

// amongPeers is this machine's address in a list of nodes, else that of the
// interface which reaches them. A loopback address is one only if every node
// that is listed is on this machine.
func (m addressing) amongPeers(nodes []string, port string, local map[netip.Addr]bool) (netip.Addr, error) {
	if len(nodes) == 0 {
		return netip.AddrFrom4([4]byte{127, 0, 0, 1}), nil // a cluster of one
	}
	resolved := m.resolveAll(nodes)
	onlyLoopback := !slices.ContainsFunc(nodes, func(n string) bool {
		return len(resolved[n]) == 0 || slices.ContainsFunc(resolved[n], func(ip netip.Addr) bool { return !ip.IsLoopback() })
	})
	fits := func(ip netip.Addr) bool {
		return ip.IsValid() && !ip.IsUnspecified() && ip.IsLoopback() == onlyLoopback
	}
	for _, n := range nodes {
		if _, p, err := net.SplitHostPort(n); err != nil || p != port {
			continue
		}
		for _, ip := range resolved[n] {
			if local[ip] && fits(ip) {
				return ip, nil
			}
		}
	}
	for _, to := range append(slices.Clone(nodes), elsewhere...) {
		if from, _, err := m.route(to); err == nil && fits(from) {
			return from, nil
		}
	}
	return netip.Addr{}, unreachable(nodes)
}

func unreachable(tried []string) error {
	return errors.New("no interface of this machine reaches the peers: set CLUSTER_ADVERTISE_ADDR to host:port as other nodes dial this one; tried " + strings.Join(tried, ", "))
}

// besideAgent is the address of the interface that reaches the Consul agent.
// If the agent is on this machine that says nothing of how others reach it, so
// the agent is asked which address it gives out.
func (m addressing) besideAgent(set settings.Consul, local map[netip.Addr]bool) (netip.Addr, error) {
	from, peer, err := m.route(agentAddr(set.Addr))
	if err != nil && !strings.HasPrefix(set.Addr, "unix://") {
		return from, unreachable([]string{agentAddr(set.Addr)})
	}
	if err == nil && from != peer && !from.IsLoopback() {
		return from, nil
	}
	ip, failed := agentAdvertises(set, local)
	if failed == nil {
		return ip, nil
	}
	for _, to := range elsewhere {
		if from, _, err := m.route(to); err == nil && !from.IsLoopback() && !from.IsUnspecified() {
			m.warn("CLUSTER_ADVERTISE_ADDR", fmt.Sprintf("CLUSTER_ADVERTISE_ADDR is not set, and the Consul agent at %s does not say which address it gives out (%v): "+
				"other nodes are told %s, of the interface with the default route", agentAddr(set.Addr), failed, from))
			return from, nil
		}
	}
	return from, fmt.Errorf("%w; the Consul agent there does not say which address it gives out: %w", unreachable([]string{agentAddr(set.Addr)}), failed)
}

// agentAddr is host:port of CONSUL_ADDR, which may be a URL.
func agentAddr(addr string) string {
	u, err := url.Parse(addr)
	if err != nil || u.Host == "" {
		return addr
	}
	port := map[string]string{"http": "80", "https": "443"}[u.Scheme]
	return net.JoinHostPort(u.Hostname(), cmp.Or(u.Port(), port))
}

// agentAdvertises asks the agent on this machine for the address that it gives
// out. Where ACLs keep that secret (agent:read), it is the address of the
// member of its gossip pool that is on this machine (node:read).
func agentAdvertises(set settings.Consul, local map[netip.Addr]bool) (netip.Addr, error) {
	client, err := consulClient(set)
	if err != nil {
		return netip.Addr{}, err
	}
	ctx, cancel := context.WithTimeout(context.Background(), agentTimeout)
	defer cancel()
	// Agent.Self takes no context.
	var self struct{ Member struct{ Addr string } }
	_, refused := client.Raw().Query("/v1/agent/self", &self, (&api.QueryOptions{}).WithContext(ctx))
	if refused == nil {
		ip, err := netip.ParseAddr(self.Member.Addr)
		if err != nil || ip.IsUnspecified() {
			return ip, fmt.Errorf("it gives out %q, which is no address", self.Member.Addr)
		}
		return ip.Unmap(), nil
	}
	var members []struct{ Addr string }
	if _, err := client.Raw().Query("/v1/agent/members", &members, (&api.QueryOptions{}).WithContext(ctx)); err != nil {
		return netip.Addr{}, fmt.Errorf("%w; %w", refused, err)
	}
	var here []netip.Addr
	for _, member := range members {
		if ip, err := netip.ParseAddr(member.Addr); err == nil && local[ip.Unmap()] {
			here = append(here, ip.Unmap())
		}
	}
	slices.SortFunc(here, netip.Addr.Compare)
	if here = slices.Compact(here); len(here) != 1 {
		return netip.Addr{}, fmt.Errorf("%w; %d of its members' addresses are this machine's", refused, len(here))
	}
	return here[0], nil
}

// route asks the routing table; nothing is sent.
func route(to string) (from, peer netip.Addr, err error) {
	d := net.Dialer{Timeout: lookupTimeout}
	conn, err := d.Dial("udp", to)
	if err != nil {
		return from, peer, err
	}
	defer conn.Close()
	own, err := netip.ParseAddrPort(conn.LocalAddr().String())
	if err != nil {
		return from, peer, err
	}
	other, err := netip.ParseAddrPort(conn.RemoteAddr().String())
	return own.Addr().Unmap(), other.Addr().Unmap(), err
}

// resolveAll looks up the hosts of host:port addresses side by side. What does
// not resolve (yet) has no addresses.
func (m addressing) resolveAll(addrs []string) map[string][]netip.Addr {
	found := make([][]netip.Addr, len(addrs))
	var all sync.WaitGroup
	for i, addr := range addrs {
		if host, _, err := net.SplitHostPort(addr); err == nil {
			all.Go(func() { found[i] = m.resolve(host) })
		}
	}
	all.Wait()
	resolved := map[string][]netip.Addr{}
	for i, addr := range addrs {
		resolved[addr] = found[i]
	}
	return resolved
}

func lookup(host string) []netip.Addr {
	ctx, cancel := context.WithTimeout(context.Background(), lookupTimeout)
	defer cancel()
	ips, err := net.DefaultResolver.LookupNetIP(ctx, "ip", host)
	if err != nil {
		return nil // a peer's name may not resolve yet
	}
	for i := range ips {
		ips[i] = ips[i].Unmap()
	}
	return ips
}

// behind asks once: the others, and this node itself, may not be listed yet.
func behind(name string) []string {
	ctx, cancel := context.WithTimeout(context.Background(), lookupTimeout)
	defer cancel()
	addrs, err := node.Lookup(ctx, nil, name)
	if err != nil || len(addrs) == 0 {
		return []string{name}
	}
	return addrs
}

func metadataAddress() (netip.Addr, error) {
	ctx, cancel := context.WithTimeout(context.Background(), lookupTimeout)
	defer cancel()
	ip, err := node.GCEAddress(ctx)
	if err != nil {
		return ip, fmt.Errorf("%w: it runs on no such machine, or set CLUSTER_ADVERTISE_ADDR to host:port as other nodes dial this one", err)
	}
	return ip, nil
}

func localAddrs() (map[netip.Addr]bool, error) {
	addrs, err := net.InterfaceAddrs()
	if err != nil {
		return nil, err
	}
	local := map[netip.Addr]bool{}
	for _, a := range addrs {
		if p, err := netip.ParsePrefix(a.String()); err == nil {
			local[p.Addr().Unmap()] = true
		}
	}
	return local, nil
}
