package stats

import (
	"fmt"
	"math"
	"slices"
	"strings"
)

// What a result holds at most of its nodes over time: points of each, and of all
// together as long as each has leastFared. It bounds the page and the result.
const (
	mostFared  = 60
	allFared   = 6000
	leastFared = 10
)

// NodePoint is how a node's generator fared in a span of the run, which is as long
// as the next point is away: the worst of its seconds, and all that was dropped.
type NodePoint struct {
	T              float64  `json:"t"` // seconds since the start
	ScheduleLagP99 *float64 `json:"schedule_lag_p99"`
	CPUPct         float64  `json:"cpu_pct"`
	ThrottledPct   float64  `json:"throttled_pct"`
	GCPause        float64  `json:"gc_pause"` // the longest, in milliseconds
	Dropped        int64    `json:"dropped"`
	// Verdict is by the bounds of the whole run's.
	Verdict Verdict `json:"verdict"`
}

// fared is the series of one node as far as it tells of the generator.
func (s *Summary) fared() []NodePoint {
	out := make([]NodePoint, 0, len(s.Series.Points))
	for i := range s.Series.Points {
		p := &s.Series.Points[i]
		point := NodePoint{
			T: s.Series.Time(i).Seconds(), CPUPct: round(p.CPUPct, 1), ThrottledPct: round(p.ThrottledPct, 1),
			GCPause: round(millis(p.GCPause), 3), Dropped: p.Dropped,
		}
		lag, measured := p.lag.percentile(99, 0)
		if measured {
			ms := round(millis(lag), 3)
			point.ScheduleLagP99 = &ms
		}
		point.Verdict, _ = (&Summary{Generator: Generator{CPUPct: p.CPUPct, ThrottledPct: p.ThrottledPct, ScheduleLagP99: lag}}).verdict()
		out = append(out, point)
	}
	return thinned(out, s.Series.Span, mostFared)
}

// thinNodes bounds what nodes have over time, all together.
func thinNodes(nodes []NodeResult) []NodeResult {
	most := min(max(allFared/max(len(nodes), 1), leastFared), mostFared)
	out := slices.Clone(nodes)
	for i := range out {
		if points := out[i].OverTime; len(points) > most {
			out[i].OverTime = thinned(points, int64(math.Round(points[1].T-points[0].T)), most)
		}
	}
	return out
}

// thinned makes points of twice the span, span in seconds, until there are no more
// than most.
func thinned(points []NodePoint, span int64, most int) []NodePoint {
	for span > 0 && len(points) > most {
		span *= 2
		var out []NodePoint
		for _, p := range points {
			p.T = math.Floor(p.T/float64(span)) * float64(span)
			if n := len(out); n > 0 && out[n-1].T == p.T {
				out[n-1].worsen(p)
				continue
			}
			out = append(out, p)
		}
		points = out
	}
	return points
}

func (p *NodePoint) worsen(o NodePoint) {
	if p.ScheduleLagP99 == nil || o.ScheduleLagP99 != nil && *o.ScheduleLagP99 > *p.ScheduleLagP99 {
		p.ScheduleLagP99 = o.ScheduleLagP99
	}
	p.CPUPct = max(p.CPUPct, o.CPUPct)
	p.ThrottledPct = max(p.ThrottledPct, o.ThrottledPct)
	p.GCPause = max(p.GCPause, o.GCPause)
	p.Dropped += o.Dropped
	if o.Verdict.worse(p.Verdict) {
		p.Verdict = o.Verdict
	}
}

// worse says whether v is a worse verdict than o.
func (v Verdict) worse(o Verdict) bool {
	order := []Verdict{VerdictOK, VerdictStrained, VerdictSaturated}
	return slices.Index(order, v) > slices.Index(order, o)
}

// when says between which moments the node had seconds no better than its verdict,
// "" if that is known of none of its points, or of all.
func (n *NodeResult) when() string {
	points := n.OverTime
	if n.Verdict == VerdictOK || len(points) < 2 {
		return ""
	}
	span := points[1].T - points[0].T
	first, last, beyond := 0.0, 0.0, 0
	for _, p := range points {
		if p.Verdict == VerdictOK || n.Verdict.worse(p.Verdict) {
			continue
		}
		if beyond++; beyond == 1 {
			first = p.T
		}
		last = p.T + span
	}
	if beyond == 0 || beyond == len(points) {
		return ""
	}
	return fmt.Sprintf("between %s and %s", seconds(first), seconds(last))
}

// blamed are the nodes to whose generators the verdict on all of them is due; none
// in a result of a single node, or of a build that did not tell nodes apart.
func (r *Result) blamed() (nodes []*NodeResult) {
	if len(r.Nodes) < 2 || r.Generator.Verdict == VerdictOK {
		return nil
	}
	for i := range r.Nodes {
		if r.Nodes[i].Verdict == r.Generator.Verdict {
			nodes = append(nodes, &r.Nodes[i])
		}
	}
	return nodes
}

// mostBlamed is how many nodes an answer names.
const mostBlamed = 3

// trouble says where and when the generator was beyond its bounds, and by what.
func (r *Result) trouble() (where, reasons string) {
	nodes := r.blamed()
	switch len(nodes) {
	case 0:
		if reasons = strings.Join(r.Generator.Reasons, "; "); len(r.Nodes) == 1 {
			reasons = joined(reasons, r.Nodes[0].when())
		}
		return "", clean(reasons)
	case 1:
		return " on node " + short(nodes[0].NodeID), clean(joined(strings.Join(nodes[0].Reasons, "; "), nodes[0].when()))
	}
	var names []string
	for _, n := range nodes[:min(len(nodes), mostBlamed)] {
		names = append(names, strings.TrimSpace(short(n.NodeID)+" "+n.when()))
	}
	if more := len(nodes) - len(names); more > 0 {
		names = append(names, fmt.Sprintf("%d more", more))
	}
	return fmt.Sprintf(" on %d of %d nodes (%s)", len(nodes), len(r.Nodes), strings.Join(names, ", ")), clean(strings.Join(r.Generator.Reasons, "; "))
}

// What a generator takes of the CPU that it may use, on the whole and in its busiest
// span, if its own work is not what has made it late.
const (
	littleCPUPct     = 50
	littleCPUPctSpan = 80
)

// keptFromCPU says whether all that the verdict is due to were late though they had
// little to do, and how much the busiest of them took of the CPU that it may use.
func (r *Result) keptFromCPU() (cpuPct float64, kept bool) {
	nodes := r.blamed()
	if len(nodes) == 0 {
		alone := NodeResult{CPUPct: r.Generator.CPUPct, Reasons: r.Generator.Reasons}
		if len(r.Nodes) == 1 {
			alone.OverTime = r.Nodes[0].OverTime
		}
		nodes = []*NodeResult{&alone}
	}
	for _, n := range nodes {
		cpuPct = max(cpuPct, n.CPUPct)
		byLateness := len(n.Reasons) > 0 && !slices.ContainsFunc(n.Reasons, func(reason string) bool {
			return !strings.HasPrefix(reason, lagReason) && !strings.HasPrefix(reason, wakeupReason)
		})
		busy := slices.ContainsFunc(n.OverTime, func(p NodePoint) bool { return p.CPUPct > littleCPUPctSpan })
		if !byLateness || busy {
			return 0, false
		}
	}
	return cpuPct, cpuPct < littleCPUPct
}

func joined(text, when string) string {
	if when == "" {
		return text
	}
	return text + ", " + when
}

// textFared has a line for the generator of each node.
func (r *Result) textFared(p *page) {
	if len(r.Nodes) < 2 || !slices.ContainsFunc(r.Nodes, func(n NodeResult) bool { return n.Verdict != "" }) {
		return
	}
	rows := [][]cell{heads("generator of", "share", "lag p99", "CPU", "throttled", "GC pause", "dropped", "verdict")}
	for i := range r.Nodes {
		n := &r.Nodes[i]
		if n.Verdict == "" {
			continue // nothing is known of it
		}
		share := "-"
		if n.Share != nil {
			share = fmt.Sprintf("%.4g %%", 100**n.Share)
		}
		rows = append(rows, []cell{
			plain(n.label()), plain(share), plain(ms(&n.ScheduleLagP99Ms)), plain(fmt.Sprintf("%.1f %%", n.CPUPct)),
			plain(fmt.Sprintf("%.1f %%", n.ThrottledPct)), plain(ms(&n.GCPauseP99Ms)), bad(n.Dropped, "%d"),
			{joined(string(n.Verdict), n.when()), n.Verdict.style()},
		})
	}
	p.table(rows, true)
	p.gap()
}

func (v Verdict) style() style {
	switch v {
	case VerdictStrained:
		return yellow
	case VerdictSaturated:
		return red
	}
	return green
}
