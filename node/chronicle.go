package node

import (
	"context"
	"fmt"
	"log/slog"
	"time"
)

// chronicle logs what the log of the cluster decides, on every node.
func (n *Node) chronicle(ctx context.Context) error {
	before := n.machine.State()
	for {
		s, changed := n.machine.Watch()
		n.tell(before, s)
		before = s
		select {
		case <-changed:
		case <-ctx.Done():
			n.tell(before, n.machine.State()) // the ending that made the node go
			return nil
		}
	}
}

func (n *Node) tell(before, after *State) {
	if f := after.Failure; f != nil && before.Failure != f && n.refused(f.Reason) {
		n.log.Warn("no run: "+f.Reason, "event", "run_aborted", "exit_code", f.ExitCode)
	} else if f != nil && before.Failure != f {
		n.log.Error("no run: "+f.Reason, "event", "run_aborted", "exit_code", f.ExitCode)
	}
	over := after.Failure != nil && before.Failure != after.Failure
	for _, r := range []*Run{after.Last, after.Current, after.Next} {
		if r == nil {
			continue
		}
		was := before.Run(r.ID)
		if was == nil || was.Phase != r.Phase || was.Ended != r.Ended {
			n.tellRun(was, r)
			over = over || r.Ended
		}
		known := 1 // the first is told with the start
		if was != nil {
			known = max(known, len(was.Divisions))
		}
		for _, d := range r.Divisions[min(known, len(r.Divisions)):] {
			n.tellShares(after, r, d)
		}
	}
	for _, r := range before.Active() {
		if after.Run(r.ID) == nil && (r.StartAt == 0 || time.Now().Before(n.startOf(r))) {
			gone := *r
			gone.Phase, gone.Ended, gone.Ending = PhaseAborted, true, Ending{Reason: "another has taken its place"}
			n.tellRun(r, &gone)
		}
	}
	if over && after.Leaving() == nil && n.opt.Hooks.Stays != nil {
		n.opt.Hooks.Stays()
	}
}

func (n *Node) tellRun(was, r *Run) {
	log := n.log.With("run_id", r.ID, "config_version", r.Version)
	switch {
	case r.Phase == PhaseReady:
		log.Info("every expected node has the plan", "event", "cluster_ready")
	case r.Phase == PhaseScheduled:
		n.tellReady(was, log)
		log.Info("start decided", "event", "run_scheduled", "start_at", r.Start().UTC().Format(time.RFC3339Nano), "clock", r.Clock, "participants", len(r.Participants))
	case r.Phase == PhaseStopped && !r.Ended:
		tellStopped(r, log)
	case r.Phase == PhaseFinished, r.Phase == PhaseStopped:
		if was != nil && was.Phase != r.Phase && r.Phase == PhaseStopped { // both were applied together
			tellStopped(r, log)
		}
		log.Info("the run is over: "+r.Ending.Reason, "event", "run_finished", "exit_code", r.Ending.ExitCode)
	case r.Phase == PhaseAborted && r.Ending.ExitCode == ExitOK:
		log.Info("the run will not start: "+r.Ending.Reason, "event", "run_aborted")
	case r.Phase == PhaseAborted && n.refused(r.Ending.Reason):
		log.Warn("the run is aborted: "+r.Ending.Reason, "event", "run_aborted", "exit_code", r.Ending.ExitCode)
	case r.Phase == PhaseAborted:
		log.Error("the run is aborted: "+r.Ending.Reason, "event", "run_aborted", "exit_code", r.Ending.ExitCode)
	}
}

func tellStopped(r *Run, log *slog.Logger) {
	log.Warn("the run ends early: "+r.StopCause, "event", "run_stopped", "cause", r.StopCause)
}

// refused says that this node has told of it as an error already: the plan is invalid.
func (n *Node) refused(reason string) bool {
	told := n.toldInvalid.Load()
	return told != nil && *told == reason
}

// oldShares is how long ago it may be that a load was divided for a node to tell
// of it: who joins reads all of the log.
const oldShares = time.Minute

// tellShares says who sends what from now on.
func (n *Node) tellShares(s *State, r *Run, d Division) {
	if start := n.StartOf(r.ID); !start.IsZero() && time.Since(start.Add(d.At)) > oldShares {
		return
	}
	at := d.At.Round(time.Millisecond)
	text := fmt.Sprintf("%s: from %s on %d nodes take part, each with the whole load: %s", d.Cause, at, len(d.Members), d.inWords(false))
	if r.Divided {
		text = fmt.Sprintf("%s: from %s on (arrival %d) the load is divided anew: %s", d.Cause, at, d.From, d.inWords(true))
	} else if checked, err := n.hooks.Check(s.Configs[r.Version].Document); err == nil {
		text += "; " + checked.Load(len(d.Members))
	}
	n.log.Info(text, "event", "shares_changed", "run_id", r.ID, "at_s", d.At.Seconds(), "from_arrival", d.From, "nodes", len(d.Members))
}

// tellReady makes up for a Ready that was applied together with Schedule.
func (n *Node) tellReady(was *Run, log *slog.Logger) {
	if was == nil || was.Phase == PhaseDistributing {
		log.Info("every expected node has the plan", "event", "cluster_ready")
	}
}
