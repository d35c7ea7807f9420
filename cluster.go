package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"net/url"
	"strings"
	"time"

	"volley/grpcsvc"
	"volley/node"
	"volley/settings"
)

// lookupTimeout bounds a look at DNS for finding out who this node is.
const lookupTimeout = 5 * time.Second

// joinCluster adds to opt what makes a node of it.
func (a *app) joinCluster(opt *node.Options) error {
	cl := a.set.Cluster
	advertise, err := advertised(a.set, a.listeners.cluster.Addr())
	if err != nil {
		return invalid(err)
	}
	a.self.Addr = advertise
	if err := a.checkExposure(advertise); err != nil {
		return invalid(err)
	}
	opt.Expect, err = expected(cl, advertise)
	if err != nil {
		return invalid(err)
	}
	opt.StartDelay, opt.FormTimeout, opt.ReapAfter = cl.StartDelay, cl.FormTimeout, cl.ReapAfter
	opt.MaxClockError, opt.Hold = cl.MaxClockError, cl.OnAbort == "hold"
	opt.Identity = &node.Identity{}
	return a.openWire(opt)
}

func (a *app) openWire(opt *node.Options) error {
	cl := a.set.Cluster
	token := cl.Token.Reveal()
	server := grpcsvc.Options{Token: token, Log: a.log}
	client := grpcsvc.ClientOptions{Token: token}
	raftWire := grpcsvc.TransportOptions{ServerID: a.self.ServerID, ClusterID: opt.Identity.ClusterID, Addr: a.self.Addr, Token: token}
	if cl.TLSCA != "" {
		var err error
		if server.TLS, client.TLS, err = grpcsvc.LoadTLS(cl.TLSCA, cl.TLSCert, cl.TLSKey); err != nil {
			return invalid(err)
		}
		raftWire.TLS = client.TLS
	}
	calls := grpcsvc.NewClient(client)
	a.closers = append(a.closers, calls.Close)
	transport := grpcsvc.NewTransport(raftWire)
	a.closers = append(a.closers, func() { transport.Close() })
	opt.Wire = &node.Wire{Greeter: calls, Courier: calls, Upstream: calls, Transport: transport, Discovery: node.Static(cl.Nodes)}
	if cl.Discovery == "consul" {
		if err := a.discoverByConsul(opt.Wire); err != nil {
			return err
		}
	}
	server.Transport = transport
	a.loops = append(a.loops, func(ctx context.Context) error {
		server.Handler = a.node // made after the wire that it is reached by
		return grpcsvc.NewServer(server).Serve(ctx, a.listeners.cluster)
	})
	return nil
}

func (a *app) discoverByConsul(w *node.Wire) error {
	client, err := consulClient(a.set.Consul)
	if err != nil {
		return invalid(err)
	}
	host, _, err := net.SplitHostPort(a.self.Addr)
	if err != nil {
		return invalid(err)
	}
	_, port, err := net.SplitHostPort(a.listeners.control.Addr().String())
	if err != nil {
		return err
	}
	c, err := node.NewConsul(node.ConsulConfig{
		Client: client, Service: a.set.Cluster.ServiceName, Member: a.self, Log: a.log,
		HealthURL: "http://" + net.JoinHostPort(host, port) + "/health/cluster?server_id=" + url.QueryEscape(a.self.ServerID),
	})
	if err != nil {
		return invalid(err)
	}
	w.Discovery, w.Arbiter, w.Announcer = c, c, c
	a.loops = append(a.loops, c.Run)
	return nil
}

// expected is how many nodes form the cluster: as set, else those listed and this one.
func expected(cl settings.Cluster, advertise string) (int, error) {
	if cl.Discovery != "static" {
		return cl.Expect, nil
	}
	all := map[string]bool{advertise: true}
	for _, n := range cl.Nodes {
		if listsSelf(n, advertise) {
			continue
		}
		all[n] = true
	}
	if cl.Expect == 0 {
		return len(all), nil
	}
	return cl.Expect, settings.CheckExpect(len(all), cl.Expect)
}

// listsSelf says whether a listed address is this node's own under another name.
func listsSelf(listed, advertise string) bool {
	host, port, err := net.SplitHostPort(listed)
	ownHost, ownPort, ownErr := net.SplitHostPort(advertise)
	if err != nil || ownErr != nil || port != ownPort {
		return false
	}
	own, err := netip.ParseAddr(ownHost)
	if err != nil {
		return host == ownHost
	}
	for _, ip := range lookup(host) {
		if ip == own {
			return true
		}
	}
	return false
}

// advertised is host:port as others dial this node: as set, else the bind
// address, else the listed address that is this machine's, else the interface that reaches the peers.
func advertised(set settings.Settings, bound net.Addr) (string, error) {
	cl := set.Cluster
	if cl.AdvertiseAddr != "" {
		return cl.AdvertiseAddr, nil
	}
	host, port, err := net.SplitHostPort(bound.String())
	if err != nil {
		return "", err
	}
	if ip, err := netip.ParseAddr(host); err == nil && !ip.IsUnspecified() {
		return bound.String(), nil
	}
	local, err := localAddrs()
	if err != nil {
		return "", fmt.Errorf("find this machine's addresses: %w", err)
	}
	for _, n := range cl.Nodes {
		h, p, err := net.SplitHostPort(n)
		if err != nil || p != port {
			continue
		}
		for _, ip := range lookup(h) {
			if local[ip] {
				return net.JoinHostPort(ip.String(), port), nil
			}
		}
	}
	return towardsPeers(set, port)
}

// towardsPeers asks the routing table which of our addresses the peers, or Consul, are reached from.
func towardsPeers(set settings.Settings, port string) (string, error) {
	targets := append([]string(nil), set.Cluster.Nodes...)
	if u, err := url.Parse(set.Consul.Addr); err == nil && set.Cluster.Discovery == "consul" && u.Host != "" {
		targets = append(targets, u.Host)
	} else if set.Cluster.Discovery == "consul" {
		targets = append(targets, set.Consul.Addr)
	}
	for _, t := range targets {
		d := net.Dialer{Timeout: lookupTimeout}
		conn, err := d.Dial("udp", t) // sends nothing
		if err != nil {
			continue
		}
		addr, ok := conn.LocalAddr().(*net.UDPAddr)
		conn.Close()
		if ok && !addr.IP.IsUnspecified() {
			return net.JoinHostPort(addr.IP.String(), port), nil
		}
	}
	if len(targets) == 0 {
		return net.JoinHostPort("127.0.0.1", port), nil // a cluster of one
	}
	return "", errors.New("no interface of this machine reaches the peers: set CLUSTER_ADVERTISE_ADDR to host:port as other nodes dial this one; tried " + strings.Join(targets, ", "))
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

// checkExposure refuses a public address without token and TLS.
func (a *app) checkExposure(advertise string) error {
	host, _, err := net.SplitHostPort(advertise)
	if err != nil {
		return err
	}
	for _, ip := range lookup(host) {
		warning, err := a.set.Cluster.CheckExposure(ip)
		if err != nil {
			return err
		}
		if warning != "" {
			a.log.Warn(warning, "event", "settings_warning")
		}
	}
	return nil
}

// warnIgnored names the variables that describe a load: in a cluster they fill nothing.
func (a *app) warnIgnored() {
	for _, name := range a.set.LoadVariablesSet() {
		a.log.Warn(name+" is set but has no effect in a cluster: the leader's plan alone describes the load", "event", "settings_warning", "variable", name)
	}
}
