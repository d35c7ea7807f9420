package stats

import "testing"

// TestPlacedRequestsCompleteTheirArrivals: with unit requests each request has
// an arrival; the last of an iteration ends with it.
func TestPlacedRequestsCompleteTheirArrivals(t *testing.T) {
	r := NewRecorder(Layout{Steps: []StepKey{{Scenario: "s", Step: "a"}}}, 1)
	sh := r.Shard(0)
	for range 5 {
		sh.Arrived(Arrival{WorkerFree: true})
	}
	sh.Placed()
	sh.Placed()
	sh.Iteration(Iteration{Outcome: Succeeded}) // of three requests
	sh.Placed()
	sh.Iteration(Iteration{Outcome: Interrupted}) // in the second of two
	s := r.Summary()
	s.Unit, s.Ended = "requests", true
	if s.Started != 5 || s.Completed != 4 || s.Interrupted != 1 {
		t.Errorf("started %d, completed %d, interrupted %d; want 5, 4, 1", s.Started, s.Completed, s.Interrupted)
	}
	res, err := NewResult(s, ScopeNode, nil)
	if err != nil || res.Iterations != 1 || res.Completed != 4 || res.Interrupted != 1 {
		t.Errorf("%v: result has %d iterations, %d completed, %d interrupted; want 1, 4, 1", err, res.Iterations, res.Completed, res.Interrupted)
	}
}
