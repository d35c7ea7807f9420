package stats

import (
	"fmt"
	"math"
	"math/rand/v2"
	"time"
)

// What a comparison asks for before it says anything.
const (
	blockLength  = 10 * time.Second
	fewestBlocks = 12 // on each side
	fewestRuns   = 5  // on each side, to be compared as wholes
)

// Smaller changes are noise whatever their interval: no run shows in itself by
// how much the next one of the same target will differ.
const (
	leastPercent = 3.0
	leastPoints  = 0.1 // of the error rate
	// betweenRuns is what is added for that to the variance of a run's logarithm,
	// where there are too few runs to measure it: 1 %, squared.
	betweenRuns = 1e-4
)

// samePattern is from which correlation on the blocks of two runs go up and down
// by the plan: then the differences of pairs are looked at, else each side alone.
const samePattern = 0.5

const (
	confidence = 0.95
	resamples  = 300
)

// ChangeVerdict says whether a change is more than what differs by itself.
type ChangeVerdict string

// The verdicts on a change.
const (
	ChangeNoise    ChangeVerdict = "noise"
	ChangeReal     ChangeVerdict = "real"
	ChangeTooShort ChangeVerdict = "too short to tell"
)

// Weighed says what of a change from one side to another is more than noise.
type Weighed struct {
	Verdict ChangeVerdict `json:"verdict"` // real if any figure's is
	// Units are what was drawn from: "blocks of the same moments", "blocks" or "runs".
	Units   string   `json:"units"`
	Before  int      `json:"before"` // how many
	After   int      `json:"after"`
	BlockS  float64  `json:"block_s,omitempty"` // seconds of a block
	Figures []Change `json:"figures"`           // empty if it is too short to tell
}

// Change is that of one figure, with an interval: all intervals of a Weighed
// hold at once in 95 of 100 comparisons. Null where a side has no such figure.
type Change struct {
	Name    string        `json:"name"`
	Unit    string        `json:"unit"` // "%", or "points" of percent
	Change  *float64      `json:"change"`
	Low     *float64      `json:"low"`
	High    *float64      `json:"high"`
	Verdict ChangeVerdict `json:"verdict"`
}

// side is the runs of one side, as blocks or as one slab each.
type side struct {
	units []slab
	// drawn are the figures of resamples, of each figure.
	drawn [][]float64
}

// weigh compares two sides of at least one run each.
func weigh(before, after []*Result) (*Weighed, error) {
	var runs []*Summary
	for _, r := range append(append([]*Result(nil), before...), after...) {
		s, err := r.summary()
		if err != nil {
			return nil, fmt.Errorf("compare results: run %q: %w", r.Name(), err)
		}
		runs = append(runs, s)
	}
	length := blockLength
	for _, s := range runs {
		span := time.Duration(max(s.Series.Span, 1)) * time.Second
		length = max(length, (blockLength+span-1)/span*span)
	}
	w := &weighing{ruler: newRuler(runs), wholes: min(len(before), len(after)) >= fewestRuns, runs: [2]int{len(before), len(after)}}
	w.paired = len(runs) == 2 && before[0].ConfigVersion == after[0].ConfigVersion
	w.sides[0].units, w.sides[1].units = w.cut(runs[:len(before)], length), w.cut(runs[len(before):], length)
	if w.paired {
		n := min(len(w.sides[0].units), len(w.sides[1].units))
		w.sides[0].units, w.sides[1].units = w.sides[0].units[:n], w.sides[1].units[:n]
	}
	out := &Weighed{Verdict: ChangeNoise, Units: w.kind(), Before: len(w.sides[0].units), After: len(w.sides[1].units), Figures: []Change{}}
	if !w.wholes {
		out.BlockS = length.Seconds()
	}
	if !w.wholes && min(out.Before, out.After) < fewestBlocks {
		out.Verdict = ChangeTooShort
		return out, nil
	}
	out.Figures = w.changes()
	for _, c := range out.Figures {
		if c.Verdict == ChangeReal {
			out.Verdict = ChangeReal
		}
	}
	return out, nil
}

// weighing is the work of weigh.
type weighing struct {
	ruler  *ruler
	wholes bool // the units are runs, else blocks
	paired bool // unit i of both sides is of the same moment of the same plan
	runs   [2]int
	sides  [2]side
}

func (w *weighing) kind() string {
	switch {
	case w.wholes:
		return "runs"
	case w.paired:
		return "blocks of the same moments"
	}
	return "blocks"
}

// cut makes the units of one side.
func (w *weighing) cut(runs []*Summary, length time.Duration) (units []slab) {
	for _, s := range runs {
		blocks := w.ruler.slabs(s, length)
		if !w.wholes {
			units = append(units, blocks...)
			continue
		}
		units = append(units, w.ruler.together(blocks, upTo(len(blocks))))
	}
	return units
}

func upTo(n int) []int {
	out := make([]int, n)
	for i := range out {
		out[i] = i
	}
	return out
}

// changes weighs all figures.
func (w *weighing) changes() (out []Change) {
	list := figures()
	if !w.wholes {
		w.draw(list)
	}
	for i, f := range list {
		c := Change{Name: f.name, Unit: f.unit, Verdict: ChangeNoise}
		by, half := w.change(f, i, len(list))
		if !math.IsNaN(by) && !math.IsInf(by, 0) && !math.IsNaN(half) {
			c.Change, c.Low, c.High = f.told(by), f.told(by-half), f.told(by+half)
			if math.Abs(*c.Change) >= f.least && (by-half > 0 || by+half < 0) {
				c.Verdict = ChangeReal
			}
		}
		out = append(out, c)
	}
	return out
}

// told is a change as it is shown.
func (f *figure) told(by float64) *float64 {
	if f.unit == "%" {
		by = 100 * math.Expm1(min(by, 50))
	}
	return percent(by)
}

// change is that of one figure and half the width of its interval, one of
// several that are to hold at once.
func (w *weighing) change(f figure, at, of int) (by, half float64) {
	var level, variance, freedom [2]float64
	for i := range w.sides {
		s := &w.sides[i]
		values := w.values(f, s)
		if w.wholes {
			var n float64
			level[i], variance[i], n = moments(values)
			variance[i], freedom[i] = variance[i]/n, n-1
			continue
		}
		all := w.ruler.together(s.units, upTo(len(s.units)))
		level[i] = f.value(w.ruler, &all)
		variance[i], freedom[i] = spread(s.drawn[at], values)
	}
	if a, b := &w.sides[0], &w.sides[1]; w.paired {
		values := [2][]float64{w.values(f, a), w.values(f, b)}
		if together := correlation(values[0], values[1]); together > samePattern {
			variance[0], freedom[0] = spread(apart(a.drawn[at], b.drawn[at]), apart(values[0], values[1]))
			variance[1], freedom[1] = 0, freedom[0]
		}
	}
	if f.unit == "%" && !w.wholes {
		for i, runs := range w.runs {
			variance[i] += betweenRuns / float64(runs)
		}
	}
	return level[1] - level[0], halfWidth(variance, freedom, (1-confidence)/2/float64(of))
}

// values are a figure of each unit.
func (w *weighing) values(f figure, s *side) (out []float64) {
	for i := range s.units {
		out = append(out, f.value(w.ruler, &s.units[i]))
	}
	return out
}

// draw resamples the blocks of both sides; the same blocks if they are paired.
// The seed is fixed: the same results compare in the same way each time.
func (w *weighing) draw(list []figure) {
	random := rand.New(rand.NewPCG(10, 12))
	for i := range w.sides {
		w.sides[i].drawn = make([][]float64, len(list))
	}
	for range resamples {
		var places []int
		for i := range w.sides {
			s := &w.sides[i]
			if i == 0 || !w.paired {
				places = places[:0]
				for range s.units {
					places = append(places, random.IntN(len(s.units)))
				}
			}
			sum := w.ruler.together(s.units, places)
			for j, f := range list {
				s.drawn[j] = append(s.drawn[j], f.value(w.ruler, &sum))
			}
		}
	}
}
