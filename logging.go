package main

import (
	"context"
	"io"
	"log/slog"
	"os"
	"strings"
	"sync/atomic"

	"golang.org/x/term"

	"volley/node"
	"volley/settings"
)

// logging is where lines and reports go. Lines are text on a terminal, else
// JSON; a report is text wherever a person may read it, else a line.
type logging struct {
	log    *slog.Logger
	out    io.Writer
	text   bool
	colour bool
	screen *screen      // where progress is drawn; nil: it is logged
	told   *atomic.Bool // an error has been logged of what the process is about
}

func newLogging(set settings.Settings, out, errOut io.Writer) logging {
	lines, to := textLines(set, errOut), errOut
	l := logging{told: &atomic.Bool{}, out: out, text: lines || set.Log.Format == "" && isTerminal(out), colour: isTerminal(out) && set.Terminal.Colour()}
	if f, ok := errOut.(*os.File); ok && lines && isTerminal(f) && !set.Terminal.Dumb() {
		l.screen = &screen{to: f}
		errOut = l.screen.above(f)
		l.out = l.screen.above(out)
	}
	var handler slog.Handler
	if lines {
		handler = paragraphs{slog.NewTextHandler(errOut, &slog.HandlerOptions{Level: set.Log.Level}), errOut}
	} else {
		handler = slog.NewJSONHandler(errOut, &slog.HandlerOptions{Level: set.Log.Level, ReplaceAttr: cloudNames})
	}
	l.log = slog.New(witness{handler, l.told})
	if to == os.Stderr { // the process's own log: what libraries say is a line of it, too
		slog.SetDefault(l.log)
	}
	return l
}

// textLines says whether log lines are for a person.
func textLines(set settings.Settings, errOut io.Writer) bool {
	return set.Log.Format == "text" || set.Log.Format == "" && isTerminal(errOut)
}

// refuseStart tells why there is no start, before there is a log: to a person, or
// as the log's only line.
func refuseStart(set settings.Settings, out, errOut io.Writer, err error) int {
	if textLines(set, errOut) {
		return fail(errOut, node.ExitInvalid, err)
	}
	newLogging(set, out, errOut).log.Error(err.Error(), "event", "start_failed", "exit_code", node.ExitInvalid)
	return node.ExitInvalid
}

// newErrorLogging has the report as text, and of the log only errors.
func newErrorLogging(out, errOut io.Writer, colour bool) logging {
	l := logging{told: &atomic.Bool{}, out: out, text: true, colour: colour}
	l.log = slog.New(witness{slog.NewTextHandler(errOut, &slog.HandlerOptions{Level: slog.LevelError}), l.told})
	return l
}

// witness notes that an error has been logged: what ends the process is told as
// an error once, where it happens.
type witness struct {
	slog.Handler
	told *atomic.Bool
}

func (w witness) Handle(ctx context.Context, r slog.Record) error {
	if r.Level >= slog.LevelError {
		w.told.Store(true)
	}
	return w.Handler.Handle(ctx, r)
}

func (w witness) WithAttrs(attrs []slog.Attr) slog.Handler {
	return witness{w.Handler.WithAttrs(attrs), w.told}
}

func (w witness) WithGroup(name string) slog.Handler {
	return witness{w.Handler.WithGroup(name), w.told}
}

// paragraphs shows what a record has to say beyond its first line, such as all
// mistakes of a plan, in lines of their own, for a person to read.
type paragraphs struct {
	slog.Handler
	to io.Writer
}

func (p paragraphs) Handle(ctx context.Context, r slog.Record) error {
	first, rest, more := strings.Cut(r.Message, "\n")
	if !more {
		return p.Handler.Handle(ctx, r)
	}
	short := slog.NewRecord(r.Time, r.Level, first, r.PC)
	r.Attrs(func(a slog.Attr) bool {
		short.AddAttrs(a)
		return true
	})
	if err := p.Handler.Handle(ctx, short); err != nil {
		return err
	}
	_, err := io.WriteString(p.to, "  "+strings.ReplaceAll(rest, "\n", "\n  ")+"\n")
	return err
}

func (p paragraphs) WithAttrs(attrs []slog.Attr) slog.Handler {
	return paragraphs{p.Handler.WithAttrs(attrs), p.to}
}

func (p paragraphs) WithGroup(name string) slog.Handler {
	return paragraphs{p.Handler.WithGroup(name), p.to}
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
