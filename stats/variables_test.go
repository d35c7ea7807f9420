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
