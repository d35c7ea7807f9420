package loadgen

import (
	"context"
	"sync"
	"time"
)

// How connections are opened before the start: neither the target nor a name
// server shall take it for an attack.
const (
	connectEvery   = time.Second / 500
	connectAtOnce  = 128
	connectMargin  = 5 * time.Millisecond // before the start nobody dials any more
	connectReserve = 2 * time.Second      // on top of what the rate needs
)

// opening is a connection to be opened before the start.
type opening struct {
	keep keeper
	to   origin
}

// openings are the connections that the run begins with: one per worker and
// origin, or as many as the workers share.
func (n *network) openings(clients []*client, origins []origin) (out []opening) {
	switch {
	case len(origins) == 0: // they depend on variables
	case n.shared == nil:
		for _, c := range clients {
			for _, o := range origins {
				out = append(out, opening{c.keep, o})
			}
		}
	default:
		most := n.shared.most
		if most == 0 {
			most = min(n.shared.spare, len(clients)) * len(origins)
		}
		for i := range most {
			out = append(out, opening{n.shared, origins[i%len(origins)]})
		}
	}
	return out
}

func (n *network) prepare(ctx context.Context, o opening) error {
	l, err := n.dialer.dial(ctx, route{origin: o.to})
	if err == nil {
		o.keep.add(l)
	}
	return err
}

// connect opens the first connections during the lead, without sending a
// request. What fails here is tried again with the first request.
func (r *run) connect(ctx context.Context, base time.Time, clients []*client) {
	ctx, cancel := context.WithDeadline(ctx, base.Add(-connectMargin))
	defer cancel()
	list := r.net.openings(clients, r.script.origins)
	var a alarm
	if a.until(ctx, base.Add(-time.Duration(len(list))*connectEvery-connectReserve)) {
		r.connectAll(ctx, list)
	}
}

func (r *run) connectAll(ctx context.Context, list []opening) {
	var (
		group  sync.WaitGroup
		failed firstError
		begun  int
		slots  = make(chan struct{}, connectAtOnce)
		pace   = time.NewTicker(connectEvery)
	)
	defer pace.Stop()
	for _, o := range list {
		if !admit(ctx, slots, pace.C) {
			break
		}
		begun++
		group.Go(func() {
			defer func() { <-slots }()
			failed.note(r.net.prepare(ctx, o))
		})
	}
	group.Wait()
	if late := len(list) - begun; failed.err != nil || late > 0 {
		r.log.Warn("connections could not be opened before the start", "event", "connect_ahead_failed",
			"run_id", r.job.RunID, "failed", failed.n, "out_of_time", late, "wanted", len(list), "first_error", failed.text())
	}
}

// admit waits for a slot and for the next tick; false once ctx is done.
func admit(ctx context.Context, slots chan<- struct{}, tick <-chan time.Time) bool {
	select {
	case <-tick:
	case <-ctx.Done():
		return false
	}
	select {
	case slots <- struct{}{}:
		return true
	case <-ctx.Done():
		return false
	}
}

// firstError counts errors and keeps the first.
type firstError struct {
	mu  sync.Mutex
	n   int
	err error
}

func (f *firstError) note(err error) {
	if err == nil {
		return
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.n++
	if f.err == nil {
		f.err = err
	}
}

func (f *firstError) text() string {
	if f.err == nil {
		return ""
	}
	return f.err.Error()
}
