package loadgen

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strings"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

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

// TestTheOtherFamilyIsTriedBeforeLong connects to a host with one address of each
// family.
func TestTheOtherFamilyIsTriedBeforeLong(t *testing.T) {
	const ms = time.Millisecond
	hole, refused := reaction{after: time.Hour}, reaction{err: syscall.ECONNREFUSED}
	for name, tc := range map[string]struct {
		six, four reaction
		want      string // what was dialled when, and how long it took in all
		err       error
		closed    int           // connections that nobody needs
		left      time.Duration // 10 s unless given
	}{
		"one that answers in time": {six: reaction{after: 299 * ms}, want: "[::1] 0s, 299ms"},
		"a black hole":             {six: hole, four: reaction{after: 50 * ms}, want: "[::1] 0s, 127.0.0.1 300ms, 350ms"},
		"the slower of two":        {six: reaction{after: 400 * ms}, four: reaction{after: 50 * ms}, want: "[::1] 0s, 127.0.0.1 300ms, 350ms"},
		"the faster of two":        {six: reaction{after: 400 * ms}, four: reaction{after: 200 * ms}, want: "[::1] 0s, 127.0.0.1 300ms, 400ms"},
		"one that refuses":         {six: refused, want: "[::1] 0s, 127.0.0.1 0s, 0s"},
		"one that refuses late":    {six: reaction{500 * ms, refused.err, false}, four: reaction{after: 500 * ms}, want: "[::1] 0s, 127.0.0.1 300ms, 800ms"},
		"slow, the other refuses":  {six: reaction{after: time.Second}, four: refused, want: "[::1] 0s, 127.0.0.1 300ms, 1s"},
		"both answer":              {six: reaction{after: 400 * ms}, four: reaction{after: 200 * ms, deaf: true}, want: "[::1] 0s, 127.0.0.1 300ms, 500ms", closed: 1},
		"no time for the other":    {six: hole, left: 200 * ms, want: "[::1] 0s, 200ms", err: context.DeadlineExceeded},
		"nobody answers":           {six: hole, four: hole, want: "[::1] 0s, 127.0.0.1 300ms, 10s", err: context.DeadlineExceeded},
		"both refuse, one is slow": {six: reaction{time.Second, refused.err, false}, four: refused, want: "[::1] 0s, 127.0.0.1 300ms, 1s", err: refused.err},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				began, closed := time.Now(), 0
				var mu sync.Mutex
				var got []string
				d := &dialer{open: func(ctx context.Context, _, addr string) (net.Conn, error) {
					how := tc.four
					if strings.HasPrefix(addr, "[") {
						how = tc.six
					}
					mu.Lock()
					got = append(got, fmt.Sprint(strings.TrimSuffix(addr, ":80"), " ", time.Since(began)))
					mu.Unlock()
					return how.give(ctx, func() { closed++ })
				}}
				ctx, cancel := context.WithTimeout(t.Context(), cmp.Or(tc.left, 10*time.Second))
				defer cancel()
				addrs, _ := leadsTo("::1 127.0.0.1")(ctx, "", "")
				conn, err := d.firstThatAnswers(ctx, addrs, "80")
				got = append(got, time.Since(began).String())
				if s := strings.Join(got, ", "); s != tc.want || !errors.Is(err, tc.err) || (conn == nil) != (tc.err != nil) || closed != tc.closed {
					t.Errorf("%s, %v, %d closed; want %s, %v, %d", s, err, closed, tc.want, tc.err, tc.closed)
				}
			})
		})
	}
}

// reaction is what an address does with an attempt to connect.
type reaction struct {
	after time.Duration
	err   error
	deaf  bool // to the end of the attempt
}

func (a reaction) give(ctx context.Context, closed func()) (net.Conn, error) {
	if a.deaf {
		ctx = context.WithoutCancel(ctx)
	}
	select {
	case <-time.After(a.after):
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	conn, _ := net.Pipe()
	if a.err != nil {
		return nil, a.err
	}
	return toldOf{conn, closed}, nil
}

// toldOf tells when it is closed.
type toldOf struct {
	net.Conn
	told func()
}

func (c toldOf) Close() error {
	c.told()
	return c.Conn.Close()
}

// leadsTo is a look-up whose answer is always the same.
func leadsTo(list string) func(context.Context, string, string) ([]netip.Addr, error) {
	var addrs []netip.Addr
	for _, one := range strings.Fields(list) {
		addrs = append(addrs, netip.MustParseAddr(one))
	}
	return func(context.Context, string, string) ([]netip.Addr, error) { return addrs, nil }
}
