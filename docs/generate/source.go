package main

import (
	"cmp"
	"errors"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"maps"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// source is the code that some tables are read from: what stands in it, not what
// it does.
type source struct {
	root string
	fset *token.FileSet
}

// sourceParts are tables of exit codes, of log events, and of the control API.
func sourceParts(root string) (map[string]string, error) {
	s := source{root, token.NewFileSet()}
	parts := map[string]string{}
	var errs []error
	for name, read := range map[string]func() (string, error){
		"exit codes": s.exitCodes, "log events": s.logEvents, "control routes": s.routes,
		"control Accepted": s.fieldsOf("control/app.go", "Accepted"), "control Problem": s.fieldsOf("control/app.go", "Problem"),
		"control Health": s.fieldsOf("control/app.go", "Health"), "control Stopped": s.fieldsOf("control/handlers.go", "stopAnswer"),
		"control Status": s.fieldsOf("node/status.go", "Status"), "control StatusConfig": s.fieldsOf("node/status.go", "StatusConfig"),
		"control StatusRun": s.fieldsOf("node/status.go", "StatusRun"), "control MemberStatus": s.fieldsOf("node/status.go", "MemberStatus"),
	} {
		part, err := read()
		parts[name], errs = part, append(errs, err)
	}
	return parts, errors.Join(errs...)
}

func (s source) parse(file string) (*ast.File, error) {
	return parser.ParseFile(s.fset, filepath.Join(s.root, file), nil, parser.ParseComments|parser.SkipObjectResolution)
}

// comment is what stands beside a declaration, in one line.
func comment(group *ast.CommentGroup) string { return prose(strings.TrimSpace(group.Text())) }

// exitCodes are the constants of node named Exit….
func (s source) exitCodes() (string, error) {
	tree, err := s.parse("node/state.go")
	if err != nil {
		return "", err
	}
	var rows [][]string
	ast.Inspect(tree, func(n ast.Node) bool {
		spec, ok := n.(*ast.ValueSpec)
		if ok && len(spec.Values) == 1 && strings.HasPrefix(spec.Names[0].Name, "Exit") {
			if value, ok := spec.Values[0].(*ast.BasicLit); ok {
				rows = append(rows, []string{value.Value, comment(spec.Comment)})
			}
		}
		return true
	})
	if len(rows) == 0 {
		return "", errors.New("node/state.go has no exit codes")
	}
	return table([]string{"Code", "Meaning"}, rows), nil
}

func (s source) fieldsOf(file, kind string) func() (string, error) {
	return func() (string, error) { return s.fields(file, kind) }
}

// fields are those of a struct that is answered as JSON, with what stands
// beside them.
func (s source) fields(file, kind string) (string, error) {
	tree, err := s.parse(file)
	if err != nil {
		return "", err
	}
	var rows [][]string
	ast.Inspect(tree, func(n ast.Node) bool {
		spec, ok := n.(*ast.TypeSpec)
		if !ok || spec.Name.Name != kind {
			return true
		}
		if of, ok := spec.Type.(*ast.StructType); ok {
			for _, f := range of.Fields.List {
				rows = append(rows, []string{code(jsonName(f)), jsonType(f.Type), comment(f.Comment)})
			}
		}
		return false
	})
	if len(rows) == 0 {
		return "", fmt.Errorf("%s has no struct %s", file, kind)
	}
	return table([]string{"Field", "Value", "Meaning"}, rows), nil
}

func jsonName(f *ast.Field) string {
	if f.Tag == nil {
		return f.Names[0].Name
	}
	_, rest, _ := strings.Cut(f.Tag.Value, `json:"`)
	name, _, _ := strings.Cut(rest, `"`)
	name, _, _ = strings.Cut(name, ",")
	return name
}

// jsonType is a Go type as a reader of JSON knows it.
func jsonType(e ast.Expr) string {
	switch e := e.(type) {
	case *ast.StarExpr:
		return jsonType(e.X) + " or null"
	case *ast.ArrayType:
		return "list"
	case *ast.Ident:
		switch e.Name {
		case "string":
			return "text"
		case "bool":
			return "bool"
		case "float64", "int", "int64", "uint64":
			return "number"
		}
	}
	return "object"
}

// event is what the code says about lines of one name.
type event struct {
	levels, texts, fields []string
}

// logged are the calls that log, with their level.
var logged = map[string]string{"Debug": "debug", "Info": "info", "Warn": "warning", "Error": "error"}

// logEvents are all events of the log, in alphabetical order.
func (s source) logEvents() (string, error) {
	events := map[string]*event{}
	err := filepath.WalkDir(s.root, func(path string, entry fs.DirEntry, err error) error {
		name := entry.Name()
		switch {
		case err != nil:
			return err
		case entry.IsDir() && path != s.root && (strings.HasPrefix(name, ".") || slices.Contains([]string{"bench", "docs", "e2e", "testdata"}, name)):
			return filepath.SkipDir
		case !strings.HasSuffix(name, ".go") || strings.HasSuffix(name, "_test.go"):
			return nil
		}
		return s.collect(events, path)
	})
	var rows [][]string
	for _, name := range slices.Sorted(maps.Keys(events)) {
		e := events[name]
		slices.Sort(e.fields)
		for i := range e.texts {
			e.texts[i] = prose(e.texts[i])
		}
		rows = append(rows, []string{code(name), strings.Join(e.levels, ", "), strings.Join(e.texts, "<br>"), strings.Join(e.fields, " ")})
	}
	if len(rows) == 0 && err == nil {
		err = errors.New("the code logs no events")
	}
	return table([]string{"`event`", "Level", "Message", "Fields"}, rows), err
}

// collect adds what a file logs.
func (s source) collect(events map[string]*event, path string) error {
	tree, err := parser.ParseFile(s.fset, path, nil, parser.SkipObjectResolution)
	if err != nil {
		return err
	}
	ast.Inspect(tree, func(n ast.Node) bool {
		switch n := n.(type) {
		case *ast.CallExpr:
			note(events, n.Args, n.Fun)
		case *ast.CompositeLit:
			note(events, n.Elts, nil)
		}
		return true
	})
	return nil
}

// note adds what is logged, by a call or as a list for one, to the event that it
// is of, if it is of one.
func note(events map[string]*event, args []ast.Expr, call ast.Expr) {
	at := slices.IndexFunc(args, func(a ast.Expr) bool { return literal(a) == "event" })
	if at < 0 || at+1 >= len(args) || literal(args[at+1]) == "" {
		return
	}
	name := literal(args[at+1])
	e := events[name]
	if e == nil {
		e = &event{}
		events[name] = e
	}
	if selected, ok := call.(*ast.SelectorExpr); ok && logged[selected.Sel.Name] != "" {
		add(&e.levels, logged[selected.Sel.Name])
		add(&e.texts, said(args[0]))
	}
	for i := at % 2; i+1 < len(args); i += 2 {
		if i != at {
			add(&e.fields, code(literal(args[i])))
		}
	}
}

func add(to *[]string, text string) {
	if text != "" && !slices.Contains(*to, text) {
		*to = append(*to, text)
	}
}

// literal is a text that stands in the code as it is, else "".
func literal(e ast.Expr) string {
	if l, ok := e.(*ast.BasicLit); ok && l.Kind == token.STRING {
		text, _ := strconv.Unquote(l.Value)
		return text
	}
	return ""
}

// said is a text with … for what is put into it; "" if none of it stands here.
func said(e ast.Expr) string {
	if sum, ok := e.(*ast.BinaryExpr); ok {
		left, right := said(sum.X), said(sum.Y)
		if left == "" && right == "" {
			return ""
		}
		return cmp.Or(left, "…") + cmp.Or(right, "…")
	}
	if call, ok := e.(*ast.CallExpr); ok && len(call.Args) > 0 {
		if selected, ok := call.Fun.(*ast.SelectorExpr); ok && selected.Sel.Name == "Sprintf" {
			return verb.ReplaceAllString(literal(call.Args[0]), "…")
		}
	}
	return literal(e)
}

// verb is what a format puts something in for.
var verb = regexp.MustCompile(`%[-+# 0]*[0-9]*(?:\.[0-9]+)?[a-zA-Z]`)

// routes are the paths of the control API, as its table has them.
func (s source) routes() (string, error) {
	tree, err := s.parse("control/routes.go")
	if err != nil {
		return "", err
	}
	shared := map[string][]string{} // of handlers that several paths have
	var rows [][]string
	ast.Inspect(tree, func(n ast.Node) bool {
		switch n := n.(type) {
		case *ast.AssignStmt:
			for i, to := range n.Lhs {
				if name, ok := to.(*ast.Ident); ok && len(n.Lhs) == len(n.Rhs) {
					shared[name.Name] = method(n.Rhs[i])
				}
			}
		case *ast.KeyValueExpr:
			path := literal(n.Key)
			if !strings.HasPrefix(path, "/") {
				return true
			}
			how := method(n.Value)
			if name, ok := n.Value.(*ast.Ident); ok {
				how = shared[name.Name]
			}
			if len(how) == 2 {
				rows = append(rows, []string{code(path), how[0], how[1]})
			}
		}
		return true
	})
	if len(rows) == 0 {
		return "", errors.New("control/routes.go has no paths")
	}
	return table([]string{"Path", "Method", "Asks for `API_AUTH_TOKEN`"}, rows), nil
}

// method is how a route is called, and when it asks for the token; nil if e is
// none.
func method(e ast.Expr) []string {
	route, ok := e.(*ast.CompositeLit)
	if !ok || len(route.Elts) == 0 {
		return nil
	}
	pair, ok := route.Elts[0].(*ast.KeyValueExpr)
	if !ok {
		return nil
	}
	name := "GET"
	if key, ok := pair.Key.(*ast.Ident); ok && key.Name == "post" {
		name = "POST"
	}
	if call, ok := pair.Value.(*ast.CallExpr); ok {
		if guard, ok := call.Fun.(*ast.SelectorExpr); ok {
			switch guard.Sel.Name {
			case "read":
				return []string{name, "with `HEALTH_AUTH_ENABLED=true`"}
			case "change":
				return []string{name, "yes"}
			}
		}
	}
	return []string{name, "never"}
}
