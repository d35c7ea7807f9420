package main

import (
	"slices"
	"sync"
	"time"

	"volley/node"
	"volley/plan"
	"volley/stats"
)

// maxVigils bounds the runs that are watched: one that goes, one that takes
// over from it, and one that is being judged.
const maxVigils = 3

// vigils are the runs whose thresholds this node, as the leader, holds against
// what all nodes tell while the run goes on.
type vigils struct {
	mu   sync.Mutex
	runs []*vigil // the oldest first
}

// vigil is one run's.
type vigil struct {
	runID string

	mu    sync.Mutex
	judge *stats.Judge // nil if the end tells as much as the run
	seen  bool         // it has observed something
	told  bool         // of the failure that ends the run
	// heard is how far the processes had come when they were observed last, by Life.
	heard  map[string]time.Duration
	waited int // how often for processes that have told nothing lately
}

const (
	// mostWaits is how many seconds a leader that takes over waits for the word of
	// all who are there: who streams to it has to notice it first. For those of whom
	// it does not know yet whether they are there it waits fewSeconds.
	mostWaits  = 5
	fewSeconds = 2
)

// of is the run's vigil, made at the first time.
func (w *vigils) of(runID string, document []byte) *vigil {
	w.mu.Lock()
	defer w.mu.Unlock()
	if found := w.known(runID); found != nil {
		return found
	}
	made := &vigil{runID: runID}
	if p, _, err := plan.Parse(document); err == nil && slices.ContainsFunc(p.Thresholds, needsWatching) {
		made.judge = stats.NewJudge(p.Thresholds)
	}
	w.runs = append(w.runs, made)
	if len(w.runs) > maxVigils {
		w.runs = slices.Delete(w.runs, 0, 1)
	}
	return made
}

// needsWatching says whether a threshold ends the run, or looks at windows of it.
func needsWatching(t plan.Threshold) bool {
	c, _ := t.Condition()
	return t.AbortOnFail || c.Last > 0
}

func (w *vigils) known(runID string) *vigil {
	if i := slices.IndexFunc(w.runs, func(run *vigil) bool { return run.runID == runID }); i >= 0 {
		return w.runs[i]
	}
	return nil
}

// observe holds what all nodes have told so far against the plan's thresholds,
// and returns the one with abortOnFail that has failed, "" if there is none.
func (r *results) observe(o node.Outcome) (failed string) {
	w := r.vigils.of(o.Run.ID, o.Config.Document)
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.judge == nil || len(o.Reports) == 0 {
		return ""
	}
	elapsed := map[string]time.Duration{}
	merged, _, _, err := merge(o, noting(elapsed))
	gap := err == nil && (!w.seen || w.gap(elapsed))
	if gap && w.waits(o, elapsed) {
		return ""
	}
	if err == nil && (gap || w.judge.LooksBack(merged.Elapsed)) {
		merged, _, _, err = merge(o, readAll)
	}
	if err != nil {
		r.log.Warn("cannot hold the run against its thresholds: "+err.Error(), "run_id", o.Run.ID)
		return ""
	}
	r.whole.keep(o, merged)
	if gap { // this node leads since a moment ago, or has not heard of somebody for a while
		w.judge.Resume(merged)
	}
	w.seen, w.heard, w.waited = true, elapsed, 0
	w.judge.Observe(merged)
	row, aborting := w.judge.Aborting()
	if !aborting {
		return ""
	}
	if !w.told {
		w.told = true
		r.tellAborting(o.Run.ID, row)
	}
	return row.Expr
}

// noting reads the totals, and notes how far each process had come.
func noting(elapsed map[string]time.Duration) reader {
	return func(rep node.Report) (*stats.Summary, error) {
		s, err := readTotals(rep)
		if err == nil {
			elapsed[rep.Of.Life()] = s.Elapsed
		}
		return s, err
	}
}

// gap says whether a word goes so far beyond the last one of its process that a window
// of the two would hold what is older.
func (w *vigil) gap(elapsed map[string]time.Duration) bool {
	for life, at := range elapsed {
		if at > w.heard[life]+stats.Unheard {
			return true
		}
	}
	return false
}

// waits says whether to wait for processes that are there and have told nothing, or
// nothing lately: without them a window would be too empty.
func (w *vigil) waits(o node.Outcome, elapsed map[string]time.Duration) bool {
	var newest time.Duration
	for _, at := range elapsed {
		newest = max(newest, at)
	}
	for _, m := range o.Run.Participants {
		patience, now := 0, o.Members[m.ServerID]
		switch {
		case now.Health.Incarnation != "" && now.Health.Incarnation != m.Incarnation, hasEnded(o, m):
		case now.Alive:
			patience = mostWaits
		case now.Contact.IsZero():
			patience = fewSeconds
		}
		if elapsed[m.Life()] < newest-stats.Unheard && w.waited < patience {
			w.waited++
			return true
		}
	}
	return false
}

// hasEnded says whether a process has said its last word.
func hasEnded(o node.Outcome, m node.Member) bool {
	return slices.ContainsFunc(o.Reports, func(rep node.Report) bool { return rep.Final && rep.Of.Life() == m.Life() })
}

// tellAborting logs the failure that ends a run.
func (l *logging) tellAborting(runID string, failed stats.ThresholdResult) {
	l.log.Error("threshold failed, the run ends: "+failed.Expr, "event", "threshold_failed", "run_id", runID, "value", figure(failed.Value))
}

// verdicts are the thresholds of a run by all that is known of it now: by the
// judge that has watched it, where the run is over, else by the summary alone.
func (r *results) verdicts(o node.Outcome, merged *stats.Summary) ([]stats.ThresholdResult, error) {
	if o.Going {
		return r.thresholds(o.Run.ID, false, o.Config.Document, merged)
	}
	rows, err := r.watchedVerdicts(o, merged)
	for i := range rows {
		if rows[i].Expr == o.Run.StopDetail {
			rows[i].OK = false // it has ended the run, whatever came in after that
		}
	}
	return rows, err
}

func (r *results) watchedVerdicts(o node.Outcome, merged *stats.Summary) ([]stats.ThresholdResult, error) {
	r.vigils.mu.Lock()
	w := r.vigils.known(o.Run.ID)
	r.vigils.mu.Unlock()
	if w != nil {
		w.mu.Lock()
		defer w.mu.Unlock()
		if w.seen {
			elapsed := map[string]time.Duration{}
			for _, rep := range o.Reports {
				_, _ = noting(elapsed)(rep) // what cannot be read is in no result either
			}
			if w.gap(elapsed) { // another led in between, or somebody was not heard
				w.judge.Resume(merged)
			}
			return w.judge.Result(merged), nil
		}
	}
	return r.thresholds(o.Run.ID, len(o.Run.Participants) == 1, o.Config.Document, merged)
}
