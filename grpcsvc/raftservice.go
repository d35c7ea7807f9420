package grpcsvc

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/hashicorp/raft"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"volley/grpcsvc/pb"
	"volley/node"
)

// raftService is the receiving side of Transport.
type raftService struct {
	pb.UnimplementedRaftServer
	transport *Transport
}

func (s *raftService) AppendEntries(ctx context.Context, in *pb.RaftMessage) (*pb.RaftReply, error) {
	return s.transport.receive(ctx, in, new(raft.AppendEntriesRequest))
}

func (s *raftService) RequestVote(ctx context.Context, in *pb.RaftMessage) (*pb.RaftReply, error) {
	return s.transport.receive(ctx, in, new(raft.RequestVoteRequest))
}

func (s *raftService) RequestPreVote(ctx context.Context, in *pb.RaftMessage) (*pb.RaftReply, error) {
	return s.transport.receive(ctx, in, new(raft.RequestPreVoteRequest))
}

func (s *raftService) TimeoutNow(ctx context.Context, in *pb.RaftMessage) (*pb.RaftReply, error) {
	return s.transport.receive(ctx, in, new(raft.TimeoutNowRequest))
}

func (s *raftService) InstallSnapshot(stream grpc.ClientStreamingServer[pb.SnapshotChunk, pb.RaftReply]) error {
	reply, err := s.transport.receiveSnapshot(stream)
	if err != nil {
		return err
	}
	return stream.SendAndClose(reply)
}

// open checks that a message is for this process in its cluster, and decodes
// it. The server id comes first: the sender takes its refusal as a proof.
func (t *Transport) open(in *pb.RaftMessage, request any) error {
	if target := in.GetTargetId(); target == "" || target != t.o.ServerID {
		return fmt.Errorf("%w: Raft message for server %q reached %q", errWrongServer, target, t.o.ServerID)
	}
	if own := t.o.ClusterID(); own == "" || in.GetClusterId() != own {
		return fmt.Errorf("%w: Raft message of cluster %q reached server %q of cluster %q", node.ErrOtherCluster, in.GetClusterId(), t.o.ServerID, own)
	}
	if err := t.decode(in.GetBody(), request); err != nil {
		return status.Error(codes.InvalidArgument, err.Error())
	}
	return t.checkTerm(request)
}

func (t *Transport) receive(ctx context.Context, in *pb.RaftMessage, request any) (*pb.RaftReply, error) {
	if err := t.open(in, request); err != nil {
		return nil, err
	}
	return t.dispatch(ctx, raft.RPC{Command: request})
}

// dispatch hands rpc to Raft and waits for the answer, no longer than ctx or
// the transport lives: Raft answers nothing any more once it shuts down.
func (t *Transport) dispatch(ctx context.Context, rpc raft.RPC) (*pb.RaftReply, error) {
	answers := make(chan raft.RPCResponse, 1) // so that Raft never waits for us
	rpc.RespChan = answers
	if !t.takeHeartbeat(rpc) {
		select {
		case t.consumer <- rpc:
		case <-ctx.Done():
			return nil, ctx.Err()
		case <-t.life.Done():
			return nil, errShutDown()
		}
	}
	select {
	case answer := <-answers:
		t.noteLeader(rpc.Command, answer)
		return t.reply(answer)
	case <-ctx.Done():
		return nil, ctx.Err()
	case <-t.life.Done():
		return nil, errShutDown()
	}
}

func errShutDown() error { return status.Error(codes.Unavailable, "Raft is shut down on this node") }

// takeHeartbeat passes a heartbeat to Raft's own handler, past the consumer.
func (t *Transport) takeHeartbeat(rpc raft.RPC) bool {
	in, ok := rpc.Command.(*raft.AppendEntriesRequest)
	if !ok || !isHeartbeat(in) {
		return false
	}
	t.mu.Lock()
	handle := t.onHeartbeat
	t.mu.Unlock()
	if handle == nil {
		return false
	}
	handle(rpc)
	return true
}

// noteLeader takes note of a message of the leader, as whom Raft has accepted
// the sender if it answers in the sender's term.
func (t *Transport) noteLeader(request any, answer raft.RPCResponse) {
	in, ok := request.(*raft.AppendEntriesRequest)
	out, answered := answer.Response.(*raft.AppendEntriesResponse)
	if ok && answered && answer.Error == nil && out.Term == in.Term {
		t.contacts.heard(time.Now())
	}
}

func (t *Transport) reply(answer raft.RPCResponse) (*pb.RaftReply, error) {
	if answer.Error != nil {
		return nil, status.Error(codes.Aborted, wireText(answer.Error))
	}
	t.noteTerm(answer.Response)
	body, err := t.encode(answer.Response)
	if err != nil {
		return nil, err
	}
	return &pb.RaftReply{Body: body}, nil
}

func (t *Transport) receiveSnapshot(stream grpc.ClientStreamingServer[pb.SnapshotChunk, pb.RaftReply]) (*pb.RaftReply, error) {
	if err := checkDeadline(stream.Context(), "InstallSnapshot"); err != nil {
		return nil, err
	}
	first, err := stream.Recv()
	if err != nil {
		return nil, fmt.Errorf("receive snapshot's header: %w", err)
	}
	var request raft.InstallSnapshotRequest
	if err := t.open(first.GetHeader(), &request); err != nil {
		return nil, err
	}
	if request.Size < 0 || request.Size > maxSnapshot {
		return nil, fmt.Errorf("%w: snapshot of %d bytes (accepted: at most %d)", node.ErrRefused, request.Size, int64(maxSnapshot))
	}
	ctx, cancel := context.WithTimeout(stream.Context(), t.snapshotTimeout(request.Size))
	defer cancel()
	chunks, err := t.pump(ctx, stream)
	if err != nil {
		return nil, err
	}
	data := &snapshotReader{ctx: ctx, chunks: chunks, patience: t.timeout}
	return t.dispatch(ctx, raft.RPC{Command: &request, Reader: io.LimitReader(data, request.Size)})
}

// chunk is a piece of a snapshot, or why there is no further.
type chunk struct {
	data []byte
	err  error
}

// pump receives chunks in a goroutine of its own, as Recv knows no deadline
// but the stream's. It ends with ctx, or with the stream when the handler
// returns; Close waits for it.
func (t *Transport) pump(ctx context.Context, stream grpc.ClientStreamingServer[pb.SnapshotChunk, pb.RaftReply]) (<-chan chunk, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.closed {
		return nil, errShutDown()
	}
	chunks := make(chan chunk)
	t.snapshots.Go(func() {
		for {
			message, err := stream.Recv()
			select {
			case chunks <- chunk{message.GetData(), err}:
			case <-ctx.Done():
				return
			}
			if err != nil {
				return
			}
		}
	})
	return chunks, nil
}

// snapshotReader is what Raft reads. Raft does so on its main goroutine, so a
// sender that stalls must not hold it for the whole deadline.
type snapshotReader struct {
	ctx      context.Context
	chunks   <-chan chunk
	patience time.Duration // for one chunk
	rest     []byte
	err      error // sticky
}

func (r *snapshotReader) Read(p []byte) (int, error) {
	for len(r.rest) == 0 {
		if r.err != nil {
			return 0, r.err
		}
		r.rest, r.err = r.next()
	}
	n := copy(p, r.rest)
	r.rest = r.rest[n:]
	return n, nil
}

func (r *snapshotReader) next() ([]byte, error) {
	patience := time.NewTimer(r.patience)
	defer patience.Stop()
	select {
	case c := <-r.chunks:
		return c.data, c.err
	case <-r.ctx.Done():
		return nil, r.ctx.Err()
	case <-patience.C:
		return nil, errors.New("snapshot stalled: nothing received for " + r.patience.String())
	}
}
