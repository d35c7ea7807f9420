package main_test

import (
	"fmt"
	"math"
	"slices"
	"strings"
	"time"

	"github.com/chromedp/chromedp"
	"github.com/chromedp/chromedp/kb"
)

// hover goes over a chart by keyboard and mouse, and all charts point at the same second.
func (b *browser) hover(report any) {
	b.t.Helper()
	b.do(chromedp.Focus(chromedp.CSS(".chart svg")), chromedp.KeyEvent(kb.Home)) // Home
	value := eval[string](b, `document.querySelector(".chart svg").getAttribute("aria-valuetext")`)
	if !strings.HasPrefix(value, "00:00: target ") || !strings.Contains(value, "started ") {
		b.t.Errorf("a screen reader is told %q", value)
	}
	b.pointed("Home", 0, report)
	b.pointed("the middle", b.mouse(0.5), report)
	b.leave()
}

// mouse moves over the first chart, to a part of its axis from 0 to 1, and returns
// the second that the chart points at, which has to be there.
func (b *browser) mouse(part float64) float64 {
	b.t.Helper()
	const svg = `const svg = document.querySelector(".chart svg"), axis = svg.querySelector("line.axis"), from = +axis.getAttribute("x1"), wide = +axis.getAttribute("x2") - from, box = svg.getBoundingClientRect();`
	at := eval[[]float64](b, fmt.Sprintf(`(() => { document.querySelector(".chart svg").scrollIntoView({ block: "center" }); %s return [box.left + from + wide * %v, box.top + box.height / 2]; })()`, svg, part))
	b.do(chromedp.MouseEvent(chromedp.MouseMoved, at[0], at[1]))
	b.until(time.Second, "the chart points at where the mouse is, as near as it has a point", fmt.Sprintf(`(() => { %s
		const line = svg.querySelector("line.hover"), away = box.left + Number(line.getAttribute("x1")) - %v;
		return line.getAttribute("visibility") === "visible" && Math.abs(away) < wide / series.rows.length;
	})()`, svg, at[0]))
	return eval[float64](b, `Number(document.querySelector(".chart svg").getAttribute("aria-valuenow"))`)
}

// leave takes the mouse away from the charts.
func (b *browser) leave() {
	b.t.Helper()
	b.do(chromedp.MouseEvent(chromedp.MouseMoved, 1, 1))
	b.until(time.Second, "no chart points at anything", `[...document.querySelectorAll(".chart:not([hidden]) .at")].every(e => e.textContent.startsWith("newest, "))`)
}

// pointed checks that all charts show the values of one point of the series.
func (b *browser) pointed(what string, second float64, report any) {
	b.t.Helper()
	for _, text := range eval[[]string](b, `[...document.querySelectorAll(".chart:not([hidden]) .at")].map(e => e.textContent)`) {
		if text != pageClock(second) {
			b.t.Errorf("%s: a chart points at %q, want %q", what, text, pageClock(second))
		}
	}
	prefix := fmt.Sprintf("series@%v.", second)
	all := slices.DeleteFunc(b.numbers(), func(s shown) bool { return !strings.HasPrefix(s.K, "series@") })
	wrong := differences(all, report, nil)
	for _, s := range all {
		if !strings.HasPrefix(s.K, prefix) {
			wrong = append(wrong, s.K+" is of another point")
		}
	}
	for _, name := range []string{"target", "started", "dropped", "p50", "p95", "p99", "max", "errors", "late", "workers", "schedule_lag_p99", "gc_pause", "cpu_pct", "throttled_pct"} {
		if _, measured := pointOf(prefix[len("series@"):]+name, report); measured && !slices.ContainsFunc(all, func(s shown) bool { return s.K == prefix+name }) {
			wrong = append(wrong, prefix+name+" is not shown")
		}
	}
	if len(wrong) > 0 {
		b.t.Errorf("%s: the charts' values are not those of the point at %v s:\n%s", what, second, strings.Join(wrong, "\n"))
	}
}

// now checks that the mark of now stands where the run is, and that the curve of the
// plan goes on beyond it to the end.
func (b *browser) now() {
	b.t.Helper()
	type mark struct{ Left, Right, Now, Progress, Curve float64 }
	m := eval[mark](b, `(() => {
		const svg = document.querySelector(".chart svg"), at = (look, end) => Number(svg.querySelector(look)?.getAttribute(end)), curve = svg.querySelector("path.target").getBBox();
		return { Left: at("line.axis", "x1"), Right: at("line.axis", "x2"), Now: at("line.now", "x1"), Progress: document.getElementById("progress").value, Curve: curve.x + curve.width };
	})()`)
	want := m.Left + (m.Right-m.Left)*m.Progress
	if !(m.Left < m.Now && m.Now < m.Right) || math.Abs(m.Now-want) > 1 {
		b.t.Errorf("now is marked at %.1f, want %.1f between %.1f and %.1f", m.Now, want, m.Left, m.Right)
	}
	if math.Abs(m.Curve-m.Right) > 1 {
		b.t.Errorf("the plan's curve ends at %.1f, want %.1f: now is at %.1f", m.Curve, m.Right, m.Now)
	}
}

// heads checks what stands above the columns of a table.
func (b *browser) heads(table string, want ...string) {
	b.t.Helper()
	if got := eval[[]string](b, fmt.Sprintf(`[...document.querySelectorAll("#table-%s thead th")].map(e => e.textContent)`, table)); !slices.Equal(got, want) {
		b.t.Errorf("the table of %s has the heads %q, want %q", table, got, want)
	}
}
