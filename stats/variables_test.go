package stats

import (
	"reflect"
	"strings"
	"testing"
	"time"
)

// An attempt that no retry repaired is an error with a service time; the
// latency is that of the last one.
func TestSupersededAttemptsAreErrorsWithoutALatency(t *testing.T) {
	r := NewRecorder(oneStep(), 1)
	sh := r.Shard(0)
	sh.Request(Sample{Service: time.Millisecond, Status: 503, Kind: ErrServer, Complete: true, Superseded: true})
	sh.Request(Sample{Latency: 5 * time.Millisecond, Service: time.Millisecond, Status: 500, Kind: ErrServer, Complete: true})
	s := r.Summary()
	if s.Requests != 2 || s.Errors[ErrServer] != 2 || s.Retried != 0 || s.ErrorRate() != 1 {
		t.Errorf("%d requests, %d errors, %d retried, rate %v; want 2, 2, 0, 1", s.Requests, s.Errors[ErrServer], s.Retried, s.ErrorRate())
	}
	if s.Latency.Count() != 1 || s.Service.Count() != 2 {
		t.Errorf("%d latencies and %d service times, want 1 and 2", s.Latency.Count(), s.Service.Count())
	}
}

// Requests beyond one for each run of a step are attempts and hops, repaired or
// not; what was cut off is none of them.
func TestAmplificationIsThatOfRetriesAndHops(t *testing.T) {
	r := NewRecorder(oneStep(), 1)
	sh := r.Shard(0)
	sh.Request(Sample{Partial: true})                                // interrupted
	sh.Request(Sample{Status: 200, Complete: true})                  // after all that follows
	sh.Request(Sample{Status: 302, Complete: true, Partial: true})   // a hop
	sh.Request(Sample{Kind: ErrNetwork, Partial: true})              // an attempt that was repaired
	sh.Request(Sample{Status: 503, Kind: ErrServer, Complete: true}) // in vain, after these two:
	sh.Request(Sample{Status: 503, Kind: ErrServer, Complete: true, Superseded: true})
	sh.Request(Sample{Kind: ErrTimeout, Superseded: true})
	s := r.Summary()
	st := s.Steps[0]
	if st.Succeeded != 1 || st.Errors != 3 || st.Superseded != 2 || st.Extra != 4 {
		t.Errorf("%d succeeded, %d errors of which %d superseded, %d beyond; want 1, 3, 2, 4", st.Succeeded, st.Errors, st.Superseded, st.Extra)
	}
	res := written(t, s, ScopeNode)
	again, err := MergeResults(res)
	if err != nil || res.Amplification != 2.333 || again.Amplification != 2.333 { // 7 requests of 3 runs
		t.Errorf("amplification %v, read again %v (%v); want 2.333", res.Amplification, again.Amplification, err)
	}
	cut := NewRecorder(oneStep(), 1)
	cut.Shard(0).Request(Sample{Status: 200, Complete: true})
	cut.Shard(0).Request(Sample{Partial: true})
	if a := written(t, cut.Summary(), ScopeNode).Amplification; a != 0 {
		t.Errorf("amplification %v of a run that was cut off", a)
	}
}

func TestVariablesAndExamplesReachTheResult(t *testing.T) {
	a, b := NewRecorder(oneStep(), 2), NewRecorder(oneStep(), 1)
	a.Shard(0).Unresolved()
	a.Shard(1).ExtractionFailed()
	b.Shard(0).ExtractionFailed()
	a.Shard(0).Example(ErrServer, "first")
	a.Shard(0).Example(ErrServer, "second")
	b.Shard(0).Example(ErrServer, "of b")
	b.Shard(0).Example(ErrNetwork, strings.Repeat("x", maxExample)+"ü")
	s, err := Merge(a.Summary(), b.Summary())
	if err != nil {
		t.Fatal(err)
	}
	res, err := NewResult(s, ScopeCluster, nil)
	if err != nil {
		t.Fatal(err)
	}
	if want := (Variables{Unresolved: 1, ExtractionsFailed: 2}); res.Variables != want {
		t.Errorf("variables %+v, want %+v", res.Variables, want)
	}
	if want := map[string]string{"server_error": "first", "network": strings.Repeat("x", maxExample)}; !reflect.DeepEqual(res.ErrorExamples, want) {
		t.Errorf("examples %v, want %v", res.ErrorExamples, want)
	}
}
