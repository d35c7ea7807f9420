package stats

import "math"

// spread is the variance of a figure by its resamples, made larger by what
// neighbouring blocks have in common, and its degrees of freedom. values are
// the figure in each block.
func spread(drawn, values []float64) (variance, freedom float64) {
	_, variance, kept := moments(drawn)
	if kept < resamples/2 {
		return math.NaN(), 1
	}
	n := float64(len(values))
	alike := likeness(values)
	wider := (1 + alike) / (1 - alike)
	return variance * n / (n - 1) * wider, max(n/wider-1, 1)
}

// likeness is the autocorrelation of neighbours, corrected for how much too
// small it comes out of few values, from 0 to 0.9.
func likeness(values []float64) float64 {
	mean, variance, n := moments(values)
	if variance == 0 || n < 4 {
		return 0
	}
	var sum float64
	for i := 1; i < len(values); i++ {
		if by := (values[i] - mean) * (values[i-1] - mean); !math.IsNaN(by) && !math.IsInf(by, 0) {
			sum += by
		}
	}
	r := sum / (variance * (n - 1))
	return min(max(r+(1+3*r)/n, 0), 0.9)
}

// moments are of the values that are numbers, n of them.
func moments(values []float64) (mean, variance, n float64) {
	for _, v := range values {
		if !math.IsNaN(v) && !math.IsInf(v, 0) {
			n++
			mean += (v - mean) / n
		}
	}
	for _, v := range values {
		if !math.IsNaN(v) && !math.IsInf(v, 0) {
			variance += (v - mean) * (v - mean)
		}
	}
	return mean, variance / (n - 1), n
}

// correlation is that of two lists, 0 where one does not vary.
func correlation(a, b []float64) float64 {
	_, both, _ := moments(apart(a, b))
	_, one, _ := moments(a)
	_, other, _ := moments(b)
	if r := (one + other - both) / 2 / math.Sqrt(one*other); !math.IsNaN(r) && !math.IsInf(r, 0) {
		return r
	}
	return 0
}

// apart is b less a, one by one.
func apart(a, b []float64) (out []float64) {
	for i := range a {
		out = append(out, b[i]-a[i])
	}
	return out
}

// halfWidth is that of an interval which a difference of two leaves on either
// side with probability tail. The degrees of freedom are put together as by Welch.
func halfWidth(variance, freedom [2]float64, tail float64) float64 {
	sum, parts := variance[0]+variance[1], 0.0
	if sum == 0 {
		return 0
	}
	for i, v := range variance {
		if v > 0 {
			parts += v * v / freedom[i]
		}
	}
	return student(1-tail, sum*sum/parts) * math.Sqrt(sum)
}

// student is the quantile of Student's t, 0.5 < p < 1: by x = √freedom·tan(a) its
// density is cos(a)^(freedom-1), which is integrated and bisected.
func student(p, freedom float64) float64 {
	area := func(to float64) (sum float64) {
		const steps = 200 // Simpson's rule
		for i := range steps + 1 {
			weight := 2.0 + 2*float64(i%2)
			if i == 0 || i == steps {
				weight = 1
			}
			sum += weight * math.Pow(math.Cos(to*float64(i)/steps), freedom-1)
		}
		return sum * to / steps / 3
	}
	low, high := 0.0, math.Pi/2
	want := (p - 0.5) * 2 * area(high)
	for range 50 {
		if mid := (low + high) / 2; area(mid) < want {
			low = mid
		} else {
			high = mid
		}
	}
	return math.Sqrt(freedom) * math.Tan(low)
}
