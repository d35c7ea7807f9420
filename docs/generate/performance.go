package main

import (
	"encoding/json"
	"fmt"
	"html"
	"os"
	"path/filepath"
	"strings"
)

// figures is what bench/peers has measured, as its -json writes it.
type figures struct {
	Date    string      `json:"date"`
	Machine string      `json:"machine"`
	Seconds float64     `json:"seconds"`
	Unpaced float64     `json:"unpaced"`
	Runs    int         `json:"runs"`
	Tools   []string    `json:"tools"`
	Rows    []figureRow `json:"rows"`
}

type figureRow struct {
	Mode       string  `json:"mode"`
	Title      string  `json:"title"`
	Tool       string  `json:"tool"`
	Reference  string  `json:"reference"`
	CPU        float64 `json:"cpu_us"`
	PerSecond  float64 `json:"rps"`
	Ratio      float64 `json:"ratio"`
	RatioLeast float64 `json:"ratio_least"`
	RatioMost  float64 `json:"ratio_most"`
	CPUPct     float64 `json:"cpu_pct"`
	RSSMB      float64 `json:"rss_mb"`
	LagP50Ms   float64 `json:"lag_p50_ms"`
	LagP99Ms   float64 `json:"lag_p99_ms"`
	Judged     []struct {
		Figure string  `json:"figure"`
		Value  float64 `json:"value"`
		Bound  string  `json:"bound"`
		Holds  bool    `json:"holds"`
	} `json:"judged"`
}

// measured reads docs/performance.json.
func measured(docs string) (f figures, err error) {
	data, err := os.ReadFile(filepath.Join(docs, "performance.json"))
	if err != nil {
		return f, err
	}
	if err := json.Unmarshal(data, &f); err != nil {
		return f, fmt.Errorf("read performance.json: %w", err)
	}
	return f, nil
}

// performanceParts are the tables of docs/performance.md.
func performanceParts(f figures) map[string]string {
	return map[string]string{"performance judged": f.judged(), "performance measured": f.all()}
}

func (f figures) judged() string {
	var rows [][]string
	for _, r := range f.Rows {
		for _, j := range r.Judged {
			holds := "yes"
			if !j.Holds {
				holds = "**no**"
			}
			rows = append(rows, []string{r.Title, r.Tool, r.named(j.Figure), fmt.Sprintf("%.3g", j.Value), j.Bound, holds})
		}
	}
	return f.circumstances() + table([]string{"Mode", "", "Figure", "Measured", "Accepted", "Holds"}, rows)
}

// circumstances says what the figures were measured with.
func (f figures) circumstances() string {
	rounds := "one round"
	if f.Runs > 1 {
		rounds = fmt.Sprintf("medians of %d rounds", f.Runs)
	}
	length := num(f.Seconds) + " s"
	if f.Unpaced > 0 && f.Unpaced != f.Seconds {
		length += ", of " + num(f.Unpaced) + " s where no rate is set"
	}
	return fmt.Sprintf("Measured %s on %s; %s of %s; %s.\n\n", f.Date, f.Machine, rounds, length, strings.Join(f.Tools, ", "))
}

// named says what a ratio is one of.
func (r figureRow) named(figure string) string {
	if figure != "ratio" {
		return figure
	}
	if r.Mode == "large" {
		return "requests/s ÷ " + r.Reference
	}
	return "CPU ÷ " + r.Reference
}

func (f figures) all() string {
	var rows [][]string
	for _, r := range f.Rows {
		ratio, lag := "", ""
		if r.Reference != "" {
			ratio = fmt.Sprintf("%.2f (%.2f to %.2f)", r.Ratio, r.RatioLeast, r.RatioMost)
		}
		if r.LagP99Ms > 0 {
			lag = fmt.Sprintf("%.3f, %.3f ms", r.LagP50Ms, r.LagP99Ms)
		}
		rows = append(rows, []string{r.Mode, r.Tool, fmt.Sprintf("%.1f µs", r.CPU), ratio, fmt.Sprintf("%.0f", r.PerSecond),
			fmt.Sprintf("%.1f %%", r.CPUPct), fmt.Sprintf("%.0f MB", r.RSSMB), lag})
	}
	return table([]string{"Mode", "", "CPU per request", "Ratio", "Requests/s", "CPU of a core", "RSS", "Lag p50, p99"}, rows)
}

// Where things are in the picture of costs, in pixels.
const (
	barLeft, barRight = 90, 60
	barHigh, barEvery = 14, 20
	groupHead         = 28
	barWidth          = width - barLeft - barRight
)

// costs are the rows that compare CPU per request, by mode.
func (f figures) costs() (modes []string, rows map[string][]figureRow) {
	rows = map[string][]figureRow{}
	for _, r := range f.Rows {
		if r.Reference == "" || r.Mode == "large" || r.Mode == "processors" {
			continue
		}
		if len(rows[r.Mode]) == 0 {
			modes = append(modes, r.Mode)
		}
		rows[r.Mode] = append(rows[r.Mode], r)
	}
	return modes, rows
}

// costPicture is a bar for each generator: its CPU per request as a multiple of
// the reference's.
func costPicture(f figures) []byte {
	modes, rows := f.costs()
	high, most := float64(top), 1.0
	for _, m := range modes {
		high += groupHead + barEvery*float64(len(rows[m]))
		for _, r := range rows[m] {
			most = max(most, r.Ratio)
		}
	}
	var b strings.Builder
	title := "CPU of the whole process per request, as a multiple of the reference's"
	fmt.Fprintf(&b, `<svg xmlns="http://www.w3.org/2000/svg" width="%d" height="%s" viewBox="0 0 %d %s" role="img" font-family="Helvetica, Arial, 'DejaVu Sans', sans-serif" font-size="13" fill="%s">`+"\n",
		width, num(high), width, num(high), ink)
	fmt.Fprintf(&b, "<title>%s</title>\n<rect width=\"%d\" height=\"%s\" fill=\"%s\"/>\n", html.EscapeString(title), width, num(high), paper)
	text(&b, 12, 20, "start", ` font-weight="bold"`, title)
	y := float64(top)
	for _, m := range modes {
		text(&b, 12, y+14, "start", "", rows[m][0].Title+" (reference: "+rows[m][0].Reference+")")
		y += groupHead - 6
		for _, r := range rows[m] {
			colour := "#8c959f"
			if r.Tool == "volley" {
				colour = colours()[0]
			}
			text(&b, barLeft-8, y+barHigh-2, "end", "", r.Tool)
			fmt.Fprintf(&b, `<rect x="%d" y="%s" width="%s" height="%d" fill="%s"/>`+"\n", barLeft, num(y), num(r.Ratio/most*barWidth), barHigh, colour)
			text(&b, barLeft+r.Ratio/most*barWidth+6, y+barHigh-2, "start", "", fmt.Sprintf("%.2f", r.Ratio))
			y += barEvery
		}
		y += 6
	}
	b.WriteString("</svg>\n")
	return []byte(b.String())
}
