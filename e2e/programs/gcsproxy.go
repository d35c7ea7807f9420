package main

import (
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"net/http"
	"net/http/httputil"
	"net/url"
	"strings"
	"sync"
	"time"
)

// The modes that a gcsproxy can play.
const (
	modeOK           = "ok"           // pass on what shows the token
	modeUnauthorized = "unauthorized" // 401 on everything
	modeForbidden    = "forbidden"    // 403 on objects and buckets
	modeHidden       = "hidden"       // 404 on objects, 403 on the bucket: objectViewer looks for a missing object
	modeRateLimited  = "ratelimited"  // 429
	modeUnavailable  = "unavailable"  // 503
	modeSlow         = "slow"         // pass on after a delay
	modeHold         = "hold"         // pass on when another mode is set
)

// proxyControl is the body of PUT /_control. Times > 0 limits the mode to that
// many requests, after which it is ok again.
type proxyControl struct {
	Mode    string `json:"mode"`
	DelayMS int    `json:"delay_ms"`
	Times   int    `json:"times"`
}

// proxyStats is the answer of GET /_stats.
type proxyStats struct {
	Requests     int64 `json:"requests"`
	Unauthorized int64 `json:"unauthorized"` // without the right token
	ObjectMeta   int64 `json:"object_meta"`  // GET of an object's attributes
	ObjectGets   int64 `json:"object_gets"`  // GET of an object's bytes
	Played       int64 `json:"played"`       // requests that a mode other than ok touched
}

type gcsProxy struct {
	token    string // "" = anybody may come, as with an emulator
	upstream http.Handler

	mu      sync.Mutex
	control proxyControl
	changed chan struct{} // closed when control is set
	stats   proxyStats
}

func runGCSProxy(ctx context.Context, args []string) error {
	flags := flag.NewFlagSet("gcsproxy", flag.ContinueOnError)
	listen := flags.String("listen", ":8000", "address to listen on")
	upstream := flags.String("upstream", "", "base URL of fake-gcs-server")
	token := flags.String("token", "fake-token", "bearer token that requests must show, empty = none")
	if err := flags.Parse(args); err != nil {
		return err
	}
	base, err := url.Parse(*upstream)
	if err != nil || base.Host == "" {
		return fmt.Errorf("upstream %q: want a base URL such as http://gcs:4443", *upstream)
	}
	return serve(ctx, *listen, newGCSProxy(*token, passOn(base)), nil)
}

func newGCSProxy(token string, upstream http.Handler) *gcsProxy {
	return &gcsProxy{token: token, upstream: upstream, control: proxyControl{Mode: modeOK}, changed: make(chan struct{})}
}

// passOn is the way to the real server; the token ends here.
func passOn(base *url.URL) http.Handler {
	return &httputil.ReverseProxy{Rewrite: func(r *httputil.ProxyRequest) {
		r.SetURL(base)
		r.Out.Header.Del("Authorization")
	}}
}

func (p *gcsProxy) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	switch r.URL.Path {
	case "/_stats":
		p.mu.Lock()
		defer p.mu.Unlock()
		_ = json.NewEncoder(w).Encode(p.stats)
	case "/_control":
		p.setControl(w, r)
	default:
		p.play(w, r)
	}
}

func (p *gcsProxy) setControl(w http.ResponseWriter, r *http.Request) {
	var c proxyControl
	if err := json.NewDecoder(r.Body).Decode(&c); err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	switch c.Mode {
	case modeOK, modeUnauthorized, modeForbidden, modeHidden, modeRateLimited, modeUnavailable, modeSlow, modeHold:
	default:
		http.Error(w, fmt.Sprintf("mode %q is not known", c.Mode), http.StatusBadRequest)
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.control = c
	close(p.changed)
	p.changed = make(chan struct{})
}

// next counts a request and says what to play for it, and until when it is held.
func (p *gcsProxy) next(r *http.Request) (control proxyControl, changed <-chan struct{}, authorized bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.stats.Requests++
	authorized = p.token == "" || r.Header.Get("Authorization") == "Bearer "+p.token
	if !authorized {
		p.stats.Unauthorized++
		return p.control, nil, false
	}
	if r.Method == http.MethodGet && isObject(r.URL.Path) {
		if r.URL.Query().Get("alt") == "media" {
			p.stats.ObjectGets++
		} else {
			p.stats.ObjectMeta++
		}
	}
	control = p.control
	if control.Mode != modeOK {
		p.stats.Played++
		if p.control.Times > 0 {
			if p.control.Times--; p.control.Times == 0 {
				p.control = proxyControl{Mode: modeOK}
			}
		}
	}
	return control, p.changed, true
}

func (p *gcsProxy) play(w http.ResponseWriter, r *http.Request) {
	control, changed, authorized := p.next(r)
	if !authorized || control.Mode == modeUnauthorized {
		writeGoogleError(w, http.StatusUnauthorized, "authError", "Invalid Credentials")
		return
	}
	object := isObject(r.URL.Path)
	switch control.Mode {
	case modeForbidden:
		writeForbidden(w, object)
		return
	case modeHidden:
		if !object {
			writeForbidden(w, false)
			return
		}
		writeGoogleError(w, http.StatusNotFound, "notFound", "No such object: "+r.URL.Path)
		return
	case modeRateLimited:
		writeGoogleError(w, http.StatusTooManyRequests, "rateLimitExceeded", "The rate of requests is too high")
		return
	case modeUnavailable:
		writeGoogleError(w, http.StatusServiceUnavailable, "backendError", "Backend Error")
		return
	case modeSlow:
		select {
		case <-time.After(time.Duration(control.DelayMS) * time.Millisecond):
		case <-r.Context().Done():
			return
		}
	case modeHold:
		select {
		case <-changed:
		case <-r.Context().Done():
			return
		}
	}
	p.upstream.ServeHTTP(w, r)
}

// isObject tells …/b/BUCKET/o/OBJECT from calls about the bucket itself.
func isObject(path string) bool {
	_, object, ok := strings.Cut(path, "/o/")
	return ok && object != ""
}

func writeForbidden(w http.ResponseWriter, object bool) {
	permission, what := "storage.buckets.get", "bucket"
	if object {
		permission, what = "storage.objects.get", "object"
	}
	writeGoogleError(w, http.StatusForbidden, "forbidden", fmt.Sprintf(
		"sa@proj.iam.gserviceaccount.com does not have %s access to the Google Cloud Storage %s. Permission '%s' denied on resource (or it may not exist).",
		permission, what, permission))
}

// writeGoogleError answers in the form of Google's JSON APIs.
func writeGoogleError(w http.ResponseWriter, code int, reason, message string) {
	type detail struct {
		Message string `json:"message"`
		Domain  string `json:"domain"`
		Reason  string `json:"reason"`
	}
	w.Header().Set("Content-Type", "application/json; charset=UTF-8")
	w.WriteHeader(code)
	_ = json.NewEncoder(w).Encode(map[string]any{"error": map[string]any{
		"code": code, "message": message,
		"errors": []detail{{Message: message, Domain: "global", Reason: reason}},
	}})
}
