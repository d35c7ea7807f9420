package main

import "time"

const (
	// rearmBelow is how many points below the warning threshold memory must fall
	// before the guard warns again; half of a threshold is low enough.
	rearmBelow = 10
	// reliefLasts is how long a collection counts: memory that is over a threshold
	// again within that time is needed, not left over.
	reliefLasts = 5 * time.Second
)

// watermark decides what the memory guard does. It knows no clock and touches
// nothing.
type watermark struct {
	warning, critical float64 // percent of the limit
	// collects is true if the runtime itself collects before memory gets critical:
	// then what is left at that point is needed.
	collects bool

	warned, ended bool      // not yet re-armed
	collected     time.Time // last
	last          float64   // percent, at the look before
}

// measure is what is to be done after one look at the memory.
type measure struct {
	collect bool // give back what is not in use, before anything is said
	warn    bool // the warning threshold was passed
	end     bool // the critical threshold was passed
	// short and dire are true as long as the thresholds are exceeded: also for a
	// run that began meanwhile.
	short, dire bool
}

// look takes what percentage of the limit is in use, and whether nothing runs.
func (w *watermark) look(percent float64, idle bool, now time.Time) (m measure) {
	if percent < max(w.warning-rearmBelow, w.warning/2) {
		w.warned, w.ended = false, false
	}
	if idle && percent < w.critical {
		w.ended = false // what it ended is gone: the next run has a collection and a word of its own
	}
	over := percent >= w.warning && !w.warned || percent >= w.critical && !w.ended
	// If two more steps like the last would pass the limit, a collection comes too late.
	rushes := w.last > 0 && percent+2*(percent-w.last) >= 100
	w.last = percent
	atOnce := percent >= w.critical && (rushes || w.collects)
	if over && !atOnce && (w.collected.IsZero() || now.Sub(w.collected) > reliefLasts) {
		w.collected = now
		m.collect = true
		m.short = w.warned
		return m
	}
	if percent >= w.warning && !w.warned {
		w.warned, m.warn = true, true
	}
	if percent >= w.critical && !w.ended {
		w.ended, m.end = true, true
	}
	m.short, m.dire = w.warned, w.ended && percent >= w.critical
	return m
}
