package node

import (
	"maps"
	"slices"
	"time"
)

// Exit codes of the process; k6's where it has one. What stands beside them is
// the reference that docs/generate prints.
const (
	ExitOK      = 0   // the run is finished; also: a signal ended a process that stays up and had no run
	ExitFailure = 1   // unexpected failure, such as a port that is taken, or a node that does not know the cluster's verdict
	ExitFailed  = 99  // a threshold of the plan failed
	ExitCluster = 102 // no leader in time, a node did not acknowledge or refused the plan, a clock is known too badly (`CLUSTER_MAX_CLOCK_ERROR`), or the tasks of a job did not meet (`RENDEZVOUS`)
	ExitInvalid = 104 // invalid settings or plan, or anything about its source: missing, forbidden, no credentials, timeout, syntax
	ExitStopped = 105 // ended before the plan was done, by SIGINT, SIGTERM or `POST /stop`; the report is written all the same
)

// Phase is how far a run has come. Only the log moves it, and only forward.
type Phase string

// The phases of a run, in order; the last three are endings.
const (
	PhaseDistributing Phase = "distributing"
	PhaseReady        Phase = "ready"
	PhaseScheduled    Phase = "scheduled"
	PhaseStopped      Phase = "stopped"
	PhaseFinished     Phase = "finished"
	PhaseAborted      Phase = "aborted"
)

// Run is the replicated record of one run.
type Run struct {
	ID        string        `json:"id"`
	Version   string        `json:"version"` // of its config
	Members   []Member      `json:"members"` // expected to acknowledge: the members at BeginRun
	Seed      int64         `json:"seed"`
	Tenant    string        `json:"tenant"`
	KeepAlive bool          `json:"keep_alive"` // nodes stay up after it
	Hold      bool          `json:"hold"`       // nodes stay up if it is aborted
	Posted    bool          `json:"posted"`     // posted, or a change of the source while nodes were up: its failure never ends a process
	Revision  string        `json:"revision"`   // of the source; "" if the plan was posted
	Duration  time.Duration `json:"duration"`   // planned
	Grace     time.Duration `json:"grace"`      // running iterations may drain for so long
	Standby   bool          `json:"standby"`    // its plan has load for the time after it
	Ephemeral bool          `json:"ephemeral"`  // the node leaves some time after it has finished
	Divided   bool          `json:"divided"`    // its load is that of all nodes together, not of each

	Phase        Phase      `json:"phase"`
	StartAt      int64      `json:"start_at"` // Unix ns in the clock of server Clock; 0 before Schedule
	Clock        string     `json:"clock"`
	Participants []Member   `json:"participants"` // everybody who has ever taken part
	Divisions    []Division `json:"divisions"`    // the first is that of Schedule
	StopCause    string     `json:"stop_cause"`
	StopDetail   string     `json:"stop_detail,omitempty"` // the threshold whose failure it is
	StopCode     int        `json:"stop_code"`
	Ended        bool       `json:"ended"` // nothing more happens to it
	Ending       Ending     `json:"ending"`
	StoodDown    bool       `json:"stood_down"` // nobody stands by after it any more
}

// Ending is how a run, or the attempt to get one, ended.
type Ending struct {
	ExitCode int    `json:"exit_code"`
	Reason   string `json:"reason"`
	Exit     bool   `json:"exit"` // every node leaves with ExitCode
}

// Followed is how far the source has been followed. Whoever leads goes on from
// there: a revision is dealt with once, and what was posted since stands.
type Followed struct {
	Revision string `json:"revision"` // dealt with last: a run was begun of it, or it was rejected; "" if there was none
	Error    string `json:"error"`    // why it was rejected, "" once any run has begun since
	Trouble  string `json:"trouble"`  // why the source has no plan at present
}

// Forgotten keeps a Followed, or that there was none.
type Forgotten struct {
	Followed *Followed `json:"followed"`
}

// State is what the cluster agrees on. Values are never changed in place:
// a State that was handed out stays as it is.
type State struct {
	Configs map[string]Config `json:"configs"` // by version; those that a run refers to, and the newest
	Newest  string            `json:"newest"`  // version of the last SetConfig
	Current *Run              `json:"current"` // generates load, or ended last
	Next    *Run              `json:"next"`    // prepared beside Current, takes over at its own start
	Last    *Run              `json:"last"`    // ended before Current
	// Rested is the run that has finished, and that the nodes have outlived: they stand by after it,
	// or are about to leave. A plan that fails before its start leaves it as it
	// is; one that starts, or is stopped, ends it.
	Rested *Run `json:"rested"`
	// Failure is set when the start-up source failed before there was a run.
	Failure *Ending `json:"failure"`
	// Followed is what was done about the source last, nil if nothing ever was:
	// then what it has when it is first looked at beside a run is no change.
	Followed *Followed `json:"followed"`
	// Forgotten is what Followed was before a start came to nothing, nil if none has since
	// a run began: that is what a posted run that is over came after.
	Forgotten *Forgotten `json:"forgotten,omitempty"`
	// Used are the newest run ids, so that none is given again while anybody may remember it.
	Used []string `json:"used"`
}

// Run returns the run with id, or nil.
func (s *State) Run(id string) *Run {
	for _, r := range []*Run{s.Current, s.Next, s.Last} {
		if r != nil && r.ID == id {
			return r
		}
	}
	return nil
}

// Active returns the runs that have not ended, the older first.
func (s *State) Active() []*Run {
	var runs []*Run
	for _, r := range []*Run{s.Current, s.Next} {
		if r != nil && !r.Ended {
			runs = append(runs, r)
		}
	}
	return runs
}

// Leaving returns the ending that makes every node leave, or nil.
func (s *State) Leaving() *Ending {
	if s.Failure != nil && s.Failure.Exit {
		return s.Failure
	}
	if s.Rested != nil && s.Rested.Ending.Exit {
		return &s.Rested.Ending
	}
	if s.Current == nil || !s.Current.Ended {
		return nil
	}
	if s.Current.Ending.Exit {
		return &s.Current.Ending
	}
	// A posted plan that failed ends nothing, but it does not keep either what
	// the run before it had ended.
	if s.Current.Phase == PhaseAborted && s.Current.Posted && s.Last != nil && s.Last.Ended && s.Last.Ending.Exit {
		return &s.Last.Ending
	}
	return nil
}

// StandsBy returns the run after which the nodes stand by, or nil: a test is
// over, none is in hand, and nobody has asked for silence.
func (s *State) StandsBy() *Run {
	if r := s.Rested; r != nil && !r.StoodDown && !r.Ephemeral && len(s.Active()) == 0 {
		return r
	}
	return nil
}

// Going says whether the run has a start: from then on it is not pushed out by
// another, but taken over from.
func (r *Run) Going() bool { return r.StartAt != 0 && !r.Ended }

// Start is the run's start in the clock that it names; zero before Schedule.
func (r *Run) Start() time.Time {
	if r.StartAt == 0 {
		return time.Time{}
	}
	return time.Unix(0, r.StartAt)
}

// Participates says whether this process of a member has a part in this run, or
// had one. A process that has restarted has none of what was its former life's.
func (r *Run) Participates(m Member) bool { return findLife(r.Participants, m) }

// Expects says whether the run waits for the server's acknowledgement.
func (r *Run) Expects(serverID string) bool { return find(r.Members, serverID) != nil }

func find(members []Member, serverID string) *Member {
	for i := range members {
		if members[i].ServerID == serverID {
			return &members[i]
		}
	}
	return nil
}

func findLife(members []Member, m Member) bool {
	return slices.ContainsFunc(members, m.sameLife)
}

func (m Member) sameLife(o Member) bool {
	return m.ServerID == o.ServerID && m.Incarnation == o.Incarnation
}

func (s *State) clone() *State {
	c := *s
	c.Configs = maps.Clone(s.Configs)
	if c.Configs == nil {
		c.Configs = map[string]Config{}
	}
	return &c
}

// prune forgets configs that nothing refers to any more.
func (s *State) prune() {
	keep := map[string]bool{s.Newest: true}
	for _, r := range []*Run{s.Current, s.Next, s.Rested} {
		if r != nil {
			keep[r.Version] = true
		}
	}
	maps.DeleteFunc(s.Configs, func(v string, _ Config) bool { return !keep[v] })
}
