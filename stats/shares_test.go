package stats

import (
	"reflect"
	"strings"
	"testing"
)

// A run that was divided anew says so in the text, with what nobody sent, and
// its file keeps it; as it was at the start needs no line.
func TestSharesInTheResult(t *testing.T) {
	r := written(t, partOf(t, 0, 1), ScopeCluster)
	text := func(r *Result) string {
		var out strings.Builder
		if err := r.WriteText(&out, false); err != nil {
			t.Fatal(err)
		}
		return out.String()
	}
	half, third := 1.0/2, 1.0/3
	start := ShareResult{Nodes: []NodeShare{{"a", third}, {"b", third}, {"c", third}}}
	r.Shares = []ShareResult{start}
	if strings.Contains(text(r), "shares") {
		t.Error("shares that never changed have a line")
	}
	r.Shares = append(r.Shares,
		ShareResult{AtS: 12.35, FromArrival: 1235, Cause: "node c is lost", Nodes: []NodeShare{{"a", half}, {"b", half}}, Unsent: 310},
		ShareResult{AtS: 15, FromArrival: 1500, Cause: "node d joins", Nodes: start.Nodes})
	for _, want := range []string{
		"shares       from the start on: a 33.33 %, b 33.33 %, c 33.33 %\n",
		"from 12.35s on, node c is lost: a 50 %, b 50 %; before that 310 arrivals were sent by nobody that is known\n",
		"from 15s on, node d joins: a 33.33 %, b 33.33 %, c 33.33 %\n",
	} {
		if !strings.Contains(text(r), want) {
			t.Errorf("the text lacks %q:\n%s", want, text(r))
		}
	}
	back, err := MergeResults(reread(t, r))
	if err != nil {
		t.Fatal(err)
	}
	if !reflect.DeepEqual(back.Shares, r.Shares) {
		t.Errorf("shares %+v came back as %+v", r.Shares, back.Shares)
	}
	r.Shares[1].Nodes, r.Shares[1].Unsent = []NodeShare{{"a", 1}, {"b", 1}}, 0
	if want := "node c is lost: a, b, each the whole load\n"; !strings.Contains(text(r), want) {
		t.Errorf("the text lacks %q:\n%s", want, text(r))
	}
}
