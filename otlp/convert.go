package otlp

import (
	"slices"
	"strings"
	"time"

	dto "github.com/prometheus/client_model/go"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/sdk/metric/metricdata"
)

// converter makes points of what was counted from start until now.
type converter struct {
	start, now  time.Time
	exponential bool
}

// family converts a metric of the Prometheus endpoint; its name stays, so that
// queries and pages hold for both.
func (c converter) family(f *dto.MetricFamily) metricdata.Metrics {
	out := metricdata.Metrics{Name: f.GetName(), Description: f.GetHelp(), Unit: unitOf(f.GetName())}
	switch f.GetType() {
	case dto.MetricType_COUNTER:
		sum := metricdata.Sum[float64]{Temporality: metricdata.CumulativeTemporality, IsMonotonic: true}
		for _, m := range f.GetMetric() {
			sum.DataPoints = append(sum.DataPoints, c.point(m, m.GetCounter().GetValue(), c.start))
		}
		out.Data = sum
	case dto.MetricType_HISTOGRAM:
		out.Data = c.histograms(f.GetMetric())
	default:
		var gauge metricdata.Gauge[float64]
		for _, m := range f.GetMetric() {
			gauge.DataPoints = append(gauge.DataPoints, c.point(m, m.GetGauge().GetValue(), time.Time{}))
		}
		out.Data = gauge
	}
	return out
}

func (c converter) point(m *dto.Metric, v float64, start time.Time) metricdata.DataPoint[float64] {
	return metricdata.DataPoint[float64]{Attributes: attributesOf(m), StartTime: start, Time: c.now, Value: v}
}

func attributesOf(m *dto.Metric) attribute.Set {
	var all []attribute.KeyValue
	for _, l := range m.GetLabel() {
		all = append(all, attribute.String(l.GetName(), l.GetValue()))
	}
	return attribute.NewSet(all...)
}

// unitOf is what a metric's name says of its unit, as UCUM writes it.
func unitOf(name string) string {
	name = strings.TrimSuffix(name, "_total")
	switch {
	case strings.HasSuffix(name, "_seconds"):
		return "s"
	case strings.HasSuffix(name, "_bytes"):
		return "By"
	case strings.HasSuffix(name, "_percent"):
		return "%"
	}
	return ""
}

func (c converter) histograms(all []*dto.Metric) metricdata.Aggregation {
	if c.exponential {
		out := metricdata.ExponentialHistogram[float64]{Temporality: metricdata.CumulativeTemporality}
		for _, m := range all {
			h := m.GetHistogram()
			point := c.exponentialPoint(attributesOf(m), h.GetSampleCount(), h.GetSampleSum(), h.GetZeroCount(), h.GetSchema(), nativeBuckets(h))
			point.ZeroThreshold = h.GetZeroThreshold()
			out.DataPoints = append(out.DataPoints, point)
		}
		return out
	}
	out := metricdata.Histogram[float64]{Temporality: metricdata.CumulativeTemporality}
	for _, m := range all {
		h := m.GetHistogram()
		var bounds []float64
		var upTo []uint64
		for _, b := range h.GetBucket() {
			bounds, upTo = append(bounds, b.GetUpperBound()), append(upTo, b.GetCumulativeCount())
		}
		out.DataPoints = append(out.DataPoints, c.explicitPoint(attributesOf(m), h.GetSampleCount(), h.GetSampleSum(), bounds, upTo))
	}
	return out
}

// explicitPoint takes cumulative counts up to each bound.
func (c converter) explicitPoint(of attribute.Set, count uint64, sum float64, bounds []float64, upTo []uint64) metricdata.HistogramDataPoint[float64] {
	var counts []uint64
	var before uint64
	for _, n := range append(upTo, count) {
		counts = append(counts, n-before)
		before = n
	}
	return metricdata.HistogramDataPoint[float64]{
		Attributes: of, StartTime: c.start, Time: c.now, Count: count, Sum: sum, Bounds: bounds, BucketCounts: counts,
	}
}

// exponentialPoint takes the counts of native buckets, of which number i ends
// where OTLP's i-1 does.
func (c converter) exponentialPoint(of attribute.Set, count uint64, sum float64, zero uint64, scale int32, buckets map[int]int64) metricdata.ExponentialHistogramDataPoint[float64] {
	out := metricdata.ExponentialHistogramDataPoint[float64]{
		Attributes: of, StartTime: c.start, Time: c.now, Count: count, Sum: sum, Scale: scale, ZeroCount: zero,
	}
	if len(buckets) == 0 {
		return out
	}
	var used []int
	for i := range buckets {
		used = append(used, i)
	}
	first, last := slices.Min(used), slices.Max(used)
	out.PositiveBucket.Offset = int32(first - 1)
	out.PositiveBucket.Counts = make([]uint64, last-first+1)
	for i, n := range buckets {
		out.PositiveBucket.Counts[i-first] = uint64(n)
	}
	return out
}

// nativeBuckets are the counts of a native histogram by their number; there they
// are spans of differences.
func nativeBuckets(h *dto.Histogram) map[int]int64 {
	out := map[int]int64{}
	deltas := h.GetPositiveDelta()
	var at int
	var n int64
	for _, span := range h.GetPositiveSpan() {
		at += int(span.GetOffset())
		for range span.GetLength() {
			n += deltas[0]
			deltas = deltas[1:]
			if n > 0 {
				out[at] = n
			}
			at++
		}
	}
	return out
}
