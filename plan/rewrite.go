package plan

import (
	"bytes"
	"encoding/json"
	"fmt"
	"regexp"
	"strings"

	"github.com/goccy/go-yaml/ast"
)

// branch is a part of a document that can be changed and written again: a map,
// a list or a scalar. Anchors, aliases and merge keys are expanded in it.
type branch struct {
	keys  []string // of a map, in order
	under map[string]*branch
	items []*branch
	list  bool
	text  string // of a scalar, as it is written
}

func scalar(text string) *branch { return &branch{text: text} }

// grow makes a tree of a document. Mistakes that keep it from being one are
// Parse's to report.
func grow(document []byte) (*branch, Errors) {
	root, fault := parseYAML(document)
	if fault != nil {
		return nil, Errors{*fault}
	}
	d := newDecoder(root)
	b := d.grow("", root)
	if len(d.errs) > 0 {
		return nil, d.errs.ordered()
	}
	return b, nil
}

func (d *decoder) grow(path string, node ast.Node) *branch {
	node = d.resolve(path, node)
	if node == nil {
		return scalar("null")
	}
	switch n := node.(type) {
	case ast.MapNode:
		b := &branch{under: map[string]*branch{}}
		entries, _ := d.entries(path, node)
		for _, e := range entries {
			sub := join(path, e.name)
			if d.note(sub, e) {
				b.set(e.name, d.grow(sub, e.value))
			} else {
				b.set(e.name, scalar("null"))
			}
		}
		return b
	case *ast.SequenceNode:
		b := &branch{list: true}
		for i, item := range n.Values {
			b.items = append(b.items, d.grow(index(path, i), item))
		}
		return b
	case *ast.StringNode:
		return scalar(quoted(n.Value))
	case *ast.LiteralNode:
		return scalar(quoted(n.Value.Value))
	case *ast.NullNode:
		return scalar("null")
	}
	return scalar(node.GetToken().Value)
}

func (b *branch) set(key string, value *branch) {
	if _, have := b.under[key]; !have {
		b.keys = append(b.keys, key)
	}
	b.under[key] = value
}

func (b *branch) remove(key string) {
	if _, have := b.under[key]; !have {
		return
	}
	delete(b.under, key)
	for i, k := range b.keys {
		if k == key {
			b.keys = append(b.keys[:i:i], b.keys[i+1:]...)
			return
		}
	}
}

// at is the branch behind a dotted path, nil if there is none or it is empty.
func (b *branch) at(path string) *branch {
	for key := range strings.SplitSeq(path, ".") {
		if b == nil {
			return nil
		}
		b = b.under[key]
	}
	if b != nil && b.under == nil && !b.list && b.text == "null" {
		return nil
	}
	return b
}

// put sets what is behind a dotted path, whose maps it makes where they are
// missing. It is false if something else than a map is in the way.
func (b *branch) put(path string, value *branch) bool {
	first, rest, deeper := strings.Cut(path, ".")
	if b.under == nil {
		return false
	}
	if !deeper {
		b.set(first, value)
		return true
	}
	if b.at(first) == nil {
		b.set(first, &branch{under: map[string]*branch{}})
	}
	return b.under[first].put(rest, value)
}

// bytes writes the tree as a document.
func (b *branch) bytes() []byte {
	var out bytes.Buffer
	b.write(&out, 0)
	return out.Bytes()
}

var plainKey = regexp.MustCompile(`^[A-Za-z][A-Za-z0-9_-]*$`)

func (b *branch) write(out *bytes.Buffer, depth int) {
	indent := strings.Repeat("  ", depth)
	for _, key := range b.keys {
		name := key
		if !plainKey.MatchString(key) || isWord(key) {
			name = quoted(key)
		}
		fmt.Fprintf(out, "%s%s:", indent, name)
		b.under[key].value(out, depth)
	}
	for _, item := range b.items {
		fmt.Fprintf(out, "%s-", indent)
		item.value(out, depth)
	}
}

// isWord is true of texts that YAML takes for something else than text.
func isWord(text string) bool {
	switch strings.ToLower(text) {
	case "true", "false", "yes", "no", "on", "off", "null", "y", "n":
		return true
	}
	return false
}

// value writes what stands behind a key or a dash.
func (b *branch) value(out *bytes.Buffer, depth int) {
	switch {
	case b.under == nil && !b.list:
		fmt.Fprintf(out, " %s\n", b.text)
	case b.list && len(b.items) == 0:
		out.WriteString(" []\n")
	case !b.list && len(b.keys) == 0:
		out.WriteString(" {}\n")
	default:
		out.WriteString("\n")
		b.write(out, depth+1)
	}
}

// unquoted is the text of a scalar that grow has made.
func unquoted(written string) string {
	var text string
	if json.Unmarshal([]byte(written), &text) == nil {
		return text
	}
	return written
}
