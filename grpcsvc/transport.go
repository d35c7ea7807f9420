package grpcsvc

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hashicorp/go-msgpack/v2/codec"
	"github.com/hashicorp/raft"
	"google.golang.org/grpc"
	"google.golang.org/grpc/status"

	"volley/grpcsvc/pb"
	"volley/node"
)

const (
	defaultHeartbeatTimeout = time.Second
	defaultTimeout          = 2 * time.Second
	snapshotChunk           = 64 << 10  // bytes
	snapshotPace            = 256 << 10 // bytes a second that a snapshot is granted
	maxSnapshot             = 64 << 20  // bytes; the state is two plans and little else
)

// TransportOptions describe a Transport.
type TransportOptions struct {
	ServerID string // this process; messages for another are refused
	// ClusterID is the cluster that this process belongs to, "" while it is
	// blank: then every message, in or out, is refused. It must not block.
	ClusterID func() string
	Addr      string // host:port as others dial it
	// HeartbeatTimeout is Raft's; heartbeats and votes get half of it. 0 = 1 s.
	HeartbeatTimeout time.Duration
	// Timeout is that of any other message; a snapshot gets 1 s more per 256 KiB. 0 = 2 s.
	Timeout time.Duration
	Token   string       // shown on every message; "" = none
	TLS     *tls.Config  // the client's of LoadTLS; nil = plain text
	Dialer  Dialer       // nil = TCP
	Log     *slog.Logger // nil = slog.Default()
	// OnMisdirected hears that the process at addr answered that it is not
	// target. With server ids that are new per process this proves target dead.
	// It is called on Raft's goroutines and must not block. May be nil.
	OnMisdirected func(target raft.ServerID, addr raft.ServerAddress)
}

// Transport carries hashicorp/raft's messages over gRPC: outwards over its own
// connections, inwards through the Server that it is given to. Raft closes it
// at Shutdown.
type Transport struct {
	o         TransportOptions
	pool      *pool
	heartbeat time.Duration // deadline of a heartbeat or vote
	timeout   time.Duration
	codec     *codec.MsgpackHandle
	consumer  chan raft.RPC
	term      atomic.Uint64   // the highest that this node's Raft has told
	life      context.Context // ends with Close
	end       context.CancelFunc
	contacts  contacts

	mu          sync.Mutex
	onHeartbeat func(raft.RPC)
	closed      bool
	snapshots   sync.WaitGroup // receiving goroutines
}

var (
	_ raft.Transport   = (*Transport)(nil)
	_ raft.WithPreVote = (*Transport)(nil) // without it Raft does no pre-votes
	_ raft.WithClose   = (*Transport)(nil)
)

// NewTransport returns a transport; it opens connections as Raft needs them.
func NewTransport(o TransportOptions) *Transport {
	if o.HeartbeatTimeout <= 0 {
		o.HeartbeatTimeout = defaultHeartbeatTimeout
	}
	if o.Timeout <= 0 {
		o.Timeout = defaultTimeout
	}
	life, end := context.WithCancel(context.Background())
	return &Transport{
		o:         o,
		pool:      newPool(o.Token, o.TLS, o.Dialer, o.Log),
		heartbeat: o.HeartbeatTimeout / 2,
		timeout:   o.Timeout,
		codec:     &codec.MsgpackHandle{},
		consumer:  make(chan raft.RPC),
		life:      life,
		end:       end,
	}
}

// Consumer is where Raft takes the messages that arrived.
func (t *Transport) Consumer() <-chan raft.RPC { return t.consumer }

// LocalAddr is the address that others dial.
func (t *Transport) LocalAddr() raft.ServerAddress { return raft.ServerAddress(t.o.Addr) }

// EncodePeer is the address as it is.
func (t *Transport) EncodePeer(_ raft.ServerID, addr raft.ServerAddress) []byte { return []byte(addr) }

// DecodePeer is the address as it is.
func (t *Transport) DecodePeer(addr []byte) raft.ServerAddress { return raft.ServerAddress(addr) }

// SetHeartbeatHandler sets what takes heartbeats past the consumer: they must
// not queue behind a slow Apply.
func (t *Transport) SetHeartbeatHandler(handle func(raft.RPC)) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.onHeartbeat = handle
}

// Close cancels messages under way in both directions, refuses later ones and
// waits for the goroutines that receive snapshots.
func (t *Transport) Close() error {
	t.mu.Lock()
	t.closed = true
	t.mu.Unlock()
	t.end()
	t.pool.close()
	t.snapshots.Wait()
	return nil
}

// AppendEntriesPipeline is not supported: Raft then sends plain messages.
func (t *Transport) AppendEntriesPipeline(raft.ServerID, raft.ServerAddress) (raft.AppendPipeline, error) {
	return nil, raft.ErrPipelineReplicationNotSupported
}

// AppendEntries sends entries, or a heartbeat on the connection for those.
func (t *Transport) AppendEntries(id raft.ServerID, addr raft.ServerAddress, in *raft.AppendEntriesRequest, out *raft.AppendEntriesResponse) error {
	var err error
	if isHeartbeat(in) {
		err = t.send(t.urgent(id, addr), "heartbeat", pb.RaftClient.AppendEntries, in, out)
	} else {
		err = t.send(peer{id, addr, useBulk, t.timeout}, "append entries", pb.RaftClient.AppendEntries, in, out)
	}
	if err == nil && out.Term == in.Term { // else this node leads no more
		t.contacts.answer(id, time.Now())
	}
	return err
}

// RequestVote asks for a vote.
func (t *Transport) RequestVote(id raft.ServerID, addr raft.ServerAddress, in *raft.RequestVoteRequest, out *raft.RequestVoteResponse) error {
	return t.send(t.urgent(id, addr), "request vote", pb.RaftClient.RequestVote, in, out)
}

// RequestPreVote asks whether a vote would be granted.
func (t *Transport) RequestPreVote(id raft.ServerID, addr raft.ServerAddress, in *raft.RequestPreVoteRequest, out *raft.RequestPreVoteResponse) error {
	return t.send(t.urgent(id, addr), "request pre-vote", pb.RaftClient.RequestPreVote, in, out)
}

// TimeoutNow hands leadership over.
func (t *Transport) TimeoutNow(id raft.ServerID, addr raft.ServerAddress, in *raft.TimeoutNowRequest, out *raft.TimeoutNowResponse) error {
	return t.send(t.urgent(id, addr), "timeout now", pb.RaftClient.TimeoutNow, in, out)
}

// InstallSnapshot streams data to a member that lags behind the log.
func (t *Transport) InstallSnapshot(id raft.ServerID, addr raft.ServerAddress, in *raft.InstallSnapshotRequest, out *raft.InstallSnapshotResponse, data io.Reader) error {
	to := peer{id, addr, useBulk, t.snapshotTimeout(in.Size)}
	return t.exchange(to, "install snapshot", in, out, func(ctx context.Context, c pb.RaftClient, header *pb.RaftMessage) (*pb.RaftReply, error) {
		stream, err := c.InstallSnapshot(ctx)
		if err != nil {
			return nil, err
		}
		if err := sendSnapshot(stream, header, data); err != nil {
			return nil, err
		}
		return stream.CloseAndRecv()
	})
}

// sendSnapshot returns without error when the receiver ended the stream early:
// its answer then says why.
func sendSnapshot(stream grpc.ClientStreamingClient[pb.SnapshotChunk, pb.RaftReply], header *pb.RaftMessage, data io.Reader) error {
	err := stream.Send(&pb.SnapshotChunk{Header: header})
	for err == nil {
		chunk := make([]byte, snapshotChunk) // gRPC may hold it after Send
		n, readErr := data.Read(chunk)
		if n > 0 { // may come together with io.EOF
			err = stream.Send(&pb.SnapshotChunk{Data: chunk[:n]})
		}
		if err == nil && readErr != nil {
			err = readErr
		}
	}
	if errors.Is(err, io.EOF) {
		return nil
	}
	return err
}

// snapshotTimeout grants size bytes their time.
func (t *Transport) snapshotTimeout(size int64) time.Duration {
	return t.timeout + time.Duration(max(size, 0)/snapshotPace)*time.Second
}

// peer is whom a message is for and how it travels.
type peer struct {
	id      raft.ServerID
	addr    raft.ServerAddress
	use     use
	timeout time.Duration
}

// urgent is for messages that elections and leases wait for.
func (t *Transport) urgent(id raft.ServerID, addr raft.ServerAddress) peer {
	return peer{id, addr, useHeartbeat, t.heartbeat}
}

// raftMethod is one of service Raft's, as a method expression.
type raftMethod func(pb.RaftClient, context.Context, *pb.RaftMessage, ...grpc.CallOption) (*pb.RaftReply, error)

func (t *Transport) send(to peer, name string, call raftMethod, in, out any) error {
	return t.exchange(to, name, in, out, func(ctx context.Context, c pb.RaftClient, m *pb.RaftMessage) (*pb.RaftReply, error) {
		return call(c, ctx, m)
	})
}

// exchange brings one message to its target, within the peer's timeout, and
// decodes the answer into out.
func (t *Transport) exchange(to peer, name string, in, out any, call func(context.Context, pb.RaftClient, *pb.RaftMessage) (*pb.RaftReply, error)) error {
	message, err := t.address(to.id, in)
	if err != nil {
		return fmt.Errorf("%s to %s: %w", name, to.id, err)
	}
	conn, err := t.pool.borrow(string(to.addr), to.use)
	if err != nil {
		return fmt.Errorf("%s to %s: %w", name, to.id, err)
	}
	defer t.pool.giveBack(conn)
	ctx, cancel := context.WithTimeout(t.life, to.timeout)
	defer cancel()
	reply, err := call(ctx, pb.NewRaftClient(conn), message)
	if err != nil {
		t.notice(err, to)
		return t.pool.failure(conn, err, name, string(to.addr))
	}
	if err := t.decode(reply.GetBody(), out); err != nil {
		return err
	}
	return t.checkTerm(out)
}

// address puts a request into an envelope with its target's names: Raft itself
// never checks whom it reached.
func (t *Transport) address(id raft.ServerID, in any) (*pb.RaftMessage, error) {
	cluster := t.o.ClusterID()
	if cluster == "" {
		return nil, fmt.Errorf("%w: this node is in no cluster", node.ErrOtherCluster)
	}
	t.noteTerm(in)
	body, err := t.encode(in)
	if err != nil {
		return nil, err
	}
	return &pb.RaftMessage{TargetId: string(id), ClusterId: cluster, Body: body}, nil
}

// notice reports the proof that the target is gone.
func (t *Transport) notice(err error, to peer) {
	info := infoOf(status.Convert(err))
	if info.GetReason() == reasonWrongServer && t.o.OnMisdirected != nil {
		t.o.OnMisdirected(to.id, to.addr)
	}
}

func (t *Transport) encode(v any) ([]byte, error) {
	var b []byte
	if err := codec.NewEncoderBytes(&b, t.codec).Encode(v); err != nil {
		return nil, fmt.Errorf("encode %T: %w", v, err)
	}
	return b, nil
}

func (t *Transport) decode(b []byte, v any) error {
	if err := codec.NewDecoderBytes(b, t.codec).Decode(v); err != nil {
		return fmt.Errorf("decode %T: %w", v, err)
	}
	return nil
}

// isHeartbeat is hashicorp/raft's own test: replication carries more.
func isHeartbeat(in *raft.AppendEntriesRequest) bool {
	return in.Term != 0 && in.PrevLogEntry == 0 && in.PrevLogTerm == 0 && len(in.Entries) == 0 && in.LeaderCommitIndex == 0
}
