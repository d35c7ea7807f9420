package node

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"
)

// finding is what a watch of the source came up with.
type finding struct {
	config  Config
	checked Checked
	err     error // what is wrong with it
	again   bool  // a run of it was begun before, and not got ready
}

// follow makes a run of every revision that the source has after the one dealt
// with last, and says of each that cannot be one what is wrong with it. The
// newest counts: one is in hand, the next replaces the one that waits.
func (l *leader) follow(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	var watching sync.WaitGroup
	defer watching.Wait()
	defer cancel()
	findings := make(chan finding, 1)
	from := Followed{}
	if f := l.n.machine.State().Followed; f != nil {
		from = *f
	}
	watching.Go(func() { l.watch(ctx, from, findings) })
	if f, ok := l.takeUp(ctx); ok {
		if err := l.deal(ctx, f, findings); err != nil {
			return err
		}
	}
	for first := true; !l.n.draining.Load(); first = false {
		select {
		case f := <-findings:
			if first && l.ownFile(f) {
				continue
			}
			if err := l.deal(ctx, f, findings); err != nil {
				return err
			}
		case <-ctx.Done():
			return nil
		}
	}
	return nil // whoever leads next finds what there is as well
}

// watch keeps the newest finding in the channel until ctx ends.
func (l *leader) watch(ctx context.Context, from Followed, newest chan finding) {
	w := l.n.opt.Watch(from.Trouble)
	for known := from.Revision; ; {
		c, err := w.Next(ctx, known)
		if ctx.Err() != nil {
			return
		}
		if err == nil || c.Revision != "" {
			known = c.Revision
		}
		select {
		case <-newest:
		default:
		}
		newest <- finding{config: c, err: err} // nobody else writes
	}
}

// ownFile says whether this leader has only found its own CONFIG_FILE as it
// was when its process began: not the same as the last leader's, but no change.
func (l *leader) ownFile(f finding) bool {
	s := l.n.machine.State()
	if f.err != nil || f.config.Source != SourceFile || f.config.Version != l.n.opt.SourceHash || s.held(l.n.opt.Hold) ||
		s.Followed == nil || s.Followed.Revision == f.config.Revision {
		return false
	}
	l.n.log.Warn("CONFIG_FILE of this node, which leads now, is not what the last leader's was: it counts from its next change on",
		"event", "config_differs", "origin", f.config.Origin, "revision", f.config.Revision)
	return true
}

// deal deals with a finding, and with those that come while it has to wait.
func (l *leader) deal(ctx context.Context, f finding, findings <-chan finding) error {
	f = l.vet(f)
	var bad finding // came after f, and is none to run
	for told := false; f.err == nil && !l.room(); told = true {
		if few := l.tooFew(); few != "" && !told {
			l.n.log.Warn("the changed plan waits: "+few, "event", "config_followed", "origin", f.config.Origin, "revision", f.config.Revision)
		}
		t := time.NewTimer(rollCallFast) // a start comes nearer without a change of the state
		select {
		case next := <-findings:
			if next = l.vet(next); next.err == nil {
				f, bad = next, finding{}
			} else {
				bad = next
			}
		case <-t.C:
		case <-ctx.Done():
		}
		t.Stop()
		if ctx.Err() != nil {
			return nil
		}
	}
	if l.n.draining.Load() {
		return nil
	}
	err := l.adopt(ctx, f)
	if err == nil && bad.err != nil {
		err = l.adopt(ctx, bad)
	}
	if ctx.Err() != nil {
		return nil
	}
	return err
}

// vet checks a plan that was found.
func (l *leader) vet(f finding) finding {
	if f.err == nil {
		f.checked, f.err = l.n.hooks.Check(f.config.Document)
	}
	return f
}

// room says whether a run that is begun now has a place, and nodes enough.
func (l *leader) room() bool {
	s := l.n.machine.State()
	return l.tooFew() == "" && s.clone().makeRoom(BeginRun{Replaces: l.replaceable(s)}) == nil
}

// tooFew says who is there, if they are too few to take a plan. One that was
// begun all the same would end in an abort, and the change would be lost.
func (l *leader) tooFew() string {
	there := l.there()
	if len(there) >= l.n.opt.Expect {
		return ""
	}
	return fmt.Sprintf("only %d of %d nodes (CLUSTER_EXPECT) are there: %s", len(there), l.n.opt.Expect, names(there))
}

// adopt begins a run of what was found, or records why there is none.
func (l *leader) adopt(ctx context.Context, f finding) error {
	s := l.n.machine.State()
	switch before := s.Followed; {
	case f.again && f.err == nil:
		return l.launch(ctx, f.config, f.checked)
	case f.err != nil && f.config.Revision == "":
		return l.noPlan(ctx, f)
	case f.err == nil && s.Failure != nil && s.answers(s.verdict(), f.config.Revision):
		return l.stand(ctx, s.verdict(), f.config)
	case before == nil:
		l.n.log.Info("following the source from here on", "event", "config_followed", "origin", f.config.Origin, "revision", f.config.Revision)
		return l.propose(ctx, Command{Follow: &Followed{Revision: f.config.Revision}})
	case before.Revision == f.config.Revision:
		l.n.log.Info("the source has its plan again", "event", "config_followed", "origin", f.config.Origin, "revision", f.config.Revision)
		return l.record(ctx, Followed{Revision: before.Revision, Error: before.Error})
	case f.err != nil:
		return l.reject(ctx, f.config, f.err)
	}
	l.n.log.Info("the source has changed", "event", "config_fetched", "origin", f.config.Origin, "revision", f.config.Revision,
		"config_version", f.config.Version, "bytes", len(f.config.Document))
	l.warn(f.config, f.checked)
	c, err := l.bundle(ctx, f.config, f.checked.Files)
	if err != nil {
		return l.reject(ctx, f.config, err)
	}
	return l.reload(ctx, c, f.checked)
}

// reload begins a run of a plan that is new and valid, unless it must not or need not.
func (l *leader) reload(ctx context.Context, c Config, checked Checked) error {
	active := l.n.machine.State().Active()
	for _, r := range active {
		// One that the source itself has brought may make way for another tenant's.
		if r.Revision == "" && r.Tenant != "" && r.Tenant != checked.Tenant {
			return l.reject(ctx, c, fmt.Errorf("run %s was posted by tenant %q, the plan belongs to %q", r.ID, r.Tenant, checked.Tenant))
		}
	}
	if len(active) > 0 && active[len(active)-1].Version == c.Version {
		l.n.log.Info("the source has the plan that runs already", "event", "config_followed", "origin", c.Origin, "revision", c.Revision)
		return l.record(ctx, Followed{Revision: c.Revision})
	}
	return l.launch(ctx, c, checked)
}

func (l *leader) launch(ctx context.Context, c Config, checked Checked) error {
	from := fromChange
	if l.n.machine.State().held(l.n.opt.Hold) {
		from = fromRetry
	}
	call, cancel := context.WithTimeout(ctx, l.n.opt.ConfigTimeout+transfer(c.Files))
	defer cancel()
	id, err := l.beginRun(call, c, checked, from)
	switch {
	case ctx.Err() != nil:
		return nil
	case errors.Is(err, ErrRefused), errors.Is(err, ErrEngine):
		return l.reject(ctx, c, err)
	case err != nil:
		return err // tried again from the log on
	}
	l.n.log.Info("the changed plan takes over", "event", "config_reloaded", "run_id", id, "config_version", c.Version, "origin", c.Origin, "revision", c.Revision)
	return nil
}

// reject says what is wrong with a revision. What runs, runs on.
func (l *leader) reject(ctx context.Context, c Config, why error) error {
	if ctx.Err() != nil {
		return nil
	}
	l.n.log.Error("the changed plan is rejected, nothing else changes: "+why.Error(), "event", "config_reload_rejected", "origin", c.Origin, "revision", c.Revision)
	return l.record(ctx, Followed{Revision: c.Revision, Error: fmt.Sprintf("rejected revision %s of the plan from %s: %v", c.Revision, c.Origin, why)})
}

// noPlan says that there is none any more, or none for us.
func (l *leader) noPlan(ctx context.Context, f finding) error {
	now := Followed{Trouble: f.err.Error()}
	if before := l.n.machine.State().Followed; before != nil {
		if before.Trouble == now.Trouble {
			return nil
		}
		now.Revision, now.Error = before.Revision, before.Error
	}
	l.n.log.Error("the source has no plan any more, nothing else changes: "+now.Trouble, "event", "config_reload_rejected")
	return l.record(ctx, now)
}

// record commits how far the source has been followed, if that is news.
func (l *leader) record(ctx context.Context, now Followed) error {
	if before := l.n.machine.State().Followed; before != nil && *before == now {
		return nil
	}
	return l.propose(ctx, Command{Follow: &now})
}

// unready is the run of a change of the source that has yet to be
// acknowledged, "" if there is none.
func (s *State) unready() string {
	for _, r := range s.Active() {
		if r.Phase == PhaseDistributing && r.Posted && r.Revision != "" {
			return r.ID
		}
	}
	return ""
}

// takeUp waits until it is known who is there, so that a change does not wait
// for the leader that has just been lost. It returns the change that the last
// leader did not get ready, if one that it waits for is gone: the source will
// not say it again, and it shall not be lost with the leader.
func (l *leader) takeUp(ctx context.Context) (finding, bool) {
	for !l.mustered() {
		if !sleep(ctx, rollCallFast) {
			return finding{}, false
		}
	}
	s := l.n.machine.State()
	r := s.Run(l.inherited)
	l.inherited = ""
	if r == nil || s.Followed == nil || s.Followed.Revision != r.Revision || !r.given() {
		return finding{}, false
	}
	there := l.there()
	gone := slices.ContainsFunc(r.Members, func(m Member) bool { return find(there, m.ServerID) == nil })
	c, ok := s.Configs[r.Version]
	if !gone || !ok {
		return finding{}, false // it gets ready, or is aborted, as any other
	}
	l.n.log.Info("taking up the change that the last leader did not get ready", "event", "config_followed", "run_id", r.ID, "revision", r.Revision)
	return finding{config: c, again: true}, true
}

// given says whether the run waits for acknowledgements, or has for nothing.
func (r *Run) given() bool {
	return r.Phase == PhaseDistributing || r.Phase == PhaseAborted && r.Ending.ExitCode == ExitCluster
}

// mustered says whether it is known of every member if it is there.
func (l *leader) mustered() bool {
	return !slices.ContainsFunc(l.n.members(), func(m Member) bool { return !l.crew.seen(m.ServerID) && !l.crew.lost(m.ServerID) })
}
