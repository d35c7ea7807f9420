package loadgen_test

import (
	"fmt"
	"math"
	"net/http"
	"strings"
	"testing"
	"time"

	"volley/loadgen"
)

// TestWaitingForASharedConnectionIsLateness: a target that takes 40 ms for each
// request, and fewer connections or streams than workers.
func TestWaitingForASharedConnectionIsLateness(t *testing.T) {
	const takes = 40 * time.Millisecond
	slowly := func(http.ResponseWriter, *http.Request) { <-time.After(takes) }
	for protocol, c := range protocols(t) {
		everyMode(t, func(t *testing.T, host, steps string) {
			if (host == "::1") != strings.Contains(steps, "/2") {
				return // each of the four has been seen, in half the time
			}
			for connections, width := range map[int]int{1: 1, 3: 3} {
				c.host, c.serve = host, slowly
				if c.h2 {
					c.each, width = 2, 2*connections // streams on each
				}
				target := newSite(t, c)
				// Shorter than most have to wait: that is no part of the request's time.
				s := visit{config: fmt.Sprintf("%s, connections: %d, timeout: 400ms", protocol, connections), steps: steps, workers: 12, times: 1}.pay(t, target.URL)
				if s.ErrorCount() != 0 || target.connections() != connections || target.atOnce() > width || s.ConnsNew != int64(connections) {
					t.Fatalf("%s, %d shared: %d connections, %d new, %d at once, want at most %d; errors %v %v",
						protocol, connections, target.connections(), s.ConnsNew, target.atOnce(), width, s.Errors, s.ErrorExamples)
				}
				if half := time.Duration(12/width) * takes / 2; s.Latency.Mean() < half || half > takes && s.Service.Mean() > half {
					t.Errorf("%s, %d shared: latency %v and service time %v on average, want more and less than %v",
						protocol, connections, s.Latency.Mean(), s.Service.Mean(), half)
				}
			}
		})
	}
}

// TestSharedConnectionsAreSoManyInAll has two origins take turns on one.
func TestSharedConnectionsAreSoManyInAll(t *testing.T) {
	for protocol, c := range protocols(t) {
		a, b := newSite(t, c), newSite(t, c)
		steps := `[{request: {method: GET, path: ` + a.URL + `/1}}, {request: {method: GET, path: ` + b.URL + `/2}}]`
		for connections, want := range map[int]int64{1: 6, 2: 2} {
			s := visit{config: fmt.Sprintf("%s, connections: %d", protocol, connections), steps: steps}.pay(t, a.URL)
			if s.ErrorCount() != 0 || s.ConnsNew != want || s.Reconnects != 0 {
				t.Errorf("%s, %d shared by two origins: %d new, %d reconnects, want %d; errors %v", protocol, connections, s.ConnsNew, s.Reconnects, want, s.Errors)
			}
		}
	}
}

// TestOnlySoManyConnectionsRest has six workers send and think at the same time.
func TestOnlySoManyConnectionsRest(t *testing.T) {
	for protocol, c := range protocols(t) {
		for connections, least := range map[string]int64{"worker": 6 + 6, "iteration": 3*(6+4) - 4, "8": 6} {
			arrived := make(chan struct{}, 100)
			c.serve = func(http.ResponseWriter, *http.Request) {
				arrived <- struct{}{}
				eventually(func() bool { return len(arrived)%6 == 0 }) // all six at once
			}
			target := newSite(t, c)
			s := visit{
				config: protocol + ", connections: " + connections + ", pool: {maxIdlePerHost: 2}", workers: 6,
				steps: `[{request: {method: GET, path: /1}, thinkTime: 50ms}, {request: {method: GET, path: /2}, thinkTime: 50ms}]`,
			}.pay(t, target.URL)
			if s.ErrorCount() != 0 || s.ConnsNew < least || s.ConnsReused == 0 || s.Reconnects != 0 || s.Requests != 36 {
				t.Errorf("%s, connections %s, 2 may rest: %d new, %d reused, %d reconnects in %d requests, want at least %d new; errors %v",
					protocol, connections, s.ConnsNew, s.ConnsReused, s.Reconnects, s.Requests, least, s.Errors)
			}
		}
	}
}

func TestSharedConnectionsAreOpenBeforeTheStart(t *testing.T) {
	for protocol, c := range protocols(t) {
		for config, want := range map[string]int{"connections: 7": 7, "connections: worker": 4, "pool: {maxIdlePerHost: 3}": 3, "connections: request": 4} {
			target := newSite(t, c)
			leavesNothing(t)
			log, said := testLog()
			e := loadgen.NewInProcess(log)
			prepare(t, e, visit{config: protocol + ", " + config, steps: "[{request: {method: GET, path: /}}]", workers: 4}.job(target.URL))
			early, start := make(chan int, 1), time.Now().Add(300*time.Millisecond)
			time.AfterFunc(time.Until(start)-30*time.Millisecond, func() { early <- target.connections() })
			s, err := e.Run(t.Context(), "r", start, nil)
			if err != nil || s.ErrorCount() != 0 {
				t.Fatalf("%v, errors %v", err, s.Errors)
			}
			if n := <-early; n != want || target.all()[0].at.Before(start) || strings.Contains(said.String(), "connect_ahead_failed") {
				t.Errorf("%s, %s: %d connections before the start, want %d; log:\n%s", protocol, config, n, want, said)
			}
		}
	}
}

// TestWhatIsNotConnectedAtTheStartIsReported: at 500 a second there is time for
// some 50 of them.
func TestWhatIsNotConnectedAtTheStartIsReported(t *testing.T) {
	target := newSite(t, siteConfig{})
	leavesNothing(t)
	log, said := testLog()
	e := loadgen.NewInProcess(log)
	prepare(t, e, visit{config: "connections: 400", steps: "[{request: {method: GET, path: /}}]"}.job(target.URL))
	if _, err := e.Run(t.Context(), "r", time.Now().Add(100*time.Millisecond), nil); err != nil {
		t.Fatal(err)
	}
	var late int
	_, rest, _ := strings.Cut(said.String(), "out_of_time=")
	if _, err := fmt.Sscanf(rest, "%d wanted=400", &late); err != nil || late < 300 || late > 400 || target.connections() > 100 {
		t.Errorf("%d out of time, %d connected; log:\n%s", late, target.connections(), said)
	}
}

// TestANodeThatStartsLateShowsIt: what it has missed of the curve is dropped and
// in the books, and its skew is that of its first arrival.
func TestANodeThatStartsLateShowsIt(t *testing.T) {
	target := newSite(t, siteConfig{})
	leavesNothing(t)
	for load, due := range map[string]int64{"model: rps, target: 100": 300, "model: concurrent": 0} {
		log, _ := testLog()
		e := loadgen.NewInProcess(log)
		prepare(t, e, job("r", strings.Replace(`
version: "1.0"
config: {baseUrl: "$BASE", workers: 2, duration: 3s}
load: {LOAD}
scenarios: [{name: s, steps: [{request: {method: GET, path: /}, thinkTime: 10ms}]}]
`, "LOAD", load, 1), target.URL))
		s, err := e.Run(t.Context(), "r", time.Now().Add(-2*time.Second), nil)
		if err != nil {
			t.Fatal(err)
		}
		if skew, ok := s.StartSkew(); !ok || skew < 2*time.Second || skew > 3*time.Second {
			t.Errorf("%s: start skew %v, %v; want a little over 2 s", load, skew, ok)
		}
		if due > 0 && (s.Due() != due || s.Dropped < 100 || math.Abs(s.Target-float64(due)) > 0.01) {
			t.Errorf("%s: due %d, dropped %d, asked for %v; want %d due, at least 100 of them dropped", load, s.Due(), s.Dropped, s.Target, due)
		}
	}
}
