package loadgen

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptrace"
	"syscall"
	"time"

	"volley/plan"
	"volley/stats"
)

// mostTries is how often a request is sent at most where connections break
// under it before the target has said anything.
const mostTries = 3

// network is what a run's clients have in common.
type network struct {
	config *plan.Config
	dialer *dialer
	shared *pool   // nil if each worker has connections of its own
	places *places // nil for no limit
	phases bool
}

// newNetwork is for a run of at most so many workers.
func newNetwork(p *plan.Plan, local Client, workers int) (*network, error) {
	d, err := newDialer(&p.Config, local)
	if err != nil {
		return nil, err
	}
	c := &p.Config
	n := &network{config: c, dialer: d, phases: p.Metrics.Phases}
	spare, limited := spareLimit(c)
	switch single := perRequest(c); {
	case c.Connections.Mode == "shared":
		d.greets = true
		n.shared = newPool(c.Connections.N, -1, single, idleLimit(c))
		if limited {
			n.shared.spare = spare
		}
	case single || !limited || spare >= workers:
	case c.Connections.Mode == "iteration":
		n.places = &places{most: spare, taken: map[route]int{}}
	default:
		// The predecessor's workers shared what was idle.
		n.shared = newPool(0, spare, false, idleLimit(c))
	}
	return n, nil
}

func (n *network) client() *client {
	c := &client{dialer: n.dialer, phases: n.phases}
	if n.shared != nil {
		c.keep = n.shared
		return c
	}
	c.own = &own{
		single: perRequest(n.config), expire: idleLimit(n.config), places: n.places,
		lines: map[route]*line{}, broke: map[route]bool{},
	}
	c.keep = c.own
	return c
}

// close closes what is shared; clients are closed by their users.
func (n *network) close() {
	if n.shared != nil {
		n.shared.close()
	}
}

// client is one worker's HTTP client. One goroutine uses it.
type client struct {
	dialer *dialer
	keep   keeper
	own    *own // nil if connections are shared
	phases bool

	reserved *grant // of the next request
	waits    route  // what reserved is for
}

// exchange is one request with its response, or what became of it.
type exchange struct {
	begun, sent, ended time.Time     // sent: the first byte, begun if there was none
	waited             time.Duration // for a connection that others use, before begun
	status             int
	header             http.Header
	err                error
	newConn            bool
	reconnected        int64
	in, out            int64
	wrote              bool
	phases             *stats.Phases // nil if nobody asks for them
}

// reserve waits until req, the next one to be sent, may have a connection that
// others use as well. That is lateness and none of the time that a request may
// take, which begins afterwards. There is no error but that of req's context.
func (c *client) reserve(req *http.Request) error {
	if c.own != nil {
		return nil
	}
	r := c.route(req)
	g, err := c.keep.take(req.Context(), r)
	if err == nil {
		c.reserved, c.waits = &g, r
	}
	return err
}

// granted is what has been reserved, or has to be waited for.
func (c *client) granted(ctx context.Context, r route) (grant, error) {
	if c.reserved == nil {
		return c.keep.take(ctx, r)
	}
	g := *c.reserved
	c.reserved = nil
	if c.waits != r {
		c.keep.give(c.waits, g)
		return c.keep.take(ctx, r)
	}
	return g, nil
}

// renew is the end of an iteration whose connections are its own.
func (c *client) renew() {
	if c.own != nil {
		c.own.renew()
	}
}

func (c *client) close() {
	if c.own != nil {
		c.own.close()
	}
}

// route leads to the request's host. A host that a redirect led to is not
// shown the client certificate, as with net/http.
func (c *client) route(req *http.Request) route {
	r := route{origin: originOf(req.URL)}
	if c.dialer.tls != c.dialer.bare {
		r.bare = isStranger(req.Context())
	}
	return r
}

// do sends a request and reads all of the response; to is given its body as
// the wire had it, io.Discard if nobody asks for it.
func (c *client) do(req *http.Request, to io.Writer) exchange {
	r := c.route(req)
	var x exchange
	came := time.Now()
	for try := 1; ; try++ {
		g, err := c.granted(req.Context(), r)
		if try == 1 {
			x.begun = time.Now()
			x.waited = x.begun.Sub(came)
		}
		if err != nil {
			x.unsent(req, err)
			return x
		}
		if again := c.send(g, r, req, to, &x); !again || try == mostTries {
			return x
		}
		if req, err = rewound(req); err != nil {
			return x
		}
	}
}

// send sends a request by a grant. again is true if it came to nothing for a
// reason that says nothing of the target, and another connection may do.
func (c *client) send(g grant, r route, req *http.Request, to io.Writer, x *exchange) (again bool) {
	rested := g.line != nil
	if !rested {
		l, err := c.dialer.dial(req.Context(), r)
		if err != nil {
			c.keep.give(r, g)
			x.unsent(req, err)
			return false
		}
		if g.replaces {
			x.reconnected++
		}
		g.line = l
		c.keep.opened(l)
	}
	l := g.line
	x.newConn = !l.used.Swap(true)
	m := x.over(l, req, to)
	if c.phases {
		x.phases = x.timed(l, m)
	}
	again = rested && x.repeatable(l, m, req)
	if x.err != nil && !l.http2 {
		l.close()
	}
	c.keep.give(r, g)
	return again
}

// over sends a request on a connection and reads the response. The meter has
// when it was sent and answered.
func (x *exchange) over(l *line, req *http.Request, to io.Writer) *meter {
	m := &l.meter
	if l.http2 {
		// Others may use the connection at the same time: its bytes do not say
		// when this request began.
		m = &meter{epoch: x.begun}
		req = req.WithContext(httptrace.WithClientTrace(req.Context(), m.trace()))
	}
	m.rearm()
	res, err := l.conn.RoundTrip(req)
	if err == nil {
		_, err = io.Copy(to, res.Body)
		_ = res.Body.Close()
		x.status, x.header = res.StatusCode, res.Header
	}
	x.ended, x.err = time.Now(), err
	if x.sent, x.wrote = m.instant(&m.first); !x.wrote {
		x.sent = x.begun
	}
	// What HTTP/2 carries for several requests is counted with the one that ends.
	x.in += l.meter.in.Swap(0)
	x.out += l.meter.out.Swap(0)
	return m
}

// unsent is the end of a request that never had a connection.
func (x *exchange) unsent(req *http.Request, err error) {
	if req.Body != nil {
		_ = req.Body.Close()
	}
	x.sent, x.ended, x.err = x.begun, time.Now(), err
}

func (x *exchange) timed(l *line, m *meter) *stats.Phases {
	p := &stats.Phases{}
	if x.newConn {
		p.DNS, p.Connect, p.TLS = l.took.dns, l.took.connect, l.took.tls
	}
	if at, ok := m.instant(&m.answered); ok && x.wrote {
		p.FirstByte = at.Sub(x.sent)
	}
	return p
}

// repeatable is net/http's rule: the connection had rested and may have been
// closed meanwhile, nothing of a response has come, and either nothing of the
// request went out or sending it twice does no harm.
func (x *exchange) repeatable(l *line, m *meter, req *http.Request) bool {
	_, answered := m.instant(&m.answered)
	switch {
	case x.err == nil || answered || req.Context().Err() != nil:
		return false
	case req.Body != nil && req.Body != http.NoBody && req.GetBody == nil:
		return false
	case !x.wrote || refused(x.err):
		return true
	}
	return idempotent(req) && !l.fit()
}

func idempotent(req *http.Request) bool {
	switch cmp.Or(req.Method, http.MethodGet) {
	case http.MethodGet, http.MethodHead, http.MethodOptions, http.MethodTrace:
		return true
	}
	return req.Header["Idempotency-Key"] != nil || req.Header["X-Idempotency-Key"] != nil
}

// refused is true if the other side of HTTP/2 says that it has not looked at
// the request.
func refused(err error) bool {
	const refusedStream = 7
	var reset streamReset
	return errors.As(err, &reset) && reset.Code == refusedStream
}

// streamReset is the form that net/http's own error, which it does not export,
// lets itself be copied into.
type streamReset struct {
	StreamID uint32
	Code     uint32
	Cause    error
}

func (r streamReset) Error() string {
	return fmt.Sprintf("stream %d was reset with code %d: %v", r.StreamID, r.Code, r.Cause)
}

// rewound is a request whose body can be read once more.
func rewound(req *http.Request) (*http.Request, error) {
	if req.Body == nil || req.Body == http.NoBody {
		return req, nil
	}
	again := *req
	var err error
	again.Body, err = req.GetBody()
	return &again, err
}

// failure classifies an exchange without a complete response. timedOut is
// whether the request's own deadline had passed.
func failure(err error, timedOut bool) stats.ErrorKind {
	switch {
	case exhausted(err):
		return stats.ErrGenerator
	case timedOut:
		return stats.ErrTimeout
	case isTLS(err):
		return stats.ErrTLS
	}
	return stats.ErrNetwork
}

// exhausted is true if this machine, not the target, ran out of something.
func exhausted(err error) bool {
	for _, no := range []syscall.Errno{syscall.EMFILE, syscall.ENFILE, syscall.EADDRNOTAVAIL, syscall.ENOBUFS, syscall.ENOMEM} {
		if errors.Is(err, no) {
			return true
		}
	}
	return false
}
