package plan

import (
	"errors"
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

var update = flag.Bool("update", false, "write the .want files of testdata/bad from what Parse says now; review the difference")

// Each file of testdata/bad has one mistake; the .want file beside it holds
// what a person is told.
func TestBadPlans(t *testing.T) {
	files, err := filepath.Glob("testdata/bad/*.yaml")
	if err != nil {
		t.Fatal(err)
	}
	if len(files) < 120 {
		t.Fatalf("testdata/bad has %d plans, want at least 120", len(files))
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".yaml"), func(t *testing.T) {
			got := mistakesOf(t, file)
			wantFile := strings.TrimSuffix(file, ".yaml") + ".want"
			if *update {
				if err := os.WriteFile(wantFile, []byte(got), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(wantFile)
			if err != nil {
				t.Fatal(err)
			}
			if got != string(want) {
				t.Errorf("got\n%swant\n%s", got, want)
			}
			if strings.Contains(got, "secret") {
				t.Error("a message quotes a secret")
			}
		})
	}
	wants, err := filepath.Glob("testdata/bad/*.want")
	if err != nil || len(wants) != len(files) {
		t.Errorf("%d .want files for %d plans (%v)", len(wants), len(files), err)
	}
}

func mistakesOf(t *testing.T, file string) string {
	t.Helper()
	document, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	p, _, err := Parse(document)
	var mistakes Errors
	if !errors.As(err, &mistakes) || p != nil {
		t.Fatalf("Parse = %v, %v; want no plan and Errors", p, err)
	}
	var out strings.Builder
	for _, m := range mistakes {
		out.WriteString(m.In(filepath.Base(file)) + "\n")
	}
	return out.String()
}
