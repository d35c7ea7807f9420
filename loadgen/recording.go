package loadgen

import "volley/stats"

// layout is l with what is recorded of it.
func (r Recording) layout(l stats.Layout) stats.Layout {
	l.NoHistograms, l.SamplePct, l.MaxLabels = r.Off, r.SamplePct, r.MaxLabels
	return l
}
