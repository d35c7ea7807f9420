package main

import (
	"context"
	"fmt"
	"log/slog"
	"math"
	"time"

	"volley/stats"
)

const (
	drawEvery = 500 * time.Millisecond // on a terminal
	noteEvery = 10 * time.Second       // in the log
	leastSpan = 500 * time.Millisecond // less says nothing of a rate
)

// progress tells how this node's part of a run goes while it does: on a terminal
// by one line that is drawn anew in place, else by a line in the log now and then.
type progress struct {
	log    *slog.Logger
	screen *screen // nil: the log
	// newest is the summary of the run that started last, nil before the first.
	newest func() *stats.Summary

	before, latest *stats.Summary // of one run; figures are of what came between
}

func (p *progress) run(ctx context.Context) error {
	every := noteEvery
	if p.screen != nil {
		every = drawEvery
		defer p.screen.erase()
	}
	t := time.NewTicker(every)
	defer t.Stop()
	for {
		select {
		case <-t.C:
		case <-ctx.Done():
			return nil
		}
		p.tell()
	}
}

// tell shows how things stand, nothing between runs.
func (p *progress) tell() {
	s := p.newest()
	if s == nil || s.Ended {
		p.before, p.latest = nil, nil
		if p.screen != nil {
			p.screen.erase()
		}
		return
	}
	if p.latest == nil || p.latest.RunID != s.RunID {
		p.before, p.latest = &stats.Summary{RunID: s.RunID}, s
	} else if s != p.latest {
		p.before, p.latest = p.latest, s
	}
	f := figuresOf(p.before, s)
	f.elapsed, f.total = max(time.Since(s.StartedAt), 0), s.Planned
	if p.screen != nil {
		p.screen.draw(f.line())
		return
	}
	p.log.Info("progress", f.fields(s.RunID)...)
}

// progressFigures are those of the time since they were shown last, but for
// errors and dropped arrivals, which are those of the run.
type progressFigures struct {
	elapsed, total  time.Duration // total is 0 if the run ends by number
	warmup          bool
	warmRequests    int64 // sent in it so far
	warmErrors      int64
	timed           bool    // long enough for a rate
	rate            float64 // arrivals started per second; in a closed model iterations done
	target          float64 // per second
	open            bool    // there is a target
	p95             time.Duration
	measured        bool // there is a p95
	errors, dropped int64
	errorRate       float64
	workers         int64
}

func figuresOf(before, s *stats.Summary) progressFigures {
	f := progressFigures{
		warmup: s.Elapsed < s.Warmup, warmRequests: s.WarmupRequests, warmErrors: s.WarmupErrors, open: !s.Closed,
		errors: s.ErrorCount(), errorRate: s.ErrorRate(), dropped: s.Dropped, workers: s.Workers,
	}
	if points := s.Series.Points; len(points) > 0 {
		f.workers = 0
		for _, p := range points[max(len(points)-2, 0):] { // the newest second may not have been observed yet
			f.workers = max(f.workers, p.Workers)
		}
	}
	// What is sent during warm-up is in no count.
	if span := (s.Elapsed - max(before.Elapsed, min(s.Warmup, s.Elapsed))).Seconds(); span >= leastSpan.Seconds() {
		f.timed = true
		f.rate, f.target = float64(s.Started-before.Started)/span, (s.Target-before.Target)/span
		if s.Closed {
			f.rate = float64(s.Completed-before.Completed) / span
		}
	}
	latency := s.Latency.Minus(&before.Latency)
	f.p95, f.measured = latency.Percentile(95)
	return f
}

func (f *progressFigures) line() string {
	text := shortDuration(f.elapsed)
	if f.total > 0 {
		text += "/" + shortDuration(f.total)
	}
	switch {
	case f.warmup:
		return text + fmt.Sprintf("  warm-up: %d requests, %d errors, not counted", f.warmRequests, f.warmErrors)
	case f.total > 0 && f.elapsed > f.total:
		text += "  draining"
	case !f.timed:
		text += "  starting"
	case f.open:
		text += fmt.Sprintf("  %.1f/s of %.1f/s", f.rate, f.target)
	default:
		text += fmt.Sprintf("  %.1f/s", f.rate)
	}
	if f.measured {
		text += fmt.Sprintf("  p95 %.1f ms", float64(f.p95)/float64(time.Millisecond))
	} else {
		text += "  p95 -"
	}
	text += fmt.Sprintf("  errors %d (%.2f %%)  workers %d", f.errors, 100*f.errorRate, f.workers)
	if f.dropped > 0 {
		text += fmt.Sprintf("  dropped %d", f.dropped)
	}
	return text
}

func (f *progressFigures) fields(runID string) []any {
	out := []any{
		"run_id", runID, "elapsed_s", decimals(f.elapsed.Seconds()), "total_s", decimals(f.total.Seconds()),
		"errors", f.errors, "error_rate", decimals(f.errorRate), "dropped", f.dropped, "workers", f.workers,
	}
	if f.warmup {
		out = append(out, "warmup_requests", f.warmRequests, "warmup_errors", f.warmErrors)
	}
	if f.timed {
		out = append(out, "rate", decimals(f.rate))
	}
	if f.timed && f.open {
		out = append(out, "target_rate", decimals(f.target))
	}
	if f.measured {
		out = append(out, "p95_ms", decimals(float64(f.p95)/float64(time.Millisecond)))
	}
	return out
}

func decimals(v float64) float64 { return math.Round(v*1000) / 1000 }

func shortDuration(d time.Duration) string { return d.Truncate(time.Second).String() }
