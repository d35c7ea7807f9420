package stats

import "time"

// maxBins is how many bins a block keeps open: what is recorded between two
// summaries lies in two seconds and two stages, seldom in more.
const maxBins = 4

// bin is what a block has collected of one second, as far as it belongs to one
// stage.
type bin struct {
	second       int64
	stage        int
	latency, lag dense
	Point        // its counters
	parts        []partBin
}

func (p *Point) request(sm *Sample) {
	p.Requests++
	p.Errors += one(sm.Kind != ErrNone && !sm.Partial)
	p.AssertionsPassed += int64(sm.AssertionsPassed)
	p.AssertionsLost += int64(sm.AssertionsFailed)
}

func (n *bin) drainInto(series *Series, stages []StageStats, parts []Part) {
	p := n.Point
	p.Max = time.Duration(n.latency.max)
	p.latency, p.lag = sketchOf(&n.latency, latencySketch), sketchOf(&n.lag, lagSketch)
	series.at(n.second).add(&p, latencySketch)
	n.drainParts(parts)
	if n.stage < len(stages) {
		st := &stages[n.stage]
		addCounters(st.counters(), []*int64{&n.Started, &n.Late, &n.Dropped, &n.Requests, &n.Errors})
		n.latency.drainInto(&st.Latency)
	}
}

func (n *bin) reset() {
	n.latency.reset()
	n.lag.reset()
	*n = bin{latency: n.latency, lag: n.lag, parts: n.parts}
}

// timeline collects what happens by second and by stage.
type timeline struct {
	stages []Stage
	parts  *partwise
	most   int64 // later seconds count as this one; 0 is no limit
	bins   []bin // of which the first open are in use
	open   int
	used   int // the bin that was used last
	// moment and due are those of the last event, for events without a time.
	moment, due time.Duration
	// past is what had to make room in bins.
	past      Series
	pastStage []StageStats
	pastParts []Part
}

// newTimeline gives what happens after the planned end points of their own only
// as long as that does not make the others coarser.
func newTimeline(layout *Layout, parts *partwise) timeline {
	t := timeline{stages: layout.Stages[:min(len(layout.Stages), maxStages)], parts: parts}
	if planned := int64((layout.Duration + time.Second - 1) / time.Second); planned > 0 {
		room := int64(maxPoints)
		for room < planned {
			room *= 2
		}
		t.most = room - 1
	}
	return t
}

// second is where an event at moment belongs.
func (t *timeline) second(moment time.Duration) int64 {
	second := min(max(int64(moment/time.Second), 0), maxSecond)
	if t.most > 0 {
		second = min(second, t.most)
	}
	return second
}

// at is the bin of an event at moment that belongs to what was due at due.
func (t *timeline) at(moment, due time.Duration) *bin {
	t.moment, t.due = moment, due
	second, stage := t.second(moment), 0
	if len(t.stages) > 0 {
		stage = stageAt(t.stages, due)
	}
	if t.used < t.open && t.bins[t.used].is(second, stage) {
		return &t.bins[t.used]
	}
	for i := range t.open {
		if t.bins[i].is(second, stage) {
			t.used = i
			return &t.bins[i]
		}
	}
	t.used = t.room()
	n := &t.bins[t.used]
	n.second, n.stage = second, stage
	if n.parts == nil && len(t.parts.keys) > 0 {
		n.parts = make([]partBin, len(t.parts.keys))
	}
	return n
}

func (n *bin) is(second int64, stage int) bool { return n.second == second && n.stage == stage }

// room opens a bin, the oldest of which makes room if there are too many.
func (t *timeline) room() int {
	if t.open < maxBins {
		if t.open == len(t.bins) {
			t.bins = append(t.bins, bin{})
		}
		t.open++
		return t.open - 1
	}
	oldest := 0
	for i := range t.bins {
		if t.bins[i].second < t.bins[oldest].second {
			oldest = i
		}
	}
	if t.pastStage == nil {
		t.pastStage = newStages(t.stages)
	}
	if t.pastParts == nil {
		for _, k := range t.parts.keys {
			t.pastParts = append(t.pastParts, newPart(k))
		}
	}
	t.bins[oldest].drainInto(&t.past, t.pastStage, t.pastParts)
	t.bins[oldest].reset()
	return oldest
}

// latest is the bin of the last event.
func (t *timeline) latest() *bin { return t.at(t.moment, t.due) }

// drainInto adds it to a summary and empties it.
func (t *timeline) drainInto(s *Summary) {
	s.Series.add(&t.past)
	for i := range t.pastStage {
		s.Stages[i].add(&t.pastStage[i])
	}
	s.addParts(t.pastParts)
	t.past, t.pastStage, t.pastParts = Series{}, nil, nil
	for i := range t.open {
		t.bins[i].drainInto(&s.Series, s.Stages, s.Parts)
		t.bins[i].reset()
	}
	t.open = 0
}

// bytes is the memory that its histograms take.
func (t *timeline) bytes() int64 {
	var n int64
	for i := range t.bins {
		n += t.bins[i].latency.bytes() + t.bins[i].lag.bytes()
		for j := range t.bins[i].parts {
			n += t.bins[i].parts[j].times.bytes()
		}
	}
	return n
}
