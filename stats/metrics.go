package stats

import (
	"fmt"
	"net/http"
	"regexp"
	"slices"
	"sync"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	dto "github.com/prometheus/client_model/go"
)

// keptRuns is how many runs' series stay; older ones vanish, so that a node
// that runs for weeks does not grow without bound.
const keptRuns = 10

// BuildInfo is what build_info says of the binary.
type BuildInfo struct {
	Version, Revision, GoVersion string
}

// Metrics is the Prometheus side of a process. It has a registry of its own
// and is a collector that reads the newest summaries when it is scraped, so
// that nothing is counted twice and recording costs nothing.
type Metrics struct {
	registry *prometheus.Registry
	build    BuildInfo
	descs    descs

	mu   sync.Mutex
	runs []*Summary // oldest first, at most keptRuns
	// standby is what is sent between runs, nil for nothing; its run label is empty.
	standby *Summary
	// past is the sum of the runs dropped from runs: series without a run
	// label must not fall when a run is forgotten.
	past   Summary
	node   func() NodeState
	merged func() *Summary
}

// NewMetrics returns metrics whose names begin with namespace and "_". The
// error says that the namespace cannot begin a metric's name.
func NewMetrics(namespace string, build BuildInfo) (*Metrics, error) {
	if !regexp.MustCompile(`^[a-zA-Z_][a-zA-Z0-9_]*$`).MatchString(namespace) {
		return nil, fmt.Errorf("metric namespace %q is not valid (accepted: letters, digits and _, not beginning with a digit)", namespace)
	}
	m := &Metrics{registry: prometheus.NewRegistry(), build: build, descs: newDescs(namespace)}
	if err := m.registry.Register(m); err != nil {
		return nil, fmt.Errorf("register metrics of namespace %q: %w", namespace, err)
	}
	return m, nil
}

// Handler serves the exposition, in text or protobuf as the scraper asks.
func (m *Metrics) Handler() http.Handler {
	// A series that cannot be shown must not hide all the others.
	return promhttp.HandlerFor(m.registry, promhttp.HandlerOpts{ErrorHandling: promhttp.ContinueOnError})
}

// Gather implements prometheus.Gatherer: what the exposition shows.
func (m *Metrics) Gather() ([]*dto.MetricFamily, error) { return m.registry.Gather() }

// Loads are the summaries that are shown: the standby's, if there is one, and
// those of the last runs, oldest first. They are not to be changed.
func (m *Metrics) Loads() []*Summary {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.loads()
}

func (m *Metrics) loads() []*Summary {
	if m.standby == nil {
		return slices.Clone(m.runs)
	}
	return append([]*Summary{m.standby}, m.runs...)
}

// SetSummary shows s as the newest state of its RunID; s must not be changed
// afterwards. The series of the last 10 runs are kept, and those of the last
// standby, whose RunID is empty.
func (m *Metrics) SetSummary(s *Summary) {
	m.mu.Lock()
	defer m.mu.Unlock()
	s = s.withoutTime()
	if s.RunID == "" {
		if m.standby != nil && !m.standby.StartedAt.Equal(s.StartedAt) {
			m.past.addTotals(m.standby)
		}
		m.standby = s
		return
	}
	for i := range m.runs {
		if m.runs[i].RunID == s.RunID {
			m.runs[i] = s
			return
		}
	}
	m.runs = append(m.runs, s)
	if len(m.runs) > keptRuns {
		m.past.addTotals(m.runs[0])
		m.runs = slices.Clone(m.runs[1:])
	}
}

// withoutTime shares all but what no metric shows and what would make ten kept
// runs large.
func (s *Summary) withoutTime() *Summary {
	out := *s
	out.Series, out.Parts, out.Stages, out.Slowest = Series{}, nil, nil, nil
	return &out
}

// SetNode gives the function that is asked for the node's state at each
// scrape; it must not block and must be safe for concurrent use.
func (m *Metrics) SetNode(state func() NodeState) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.node = state
}

// SetMerged gives the function that is asked at each scrape for what all nodes
// have told of the newest run, nil where this node does not lead; it must be
// safe for concurrent use.
func (m *Metrics) SetMerged(merged func() *Summary) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.merged = merged
}

// addTotals adds what series without a run label need.
func (s *Summary) addTotals(o *Summary) {
	addCounters(s.counters(), o.counters())
	s.FoldedLabels += o.FoldedLabels // which those of one run do not
	s.ScheduleLag.Merge(&o.ScheduleLag)
}

// Describe implements prometheus.Collector.
func (m *Metrics) Describe(out chan<- *prometheus.Desc) {
	for _, d := range m.descs {
		out <- d
	}
}

// Collect implements prometheus.Collector.
func (m *Metrics) Collect(out chan<- prometheus.Metric) {
	m.mu.Lock()
	runs, node, merged := slices.Clone(m.runs), m.node, m.merged
	all := m.loads()
	total := m.past.Clone()
	m.mu.Unlock()

	e := &emitter{descs: m.descs, out: out}
	e.gauge("build_info", 1, m.build.Version, m.build.Revision, m.build.GoVersion)
	for _, s := range all {
		e.run(s)
		total.addTotals(s)
	}
	e.totals(total)
	e.working(all)
	e.newest(runs)
	if node != nil {
		e.node(node())
	}
	if merged == nil {
		return
	}
	if s := merged(); s != nil {
		e.merged().run(s)
	}
}
