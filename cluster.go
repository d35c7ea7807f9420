package main

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"net/url"
	"os"
	"slices"
	"strings"

	"github.com/hashicorp/raft"

	"volley/grpcsvc"
	"volley/node"
	"volley/settings"
)

// joinCluster adds to opt what makes a node of it.
func (a *app) joinCluster(opt *node.Options) error {
	cl := a.set.Cluster
	m := a.addressing()
	advertise, err := m.advertised(a.set, a.listeners.cluster.Addr())
	if err != nil {
		return invalid(err)
	}
	a.self.Addr = advertise
	if err := m.checkExposure(cl, advertise); err != nil {
		return invalid(err)
	}
	hostname, err := os.Hostname()
	if err != nil {
		a.log.Debug("the host's name is not known: " + err.Error())
	}
	opt.Expect, err = m.expected(cl, advertise, hostname)
	if err != nil {
		return invalid(err)
	}
	opt.StartDelay, opt.FormTimeout, opt.ReapAfter = cl.StartDelay, cl.FormTimeout, cl.ReapAfter
	opt.MaxClockError, opt.IsolationGrace, opt.Hold, opt.Follow = cl.MaxClockError, cl.IsolationGrace, cl.OnAbort == "hold", a.set.Source.Watch
	opt.Identity = &node.Identity{}
	if cl.DataDir != "" {
		if err := a.openDisk(opt); err != nil {
			return err
		}
	}
	return a.openWire(opt)
}

// openDisk makes this process the member that its directory is of.
func (a *app) openDisk(opt *node.Options) error {
	disk, err := node.OpenDisk(a.set.Cluster.DataDir, a.set.Node.ID, a.set.Cluster.ServiceName, a.log)
	if err != nil {
		return invalid(err)
	}
	a.closers = append(a.closers, func() {
		if err := disk.Close(); err != nil {
			a.log.Warn("CLUSTER_DATA_DIR: " + err.Error())
		}
	})
	a.self.ServerID, opt.Disk, opt.Identity = disk.ServerID(), disk, disk.Identity()
	return nil
}

func (a *app) openWire(opt *node.Options) error {
	cl := a.set.Cluster
	token := cl.Token.Reveal()
	server := grpcsvc.Options{Token: token, Log: a.log}
	client := grpcsvc.ClientOptions{Token: token, Log: a.log}
	raftWire := grpcsvc.TransportOptions{
		ServerID: a.self.ServerID, ClusterID: opt.Identity.ClusterID, Addr: a.self.Addr, Token: token, Log: a.log,
		OnMisdirected: func(target raft.ServerID, _ raft.ServerAddress) { a.node.Misdirected(string(target)) },
	}
	if cl.TLSCA != "" {
		papers, err := grpcsvc.LoadTLS(cl.TLSCA, cl.TLSCert, cl.TLSKey, a.log)
		if err != nil {
			return invalid(fmt.Errorf("CLUSTER_TLS_CA, CLUSTER_TLS_CERT, CLUSTER_TLS_KEY: %w", err))
		}
		server.TLS, client.TLS, raftWire.TLS = papers.Server, papers.Client, papers.Client
		a.loops = append(a.loops, papers.Run)
	}
	calls := grpcsvc.NewClient(client)
	a.closers = append(a.closers, calls.Close)
	a.raft = grpcsvc.NewTransport(raftWire)
	a.closers = append(a.closers, func() { a.raft.Close() })
	opt.Wire = &node.Wire{Greeter: calls, Courier: calls, Upstream: calls, Transport: a.raft}
	if err := a.discover(opt.Wire); err != nil {
		return err
	}
	server.Transport = a.raft
	a.loops = append(a.loops, func(ctx context.Context) error {
		server.Handler = a.node // made after the wire that it is reached by
		return grpcsvc.NewServer(server).Serve(ctx, a.listeners.cluster)
	})
	return nil
}

// discover wires how this node finds others.
func (a *app) discover(w *node.Wire) error {
	cl := a.set.Cluster
	host, port, err := net.SplitHostPort(a.self.Addr)
	if err != nil {
		return invalid(err)
	}
	switch cl.Discovery {
	case "consul":
		return a.discoverByConsul(w, host)
	case "dns":
		w.Discovery, w.Enough = node.NewDNS(nil, cl.Nodes[0], a.self.Addr), settings.CheckExpect
	case "gce":
		w.Discovery, w.Enough = node.NewGCE(node.GCEConfig{Label: cl.GCELabel, Port: port, Endpoint: cl.GCEEndpoint}), settings.CheckExpect
	default:
		w.Discovery = node.Static(cl.Nodes)
	}
	return nil
}

func (a *app) discoverByConsul(w *node.Wire, host string) error {
	client, err := consulClient(a.set.Consul)
	if err != nil {
		return invalid(err)
	}
	_, port, err := net.SplitHostPort(a.listeners.control.Addr().String())
	if err != nil {
		return err
	}
	c, err := node.NewConsul(node.ConsulConfig{
		Client: client, Service: a.set.Cluster.ServiceName, Member: a.self, Log: a.log,
		Anonymous: !a.set.Consul.Token.IsSet() && a.set.Consul.TokenFile == "",
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
func (m addressing) expected(cl settings.Cluster, advertise, hostname string) (int, error) {
	if cl.Discovery != "static" {
		return cl.Expect, nil
	}
	resolved := m.resolveAll(append(slices.Clone(cl.Nodes), advertise))
	self := ownEntries(cl.Nodes, advertise, hostname, resolved)
	all := map[string]bool{advertise: true}
	for _, n := range cl.Nodes {
		if slices.Contains(self, n) {
			continue
		}
		all[n] = true
		if len(resolved[n]) == 0 {
			m.warn("CLUSTER_NODES", fmt.Sprintf("CLUSTER_NODES: %s does not resolve (yet): it is taken for another node than this one", n))
		}
	}
	if cl.Expect == 0 {
		return len(all), nil
	}
	return cl.Expect, settings.CheckExpect(len(all), cl.Expect)
}

// ownEntries are the listed addresses that are this node's. Where none resolves
// to its address, it is the one that does not resolve yet and has this host's name.
func ownEntries(nodes []string, advertise, hostname string, resolved map[string][]netip.Addr) []string {
	_, ownPort, _ := net.SplitHostPort(advertise)
	var own, named []string
	for _, n := range nodes {
		host, port, err := net.SplitHostPort(n)
		switch {
		case n == advertise:
			own = append(own, n)
		case err != nil || port != ownPort:
		case slices.ContainsFunc(resolved[n], func(ip netip.Addr) bool { return slices.Contains(resolved[advertise], ip) }):
			own = append(own, n)
		case len(resolved[n]) == 0 && hostname != "" && firstLabel(host) == firstLabel(hostname):
			named = append(named, n)
		}
	}
	if len(own) == 0 && len(named) == 1 {
		return named
	}
	return own
}

func firstLabel(name string) string {
	label, _, _ := strings.Cut(strings.ToLower(name), ".")
	return label
}

// checkExposure refuses a public address without token and TLS, and a name that
// does not resolve: nobody knows whether it is one.
func (m addressing) checkExposure(cl settings.Cluster, advertise string) error {
	host, _, err := net.SplitHostPort(advertise)
	if err != nil {
		return err
	}
	ips := m.resolve(host)
	if len(ips) == 0 {
		warning, err := cl.CheckUnresolved(host)
		if warning != "" {
			m.warn("CLUSTER_ADVERTISE_ADDR", warning)
		}
		return err
	}
	for _, ip := range ips {
		warning, err := cl.CheckExposure(ip)
		if err != nil {
			return err
		}
		if warning != "" {
			m.warn("CLUSTER_ADVERTISE_ADDR", warning)
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
