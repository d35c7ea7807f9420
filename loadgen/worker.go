package loadgen

import (
	"context"
	"io"
	"net/http"
	"net/http/cookiejar"
	"net/url"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"volley/plan"
	"volley/stats"
)

// user runs the iterations of one worker, one after the other.
type user struct {
	script *script
	config *plan.Config
	seed   uint64
	bodies *atomic.Uint64 // numbers the random bodies of the run
	client *client
	shard  *stats.Shard
	base   time.Time // the run's start
	jar    http.CookieJar
}

// iterate runs iteration n, which was due at due, and records it. Once ctx is
// done what is under way is interrupted.
func (u *user) iterate(ctx context.Context, n int64, due time.Time) {
	sc := u.script.pick(u.seed, n)
	u.fresh()
	began, outcome := time.Now(), stats.Succeeded
	for i := range sc.steps {
		done, kind := u.step(ctx, &sc.steps[i], due)
		if done.IsZero() {
			outcome = stats.Interrupted
			break
		}
		due = done
		if kind == stats.ErrNone {
			continue
		}
		outcome = stats.Failed
		if !sc.steps[i].continues {
			break
		}
	}
	u.shard.Iteration(stats.Iteration{
		Step: sc.steps[0].index, Duration: time.Since(began), Outcome: outcome,
	})
}

// fresh makes of the worker a new visitor, as far as the plan says so.
func (u *user) fresh() {
	if u.config.Cookies == "iteration" {
		u.jar = nil
	}
	if u.config.Connections.Mode == "iteration" {
		u.client.transport.CloseIdleConnections()
	}
}

func (u *user) close() { u.client.close() }

// step sends a step's request and follows its redirects. done is when the last
// byte was read, zero if ctx interrupted it.
func (u *user) step(ctx context.Context, st *step, due time.Time) (done time.Time, kind stats.ErrorKind) {
	own, cancel := context.WithTimeout(ctx, st.timeout)
	defer cancel()
	req := u.request(own, st)
	for hops := 0; ; hops++ {
		u.addCookies(req, st)
		x := u.client.do(req)
		if x.reconnected > 0 {
			u.shard.Reconnected(x.reconnected)
		}
		if ctx.Err() != nil && x.err != nil {
			u.interrupted(st, x)
			return time.Time{}, stats.ErrNone
		}
		u.keepCookies(req.URL, x.header)
		if next := follow(req, x, hops < u.config.MaxRedirects); next != nil {
			u.hop(st, x)
			req = next
			continue
		}
		return x.ended, u.record(st, x, due, own.Err() != nil)
	}
}

// record counts the last or only exchange of a step and says how it went.
func (u *user) record(st *step, x exchange, due time.Time, timedOut bool) stats.ErrorKind {
	sm := u.sample(st, x)
	sm.Latency = x.ended.Sub(due)
	if x.err != nil {
		sm.Status, sm.Kind = 0, failure(x.err, timedOut)
		sm.Complete = sm.Kind == stats.ErrTimeout
	} else {
		sm.Complete = true
		sm.Kind, sm.AssertionsPassed = st.judge(x.status)
		sm.AssertionsFailed = len(st.statuses) - sm.AssertionsPassed
	}
	u.shard.Request(sm)
	return sm.Kind
}

// hop counts a redirect: a request with a service time of its own, no latency.
func (u *user) hop(st *step, x exchange) {
	sm := u.sample(st, x)
	sm.Complete, sm.Partial = true, true
	u.shard.Request(sm)
}

// interrupted counts a request that was cut off, if any of it was sent: the
// target has seen it, but it is in no percentile and no error.
func (u *user) interrupted(st *step, x exchange) {
	if !x.wrote {
		return
	}
	sm := u.sample(st, x)
	sm.Status, sm.Partial = 0, true
	u.shard.Request(sm)
}

func (u *user) sample(st *step, x exchange) stats.Sample {
	return stats.Sample{
		Step:     st.index,
		At:       x.sent.Sub(u.base),
		Service:  x.ended.Sub(x.sent),
		Status:   x.status,
		NewConn:  x.newConn,
		BytesIn:  x.in,
		BytesOut: x.out,
	}
}

// request makes a step's request. The template's header map is only read.
func (u *user) request(ctx context.Context, st *step) *http.Request {
	req := (&http.Request{
		Method: st.method, URL: st.url, Host: st.host, Header: st.header,
		Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1,
	}).WithContext(ctx)
	switch {
	case st.bodySize > 0:
		number := u.bodies.Add(1)
		req.ContentLength = st.bodySize
		req.GetBody = func() (io.ReadCloser, error) {
			return newRandomBody(st.bodySize, u.seed, number), nil
		}
	case st.body != "":
		req.ContentLength = int64(len(st.body))
		req.GetBody = func() (io.ReadCloser, error) {
			return io.NopCloser(strings.NewReader(st.body)), nil
		}
	default:
		return req
	}
	req.Body, _ = req.GetBody()
	return req
}

// addCookies adds the jar's cookies to those of the plan. A redirect's header
// is a copy already, with the plan's cookies taken out.
func (u *user) addCookies(req *http.Request, st *step) {
	hop := req.URL != st.url
	if planned := st.header["Cookie"]; hop && planned != nil && req.URL.Host == st.url.Host {
		req.Header["Cookie"] = slices.Clone(planned)
	}
	if u.jar == nil {
		return
	}
	cookies := u.jar.Cookies(req.URL)
	if len(cookies) > 0 && !hop {
		req.Header = req.Header.Clone()
	}
	for _, c := range cookies {
		req.AddCookie(c)
	}
}

func (u *user) keepCookies(from *url.URL, h http.Header) {
	if u.config.Cookies == "off" || len(h["Set-Cookie"]) == 0 {
		return
	}
	if u.jar == nil {
		u.jar, _ = cookiejar.New(nil) // without options it has no error
	}
	u.jar.SetCookies(from, (&http.Response{Header: h}).Cookies())
}

// follow is the request that a redirect asks for; nil if there is none or it
// may not be followed: then the redirect is the response.
func follow(req *http.Request, x exchange, may bool) *http.Request {
	if x.err != nil || !may || !isRedirect(x.status) {
		return nil
	}
	to, err := req.URL.Parse(x.header.Get("Location"))
	if err != nil || x.header.Get("Location") == "" || to.Host == "" || to.Scheme != "http" && to.Scheme != "https" {
		return nil
	}
	next := req.Clone(req.Context())
	next.URL = to
	next.Header.Del("Cookie")
	if to.Host != req.URL.Host {
		next.Host = ""
		for _, secret := range []string{"Authorization", "Proxy-Authorization"} {
			next.Header.Del(secret)
		}
	}
	return carryBody(next, x.status)
}

// carryBody keeps method and body with 307 and 308; the others turn into GET.
func carryBody(next *http.Request, status int) *http.Request {
	if status == http.StatusTemporaryRedirect || status == http.StatusPermanentRedirect {
		if next.GetBody != nil {
			next.Body, _ = next.GetBody()
		}
		return next
	}
	if next.Method != http.MethodHead {
		next.Method = http.MethodGet
	}
	next.Body, next.GetBody, next.ContentLength = nil, nil, 0
	for name := range next.Header {
		if strings.HasPrefix(name, "Content-") {
			next.Header.Del(name)
		}
	}
	return next
}

func isRedirect(status int) bool {
	switch status {
	case http.StatusMovedPermanently, http.StatusFound, http.StatusSeeOther,
		http.StatusTemporaryRedirect, http.StatusPermanentRedirect:
		return true
	}
	return false
}
