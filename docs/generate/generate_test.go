package main

import (
	"bytes"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"strings"
	"testing"
	"time"

	"volley/loadgen"
	"volley/stats"
)

const docs = ".."

// What the pages and pictures say of the code is what the code says now.
func TestPagesAreUpToDate(t *testing.T) {
	want, err := generated(docs)
	if err != nil {
		t.Fatal(err)
	}
	if len(want) < 10 {
		t.Errorf("%d generated files, want those of four pages and their pictures", len(want))
	}
	for name, content := range want {
		got, err := os.ReadFile(filepath.Join(docs, name))
		if err != nil || !bytes.Equal(got, content) {
			t.Errorf("docs/%s is not what the code says (%v): run go generate ./docs/generate", name, err)
		}
	}
}

// Every picture that a page shows is drawn, and so is every one in the folder, but
// for those of a browser: browser_test.go takes them.
func TestPicturesAreDrawn(t *testing.T) {
	drawn, err := generated(docs)
	if err != nil {
		t.Fatal(err)
	}
	shown := regexp.MustCompile(`!\[[^\]]+\]\((pictures/[^)]+\.svg)\)`)
	pages, err := filepath.Glob(filepath.Join(docs, "*.md"))
	if err != nil {
		t.Fatal(err)
	}
	for _, path := range pages {
		page, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range shown.FindAllSubmatch(page, -1) {
			if drawn[string(m[1])] == nil {
				t.Errorf("%s shows %s, which nothing draws: its plan has to stand right above it", path, m[1])
			}
		}
	}
	files, err := filepath.Glob(filepath.Join(docs, "pictures", "*.svg"))
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range files {
		if drawn["pictures/"+filepath.Base(file)] == nil {
			t.Errorf("%s is a picture that nothing draws", file)
		}
	}
	for name := range drawings {
		if drawn["pictures/"+name+".svg"] == nil {
			t.Errorf("there is a way to draw %s, but no page shows it", name)
		}
	}
}

// Every plan that the documentation shows is one that this version runs.
func TestDocumentedPlansAreValid(t *testing.T) {
	pages := []string{filepath.Join(docs, "..", "README.md")}
	for _, pattern := range []string{"*.md", filepath.Join("*", "*.md")} {
		more, err := filepath.Glob(filepath.Join(docs, pattern))
		if err != nil {
			t.Fatal(err)
		}
		pages = append(pages, more...)
	}
	count := 0
	for _, path := range pages {
		page, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		for _, fragment := range fragments(page) {
			count++
			p, err := complete(fragment)
			if err != nil {
				t.Errorf("%s: %v in\n%s", path, err, fragment)
				continue
			}
			if notes := loadgen.Unsupported(p); len(notes) > 0 {
				t.Errorf("%s: this version refuses %q:\n%s", path, notes, fragment)
			}
		}
	}
	if count < 20 {
		t.Errorf("found %d plans; does this test still understand the pages?", count)
	}
}

// docs/measures.md explains every field of a result.
func TestEveryFieldOfAResultIsExplained(t *testing.T) {
	page, err := os.ReadFile(filepath.Join(docs, "measures.md"))
	if err != nil {
		t.Fatal(err)
	}
	count := 0
	var explained func(of reflect.Type)
	explained = func(of reflect.Type) {
		for of.Kind() == reflect.Pointer || of.Kind() == reflect.Slice {
			of = of.Elem()
		}
		if of.Kind() != reflect.Struct || of == reflect.TypeFor[time.Time]() {
			return
		}
		for i := range of.NumField() {
			name, _, _ := strings.Cut(of.Field(i).Tag.Get("json"), ",")
			if count++; name != "" && name != "-" && !bytes.Contains(page, []byte("`"+name+"`")) {
				t.Errorf("%s.%s: docs/measures.md does not explain `%s`", of.Name(), of.Field(i).Name, name)
			}
			explained(of.Field(i).Type)
		}
	}
	explained(reflect.TypeFor[stats.Result]())
	if count < 100 {
		t.Errorf("a result has %d fields; does this test still understand it?", count)
	}
}

// Every metric in a query of docs/metrics.md is there.
func TestQueriedMetricsExist(t *testing.T) {
	all, err := allMetrics()
	if err != nil {
		t.Fatal(err)
	}
	names := map[string]bool{}
	for _, m := range all {
		names[m.name] = true
		if m.kind == "histogram" {
			for _, suffix := range []string{"_bucket", "_count", "_sum"} {
				names[m.name+suffix] = true
			}
		}
	}
	page, err := os.ReadFile(filepath.Join(docs, "metrics.md"))
	if err != nil {
		t.Fatal(err)
	}
	queries := regexp.MustCompile("(?ms)^```promql\n(.*?)^```$").FindAllSubmatch(page, -1)
	if len(queries) < 10 {
		t.Errorf("found %d queries", len(queries))
	}
	for _, q := range queries {
		for _, name := range regexp.MustCompile(`volley_[a-z_]+`).FindAllString(string(q[1]), -1) {
			if !names[strings.TrimPrefix(name, "volley_")] {
				t.Errorf("there is no %s:\n%s", name, q[1])
			}
		}
	}
}
