package loadgen_test

import (
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"volley/loadgen"
	"volley/plan"
	"volley/stats"
)

// numbered sends the number of each arrival.
const numbered = `
version: "1.0"
config: {baseUrl: "$BASE", workers: 4, duration: 2s}
load: {LOAD, scope: cluster}
scenarios: [{name: s, steps: [{request: {method: GET, path: "/${iteration}"}}]}]
`

// numbers are those of the arrivals that a target saw.
func numbers(t *testing.T, calls []call) (out []int) {
	t.Helper()
	for _, c := range calls {
		var n int
		if _, err := fmt.Sscanf(c.path, "/%d", &n); err != nil {
			t.Fatalf("%s: %v", c.path, err)
		}
		out = append(out, n)
	}
	slices.Sort(out)
	return out
}

func among(ids ...string) (out []loadgen.Portion) {
	for _, id := range ids {
		out = append(out, loadgen.Portion{ID: id, Weight: 1})
	}
	return out
}

// together runs a job on engines of several nodes at one instant; meanwhile is
// called once all have been started.
func together(t *testing.T, e loadgen.Engine, j loadgen.Job, ids []string, start time.Time, meanwhile func(id string)) (out []*stats.Summary) {
	t.Helper()
	out = make([]*stats.Summary, len(ids))
	for _, id := range ids {
		j.RunID, j.NodeID, j.Self = id, id, id
		prepare(t, e, j)
	}
	var group sync.WaitGroup
	for i, id := range ids {
		group.Go(func() {
			s, err := e.Run(t.Context(), id, start, nil)
			if err != nil {
				t.Errorf("%s: %v", id, err)
			}
			out[i] = s
		})
		if meanwhile != nil {
			meanwhile(id)
		}
	}
	group.Wait()
	return out
}

// TestConformanceNodesThatComeAndGoSendTheWholeCurveOnce divides a run among two,
// then three, then the last two of them.
func TestConformanceNodesThatComeAndGoSendTheWholeCurveOnce(t *testing.T) {
	for _, arrival := range []string{"uniform", "poisson"} {
		t.Run(arrival, func(t *testing.T) {
			onBoth(t, func(t *testing.T, e loadgen.Engine) {
				target := newTarget(t, ok)
				j := job("r", strings.Replace(numbered, "LOAD", "model: rps, target: 100, iterations: 150, maxBacklog: 2s, arrival: "+arrival, 1), target.URL)
				p := planOf(t, j.Document)
				count := func(at time.Duration) int64 { return loadgen.Arrivals(p, j.Seed, at) }
				divisions := []loadgen.Division{
					{Among: among("a", "b")},
					{From: count(600 * time.Millisecond), At: 600 * time.Millisecond, Among: among("a", "b", "c")},
					{From: count(1200 * time.Millisecond), At: 1200 * time.Millisecond, Among: among("b", "c")},
				}
				j.Divisions = divisions[:1]
				all := together(t, e, j, []string{"a", "b", "c"}, time.Now().Add(lead), func(id string) {
					for _, d := range append(divisions[1:], divisions[1]) {
						if err := e.Redivide(t.Context(), id, d); err != nil {
							t.Errorf("%s: %v", id, err)
						}
					}
				})
				whole := int(count(2 * time.Second))
				if got := numbers(t, target.all()); !slices.Equal(got, upTo(whole)) {
					t.Errorf("%d arrivals, want each of %d once: %v", len(got), whole, got)
				}
				asked := 0.0
				for i, s := range all {
					id := []string{"a", "b", "c"}[i]
					if want := loadgen.Owned(p, j.Seed, divisions, id, count(time.Hour)); s.Due() != want || s.Due() == 0 {
						t.Errorf("%s: %d due, want %d", id, s.Due(), want)
					}
					if skew, ok := s.StartSkew(); !ok || skew > 200*time.Millisecond || (s.FirstDue >= 600*time.Millisecond) != (id == "c") {
						t.Errorf("%s: start skew %v, first due at %v", id, skew, s.FirstDue)
					}
					asked += s.Target
				}
				if asked < 149.9 || asked > 150.1 {
					t.Errorf("the targets make %v together, want 150", asked)
				}
			})
		})
	}
}

func TestConformanceWithoutALeaseNothingIsSent(t *testing.T) {
	onBoth(t, func(t *testing.T, e loadgen.Engine) {
		target := newTarget(t, ok)
		j := job("r", strings.Replace(numbered, "LOAD", "model: rps, target: 100, maxBacklog: 50ms", 1), target.URL)
		j.Leased, j.Divisions = true, []loadgen.Division{{Among: among("a")}}
		start := time.Now().Add(lead)
		s := together(t, e, j, []string{"a"}, start, func(id string) {
			e.Lease(id, start.Add(500*time.Millisecond))
			time.AfterFunc(time.Until(start.Add(time.Second)), func() { e.Lease(id, start.Add(1500*time.Millisecond)) })
		})[0]
		for _, c := range target.all() {
			if at := c.at.Sub(start); at > 520*time.Millisecond && at < time.Second || at > 1520*time.Millisecond {
				t.Errorf("%s is sent at %v", c.path, at)
			}
		}
		// 0.5 s of each second are without: what falls due in the first is dropped when
		// the next lease comes, of the second nothing is due.
		if s.DroppedIsolated < 45 || s.DroppedIsolated > 55 || s.Due() < 145 || s.Due() > 155 || s.Target < 149 || s.Target > 151 {
			t.Errorf("due %d of a target of %v, started %d, dropped %d, isolated %d", s.Due(), s.Target, s.Started, s.Dropped, s.DroppedIsolated)
		}
	})
}

func TestConformanceWhatIsLostWithTheLeaseGoesToOthers(t *testing.T) {
	onBoth(t, func(t *testing.T, e loadgen.Engine) {
		target := newTarget(t, ok)
		j := job("r", strings.Replace(numbered, "LOAD", "model: rps, target: 10, iterations: 15, maxBacklog: 2s", 1), target.URL)
		j.Leased, j.Divisions = true, []loadgen.Division{{Among: among("a", "b")}}
		start := time.Now().Add(lead)
		all := together(t, e, j, []string{"a", "b"}, start, func(id string) {
			e.Lease(id, start.Add(map[string]time.Duration{"a": 450 * time.Millisecond, "b": time.Hour}[id]))
			// Its four workers have taken arrivals up to 0.9 s by then.
			time.AfterFunc(time.Until(start.Add(650*time.Millisecond)), func() {
				if err := e.Redivide(t.Context(), id, loadgen.Division{From: 8, At: 800 * time.Millisecond, Among: among("b")}); err != nil {
					t.Error(err)
				}
				e.Settle(id, loadgen.Settlement{Divisions: 2}) // a has no lease, and so sends nothing by the first
				if id == "a" {
					e.Lease(id, start.Add(time.Hour))
				}
			})
		})
		// Arrival 6 is a's, and fell due while it had no lease: nobody sends it late.
		if got := numbers(t, target.all()); !slices.Equal(got, slices.DeleteFunc(upTo(15), func(n int) bool { return n == 6 })) {
			t.Errorf("sent %v, want each of 15 but 6 once", got)
		}
		if all[0].Due() != 4 || all[1].Due() != 11 || all[0].DroppedIsolated != 1 || all[1].Dropped > 0 {
			t.Errorf("due %d and %d, isolated %d, dropped %d; want 4 and 11, 1 and 0", all[0].Due(), all[1].Due(), all[0].DroppedIsolated, all[1].Dropped)
		}
	})
}

func TestConformanceWorkersAreDividedAnew(t *testing.T) {
	onBoth(t, func(t *testing.T, e loadgen.Engine) {
		target := newTarget(t, func(http.ResponseWriter, *http.Request) { <-time.After(20 * time.Millisecond) })
		j := job("r", strings.Replace(numbered, "LOAD", "model: concurrent", 1), target.URL)
		j.Divisions = []loadgen.Division{{Among: among("a", "b")}}
		start := time.Now().Add(lead)
		all := together(t, e, j, []string{"a", "b", "c"}, start, func(id string) {
			for i, to := range [][]loadgen.Portion{among("a", "b", "c"), among("c")} {
				at := time.Duration(i+1) * 600 * time.Millisecond
				if err := e.Redivide(t.Context(), id, loadgen.Division{At: at, Among: to}); err != nil {
					t.Error(err)
				}
			}
		})
		first, most := all[2].FirstDue, int64(0)
		for _, p := range all[2].Series.Points {
			most = max(most, p.Workers)
		}
		if all[2].Started == 0 || first != 600*time.Millisecond || most != 4 {
			t.Errorf("the joiner started %d, the first due at %v; %d workers at most, want 4", all[2].Started, first, most)
		}
		for _, s := range all[:2] {
			if s.Started < 20 || s.Started > 120 {
				t.Errorf("%s started %d", s.NodeID, s.Started)
			}
		}
	})
}

func TestConformanceWhatCannotBeDivided(t *testing.T) {
	onBoth(t, func(t *testing.T, e loadgen.Engine) {
		target := newTarget(t, ok)
		j := job("r", strings.Replace(numbered, "LOAD", "model: rps, target: 10", 1), target.URL)
		d := loadgen.Division{From: 5, At: 500 * time.Millisecond, Among: among("a")}
		if err := e.Redivide(t.Context(), "r", d); !errors.Is(err, loadgen.ErrUnknownRun) {
			t.Errorf("an unknown run: %v", err)
		}
		prepare(t, e, j)
		if err := e.Redivide(t.Context(), "r", d); err == nil || !strings.Contains(err.Error(), "without divisions") {
			t.Errorf("a run without divisions: %v", err)
		}
		j.Self, j.Divisions = "a", []loadgen.Division{{Among: among("a", "b")}, d}
		prepare(t, e, j)
		for want, bad := range map[string]loadgen.Division{
			"not before arrival 5": {From: 4, At: time.Second, Among: among("a")},
			"among nobody":         {From: 9, At: time.Second},
			`"b"`:                  {From: 9, At: time.Second, Among: among("b", "b")},
			"weight 0":             {From: 9, At: time.Second, Among: []loadgen.Portion{{ID: "a"}}},
		} {
			if err := e.Redivide(t.Context(), "r", bad); err == nil || !strings.Contains(err.Error(), want) {
				t.Errorf("%+v: %v, want %q in it", bad, err, want)
			}
		}
		if err := e.Redivide(t.Context(), "r", d); err != nil {
			t.Errorf("the same once more: %v", err)
		}
	})
}

func planOf(t *testing.T, document []byte) *plan.Plan {
	t.Helper()
	p, _, err := plan.Parse(document)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// TestConformanceRowsOfALostNodeAreNotGivenAgain: of two nodes one is lost.
func TestConformanceRowsOfALostNodeAreNotGivenAgain(t *testing.T) {
	onBoth(t, func(t *testing.T, e loadgen.Engine) {
		target := newTarget(t, ok)
		d := data{rows: 30, file: "strategy: sequential", load: "model: rps, target: 100, iterations: 45, maxBacklog: 2s, scope: cluster", among: among("a", "b")}
		lost := loadgen.Division{From: 20, At: 200 * time.Millisecond, Among: among("a")}
		// It is the other's words that are looked at: what b sends is not of interest.
		all := together(t, e, d.job(t, "r", target.URL), []string{"a"}, time.Now().Add(lead), func(id string) {
			if err := e.Redivide(t.Context(), id, lost); err != nil {
				t.Error(err)
			}
		})
		byIteration := map[int]int{}
		for _, c := range target.all() {
			var row, n int
			if _, err := fmt.Sscanf(c.path, "/a/%d?n=%d", &row, &n); err == nil {
				byIteration[n] = row
			}
		}
		if all[0].RowsSkipped != 10 || len(byIteration) != 35 {
			t.Errorf("%d rows skipped, %d iterations; want 10 and 35", all[0].RowsSkipped, len(byIteration))
		}
		for n, row := range byIteration {
			if n < 30 && row != n || row < 20 && row%2 != 0 {
				t.Errorf("iteration %d has row %d", n, row)
			}
		}
		j := d.job(t, "late", target.URL)
		j.Self, j.Divisions = "c", append(j.Divisions, loadgen.Division{From: 30, At: 300 * time.Millisecond, Among: among("a", "b", "c")})
		j.Document = []byte(strings.Replace(string(j.Document), "strategy: sequential", "onExhausted: stop", 1))
		if err := e.Prepare(t.Context(), j); err == nil || !strings.Contains(err.Error(), `scenarios[0].dataFile.split: 30 rows of "rows.csv" for 3 nodes leave none to this one`) {
			t.Errorf("a joiner for whom no row is left: %v", err)
		}
	})
}
