package loadgen

import (
	"context"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"net/url"
	"sync"
	"sync/atomic"
	"testing"
)

// relay is a proxy that counts what passes it.
type relay struct {
	*httptest.Server
	tunnels, forwarded atomic.Int64
	all                sync.WaitGroup
}

func newRelay(t *testing.T) *relay {
	t.Helper()
	r := &relay{}
	r.Server = httptest.NewServer(http.HandlerFunc(r.serve))
	t.Cleanup(func() {
		r.Close()
		r.all.Wait()
	})
	return r
}

func (r *relay) serve(w http.ResponseWriter, req *http.Request) {
	if req.Method != http.MethodConnect {
		r.forwarded.Add(1)
		out := req.Clone(req.Context())
		out.RequestURI = ""
		res, err := http.DefaultTransport.RoundTrip(out)
		if err != nil {
			w.WriteHeader(http.StatusBadGateway)
			return
		}
		defer func() { _ = res.Body.Close() }()
		w.WriteHeader(res.StatusCode)
		_, _ = io.Copy(w, res.Body)
		return
	}
	r.tunnels.Add(1)
	to, err := net.Dial("tcp", req.Host)
	if err != nil {
		w.WriteHeader(http.StatusBadGateway)
		return
	}
	from, _, err := w.(http.Hijacker).Hijack()
	if err != nil {
		_ = to.Close()
		return
	}
	_, _ = io.WriteString(from, "HTTP/1.1 200 OK\r\n\r\n")
	r.all.Go(func() {
		_, _ = io.Copy(to, from)
		_ = to.Close()
	})
	r.all.Go(func() {
		_, _ = io.Copy(from, to)
		_ = from.Close()
	})
}

func TestAProxyIsUsedIfTheEnvironmentMayNameOne(t *testing.T) {
	var protocol atomic.Value
	serve := http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { protocol.Store(r.Proto) })
	plain, secure := httptest.NewServer(serve), httptest.NewUnstartedServer(serve)
	secure.EnableHTTP2 = true
	secure.StartTLS()
	t.Cleanup(plain.Close)
	t.Cleanup(secure.Close)
	for _, several := range []bool{false, true} {
		requests := int64(3)
		if several {
			requests = 6
		}
		for _, tc := range []struct {
			base, config, want string
			tunnels, forwarded int64
		}{
			{plain.URL, "http: 1.1", "HTTP/1.1", 0, requests},
			{secure.URL, "skipTlsVerify: true", "HTTP/1.1", 1, 0},
			{secure.URL, "skipTlsVerify: true, http: 2", "HTTP/2.0", 1, 0},
			{secure.URL, "skipTlsVerify: true, http: auto", "HTTP/2.0", 1, 0},
			{secure.URL, "skipTlsVerify: true, connections: request", "HTTP/1.1", requests, 0},
		} {
			proxy := newRelay(t)
			s := altered(t, document(tc.base, tc.config, several), Client{ProxyFromEnv: true}, func(d *dialer) {
				if d.proxy == nil {
					t.Fatal("the environment is not asked for a proxy")
				}
				// net/http reads the environment once, and names no proxy for this machine.
				d.proxy = func(r *http.Request) (*url.URL, error) {
					if r.URL.Scheme+"://"+r.URL.Host != tc.base {
						t.Errorf("asked for the proxy of %s, want %s", r.URL, tc.base)
					}
					return url.Parse(proxy.URL)
				}
				// The proxy's name is ours to look up.
				d.names.lookup = func(context.Context, string, string) ([]netip.Addr, error) {
					return []netip.Addr{netip.MustParseAddr("127.0.0.1")}, nil
				}
			})
			fresh := max(tc.tunnels, 1)
			if s.ErrorCount() != 0 || s.Requests != requests || proxy.tunnels.Load() != tc.tunnels || proxy.forwarded.Load() != tc.forwarded || protocol.Load() != tc.want || s.ConnsNew != fresh {
				t.Errorf("%s with %s: %d requests, %d tunnels, %d forwarded, %v, %d new connections; errors %v %v",
					tc.base, tc.config, s.Requests, proxy.tunnels.Load(), proxy.forwarded.Load(), protocol.Load(), s.ConnsNew, s.Errors, s.ErrorExamples)
			}
		}
	}
	altered(t, document(plain.URL, "http: 1.1", false), Client{}, func(d *dialer) {
		if d.proxy != nil {
			t.Error("the environment is asked for a proxy although it may not be")
		}
	})
}

func TestHTTP2WithoutTLSDoesNotPassAProxy(t *testing.T) {
	proxy := newRelay(t)
	s := altered(t, document("http://some.test", "http: 2", false), Client{ProxyFromEnv: true}, func(d *dialer) {
		d.proxy = func(*http.Request) (*url.URL, error) { return url.Parse(proxy.URL) }
	})
	if s.ErrorCount() != 3 || proxy.tunnels.Load()+proxy.forwarded.Load() != 0 {
		t.Errorf("errors %v, %d and %d passed", s.Errors, proxy.tunnels.Load(), proxy.forwarded.Load())
	}
}
