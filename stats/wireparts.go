package stats

import "time"

// The byte forms of what a summary has of time and of single requests; see
// Summary.Encode.

func (e *encoder) stages(stages []StageStats) {
	e.length(len(stages), maxStages, "stages")
	for i := range stages {
		st := &stages[i]
		e.signed(int64(st.From))
		e.signed(int64(st.To))
		for _, f := range st.floats() {
			e.float(*f)
		}
		e.body(st.counters(), []*Histogram{&st.Latency})
	}
}

func (d *decoder) stages() []StageStats {
	var out []StageStats
	for range d.length(maxStages, "stages") {
		if d.err != nil {
			return nil
		}
		var st StageStats
		st.From, st.To = time.Duration(d.signed()), time.Duration(d.signed())
		for _, f := range st.floats() {
			*f = d.float()
		}
		d.body(st.counters(), []*Histogram{&st.Latency})
		out = append(out, st)
	}
	return out
}

func (st *StageStats) floats() []*float64 {
	return []*float64{&st.FromRate, &st.ToRate, &st.Target}
}

func (e *encoder) series(s *Series) { e.points(s, (*encoder).point) }

func (e *encoder) points(s *Series, point func(*encoder, *Point)) {
	e.length(len(s.Points), maxPoints, "points")
	if len(s.Points) == 0 {
		return
	}
	e.counter(s.Span)
	e.counter(s.First)
	for i := range s.Points {
		point(e, &s.Points[i])
	}
}

func (e *encoder) point(p *Point) {
	e.float(p.Target)
	e.float(p.CPUPct)
	e.float(p.ThrottledPct)
	e.signed(int64(p.GCPause))
	e.signed(int64(p.Max))
	e.body(p.counters(), nil)
	e.text(string(p.latency))
	e.text(string(p.lag))
}

func (d *decoder) series(s *Series) { d.points(s, (*decoder).point) }

func (d *decoder) points(s *Series, point func(*decoder) Point) {
	n := d.length(maxPoints, "points")
	if n == 0 {
		return
	}
	s.Span, s.First = d.counter(), d.counter()
	if s.Span < 1 || s.Span&(s.Span-1) != 0 || s.Span > maxSpan || s.First > maxSecond/s.Span {
		d.fail("a series begins at %d with a span of %d s", s.First, s.Span)
	}
	for range n {
		if d.err != nil {
			return
		}
		p := point(d)
		if p.Max < 0 || p.GCPause < 0 {
			d.fail("the greatest latency of a point is %d, the longest pause %d", p.Max, p.GCPause)
		}
		s.Points = append(s.Points, p)
	}
}

func (d *decoder) point() Point {
	p := Point{Target: d.float(), CPUPct: d.float(), ThrottledPct: d.float(), GCPause: time.Duration(d.signed()), Max: time.Duration(d.signed())}
	d.body(p.counters(), nil)
	p.latency, p.lag = d.sketch(latencySketch), d.sketch(lagSketch)
	return p
}

func (d *decoder) sketch(limit int) sketch {
	s := sketch(d.text())
	if err := s.check(limit); d.err == nil && err != nil {
		d.fail("%w", err)
	}
	return s
}

func (e *encoder) slowest(items []Slow) {
	e.length(len(items), maxSlowest, "slowest requests")
	for i := range items {
		x := &items[i]
		e.signed(int64(x.At))
		e.signed(int64(x.Latency))
		e.text(x.Scenario)
		e.text(x.Step)
		e.length(max(x.Status, 0), maxStatus, "is a status code")
		e.text(x.NodeID)
		e.flag(x.NewConn)
	}
}

func (d *decoder) slowest() []Slow {
	var out []Slow
	for range d.length(maxSlowest, "slowest requests") {
		if d.err != nil {
			return nil
		}
		out = append(out, Slow{
			At: time.Duration(d.signed()), Latency: time.Duration(d.signed()),
			StepKey: StepKey{Scenario: d.text(), Step: d.text()},
			Status:  d.length(maxStatus, "is a status code"), NodeID: d.text(), NewConn: d.flag(),
		})
	}
	return out
}
