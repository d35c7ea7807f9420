package plan

import (
	"bytes"
	"encoding/json"
	"fmt"
	"math"
	"reflect"
	"strconv"
	"strings"
	"time"
)

// schemaDialect is the JSON Schema that Schema is written in.
const schemaDialect = "https://json-schema.org/draft/2020-12/schema"

// Schema is the JSON Schema (2020-12) of a plan, for editors. It is made of the
// plan's types: keys, their order and what may be written for a value come from
// there, defaults from what Parse fills in, the rest from schemaFields. It
// accepts what Parse accepts, unknown keys included, but for a key without a
// value, which Parse takes for one that is not there. It refuses less: of what
// concerns several fields it knows only which go together.
func Schema() []byte {
	b := schemaBuilder{fields: schemaFields(), defs: &schemaProperties{}}
	root := b.object(reflect.TypeFor[Plan](), reflect.ValueOf(*withDefaults()))
	root.Dialect, root.Title = schemaDialect, "volley plan"
	root.Description = "What volley sends, how much of it and when, and what it expects of the answers."
	root.PatternProperties = map[string]*schemaNode{"^x-": {Description: "Without effect: a place for anchors."}}
	root.Defs = b.defs
	out, err := json.MarshalIndent(root, "", "  ")
	if err != nil {
		panic(err) // of a schema made of constants and types: a test would have seen it
	}
	return append(out, '\n')
}

// sizePattern matches a size.
const sizePattern = `^\s*0*[1-9][0-9]*\s*([Kk]|[Mm])?[Bb]\s*$`

// schemaNode is a schema; its keywords are written in this order.
type schemaNode struct {
	Dialect           string                 `json:"$schema,omitempty"`
	Ref               string                 `json:"$ref,omitempty"`
	Title             string                 `json:"title,omitempty"`
	Description       string                 `json:"description,omitempty"`
	Type              any                    `json:"type,omitempty"` // a name, or several
	Const             any                    `json:"const,omitempty"`
	Enum              []any                  `json:"enum,omitempty"`
	AnyOf             []*schemaNode          `json:"anyOf,omitempty"`
	Pattern           string                 `json:"pattern,omitempty"`
	MinLength         int                    `json:"minLength,omitempty"`
	MaxLength         int                    `json:"maxLength,omitempty"`
	Minimum           *float64               `json:"minimum,omitempty"`
	ExclusiveMinimum  *float64               `json:"exclusiveMinimum,omitempty"`
	Maximum           *float64               `json:"maximum,omitempty"`
	Default           any                    `json:"default,omitempty"`
	Items             *schemaNode            `json:"items,omitempty"`
	MinItems          int                    `json:"minItems,omitempty"`
	Properties        *schemaProperties      `json:"properties,omitempty"`
	PatternProperties map[string]*schemaNode `json:"patternProperties,omitempty"`
	PropertyNames     *schemaNode            `json:"propertyNames,omitempty"`
	Additional        *schemaNode            `json:"additionalProperties,omitempty"`
	Required          []string               `json:"required,omitempty"`
	DependentRequired map[string][]string    `json:"dependentRequired,omitempty"`
	AllOf             []*schemaNode          `json:"allOf,omitempty"`
	If                *schemaNode            `json:"if,omitempty"`
	Then              *schemaNode            `json:"then,omitempty"`
	Not               *schemaNode            `json:"not,omitempty"`
	Defs              *schemaProperties      `json:"$defs,omitempty"`
}

// schemaProperties keeps the order of the types' fields.
type schemaProperties struct {
	names   []string
	schemas []*schemaNode
}

func (p *schemaProperties) add(name string, s *schemaNode) {
	p.names, p.schemas = append(p.names, name), append(p.schemas, s)
}

// MarshalJSON writes an object whose keys are in order.
func (p *schemaProperties) MarshalJSON() ([]byte, error) {
	var out bytes.Buffer
	out.WriteByte('{')
	for i, name := range p.names {
		if i > 0 {
			out.WriteByte(',')
		}
		key, err := json.Marshal(name)
		if err != nil {
			return nil, err
		}
		value, err := json.Marshal(p.schemas[i])
		if err != nil {
			return nil, err
		}
		out.Write(append(append(key, ':'), value...))
	}
	out.WriteByte('}')
	return out.Bytes(), nil
}

// schemaField is what a type does not say of one of its fields.
type schemaField struct {
	about     string
	required  bool
	words     []string // an enumeration
	anyCase   bool     // of its words
	least     *float64
	above     *float64
	most      *float64
	pattern   string
	standard  any // the default where Parse works it out
	needItems bool
	form      *schemaNode // all of it, where the type has a form of its own
}

func bound(n float64) *float64 { return &n }

type schemaBuilder struct {
	fields map[string]map[string]schemaField // by type and key
	defs   *schemaProperties
}

// object is the schema of a struct whose default is standard.
func (b *schemaBuilder) object(t reflect.Type, standard reflect.Value) *schemaNode {
	s := &schemaNode{Type: "object", Properties: &schemaProperties{}}
	for i := range t.NumField() {
		key := t.Field(i).Tag.Get("yaml")
		f := b.fields[t.Name()][key]
		s.Properties.add(key, b.field(t.Field(i).Type, standard.Field(i), f))
		if f.required {
			s.Required = append(s.Required, key)
		}
	}
	rule := schemaRules()[t.Name()]
	s.AllOf, s.DependentRequired = rule.AllOf, rule.DependentRequired
	return s
}

func (b *schemaBuilder) field(t reflect.Type, standard reflect.Value, f schemaField) *schemaNode {
	s := b.value(t, standard, f)
	s.Description = f.about
	if f.form == nil && s.Ref == "" && len(s.AnyOf) == 0 {
		s.Minimum, s.ExclusiveMinimum, s.Maximum = orBound(f.least, s.Minimum), f.above, orBound(f.most, s.Maximum)
	}
	if f.pattern != "" {
		s.Pattern = f.pattern
	}
	if s.Default = f.standard; s.Default == nil {
		s.Default = schemaDefault(standard)
	}
	if f.required {
		s.Default = nil // a zero value that never applies
	}
	return s
}

func orBound(own, general *float64) *float64 {
	if own != nil {
		return own
	}
	return general
}

// value is what may be written for a value of type t.
func (b *schemaBuilder) value(t reflect.Type, standard reflect.Value, f schemaField) *schemaNode {
	switch {
	case f.form != nil:
		form := *f.form
		return &form
	case len(f.words) > 0:
		return schemaWords(f.words, f.anyCase)
	case t == reflect.TypeFor[time.Duration]():
		return schemaDuration()
	case t == reflect.TypeFor[Size]():
		return &schemaNode{Type: "string", Pattern: sizePattern}
	case t == reflect.TypeFor[[]Header]():
		return &schemaNode{Type: "object", Additional: schemaScalarOrNull()}
	}
	switch t.Kind() {
	case reflect.Pointer:
		fresh := reflect.New(t.Elem())
		if t.Elem().Kind() == reflect.Struct {
			setDefaults(fresh.Interface())
		}
		return b.value(t.Elem(), fresh.Elem(), f)
	case reflect.Slice:
		return b.list(t.Elem(), f)
	case reflect.Map:
		return &schemaNode{Type: "object", Additional: schemaScalarOrNull()}
	case reflect.Struct:
		return b.reference(t, standard)
	}
	return schemaScalar(t.Kind())
}

func (b *schemaBuilder) list(t reflect.Type, f schemaField) *schemaNode {
	fresh := reflect.New(t)
	setDefaults(fresh.Interface())
	s := &schemaNode{Type: "array", Items: b.value(t, fresh.Elem(), schemaField{})}
	if f.needItems {
		s.MinItems = 1
	}
	return s
}

// reference puts a struct's schema where editors look for its name.
func (b *schemaBuilder) reference(t reflect.Type, standard reflect.Value) *schemaNode {
	name := strings.ToLower(t.Name()[:1]) + t.Name()[1:]
	if t == reflect.TypeFor[TLS]() || t == reflect.TypeFor[DNS]() {
		name = strings.ToLower(t.Name())
	}
	s := &schemaNode{Ref: "#/$defs/" + name}
	place := len(b.defs.names)
	b.defs.add(name, nil) // before those within it
	object := b.object(t, standard)
	if short, ok := schemaShortForms()[t.Name()]; ok {
		object = &schemaNode{AnyOf: []*schemaNode{short, object}}
	}
	b.defs.schemas[place] = object
	return s
}

func schemaDuration() *schemaNode {
	return &schemaNode{Type: []string{"string", "number"}, Pattern: trimmed(durationForm.String()), Minimum: bound(0)}
}

// trimmed lets blanks stand around what an anchored expression matches.
func trimmed(expression string) string {
	return `^\s*` + strings.TrimSuffix(strings.TrimPrefix(expression, "^"), "$") + `\s*$`
}

// schemaScalar is what Parse reads as a scalar of a kind: quoted or not.
func schemaScalar(kind reflect.Kind) *schemaNode {
	const number = `^\s*[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?\s*$`
	switch kind {
	case reflect.Bool:
		return &schemaNode{
			Type: []string{"boolean", "string", "integer"}, Minimum: bound(0), Maximum: bound(1),
			Pattern: "^\\s*(" + anyCase("true") + "|" + anyCase("false") + "|" + anyCase("yes") + "|" + anyCase("no") +
				"|" + anyCase("on") + "|" + anyCase("off") + "|0|1)\\s*$",
		}
	case reflect.Int, reflect.Int64:
		return &schemaNode{Type: []string{"integer", "string"}, Pattern: number}
	case reflect.Float64:
		return &schemaNode{Type: []string{"number", "string"}, Pattern: number}
	}
	return schemaText()
}

func schemaText() *schemaNode { return &schemaNode{Type: []string{"string", "number", "boolean"}} }

func schemaScalarOrNull() *schemaNode {
	return &schemaNode{Type: []string{"string", "number", "boolean", "null"}}
}

func schemaWords(words []string, ofAnyCase bool) *schemaNode {
	s := &schemaNode{}
	for _, w := range words {
		s.Enum = append(s.Enum, w)
	}
	if !ofAnyCase {
		return s
	}
	patterns := make([]string, len(words))
	for i, w := range words {
		patterns[i] = anyCase(w)
	}
	return &schemaNode{AnyOf: []*schemaNode{s, {Type: "string", Pattern: `^\s*(` + strings.Join(patterns, "|") + `)\s*$`}}}
}

// anyCase is a pattern for a word: patterns of JSON Schema have no flags.
func anyCase(word string) string {
	var out strings.Builder
	for _, c := range strings.ToLower(word) {
		fmt.Fprintf(&out, "[%c%c]", c, c-'a'+'A')
	}
	return out.String()
}

// schemaDefault is a default as a plan would write it, nil for none.
func schemaDefault(v reflect.Value) any {
	switch value := v.Interface().(type) {
	case bool:
		return value
	case time.Duration:
		if value == 0 {
			return nil
		}
		return durationText(value)
	case Size:
		if value == 0 {
			return nil
		}
		return sizeText(value)
	case Connections:
		return value.Mode
	}
	switch v.Kind() {
	case reflect.String:
		if v.Len() > 0 {
			return v.String()
		}
	case reflect.Int, reflect.Int64:
		if v.Int() != 0 {
			return v.Int()
		}
	case reflect.Float64:
		if v.Float() != 0 {
			return v.Float()
		}
	}
	return nil
}

// durationText is a duration in the largest unit that holds it whole.
func durationText(d time.Duration) string {
	for _, unit := range []string{"h", "m", "s"} {
		if each := durationUnits[unit]; d%each == 0 {
			return strconv.FormatInt(int64(d/each), 10) + unit
		}
	}
	return strconv.FormatInt(int64(math.Ceil(float64(d)/float64(time.Millisecond))), 10) + "ms"
}

func sizeText(s Size) string {
	for _, unit := range []struct {
		name  string
		bytes Size
	}{{"MB", 1 << 20}, {"KB", 1 << 10}} {
		if s%unit.bytes == 0 {
			return strconv.FormatInt(int64(s/unit.bytes), 10) + unit.name
		}
	}
	return strconv.FormatInt(int64(s), 10) + "B"
}
