package node

import (
	"context"
	"fmt"
	"log/slog"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hashicorp/raft"
)

// cluster is a fabric with nodes in it, all in one synctest bubble.
type cluster struct {
	t      *testing.T
	f      *fabric
	source *fakeSource
	addrs  []string
	tweak  func(*Options)
	hosts  []*host        // every process ever started
	disks  map[int]string // CLUSTER_DATA_DIR of each place; nil: in memory
}

func newCluster(t *testing.T, size int) *cluster {
	c := &cluster{t: t, f: newFabric(), source: &fakeSource{document: "run 10s", revision: "1"}, tweak: func(*Options) {}}
	for i := range size {
		c.addrs = append(c.addrs, fmt.Sprintf("10.0.0.%d:7000", i+1))
	}
	return c
}

// start brings a process up at addrs[i].
func (c *cluster) start(i int) *host {
	c.t.Helper()
	addr := c.addrs[i]
	name := string(rune('a' + i))
	_, transport := raft.NewInmemTransport(raft.ServerAddress(addr))
	h := &host{f: c.f, addr: addr, transport: transport, identity: &Identity{}, runner: newFakeRunner(), judge: &fakeJudge{}, done: make(chan struct{})}
	h.events = &eventLog{t: c.t, name: name}
	w := wireOf{c.f, addr, h}
	opt := Options{
		Self: Member{ServerID: NewServerID(name), NodeID: name, Addr: addr, Weight: 1}, Name: "test", Expect: len(c.addrs),
		Wire:   &Wire{Greeter: w, Courier: w, Upstream: w, Transport: targeted{transport, h}, Discovery: Static(c.addrs)},
		Source: c.source, SourceName: "fake", Runner: h.runner,
		Watch:         func(trouble string) Watch { return &fakeWatch{c.source, trouble} },
		Hooks:         Hooks{Check: checkDocument, Judge: h.judge.judge, Live: h.judge.live, Observe: h.judge.observe, Own: func(Run, Report) {}, Result: h.judge.result, Standby: h.runner.standby},
		ConfigTimeout: 30 * time.Second, StartDelay: 3 * time.Second, FormTimeout: 2 * time.Minute, ReapAfter: time.Minute,
		IsolationGrace: time.Minute, DrainTimeout: 8 * time.Second, Log: slog.New(h.events), Identity: h.identity,
	}
	c.mount(i, h, &opt)
	c.tweak(&opt)
	var err error
	if h.node, err = New(opt); err != nil {
		c.t.Fatal(err)
	}
	c.f.mu.Lock()
	c.f.nodes[addr] = h
	for other, o := range c.f.nodes {
		delete(c.f.cut, [2]string{addr, other})
		delete(c.f.cut, [2]string{other, addr})
		if other != addr && !o.dead {
			transport.Connect(raft.ServerAddress(other), o.transport)
			o.transport.Connect(raft.ServerAddress(addr), transport)
		}
	}
	c.f.mu.Unlock()
	ctx, cancel := context.WithCancel(c.t.Context())
	h.cancel = cancel
	go func() {
		defer close(h.done)
		h.ending = h.node.Run(ctx)
	}()
	c.f.mu.Lock()
	c.hosts = append(c.hosts, h)
	c.f.mu.Unlock()
	return h
}

func (c *cluster) startAll() []*host {
	for i := range c.addrs {
		c.start(i)
	}
	return c.hosts
}

// kill makes a process disappear: nothing of it reaches anybody any more.
func (c *cluster) kill(h *host) {
	c.f.isolate(h.addr, true)
	c.f.mu.Lock()
	h.dead = true
	for other := range c.f.nodes { // its address refuses instead of dropping
		delete(c.f.cut, [2]string{other, h.addr})
	}
	c.f.mu.Unlock()
}

// bury ends what kill left running, at the end of a test.
func (c *cluster) bury() {
	for _, h := range c.hosts {
		h.cancel()
	}
	for _, h := range c.hosts {
		<-h.done
	}
}

// within waits for a condition in virtual time.
func (c *cluster) within(d time.Duration, what string, ok func() bool) {
	c.t.Helper()
	for end := time.Now().Add(d); !ok(); {
		if time.Now().After(end) {
			c.t.Fatalf("not within %s: %s", d, what)
		}
		<-time.After(10 * time.Millisecond)
	}
}

func (c *cluster) alive() []*host {
	return slices.DeleteFunc(slices.Clone(c.hosts), func(h *host) bool { return h.dead })
}

func (c *cluster) leader() *host {
	for _, h := range c.alive() {
		if h.node.leading.Load() != nil {
			return h
		}
	}
	return nil
}

func (c *cluster) waitLeader() *host {
	c.t.Helper()
	c.within(10*time.Second, "a leader", func() bool { return c.leader() != nil })
	return c.leader()
}

// waitPhase waits until every living node shows the phase.
func (c *cluster) waitPhase(d time.Duration, phase string) {
	c.t.Helper()
	c.within(d, "phase "+phase+" everywhere", func() bool {
		return !slices.ContainsFunc(c.alive(), func(h *host) bool { return h.node.Status().Phase != phase })
	})
}

// waitEnd waits until every living process has ended, and checks the code.
func (c *cluster) waitEnd(d time.Duration, code int) {
	c.t.Helper()
	c.within(d, "the end of all processes", func() bool {
		for _, h := range c.alive() {
			select {
			case <-h.done:
			default:
				return false
			}
		}
		return true
	})
	for _, h := range c.alive() {
		if h.ending.ExitCode != code {
			c.t.Errorf("%s ended with %d (%s), want %d", h.addr, h.ending.ExitCode, h.ending.Reason, code)
		}
	}
}

// virtual runs a test in a bubble and ends what is left in it.
func virtual(t *testing.T, size int, f func(t *testing.T, c *cluster)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(t, size)
		defer c.bury()
		f(t, c)
	})
}

func TestThreeNodesStartTogetherAndLeaveInOrder(t *testing.T) {
	virtual(t, 3, func(t *testing.T, c *cluster) {
		began := time.Now()
		hosts := c.startAll()
		c.within(5*time.Second, "cluster_ready everywhere", func() bool {
			return !slices.ContainsFunc(hosts, func(h *host) bool { return !h.node.Status().ClusterReady })
		})
		t.Logf("process start to cluster_ready: %s", time.Since(began))
		c.waitPhase(5*time.Second, "running")
		run := hosts[0].node.currentRun()
		c.waitEnd(30*time.Second, ExitOK)
		var first []time.Time
		for _, h := range hosts {
			starts := h.runner.started(run)
			if len(starts) != 1 || len(h.runner.starts) != 1 {
				t.Fatalf("%s started %d times, runs %v", h.addr, len(starts), h.runner.starts)
			}
			first = append(first, starts[0])
		}
		slices.SortFunc(first, time.Time.Compare)
		if spread := first[2].Sub(first[0]); spread > 5*time.Millisecond {
			t.Errorf("starts are %s apart", spread)
		}
		elections, judged := 0, 0
		for _, h := range hosts {
			elections += h.events.count("leader_elected")
			judged += len(h.judge.all())
		}
		if elections != 1 || judged != 1 || c.source.count() != 1 {
			t.Errorf("elections %d, verdicts %d, fetches %d; want 1 each", elections, judged, c.source.count())
		}
	})
}
