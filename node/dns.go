package node

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"
)

const (
	dnsEvery = time.Second // no sooner is a name looked up again
	dnsLimit = time.Second
	// dnsKeep is how long an address counts that is not in the answer any more:
	// some servers, Consul's for one, answer with a few of many, drawn by lot.
	dnsKeep = 20 * time.Second
	// dnsSide is how many targets of SRV records are looked up side by side.
	dnsSide = 16
)

// DNS finds nodes behind one name, which is looked up about once a second.
type DNS struct{ listing }

// NewDNS returns the nodes behind a name as Lookup has it, as the node at self
// (host:port) reaches them: of a machine with addresses of both kinds those of
// self's kind. resolver nil is the machine's own.
func NewDNS(resolver *net.Resolver, name, self string) *DNS {
	d := &DNS{listing{every: dnsEvery, limit: dnsLimit, keep: dnsKeep}}
	d.ask = func(ctx context.Context) ([]string, error) {
		addrs, err := Lookup(ctx, resolver, name)
		return ofKind(addrs, self), err
	}
	return d
}

// Lookup returns host:port of the nodes behind a name, all hosts IP addresses:
// of name:port the A and AAAA records; of a name without a port the SRV
// records, which hold the ports, and the addresses of their targets.
func Lookup(ctx context.Context, resolver *net.Resolver, name string) ([]string, error) {
	if resolver == nil {
		resolver = net.DefaultResolver
	}
	var addrs []string
	var err error
	if host, port, split := net.SplitHostPort(name); split == nil {
		addrs, err = lookupHost(ctx, resolver, host, port)
	} else {
		addrs, err = lookupServices(ctx, resolver, name)
	}
	var failed *net.DNSError
	if errors.As(err, &failed) && failed.IsNotFound {
		return nil, fmt.Errorf("CLUSTER_NODES: the name %s has no addresses yet: %w", name, err)
	}
	if err != nil {
		return nil, fmt.Errorf("CLUSTER_NODES: look up %s: %w", name, err)
	}
	return addrs, nil
}

func lookupHost(ctx context.Context, resolver *net.Resolver, host, port string) (addrs []string, err error) {
	ips, err := resolver.LookupNetIP(ctx, "ip", host)
	for _, ip := range ips {
		addrs = append(addrs, net.JoinHostPort(ip.Unmap().String(), port))
	}
	return addrs, err
}

// lookupServices leaves out a target without an address: it may be a node that
// has just gone, and the others are there.
func lookupServices(ctx context.Context, resolver *net.Resolver, name string) ([]string, error) {
	_, records, err := resolver.LookupSRV(ctx, "", "", name)
	if err != nil {
		return nil, err
	}
	found := make([][]string, len(records))
	failures := make([]error, len(records))
	var all errgroup.Group
	all.SetLimit(dnsSide)
	for i, r := range records {
		all.Go(func() error {
			found[i], failures[i] = lookupHost(ctx, resolver, strings.TrimSuffix(r.Target, "."), fmt.Sprint(r.Port))
			return nil
		})
	}
	_ = all.Wait() // the failures are in their list
	var addrs []string
	for _, some := range found {
		addrs = append(addrs, some...)
	}
	if len(addrs) == 0 {
		return nil, errors.Join(failures...)
	}
	return addrs, nil
}

// ofKind are the addresses of the same IP version as self's, or all if none is.
func ofKind(addrs []string, self string) []string {
	own, err := netip.ParseAddrPort(self)
	if err != nil {
		return addrs // self is a name
	}
	var same []string
	for _, addr := range addrs {
		if other, err := netip.ParseAddrPort(addr); err == nil && other.Addr().Is4() == own.Addr().Unmap().Is4() {
			same = append(same, addr)
		}
	}
	if len(same) == 0 {
		return addrs
	}
	return same
}
