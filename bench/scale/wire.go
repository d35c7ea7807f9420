package main

import (
	"context"
	"fmt"
	"net"
	"strings"
	"sync"
	"sync/atomic"

	"google.golang.org/grpc/test/bufconn"

	"volley/grpcsvc"
)

// buffer is what a connection holds one way, about as much as a socket's.
const buffer = 64 << 10

// Kinds of traffic, by who opens the connection for what.
const (
	wireRaft  = "raft"
	wireCalls = "calls" // of a leader: roll call, plan, start; and Hello
	wireUp    = "up"    // of a member to its leader: streams, reports, pings
)

// network is the addresses of one process and what travels between them.
type network struct {
	ends atomic.Int64 // of connections

	mu        sync.Mutex
	listeners map[string]*bufconn.Listener
	counts    map[string]map[string]*count // by address and kind
	perNode   map[string]int               // ends of connections
}

// count is what one node has sent and received of a kind.
type count struct{ in, out, reads atomic.Int64 }

// flow is a count at an instant, or the difference of two.
type flow struct{ in, out, reads int64 }

type traffic map[string]flow

func (t traffic) total() (sum flow) {
	for _, f := range t {
		sum.in, sum.out, sum.reads = sum.in+f.in, sum.out+f.out, sum.reads+f.reads
	}
	return sum
}

func (t traffic) since(before traffic) traffic {
	d := traffic{}
	for k, f := range t {
		b := before[k]
		d[k] = flow{f.in - b.in, f.out - b.out, f.reads - b.reads}
	}
	return d
}

func newNetwork() *network {
	return &network{listeners: map[string]*bufconn.Listener{}, counts: map[string]map[string]*count{}, perNode: map[string]int{}}
}

func (n *network) listen(addr string) net.Listener {
	n.mu.Lock()
	defer n.mu.Unlock()
	l := bufconn.Listen(buffer)
	n.listeners[addr] = l
	n.counts[addr] = map[string]*count{wireRaft: {}, wireCalls: {}, wireUp: {}}
	return l
}

// dialer opens connections of a kind from one node to another.
func (n *network) dialer(from, kind string) grpcsvc.Dialer {
	return func(ctx context.Context, addr string) (net.Conn, error) {
		addr = strings.TrimPrefix(addr, "/")
		n.mu.Lock()
		l, there := n.listeners[addr]
		n.mu.Unlock()
		if !there {
			return nil, fmt.Errorf("nobody listens at %s", addr)
		}
		raw, err := l.DialContext(ctx)
		if err != nil {
			return nil, err
		}
		n.mu.Lock()
		defer n.mu.Unlock()
		n.ends.Add(2)
		n.perNode[from]++
		n.perNode[addr]++
		return &countedConn{Conn: raw, own: n.counts[from][kind], peer: n.counts[addr][kind], gone: sync.OnceFunc(func() { n.closed(from, addr) })}, nil
	}
}

func (n *network) closed(from, to string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.ends.Add(-2)
	n.perNode[from]--
	n.perNode[to]--
}

// endsOf is how many ends of connections a node has.
func (n *network) endsOf(addr string) int {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.perNode[addr]
}

// traffic is what a node has sent and received so far.
func (n *network) traffic(addr string) traffic {
	n.mu.Lock()
	defer n.mu.Unlock()
	t := traffic{}
	for k, c := range n.counts[addr] {
		t[k] = flow{c.in.Load(), c.out.Load(), c.reads.Load()}
	}
	return t
}

// countedConn counts for both ends, at the one that dialled.
type countedConn struct {
	net.Conn
	own, peer *count
	gone      func()
}

func (c *countedConn) Read(p []byte) (int, error) {
	k, err := c.Conn.Read(p)
	c.own.in.Add(int64(k))
	c.own.reads.Add(1)
	c.peer.out.Add(int64(k))
	return k, err
}

func (c *countedConn) Write(p []byte) (int, error) {
	k, err := c.Conn.Write(p)
	c.own.out.Add(int64(k))
	c.peer.in.Add(int64(k))
	c.peer.reads.Add(1)
	return k, err
}

func (c *countedConn) Close() error {
	c.gone()
	return c.Conn.Close()
}
