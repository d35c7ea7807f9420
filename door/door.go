package door

import (
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"
)

const (
	defaultStrangers = 1000
	defaultAdmitted  = 4096 // four connections of each of a thousand peers
)

// Options describe a Door; the zero value has the limits of the contract.
type Options struct {
	Strangers int           // connections that have proven nothing, at a time; 0 = 1000
	Admitted  int           // of the others; one more stays a stranger. 0 = 4096
	Patience  time.Duration // how long one may prove nothing; 0 = the server's own timeouts see to it
	Refusals  *Refusals     // required
	Port      string        // what the log calls this door
}

// Door is a listener with room for so many strangers. When one comes for whom
// there is none, the connection that has waited longest goes, of the address
// that has most of them: whoever fills the room crowds out himself, and a member
// that comes back finds a place at once.
type Door struct {
	net.Listener
	o Options

	mu        sync.Mutex
	strangers map[netip.Addr][]*Conn // oldest first
	waiting   int                    // all of them
	admitted  int
	came      uint64 // how many have entered so far
}

// Guard puts a door before a listener.
func Guard(ln net.Listener, o Options) *Door {
	if o.Strangers == 0 {
		o.Strangers = defaultStrangers
	}
	if o.Admitted == 0 {
		o.Admitted = defaultAdmitted
	}
	return &Door{Listener: ln, o: o, strangers: map[netip.Addr][]*Conn{}}
}

// Accept is net.Listener's; the connection is a *Conn.
func (d *Door) Accept() (net.Conn, error) {
	raw, err := d.Listener.Accept()
	if err != nil {
		return nil, err
	}
	c := &Conn{Conn: raw, door: d, from: neighbourhood(raw.RemoteAddr())}
	d.mu.Lock()
	crowded := d.enter(c)
	d.mu.Unlock()
	crowded.crowdOut()
	return c, nil
}

// neighbourhood is whose connections are one party's: an address, of IPv6 the
// network that one machine usually has to itself.
func neighbourhood(addr net.Addr) netip.Addr {
	tcp, ok := addr.(*net.TCPAddr)
	if !ok {
		return netip.Addr{}
	}
	ip := tcp.AddrPort().Addr().Unmap()
	if ip.Is6() {
		if network, err := ip.WithZone("").Prefix(64); err == nil {
			return network.Addr()
		}
	}
	return ip
}

// enter makes c the newest stranger; who has to go for it is nil if there is
// room. The door is locked.
func (d *Door) enter(c *Conn) (crowded *Conn) {
	if d.waiting >= d.o.Strangers {
		crowded = d.longest()
		d.leave(crowded)
	}
	c.stranger = true
	d.came++
	c.turn = d.came
	d.strangers[c.from] = append(d.strangers[c.from], c)
	d.waiting++
	if d.o.Patience > 0 {
		c.patience = time.AfterFunc(d.o.Patience, c.expire)
	}
	return crowded
}

// leave takes c from the strangers. The door is locked.
func (d *Door) leave(c *Conn) {
	if !c.stranger {
		return
	}
	c.stranger = false
	if c.patience != nil {
		c.patience.Stop()
	}
	others := d.strangers[c.from]
	for i, other := range others {
		if other == c {
			copy(others[i:], others[i+1:])
			others[len(others)-1] = nil
			others = others[:len(others)-1]
			break
		}
	}
	d.strangers[c.from] = others
	if len(others) == 0 {
		delete(d.strangers, c.from)
	}
	d.waiting--
}

// longest is who has to go. The door is locked.
func (d *Door) longest() *Conn {
	var found []*Conn
	for _, of := range d.strangers {
		if len(of) > len(found) || len(of) == len(found) && of[0].turn < found[0].turn {
			found = of
		}
	}
	return found[0]
}

// Conn is a connection that came through a Door.
type Conn struct {
	net.Conn
	door *Door
	from netip.Addr

	spoke atomic.Bool // something was read from it
	told  atomic.Bool // in the log, why it was refused

	// Guarded by the door's mutex.
	stranger, admitted, proven, closed bool
	patience                           *time.Timer
	turn                               uint64 // the lower, the longer it waits
}

// Admit says that the connection has proven that it belongs here: it is not
// counted among the strangers any more.
func (c *Conn) Admit() {
	d := c.door
	d.mu.Lock()
	defer d.mu.Unlock()
	c.proven = true
	if c.admitted || c.closed || d.admitted >= d.o.Admitted {
		return
	}
	d.leave(c)
	c.admitted = true
	d.admitted++
}

// Release makes it a stranger again: it is idle, and only busy ones are kept for sure.
func (c *Conn) Release() {
	d := c.door
	d.mu.Lock()
	var crowded *Conn
	if c.admitted && !c.closed {
		c.admitted = false
		d.admitted--
		crowded = d.enter(c)
	}
	d.mu.Unlock()
	crowded.crowdOut()
}

// crowdOut closes a connection that has lost its place; the server behind the
// door finds that out by itself.
func (c *Conn) crowdOut() {
	if c == nil {
		return
	}
	c.Warn("crowded", "too many connections that have proven nothing: the oldest of the address with most is closed", "limit", c.door.o.Strangers)
	_ = c.Conn.Close()
}

func (c *Conn) expire() {
	c.door.mu.Lock()
	waited := c.stranger && !c.proven
	c.door.mu.Unlock()
	if !waited {
		return
	}
	c.Info("silent", "connection closed: it has shown no valid call in time", "after", c.door.o.Patience.String())
	_ = c.Close()
}

// Spoke reports whether anything was read from it: a probe of the port says nothing.
func (c *Conn) Spoke() bool { return c.spoke.Load() }

// Warn tells why it is refused.
func (c *Conn) Warn(kind, message string, args ...any) {
	c.told.Store(true)
	c.door.o.Refusals.Warn(kind, message, append([]any{"remote", c.RemoteAddr().String(), "port", c.door.o.Port}, args...)...)
}

// Info tells why it is closed, where that need not be an attack.
func (c *Conn) Info(kind, message string, args ...any) {
	c.told.Store(true)
	c.door.o.Refusals.Info(kind, message, append([]any{"remote", c.RemoteAddr().String(), "port", c.door.o.Port}, args...)...)
}

// Read is net.Conn's.
func (c *Conn) Read(p []byte) (int, error) {
	n, err := c.Conn.Read(p)
	if n > 0 && !c.spoke.Load() {
		c.spoke.Store(true)
	}
	return n, err
}

// CloseWrite is *net.TCPConn's: net/http uses it to get a last answer through.
func (c *Conn) CloseWrite() error {
	if half, ok := c.Conn.(interface{ CloseWrite() error }); ok {
		return half.CloseWrite()
	}
	return nil
}

// Close is net.Conn's. Who has said something, but nothing that was understood, is told of.
func (c *Conn) Close() error {
	d := c.door
	d.mu.Lock()
	first := !c.closed
	c.closed = true
	d.leave(c)
	if c.admitted {
		c.admitted = false
		d.admitted--
	}
	proven := c.proven
	d.mu.Unlock()
	if first && !proven && c.spoke.Load() && !c.told.Load() {
		c.Info("not understood", "connection closed: what it said was not understood, or it said nothing further")
	}
	return c.Conn.Close()
}
