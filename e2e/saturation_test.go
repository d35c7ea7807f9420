package e2e

import (
	"fmt"
	"net/http"
	"sync"
	"testing"
	"time"
)

const (
	hungry        = 1000 // connections of each node
	slowestHealth = time.Second
	askEvery      = 500 * time.Millisecond
)

// Three nodes and the target share this machine and take all of it, at full
// speed: nobody loses the leadership, every health answer is there in time, and
// the run ends as one that had the machine to itself.
func TestSaturation(t *testing.T) {
	t.Run("whole machine", func(t *testing.T) { saturate(t, 0) })
	t.Run("half a CPU each", func(t *testing.T) { saturate(t, 0.5) })
}

func saturate(t *testing.T, quota float64) {
	seconds := 45
	if long() {
		seconds = 600
	}
	b := newBench(t)
	b.cpus = quota
	target, store := b.target(), b.gcsStore()
	plan := atFullSpeed(target.base(), hungry, seconds)
	store.put(plan)
	nodes := b.nodes(three(), store.settings())
	startAll(t, nodes)
	startAt := waitReady(t, nodes, plan, formTime)
	seen := watchAll(t, nodes, startAt.Add(time.Duration(seconds)*time.Second))
	wantExits(t, nodes, endTime, 0)

	wantOneRun(t, nodes)
	result, counts := clusterResult(t, nodes), target.counts()
	for i, s := range seen {
		fmt.Printf("%s: %s: gap between heartbeats at most %v, slowest of %d health answers %v, control lag at most %v\n",
			t.Name(), nodes[i].name, s.gap, s.asked, s.slowest, s.lag)
		s.check(t, nodes[i].name, seconds)
	}
	fmt.Printf("%s: %d requests, %d/s\n", t.Name(), result.Requests, result.Requests/int64(seconds))
	if result.Requests != counts.Total || result.Requests < int64(1000*seconds) || result.Started != result.Completed+result.Interrupted {
		t.Errorf("%d requests (started %d, completed %d, interrupted %d), the target counted %d; want the same, and some thousands a second",
			result.Requests, result.Started, result.Completed, result.Interrupted, counts.Total)
	}
	for _, n := range result.Nodes {
		if !n.Complete || n.Requests < hungry {
			t.Errorf("node %s: complete %v after %d requests", n.NodeID, n.Complete, n.Requests)
		}
	}
	if len(result.Nodes) != len(nodes) {
		t.Errorf("the report is of %d nodes, want %d", len(result.Nodes), len(nodes))
	}
}

// atFullSpeed is a plan of so many workers that never rest.
func atFullSpeed(base string, workers, seconds int) string {
	return fmt.Sprintf(`version: "1.0"
config: {baseUrl: %q, workers: %d, duration: %ds, gracefulStop: 5s}
load: {model: concurrent}
scenarios:
  - name: hungry
    steps: [{name: get, request: {method: GET, path: /x}}]
`, base, workers, seconds)
}

// seen is what was seen of one node during a run.
type seen struct {
	asked        int
	slowest      time.Duration
	lag, gap     time.Duration
	terms        map[uint64]bool
	leaders      map[string]bool
	changes      float64 // of the leader, at the end
	failed       error   // the first answer that did not come
	measurements int
}

func (s *seen) check(t *testing.T, name string, seconds int) {
	t.Helper()
	if s.failed != nil {
		t.Errorf("%s: %v", name, s.failed)
	}
	if s.slowest >= slowestHealth {
		t.Errorf("%s: a health answer took %v, want less than %v", name, s.slowest, slowestHealth)
	}
	if s.asked < 2*seconds*9/10 {
		t.Errorf("%s: asked %d times in %d s, want twice a second", name, s.asked, seconds)
	}
	if len(s.terms) != 1 || len(s.leaders) != 1 || s.changes != 1 {
		t.Errorf("%s: terms %v, leaders %v, %v changes of leader; want one of each", name, s.terms, s.leaders, s.changes)
	}
	if s.measurements == 0 || s.gap == 0 || s.lag == 0 {
		t.Errorf("%s: gap %v and lag %v in %d measurements, want figures", name, s.gap, s.lag, s.measurements)
	}
}

// watchAll asks all nodes twice a second until the given instant.
func watchAll(t *testing.T, nodes []*node, until time.Time) []*seen {
	t.Helper()
	all := make([]*seen, len(nodes))
	var watchers sync.WaitGroup
	for i, n := range nodes {
		all[i] = &seen{terms: map[uint64]bool{}, leaders: map[string]bool{}}
		health, metrics := n.url(controlPort)+"/health/cluster", n.url(metricsPort)
		watchers.Go(func() {
			tick := time.NewTicker(askEvery)
			defer tick.Stop()
			for time.Now().Before(until.Add(-askEvery)) {
				all[i].look(health, metrics)
				<-tick.C
			}
		})
	}
	watchers.Wait()
	return all
}

func (s *seen) look(health, metrics string) {
	var h clusterHealth
	began := time.Now()
	err := askJSON(http.MethodGet, health, "", &h)
	s.slowest = max(s.slowest, time.Since(began))
	s.asked++
	s.terms[h.Term], s.leaders[h.LeaderID] = true, true
	if err == nil {
		err = s.measure(metrics)
	}
	if s.failed == nil && err != nil {
		s.failed = fmt.Errorf("answer %d after %v: %w", s.asked, time.Since(began), err)
	}
}

func (s *seen) measure(metrics string) error {
	values, err := metricsAt(metrics)
	if err != nil {
		return err
	}
	seconds := func(name string) time.Duration { return time.Duration(values[name] * float64(time.Second)) }
	s.lag, s.gap = max(s.lag, seconds("control_lag_seconds")), max(s.gap, seconds("raft_contact_gap_seconds"))
	s.changes = values["raft_leader_changes_total"]
	s.measurements++
	return nil
}
