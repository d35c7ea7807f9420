package e2e

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"
)

// reload is a cluster that follows its source, and what was stored there.
type reload struct {
	t       *testing.T
	target  *target
	store   planStore
	nodes   []*node
	startAt time.Time
	changes int
}

// reloadLoad lasts longer than any of these tests.
var reloadLoad = load{rps: 50, seconds: 900}

// newReload starts three nodes on the first plan of a store that they watch.
func newReload(t *testing.T, open func(*bench) planStore) *reload {
	t.Helper()
	b := newBench(t)
	r := &reload{t: t, target: b.target(), store: open(b)}
	plan := reloadLoad.plan(r.target.base())
	r.store.put(plan)
	r.nodes = b.nodes(three(), r.store.settings(), env{"CLUSTER_CONFIG_WATCH": "true"})
	startAll(t, r.nodes)
	r.startAt = waitReady(t, r.nodes, plan, formTime)
	r.nodes[0].waitPhase(formTime, "running")
	return r
}

// change stores the next plan, every one another, and returns it.
func (r *reload) change() string {
	r.changes++
	l := reloadLoad
	l.path = fmt.Sprintf("/change/%d", r.changes)
	plan := l.plan(r.target.base())
	r.store.put(plan)
	return plan
}

// spoil stores the next plan with a mistake.
func (r *reload) spoil() badPlan {
	r.t.Helper()
	r.changes++
	l := reloadLoad
	l.path = fmt.Sprintf("/change/%d", r.changes)
	all := badPlans(r.t, l.plan(r.target.base()))
	bad := all[r.changes/5%len(all)]
	r.store.put(bad.text)
	return bad
}

// living are the nodes that have not been killed.
func (r *reload) living() []*node {
	return slices.DeleteFunc(slices.Clone(r.nodes), func(n *node) bool { return !n.running() })
}

// accepted waits until some leader has begun a run of the plan.
func (r *reload) accepted(plan string, within time.Duration) {
	r.t.Helper()
	eventually(r.t, within, "the change is accepted", func() error {
		for _, n := range r.living() {
			for _, line := range n.events("config_reloaded") {
				if line.fields["config_version"] == versionOf(plan) {
					return nil
				}
			}
		}
		return fmt.Errorf("no event config_reloaded with %s", versionOf(plan))
	})
}

// rejected waits until every node says what is wrong, line and field.
func (r *reload) rejected(bad badPlan, within time.Duration) {
	r.t.Helper()
	for _, n := range r.living() {
		n.waitCluster(within, "the mistake", func(h clusterHealth) error {
			if text := h.errorText(); !strings.Contains(text, fmt.Sprintf(" %d:", bad.line)) || !strings.Contains(text, bad.path) {
				return fmt.Errorf("error %q, want line %d and %s", text, bad.line, bad.path)
			}
			return nil
		})
	}
}

// runs waits until the plan generates load on every node.
func (r *reload) runs(plan string, within time.Duration) {
	r.t.Helper()
	run := ""
	for _, n := range r.living() {
		health := n.waitCluster(within, "the plan runs", func(h clusterHealth) error {
			if h.Config.Version != versionOf(plan) || h.Phase != "running" {
				return fmt.Errorf("phase %s of %s, want running of %s; error %q", h.Phase, h.Config.Version, versionOf(plan), h.errorText())
			}
			return nil
		})
		if run != "" && health.Run.RunID != run {
			r.t.Errorf("%s shows run %s, another %s", n.name, health.Run.RunID, run)
		}
		run = health.Run.RunID
	}
}

// wantNoGap checks that every node sent in every second so far.
func (r *reload) wantNoGap(nodes []*node) {
	r.t.Helper()
	seconds := int(time.Since(r.startAt).Seconds())
	least := reloadLoad.rps
	for _, n := range nodes {
		sent := make([]int, seconds)
		for _, a := range r.target.stats().Arrivals {
			if second := int(time.Unix(0, a.NS).Sub(r.startAt).Seconds()); a.Source == n.ctlIP && second >= 0 && second < seconds {
				sent[second]++
			}
		}
		least = min(least, slices.Min(sent))
		if i := slices.Index(sent, 0); i >= 0 {
			r.t.Errorf("%s sent nothing in second %d: %v", n.name, i, sent)
		}
	}
	r.t.Logf("%d changes in %d s; at least %d of %d requests a second and node", r.changes, seconds, least, reloadLoad.rps)
}

// stop ends the run and wants everybody to leave.
func (r *reload) stop() {
	r.t.Helper()
	nodes := r.living()
	if answer := nodes[0].post("/stop", ""); answer.status != 200 {
		r.t.Fatalf("POST /stop: status %d: %s", answer.status, answer.body)
	}
	wantExits(r.t, nodes, endTime, 105)
}

// Changes in a row, every fifth invalid: the last valid one runs on all nodes,
// the mistake is told with line and field, and no second passes without requests.
func TestReload(t *testing.T) {
	changes := func(short, most int) int {
		if long() {
			return most
		}
		return short
	}
	for _, source := range []struct {
		name    string
		open    func(*bench) planStore
		changes int
		burst   int // changes until one is invalid
		notice  time.Duration
	}{
		{"consul-kv", func(b *bench) planStore { return &consulStore{b.consul(false)} }, changes(10, 50), 5, 15 * time.Second},
		// GCS is looked at every 10 s: in a long burst nothing but its end is seen.
		{"gcs", func(b *bench) planStore { return b.gcsStore() }, changes(3, 10), changes(3, 5), 30 * time.Second},
	} {
		t.Run(source.name, func(t *testing.T) {
			r := newReload(t, source.open)
			valid := ""
			for r.changes < source.changes {
				if (r.changes+1)%source.burst != 0 {
					valid = r.change()
					continue
				}
				r.accepted(valid, source.notice) // else nobody could know of it
				bad := r.spoil()
				r.rejected(bad, source.notice)
				r.runs(valid, source.notice)
			}
			r.wantNoGap(r.nodes)
			rejected := 0
			for _, n := range r.nodes {
				rejected += len(n.events("config_reload_rejected"))
			}
			if want := source.changes / source.burst; rejected != want {
				t.Errorf("%d events config_reload_rejected, want %d, on the leader", rejected, want)
			}
			r.stop()
		})
	}
}

// The leader is killed in the middle of changes, and comes back as another
// member: the next leader goes on to the last change.
func TestReloadOutlivesItsLeader(t *testing.T) {
	r := newReload(t, func(b *bench) planStore { return &consulStore{b.consul(false)} })
	leader, followers := waitLeader(t, r.nodes, formTime)
	for _, n := range followers {
		n.waitPhase(formTime, "running")
	}
	r.change()
	r.accepted(r.change(), 15*time.Second)
	leader.kill()
	r.change()
	last := r.change()
	leader.start()
	r.runs(last, 2*formTime)
	r.rejected(r.spoil(), 15*time.Second)
	r.runs(last, time.Second)
	r.wantNoGap(followers)
	r.stop()
}
