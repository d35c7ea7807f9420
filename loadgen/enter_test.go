package loadgen_test

import (
	"fmt"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"volley/loadgen"
	"volley/stats"
)

// enteredPlan asks for 200 arrivals, each with a row of its own.
const enteredPlan = `
version: "1.0"
config: {baseUrl: "$BASE", workers: 6, duration: 2s}
load: {model: rps, target: 100, scope: cluster, maxBacklog: 2s, arrival: ARRIVAL}
scenarios:
  - name: s
    dataFile: {path: rows.csv, format: csv, strategy: sequential, onExhausted: stop}
    steps: [{request: {method: GET, path: "/${iteration}/${row}"}}]
`

// TestConformanceAPartThatEntersLate has one of three come in after 0.7 s with the
// part that was its own from the start on. The others, who know nothing of it, and
// it send every arrival once but those of its part that were due before, and every
// row once, whether arrivals say which row is whose or not.
func TestConformanceAPartThatEntersLate(t *testing.T) {
	const at = 700 * time.Millisecond
	for _, variant := range []string{"uniform", "poisson", "by turns"} {
		t.Run(variant, func(t *testing.T) {
			onBoth(t, func(t *testing.T, e loadgen.Engine) {
				target := newTarget(t, ok)
				text := strings.Replace(enteredPlan, "ARRIVAL", strings.Replace(variant, "by turns", "uniform", 1), 1)
				if variant == "by turns" { // with two scenarios nothing says which arrival has which row
					text += "  - {name: t, steps: [{request: {method: GET, path: \"/${iteration}/none\"}}]}\n"
				}
				j := job("r", text, target.URL)
				j.Files = loadgen.Files{Folder: t.TempDir()}
				var rows strings.Builder
				rows.WriteString("row\n")
				for i := range 300 {
					fmt.Fprintln(&rows, i)
				}
				if err := os.WriteFile(filepath.Join(j.Files.Folder, "rows.csv"), []byte(rows.String()), 0o600); err != nil {
					t.Fatal(err)
				}
				p := planOf(t, j.Document)
				whole := loadgen.Division{Among: among("a", "b", "c")}
				j.Divisions = []loadgen.Division{whole}
				late := j
				late.RunID, late.NodeID, late.Self, late.Enters = "b", "b", "b", at
				start := time.Now().Add(lead)
				prepare(t, e, late)
				done := make(chan *stats.Summary, 1)
				go func() {
					s, err := e.Run(t.Context(), "b", start, nil)
					if err != nil {
						t.Error(err)
					}
					done <- s
				}()
				all := append(together(t, e, j, []string{"a", "c"}, start, nil), <-done)
				missed := loadgen.Missed(late, p, at)
				count := loadgen.Arrivals(p, j.Seed, 2*time.Second)
				var arrivals, used []string
				for _, c := range target.all() {
					n, row, _ := strings.Cut(strings.TrimPrefix(c.path, "/"), "/")
					if arrivals = append(arrivals, n); row != "none" {
						used = append(used, row)
					}
				}
				if int64(len(arrivals)) != count-missed || missed < 15 || missed > 32 {
					t.Errorf("%d arrivals of %d, %d of which nobody sends", len(arrivals), count, missed)
				}
				for _, list := range [][]string{arrivals, used} {
					slices.Sort(list)
					if once := len(slices.Compact(slices.Clone(list))); once != len(list) {
						t.Errorf("%d were sent twice: %q", len(list)-once, list)
					}
				}
				if end := loadgen.Missed(late, p, 2*time.Second-time.Millisecond); end != loadgen.Owned(p, j.Seed, []loadgen.Division{whole}, "b", count) {
					t.Errorf("who enters at the end misses %d", end)
				}
				b := all[2]
				if skew, ok := b.StartSkew(); !ok || skew > 200*time.Millisecond || b.FirstDue < at || b.Dropped != 0 || b.RowsSkipped != 0 {
					t.Errorf("start skew %v, first due at %v, %d dropped, %d rows skipped", skew, b.FirstDue, b.Dropped, b.RowsSkipped)
				}
				if want := float64(count)/3 - float64(missed); variant != "poisson" && (b.Target < want-0.01 || b.Target > want+0.01) {
					t.Errorf("its target is %v, want %v", b.Target, want)
				}
			})
		})
	}
}

// Nobody has begun any of the iterations of a part that enters late: all of them
// are left to it.
func TestConformanceIterationsOfAPartThatEntersLate(t *testing.T) {
	onBoth(t, func(t *testing.T, e loadgen.Engine) {
		target := newTarget(t, ok)
		j := job("r", `
version: "1.0"
config: {baseUrl: "$BASE", workers: 4, duration: 3s}
load: {model: concurrent, scope: cluster, iterations: 20}
scenarios: [{name: s, steps: [{request: {method: GET, path: "/"}}]}]
`, target.URL)
		j.Self, j.Divisions, j.Enters = "b", []loadgen.Division{{Among: among("a", "b")}}, 300*time.Millisecond
		prepare(t, e, j)
		start := time.Now().Add(lead)
		if _, err := e.Run(t.Context(), "r", start, nil); err != nil {
			t.Fatal(err)
		}
		calls := target.all()
		if len(calls) != 10 {
			t.Errorf("%d iterations, want half of 20", len(calls))
		}
		if slices.ContainsFunc(calls, func(c call) bool { return c.at.Before(start.Add(j.Enters)) }) {
			t.Errorf("some are sent before it enters")
		}
		if p := planOf(t, j.Document); loadgen.Missed(j, p, time.Second) != 0 {
			t.Error("a closed model has arrivals")
		}
	})
}

// A server that others run the same plan beside draws arrivals of its own: what it
// misses of them is counted by these draws.
func TestConformanceAWholeLoadThatEntersLate(t *testing.T) {
	onBoth(t, func(t *testing.T, e loadgen.Engine) {
		target := newTarget(t, ok)
		j := job("r", `
version: "1.0"
config: {baseUrl: "$BASE", workers: 4, duration: 2s}
load: {model: rps, target: 200, arrival: poisson}
scenarios: [{name: s, steps: [{request: {method: GET, path: "/"}}]}]
`, target.URL)
		j.Enters = time.Second
		p := planOf(t, j.Document)
		prepare(t, e, j)
		s, err := e.Run(t.Context(), "r", time.Now().Add(lead), nil)
		if err != nil {
			t.Fatal(err)
		}
		missed, never := loadgen.Missed(j, p, j.Enters), loadgen.Missed(j, p, math.MaxInt64)
		if sent := int64(len(target.all())); sent+s.Dropped != never-missed || missed < 100 || never < 300 {
			t.Errorf("%d requests and %d dropped, want %d arrivals but for the %d before it enters", sent, s.Dropped, never, missed)
		}
		j.NodeID = "node-b"
		if others := loadgen.Missed(j, p, math.MaxInt64); others == never {
			t.Errorf("another node draws %d arrivals, too", others)
		}
	})
}
