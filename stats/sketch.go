package stats

import (
	"encoding/binary"
	"fmt"
	"math/bits"
	"time"
)

// How many buckets a sketch holds at most: enough for 0.1 % where samples lie
// close together, and few enough for 600 of them to travel every second.
const (
	latencySketch = 512
	lagSketch     = 64
	maxSketchFold = 10 // then all samples fit into 33 buckets
)

// sketch is the histogram of one point of a series. It has the buckets of a
// Histogram as long as no more than a limit of them hold samples; then each
// two, four and so on are taken together. How far depends on the samples alone
// and not on the order in which sketches were merged, so merging is exact. It
// never changes: copies share it. Its bytes are the fold, then for each bucket
// the distance from the one before it and its count, all as varints; "" is
// empty.
type sketch string

// newSketch makes a sketch of ascending buckets, whose slice it uses.
func newSketch(fold int, cells []bucket, limit int) sketch {
	for len(cells) > limit && fold < maxSketchFold {
		fold, cells = fold+1, halve(cells)
	}
	if len(cells) == 0 {
		return ""
	}
	buf := make([]byte, 1, 1+3*len(cells))
	buf[0] = byte(fold)
	var last int64
	for _, c := range cells {
		buf = binary.AppendUvarint(buf, uint64(c.index-last))
		buf = binary.AppendUvarint(buf, uint64(c.n))
		last = c.index
	}
	return sketch(buf)
}

// sketchOf is what a recording histogram holds.
func sketchOf(d *dense, limit int) sketch {
	var cells []bucket
	d.each(func(index, n int64) { cells = append(cells, bucket{index, n}) })
	return newSketch(0, cells, limit)
}

// halve takes each two buckets together, in place.
func halve(cells []bucket) []bucket {
	out := cells[:0]
	for _, c := range cells {
		c.index >>= 1
		if n := len(out); n > 0 && out[n-1].index == c.index {
			out[n-1].n += c.n
			continue
		}
		out = append(out, c)
	}
	return out
}

// buckets reads the bytes; those of a checked sketch have no error.
func (s sketch) buckets() (fold int, cells []bucket) {
	if s == "" {
		return 0, nil
	}
	fold, data := int(s[0]), []byte(s[1:])
	var index int64
	for len(data) > 0 {
		delta, n := binary.Uvarint(data)
		count, m := binary.Uvarint(data[n:])
		index += int64(delta)
		cells, data = append(cells, bucket{index, int64(count)}), data[n+m:]
	}
	return fold, cells
}

// check refuses bytes that newSketch does not write.
func (s sketch) check(limit int) error {
	if s == "" {
		return nil
	}
	if s[0] > maxSketchFold {
		return fmt.Errorf("a sketch's fold is %d, at most %d is accepted", s[0], maxSketchFold)
	}
	data := []byte(s[1:])
	var index, total uint64
	top := uint64(bucketCount-1) >> s[0]
	for i := 0; len(data) > 0 || i == 0; i++ {
		delta, n := binary.Uvarint(data)
		if n <= 0 {
			return errTruncated
		}
		count, m := binary.Uvarint(data[n:])
		if m <= 0 {
			return errTruncated
		}
		if i >= limit || i > 0 && delta == 0 || delta > top-index || count == 0 || count > maxCounter-total {
			return fmt.Errorf("bucket %d of a sketch holds %d at %d+%d", i, count, index, delta)
		}
		index, total, data = index+delta, total+count, data[n+m:]
	}
	return nil
}

// merge adds o's samples.
func (s sketch) merge(o sketch, limit int) sketch {
	if s == "" {
		return o
	}
	if o == "" {
		return s
	}
	foldA, a := s.buckets()
	foldB, b := o.buckets()
	for ; foldA < foldB; foldA++ {
		a = halve(a)
	}
	for ; foldB < foldA; foldB++ {
		b = halve(b)
	}
	return newSketch(foldA, mergeBuckets(a, b), limit)
}

// mergeBuckets adds up two ascending lists.
func mergeBuckets(a, b []bucket) []bucket {
	out := make([]bucket, 0, len(a)+len(b))
	for len(a) > 0 && len(b) > 0 {
		switch {
		case a[0].index < b[0].index:
			out, a = append(out, a[0]), a[1:]
		case b[0].index < a[0].index:
			out, b = append(out, b[0]), b[1:]
		default:
			out = append(out, bucket{a[0].index, a[0].n + b[0].n})
			a, b = a[1:], b[1:]
		}
	}
	return append(append(out, a...), b...)
}

func (s sketch) count() int64 {
	_, cells := s.buckets()
	var n int64
	for _, c := range cells {
		n += c.n
	}
	return n
}

// percentile is that of nearest rank, with slower further samples that count
// as slower than any; ok is false if there is none or it falls among those.
func (s sketch) percentile(p float64, slower int64) (d time.Duration, ok bool) {
	fold, cells := s.buckets()
	rank := nearestRank(p, s.count()+slower)
	var seen int64
	for _, c := range cells {
		if seen += c.n; seen >= rank {
			return time.Duration(sketchValue(fold, c.index)), true
		}
	}
	return 0, false
}

// sketchValue stands for the samples of a bucket: its highest value if the
// bucket is one of a Histogram, else its middle.
func sketchValue(fold int, index int64) int64 {
	low, high := bucketValue(index<<fold), bucketValue((index+1)<<fold)-1
	if fold > 0 {
		high = low + (high-low)/2
	}
	return min(high, highestEquivalent(histHighest))
}

// addTo adds the samples to a histogram, at the values that stand for them.
func (s sketch) addTo(h *Histogram) {
	fold, cells := s.buckets()
	for _, c := range cells {
		v := min(sketchValue(fold, c.index), histHighest)
		hi, lo := bits.Mul64(uint64(v), uint64(c.n))
		h.tally.merge(tally{count: c.n, min: v, max: v, sumHi: hi, sumLo: lo})
		h.put(v, c.n)
	}
}
