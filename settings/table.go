package settings

import (
	"bytes"
	"fmt"
	"io"
	"log/slog"
	"net/url"
	"reflect"
	"strings"
	"text/tabwriter"
	"time"
)

// Variable is one row of the table.
type Variable struct {
	Name    string
	Default string // "" for none
	Accepts string // its form, in words
	Meaning string
	Secret  bool
}

// Group is the variables of one part of Settings, named as its field.
type Group struct {
	Name      string
	Variables []Variable
}

// deprecatedGroup holds what this version knows and does not heed.
const deprecatedGroup = "Deprecated"

// Groups lists every variable, generated from the structs that Load fills.
func Groups() []Group {
	var groups []Group
	all := reflect.ValueOf(&Settings{}).Elem()
	for i := range all.NumField() {
		field := all.Type().Field(i)
		if field.IsExported() && field.Type.Kind() == reflect.Struct {
			groups = append(groups, groupOf(field.Name, walk(all.Field(i), nil)))
		}
	}
	return append(groups, groupOf(deprecatedGroup, variablesOf(&deprecatedVariables{})))
}

func groupOf(name string, variables []variable) Group {
	g := Group{Name: name}
	for _, v := range variables {
		row := Variable{
			Name: v.name, Default: v.tag.Get("default"), Meaning: v.tag.Get("desc"),
			Accepts: strings.TrimPrefix(v.accepted(), "want "), Secret: v.secret(),
		}
		if v.tag.Get("deprecated") != "" {
			row.Meaning = "deprecated: " + row.Meaning
		}
		g.Variables = append(g.Variables, row)
	}
	return g
}

// Table writes every variable with its default and meaning: what `volley env`
// prints.
func Table(w io.Writer) error {
	var table bytes.Buffer
	columns := tabwriter.NewWriter(&table, 0, 4, 2, ' ', 0)
	fmt.Fprintln(columns, "VARIABLE\tDEFAULT\tSECRET\tMEANING")
	for _, g := range Groups() {
		for _, v := range g.Variables {
			writeRow(columns, v)
		}
	}
	if err := columns.Flush(); err != nil {
		return err
	}
	_, err := table.WriteTo(w)
	return err
}

func writeRow(w io.Writer, v Variable) {
	def, secret := v.Default, ""
	if def == "" {
		def = "-"
	}
	if v.Secret {
		secret = "yes"
	}
	fmt.Fprintf(w, "%s\t%s\t%s\t%s\n", v.Name, def, secret, v.Meaning)
}

// LogValue is the effective configuration by variable name, without what is
// unset, secrets masked.
func (s Settings) LogValue() slog.Value { return s.logged(func(string) bool { return true }) }

// Given is that part of LogValue that the environment has said.
func (s Settings) Given() slog.Value { return s.logged(s.IsSet) }

func (s Settings) logged(which func(variable string) bool) slog.Value {
	var attrs []slog.Attr
	for _, v := range variablesOf(&s) {
		if !which(v.name) {
			continue
		}
		value := reflect.Indirect(v.value)
		if !value.IsValid() {
			continue
		}
		if shown := loggable(value); shown.String() != "" {
			attrs = append(attrs, slog.Attr{Key: v.name, Value: shown})
		}
	}
	return slog.GroupValue(attrs...)
}

func loggable(value reflect.Value) slog.Value {
	switch typed := value.Interface().(type) {
	case Secret:
		return typed.LogValue()
	case string:
		return slog.StringValue(withoutCredentials(typed))
	case []string:
		return slog.StringValue(strings.Join(typed, ","))
	case time.Duration:
		return slog.StringValue(typed.String())
	default:
		return slog.AnyValue(typed)
	}
}

// withoutCredentials hides user, password and query if text is a URL.
func withoutCredentials(text string) string {
	scheme, rest, isURL := strings.Cut(text, "://")
	if !isURL {
		return text
	}
	parsed, err := url.Parse(text)
	if at := strings.LastIndex(rest, "@"); at >= 0 && (err != nil || parsed.User != nil) {
		rest = mask + rest[at:]
	}
	if path, _, hasQuery := strings.Cut(rest, "?"); hasQuery {
		rest = path + "?" + mask
	}
	return scheme + "://" + rest
}
