package node

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/hashicorp/raft"
)

// fabric joins nodes in virtual time: real Raft over its in-memory transport,
// and this package's calls straight into the handlers, each after a delay.
type fabric struct {
	mu    sync.Mutex
	nodes map[string]*host // by address
	cut   map[[2]string]bool
	muted map[string]bool                   // addresses whose words are lost, answers too
	fail  func(from, to, call string) error // may veto a call
}

const fabricDelay = time.Millisecond

func newFabric() *fabric {
	return &fabric{nodes: map[string]*host{}, cut: map[[2]string]bool{}, muted: map[string]bool{}, fail: func(_, _, _ string) error { return nil }}
}

// host is one process of the fabric.
type host struct {
	f         *fabric
	addr      string
	node      *Node
	transport *raft.InmemTransport
	identity  *Identity
	runner    *fakeRunner
	judge     *fakeJudge
	cancel    context.CancelFunc
	done      chan struct{}
	ending    Ending
	events    *eventLog
	dead      bool
}

// way finds the host at addr as seen from another, or what goes wrong on the way.
func (f *fabric) way(ctx context.Context, from, addr, call string) (*host, error) {
	select {
	case <-time.After(fabricDelay):
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	if _, ok := ctx.Deadline(); !ok {
		return nil, errors.New("call without a deadline")
	}
	f.mu.Lock()
	h, cut, veto := f.nodes[addr], f.cut[[2]string{from, addr}] || f.muted[from], f.fail
	gone := h == nil || h.dead
	f.mu.Unlock()
	if cut {
		<-ctx.Done() // dropped, not refused
		return nil, ctx.Err()
	}
	if gone {
		return nil, errors.New("connection refused")
	}
	if err := veto(from, addr, call); err != nil {
		return nil, err
	}
	return h, nil
}

// setMute drops what addr says, and nothing of what it is told.
func (f *fabric) setMute(addr string, on bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.muted[addr] = on
}

func (f *fabric) mute(addr string) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.muted[addr]
}

// isolate drops everything between addr and the others, or heals it.
func (f *fabric) isolate(addr string, cut bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for other, h := range f.nodes {
		if other == addr {
			continue
		}
		f.cut[[2]string{addr, other}], f.cut[[2]string{other, addr}] = cut, cut
		a, b := f.nodes[addr].transport, h.transport
		if cut {
			a.Disconnect(raft.ServerAddress(other))
			b.Disconnect(raft.ServerAddress(addr))
		} else {
			a.Connect(raft.ServerAddress(other), b)
			b.Connect(raft.ServerAddress(addr), a)
		}
	}
}

// wireOf is the wire as one host uses it.
type wireOf struct {
	f    *fabric
	from string
	of   *host
}

func call[T any](ctx context.Context, w wireOf, addr, name string, f func(*Node) (T, error)) (T, error) {
	var none T
	w.f.mu.Lock()
	dead := w.of != nil && w.of.dead
	w.f.mu.Unlock()
	if dead { // and another may have its address by now
		<-ctx.Done()
		return none, ctx.Err()
	}
	h, err := w.f.way(ctx, w.from, addr, name)
	if err != nil {
		return none, err
	}
	out, err := f(h.node)
	if w.f.mute(addr) {
		<-ctx.Done()
		return none, ctx.Err()
	}
	return out, err
}

func callErr(ctx context.Context, w wireOf, addr, name string, f func(*Node) error) error {
	_, err := call(ctx, w, addr, name, func(n *Node) (struct{}, error) { return struct{}{}, f(n) })
	return err
}

func (w wireOf) Hello(ctx context.Context, addr string, in Hello) (HelloReply, error) {
	return call(ctx, w, addr, "Hello", func(n *Node) (HelloReply, error) { return n.HandleHello(ctx, in) })
}
func (w wireOf) Grant(ctx context.Context, addr string, in Grant) (GrantReply, error) {
	return call(ctx, w, addr, "Grant", func(n *Node) (GrantReply, error) { return n.HandleGrant(ctx, in) })
}
func (w wireOf) Join(ctx context.Context, addr string, in Join) error {
	return callErr(ctx, w, addr, "Join", func(n *Node) error { return n.HandleJoin(ctx, in) })
}
func (w wireOf) Distribute(ctx context.Context, addr string, in Distribute) (Ack, error) {
	return call(ctx, w, addr, "Distribute", func(n *Node) (Ack, error) { return n.HandleDistribute(ctx, in) })
}
func (w wireOf) StartTest(ctx context.Context, addr string, in StartTest) error {
	return callErr(ctx, w, addr, "StartTest", func(n *Node) error { return n.HandleStartTest(ctx, in) })
}
func (w wireOf) StopTest(ctx context.Context, addr string, in StopTest) error {
	return callErr(ctx, w, addr, "StopTest", func(n *Node) error { return n.HandleStopTest(ctx, in) })
}
func (w wireOf) HealthCheck(ctx context.Context, addr string, in HealthCheck) (Health, error) {
	return call(ctx, w, addr, "HealthCheck", func(n *Node) (Health, error) { return n.HandleHealthCheck(ctx, in) })
}
func (w wireOf) Submit(ctx context.Context, addr string, in Submit) (Submitted, error) {
	return call(ctx, w, addr, "Submit", func(n *Node) (Submitted, error) { return n.HandleSubmit(ctx, in) })
}
func (w wireOf) Stop(ctx context.Context, addr string, in StopRequest) (Stopped, error) {
	return call(ctx, w, addr, "Stop", func(n *Node) (Stopped, error) { return n.HandleStop(ctx, in) })
}
func (w wireOf) Report(ctx context.Context, addr string, in Report) error {
	return callErr(ctx, w, addr, "Report", func(n *Node) error { return n.HandleReport(ctx, in) })
}
func (w wireOf) Leave(ctx context.Context, addr string, in Leave) error {
	return callErr(ctx, w, addr, "Leave", func(n *Node) error { return n.HandleLeave(ctx, in) })
}
func (w wireOf) Ping(ctx context.Context, addr string) (Pong, error) {
	return call(ctx, w, addr, "Ping", func(n *Node) (Pong, error) { return n.HandlePing(ctx) })
}

func (w wireOf) FetchData(ctx context.Context, addr string, in FetchData, to io.Writer) error {
	return callErr(ctx, w, addr, "FetchData", func(n *Node) error {
		from, err := n.HandleFetchData(ctx, in)
		if err != nil {
			return err
		}
		defer from.Close()
		piece := make([]byte, dataPiece)
		for {
			k, err := from.Read(piece)
			if _, bad := to.Write(piece[:k]); bad != nil {
				return bad
			}
			if err == io.EOF {
				return nil
			}
			if _, err := w.f.way(ctx, w.from, addr, "FetchData piece"); err != nil {
				return err
			}
		}
	})
}

func (w wireOf) FetchResult(ctx context.Context, addr string, in FetchResult, to io.Writer) error {
	return callErr(ctx, w, addr, "FetchResult", func(n *Node) error {
		body, err := n.HandleFetchResult(ctx, in)
		if err == nil {
			_, err = to.Write(body)
		}
		return err
	})
}

// dataPiece is what the fabric moves of a data file in one delay.
const dataPiece = 100 << 10

// checkDocument understands "run 10s" (a duration), "run 10s tenant blue",
// "run 10s id soak", "run 10s files a,b", "run 10s standby on", "run 10s scope cluster" (1000 arrivals/s) and "run 10s ends 2s"
// (its iterations are done by then); "bad …" is invalid.
func checkDocument(document []byte) (Checked, error) {
	text := string(document)
	if strings.HasPrefix(text, "bad") {
		return Checked{}, errors.New("3:5: load.target: " + text)
	}
	var d string
	fmt.Sscanf(text, "run %s", &d)
	duration, err := time.ParseDuration(d)
	if err != nil {
		return Checked{}, err
	}
	c := Checked{Version: "v:" + text, Duration: duration, Grace: 2 * time.Second, Load: func(nodes int) string { return fmt.Sprintf("%s on %d nodes", text, nodes) },
		Arrivals: func(_ int64, at time.Duration) int64 { return at.Milliseconds() }}
	fields := strings.Fields(text)
	for i := 2; i+1 < len(fields); i += 2 {
		switch fields[i] {
		case "tenant":
			c.Tenant = fields[i+1]
		case "id":
			c.RunID = fields[i+1]
		case "files":
			c.Files = strings.Split(fields[i+1], ",")
		case "standby":
			c.StayUp, c.Standby = true, true
		case "scope":
			c.Divided = fields[i+1] == "cluster"
		}
	}
	return c, nil
}

// fakeRunner generates no load but keeps to the clock.
type fakeRunner struct {
	mu       sync.Mutex
	refuse   error
	prepares time.Duration // how long that takes
	version  map[string]string
	starts   map[string][]time.Time // run id -> first requests
	ends     map[string]string      // run id -> cause
	drain    time.Duration          // of a run that is ended early
	data     map[string]string      // what the data files had, by name
	resting  []string               // run ids whose standby load is going
	parts    map[string][]Division  // run id -> as it was told
	leased   map[string]time.Time   // run id -> until when it may send
	settled  map[string]Settlement  // run id -> the leader's last word
	fail     error                  // what a Redivide is answered
	early    time.Duration          // its part of a run is over so long after the start; 0: with the run
}

func newFakeRunner() *fakeRunner {
	return &fakeRunner{version: map[string]string{}, starts: map[string][]time.Time{}, ends: map[string]string{}, data: map[string]string{},
		parts: map[string][]Division{}, leased: map[string]time.Time{}, settled: map[string]Settlement{}}
}

func (r *fakeRunner) Prepare(ctx context.Context, runID string, c Config, copies map[string]string, _ int64) error {
	r.mu.Lock()
	prepares := r.prepares
	r.mu.Unlock()
	if prepares > 0 && !sleep(ctx, prepares) {
		return ctx.Err()
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.refuse != nil {
		return r.refuse
	}
	for name, place := range copies {
		text, err := os.ReadFile(place)
		if err != nil {
			return err
		}
		r.data[name] = string(text)
	}
	r.version[runID] = string(c.Document)
	return nil
}

func (r *fakeRunner) Discard(runID string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.version, runID)
}

// holds counts the runs that are prepared.
func (r *fakeRunner) holds() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return len(r.version)
}

func (r *fakeRunner) standby(ctx context.Context, run Run, c Config) {
	r.mu.Lock()
	r.resting = append(r.resting, run.ID+" "+string(c.Document))
	r.mu.Unlock()
	<-ctx.Done()
	r.mu.Lock()
	defer r.mu.Unlock()
	i := slices.Index(r.resting, run.ID+" "+string(c.Document))
	r.resting = slices.Delete(r.resting, i, i+1)
}

func (r *fakeRunner) rests() string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return strings.Join(r.resting, ", ")
}

func (r *fakeRunner) Run(ctx context.Context, run Run, start time.Time, told Told) ([]byte, error) {
	runID := run.ID
	r.mu.Lock()
	checked, _ := checkDocument([]byte(r.version[runID]))
	r.parts[runID] = run.Divisions
	lasts, drain := checked.Duration, r.drain
	if _, ends, ok := strings.Cut(r.version[runID], " ends "); ok {
		lasts, _ = time.ParseDuration(ends)
	}
	if r.early > 0 {
		lasts = r.early
	}
	r.mu.Unlock()
	cause := "done"
	if sleep(ctx, time.Until(start)) {
		r.mu.Lock()
		r.starts[runID] = append(r.starts[runID], time.Now())
		r.mu.Unlock()
		told.Started(time.Now(), time.Since(start))
		if !sleep(ctx, time.Until(start.Add(lasts))) {
			<-time.After(drain)
		}
	}
	var reason *StopReason
	if errors.As(context.Cause(ctx), &reason) {
		cause = reason.Cause
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.ends[runID] = cause
	return []byte("summary of " + runID), nil
}

func (r *fakeRunner) Redivide(_ context.Context, run Run) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.fail != nil {
		return r.fail
	}
	if len(run.Divisions) > len(r.parts[run.ID]) {
		r.parts[run.ID] = run.Divisions
	}
	return nil
}

func (r *fakeRunner) Lease(runID string, until time.Time) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if until.After(r.leased[runID]) {
		r.leased[runID] = until
	}
}

func (r *fakeRunner) Settle(runID string, s Settlement) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.settled[runID] = s
}

func (r *fakeRunner) started(runID string) []time.Time {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.starts[runID]
}

// fakeJudge keeps the outcomes it was shown.
type fakeJudge struct {
	mu       sync.Mutex
	outcomes []Outcome
	shown    int // results of runs that went on
	observed int
	fails    time.Duration // when a threshold fails, after the start; 0 for never
	code     int
}

func (j *fakeJudge) judge(_ context.Context, o Outcome) int {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.outcomes = append(j.outcomes, o)
	return j.code
}

func (j *fakeJudge) live(o Outcome) ([]byte, error) {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.shown++
	return fmt.Appendf(nil, "%s so far, going %v, with %d reports", o.Run.ID, o.Going, len(o.Reports)), nil
}

// observe is the threshold that fails after so long, if one does.
func (j *fakeJudge) observe(o Outcome) string {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.observed++
	if j.fails > 0 && time.Since(o.Run.Start()) >= j.fails {
		return "errors < 1"
	}
	return ""
}

// result is that of a run it has judged.
func (j *fakeJudge) result(runID string) []byte {
	j.mu.Lock()
	defer j.mu.Unlock()
	for _, o := range j.outcomes {
		if o.Run.ID == runID {
			return fmt.Appendf(nil, "result of %s with %d reports", runID, len(o.Reports))
		}
	}
	return nil
}

func (j *fakeJudge) all() []Outcome {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.outcomes
}

// eventLog keeps the events that a node logged.
type eventLog struct {
	t    *testing.T
	name string
	mu   sync.Mutex
	seen []string
}

func (e *eventLog) Enabled(context.Context, slog.Level) bool { return true }
func (e *eventLog) WithAttrs(attrs []slog.Attr) slog.Handler { return e }
func (e *eventLog) WithGroup(string) slog.Handler            { return e }
func (e *eventLog) Handle(_ context.Context, r slog.Record) error {
	line := ""
	r.Attrs(func(a slog.Attr) bool {
		if a.Key == "event" {
			e.mu.Lock()
			e.seen = append(e.seen, a.Value.String())
			e.mu.Unlock()
		}
		line += " " + a.String()
		return true
	})
	if r.Level > slog.LevelDebug {
		e.t.Logf("%s %s %s%s", time.Now().Format("05.000"), e.name, r.Message, line)
	}
	return nil
}

func (e *eventLog) count(event string) int {
	e.mu.Lock()
	defer e.mu.Unlock()
	n := 0
	for _, s := range e.seen {
		if s == event {
			n++
		}
	}
	return n
}
