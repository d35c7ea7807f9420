package grpcsvc

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"net"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/hashicorp/raft"

	"volley/node"
)

// words is a state machine that keeps what was applied; its snapshot is padded
// to 3 MiB and guarded by a hash.
type words struct {
	mu       sync.Mutex
	applied  []string
	restored int // bytes
}

const snapshotPadding = 3 << 20

func (w *words) Apply(l *raft.Log) any {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.applied = append(w.applied, string(l.Data))
	return nil
}

func (w *words) all() []string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return slices.Clone(w.applied)
}

func (w *words) restoredBytes() int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.restored
}

type wordsSnapshot []byte

func (w *words) Snapshot() (raft.FSMSnapshot, error) {
	body := []byte(strings.Join(w.all(), "\n"))
	for block := sha256.Sum256(body); len(body) < snapshotPadding; block = sha256.Sum256(block[:]) {
		body = append(append(body, '\n'), fmt.Sprintf("%x", block)...)
	}
	sum := sha256.Sum256(body)
	return wordsSnapshot(append(sum[:], body...)), nil
}

func (s wordsSnapshot) Persist(sink raft.SnapshotSink) error {
	if _, err := sink.Write(s); err != nil {
		return errors.Join(err, sink.Cancel())
	}
	return sink.Close()
}

func (wordsSnapshot) Release() {}

func (w *words) Restore(r io.ReadCloser) error {
	all, err := io.ReadAll(r)
	if err != nil {
		return err
	}
	if sum := sha256.Sum256(all[sha256.Size:]); !bytes.Equal(sum[:], all[:sha256.Size]) {
		return errors.New("snapshot damaged")
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.restored = len(all)
	w.applied = strings.Split(string(all[sha256.Size:]), "\n")
	return nil
}

// network cuts nodes off from each other: connections break, new ones fail.
type network struct {
	mu    sync.Mutex
	cut   map[[2]string]bool
	conns map[[2]string][]net.Conn
}

func newNetwork() *network {
	return &network{cut: map[[2]string]bool{}, conns: map[[2]string][]net.Conn{}}
}

func (n *network) dialer(from string) Dialer {
	return func(ctx context.Context, to string) (net.Conn, error) {
		conn, err := new(net.Dialer).DialContext(ctx, "tcp", to)
		if err != nil {
			return nil, err
		}
		n.mu.Lock()
		defer n.mu.Unlock()
		pair := [2]string{from, to}
		if n.cut[pair] {
			_ = conn.Close()
			return nil, errors.New("cut off")
		}
		n.conns[pair] = append(n.conns[pair], conn)
		return conn, nil
	}
}

func (n *network) separate(a, b string, apart bool) {
	n.mu.Lock()
	defer n.mu.Unlock()
	for _, pair := range [][2]string{{a, b}, {b, a}} {
		n.cut[pair] = apart
		for _, conn := range n.conns[pair] {
			if apart {
				_ = conn.Close()
			}
		}
	}
}

// raftNode is a real Raft node over a real Server and Transport.
type raftNode struct {
	id, addr   string
	raft       *raft.Raft
	transport  *Transport
	state      *words
	misdirects chan string // "<id>@<addr>" that answered "not me"
	crash      func()
}

type raftOptions struct {
	id, addr  string // addr "" = a free port
	listener  net.Listener
	bootstrap []raft.Server
	network   *network
}

func startRaft(t *testing.T, o raftOptions) *raftNode {
	t.Helper()
	if o.listener == nil {
		o.listener = listen(t, o.addr)
	}
	n := &raftNode{id: o.id, addr: o.listener.Addr().String(), state: &words{}, misdirects: make(chan string, 10_000)}
	options := TransportOptions{
		ServerID: o.id, Addr: n.addr, Token: "secret", HeartbeatTimeout: raftConfig(o.id).HeartbeatTimeout,
		ClusterID: func() string { return "cluster-1" },
		OnMisdirected: func(target raft.ServerID, addr raft.ServerAddress) {
			n.misdirects <- string(target) + "@" + string(addr)
		},
	}
	if o.network != nil {
		options.Dialer = o.network.dialer(n.addr)
	}
	n.transport = NewTransport(options)
	stop := serve(t, o.listener, Options{Handler: answering(nil, nil), Transport: n.transport, Token: "secret"})
	store, snapshots := raft.NewInmemStore(), raft.NewInmemSnapshotStore()
	if o.bootstrap != nil {
		if err := raft.BootstrapCluster(raftConfig(o.id), store, store, snapshots, n.transport, raft.Configuration{Servers: o.bootstrap}); err != nil {
			t.Fatal(err)
		}
	}
	var err error
	if n.raft, err = raft.NewRaft(raftConfig(o.id), n.state, store, store, snapshots, n.transport); err != nil {
		t.Fatal(err)
	}
	n.crash = sync.OnceFunc(func() {
		if err := n.raft.Shutdown().Error(); err != nil {
			t.Errorf("shut Raft of %s down: %v", o.id, err)
		}
		stop()
	})
	t.Cleanup(n.crash)
	return n
}

func raftConfig(id string) *raft.Config {
	c := raft.DefaultConfig()
	c.LocalID = raft.ServerID(id)
	c.HeartbeatTimeout, c.ElectionTimeout, c.LeaderLeaseTimeout = time.Second, time.Second, 750*time.Millisecond // production's
	c.SnapshotThreshold, c.TrailingLogs, c.SnapshotInterval = 100, 10, time.Hour                                 // snapshots are asked for
	c.Logger = hclog.NewNullLogger()
	return c
}

func (n *raftNode) server() raft.Server {
	return raft.Server{ID: raft.ServerID(n.id), Address: raft.ServerAddress(n.addr)}
}

func waitLeader(t *testing.T, nodes ...*raftNode) *raftNode {
	t.Helper()
	var leader *raftNode
	eventually(t, "a leader", func() bool {
		i := slices.IndexFunc(nodes, func(n *raftNode) bool { return n.raft.State() == raft.Leader })
		if i >= 0 {
			leader = nodes[i]
		}
		return i >= 0
	})
	return leader
}

func others(nodes []*raftNode, not ...*raftNode) []*raftNode {
	return slices.DeleteFunc(slices.Clone(nodes), func(n *raftNode) bool { return slices.Contains(not, n) })
}

func must(t *testing.T, what string, f raft.Future) {
	t.Helper()
	if err := f.Error(); err != nil {
		t.Fatalf("%s: %v", what, err)
	}
}

// trio is three voters that know each other, and who of them leads.
func trio(t *testing.T, network *network) (nodes []*raftNode, leader *raftNode) {
	t.Helper()
	var listeners []net.Listener
	var servers []raft.Server
	for _, id := range []string{"a", "b", "c"} {
		listener := listen(t, "127.0.0.1:0")
		listeners = append(listeners, listener)
		servers = append(servers, raft.Server{ID: raft.ServerID(id), Address: raft.ServerAddress(listener.Addr().String())})
	}
	for i, server := range servers {
		nodes = append(nodes, startRaft(t, raftOptions{id: string(server.ID), listener: listeners[i], bootstrap: servers, network: network}))
	}
	return nodes, waitLeader(t, nodes...)
}

func TestRaftOverTheTransport(t *testing.T) {
	noLeaks(t)
	nodes, leader := trio(t, nil)
	var want []string
	for i := range 200 {
		want = append(want, fmt.Sprint(i))
		must(t, "apply", leader.raft.Apply([]byte(want[i]), time.Second))
	}
	for _, n := range nodes {
		eventually(t, "all entries on "+n.id, func() bool { return slices.Equal(n.state.all(), want) })
	}

	must(t, "snapshot", leader.raft.Snapshot())
	d := startRaft(t, raftOptions{id: "d", addr: "127.0.0.1:0"})
	must(t, "add non-voter", leader.raft.AddNonvoter("d", d.server().Address, 0, time.Second))
	eventually(t, "a non-voter caught up by a snapshot of 3 MiB", func() bool { return d.state.restoredBytes() > snapshotPadding })
	must(t, "apply", leader.raft.Apply([]byte("after"), time.Second))
	eventually(t, "an entry after the snapshot", func() bool {
		got := d.state.all()
		return len(got) > 200 && slices.Equal(got[:200], want) && got[len(got)-1] == "after"
	})

	old := leader
	must(t, "transfer leadership", leader.raft.LeadershipTransfer())
	leader = waitLeader(t, others(nodes, old)...)
	eventually(t, "the old leader to follow", func() bool { return old.raft.State() == raft.Follower })

	// A member dies; its successor under the same address has to wait until the old entry is removed.
	dead := others(nodes, leader)[0]
	dead.crash()
	reborn := startRaft(t, raftOptions{id: dead.id + "-2", addr: dead.addr})
	err := leader.raft.AddVoter(reborn.server().ID, reborn.server().Address, 0, time.Second).Error()
	if err == nil || !strings.Contains(err.Error(), "duplicate address") {
		t.Fatalf("a second server id under the same address: got %v", err)
	}
	eventually(t, "the proof that "+dead.id+" is gone", func() bool { return len(leader.misdirects) > 0 })
	if got := <-leader.misdirects; got != dead.id+"@"+dead.addr {
		t.Errorf("OnMisdirected got %s", got)
	}
	must(t, "remove the dead", leader.raft.RemoveServer(raft.ServerID(dead.id), 0, time.Second))
	must(t, "add its successor", leader.raft.AddVoter(reborn.server().ID, reborn.server().Address, 0, time.Second))
	eventually(t, "the successor caught up", func() bool { return reborn.raft.AppliedIndex() >= leader.raft.AppliedIndex() })
}

// Hazard 0.2 of the design: a blank node grants any vote. If a node that was
// restarted blank is taken for its old self, it and a node that missed a
// committed entry are a majority, and the entry is lost.
func TestNodeRestartedBlankNeverVotesAsItsOldSelf(t *testing.T) {
	noLeaks(t)
	wires := newNetwork()
	nodes, leader := trio(t, wires)
	rest := others(nodes, leader)
	voter, behind := rest[0], rest[1]
	apart := func(a, b *raftNode) { wires.separate(a.addr, b.addr, true) }
	together := func(a, b *raftNode) { wires.separate(a.addr, b.addr, false) }

	apart(behind, leader)
	apart(behind, voter)
	must(t, "commit without "+behind.id, leader.raft.Apply([]byte("start run-1"), time.Second))
	eventually(t, "the entry on the voter", func() bool { return slices.Equal(voter.state.all(), []string{"start run-1"}) })

	// The voter loses its memory; only it and the node behind can speak now.
	apart(leader, voter)
	voter.crash()
	blank := startRaft(t, raftOptions{id: voter.id + "-2", addr: voter.addr, network: wires})
	together(blank, behind)

	// behind asks for the vote of the voter that is no more, again and again.
	eventually(t, "two requests for a vote refused", func() bool { return len(behind.misdirects) >= 2 || behind.raft.State() == raft.Leader })
	if behind.raft.State() == raft.Leader {
		t.Fatal("the node behind was elected by a voter that lost its memory: committed entries are lost")
	}
	if got := <-behind.misdirects; got != voter.id+"@"+voter.addr {
		t.Errorf("OnMisdirected got %s", got)
	}
	if term := blank.raft.Stats()["term"]; term != "0" {
		t.Errorf("the blank node took part in an election: term %s", term)
	}
	// The vote itself, past the pre-vote.
	err := behind.transport.RequestVote(raft.ServerID(voter.id), blank.server().Address,
		&raft.RequestVoteRequest{RPCHeader: raft.RPCHeader{ProtocolVersion: 3, ID: []byte(behind.id), Addr: []byte(behind.addr)}, Term: 99}, &raft.RequestVoteResponse{})
	want := fmt.Sprintf("%v: another server id: Raft message for server %q reached %q", node.ErrOtherCluster, voter.id, blank.id)
	if !errors.Is(err, node.ErrOtherCluster) || err.Error() != want {
		t.Errorf("misdirected vote: got %v", err)
	}

	// Healed, the committed entry is still there, on all.
	together(leader, behind)
	together(leader, blank)
	settled := func(what string, act func(*raft.Raft) raft.Future) { // whoever leads; leadership may still move
		t.Helper()
		eventually(t, what, func() bool { return act(waitLeader(t, leader, behind).raft).Error() == nil })
	}
	settled("remove the old self", func(r *raft.Raft) raft.Future { return r.RemoveServer(raft.ServerID(voter.id), 0, time.Second) })
	settled("add the new self", func(r *raft.Raft) raft.Future {
		return r.AddVoter(blank.server().ID, blank.server().Address, 0, time.Second)
	})
	for _, n := range []*raftNode{nodes[0], nodes[1], nodes[2], blank} {
		if n != voter {
			eventually(t, "the committed entry on "+n.id, func() bool { return slices.Equal(n.state.all(), []string{"start run-1"}) })
		}
	}
}
