package loadgen

import (
	"context"
	"fmt"
	"log/slog"
	"math/bits"
	"math/rand/v2"
	"sync"
	"sync/atomic"

	"volley/plan"
)

// streamRows keeps the draws of rows apart from all other draws of a seed.
const streamRows = 0x726f77732121f00d

// feed gives the iterations of a scenario their rows. It is shared by all
// workers of a run.
type feed struct {
	name     string // of the scenario
	path     string
	table    *table
	columns  []column // those that the scenario's steps use
	strategy string
	stops    bool
	own      []uint32 // this node's rows, nil for all
	// position is the place of iteration n among this node's iterations of the
	// scenario. It is nil where n does not say: then the place is how many
	// have begun before.
	position func(n int64) int64

	begun atomic.Int64
	over  atomic.Bool // it has no rows left
	told  sync.Once
}

// column is a column that is a variable.
type column struct{ index, slot int }

// take is the row of iteration n, and how often the rows have all been used
// before; ok is false if there are none left.
func (f *feed) take(seed uint64, n int64) (row int, passes int64, ok bool) {
	size := f.size()
	if f.strategy == "random" {
		var draw rand.PCG
		draw.Seed(seed^streamRows, uint64(n))
		at, _ := bits.Mul64(draw.Uint64(), uint64(size))
		return f.row(int64(at)), 0, true
	}
	at := f.place(n)
	if f.stops && at >= size {
		f.over.Store(true)
		return 0, 0, false
	}
	return f.row(at % size), at / size, true
}

func (f *feed) size() int64 {
	if f.own != nil {
		return int64(len(f.own))
	}
	return int64(f.table.size())
}

func (f *feed) place(n int64) int64 {
	if f.position != nil {
		return f.position(n)
	}
	return f.begun.Add(1) - 1
}

func (f *feed) row(at int64) int {
	if f.own != nil {
		return int(f.own[at])
	}
	return int(at)
}

// fill sets the variables that are columns.
func (f *feed) fill(s *scope, row int) {
	for _, c := range f.columns {
		if value, ok := f.table.cell(row, c.index); ok {
			s.set(c.slot, value)
		}
	}
}

// feeds reads the data files of a plan's scenarios, each once.
type feeds struct {
	files *files
	job   *Job
	plan  *plan.Plan
	whole share // of the load
	known tables
	left  int64
}

// tables are data files in memory, by path and format.
type tables map[[2]string]*table

func newFeeds(p *plan.Plan, job *Job, files *files) (*feeds, error) {
	whole, err := newShare(job.Share)
	return &feeds{files: files, job: job, plan: p, whole: whole, known: tables{}, left: mostTableBytes}, err
}

// of is a scenario's, nil if it has no data file. Its steps have been compiled,
// so that names has the variables they use.
func (f *feeds) of(sc *plan.Scenario, names names) (*feed, error) {
	d := sc.DataFile
	if d == nil {
		return nil, nil
	}
	t, err := f.table(d)
	if err != nil {
		return nil, err
	}
	out := &feed{
		name: sc.Name, path: d.Path, table: t, strategy: d.Strategy,
		stops: d.OnExhausted == "stop" && d.Strategy == "sequential",
	}
	for i, name := range t.columns {
		if slot, used := names[name]; used {
			out.columns = append(out.columns, column{i, slot})
		}
	}
	if out.own, err = f.own(d, t); err != nil {
		return nil, err
	}
	out.position = f.position()
	return out, nil
}

func (f *feeds) table(d *plan.DataFile) (*table, error) {
	key := [2]string{d.Path, d.Format}
	if t := f.known[key]; t != nil {
		return t, nil
	}
	if t := f.job.tables[key]; t != nil {
		f.known[key] = t
		return t, nil
	}
	text, err := f.files.read(d.Path)
	if err != nil {
		return nil, fmt.Errorf("path: %w", err)
	}
	t, err := parseTable(d.Format, text, f.left)
	if err != nil {
		return nil, fmt.Errorf("path: %s file %q: %w", d.Format, d.Path, err)
	}
	f.left -= int64(len(t.text)) + 4*int64(len(t.ends)+len(t.rows))
	f.known[key] = t
	return t, nil
}

// own is the rows of a split file that are this node's: each belongs to one of
// those who split it. While nobody drops an arrival of a plan with one scenario,
// arrival k has row k, whichever node's it is.
func (f *feeds) own(d *plan.DataFile, t *table) ([]uint32, error) {
	split := f.plan.Load.Scope == "cluster"
	if d.Split != nil {
		split = *d.Split
	}
	if !split {
		return nil, nil
	}
	by, err := newShare(f.job.Rows)
	if err != nil {
		return nil, err
	}
	if by.all() {
		by = f.whole
	}
	if by.all() {
		return nil, nil
	}
	own := []uint32{}
	for k := by.next(0); k < int64(t.size()); k = by.next(k + 1) {
		own = append(own, uint32(k))
	}
	if len(own) == 0 {
		return nil, fmt.Errorf("split: %d rows of %q for %d nodes leave none to this one (at least one row for each node, or split: false)",
			t.size(), d.Path, len(by.weights))
	}
	return own, nil
}

// position is as feed's. Only where every iteration has its place in the
// schedule, and all are of one scenario, does its number say which one it is.
func (f *feeds) position() func(n int64) int64 {
	switch {
	case len(f.plan.Scenarios) > 1:
		return nil
	case f.plan.Load.Closed():
		return func(n int64) int64 { return n }
	case f.plan.Load.Unit == "requests":
		return nil
	}
	return f.whole.before
}

// left draws the scenario of an iteration whose first choice has no rows left,
// nil if none has any.
func (s *script) left(seed uint64, n int64) *scenario {
	var sum float64
	for i := range s.scenarios {
		sum += s.weight(i)
	}
	if sum <= 0 {
		return nil
	}
	draws := rand.New(rand.NewPCG(seed, uint64(n)))
	_ = draws.Float64() // has made the first choice
	draw := draws.Float64() * sum
	var last *scenario
	for i := range s.scenarios {
		w := s.weight(i)
		if w <= 0 {
			continue
		}
		last = &s.scenarios[i]
		if draw < w {
			break
		}
		draw -= w
	}
	return last
}

// weight is a scenario's, 0 once it has no rows left.
func (s *script) weight(i int) float64 {
	if f := s.scenarios[i].feed; f != nil && f.over.Load() {
		return 0
	}
	if i == 0 {
		return s.shares[0]
	}
	return s.shares[i] - s.shares[i-1]
}

// ready chooses the scenario of iteration n, and its row. It is false if all
// scenarios have used up their data: no iteration starts any more.
func (u *user) ready(n int64) bool {
	for sc := u.script.pick(u.seed, n); sc != nil; sc = u.script.left(u.seed, n) {
		u.scenario = sc
		if sc.feed == nil {
			return true
		}
		row, passes, ok := sc.feed.take(u.seed, n)
		if passes > 0 || !ok {
			u.notices.usedUp(sc.feed)
		}
		if ok {
			u.row = row
			return true
		}
	}
	return false
}

// usedUp tells once that a scenario ends, or begins again with its first row
// though the plan does not say that it cycles.
func (n *notices) usedUp(f *feed) {
	if f.strategy == "cycle" {
		return
	}
	f.told.Do(func() {
		level, what := slog.LevelWarn, "begins again with the first"
		if f.stops {
			level, what = slog.LevelInfo, "ends"
		}
		n.log.Log(context.Background(), level, "a scenario has used each row of its data file once and "+what, "event", "data_exhausted",
			"run_id", n.runID, "scenario", f.name, "file", f.path, "rows", f.size())
	})
}

// hiddenColumns warns of columns that a built-in variable has the name of.
func (s *script) hiddenColumns(log *slog.Logger, runID string) {
	for i := range s.scenarios {
		f := s.scenarios[i].feed
		if f == nil {
			continue
		}
		for _, name := range f.table.columns {
			v, err := (&parser{job: &Job{}, names: names{}}).variable(name, name)
			if err != nil || v.source != fromScenario {
				log.Warn("a data file's column has the name of a built-in variable, which is what the plan gets", "event", "column_hidden",
					"run_id", runID, "scenario", f.name, "file", f.path, "column", name)
			}
		}
	}
}
