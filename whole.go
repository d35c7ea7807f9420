package main

import (
	"sync"
	"time"

	"volley/node"
	"volley/stats"
)

// mergeEvery is how often what all nodes have told is merged for metrics, at
// most, however often they are scraped.
const mergeEvery = time.Second

// whole is the merged summary of the newest run that this node has merged, while
// it goes without its course.
type whole struct {
	mu      sync.Mutex
	summary *stats.Summary // nil before the first; not changed once it is here
	at      time.Time
	judged  bool
}

// keep takes what was merged of a run; it must not be changed afterwards. Who has
// merged a run that goes on may come here when it has been judged.
func (w *whole) keep(o node.Outcome, merged *stats.Summary) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if o.Going && w.judged && w.summary.RunID == o.Run.ID {
		return
	}
	w.summary, w.at, w.judged = merged, time.Now(), !o.Going
}

// recent is what is kept of a run if that is fit to be shown: while the run goes
// on for a second, and of one that is over only if it was judged here. What this
// node knew of a run that another leader has judged since is not the whole.
func (w *whole) recent(o node.Outcome) *stats.Summary {
	w.mu.Lock()
	defer w.mu.Unlock()
	switch {
	case w.summary == nil || w.summary.RunID != o.Run.ID || w.judged == o.Going:
		return nil
	case o.Going && time.Since(w.at) >= mergeEvery:
		return nil
	}
	return w.summary
}

// ofAll is what all nodes have told of the newest run: where this node leads,
// else nil.
func (r *results) ofAll(o node.Outcome, leads bool) *stats.Summary {
	if !leads {
		return nil
	}
	kept := r.whole.recent(o)
	if kept != nil || !o.Going || len(o.Reports) == 0 {
		return kept
	}
	merged, _, _, err := merge(o, readTotals)
	if err != nil {
		r.log.Warn("cannot show what all nodes have told: "+err.Error(), "run_id", o.Run.ID)
		return nil
	}
	r.whole.keep(o, merged)
	return merged
}
