package control

import (
	"crypto/sha256"
	"crypto/subtle"
	"net/http"
	"strings"
)

// route is what one path answers; a nil method is refused with 405.
type route struct{ get, post http.HandlerFunc }

func (s *Server) table() map[string]route {
	alive, config := route{get: ready}, route{post: s.change(s.config)}
	return map[string]route{
		"/":               {get: s.root},
		"/ready":          alive,
		"/readyz":         alive,
		"/healthz":        alive,
		"/health":         {get: s.read(s.health)},
		"/health/cluster": {get: s.cluster},
		"/config":         config,
		"/cluster/config": config,
		"/stop":           {post: s.change(s.stop)},
		"/metrics":        {get: s.read(s.metrics.ServeHTTP)},
		"/report.json":    {get: s.read(s.reportJSON)},
		"/report.html":    {get: s.read(s.reportHTML)},
		"/events":         {get: s.read(s.events)},
	}
}

func (s *Server) route(w http.ResponseWriter, r *http.Request) { dispatch(s.routes, w, r) }

// dispatch finds the handler by the exact path, without redirects.
func dispatch(routes map[string]route, w http.ResponseWriter, r *http.Request) {
	w.Header().Set("X-Content-Type-Options", "nosniff")
	w.Header().Set("Cache-Control", "no-store")
	found, ok := routes[r.URL.Path]
	if !ok {
		fail(w, http.StatusNotFound, "no such path")
		return
	}
	switch {
	case found.get != nil && (r.Method == http.MethodGet || r.Method == http.MethodHead):
		found.get(w, r)
	case found.post != nil && r.Method == http.MethodPost:
		found.post(w, r)
	default:
		w.Header().Set("Allow", found.allow())
		fail(w, http.StatusMethodNotAllowed, "method not allowed: want "+found.allow())
	}
}

func (r route) allow() string {
	if r.post != nil {
		return http.MethodPost
	}
	return "GET, HEAD"
}

// read guards an endpoint that shows data.
func (s *Server) read(next http.HandlerFunc) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		if s.healthAuth && !s.auth.admits(r) {
			s.unauthorised(w, r)
			return
		}
		next(w, r)
	}
}

// change guards an endpoint that changes something: a browser may call it only
// from this server's own pages, and the token is asked for before a byte of
// the body is read.
func (s *Server) change(next http.HandlerFunc) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		if s.origins.Check(r) != nil {
			s.tell(r, "another site", "request from another site refused (Origin or Sec-Fetch-Site)")
			fail(w, http.StatusForbidden, "request from another site refused")
			return
		}
		if !s.auth.admits(r) {
			s.unauthorised(w, r)
			return
		}
		select {
		case s.changing <- struct{}{}:
			defer func() { <-s.changing }()
			next(w, r)
		default:
			unavailable(w, "too many changing requests at a time")
		}
	}
}

func (s *Server) unauthorised(w http.ResponseWriter, r *http.Request) {
	s.tell(r, "control token", "request without the token of API_AUTH_TOKEN refused")
	w.Header().Set("WWW-Authenticate", "Bearer")
	fail(w, http.StatusUnauthorized, "unauthorized")
}

// auth knows the token by its hash, so that comparing takes the same time
// whatever is shown.
type auth struct {
	set  bool
	hash [sha256.Size]byte
}

func newAuth(token string) auth { return auth{token != "", sha256.Sum256([]byte(token))} }

// admits reports whether the request may pass: it shows the token, or there is none.
func (a auth) admits(r *http.Request) bool { return !a.set || a.shown(r) }

// shown reports whether there is a token and the request shows it.
func (a auth) shown(r *http.Request) bool {
	scheme, token, _ := strings.Cut(r.Header.Get("Authorization"), " ")
	hash := sha256.Sum256([]byte(token))
	return subtle.ConstantTimeCompare(hash[:], a.hash[:]) == 1 && a.set && strings.EqualFold(scheme, "Bearer")
}
