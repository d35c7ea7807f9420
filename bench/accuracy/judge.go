package main

import "math"

// verdict is how well what the target saw fits the curve.
type verdict struct {
	ok      bool
	total   int64
	worst   float64 // furthest off the curve in a window, percent
	densest int64   // most requests in 10 ms
}

// sums[i] is how many came in the first i milliseconds.
func sums(bins []int64) []int64 {
	out := make([]int64, len(bins)+1)
	for i, n := range bins {
		out[i+1] = out[i] + n
	}
	return out
}

func (c *cell) judge(bins []int64) verdict {
	sum := sums(bins)
	v := verdict{ok: true, total: sum[len(sum)-1]}
	length := int(c.length.Milliseconds())
	window, every, tolerance := 1000, 1000, 0.01
	if c.rate > 0 {
		window, every, tolerance = 10_000, 100, 0.005
	}
	for from := 0; from+window <= length; from += every {
		asked := c.asked(float64(from+window)/1000) - c.asked(float64(from)/1000)
		off := math.Abs(float64(sum[from+window]-sum[from]) - asked)
		// A request on the edge of a window may be seen on its other side.
		v.ok = v.ok && off <= max(asked*tolerance, 1)
		if asked > 0 {
			v.worst = max(v.worst, off/asked*100)
		}
	}
	for from := 0; from+10 <= length; from++ {
		n := sum[from+10] - sum[from]
		v.densest = max(v.densest, n)
		v.ok = v.ok && (c.rate == 0 || float64(n) <= 3*c.rate/100+1)
	}
	return v
}
