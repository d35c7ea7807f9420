package main

import (
	"fmt"
	"html"
	"math"
	"strconv"
	"strings"
	"time"
)

// Where things are in a picture, in pixels.
const (
	width, height     = 760, 270
	left, right       = 66, 24
	top, bottom       = 40, 50
	plotW, plotH      = width - left - right, height - top - bottom
	ink, faint, paper = "#24292f", "#d8dee4", "#ffffff"
)

// series is a line of a picture, in seconds and the picture's unit.
type series struct {
	label  string
	points [][2]float64
}

// row is a line of instants, in seconds.
type row struct {
	label string
	at    []float64
}

// band is a span of time with a name.
type band struct {
	label    string
	from, to float64
}

// chart is a picture: series over time, or rows of instants.
type chart struct {
	title  string
	unit   string // of the vertical axis
	length float64
	series []series
	rows   []row
	bands  []band
	legend bool // the labels of series stand in a corner, not at their ends
	// ended is where the run is over before length, 0 if it is not.
	ended float64
}

func colours() []string { return []string{"#0550ae", "#bc4c00", "#1a7f37", "#8250df"} }

// num is a number as pictures write it: the same on every machine.
func num(v float64) string {
	text := strconv.FormatFloat(v, 'f', 2, 64)
	return strings.TrimSuffix(strings.TrimRight(text, "0"), ".")
}

func text(b *strings.Builder, x, y float64, anchor, attributes, content string) {
	fmt.Fprintf(b, `<text x="%s" y="%s" text-anchor="%s"%s>%s</text>`+"\n", num(x), num(y), anchor, attributes, html.EscapeString(content))
}

func line(b *strings.Builder, x1, y1, x2, y2 float64, colour string) {
	fmt.Fprintf(b, `<line x1="%s" y1="%s" x2="%s" y2="%s" stroke="%s"/>`+"\n", num(x1), num(y1), num(x2), num(y2), colour)
}

// svg draws the picture.
func (c *chart) svg() []byte {
	var b strings.Builder
	fmt.Fprintf(&b, `<svg xmlns="http://www.w3.org/2000/svg" width="%d" height="%d" viewBox="0 0 %d %d" role="img" font-family="Helvetica, Arial, 'DejaVu Sans', sans-serif" font-size="13" fill="%s">`+"\n",
		width, height, width, height, ink)
	fmt.Fprintf(&b, "<title>%s</title>\n", html.EscapeString(c.title))
	fmt.Fprintf(&b, `<rect width="%d" height="%d" fill="%s"/>`+"\n", width, height, paper)
	text(&b, left, 20, "start", ` font-weight="bold"`, c.title)
	c.drawBands(&b)
	c.drawTime(&b)
	if len(c.rows) > 0 {
		c.drawRows(&b)
	} else {
		c.drawSeries(&b)
	}
	b.WriteString("</svg>\n")
	return []byte(b.String())
}

func (c *chart) x(seconds float64) float64 { return left + seconds/c.length*plotW }

func (c *chart) drawBands(b *strings.Builder) {
	for _, s := range c.bands {
		fmt.Fprintf(b, `<rect x="%s" y="%d" width="%s" height="%d" fill="#eaeef2"/>`+"\n", num(c.x(s.from)), top, num(c.x(s.to)-c.x(s.from)), plotH)
		text(b, (c.x(s.from)+c.x(s.to))/2, top+16, "middle", "", s.label)
	}
	if c.ended > 0 {
		fmt.Fprintf(b, `<line x1="%s" y1="%d" x2="%s" y2="%d" stroke="%s" stroke-dasharray="4 3"/>`+"\n", num(c.x(c.ended)), top, num(c.x(c.ended)), top+plotH, ink)
		text(b, c.x(c.ended)+6, top+16, "start", "", "the run ends")
	}
}

// drawTime draws the horizontal axis, in the largest unit that gives it at
// least three ticks.
func (c *chart) drawTime(b *strings.Builder) {
	unit, name := 1.0, "s"
	for _, u := range []struct {
		seconds float64
		name    string
	}{{60, "min"}, {3600, "h"}} {
		if c.length >= 3*u.seconds {
			unit, name = u.seconds, u.name
		}
	}
	step := tick(c.length/unit, 10)
	if name == "h" && c.length/unit > 10 {
		step = 6 * math.Ceil(c.length/unit/60) // quarters of a day
	}
	for v := 0.0; v <= c.length/unit+step/1e6; v += step {
		x := c.x(v * unit)
		line(b, x, top+plotH, x, top+plotH+5, ink)
		text(b, x, top+plotH+19, "middle", "", num(v))
	}
	line(b, left, top+plotH, left+plotW, top+plotH, ink)
	text(b, left+plotW/2, height-12, "middle", "", "time since the start ("+name+")")
}

func (c *chart) drawSeries(b *strings.Builder) {
	high := 0.0
	for _, s := range c.series {
		for _, p := range s.points {
			high = max(high, p[1])
		}
	}
	step := tick(high*1.1, 6)
	high = math.Ceil(high*1.1/step) * step
	y := func(v float64) float64 { return top + plotH - v/high*plotH }
	for v := 0.0; v <= high+step/1e6; v += step {
		if v > 0 {
			line(b, left, y(v), left+plotW, y(v), faint)
		}
		text(b, left-8, y(v)+4, "end", "", num(v))
	}
	line(b, left, top, left, top+plotH, ink)
	text(b, 0, 0, "middle", fmt.Sprintf(` transform="translate(16 %d) rotate(-90)"`, top+plotH/2), c.unit)
	for i, s := range c.series {
		points := make([]string, len(s.points))
		for j, p := range s.points {
			points[j] = num(c.x(p[0])) + "," + num(y(p[1]))
		}
		fmt.Fprintf(b, `<polyline points="%s" fill="none" stroke="%s" stroke-width="2.5" stroke-linejoin="round"/>`+"\n", strings.Join(points, " "), colours()[i])
		last := s.points[len(s.points)-1]
		labelX, labelY := c.x(last[0])-6, y(last[1])-7
		if c.legend {
			labelX, labelY = left+plotW-6, float64(top+16+18*i)
		}
		if s.label != "" {
			text(b, labelX, labelY, "end", ` fill="`+colours()[i]+`"`, s.label)
		}
	}
}

func (c *chart) drawRows(b *strings.Builder) {
	each := float64(plotH) / float64(len(c.rows))
	for i, r := range c.rows {
		base := top + each*float64(i+1) - 6
		tall := each - 30
		text(b, left, base-tall-6, "start", ` fill="`+colours()[i]+`"`, r.label)
		line(b, left, base, left+plotW, base, faint)
		for _, at := range r.at {
			fmt.Fprintf(b, `<line x1="%s" y1="%s" x2="%s" y2="%s" stroke="%s" stroke-width="2"/>`+"\n",
				num(c.x(at)), num(base), num(c.x(at)), num(base-tall), colours()[i])
		}
	}
}

// tick is a step of 1, 2 or 5 times a power of ten that divides span into at
// most so many parts.
func tick(span float64, most int) float64 {
	for unit := math.Pow(10, math.Floor(math.Log10(span))-2); ; unit *= 10 {
		for _, n := range []float64{1, 2, 5} {
			if span/(n*unit) <= float64(most) {
				return n * unit
			}
		}
	}
}

func seconds(all []time.Duration) []float64 {
	out := make([]float64, len(all))
	for i, d := range all {
		out[i] = d.Seconds()
	}
	return out
}
