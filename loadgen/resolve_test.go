package loadgen

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"volley/plan"
	"volley/stats"
)

const ttl = 5 * time.Minute

func TestNamesAreLookedUpOnceAndDealtOutInTurn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		asked, fail := 0, false
		r := newResolver(plan.DNS{TTL: ttl, Select: "roundRobin"})
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
		<-time.After(ttl)
		first()
		if asked != 2 {
			t.Errorf("%d lookups after the answer grew old, want 2", asked)
		}
		fail = true
		<-time.After(ttl)
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
		d := &dialer{names: newResolver(plan.DNS{TTL: ttl, Select: "roundRobin"}), open: func(ctx context.Context, _, addr string) (net.Conn, error) {
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
		if _, err := d.connect(ctx, origin{"http", "h:80"}, &timing{}); err != nil {
			t.Fatal(err)
		}
		if fmt.Sprint(tried) != "[10.0.0.1:80 10.0.0.2:80]" || time.Since(began) != 5*time.Second {
			t.Errorf("tried %v in %v, want both in half of the time", tried, time.Since(began))
		}
	})
}

func TestTheOverridesPortCountsOnlyWhereTheURLHasNone(t *testing.T) {
	to, err := overrides(&plan.Config{
		ResolveTarget: plan.ResolveTarget{Host: "H", IP: "10.0.0.9", Port: "8080"},
		// Here a port may be left out, so one that is there is meant.
		Resolve: map[string]string{"six": "::1", "Port": "10.0.0.8:81", "both": "[fe80::1]:82", "bücher.example": "10.0.0.7"},
	})
	if err != nil {
		t.Fatal(err)
	}
	var got string
	d := &dialer{overrides: to, open: func(_ context.Context, _, addr string) (net.Conn, error) {
		got = addr
		return nil, errors.New("far enough")
	}}
	for text, want := range map[string]string{
		"http://h": "10.0.0.9:8080", "http://h:81": "10.0.0.9:81", "https://H": "10.0.0.9:8080", "https://h:80": "10.0.0.9:80",
		"http://six": "[::1]:80", "https://six:444": "[::1]:444", "http://port": "10.0.0.8:81", "http://port:99": "10.0.0.8:81",
		"https://both": "[fe80::1]:82", "http://bücher.example": "10.0.0.7:80", "http://xn--bcher-kva.example:81": "10.0.0.7:81",
	} {
		u, err := url.Parse(text)
		if err != nil {
			t.Fatal(err)
		}
		_, _ = d.connect(t.Context(), originOf(u), &timing{})
		if got != want {
			t.Errorf("%s leads to %s, want %s", text, got, want)
		}
	}
	if _, err := overrides(&plan.Config{Resolve: map[string]string{"h": "x"}}); err == nil || !strings.Contains(err.Error(), `config.resolve.h: "x" is not an address`) {
		t.Errorf("a bad address gives %v", err)
	}
}

func TestWithoutATTLThoseWhoWaitShareALookup(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		asked := 0
		r := newResolver(plan.DNS{Select: "first"})
		r.lookup = func(context.Context, string, string) ([]netip.Addr, error) {
			asked++
			<-time.After(time.Second)
			return []netip.Addr{netip.MustParseAddr("10.0.0.1"), netip.MustParseAddr("10.0.0.2")}, nil
		}
		for range 2 {
			var all sync.WaitGroup
			for range 50 {
				all.Go(func() {
					if addrs, err := r.addresses(t.Context(), "h"); err != nil || addrs[0].String() != "10.0.0.1" {
						t.Errorf("%v, %v", addrs, err)
					}
				})
			}
			all.Wait()
		}
		r.close()
		if asked != 2 {
			t.Errorf("%d lookups for two crowds", asked)
		}
	})
}

// altered is a run whose network a test has changed.
func altered(t *testing.T, document string, local Client, alter func(d *dialer)) *stats.Summary {
	t.Helper()
	r, err := newRun(Job{RunID: "r", Document: []byte(document), Client: local}, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	alter(r.net.dialer)
	return r.execute(t.Context(), time.Now(), nil)
}

// document is three iterations of one or two steps.
func document(base, config string, several bool) string {
	second := ""
	if several {
		second = ", {request: {method: POST, path: /2, body: text}}"
	}
	return `
version: "1.0"
config: {baseUrl: "` + base + `", workers: 1, ` + config + `}
load: {model: concurrent, iterations: 3}
scenarios: [{name: s, steps: [{request: {method: GET, path: /1}}` + second + `]}]
`
}

// twins are two targets with one port, at IPv4 and IPv6, that count their
// requests.
func twins(t *testing.T, four, six *atomic.Int64) (port string) {
	t.Helper()
	for range 20 {
		a, err := net.Listen("tcp4", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		_, port, _ = net.SplitHostPort(a.Addr().String())
		b, err := net.Listen("tcp6", "[::1]:"+port)
		if err != nil {
			_ = a.Close()
			continue // the port is taken, or there is no IPv6
		}
		for l, n := range map[net.Listener]*atomic.Int64{a: four, b: six} {
			s := &httptest.Server{Listener: l, Config: &http.Server{Handler: http.HandlerFunc(func(http.ResponseWriter, *http.Request) { n.Add(1) })}}
			s.Start()
			t.Cleanup(s.Close)
		}
		return port
	}
	t.Skip("no port is free both at IPv4 and IPv6")
	return ""
}

func TestNamesAreLookedUpAsThePlanSays(t *testing.T) {
	for _, several := range []bool{false, true} {
		for _, tc := range []struct {
			dns      string
			fails    bool // all lookups but the first
			lookups  int
			six      float64 // share of the requests
			failures int64
		}{
			{dns: "", lookups: 1, six: 0.5},
			{dns: "dns: {select: roundRobin}", lookups: 1, six: 0.5},
			{dns: "dns: {select: first}", lookups: 1},
			{dns: "dns: {ttl: 0s}", lookups: 3, six: 0.5},
			// One that failed is not asked for again for a second.
			{dns: "dns: {ttl: 0s}", fails: true, lookups: 2, six: 0.5, failures: 1},
		} {
			var four, six atomic.Int64
			port, lookups := twins(t, &four, &six), 0
			requests := int64(3)
			if several {
				requests, tc.lookups = 6, (tc.lookups-1)*5/2+1
				if tc.fails {
					tc.lookups = 2
				}
			}
			s := altered(t, document("http://some.test:"+port, "connections: request, "+tc.dns, several), Client{}, func(d *dialer) {
				d.names.lookup = func(_ context.Context, _, host string) ([]netip.Addr, error) {
					lookups++
					if host != "some.test" || tc.fails && lookups > 1 {
						return nil, errors.New("no answer")
					}
					return []netip.Addr{netip.MustParseAddr("127.0.0.1"), netip.MustParseAddr("::1")}, nil
				}
			})
			wantSix := int64(tc.six * float64(requests))
			if s.ErrorCount() != 0 || lookups != tc.lookups || s.LookupFailures != tc.failures || six.Load() != wantSix || four.Load() != requests-wantSix {
				t.Errorf("%q (fails %v, several %v): %d lookups, want %d; %d failed, want %d; %d requests to IPv4 and %d to IPv6, want %d; errors %v %v",
					tc.dns, tc.fails, several, lookups, tc.lookups, s.LookupFailures, tc.failures, four.Load(), six.Load(), wantSix, s.Errors, s.ErrorExamples)
			}
		}
	}
}
