package loadgen

import (
	"slices"
	"time"
)

// What the pacer does with arrivals that it has handed out and that have not been
// sent: a worker without a lease gives its own back, and another division asks for
// all of them.

// join makes a worker's slot known.
func (p *pacer) join(s *slot) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.slots = append(p.slots, s)
}

// leave forgets it, empty.
func (p *pacer) leave(s *slot) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.slots = slices.DeleteFunc(p.slots, func(o *slot) bool { return o == s })
}

// give takes back what a worker was handed.
func (p *pacer) give(t ticket, now time.Duration) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.queue.give(t.arrival())
	p.window.back(t.release)
	p.rewind(now)
}

// overslept takes back what a worker was handed in time and did not wake up for:
// a process that was given no CPU for a while must not send at once all that its
// workers wait with. It is handed out once more, by the rule of a backlog.
func (p *pacer) overslept(t ticket, now time.Duration) {
	p.mu.Lock()
	defer p.mu.Unlock()
	x := t.arrival()
	x.slept = true
	p.queue.give(x)
	p.window.back(t.release)
	p.rewind(now)
	// Its own place is free again, and those after it.
	if pace := p.queue.claim.pace(t.due); pace > 0 {
		p.place = min(p.place, t.level-1/pace)
	}
	p.watch = max(p.watch, now+catchUpWindow+windowStep)
}

// late notes when one goes that should have gone before.
func (p *pacer) late(t ticket, now time.Duration) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.window.move(t.release, now)
}

func (t ticket) arrival() arrival { return arrival{k: t.index, level: t.level, due: t.due} }

// rewind forgets that places after now were taken.
func (p *pacer) rewind(now time.Duration) {
	p.window.rewind(now)
	if p.last > now {
		p.last, p.place = now, min(p.place, p.queue.curve.asked(now))
	}
}

// resume is called when there is a lease again, before it holds. It drops and
// returns what fell due meanwhile: the others may be making up for the
// same hiccup, and all together must keep to 110 % of the curve.
func (p *pacer) resume(now time.Duration) drops {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.resumed = now
	if p.over() {
		return nil
	}
	return p.queue.skip(now)
}

// sure says whether nobody else can have sent an arrival that is this node's by the
// claim: who has not heard of the division that gave it away goes on with it.
func (p *pacer) sure(by *claim, x arrival) bool {
	return p.lease == nil || len(by.divisions) < 2 || by.sure(x.k, p.lease.known().at(p.base.Add(x.due)))
}

// divide applies another claim from an arrival on. Because it comes late, strays
// arrivals of others have been sent, and lost ones of its own may have been by others.
func (p *pacer) divide(next *claim, from int64, now time.Duration) (strays int, lost drops) {
	probe := p.probe(from)
	p.mu.Lock()
	defer p.mu.Unlock()
	if from < p.queue.done && probe == nil && p.schedule.poisson {
		probe = p.drawn(from)
	}
	var out []arrival
	for _, s := range p.slots {
		if s.empty() {
			out = append(out, s.ticket.arrival())
			p.window.back(s.ticket.release)
		}
	}
	strays, lost = p.queue.divide(next, from, out, probe, func(x arrival) bool { return x.due > now || p.sure(next, x) })
	p.schedule.claims.Store(next)
	p.rewind(now)
	if due := p.queue.due; !p.queue.none && due < now {
		p.resumed = now
	}
	if !p.sent && !p.queue.none {
		p.opening = p.queue.due
	}
	return strays, lost
}

// nearly is by how much an arrival may lie ahead of those handed out, that its
// place is drawn at once.
const nearly = 100

// probe draws the arrivals before from once more if that will be needed, before
// the workers have to wait for it.
func (p *pacer) probe(from int64) *draws {
	p.mu.Lock()
	done := p.queue.done
	p.mu.Unlock()
	if !p.schedule.poisson || from >= done+nearly {
		return nil
	}
	return p.drawn(from)
}

func (p *pacer) drawn(from int64) *draws {
	d := newDraws(p.schedule.seed)
	d.upTo(from - 1)
	return d
}
