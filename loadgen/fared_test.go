package loadgen_test

import (
	"net/http"
	"runtime"
	"sync/atomic"
	"syscall"
	"testing"
	"time"
)

// cpuTime is what this process, which is both generator and target, has used.
func cpuTime(t *testing.T) time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		t.Error(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// TestTheDrainIsNoExcuse: a busy run that then waits half a minute for one request
// has been as busy as it was, whatever it ends by.
func TestTheDrainIsNoExcuse(t *testing.T) {
	const length, used = 2 * time.Second, 200 * time.Millisecond
	for _, ends := range []string{"duration: 2s, gracefulStop: 30s}\nload: {", "duration: 1h}\nload: {iterations: 20, "} {
		var calls atomic.Int64
		w := &world{serve: func(_ http.ResponseWriter, r *http.Request) {
			switch calls.Add(1) {
			case 1:
				select {
				case <-time.After(29 * time.Second):
				case <-r.Context().Done():
				}
			case 5:
				for until := cpuTime(t) + used; cpuTime(t) < until && !t.Failed(); {
				}
			}
		}}
		o := w.play(t, job("r", `version: "1.0"
config: {baseUrl: 'http://target', `+ends+`model: rps, target: 10}
scenarios: [{name: s, steps: [{name: get, request: {method: GET, path: /}}]}]
`, ""))
		if o.err != nil {
			t.Fatal(o.err)
		}
		least := 100 * used.Seconds() / length.Seconds() / float64(runtime.GOMAXPROCS(0)) * 0.99
		if got := o.Generator.CPUPct; o.Elapsed < 20*time.Second || got < least {
			t.Errorf("%s: CPU %.2f %% after %v, want at least %.2f", ends, got, o.Elapsed, least)
		}
	}
}

// TestASecondsLoadIsInThatSecond: what a process used is of the second in which it
// used it, the last one included.
func TestASecondsLoadIsInThatSecond(t *testing.T) {
	for call, second := range map[int64]int{5: 0, 26: 2, 48: 4} { // of ten a second
		var calls atomic.Int64
		w := &world{serve: func(http.ResponseWriter, *http.Request) {
			if calls.Add(1) == call {
				for until := cpuTime(t) + 300*time.Millisecond; cpuTime(t) < until && !t.Failed(); {
				}
			}
		}}
		o := w.play(t, job("r", `version: "1.0"
config: {baseUrl: 'http://target', duration: 5s}
load: {model: rps, target: 10}
scenarios: [{name: s, steps: [{name: get, request: {method: GET, path: /}}]}]
`, ""))
		if o.err != nil {
			t.Fatal(o.err)
		}
		points := o.Series.Points
		for i := range points {
			if points[i].CPUPct > points[second].CPUPct {
				t.Errorf("call %d: second %d took %.1f %%, second %d %.1f %%", call, i, points[i].CPUPct, second, points[second].CPUPct)
			}
		}
		if len(points) != 5 || points[second].CPUPct < 10 {
			t.Errorf("call %d: %d points, second %d took %.1f %%", call, len(points), second, points[second].CPUPct)
		}
	}
}
