package otlp

import (
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/sdk/metric/metricdata"

	"volley/stats"
)

// Endpoint is where a step's requests go, in the words of the semantic
// conventions; what is empty is not the same for all of them.
type Endpoint struct {
	Method, Scheme, Address, Template string
	Port                              int
}

// Endpoints are those of a run's steps, nil where the run is not known any more.
type Endpoints func(runID string) map[stats.StepKey]Endpoint

// bounds are those that the conventions advise for durations of requests.
func bounds() []float64 {
	return []float64{0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1, 2.5, 5, 7.5, 10}
}

// requests is http.client.request.duration: the service time of each attempt and
// hop, by step.
func (c converter) requests(loads []*stats.Summary, of Endpoints) metricdata.Metrics {
	explicit := metricdata.Histogram[float64]{Temporality: metricdata.CumulativeTemporality}
	exponential := metricdata.ExponentialHistogram[float64]{Temporality: metricdata.CumulativeTemporality}
	for _, s := range loads {
		known := of(s.RunID)
		for i := range s.Steps {
			st := &s.Steps[i]
			attributes, h := requestAttributes(s, st.StepKey, known[st.StepKey]), &st.Service
			count, sum := uint64(h.Count()), h.Seconds()
			if c.exponential {
				zero, buckets := h.Native()
				exponential.DataPoints = append(exponential.DataPoints, c.exponentialPoint(attributes, count, sum, zero, stats.NativeSchema, buckets))
				continue
			}
			var upTo []uint64
			for _, bound := range bounds() {
				upTo = append(upTo, uint64(h.AtMost(bound)))
			}
			explicit.DataPoints = append(explicit.DataPoints, c.explicitPoint(attributes, count, sum, bounds(), upTo))
		}
	}
	out := metricdata.Metrics{Name: "http.client.request.duration", Description: "Duration of HTTP client requests.", Unit: "s", Data: explicit}
	if c.exponential {
		out.Data = exponential
	}
	return out
}

func requestAttributes(s *stats.Summary, key stats.StepKey, e Endpoint) attribute.Set {
	all := []attribute.KeyValue{
		attribute.String("volley.run_id", s.RunID), attribute.String("volley.scenario", key.Scenario), attribute.String("volley.step", key.Step),
	}
	for name, value := range map[string]string{
		"http.request.method": e.Method, "url.scheme": e.Scheme, "server.address": e.Address, "url.template": e.Template,
	} {
		if value != "" {
			all = append(all, attribute.String(name, value))
		}
	}
	if e.Port > 0 {
		all = append(all, attribute.Int("server.port", e.Port))
	}
	return attribute.NewSet(all...)
}
