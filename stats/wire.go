package stats

import (
	"cmp"
	"encoding/binary"
	"errors"
	"fmt"
	"maps"
	"math"
	"slices"
	"time"
)

// The byte form of a summary: magic, version, then fields of fixed order as
// varints, length-prefixed strings and sparse histograms. It is not compressed,
// so that what Decode allocates stays in proportion to what it was given.
const (
	wireMagic   = "VSUM"
	wireVersion = 10
)

// What Decode accepts at most.
const (
	// MaxEncoded is the largest byte form of a Summary, in bytes.
	MaxEncoded = 16 << 20
	maxString  = 64 << 10
	maxSteps   = 1 << 14
	// maxCounter is exact in JSON, and a thousand of them still add up.
	maxCounter = 1 << 53
)

// Encode returns the byte form, which every build of the same version reads.
// The error says that the summary is too large or not valid.
func (s *Summary) Encode() ([]byte, error) {
	e := &encoder{buf: append([]byte(wireMagic), wireVersion)}
	for _, text := range s.texts() {
		e.text(*text)
	}
	for _, flag := range s.flags() {
		e.flag(*flag)
	}
	for _, d := range s.durations() {
		e.signed(int64(*d))
	}
	e.time(s.StartedAt)
	for _, f := range s.floats() {
		e.float(*f)
	}
	e.body(s.figures(), nil)
	e.body(s.counters(), s.histograms())
	e.length(len(s.Steps), maxSteps, "steps")
	for i := range s.Steps {
		st := &s.Steps[i]
		e.text(st.Scenario)
		e.text(st.Step)
		e.body(st.counters(), st.histograms())
		e.statusCodes(st.StatusCodes)
	}
	e.length(len(s.Scenarios), maxSteps, "scenarios")
	for i := range s.Scenarios {
		e.text(s.Scenarios[i].Name)
		e.body(s.Scenarios[i].counters(), s.Scenarios[i].histograms())
	}
	e.stages(s.Stages)
	e.slowest(s.Slowest)
	e.series(&s.Series)
	e.parts(s.Parts)
	if e.err == nil && len(e.buf) > MaxEncoded {
		e.fail("it takes %d bytes, at most %d are accepted", len(e.buf), MaxEncoded)
	}
	if e.err != nil {
		return nil, fmt.Errorf("encode summary: %w", e.err)
	}
	return e.buf, nil
}

// Decode reads what Encode wrote. Input that is damaged, of another version or
// too large gives an error; memory stays within a small multiple of the input.
func Decode(data []byte) (*Summary, error) {
	d := &decoder{data: data}
	s := d.totals()
	d.series(&s.Series)
	s.Parts = d.parts()
	if d.err == nil && len(d.data) > 0 {
		d.fail("%d bytes too many", len(d.data))
	}
	if d.err != nil {
		return nil, fmt.Errorf("decode summary: %w", d.err)
	}
	return s, nil
}

// DecodeTotals reads what Encode wrote but for the course of the run: Series and
// Parts, most of a long run's bytes, are empty, and not even looked at.
func DecodeTotals(data []byte) (*Summary, error) {
	d := &decoder{data: data}
	s := d.totals()
	if d.err != nil {
		return nil, fmt.Errorf("decode summary: %w", d.err)
	}
	return s, nil
}

func (d *decoder) totals() *Summary {
	s := &Summary{}
	d.header()
	for _, text := range s.texts() {
		*text = d.text()
	}
	for _, flag := range s.flags() {
		*flag = d.flag()
	}
	for _, dur := range s.durations() {
		*dur = time.Duration(d.signed())
	}
	s.StartedAt = d.time()
	for _, f := range s.floats() {
		*f = d.float()
	}
	d.body(s.figures(), nil)
	d.body(s.counters(), s.histograms())
	s.Steps = d.steps()
	s.Scenarios = d.scenarios()
	s.Stages = d.stages()
	s.Slowest = d.slowest()
	return s
}

func (s *Summary) texts() []*string {
	out := []*string{&s.RunID, &s.ConfigVersion, &s.NodeID, &s.Region, &s.Tenant, &s.Failure, &s.Unit, &s.StoppedBy}
	for i := range s.ErrorExamples {
		out = append(out, &s.ErrorExamples[i])
	}
	return out
}

func (s *Summary) flags() []*bool {
	return []*bool{&s.Ended, &s.Closed, &s.Sent, &s.NoHistograms, &s.Pool.Limited, &s.Scaled, &s.OwnClient, &s.StdClient}
}

// figures are counters that do not add up.
func (s *Summary) figures() []*int64 {
	return []*int64{&s.SamplePct, &s.SampleMost, &s.FoldedLabels, &s.RowsSkipped, &s.Pool.MaxIdlePerHost, &s.Generator.ThrottledPeriods}
}

func (s *Summary) durations() []*time.Duration {
	g := &s.Generator
	return []*time.Duration{
		&s.Elapsed, &s.Planned, &s.Warmup, &s.FirstDue, &s.FirstSent,
		&g.GCPauseP99, &g.WakeupP99, &g.ClockJump, &g.ScheduleLagP50, &g.ScheduleLagP99, &s.Pool.IdleTimeout, &s.SavingSince, &s.StoppedAfter,
	}
}

func (s *Summary) floats() []*float64 {
	return []*float64{&s.Target, &s.Generator.CPUPct, &s.Generator.ThrottledPct, &s.ThinkTimeScale}
}

// encoder appends to buf until the first error.
type encoder struct {
	buf []byte
	err error
}

func (e *encoder) fail(format string, args ...any) {
	e.err = cmp.Or(e.err, fmt.Errorf(format, args...))
}

func (e *encoder) unsigned(v uint64) { e.buf = binary.AppendUvarint(e.buf, v) }
func (e *encoder) signed(v int64)    { e.buf = binary.AppendVarint(e.buf, v) }

func (e *encoder) counter(v int64) {
	if v < 0 || v > maxCounter {
		e.fail("a counter is %d, accepted is 0..%d", v, int64(maxCounter))
	}
	e.unsigned(uint64(v))
}

func (e *encoder) length(n, limit int, what string) {
	if n > limit {
		e.fail("%d %s, at most %d are accepted", n, what, limit)
	}
	e.unsigned(uint64(n))
}

func (e *encoder) text(v string) {
	e.length(len(v), maxString, "bytes of text")
	e.buf = append(e.buf, v...)
}

func (e *encoder) flag(v bool) { e.unsigned(uint64(one(v))) }

func (e *encoder) float(v float64) {
	if !acceptable(v) {
		e.fail("a figure is %v, accepted is 0..%d", v, int64(maxCounter))
	}
	e.buf = binary.BigEndian.AppendUint64(e.buf, math.Float64bits(v))
}

// acceptable is false for NaN too.
func acceptable(v float64) bool { return v >= 0 && v <= maxCounter }

func (e *encoder) time(v time.Time) {
	e.flag(!v.IsZero())
	if !v.IsZero() {
		e.signed(v.UnixNano())
	}
}

func (e *encoder) body(counters []*int64, histograms []*Histogram) {
	for _, c := range counters {
		e.counter(*c)
	}
	for _, h := range histograms {
		e.histogram(h)
	}
}

func (e *encoder) statusCodes(codes map[int]int64) {
	e.length(len(codes), maxStatus, "status codes")
	for _, code := range slices.Sorted(maps.Keys(codes)) {
		e.length(code, maxStatus, "is a status code")
		e.counter(codes[code])
	}
}

func (e *encoder) histogram(h *Histogram) {
	e.counter(h.count)
	if h.count == 0 {
		return
	}
	e.counter(h.over)
	e.signed(h.min)
	e.signed(h.max)
	e.unsigned(h.sumHi)
	e.unsigned(h.sumLo)
	e.unsigned(uint64(h.packed.Populated()))
	var last int64
	h.packed.ForEachBucket(func(value, count int64) bool {
		index := bucketIndex(value)
		e.unsigned(uint64(index - last))
		e.counter(count)
		last = index
		return true
	})
}

// decoder takes from data until the first error; then everything reads as 0.
type decoder struct {
	data []byte
	err  error
}

var errTruncated = errors.New("it ends too early")

func (d *decoder) fail(format string, args ...any) {
	d.err = cmp.Or(d.err, fmt.Errorf(format, args...))
	d.data = nil
}

func (d *decoder) header() {
	switch {
	case len(d.data) > MaxEncoded:
		d.fail("it has %d bytes, at most %d are accepted", len(d.data), MaxEncoded)
	case len(d.data) <= len(wireMagic) || string(d.data[:len(wireMagic)]) != wireMagic:
		d.fail("it does not begin as a summary does")
	case d.data[len(wireMagic)] != wireVersion:
		d.fail("it is of version %d, this build reads version %d", d.data[len(wireMagic)], wireVersion)
	default:
		d.data = d.data[len(wireMagic)+1:]
	}
}

func (d *decoder) take(n int) []byte {
	if n > len(d.data) {
		d.fail("%w", errTruncated)
		return nil
	}
	out := d.data[:n]
	d.data = d.data[n:]
	return out
}

func (d *decoder) unsigned() uint64 {
	v, n := binary.Uvarint(d.data)
	if n <= 0 {
		d.fail("%w", errTruncated)
		return 0
	}
	d.data = d.data[n:]
	return v
}

func (d *decoder) signed() int64 {
	v, n := binary.Varint(d.data)
	if n <= 0 {
		d.fail("%w", errTruncated)
		return 0
	}
	d.data = d.data[n:]
	return v
}

func (d *decoder) counter() int64 {
	v := d.unsigned()
	if v > maxCounter {
		d.fail("a counter is %d, accepted is 0..%d", v, int64(maxCounter))
		return 0
	}
	return int64(v)
}

func (d *decoder) length(limit int, what string) int {
	v := d.unsigned()
	if v > uint64(limit) {
		d.fail("%d %s, at most %d are accepted", v, what, limit)
		return 0
	}
	return int(v)
}

func (d *decoder) text() string { return string(d.take(d.length(maxString, "bytes of text"))) }

func (d *decoder) flag() bool { return d.length(1, "is a flag") == 1 }

func (d *decoder) float() float64 {
	raw := d.take(8)
	if raw == nil {
		return 0
	}
	v := math.Float64frombits(binary.BigEndian.Uint64(raw))
	if !acceptable(v) {
		d.fail("a figure is %v, accepted is 0..%d", v, int64(maxCounter))
		return 0
	}
	return v
}

func (d *decoder) time() time.Time {
	if !d.flag() {
		return time.Time{}
	}
	return time.Unix(0, d.signed())
}

func (d *decoder) body(counters []*int64, histograms []*Histogram) {
	for _, c := range counters {
		*c = d.counter()
	}
	for _, h := range histograms {
		d.histogram(h)
	}
}

func (d *decoder) steps() []StepStats {
	var out []StepStats
	for range d.length(maxSteps, "steps") {
		if d.err != nil {
			return nil
		}
		st := StepStats{StepKey: StepKey{Scenario: d.text(), Step: d.text()}}
		d.body(st.counters(), st.histograms())
		st.StatusCodes = d.statusCodes()
		out = append(out, st)
	}
	return out
}

func (d *decoder) scenarios() []ScenarioStats {
	var out []ScenarioStats
	for range d.length(maxSteps, "scenarios") {
		if d.err != nil {
			return nil
		}
		sc := ScenarioStats{Name: d.text()}
		d.body(sc.counters(), sc.histograms())
		out = append(out, sc)
	}
	return out
}

func (d *decoder) statusCodes() map[int]int64 {
	var out map[int]int64
	for range d.length(maxStatus, "status codes") {
		if d.err != nil {
			return nil
		}
		if out == nil {
			out = map[int]int64{}
		}
		code := d.length(maxStatus, "is a status code")
		out[code] = d.counter()
	}
	return out
}

func (d *decoder) histogram(h *Histogram) {
	count := d.counter()
	if count == 0 {
		return
	}
	t := tally{count: count, over: d.counter(), min: d.signed(), max: d.signed(), sumHi: d.unsigned(), sumLo: d.unsigned()}
	var index, seen int64
	for i := range d.length(int(bucketIndex(histHighest)+1), "buckets") {
		delta, n := int64(d.length(int(bucketIndex(histHighest)), "buckets ahead")), d.counter()
		index += delta
		if d.err == nil && (n == 0 || n > count-seen || delta == 0 && i > 0 || index > bucketIndex(histHighest)) {
			d.fail("bucket %d of a histogram holds %d at %d", i, n, index)
		}
		if d.err != nil {
			return
		}
		h.put(bucketValue(index), n)
		seen += n
	}
	t.check(d, h, seen)
	h.tally = t
}

// check refuses exact figures that the buckets contradict: percentiles rely on
// them to agree.
func (t *tally) check(d *decoder, h *Histogram, seen int64) {
	if d.err != nil {
		return
	}
	var first, last int64 = -1, -1
	if h.packed != nil {
		first, last = h.packed.Min(), bucketIndex(h.packed.Max())
	}
	mean := t.sum() / float64(t.count)
	const slack = 1e-9 // of float arithmetic
	switch {
	case seen != t.count:
		d.fail("a histogram's buckets hold %d samples, it claims %d", seen, t.count)
	case t.min < 0 || t.max < t.min || t.over > t.count || (t.over > 0) != (t.max > histHighest),
		bucketIndex(min(t.min, histHighest)) != bucketIndex(first),
		bucketIndex(min(t.max, histHighest)) != last:
		d.fail("a histogram's range of %d..%d does not fit its buckets", t.min, t.max)
	case mean < float64(t.min)*(1-slack) || mean > float64(t.max)*(1+slack):
		d.fail("a histogram's mean %g lies outside its range of %d..%d", mean, t.min, t.max)
	}
}
