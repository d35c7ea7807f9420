package main

import (
	"bytes"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"volley/loadgen"
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

// Every picture in the folder is one that is drawn, and is drawn the same twice.
func TestPicturesAreDrawn(t *testing.T) {
	page, err := os.ReadFile(filepath.Join(docs, "load-models.md"))
	if err != nil {
		t.Fatal(err)
	}
	drawn, err := pictures(page)
	if err != nil {
		t.Fatal(err)
	}
	again, err := pictures(page)
	if err != nil {
		t.Fatal(err)
	}
	if linked := bytes.Count(page, []byte("](pictures/")); linked != len(drawn) {
		t.Errorf("load-models.md shows %d pictures, %d are drawn: each needs its plan above it", linked, len(drawn))
	}
	for name, svg := range drawn {
		if !bytes.Equal(svg, again[name]) {
			t.Errorf("%s is drawn differently each time", name)
		}
	}
	files, err := filepath.Glob(filepath.Join(docs, "pictures", "*"))
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
	pages, err := filepath.Glob(filepath.Join(docs, "*.md"))
	if err != nil {
		t.Fatal(err)
	}
	count := 0
	for _, path := range append(pages, filepath.Join(docs, "..", "README.md")) {
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
