package loadgen

import (
	"bytes"
	"strings"
	"unicode/utf8"

	"github.com/theory/jsonpath/spec"
)

// way is a JSONPath of nothing but names and places in arrays, as most are:
// what it leads to is found in the text of a document, which is not made into
// values for that.
type way []hop

// hop is a step on it.
type hop struct {
	name string
	at   int // in an array; -1 for a name
}

// wayOf is nil for all other paths.
func wayOf(q *spec.PathQuery) way {
	var w way
	for _, segment := range q.Segments() {
		if len(segment.Selectors()) != 1 || segment.IsDescendant() {
			return nil
		}
		switch s := segment.Selectors()[0].(type) {
		case spec.Name:
			if strings.ContainsRune(string(s), utf8.RuneError) {
				return nil // what is no UTF-8 in a document is read as that
			}
			w = append(w, hop{string(s), -1})
		case spec.Index:
			if s < 0 {
				return nil
			}
			w = append(w, hop{at: int(s)})
		default:
			return nil
		}
	}
	return w
}

// find is the text of the value that the way leads to in a valid document: nil
// if there is none. ok is false where the value would have to be read to be
// written, and names with escapes are in the way.
func (w way) find(doc []byte) (text []byte, ok bool) {
	at := skipSpace(doc, 0)
	for i := range w {
		var found bool
		if at, found, ok = w[i].from(doc, at); !ok || !found {
			return nil, ok
		}
	}
	switch text = doc[at:skipValue(doc, at)]; text[0] {
	case '{', '[':
		return nil, false
	case '"':
		text = text[1 : len(text)-1]
		return text, bytes.IndexByte(text, '\\') < 0 && utf8.Valid(text)
	}
	return text, true
}

// from is where the value begins that a hop leads to from the one at a place.
func (h *hop) from(doc []byte, at int) (to int, found, ok bool) {
	switch {
	case h.at < 0 && doc[at] == '{':
		return h.member(doc, at)
	case h.at >= 0 && doc[at] == '[':
		to, found = h.element(doc, at)
	}
	return to, found, true
}

// member is the last one of the name, as with encoding/json.
func (h *hop) member(doc []byte, at int) (to int, found, ok bool) {
	for at = skipSpace(doc, at+1); doc[at] != '}'; at = nextOne(doc, at) {
		end := skipValue(doc, at)
		name := doc[at+1 : end-1]
		if bytes.IndexByte(name, '\\') >= 0 {
			return 0, false, false
		}
		at = skipSpace(doc, skipSpace(doc, end)+1) // the colon
		if string(name) == h.name {
			to, found = at, true
		}
		at = skipValue(doc, at)
	}
	return to, found, true
}

func (h *hop) element(doc []byte, at int) (to int, found bool) {
	n := 0
	for at = skipSpace(doc, at+1); doc[at] != ']'; at = nextOne(doc, at) {
		if n == h.at {
			return at, true
		}
		n++
		at = skipValue(doc, at)
	}
	return 0, false
}

// nextOne is where the next member or element begins after the end of one, or the
// bracket that closes.
func nextOne(doc []byte, at int) int {
	if at = skipSpace(doc, at); doc[at] == ',' {
		return skipSpace(doc, at+1)
	}
	return at
}

func skipSpace(doc []byte, at int) int {
	for at < len(doc) && (doc[at] == ' ' || doc[at] == '\n' || doc[at] == '\t' || doc[at] == '\r') {
		at++
	}
	return at
}

// skipValue is the end of the value that begins at a place.
func skipValue(doc []byte, at int) int {
	depth := 0
	for ; at < len(doc); at++ {
		switch doc[at] {
		case '"':
			if at = skipString(doc, at); depth == 0 {
				return at
			}
			at--
		case '{', '[':
			depth++
		case '}', ']':
			if depth--; depth == 0 {
				return at + 1
			}
			if depth < 0 { // of what a number or a word stood in
				return at
			}
		case ',', ' ', '\n', '\t', '\r':
			if depth == 0 {
				return at
			}
		}
	}
	return at
}

// skipString is the end of the string that begins at a place.
func skipString(doc []byte, at int) int {
	for at++; doc[at] != '"'; at++ {
		if doc[at] == '\\' {
			at++ // what is escaped
		}
	}
	return at + 1
}
