package loadgen

import (
	"fmt"
	"math/rand/v2"
	"testing"
	"time"
)

// TestWhateverOthersKnowNobodySendsTwice: every node goes by some of the divisions,
// at least as many as its fellows have been told. No arrival is then two nodes', and
// where all know all, each is one's.
func TestWhateverOthersKnowNobodySendsTwice(t *testing.T) {
	p := planOf(t, "workers: 5, duration: 20s", "model: rps, target: 50, scope: cluster")
	const nodes = 5
	for seed := range uint64(60) {
		draw := rand.New(rand.NewPCG(seed, 7))
		divisions := randomDivisions(draw, p, nodes)
		knows, told := [nodes]int{}, Settlement{Divisions: 1 + draw.IntN(len(divisions)), But: map[string]int{}}
		for i := range nodes {
			id := fmt.Sprint("n", i)
			if draw.IntN(2) == 0 {
				told.But[id] = 1 + draw.IntN(told.Divisions)
			}
			knows[i] = told.of(id) + draw.IntN(len(divisions)-told.of(id)+1)
		}
		if seed%3 == 0 {
			told = Settlement{Divisions: len(divisions)}
			knows = [nodes]int{len(divisions), len(divisions), len(divisions), len(divisions), len(divisions)}
		}
		var claims []*claim
		for i := range nodes {
			w, err := newWorkload(p, fmt.Sprint("n", i), divisions[:knows[i]], 0)
			if err != nil {
				t.Fatal(err)
			}
			claims = append(claims, w.claims.Load())
		}
		sent, whole := 0, int64(900)
		for k := range whole {
			senders := 0
			for _, c := range claims {
				if c.owns(k) && c.sure(k, told) {
					senders++
				}
			}
			if sent += senders; senders > 1 {
				t.Fatalf("seed %d: arrival %d is sent by %d nodes, which know %v, told %+v", seed, k, senders, knows, told)
			}
		}
		if told.whole(len(divisions)) && int64(sent) != whole {
			t.Errorf("seed %d: %d of %d arrivals are sent, and all know all", seed, sent, whole)
		}
		if sent == 0 {
			t.Errorf("seed %d: nobody sends anything, of those who know %v, told %+v", seed, knows, told)
		}
	}
}

func TestWhatWasKnownIsKnownStill(t *testing.T) {
	first := Settlement{Divisions: 4, But: map[string]int{"a": 2, "b": 3}}
	for _, tc := range []struct {
		name       string
		then, want Settlement
	}{
		{"a new leader that knows nothing yet", Settlement{Divisions: 4, But: map[string]int{"a": 1, "b": 1, "c": 1}}, first},
		{"one has caught up", Settlement{Divisions: 4, But: map[string]int{"b": 3}}, Settlement{Divisions: 4, But: map[string]int{"b": 3}}},
		{"another division", Settlement{Divisions: 5, But: map[string]int{"a": 1, "b": 4, "d": 4}}, Settlement{Divisions: 5, But: map[string]int{"a": 2, "b": 4, "d": 4}}},
		{"all have", Settlement{Divisions: 5}, Settlement{Divisions: 5}},
		{"an old word", Settlement{Divisions: 3}, first},
	} {
		if got := first.with(tc.then); !got.equal(tc.want) {
			t.Errorf("%s: %+v, want %+v", tc.name, got, tc.want)
		}
	}
	var list settlements
	now := time.Now()
	for i := range 2 * mostSettlements {
		list = list.and(Settlement{Divisions: i + 2}, now.Add(time.Duration(i)*time.Second))
	}
	if len(list) != mostSettlements || list.at(now.Add(time.Minute)).Divisions != 1 || list.at(now.Add(time.Hour)).Divisions != 2*mostSettlements+1 {
		t.Errorf("%d are remembered", len(list))
	}
	if again := list.and(Settlement{Divisions: 3}, now.Add(time.Hour)); len(again) != len(list) {
		t.Error("an old word is remembered")
	}
}
