package main_test

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// message is a text of the code that a user may read, with … for what it is
// filled in with.
type message struct {
	at, text string
	pattern  *regexp.Regexp
}

func newMessage(at, text string) message { return message{at, text, open(text, "")} }

// tongues are the calls whose texts reach a user, by name; which of their
// arguments that is shows itself, being the longest text.
var tongues = map[string]bool{
	"fmt.Errorf": true, "errors.New": true, "fmt.Sprintf": true, "status.Error": true, "status.Errorf": true,
	"Warn": true, "Error": true, "warn": true, "info": true, "tell": true, // the log
	"refuse": true, "refuseUnless": true, // settings
	"fail": true, "failAt": true, "note": true, "unavailable": true,
}

// plainly are files whose texts are what was asked for, not messages: a report,
// a line of progress, a demonstration, the words for a load.
func plainly(file string) bool {
	return slices.Contains([]string{"demo.go", "progress.go", "screen.go", "words.go", "try.go", "masking.go", "plan/reference.go"}, file) || strings.HasPrefix(file, "stats/")
}

// speaker reads the texts of one room.
type speaker struct {
	fset      *token.FileSet
	constants map[string]ast.Expr
	said      []message // by a call of tongues
	all       []message // every text there is
}

// spoken is what the rooms say: the texts of the calls in tongues and of reasons,
// and all texts there are.
func spoken(t *testing.T) (said, all []message) {
	t.Helper()
	root, err := filepath.Glob("*.go")
	if err != nil {
		t.Fatal(err)
	}
	folders := [][]string{root}
	for room := range rooms() {
		if room != "e2e" { // what tests say
			folders = append(folders, filesOf(t, room, ".go"))
		}
	}
	for _, files := range folders {
		s := speaker{fset: token.NewFileSet(), constants: map[string]ast.Expr{}}
		var trees []*ast.File
		for _, file := range files {
			if strings.HasSuffix(file, "_test.go") || strings.HasSuffix(file, "_e2e.go") || strings.HasSuffix(file, ".pb.go") {
				continue
			}
			tree, err := parser.ParseFile(s.fset, file, nil, parser.SkipObjectResolution)
			if err != nil {
				t.Fatal(err)
			}
			trees = append(trees, tree)
			s.learn(tree)
		}
		for _, tree := range trees {
			ast.Inspect(tree, s.listen)
		}
		said, all = append(said, s.said...), append(all, s.all...)
	}
	return said, all
}

// learn remembers what the constants and variables of a room stand for.
func (s *speaker) learn(tree *ast.File) {
	for _, declaration := range tree.Decls {
		group, ok := declaration.(*ast.GenDecl)
		if !ok {
			continue
		}
		for _, spec := range group.Specs {
			if values, ok := spec.(*ast.ValueSpec); ok && len(values.Names) == len(values.Values) {
				for i, name := range values.Names {
					s.constants[name.Name] = values.Values[i]
				}
			}
		}
	}
}

func (s *speaker) listen(n ast.Node) bool {
	if given, ok := n.(*ast.ReturnStmt); ok {
		for _, result := range given.Results {
			s.reason(result)
		}
	}
	expression, ok := n.(ast.Expr)
	if !ok {
		return true
	}
	at := s.fset.Position(n.Pos())
	place := fmt.Sprintf("%s:%d", filepath.ToSlash(at.Filename), at.Line)
	if text, ok := s.text(expression); ok {
		s.all = append(s.all, newMessage(place, text))
	}
	call, ok := n.(*ast.CallExpr)
	if !ok || !tongues[nameOf(call)] && !tongues[lastName(call)] || plainly(filepath.ToSlash(at.Filename)) && nameOf(call) == "fmt.Sprintf" {
		return true
	}
	longest := ""
	for _, argument := range call.Args {
		if _, name := argument.(*ast.Ident); name && longest != "" {
			continue // what a format is filled in with
		}
		if text, ok := s.text(argument); ok && len(text) > len(longest) {
			longest = text
		}
	}
	if strings.Contains(longest, " ") && !wrapper(lastName(call), longest) && letters(longest) >= fewLetters {
		s.said = append(s.said, newMessage(place, longest))
	}
	return true
}

// reason hears a text that a function gives back: why something is not so.
func (s *speaker) reason(e ast.Expr) {
	at := s.fset.Position(e.Pos())
	file := filepath.ToSlash(at.Filename)
	if text, ok := s.text(e); ok && strings.Contains(strings.TrimSpace(text), " ") && text[0] != ' ' && letters(text) > 2*fewLetters && !plainly(file) {
		s.said = append(s.said, newMessage(fmt.Sprintf("%s:%d", file, at.Line), text))
	}
}

// nameOf is what a call calls, with the name before the last dot.
func nameOf(call *ast.CallExpr) string {
	if selected, ok := call.Fun.(*ast.SelectorExpr); ok {
		if of, ok := selected.X.(*ast.Ident); ok {
			return of.Name + "." + selected.Sel.Name
		}
	}
	return lastName(call)
}

func lastName(call *ast.CallExpr) string {
	switch called := call.Fun.(type) {
	case *ast.SelectorExpr:
		return called.Sel.Name
	case *ast.Ident:
		return called.Name
	}
	return ""
}

// text is what an expression says, if any of it stands in the code.
func (s *speaker) text(e ast.Expr) (text string, ok bool) {
	switch e := e.(type) {
	case *ast.BasicLit:
		if e.Kind == token.STRING {
			raw, err := strconv.Unquote(e.Value)
			return filled(raw), err == nil
		}
	case *ast.ParenExpr:
		return s.text(e.X)
	case *ast.Ident:
		if value := s.constants[e.Name]; value != nil {
			if literal, isLiteral := value.(*ast.BasicLit); isLiteral {
				return s.text(literal)
			}
		}
	case *ast.CallExpr:
		if name := nameOf(e); (name == "fmt.Sprintf" || name == "fmt.Sprint") && len(e.Args) > 0 {
			return s.text(e.Args[0])
		}
	case *ast.BinaryExpr:
		left, isLeft := s.text(e.X)
		right, isRight := s.text(e.Y)
		if e.Op == token.ADD && (isLeft || isRight) {
			return strings.ReplaceAll(orOpen(left, isLeft)+orOpen(right, isRight), "……", "…"), true
		}
	}
	return "", false
}

func orOpen(text string, ok bool) string {
	if !ok {
		return "…"
	}
	return text
}

var verb = regexp.MustCompile(`%[-+#0]*[0-9]*(?:\.[0-9]+)?[a-zA-Z]`)

// filled is a format with … for its verbs, in quotes where it quotes.
func filled(format string) string {
	return strings.ReplaceAll(verb.ReplaceAllStringFunc(strings.ReplaceAll(format, "%%", "\x00"), func(v string) string {
		if strings.HasSuffix(v, "q") {
			return `"…"`
		}
		return "…"
	}), "\x00", "%")
}

// wrapper is an error that only says where something happened: after its colon
// comes another message, which is what has to be explained.
func wrapper(call, text string) bool {
	return call == "Errorf" && (strings.HasSuffix(text, ": …") || strings.HasSuffix(text, ": "))
}

// fewLetters is what a text needs to be one that can be looked for.
const fewLetters = 5

func letters(text string) (n int) {
	for _, c := range text {
		if c|0x20 >= 'a' && c|0x20 <= 'z' {
			n++
		}
	}
	return n
}

// entry is a text that docs/troubleshooting.md explains, … being anything.
type entry struct {
	text    string
	pattern *regexp.Regexp
}

// explains reports whether the entry is about a message: it fits the whole of
// it, or shows the whole of it, perhaps among others.
func (e entry) explains(m message) bool {
	return e.pattern.MatchString(m.text) || letters(m.text) >= 2*fewLetters && m.pattern.MatchString(e.text)
}

// open is the pattern of a text in which … is anything.
func open(text, anchor string) *regexp.Regexp {
	pattern := strings.ReplaceAll(regexp.QuoteMeta(text), "…", ".*")
	if anchor != "" {
		pattern = "^" + pattern + "$"
	}
	return regexp.MustCompile("(?s)" + pattern)
}

// entries are the texts in the first column of the page's tables, and in its
// lists.
func entries(t *testing.T) []entry {
	t.Helper()
	inline := regexp.MustCompile("`` (.+?) ``|`([^`]+)`")
	var all []entry
	for line := range strings.Lines(readPage(t, "docs/troubleshooting.md")) {
		switch {
		case strings.HasPrefix(line, "| "):
			line, _, _ = strings.Cut(strings.ReplaceAll(line[2:], `\|`, "\x00"), " | ")
		case !strings.HasPrefix(line, "- `"):
			continue
		}
		for _, m := range inline.FindAllStringSubmatch(line, -1) {
			text := strings.ReplaceAll(m[1]+m[2], "\x00", "|")
			all = append(all, entry{text, open(text, "whole")})
		}
	}
	return all
}

// others are texts that users meet and that others say: the system, the Go
// runtime, an HTTP status, Docker.
func others() []string {
	return []string{"connection refused", "context deadline exceeded", "i/o timeout", "listen tcp …: bind: address already in use", "404", "503", "exit 137"}
}

// Every text that a user may meet has an entry in docs/troubleshooting.md, and
// every entry is a text that volley, or what it stands on, says.
func TestMessagesAreExplained(t *testing.T) {
	said, all := spoken(t)
	for _, text := range others() {
		all = append(all, newMessage("others", text))
	}
	explained := entries(t)
	for _, m := range said {
		if !slices.ContainsFunc(explained, func(e entry) bool { return e.explains(m) }) {
			t.Errorf("%s: docs/troubleshooting.md has no entry for\n\t%s", m.at, m.text)
		}
	}
	for _, e := range explained {
		switch {
		case letters(e.text) < fewLetters-1 && !slices.Contains(others(), e.text):
			t.Errorf("docs/troubleshooting.md: the entry %q fits nearly everything", e.text)
		case !slices.ContainsFunc(append(said, all...), e.explains):
			t.Errorf("docs/troubleshooting.md explains %q, which nothing says", e.text)
		}
	}
	if len(said) < 500 {
		t.Errorf("found %d messages; does this test still understand the code?", len(said))
	}
}
