package plan

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"regexp"
	"strings"
	"unicode/utf8"

	"github.com/goccy/go-yaml"
	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/lexer"
	"github.com/goccy/go-yaml/parser"
	"github.com/goccy/go-yaml/token"
)

// MaxDocument is the largest plan in bytes; it is Consul's limit for a value.
const MaxDocument = 512 << 10

// Parse reads a plan, validates all of it and fills the defaults in. An error
// is always of type Errors and holds every mistake of the document, unless the
// document is no YAML at all: then it holds the first. Warnings are returned
// with and without an error. Parse reads no file: whether those that the plan
// names exist is for the caller to find out.
func Parse(document []byte) (*Plan, []Warning, error) { return parse(document, nil) }

// ParseWithoutPercentiles is Parse for a node that records none: a threshold on
// one is a mistake of the plan, too. It names the node, because others may be told.
func ParseWithoutPercentiles(document []byte, node string) (*Plan, []Warning, error) {
	return parse(document, func(v *validator) { v.refusePercentiles(node) })
}

// parse does what Parse says; also, unless it is nil, checks further.
func parse(document []byte, also func(*validator)) (*Plan, []Warning, error) {
	root, fault := parseYAML(document)
	if fault != nil {
		return nil, nil, Errors{*fault}
	}
	d := newDecoder(root)
	p := withDefaults()
	d.decodeRoot(root, p)
	v := &validator{decoder: d, plan: p}
	v.validate()
	if also != nil {
		also(v)
	}
	warnings := orderedWarnings(d.warnings)
	if len(d.errs) > 0 {
		return nil, warnings, d.errs.ordered()
	}
	return p, warnings, nil
}

// Version is the identity of a plan's bytes: "sha256:" and 64 hex digits.
func Version(document []byte) string {
	sum := sha256.Sum256(document)
	return "sha256:" + hex.EncodeToString(sum[:])
}

// parseYAML turns the bytes into the root of the one document in them.
func parseYAML(document []byte) (ast.Node, *Error) {
	if len(document) > MaxDocument {
		return nil, whole("the document has %d bytes (at most %d)", len(document), MaxDocument)
	}
	document = bytes.TrimPrefix(document, []byte("\ufeff"))
	if !utf8.Valid(document) {
		line := 1 + bytes.Count(document[:invalidAt(document)], []byte("\n"))
		return nil, &Error{Line: line, Column: 1, Message: "the document is not valid UTF-8"}
	}
	if at := bytes.IndexByte(document, 0); at >= 0 {
		line := 1 + bytes.Count(document[:at], []byte("\n"))
		return nil, &Error{Line: line, Column: 1, Message: "the document contains a NUL byte (text is accepted)"}
	}
	file, fault := parseTokens(document)
	if fault != nil {
		return nil, fault
	}
	return onlyBody(file)
}

func whole(format string, args ...any) *Error {
	return &Error{Line: 1, Column: 1, Message: fmt.Sprintf(format, args...)}
}

func invalidAt(document []byte) int {
	at := 0
	for at < len(document) {
		r, size := utf8.DecodeRune(document[at:])
		if r == utf8.RuneError && size == 1 {
			break
		}
		at += size
	}
	return at
}

// parseTokens runs the YAML library. A panic in it must not end a node that
// was merely sent a strange document, hence the recover.
func parseTokens(document []byte) (file *ast.File, fault *Error) {
	defer func() {
		if recover() != nil {
			file, fault = nil, whole("the document cannot be read as YAML")
		}
	}()
	tokens := lexer.Tokenize(string(document))
	if fault := excess(tokens); fault != nil {
		return nil, fault
	}
	file, err := parser.Parse(tokens, 0, parser.AllowDuplicateMapKey())
	if err != nil {
		return nil, syntaxError(err)
	}
	return file, nil
}

// quotedPart is where a message of the YAML library may quote the document.
var quotedPart = regexp.MustCompile(`(?s)".*"`)

// syntaxError keeps the library's message and drops its excerpt of the
// source, which may show a secret.
func syntaxError(err error) *Error {
	var syntax *yaml.SyntaxError
	if !errors.As(err, &syntax) || syntax.Token == nil || syntax.Token.Position == nil {
		return whole("the document is not valid YAML")
	}
	at := syntax.Token.Position
	message := quotedPart.ReplaceAllString(syntax.Message, "…")
	if strings.ContainsRune(message, '\t') {
		message = "a tab cannot begin a line's content (indentation with blanks)"
	}
	return &Error{Line: at.Line, Column: at.Column, Message: "not valid YAML: " + message}
}

// onlyBody is the content of the only document of a file.
func onlyBody(file *ast.File) (ast.Node, *Error) {
	var body ast.Node
	for _, document := range file.Docs {
		if document.Body == nil || document.Body.Type() == ast.DirectiveType {
			continue
		}
		if body != nil {
			at := start(document.Body)
			return nil, &Error{Line: at.Line, Column: at.Column, Message: "a second document begins here (one document is accepted)"}
		}
		body = document.Body
	}
	if body == nil || body.Type() == ast.NullType {
		return nil, whole("the document is empty (a plan has version, config, load and scenarios)")
	}
	return body, nil
}

const (
	maxNesting   = 64   // of collections within one line
	maxKeys      = 2000 // of one map: the YAML library needs quadratic time
	maxDocuments = 16
)

// excess refuses documents that are small but expensive for the YAML library:
// it recurses per level and copies a map for each of its keys.
func excess(tokens token.Tokens) *Error {
	var e excessScan
	for _, t := range tokens {
		if message := e.add(t); message != "" {
			return &Error{Line: t.Position.Line, Column: t.Position.Column, Message: message}
		}
	}
	return nil
}

type excessScan struct {
	line, inLine, flow, documents int
	block                         []columnKeys // open block maps, columns ascending
}

type columnKeys struct{ column, keys int }

func (e *excessScan) add(t *token.Token) string {
	if t.Position.Line != e.line {
		e.line, e.inLine = t.Position.Line, 0
		e.closeMaps(t.Position.Column)
	}
	switch t.Type {
	case token.SequenceStartType, token.MappingStartType:
		e.flow++
	case token.SequenceEndType, token.MappingEndType:
		e.flow--
	case token.SequenceEntryType, token.MappingKeyType, token.AnchorType, token.TagType:
		e.inLine++
	case token.DocumentHeaderType:
		e.documents++
	case token.MappingValueType:
		if t.Prev != nil && e.flow <= 0 && e.countKey(t.Prev.Position.Column) > maxKeys {
			return fmt.Sprintf("a map has more than %d keys", maxKeys)
		}
	}
	if e.flow > maxNesting || e.inLine > maxNesting {
		return fmt.Sprintf("maps and lists are nested more than %d deep", maxNesting)
	}
	if e.documents > maxDocuments {
		return "another document begins here (one document is accepted)"
	}
	return ""
}

func (e *excessScan) closeMaps(column int) {
	n := len(e.block)
	for n > 0 && e.block[n-1].column > column {
		n--
	}
	e.block = e.block[:n]
}

func (e *excessScan) countKey(column int) int {
	e.closeMaps(column)
	if n := len(e.block); n == 0 || e.block[n-1].column < column {
		e.block = append(e.block, columnKeys{column: column})
	}
	last := &e.block[len(e.block)-1]
	last.keys++
	return last.keys
}
