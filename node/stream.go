package node

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/hashicorp/raft"
)

// MaxSummary is the largest summary that is streamed, in bytes.
const MaxSummary = 6 << 20

const (
	streamLook  = 200 * time.Millisecond // to whom does this node owe summaries?
	streamEvery = time.Second            // and does it owe one, if nothing says so?
	// streamPause between two looks bounds what a leader spends that hears
	// hundreds of nodes.
	streamPause = 50 * time.Millisecond
	// ackTimeout is how long nothing may be acknowledged until a stream is given up.
	ackTimeout = 5 * time.Second
	// streamIdle is how long a stream is kept that has nothing to carry.
	streamIdle = 10 * time.Second
	// streamLife ends a stream that is well, about so old: it has a deadline, like every call.
	streamLife     = 10 * time.Minute
	streamRetry    = 250 * time.Millisecond
	maxStreamRetry = 2 * time.Second
	// streamWarn is for how long no stream may have come to be until it is warned about.
	streamWarn = 10 * time.Second
)

var (
	errSilent = fmt.Errorf("nothing was acknowledged for %s", ackTimeout)
	errOld    = errors.New("it is old enough")
)

// StreamHead opens a stream of summaries.
type StreamHead struct {
	ClusterID string
	TargetID  string // server id of the process that the stream is meant for
	From      Member
	Fence     *Fence // of a leader that relays to a voter; nil: a member to its leader
}

// StreamAck answers a summary on a stream.
type StreamAck struct {
	RunID, ServerID, Incarnation string // whose it was, as in the Report
	Seq                          uint64
	// Again says that it is not kept here (yet): send the newest, which is all
	// there is to know, as a summary is cumulative.
	Again bool
}

// SummaryStream is the sender's end of a stream. One goroutine may send while
// another receives. After an error of Send, Recv says why.
type SummaryStream interface {
	Send(r Report) error // blocks while the receiver takes nothing
	Recv() (StreamAck, error)
	Close()
}

// SummarySource is the receiver's end. Next ends with its context, and with
// io.EOF when the sender has closed.
type SummarySource interface {
	Next(ctx context.Context) (Report, error)
	Ack(a StreamAck) error
}

// receiver is whom a node streams summaries to: the leader, or, if it leads
// itself, another voter.
type receiver struct {
	serverID, addr string
	reign          *leader // this node's own; nil: the receiver leads
}

// streamReports keeps a stream of summaries to everybody who shall have them, so
// that whoever leads at the end knows what a node has done that is lost by then.
func (n *Node) streamReports(ctx context.Context) error {
	outlets := map[receiver]*outlet{}
	defer func() {
		for _, o := range outlets {
			o.stop()
		}
	}()
	for {
		want := n.receivers()
		for to, o := range outlets {
			if !slices.Contains(want, to) {
				o.stop()
				delete(outlets, to)
			}
		}
		for _, to := range want {
			if outlets[to] == nil {
				outlets[to] = n.open(ctx, to)
			}
		}
		if !sleep(ctx, streamLook) {
			return nil
		}
	}
}

func (n *Node) receivers() (list []receiver) {
	if n.identity.Blank() {
		return nil
	}
	l := n.leading.Load()
	if l == nil {
		if id, addr := n.leader(); id != "" && id != n.self.ServerID {
			list = append(list, receiver{serverID: id, addr: addr})
		}
		return list
	}
	for _, s := range n.raft.Servers() {
		if id := string(s.ID); s.Suffrage == raft.Voter && id != n.self.ServerID && !l.crew.lost(id) {
			list = append(list, receiver{id, string(s.Address), l})
		}
	}
	return list
}

// outlet is the sending side towards one receiver: one goroutine that sends
// what is newest, and one that hears what was taken.
type outlet struct {
	n      *Node
	to     receiver
	cancel context.CancelFunc
	done   chan struct{}

	// backlog is what this node holds of others when it meets a leader: of the one
	// before, for instance. It is sent once; what comes later comes from that leader.
	backlog map[reportKey]bool

	mu      sync.Mutex
	acked   map[reportKey]uint64    // what the receiver has
	sent    map[reportKey]uint64    // on its way: nothing newer is sent until it is acknowledged
	notYet  map[reportKey]time.Time // not kept there: not to be sent again before
	silence *time.Timer             // ends the stream
	heard   bool                    // something was acknowledged on this stream
	news    chan struct{}           // something was acknowledged
	tooLong map[reportKey]bool      // it has been told
}

func (n *Node) open(ctx context.Context, to receiver) *outlet {
	ctx, cancel := context.WithCancel(ctx)
	o := &outlet{
		n: n, to: to, cancel: cancel, done: make(chan struct{}), backlog: map[reportKey]bool{},
		tooLong: map[reportKey]bool{}, acked: map[reportKey]uint64{}, sent: map[reportKey]uint64{}, notYet: map[reportKey]time.Time{}, news: make(chan struct{}, 1),
	}
	o.forget()
	go func() {
		defer close(o.done)
		o.run(ctx)
	}()
	return o
}

func (o *outlet) stop() {
	o.cancel()
	<-o.done
}

// run makes streams while there is something to send, one after the other.
func (o *outlet) run(ctx context.Context) {
	wait := streamRetry
	var since time.Time // it fails
	warned := false
	for o.awaitOwed(ctx) {
		err := o.stream(ctx)
		if ctx.Err() != nil {
			return
		}
		if o.heard {
			wait, since, warned = streamRetry, time.Time{}, false
		}
		if err == nil {
			continue
		}
		o.forget()
		o.n.log.Debug("a stream of summaries has broken: "+err.Error(), "member", o.to.serverID, "addr", o.to.addr)
		if since.IsZero() {
			since = time.Now()
		}
		if !warned && time.Since(since) > streamWarn {
			warned = true
			o.n.log.Warn("summaries do not reach "+o.to.serverID+": "+err.Error(), "event", "summaries_stalled", "member", o.to.serverID, "addr", o.to.addr)
		}
		if !sleep(ctx, jitter(wait)) {
			return
		}
		wait = min(2*wait, maxStreamRetry)
	}
}

func (o *outlet) awaitOwed(ctx context.Context) bool {
	for ctx.Err() == nil {
		list, fresh := o.owed()
		if len(list) > 0 {
			return true
		}
		wakeUp(ctx, fresh, nil)
	}
	return false
}

// wakeUp waits for news of either kind, and for streamEvery at most.
func wakeUp(ctx context.Context, fresh, news <-chan struct{}) {
	t := time.NewTimer(streamEvery)
	defer t.Stop()
	select {
	case <-fresh:
	case <-news:
	case <-t.C:
	case <-ctx.Done():
	}
}

// forget is for a stream that broke: the process behind it may be gone, and one
// that knows nothing may lead under its server id.
func (o *outlet) forget() {
	o.mu.Lock()
	defer o.mu.Unlock()
	clear(o.acked)
	if o.to.reign != nil {
		return
	}
	for _, r := range o.n.reports.all() {
		o.backlog[r.key()] = !r.Of.sameLife(o.n.self)
	}
}

// owed are the summaries to be sent now, this node's own first, and a channel
// that is closed when there are others.
func (o *outlet) owed() ([]Report, <-chan struct{}) {
	s := o.n.machine.State()
	inHand := func(run string) bool { r := s.Run(run); return r != nil && !r.Ended }
	o.mu.Lock()
	defer o.mu.Unlock()
	gone := func(k reportKey, _ uint64) bool { return !inHand(k.run) }
	maps.DeleteFunc(o.acked, gone)
	maps.DeleteFunc(o.tooLong, func(k reportKey, _ bool) bool { return !inHand(k.run) })
	now := time.Now()
	maps.DeleteFunc(o.notYet, func(_ reportKey, t time.Time) bool { return now.After(t) })
	list, fresh := o.n.reports.pick(func(r *Report) bool {
		k := r.key()
		if _, under := o.sent[k]; under || o.acked[k] >= r.Seq || !o.notYet[k].IsZero() {
			return false
		}
		owed := o.carries(r) && inHand(r.RunID)
		if owed && len(r.Summary) > MaxSummary {
			o.tellTooLong(r)
			return false
		}
		return owed
	})
	slices.SortFunc(list, func(a, b Report) int { return o.rank(a) - o.rank(b) })
	return list, fresh
}

// tellTooLong warns once of summaries that are not streamed.
func (o *outlet) tellTooLong(r *Report) {
	if o.tooLong[r.key()] {
		return
	}
	o.tooLong[r.key()] = true
	o.n.log.Warn(fmt.Sprintf("a summary of %d bytes is not streamed (at most %d are): if its node is lost, so is what it has measured since the last one", len(r.Summary), MaxSummary),
		"event", "summary_too_large", "run_id", r.RunID, "node", r.Of.NodeID, "member", o.to.serverID)
}

func (o *outlet) rank(r Report) int {
	if r.Of.sameLife(o.n.self) {
		return 0
	}
	return 1
}

// carries says whether the receiver gets this report from this node. A final
// one of a node that is there is brought to the leader by Report.
func (o *outlet) carries(r *Report) bool {
	own := r.Of.sameLife(o.n.self)
	switch {
	case o.to.reign == nil:
		return own && !r.Final || o.backlog[r.key()]
	case own:
		return true
	default:
		return o.to.reign.crew.dead(r.Of)
	}
}

// stream is the life of one stream. It is nil if the stream ended well: it was
// old, or had nothing to carry.
func (o *outlet) stream(ctx context.Context) error {
	ctx, old := context.WithTimeoutCause(ctx, jitter(streamLife), errOld)
	defer old()
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	o.reset(time.AfterFunc(ackTimeout, func() { cancel(errSilent) })) // opening it is bounded, too
	defer o.reset(nil)
	s, err := o.n.opt.Wire.Upstream.Stream(ctx, o.to.addr, o.head())
	if err != nil {
		return reason(ctx, err)
	}
	o.opened()
	broken := make(chan error, 1)
	listening := make(chan struct{})
	go func() {
		defer close(listening)
		broken <- o.listen(s)
	}()
	defer func() {
		s.Close()
		<-listening
	}()
	for busy := time.Now(); ; {
		list, fresh := o.owed()
		for _, r := range list {
			o.mark(&r)
			if s.Send(r) != nil {
				return reason(ctx, <-broken)
			}
			busy = time.Now()
		}
		if time.Since(busy) > streamIdle {
			return nil
		}
		select {
		case err := <-broken:
			return reason(ctx, err)
		default:
		}
		wakeUp(ctx, fresh, o.news)
		if !sleep(ctx, streamPause) {
			return reason(ctx, ctx.Err())
		}
	}
}

// reason is why a stream has ended, nil if that was its time.
func reason(ctx context.Context, err error) error {
	switch cause := context.Cause(ctx); {
	case errors.Is(cause, errOld):
		return nil
	case errors.Is(cause, errSilent):
		return cause
	case errors.Is(err, io.EOF):
		return errors.New("the receiver has ended it")
	}
	return err
}

func (o *outlet) head() StreamHead {
	h := StreamHead{ClusterID: o.n.identity.ClusterID(), TargetID: o.to.serverID, From: o.n.self}
	if o.to.reign != nil {
		fence := o.to.reign.fence()
		h.Fence = &fence
	}
	return h
}

// reset is for a new stream, or for the end of one.
func (o *outlet) reset(silence *time.Timer) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.silence != nil {
		o.silence.Stop()
	}
	o.silence = silence
	clear(o.sent)
	if silence != nil {
		o.heard = false
	}
}

// opened ends the wait for that; what is sent begins the next.
func (o *outlet) opened() {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.silence.Stop()
}

// mark notes that r is about to be sent: from now on something is to be heard.
func (o *outlet) mark(r *Report) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if len(o.sent) == 0 {
		o.silence.Reset(ackTimeout)
	}
	o.sent[r.key()] = r.Seq
}

// listen takes acknowledgements until the stream ends.
func (o *outlet) listen(s SummaryStream) error {
	for {
		a, err := s.Recv()
		if err != nil {
			return err
		}
		o.acknowledged(a)
		select {
		case o.news <- struct{}{}:
		default:
		}
	}
}

func (o *outlet) acknowledged(a StreamAck) {
	o.mu.Lock()
	defer o.mu.Unlock()
	k := reportKey{a.RunID, a.ServerID, a.Incarnation}
	if seq, under := o.sent[k]; !under || seq != a.Seq {
		return // nobody has asked
	}
	delete(o.sent, k)
	o.heard = true
	if o.silence.Stop(); len(o.sent) > 0 {
		o.silence.Reset(ackTimeout)
	}
	if a.Again {
		o.notYet[k] = time.Now().Add(streamEvery)
		return
	}
	o.acked[k] = a.Seq
}
