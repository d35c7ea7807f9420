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
	self     string
	deal     atomic.Pointer[deal]     // who has which row, nil unless they are split
	own      atomic.Pointer[[]uint32] // this node's rows, nil for all
	bound    bool                     // in the first pass arrival k has row k, whosever it is
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
	if f.bound && n < int64(f.table.size()) {
		return int(n), 0, true
	}
	at, first := f.place(n), int64(0)
	if f.bound {
		// The pass that is over has used what was the node's then.
		at, first = at-f.position(int64(f.table.size())), 1
	}
	if f.stops && (f.bound || at >= size) {
		f.over.Store(true)
		return 0, 0, false
	}
	return f.row(at % size), first + at/size, true
}

func (f *feed) size() int64 {
	if own := f.own.Load(); own != nil {
		return int64(len(*own))
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
	if own := f.own.Load(); own != nil {
		return int((*own)[at%int64(len(*own))]) // which may have become fewer just now
	}
	return int(at)
}

// redeal makes another deal the feed's. A node that does not take part keeps the
// rows that it had, for what it still sends.
func (f *feed) redeal(d *deal) {
	f.deal.Store(d)
	if own := d.of(f.self); len(own) > 0 {
		f.own.Store(&own)
	}
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
	known tables
	left  int64
}

// tables are data files in memory, by path and format.
type tables map[[2]string]*table

func newFeeds(p *plan.Plan, job *Job, files *files) (*feeds, error) {
	if job.claims == nil {
		job.claims = newClaims()
	}
	return &feeds{files: files, job: job, plan: p, known: tables{}, left: mostTableBytes}, checkDivisions(job.Divisions)
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
		name: sc.Name, path: d.Path, table: t, strategy: d.Strategy, self: f.job.Self,
		stops: d.OnExhausted == "stop" && d.Strategy == "sequential",
	}
	for i, name := range t.columns {
		if slot, used := names[name]; used {
			out.columns = append(out.columns, column{i, slot})
		}
	}
	out.position = f.position()
	return out, f.split(d, out)
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

// split gives the feed the rows of a split file that are this node's: each belongs
// to one of those who split it. While nobody drops an arrival of a plan with one
// scenario whose load is divided, arrival k has row k, whichever node's it is.
func (f *feeds) split(d *plan.DataFile, out *feed) error {
	split := f.plan.Load.Scope == "cluster"
	if d.Split != nil {
		split = *d.Split
	}
	if !split || len(f.job.Divisions) == 0 {
		return nil
	}
	out.bound = f.byArrival() && f.plan.Load.Scope == "cluster" && out.strategy != "random"
	deal := &deal{path: d.Path, bound: out.bound, once: out.stops, owners: make([]int16, out.table.size())}
	for _, next := range f.job.Divisions {
		var err error
		if deal, err = deal.with(next); err != nil {
			return err
		}
	}
	out.redeal(deal)
	return out.suffices(deal)
}

// suffices is an error if a node that takes part has no row.
func (f *feed) suffices(d *deal) error {
	if (Division{Among: d.among}).has(f.self) && len(d.of(f.self)) == 0 {
		return d.shortage()
	}
	return nil
}

// deal divides the rows of all split files anew. Nothing has changed before what
// it returns is called, nor if there is an error.
func (s *script) deal(next Division) (apply func(), err error) {
	deals := make([]*deal, len(s.scenarios))
	for i := range s.scenarios {
		f := s.scenarios[i].feed
		if f == nil || f.deal.Load() == nil {
			continue
		}
		if deals[i], err = f.deal.Load().with(next); err == nil {
			err = f.suffices(deals[i])
		}
		if err != nil {
			return nil, fmt.Errorf("scenarios[%d].dataFile.%w", i, err)
		}
	}
	return func() {
		for i, d := range deals {
			if d != nil {
				s.scenarios[i].feed.redeal(d)
			}
		}
	}, nil
}

// position is as feed's. Only where every iteration has its place in the
// schedule, and all are of one scenario, does its number say which one it is.
func (f *feeds) position() func(n int64) int64 {
	switch {
	case f.byArrival():
		return func(n int64) int64 { return f.job.claims.Load().before(n) }
	case len(f.plan.Scenarios) == 1 && f.plan.Load.Closed():
		return func(n int64) int64 { return n }
	}
	return nil
}

// byArrival is true if iteration n is arrival n, and all are of one scenario.
func (f *feeds) byArrival() bool {
	return len(f.plan.Scenarios) == 1 && !f.plan.Load.Closed() && f.plan.Load.Unit != "requests"
}

// rowsSkipped is how many rows of all files are nobody's any more.
func (s *script) rowsSkipped() (n int64) {
	for i := range s.scenarios {
		if f := s.scenarios[i].feed; f != nil {
			if d := f.deal.Load(); d != nil {
				n += d.skipped
			}
		}
	}
	return n
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
