package loadgen

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"volley/plan"
)

// dealt is a deal of so many rows after divisions.
func dealt(t *testing.T, d deal, size int, divisions ...Division) *deal {
	t.Helper()
	d.path, d.owners = "rows.csv", make([]int16, size)
	out := &d
	for _, next := range divisions {
		var err error
		if out, err = out.with(next); err != nil {
			t.Fatal(err)
		}
	}
	return out
}

// owners are the numbers of the nodes that have each row, "-" for nobody.
func (d *deal) text() string {
	text := ""
	for _, owner := range d.owners {
		if owner == skipped {
			text += "-"
			continue
		}
		text += strings.TrimPrefix(d.names[owner], "n")
	}
	return text
}

func TestRowsOfThoseWhoComeAndGo(t *testing.T) {
	first := Division{Among: amongst(0, 1)}
	for _, tc := range []struct {
		name    string
		deal    deal
		then    []Division
		want    string
		skipped int64
	}{
		{"a loss in the first pass", deal{bound: true}, []Division{{From: 6, Among: amongst(0)}}, "0-0-0-000000", 3},
		{"and a joiner", deal{bound: true}, []Division{{From: 6, Among: amongst(0, 2)}}, "0-0-0-020202", 3},
		{"a joiner", deal{bound: true, once: true}, []Division{{From: 6, Among: amongst(0, 1, 2)}}, "010101012012", 0},
		{"a loss and its return", deal{bound: true}, []Division{{From: 4, Among: amongst(1)}, {From: 8, Among: amongst(0, 1)}}, "-1-111110101", 2},
		{"a loss in a later pass", deal{bound: true}, []Division{{From: 12, Among: amongst(0)}}, "0-0-0-0-0-0-", 6},
		{"a joiner in a later pass", deal{bound: true}, []Division{{From: 40, Among: amongst(0, 1, 2)}}, "010101012222", 0},
		{"a joiner for whom each row is used", deal{bound: true, once: true}, []Division{{From: 12, Among: amongst(0, 1, 2)}}, "010101010101", 0},
		{"nobody knows which are used: a loss", deal{}, []Division{{From: 2, Among: amongst(0)}}, "0-0-0-0-0-0-", 6},
		{"a joiner after a loss", deal{}, []Division{{From: 2, Among: amongst(0)}, {From: 4, Among: amongst(0, 2)}}, "0-0-0-2-2-2-", 6},
		{"a joiner, each once", deal{once: true}, []Division{{From: 2, Among: amongst(0, 1, 2)}}, "010101010101", 0},
	} {
		d := dealt(t, tc.deal, 12, append([]Division{first}, tc.then...)...)
		if got := d.text(); got != tc.want || d.skipped != tc.skipped {
			t.Errorf("%s: %s, %d skipped; want %s, %d", tc.name, got, d.skipped, tc.want, tc.skipped)
		}
	}
}

// TestWhateverTheDivisionsARowIsOneNodesAtATime: in the first pass row k goes with
// arrival k, and no row that a lost node may have used is anybody's again.
func TestWhateverTheDivisionsARowIsOneNodesAtATime(t *testing.T) {
	const size = 700
	p := planOf(t, "duration: 10s", "model: rps, target: 100, scope: cluster")
	for seed := range uint64(30) {
		divisions := randomDivisions(rand.New(rand.NewPCG(seed, 2)), p, 4)
		used := map[int]string{} // by row, in the first pass
		for i := range 4 {
			w, err := newWorkload(p, fmt.Sprint("n", i), divisions, 0)
			if err != nil {
				t.Fatal(err)
			}
			job := &Job{Self: w.self, Divisions: divisions, claims: w.claims}
			fs := &feeds{job: job, plan: p}
			f := &feed{self: job.Self, table: tableOf(t, size), strategy: "sequential", position: fs.position()}
			if err := fs.split(&plan.DataFile{}, f); err != nil && divisions[len(divisions)-1].From < size {
				t.Fatal(err)
			}
			own := w.claims.Load()
			for k := own.next(0); k < 1000; k = own.next(k + 1) {
				row, passes, _ := f.take(1, k)
				if k < size {
					if before, twice := used[row]; twice || row != int(k) || passes != 0 {
						t.Fatalf("seed %d: arrival %d has row %d in pass %d, which was %s's", seed, k, row, passes, before)
					}
					used[row] = job.Self
				} else if by := f.deal.Load().names[max(f.deal.Load().owners[row], 0)]; by != job.Self && divisions[len(divisions)-1].has(job.Self) || passes == 0 {
					t.Fatalf("seed %d: in pass %d %s gets row %d of %s", seed, passes, job.Self, row, by)
				}
			}
		}
		if len(used) != size {
			t.Errorf("seed %d: %d of %d rows are used in the first pass", seed, len(used), size)
		}
		d := dealt(t, deal{bound: true}, size, divisions...)
		if gone := strings.Count(d.text(), "-"); int64(gone) != d.skipped {
			t.Errorf("seed %d: %d rows are nobody's, %d skipped", seed, gone, d.skipped)
		}
	}
}

func TestRowsFollowTheWeightsAsArrivalsDo(t *testing.T) {
	d := Division{Among: []Portion{{"n0", 1}, {"n1", 3}, {"n2", 0.5}}}
	rows := dealt(t, deal{bound: true}, 100, d)
	for i := range d.Among {
		sh, err := d.share(d.Among[i].ID)
		if err != nil {
			t.Fatal(err)
		}
		var want []uint32
		for k := sh.next(0); k < 100; k = sh.next(k + 1) {
			want = append(want, uint32(k))
		}
		if got := rows.of(d.Among[i].ID); !slices.Equal(got, want) {
			t.Errorf("member %d has rows %v, want %v", i, got, want)
		}
	}
}
