package node

import (
	"context"
	"slices"
	"sync"
	"time"
)

// supervise sees a scheduled run through: pushes the start (and a stop) to
// the participants, waits for their summaries, has them judged, commits the verdict.
func (l *leader) supervise(ctx context.Context, runID string) error {
	var push sync.WaitGroup
	work, cancel := context.WithCancel(ctx)
	defer push.Wait()
	defer cancel()
	push.Go(func() { l.pushStart(work, runID) })
	var stopped time.Time
	for {
		s, changed := l.n.machine.Watch()
		r := s.Run(runID)
		if r == nil || r.Ended {
			return nil
		}
		if r.Phase == PhaseStopped && stopped.IsZero() {
			stopped = time.Now()
			push.Go(func() { l.pushStop(work, r) })
		}
		reports, news := l.n.reports.of(runID)
		if l.complete(s, r, reports, stopped) {
			return l.conclude(ctx, r, reports)
		}
		t := time.NewTimer(superviseEvery)
		select {
		case <-changed:
		case <-news:
		case <-t.C:
		case <-ctx.Done():
		}
		t.Stop()
		if ctx.Err() != nil {
			return nil
		}
	}
}

// complete says whether nothing more is to be waited for. A run is judged after
// the one that it took over from: theirs is the order of the log.
func (l *leader) complete(s *State, r *Run, reports map[string]Report, stopped time.Time) bool {
	if r.StartAt == 0 {
		return true // stopped before it was scheduled
	}
	if s.Next != nil && s.Next.ID == r.ID {
		return false
	}
	end := l.plannedEnd(s, r, stopped)
	missing, all := 0, true
	for _, p := range r.Participants {
		if reports[p.ServerID].Final {
			continue
		}
		missing++
		all = all && l.crew.lost(p.ServerID)
	}
	switch now := time.Now(); {
	case missing == 0:
		return true
	case all:
		return now.After(end)
	default:
		return now.After(end.Add(r.Grace + collectTimeout))
	}
}

// plannedEnd is when the run's last iteration starts, in this node's clock.
func (l *leader) plannedEnd(s *State, r *Run, stopped time.Time) time.Time {
	end := l.start(r).Add(r.Duration)
	if next := s.Next; next != nil && next.ID != r.ID && next.StartAt != 0 {
		if at := l.start(next); at.Before(end) {
			end = at
		}
	}
	if !stopped.IsZero() && stopped.Before(end) {
		end = stopped
	}
	return end
}

func (l *leader) conclude(ctx context.Context, r *Run, reports map[string]Report) error {
	code := ExitOK
	if r.StartAt != 0 {
		o := Outcome{Run: *r, Config: l.n.machine.State().Configs[r.Version], Members: l.crew.standings()}
		for _, p := range r.Participants {
			if rep, ok := reports[p.ServerID]; ok {
				o.Reports = append(o.Reports, rep)
			}
			if !reports[p.ServerID].Final {
				o.Lost = append(o.Lost, p)
			}
		}
		code = l.n.hooks.Judge(ctx, o)
	}
	if ctx.Err() != nil {
		return nil
	}
	reason := "finished"
	if r.Phase == PhaseStopped {
		code, reason = r.StopCode, "ended early: "+r.StopCause
	}
	return l.propose(ctx, Command{Finish: &FinishRun{RunID: r.ID, Ending: Ending{ExitCode: code, Reason: reason, Exit: !r.KeepAlive}}})
}

// pushStart arms the participants directly; the log does so as well.
func (l *leader) pushStart(ctx context.Context, runID string) {
	r := l.n.machine.State().Run(runID)
	if r == nil || r.StartAt == 0 {
		return
	}
	l.toOthers(r.Participants, func(m Member) {
		for time.Now().Before(l.start(r)) && ctx.Err() == nil {
			call, cancel := context.WithTimeout(ctx, time.Second)
			err := l.n.opt.Wire.Courier.StartTest(call, m.Addr, StartTest{Fence: l.fence(), RunID: runID, StartAt: r.Start(), Clock: r.Clock})
			cancel()
			if err == nil {
				return
			}
			l.n.log.Debug("start not acknowledged", "member", m.ServerID, "error", err.Error())
			sleep(ctx, jitter(rollCallFast))
		}
	})
}

// pushStop ends the run on the participants directly; the log does so as well.
func (l *leader) pushStop(ctx context.Context, r *Run) {
	l.toOthers(r.Participants, func(m Member) {
		call, cancel := context.WithTimeout(ctx, time.Second)
		defer cancel()
		if err := l.n.opt.Wire.Courier.StopTest(call, m.Addr, StopTest{Fence: l.fence(), RunID: r.ID, Cause: r.StopCause}); err != nil {
			l.n.log.Debug("stop not acknowledged", "member", m.ServerID, "error", err.Error())
		}
	})
}

func (l *leader) toOthers(members []Member, f func(Member)) {
	others := slices.DeleteFunc(slices.Clone(members), func(m Member) bool { return m.ServerID == l.n.self.ServerID })
	var wg sync.WaitGroup
	for _, m := range others {
		wg.Go(func() { f(m) })
	}
	wg.Wait()
}
