package main

import (
	"context"
	"sync/atomic"
	"time"
)

const (
	lagEvery  = time.Second
	lagSample = 10 * time.Millisecond
)

// lagMeter measures how late timers of this process fire: when the control
// process does not get the CPU, everything that it promises in time is in doubt.
type lagMeter struct{ lag atomic.Int64 }

func (l *lagMeter) run(ctx context.Context) error {
	t := time.NewTicker(lagEvery)
	defer t.Stop()
	for {
		select {
		case <-t.C:
		case <-ctx.Done():
			return nil
		}
		began := time.Now()
		wait := time.NewTimer(lagSample)
		select {
		case <-wait.C:
		case <-ctx.Done():
			wait.Stop()
			return nil
		}
		l.lag.Store(int64(max(0, time.Since(began)-lagSample)))
	}
}

func (l *lagMeter) last() time.Duration { return time.Duration(l.lag.Load()) }
