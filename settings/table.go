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

// Table writes every variable with its default and meaning, generated from the
// struct that Load fills: what `volley env` prints.
func Table(w io.Writer) error {
	var table bytes.Buffer
	columns := tabwriter.NewWriter(&table, 0, 4, 2, ' ', 0)
	fmt.Fprintln(columns, "VARIABLE\tDEFAULT\tSECRET\tMEANING")
	for _, v := range variablesOf(&Settings{}) {
		writeRow(columns, v, v.tag.Get("desc"))
	}
	for _, v := range variablesOf(&laterVariables{}) {
		note := "not in this version: "
		if v.tag.Get("deprecated") != "" {
			note = "deprecated: "
		}
		writeRow(columns, v, note+v.tag.Get("desc"))
	}
	if err := columns.Flush(); err != nil {
		return err
	}
	_, err := table.WriteTo(w)
	return err
}

func writeRow(w io.Writer, v variable, meaning string) {
	def, secret := v.tag.Get("default"), ""
	if def == "" {
		def = "-"
	}
	if v.secret() {
		secret = "yes"
	}
	fmt.Fprintf(w, "%s\t%s\t%s\t%s\n", v.name, def, secret, meaning)
}

// LogValue is the effective configuration by variable name, without what is
// unset, secrets masked.
func (s Settings) LogValue() slog.Value {
	var attrs []slog.Attr
	for _, v := range variablesOf(&s) {
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
