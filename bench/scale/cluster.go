package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"runtime/pprof"
	"sync"
	"time"

	"github.com/hashicorp/raft"

	"volley/grpcsvc"
	"volley/node"
)

// The defaults of volley.
const (
	startDelay    = 3 * time.Second
	configTimeout = 30 * time.Second
	drainTimeout  = 8 * time.Second
	poll          = 5 * time.Millisecond
	// endTimeout is how long after its planned end a run may take to be over everywhere.
	endTimeout = 2 * time.Minute
)

// cluster is all nodes of this process.
type cluster struct {
	s       settings
	net     *network
	members []*member
	plan    *source
	first   *firsts
	got     chan verdict
	live    sync.WaitGroup // the members
}

// member is one node: what app.go makes a process of.
type member struct {
	name, addr string
	node       *node.Node
	listener   *grpcsvc.Server
	close      []func()
	ending     node.Ending
}

func measure(ctx context.Context, s settings) (*figures, error) {
	ctx, cancel := context.WithCancel(ctx)
	c := &cluster{s: s, net: newNetwork(), plan: newSource(s.plan), first: &firsts{}, got: make(chan verdict, 1)}
	defer c.live.Wait()
	defer cancel()
	summaries, err := summariesOf(s.steps, s.age, s.run)
	if err != nil {
		return nil, err
	}
	r := &figures{summary: len(summaries[0]), codes: map[int]int{}}
	before := takeMemory()
	began := time.Now()
	for i := range s.nodes {
		if err := c.add(i, summaries); err != nil {
			return nil, err
		}
	}
	r.blank = memory{bytes: takeMemory().bytes - before.bytes}
	c.start(ctx)
	if err := c.form(ctx, r, began); err != nil {
		return nil, err
	}
	r.cluster = takeMemory()
	r.cluster.bytes -= before.bytes
	r.ends = int(c.net.ends.Load())
	if err := c.play(ctx, r); err != nil {
		return nil, err
	}
	r.run.bytes -= before.bytes
	c.live.Wait()
	r.left = time.Since(r.verdict)
	for _, m := range c.members {
		r.codes[m.ending.ExitCode]++
		r.elections = max(r.elections, m.node.LeaderChanges())
	}
	return r, nil
}

// add makes a node, which does nothing yet.
func (c *cluster) add(i int, summaries [][]byte) (err error) {
	m := &member{name: nameOf(i), addr: addrOf(i)}
	// The labels are on what is started here too: Raft's goroutines.
	pprof.Do(context.Background(), pprof.Labels(nodeLabel, m.name), func(context.Context) { err = c.build(m, summaries) })
	c.members = append(c.members, m)
	return err
}

func nameOf(i int) string { return fmt.Sprintf("n%05d", i) }
func addrOf(i int) string { return nameOf(i) + ":7000" }

func (c *cluster) build(m *member, summaries [][]byte) error {
	log := slog.New(slog.DiscardHandler)
	if c.s.log {
		log = slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelWarn})).With("node", m.name)
	}
	self := node.Member{ServerID: node.NewServerID(m.name), NodeID: m.name, Region: "local", Addr: m.addr, Weight: 1}
	identity := &node.Identity{}
	downward := grpcsvc.NewClient(grpcsvc.ClientOptions{Dialer: c.net.dialer(m.addr, wireCalls), Log: log})
	upward := grpcsvc.NewClient(grpcsvc.ClientOptions{Dialer: c.net.dialer(m.addr, wireUp), Log: log})
	wire := grpcsvc.NewTransport(grpcsvc.TransportOptions{
		ServerID: self.ServerID, ClusterID: identity.ClusterID, Addr: m.addr, Dialer: c.net.dialer(m.addr, wireRaft), Log: log,
		OnMisdirected: func(target raft.ServerID, _ raft.ServerAddress) { m.node.Misdirected(string(target)) },
	})
	m.close = []func(){downward.Close, upward.Close, func() { _ = wire.Close() }}
	n, err := node.New(node.Options{
		Self: self, Name: "scale", Expect: c.s.nodes, Identity: identity, Log: log,
		Wire:   &node.Wire{Greeter: downward, Courier: downward, Upstream: upward, Transport: wire, Discovery: c.known(m)},
		Source: c.plan, SourceName: "bench", Runner: &player{c.s.run, summaries, c.first},
		Hooks: node.Hooks{
			Check: func(document []byte) (node.Checked, error) {
				return node.Checked{Version: versionOf(document), Duration: c.s.run, Load: func(int) string { return "none" }}, nil
			},
			Judge:   func(_ context.Context, o node.Outcome) int { return judge(o, c.got) },
			Own:     func(node.Run, node.Report) {},
			Result:  func(string) []byte { return nil },
			Live:    func(node.Outcome) ([]byte, error) { return nil, nil },
			Observe: func(node.Outcome) string { return "" },
			Standby: func(ctx context.Context, _ node.Run, _ node.Config) { <-ctx.Done() },
		},
		ConfigTimeout: configTimeout + c.s.idle, StartDelay: startDelay, FormTimeout: c.s.form, ReapAfter: time.Minute,
		IsolationGrace: time.Minute, DrainTimeout: drainTimeout,
	})
	if err != nil {
		return err
	}
	m.node = n
	m.listener = grpcsvc.NewServer(grpcsvc.Options{Handler: n, Transport: wire, Log: log})
	return nil
}

// known is what discovery tells a node. Only the first, which makes the cluster,
// is told all: with everybody greeting everybody this one process would hold the
// square of the nodes in connections.
func (c *cluster) known(m *member) node.Static {
	count := min(c.s.seeds, c.s.nodes)
	if m.name == nameOf(0) {
		count = c.s.nodes
	}
	var list node.Static
	for i := range count {
		list = append(list, addrOf(i))
	}
	return list
}

func (c *cluster) start(ctx context.Context) {
	for _, m := range c.members {
		listener := c.net.listen(m.addr)
		c.live.Go(func() {
			pprof.Do(ctx, pprof.Labels(nodeLabel, m.name), func(ctx context.Context) {
				serving, stop := context.WithCancel(context.WithoutCancel(ctx))
				var server sync.WaitGroup
				server.Go(func() { _ = m.listener.Serve(serving, listener) })
				m.ending = m.node.Run(ctx)
				stop()
				for _, end := range m.close {
					end()
				}
				server.Wait()
			})
		})
	}
}

// until waits for a condition, of which what says what it is.
func until(ctx context.Context, limit time.Duration, what func() string, ok func() bool) error {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	for !ok() {
		if !pause(ctx, poll) {
			return fmt.Errorf("not within %s: %s", limit, what())
		}
	}
	return nil
}

func (c *cluster) leader() *member {
	for _, m := range c.members {
		if m.node.Leads() {
			return m
		}
	}
	return nil
}

// form waits until a leader has heard every node.
func (c *cluster) form(ctx context.Context, r *figures, began time.Time) error {
	peers := func() int {
		if l := c.leader(); l != nil {
			return l.node.Status().Peers
		}
		return -1
	}
	err := until(ctx, c.s.form, func() string { return fmt.Sprintf("a leader that hears all (it hears %d)", peers()) }, func() bool {
		return peers() == c.s.nodes-1
	})
	r.formed = time.Since(began)
	return err
}

// play watches the cluster while it idles, then gives it the plan and watches the run.
func (c *cluster) play(ctx context.Context, r *figures) (err error) {
	l := c.leader()
	if l == nil {
		return errors.New("the leader is gone")
	}
	term := l.node.Status().Term
	if r.idle, err = c.watch(ctx, l, c.s.idle); err != nil {
		return err
	}
	sent := c.net.traffic(l.addr)
	close(c.plan.release)
	phase := func(want node.Phase) func() bool {
		return func() bool {
			run := l.node.State().Current
			return run != nil && (run.Phase == want || run.StartAt != 0 || run.Ended)
		}
	}
	now := func() string { return "the phase " + l.node.Status().Phase + " is too early" }
	if err := until(ctx, configTimeout, now, phase(node.PhaseDistributing)); err != nil {
		return err
	}
	begun := time.Now()
	if err := until(ctx, 4*configTimeout, now, phase(node.PhaseReady)); err != nil {
		return err
	}
	r.distributed = time.Since(begun)
	r.plan = c.net.traffic(l.addr).since(sent)
	if err := until(ctx, configTimeout, now, func() bool { return l.node.Status().Phase == "running" || l.node.State().Current.Ended }); err != nil {
		return err
	}
	start := l.node.StartOf(l.node.State().Current.ID)
	// The last second is not watched: the final reports are no streams.
	if r.running, err = c.watch(ctx, l, max(c.s.run-time.Second-time.Since(start), 0)); err != nil {
		return err
	}
	r.run = takeMemory()
	r.terms, r.leaderEnds, r.spread = l.node.Status().Term-term, c.net.endsOf(l.addr), c.first.spread()
	over := start.Add(c.s.run)
	select {
	case v := <-c.got:
		r.verdict, r.judged, r.merge, r.reports = v.at, v.at.Sub(over), v.merge, v.reports
		return v.err
	case <-time.After(time.Until(over) + endTimeout):
		return fmt.Errorf("no verdict within %s of the run's end", endTimeout)
	case <-ctx.Done():
		return ctx.Err()
	}
}

// watch sees what is spent within d.
func (c *cluster) watch(ctx context.Context, l *member, d time.Duration) (w window, err error) {
	began, sent, spent := time.Now(), c.net.traffic(l.addr), cpuTime()
	w.cpu, err = profiled(l.name, func() {
		pause(ctx, d)
		w.took, w.process, w.traffic = time.Since(began), cpuTime()-spent, c.net.traffic(l.addr).since(sent)
	})
	return w, errors.Join(err, ctx.Err())
}
