package stats

import (
	"fmt"
	"strings"
)

// text says first what the verdict is, then how each figure has changed.
func (w *Weighed) text(p *page) {
	if w == nil {
		return
	}
	if w.Verdict == ChangeTooShort {
		p.line(cell{string(w.Verdict), bold}, plain(fmt.Sprintf(": %d and %d blocks of %.0f s (at least %d on each side, or %d runs on each side)",
			w.Before, w.After, w.BlockS, fewestBlocks, fewestRuns)))
		p.gap()
		return
	}
	p.line(cell{string(w.Verdict), bold}, plain(": "+w.reason()))
	rows := [][]cell{heads("", "change", "95 % interval", "")}
	for _, c := range w.Figures {
		rows = append(rows, c.cells())
	}
	p.table(rows, true)
	p.gap()
}

func (w *Weighed) reason() string {
	var names []string
	for _, c := range w.Figures {
		if c.Verdict == ChangeReal {
			names = append(names, c.Name)
		}
	}
	what := fmt.Sprintf("by %d and %d %s", w.Before, w.After, w.Units)
	if w.BlockS > 0 {
		what += fmt.Sprintf(", %.0f s each", w.BlockS)
	}
	if len(names) == 0 {
		return "no figure has changed by more than what differs by itself; " + what
	}
	return strings.Join(names, ", ") + "; " + what
}

func (c *Change) cells() []cell {
	unit := " " + c.Unit
	if c.Change == nil {
		return []cell{plain(c.Name), plain("-"), plain("-"), plain("no figure")}
	}
	verdict := cell{text: string(c.Verdict)}
	if c.Verdict == ChangeReal {
		verdict.style = bold
	}
	return []cell{plain(c.Name), plain(fmt.Sprintf("%+.2f", *c.Change) + unit), plain(fmt.Sprintf("%+.2f to %+.2f", *c.Low, *c.High) + unit), verdict}
}
