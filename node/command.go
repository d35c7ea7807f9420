package node

import (
	"errors"
	"fmt"
	"slices"
)

// Command is one entry of the log. Exactly one field is set. Every command
// that is about a run carries the run's id, and is refused with an error value
// unless the run is in a phase that allows it: a command that is committed
// late or twice changes nothing.
type Command struct {
	SetConfig *Config    `json:"set_config,omitempty"`
	BeginRun  *BeginRun  `json:"begin_run,omitempty"`
	Ready     *Ready     `json:"ready,omitempty"`
	Schedule  *Schedule  `json:"schedule,omitempty"`
	SetShares *SetShares `json:"set_shares,omitempty"`
	Stop      *Stop      `json:"stop,omitempty"`
	Abort     *Abort     `json:"abort,omitempty"`
	Finish    *FinishRun `json:"finish,omitempty"`
	StandDown *StandDown `json:"stand_down,omitempty"`
	Dissolve  *Dissolve  `json:"dissolve,omitempty"`
	Reopen    *Reopen    `json:"reopen,omitempty"`
	Follow    *Followed  `json:"follow,omitempty"` // what there is to say of the source beside runs of it
}

// BeginRun makes a run of a config that SetConfig has put there. Replaces
// names the run, not yet started, whose place it takes ("" if none): a run that is
// going stays, and the new one is prepared beside it.
type BeginRun struct {
	Run      Run    `json:"run"`
	Replaces string `json:"replaces"`
	Reopen   bool   `json:"reopen,omitempty"` // what is over, and the nodes would leave with, comes first: see Reopen
}

// Ready records that every expected node has acknowledged the config.
type Ready struct {
	RunID string `json:"run_id"`
}

// Schedule is the start decision.
type Schedule struct {
	RunID        string   `json:"run_id"`
	StartAt      int64    `json:"start_at"` // Unix ns
	Clock        string   `json:"clock"`    // whose clock: a server id
	Participants []Member `json:"participants"`
}

// SetShares divides the load of a run that is going anew.
type SetShares struct {
	RunID    string   `json:"run_id"`
	Division Division `json:"division"`
	After    int      `json:"after"` // how many divisions there are before it
}

// Stop ends a run early; results are still collected.
type Stop struct {
	RunID    string `json:"run_id"`
	Cause    string `json:"cause"`
	Detail   string `json:"detail,omitempty"` // of a threshold: which
	ExitCode int    `json:"exit_code"`
}

// Abort ends a run that shall have no result, or, without a RunID, the
// attempt to get one.
type Abort struct {
	RunID    string `json:"run_id"`
	Ending   Ending `json:"ending"`
	Revision string `json:"revision"` // of the source that failed, without a RunID
	Reopen   bool   `json:"reopen,omitempty"`
}

// FinishRun ends a run whose result has been judged.
type FinishRun struct {
	RunID  string `json:"run_id"`
	Ending Ending `json:"ending"`
}

// StandDown ends what the nodes do after a run that has finished.
type StandDown struct {
	RunID string `json:"run_id"`
}

// Dissolve makes an ephemeral node leave after the run that it was there for,
// unless another has begun meanwhile.
type Dissolve struct {
	RunID string `json:"run_id"`
}

// errPhase is what a command gets that comes too late, too early or twice.
var errPhase = fmt.Errorf("not in a phase that allows it: %w", ErrConflict)

// apply returns the state after c, or an error and the state unchanged. It
// knows no clock, no randomness and no I/O, so that every node computes the same.
func (s *State) apply(c Command) (*State, error) {
	next := s.clone()
	var err error
	switch {
	case c.SetConfig != nil:
		next.setConfig(*c.SetConfig)
	case c.BeginRun != nil:
		err = next.beginRun(*c.BeginRun)
	case c.Ready != nil:
		err = next.change(c.Ready.RunID, func(r *Run) error { return r.advance(PhaseReady, PhaseDistributing) })
	case c.Schedule != nil:
		err = next.change(c.Schedule.RunID, func(r *Run) error { return r.schedule(*c.Schedule) })
	case c.SetShares != nil:
		err = next.change(c.SetShares.RunID, func(r *Run) error { return r.setShares(*c.SetShares) })
	case c.Stop != nil:
		err = next.change(c.Stop.RunID, func(r *Run) error { return r.stop(*c.Stop) })
	case c.Abort != nil:
		err = next.abort(*c.Abort)
	case c.Finish != nil:
		err = next.finishRun(*c.Finish)
	case c.StandDown != nil:
		err = next.changeRested(c.StandDown.RunID, func(r *Run) { r.StoodDown = true })
	case c.Follow != nil:
		next.follow(*c.Follow)
	case c.Reopen != nil:
		err = next.reopen(*c.Reopen)
	case c.Dissolve != nil:
		err = next.dissolve(*c.Dissolve)
	default:
		err = errors.New("empty command")
	}
	if err != nil {
		return s, err
	}
	next.promote()
	next.wake()
	next.prune()
	return next, nil
}

func (s *State) setConfig(c Config) {
	s.Configs[c.Version] = c
	s.Newest = c.Version
}

func (s *State) beginRun(b BeginRun) error {
	if slices.Contains(s.Used, b.Run.ID) {
		return fmt.Errorf("begin run %s: it has begun already: %w", b.Run.ID, errPhase)
	}
	if _, ok := s.Configs[b.Run.Version]; !ok {
		return fmt.Errorf("begin run %s: config %s is not in the log: %w", b.Run.ID, b.Run.Version, errPhase)
	}
	if b.Reopen {
		if err := s.reopen(Reopen{}); err != nil {
			return fmt.Errorf("begin run %s: %w", b.Run.ID, err)
		}
	}
	if s.Leaving() != nil {
		return fmt.Errorf("begin run %s: the cluster is leaving: %w", b.Run.ID, errPhase)
	}
	run := b.Run
	run.Phase, run.StartAt, run.Clock, run.Participants, run.Divisions = PhaseDistributing, 0, "", nil, nil
	run.Ended, run.Ending = false, Ending{}
	if err := s.makeRoom(b); err != nil {
		return err
	}
	s.Failure = nil
	s.begun(&run)
	s.Used = append(slices.Clone(s.Used), run.ID)
	s.Used = s.Used[max(0, len(s.Used)-maxUsed):]
	switch {
	case s.Current == nil:
		s.Current = &run
	case s.Current.Ended:
		s.Last, s.Current = s.Current, &run
	default:
		s.Next = &run
	}
	return nil
}

// begun notes that a run has begun: what was rejected before it is of no
// interest any more, and the revision that it is of has been dealt with.
func (s *State) begun(run *Run) {
	switch before := s.Followed; {
	case run.Revision != "":
		s.Followed = &Followed{Revision: run.Revision}
	case before != nil:
		s.Followed = &Followed{Revision: before.Revision, Trouble: before.Trouble}
	}
	if s.Followed != nil && s.Followed.Revision != "" {
		s.Forgotten = nil // else a posted run came after what was forgotten
	}
}

func (s *State) follow(f Followed) {
	s.Followed = &f
	if s.Failure == nil && f.Revision != "" {
		s.Forgotten = nil
	}
}

// maxUsed is how many run ids are remembered; the state knows three runs.
const maxUsed = 32

// makeRoom ends the run that b replaces. A prepared run can only be replaced
// by name: a leader that does not know of it must not push it out, nor put
// another beside it, for both would run.
func (s *State) makeRoom(b BeginRun) error {
	replaced := s.Next
	if replaced == nil && s.Current != nil && (b.Replaces != "" || !s.Current.Going()) {
		replaced = s.Current
	}
	if replaced == nil || replaced.Ended {
		return nil
	}
	if replaced.ID != b.Replaces || replaced.Phase == PhaseStopped {
		return fmt.Errorf("begin run %s: run %s is %s: %w", b.Run.ID, replaced.ID, replaced.Phase, errPhase)
	}
	gone := *replaced
	gone.Phase, gone.Ended = PhaseAborted, true
	gone.Ending = Ending{Reason: "replaced by run " + b.Run.ID}
	switch {
	case s.Next != nil:
		s.Last, s.Next = &gone, nil
	case s.Last != nil && s.Last.Ending.Exit:
		// It ended beside the replaced one, and is what the nodes leave with should
		// b fail, too: its record is worth more than that of one that sent nothing.
		s.Current = nil
	default:
		s.Current = &gone
	}
	return nil
}

// change applies f to a copy of the run, so that states handed out stay as they are.
func (s *State) change(id string, f func(*Run) error) error {
	for _, slot := range []**Run{&s.Current, &s.Next} {
		if *slot != nil && (*slot).ID == id {
			r := **slot
			if err := f(&r); err != nil {
				return fmt.Errorf("run %s is %s: %w", id, r.Phase, err)
			}
			*slot = &r
			return nil
		}
	}
	return fmt.Errorf("run %s is not current or next: %w", id, errPhase)
}

func (r *Run) advance(to Phase, from ...Phase) error {
	if r.Ended || !slices.Contains(from, r.Phase) {
		return errPhase
	}
	r.Phase = to
	return nil
}

func (r *Run) schedule(c Schedule) error {
	if c.StartAt <= 0 || len(c.Participants) == 0 {
		return errors.New("schedule without an instant or without participants")
	}
	if err := r.advance(PhaseScheduled, PhaseReady); err != nil {
		return err
	}
	r.StartAt, r.Clock, r.Participants = c.StartAt, c.Clock, c.Participants
	r.Divisions = []Division{{Members: c.Participants, StartAt: c.StartAt, Clock: c.Clock}}
	return nil
}

func (r *Run) stop(c Stop) error {
	if err := r.advance(PhaseStopped, PhaseDistributing, PhaseReady, PhaseScheduled); err != nil {
		return err
	}
	r.StopCause, r.StopDetail, r.StopCode = c.Cause, c.Detail, c.ExitCode
	return nil
}

func (r *Run) finish(e Ending) error {
	phase := r.Phase
	if err := r.advance(PhaseFinished, PhaseScheduled, PhaseStopped); err != nil {
		return err
	}
	if phase == PhaseStopped {
		r.Phase = PhaseStopped
	}
	r.Ended, r.Ending = true, e
	return nil
}

// finishRun ends a run, and remembers it if the nodes stay after it.
func (s *State) finishRun(f FinishRun) error {
	if err := s.change(f.RunID, func(r *Run) error { return r.finish(f.Ending) }); err != nil {
		return err
	}
	if r := s.Run(f.RunID); r.Phase == PhaseFinished && !r.Ending.Exit {
		s.Rested = r
	}
	return nil
}

// wake forgets the run that the nodes rest after once another starts, or is
// stopped on its way there.
func (s *State) wake() {
	for _, r := range s.Active() {
		if r.StartAt != 0 || r.Phase == PhaseStopped {
			s.Rested = nil
		}
	}
}

// changeRested applies f to a copy of the run that the nodes rest after, if
// that is the one and no other is in hand.
func (s *State) changeRested(id string, f func(*Run)) error {
	if s.Rested == nil || s.Rested.ID != id || len(s.Active()) > 0 {
		return fmt.Errorf("run %s is not what the nodes rest after: %w", id, errPhase)
	}
	r := *s.Rested
	f(&r)
	s.Rested = &r
	return nil
}

func (s *State) dissolve(d Dissolve) error {
	if s.Rested == nil || !s.Rested.Ephemeral {
		return fmt.Errorf("dissolve after run %s: %w", d.RunID, errPhase)
	}
	return s.changeRested(d.RunID, func(r *Run) { r.Ending.Exit = true })
}

func (s *State) abort(a Abort) error {
	if a.RunID == "" {
		if a.Reopen && s.over() {
			if err := s.reopen(Reopen{}); err != nil {
				return err
			}
		}
		if len(s.Active()) > 0 || s.Leaving() != nil {
			return fmt.Errorf("abort without a run: %w", errPhase)
		}
		ending := a.Ending
		s.Failure = &ending
		if s.Forgotten == nil {
			s.Forgotten = &Forgotten{s.Followed}
		}
		if ending.ExitCode == ExitStopped {
			s.Followed = nil // nobody knows what the source had: it is no change when it is seen next
			return nil
		}
		s.Followed = &Followed{Revision: a.Revision}
		if a.Revision == "" {
			s.Followed.Trouble = ending.Reason
		}
		return nil
	}
	return s.change(a.RunID, func(r *Run) error {
		if err := r.advance(PhaseAborted, PhaseDistributing, PhaseReady, PhaseScheduled); err != nil {
			return err
		}
		r.Ended, r.Ending = true, a.Ending
		return nil
	})
}

// promote moves Next up once Current has ended. Whoever prepares or runs it
// goes on, so an ending that would have taken the nodes along no longer does.
func (s *State) promote() {
	if s.Next == nil {
		return
	}
	if s.Next.Ended {
		s.Last, s.Next = s.Next, nil // it failed beside Current, which goes on
		return
	}
	if s.Current != nil && s.Current.Ended {
		s.Last, s.Current, s.Next = s.Current, s.Next, nil
	}
}
