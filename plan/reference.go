package plan

import (
	"encoding/json"
	"fmt"
	"reflect"
	"slices"
	"strings"
)

// Field is what a reader is told of one key of a plan.
type Field struct {
	Key      string
	Form     string // what may be written for it
	Default  string // "" for none
	Required bool
	About    string
	Of       string // the Section that describes the value's own keys, "" for none
}

// Section is the keys of one map of a plan.
type Section struct {
	Name   string
	Fields []Field
}

// Reference lists the keys of a plan, from the same source as Schema.
func Reference() []Section {
	b := schemaBuilder{fields: schemaFields(), defs: &schemaProperties{}}
	root := b.object(reflect.TypeFor[Plan](), reflect.ValueOf(*withDefaults()))
	sections := []Section{sectionOf("plan", root)}
	for i, name := range b.defs.names {
		known := func(s Section) bool { return s.Name == name }
		if !slices.ContainsFunc(sections, known) { // the same type may stand in several places
			sections = append(sections, sectionOf(name, b.defs.schemas[i]))
		}
	}
	return sections
}

func sectionOf(name string, s *schemaNode) Section {
	for _, form := range s.AnyOf { // besides the short form
		if form.Properties != nil {
			s = form
		}
	}
	section := Section{Name: name}
	for i, key := range s.Properties.names {
		node := s.Properties.schemas[i]
		section.Fields = append(section.Fields, Field{
			Key: key, Form: node.inWords(), Default: defaultText(node.Default),
			Required: slices.Contains(s.Required, key), About: node.Description, Of: node.section(),
		})
	}
	return section
}

// section is the one that a value, or each of a list, refers to.
func (s *schemaNode) section() string {
	if s.Items != nil {
		return s.Items.section()
	}
	return strings.TrimPrefix(s.Ref, "#/$defs/")
}

// inWords is the form of a value for a person.
func (s *schemaNode) inWords() string {
	switch {
	case s.Ref != "":
		return "map"
	case s.Items != nil:
		return "list"
	case len(s.Enum) > 0:
		return enumInWords(s.Enum)
	case len(s.AnyOf) > 0:
		var forms []string
		for _, form := range s.AnyOf {
			if text := form.inWords(); !slices.Contains(forms, text) && text != "text" {
				forms = append(forms, text)
			}
		}
		return strings.Join(forms, ", ")
	case s.Additional != nil:
		return "map of texts"
	}
	return s.scalarInWords() + s.limits()
}

// scalarInWords knows a form by its pattern: several kinds may be written as
// numbers and as texts.
func (s *schemaNode) scalarInWords() string {
	forms := []struct {
		name string
		like *schemaNode
	}{
		{"duration", schemaDuration()}, {"yes or no", schemaScalar(reflect.Bool)},
		{"size", &schemaNode{Pattern: sizePattern}}, {"condition", schemaCondition()},
	}
	for _, f := range forms {
		if s.Pattern == f.like.Pattern {
			return f.name
		}
	}
	switch first, _, _ := strings.Cut(strings.Trim(fmt.Sprint(s.Type), "[]"), " "); first {
	case "integer":
		return "whole number"
	case "number":
		return "number"
	}
	return "text"
}

func (s *schemaNode) limits() string {
	whole := s.scalarInWords() == "whole number" || s.scalarInWords() == "number"
	switch {
	case !whole:
		return ""
	case s.ExclusiveMinimum != nil:
		return fmt.Sprintf(" above %s", number(*s.ExclusiveMinimum))
	case s.Minimum != nil && s.Maximum != nil && *s.Maximum < 1e15:
		return fmt.Sprintf(", %s to %s", number(*s.Minimum), number(*s.Maximum))
	case s.Minimum != nil:
		return fmt.Sprintf(", at least %s", number(*s.Minimum))
	}
	return ""
}

// enumInWords leaves out a number that is there as a text already.
func enumInWords(words []any) string {
	var out []string
	numbers := map[float64]bool{}
	for _, w := range words {
		text := defaultText(w)
		if value, problem := parseNumber(text); problem == "" {
			if numbers[value] {
				continue
			}
			numbers[value] = true
		}
		out = append(out, "`"+text+"`")
	}
	return strings.Join(out, ", ")
}

// defaultText is a value as a plan would write it.
func defaultText(v any) string {
	if v == nil {
		return ""
	}
	text, err := json.Marshal(v)
	if err != nil {
		panic(err) // of a constant: a test would have seen it
	}
	return strings.Trim(string(text), `"`)
}
