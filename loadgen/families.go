package loadgen

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"syscall"
	"time"
)

const (
	// leastDial is what each address of a host gets at least before the next one of
	// its family is tried.
	leastDial = 2 * time.Second
	// familyDelay is for how long one family is tried alone, as with net.Dialer: a
	// host may have an IPv6 address that leads nowhere from here.
	familyDelay = 300 * time.Millisecond
)

// opened is what became of trying a family's addresses.
type opened struct {
	conn net.Conn
	err  error
}

// firstThatAnswers tries the addresses of the first one's family, and those of the
// other beside them once they have failed or familyDelay has passed.
func (d *dialer) firstThatAnswers(ctx context.Context, addrs []netip.Addr, port string) (net.Conn, error) {
	near, far := byFamily(addrs)
	if len(far) == 0 {
		a := d.inTurn(ctx, near, port)
		return a.conn, a.err
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	other := make(chan opened, 1)
	turn := func() {
		b := d.inTurn(ctx, far, port)
		if b.err == nil {
			cancel()
		}
		other <- b
	}
	late := time.AfterFunc(familyDelay, turn)
	a := d.inTurn(ctx, near, port)
	switch alone := late.Stop(); {
	case alone && (a.err == nil || ctx.Err() != nil):
		return a.conn, a.err
	case alone:
		turn()
	case a.err == nil:
		cancel()
	}
	b := <-other
	switch {
	case a.err != nil && b.err != nil:
		return nil, d.neither(near[0], a.err, b.err)
	case a.err != nil:
		return b.conn, nil
	case b.err == nil:
		_ = b.conn.Close()
	}
	return a.conn, nil
}

// byFamily are the addresses of the first one's family, and the others.
func byFamily(addrs []netip.Addr) (near, far []netip.Addr) {
	six := isIPv6(addrs[0])
	for _, addr := range addrs {
		if isIPv6(addr) == six {
			near = append(near, addr)
		} else {
			far = append(far, addr)
		}
	}
	return near, far
}

// isIPv6 knows that DNS gives IPv4 in the form of IPv6.
func isIPv6(addr netip.Addr) bool { return addr.Unmap().Is6() }

// neither is why no address answers: an address of a family that this machine
// does not have says nothing of the target.
func (d *dialer) neither(near netip.Addr, a, b error) error {
	if !isIPv6(near) {
		a, b = b, a
	}
	// Without IPv6 there is no address to come from. The same error means that all
	// ports are taken, but for that some must have been opened.
	if errors.Is(a, syscall.EADDRNOTAVAIL) && !d.ipv6.Load() {
		return b
	}
	return errors.Join(a, b)
}

// inTurn tries addresses of one family one after the other.
func (d *dialer) inTurn(ctx context.Context, addrs []netip.Addr, port string) opened {
	var errs []error
	for i, addr := range addrs {
		conn, err := d.openWithin(ctx, net.JoinHostPort(addr.String(), port), len(addrs)-i)
		if err == nil {
			if isIPv6(addr) {
				d.ipv6.Store(true)
			}
			return opened{conn: conn}
		}
		errs = append(errs, err)
		if ctx.Err() != nil {
			break
		}
	}
	return opened{err: errors.Join(errs...)}
}

// openWithin gives one of several addresses its share of the time there is.
func (d *dialer) openWithin(ctx context.Context, addr string, left int) (net.Conn, error) {
	if deadline, ok := ctx.Deadline(); ok && left > 1 {
		share := max(time.Until(deadline)/time.Duration(left), leastDial)
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, share)
		defer cancel()
	}
	return d.open(ctx, "tcp", addr)
}
