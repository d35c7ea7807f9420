package node

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"
)

const (
	// maxReports bounds the summaries held: members times the runs the log knows.
	maxReports = 4096
	// maxHeld bounds their bytes. A final one is taken even so: there is one
	// of each member, and without it the run has no result.
	maxHeld = 256 << 20
)

// reports holds the newest summary of each process and run that has reached this
// node: one slot each, overwritten by the next, from which whoever sends them takes
// what is there. Nothing queues.
type reports struct {
	life    string // this process's incarnation
	mu      sync.Mutex
	seq     uint64
	size    int // bytes of the summaries
	byKey   map[reportKey]Report
	changed chan struct{} // closed when there is another final one
	fresh   chan struct{} // closed when there is another one
	refused map[reportKey]bool
}

// reportKey names a process and a run. A server id is of one process as long as
// Raft lives in memory; with a disk a process that restarts keeps it, and what it
// counts then stands beside what it had counted in its former life.
type reportKey struct{ run, server, life string }

func (r *Report) key() reportKey { return reportKey{r.RunID, r.Of.ServerID, r.Incarnation} }

func newReports(life string) *reports {
	return &reports{life: life, byKey: map[reportKey]Report{}, changed: make(chan struct{}), fresh: make(chan struct{}), refused: map[reportKey]bool{}}
}

// put keeps r unless a newer or final one of the same process and run is held. It is
// false if there is no room for another one. One without Seq is of this process.
func (h *reports) put(r Report) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	if r.Seq == 0 {
		h.seq++
		r.Seq, r.Incarnation = h.seq, h.life
	}
	r.Of.Incarnation = r.Incarnation
	k := r.key()
	old, held := h.byKey[k]
	if held && (old.Final && !r.Final || old.Final == r.Final && old.Seq >= r.Seq) {
		return true
	}
	size := h.size - len(old.Summary) + len(r.Summary)
	if !held && len(h.byKey) >= maxReports || !r.Final && size > maxHeld {
		return false
	}
	h.byKey[k], h.size = r, size
	if r.Final {
		close(h.changed)
		h.changed = make(chan struct{})
	}
	close(h.fresh)
	h.fresh = make(chan struct{})
	return true
}

// held are the reports of a run by server id: one of each life.
type held map[string][]Report

// final says whether the process's part of the run has been reported to its end.
func (h held) final(m Member) bool {
	return slices.ContainsFunc(h.of(m), func(r Report) bool { return r.Final })
}

// of returns the report of one process, if there is one.
func (h held) of(m Member) []Report {
	for _, r := range h[m.ServerID] {
		if r.Incarnation == m.Incarnation {
			return []Report{r}
		}
	}
	return nil
}

// of returns the run's reports, and a channel that is closed when there is
// another final one.
func (h *reports) of(runID string) (held, <-chan struct{}) {
	h.mu.Lock()
	defer h.mu.Unlock()
	m := held{}
	for k, r := range h.byKey {
		if k.run == runID {
			m[k.server] = append(m[k.server], r)
		}
	}
	for _, lives := range m {
		slices.SortFunc(lives, func(a, b Report) int { return strings.Compare(a.Incarnation, b.Incarnation) })
	}
	return m, h.changed
}

// all returns every report held, in a stable order.
func (h *reports) all() []Report {
	list, _ := h.pick(func(*Report) bool { return true })
	slices.SortFunc(list, func(a, b Report) int {
		return strings.Compare(a.RunID+a.Of.ServerID+a.Incarnation, b.RunID+b.Of.ServerID+b.Incarnation)
	})
	return list
}

// pick returns the reports that satisfy want, and a channel that is closed when
// there is another one of any kind.
func (h *reports) pick(want func(*Report) bool) ([]Report, <-chan struct{}) {
	h.mu.Lock()
	defer h.mu.Unlock()
	var list []Report
	for _, r := range h.byKey {
		if want(&r) {
			list = append(list, r)
		}
	}
	return list, h.fresh
}

// refuse notes that somebody refuses a report for good, and says whether that is news.
func (h *reports) refuse(k reportKey) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	was := h.refused[k]
	h.refused[k] = true
	return !was
}

// retain forgets the reports of runs that are not kept.
func (h *reports) retain(keep func(runID string) bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	maps.DeleteFunc(h.refused, func(k reportKey, _ bool) bool { return !keep(k.run) })
	maps.DeleteFunc(h.byKey, func(k reportKey, r Report) bool {
		if keep(k.run) {
			return false
		}
		h.size -= len(r.Summary)
		return true
	})
}

const (
	reportTimeout = 5 * time.Second
	reportRetry   = 250 * time.Millisecond
)

// leadership tells apart who has led: a server id alone does not, for with a
// disk a leader that restarts keeps it, and knows nothing of what it was told.
type leadership struct {
	term uint64
	id   string
}

// deliverReports hands this node's own final summaries to whoever leads, again
// in every term, until the run has ended in the log.
func (n *Node) deliverReports(ctx context.Context) error {
	acknowledged := map[reportKey]leadership{} // -> of whom has it, or never will
	for {
		_, changed := n.reports.of("")
		s := n.machine.State()
		term := n.raft.raft.CurrentTerm() // read first: at worst it is that before the leader's, and the report goes twice
		leader, addr := n.leader()
		now := leadership{term, leader}
		waiting := false
		for _, r := range n.reports.all() {
			k := r.key()
			run := s.Run(r.RunID)
			if !r.Final || !r.Of.sameLife(n.self) || run == nil || run.Ended || acknowledged[k] == now {
				continue
			}
			if leader == n.self.ServerID || (leader != "" && settled(n.sendReport(ctx, addr, r))) {
				acknowledged[k] = now
				continue
			}
			waiting = true
		}
		maps.DeleteFunc(acknowledged, func(k reportKey, _ leadership) bool { return s.Run(k.run) == nil })
		wait := time.Second // a new leader has to be noticed, too
		if waiting {
			wait = reportRetry
		}
		t := time.NewTimer(jitter(wait))
		select {
		case <-changed:
		case <-t.C:
		case <-ctx.Done():
		}
		t.Stop()
		if ctx.Err() != nil {
			return nil
		}
	}
}

// settled says whether a report need not be sent again to whom it was sent.
func settled(err error) bool { return err == nil || errors.Is(err, ErrRefused) }

func (n *Node) sendReport(ctx context.Context, addr string, r Report) error {
	ctx, cancel := context.WithTimeout(ctx, reportTimeout)
	defer cancel()
	r.ClusterID = n.identity.ClusterID()
	err := n.opt.Wire.Upstream.Report(ctx, addr, r)
	if errors.Is(err, ErrRefused) && n.reports.refuse(r.key()) {
		n.log.Warn(fmt.Sprintf("the summary of %s (%d bytes) is refused for good, the run's result is without it: %v", r.Of.NodeID, len(r.Summary), err),
			"event", "summary_refused", "run_id", r.RunID, "node", r.Of.NodeID, "addr", addr)
	}
	return err
}
