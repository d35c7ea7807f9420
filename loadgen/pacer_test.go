package loadgen

import (
	"testing"
	"time"
)

func TestPacerHandsOutEachArrivalOnce(t *testing.T) {
	p := newPacer(schedule{curve: rpsCurve(100), claims: newClaims(), end: 10 * time.Second}, time.Second)
	for k := range int64(1000) {
		got, dropped, ok := p.take(time.Duration(k)*10*time.Millisecond-time.Millisecond, nil)
		want := ticket{index: k, level: float64(k), due: time.Duration(k) * 10 * time.Millisecond, free: true, first: k == 0}
		want.release = want.due
		if !ok || len(dropped) > 0 || got != want {
			t.Fatalf("take %d = %+v, %v, %v; want %+v", k, got, dropped, ok, want)
		}
	}
	if got, dropped, ok := p.take(9991*time.Millisecond, nil); ok || len(dropped) > 0 {
		t.Errorf("after the last arrival there is %+v, dropped %v", got, dropped)
	}
}

func TestPacerDropsTheOldestAndKeepsTheRest(t *testing.T) {
	p := newPacer(schedule{curve: rpsCurve(100), claims: newClaims(), end: 10 * time.Second}, time.Second)
	// At 3 s all before 2 s is older than the backlog allows.
	got, dropped, ok := p.take(3*time.Second, nil)
	if !ok || dropped.sum() != 200 || got.index != 200 || got.free || got.catchUp {
		t.Fatalf("take = %+v, dropped %v, %v; want arrival 200 after 200 dropped", got, dropped, ok)
	}
	if n := p.drop(4 * time.Second).sum(); n != 99 {
		t.Errorf("a second later %d are dropped, want 99 (201 to 299)", n)
	}
	if n := p.stop(5 * time.Second).sum(); n != 201 {
		t.Errorf("stop finds %d arrivals due and unsent, want 201 (300 to 500)", n)
	}
	if _, n, ok := p.take(6*time.Second, nil); ok || len(n) > 0 {
		t.Errorf("after stop there is an arrival, or %v dropped", n)
	}
}

// TestPacerCatchesUpAtMost110Percent lets one tireless worker take all that it
// is given after a stall of 0.9 s.
func TestPacerCatchesUpAtMost110Percent(t *testing.T) {
	const rate = 1000
	p := newPacer(schedule{curve: rpsCurve(rate), claims: newClaims(), end: 60 * time.Second}, time.Second)
	now := 900 * time.Millisecond
	var sent []time.Duration
	var held, dropped int64
	for {
		got, n, ok := p.take(now, nil)
		dropped += n.sum()
		if !ok {
			break
		}
		if got.release < got.due {
			t.Fatalf("arrival %d is released before it is due", got.index)
		}
		if got.catchUp {
			held++
		}
		now = max(now, got.release)
		sent = append(sent, now)
	}
	if len(sent)+int(dropped) != 60*rate || dropped != 0 {
		t.Errorf("sent %d and dropped %v of %d", len(sent), dropped, 60*rate)
	}
	for i := range sent {
		if j := i + rate*110/100 + 1; j < len(sent) && sent[j]-sent[i] < time.Second {
			t.Fatalf("from %v on more than 110 %% of the rate is sent in a second", sent[i])
		}
	}
	// 900 behind, caught up at 90/s: 10 s, all of them held back.
	if held < 9*rate || held > 12*rate {
		t.Errorf("%d arrivals were held back, want about %d", held, 10*rate)
	}
	if last := sent[len(sent)-1]; last != 59_999*time.Millisecond {
		t.Errorf("the last one is sent at %v: the backlog was not worked off", last)
	}
}

func TestPacerDoesNotHoldBackOrdinaryJitter(t *testing.T) {
	p := newPacer(schedule{curve: rpsCurve(1000), claims: newClaims(), end: time.Second}, time.Second)
	now := time.Duration(0)
	for {
		got, dropped, ok := p.take(now, nil)
		if !ok {
			break
		}
		if len(dropped) > 0 || got.catchUp {
			t.Fatalf("at %v: %+v, dropped %v", now, got, dropped)
		}
		// The worker is back 5 ms late for every tenth arrival.
		now = max(now, got.release)
		if got.index%10 == 0 {
			now += 5 * time.Millisecond
		}
	}
}

// TestPacerAfterAFreeze: a process that gets no CPU for a while, with twenty
// workers that wait for arrivals, does not send all of those at once when it goes
// on, and what they were late for stays the generator's fault.
func TestPacerAfterAFreeze(t *testing.T) {
	const rate, woken = 100, 250 * time.Millisecond
	p := newPacer(schedule{curve: rpsCurve(rate), claims: newClaims(), end: 20 * time.Second}, time.Second)
	var waiting []ticket
	for range 20 {
		got, _, _ := p.take(0, nil)
		waiting = append(waiting, got)
	}
	var sent []time.Duration
	slept := 0
	for _, w := range waiting { // as a worker does when it wakes up
		if woken-w.release > oversleep {
			p.overslept(w, woken)
			slept++
			continue
		}
		p.late(w, woken)
		sent = append(sent, woken)
	}
	seen, dropped := map[int64]bool{}, int64(0)
	for now := woken; ; {
		got, n, ok := p.take(now, nil)
		dropped += n.sum()
		if !ok {
			break
		}
		if seen[got.index] || got.slept != (got.index < int64(slept)) || got.slept && (!got.free || got.catchUp) {
			t.Fatalf("%+v at %v", got, now)
		}
		seen[got.index] = true
		now = max(now, got.release)
		sent = append(sent, now)
	}
	if slept != 15 || len(sent)+int(dropped) != 20*rate || dropped != 0 {
		t.Errorf("%d overslept, %d sent, %d dropped; want 15, all of %d and none", slept, len(sent), dropped, 20*rate)
	}
	for i := range sent {
		if j := i + rate*110/100 + 1; j < len(sent) && sent[j]-sent[i] < time.Second {
			t.Fatalf("from %v on more than 110 %% of the rate is sent in a second", sent[i])
		}
	}
	if last := sent[len(sent)-1]; last != 19_990*time.Millisecond {
		t.Errorf("the last one is sent at %v: the backlog was not worked off", last)
	}
}
