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

// workload is what a plan asks of this node: its part of the load, with the
// curve of an open model or the staff of a closed one.
type workload struct {
	load    plan.Load
	warmup  time.Duration
	length  time.Duration // no iteration starts from here on
	workers int           // config.workers, a total as the curve is
	seed    uint64
	self    string
	claims  *claims // what is this node's
	late    bool    // it has come in after the start, with all of its part
	curve   curve
	staff   staff
	stages  []stats.Stage
}

// newWorkload is that of a server, self, by the divisions of the load; without
// any, all is its own.
func newWorkload(p *plan.Plan, self string, divisions []Division, seed uint64) (workload, error) {
	w := workload{
		load: p.Load, warmup: p.Config.Warmup, length: p.Config.Duration, workers: p.Config.Workers,
		seed: seed, self: self, claims: newClaims(), stages: stats.StagesOf(p),
	}
	if w.length == 0 && p.Load.Iterations != nil {
		w.length = endless
	}
	if !p.Load.Closed() {
		w.curve = newCurve(p.Load)
	}
	own, err := w.claim(divisions)
	if err != nil {
		return workload{}, err
	}
	w.claims.Store(own)
	if p.Load.Closed() {
		w.staff = newStaff(p, w.claims)
	}
	return w, nil
}

// claim is what is this node's by the divisions.
func (w *workload) claim(divisions []Division) (*claim, error) {
	if err := checkDivisions(divisions); err != nil {
		return nil, err
	}
	out := &claim{}
	switch {
	case len(divisions) == 0:
		out.spans = []span{{share: everything()}}
	case w.load.Scope != "cluster":
		out.spans = w.entry(divisions)
	default:
		for _, d := range divisions {
			sh, err := d.share(w.self)
			if err != nil {
				return nil, err
			}
			out.spans = append(out.spans, span{from: d.From, at: d.At, share: sh})
		}
		out.divisions, out.self = divisions, w.self
		if first := &out.spans[0]; first.from > 0 || first.at > 0 { // nothing is said of what comes before
			out.spans = append([]span{{share: noShare()}}, out.spans...)
		}
	}
	w.sum(out.spans)
	return out, nil
}

// entry are the spans of a node whose load is whole from where it enters: in the
// curve at that instant, whichever arrival of its own that is.
func (w *workload) entry(divisions []Division) []span {
	for _, d := range divisions {
		switch {
		case !d.has(w.self):
		case d.From == 0 && d.At == 0:
			return []span{{share: everything()}}
		default:
			enters := span{at: d.At, share: everything()}
			if !w.load.Closed() {
				s := w.unclaimed()
				enters.from = s.index(d.At)
			}
			return []span{{share: noShare()}, enters}
		}
	}
	return []span{{share: noShare()}}
}

// enter leaves out what is due before at of a part that does not change.
func (w *workload) enter(at time.Duration) {
	before := w.claims.Load()
	part := before.spans[0].share
	enters := span{at: at, share: part}
	if !w.load.Closed() {
		enters.from = part.round(w.dueBefore(at))
		if due, ok := w.curve.due(enters.from); ok && w.load.Arrival != "poisson" {
			enters.at = max(at, due) // what is asked for is from its first turn on
		}
	}
	next := &claim{spans: []span{{share: noShare()}, enters}, divisions: before.divisions}
	w.sum(next.spans)
	w.claims.Store(next)
	w.late = true
}

// dueBefore is how many arrivals of all are due before an instant.
func (w *workload) dueBefore(at time.Duration) int64 {
	s := w.unclaimed()
	if at >= endless {
		return s.limit
	}
	return s.index(at)
}

// sum fills in what the spans have behind them when they begin.
func (w *workload) sum(spans []span) {
	for i := range spans {
		s := &spans[i]
		s.most = int(s.share.of(int64(w.load.MaxWorkers)))
		s.asked = w.curve.asked(s.at)
		if i == 0 {
			continue
		}
		last := &spans[i-1]
		s.had = last.had + last.share.before(s.from-last.from)
		s.mine = last.mine + (s.asked-last.asked)*last.share.fraction()
		s.target = last.target + w.counted(last.at, s.at)*last.share.fraction()
	}
}

// byRequest is true if each request, not each iteration, has its place in the
// schedule. A closed model has no schedule.
func (w *workload) byRequest() bool { return w.load.Unit == "requests" && !w.load.Closed() }

// shared is true if others have a part of the load.
func (w *workload) shared() bool { return len(w.claims.Load().divisions) > 0 }

// enters is when the node takes part, endless if it does not yet.
func (w *workload) enters() time.Duration {
	if at, ok := w.claims.Load().enters(); ok {
		return at
	}
	return endless
}

// first is how many workers there are from the start of this node's part.
func (w *workload) first() int {
	at := w.enters()
	if w.load.Closed() {
		return w.staff.at(at)
	}
	own := w.claims.Load().at(at).share.of(int64(w.workers))
	return max(min(int(own), w.mostAt(at)), 1)
}

// most is how many workers there may come to be.
func (w *workload) most() int {
	if w.load.Closed() {
		return w.staff.most(w.length)
	}
	most := 1
	for _, s := range w.claims.Load().spans {
		most = max(most, s.most)
	}
	return most
}

// mostAt is how many workers of an open model there may be at t. A node needs
// one, however small its share.
func (w *workload) mostAt(t time.Duration) int { return max(w.claims.Load().at(t).most, 1) }

// wanted is config.workers of this node.
func (w *workload) wanted() int64 { return w.claims.Load().at(endless).share.of(int64(w.workers)) }

// iterations is load.iterations, 0 for none.
func (w *workload) iterations() int64 {
	if w.load.Iterations == nil {
		return 0
	}
	return *w.load.Iterations
}

// ownLimit is how many iterations the workers of this node may start, 0 for any
// number; where each iteration has its place in the schedule, that knows. They
// are divided once, among those who are there at first: who can say how many
// somebody who is lost had begun?
func (w *workload) ownLimit() (limit int64, none bool) {
	if w.iterations() == 0 || !w.load.Closed() && !w.byRequest() {
		return 0, false
	}
	first := w.claims.Load().spans[0].share
	if w.late { // nobody has begun any of them
		first = w.claims.Load().spans[1].share
	}
	limit = first.of(w.iterations())
	return limit, limit == 0
}

func (w *workload) schedule() schedule {
	s := w.unclaimed()
	s.claims = w.claims
	return s
}

// unclaimed says of all arrivals when they are due.
func (w *workload) unclaimed() schedule {
	s := schedule{curve: w.curve, poisson: w.load.Arrival == "poisson", seed: w.seed, end: w.length, warmup: w.warmup}
	if !w.byRequest() {
		s.limit = w.iterations()
	}
	for _, st := range w.stages {
		s.edges = append(s.edges, st.To)
	}
	return s
}

// asked is how many arrivals that count the curve asks of this node until t.
func (w *workload) asked(t time.Duration) float64 {
	s := w.claims.Load().at(t)
	return s.target + w.counted(s.at, t)*s.share.fraction()
}

// counted is how many arrivals that count the curve asks of all between two
// instants.
func (w *workload) counted(from, to time.Duration) float64 {
	return max(w.until(to)-w.until(max(from, w.warmup)), 0)
}

func (w *workload) until(t time.Duration) float64 {
	n := w.curve.asked(t)
	if limit := w.iterations(); limit > 0 && !w.byRequest() {
		n = min(n, float64(limit))
	}
	return n
}

// part is this node's part of the load at t.
func (w *workload) part(t time.Duration) float64 { return w.claims.Load().at(t).share.fraction() }

// layout adds to what is counted what only the load knows.
func (w *workload) layout(l stats.Layout, p *plan.Plan) stats.Layout {
	l.Duration, l.Judged = p.Config.Duration, p.Thresholds
	if !w.load.Closed() {
		l.Asked = w.asked
	}
	l.Stages, l.Part = w.stages, w.part
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
