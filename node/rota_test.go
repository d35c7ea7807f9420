package node

import (
	"encoding/json"
	"fmt"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hashicorp/raft"
)

func TestRowsReachEverybodyWithinABudget(t *testing.T) {
	row, err := json.Marshal(MemberStatus{NodeID: "node-00123", ServerID: "node-00123-0123abcd", Addr: "10.0.12.34:7000", Suffrage: "nonvoter", Alive: true,
		ConfigVersion: "sha256:" + fmt.Sprintf("%064d", 0), ClockOffsetMs: 0.123456, ClockBoundMs: 0.234567, StartSkewMs: 0.345678, Share: 0.0033333333333333335})
	if err != nil {
		t.Fatal(err)
	}
	for _, n := range []int{1, 2, 5, 20, 60, 300, 1000, 5000, 10_000} {
		size := n * len(row)
		var r rota
		shown, calls := map[int]bool{}, 0
		for ; len(shown) < n && calls <= n; calls++ {
			turn, carried := r.turn(n, size), 0
			for i := range n {
				if turn(i) {
					carried += size
					shown[i] = true
				}
			}
			if carried > max(rowsBudget, size) {
				t.Fatalf("%d members: a roll call carries %d bytes of rows", n, carried)
			}
		}
		if whole := (n*size + rowsBudget - 1) / rowsBudget; len(shown) < n || n <= 60 && calls != 1 || n <= 300 && calls > whole+1 {
			t.Errorf("%d members: %d have seen the rows after %d roll calls", n, len(shown), calls)
		}
	}
	if (&rota{}).turn(0, 10)(0) {
		t.Error("somebody of nobody has a turn")
	}
}

func TestAViewWithoutRowsKeepsThoseBefore(t *testing.T) {
	sees := leaderView{Members: []MemberStatus{{ServerID: "a"}, {ServerID: "b"}}, SentNs: 1}
	var v view
	show := func(leader string, in leaderView) {
		b, err := json.Marshal(in)
		if err != nil {
			t.Fatal(err)
		}
		v.set("b", leader, b)
	}
	show("a", sees)
	sees.SentNs, sees.Fetching, sees.Lost = 2, true, []string{"c"}
	show("a", sees.withoutRows())
	if got := v.get(); len(got.Members) != 2 || !got.Fetching || len(got.Lost) != 1 || v.given.sentNs != 2 {
		t.Errorf("view %+v, grant %+v", got, v.given)
	}
	sees.SentNs, sees.Lost = 3, []string{"b"}
	show("c", sees.withoutRows())
	if got := v.from("c"); len(got.Members) != 2 || v.given.sentNs != 2 {
		t.Errorf("of another leader: view %+v, grant %+v", got, v.given)
	}
}

// emptyWords counts the messages of replication that carry no entries.
type emptyWords struct {
	targeted
	sent *atomic.Int64
}

func (w emptyWords) AppendEntries(id raft.ServerID, target raft.ServerAddress, in *raft.AppendEntriesRequest, out *raft.AppendEntriesResponse) error {
	if in.LeaderCommitIndex > 0 && len(in.Entries) == 0 {
		w.sent.Add(1)
	}
	return w.targeted.AppendEntries(id, target, in, out)
}

func TestALargeClusterTellsCommitsLessOften(t *testing.T) {
	for nodes, want := range map[int][2]float64{3: {10, 20}, 20: {10, 20}, 21: {2, 4}} { // a second and member
		synctest.Test(t, func(t *testing.T) {
			c := newCluster(t, nodes)
			var sent atomic.Int64
			c.tweak = func(o *Options) {
				o.Wire.Transport = emptyWords{o.Wire.Transport.(targeted), &sent}
			}
			defer c.bury()
			c.waiting()
			const watched = 10 * time.Second
			sent.Store(0)
			sleep(t.Context(), watched)
			if rate := float64(sent.Load()) / watched.Seconds() / float64(nodes-1); rate < want[0] || rate > want[1] {
				t.Errorf("%d nodes: %.1f messages a second and member say nothing, want %v", nodes, rate, want)
			}
		})
	}
}
