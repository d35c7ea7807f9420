package stats

import (
	"cmp"
	"slices"
	"strings"
	"time"
)

// maxSlowest is how many of the slowest requests are kept.
const maxSlowest = 20

// Slow is one of the slowest requests of a run.
type Slow struct {
	At      time.Duration // since the run's start, when it was sent
	Latency time.Duration
	StepKey
	Status  int
	NodeID  string // "" if it is that of the summary
	NewConn bool
}

// slowerFirst is a total order, so that the same ones are kept in whatever
// order they come.
func slowerFirst(a, b Slow) int {
	return cmp.Or(
		cmp.Compare(b.Latency, a.Latency), cmp.Compare(a.At, b.At), strings.Compare(a.NodeID, b.NodeID),
		strings.Compare(a.Scenario, b.Scenario), strings.Compare(a.Step, b.Step),
		cmp.Compare(a.Status, b.Status), cmp.Compare(one(a.NewConn), one(b.NewConn)),
	)
}

// slowest collects the slowest requests, the slowest first.
type slowest struct {
	n     int
	items [maxSlowest]Slow
}

// offer keeps a request with a latency if it is among the slowest.
func (s *slowest) offer(key *StepKey, sm *Sample) {
	if sm.Partial || sm.Superseded || !sm.Complete && sm.Kind != ErrTimeout {
		return
	}
	if s.n == maxSlowest && sm.Latency < s.items[s.n-1].Latency {
		return
	}
	s.insert(Slow{At: sm.At, Latency: sm.Latency, StepKey: *key, Status: sm.Status, NewConn: sm.NewConn})
}

func (s *slowest) insert(x Slow) {
	at, _ := slices.BinarySearchFunc(s.items[:s.n], x, slowerFirst)
	if at == maxSlowest {
		return
	}
	s.n = min(s.n+1, maxSlowest)
	copy(s.items[at+1:s.n], s.items[at:])
	s.items[at] = x
}

// mergeSlowest keeps the slowest of both lists.
func mergeSlowest(a, b []Slow) []Slow {
	out := slices.Concat(a, b)
	slices.SortFunc(out, slowerFirst)
	return out[:min(len(out), maxSlowest)]
}

// ofNode names the node of those that do not say it.
func ofNode(items []Slow, nodeID string) []Slow {
	out := slices.Clone(items)
	for i := range out {
		out[i].NodeID = cmp.Or(out[i].NodeID, nodeID)
	}
	return out
}

func newSlowest(s *Summary) []SlowRequest {
	out := make([]SlowRequest, 0, len(s.Slowest))
	for _, x := range ofNode(s.Slowest, s.NodeID) {
		connection := "reused"
		if x.NewConn {
			connection = "new"
		}
		out = append(out, SlowRequest{
			T: round(x.At.Seconds(), 6), Ms: millis(x.Latency), Scenario: x.Scenario, Step: x.Step, Status: x.Status,
			NodeID: x.NodeID, Connection: connection,
		})
	}
	return out
}
