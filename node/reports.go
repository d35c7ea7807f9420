package node

import (
	"context"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"
)

// maxReports bounds the summaries held: members times the runs the log knows.
const maxReports = 4096

// reports holds the newest summary of each node and run that has reached this node.
type reports struct {
	mu      sync.Mutex
	seq     uint64
	byKey   map[reportKey]Report
	changed chan struct{}
}

type reportKey struct{ run, server string }

func newReports() *reports {
	return &reports{byKey: map[reportKey]Report{}, changed: make(chan struct{})}
}

// put keeps r unless a newer or final one of the same node and run is held. It is
// false if there is no room for another one.
func (h *reports) put(r Report) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	if r.Seq == 0 {
		h.seq++
		r.Seq = h.seq
	}
	k := reportKey{r.RunID, r.Of.ServerID}
	old, held := h.byKey[k]
	if held && (old.Final && !r.Final || old.Final == r.Final && old.Seq >= r.Seq) {
		return true
	}
	if !held && len(h.byKey) >= maxReports {
		return false
	}
	h.byKey[k] = r
	close(h.changed)
	h.changed = make(chan struct{})
	return true
}

// of returns the run's reports by server id, and a channel that is closed when there are newer.
func (h *reports) of(runID string) (map[string]Report, <-chan struct{}) {
	h.mu.Lock()
	defer h.mu.Unlock()
	m := map[string]Report{}
	for k, r := range h.byKey {
		if k.run == runID {
			m[k.server] = r
		}
	}
	return m, h.changed
}

// all returns every report held, in a stable order.
func (h *reports) all() []Report {
	h.mu.Lock()
	defer h.mu.Unlock()
	list := slices.Collect(maps.Values(h.byKey))
	slices.SortFunc(list, func(a, b Report) int {
		return strings.Compare(a.RunID+a.Of.ServerID, b.RunID+b.Of.ServerID)
	})
	return list
}

// retain forgets the reports of runs that are not kept.
func (h *reports) retain(keep func(runID string) bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	maps.DeleteFunc(h.byKey, func(k reportKey, _ Report) bool { return !keep(k.run) })
}

const (
	reportTimeout = 5 * time.Second
	reportRetry   = 250 * time.Millisecond
)

// deliverReports hands this node's own summaries to whoever leads, again
// after every change of leader, until the run has ended in the log.
func (n *Node) deliverReports(ctx context.Context) error {
	acknowledged := map[reportKey]string{} // -> leader that has it
	for {
		_, changed := n.reports.of("")
		s := n.machine.State()
		leader, addr := n.leader()
		waiting := false
		for _, r := range n.reports.all() {
			k := reportKey{r.RunID, r.Of.ServerID}
			run := s.Run(r.RunID)
			if r.Of.ServerID != n.self.ServerID || run == nil || run.Ended || acknowledged[k] == leader {
				continue
			}
			if leader == n.self.ServerID || (leader != "" && n.sendReport(ctx, addr, r) == nil) {
				acknowledged[k] = leader
				continue
			}
			waiting = true
		}
		maps.DeleteFunc(acknowledged, func(k reportKey, _ string) bool { return s.Run(k.run) == nil })
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

func (n *Node) sendReport(ctx context.Context, addr string, r Report) error {
	ctx, cancel := context.WithTimeout(ctx, reportTimeout)
	defer cancel()
	r.ClusterID = n.identity.ClusterID()
	return n.opt.Wire.Upstream.Report(ctx, addr, r)
}
