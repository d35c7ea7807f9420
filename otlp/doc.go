// Package otlp pushes a process's metrics to an OTLP receiver, for places where
// nobody can scrape them.
//
// It owns nothing that is counted: each push converts what the Prometheus
// endpoint would show at that moment (stats.Metrics), under the same names, and
// adds http.client.request.duration of OpenTelemetry's semantic conventions,
// made from the steps' histograms. So recording a request costs nothing more,
// and a receiver that is slow or away never slows the load: one push at a time,
// each with a deadline, and what is missed is in the next one, since all
// figures are cumulative. The exporters are OpenTelemetry's own.
package otlp
