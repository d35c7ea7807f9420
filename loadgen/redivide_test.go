package loadgen

import (
	"context"
	"fmt"
	"log/slog"
	"math"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"volley/plan"
)

// fleet is nodes that share a load, in virtual time.
type fleet struct {
	plan   *plan.Plan
	ids    []string
	shifts []*shift
	logs   []*strings.Builder
}

// newFleet begins with one division; nodes that are not in it may come.
func newFleet(t *testing.T, config, load string, nodes int, leased bool, first Division) *fleet {
	t.Helper()
	f := &fleet{plan: planOf(t, config, load+", scope: cluster")}
	for i := range nodes {
		id := fmt.Sprint("n", i)
		w, err := newWorkload(f.plan, id, []Division{first}, 0)
		if err != nil {
			t.Fatal(err)
		}
		said := &strings.Builder{}
		r := &run{divisions: []Division{first}, log: slog.New(slog.NewTextHandler(said, nil))}
		if leased {
			r.lease = newLease()
		}
		f.ids, f.logs = append(f.ids, id), append(f.logs, said)
		f.shifts = append(f.shifts, shiftOf(f.plan, w, player{requests: 1, takes: 3 * time.Millisecond}, r))
	}
	return f
}

func (f *fleet) run(t *testing.T) {
	var group sync.WaitGroup
	for _, s := range f.shifts {
		group.Go(func() { s.crew.run(t.Context()) })
	}
	group.Wait()
	synctest.Wait() // for those who told the nodes something
}

// tell divides the load of one node anew, at an instant since the start.
func (f *fleet) tell(t *testing.T, node int, at time.Duration, d Division) {
	f.shifts[node].at(at, func() {
		if err := f.shifts[node].run.redivide(d); err != nil {
			t.Error(err)
		}
	})
}

func (s *shift) at(at time.Duration, do func()) {
	time.AfterFunc(time.Until(s.crew.base.Add(at)), do)
}

// lease lets a node send until then, from an instant on.
func (f *fleet) lease(node int, at, until time.Duration) {
	s := f.shifts[node]
	s.at(at, func() { s.run.extend(s.crew.base.Add(until)) })
}

// settle tells a node, at an instant, that so many divisions are settled.
func (f *fleet) settle(node int, at time.Duration, divisions int) {
	s := f.shifts[node]
	s.at(at, func() { s.run.agree(Settlement{Divisions: divisions}) })
}

func amongst(ids ...int) (out []Portion) {
	for _, id := range ids {
		out = append(out, Portion{ID: fmt.Sprint("n", id), Weight: 1})
	}
	return out
}

// sentBy is when each arrival was sent, by its number, and how often.
func (f *fleet) sentBy() (at map[int64]time.Duration, twice []int64) {
	at = map[int64]time.Duration{}
	for _, s := range f.shifts {
		for i, n := range s.numbers {
			if _, there := at[n]; there {
				twice = append(twice, n)
			}
			at[n] = s.began[i]
		}
	}
	return at, twice
}

// randomDivisions are those of nodes that come, go and change their weights. Each
// is known a second before it takes effect.
func randomDivisions(draw *rand.Rand, p *plan.Plan, nodes int) []Division {
	weights := []float64{1, 1, 2, 0.5, 3}
	var out []Division
	at := time.Duration(0)
	for range 2 + draw.IntN(6) {
		d := Division{From: Arrivals(p, 0, at), At: at}
		for _, i := range draw.Perm(nodes)[:1+draw.IntN(nodes)] {
			d.Among = append(d.Among, Portion{ID: fmt.Sprint("n", i), Weight: weights[draw.IntN(len(weights))]})
		}
		out = append(out, d)
		at += time.Duration(draw.Int64N(int64(2 * time.Second)))
	}
	return out
}

// TestWhateverTheDivisionsTheNodesMakeTheWholeCurve: each arrival is sent once, in
// the nanosecond in which it is due, though most workers wait with one of the next
// second when the load is divided anew.
func TestWhateverTheDivisionsTheNodesMakeTheWholeCurve(t *testing.T) {
	for _, load := range []string{
		"model: rps, target: 100", "model: rps, target: 100, arrival: poisson", "model: rps, target: 80, iterations: 500, arrival: poisson",
		"model: stages, stages: [{duration: 3s, target: 120}, {duration: 0s, target: 10}, {duration: 2s, target: 60}]",
	} {
		for seed := range uint64(12) {
			t.Run(fmt.Sprint(load, ", seed ", seed), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					draw := rand.New(rand.NewPCG(seed, 1))
					const nodes = 5
					divisions := randomDivisions(draw, planOf(t, "duration: 10s", load+", scope: cluster"), nodes)
					f := newFleet(t, "workers: 60, duration: 10s", load, nodes, false, divisions[0])
					for i := range nodes {
						told := -time.Second
						for _, d := range divisions[1:] {
							told = max(told+1, d.At-time.Second+time.Duration(draw.Int64N(int64(900*time.Millisecond))))
							f.tell(t, i, told, d)
						}
					}
					f.run(t)
					f.check(t, divisions)
				})
			})
		}
	}
}

func (f *fleet) check(t *testing.T, divisions []Division) {
	t.Helper()
	whole, work := Arrivals(f.plan, 0, endless), f.shifts[0].work
	all := work.unclaimed()
	all.claims = newClaims()
	want := allOf(newArrivals(all))
	at, twice := f.sentBy()
	if len(twice) > 0 || int64(len(at)) != whole || len(want) != len(at) {
		t.Fatalf("%d of %d arrivals are sent, twice %v", len(at), whole, twice)
	}
	for k, due := range want {
		if at[k] != due {
			t.Fatalf("arrival %d is sent at %v, due at %v", k, at[k], due)
		}
	}
	for i, s := range f.shifts {
		sum := s.rec.Summary()
		checkSums(t, sum)
		if own := Owned(f.plan, 0, divisions, f.ids[i], whole); sum.Started != own || sum.Dropped != 0 || f.logs[i].Len() > 0 {
			t.Errorf("%s started %d, dropped %d, owns %d; it says %s", f.ids[i], sum.Started, sum.Dropped, own, f.logs[i])
		}
	}
	for _, t2 := range []time.Duration{time.Second, 3 * time.Second, 7 * time.Second, 10 * time.Second} {
		asked, most, workers := 0.0, 0, int64(0)
		for _, s := range f.shifts {
			asked += s.work.asked(t2)
			most += s.work.claims.Load().at(t2).most
			workers += s.work.claims.Load().at(t2).share.of(60)
		}
		if math.Abs(asked-work.until(t2)) > 1e-6 || most != f.plan.Load.MaxWorkers || workers != 60 {
			t.Errorf("until %v the nodes are asked for %v, all together for %v; of %d workers they have up to %d", t2, asked, work.until(t2), f.plan.Load.MaxWorkers, most)
		}
	}
}

// TestALateDivisionLosesNothing: whom it reaches too late has sent what is
// another's, says so, and sends late what has become its own.
func TestALateDivisionLosesNothing(t *testing.T) {
	for _, arrival := range []string{"uniform", "poisson"} {
		synctest.Test(t, func(t *testing.T) {
			f := newFleet(t, "workers: 20, duration: 10s", "model: rps, target: 100, arrival: "+arrival, 3, false, Division{Among: amongst(0, 1, 2)})
			d := Division{From: Arrivals(f.plan, 0, 4*time.Second), At: 4 * time.Second, Among: amongst(1, 0)}
			f.tell(t, 0, 3*time.Second, d)
			f.tell(t, 1, 4300*time.Millisecond, d)
			f.tell(t, 2, 3*time.Second, d)
			f.run(t)
			at, twice := f.sentBy()
			if whole := Arrivals(f.plan, 0, endless); int64(len(at)) != whole || len(twice) == 0 || len(twice) > 20 {
				t.Errorf("%s: %d of %d arrivals are sent, %d twice", arrival, len(at), whole, len(twice))
			}
			if !strings.Contains(f.logs[1].String(), "event=division_late") || !strings.Contains(f.logs[1].String(), fmt.Sprint("sent_of_others=", len(twice))) ||
				!strings.Contains(f.logs[1].String(), "late=300ms") {
				t.Errorf("%s: it says %s", arrival, f.logs[1])
			}
			sum := f.shifts[1].rec.Summary()
			if sum.LateNoWorker != 0 || sum.LateCatchUp == 0 || sum.Dropped != 0 {
				t.Errorf("%s: late %d/%d, dropped %d", arrival, sum.LateNoWorker, sum.LateCatchUp, sum.Dropped)
			}
		})
	}
}

// TestABacklogIsWorkedOffAcrossDivisions stalls all workers, and divides the load
// anew while what has waited leaves.
func TestABacklogIsWorkedOffAcrossDivisions(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFleet(t, "workers: 60, duration: 20s", "model: rps, target: 100", 3, false, Division{Among: amongst(0, 1, 2)})
		for _, s := range f.shifts {
			recruit := s.crew.recruit
			s.crew.recruit = func(id int, turn place) iterator {
				return stalled{recruit(id, turn).(*player), 2 * time.Second, 2800 * time.Millisecond}
			}
		}
		for i := range f.shifts {
			f.tell(t, i, 2500*time.Millisecond, Division{From: 350, At: 3500 * time.Millisecond, Among: amongst(0, 1)})
			f.tell(t, i, 4*time.Second, Division{From: 500, At: 5 * time.Second, Among: amongst(2, 1)})
		}
		f.run(t)
		at, twice := f.sentBy()
		if len(twice) > 0 || len(at) != 2000 {
			t.Errorf("%d of 2000 arrivals are sent, twice %v", len(at), twice)
		}
		var sent []time.Duration
		for _, s := range f.shifts {
			sent = append(sent, s.began...)
		}
		// Each node may send one more than 110 % of its part.
		slices.Sort(sent)
		for i := range sent {
			if j := i + 113; j < len(sent) && sent[j]-sent[i] < time.Second {
				t.Fatalf("from %v on more than 110 %% of the rate and 3 are sent in a second", sent[i])
			}
		}
	})
}

// stalled hangs for a while.
type stalled struct {
	*player
	from, until time.Duration
}

func (s stalled) iterate(ctx context.Context, n int64, due time.Time) {
	s.player.iterate(ctx, n, due)
	if now := s.shift.crew.now(); now >= s.from && now < s.until {
		s.pause(ctx, s.until-now)
	}
}

// TestWithoutALeaseTheHeadStays takes the lease of one of two nodes for 3 s.
func TestWithoutALeaseTheHeadStays(t *testing.T) {
	for _, tc := range []struct {
		name     string
		leave    bool // a division takes its part away meanwhile
		isolated int64
	}{
		// Half of 100/s for 3 s: nothing of it is sent late, for the others may be late, too.
		{"it is its own still", false, 150},
		// Half of 100/s from 2 s on, until the division at 3 s.
		{"it is another's", true, 50},
	} {
		synctest.Test(t, func(t *testing.T) {
			f := newFleet(t, "workers: 20, duration: 20s", "model: rps, target: 100", 2, true, Division{Among: amongst(0, 1)})
			f.lease(0, -time.Second/2, 2*time.Second)
			f.lease(1, -time.Second/2, time.Hour)
			back := Division{From: 600, At: 6 * time.Second, Among: amongst(0, 1)}
			if tc.leave {
				for i := range 2 {
					f.tell(t, i, 2700*time.Millisecond, Division{From: 300, At: 3 * time.Second, Among: amongst(1)})
					f.settle(i, 2800*time.Millisecond, 2)
					f.tell(t, i, 4900*time.Millisecond, back)
					f.settle(i, 5*time.Second, 3)
				}
			}
			var due int64
			f.shifts[0].at(4999*time.Millisecond, func() { due = f.shifts[0].rec.Summary().Due() })
			f.lease(0, 5*time.Second, time.Hour)
			f.run(t)
			first := f.shifts[0].rec.Summary()
			checkSums(t, first)
			for i, at := range f.shifts[0].began {
				if at >= 2*time.Second && at < 5*time.Second {
					t.Errorf("%s: arrival %d is sent at %v, without a lease", tc.name, f.shifts[0].numbers[i], at)
				}
			}
			if due != 100 || first.DroppedIsolated != tc.isolated || first.Dropped != tc.isolated {
				t.Errorf("%s: %d due while it has no lease, dropped %d, isolated %d; want 100 and %d", tc.name, due, first.Dropped, first.DroppedIsolated, tc.isolated)
			}
			at, twice := f.sentBy()
			if len(twice) > 0 || int64(len(at)) != 2000-tc.isolated {
				t.Errorf("%s: %d arrivals are sent, twice %v", tc.name, len(at), twice)
			}
			if first.LateNoWorker+first.LateGenerator != 0 {
				t.Errorf("%s: late %d/%d/%d", tc.name, first.LateNoWorker, first.LateCatchUp, first.LateGenerator)
			}
			keeps110(t, rpsCurve(100), slices.Sorted(slices.Values(append(f.shifts[0].began, f.shifts[1].began...))), 0, 20*time.Second)
		})
	}
}

func TestWhatIsNotSentAtTheEndForWantOfALeaseIsNotDue(t *testing.T) {
	for _, load := range []string{"model: rps, target: 100", "model: concurrent", "model: rps, target: 100, unit: requests"} {
		synctest.Test(t, func(t *testing.T) {
			f := newFleet(t, "workers: 10, duration: 5s", load, 1, true, Division{Among: amongst(0)})
			f.lease(0, -time.Second/2, 2*time.Second)
			f.run(t)
			s := f.shifts[0]
			sum := s.rec.Summary()
			checkSums(t, sum)
			sum.Planned = s.work.length
			s.run.conclude(sum, false, false)
			if last := slices.Max(s.began); last >= 2*time.Second || sum.Dropped != 0 || sum.Started < 195 {
				t.Errorf("%s: started %d, the last at %v, dropped %d", load, sum.Started, last, sum.Dropped)
			}
			if !f.plan.Load.Closed() && (sum.Due() != 200 || math.Abs(sum.Target-200) > 1e-3) {
				t.Errorf("%s: due %d of a target of %v, want 200", load, sum.Due(), sum.Target)
			}
		})
	}
}

// TestNumbersOfWorkersFollowTheDivisions: those of a joiner begin where it enters,
// a loss brings the others more.
func TestNumbersOfWorkersFollowTheDivisions(t *testing.T) {
	for _, load := range []string{"model: concurrent", "model: stages, unit: workers, from: 10, stages: [{duration: 12s, target: 10}]"} {
		synctest.Test(t, func(t *testing.T) {
			f := newFleet(t, "workers: 10, duration: 12s", load, 3, false, Division{Among: amongst(0, 1)})
			want := [][]int{{5, 5, 0}, {4, 3, 3}, {0, 5, 5}}
			for n, to := range [][]Portion{nil, amongst(0, 1, 2), amongst(2, 1)} {
				for i, s := range f.shifts {
					if n > 0 {
						f.tell(t, i, time.Duration(3*n)*time.Second-800*time.Millisecond, Division{At: time.Duration(3*n) * time.Second, Among: to})
					}
					for _, after := range []time.Duration{10 * time.Millisecond, 2990 * time.Millisecond} {
						s.at(time.Duration(3*n)*time.Second+after, func() {
							if got := int(s.crew.workers.Load()); got != want[n][i] {
								t.Errorf("%s: %v after division %d node %d has %d workers, want %d", load, after, n, i, got, want[n][i])
							}
						})
					}
				}
			}
			f.run(t)
			f.shifts[2].crew.firstArrival(f.shifts[2].rec.Summary())
			if first := slices.Min(f.shifts[2].began); first != 3*time.Second || f.shifts[2].crew.firstDue() != 3*time.Second {
				t.Errorf("%s: the joiner begins at %v", load, first)
			}
		})
	}
}

// TestWorkersOfAnOpenModelLeaveWhenTheirNodeHasFewer: maxWorkers is a total.
func TestWorkersOfAnOpenModelLeaveWhenTheirNodeHasFewer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFleet(t, "workers: 8, duration: 9s", "model: rps, target: 400", 2, false, Division{Among: amongst(0)})
		for i := range 2 {
			f.tell(t, i, 2*time.Second, Division{From: 1200, At: 3 * time.Second, Among: amongst(0, 1)})
			f.tell(t, i, 5*time.Second, Division{From: 2400, At: 6 * time.Second, Among: amongst(0)})
		}
		for at, want := range map[time.Duration]int64{2900 * time.Millisecond: 8, 5900 * time.Millisecond: 4, 8900 * time.Millisecond: 8} {
			// Every arrival keeps two of them busy, so that all are hired.
			f.shifts[0].at(at, func() {
				if got := f.shifts[0].crew.workers.Load(); got > want || want == 4 && got != 4 {
					t.Errorf("at %v there are %d workers, want up to %d", at, got, want)
				}
			})
		}
		f.run(t)
		if at, twice := f.sentBy(); len(at) != 3600 || len(twice) > 0 {
			t.Errorf("%d arrivals are sent, twice %v; want 3600", len(at), twice)
		}
	})
}

// TestWhoHearsLateSendsNothingTwice: three nodes lose one at 3 s, and one of the
// two that are left hears of it so late that it has sent of what is the other's.
func TestWhoHearsLateSendsNothingTwice(t *testing.T) {
	next := Division{From: 300, At: 3 * time.Second, Among: amongst(1, 0)} // the other way round: much changes hands
	for _, tc := range []struct {
		name          string
		hears, told   time.Duration // the late one hears; the other is told that it has
		stalls        bool          // and has a backlog then
		least, mostOf int64         // dropped for that by the other
	}{
		{"before the division is due", 2700 * time.Millisecond, 2800 * time.Millisecond, false, 0, 0},
		{"after it", 4 * time.Second, 4200 * time.Millisecond, false, 40, 70},
		{"after it, and the other is behind", 4 * time.Second, 4200 * time.Millisecond, true, 40, 70},
	} {
		synctest.Test(t, func(t *testing.T) {
			f := newFleet(t, "workers: 20, duration: 10s", "model: rps, target: 100, maxBacklog: 5s", 3, true, Division{Among: amongst(0, 1, 2)})
			for i := range 2 {
				f.lease(i, -time.Second/2, time.Hour)
			}
			f.lease(2, -time.Second/2, 3*time.Second)
			f.tell(t, 0, tc.hears, next)
			f.tell(t, 1, 2500*time.Millisecond, next)
			for i := range 2 {
				f.settle(i, tc.told, 2)
			}
			if tc.stalls {
				recruit := f.shifts[1].crew.recruit
				f.shifts[1].crew.recruit = func(id int, turn place) iterator {
					return stalled{recruit(id, turn).(*player), 3500 * time.Millisecond, 4300 * time.Millisecond}
				}
			}
			f.run(t)
			at, twice := f.sentBy()
			if len(twice) > 0 {
				t.Errorf("%s: sent twice: %v", tc.name, twice)
			}
			dropped := f.shifts[1].rec.Summary().DroppedIsolated
			if dropped < tc.least || dropped > tc.mostOf {
				t.Errorf("%s: dropped %d, want %d to %d", tc.name, dropped, tc.least, tc.mostOf)
			}
			for k := int64(450); k < 1000; k++ {
				if _, ok := at[k]; !ok {
					t.Errorf("%s: arrival %d is not sent, after all know whose it is", tc.name, k)
					break
				}
			}
		})
	}
}
