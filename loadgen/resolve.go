package loadgen

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"sync"
	"time"
)

const (
	lookupTTL  = 5 * time.Minute // config.dns.ttl's default
	lookupWait = 10 * time.Second
	// A failed lookup is not tried again for so long: thousands of workers would
	// otherwise ask a name server that is down.
	lookupPause = time.Second
	// Redirects may lead to any number of hosts; so many are remembered.
	mostHosts = 1024
)

// resolver looks names up once for all workers of a run and deals out the
// addresses in turn. A failed lookup keeps the last answer.
type resolver struct {
	lookup func(ctx context.Context, network, host string) ([]netip.Addr, error)

	mu    sync.Mutex
	hosts map[string]*known
}

// known is what is known of a host. busy is a lock that a context can give up
// on; it guards the rest.
type known struct {
	busy  chan struct{}
	addrs []netip.Addr
	err   error
	until time.Time // when to look again
	turn  int
}

func newResolver() *resolver {
	return &resolver{lookup: net.DefaultResolver.LookupNetIP, hosts: map[string]*known{}}
}

// addresses returns all addresses of host, beginning with the one whose turn
// it is.
func (r *resolver) addresses(ctx context.Context, host string) ([]netip.Addr, error) {
	if addr, err := netip.ParseAddr(host); err == nil {
		return []netip.Addr{addr}, nil
	}
	k := r.host(host)
	select {
	case k.busy <- struct{}{}:
		defer func() { <-k.busy }()
	case <-ctx.Done():
		return nil, fmt.Errorf("look up %s: %w", host, ctx.Err())
	}
	if !time.Now().Before(k.until) {
		k.refresh(ctx, r, host)
	}
	if len(k.addrs) == 0 {
		return nil, k.err
	}
	at := k.turn % len(k.addrs)
	k.turn++
	return append(append([]netip.Addr{}, k.addrs[at:]...), k.addrs[:at]...), nil
}

func (r *resolver) host(name string) *known {
	r.mu.Lock()
	defer r.mu.Unlock()
	k := r.hosts[name]
	if k == nil {
		k = &known{busy: make(chan struct{}, 1)}
		if len(r.hosts) < mostHosts {
			r.hosts[name] = k
		}
	}
	return k
}

func (k *known) refresh(ctx context.Context, r *resolver, host string) {
	bounded, cancel := context.WithTimeout(ctx, lookupWait)
	defer cancel()
	addrs, err := r.lookup(bounded, "ip", host)
	switch {
	case err == nil && len(addrs) > 0:
		k.addrs, k.err, k.until = addrs, nil, time.Now().Add(lookupTTL)
	case ctx.Err() != nil:
		// The caller ran out of time, which says nothing about the name.
		k.err = err
	default:
		k.err, k.until = err, time.Now().Add(lookupPause)
	}
}
