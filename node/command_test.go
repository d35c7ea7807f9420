package node

import (
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"reflect"
	"slices"
	"testing"
	"time"
)

var (
	testConfig = Config{Version: "v1", Document: []byte("plan")}
	memberA    = Member{ServerID: "a-1", NodeID: "a", Addr: "a:1"}
	memberB    = Member{ServerID: "b-1", NodeID: "b", Addr: "b:1"}
)

func begin(id, replaces string) Command {
	return Command{BeginRun: &BeginRun{Run: Run{ID: id, Version: "v1", Members: []Member{memberA, memberB}}, Replaces: replaces}}
}

func ready(id string) Command { return Command{Ready: &Ready{RunID: id}} }

func scheduleAt(id string, at int64) Command {
	return Command{Schedule: &Schedule{RunID: id, StartAt: at, Clock: "a-1", Participants: []Member{memberA}}}
}

func shares(id string, after int, at time.Duration, members ...Member) Command {
	return Command{SetShares: &SetShares{RunID: id, After: after, Division: Division{From: at.Milliseconds(), At: at, Members: members, StartAt: 5, Clock: "a-1", Cause: "a test"}}}
}

func finish(id string, exit bool) Command {
	return Command{Finish: &FinishRun{RunID: id, Ending: Ending{Exit: exit}}}
}

func abort(id string) Command {
	return Command{Abort: &Abort{RunID: id, Ending: Ending{ExitCode: 102, Exit: true}}}
}

func stop(id string) Command { return Command{Stop: &Stop{RunID: id, Cause: "stop", ExitCode: 105}} }

// afterAll applies commands that must all succeed.
func afterAll(t *testing.T, commands ...Command) *State {
	t.Helper()
	s := (&State{}).clone()
	for i, c := range commands {
		next, err := s.apply(c)
		if err != nil {
			t.Fatalf("command %d: %v", i, err)
		}
		s = next
	}
	return s
}

var setConfig = Command{SetConfig: &testConfig}

func TestCommandsOutOfPhaseAreRefused(t *testing.T) {
	scheduled := []Command{setConfig, begin("r1", ""), ready("r1"), scheduleAt("r1", 5)}
	for _, tt := range []struct {
		name   string
		before []Command
		c      Command
	}{
		{"run without its config", nil, begin("r1", "")},
		{"the same run twice", []Command{setConfig, begin("r1", "")}, begin("r1", "")},
		{"ready for an unknown run", []Command{setConfig}, ready("r1")},
		{"ready twice", []Command{setConfig, begin("r1", ""), ready("r1")}, ready("r1")},
		{"schedule before ready", []Command{setConfig, begin("r1", "")}, scheduleAt("r1", 5)},
		{"schedule twice", scheduled, scheduleAt("r1", 6)},
		{"schedule without an instant", []Command{setConfig, begin("r1", ""), ready("r1")}, scheduleAt("r1", 0)},
		{"finish before the start", []Command{setConfig, begin("r1", "")}, finish("r1", false)},
		{"finish twice", append(scheduled[:4:4], finish("r1", false)), finish("r1", true)},
		{"abort after the end", append(scheduled[:4:4], finish("r1", false)), abort("r1")},
		{"stop after stop", append(scheduled[:4:4], stop("r1")), stop("r1")},
		{"stop after the end", append(scheduled[:4:4], finish("r1", false)), stop("r1")},
		{"abort without a run while one is going", scheduled, abort("")},
		{"begin while all leave", append(scheduled[:4:4], finish("r1", true)), begin("r2", "")},
		{"push out a prepared run without naming it", append(scheduled[:4:4], begin("r2", "")), begin("r3", "")},
		{"divide before the start is decided", []Command{setConfig, begin("r1", ""), ready("r1")}, shares("r1", 0, 0, memberA)},
		{"divide twice", append(scheduled[:4:4], shares("r1", 1, 9, memberA, memberB)), shares("r1", 1, 9, memberA, memberB)},
		{"divide after one that nobody knows", scheduled, shares("r1", 2, 9, memberA)},
		{"divide among nobody", scheduled, shares("r1", 1, 9)},
		{"divide before the division that is there", append(scheduled[:4:4], shares("r1", 1, 9*time.Second, memberB)), shares("r1", 2, 8*time.Second, memberA)},
		{"divide a stopped run", append(scheduled[:4:4], stop("r1")), shares("r1", 1, 9, memberB)},
		{"divide a run that has ended", append(scheduled[:4:4], finish("r1", false)), shares("r1", 1, 9, memberB)},
		{"divide once too often", append(scheduled[:4:4], divided("r1", MaxDivisions-1)...), shares("r1", MaxDivisions, time.Hour, memberB)},
		{"nothing", nil, Command{}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s := afterAll(t, tt.before...)
			was, _ := json.Marshal(s)
			next, err := s.apply(tt.c)
			if err == nil {
				t.Fatal("accepted")
			}
			if now, _ := json.Marshal(next); string(now) != string(was) {
				t.Errorf("a refused command changed the state\nfrom %s\nto   %s", was, now)
			}
		})
	}
}

// divided divides a run so many times.
func divided(id string, times int) (commands []Command) {
	for i := range times {
		commands = append(commands, shares(id, i+1, time.Duration(i)*time.Second, memberA))
	}
	return commands
}

func TestDivisionsKeepEverybodyWhoTookPart(t *testing.T) {
	s := afterAll(t, setConfig, begin("r1", ""), ready("r1"), scheduleAt("r1", 5), shares("r1", 1, time.Second, memberB), shares("r1", 2, 2*time.Second, memberA, memberB))
	r := s.Run("r1")
	if len(r.Divisions) != 3 || len(r.Participants) != 2 || !r.Participates(Member{ServerID: "a-1"}) || !r.Participates(Member{ServerID: "b-1"}) {
		t.Fatalf("divisions %+v, participants %+v", r.Divisions, r.Participants)
	}
	if d := r.Divisions[0]; d.StartAt != 5 || d.Clock != "a-1" || d.From != 0 || d.At != 0 || len(d.Members) != 1 {
		t.Errorf("the first division is %+v, want that of the start", d)
	}
	if d := r.entry(Member{ServerID: "b-1"}); d.At != time.Second {
		t.Errorf("b enters with %+v, want the division after a second", d)
	}
}

func TestNextTakesOverWhenCurrentEnds(t *testing.T) {
	s := afterAll(t, setConfig, begin("r1", ""), ready("r1"), scheduleAt("r1", 5), begin("r2", ""), ready("r2"), scheduleAt("r2", 9))
	if s.Current.ID != "r1" || s.Next.ID != "r2" {
		t.Fatalf("current %s, next %s", s.Current.ID, s.Next.ID)
	}
	s, err := s.apply(finish("r1", true))
	if err != nil {
		t.Fatal(err)
	}
	if s.Current.ID != "r2" || s.Next != nil || s.Last.ID != "r1" {
		t.Errorf("current %s, next %v, last %s; want r2, none, r1", s.Current.ID, s.Next, s.Last.ID)
	}
	if s.Leaving() != nil {
		t.Error("the end of the replaced run makes the nodes leave")
	}
}

func TestFailedNextLeavesCurrentAlone(t *testing.T) {
	s := afterAll(t, setConfig, begin("r1", ""), ready("r1"), scheduleAt("r1", 5), begin("r2", ""), abort("r2"))
	if s.Current.ID != "r1" || s.Current.Phase != PhaseScheduled || s.Next != nil || s.Last.ID != "r2" {
		t.Errorf("state %+v", s)
	}
	if s.Leaving() != nil {
		t.Error("a plan that failed beside a run makes the nodes leave")
	}
}

func TestReplaceBeforeTheStart(t *testing.T) {
	s := afterAll(t, setConfig, begin("r1", ""), begin("r2", "r1"))
	if s.Current.ID != "r2" || s.Last.ID != "r1" || s.Last.Phase != PhaseAborted || s.Last.Ending.Exit {
		t.Errorf("current %+v, last %+v", s.Current, s.Last)
	}
}

// TestReplacedPostKeepsTheEndingBeforeIt: the run that has ended beside it made
// the nodes leave, and still does should what has come since fail.
func TestReplacedPostKeepsTheEndingBeforeIt(t *testing.T) {
	posted := func(id, replaces string) Command {
		c := begin(id, replaces)
		c.BeginRun.Run.Posted = true
		return c
	}
	going := []Command{setConfig, begin("r1", ""), ready("r1"), scheduleAt("r1", 5), posted("r2", ""), finish("r1", true)}
	for name, until := range map[string][]Command{"distributing": nil, "scheduled": {ready("r2"), scheduleAt("r2", 9)}} {
		t.Run(name, func(t *testing.T) {
			s := afterAll(t, slices.Concat(going, until, []Command{posted("r3", "r2"), posted("r4", "r3")})...)
			if s.Current.ID != "r4" || s.Last.ID != "r1" || s.Leaving() != nil {
				t.Fatalf("current %s, last %s, leaving %+v", s.Current.ID, s.Last.ID, s.Leaving())
			}
			s, err := s.apply(Command{Abort: &Abort{RunID: "r4", Ending: Ending{ExitCode: 102}}})
			if err != nil || s.Leaving() == nil || *s.Leaving() != s.Run("r1").Ending {
				t.Errorf("leaving with %+v (%v), want the ending of r1", s.Leaving(), err)
			}
		})
	}
}

func TestReplacedNextIsRecordedAsAborted(t *testing.T) {
	s := afterAll(t, setConfig, begin("r1", ""), ready("r1"), scheduleAt("r1", 5), begin("r2", ""), ready("r2"), scheduleAt("r2", 9), begin("r3", "r2"))
	if r := s.Run("r2"); r == nil || r.Phase != PhaseAborted || !r.Ended || r.Ending.Exit {
		t.Errorf("the replaced run is %+v, want it aborted: nodes that have armed it must learn of it", r)
	}
	if s.Current.ID != "r1" || s.Next.ID != "r3" {
		t.Errorf("current %s, next %s", s.Current.ID, s.Next.ID)
	}
}

// phaseRank orders the phases; the last three are endings.
var phaseRank = map[Phase]int{PhaseDistributing: 0, PhaseReady: 1, PhaseScheduled: 2, PhaseStopped: 3, PhaseFinished: 4, PhaseAborted: 4}

// TestInvariantsUnderAnyInterleaving throws random commands, repeated, late
// and for the wrong run, at the state: whatever the order, there is at most one
// current and one next run, phases only go forward, a start never moves, an end stays.
func TestInvariantsUnderAnyInterleaving(t *testing.T) {
	for seed := range uint64(300) {
		rng := rand.New(rand.NewPCG(seed, 1))
		s := afterAll(t, setConfig)
		var history []Command
		for i := range 120 {
			id := fmt.Sprintf("r%d", rng.IntN(3))
			all := []Command{
				setConfig, begin(id, ""), begin(id, fmt.Sprintf("r%d", rng.IntN(3))), ready(id), scheduleAt(id, int64(i+1)),
				stop(id), finish(id, rng.IntN(4) == 0), abort(id), abort(""),
				shares(id, rng.IntN(3)+1, time.Duration(i), memberA), shares(id, rng.IntN(3)+1, time.Duration(i), memberB),
			}
			c := all[rng.IntN(len(all))]
			if len(history) > 0 && rng.IntN(3) == 0 {
				c = history[rng.IntN(len(history))] // again, late
			}
			history = append(history, c)
			frozen, _ := json.Marshal(s)
			next, err := s.apply(c)
			if after, _ := json.Marshal(s); string(after) != string(frozen) {
				t.Fatalf("seed %d: a state that was handed out changed", seed)
			}
			checkStep(t, seed, s, next, err)
			s = next
		}
	}
}

func checkStep(t *testing.T, seed uint64, before, after *State, err error) {
	t.Helper()
	if err != nil && !reflect.DeepEqual(before, after) {
		t.Fatalf("seed %d: refused (%v), yet the state changed", seed, err)
	}
	if after.Next != nil && (after.Current == nil || after.Current.Ended || after.Next.Ended || after.Next.ID == after.Current.ID) {
		t.Fatalf("seed %d: next without a current that is going: %+v", seed, after)
	}
	for _, was := range []*Run{before.Current, before.Next} {
		if was == nil {
			continue
		}
		now := after.Run(was.ID)
		if now == nil {
			if was.StartAt != 0 && !was.Ended {
				t.Fatalf("seed %d: scheduled run %s vanished", seed, was.ID)
			}
			continue
		}
		if phaseRank[now.Phase] < phaseRank[was.Phase] {
			t.Fatalf("seed %d: run %s went from %s back to %s", seed, was.ID, was.Phase, now.Phase)
		}
		if was.StartAt != 0 && (now.StartAt != was.StartAt || now.Clock != was.Clock) {
			t.Fatalf("seed %d: the start of %s moved from %d to %d", seed, was.ID, was.StartAt, now.StartAt)
		}
		if len(now.Divisions) < len(was.Divisions) || len(was.Divisions) > 0 && !reflect.DeepEqual(now.Divisions[:len(was.Divisions)], was.Divisions) {
			t.Fatalf("seed %d: the divisions of %s changed from %+v to %+v", seed, was.ID, was.Divisions, now.Divisions)
		}
		for i, d := range now.Divisions {
			if i > 0 && (d.At < now.Divisions[i-1].At || d.From < now.Divisions[i-1].From) {
				t.Fatalf("seed %d: divisions of %s out of order: %+v", seed, was.ID, now.Divisions)
			}
			for _, m := range d.Members {
				if !now.Participates(m) {
					t.Fatalf("seed %d: %s has a part of %s and does not participate", seed, m.ServerID, was.ID)
				}
			}
		}
		if was.Ended && (!now.Ended || now.Ending != was.Ending) {
			t.Fatalf("seed %d: the end of %s was undone: %+v", seed, was.ID, now)
		}
	}
}

func TestSnapshotRestoresTheState(t *testing.T) {
	m := newMachine()
	for _, c := range []Command{setConfig, begin("r1", ""), ready("r1"), scheduleAt("r1", 5), shares("r1", 1, time.Second, memberA, memberB)} {
		if err := m.apply(c); err != nil {
			t.Fatal(err)
		}
	}
	snap, err := m.Snapshot()
	if err != nil {
		t.Fatal(err)
	}
	sink := &memorySink{}
	if err := snap.Persist(sink); err != nil {
		t.Fatal(err)
	}
	restored := newMachine()
	_, changed := restored.Watch()
	if err := restored.Restore(sink.reader()); err != nil {
		t.Fatal(err)
	}
	select {
	case <-changed:
	default:
		t.Error("a restore wakes nobody")
	}
	if got, want := restored.State(), m.State(); !reflect.DeepEqual(got, want) {
		t.Errorf("restored %+v, want %+v", got, want)
	}
	if err := newMachine().Restore(readCloser("{")); err == nil {
		t.Error("a cut snapshot was restored")
	}
}

func TestCommandsSurviveTheLog(t *testing.T) {
	c := begin("r1", "r0")
	b, err := json.Marshal(c)
	if err != nil {
		t.Fatal(err)
	}
	var back Command
	if err := json.Unmarshal(b, &back); err != nil || !reflect.DeepEqual(c, back) {
		t.Errorf("got %+v, %v", back, err)
	}
	if _, err := (&State{}).clone().apply(Command{}); errors.Is(err, errPhase) {
		t.Error("an empty command is a fault, not a matter of phase")
	}
}
