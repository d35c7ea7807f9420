package grpcsvc

import (
	"context"
	"crypto/tls"
	"fmt"
	"log/slog"
	"net"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/health"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/keepalive"

	"volley/door"
	"volley/grpcsvc/pb"
	"volley/node"
	"volley/stats"
)

const (
	// maxMessage, in bytes and both ways, is a Report of the largest summary. It bounds
	// what a call keeps before it is heard: of a member, for the token is asked for before.
	maxMessage       = stats.MaxEncoded + 1<<20
	maxRequestHeader = 64 << 10
	maxStreams       = 256             // calls at a time per connection
	handshakeTimeout = 5 * time.Second // TLS and the preface of HTTP/2
	// strangerTimeout closes a connection that no valid call has come over.
	strangerTimeout = 10 * time.Second
	stopTimeout     = 3 * time.Second

	keepaliveTime    = 10 * time.Second
	keepaliveTimeout = 3 * time.Second
	// keepaliveMin is below keepaliveTime: with the library's default of 5 min
	// the server would hang up on our own clients (too_many_pings).
	keepaliveMin = 5 * time.Second
)

// Options describe a Server.
type Options struct {
	Handler   node.Handler // required
	Transport *Transport   // serves Raft's messages; nil = service Raft is not offered
	Token     string       // that every call must show; "" = none
	TLS       *tls.Config  // the server's of LoadTLS; nil = plain text
	Log       *slog.Logger // nil = slog.Default()
	Strangers int          // connections at a time that no valid call has come over; 0 = 1000
}

// Server answers the other nodes: LoadTestCoordinator, Raft and grpc.health.v1
// on one listener.
type Server struct {
	grpc   *grpc.Server
	health *health.Server
	door   door.Options
	calls  *coordinator
	end    context.CancelFunc // of the streams that stay open as long as the server
}

// NewServer returns a server that answers once Serve is called.
func NewServer(o Options) *Server {
	log := o.Log
	if log == nil {
		log = slog.Default()
	}
	life, end := context.WithCancel(context.Background())
	refusals := door.NewRefusals(log)
	s := &Server{
		grpc:   grpc.NewServer(append(serverOptions(o.TLS), (&guard{token: o.Token, log: log, life: life}).options()...)...),
		health: health.NewServer(),
		door:   door.Options{Strangers: o.Strangers, Patience: strangerTimeout, Refusals: refusals, Port: "cluster"},
		calls:  &coordinator{node: o.Handler},
		end:    end,
	}
	pb.RegisterLoadTestCoordinatorServer(s.grpc, s.calls)
	if o.Transport != nil {
		pb.RegisterRaftServer(s.grpc, &raftService{transport: o.Transport})
	}
	healthpb.RegisterHealthServer(s.grpc, s.health)
	s.health.SetServingStatus(pb.LoadTestCoordinator_ServiceDesc.ServiceName, healthpb.HealthCheckResponse_SERVING)
	return s
}

func serverOptions(tlsConfig *tls.Config) []grpc.ServerOption {
	options := []grpc.ServerOption{
		grpc.MaxRecvMsgSize(maxMessage),
		grpc.MaxSendMsgSize(maxMessage),
		grpc.MaxHeaderListSize(maxRequestHeader),
		grpc.MaxConcurrentStreams(maxStreams),
		grpc.ConnectionTimeout(handshakeTimeout),
		grpc.KeepaliveParams(keepalive.ServerParameters{Time: keepaliveTime, Timeout: keepaliveTimeout}),
		grpc.KeepaliveEnforcementPolicy(keepalive.EnforcementPolicy{MinTime: keepaliveMin, PermitWithoutStream: true}),
		grpc.WaitForHandlers(true), // Serve owns the handlers: it returns after the last
	}
	security := insecure.NewCredentials()
	if tlsConfig != nil {
		security = credentials.NewTLS(tlsConfig)
	}
	return append(options, grpc.Creds(porter{security}))
}

// Serve answers on listener, which it closes, until ctx ends; then health says
// NOT_SERVING, its watches and the streams of summaries end, calls that are under way get 3 s, what is left is cancelled, and
// Serve returns nil after the last handler. An error means that listening failed.
// A Server serves once.
func (s *Server) Serve(ctx context.Context, listener net.Listener) error {
	failed := make(chan error, 1)
	go func() { failed <- s.grpc.Serve(door.Guard(listener, s.door)) }()
	select {
	case err := <-failed:
		s.grpc.Stop()
		return fmt.Errorf("serve gRPC on %s: %w", listener.Addr(), err)
	case <-ctx.Done():
	}
	s.health.Shutdown()
	s.end()
	s.stop()
	s.calls.pumps.Wait()
	<-failed
	return nil
}

func (s *Server) stop() {
	drained := make(chan struct{})
	go func() {
		defer close(drained)
		s.grpc.GracefulStop()
	}()
	patience := time.NewTimer(stopTimeout)
	defer patience.Stop()
	select {
	case <-drained:
	case <-patience.C:
		s.grpc.Stop()
		<-drained
	}
}
