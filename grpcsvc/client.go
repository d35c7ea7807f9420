package grpcsvc

import (
	"context"
	"crypto/tls"
	"fmt"
	"log/slog"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"volley/grpcsvc/pb"
	"volley/node"
)

// ClientOptions describe a Client; the zero value is one without token and TLS.
type ClientOptions struct {
	Token    string        // shown on every call; "" = none
	TLS      *tls.Config   // the client's of LoadTLS; nil = plain text
	Dialer   Dialer        // nil = TCP
	MaxConns int           // connections at a time; 0 = 2000
	Log      *slog.Logger  // nil = slog.Default()
	Unused   time.Duration // after which a connection without calls is closed; 0 = 5 min
}

// Client calls other nodes, each over one connection that is opened at the
// first call and kept. It is safe for concurrent use.
//
// Errors that the other node answered are node's (errors.Is, errors.As) with
// their text; any other error names call and address, and is
// context.DeadlineExceeded or context.Canceled where that was the cause,
// node.ErrUnauthenticated where a certificate was not accepted, by either side.
type Client struct{ pool *pool }

var (
	_ node.Greeter  = (*Client)(nil)
	_ node.Courier  = (*Client)(nil)
	_ node.Upstream = (*Client)(nil)
)

// NewClient returns a client without any connection yet.
func NewClient(o ClientOptions) *Client {
	p := newPool(o.Token, o.TLS, o.Dialer, o.Log)
	if o.MaxConns > 0 {
		p.max = o.MaxConns
	}
	if o.Unused > 0 {
		p.unused = o.Unused
	}
	return &Client{pool: p}
}

// Close cancels calls under way; later ones fail with ErrClosed.
func (c *Client) Close() { c.pool.close() }

// method is one of LoadTestCoordinator's, as a method expression.
type method[In, Out any] func(pb.LoadTestCoordinatorClient, context.Context, *In, ...grpc.CallOption) (*Out, error)

// invoke makes one call; it fails fast if addr cannot be reached unless options say otherwise.
func invoke[In, Out any](ctx context.Context, c *Client, addr, name string, call method[In, Out], in *In, options ...grpc.CallOption) (*Out, error) {
	if _, ok := ctx.Deadline(); !ok {
		return nil, fmt.Errorf("%s %s: context has no deadline (every call must carry one)", name, addr)
	}
	conn, err := c.pool.borrow(addr, useCalls)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	defer c.pool.giveBack(conn)
	out, err := call(pb.NewLoadTestCoordinatorClient(conn), ctx, in, options...)
	if err != nil {
		return nil, c.pool.failure(conn, err, name, addr)
	}
	return out, nil
}

// Hello asks who listens at addr.
func (c *Client) Hello(ctx context.Context, addr string, in node.Hello) (node.HelloReply, error) {
	out, err := invoke(ctx, c, addr, "Hello", pb.LoadTestCoordinatorClient.Hello, helloToWire(in))
	return helloReplyFromWire(out), err
}

// Grant asks the blank node at addr for its promise.
func (c *Client) Grant(ctx context.Context, addr string, in node.Grant) (node.GrantReply, error) {
	out, err := invoke(ctx, c, addr, "Grant", pb.LoadTestCoordinatorClient.Grant, grantToWire(in))
	return grantReplyFromWire(out), err
}

// Join asks the leader at addr for admission.
func (c *Client) Join(ctx context.Context, addr string, in node.Join) error {
	_, err := invoke(ctx, c, addr, "Join", pb.LoadTestCoordinatorClient.Join, joinToWire(in))
	return err
}

// Distribute hands a run's config to the node at addr. Unlike the other calls
// it keeps connecting until ctx ends, so that one try lasts its whole deadline.
func (c *Client) Distribute(ctx context.Context, addr string, in node.Distribute) (node.Ack, error) {
	if err := checkDocument(in.Config.Document); err != nil {
		return node.Ack{}, err
	}
	out, err := invoke(ctx, c, addr, "DistributeConfig", pb.LoadTestCoordinatorClient.DistributeConfig, distributeToWire(in), grpc.WaitForReady(true))
	return ackFromWire(out), err
}

// StartTest arms a run on the node at addr.
func (c *Client) StartTest(ctx context.Context, addr string, in node.StartTest) error {
	_, err := invoke(ctx, c, addr, "StartTest", pb.LoadTestCoordinatorClient.StartTest, startToWire(in))
	return err
}

// StopTest ends a run on the node at addr.
func (c *Client) StopTest(ctx context.Context, addr string, in node.StopTest) error {
	_, err := invoke(ctx, c, addr, "StopTest", pb.LoadTestCoordinatorClient.StopTest, stopTestToWire(in))
	return err
}

// HealthCheck calls the roll at addr.
func (c *Client) HealthCheck(ctx context.Context, addr string, in node.HealthCheck) (node.Health, error) {
	out, err := invoke(ctx, c, addr, "HealthCheck", pb.LoadTestCoordinatorClient.HealthCheck, healthCheckToWire(in))
	return healthFromWire(out), err
}

// Submit forwards a posted plan to the leader at addr.
func (c *Client) Submit(ctx context.Context, addr string, in node.Submit) (node.Submitted, error) {
	if err := checkDocument(in.Document); err != nil {
		return node.Submitted{}, err
	}
	out, err := invoke(ctx, c, addr, "SubmitConfig", pb.LoadTestCoordinatorClient.SubmitConfig, submitToWire(in))
	return submittedFromWire(out), err
}

// Stop forwards a stop to the leader at addr.
func (c *Client) Stop(ctx context.Context, addr string, in node.StopRequest) (node.Stopped, error) {
	out, err := invoke(ctx, c, addr, "SubmitStop", pb.LoadTestCoordinatorClient.SubmitStop, stopToWire(in))
	return stoppedFromWire(out), err
}

// Report brings a summary to the node at addr.
func (c *Client) Report(ctx context.Context, addr string, in node.Report) error {
	_, err := invoke(ctx, c, addr, "Report", pb.LoadTestCoordinatorClient.Report, reportToWire(in))
	return lasting(err)
}

// lasting is err, and node.ErrRefused if it is about the message itself: one that
// is too large is no smaller the next time.
func lasting(err error) error {
	if status.Code(err) == codes.ResourceExhausted {
		return fmt.Errorf("%w: %w", node.ErrRefused, err)
	}
	return err
}

// Leave tells the leader at addr that a member goes.
func (c *Client) Leave(ctx context.Context, addr string, in node.Leave) error {
	_, err := invoke(ctx, c, addr, "Leave", pb.LoadTestCoordinatorClient.Leave, leaveToWire(in))
	return err
}

// Ping reads the clock of the node at addr.
func (c *Client) Ping(ctx context.Context, addr string) (node.Pong, error) {
	out, err := invoke(ctx, c, addr, "Ping", pb.LoadTestCoordinatorClient.Ping, &pb.PingRequest{})
	return pongFromWire(out), err
}
