package grpcsvc

import (
	"context"
	"fmt"
	"sync"

	"volley/grpcsvc/pb"
	"volley/node"
)

// coordinator hands each call to the node.
type coordinator struct {
	pb.UnimplementedLoadTestCoordinatorServer
	node  node.Handler
	pumps sync.WaitGroup // that receive the streams of summaries
}

// answer turns what a handler returned into a reply: out only without an error.
func answer[Out, Wire any](out Out, err error, toWire func(Out) *Wire) (*Wire, error) {
	if err != nil {
		return nil, err
	}
	return toWire(out), nil
}

func done(err error) (*pb.Done, error) {
	if err != nil {
		return nil, err
	}
	return &pb.Done{}, nil
}

// checkDocument refuses a document that Raft's log should not hold.
func checkDocument(document []byte) error {
	if len(document) > node.MaxDocument {
		return fmt.Errorf("%w: document has %d bytes (accepted: at most %d)", node.ErrRefused, len(document), node.MaxDocument)
	}
	return nil
}

func (c *coordinator) Hello(ctx context.Context, in *pb.HelloRequest) (*pb.HelloReply, error) {
	out, err := c.node.HandleHello(ctx, helloFromWire(in))
	return answer(out, err, helloReplyToWire)
}

func (c *coordinator) Ping(ctx context.Context, _ *pb.PingRequest) (*pb.Pong, error) {
	out, err := c.node.HandlePing(ctx)
	return answer(out, err, pongToWire)
}

func (c *coordinator) Grant(ctx context.Context, in *pb.GrantRequest) (*pb.GrantReply, error) {
	out, err := c.node.HandleGrant(ctx, grantFromWire(in))
	return answer(out, err, grantReplyToWire)
}

func (c *coordinator) Join(ctx context.Context, in *pb.JoinRequest) (*pb.Done, error) {
	return done(c.node.HandleJoin(ctx, joinFromWire(in)))
}

func (c *coordinator) Leave(ctx context.Context, in *pb.LeaveRequest) (*pb.Done, error) {
	return done(c.node.HandleLeave(ctx, leaveFromWire(in)))
}

func (c *coordinator) SubmitConfig(ctx context.Context, in *pb.SubmitConfigRequest) (*pb.Submitted, error) {
	if err := checkDocument(in.GetDocument()); err != nil {
		return nil, err
	}
	out, err := c.node.HandleSubmit(ctx, submitFromWire(in))
	return answer(out, err, submittedToWire)
}

func (c *coordinator) SubmitStop(ctx context.Context, in *pb.SubmitStopRequest) (*pb.Stopped, error) {
	out, err := c.node.HandleStop(ctx, stopFromWire(in))
	return answer(out, err, stoppedToWire)
}

func (c *coordinator) Report(ctx context.Context, in *pb.ReportRequest) (*pb.Done, error) {
	return done(c.node.HandleReport(ctx, reportFromWire(in)))
}

func (c *coordinator) DistributeConfig(ctx context.Context, in *pb.TestConfig) (*pb.Ack, error) {
	if err := checkDocument(in.GetDocument()); err != nil {
		return nil, err
	}
	out, err := c.node.HandleDistribute(ctx, distributeFromWire(in))
	return answer(out, err, ackToWire)
}

func (c *coordinator) StartTest(ctx context.Context, in *pb.StartTestRequest) (*pb.Done, error) {
	return done(c.node.HandleStartTest(ctx, startFromWire(in)))
}

func (c *coordinator) StopTest(ctx context.Context, in *pb.StopTestRequest) (*pb.Done, error) {
	return done(c.node.HandleStopTest(ctx, stopTestFromWire(in)))
}

func (c *coordinator) HealthCheck(ctx context.Context, in *pb.HealthCheckRequest) (*pb.HealthReply, error) {
	out, err := c.node.HandleHealthCheck(ctx, healthCheckFromWire(in))
	return answer(out, err, healthToWire)
}
