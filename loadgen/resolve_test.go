package loadgen

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"testing"
	"testing/synctest"
	"time"

	"volley/plan"
)

func TestNamesAreLookedUpOnceAndDealtOutInTurn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		asked, fail := 0, false
		r := newResolver()
		r.lookup = func(context.Context, string, string) ([]netip.Addr, error) {
			asked++
			if fail {
				return nil, errors.New("no answer")
			}
			return []netip.Addr{netip.MustParseAddr("10.0.0.1"), netip.MustParseAddr("10.0.0.2")}, nil
		}
		first := func() string {
			addrs, err := r.addresses(t.Context(), "h")
			if err != nil || len(addrs) != 2 {
				t.Fatalf("%v, %v", addrs, err)
			}
			return addrs[0].String()
		}
		if a, b, c := first(), first(), first(); a != "10.0.0.1" || b != "10.0.0.2" || c != a || asked != 1 {
			t.Errorf("dealt out %s, %s, %s with %d lookups", a, b, c, asked)
		}
		<-time.After(lookupTTL)
		first()
		if asked != 2 {
			t.Errorf("%d lookups after the answer grew old, want 2", asked)
		}
		fail = true
		<-time.After(lookupTTL)
		first() // the last answer is kept
		first()
		if asked != 3 {
			t.Errorf("%d lookups, want 3: a failure is not repeated at once", asked)
		}
		if _, err := r.addresses(t.Context(), "other"); err == nil {
			t.Error("a name that was never found has addresses")
		}
		if addrs, err := r.addresses(t.Context(), "::1"); err != nil || addrs[0].String() != "::1" || asked != 4 {
			t.Errorf("an address is looked up: %v, %v, %d", addrs, err, asked)
		}
	})
}

func TestAHostsAddressesAreTriedInTurnWithinTheTimeThereIs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var tried []string
		d := &dialer{names: newResolver(), open: func(ctx context.Context, _, addr string) (net.Conn, error) {
			tried = append(tried, fmt.Sprint(addr))
			if addr == "10.0.0.1:80" {
				<-ctx.Done() // a black hole
				return nil, ctx.Err()
			}
			a, _ := net.Pipe()
			return a, nil
		}}
		d.names.lookup = func(context.Context, string, string) ([]netip.Addr, error) {
			return []netip.Addr{netip.MustParseAddr("10.0.0.1"), netip.MustParseAddr("10.0.0.2")}, nil
		}
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
		defer cancel()
		began := time.Now()
		if _, err := d.dial(ctx, origin{"http", "h:80"}); err != nil {
			t.Fatal(err)
		}
		if fmt.Sprint(tried) != "[10.0.0.1:80 10.0.0.2:80]" || time.Since(began) != 5*time.Second {
			t.Errorf("tried %v in %v, want both in half of the time", tried, time.Since(began))
		}
	})
}

func TestTheOverridesPortCountsOnlyWhereTheURLHasNone(t *testing.T) {
	var got string
	d := &dialer{override: plan.ResolveTarget{Host: "h", IP: "10.0.0.9", Port: "8080"}, open: func(_ context.Context, _, addr string) (net.Conn, error) {
		got = addr
		return nil, errors.New("far enough")
	}}
	for o, want := range map[origin]string{
		{"http", "h:80"}: "10.0.0.9:8080", {"http", "h:81"}: "10.0.0.9:81", {"https", "h:443"}: "10.0.0.9:8080", {"https", "h:80"}: "10.0.0.9:80",
	} {
		_, _ = d.dial(t.Context(), o)
		if got != want {
			t.Errorf("%v leads to %s, want %s", o, got, want)
		}
	}
}
