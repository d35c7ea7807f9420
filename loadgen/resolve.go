package loadgen

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"net/url"
	"strings"
	"sync"
	"time"
	"unicode/utf8"

	"golang.org/x/net/idna"

	"volley/plan"
)

const (
	lookupWait = 10 * time.Second
	// A failed lookup is not tried again for so long: thousands of workers would
	// otherwise ask a name server that is down.
	lookupPause = time.Second
	// Redirects may lead to any number of hosts; so many are remembered.
	mostHosts = 1024
)

// resolver looks names up once for all workers of a run. A failed lookup keeps
// the last answer and is counted.
type resolver struct {
	lookup func(ctx context.Context, network, host string) ([]netip.Addr, error)
	ttl    time.Duration // how long an answer is good for
	first  bool          // always begin with the first address, not with the next
	failed func()        // counts a lookup that failed

	mu    sync.Mutex
	hosts map[string]*known
}

// known is what is known of a host. busy is a lock that a context can give up
// on; it guards the rest.
type known struct {
	busy  chan struct{}
	addrs []netip.Addr
	err   error
	asked time.Time // when the last lookup that said something began
	until time.Time // when to look again
	turn  int
}

func newResolver(c plan.DNS) *resolver {
	return &resolver{
		lookup: net.DefaultResolver.LookupNetIP, ttl: c.TTL, first: c.Select == "first",
		failed: func() {}, hosts: map[string]*known{},
	}
}

// addresses returns all addresses of host, beginning with the one whose turn
// it is.
func (r *resolver) addresses(ctx context.Context, host string) ([]netip.Addr, error) {
	if addr, err := netip.ParseAddr(host); err == nil {
		return []netip.Addr{addr}, nil
	}
	k, came := r.host(host), time.Now()
	select {
	case k.busy <- struct{}{}:
		defer func() { <-k.busy }()
	case <-ctx.Done():
		return nil, fmt.Errorf("look up %s: %w", host, ctx.Err())
	}
	// With a TTL of 0 those who waited for a lookup share its answer all the same.
	if !time.Now().Before(k.until) && k.asked.Before(came) {
		k.refresh(ctx, r, host)
	}
	if len(k.addrs) == 0 {
		return nil, k.err
	}
	if r.first {
		return k.addrs, nil
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
	began := time.Now()
	addrs, err := r.lookup(bounded, "ip", host)
	if err == nil && len(addrs) == 0 {
		err = fmt.Errorf("look up %s: no address", host)
	}
	switch {
	case err == nil:
		k.addrs, k.err, k.asked, k.until = addrs, nil, began, time.Now().Add(r.ttl)
	case ctx.Err() != nil:
		// The caller ran out of time, which says nothing about the name.
		k.err = err
	default:
		k.err, k.asked, k.until = err, began, time.Now().Add(lookupPause)
		r.failed()
	}
}

// detour is where an override leads: the port is "" for the URL's own.
type detour struct {
	ip, port string
	always   bool // the port counts even where the URL names one
}

// overrides are the plan's answers to host names, by asciiHost.
func overrides(c *plan.Config) (map[string]detour, error) {
	out := map[string]detour{}
	if t := c.ResolveTarget; t.Host != "" {
		out[asciiHost(t.Host)] = detour{ip: t.IP, port: t.Port}
	}
	for host, text := range c.Resolve {
		to, err := parseDetour(text)
		if err != nil {
			return nil, fmt.Errorf("config.resolve.%s: %w", host, err)
		}
		out[asciiHost(host)] = to
	}
	return out, nil
}

func parseDetour(text string) (detour, error) {
	if ip, err := netip.ParseAddr(strings.Trim(text, "[]")); err == nil {
		return detour{ip: ip.String()}, nil
	}
	both, err := netip.ParseAddrPort(text)
	if err != nil {
		return detour{}, fmt.Errorf("%q is not an address (an IP address with or without a port, such as 10.0.0.5:8443 or [::1]:8443)", text)
	}
	return detour{ip: both.Addr().String(), port: fmt.Sprint(both.Port()), always: true}, nil
}

// leads is the address that an override sends a connection to.
func (p detour) leads(scheme, port string) string {
	if p.port != "" && (p.always || port == defaultPort(scheme)) {
		port = p.port
	}
	return net.JoinHostPort(p.ip, port)
}

// asciiURL gives a URL with an international host name the form that is sent:
// net/http's own would not fold its case.
func asciiURL(u *url.URL) {
	host := u.Hostname()
	if strings.IndexFunc(host, notASCII) < 0 {
		return
	}
	if port := u.Port(); port != "" {
		u.Host = net.JoinHostPort(asciiHost(host), port)
		return
	}
	u.Host = asciiHost(host)
}

func notASCII(r rune) bool { return r >= utf8.RuneSelf }

// asciiHost is a host name as DNS and TLS know it: lower case, and punycode
// for an international one. A name without such a form stays, and is not found.
func asciiHost(host string) string {
	if strings.IndexFunc(host, notASCII) >= 0 {
		if ascii, err := idna.Lookup.ToASCII(host); err == nil {
			return ascii
		}
	}
	return strings.ToLower(host)
}
