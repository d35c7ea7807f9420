package main

import (
	"io"
	"log/slog"
	"os"

	"golang.org/x/term"

	"volley/settings"
)

// logging is where lines and reports go. Lines are text on a terminal, else
// JSON; a report is text wherever a person may read it, else a line.
type logging struct {
	log    *slog.Logger
	out    io.Writer
	text   bool
	colour bool
	screen *screen // where progress is drawn; nil: it is logged
}

func newLogging(set settings.Settings, out, errOut io.Writer) logging {
	lines := set.Log.Format == "text" || set.Log.Format == "" && isTerminal(errOut)
	l := logging{out: out, text: lines || set.Log.Format == "" && isTerminal(out), colour: isTerminal(out) && set.Terminal.Colour()}
	if f, ok := errOut.(*os.File); ok && lines && isTerminal(f) && !set.Terminal.Dumb() {
		l.screen = &screen{to: f}
		errOut = l.screen.above(f)
		l.out = l.screen.above(out)
	}
	if lines {
		l.log = slog.New(slog.NewTextHandler(errOut, &slog.HandlerOptions{Level: set.Log.Level}))
	} else {
		l.log = slog.New(slog.NewJSONHandler(errOut, &slog.HandlerOptions{Level: set.Log.Level, ReplaceAttr: cloudNames}))
	}
	return l
}

// cloudNames gives slog's keys the names that Cloud Logging reads.
func cloudNames(groups []string, a slog.Attr) slog.Attr {
	if len(groups) > 0 {
		return a
	}
	switch a.Key {
	case slog.MessageKey:
		a.Key = "message"
	case slog.LevelKey:
		a.Key = "severity"
		if a.Value.Any() == slog.LevelWarn {
			a.Value = slog.StringValue("WARNING")
		}
	}
	return a
}

func isTerminal(w io.Writer) bool {
	f, ok := w.(*os.File)
	return ok && term.IsTerminal(int(f.Fd()))
}
