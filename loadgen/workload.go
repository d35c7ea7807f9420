package loadgen

import (
	"fmt"
	"math"
	"time"

	"volley/plan"
	"volley/stats"
)

// endless is the length of a run that only the number of its iterations ends.
const endless = time.Duration(1) << 61

// workload is what a plan asks of this node: its share of the load, with the
// curve of an open model or the staff of a closed one.
type workload struct {
	load   plan.Load
	warmup time.Duration
	length time.Duration // no iteration starts from here on
	share  share
	curve  curve
	staff  staff
	wanted int // config.workers of this node
}

func newWorkload(p *plan.Plan, s Share) (workload, error) {
	sh, err := newShare(s)
	if err != nil {
		return workload{}, err
	}
	w := workload{
		load: p.Load, warmup: p.Config.Warmup, length: p.Config.Duration, share: sh,
		wanted: int(sh.of(int64(p.Config.Workers))),
	}
	if w.length == 0 && p.Load.Iterations != nil {
		w.length = endless
	}
	if p.Load.Closed() {
		w.staff = newStaff(p, sh)
	} else {
		w.curve = newCurve(p.Load)
	}
	return w, nil
}

// byRequest is true if each request, not each iteration, has its place in the
// schedule. A closed model has no schedule.
func (w *workload) byRequest() bool { return w.load.Unit == "requests" && !w.load.Closed() }

// first is how many workers there are from the start.
func (w *workload) first() int {
	if w.load.Closed() {
		return w.staff.at(0)
	}
	return max(min(w.wanted, w.most()), 1)
}

// most is how many workers there may come to be. A node that takes part in an
// open model needs one, however small its share.
func (w *workload) most() int {
	if w.load.Closed() {
		return w.staff.most(w.length)
	}
	return max(int(w.share.of(int64(w.load.MaxWorkers))), 1)
}

// iterations is load.iterations, 0 for none.
func (w *workload) iterations() int64 {
	if w.load.Iterations == nil {
		return 0
	}
	return *w.load.Iterations
}

// ownLimit is how many iterations the workers of this node may start, 0 for any
// number; where each iteration has its place in the schedule, that knows.
func (w *workload) ownLimit() (limit int64, none bool) {
	if w.iterations() == 0 || !w.load.Closed() && !w.byRequest() {
		return 0, false
	}
	limit = w.share.of(w.iterations())
	return limit, limit == 0
}

func (w *workload) schedule(seed uint64) schedule {
	s := schedule{
		curve: w.curve, share: w.share, poisson: w.load.Arrival == "poisson", seed: seed,
		end: w.length, warmup: w.warmup,
	}
	if !w.byRequest() {
		s.limit = w.iterations()
	}
	return s
}

// asked is how many arrivals that count the curve asks of this node until t.
func (w *workload) asked(t time.Duration) float64 {
	return max(w.until(t)-w.until(w.warmup), 0) * w.share.fraction()
}

func (w *workload) until(t time.Duration) float64 {
	n := w.curve.asked(t)
	if limit := w.iterations(); limit > 0 && !w.byRequest() {
		n = min(n, float64(limit))
	}
	return n
}

// layout adds to what is counted what only the load knows.
func (w *workload) layout(l stats.Layout, p *plan.Plan) stats.Layout {
	l.Duration, l.Judged = p.Config.Duration, p.Thresholds
	if !w.load.Closed() {
		l.Asked = w.asked
	}
	l.Stages = stats.StagesOf(p)
	for i := range l.Stages {
		l.Stages[i].FromRate *= w.share.fraction()
		l.Stages[i].ToRate *= w.share.fraction()
	}
	return l
}

// reserve is the time of an iteration besides its think times that a plan's
// workers should have room for.
const reserve = 50 * time.Millisecond

// WorkerNeed compares the workers that a plan may use with those that its curve
// needs at least.
type WorkerNeed struct {
	Peak      float64       // iterations per second at the highest point of the curve
	ThinkTime time.Duration // of an iteration, on average
	Least     int           // Peak × (ThinkTime + 50 ms), rounded up; 0 in a closed model
	Most      int           // load.maxWorkers
}

// NeedOf is that of a valid plan; scale multiplies think times.
func NeedOf(p *plan.Plan, scale float64) WorkerNeed {
	if p.Load.Closed() {
		return WorkerNeed{}
	}
	think, requests := averages(p)
	length := p.Config.Duration
	if length == 0 {
		length = endless
	}
	n := WorkerNeed{
		Peak:      newCurve(p.Load).peak(length),
		ThinkTime: time.Duration(float64(think) * scale),
		Most:      p.Load.MaxWorkers,
	}
	if p.Load.Unit == "requests" {
		n.Peak /= requests
	}
	need := n.Peak * (n.ThinkTime + reserve).Seconds()
	n.Least = int(min(math.Ceil(need-rounding(need)), math.MaxInt32))
	return n
}

// averages is the think time and the number of requests of an iteration, by the
// scenarios' weights, without retries, redirects and caches.
func averages(p *plan.Plan) (think time.Duration, requests float64) {
	var thinks, steps, sum float64
	for i := range p.Scenarios {
		sc := &p.Scenarios[i]
		sum += sc.Weight
		steps += sc.Weight * float64(len(sc.Steps))
		for j := range sc.Steps {
			if t := sc.Steps[j].ThinkTime; t != nil {
				thinks += sc.Weight * float64(t.Min+t.Max) / 2
			}
		}
	}
	if sum <= 0 || steps <= 0 {
		return 0, 1
	}
	return time.Duration(thinks / sum), steps / sum
}

// Short is true if the plan cannot have the workers that its curve needs.
func (n WorkerNeed) Short() bool { return n.Least > n.Most }

// String is one line for a person, "" in a closed model.
func (n WorkerNeed) String() string {
	if n.Least == 0 {
		return ""
	}
	text := fmt.Sprintf("the curve needs at least %d workers (%.4g/s × (%v think time + %v))", n.Least, n.Peak, n.ThinkTime, reserve)
	if n.Short() {
		text += fmt.Sprintf("; load.maxWorkers allows %d: arrivals will be dropped", n.Most)
	}
	return text
}
