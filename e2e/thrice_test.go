package e2e

import (
	"regexp"
	"slices"
	"strconv"
	"testing"
	"time"
)

const (
	thriceRate = 300 // of all nodes, in arrivals per second
	thriceRun  = 60 * time.Second
	// inFlight is how many requests a node may have sent and not counted yet at its last word.
	inFlight = 20
)

// stated is the moment up to which the report knows of a node that it has lost.
var stated = regexp.MustCompile(`it was (?:lost|restarted, and had told of its first) (\d+\.\d) s`)

// The leader is killed three times in mid-run, each time once the one killed before
// votes again: one run, no arrival twice, one verdict; and the report has all that the
// target counted, but for what the killed ones had sent after their last word, which
// is the moment that it states for each of them.
func TestLeaderKilledThrice(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	target, store := b.target(), b.gcsStore()
	plan := tracedPlan(target.base(), constant(thriceRate, "cluster"), thriceRun)
	store.put(plan)
	nodes := b.nodes(three(), store.settings())
	startAll(t, nodes)
	startAt := waitReady(t, nodes, plan, formTime)
	c := &chaos{t: t, nodes: nodes}
	var killed []*node
	for whole := startAt; len(killed) < 3; whole = time.Now() {
		// By then the one that was killed before has had its part of the load again for
		// some seconds, and has told of it: it may lead now.
		<-time.After(time.Until(whole.Add(6 * time.Second)))
		leader := firstLeader(t, nodes)
		t.Logf("%v after the start: kill %s", time.Since(startAt).Round(time.Millisecond), leader.name)
		leader.kill()
		killed = append(killed, leader)
		leader.start()
		c.awaitVoters(leader)
		t.Logf("%v after the start: %s votes again", time.Since(startAt).Round(time.Millisecond), leader.name)
	}
	if late := time.Since(startAt); late > thriceRun-2*time.Second {
		t.Fatalf("the third of the killed votes %v after the start: not in mid-run", late)
	}
	wantExits(t, nodes, time.Until(startAt)+thriceRun+endTime+30*time.Second, 0)

	counted, result := target.stats(), newestResult(t, nodes)
	wantRun(t, counted.Arrivals, startAt)
	wantOnce(t, indices(t, counted.Arrivals))
	wantOneLeaderPerTerm(t, nodes)
	var sum, told int64
	lost := map[string][]time.Duration{} // by node, the moments of its last words
	for _, part := range result.Nodes {
		sum += part.Requests
		t.Logf("%s: %d requests, complete %v %s", part.NodeID, part.Requests, part.Complete, part.Reason)
		if m := stated.FindStringSubmatch(part.Reason); m != nil {
			seconds, _ := strconv.ParseFloat(m[1], 64) // as matched
			lost[part.NodeID] = append(lost[part.NodeID], time.Duration(seconds*float64(time.Second)))
		} else if !part.Complete {
			t.Errorf("%s is incomplete, and the report does not say since when: %q", part.NodeID, part.Reason)
		}
	}
	if sum != result.Requests {
		t.Errorf("the parts add up to %d requests, the report has %d", sum, result.Requests)
	}
	for _, n := range nodes {
		times := slices.Sorted(slices.Values(lost[n.name]))
		deaths := slices.DeleteFunc(slices.Clone(killed), func(k *node) bool { return k != n })
		if len(times) != len(deaths) {
			t.Errorf("the report has %d lost parts of %s, which was killed %d times", len(times), n.name, len(deaths))
		}
		for _, last := range times {
			told += sentAfter(of(counted.Arrivals, n), startAt.Add(last))
		}
	}
	missing := counted.Total - result.Requests
	t.Logf("the target counted %d requests, the report %d: %d are missing, of which %d were sent after the moments that it states", counted.Total, result.Requests, missing, told)
	// The moments are stated in tenths of a second.
	slack := int64(len(killed)) * (inFlight + thriceRate/10)
	if most := int64(len(killed)) * int64(unheard.Seconds()*thriceRate/2); missing < 0 || missing > most || missing > told+slack || missing < told-slack {
		t.Errorf("%d requests are missing; want at most %d, and %d ± %d by the report", missing, most, told, slack)
	}
}

// sentAfter is how many requests a node has sent after a moment and before it fell
// silent: in the next half second it was dead.
func sentAfter(all []arrival, moment time.Time) (n int64) {
	slices.SortFunc(all, func(a, b arrival) int { return a.sent().Compare(b.sent()) })
	last := moment
	for _, a := range all {
		switch {
		case a.sent().Before(moment):
		case a.sent().Sub(last) > unheard/2:
			return n
		default:
			last, n = a.sent(), n+1
		}
	}
	return n
}
