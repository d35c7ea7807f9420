package e2e

import (
	"errors"
	"strings"
	"testing"
	"time"
)

// unheard is how much of what a node has sent, by time, may die with it.
const unheard = 1500 * time.Millisecond

// The leader is killed in mid-run, without a word: the others send their parts
// without a gap, and the new leader's report has what the old one had sent, but
// for the last moment, and says so.
func TestLostLeader(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	target, store := b.target(), b.gcsStore()
	l := load{rps: 500, seconds: 10}
	plan := l.plan(target.base())
	store.put(plan)
	nodes := b.nodes(three(), store.settings())
	startAll(t, nodes)
	startAt := waitReady(t, nodes, plan, formTime)
	leader, stayed := waitLeader(t, nodes, formTime)
	eventually(t, formTime, "the run is under way", func() error {
		if time.Since(startAt) < 4700*time.Millisecond { // most of a second since its last word
			return errors.New("not yet")
		}
		return nil
	})
	leader.kill()
	wantExits(t, stayed, l.duration()+endTime, 0)

	counted, result := target.stats(), clusterResult(t, stayed)
	for _, n := range stayed {
		l.wantSent(t, counted.from(n).Total, 1, n.name)
	}
	limit := int64(unheard.Seconds() * float64(l.rps))
	if missing := counted.Total - result.Requests; missing < 0 || missing > limit {
		t.Errorf("the report counts %d requests, the target %d: %d are missing, want 0 to %d", result.Requests, counted.Total, missing, limit)
	}
	if len(result.Nodes) != len(nodes) {
		t.Fatalf("the report names %d nodes, want %d", len(result.Nodes), len(nodes))
	}
	for _, part := range result.Nodes {
		sent := counted.from(leader).Total
		switch {
		case part.NodeID != leader.name && !part.Complete:
			t.Errorf("the part of %s is not complete: %s", part.NodeID, part.Reason)
		case part.NodeID == leader.name:
			t.Logf("the report has %d of the %d requests that the target saw of the lost leader: %q", part.Requests, sent, part.Reason)
			if part.Complete || !strings.HasPrefix(part.Reason, "it was lost 4.") || part.Requests < sent-limit || part.Requests > sent {
				t.Errorf("complete %v, reason %q, %d requests of %d", part.Complete, part.Reason, part.Requests, sent)
			}
		}
	}
}
