package plan

import (
	"regexp"
	"strconv"
	"strings"

	"github.com/goccy/go-yaml/ast"
)

// located is what a mistake that was found beyond the schema begins with: the
// path of the field.
var located = regexp.MustCompile(`^((?:scenarios|config|load|standby|thresholds)(?:\.[^.\[\]\s:]+|\[\d+\])*): (.*)$`)

// Locate gives mistakes that were found after Parse, one per line of text as
// "path: message", their place in the document. Lines without a path have
// none, nor have those of a merged document.
func Locate(document []byte, text string) Errors {
	root, fault := parseYAML(document)
	if fault != nil {
		return Errors{{Message: text}}
	}
	d := newDecoder(root)
	var errs Errors
	for line := range strings.Lines(text) {
		e := Error{Message: strings.TrimSuffix(line, "\n")}
		if m := located.FindStringSubmatch(e.Message); m != nil {
			e = Error{Path: m[1], Message: m[2]}
			if !isMerged(document) {
				at := start(d.nearest(root, m[1]))
				e.Line, e.Column = at.Line, at.Column
			}
		}
		errs = append(errs, e)
	}
	return errs.ordered()
}

var pathSteps = regexp.MustCompile(`[^.\[\]]+`)

// nearest is the value at a path, or of the last map or list on the way to it.
func (d *decoder) nearest(node ast.Node, path string) ast.Node {
	for _, step := range pathSteps.FindAllString(path, -1) {
		inner := d.resolve(path, node)
		if inner == nil {
			return node
		}
		next := d.child(inner, path, step)
		if next == nil {
			return node
		}
		node = next
	}
	return node
}

// child is the value of a key, or the element with that number; nil if there is none.
func (d *decoder) child(node ast.Node, path, step string) ast.Node {
	if list, ok := node.(*ast.SequenceNode); ok {
		if i, err := strconv.Atoi(step); err == nil && i >= 0 && i < len(list.Values) {
			return list.Values[i]
		}
		return nil
	}
	entries, _ := d.entries(path, node)
	for _, e := range entries {
		if e.name == step {
			return e.value
		}
	}
	return nil
}
