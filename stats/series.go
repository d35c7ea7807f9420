package stats

import "time"

// maxPoints is how many points a series has at most.
const maxPoints = 600

// What keeps the arithmetic of Series.Time far from its limits: 2^31 s are 68
// years, of which 600 points have to cover 2^22 s each.
const (
	maxSecond = 1 << 31
	maxSpan   = 1 << 22
)

// Series is a run over time. Its points cover Span seconds each: one second
// until there would be more than 600 of them, then two, four and so on. It is
// plain data, but copy it with Clone.
type Series struct {
	Span   int64 // 0 while there is no point
	First  int64 // point i covers the Span seconds from (First+i)*Span on
	Points []Point
	ofPart bool // its sketches have fewer buckets
}

// limit is how many buckets the sketches of latencies have at most.
func (s *Series) limit() int {
	if s.ofPart {
		return partSketch
	}
	return latencySketch
}

// Point is one span of a Series: arrivals in the span in which they started or
// were dropped, everything else in that in which it was known.
type Point struct {
	Target                           float64 // arrivals asked for
	Started, Late, Dropped           int64   // arrivals
	Requests, Retried, Errors        int64
	Completed                        int64 // iterations
	AssertionsPassed, AssertionsLost int64
	Workers                          int64         // the most
	CPUPct, ThrottledPct             float64       // the worst second of the worst node
	GCPause                          time.Duration // the longest
	Max                              time.Duration // latency, exact
	latency, lag                     sketch
}

// Clone returns an independent copy.
func (s *Series) Clone() Series {
	c := *s
	c.Points = append([]Point(nil), s.Points...)
	return c
}

// Time is when point i begins, since the run's start.
func (s *Series) Time(i int) time.Duration {
	return time.Duration((s.First+int64(i))*s.Span) * time.Second
}

// at is the point that covers a second, which may coarsen the series.
func (s *Series) at(second int64) *Point {
	second = max(second, 0)
	if len(s.Points) == 0 {
		s.Span = max(s.Span, 1)
		s.First = second / s.Span
		s.Points = append(s.Points, Point{})
	}
	for s.width(second/s.Span) > maxPoints {
		s.coarsen()
	}
	s.cover(second / s.Span)
	return &s.Points[second/s.Span-s.First]
}

// width is how many points there are once place has one.
func (s *Series) width(place int64) int64 {
	return max(s.last(), place) - min(s.First, place) + 1
}

// last is the place of the last point.
func (s *Series) last() int64 { return s.First + int64(len(s.Points)) - 1 }

// union is how many points both together take, their spans being equal.
func (s *Series) union(o *Series) int64 {
	return max(s.last(), o.last()) - min(s.First, o.First) + 1
}

// cover adds empty points up to place.
func (s *Series) cover(place int64) {
	if before := s.First - place; before > 0 {
		s.Points = append(make([]Point, before, before+int64(len(s.Points))), s.Points...)
		s.First = place
	}
	if after := place + 1 - s.First - int64(len(s.Points)); after > 0 {
		s.Points = append(s.Points, make([]Point, after)...)
	}
}

// coarsen doubles the span.
func (s *Series) coarsen() {
	if len(s.Points) == 0 {
		return
	}
	first := s.First / 2
	out := make([]Point, (s.First+int64(len(s.Points))-1)/2-first+1)
	for i := range s.Points {
		to := &out[(s.First+int64(i))/2-first]
		most := max(to.Workers, s.Points[i].Workers)
		to.add(&s.Points[i], s.limit())
		to.Workers = most // the same workers a moment later
	}
	s.Span, s.First, s.Points = 2*s.Span, first, out
}

// add merges o point by point: of other nodes, or of other parts of one node.
func (s *Series) add(o *Series) {
	if len(o.Points) == 0 {
		return
	}
	if len(s.Points) == 0 {
		*s = o.Clone()
		return
	}
	from := o.Clone()
	for from.Span < s.Span {
		from.coarsen()
	}
	for s.Span < from.Span || s.union(&from) > maxPoints {
		if s.Span == from.Span {
			from.coarsen()
		}
		s.coarsen()
	}
	for i := range from.Points {
		s.at((from.First+int64(i))*s.Span).add(&from.Points[i], s.limit())
	}
}

// add merges o; a sketch of latencies has at most so many buckets then.
func (p *Point) add(o *Point, limit int) {
	p.Target += o.Target
	p.CPUPct = max(p.CPUPct, o.CPUPct)
	p.ThrottledPct = max(p.ThrottledPct, o.ThrottledPct)
	p.GCPause = max(p.GCPause, o.GCPause)
	p.Max = max(p.Max, o.Max)
	addCounters(p.counters(), o.counters())
	p.latency = p.latency.merge(o.latency, limit)
	p.lag = p.lag.merge(o.lag, lagSketch)
}

func (p *Point) counters() []*int64 {
	return []*int64{
		&p.Started, &p.Late, &p.Dropped, &p.Requests, &p.Retried, &p.Errors,
		&p.Completed, &p.AssertionsPassed, &p.AssertionsLost, &p.Workers,
	}
}

// percentile is that of the latencies, with slower dropped arrivals; ok is
// false if there is none or it falls among those.
func (p *Point) percentile(percent float64, slower int64) (d time.Duration, ok bool) {
	d, ok = p.latency.percentile(percent, slower)
	return min(d, p.Max), ok
}

// setTargets fills in what the curve asks for; asked is its integral, which
// does not grow any more after the planned end.
func (s *Series) setTargets(asked func(time.Duration) float64, planned time.Duration) {
	if asked == nil {
		return
	}
	upTo := func(t time.Duration) float64 {
		if planned > 0 {
			t = min(t, planned)
		}
		return asked(t)
	}
	for i := range s.Points {
		s.Points[i].Target = max(upTo(s.Time(i+1))-upTo(s.Time(i)), 0)
	}
}

// newSeries is what a result shows of it.
func (s *Summary) newSeries() []SeriesPoint {
	out := make([]SeriesPoint, 0, len(s.Series.Points))
	for i := range s.Series.Points {
		p := &s.Series.Points[i]
		point := SeriesPoint{
			T: s.Series.Time(i).Seconds(), Target: round(p.Target, 3), Started: p.Started, Late: p.Late, Dropped: p.Dropped,
			Errors: p.Errors, Workers: p.Workers, CPUPct: round(p.CPUPct, 1),
			ThrottledPct: round(p.ThrottledPct, 1), GCPause: millis(p.GCPause),
			PointDetail: p.detail(),
		}
		point.setPercentiles(p, s.slower(p.Dropped))
		out = append(out, point)
	}
	return out
}

func (to *SeriesPoint) setPercentiles(p *Point, slower int64) {
	for _, f := range []percentField{{50, &to.P50}, {95, &to.P95}, {99, &to.P99}} {
		if d, ok := p.percentile(f.percent, slower); ok {
			*f.value = msOf(d)
		}
	}
	if p.latency != "" {
		to.Max = msOf(p.Max)
	}
	if d, ok := p.lag.percentile(99, 0); ok {
		to.ScheduleLagP99 = msOf(d)
	}
}
