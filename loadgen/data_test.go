package loadgen

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"volley/plan"
)

// written is a table as rows of column=value, absent cells left out.
func written(t *table) (rows []string) {
	for row := range t.size() {
		var cells []string
		for i, name := range t.columns {
			if value, ok := t.cell(row, i); ok {
				cells = append(cells, name+"="+value)
			}
		}
		rows = append(rows, strings.Join(cells, "|"))
	}
	return rows
}

func TestTablesOfDataFiles(t *testing.T) {
	for _, tc := range []struct {
		format, text string
		want         []string
	}{
		{"csv", "user,id\nann,1\nbob,2\n", []string{"user=ann|id=1", "user=bob|id=2"}},
		{"csv", "user,id\r\nann,1\r\n\r\nbob,2", []string{"user=ann|id=1", "user=bob|id=2"}},
		{"csv", "\ufeffuser,note\n\"ann, \"\"A\"\"\",\"two\nlines\"\n,\n", []string{"user=ann, \"A\"|note=two\nlines", "user=|note="}},
		{"csv", "only\n\"\"\n x \n", []string{"only=", "only= x "}},
		{"csv", "a,,b,\n1,2,3,4\n", []string{"a=1|=2|b=3|=4"}},
		{"csv", "ü,a b\né,\x00\xff\n", []string{"ü=é|a b=\x00\xff"}},
		{"json", `[{"user": "ann", "id": 1}]`, []string{"id=1|user=ann"}},
		{"json", "\ufeff [{\"p\": 1299.99, \"q\": 1e3, \"r\": 100000000000000000001, \"s\": -0.10}]\n",
			[]string{"p=1299.99|q=1e3|r=100000000000000000001|s=-0.10"}},
		{"json", `[{"a": {"x": [1,  2], "y": "<&\u00e9"}, "b": [ ], "c": true, "d": null, "e": "\u00e9\n\"", "f": ""}]`,
			[]string{`a={"x":[1,2],"y":"<&\u00e9"}|b=[]|c=true|d=null|e=é` + "\n" + `"|f=`}},
		{"json", `[{"a": 1}, {}, {"b": 2, "a": 3}, {"b": 4}, {"c": "x", "b": 5, "b": 6}]`,
			[]string{"a=1", "", "a=3|b=2", "b=4", "b=6|c=x"}},
	} {
		got, err := parseTable(tc.format, tc.text, mostTableBytes)
		if err != nil {
			t.Errorf("%q: %v", tc.text, err)
		} else if !slices.Equal(written(got), tc.want) {
			t.Errorf("%q is\n%q, want\n%q", tc.text, written(got), tc.want)
		}
	}
}

func TestWrongDataFilesAreRefused(t *testing.T) {
	wide := "[{"
	for i := range mostColumns + 1 {
		wide += fmt.Sprintf(`"k%d":0,`, i)
	}
	wide = strings.TrimSuffix(wide, ",") + "}]"
	for _, tc := range []struct{ format, text, want string }{
		{"csv", "", "is empty"},
		{"csv", "user,id\n", "is empty"},
		{"csv", "\n\n", "is empty"},
		{"csv", "user,id\nann,1\nbob\n", "line 3: 1 fields (2 are needed"},
		{"csv", "user,id\n\"x\ny\",1\nbob,2,3\n", "line 4: 3 fields (2 are needed"},
		{"csv", "user\na\"b\n", "line 2"},
		{"csv", "user\n\"ab\n", "line 2"},
		{"csv", "user,id,user\na,b,c\n", `column "user" twice`},
		{"csv", strings.Repeat(",", mostColumns) + "\n", "10001 columns"},
		{"csv", "[{\"user\": \"ann\"}]", "parse error on line 1"},
		{"json", "", "no JSON array"},
		{"json", "user,id\nann,1\n", "invalid character 'u'"},
		{"json", `{"user": "ann"}`, "no JSON array"},
		{"json", "[]", "is empty"},
		{"json", `[{"a": 1}, 7]`, "element 2 is no object"},
		{"json", `[{"a": 1}, null]`, "element 2 is no object"},
		{"json", `[[1]]`, "element 1 is no object"},
		{"json", `[{"a": 1}`, "unexpected EOF"},
		{"json", `[{"a": 1}, {"a": `, "element 2: unexpected EOF"},
		{"json", `[{"a": 1},]`, "invalid character ']'"},
		{"json", `[{"a": 1}] x`, "follows the array"},
		{"json", `[{"a": 1}][]`, "follows the array"},
		{"json", wide, "more than 10000 different keys"},
	} {
		if _, err := parseTable(tc.format, tc.text, mostTableBytes); err == nil || !strings.Contains(err.Error(), tc.want) {
			t.Errorf("%.60q: %v, want %q", tc.text, err, tc.want)
		}
	}
}

// TestTablesHaveABound: a row of two digits takes 2 bytes and 3 numbers.
func TestTablesHaveABound(t *testing.T) {
	for format, text := range map[string]string{"csv": "a,b\n" + strings.Repeat("1,2\n", 10), "json": "[" + strings.Repeat(`{"a":1,"b":2},`, 9) + `{"a":1,"b":2}]`} {
		if _, err := parseTable(format, text, 140); err != nil {
			t.Errorf("%s: %v", format, err)
		}
		if _, err := parseTable(format, text, 139); err == nil || !strings.Contains(err.Error(), "256 MiB of memory together") {
			t.Errorf("%s: %v", format, err)
		}
	}
	dir := t.TempDir()
	big, err := os.Create(filepath.Join(dir, "big.csv"))
	if err != nil {
		t.Fatal(err)
	}
	if err := big.Truncate(mostFileBytes + 1); err != nil { // without a block on the disk
		t.Fatal(err)
	}
	big.Close()
	_, err = compile(withData(t, `{path: big.csv}`), &Job{Files: Files{Folder: dir}})
	if err == nil || !strings.Contains(err.Error(), "scenarios[0].dataFile.path:") || !strings.Contains(err.Error(), "256 MiB together") {
		t.Errorf("a file of 256 MiB and a byte: %v", err)
	}
}

func withData(t *testing.T, dataFile string) *plan.Plan {
	t.Helper()
	return with(t, "SCENARIO=dataFile: "+dataFile)
}

func TestDataFileErrorsNameFieldAndFile(t *testing.T) {
	dir := t.TempDir()
	for name, text := range map[string]string{"u.csv": "user,id\nann\n", "u.json": "{}", "ok.csv": "user\nann\n"} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for dataFile, want := range map[string]string{
		"{path: gone.csv}":             "scenarios[0].dataFile.path: open",
		"{path: ../u.csv}":             `scenarios[0].dataFile.path: "../u.csv" leads out of the plan's folder`,
		"{path: u.csv}":                `scenarios[0].dataFile.path: csv file "u.csv": line 2: 1 fields`,
		"{path: u.json, format: json}": `scenarios[0].dataFile.path: json file "u.json": is no JSON array`,
	} {
		_, err := compile(withData(t, dataFile), &Job{Files: Files{Folder: dir}})
		if err == nil || !strings.HasPrefix(err.Error(), want) {
			t.Errorf("%s: %v, want %q", dataFile, err, want)
		}
	}
	_, err := compile(withData(t, "{path: ok.csv, split: true}"), &Job{Files: Files{Folder: dir}, Self: "b", Divisions: []Division{{Among: []Portion{{"a", 1}, {"b", 1}}}}})
	if want := "scenarios[0].dataFile.split: 1 rows of \"ok.csv\" for 2 nodes"; err == nil || !strings.HasPrefix(err.Error(), want) {
		t.Errorf("no row for the second node: %v, want %q", err, want)
	}
	copies := Files{Folder: dir, Copies: map[string]string{"far/away.csv": filepath.Join(dir, "ok.csv")}}
	if _, err := compile(withData(t, "{path: far/away.csv}"), &Job{Files: copies}); err != nil {
		t.Errorf("a copy is not found: %v", err)
	}
	if _, err := compile(withData(t, "{path: ok.csv}"), &Job{Files: copies}); err == nil || !strings.Contains(err.Error(), `"ok.csv" did not come with the plan`) {
		t.Errorf("a file that is no copy: %v", err)
	}
}

// tableOf has rows r0, r1, ….
func tableOf(t *testing.T, n int) *table {
	t.Helper()
	text := "row\n"
	for i := range n {
		text += fmt.Sprintf("r%d\n", i)
	}
	out, err := parseTable("csv", text, mostTableBytes)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func TestRandomRowsAreUniformAndTheSameForASeed(t *testing.T) {
	f := &feed{table: tableOf(t, 10), strategy: "random"}
	var counts [10]int
	for n := range int64(100_000) {
		row, _, ok := f.take(7, n)
		again, _, _ := f.take(7, n)
		if !ok || row != again {
			t.Fatalf("iteration %d has row %d, then %d", n, row, again)
		}
		counts[row]++
	}
	chi := 0.0
	for _, c := range counts {
		chi += float64((c-10_000)*(c-10_000)) / 10_000
	}
	if chi > 27.9 { // of 9 degrees of freedom, at 0.1 %
		t.Errorf("not uniform: %v, chi² %.1f", counts, chi)
	}
	same := 0
	for n := range int64(1000) {
		a, _, _ := f.take(7, n)
		b, _, _ := f.take(8, n)
		if a == b {
			same++
		}
	}
	if same < 50 || same > 150 {
		t.Errorf("another seed draws the same row for %d of 1000 iterations, want about 100", same)
	}
}

// TestASplitFileGivesEachRowToOneNode takes as many arrivals as make two passes.
func TestASplitFileGivesEachRowToOneNode(t *testing.T) {
	const size = 100
	for _, weights := range [][]float64{{1}, {1, 1}, {1, 1, 1}, {1, 3}, {2, 5, 1}} {
		for _, strategy := range []string{"sequential", "cycle", "random"} {
			owner := map[int]int{}
			for node := range weights {
				by := Share{Index: node, Weights: weights}
				sh, err := newShare(by)
				if err != nil {
					t.Fatal(err)
				}
				self, divisions := by.divisions()
				feeds := &feeds{
					job:  &Job{Self: self, Divisions: divisions, claims: newClaims(span{share: sh})},
					plan: &plan.Plan{Scenarios: make([]plan.Scenario, 1), Load: plan.Load{Scope: "cluster", Unit: "iterations"}},
				}
				f := &feed{self: self, table: tableOf(t, size), strategy: strategy, position: feeds.position()}
				if err = feeds.split(&plan.DataFile{}, f); err != nil {
					t.Fatal(err)
				}
				for k := sh.next(0); k < 2*size; k = sh.next(k + 1) {
					row, _, ok := f.take(3, k)
					if before, taken := owner[row]; !ok || taken && before != node {
						t.Fatalf("%v, %s: row %d is node %d's and %d's", weights, strategy, row, before, node)
					}
					owner[row] = node
					if strategy != "random" && k < size && row != int(k) {
						t.Fatalf("%v, %s: arrival %d has row %d", weights, strategy, k, row)
					}
				}
			}
			if strategy != "random" && len(owner) != size {
				t.Errorf("%v, %s: %d of %d rows used", weights, strategy, len(owner), size)
			}
		}
	}
}

func TestSplitIsAsThePlanSays(t *testing.T) {
	half, quarter := Share{Index: 0, Weights: []float64{1, 1}}, Share{Index: 0, Weights: []float64{1, 1, 1, 1}}
	yes, no := true, false
	for _, tc := range []struct {
		scope string
		split *bool
		by    Share
		want  int
	}{
		{"cluster", nil, half, 50},
		{"cluster", &no, half, 100},
		{"cluster", &yes, quarter, 25},
		{"node", nil, half, 100},
		{"node", &yes, half, 50},
		{"node", &yes, Share{}, 100},
	} {
		self, divisions := tc.by.divisions()
		feeds := &feeds{job: &Job{Self: self, Divisions: divisions}, plan: &plan.Plan{Load: plan.Load{Scope: tc.scope}}}
		f := &feed{self: self, table: tableOf(t, 100)}
		if err := feeds.split(&plan.DataFile{Split: tc.split}, f); err != nil {
			t.Fatal(err)
		}
		if f.size() != int64(tc.want) {
			t.Errorf("%+v: %d rows", tc, f.size())
		}
	}
}

func TestWhatHasNoRowsLeftIsNotDrawn(t *testing.T) {
	s := &script{scenarios: make([]scenario, 3), shares: []float64{5, 7, 10}}
	s.scenarios[0].feed = &feed{}
	s.scenarios[0].feed.over.Store(true)
	counts := map[*scenario]int{}
	for n := range int64(10_000) {
		if s.pick(1, n) == &s.scenarios[0] {
			counts[s.left(1, n)]++
		}
	}
	if b, c := counts[&s.scenarios[1]], counts[&s.scenarios[2]]; b < 1850 || b > 2150 || c < 2850 || c > 3150 || len(counts) != 2 {
		t.Errorf("of some 5000, 2 parts: %d, 3 parts: %d", b, c)
	}
	for i := range s.scenarios {
		s.scenarios[i].feed = s.scenarios[0].feed
	}
	if got := s.left(1, 1); got != nil {
		t.Errorf("there is still %v", got)
	}
}

// FuzzCSV: no text breaks a table, and a table that is written as CSV is the
// same table, but for carriage returns before the end of a line, which
// encoding/csv drops one at a time.
func FuzzCSV(f *testing.F) {
	for _, text := range []string{"a,b\n1,2\n", "a\n\"\"\n", "\ufeffa;b\n\"x\"\"y\n\",", "a,a\n1,2", "a\r\n\r\n1\r\n", "\"", "a\n\x00\xff\n"} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		got, err := parseTable("csv", text, 1<<20)
		if err != nil || strings.Contains(strings.Join(written(got), ""), "\r\n") || strings.Contains(strings.Join(got.columns, ""), "\r\n") {
			return
		}
		var again strings.Builder
		for row := -1; row < got.size(); row++ {
			for i, name := range got.columns {
				value, ok := name, true
				if row >= 0 {
					value, ok = got.cell(row, i)
				}
				if !ok {
					t.Fatalf("row %d has no column %d", row, i)
				}
				if i > 0 {
					again.WriteByte(',')
				}
				again.WriteString(`"` + strings.ReplaceAll(value, `"`, `""`) + `"`)
			}
			again.WriteString("\n")
		}
		twice, err := parseTable("csv", again.String(), 1<<20)
		if err != nil || !slices.Equal(twice.columns, got.columns) || !slices.Equal(written(twice), written(got)) {
			t.Fatalf("%q is %q, then %q: %v", text, written(got), again.String(), err)
		}
	})
}

// FuzzJSONData: no text breaks a table.
func FuzzJSONData(f *testing.F) {
	for _, text := range []string{`[{"a":1,"b":"x"},{"b":[1, 2]},{}]`, `[`, `[null]`, `[{"a":"\ud800"}]`} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		if got, err := parseTable("json", text, 1<<20); err == nil && len(written(got)) == 0 {
			t.Fatalf("%q is a table without rows", text)
		}
	})
}
