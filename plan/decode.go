package plan

import (
	"fmt"
	"reflect"
	"strings"
	"time"

	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/token"
)

// decoder walks a YAML tree along the yaml tags of the plan's types. It finds
// wrong types, unknown keys and duplicates, and remembers where each path is,
// so that the validator needs no tree.
type decoder struct {
	errs     Errors
	warnings []Warning
	at       map[string]place // every path that was given and is not null
	failed   map[string]bool  // paths with an error: silent from then on
	anchors  map[string]ast.Node
	nodes    int // decoded so far; bounded, as aliases multiply
}

// place is where a path stands in the document.
type place struct {
	key   *token.Position // of the key that names it; of the value in a list
	value *token.Position
	text  string // of a scalar
	plain bool   // it is a scalar
}

// maxNodes bounds the tree after its aliases are expanded. A document of the
// largest size without aliases stays below it.
const maxNodes = 300_000

// custom is a type that reads itself from a node.
type custom interface {
	decode(d *decoder, path string, node ast.Node)
}

func newDecoder(root ast.Node) *decoder {
	d := &decoder{at: map[string]place{}, failed: map[string]bool{}, anchors: map[string]ast.Node{}}
	ast.Walk(anchorCollector{d}, root)
	return d
}

func (d *decoder) decodeRoot(root ast.Node, p *Plan) {
	d.at[""] = place{key: start(root), value: start(root)}
	d.decode("", root, reflect.ValueOf(p).Elem())
}

// decode stores node at v and reports what does not fit under path.
func (d *decoder) decode(path string, node ast.Node, v reflect.Value) {
	node = d.resolve(path, node)
	if node == nil {
		return
	}
	if node.Type() == ast.NullType { // behind an alias or an anchor
		delete(d.at, path)
		return
	}
	if c, ok := v.Addr().Interface().(custom); ok {
		c.decode(d, path, node)
		return
	}
	if done := d.decodeScalar(path, node, v); done {
		return
	}
	switch v.Kind() {
	case reflect.Pointer:
		fresh := reflect.New(v.Type().Elem())
		setDefaults(fresh.Interface())
		d.decode(path, node, fresh.Elem())
		v.Set(fresh)
	case reflect.Struct:
		d.decodeStruct(path, node, v)
	case reflect.Slice:
		d.decodeSlice(path, node, v)
	case reflect.Map:
		d.decodeMap(path, node, v)
	}
}

func (d *decoder) decodeStruct(path string, node ast.Node, v reflect.Value) {
	entries, ok := d.entries(path, node)
	if !ok {
		return
	}
	for _, e := range entries {
		field, known := fieldOf(v, e.name)
		if !known {
			d.unknownKey(path, e, v)
			continue
		}
		sub := join(path, e.name)
		if d.note(sub, e) {
			d.decode(sub, e.value, field)
		}
	}
}

func (d *decoder) decodeSlice(path string, node ast.Node, v reflect.Value) {
	if headers, ok := v.Addr().Interface().(*[]Header); ok {
		*headers = d.pairs(path, node)
		return
	}
	list, ok := node.(*ast.SequenceNode)
	if !ok {
		d.wrongKind(path, node, "a list")
		return
	}
	for i, item := range list.Values {
		sub := fmt.Sprintf("%s[%d]", path, i)
		fresh := reflect.New(v.Type().Elem())
		setDefaults(fresh.Interface())
		if d.noteItem(sub, item) {
			d.decode(sub, item, fresh.Elem())
		} else {
			d.fail(sub, "is empty (%s)", kindName(v.Type().Elem()))
		}
		v.Set(reflect.Append(v, fresh.Elem()))
	}
}

func (d *decoder) decodeMap(path string, node ast.Node, v reflect.Value) {
	pairs := d.pairs(path, node)
	m := make(map[string]string, len(pairs))
	for _, p := range pairs {
		m[p.Name] = p.Value
	}
	v.Set(reflect.ValueOf(m))
}

// pairs reads a map of names to scalars and keeps its order.
func (d *decoder) pairs(path string, node ast.Node) []Header {
	entries, ok := d.entries(path, node)
	if !ok {
		return nil
	}
	var out []Header
	for _, e := range entries {
		sub := join(path, e.name)
		pair := Header{Name: e.name}
		if d.note(sub, e) {
			if value := d.resolve(sub, e.value); value != nil {
				pair.Value, _ = d.scalar(sub, value, "text, a number or a bool")
			}
		} else {
			d.at[sub] = place{key: start(e.key), value: start(e.key)} // "X-Empty:" is an empty value
		}
		out = append(out, pair)
	}
	return out
}

// note remembers where a key's value is. It is false if the key has no value.
func (d *decoder) note(path string, e entry) bool {
	if e.value == nil || e.value.Type() == ast.NullType {
		return false
	}
	d.at[path] = place{key: start(e.key), value: start(e.value)}
	return true
}

func (d *decoder) noteItem(path string, item ast.Node) bool {
	at := start(item)
	d.at[path] = place{key: at, value: at}
	return item.Type() != ast.NullType
}

// unknownKey warns: the predecessor ignored such keys, and plans rely on it.
func (d *decoder) unknownKey(path string, e entry, v reflect.Value) {
	if path == "" && strings.HasPrefix(e.name, "x-") {
		return // by custom a place for anchors
	}
	message := "is not a known key and has no effect"
	if near := nearest(e.name, keysOf(v.Type())); near != "" {
		message += fmt.Sprintf(" (did you mean %s?)", near)
	}
	d.warnAt(start(e.key), join(path, e.name), message)
}

func (d *decoder) warnAt(at *token.Position, path, message string) {
	d.warnings = append(d.warnings, Warning{Line: at.Line, Column: at.Column, Path: path, Message: message})
}

func (d *decoder) wrongKind(path string, node ast.Node, want string) {
	if path == "" {
		d.fail(path, "the document is %s (a map with version, config, load and scenarios)", nodeKind(node))
		return
	}
	d.fail(path, "is %s (%s)", nodeKind(node), want)
}

// fail reports a mistake at the place of path, at most one per path, and none
// below a path that failed as a whole.
func (d *decoder) fail(path, format string, args ...any) {
	if d.silent(path) {
		return
	}
	d.failed[path] = true
	d.failAt(d.position(path), path, fmt.Sprintf(format, args...))
}

// failAt reports a mistake that silences nothing.
func (d *decoder) failAt(at *token.Position, path, message string) {
	d.errs = append(d.errs, Error{Line: at.Line, Column: at.Column, Path: path, Message: message})
}

// silent is true if path or one of its parents failed.
func (d *decoder) silent(path string) bool {
	for ; path != ""; path = parent(path) {
		if d.failed[path] {
			return true
		}
	}
	return d.failed[""]
}

// position of the value at path; of its nearest parent's key if it is missing.
func (d *decoder) position(path string) *token.Position {
	if p, ok := d.at[path]; ok {
		if p.key.Line != p.value.Line && !p.plain {
			return p.key // of a block: its first key would mislead
		}
		return p.value
	}
	for path != "" {
		path = parent(path)
		if p, ok := d.at[path]; ok {
			return p.key
		}
	}
	return d.at[""].key
}

// join appends a key to a path; keys that would blur it are quoted.
func join(path, key string) string {
	if strings.ContainsFunc(key, blurs) || key == "" {
		key = fmt.Sprintf("%q", key)
	}
	if path == "" {
		return key
	}
	return path + "." + key
}

func blurs(r rune) bool {
	return r <= ' ' || r == 0x7f || strings.ContainsRune(`.[]"`, r)
}

// parent cuts the last element of a path off.
func parent(path string) string {
	if strings.HasSuffix(path, `"`) {
		for i := len(path) - 2; i >= 0; i-- {
			if path[i] == '"' && (i == 0 || path[i-1] == '.') {
				return strings.TrimSuffix(path[:i], ".")
			}
		}
		return ""
	}
	return path[:max(0, strings.LastIndexAny(path, ".["))]
}

func fieldOf(v reflect.Value, key string) (reflect.Value, bool) {
	for i := range v.NumField() {
		if v.Type().Field(i).Tag.Get("yaml") == key && key != "" {
			return v.Field(i), true
		}
	}
	return reflect.Value{}, false
}

func keysOf(t reflect.Type) []string {
	var keys []string
	for i := range t.NumField() {
		if key := t.Field(i).Tag.Get("yaml"); key != "" {
			keys = append(keys, key)
		}
	}
	return keys
}

// kindName says what is accepted for a value of type t.
func kindName(t reflect.Type) string {
	switch {
	case t == reflect.TypeFor[time.Duration]():
		return acceptDuration
	case t.Kind() == reflect.Struct:
		return "a map"
	case t.Kind() == reflect.Slice:
		return "a list"
	}
	return "text"
}

func nodeKind(node ast.Node) string {
	switch node.(type) {
	case ast.MapNode:
		return "a map"
	case *ast.SequenceNode:
		return "a list"
	}
	return "a single value"
}

// decodeAs decodes into what target points at, for types that chose a form.
func (d *decoder) decodeAs(path string, node ast.Node, target any) {
	d.decode(path, node, reflect.ValueOf(target).Elem())
}
