package plan

import (
	"fmt"

	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/token"
)

// entry is one key of a map with its value, merge keys already expanded.
type entry struct {
	name  string
	key   ast.Node
	value ast.Node
}

// anchorCollector finds every anchor of a document.
type anchorCollector struct{ d *decoder }

func (c anchorCollector) Visit(node ast.Node) ast.Visitor {
	if anchor, ok := node.(*ast.AnchorNode); ok && anchor.Name != nil {
		name := anchor.Name.GetToken().Value
		if _, twice := c.d.anchors[name]; twice {
			c.d.failAt(start(anchor), "", "the anchor &"+name+" is defined twice (each name once)")
		}
		c.d.anchors[name] = anchor.Value
	}
	return c
}

// maxAliasHops bounds an alias that points at an alias; a loop ends here too.
const maxAliasHops = 16

// resolve follows anchors and aliases to the node that holds the content, and
// is nil, with an error at path, if there is none.
func (d *decoder) resolve(path string, node ast.Node) ast.Node {
	if d.nodes++; d.nodes > maxNodes {
		d.fail("", "the document has more than %d values once its aliases are expanded", maxNodes)
		return nil
	}
	for range maxAliasHops {
		switch n := node.(type) {
		case *ast.AnchorNode:
			node = n.Value
		case *ast.AliasNode:
			target, ok := d.anchors[n.Value.GetToken().Value]
			if !ok {
				d.fail(path, "the alias *%s has no anchor", n.Value.GetToken().Value)
				return nil
			}
			node = target
		case *ast.TagNode:
			d.fail(path, "has the tag %s (tags are not accepted)", n.GetToken().Value)
			return nil
		case nil:
			d.fail(path, "is empty")
			return nil
		default:
			return node
		}
	}
	d.fail(path, "the alias leads back to itself or through more than %d others", maxAliasHops)
	return nil
}

// entries lists the keys of a map in the order written, and reports duplicates.
func (d *decoder) entries(path string, node ast.Node) ([]entry, bool) {
	m, ok := node.(ast.MapNode)
	if !ok {
		d.wrongKind(path, node, "a map")
		return nil, false
	}
	list := entryList{d: d, path: path, index: map[string]int{}}
	list.add(m, 0)
	return list.entries, true
}

type entryList struct {
	d       *decoder
	path    string
	entries []entry
	index   map[string]int // of a name in entries
}

// maxMergeDepth bounds maps that merge maps that merge maps.
const maxMergeDepth = 8

// add takes the keys of m. At depth 0 they are the map's own: a duplicate is
// an error, and they beat those that a merge key brings in.
func (l *entryList) add(m ast.MapNode, depth int) {
	if depth > maxMergeDepth {
		l.d.fail(l.path, "merge keys are nested more than %d deep", maxMergeDepth)
		return
	}
	var merged []ast.Node
	own := map[string]bool{}
	for it := m.MapRange(); it.Next(); {
		key := it.Key()
		if key.IsMergeKey() {
			merged = append(merged, it.Value())
			continue
		}
		name, ok := l.d.keyName(l.path, key)
		if !ok {
			continue
		}
		if own[name] && depth == 0 {
			l.duplicate(name, key)
			continue
		}
		own[name] = true
		l.take(entry{name: name, key: key, value: it.Value()})
	}
	for _, node := range merged {
		l.merge(node, depth)
	}
}

func (l *entryList) take(e entry) {
	if _, have := l.index[e.name]; have {
		return
	}
	l.index[e.name] = len(l.entries)
	l.entries = append(l.entries, e)
}

func (l *entryList) duplicate(name string, key ast.Node) {
	first := start(l.entries[l.index[name]].key)
	l.d.failAt(start(key), join(l.path, name), fmt.Sprintf("is given twice (first in line %d)", first.Line))
}

// merge takes the keys of the map, or of the list of maps, behind "<<".
func (l *entryList) merge(node ast.Node, depth int) {
	node = l.d.resolve(l.path, node)
	if node == nil {
		return
	}
	sources := []ast.Node{node}
	if list, ok := node.(*ast.SequenceNode); ok {
		sources = list.Values
	}
	for _, source := range sources {
		source = l.d.resolve(l.path, source)
		if source == nil {
			return
		}
		m, ok := source.(ast.MapNode)
		if !ok {
			l.d.wrongKind(join(l.path, "<<"), source, "an alias of a map, or a list of them")
			return
		}
		l.add(m, depth+1)
	}
}

// keyName is a map key as text.
func (d *decoder) keyName(path string, key ast.MapKeyNode) (string, bool) {
	switch k := key.(type) {
	case *ast.StringNode:
		return k.Value, true
	case *ast.AnchorNode, *ast.AliasNode, *ast.TagNode, *ast.MappingKeyNode:
		d.failAt(start(key), path, "a key is not plain text")
		return "", false
	default:
		return key.GetToken().Value, true
	}
}

// start is where a node begins. The library's own answer for a map is its
// first colon.
func start(node ast.Node) *token.Position {
	switch n := node.(type) {
	case *ast.MappingNode:
		if !n.IsFlowStyle && len(n.Values) > 0 {
			return start(n.Values[0].Key)
		}
	case *ast.MappingValueNode:
		return start(n.Key)
	}
	if t := node.GetToken(); t != nil && t.Position != nil {
		return t.Position
	}
	return &token.Position{Line: 1, Column: 1}
}
