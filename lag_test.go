package main

import (
	"bytes"
	"context"
	"log/slog"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"
)

func TestLagMeter(t *testing.T) {
	var log bytes.Buffer
	l := newLagMeter(slog.New(slog.NewJSONHandler(&log, nil)), true)
	at := func(s float64) time.Time { return time.Unix(1000, 0).Add(time.Duration(s * 1e9)) }
	warnings := func() int { return strings.Count(log.String(), `"control_lag"`) }

	l.note(at(0), 99*time.Millisecond)
	l.note(at(0.5), 3*time.Millisecond)
	if l.last(at(1)) != 99*time.Millisecond || warnings() != 0 {
		t.Errorf("lag %v with %d warnings, want the worst, 99 ms, and none", l.last(at(1)), warnings())
	}
	for i := range 100 { // a second of starvation
		l.note(at(2+float64(i)/100), time.Duration(101+i)*time.Millisecond)
	}
	if l.last(at(3)) != 200*time.Millisecond || warnings() != 1 || !strings.Contains(log.String(), `"lag_ms":101,"times":1`) {
		t.Errorf("lag %v, want 200 ms, and one warning, of the first: %s", l.last(at(3)), log.String())
	}
	l.note(at(13), time.Millisecond)
	if warnings() != 2 || !strings.Contains(log.String(), `"lag_ms":200,"times":99`) {
		t.Errorf("what the first warning did not tell of is in no second one: %s", log.String())
	}
	if l.last(at(18)) != time.Millisecond {
		t.Errorf("lag %v, want what is older than %d s forgotten", l.last(at(18)), lagWindow)
	}
}

// A process whose goroutines queue for one CPU shows it.
func TestLagMeterSeesStarvation(t *testing.T) {
	var log bytes.Buffer
	l := newLagMeter(slog.New(slog.NewJSONHandler(&log, nil)), true)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	ended := make(chan error, 1)
	go func() { ended <- l.run(ctx) }()

	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(1))
	deadline := time.Now().Add(20 * time.Second)
	busy := func() {
		for ctx.Err() == nil && time.Now().Before(deadline) {
			continue
		}
	}
	var load sync.WaitGroup
	for range 100 {
		load.Go(busy)
	}
	for l.last(time.Now()) <= lagWarn && time.Now().Before(deadline) {
		runtime.Gosched()
	}
	late := l.last(time.Now())
	cancel()
	load.Wait()
	if err := <-ended; err != nil || late <= lagWarn {
		t.Errorf("lag %v, error %v; want more than %v", late, err, lagWarn)
	}
	if !strings.Contains(log.String(), `"control_lag"`) {
		t.Errorf("no warning: %s", log.String())
	}
}

// Elections depend on a control process that wakes up in time, and only those.
func TestLagIsLookedAtMoreOftenInACluster(t *testing.T) {
	if in, alone := newLagMeter(nil, true).every, newLagMeter(nil, false).every; in != lagEvery || alone != lagEveryAlone || alone <= in {
		t.Errorf("every %v in a cluster and %v alone", in, alone)
	}
}
