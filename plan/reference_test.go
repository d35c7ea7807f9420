package plan

import (
	"reflect"
	"slices"
	"testing"
)

// The reference has a section for every map of a plan and a row for every key.
func TestReferenceIsComplete(t *testing.T) {
	sections := map[string]Section{}
	for _, s := range Reference() {
		sections[s.Name] = s
	}
	var walk func(section string, of reflect.Type)
	walk = func(section string, of reflect.Type) {
		for i := range of.NumField() {
			key, value := of.Field(i).Tag.Get("yaml"), of.Field(i).Type
			rows := sections[section].Fields
			at := slices.IndexFunc(rows, func(f Field) bool { return f.Key == key })
			if at < 0 {
				t.Errorf("section %q has no row %s", section, key)
				continue
			}
			if rows[at].Form == "" || rows[at].About == "" {
				t.Errorf("%s of %s: form %q, about %q", key, section, rows[at].Form, rows[at].About)
			}
			for value.Kind() == reflect.Pointer || value.Kind() == reflect.Slice {
				value = value.Elem()
			}
			if value.Kind() == reflect.Struct && value.NumField() > 0 && value.Field(0).Tag.Get("yaml") != "" {
				walk(rows[at].Of, value)
			}
		}
	}
	walk("plan", reflect.TypeFor[Plan]())
}

func TestReferenceInWords(t *testing.T) {
	rows := map[string]Field{}
	for _, s := range Reference() {
		for _, f := range s.Fields {
			rows[s.Name+"."+f.Key] = f
		}
	}
	for name, want := range map[string]Field{
		"config.timeout":        {Form: "duration", Default: "30s"},
		"config.http":           {Form: "`1.1`, `2`, `auto`", Default: "1.1"},
		"config.connections":    {Form: "`worker`, `iteration`, `request`, whole number, 1 to 100000", Default: "worker"},
		"config.maxBody":        {Form: "size", Default: "10MB"},
		"config.skipTlsVerify":  {Form: "yes or no", Default: "false"},
		"load.stages":           {Form: "list", Of: "stage"},
		"load.peakSustainRatio": {Form: "number, 0 to 1", Default: "0.1"},
		"scenario.weight":       {Form: "number above 0", Default: "1"},
		"step.thinkTime":        {Form: "map", Of: "thinkTime"},
		"threshold.expr":        {Form: "condition", Required: true},
		"request.headers":       {Form: "map of texts"},
	} {
		got := rows[name]
		if got.Form != want.Form || got.Default != want.Default || got.Of != want.Of || got.Required != want.Required {
			t.Errorf("%s: %+v, want %+v", name, got, want)
		}
	}
}
