package main

import (
	"context"
	"errors"
	"fmt"
	"reflect"
	"strings"
	"testing"
	"time"

	"volley/loadgen"
	"volley/node"
	"volley/stats"
)

const dividedPlan = `version: "1.0"
config: {baseUrl: "http://127.0.0.1:9", duration: 60s, workers: 2}
load: {model: rps, target: 300, scope: cluster}
scenarios: [{name: s, steps: [{name: get, request: {method: GET, path: /}}]}]
`

func membersOf(ids ...string) (out []node.Member) {
	for _, id := range ids {
		out = append(out, node.Member{ServerID: id + "-1", NodeID: id, Weight: 1})
	}
	return out
}

// The report says how many arrivals of a node that was lost were sent by nobody
// that is known, where it was lost for good, and counts them as asked for.
func TestUnsentOfALostNode(t *testing.T) {
	run := node.Run{ID: "r", Version: "sha256:1", Divided: true, Duration: time.Minute, Participants: membersOf("a", "b", "c", "d"), Divisions: []node.Division{
		{Members: membersOf("a", "b", "c")},
		{At: 10 * time.Second, From: 3000, Members: membersOf("a", "b"), Cause: "node c is lost"},
		{At: 20 * time.Second, From: 6000, Members: membersOf("a", "b", "c"), Cause: "node c is back"},
		{At: 30 * time.Second, From: 9000, Members: membersOf("a", "c"), Cause: "node b is gone"},
		{At: 40 * time.Second, From: 12000, Members: membersOf("a", "d"), Cause: "node c is lost, node d joins"},
	}}
	o := node.Outcome{Run: run, Config: node.Config{Version: "sha256:1", Document: []byte(dividedPlan)}, Reports: []node.Report{
		reportOf(t, "a", 9000, nil), reportOf(t, "d", 3000, nil),
		reportOf(t, "b", 3000, func(r *node.Report) { r.Left = true }),   // of 1000 + 1500 + 1000
		reportOf(t, "c", 1900, func(r *node.Report) { r.Final = false }), // of 1000 + 1000 + 1500
	}, Lost: membersOf("c")}
	merged, _, due, err := merge(o, readAll)
	if err != nil {
		t.Fatal(err)
	}
	rows := sharesOf(o, due)
	var got []int64
	for _, row := range rows {
		got = append(got, row.Unsent)
	}
	if want := []int64{0, 0, 0, 500, 1600}; !reflect.DeepEqual(got, want) {
		t.Errorf("unsent %v, want %v", got, want)
	}
	third := 1.0 / 3
	if want := (stats.ShareResult{AtS: 20, FromArrival: 6000, Cause: "node c is back", Nodes: []stats.NodeShare{{NodeID: "a", Share: third}, {NodeID: "b", Share: third}, {NodeID: "c", Share: third}}}); !reflect.DeepEqual(rows[2], want) {
		t.Errorf("row %+v, want %+v", rows[2], want)
	}
	r := &results{thresholds: (&runner{}).judged}
	result, err := r.result(o)
	if err != nil {
		t.Fatal(err)
	}
	if asked := *result.Target.Iterations; asked != int64(merged.Target)+2100 {
		t.Errorf("%d arrivals asked for, want those of the reports and 2100", asked)
	}
	shares := map[string]float64{}
	for _, n := range result.Nodes {
		shares[n.NodeID] = *n.Share
	}
	if want := map[string]float64{"a": 0.5, "b": third, "c": 0.5, "d": 0.5}; !reflect.DeepEqual(shares, want) {
		t.Errorf("the nodes' lines have the shares %v, want those when they sent last, %v", shares, want)
	}
	if alone := shareOf(node.Run{Participants: run.Participants[:1], Divisions: run.Divisions}, "a-1"); alone != nil {
		t.Errorf("a node that sends alone has a share of %v, want none", *alone)
	}
	o.Run.Divided = false
	if rows := sharesOf(o, due); rows[4].Unsent != 0 || rows[4].Nodes[1].Share != 1 {
		t.Errorf("a load that is not divided: %+v", rows[4])
	}
}

// tellEngine notes what it is told.
type tellEngine struct {
	loadgen.Engine
	told    []string
	meeting func() // while it prepares a divided run
	fail    error
}

func (e *tellEngine) Prepare(_ context.Context, job loadgen.Job) error {
	e.told = append(e.told, fmt.Sprintf("prepare %d leased %v", len(job.Divisions), job.Leased))
	if len(job.Divisions) > 0 && e.meeting != nil {
		e.meeting()
	}
	return nil
}

func (e *tellEngine) Redivide(_ context.Context, _ string, d loadgen.Division) error {
	if e.fail != nil {
		return e.fail
	}
	e.told = append(e.told, fmt.Sprintf("redivide %d", d.From))
	return nil
}

func (e *tellEngine) Run(context.Context, string, time.Time, func(*stats.Summary)) (*stats.Summary, error) {
	e.told = append(e.told, "run")
	return nil, nil
}

// Each division reaches the engine once and in order, whenever it comes: while
// the engine prepares the run, before, or after one that it did not take.
func TestDivisionsReachTheEngineInOrder(t *testing.T) {
	with := func(divisions int, divided bool) node.Run {
		run := node.Run{ID: "r", Divided: divided, Participants: membersOf("a", "b")}
		for i := range divisions {
			run.Divisions = append(run.Divisions, node.Division{From: int64(i), Members: membersOf("a", "b")})
		}
		return run
	}
	ready := func(document string) (*runner, *tellEngine) {
		e := &tellEngine{}
		r := &runner{engine: e, self: membersOf("a")[0], clustered: true, jobs: map[string]prepared{}, playing: map[string]*playing{}}
		if err := r.Prepare(t.Context(), "r", node.Config{Version: "v", Document: []byte(document)}, nil, 1); err != nil {
			t.Fatal(err)
		}
		e.told = nil
		return r, e
	}
	redivide := func(r *runner, run node.Run, want bool) {
		t.Helper()
		if err := r.Redivide(t.Context(), run); (err == nil) != want {
			t.Errorf("redivide: %v", err)
		}
	}
	check := func(e *tellEngine, want string) {
		t.Helper()
		if got := strings.Join(e.told, ", "); got != want {
			t.Errorf("told %q, want %q", got, want)
		}
	}
	r, e := ready(dividedPlan)
	e.meeting = func() { redivide(r, with(3, true), true) }
	if _, err := r.Run(t.Context(), with(2, true), time.Now(), node.Told{}); err != nil {
		t.Fatal(err)
	}
	for _, fail := range []error{loadgen.ErrEngine, loadgen.ErrUnknownRun, errors.New("no row is left")} {
		e.fail = fail
		// What says nothing of the part is tried again.
		if err := r.Redivide(t.Context(), with(5, true)); !errors.Is(err, fail) || errors.Is(err, node.ErrRefused) != strings.Contains(fail.Error(), "row") {
			t.Errorf("redivide: %v", err)
		}
	}
	e.fail = nil
	redivide(r, with(5, true), true)
	redivide(r, with(5, true), true)
	check(e, "prepare 2 leased true, redivide 2, run, redivide 3, redivide 4")

	// A load that is each node's own does not change for those who had it from the start.
	whole := strings.Replace(dividedPlan, "scope: cluster", "scope: node", 1)
	r, e = ready(whole)
	if _, err := r.Run(t.Context(), with(1, false), time.Now(), node.Told{}); err != nil {
		t.Fatal(err)
	}
	redivide(r, with(2, false), true)
	check(e, "run")

	// Who comes later is told where it enters.
	r, e = ready(whole)
	r.self = membersOf("c")[0]
	run := with(1, false)
	run.Divisions = append(run.Divisions, node.Division{From: 7, Members: membersOf("a", "b", "c")})
	if _, err := r.Run(t.Context(), run, time.Now(), node.Told{}); err != nil {
		t.Fatal(err)
	}
	check(e, "prepare 2 leased false, run")
}
