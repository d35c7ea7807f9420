package main

import (
	"fmt"
	"regexp"
	"time"

	"volley/loadgen"
	"volley/plan"
)

// shown is a picture of a page with the fragment of a plan above it.
var shown = regexp.MustCompile("(?s)```yaml\n([^`]*?)```\n+!\\[([^\\]]*)\\]\\((pictures/([a-z-]+)\\.svg)\\)")

// longestShown bounds what is drawn of a run.
const longestShown = 100 * 24 * time.Hour

// drawings are how pictures are drawn that are not just the outline of their
// plan.
var drawings = map[string]func(p *plan.Plan, c *chart) error{
	"arrivals":      drawArrivals,
	"scope-cluster": drawShares,
	"iterations":    drawEnd,
}

// pictures draws each picture of the page from the very plan that stands above
// it; the text in its brackets is its title.
func pictures(page []byte) (map[string][]byte, error) {
	drawn := map[string][]byte{}
	for _, m := range shown.FindAllSubmatch(page, -1) {
		p, err := complete(string(m[1]))
		if err != nil {
			return nil, fmt.Errorf("the plan of %s: %w", m[3], err)
		}
		c := &chart{title: string(m[2]), unit: unitOf(p), length: p.Config.Duration.Seconds()}
		if warmup := p.Config.Warmup; warmup > 0 {
			c.bands = append(c.bands, band{"warmup", 0, warmup.Seconds()})
		}
		draw := drawings[string(m[4])]
		if draw == nil {
			draw = drawOutline
		}
		if err := draw(p, c); err != nil {
			return nil, fmt.Errorf("draw %s: %w", m[3], err)
		}
		drawn[string(m[3])] = c.svg()
	}
	return drawn, nil
}

func unitOf(p *plan.Plan) string {
	switch {
	case p.Load.Closed():
		return "workers"
	case p.Load.Unit == "requests":
		return "requests/s"
	}
	return "iterations/s"
}

func drawOutline(p *plan.Plan, c *chart) error {
	s, err := outline(p, loadgen.Share{})
	c.series = append(c.series, s)
	return err
}

func outline(p *plan.Plan, share loadgen.Share) (series, error) {
	o, err := loadgen.NewOutline(p, share, longestShown)
	if err != nil {
		return series{}, err
	}
	var s series
	for _, corner := range o.Corners() {
		s.points = append(s.points, [2]float64{corner.At.Seconds(), corner.Value})
	}
	return s, nil
}

// drawEnd draws a run that load.iterations ends before its duration.
func drawEnd(p *plan.Plan, c *chart) error {
	o, err := loadgen.NewOutline(p, loadgen.Share{}, longestShown)
	c.ended = o.End().Seconds()
	if err != nil {
		return err
	}
	return drawOutline(p, c)
}

// drawArrivals shows each arrival, evenly spaced and by Poisson.
func drawArrivals(p *plan.Plan, c *chart) error {
	for _, arrival := range []string{"uniform", "poisson"} {
		variant := *p
		variant.Load.Arrival = arrival
		o, err := loadgen.NewOutline(&variant, loadgen.Share{}, longestShown)
		if err != nil {
			return err
		}
		at := o.Arrivals(uint64(*p.Config.Seed))
		c.rows = append(c.rows, row{fmt.Sprintf("%s: %d", arrival, len(at)), seconds(at)})
	}
	return nil
}

// drawShares shows what becomes of a total for three nodes, of which the last
// has twice the weight.
func drawShares(p *plan.Plan, c *chart) error {
	weights := []float64{1, 1, 2}
	total, err := outline(p, loadgen.Share{})
	if err != nil {
		return err
	}
	total.label = "all nodes"
	c.series = append(c.series, total)
	for i, label := range []string{"", "nodes a and b, CLUSTER_WEIGHT 1, each", "node c, CLUSTER_WEIGHT 2"} {
		if label == "" {
			continue // as the next
		}
		s, err := outline(p, loadgen.Share{Index: i, Weights: weights})
		if err != nil {
			return err
		}
		s.label = label
		c.series = append(c.series, s)
	}
	return nil
}
