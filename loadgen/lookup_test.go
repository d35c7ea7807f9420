package loadgen

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"volley/plan"
)

// nameServer answers with an address, or hangs until whoever asks gives up.
type nameServer struct {
	mu            sync.Mutex
	hangs         bool
	addr          string
	asked, failed int
}

func (n *nameServer) set(hangs bool, addr string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.hangs, n.addr = hangs, addr
}

// fail is what the resolver counts failures with.
func (n *nameServer) fail() {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.failed++
}

// counts are the lookups, and how many of them failed.
func (n *nameServer) counts() string {
	n.mu.Lock()
	defer n.mu.Unlock()
	return fmt.Sprint(n.asked, n.failed)
}

func (n *nameServer) lookup(ctx context.Context, _, _ string) ([]netip.Addr, error) {
	n.mu.Lock()
	n.asked++
	hangs, addr := n.hangs, n.addr
	n.mu.Unlock()
	if hangs {
		<-ctx.Done()
		return nil, ctx.Err()
	}
	return []netip.Addr{netip.MustParseAddr(addr)}, nil
}

func TestAnAnswerThatIsKnownOutlivesItsNameServer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		server := &nameServer{addr: "10.0.0.1"}
		r := newResolver(plan.DNS{TTL: ttl, Select: "roundRobin"})
		r.lookup, r.failed = server.lookup, server.fail
		// get is what a request that may take d gets, and after what time.
		get := func(d time.Duration) string {
			ctx, cancel := context.WithTimeout(t.Context(), d)
			defer cancel()
			began := time.Now()
			addrs, err := r.addresses(ctx, "h")
			return fmt.Sprint(addrs, err, time.Since(began))
		}
		expect := func(when, got, want string) {
			t.Helper()
			if got != want {
				t.Errorf("%s: %s, want %s", when, got, want)
			}
		}
		known := "[10.0.0.1] <nil> "
		expect("at first", get(time.Second), known+"0s")
		<-time.After(ttl)
		server.set(true, "")
		expect("when the name server begins to hang", get(time.Second), known+lookupPatience.String())
		expect("during the lookup", get(time.Second), known+"0s")
		<-time.After(lookupWait)
		synctest.Wait()
		expect("the outage", server.counts(), "2 1")
		<-time.After(lookupPause)
		for range 3 {
			expect("during the next lookup", get(time.Second), known+"0s")
		}
		synctest.Wait()
		expect("lookups at a time", server.counts(), "3 1")
		<-time.After(lookupWait + lookupPause)
		server.set(false, "10.0.0.2")
		expect("when the name server is back", get(time.Second), known+"0s") // nobody waits while it is not known to be
		synctest.Wait()
		expect("afterwards", get(time.Second), "[10.0.0.2] <nil> 0s")
		expect("in all", server.counts(), "4 2")
		r.close()
	})
}

// However many hosts there are, and however long their lookups take, so many are
// under way at most, and so many are remembered.
func TestLookupsAreBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		server := &nameServer{hangs: true}
		r := newResolver(plan.DNS{TTL: ttl})
		r.lookup, r.failed = server.lookup, server.fail
		for i := range mostHosts + 10 {
			ctx, cancel := context.WithTimeout(t.Context(), time.Millisecond)
			_, err := r.addresses(ctx, fmt.Sprint("h", i))
			cancel()
			if err == nil {
				t.Fatal("a name was found")
			}
		}
		if got, want := server.counts(), fmt.Sprint(mostHosts, " 0"); got != want {
			t.Errorf("lookups and failures %s, want %s", got, want)
		}
		<-time.After(lookupWait)
		server.set(false, "127.0.0.1")
		for i := range 3 * mostHosts { // each takes the place of one that rests
			if _, err := r.addresses(t.Context(), fmt.Sprint("later", i)); err != nil {
				t.Fatal(err)
			}
		}
		if len(r.hosts) != mostHosts {
			t.Errorf("%d hosts are remembered", len(r.hosts))
		}
		r.close()
	})
}

func TestANameThatWasNeverFoundIsLookedForByOne(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		server := &nameServer{hangs: true}
		r := newResolver(plan.DNS{TTL: ttl, Select: "roundRobin"})
		r.lookup, r.failed = server.lookup, server.fail
		var crowd sync.WaitGroup
		for range 10 {
			crowd.Go(func() {
				ctx, cancel := context.WithTimeout(t.Context(), time.Second)
				defer cancel()
				if addrs, err := r.addresses(ctx, "h"); !errors.Is(err, context.DeadlineExceeded) {
					t.Errorf("%v, %v", addrs, err)
				}
			})
		}
		crowd.Wait()
		if _, err := r.addresses(t.Context(), "h"); err == nil || server.counts() != "1 1" {
			t.Errorf("%v; lookups and failures %s, want one each", err, server.counts())
		}
		<-time.After(lookupPause)
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		_, _ = r.addresses(ctx, "h")
		began := time.Now()
		r.close() // the end of a run is no news of the name
		if took := time.Since(began); took != 0 || server.counts() != "2 1" {
			t.Errorf("it closes in %v; lookups and failures %s, want 2 1", took, server.counts())
		}
	})
}

// TestARunOutlivesItsNameServer sends a request every 4 s for a minute, each with
// a connection of its own, while the second lookup and all after it hang.
func TestARunOutlivesItsNameServer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		server := &nameServer{addr: "10.0.0.1"}
		s := altered(t, `
version: "1.0"
config: {baseUrl: "http://some.test", workers: 1, connections: request, timeout: 5s, dns: {ttl: 3s}}
load: {model: concurrent, iterations: 15}
scenarios: [{name: s, steps: [{request: {method: GET, path: /}, thinkTime: 4s}]}]
`, Client{ThinkTimeScale: 1}, func(d *dialer) {
			d.names.lookup = server.lookup
			d.open = func(context.Context, string, string) (net.Conn, error) {
				server.set(true, "")
				return obliging(), nil
			}
		})
		// Lookups begin at 4 s, 16 s, 28 s, 40 s and 52 s; the last is cut off.
		if s.Requests != 15 || s.ErrorCount() != 0 || s.LookupFailures != 4 || server.asked != 6 {
			t.Errorf("%d requests, errors %v %v; %d lookups, %d of them failed", s.Requests, s.Errors, s.ErrorExamples, server.asked, s.LookupFailures)
		}
	})
}

// obliging is a connection to somebody who answers one request.
func obliging() net.Conn {
	ours, theirs := net.Pipe()
	go func() { // until either end is closed
		defer theirs.Close()
		if _, err := http.ReadRequest(bufio.NewReader(theirs)); err == nil {
			_, _ = io.WriteString(theirs, "HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
		}
	}()
	return ours
}
