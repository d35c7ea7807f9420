package plan

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
)

// maxErrors bounds what one document can make us say.
const maxErrors = 1000

// Error is one mistake in a plan. Line and Column count from 1 and point at
// the offending value, or at the key that ought to hold what is missing. Path
// is like "scenarios[0].steps[1].request.method", and empty if the mistake is
// the document's own. Message says what is wrong and, in brackets, what is
// accepted.
type Error struct {
	Line    int    `json:"line"`
	Column  int    `json:"column"`
	Path    string `json:"path"`
	Message string `json:"message"`
}

// Error is "LINE:COLUMN: path: message", without a place if there is none.
func (e Error) Error() string {
	if e.Line == 0 {
		return e.text()
	}
	return fmt.Sprintf("%d:%d: %s", e.Line, e.Column, e.text())
}

// In is Error with the file's name in front: "FILE:LINE:COLUMN: path: message".
func (e Error) In(file string) string {
	return file + ":" + e.Error()
}

func (e Error) text() string {
	if e.Path == "" {
		return e.Message
	}
	return e.Path + ": " + e.Message
}

// Errors is every mistake of a document, sorted by position.
type Errors []Error

// Error is one line per mistake.
func (e Errors) Error() string {
	lines := make([]string, len(e))
	for i, one := range e {
		lines[i] = one.Error()
	}
	return strings.Join(lines, "\n")
}

// Warning is something in a plan that has no effect or is likely a slip; the
// plan runs all the same. Its fields are those of Error.
type Warning Error

// String is "LINE:COLUMN: path: message".
func (w Warning) String() string { return Error(w).Error() }

// In is String with the file's name in front.
func (w Warning) In(file string) string { return Error(w).In(file) }

// ordered sorts by position and cuts what exceeds maxErrors, saying so.
func (e Errors) ordered() Errors {
	slices.SortStableFunc(e, byPosition)
	if extra := len(e) - maxErrors; extra > 0 {
		last := e[maxErrors-1]
		e = append(e[:maxErrors:maxErrors], Error{Line: last.Line, Column: last.Column,
			Message: fmt.Sprintf("%d more mistakes follow (the first %d are shown)", extra, maxErrors)})
	}
	return e
}

func byPosition(a, b Error) int {
	return cmp.Or(cmp.Compare(a.Line, b.Line), cmp.Compare(a.Column, b.Column), cmp.Compare(a.Path, b.Path))
}

func orderedWarnings(w []Warning) []Warning {
	slices.SortStableFunc(w, func(a, b Warning) int { return byPosition(Error(a), Error(b)) })
	return w[:min(len(w), maxErrors)]
}
