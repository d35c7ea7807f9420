package meeting

import (
	"context"
	"time"
)

const (
	// readings is how often a task reads the bucket's clock if it has the time.
	readings = 3
	// readBefore is how long before the start it does so last.
	readBefore = 2 * time.Second
	// resolution is that of the times that a bucket tells.
	resolution = time.Millisecond
)

// clock is the bucket's as this process knows it: at what instant, of the clock
// that nobody sets, it showed what. The bucket has taken a time between the
// question and the answer: the shorter that was, the better the reading.
type clock struct {
	now   func() time.Time // this machine's wall clock
	read  int              // how often
	mid   time.Time        // an instant of this process
	shown time.Time        // what the bucket's clock showed then
	wall  time.Time        // what this machine's did
	bound time.Duration    // what that may be off by
}

// compare adds a reading: what was asked before and answered after was written at
// shown, which is cut off to the resolution.
func (c *clock) compare(before, after, shown time.Time) {
	half := after.Sub(before) / 2
	c.read++
	if bound := half + resolution/2; c.read == 1 || bound < c.bound {
		c.mid, c.shown, c.bound = before.Add(half), shown.Add(resolution/2), bound
		c.wall = c.now().Add(-time.Since(c.mid))
	}
}

// there is what the bucket's clock shows at an instant of this process.
func (c *clock) there(t time.Time) time.Time { return c.shown.Add(t.Sub(c.mid)) }

// start is an instant of the bucket's clock as this process knows it.
func (c *clock) start(at time.Time) Start {
	return Start{At: at, Local: c.mid.Add(at.Sub(c.shown)), Offset: c.shown.Sub(c.wall.Round(0)), Bound: c.bound}
}

// refine reads the clock again while there is time. One reading is enough if that fails.
func (m *Meeting) refine(ctx context.Context, plan string, start time.Time) {
	for m.clock.read < readings && time.Until(m.clock.start(start).Local) > readBefore+pollEvery {
		if !sleep(ctx, pollEvery) {
			return
		}
		call, cancel := context.WithDeadline(ctx, m.clock.start(start).Local.Add(-readBefore))
		err := m.come(call, plan)
		cancel()
		if err != nil {
			m.Log.Debug("the bucket's clock is not read once more: " + err.Error())
			return
		}
	}
}

func sleep(ctx context.Context, wait time.Duration) bool {
	timer := time.NewTimer(wait)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-timer.C:
		return true
	}
}
