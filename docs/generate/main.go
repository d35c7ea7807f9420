// Generate writes what the documentation says from the code itself: the tables
// in docs/*.md between "<!-- generated: NAME -->" and "<!-- end -->", the
// pictures of docs/load-models.md, and what docs/performance.json says as tables
// and a picture. Its test fails when a page and the code
// differ.
//
//	go generate ./docs/generate
package main

import (
	"bytes"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"regexp"
)

//go:generate go run . ..

func main() {
	if len(os.Args) != 2 {
		fmt.Fprintln(os.Stderr, "usage: generate DOCS_FOLDER")
		os.Exit(2)
	}
	if err := write(os.Args[1]); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func write(docs string) error {
	files, err := generated(docs)
	if err != nil {
		return err
	}
	for name, content := range files {
		if err := os.WriteFile(filepath.Join(docs, name), content, 0o644); err != nil {
			return err
		}
	}
	return nil
}

// generated is every file of the folder that has generated parts, as it should
// be, by its name in the folder.
func generated(docs string) (map[string][]byte, error) {
	parts, err := allParts(filepath.Join(docs, ".."))
	if err != nil {
		return nil, err
	}
	figures, err := measured(docs)
	if err != nil {
		return nil, err
	}
	maps.Copy(parts, performanceParts(figures))
	pages, err := filepath.Glob(filepath.Join(docs, "*.md"))
	if err != nil {
		return nil, err
	}
	files, used := map[string][]byte{}, map[string]bool{}
	for _, path := range pages {
		page, err := os.ReadFile(path)
		if err != nil {
			return nil, err
		}
		filled, err := fill(page, parts, used)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", path, err)
		}
		if filled != nil {
			files[filepath.Base(path)] = filled
		}
	}
	for name := range parts {
		if !used[name] {
			return nil, fmt.Errorf("no page of %s has the part %q", docs, name)
		}
	}
	page, err := os.ReadFile(filepath.Join(docs, "load-models.md"))
	if err != nil {
		return nil, err
	}
	drawn, err := pictures(page)
	for name, svg := range drawn {
		files[name] = svg
	}
	files["pictures/coordinated-omission.svg"] = omissionPicture()
	files["pictures/cost.svg"] = costPicture(figures)
	return files, err
}

var region = regexp.MustCompile(`(?s)<!-- generated: ([^\n]+?) -->\n.*?<!-- end -->`)

// fill puts the parts into a page; it returns nil if the page has none.
func fill(page []byte, parts map[string]string, used map[string]bool) ([]byte, error) {
	if !region.Match(page) {
		return nil, nil
	}
	var unknown error
	return region.ReplaceAllFunc(page, func(old []byte) []byte {
		name := string(region.FindSubmatch(old)[1])
		part, ok := parts[name]
		switch {
		case !ok:
			unknown = fmt.Errorf("there is no part %q", name)
		case used[name]:
			unknown = fmt.Errorf("the part %q is there already", name)
		}
		used[name] = true
		var out bytes.Buffer
		fmt.Fprintf(&out, "<!-- generated: %s -->\n%s<!-- end -->", name, part)
		return out.Bytes()
	}), unknown
}

// allParts are the generated parts by name, some of them read from the code
// below root.
func allParts(root string) (map[string]string, error) {
	parts := map[string]string{"plan": planPart(), "coordinated omission": omissionPart()}
	for name, part := range settingsParts() {
		parts["settings "+name] = part
	}
	metrics, err := metricsParts()
	for name, part := range metrics {
		parts["metrics "+name] = part
	}
	fromSource, more := sourceParts(root)
	maps.Copy(parts, fromSource)
	return parts, errors.Join(err, more)
}
