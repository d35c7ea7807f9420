package grpcsvc

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"sync/atomic"
	"testing"
	"testing/iotest"
	"time"

	"github.com/hashicorp/raft"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"volley/grpcsvc/pb"
	"volley/node"
)

// end is one end of the wire without Raft behind it.
type end struct {
	*Transport
	addr raft.ServerAddress
	stop func()
}

func startEnd(t *testing.T, o TransportOptions) end {
	t.Helper()
	if o.ClusterID == nil {
		o.ClusterID = func() string { return "cluster-1" }
	}
	transport := NewTransport(o)
	listener := listen(t, "127.0.0.1:0")
	stop := serve(t, listener, Options{Handler: answering(nil, nil), Transport: transport})
	t.Cleanup(func() { _ = transport.Close() })
	return end{transport, raft.ServerAddress(listener.Addr().String()), stop}
}

// consume answers what arrives at e, as Raft would, until the test ends.
func consume(t *testing.T, e end, answer func(raft.RPC) (any, error)) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		for {
			select {
			case rpc := <-e.Consumer():
				rpc.Respond(answer(rpc))
			case <-ctx.Done():
				return
			}
		}
	}()
	t.Cleanup(func() { cancel(); <-ended })
}

var entry = []*raft.Log{{Index: 7, Term: 3, Data: []byte("x"), AppendedAt: time.Unix(1_700_000_000, 5)}}

// messages is every message that from can send to a server id at an address.
func messages(from *Transport, id raft.ServerID, addr raft.ServerAddress) map[string]func() error {
	return map[string]func() error{
		"heartbeat": func() error {
			return from.AppendEntries(id, addr, &raft.AppendEntriesRequest{Term: 1}, &raft.AppendEntriesResponse{})
		},
		"append entries": func() error {
			return from.AppendEntries(id, addr, &raft.AppendEntriesRequest{Term: 1, Entries: entry}, &raft.AppendEntriesResponse{})
		},
		"request vote": func() error {
			return from.RequestVote(id, addr, &raft.RequestVoteRequest{Term: 1}, &raft.RequestVoteResponse{})
		},
		"request pre-vote": func() error {
			return from.RequestPreVote(id, addr, &raft.RequestPreVoteRequest{Term: 1}, &raft.RequestPreVoteResponse{})
		},
		"timeout now": func() error {
			return from.TimeoutNow(id, addr, &raft.TimeoutNowRequest{}, &raft.TimeoutNowResponse{})
		},
		"install snapshot": func() error {
			return from.InstallSnapshot(id, addr, &raft.InstallSnapshotRequest{Term: 1, Size: 1 << 20}, &raft.InstallSnapshotResponse{}, bytes.NewReader(make([]byte, 1<<20)))
		},
	}
}

func TestMessagesAndAnswersArriveWhole(t *testing.T) {
	noLeaks(t)
	a, b := startEnd(t, TransportOptions{ServerID: "a", Addr: "10.0.0.1:7000"}), startEnd(t, TransportOptions{ServerID: "b"})
	var got any
	consume(t, b, func(rpc raft.RPC) (any, error) {
		got = rpc.Command
		return &raft.AppendEntriesResponse{Term: 9, LastLog: 6, Success: true, NoRetryBackoff: true}, nil
	})
	in := &raft.AppendEntriesRequest{RPCHeader: raft.RPCHeader{ProtocolVersion: 3, ID: []byte("a"), Addr: []byte("a:1")}, Term: 3, PrevLogEntry: 6, PrevLogTerm: 2, Entries: entry, LeaderCommitIndex: 5}
	var out raft.AppendEntriesResponse
	if err := a.AppendEntries("b", b.addr, in, &out); err != nil {
		t.Fatal(err)
	}
	received := got.(*raft.AppendEntriesRequest)
	if !received.Entries[0].AppendedAt.Equal(entry[0].AppendedAt) {
		t.Errorf("AppendedAt %s, want %s", received.Entries[0].AppendedAt, entry[0].AppendedAt)
	}
	received.Entries[0].AppendedAt = entry[0].AppendedAt // equal, in another zone
	if got, want := fmt.Sprintf("%+v %+v", received, received.Entries[0]), fmt.Sprintf("%+v %+v", in, in.Entries[0]); stripPointers(got) != stripPointers(want) {
		t.Errorf("got\n%s, want\n%s", got, want)
	}
	if fmt.Sprintf("%+v", out) != fmt.Sprintf("%+v", raft.AppendEntriesResponse{Term: 9, LastLog: 6, Success: true, NoRetryBackoff: true}) {
		t.Errorf("answer %+v", out)
	}
	if a.LocalAddr() != "10.0.0.1:7000" || a.DecodePeer(a.EncodePeer("b", "b:1")) != "b:1" {
		t.Errorf("addresses: %s, %s", a.LocalAddr(), a.DecodePeer(a.EncodePeer("b", "b:1")))
	}
	if _, err := a.AppendEntriesPipeline("b", b.addr); !errors.Is(err, raft.ErrPipelineReplicationNotSupported) {
		t.Errorf("pipeline: %v", err)
	}
}

func stripPointers(s string) string {
	before, after, _ := strings.Cut(s, "[0x")
	_, after, _ = strings.Cut(after, "]")
	return before + after
}

func TestErrorOfRaftIsTold(t *testing.T) {
	noLeaks(t)
	a, b := startEnd(t, TransportOptions{ServerID: "a"}), startEnd(t, TransportOptions{ServerID: "b"})
	consume(t, b, func(raft.RPC) (any, error) { return nil, errors.New("log is broken") })
	for name, send := range messages(a.Transport, "b", b.addr) {
		if err := send(); status.Code(err) != codes.Aborted || err.Error() != fmt.Sprintf("%s %s: log is broken", name, b.addr) {
			t.Errorf("%s: got %v", name, err)
		}
	}
}

func TestMessageForAnotherIsRefused(t *testing.T) {
	noLeaks(t)
	refusals := map[string]struct {
		target        raft.ServerID
		from, at      string // cluster ids
		want          string
		provesItsDead bool
	}{
		"another server":          {"b-old", "cluster-1", "cluster-1", `wrong cluster or server: another server id: Raft message for server "b-old" reached "b"`, true},
		"another server, blank":   {"b-old", "cluster-1", "", `wrong cluster or server: another server id: Raft message for server "b-old" reached "b"`, true},
		"no server named":         {"", "cluster-1", "cluster-1", `wrong cluster or server: another server id: Raft message for server "" reached "b"`, true},
		"another cluster":         {"b", "cluster-2", "cluster-1", `wrong cluster or server: Raft message of cluster "cluster-2" reached server "b" of cluster "cluster-1"`, false},
		"receiver without any":    {"b", "cluster-1", "", `wrong cluster or server: Raft message of cluster "cluster-1" reached server "b" of cluster ""`, false},
		"sender in no cluster":    {"b", "", "cluster-1", `%s to b: wrong cluster or server: this node is in no cluster`, false},
		"neither is in a cluster": {"b", "", "", `%s to b: wrong cluster or server: this node is in no cluster`, false},
	}
	for name, c := range refusals {
		t.Run(name, func(t *testing.T) {
			var proofs []string
			a := startEnd(t, TransportOptions{ServerID: "a", ClusterID: func() string { return c.from }, OnMisdirected: func(id raft.ServerID, addr raft.ServerAddress) {
				proofs = append(proofs, string(id)+"@"+string(addr))
			}})
			b := startEnd(t, TransportOptions{ServerID: "b", ClusterID: func() string { return c.at }})
			var reached atomic.Int64
			consume(t, b, func(raft.RPC) (any, error) { reached.Add(1); return nil, nil })
			b.SetHeartbeatHandler(func(rpc raft.RPC) { reached.Add(1); rpc.Respond(nil, nil) })
			for message, send := range messages(a.Transport, c.target, b.addr) {
				proofs = nil
				want := c.want
				if strings.Contains(want, "%s") {
					want = fmt.Sprintf(want, message)
				}
				if err := send(); !errors.Is(err, node.ErrOtherCluster) || err.Error() != want {
					t.Errorf("%s: got %v, want %s", message, err, want)
				}
				if proof := fmt.Sprintf("[%s@%s]", c.target, b.addr); c.provesItsDead && fmt.Sprint(proofs) != proof || !c.provesItsDead && proofs != nil {
					t.Errorf("%s: OnMisdirected heard %v", message, proofs)
				}
			}
			if reached.Load() != 0 {
				t.Errorf("%d messages reached Raft", reached.Load())
			}
		})
	}
}

func TestMessageToABlackHoleEndsWithItsDeadline(t *testing.T) {
	noLeaks(t)
	a := startEnd(t, TransportOptions{ServerID: "a", HeartbeatTimeout: 100 * time.Millisecond, Timeout: 150 * time.Millisecond})
	addr := raft.ServerAddress(blackHole(t))
	for name, send := range messages(a.Transport, "b", addr) {
		want := 50 * time.Millisecond
		switch name {
		case "append entries":
			want = 150 * time.Millisecond
		case "install snapshot":
			continue // has seconds; connecting gives up after two
		}
		begin := time.Now()
		err := send()
		if took := time.Since(begin); !errors.Is(err, context.DeadlineExceeded) || took < want || took > want+time.Second {
			t.Errorf("%s: got %v after %s, want the deadline of %s", name, err, took, want)
		}
	}
}

func TestSnapshotIsGrantedTimeByItsSize(t *testing.T) {
	transport := NewTransport(TransportOptions{})
	t.Cleanup(func() { _ = transport.Close() })
	for size, want := range map[int64]time.Duration{-1: 2 * time.Second, 0: 2 * time.Second, 256 << 10: 3 * time.Second, 3 << 20: 14 * time.Second} {
		if got := transport.snapshotTimeout(size); got != want {
			t.Errorf("%d bytes: %s, want %s", size, got, want)
		}
	}
}

func TestCloseEndsPendingMessages(t *testing.T) {
	for _, side := range []string{"sender", "receiver", "receiver's server"} {
		t.Run(side, func(t *testing.T) {
			noLeaks(t)
			a := startEnd(t, TransportOptions{ServerID: "a", HeartbeatTimeout: time.Minute, Timeout: time.Minute})
			b := startEnd(t, TransportOptions{ServerID: "b", HeartbeatTimeout: time.Minute, Timeout: time.Minute})
			held := make(chan raft.RPC) // Raft takes the messages and never answers
			ctx, cancel := context.WithCancel(context.Background())
			b.SetHeartbeatHandler(func(rpc raft.RPC) { held <- rpc })
			ended := make(chan struct{})
			defer func() { cancel(); <-ended }()
			go func() {
				defer close(ended)
				for {
					select {
					case rpc := <-b.Consumer():
						select {
						case held <- rpc:
						case <-ctx.Done():
						}
					case <-ctx.Done():
						return
					}
				}
			}()
			all := messages(a.Transport, "b", b.addr)
			failed := make(chan string, len(all))
			for name, send := range all {
				go func() {
					if send() != nil {
						failed <- name
					} else {
						failed <- name + " without error"
					}
				}()
			}
			for range all {
				<-held
			}
			begin := time.Now()
			switch side {
			case "sender":
				_ = a.Close()
			case "receiver":
				_ = b.Close()
			default:
				_ = b.Close()
				b.stop()
			}
			for range all {
				if name := <-failed; strings.HasSuffix(name, "without error") {
					t.Error(name)
				}
			}
			if took := time.Since(begin); took > 2*time.Second {
				t.Errorf("took %s", took)
			}
			if side == "sender" {
				if err := all["request vote"](); !errors.Is(err, ErrClosed) {
					t.Errorf("after Close: %v", err)
				}
			} else if err := a.RequestVote("b", b.addr, &raft.RequestVoteRequest{}, &raft.RequestVoteResponse{}); status.Code(err) != codes.Unavailable {
				t.Errorf("after Close: %v", err)
			}
		})
	}
}

func TestHeartbeatsPassTheConsumerOnTheirOwnConnection(t *testing.T) {
	noLeaks(t)
	var dialled atomic.Int64
	a := startEnd(t, TransportOptions{ServerID: "a", Timeout: 50 * time.Millisecond, Dialer: func(ctx context.Context, addr string) (net.Conn, error) {
		dialled.Add(1)
		return new(net.Dialer).DialContext(ctx, "tcp", addr)
	}})
	b := startEnd(t, TransportOptions{ServerID: "b"}) // nobody consumes: Raft's main goroutine is busy
	b.SetHeartbeatHandler(func(rpc raft.RPC) { rpc.Respond(&raft.AppendEntriesResponse{Term: 4, Success: true}, nil) })

	entries := &raft.AppendEntriesRequest{Term: 4, Entries: entry}
	if err := a.AppendEntries("b", b.addr, entries, &raft.AppendEntriesResponse{}); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("entries while Raft is busy: got %v", err)
	}
	if got := dialled.Load(); got != 1 {
		t.Fatalf("%d connections, want 1", got)
	}
	var out raft.AppendEntriesResponse
	if err := a.AppendEntries("b", b.addr, &raft.AppendEntriesRequest{Term: 4}, &out); err != nil || out.Term != 4 || !out.Success {
		t.Errorf("heartbeat while Raft is busy: %+v, %v", out, err)
	}
	if got := dialled.Load(); got != 2 {
		t.Errorf("%d connections, want a second one for heartbeats", got)
	}
}

func TestSnapshotArrives(t *testing.T) {
	noLeaks(t)
	a, b := startEnd(t, TransportOptions{ServerID: "a"}), startEnd(t, TransportOptions{ServerID: "b"})
	var got []byte
	var readErr error
	consume(t, b, func(rpc raft.RPC) (any, error) {
		got, readErr = io.ReadAll(rpc.Reader)
		return &raft.InstallSnapshotResponse{Term: 5, Success: true}, nil
	})
	for _, size := range []int{0, 1, snapshotChunk, 700_001} {
		data := bytes.Repeat([]byte("0123456789"), size/10+1)[:size]
		for name, reader := range map[string]io.Reader{"plain": bytes.NewReader(data), "last data with EOF": iotest.DataErrReader(bytes.NewReader(data))} {
			var out raft.InstallSnapshotResponse
			err := a.InstallSnapshot("b", b.addr, &raft.InstallSnapshotRequest{Term: 5, Size: int64(size)}, &out, reader)
			if err != nil || readErr != nil || !out.Success || out.Term != 5 || !bytes.Equal(got, data) {
				t.Errorf("%d bytes, %s: %v, %v, %+v, %d bytes arrived", size, name, err, readErr, out, len(got))
			}
		}
	}
}

func TestBrokenSnapshotIsAnErrorToTheReader(t *testing.T) {
	noLeaks(t)
	const size = 1 << 20
	half := bytes.NewReader(make([]byte, size/2))
	stall, gaveUp := io.Pipe()
	for name, c := range map[string]struct {
		data io.Reader
		want string // of the error at the reader
	}{
		"the sender's disk fails": {io.MultiReader(half, iotest.ErrReader(errors.New("disk failed"))), "canceled"},
		"shorter than announced":  {bytes.NewReader(make([]byte, size/2)), "EOF"},
		"the sender stalls":       {io.MultiReader(bytes.NewReader(make([]byte, size/2)), stall), "snapshot stalled: nothing received for 100ms"},
	} {
		t.Run(name, func(t *testing.T) {
			a, b := startEnd(t, TransportOptions{ServerID: "a"}), startEnd(t, TransportOptions{ServerID: "b", Timeout: 100 * time.Millisecond})
			seen := make(chan error, 1)
			consume(t, b, func(rpc raft.RPC) (any, error) {
				n, err := io.ReadFull(rpc.Reader, make([]byte, size))
				if n > size/2 {
					err = fmt.Errorf("%d bytes read", n)
				}
				if _, again := rpc.Reader.Read(make([]byte, 1)); again == nil {
					err = errors.New("reading on works")
				}
				if name == "the sender stalls" {
					_ = gaveUp.Close()
				}
				seen <- err
				return nil, errors.New("snapshot incomplete")
			})
			err := a.InstallSnapshot("b", b.addr, &raft.InstallSnapshotRequest{Size: size}, &raft.InstallSnapshotResponse{}, c.data)
			if err == nil {
				t.Error("the sender got no error")
			}
			if err := <-seen; err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("the reader got %v, want %q", err, c.want)
			}
		})
	}
}

func TestBadRaftMessagesAreRefused(t *testing.T) {
	noLeaks(t)
	b := startEnd(t, TransportOptions{ServerID: "b"})
	client := pb.NewRaftClient(rawConn(t, string(b.addr)))
	garbage := &pb.RaftMessage{TargetId: "b", ClusterId: "cluster-1", Body: []byte{0xc1, 0xff}}
	if _, err := client.RequestVote(within(t, patience), garbage); status.Code(err) != codes.InvalidArgument {
		t.Errorf("garbage: %v", err)
	}
	stream, err := client.InstallSnapshot(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	_, err = stream.CloseAndRecv()
	if status.Code(err) != codes.InvalidArgument || !strings.Contains(err.Error(), "no deadline") {
		t.Errorf("snapshot without deadline: %v", err)
	}
}
