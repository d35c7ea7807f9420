package sources_test

import (
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"strings"
	"testing"
)

// before puts a handler before a real server and returns its host:port.
func before(t *testing.T, addr string, handler func(w http.ResponseWriter, r *http.Request, pass http.Handler)) string {
	t.Helper()
	transport := &http.Transport{}
	proxy := httputil.NewSingleHostReverseProxy(&url.URL{Scheme: "http", Host: addr})
	proxy.Transport = transport
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { handler(w, r, proxy) }))
	t.Cleanup(func() {
		server.Close()
		transport.CloseIdleConnections()
	})
	return strings.TrimPrefix(server.URL, "http://")
}

// holdingBack is a proxy that lets no request through before its caller has gone.
func holdingBack(t *testing.T, addr string) string {
	return before(t, addr, func(_ http.ResponseWriter, r *http.Request, _ http.Handler) { <-r.Context().Done() })
}
