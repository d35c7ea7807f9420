package grpcsvc

import (
	"context"
	"errors"
	"fmt"
	"io"
	"sync"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"volley/grpcsvc/pb"
	"volley/node"
)

const (
	// headTimeout is how long a stream may take to say whose it is.
	headTimeout = 5 * time.Second
	// maxStreamLife bounds what a caller may ask for; node's own streams are younger.
	maxStreamLife = 15 * time.Minute
)

type (
	metricsUp   = grpc.BidiStreamingClient[pb.MetricsUp, pb.MetricsDown]
	metricsDown = grpc.BidiStreamingServer[pb.MetricsUp, pb.MetricsDown]
)

// Stream opens a stream of summaries to the node at addr, over a connection of
// its own: what stalls there holds up no call. It ends with ctx.
func (c *Client) Stream(ctx context.Context, addr string, head node.StreamHead) (node.SummaryStream, error) {
	if _, ok := ctx.Deadline(); !ok {
		return nil, fmt.Errorf("StreamMetrics %s: context has no deadline (every call must carry one)", addr)
	}
	conn, err := c.pool.borrow(addr, useStream)
	if err != nil {
		return nil, fmt.Errorf("StreamMetrics: %w", err)
	}
	ctx, cancel := context.WithCancel(ctx)
	s := &summaryStream{addr: addr, conn: conn, bases: newBases()}
	s.close = sync.OnceFunc(func() {
		cancel()
		c.pool.giveBack(conn)
	})
	if s.stream, err = pb.NewLoadTestCoordinatorClient(conn).StreamMetrics(ctx); err == nil {
		err = s.stream.Send(&pb.MetricsUp{Head: headToWire(head)})
		if errors.Is(err, io.EOF) {
			_, err = s.stream.Recv() // says why
		}
	}
	if err != nil {
		s.close()
		return nil, s.failure(err)
	}
	return s, nil
}

// summaryStream is the sender's end of a stream.
type summaryStream struct {
	addr   string
	conn   *pooledConn
	stream metricsUp
	bases  *bases
	close  func()
}

func (s *summaryStream) Send(r node.Report) error {
	err := s.stream.Send(s.bases.sending(r))
	if err == nil || errors.Is(err, io.EOF) { // over: Recv says why
		return err
	}
	return s.failure(err)
}

func (s *summaryStream) Recv() (node.StreamAck, error) {
	in, err := s.stream.Recv()
	if err == nil {
		a := downFromWire(in)
		s.bases.acknowledged(a)
		return a, nil
	}
	if errors.Is(err, io.EOF) {
		return node.StreamAck{}, err
	}
	return node.StreamAck{}, s.failure(err)
}

func (s *summaryStream) Close() { s.close() }

func (s *summaryStream) failure(err error) error {
	return s.conn.handshake.explain(fromStatus(err, "StreamMetrics", s.addr))
}

// StreamMetrics hands a stream to the node, message by message: one that the
// node has not taken holds up the sender, and nothing is heaped here.
func (c *coordinator) StreamMetrics(stream metricsDown) error {
	ctx := stream.Context()
	if err := checkDeadline(ctx, "StreamMetrics"); err != nil {
		return err
	}
	if deadline, _ := ctx.Deadline(); time.Until(deadline) > maxStreamLife {
		return status.Errorf(codes.InvalidArgument, "StreamMetrics has a deadline in %s (accepted: at most %s)", time.Until(deadline).Round(time.Second), maxStreamLife)
	}
	from := &summarySource{stream: stream, bases: newBases(), messages: make(chan upMessage), over: make(chan struct{})}
	defer close(from.over)
	c.pumps.Go(from.pump)
	head, err := from.head(ctx)
	if err == nil {
		err = c.node.HandleStream(ctx, head, from)
	}
	if errors.Is(err, context.Canceled) {
		// The caller has gone, and nobody reads this; or this node goes.
		return status.Error(codes.Unavailable, "the stream's receiver is about to end")
	}
	return err
}

// summarySource is the receiver's end of a stream.
type summarySource struct {
	stream   metricsDown
	bases    *bases
	messages chan upMessage
	over     chan struct{} // closed when the handler returns
}

type upMessage struct {
	in  *pb.MetricsUp
	err error
}

// pump receives in a goroutine of its own, as Recv knows no deadline but the
// stream's. It ends after the handler has returned; Serve waits for it.
func (s *summarySource) pump() {
	for {
		in, err := s.stream.Recv()
		select {
		case s.messages <- upMessage{in, err}:
		case <-s.over:
			return
		}
		if err != nil {
			return
		}
	}
}

func (s *summarySource) head(ctx context.Context) (node.StreamHead, error) {
	ctx, cancel := context.WithTimeout(ctx, headTimeout)
	defer cancel()
	in, err := s.next(ctx)
	if err != nil {
		return node.StreamHead{}, err
	}
	if in.GetHead() == nil {
		return node.StreamHead{}, status.Error(codes.InvalidArgument, "the first message of StreamMetrics has no head")
	}
	return headFromWire(in.GetHead()), nil
}

func (s *summarySource) next(ctx context.Context) (*pb.MetricsUp, error) {
	select {
	case m := <-s.messages:
		return m.in, m.err
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
}

// Next returns the next summary; io.EOF says that the sender has closed. It asks for
// the whole of one that has come as a difference of what is not known here.
func (s *summarySource) Next(ctx context.Context) (node.Report, error) {
	for {
		in, err := s.next(ctx)
		if err != nil {
			return node.Report{}, err
		}
		r, known := s.bases.received(in)
		if known {
			return r, nil
		}
		if err := s.Ack(node.StreamAck{RunID: r.RunID, ServerID: r.Of.ServerID, Incarnation: r.Incarnation, Seq: r.Seq, Again: true}); err != nil {
			return node.Report{}, err
		}
	}
}

func (s *summarySource) Ack(a node.StreamAck) error {
	s.bases.acknowledged(a)
	return s.stream.Send(downToWire(a))
}

func headToWire(h node.StreamHead) *pb.MetricsHead {
	out := &pb.MetricsHead{ClusterId: h.ClusterID, TargetId: h.TargetID, From: memberToWire(h.From)}
	if h.Fence != nil {
		out.Fence = fenceToWire(*h.Fence)
	}
	return out
}

func headFromWire(h *pb.MetricsHead) node.StreamHead {
	out := node.StreamHead{ClusterID: h.GetClusterId(), TargetID: h.GetTargetId(), From: memberFromWire(h.GetFrom())}
	if h.GetFence() != nil {
		fence := fenceFromWire(h.GetFence())
		out.Fence = &fence
	}
	return out
}

// upToWire leaves the cluster's id out: the head has it.
func upToWire(r node.Report) *pb.MetricsUp {
	return &pb.MetricsUp{
		RunId: r.RunID, Of: memberToWire(r.Of), Seq: r.Seq, Incarnation: r.Incarnation,
		Final: r.Final, Failure: r.Failure, Left: r.Left, Summary: r.Summary,
	}
}

func upFromWire(m *pb.MetricsUp) node.Report {
	return node.Report{
		RunID: m.GetRunId(), Of: memberFromWire(m.GetOf()), Seq: m.GetSeq(), Incarnation: m.GetIncarnation(),
		Final: m.GetFinal(), Failure: m.GetFailure(), Left: m.GetLeft(), Summary: m.GetSummary(),
	}
}

func downToWire(a node.StreamAck) *pb.MetricsDown {
	return &pb.MetricsDown{RunId: a.RunID, ServerId: a.ServerID, Incarnation: a.Incarnation, AcknowledgedSeq: a.Seq, SendFull: a.Again}
}

func downFromWire(m *pb.MetricsDown) node.StreamAck {
	return node.StreamAck{RunID: m.GetRunId(), ServerID: m.GetServerId(), Incarnation: m.GetIncarnation(), Seq: m.GetAcknowledgedSeq(), Again: m.GetSendFull()}
}
