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
	// Whose host has an answer that has grown old waits so long for a new one:
	// most come within it, and a name server that hangs holds up nothing for longer.
	lookupPatience = 250 * time.Millisecond
	// A failed lookup is not tried again for so long: thousands of workers would
	// otherwise ask a name server that is down.
	lookupPause = time.Second
	// Redirects may lead to any number of hosts; so many are remembered.
	mostHosts = 1024
)

// resolver looks names up once for all workers of a run. A failed lookup keeps
// the last answer and is counted. Lookups take as long as they may whoever began
// to wait for them; close ends them.
type resolver struct {
	lookup func(ctx context.Context, network, host string) ([]netip.Addr, error)
	ttl    time.Duration // how long an answer is good for
	first  bool          // always begin with the first address, not with the next
	failed func()        // counts a lookup that failed

	open    context.Context // until close
	end     context.CancelFunc
	lookups sync.WaitGroup

	mu    sync.Mutex // guards what is known as well
	hosts map[string]*known
}

// known is what is known of a host.
type known struct {
	addrs []netip.Addr // the last answer
	err   error        // why the last lookup failed
	until time.Time    // when to look again
	turn  int
	// The lookup under way: when it began, and what is closed at its end. There is
	// none if that is nil.
	began time.Time
	ended chan struct{}
}

func newResolver(c plan.DNS) *resolver {
	r := &resolver{
		lookup: net.DefaultResolver.LookupNetIP, ttl: c.TTL, first: c.Select == "first",
		failed: func() {}, hosts: map[string]*known{},
	}
	r.open, r.end = context.WithCancel(context.Background())
	return r
}

// close waits for the lookups that it ends. Nobody may ask for addresses any more.
func (r *resolver) close() {
	r.end()
	r.lookups.Wait()
}

// addresses returns all addresses of host, beginning with the one whose turn
// it is.
func (r *resolver) addresses(ctx context.Context, host string) ([]netip.Addr, error) {
	if addr, err := netip.ParseAddr(host); err == nil {
		return []netip.Addr{addr}, nil
	}
	k, ended, patience := r.look(host)
	await(ctx, ended, patience)
	r.mu.Lock()
	defer r.mu.Unlock()
	switch {
	case len(k.addrs) > 0:
		return k.deal(r.first), nil
	case ctx.Err() != nil:
		return nil, fmt.Errorf("look up %s: %w", host, ctx.Err())
	}
	return nil, k.err
}

// look begins a lookup if it is time for one. The one under way, if any, is worth
// waiting for with patience; ended is closed when it has ended.
func (r *resolver) look(host string) (k *known, ended <-chan struct{}, patience time.Duration) {
	r.mu.Lock()
	defer r.mu.Unlock()
	k = r.host(host)
	// With a TTL of 0 those who come during a lookup share its answer all the same.
	if k.ended == nil && !time.Now().Before(k.until) {
		r.begin(k, host)
	}
	return k, k.ended, k.patience()
}

func (r *resolver) host(name string) *known {
	if k := r.hosts[name]; k != nil {
		return k
	}
	if len(r.hosts) >= mostHosts && !r.forget() {
		return &known{err: fmt.Errorf("look up %s: %d lookups are under way already", name, mostHosts), until: time.Now().Add(lookupPause)}
	}
	k := &known{}
	r.hosts[name] = k
	return k
}

// forget makes room for a host; it is false if all of them are being looked up.
func (r *resolver) forget() bool {
	for name, k := range r.hosts { // in no order
		if k.ended == nil {
			delete(r.hosts, name)
			return true
		}
	}
	return false
}

// patience is for how long the lookup under way is worth waiting for: until its
// end if nothing is known, and not at all if the last one failed.
func (k *known) patience() time.Duration {
	switch {
	case k.ended == nil:
		return 0
	case len(k.addrs) == 0:
		return endless
	case k.err != nil:
		return 0
	}
	return time.Until(k.began.Add(lookupPatience))
}

// await waits until ended is closed, but not beyond ctx or for longer than most.
func await(ctx context.Context, ended <-chan struct{}, most time.Duration) {
	if most <= 0 {
		return
	}
	limit := time.NewTimer(most)
	defer limit.Stop()
	select {
	case <-ended:
	case <-limit.C:
	case <-ctx.Done():
	}
}

// deal gives out the addresses, of which there are some.
func (k *known) deal(first bool) []netip.Addr {
	if first {
		return k.addrs
	}
	at := k.turn % len(k.addrs)
	k.turn++
	return append(append([]netip.Addr{}, k.addrs[at:]...), k.addrs[:at]...)
}

// begin begins a lookup; what is found is known when it has ended.
func (r *resolver) begin(k *known, host string) {
	k.began, k.ended = time.Now(), make(chan struct{})
	r.lookups.Go(func() {
		addrs, err := r.find(host)
		r.mu.Lock()
		defer r.mu.Unlock()
		if k.err = err; err == nil {
			k.addrs, k.until = addrs, time.Now().Add(r.ttl)
		} else {
			k.until = time.Now().Add(lookupPause)
		}
		close(k.ended)
		k.ended = nil
	})
}

// find looks host up and counts a failure, unless it is close's doing.
func (r *resolver) find(host string) ([]netip.Addr, error) {
	ctx, cancel := context.WithTimeout(r.open, lookupWait)
	defer cancel()
	addrs, err := r.lookup(ctx, "ip", host)
	if err == nil && len(addrs) == 0 {
		err = fmt.Errorf("look up %s: no address", host)
	}
	if err != nil && r.open.Err() == nil {
		r.failed()
	}
	return addrs, err
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
