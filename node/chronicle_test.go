package node

import (
	"log/slog"
	"strings"
	"testing"
)

// A node that applies several steps at once tells of each of them: whoever counts
// events by node misses none.
func TestStepsAppliedTogetherAreToldEach(t *testing.T) {
	run := func(phase Phase, ended bool) *State {
		return &State{Current: &Run{ID: "r", Phase: phase, Ended: ended, StopCause: "threshold", Ending: Ending{Reason: "ended early: threshold"}}}
	}
	for _, c := range []struct {
		before, after *State
		want          string
	}{
		{run(PhaseDistributing, false), run(PhaseScheduled, false), "cluster_ready run_scheduled"},
		{run(PhaseReady, false), run(PhaseScheduled, false), "run_scheduled"},
		{run(PhaseScheduled, false), run(PhaseStopped, false), "run_stopped"},
		{run(PhaseScheduled, false), run(PhaseStopped, true), "run_stopped run_finished"},
		{run(PhaseStopped, false), run(PhaseStopped, true), "run_finished"},
		{&State{}, run(PhaseStopped, true), "run_finished"}, // who comes after that has seen no stop
		{run(PhaseScheduled, false), run(PhaseFinished, true), "run_finished"},
	} {
		var log strings.Builder
		n := &Node{log: slog.New(slog.NewTextHandler(&log, nil))}
		n.tell(c.before, c.after)
		var got []string
		for word := range strings.FieldsSeq(log.String()) {
			if event, ok := strings.CutPrefix(word, "event="); ok {
				got = append(got, event)
			}
		}
		if strings.Join(got, " ") != c.want {
			t.Errorf("%+v, then %s, ended %v: %q, want %q", c.before.Current, c.after.Current.Phase, c.after.Current.Ended, got, c.want)
		}
	}
}
