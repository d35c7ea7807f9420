package main

import (
	"io"
	"os"
	"sync"

	"golang.org/x/term"
)

const (
	eraseLine    = "\r\x1b[K"
	usualColumns = 80 // of a terminal that does not say
)

// screen is a terminal whose last line is drawn anew in place. What is written
// above takes its place until it is drawn the next time.
type screen struct {
	to *os.File

	mu    sync.Mutex
	shown bool
}

// draw shows the line, cut to the terminal's width: one that wraps cannot be erased.
func (s *screen) draw(line string) {
	columns, _, err := term.GetSize(int(s.to.Fd()))
	if err != nil || columns <= 0 {
		columns = usualColumns
	}
	runes := []rune(line)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.shown = s.write(eraseLine + string(runes[:min(len(runes), columns-1)]))
}

func (s *screen) erase() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.clear()
}

func (s *screen) clear() {
	if s.shown {
		s.write(eraseLine)
		s.shown = false
	}
}

// write says whether it was written: a terminal that is gone shows no progress,
// and the log says so where it matters.
func (s *screen) write(text string) bool {
	_, err := s.to.WriteString(text)
	return err == nil
}

// above writes to another stream that may end on the same terminal.
func (s *screen) above(to io.Writer) io.Writer { return &aboveWriter{s, to} }

type aboveWriter struct {
	screen *screen
	to     io.Writer
}

func (w *aboveWriter) Write(p []byte) (int, error) {
	w.screen.mu.Lock()
	defer w.screen.mu.Unlock()
	w.screen.clear()
	return w.to.Write(p)
}
