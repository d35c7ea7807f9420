package loadgen

import (
	"time"

	"volley/plan"
)

// Arrivals is how many arrivals of a plan are due before an instant since the
// start, which is also the number of the first that is not: whose arrivals are
// divided anew from then on begins there. It is 0 in a closed model. With Poisson
// arrivals they are those of the process that nodes share (load.scope: cluster);
// seed is the run's, unless the plan has one, and each arrival before costs some
// 10 ns.
func Arrivals(p *plan.Plan, seed int64, at time.Duration) int64 {
	w, err := foretold(p, "", nil, seed)
	if err != nil || p.Load.Closed() {
		return 0
	}
	s := w.unclaimed()
	return s.index(at)
}

// Owned is how many of the arrivals before upTo that count, which those due in the
// warmup do not, are a server's by the divisions. 0 in a closed model.
func Owned(p *plan.Plan, seed int64, divisions []Division, id string, upTo int64) int64 {
	w, err := foretold(p, id, divisions, seed)
	if err != nil || p.Load.Closed() {
		return 0
	}
	return w.owned(upTo)
}

// owned is as Owned.
func (w *workload) owned(upTo int64) int64 {
	s := w.unclaimed()
	if s.limit > 0 {
		upTo = min(upTo, s.limit)
	}
	own := w.claims.Load()
	return max(own.before(upTo)-own.before(s.index(w.warmup)), 0)
}

// Missed is how many arrivals that count a server leaves out that comes in with its
// part of the job at an instant of the run (Job.Enters), or never, if that is the
// plan's end. 0 in a closed model.
func Missed(j Job, p *plan.Plan, at time.Duration) int64 {
	w, err := newWorkload(p, j.Self, j.Divisions, seedOf(j, p))
	if err != nil || p.Load.Closed() {
		return 0
	}
	upTo := w.dueBefore(min(at, w.length))
	if at < w.length {
		upTo = w.claims.Load().spans[0].share.round(upTo)
	}
	if w.length < endless {
		upTo = min(upTo, w.dueBefore(w.length))
	}
	return w.owned(upTo)
}

func foretold(p *plan.Plan, id string, divisions []Division, seed int64) (workload, error) {
	if p.Config.Seed != nil {
		seed = *p.Config.Seed
	}
	return newWorkload(p, id, divisions, uint64(seed))
}
