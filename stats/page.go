package stats

import (
	"fmt"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"
)

// style is an ANSI attribute; "" is none.
type style string

const (
	bold   style = "\x1b[1m"
	red    style = "\x1b[31m"
	green  style = "\x1b[32m"
	yellow style = "\x1b[33m"
	reset        = "\x1b[0m"
)

// cell is a piece of text in one style.
type cell struct {
	text  string
	style style
}

func plain(text string) cell { return cell{text: text} }

// label begins a line of totals.
func label(text string) cell { return cell{fmt.Sprintf("%-13s", text), bold} }

// bad is red unless n is 0.
func bad(n int64, format string) cell { return cell{fmt.Sprintf(format, n), styleIf(n > 0, red)} }

func styleIf(yes bool, s style) style {
	if yes {
		return s
	}
	return ""
}

func heads(titles ...string) []cell {
	out := make([]cell, len(titles))
	for i, title := range titles {
		out[i] = cell{title, bold}
	}
	return out
}

// page collects the lines of a report.
type page struct {
	out    strings.Builder
	colour bool
}

func (p *page) gap() { p.out.WriteByte('\n') }

func (p *page) line(cells ...cell) {
	for _, c := range cells {
		p.write(c)
	}
	p.out.WriteByte('\n')
}

func (p *page) write(c cell) {
	if !p.colour || c.style == "" {
		p.out.WriteString(c.text)
		return
	}
	p.out.WriteString(string(c.style) + c.text + reset)
}

// table aligns the first column left, numbers right, and the last column left
// if it holds text; rows have equal length.
func (p *page) table(rows [][]cell, textLast bool) {
	widths := make([]int, len(rows[0]))
	for _, row := range rows {
		for i, c := range row {
			widths[i] = max(widths[i], utf8.RuneCountInString(c.text))
		}
	}
	for _, row := range rows {
		for i, c := range row {
			space := strings.Repeat(" ", widths[i]-utf8.RuneCountInString(c.text))
			switch {
			case i == 0:
				p.write(c)
				p.out.WriteString(space)
			case textLast && i == len(row)-1:
				p.out.WriteString("  ")
				p.write(c)
			default:
				p.out.WriteString("  " + space)
				p.write(c)
			}
		}
		p.out.WriteByte('\n')
	}
}

// clean keeps what comes from a plan or another node from steering the
// terminal.
func clean(s string) string {
	return strings.Map(func(r rune) rune {
		if unicode.IsControl(r) {
			return unicode.ReplacementChar
		}
		return r
	}, s)
}

// short is clean, and cut so that a table stays a table.
func short(s string) string { return cut(s, 40) }

func cut(s string, limit int) string {
	runes := []rune(clean(s))
	if len(runes) <= limit {
		return string(runes)
	}
	return string(runes[:limit-1]) + "…"
}

// ms shows milliseconds in the unit that suits them, "-" for none.
func ms(v *float64) string {
	switch {
	case v == nil:
		return "-"
	case *v == 0:
		return "0 ms"
	case *v < 0.1:
		return fmt.Sprintf("%.1f µs", *v*1000)
	case *v < 10:
		return fmt.Sprintf("%.2f ms", *v)
	case *v < 1000:
		return fmt.Sprintf("%.1f ms", *v)
	}
	return fmt.Sprintf("%.2f s", *v/1000)
}

func signedMs(v *float64) string {
	if v == nil {
		return "-"
	}
	return fmt.Sprintf("%+.2f ms", *v)
}

func seconds(s float64) string {
	return time.Duration(s * float64(time.Second)).Round(time.Millisecond).String()
}

// size shows bytes in decimal units.
func size(n int64) string {
	v, units := float64(n), []string{"B", "kB", "MB", "GB", "TB", "PB"}
	i := 0
	for v >= 1000 && i < len(units)-1 {
		v, i = v/1000, i+1
	}
	if i == 0 {
		return fmt.Sprintf("%d B", n)
	}
	return fmt.Sprintf("%.1f %s", v, units[i])
}
