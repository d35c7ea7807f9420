package loadgen

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptrace"
	"os"
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
	config  *plan.Config
	dialer  *dialer
	shared  *pool   // nil if each worker has connections of its own
	places  *places // nil for no limit
	phases  bool
	buffers buffers
}

// newNetwork is for a run of at most so many workers.
func newNetwork(p *plan.Plan, local Client, workers int) (*network, error) {
	d, err := newDialer(&p.Config, local)
	if err != nil {
		return nil, err
	}
	c := &p.Config
	if d.own, err = isOwn(p, local); err != nil {
		return nil, err
	}
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

// isOwn is whether HTTP/1.1 is our own client's: unless the plan wants the other,
// or is not certain and asks for what ours cannot do. It passes no proxy.
func isOwn(p *plan.Plan, local Client) (bool, error) {
	switch p.Config.Client {
	case "own":
		if local.ProxyFromEnv {
			return false, errors.New("config.client: own passes no proxy, and PROXY_FROM_ENV is set (config.client auto or std, or PROXY_FROM_ENV unset)")
		}
		return true, nil
	case "auto":
		return p.Config.HTTP != "2" && !local.ProxyFromEnv && len(foreign(p)) == 0, nil
	}
	return false, nil
}

func (n *network) client() *client {
	c := &client{dialer: n.dialer, phases: n.phases, single: perRequest(n.config), buffers: &n.buffers}
	if n.shared != nil {
		c.keep = n.shared
		return c
	}
	c.own = &own{
		single: c.single, expire: idleLimit(n.config), places: n.places,
		broke: map[route]bool{},
	}
	c.keep = c.own
	return c
}

// close closes what is shared, when nobody opens connections any more; clients
// are closed by their users.
func (n *network) close() {
	n.dialer.names.close()
	if n.shared != nil {
		n.shared.close()
	}
}

// client is one worker's HTTP client. One goroutine uses it.
type client struct {
	dialer *dialer
	keep   keeper
	own    *own // nil if connections are shared
	single bool // each connection serves one request
	phases bool

	reserved *grant // of the next request
	waits    route  // what reserved is for
	last     exchange

	// Of connections that are not net/http's:
	stop    stopper
	reply   reply
	buffers *buffers // of the run, for replies
	request bytes.Buffer
	waste   []byte // where what is forgotten is read to; made when needed
}

// exchange is one request with its response, or what became of it.
type exchange struct {
	begun, sent, ended time.Time     // sent: the first byte, of the first try that sent any; begun if there was none
	waited             time.Duration // for a connection that others use, before anything was sent
	queued             time.Duration // for another one after that, in a further try
	status             int
	header             http.Header
	err                error
	newConn            bool
	reconnected        int64
	in, out            int64
	wrote              bool
	phases             *stats.Phases // nil if nobody asks for them
}

// reserve waits until the next request, which goes on a route, may have a
// connection that others use as well. That is lateness and none of the time that
// a request may take, which begins afterwards. There is no error but ctx's.
func (c *client) reserve(ctx context.Context, r route) error {
	if c.own != nil {
		return nil
	}
	g, err := c.keep.take(ctx, r)
	if err == nil {
		c.reserved, c.waits = &g, r
	}
	return err
}

// granted is what has been reserved, or has to be waited for.
func (c *client) granted(k *errand) (grant, error) {
	if c.own != nil {
		return c.keep.take(k.ctx, k.route) // waits for nobody
	}
	if c.reserved != nil {
		g := *c.reserved
		c.reserved = nil
		if c.waits == k.route {
			return g, nil
		}
		c.keep.give(c.waits, g)
	}
	ctx, cancel := k.within()
	defer cancel()
	return c.keep.take(ctx, k.route)
}

// renew is the end of an iteration whose connections are its own.
func (c *client) renew() {
	if c.own != nil {
		c.own.renew()
	}
}

func (c *client) close() {
	c.stop.release()
	if c.own != nil {
		c.own.close()
	}
}

// route leads to a request's host. A host that a redirect led to is not shown
// the client certificate, as with net/http.
func (c *client) route(o origin, stranger bool) route {
	return route{origin: o, bare: stranger && c.dialer.tls != c.dialer.bare}
}

// do sends a request and reads all of the response; to is given its body as
// the wire had it, nil if nobody asks for it.
//
// What it returns is good until the next one: results that are handed on by
// reference keep the stack of a worker at 4 KB.
func (c *client) do(k *errand, to *sink) *exchange {
	x := &c.last
	*x = exchange{begun: k.came}
	for try := 1; ; try++ {
		came := k.came
		if try > 1 && c.own == nil {
			came = time.Now()
		}
		g, err := c.granted(k)
		switch {
		case c.own != nil: // waits for nobody
		case try == 1:
			x.begun = time.Now()
			x.waited = x.begun.Sub(came)
		case x.wrote:
			x.queued += time.Since(came)
		default:
			x.waited += time.Since(came)
		}
		if err != nil {
			x.unsent(k, err)
			return x
		}
		if again := c.send(g, k, to, x); !again || try == mostTries {
			return x
		}
		if k.req, err = rewound(k.req); err != nil {
			return x
		}
	}
}

// send sends a request by a grant. again is true if it came to nothing for a
// reason that says nothing of the target, and another connection may do.
func (c *client) send(g grant, k *errand, to *sink, x *exchange) (again bool) {
	rested := g.line != nil
	if !rested {
		l, err := c.dial(k)
		if err != nil {
			c.keep.give(k.route, g)
			x.unsent(k, err)
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
	if l.wire != nil {
		again = c.onWire(l, k, to, rested, x)
	} else {
		again = c.onLine(l, k, to, rested, x)
	}
	if x.err != nil && !l.http2 {
		l.close()
	}
	c.keep.give(k.route, g)
	return again
}

func (c *client) dial(k *errand) (*line, error) {
	ctx, cancel := k.within()
	defer cancel()
	return c.dialer.dial(ctx, k.route)
}

// onWire is an exchange on a connection of our own.
func (c *client) onWire(l *line, k *errand, to *sink, rested bool, x *exchange) (again bool) {
	w, p := l.wire, &c.reply
	c.stop.heed(k.ctx)
	sent := x.begun
	if !rested || !x.ended.IsZero() { // that was a while ago
		sent = now()
	}
	w.ready(sent, k.deadline, c)
	c.stop.busy.Store(w)
	err := k.write(&c.request, c.single)
	if err == nil && c.stop.over.Load() {
		err = k.ctx.Err()
	}
	if err == nil {
		err = w.send(k)
	}
	x.status, x.header, x.err = 0, nil, nil
	if err == nil {
		p.begin(w, c.buffers)
		err = x.read(p, k, to)
	}
	x.ended = now()
	c.stop.busy.Store(nil)
	w.settle(err == nil && p.again())
	p.end()
	if err != nil {
		x.err = w.reason(k, err, x.ended)
	}
	out := w.carried(k.wire)
	x.in, x.out = x.in+w.in, x.out+out
	x.left(sent, out > 0)
	if c.phases {
		x.phases = x.timed(l, sent, out > 0, w.answered)
	}
	return x.err != nil && rested && w.in == 0 && k.ctx.Err() == nil && !k.late(x.ended) && (out == 0 || k.idempotent)
}

// left notes when a try's first byte was sent. What is sent again is the same
// request, which has been on its way since the first.
func (x *exchange) left(sent time.Time, wrote bool) {
	switch {
	case x.wrote:
	case wrote:
		x.sent, x.wrote = sent, true
	default:
		x.sent = x.begun
	}
}

// read reads a response.
func (x *exchange) read(p *reply, k *errand, to *sink) error {
	err := p.next(k.toHEAD)
	if err == nil && k.wants(p) {
		x.header, err = p.headers(k.toHEAD)
	}
	if err != nil {
		return err
	}
	x.status = p.status
	return p.body(to)
}

// reason is why an exchange came to nothing: an end that was set comes before
// what it did to the connection.
func (w *wire) reason(k *errand, err error, at time.Time) error {
	if cause := k.ctx.Err(); cause != nil {
		return cause
	}
	if k.late(at) && errors.Is(err, os.ErrDeadlineExceeded) {
		return context.DeadlineExceeded
	}
	return err
}

// onLine is an exchange on a connection of net/http's.
func (c *client) onLine(l *line, k *errand, to *sink, rested bool, x *exchange) (again bool) {
	ctx, cancel := k.within()
	defer cancel()
	req := k.req.WithContext(ctx)
	m := x.over(l, req, to)
	if c.phases {
		answered, ok := m.instant(&m.answered)
		if !ok {
			answered = time.Time{}
		}
		sent, wrote := m.instant(&m.first)
		x.phases = x.timed(l, sent, wrote, answered)
	}
	return rested && x.repeatable(l, m, req, k.idempotent)
}

// over sends a request on a connection and reads the response. The meter has
// when it was sent and answered.
func (x *exchange) over(l *line, req *http.Request, to *sink) *meter {
	m := &l.meter
	if l.http2 {
		// Others may use the connection at the same time: its bytes do not say
		// when this request began.
		m = &meter{epoch: x.begun}
		req = req.WithContext(httptrace.WithClientTrace(req.Context(), m.trace()))
	}
	m.rearm()
	x.status, x.header = 0, nil
	res, err := l.conn.RoundTrip(req)
	if err == nil {
		_, err = to.drain(res.Body)
		_ = res.Body.Close()
		x.status, x.header = res.StatusCode, res.Header
	}
	x.ended, x.err = time.Now(), err
	x.left(m.instant(&m.first))
	// What HTTP/2 carries for several requests is counted with the one that ends.
	x.in += l.meter.in.Swap(0)
	x.out += l.meter.out.Swap(0)
	return m
}

// unsent is the end of a request that never had a connection.
func (x *exchange) unsent(k *errand, err error) {
	if k.req != nil && k.req.Body != nil {
		_ = k.req.Body.Close()
	}
	x.left(time.Time{}, false)
	x.ended, x.err = time.Now(), err
}

// timed are the parts of a try; answered is zero if no answer came.
func (x *exchange) timed(l *line, sent time.Time, wrote bool, answered time.Time) *stats.Phases {
	p := &stats.Phases{}
	if x.newConn {
		p.DNS, p.Connect, p.TLS = l.took.dns, l.took.connect, l.took.tls
	}
	if !answered.IsZero() && wrote {
		p.FirstByte = answered.Sub(sent)
	}
	return p
}

// repeatable is net/http's rule: the connection had rested and may have been
// closed meanwhile, nothing of a response has come, and either nothing of the
// request went out or sending it twice does no harm.
func (x *exchange) repeatable(l *line, m *meter, req *http.Request, idempotent bool) bool {
	_, answered := m.instant(&m.answered)
	_, wrote := m.instant(&m.first)
	switch {
	case x.err == nil || answered || req.Context().Err() != nil:
		return false
	case req.Body != nil && req.Body != http.NoBody && req.GetBody == nil:
		return false
	case !wrote || refused(x.err):
		return true
	}
	return idempotent && !l.fit()
}

// isIdempotent is whether sending a request twice does no more than once.
func isIdempotent(method string, has func(header string) bool) bool {
	switch method {
	case http.MethodGet, http.MethodHead, http.MethodOptions, http.MethodTrace:
		return true
	}
	return has("Idempotency-Key") || has("X-Idempotency-Key")
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
	if req == nil || req.Body == nil || req.Body == http.NoBody {
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
