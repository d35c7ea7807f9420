// Accuracy measures on the wall clock how closely the load engine keeps to its
// curve: a matrix of rates and workers, ramps and a day, against a fast local
// target that notes in which millisecond each request came. It prints a table
// and exits 1 if a cell misses what issue 3 asks:
//
//   - a constant rate: in any 10 s the target sees what the curve asks within
//     0.5 % or one request, and in no 10 ms more than three times its share plus
//     one;
//   - a curve: in each second within 1 % or one request.
//
// Run it without -race on a machine that does nothing else:
//
//	go run ./bench/accuracy [-for 12s] [-workers 10,25,100,400] [-rates 0.5,50,7000,20000] [-curves=false]
package main

import (
	"context"
	"flag"
	"fmt"
	"log/slog"
	"os"
	"os/signal"
	"strconv"
	"strings"
	"time"

	"volley/loadgen"
	"volley/stats"
)

func main() {
	length := flag.Duration("for", 12*time.Second, "length of each constant rate, at least 11s")
	workers := flag.String("workers", "10,25,100,400", "numbers of workers")
	rates := flag.String("rates", "0.5,50,7000,20000", "constant rates, per second")
	curves := flag.Bool("curves", true, "ramps and a day too, a minute each")
	flag.Parse()
	cells, err := cellsOf(*length, *workers, *rates, *curves)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(2)
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	ok, err := measure(ctx, cells)
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(2)
	}
	if !ok {
		os.Exit(1)
	}
}

// cell is one run of the matrix.
type cell struct {
	name    string
	load    string // the plan's load block
	workers int
	length  time.Duration
	rate    float64                 // of a constant one
	asked   func(t float64) float64 // Λ, by seconds
}

func cellsOf(length time.Duration, workers, rates string, curves bool) ([]cell, error) {
	if length < 11*time.Second {
		return nil, fmt.Errorf("-for %v is too short for windows of 10 s (at least 11s)", length)
	}
	var cells []cell
	for _, w := range strings.Split(workers, ",") {
		n, err := strconv.Atoi(w)
		if err != nil || n < 1 {
			return nil, fmt.Errorf("-workers: %q is no number of workers (1, 2, …)", w)
		}
		for _, r := range strings.Split(rates, ",") {
			rate, err := strconv.ParseFloat(r, 64)
			if err != nil || rate <= 0 {
				return nil, fmt.Errorf("-rates: %q is no rate (a number above 0)", r)
			}
			cells = append(cells, cell{
				name: r + "/s", load: "model: rps, target: " + r, workers: n, length: length, rate: rate,
				asked: func(t float64) float64 { return rate * t },
			})
		}
	}
	if curves {
		cells = append(cells, shapes()...)
	}
	return cells, nil
}

// shapes are curves of a minute.
func shapes() []cell {
	const minute = 60.0
	day := func(t float64) float64 { // 5 s up, 15 at 600, 10 down, 10 at 200, 10 down, night
		sum := line(t, 0, 5, 0, 600) + line(t, 5, 15, 600, 600) + line(t, 20, 10, 600, 200)
		return sum + line(t, 30, 10, 200, 200) + line(t, 40, 10, 200, 0)
	}
	return []cell{
		{name: "0 to 1000", load: "model: ramp, min: 0, max: 1000, rampDuration: 60s, shape: hold", workers: 50, length: time.Minute,
			asked: func(t float64) float64 { return line(t, 0, minute, 0, 1000) }},
		{name: "1000 to 0", load: "model: stages, from: 1000, stages: [{duration: 60s, target: 0}]", workers: 50, length: time.Minute,
			asked: func(t float64) float64 { return line(t, 0, minute, 1000, 0) }},
		{name: "day", load: "model: dailytraffic, min: 0, mid: 200, max: 600, cycleDuration: 60s, morningRampRatio: 0.08333333333333333, " +
			"peakSustainRatio: 0.25, midDeclineRatio: 0.16666666666666666, midSustainRatio: 0.16666666666666666, eveningDeclineRatio: 0.16666666666666666",
			workers: 50, length: time.Minute, asked: day},
	}
}

// line is the integral until t of a rate that goes from r0 to r1 in length,
// from start on.
func line(t, start, length, r0, r1 float64) float64 {
	t = min(max(t-start, 0), length)
	return (r0 + (r1-r0)*t/length/2) * t
}

// measure runs the cells one after the other.
func measure(ctx context.Context, cells []cell) (ok bool, err error) {
	fmt.Printf("%-10s %8s %9s %9s %9s %10s %10s %10s  %s\n",
		"curve", "workers", "asked", "seen", "worst", "10ms max", "late", "lag p99", "verdict")
	ok = true
	for i, c := range cells {
		s, seen, err := c.run(ctx, i)
		if err != nil {
			return false, err
		}
		v := c.judge(seen)
		lag, _ := s.ScheduleLag.Percentile(99)
		late := s.LateNoWorker + s.LateCatchUp + s.LateGenerator
		verdict := "ok"
		if !v.ok {
			verdict, ok = "MISSED", false
		}
		fmt.Printf("%-10s %8d %9.0f %9d %8.3f%% %10d %10d %10v  %s (generator %s, %d dropped)\n",
			c.name, c.workers, c.asked(c.length.Seconds()), v.total, v.worst, v.densest, late, lag, verdict, s.Verdict(), s.Dropped)
	}
	return ok, nil
}

// run lets the engine send a cell's load to a target of its own.
func (c *cell) run(ctx context.Context, id int) (*stats.Summary, []int64, error) {
	t, err := listen(c.length)
	if err != nil {
		return nil, nil, err
	}
	defer t.close()
	document := fmt.Sprintf(`
version: "1.0"
config: {baseUrl: %q, workers: %d, duration: %dms}
load: {%s}
scenarios: [{name: s, steps: [{name: a, request: {method: GET, path: /}}]}]
`, t.url(), c.workers, c.length.Milliseconds(), c.load)
	engine := loadgen.NewInProcess(slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelWarn})))
	name := fmt.Sprintf("cell-%d", id)
	job := loadgen.Job{RunID: name, ConfigVersion: name, NodeID: "accuracy", Document: []byte(document), Client: loadgen.Client{ThinkTimeScale: 1}}
	if err := engine.Prepare(ctx, job); err != nil {
		return nil, nil, err
	}
	start := time.Now().Add(3 * time.Second)
	t.begin(start)
	s, err := engine.Run(ctx, name, start, nil)
	if err == nil {
		err = context.Cause(ctx)
	}
	return s, t.counts(), err
}
