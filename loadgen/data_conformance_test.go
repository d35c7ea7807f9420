package loadgen_test

import (
	"cmp"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"volley/loadgen"
	"volley/stats"
)

// dataPlan sends a row's number with each of two steps.
const dataPlan = `
version: "1.0"
config: {baseUrl: "$BASE", workers: WORKERS, gracefulStop: 5s, duration: 5s}
load: {LOAD}
scenarios:
  - {name: rows, dataFile: {path: rows.csv, DATA}, steps: [{name: a, request: {method: GET, path: "/a/${row}?n=${iteration}"}}, {name: b, request: {method: GET, path: "/b/${row}?note=${note}"}}]}
  MORE
`

// data is a run with a file of so many rows.
type data struct {
	rows            int
	workers         int    // 4 unless given
	file, load, add string // of the plan
	among           []loadgen.Portion
	self            string
}

func (d data) job(t *testing.T, id, base string) loadgen.Job {
	t.Helper()
	text := "row,note,unused\n"
	for i := range d.rows {
		text += fmt.Sprintf("%d,\"a b,%d\",x\n", i, i)
	}
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "rows.csv"), []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	workers := fmt.Sprint(cmp.Or(d.workers, 4))
	j := job(id, strings.NewReplacer("DATA", d.file, "LOAD", d.load, "WORKERS", workers, "MORE", d.add).Replace(dataPlan), base)
	j.Files, j.Self = loadgen.Files{Folder: dir, Local: true}, d.self
	if d.among != nil {
		j.Divisions = []loadgen.Division{{Among: d.among}}
	}
	return j
}

// run returns the rows of the first step in the order of their iterations.
func (d data) run(t *testing.T, e loadgen.Engine, target *seen, id string) (s *stats.Summary, rows []int) {
	t.Helper()
	before := len(target.all())
	prepare(t, e, d.job(t, id, target.URL))
	s, err := e.Run(t.Context(), id, time.Now().Add(lead), nil)
	if err != nil || s.ErrorCount() != 0 || s.UnresolvedVariables != 0 {
		t.Fatalf("%v, errors %v, %d unresolved", err, s.Errors, s.UnresolvedVariables)
	}
	byIteration, second := map[int]int{}, map[int]int{}
	for _, c := range target.all()[before:] {
		var row, n, twice int
		if _, err := fmt.Sscanf(c.path, "/a/%d?n=%d", &row, &n); err == nil {
			byIteration[n] = row
		}
		if _, err := fmt.Sscanf(c.path, "/b/%d?note=a+b%%2C%d", &row, &twice); err == nil && row == twice {
			second[row]++
		}
	}
	var order []int
	for n, row := range byIteration {
		order = append(order, n)
		if second[row] == 0 {
			t.Errorf("iteration %d has row %d in its first step only", n, row)
		}
	}
	slices.Sort(order)
	for _, n := range order {
		rows = append(rows, byIteration[n])
	}
	return s, rows
}

func upTo(n int) []int {
	out := make([]int, n)
	for i := range out {
		out[i] = i
	}
	return out
}

func TestConformanceDataOfARunThatEndsWithIt(t *testing.T) {
	for load, exact := range map[string]bool{
		"model: rps, target: 200": true, "model: concurrent": true, "model: rps, target: 200, unit: requests": false,
		"model: rps, target: 200, arrival: poisson": true, "model: rps, target: 20": true,
	} {
		t.Run(load, func(t *testing.T) {
			onBoth(t, func(t *testing.T, e loadgen.Engine) {
				s, rows := data{rows: 12, file: "onExhausted: stop", load: load}.run(t, e, newTarget(t, ok), "r")
				if exact && !slices.Equal(rows, upTo(12)) {
					t.Errorf("rows %v, want each once in its order", rows)
				}
				slices.Sort(rows)
				if !slices.Equal(rows, upTo(12)) || s.Requests != 24 || s.Dropped != 0 || s.Started != s.Completed || s.Elapsed > 4*time.Second {
					t.Errorf("rows %v, %d requests, dropped %d, started %d, completed %d after %v", rows, s.Requests, s.Dropped, s.Started, s.Completed, s.Elapsed)
				}
				if !s.Closed && (s.Due() != s.Started || s.Target != float64(s.Started)) {
					t.Errorf("due %d, started %d of a target of %v", s.Due(), s.Started, s.Target)
				}
			})
		})
	}
}

func TestDataBeginsAgainWithTheFirstRow(t *testing.T) {
	for file, warnings := range map[string]int{"strategy: sequential": 1, "strategy: cycle": 0, "strategy: cycle, onExhausted: wrap": 0} {
		leavesNothing(t)
		log, said := testLog()
		s, rows := data{rows: 7, file: file, load: "model: rps, target: 100, iterations: 31"}.run(t, loadgen.NewInProcess(log), newTarget(t, ok), "r")
		want := slices.Repeat(upTo(7), 5)[:31]
		if !slices.Equal(rows, want) || s.Started != 31 || strings.Count(said.String(), "event=data_exhausted") != warnings || strings.Count(said.String(), "level=WARN") != warnings {
			t.Errorf("%s: %d iterations, rows\n%v, want\n%v; the log says %s", file, s.Started, rows, want, said)
		}
	}
}

func TestRandomRowsDependOnSeedAndIterationAlone(t *testing.T) {
	var before []int
	for _, workers := range []int{1, 9} {
		leavesNothing(t)
		log, said := testLog()
		_, rows := data{rows: 5, file: "strategy: random", load: "model: rps, target: 200, iterations: 60, maxBacklog: 5s", workers: workers}.run(t, loadgen.NewInProcess(log), newTarget(t, ok), "r")
		seen := slices.Compact(slices.Sorted(slices.Values(rows)))
		if len(rows) != 60 || !slices.Equal(seen, upTo(5)) || slices.Equal(rows[:30], rows[30:]) || strings.Contains(said.String(), "data_exhausted") {
			t.Errorf("%d rows: %v, the log says %s", len(rows), rows, said)
		}
		if before != nil && !slices.Equal(before, rows) {
			t.Errorf("with another number of workers\n%v, not\n%v", rows, before)
		}
		before = rows
	}
}

// TestOneScenarioEndsAndTheOthersTakeItsPlace: the rate stays.
func TestOneScenarioEndsAndTheOthersTakeItsPlace(t *testing.T) {
	leavesNothing(t)
	log, said := testLog()
	target := newTarget(t, ok)
	s, rows := data{
		rows: 10, file: "onExhausted: stop", load: "model: rps, target: 200, iterations: 90",
		add: "- {name: other, steps: [{name: c, request: {method: GET, path: /c}}]}",
	}.run(t, loadgen.NewInProcess(log), target, "r")
	slices.Sort(rows)
	if !slices.Equal(rows, upTo(10)) || target.paths()["GET /c"] != 80 || s.Started != 90 || strings.Count(said.String(), "data_exhausted") != 1 {
		t.Errorf("rows %v, %d of the other scenario, started %d; the log says %s", rows, target.paths()["GET /c"], s.Started, said)
	}
}

// TestConformanceSplitDataGoesOnceRound: two participants of one curve.
func TestConformanceSplitDataGoesOnceRound(t *testing.T) {
	onBoth(t, func(t *testing.T, e loadgen.Engine) {
		target := newTarget(t, ok)
		var all []int
		for i, want := range []int{5, 15} {
			d := data{rows: 20, file: "onExhausted: stop, split: true", load: "model: rps, target: 200, scope: cluster", self: fmt.Sprint(i), among: []loadgen.Portion{{"0", 1}, {"1", 3}}}
			s, rows := d.run(t, e, target, fmt.Sprint("r", i))
			if len(rows) != want || s.Due() != int64(want) {
				t.Errorf("participant %d: rows %v, due %d, want %d", i, rows, s.Due(), want)
			}
			all = append(all, rows...)
		}
		if slices.Sort(all); !slices.Equal(all, upTo(20)) {
			t.Errorf("together %v, want each once", all)
		}
	})
}

// TestTheSameDataIsReadOnce: the second Prepare, with another division, finds the
// file gone.
func TestTheSameDataIsReadOnce(t *testing.T) {
	leavesNothing(t)
	log, _ := testLog()
	target, e := newTarget(t, ok), loadgen.NewInProcess(log)
	j := data{rows: 20, file: "onExhausted: stop, split: true", load: "model: rps, target: 200"}.job(t, "r", target.URL)
	prepare(t, e, j)
	if err := os.Remove(filepath.Join(j.Files.Folder, "rows.csv")); err != nil {
		t.Fatal(err)
	}
	j.Self, j.Divisions = "b", []loadgen.Division{{Among: []loadgen.Portion{{"a", 3}, {"b", 1}}}}
	prepare(t, e, j)
	s, err := e.Run(t.Context(), "r", time.Now().Add(lead), nil)
	if err != nil || s.Started != 5 || s.ErrorCount() != 0 {
		t.Errorf("%v, started %d, want 5 for a quarter of the rows", err, s.Started)
	}
	j.ConfigVersion = "another"
	if err := e.Prepare(t.Context(), j); err == nil {
		t.Error("another version is prepared with the data of the last")
	}
}

func TestAnExtractorOverwritesAColumnForItsIteration(t *testing.T) {
	target := newTarget(t, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("X-Row", "new"+r.URL.Path[len("/in/"):])
	})
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "r.json"), []byte(`[{"id": 1, "of": {"x": [1, 2]}}, {"id": 2.50}]`), 0o600); err != nil {
		t.Fatal(err)
	}
	_, said := outing{
		length: "200ms", alter: func(j *loadgen.Job) { j.Files = loadgen.Files{Folder: dir} },
		more: ", dataFile: {path: r.json, format: json, strategy: cycle}",
		steps: `[{request: {method: GET, path: "/in/${id}"}, extract: [{type: header, name: id, header: x-row}]},
		  {request: {method: PUT, path: "/out/${id}", body: "${of}"}}]`,
	}.run(t, target.URL)
	calls := target.all()
	if len(calls) < 6 {
		t.Fatalf("%d calls", len(calls))
	}
	for i, want := range []string{"GET /in/1 ", `PUT /out/new1 {"x":[1,2]}`, "GET /in/2.50 ", "PUT /out/new2.50 ${of}", "GET /in/1 ", `PUT /out/new1 {"x":[1,2]}`} {
		if got := calls[i].line() + " " + calls[i].bodyText; got != want {
			t.Errorf("call %d is %q, want %q", i, got, want)
		}
	}
	if strings.Count(said, "variable_unresolved") != 1 {
		t.Errorf("a row without the column is told: %s", said)
	}
}

func TestAColumnThatABuiltInHidesIsTold(t *testing.T) {
	dir := t.TempDir()
	for name, text := range map[string]string{"r.csv": "user,timestamp\nann,1\n", "body": "all of it"} {
		if err := os.WriteFile(filepath.Join(dir, name+".copy"), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	target := newTarget(t, ok)
	_, said := outing{
		alter: func(j *loadgen.Job) {
			j.Files.Copies = map[string]string{"in/r.csv": filepath.Join(dir, "r.csv.copy"), "body": filepath.Join(dir, "body.copy")}
		},
		more:  ", dataFile: {path: in/r.csv}",
		steps: `[{request: {method: PUT, path: "/${user}", bodyFile: body}}]`,
	}.run(t, target.URL)
	if c := target.all()[0]; c.path != "/ann" || c.bodyText != "all of it" {
		t.Errorf("%s %q", c.line(), c.bodyText)
	}
	if strings.Count(said, "event=column_hidden") != 1 || !strings.Contains(said, "column=timestamp") {
		t.Errorf("the log says %s", said)
	}
}
