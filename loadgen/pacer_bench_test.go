package loadgen

import (
	"testing"
	"time"
)

// arrive is an arrival from the pacer to the sluice, into a slot, on time.
type arrive struct {
	pacer *pacer
	slot  slot
	now   time.Duration
}

func newArrive() *arrive {
	return &arrive{pacer: newPacer(schedule{curve: rpsCurve(100_000), claims: newClaims(), end: endless}, time.Second)}
}

func (a *arrive) one() {
	t, _, _ := a.pacer.take(a.now, &a.slot)
	a.now = t.release
	a.pacer.sluice.pass(t.due, a.now)
	a.slot.empty()
}

// BenchmarkArrival is all that an arrival costs but the wait.
func BenchmarkArrival(b *testing.B) {
	a := newArrive()
	b.ReportAllocs()
	for b.Loop() {
		a.one()
	}
}

// BenchmarkClock is a wait and its end, beside a thousand that wait for longer.
func BenchmarkClock(b *testing.B) {
	c := &clock{base: time.Now(), set: endless}
	c.bell = newTimerBell(c.strike)
	defer c.stop()
	for i := range 1000 {
		c.add(&alarm{}, time.Hour+time.Duration(i))
	}
	var a alarm
	b.ReportAllocs()
	for b.Loop() {
		c.add(&a, time.Since(c.base))
		c.strike()
		<-a.rings
	}
}

// An arrival allocates nothing, nor does the wait for it.
func TestArrivalsDoNotAllocate(t *testing.T) {
	a := newArrive()
	if n := testing.AllocsPerRun(10_000, a.one); n > 0 {
		t.Errorf("%v allocations an arrival", n)
	}
	c := newClock(time.Now())
	defer c.stop()
	var one alarm
	wait := func() { c.wait(&one, nil, time.Since(c.base)+100*time.Microsecond) }
	wait()
	if n := testing.AllocsPerRun(100, wait); n > 0 {
		t.Errorf("%v allocations a wait", n)
	}
}

// BenchmarkPacerTake is what handing out an arrival costs.
func BenchmarkPacerTake(b *testing.B) {
	p := newPacer(schedule{curve: rpsCurve(100_000), claims: newClaims(), end: endless}, time.Second)
	b.ReportAllocs()
	now := time.Duration(0)
	for b.Loop() {
		t, _, _ := p.take(now, nil)
		now = t.release
	}
}

// BenchmarkSluicePass is what an arrival that is on time pays at the sluice.
func BenchmarkSluicePass(b *testing.B) {
	s := newSluice(schedule{curve: rpsCurve(100_000), claims: newClaims(), end: endless})
	b.ReportAllocs()
	due := time.Duration(0)
	for b.Loop() {
		s.pass(due, due+50*time.Microsecond)
		due += 10 * time.Microsecond
	}
}
