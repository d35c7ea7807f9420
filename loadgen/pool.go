package loadgen

import (
	"context"
	"net/http"
	"slices"
	"sync"
	"time"
)

// pool keeps the connections that all workers of a run share.
type pool struct {
	most   int // open at once, whatever they lead to; 0 for no limit
	spare  int // idle ones per route, -1 for no limit
	single bool
	expire time.Duration

	mu      sync.Mutex
	open    int // with those being opened
	shelves map[route]*shelf
	queued  int    // how many wait
	tickets uint64 // numbers those who wait
}

// shelf is the connections of one route, and who waits for one.
type shelf struct {
	idle    []*line // the longest idle first
	busy    []*line // those of HTTP/2, which may take more requests
	next    int     // of busy
	broke   int     // connections that broke and have not been replaced
	waiting []*waiter
}

// waiter is one who waits; the first come is the first served.
type waiter struct {
	ticket uint64
	got    chan grant // room for one
}

func newPool(most, spare int, single bool, expire time.Duration) *pool {
	return &pool{most: most, spare: spare, single: single, expire: expire, shelves: map[route]*shelf{}}
}

func (p *pool) take(ctx context.Context, r route) (grant, error) {
	var dead []*line
	p.mu.Lock()
	s := p.shelf(r)
	if len(s.waiting) == 0 {
		if g, ok := p.find(s, &dead); ok {
			p.mu.Unlock()
			shut(dead)
			return g, nil
		}
	}
	w := &waiter{ticket: p.tickets, got: make(chan grant, 1)}
	p.tickets++
	p.queued++
	s.waiting = append(s.waiting, w)
	p.mu.Unlock()
	shut(dead)
	select {
	case g := <-w.got:
		return g, nil
	case <-ctx.Done():
		p.leave(r, w)
		return grant{}, ctx.Err()
	}
}

// leave gives up waiting, and gives back what was granted meanwhile.
func (p *pool) leave(r route, w *waiter) {
	p.mu.Lock()
	s := p.shelf(r)
	if at := slices.Index(s.waiting, w); at >= 0 {
		s.waiting = slices.Delete(s.waiting, at, at+1)
		p.queued--
		p.mu.Unlock()
		return
	}
	p.mu.Unlock()
	p.give(r, <-w.got)
}

func (p *pool) shelf(r route) *shelf {
	s := p.shelves[r]
	if s == nil {
		if len(p.shelves) >= mostHosts {
			p.tidy()
		}
		s = &shelf{}
		p.shelves[r] = s
	}
	return s
}

// tidy forgets routes without connections: redirects may lead anywhere.
func (p *pool) tidy() {
	for r, s := range p.shelves {
		if len(s.idle)+len(s.busy)+len(s.waiting) == 0 {
			delete(p.shelves, r)
		}
	}
}

// find is what can be granted now. dead are connections to be closed.
func (p *pool) find(s *shelf, dead *[]*line) (grant, bool) {
	if l := p.idle(s, dead); l != nil {
		return grant{line: l}, true
	}
	if p.most == 0 || p.open < p.most {
		p.open++
		return s.opening(), true
	}
	if l := s.roomy(); l != nil {
		return grant{line: l}, true
	}
	if p.evict(s, dead) {
		return s.opening(), true
	}
	return grant{}, false
}

func (s *shelf) opening() grant {
	if s.broke == 0 {
		return grant{}
	}
	s.broke--
	return grant{replaces: true}
}

// idle lends an idle connection: the longest idle of a fixed number, so that
// all of them are used; else the one used last, so that the others expire.
func (p *pool) idle(s *shelf, dead *[]*line) *line {
	for len(s.idle) > 0 {
		at := 0
		if p.most == 0 {
			at = len(s.idle) - 1
		}
		l := s.idle[at]
		s.idle = slices.Delete(s.idle, at, at+1)
		alive, expired := l.wake()
		if alive {
			s.lend(l)
			return l
		}
		p.open--
		if !expired {
			s.broke++
		}
		*dead = append(*dead, l)
	}
	return nil
}

// lend lends a connection that nobody uses.
func (s *shelf) lend(l *line) {
	l.lent = 1
	if l.http2 {
		s.busy = append(s.busy, l)
	}
}

// roomy lends a busy connection that takes one more request.
func (s *shelf) roomy() *line {
	for i := range s.busy {
		at := (s.next + i) % len(s.busy)
		if l := s.busy[at]; l.room() {
			s.next = at + 1
			l.lent++
			return l
		}
	}
	return nil
}

// evict makes room by an idle connection of another route.
func (p *pool) evict(but *shelf, dead *[]*line) bool {
	for _, s := range p.shelves {
		if s != but && len(s.idle) > 0 {
			*dead = append(*dead, s.idle[0])
			s.idle = slices.Delete(s.idle, 0, 1)
			return true
		}
	}
	return false
}

// opened lets others use a connection of HTTP/2 beside the one who opened it.
func (p *pool) opened(l *line) {
	p.watch(l)
	p.mu.Lock()
	p.shelf(l.route).lend(l)
	dead := p.serve()
	p.mu.Unlock()
	shut(dead)
}

// watch serves those who wait when the other side allows more streams.
func (p *pool) watch(l *line) {
	if !l.http2 {
		return
	}
	l.conn.SetStateHook(func(*http.ClientConn) {
		p.mu.Lock()
		dead := p.serve()
		p.mu.Unlock()
		shut(dead)
	})
}

func (p *pool) give(r route, g grant) {
	p.mu.Lock()
	dead := p.returned(p.shelf(r), g)
	dead = append(dead, p.serve()...)
	p.mu.Unlock()
	shut(dead)
}

func (p *pool) returned(s *shelf, g grant) (dead []*line) {
	l := g.line
	if l == nil {
		p.open--
		if g.replaces {
			s.broke++
		}
		return nil
	}
	l.lent--
	fit := l.fit() && !p.single
	if l.lent > 0 && fit {
		return nil
	}
	// One that is not fit gets no more requests, and is closed with its last.
	if at := slices.Index(s.busy, l); at >= 0 {
		s.busy = slices.Delete(s.busy, at, at+1)
	}
	switch {
	case l.lent > 0:
		return nil
	case fit && (p.spare < 0 || len(s.idle) < p.spare):
		l.rest(p.expire, p)
		s.idle = append(s.idle, l)
		return nil
	case !fit && !p.single:
		s.broke++
	}
	p.open--
	return []*line{l}
}

// expired closes a connection that has been idle for too long.
func (p *pool) expired(l *line) {
	p.mu.Lock()
	s := p.shelf(l.route)
	at := slices.Index(s.idle, l)
	old := at >= 0 && l.stale()
	if old {
		s.idle = slices.Delete(s.idle, at, at+1)
		p.open--
	} else {
		l.later(at >= 0)
	}
	p.mu.Unlock()
	if old {
		l.close()
	}
}

// serve grants what there is to those who wait, in the order they came.
func (p *pool) serve() (dead []*line) {
	var vain []*shelf // there is nothing to be had
	for p.queued > 0 {
		s := p.first(vain)
		if s == nil {
			break
		}
		g, ok := p.find(s, &dead)
		if !ok {
			vain = append(vain, s)
			continue
		}
		s.waiting[0].got <- g
		s.waiting = slices.Delete(s.waiting, 0, 1)
		p.queued--
	}
	return dead
}

// first is the route of the one who has waited longest, of those not in vain.
func (p *pool) first(vain []*shelf) (first *shelf) {
	for _, s := range p.shelves {
		if len(s.waiting) == 0 || slices.Contains(vain, s) {
			continue
		}
		if first == nil || s.waiting[0].ticket < first.waiting[0].ticket {
			first = s
		}
	}
	return first
}

func (p *pool) add(l *line) {
	p.watch(l)
	p.mu.Lock()
	s := p.shelf(l.route)
	full := p.most > 0 && p.open >= p.most || p.spare >= 0 && len(s.idle) >= p.spare
	if !full {
		p.open++
		l.rest(p.expire, p)
		s.idle = append(s.idle, l)
	}
	p.mu.Unlock()
	if full {
		l.close()
	}
}

// close closes the idle ones; all others have been given back by then.
func (p *pool) close() {
	var old []*line
	p.mu.Lock()
	for _, s := range p.shelves {
		old = append(old, s.idle...)
		p.open -= len(s.idle)
		s.idle = nil
	}
	p.mu.Unlock()
	shut(old)
}
