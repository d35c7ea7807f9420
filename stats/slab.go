package stats

import (
	"math"
	"slices"
	"time"
)

// slab is a stretch of a run, or several together: what figures are made of.
type slab struct {
	seconds            float64
	requests, attempts int64 // attempts without those that were retried
	errors, slower     int64 // slower than any in counts, being dropped
	counts             []int64
}

func (b *slab) add(o *slab) {
	b.seconds += o.seconds
	b.requests += o.requests
	b.attempts += o.attempts
	b.errors += o.errors
	b.slower += o.slower
	for i, n := range o.counts {
		b.counts[i] += n
	}
}

// ruler is the buckets of latency that both sides of a comparison are read in,
// so that neither is rounded differently.
type ruler struct {
	fold      int
	index     []int64
	low, high []float64 // of each, in nanoseconds
}

// rulerCells is how many buckets a ruler has at most.
const rulerCells = 4096

func newRuler(runs []*Summary) *ruler {
	var all sketch
	for _, s := range runs {
		for i := range s.Series.Points {
			all = all.merge(s.Series.Points[i].latency, rulerCells)
		}
	}
	fold, cells := all.buckets()
	m := &ruler{fold: fold}
	for _, c := range cells {
		m.index = append(m.index, c.index)
		m.low = append(m.low, float64(bucketValue(c.index<<fold)))
		m.high = append(m.high, float64(bucketValue((c.index+1)<<fold)))
	}
	return m
}

// slabs cuts a run into blocks of that length; what is before the end of the
// warm-up, or in a block that was not whole, is left out.
func (m *ruler) slabs(s *Summary, length time.Duration) []slab {
	end := s.Planned
	if s.StoppedBy != "" {
		end = min(end, s.StoppedAfter)
	}
	out := make([]slab, max((end-s.Warmup)/length, 0))
	for i := range out {
		out[i] = slab{seconds: length.Seconds(), counts: make([]int64, len(m.index))}
	}
	for i := range s.Series.Points {
		at := s.Series.Time(i) - s.Warmup
		if at >= 0 && int(at/length) < len(out) {
			m.addPoint(&out[at/length], s, &s.Series.Points[i])
		}
	}
	return out
}

func (m *ruler) addPoint(to *slab, s *Summary, p *Point) {
	to.requests += p.Requests
	to.attempts += p.Requests - p.Retried
	to.errors += p.Errors
	to.slower += s.slower(p.Dropped)
	fold, cells := p.latency.buckets()
	for _, c := range cells {
		at, _ := slices.BinarySearch(m.index, c.index>>(m.fold-fold))
		to.counts[at] += c.n
	}
}

// together is one slab of those whose places are named, each as often as it is.
func (m *ruler) together(from []slab, places []int) slab {
	sum := slab{counts: make([]int64, len(m.index))}
	for _, i := range places {
		sum.add(&from[i])
	}
	return sum
}

// figure is what is compared. Its value is a logarithm if changes of it are
// told in percent, else percentage points; NaN where there is none.
type figure struct {
	name  string
	unit  string // "%" or "points"
	least float64
	value func(*ruler, *slab) float64
}

// figures are those that a comparison weighs. Intervals are made for all of
// them to hold at once, so that more would make each wider.
func figures() []figure {
	out := []figure{{"latency mean", "%", leastPercent, func(m *ruler, b *slab) float64 { return math.Log(m.mean(b)) }}}
	for _, f := range []struct {
		name    string
		percent float64
	}{{"latency p50", 50}, {"latency p95", 95}, {"latency p99", 99}} {
		out = append(out, figure{f.name, "%", leastPercent, func(m *ruler, b *slab) float64 { return math.Log(m.percentile(b, f.percent)) }})
	}
	return append(out,
		figure{"error rate", "points", leastPoints, func(_ *ruler, b *slab) float64 { return 100 * float64(b.errors) / float64(b.attempts) }},
		figure{"requests/s", "%", leastPercent, func(_ *ruler, b *slab) float64 { return math.Log(float64(b.requests) / b.seconds) }},
	)
}

func (m *ruler) mean(b *slab) float64 {
	var sum, n float64
	for i, c := range b.counts {
		sum += float64(c) * (m.low[i] + m.high[i]) / 2
		n += float64(c)
	}
	return sum / n
}

// percentile is read between the ends of its bucket, by how many of the samples
// in there are below: what is bootstrapped must not move in steps.
func (m *ruler) percentile(b *slab, percent float64) float64 {
	total := b.slower
	for _, n := range b.counts {
		total += n
	}
	rank, seen := percent/100*float64(total), 0.0
	for i, n := range b.counts {
		if n > 0 && seen+float64(n) >= rank {
			return m.low[i] + (m.high[i]-m.low[i])*(rank-seen)/float64(n)
		}
		seen += float64(n)
	}
	return math.NaN()
}
