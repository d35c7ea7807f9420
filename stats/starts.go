package stats

import "slices"

// startSpread is how far apart the nodes of one run have started, give or take bound.
func startSpread(nodes []NodeResult) (spread *float64, bound float64) {
	var skews []float64
	for _, n := range nodes {
		if n.RunID != "" {
			return nil, 0 // of several runs
		}
		if n.StartSkewMs != nil {
			skews = append(skews, *n.StartSkewMs)
			bound = max(bound, 2*n.ClockBoundMs)
		}
	}
	if len(skews) < 2 {
		return nil, 0
	}
	apart := round(slices.Max(skews)-slices.Min(skews), 3)
	return &apart, round(bound, 3)
}

// startedAlone is how many nodes the parts of a run are of, if those had no start in
// common: then nobody has compared their clocks.
func startedAlone(parts []*Result) int {
	n := 0
	for _, r := range parts {
		for _, line := range r.Nodes {
			if r.Scope != ScopeNode || line.ClockBoundMs > 0 {
				return 0
			}
			n++
		}
	}
	if n < 2 {
		return 0
	}
	return n
}
