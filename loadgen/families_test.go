package loadgen

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"

	"volley/stats"
)

// TestATargetThatIsDownIsNoShortageOfOurs opens connections where an address has
// failed in one way or another; what the others did decides whose fault it is.
func TestATargetThatIsDownIsNoShortageOfOurs(t *testing.T) {
	const down, none, full = syscall.ECONNREFUSED, syscall.EADDRNOTAVAIL, syscall.EMFILE
	for name, tc := range map[string]struct {
		addrs string // in the order in which they are tried first
		fails map[string]error
		kind  stats.ErrorKind
	}{
		"no IPv6, and the target is down":        {"::1 127.0.0.1", map[string]error{"::1": none, "127.0.0.1": down}, stats.ErrNetwork},
		"the same, the other way round":          {"127.0.0.1 ::1", map[string]error{"::1": none, "127.0.0.1": down}, stats.ErrNetwork},
		"no IPv6, IPv4 as DNS gives it":          {"::1 ::ffff:127.0.0.1", map[string]error{"::1": none, "::ffff:127.0.0.1": down}, stats.ErrNetwork},
		"no ports, whatever the address":         {"::1 127.0.0.1", map[string]error{"::1": none, "127.0.0.1": none}, stats.ErrGenerator},
		"no ports, one address":                  {"127.0.0.1", map[string]error{"127.0.0.1": none}, stats.ErrGenerator},
		"no ports for one of two IPv4 addresses": {"10.0.0.1 10.0.0.2", map[string]error{"10.0.0.1": none, "10.0.0.2": down}, stats.ErrGenerator},
		"no descriptors for IPv6":                {"::1 127.0.0.1", map[string]error{"::1": full, "127.0.0.1": down}, stats.ErrGenerator},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := altered(t, document("http://some.test", "connections: request", false), Client{}, func(d *dialer) {
					d.names.lookup = leadsTo(tc.addrs)
					d.open = func(_ context.Context, _, addr string) (net.Conn, error) {
						host, _, _ := net.SplitHostPort(addr)
						return nil, &net.OpError{Op: "dial", Net: "tcp", Err: tc.fails[host]}
					}
				})
				if s.Errors[tc.kind] != 3 {
					t.Errorf("errors %v, want 3 of kind %d; %v", s.Errors, tc.kind, s.ErrorExamples)
				}
			})
		})
	}
}

// TestPortsRunOutWhereIPv6HasServed: what says that this machine has no IPv6
// says that it has no port left once IPv6 has been seen to work.
func TestPortsRunOutWhereIPv6HasServed(t *testing.T) {
	d, served := &dialer{}, false
	d.open = func(_ context.Context, _, addr string) (net.Conn, error) {
		switch {
		case !strings.HasPrefix(addr, "[::1]"):
			return nil, syscall.ECONNREFUSED
		case served:
			return nil, syscall.EADDRNOTAVAIL
		}
		served = true
		a, _ := net.Pipe()
		return a, nil
	}
	addrs, _ := leadsTo("127.0.0.1 ::1")(t.Context(), "", "")
	for try, want := range []error{nil, syscall.EADDRNOTAVAIL} {
		if _, err := d.firstThatAnswers(t.Context(), addrs, "80"); !errors.Is(err, want) {
			t.Errorf("try %d: %v, want %v", try, err, want)
		}
	}
}

// leadsTo is a look-up whose answer is always the same.
func leadsTo(list string) func(context.Context, string, string) ([]netip.Addr, error) {
	var addrs []netip.Addr
	for _, one := range strings.Fields(list) {
		addrs = append(addrs, netip.MustParseAddr(one))
	}
	return func(context.Context, string, string) ([]netip.Addr, error) { return addrs, nil }
}
