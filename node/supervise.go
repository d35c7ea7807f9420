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
	if l.n.raft != nil {
		push.Go(func() { l.observe(work, runID) })
	}
	var stopped, alone time.Time // since when those who are there have all reported; zero while they have not
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
		if alone = l.aloneSince(r, reports, alone); l.complete(s, r, reports, stopped, alone) {
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

// aloneSince is since when nobody who answers owes a report of the run, given
// what it was before; zero while somebody does, or nobody has reported at all.
func (l *leader) aloneSince(r *Run, reports held, before time.Time) time.Time {
	reported := 0
	for _, p := range r.Participants {
		switch {
		case reports.final(p):
			reported++
		case !l.crew.dead(p):
			return time.Time{}
		}
	}
	if reported == 0 {
		return time.Time{}
	}
	if before.IsZero() {
		return time.Now()
	}
	return before
}

// complete says whether nothing more is to be waited for: who is lost is waited
// for until the run's end, but not much longer than those who are there need, for
// a run that ends by its iterations has no end in time. A run is judged after
// the one that it took over from: theirs is the order of the log.
func (l *leader) complete(s *State, r *Run, reports held, stopped, alone time.Time) bool {
	if r.StartAt == 0 {
		return true // stopped before it was scheduled
	}
	if s.Next != nil && s.Next.ID == r.ID {
		return false
	}
	end := l.plannedEnd(s, r, stopped)
	missing, all := 0, true
	for _, p := range r.Participants {
		if reports.final(p) {
			continue
		}
		missing++
		all = all && l.crew.dead(p)
	}
	switch now := time.Now(); {
	case missing == 0:
		return true
	case all:
		return now.After(end) || !alone.IsZero() && now.Sub(alone) > collectTimeout
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

func (l *leader) conclude(ctx context.Context, r *Run, reports held) error {
	code := ExitOK
	if r.StartAt != 0 {
		code = l.n.hooks.Judge(ctx, l.outcome(r, reports))
	}
	if ctx.Err() != nil {
		return nil
	}
	reason := "finished"
	switch code {
	case ExitFailed:
		reason = "finished, a threshold failed"
	case ExitFailure:
		reason = "finished, but not all of its result is known or written"
	}
	switch next := l.n.machine.State().Next; {
	case r.Phase == PhaseStopped:
		code, reason = r.StopCode, "ended early: "+r.StopCause
	case next != nil && next.ID != r.ID && next.StartAt != 0 && l.start(next).Before(l.start(r).Add(r.Duration)):
		reason = "ended early: replaced by " + next.ID
	}
	return l.propose(ctx, Command{Finish: &FinishRun{RunID: r.ID, Ending: Ending{ExitCode: code, Reason: reason, Exit: !r.KeepAlive}}})
}

// outcome is what is known of a run here and now.
func (l *leader) outcome(r *Run, reports held) Outcome {
	o := Outcome{Run: *r, Config: l.n.machine.State().Configs[r.Version], Members: l.crew.standings()}
	for _, p := range r.Participants {
		o.Reports = append(o.Reports, reports.of(p)...)
		if !reports.final(p) {
			o.Lost = append(o.Lost, p)
		}
	}
	return o
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
