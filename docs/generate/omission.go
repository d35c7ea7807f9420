package main

import (
	"fmt"
	"math"
	"slices"
	"time"
)

// frozen is the target of the worked example of docs/measures.md: it answers in
// 1 ms and stands still from 5.0005 s to 6.0005 s. It, and sent, are the model
// that loadgen's TestLatencyIsFreeOfCoordinatedOmission holds the engine to.
func frozen(at time.Duration) (answered time.Duration) {
	const service = time.Millisecond
	const from, until = 5000500 * time.Microsecond, 6000500 * time.Microsecond
	switch {
	case at+service <= from || at >= until:
		return at + service
	case at >= from:
		return until + service
	}
	return until + service - (from - at)
}

// sent is what becomes of 100 arrivals a second for 20 s: each goes to the worker
// that is free first; a backlog is worked off at 110/s until one is on time.
func sent(workers int) (due, latency, service []time.Duration) {
	free := make([]time.Duration, workers)
	last, behind := -time.Second, false
	for k := range 2000 {
		at := time.Duration(k) * 10 * time.Millisecond
		due = append(due, at)
		w := slices.Index(free, slices.Min(free))
		at = max(at, free[w])
		if behind = behind && at > due[k] || at-due[k] > 100*time.Millisecond; behind {
			at = max(at, last+time.Second/110)
		}
		last, free[w] = at, frozen(at)
		latency, service = append(latency, frozen(at)-due[k]), append(service, frozen(at)-at)
	}
	return due, latency, service
}

// omissionPart is the table of the worked example.
func omissionPart() string {
	var rows [][]string
	for _, workers := range []int{1, 200} {
		_, latency, service := sent(workers)
		for _, of := range []struct {
			name string
			all  []time.Duration
		}{{"latency", latency}, {"service time", service}} {
			cells := []string{fmt.Sprint(workers), of.name}
			sorted := slices.Sorted(slices.Values(of.all))
			for _, percent := range []float64{50, 90, 95, 99, 99.9, 100} {
				rank := int(math.Ceil(percent/100*float64(len(sorted)) - 1e-9))
				cells = append(cells, fmt.Sprintf("%.0f ms", float64(sorted[rank-1])/float64(time.Millisecond)))
			}
			rows = append(rows, cells)
		}
	}
	return table([]string{"Workers", "", "p50", "p90", "p95", "p99", "p99.9", "max"}, rows)
}

// omissionPicture is latency and service time of each request by when it was
// due, with one worker.
func omissionPicture() []byte {
	due, latency, service := sent(1)
	c := &chart{title: "one worker, 100/s, the target frozen from 5.0 s to 6.0 s", unit: "ms", length: 20, legend: true,
		bands: []band{{"frozen", 5.0005, 6.0005}}}
	for _, s := range []struct {
		label string
		of    []time.Duration
	}{{"latency, by due time", latency}, {"service time", service}} {
		line := series{label: s.label}
		for k, at := range due {
			value := float64(s.of[k]) / float64(time.Millisecond)
			if n := len(line.points); k > 0 && k < len(due)-1 && line.points[n-1][1] == value && s.of[k+1] == s.of[k] {
				continue // within a straight piece
			}
			line.points = append(line.points, [2]float64{at.Seconds(), value})
		}
		c.series = append(c.series, line)
	}
	return c.svg()
}
