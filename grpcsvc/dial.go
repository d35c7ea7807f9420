package grpcsvc

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/url"
	"sync"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/backoff"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/keepalive"

	"volley/door"
	"volley/node"
)

const (
	// defaultMaxConns is two uses of each of a thousand peers, more than a
	// cluster has: were it fewer, every heartbeat would close the connection of another.
	defaultMaxConns = 2 * 1000
	defaultUnused   = 5 * time.Minute
)

// Dialer opens a connection to addr ("host:port").
type Dialer func(ctx context.Context, addr string) (net.Conn, error)

// use separates connections to one address, so that bulk does not hold up heartbeats.
type use string

const (
	useCalls     use = "calls"
	useHeartbeat use = "heartbeat"
	useBulk      use = "bulk"
	useData      use = "data"
	useStream    use = "stream"
)

type connKey struct {
	addr string
	use  use
}

// pool keeps one connection per address and use. A connection that no call
// uses is closed when it was unused for a while, or when the pool is full and
// it is the one unused longest.
type pool struct {
	options []grpc.DialOption
	tls     *tls.Config
	max     int
	unused  time.Duration
	refused *door.Refusals // of this node by others, and of others by it

	mu     sync.Mutex
	conns  map[connKey]*pooledConn
	closed bool
}

// pooledConn is guarded by its pool's mutex.
type pooledConn struct {
	*grpc.ClientConn
	handshake *handshakeWatch
	calls     int // under way
	lastUsed  time.Time
}

func newPool(token string, tlsConfig *tls.Config, dialer Dialer, log *slog.Logger) *pool {
	return &pool{
		options: dialOptions(token, dialer),
		tls:     tlsConfig,
		max:     defaultMaxConns,
		unused:  defaultUnused,
		refused: door.NewRefusals(log),
		conns:   map[connKey]*pooledConn{},
	}
}

func dialOptions(token string, dialer Dialer) []grpc.DialOption {
	options := []grpc.DialOption{
		grpc.WithNoProxy(), // a proxy for the load test must not see the cluster
		grpc.WithIdleTimeout(0),
		grpc.WithConnectParams(grpc.ConnectParams{
			// The library's maximum of 120 s would keep a restarted peer out for minutes.
			Backoff:           backoff.Config{BaseDelay: 50 * time.Millisecond, Multiplier: 1.6, Jitter: 0.2, MaxDelay: time.Second},
			MinConnectTimeout: 2 * time.Second,
		}),
		grpc.WithKeepaliveParams(keepalive.ClientParameters{Time: keepaliveTime, Timeout: keepaliveTimeout, PermitWithoutStream: true}),
		grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(maxMessage), grpc.MaxCallSendMsgSize(maxMessage)),
	}
	if token != "" {
		options = append(options, grpc.WithPerRPCCredentials(tokenCredentials(token)))
	}
	if dialer != nil {
		options = append(options, grpc.WithContextDialer(dialer))
	}
	return options
}

// borrow returns the connection of addr and use, opening it if there is none.
// The caller gives it back.
func (p *pool) borrow(addr string, u use) (*pooledConn, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed {
		return nil, ErrClosed
	}
	p.sweep()
	key := connKey{addr, u}
	conn := p.conns[key]
	if conn == nil {
		var err error
		if conn, err = p.open(key); err != nil {
			return nil, err
		}
	}
	conn.calls++
	return conn, nil
}

func (p *pool) open(key connKey) (*pooledConn, error) {
	if _, _, err := net.SplitHostPort(key.addr); err != nil {
		return nil, fmt.Errorf("dial %q: not host:port", key.addr)
	}
	if err := p.makeRoom(); err != nil {
		return nil, fmt.Errorf("dial %s: %w", key.addr, err)
	}
	conn := &pooledConn{lastUsed: time.Now()}
	security := grpc.WithTransportCredentials(insecure.NewCredentials())
	if p.tls != nil {
		conn.handshake = watchHandshake(p.tls)
		security = grpc.WithTransportCredentials(conn.handshake)
	}
	target := url.URL{Scheme: "passthrough", Path: "/" + key.addr}
	var err error
	if conn.ClientConn, err = grpc.NewClient(target.String(), append([]grpc.DialOption{security}, p.options...)...); err != nil {
		return nil, fmt.Errorf("dial %s: %w", key.addr, err)
	}
	p.conns[key] = conn
	return conn, nil
}

// sweep closes what was unused for too long.
func (p *pool) sweep() {
	for key, conn := range p.conns {
		if conn.calls == 0 && time.Since(conn.lastUsed) > p.unused {
			p.drop(key, conn)
		}
	}
}

// makeRoom closes the connection unused longest if the pool is full.
func (p *pool) makeRoom() error {
	if len(p.conns) < p.max {
		return nil
	}
	var oldest connKey
	var found *pooledConn
	for key, conn := range p.conns {
		if conn.calls == 0 && (found == nil || conn.lastUsed.Before(found.lastUsed)) {
			oldest, found = key, conn
		}
	}
	if found == nil {
		return fmt.Errorf("all %d connections are in use", p.max)
	}
	p.drop(oldest, found)
	return nil
}

// drop closes a connection without calls.
func (p *pool) drop(key connKey, conn *pooledConn) {
	delete(p.conns, key)
	_ = conn.Close() // its only error says that it is closed already
}

func (p *pool) giveBack(conn *pooledConn) {
	p.mu.Lock()
	defer p.mu.Unlock()
	conn.calls--
	conn.lastUsed = time.Now()
}

// failure is what becomes of a failed call's error. Who does not get in is told:
// Raft itself keeps its messages' errors for the debug log.
func (p *pool) failure(conn *pooledConn, err error, call, addr string) error {
	err = conn.handshake.explain(fromStatus(err, call, addr))
	if errors.Is(err, node.ErrUnauthenticated) {
		p.refused.Warn("by another node", "the node at "+addr+" and this one do not accept each other: "+err.Error(), "addr", addr, "call", call)
	}
	return err
}

// close cancels the calls under way and makes later ones fail with ErrClosed.
func (p *pool) close() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.closed = true
	for key, conn := range p.conns {
		delete(p.conns, key)
		_ = conn.Close()
	}
}
