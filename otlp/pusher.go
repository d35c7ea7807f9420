package otlp

import (
	"context"
	"log/slog"
	"slices"
	"strings"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/sdk/instrumentation"
	"go.opentelemetry.io/otel/sdk/metric/metricdata"
	"go.opentelemetry.io/otel/sdk/resource"

	"volley/stats"
)

const (
	// lastPush bounds the one at the end.
	lastPush = 5 * time.Second
	// tellEvery is how often failures are told of at most.
	tellEvery = time.Minute
	// longestAnswer is how much of a failure is told, the receiver's answer included.
	longestAnswer = 300
	// shortestSecret is from how many bytes on a header's word is masked in it:
	// shorter ones guard nothing, and are parts of ordinary words.
	shortestSecret = 5
)

// Pusher pushes the metrics of a process.
type Pusher struct {
	config    Config
	to        exporter
	from      *stats.Metrics
	endpoints Endpoints
	log       *slog.Logger
	resource  *resource.Resource
	start     time.Time
	known     map[string]map[stats.StepKey]Endpoint // of the runs that are pushed
	hurried   context.Context                       // ends when there is no time left
	hurry     context.CancelFunc

	pushed bool      // at least once
	failed int       // since the last that went well
	told   time.Time // of a failure
}

// New makes a pusher that has not begun; the error says which file is wrong.
func New(c Config, from *stats.Metrics, of Endpoints, log *slog.Logger) (*Pusher, error) {
	to, err := newExporter(c)
	if err != nil {
		return nil, err
	}
	var about []attribute.KeyValue
	for name, value := range c.Resource {
		about = append(about, attribute.String(name, value))
	}
	hurried, hurry := context.WithCancel(context.Background())
	return &Pusher{
		config: c, to: to, from: from, endpoints: of, log: log, resource: resource.NewSchemaless(about...), start: time.Now(),
		known: map[string]map[stats.StepKey]Endpoint{}, hurried: hurried, hurry: hurry,
	}, nil
}

// HurryAfter leaves the last push so long from now at most.
func (p *Pusher) HurryAfter(d time.Duration) { time.AfterFunc(d, p.hurry) }

// Run pushes at once, at each interval, and once more after ctx has ended.
func (p *Pusher) Run(ctx context.Context) error {
	tick := time.NewTicker(p.config.Every)
	defer tick.Stop()
	for ctx.Err() == nil {
		if err := p.push(ctx, p.config.Push); ctx.Err() == nil { // else it was cut short, and the last one has it all
			p.tell(err)
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
		}
	}
	if err := p.push(p.hurried, min(lastPush, p.config.Push)); err != nil {
		p.log.Warn("the last figures of this process are not pushed: "+p.said(err), "event", "metrics_push_failed", "failed", p.failed+1)
	} else {
		p.tell(nil)
	}
	p.hurry()
	if err := p.to.Shutdown(context.WithoutCancel(ctx)); err != nil {
		p.log.Debug("close the exporter: " + err.Error())
	}
	return nil
}

// push sends what is counted at this moment. What fails is not kept: the next
// push has it all.
func (p *Pusher) push(ctx context.Context, limit time.Duration) error {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	families, err := p.from.Gather()
	if err != nil {
		return err
	}
	c := converter{start: p.start, now: time.Now(), exponential: p.config.Exponential}
	scope := metricdata.ScopeMetrics{Scope: instrumentation.Scope{Name: "volley", Version: p.config.Resource["service.version"]}}
	for _, f := range families {
		scope.Metrics = append(scope.Metrics, c.family(f))
	}
	loads := p.from.Loads()
	scope.Metrics = append(scope.Metrics, c.requests(loads, p.endpointsOf(loads)))
	return p.to.Export(ctx, &metricdata.ResourceMetrics{Resource: p.resource, ScopeMetrics: []metricdata.ScopeMetrics{scope}})
}

// endpointsOf keeps what is known of the runs that are pushed: who knows their
// plans forgets them sooner.
func (p *Pusher) endpointsOf(loads []*stats.Summary) Endpoints {
	for _, s := range loads {
		if p.known[s.RunID] == nil {
			p.known[s.RunID] = p.endpoints(s.RunID)
		}
	}
	for runID := range p.known {
		if !slices.ContainsFunc(loads, func(s *stats.Summary) bool { return s.RunID == runID }) {
			delete(p.known, runID)
		}
	}
	return func(runID string) map[stats.StepKey]Endpoint { return p.known[runID] }
}

// tell says how a push went: the first that goes well, and the first after
// others; failures at a bounded rate.
func (p *Pusher) tell(err error) {
	if err == nil {
		if !p.pushed || p.failed > 0 {
			p.log.Info("metrics are pushed", "event", "metrics_pushed", "to", p.config.URL, "failed", p.failed)
		}
		p.pushed, p.failed, p.told = true, 0, time.Time{}
		return
	}
	p.failed++
	if time.Since(p.told) < tellEvery {
		return
	}
	p.told = time.Now()
	p.log.Warn("the metrics are not pushed, which slows nothing else; the next push has them: "+p.said(err), "event", "metrics_push_failed", "failed", p.failed)
}

// said is an error without what is long in it, the receiver's answer, and without
// what that may repeat of the headers.
func (p *Pusher) said(err error) string {
	text := strings.ToValidUTF8(err.Error(), "\uFFFD")
	for _, value := range p.config.Headers {
		for _, word := range append([]string{value}, strings.Fields(value)...) {
			if len(word) >= shortestSecret {
				text = strings.ReplaceAll(text, word, "<secret>")
			}
		}
	}
	if len(text) > longestAnswer {
		text = strings.ToValidUTF8(text[:longestAnswer], "") + "…"
	}
	return text
}
