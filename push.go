package main

import (
	"volley/loadgen"
	"volley/otlp"
	"volley/stats"
)

// openPush makes what pushes the metrics, if OTEL_EXPORTER_OTLP_ENDPOINT says where to.
func (a *app) openPush(version string) error {
	o := a.set.OTLP
	if !o.On() {
		return nil
	}
	about := map[string]string{"service.version": version, "service.instance.id": a.self.ServerID}
	for name, value := range o.Resource() {
		about[name] = value
	}
	every, push := o.Limits()
	var err error
	a.push, err = otlp.New(otlp.Config{
		URL: o.MetricsEndpoint, GRPC: o.MetricsProtocol == "grpc", Headers: o.HeaderPairs(), Gzip: o.MetricsCompression == "gzip",
		CA: o.MetricsCA, Cert: o.MetricsCert, Key: o.MetricsKey, Try: o.TryTimeout(), Push: push, Every: every,
		Exponential: o.Aggregation == "base2_exponential_bucket_histogram", Resource: about,
	}, a.metrics, a.runner.endpoints, a.log)
	if err != nil {
		return invalid(err)
	}
	a.loops = append(a.loops, a.push.Run)
	return nil
}

// endpoints are where the steps of a run send to, nil once its plan is forgotten.
func (r *runner) endpoints(runID string) map[stats.StepKey]otlp.Endpoint {
	r.mu.Lock()
	known, ok := r.jobs[runID]
	r.mu.Unlock()
	if !ok {
		return nil
	}
	places, err := loadgen.Places(&known.job)
	if err != nil {
		return nil // it was prepared, so it is a plan
	}
	out := map[stats.StepKey]otlp.Endpoint{}
	for key, p := range places {
		out[key] = otlp.Endpoint{Method: p.Method, Scheme: p.Scheme, Address: p.Host, Port: p.Port, Template: p.Path}
	}
	return out
}
