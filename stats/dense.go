package stats

import (
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"
)

// A recording histogram's buckets lie in pages: 1 KB each, 262 in all.
const (
	pageBuckets = 128
	// bucketCount is bucketIndex(histHighest) + 1.
	bucketCount = 31*subBuckets + int(histHighest>>31) + 1
	pageCount   = (bucketCount + pageBuckets - 1) / pageBuckets
)

type bucketPage [pageBuckets]int64

// dense is a histogram to record into quickly. A page is allocated with the
// first sample that falls into it and kept for the next use: latencies lie
// close together, and a plan may have many steps and a machine many CPUs.
type dense struct {
	tally
	pages *[pageCount]*bucketPage
}

func (d *dense) record(v time.Duration) {
	n := max(int64(v), 0)
	d.add(n)
	at := bucketIndex(min(n, histHighest))
	if d.pages == nil {
		d.pages = new([pageCount]*bucketPage)
	}
	page := d.pages[at/pageBuckets]
	if page == nil {
		page = new(bucketPage)
		d.pages[at/pageBuckets] = page
	}
	page[at%pageBuckets]++
}

// each calls visit for every bucket that holds samples, from the lowest.
func (d *dense) each(visit func(index, n int64)) {
	if d.pages == nil || d.count == 0 {
		return
	}
	for i, page := range d.pages {
		if page == nil {
			continue
		}
		for j, n := range page {
			if n > 0 {
				visit(int64(i*pageBuckets+j), n)
			}
		}
	}
}

// drainInto adds what was recorded to each of hs.
func (d *dense) drainInto(hs ...*Histogram) {
	if d.count == 0 {
		return
	}
	packed := newPacked()
	d.each(func(index, n int64) { mustRecord(packed, bucketValue(index), n) })
	for _, h := range hs {
		h.absorb(d.tally, packed)
	}
}

// reset empties it and keeps its pages.
func (d *dense) reset() {
	if d.count == 0 {
		return
	}
	d.tally = tally{}
	for _, page := range d.pages {
		if page != nil {
			clear(page[:])
		}
	}
}

// bytes is the memory that its buckets take.
func (d *dense) bytes() int64 {
	if d.pages == nil {
		return 0
	}
	size := int64(pageCount * 8)
	for _, page := range d.pages {
		size += one(page != nil) * pageBuckets * 8
	}
	return size
}

func newPacked() *hdrhistogram.PackedHistogram {
	return hdrhistogram.NewPacked(histLowest, histHighest, histDigits)
}

// mustRecord adds n samples; values are clamped and counts bounded before they
// get here.
func mustRecord(p *hdrhistogram.PackedHistogram, v, n int64) {
	if err := p.RecordValues(v, n); err != nil {
		panic("stats: record in histogram: " + err.Error())
	}
}
