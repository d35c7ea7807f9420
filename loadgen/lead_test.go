package loadgen

import (
	"testing"
	"time"
)

// noted is a striker that strikes when the test does.
type noted struct {
	in   time.Duration
	busy bool
}

func (n *noted) set(in time.Duration, busy bool) { n.in, n.busy = in, busy }
func (n *noted) stop()                           {}

// notedClock is one with those who wait until some instants.
func notedClock(began time.Time, until ...time.Duration) (*clock, *noted) {
	bell := &noted{}
	c := &clock{base: began, bell: bell, set: endless, slack: ordinarySlack(), lead: newLead()}
	for i, at := range until {
		c.queue = append(c.queue, &alarm{at: at, seat: i})
		c.up(i)
	}
	return c, bell
}

// Who waits alone, and for long enough, is woken early; several are not, and a
// crowd waits longer for each other.
func TestTheBellLeadsForOneAlone(t *testing.T) {
	const (
		us  = time.Microsecond
		now = 30 * time.Second
	)
	for name, tc := range map[string]struct {
		until      []time.Duration // from now
		want, late time.Duration   // when the bell strikes, from now, and once it has spun enough
		busy       bool
	}{
		"alone":                {[]time.Duration{9000 * us}, 9000*us - firstLead, 9000 * us, false},
		"alone, soon":          {[]time.Duration{499 * us}, 499 * us, 499 * us, true},
		"another soon after":   {[]time.Duration{9150 * us, 9000 * us}, 9150 * us, 9150 * us, false},
		"another later":        {[]time.Duration{9000 * us, 9201 * us}, 9000*us - firstLead, 9000 * us, false},
		"three, and one later": {[]time.Duration{9000 * us, 9050 * us, 9099 * us, 9300 * us}, 9099 * us, 9099 * us, false},
		"a crowd, and more":    {[]time.Duration{9000 * us, 9050 * us, 9400 * us, 9099 * us, 9200 * us, 9501 * us}, 9400 * us, 9400 * us, false},
	} {
		for i := range tc.until {
			tc.until[i] += now
		}
		c, bell := notedClock(time.Now(), tc.until...)
		if c.wind(now); bell.in != tc.want || bell.busy != tc.busy {
			t.Errorf("%s: the bell strikes in %v (busy: %v), want %v (%v)", name, bell.in, bell.busy, tc.want, tc.busy)
		}
		c, bell = notedClock(time.Now(), tc.until...)
		c.lead.spun = time.Second
		if c.wind(now); bell.in != tc.late {
			t.Errorf("%s, after too much spinning: the bell strikes in %v, want %v", name, bell.in, tc.late)
		}
	}
}

// The lead is what has been needed lately, within bounds, and less of it as the
// time that may be spun is used up.
func TestLead(t *testing.T) {
	const us = time.Microsecond
	l := newLead()
	for range 50 {
		l.learn(60 * us)
	}
	if got := l.before(time.Minute, 0); got < 60*us || got > 65*us {
		t.Errorf("after 50 who were 60 µs late it is %v", got)
	}
	if got := l.before(499*us, 0); got != 0 {
		t.Errorf("one who waits for 499 µs is woken %v early", got)
	}
	for range 50 {
		l.learn(time.Second)
	}
	if got := l.before(time.Minute, 0); got < mostLead-5*us || got > mostLead {
		t.Errorf("after 50 who were a second late it is %v, want %v", got, mostLead)
	}
	// One who waits for less is woken half of it early, so that it teaches how much
	// it takes: the lead comes down again.
	if got := l.before(600*us, 0); got != 300*us {
		t.Errorf("one who waits for 600 µs is woken %v early, want half of it", got)
	}
	whole, half, none := l.by, l.by/2, time.Duration(0)
	for _, tc := range []struct{ spun, now, want time.Duration }{
		{0, 0, whole}, {us, 0, half}, {9999 * us, -time.Hour, half}, {10 * time.Millisecond, 0, none}, {10 * time.Millisecond, -time.Hour, none},
		{10 * time.Millisecond, 2 * time.Second, whole}, {101 * time.Millisecond, 20 * time.Second, half}, {110 * time.Millisecond, 20 * time.Second, none},
	} {
		l.spun = tc.spun
		if got := l.before(time.Hour, tc.now); got != tc.want {
			t.Errorf("%v spun in %v: %v, want %v", tc.spun, tc.now, got, tc.want)
		}
	}
	// An hour without any does not make up for more than a moment of it.
	l.spun = 0
	l.before(2*time.Hour, time.Hour)
	l.spend(2 * spunBefore)
	l.spend(-time.Hour)
	if got := l.before(2*time.Hour, time.Hour); got != 0 {
		t.Errorf("%v after an hour and %v of spinning, want none", got, 2*spunBefore)
	}
}

// After a strike that came late the process is taken to be busy for a while.
func TestALateStrikeMeansABusyProcess(t *testing.T) {
	c, bell := notedClock(time.Now(), 2*time.Hour)
	strike := func(late time.Duration) bool {
		c.set = time.Hour - late
		c.strikeAt(time.Hour)
		return bell.busy
	}
	if strike(0) {
		t.Error("busy though it was on time")
	}
	if !strike(strikeLate + time.Microsecond) {
		t.Error("not busy though it was late")
	}
	for i := range mostDoubts - 1 {
		if !strike(0) {
			t.Fatalf("not busy any more after %d on time", i+1)
		}
	}
	if strike(0) {
		t.Errorf("still busy after %d on time", mostDoubts)
	}
}

// A strike for one alone wakes it before its instant; if it is not alone any more,
// all of them wait on.
func TestAnEarlyStrikeIsForOneAlone(t *testing.T) {
	const at, us = 30 * time.Second, time.Microsecond
	for name, tc := range map[string]struct {
		others []time.Duration // that have come since the bell was set
		early  bool
		want   time.Duration // to when the bell is set then
	}{
		"alone":              {nil, true, endless},
		"another much later": {[]time.Duration{at + 300*us}, true, at + 300*us},
		"another":            {[]time.Duration{at + 150*us}, false, at + 150*us},
		"at the same time":   {[]time.Duration{at, at, at, at}, false, at},
	} {
		c, _ := notedClock(time.Now(), at)
		c.wind(at - time.Second)
		one := c.queue[0]
		one.rings = make(chan bool, 1)
		for _, other := range tc.others {
			c.queue = append(c.queue, &alarm{at: other, seat: len(c.queue), rings: make(chan bool, 1)})
			c.up(len(c.queue) - 1)
		}
		struck := c.set
		c.strikeAt(c.set + 5*us)
		if got := len(one.rings) == 1; got != tc.early || got && (!one.early || one.struck != struck || struck != at-firstLead) {
			t.Errorf("%s: woken %v (early %v, struck %v of %v), want %v", name, got, one.early, one.struck, struck, tc.early)
		}
		if c.set != tc.want {
			t.Errorf("%s: the bell is set to %v, want %v", name, c.set, tc.want)
		}
		for len(c.queue) > 0 {
			c.strikeAt(c.queue[0].at)
		}
		if got := <-one.rings; !got || one.early != tc.early {
			t.Errorf("%s: in the end %v, early %v", name, got, one.early)
		}
	}
}
