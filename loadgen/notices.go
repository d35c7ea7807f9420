package loadgen

import (
	"log/slog"
	"sync"
	"sync/atomic"

	"volley/stats"
)

// notices is what a run says once: each variable that nothing sets, and for
// each kind of error what one of them was.
type notices struct {
	log   *slog.Logger
	runID string
	kinds [int(stats.ErrGenerator) + 1]atomic.Bool

	mu    sync.Mutex
	named map[string]bool // as many as the plan has variables
}

// first is true once for each kind.
func (n *notices) first(kind stats.ErrorKind) bool {
	return !n.kinds[kind].Load() && n.kinds[kind].CompareAndSwap(false, true)
}

// unresolved tells of a variable that stays as the plan has it.
func (n *notices) unresolved(text string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.named[text] {
		return
	}
	if n.named == nil {
		n.named = map[string]bool{}
	}
	n.named[text] = true
	n.log.Warn("a variable has no value and stays as the plan has it", "event", "variable_unresolved",
		"run_id", n.runID, "variable", text)
}
