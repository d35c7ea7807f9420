package loadgen

import (
	"errors"
	"slices"
	"time"

	"volley/stats"
)

// is says whether the run was prepared for the job, or has come to what the job
// says since.
func (r *run) is(job Job) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.job.Self == job.Self && r.job.Leased == job.Leased && r.job.Enters == job.Enters &&
		(equalDivisions(r.job.Divisions, job.Divisions) || equalDivisions(r.divisions, job.Divisions))
}

// inherit takes the lease over from the same run as it was prepared before.
func (r *run) inherit(before *run) {
	if r.lease != nil && before.lease != nil {
		r.lease.extend(before.lease.ended())
		r.lease.settled.Store(before.lease.settled.Load())
	}
}

// redivide adds a division. Rows are asked first: they may refuse it.
func (r *run) redivide(d Division) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	switch {
	case len(r.divisions) == 0:
		return errors.New("it was prepared without divisions: all of it is this node's")
	case r.job.Enters > 0:
		return errors.New("it was prepared to come in late with a part that stays as it is")
	}
	if slices.ContainsFunc(r.divisions, d.equal) {
		return nil
	}
	all := append(slices.Clip(r.divisions), d)
	next, err := r.work.claim(all)
	if err != nil {
		return err
	}
	rows, err := r.script.deal(d)
	if err != nil {
		return err
	}
	r.divisions = all
	rows()
	r.apply(next, d)
	return nil
}

// apply makes the claim that of the run and wakes who waits by the last one.
func (r *run) apply(next *claim, d Division) {
	c := r.crewing
	if c == nil {
		r.work.claims.Store(next)
		return
	}
	now, sent := c.now(), 0
	if c.pacer != nil {
		from := d.From
		if r.work.load.Scope != "cluster" {
			from = next.spans[len(next.spans)-1].from
		}
		strays, lost := c.pacer.divide(next, from, now)
		sent = strays
		c.lost(stats.DropIsolated, lost...)
	} else {
		r.work.claims.Store(next)
	}
	c.changed.ring()
	if late := now - d.At; late > 0 {
		r.log.Warn("the load is divided anew later than it should be", "event", "division_late", "run_id", r.job.RunID,
			"from", d.From, "at", d.At, "late", late.Round(time.Microsecond), "sent_of_others", sent)
	}
}

// agree lets the run send what was another's by a division before, and that one
// does not send any more.
func (r *run) agree(s Settlement) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.lease != nil {
		r.lease.settle(s)
	}
}

// extend gives the run more time. If it had none left, what fell due meanwhile
// is dropped first: the newest division has said whose it is.
func (r *run) extend(until time.Time) {
	until = monotonic(until)
	if r.lease == nil || !time.Now().Before(until) {
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if c := r.crewing; c != nil && c.pacer != nil && !r.lease.valid() {
		c.lost(stats.DropIsolated, c.pacer.resume(c.now())...)
	}
	r.lease.extend(until)
}
