package stats

import (
	"fmt"
	"math"
	"math/bits"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"
)

// The geometry of every histogram: nanoseconds, 1 ns to 1 h, 3 significant
// digits. It is part of the byte form and of the results' base64 blocks.
const (
	histLowest  = int64(1)
	histHighest = int64(time.Hour)
	histDigits  = 3
)

// tally is what a histogram keeps exactly, beside its buckets.
type tally struct {
	count    int64
	over     int64 // samples above 1 h: they lie in the top bucket
	min, max int64
	// sumHi and sumLo are a 128-bit sum: 64 bits hold 584 years of summed
	// latency, which a large closed run reaches in days.
	sumHi, sumLo uint64
}

func (t *tally) add(v int64) {
	if t.count == 0 || v < t.min {
		t.min = v
	}
	t.max = max(t.max, v)
	t.count++
	if v > histHighest {
		t.over++
	}
	lo, carry := bits.Add64(t.sumLo, uint64(v), 0)
	t.sumLo, t.sumHi = lo, t.sumHi+carry
}

func (t *tally) merge(o tally) {
	if o.count == 0 {
		return
	}
	if t.count == 0 || o.min < t.min {
		t.min = o.min
	}
	t.max = max(t.max, o.max)
	t.count += o.count
	t.over += o.over
	lo, carry := bits.Add64(t.sumLo, o.sumLo, 0)
	t.sumLo, t.sumHi = lo, t.sumHi+o.sumHi+carry
}

// sum is in nanoseconds.
func (t *tally) sum() float64 {
	return math.Ldexp(float64(t.sumHi), 64) + float64(t.sumLo)
}

// Histogram holds durations in nanoseconds with 3 significant digits up to
// 1 h. Longer ones lie in the top bucket and are counted by Over; minimum,
// maximum and mean are exact. The zero value is empty and ready for use. It
// takes memory in proportion to the buckets in use. It is not safe for
// concurrent use while something records or merges into it, and must not be
// copied by value after the first record (see Clone).
type Histogram struct {
	tally
	packed *hdrhistogram.PackedHistogram
}

// Record adds one duration; a negative one counts as 0.
func (h *Histogram) Record(d time.Duration) {
	v := max(int64(d), 0)
	h.add(v)
	h.put(min(v, histHighest), 1)
}

// put adds n samples to v's bucket, 0 <= v <= histHighest, n > 0.
func (h *Histogram) put(v, n int64) {
	if h.packed == nil {
		h.packed = newPacked()
	}
	mustRecord(h.packed, v, n)
}

// Merge adds all of o's samples, exactly.
func (h *Histogram) Merge(o *Histogram) {
	if o.count > 0 {
		h.absorb(o.tally, o.packed)
	}
}

// absorb adds samples whose buckets are p; p is left as it is.
func (h *Histogram) absorb(t tally, p *hdrhistogram.PackedHistogram) {
	h.tally.merge(t)
	if h.packed == nil {
		h.packed = p.Clone()
		return
	}
	h.packed.Merge(p)
}

// Clone returns an independent copy.
func (h *Histogram) Clone() Histogram {
	c := Histogram{tally: h.tally}
	if h.packed != nil {
		c.packed = h.packed.Clone()
	}
	return c
}

// Count is the number of samples.
func (h *Histogram) Count() int64 { return h.count }

// Over is the number of samples above 1 h.
func (h *Histogram) Over() int64 { return h.over }

// Min is the exact minimum, 0 if empty.
func (h *Histogram) Min() time.Duration { return time.Duration(h.min) }

// Max is the exact maximum, 0 if empty.
func (h *Histogram) Max() time.Duration { return time.Duration(h.max) }

// Mean is the exact mean, 0 if empty.
func (h *Histogram) Mean() time.Duration {
	if h.count == 0 {
		return 0
	}
	return time.Duration(h.sum() / float64(h.count))
}

// Percentile is the sample of nearest rank, 0 < p <= 100; ok is false if the
// histogram is empty.
func (h *Histogram) Percentile(p float64) (d time.Duration, ok bool) {
	return h.PercentileAmong(p, 0)
}

// PercentileAmong is Percentile with slower further samples that count as
// slower than any in the histogram; ok is false if the rank falls among them
// or nothing was recorded.
func (h *Histogram) PercentileAmong(p float64, slower int64) (d time.Duration, ok bool) {
	rank := nearestRank(p, h.count+slower)
	switch {
	case h.count == 0 || rank > h.count:
		return 0, false
	case rank == 1:
		return h.Min(), true
	case rank == h.count:
		return h.Max(), true
	}
	var seen int64
	h.packed.ForEachBucket(func(value, count int64) bool {
		seen += count
		d = time.Duration(highestEquivalent(value))
		return seen < rank
	})
	return min(max(d, h.Min()), h.Max()), true
}

// Minus is what was recorded since earlier, an earlier state of the same
// histogram: counts, buckets and mean are exact; minimum and maximum are so
// only if they were reached since, else those of the buckets. Where earlier
// holds more than h, which no earlier state does, nothing is left.
func (h *Histogram) Minus(earlier *Histogram) Histogram {
	if earlier.count == 0 {
		return h.Clone()
	}
	var out Histogram
	if h.count == 0 {
		return out
	}
	before := earlier.buckets()
	var first, last, count int64
	for _, c := range h.buckets() {
		for len(before) > 0 && before[0].index < c.index {
			before = before[1:]
		}
		if len(before) > 0 && before[0].index == c.index {
			c.n -= before[0].n
		}
		if c.n <= 0 {
			continue
		}
		if count == 0 {
			first = c.index
		}
		out.put(bucketValue(c.index), c.n)
		last, count = c.index, count+c.n
	}
	if count > 0 {
		out.tally = h.tally.since(&earlier.tally, count, first, last)
	}
	return out
}

// since is the difference of two tallies of which count samples remain, in
// buckets first to last.
func (t *tally) since(earlier *tally, count, first, last int64) tally {
	out := tally{count: count, over: max(t.over-earlier.over, 0), min: t.min, max: t.max}
	if t.min >= earlier.min {
		out.min = max(bucketValue(first), t.min)
	}
	if t.max <= earlier.max && out.over == 0 {
		out.max = min(bucketValue(last+1)-1, t.max)
	}
	lo, borrow := bits.Sub64(t.sumLo, earlier.sumLo, 0)
	hi, wrong := bits.Sub64(t.sumHi, earlier.sumHi, borrow)
	if wrong == 0 {
		out.sumLo, out.sumHi = lo, hi
	}
	return out
}

// bucket is one that holds samples.
type bucket struct{ index, n int64 }

// buckets lists the buckets that hold samples, from the lowest.
func (h *Histogram) buckets() []bucket {
	if h.packed == nil {
		return nil
	}
	out := make([]bucket, 0, h.packed.Populated())
	h.packed.ForEachBucket(func(value, n int64) bool {
		out = append(out, bucket{bucketIndex(value), n})
		return true
	})
	return out
}

// bytes is the memory that its buckets take.
func (h *Histogram) bytes() int64 {
	if h.packed == nil {
		return 0
	}
	return int64(h.packed.GetMemorySize())
}

// Base64 is the histogram in HDR V2 compressed form, which other HDR tools
// read. It holds the buckets alone: minimum, maximum and mean are those of the
// buckets.
func (h *Histogram) Base64() (string, error) {
	packed := h.packed
	if packed == nil {
		packed = newPacked()
	}
	data, err := packed.Encode()
	if err != nil {
		return "", fmt.Errorf("encode histogram: %w", err)
	}
	return string(data), nil
}

// nearestRank is ceil(p% of n), at least 1. It is integer arithmetic on p in
// millionths: in floating point, 99.9 % of 1000 is more than 999.
func nearestRank(p float64, n int64) int64 {
	const whole = 100_000_000
	millionths := uint64(math.Round(min(max(p, 0), 100) * 1e6))
	hi, lo := bits.Mul64(millionths, uint64(max(n, 0)))
	quo, rem := bits.Div64(hi, lo, whole)
	if rem > 0 {
		quo++
	}
	return max(int64(quo), 1)
}

// subBuckets is the number of linear buckets of each power of two that gives
// 3 significant digits.
const subBuckets = 1024

// bucketIndex numbers the buckets from 0 upwards, as the HDR format does.
func bucketIndex(v int64) int64 {
	if v < 2*subBuckets {
		return v
	}
	shift := int64(bits.Len64(uint64(v)) - bits.Len64(2*subBuckets-1))
	return shift*subBuckets + v>>shift
}

// bucketValue is the lowest value of the bucket of that index.
func bucketValue(index int64) int64 {
	if index < 2*subBuckets {
		return index
	}
	shift := index/subBuckets - 1
	return (index - shift*subBuckets) << shift
}

// highestEquivalent is the highest value in v's bucket.
func highestEquivalent(v int64) int64 { return bucketValue(bucketIndex(v)+1) - 1 }
