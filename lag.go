package main

import (
	"context"
	"fmt"
	"log/slog"
	"runtime"
	"sync"
	"time"
)

const (
	// How often the process wakes up to see how late it is: elections depend on it
	// in a cluster, and nothing but the answers of its API elsewhere.
	lagEvery      = 50 * time.Millisecond
	lagEveryAlone = 250 * time.Millisecond

	lagWindow   = 15 // seconds of which the worst is shown: a scraper's usual interval
	lagWarn     = 100 * time.Millisecond
	lagWarnRest = 10 * time.Second // between two warnings
)

func newLagMeter(log *slog.Logger, clustered bool) *lagMeter {
	if clustered {
		return &lagMeter{log: log, every: lagEvery}
	}
	return &lagMeter{log: log, every: lagEveryAlone}
}

// lagMeter measures how late this process does what it is to do at an instant:
// when the control process does not get the CPU, everything that it promises in
// time is in doubt.
type lagMeter struct {
	log   *slog.Logger
	every time.Duration

	mu    sync.Mutex
	worst [lagWindow]worstLag
	over  int           // wake-ups later than lagWarn that no warning has told of
	most  time.Duration // the latest of them
	told  time.Time
}

// worstLag is the worst of one second.
type worstLag struct {
	second int64
	late   time.Duration
}

func (l *lagMeter) run(ctx context.Context) error {
	timer := time.NewTimer(l.every)
	defer timer.Stop()
	for {
		due := time.Now().Add(l.every)
		timer.Reset(l.every)
		select {
		case <-timer.C:
		case <-ctx.Done():
			return nil
		}
		// The runtime lets whom a timer wakes up go first. What comes from the
		// network, heartbeats for one, has to queue: so does this.
		runtime.Gosched()
		now := time.Now()
		l.note(now, max(0, now.Sub(due)))
	}
}

// note keeps how late a wake-up was, and warns if that is too much, but not of
// each one: a process that starves would only starve more.
func (l *lagMeter) note(now time.Time, late time.Duration) {
	l.mu.Lock()
	defer l.mu.Unlock()
	second := now.Unix()
	w := &l.worst[second%lagWindow]
	if w.second != second {
		*w = worstLag{second: second}
	}
	w.late = max(w.late, late)
	if late > lagWarn {
		l.over++
		l.most = max(l.most, late)
	}
	if l.over == 0 || now.Sub(l.told) < lagWarnRest {
		return
	}
	l.log.Warn(fmt.Sprintf("the control process gets too little CPU: it woke up %s late (more than %s is warned about); elections and health answers are in doubt",
		l.most.Round(time.Millisecond), lagWarn), "event", "control_lag", "lag_ms", float64(l.most)/1e6, "times", l.over)
	l.over, l.most, l.told = 0, 0, now
}

// last is the worst of the last lagWindow seconds.
func (l *lagMeter) last(now time.Time) (late time.Duration) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, w := range l.worst {
		if w.second > now.Unix()-lagWindow {
			late = max(late, w.late)
		}
	}
	return late
}
